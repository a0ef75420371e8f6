//! The server with the fewest open requests, for its weight.
//!
//! **Job.** Compare (open + 1) / weight; among equals draw. **Called by** `pick`.
//!
//! Not here: who may be chosen (`candidates`).

use super::candidates::Candidates;
use madang_host::draws::Draws;

/// Load of one more request, to be divided by the weight: never equal for an idle light and an idle heavy server.
pub(super) fn load(candidates: &Candidates<'_>, index: usize) -> u64 {
    u64::from(candidates.server(index).in_flight()) + 1
}

pub(super) fn choose(candidates: &Candidates<'_>, draws: &mut Draws) -> Option<usize> {
    let mut best: Option<(usize, u64, u64)> = None;
    let mut equals = 0;
    for index in 0..candidates.len() {
        let weight = u64::from(candidates.weight(index));
        if weight == 0 {
            continue;
        }
        let load = load(candidates, index);
        // load / weight against least / its weight, without dividing.
        let order = best.map(|(_, least, least_weight)| (load * least_weight).cmp(&(least * weight)));
        match order {
            None | Some(std::cmp::Ordering::Less) => {
                (best, equals) = (Some((index, load, weight)), 1);
            }
            // The k-th of k equals is taken with chance 1/k: all are equally likely in the end.
            Some(std::cmp::Ordering::Equal) => {
                equals += 1;
                if draws.below(equals) == 0 {
                    best = Some((index, load, weight));
                }
            }
            Some(std::cmp::Ordering::Greater) => {}
        }
    }
    best.map(|(index, ..)| index)
}
