//! In turn, by weight, smoothly: a server of weight 3 beside one of weight 1 gets a a b a, not a a a b.
//!
//! **Job.** Each pick, everybody's credit grows by its weight; the one with the most is chosen and pays the sum of all.
//! **Called by** `pick`. **Owned by** one worker.
//!
//! Invariants
//! 1. In every run of picks with unchanged weights each server gets its share to within one pick per server.
//!
//! Not here: who may be chosen (`candidates`).

use super::candidates::Candidates;
use crate::pool::Pool;
use madang_host::draws::Draws;

/// The most picks that are played through to begin somewhere else than at the first server.
const HEAD_START_MAX: u64 = 1024;

/// The credits.
#[derive(Debug)]
pub(super) struct Turns {
    credits: Vec<i64>,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Self { credits: Vec::new() }
    }

    pub(super) const fn len(&self) -> usize {
        self.credits.len()
    }

    /// Begins anew for a snapshot, at a place in the round that the seed chooses.
    pub(super) fn start(&mut self, pool: &Pool, seed: u64) {
        self.credits.clear();
        self.credits.resize(pool.members().len(), 0);
        let weights = |index: usize| pool.members().get(index).map_or(0, |member| u32::from(member.weight));
        let round = pool.members().iter().map(|member| u64::from(member.weight)).sum::<u64>();
        for _ in 0..Draws::new(seed).below(round.min(HEAD_START_MAX)) {
            self.step(weights);
        }
        // Weights of candidates are in permille.
        for credit in &mut self.credits {
            *credit *= i64::from(crate::server::SHARE_FULL);
        }
    }

    pub(super) fn choose(&mut self, candidates: &Candidates<'_>) -> Option<usize> {
        self.step(|index| candidates.weight(index))
    }

    fn step(&mut self, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let (mut sum, mut best) = (0, None);
        for (index, credit) in self.credits.iter_mut().enumerate() {
            let weight = i64::from(weight(index));
            if weight == 0 {
                continue;
            }
            sum += weight;
            *credit += weight;
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((index, *credit));
            }
        }
        let (index, _) = best?;
        self.credits[index] -= sum;
        Some(index)
    }
}
