//! Subjects: what topics are called at NATS, and which of them this machine asks for. Pure.
//!
//! **Job.** Names to subjects; the list of wanted topics to a bounded list of subscriptions. **Called by** `link`.
//!
//! `CLUSTER.t.BUCKET.NAME`: a topic lies in one of 1,024 buckets, by a hash of its name. A bucket with few wanted topics asks
//! for each of them by name; one with many asks for the whole bucket, once, and passes over what nobody wants. So a machine
//! gets what it wants and no more while it wants up to a few thousand topics, and never holds more than
//! 4,096 subscriptions, each of which costs memory here and at the server (about 6 KiB in the client library).
//!
//! Invariants
//! 1. A wanted topic is covered by a subscription at every moment from the first one on.
//!
//! Not here: making subscriptions (`link`).

use std::fmt::Write as _;

use hashbrown::{HashMap, HashSet};

/// As many buckets.
pub(super) const BUCKETS: u16 = 1024;
/// As many topics of a bucket are asked for by name.
const BY_NAME_MAX: usize = 4;

/// The bucket of a name: FNV-1a, the same on every machine and in every version.
pub(super) fn bucket(name: &str) -> u16 {
    let hash = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
    // The upper bits are better mixed.
    u16::try_from((hash >> 40) % u64::from(BUCKETS)).unwrap_or(0)
}

/// The subject of a topic. Bytes that mean something to NATS or to people's tools are written as `%2E`.
pub(super) fn topic(cluster: &str, name: &str) -> String {
    let mut subject = format!("{cluster}.t.{}.", bucket(name));
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_') {
            subject.push(char::from(byte));
        } else {
            let _ = write!(subject, "%{byte:02X}");
        }
    }
    subject
}

/// Everything in a bucket.
fn whole(cluster: &str, bucket: u16) -> String {
    format!("{cluster}.t.{bucket}.*")
}

/// A change of the subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Subscribe(String),
    /// As soon as the subscriptions made before it are known to work.
    UnsubscribeLater(String),
    Unsubscribe(String),
}

/// The wanted topics by bucket.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    buckets: HashMap<u16, Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    subjects: HashSet<String>,
    whole: bool,
}

impl Wanted {
    /// This subject is wanted from now on.
    pub(super) fn add(&mut self, cluster: &str, name: &str) -> Vec<Change> {
        let at = bucket(name);
        let bucket = self.buckets.entry(at).or_default();
        let subject = topic(cluster, name);
        if !bucket.subjects.insert(subject.clone()) || bucket.whole {
            return Vec::new();
        }
        if bucket.subjects.len() <= BY_NAME_MAX {
            return vec![Change::Subscribe(subject)];
        }
        bucket.whole = true;
        let by_name = bucket.subjects.iter().filter(|have| **have != subject).cloned();
        std::iter::once(Change::Subscribe(whole(cluster, at)))
            .chain(by_name.map(Change::UnsubscribeLater))
            .collect()
    }

    /// No longer.
    pub(super) fn remove(&mut self, cluster: &str, name: &str) -> Vec<Change> {
        let at = bucket(name);
        let Some(bucket) = self.buckets.get_mut(&at) else { return Vec::new() };
        let subject = topic(cluster, name);
        if !bucket.subjects.remove(&subject) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        if !bucket.whole {
            changes.push(Change::Unsubscribe(subject));
        } else if bucket.subjects.is_empty() {
            // Not before: a bucket that was busy once may be so again.
            changes.push(Change::Unsubscribe(whole(cluster, at)));
        }
        if bucket.subjects.is_empty() {
            self.buckets.remove(&at);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use madang_host::draws::Draws;

    use super::*;

    #[test]
    fn names_become_subjects_that_nats_takes() {
        check("chat/town-1", "chat/town-1");
        check("a.b *>%", "a%2Eb%20%2A%3E%25");
        check("방", "%EB%B0%A9");

        #[track_caller]
        fn check(name: &str, want: &str) {
            assert_eq!(topic("town", name), format!("town.t.{}.{want}", bucket(name)));
        }
    }

    // Goal: whatever is wanted in whatever order, it is covered, and the subscriptions stay few.
    // Method: draw wants, keep the subscriptions that the changes make, look after each change.
    #[test]
    fn what_is_wanted_is_covered_by_few_subscriptions() {
        for seed in 0..20 {
            let mut draws = Draws::new(seed);
            let (mut wanted, mut names, mut have) = (Wanted::default(), HashSet::new(), HashSet::new());
            let rooms = if seed == 0 { 20_000 } else { 50 };
            for _ in 0..3 * rooms {
                let name = format!("room/{}", draws.below(rooms));
                let add = draws.below(3) > 0;
                let changes = if add { wanted.add("c", &name) } else { wanted.remove("c", &name) };
                if add {
                    names.insert(name)
                } else {
                    names.remove(&name)
                };
                for change in changes {
                    match change {
                        Change::Subscribe(subject) => assert!(have.insert(subject), "asked for twice"),
                        Change::Unsubscribe(subject) | Change::UnsubscribeLater(subject) => {
                            assert!(have.remove(&subject), "not there");
                        }
                    }
                }
                assert!(have.len() <= usize::from(BUCKETS) * BY_NAME_MAX);
            }
            for name in &names {
                let covered = have.contains(&topic("c", name)) || have.contains(&whole("c", bucket(name)));
                assert!(covered, "seed {seed}: {name}");
            }
            for name in names.drain() {
                for change in wanted.remove("c", &name) {
                    if let Change::Unsubscribe(subject) = change {
                        have.remove(&subject);
                    }
                }
            }
            assert!(have.is_empty() && wanted.buckets.is_empty(), "seed {seed}: {have:?}");
        }
    }

    #[test]
    fn names_spread_over_the_buckets() {
        let mut counts = vec![0; usize::from(BUCKETS)];
        (0..102_400).for_each(|room| counts[usize::from(bucket(&format!("chat/town/room/{room}")))] += 1);
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least > 50 && *most < 160, "100 each would be even: {least} to {most}");
    }
}
