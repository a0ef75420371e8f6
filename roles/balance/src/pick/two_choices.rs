//! The better of two drawn.
//!
//! **Job.** Draw two different servers by weight, take the one with fewer open requests for its weight. Workers that see the
//! same numbers do not all run to the same server, and the longest line stays short (Mitzenmacher 2001).
//! **Called by** `pick`.
//!
//! Not here: who may be chosen (`candidates`).

use super::candidates::Candidates;
use super::least::load;
use madang_host::draws::Draws;

pub(super) fn choose(candidates: &Candidates<'_>, draws: &mut Draws) -> Option<usize> {
    let all = (0..candidates.len()).map(|index| u64::from(candidates.weight(index))).sum();
    let (first, first_weight) = draw(candidates, draws.below(all), None)?;
    let Some((second, second_weight)) =
        draw(candidates, draws.below(u64::saturating_sub(all, first_weight)), Some(first))
    else {
        return Some(first);
    };
    // load / weight, without dividing.
    let second_is_better = load(candidates, second) * first_weight < load(candidates, first) * second_weight;
    Some(if second_is_better { second } else { first })
}

/// The server at `at` when all are laid side by side, as wide as their weights.
fn draw(candidates: &Candidates<'_>, mut at: u64, without: Option<usize>) -> Option<(usize, u64)> {
    let mut last = None;
    for index in (0..candidates.len()).filter(|index| Some(*index) != without) {
        let weight = u64::from(candidates.weight(index));
        if weight == 0 {
            continue;
        }
        last = Some((index, weight));
        if at < weight {
            break;
        }
        at -= weight;
    }
    // Another worker may have filled a server since the sum was taken: then the last one stands in.
    last
}
