//! Following other machines: what is new, what came twice, what was missed. Pure.
//!
//! **Job.** Judge each publication and each beat of other nodes. **Called by** `link`. **Calls** nothing.
//!
//! NATS loses messages in silence: when a connection ends, when servers part, when a client reads too slowly. Three rules find
//! every such loss: a publication whose predecessor is not the one we had last; a beat that names a newer publication
//! than we have; a beat that does not reach back to the last beat we had (then anything may be missing).
//! In doubt they tell a gap: one too many costs a look into the log, one too few costs a message.
//!
//! Invariants
//! 1. Of one node's publications in one topic none is delivered twice, or after a newer one.
//! 2. A publication that never comes is told as a gap: with the next one, or about a second later.
//!
//! Not here: telling readers (`link`), bytes (`frame`).

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::frame::{Beat, Head};

/// How long a node may be silent before it is forgotten.
const SILENT_MAX: Duration = Duration::from_secs(30);
/// Other nodes that are followed: more than any house has, and a bound.
const NODES_MAX: usize = 1000;

/// What a topic's readers have of each node: its life and the number of its newest publication.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<(u64, u64)>);

/// What to do with a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Deliver,
    /// Something before it is missing.
    GapAndDeliver,
    /// It is there already, or a gap was told in its place.
    PassOver,
}

impl Known {
    /// A publication came.
    pub(super) fn came(&mut self, head: Head) -> Verdict {
        match self.0.iter_mut().find(|(publisher, _)| *publisher == head.publisher) {
            Some((_, have)) => {
                if head.number <= *have {
                    return Verdict::PassOver;
                }
                let next = head.previous == *have;
                *have = head.number;
                if next { Verdict::Deliver } else { Verdict::GapAndDeliver }
            }
            None => {
                self.0.push((head.publisher, head.number));
                if head.previous == 0 { Verdict::Deliver } else { Verdict::GapAndDeliver }
            }
        }
    }

    /// A beat says that `number` was published. True: we do not have it.
    pub(super) fn lacks(&mut self, publisher: u64, number: u64) -> bool {
        match self.0.iter_mut().find(|(have, _)| *have == publisher) {
            Some((_, have)) if *have >= number => false,
            Some((_, have)) => {
                *have = number;
                true
            }
            None => {
                self.0.push((publisher, number));
                true
            }
        }
    }

    /// The node is gone.
    pub(super) fn forget(&mut self, publisher: u64) {
        self.0.retain(|(have, _)| *have != publisher);
    }
}

/// The other nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: HashMap<u64, Node>,
}

#[derive(Debug)]
struct Node {
    beat: u64,
    heard: Instant,
}

/// What a beat says about what we have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Covered {
    /// Its topics are all there is to look at.
    Topics,
    /// Anything may be missing.
    Nothing,
    /// It is an old one.
    Old,
}

impl Nodes {
    /// A beat came.
    pub(super) fn came(&mut self, beat: &Beat, now: Instant) -> Covered {
        if let Some(node) = self.nodes.get_mut(&beat.publisher) {
            if beat.number <= node.beat {
                return Covered::Old;
            }
            let covered = if node.beat >= beat.since { Covered::Topics } else { Covered::Nothing };
            (node.beat, node.heard) = (beat.number, now);
            return covered;
        }
        if self.nodes.len() < NODES_MAX {
            self.nodes.insert(beat.publisher, Node { beat: beat.number, heard: now });
        }
        // Where it was before is not known, unless it tells everything it ever did.
        if beat.since == 0 { Covered::Topics } else { Covered::Nothing }
    }

    /// The node said that it goes.
    pub(super) fn left(&mut self, publisher: u64) {
        self.nodes.remove(&publisher);
    }

