//! The server that answers soonest, by what it took of late and what is open there.
//!
//! **Job.** Compare latency (peak EWMA) x (open + 1) / weight; among equals draw. **Called by** `pick`.
//!
//! A server without a sample is asked once and then waits for its answer like one that takes a second: so it is measured
//! soon, but not flooded.
//!
//! Not here: the average (`latency`), who may be chosen (`candidates`).

use super::candidates::Candidates;
use super::least::load;
use madang_host::draws::Draws;

/// What a server without a sample is taken for while its first answer is awaited, in microseconds.
const UNKNOWN_MICROS: f64 = 1e6;
/// Below this, servers are equally quick: differences of microseconds are noise.
const FLOOR_MICROS: f64 = 50.0;

pub(super) fn choose(candidates: &Candidates<'_>, draws: &mut Draws) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    let mut equals = 0;
    for index in 0..candidates.len() {
        let weight = candidates.weight(index);
        if weight == 0 {
            continue;
        }
        let server = candidates.server(index);
        let took = match server.latency_micros(candidates.now) {
            none if none == 0.0 && server.in_flight() > 0 => UNKNOWN_MICROS,
            some => some.max(FLOOR_MICROS),
        };
        #[allow(clippy::cast_precision_loss)] // open requests are below 2^33
        let cost = took * load(candidates, index) as f64 / f64::from(weight);
        if best.is_none_or(|(_, least)| cost < least) {
            (best, equals) = (Some((index, cost)), 1);
        } else if best.is_some_and(|(_, least)| cost == least) {
            equals += 1;
            if draws.below(equals) == 0 {
                best = Some((index, cost));
            }
        }
    }
    best.map(|(index, _)| index)
}
