//! Always the same server for the same key: consistent hashing with bounded load.
//!
//! **Job.** Lay points of each server on a ring; a key belongs to the next point. **Called by** `pool` (the ring), `pick`.
//!
//! A ring rather than a Maglev table: when a server leaves, the keys of the others stay where they are exactly (Maglev moves
//! some of them too), weights are exact in points, and a server that is down is stepped over without building anything. A
//! look-up is a binary search; with 160 points for each unit of weight the shares differ by about 8 %.
//!
//! Bounded load (Mirrokni, Thorup, Zadimoghaddam 2016): a server with more than 1.25 times its share of the open requests
//! passes keys on to the next on the ring. So one hot key, or keys made to fall on one server, cannot drown it.
//!
//! Hashes are SHA-256: the same on every machine and in every version, and nobody finds colliding keys by arithmetic.
//!
//! Invariants
//! 1. Points depend on the server's id and the unit of points only, not on the other servers.
//! 2. At most [`POINTS_MAX`] points.
//!
//! Not here: what the key is made of (the proxy, by `hash_by`).

use aws_lc_rs::digest::{SHA256, digest};

use super::Rule;
use super::candidates::Candidates;
use crate::config::SERVERS_MAX;
use crate::pool::Member;

/// Points for each unit of weight, unless that would be more than [`POINTS_MAX`] in all.
pub const POINTS_PER_WEIGHT: usize = 160;
/// Points of one ring: 4 MiB.
pub const POINTS_MAX: usize = 1 << 18;
/// A server passes keys on above this many percent of its share of the open requests.
const LOAD_MAX_PERCENT: u64 = 125;

/// The hash of a key or name: the same everywhere and always. About 150 ns for a short one.
pub fn key_of(bytes: &[u8]) -> u64 {
    let digest = digest(&SHA256, bytes);
    let (first, _) = digest.as_ref().split_first_chunk().unwrap_or((&[0; 8], &[]));
    u64::from_be_bytes(*first)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    at: u64,
    member: u16,
}

/// The ring of one snapshot.
#[derive(Debug)]
pub struct Ring {
    points: Vec<Point>,
}

impl Ring {
    pub(crate) fn new(members: &[Member]) -> Self {
        let weights: usize = members.iter().map(|member| usize::from(member.weight)).sum();
        // Halved as often as needed: so the unit seldom changes when a server comes or goes.
        let mut unit = POINTS_PER_WEIGHT;
        while unit > 1 && weights.saturating_mul(unit) > POINTS_MAX {
            unit /= 2;
        }
        let mut points = Vec::with_capacity(weights.saturating_mul(unit).min(POINTS_MAX));
        for (index, member) in members.iter().enumerate() {
            let Ok(index) = u16::try_from(index) else { break };
            let count = usize::from(member.weight) * unit;
            // Each digest gives four points.
            for block in 0..count.div_ceil(4) {
                let mut name = [0; 16];
                name[..8].copy_from_slice(&member.server.id().0.to_be_bytes());
                name[8..].copy_from_slice(&(block as u64).to_be_bytes());
                let digest = digest(&SHA256, &name);
                let (four, _) = digest.as_ref().as_chunks::<8>();
                let places = four.iter().take(count - block * 4);
                points.extend(places.map(|at| Point { at: u64::from_be_bytes(*at), member: index }));
            }
        }
        points.sort_unstable();
        Self { points }
    }

    /// The servers from a key onwards, each once, by index.
    fn from(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = self.points.partition_point(|point| point.at < key);
        let (before, behind) = self.points.split_at(start);
        let mut seen = [false; SERVERS_MAX];
        behind
            .iter()
            .chain(before)
            .map(|point| usize::from(point.member))
            .filter(move |index| seen.get_mut(*index).is_some_and(|seen| !std::mem::replace(seen, true)))
    }
}

pub(super) fn choose(ring: &Ring, key: u64, candidates: &Candidates<'_>) -> Option<(usize, Rule)> {
    let (mut weights, mut open) = (0, 1);
    for index in 0..candidates.len() {
        let weight = u64::from(candidates.weight(index));
        if weight > 0 {
            weights += weight;
            open += u64::from(candidates.server(index).in_flight());
        }
    }
    if weights == 0 {
        return None;
    }
    let mut first_that_can = None;
    for (step, index) in ring.from(key).enumerate() {
        let weight = u64::from(candidates.weight(index));
        if weight == 0 {
            continue;
        }
        let rule = if step == 0 { Rule::Hash } else { Rule::HashNext };
        let most = (open * weight * LOAD_MAX_PERCENT).div_ceil(weights * 100);
        if u64::from(candidates.server(index).in_flight()) < most {
            return Some((index, rule));
        }
        first_that_can = first_that_can.or(Some((index, rule)));
    }
    // Only when other workers changed the numbers meanwhile: somebody is always below the average.
    first_that_can
}