    /// Forgets and gives those that were silent for too long.
    pub(super) fn silent(&mut self, now: Instant) -> Vec<u64> {
        let gone: Vec<u64> =
            self.nodes.iter().filter(|(_, node)| now - node.heard > SILENT_MAX).map(|(id, _)| *id).collect();
        for id in &gone {
            self.nodes.remove(id);
        }
        gone
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use madang_host::clock;
    use madang_host::draws::Draws;

    use super::*;

    fn head(number: u64, previous: u64) -> Head {
        Head { publisher: 1, number, previous }
    }
    fn beat(number: u64, since: u64) -> Beat {
        Beat { publisher: 1, number, since, last: false, heads: Vec::new() }
    }

    #[test]
    fn a_publication_is_judged_by_its_predecessor() {
        let mut known = Known::default();
        assert_eq!(known.came(head(3, 0)), Verdict::Deliver, "the first of all");
        assert_eq!(known.came(head(9, 3)), Verdict::Deliver, "numbers of other topics lie between");
        assert_eq!(known.came(head(9, 3)), Verdict::PassOver, "twice");
        assert_eq!(known.came(head(20, 15)), Verdict::GapAndDeliver, "15 is missing");
        assert_eq!(known.came(head(15, 9)), Verdict::PassOver, "too late: its gap was told");
        assert_eq!(
            known.came(Head { publisher: 2, number: 1, previous: 0 }),
            Verdict::Deliver,
            "another node"
        );
        known.forget(1);
        assert_eq!(
            known.came(head(30, 20)),
            Verdict::GapAndDeliver,
            "whoever is not known may have said more"
        );
    }

    #[test]
    fn a_beat_tells_what_never_came() {
        let mut known = Known::default();
        known.came(head(3, 0));
        assert!(!known.lacks(1, 3));
        assert!(known.lacks(1, 4));
        assert!(!known.lacks(1, 4), "a gap is told once");
        assert_eq!(known.came(head(5, 4)), Verdict::Deliver);
        assert!(known.lacks(2, 1), "of a node never heard in this topic");
    }

    #[test]
    fn a_beat_that_does_not_reach_back_covers_nothing() {
        let now = clock::now();
        let mut nodes = Nodes::default();
        assert_eq!(nodes.came(&beat(50, 49), now), Covered::Nothing, "where was it before?");
        assert_eq!(nodes.came(&beat(51, 50), now), Covered::Topics);
        assert_eq!(
            nodes.came(&beat(53, 51), now),
            Covered::Topics,
            "52 was lost, and 53 reaches back over it"
        );
        assert_eq!(nodes.came(&beat(52, 51), now), Covered::Old);
        assert_eq!(nodes.came(&beat(55, 54), now), Covered::Nothing);
        let fresh = Beat { publisher: 3, ..beat(2, 0) };
        assert_eq!(
            nodes.came(&fresh, now + Duration::from_secs(9)),
            Covered::Topics,
            "it tells everything it ever did"
        );
        assert_eq!(nodes.silent(now + Duration::from_secs(31)), [1]);
        assert_eq!(nodes.count(), 1);
    }

    // Goal: whatever is lost or comes twice, a reader that reads the log at every gap has everything in the end, and
    // nothing twice.
    // Method: a publisher over several topics, a lossy and doubling way, beats that are lost too; the log is what was published.
    #[test]
    fn nothing_is_lost_in_silence_nor_delivered_twice() {
        for seed in 0..500 {
            let mut draws = Draws::new(seed);
            let now = clock::now();
            let (mut nodes, mut known) =
                (Nodes::default(), [Known::default(), Known::default(), Known::default()]);
            let mut log: [Vec<u64>; 3] = Default::default();
            let mut have: [Vec<u64>; 3] = Default::default();
            let (mut number, mut beats, mut confirmed, mut noted) = (0, 0, 0, Vec::<(u64, usize)>::new());
            for step in 0..200 {
                let quiet = step >= 190;
                if draws.below(3) > 0 && !quiet {
                    let topic = usize::try_from(draws.below(3)).unwrap();
                    number += 1;
                    let frame = head(number, log[topic].last().copied().unwrap_or(0));
                    log[topic].push(number);
                    noted.push((beats + 1, topic));
                    let times = [0, 1, 1, 1, 2][usize::try_from(draws.below(5)).unwrap()];
                    for _ in 0..times {
                        match known[topic].came(frame) {
                            Verdict::Deliver => have[topic].push(number),
                            Verdict::GapAndDeliver => have[topic].clone_from(&log[topic]),
                            Verdict::PassOver => {}
                        }
                    }
                } else {
                    beats += 1;
                    noted.retain(|(at, _)| *at > confirmed);
                    let since = confirmed;
                    let heads: Vec<usize> = noted.iter().map(|(_, topic)| *topic).collect();
                    if draws.below(3) > 0 || quiet {
                        confirmed = beats; // the server had it, which says nothing about the reader
                    }
                    if draws.below(3) > 0 || quiet {
                        let missed = match nodes.came(&beat(beats, since), now) {
                            Covered::Topics => heads,
                            Covered::Nothing => vec![0, 1, 2],
                            Covered::Old => vec![],
                        };
                        for topic in missed {
                            let newest = log[topic].last().copied().unwrap_or(0);
                            if newest > 0 && known[topic].lacks(1, newest) {
                                have[topic].clone_from(&log[topic]);
                            }
                        }
                    }
                }
            }
            assert_eq!(have, log, "seed {seed}");
        }
    }
}
