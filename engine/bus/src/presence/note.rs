//! What nodes tell each other about who is there, as bytes.
//!
//! **Job.** Notes to bytes and back. **Called by** `state`.
//!
//! Whole numbers are big-endian; names have their length in two bytes before them.
//!
//! Invariants
//! 1. Reading never panics and never allocates more than the note's own size, whatever comes.
//!
//! Not here: when a note is sent and what it does (`state`).

use bytes::{Buf, BufMut, Bytes, BytesMut};

const VERSION: u8 = 1;
/// Bytes of entries in one note; longer lists go out as several.
pub(super) const ENTRIES_BYTES_MAX: usize = 256 << 10;

/// So many connections of somebody in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) room: String,
    pub(super) user: String,
    pub(super) connections: u32,
}

impl Entry {
    pub(super) fn bytes(&self) -> usize {
        8 + self.room.len() + self.user.len()
    }
}

/// What is said about a node, by itself unless it is a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Says {
    /// I am here, and this is the number of my newest change.
    Beat { version: u64 },
    /// Whoever is there: say so.
    Hello,
    /// My changes from one version to another.
    Delta { from: u64, to: u64, entries: Vec<Entry> },
    /// Everything, in so many parts.
    Full { version: u64, part: u32, parts: u32, entries: Vec<Entry> },
    /// Tell everything, node with this life.
    Ask { whom: u64 },
    /// I go.
    Bye,
}

/// A note and who wrote it: the life of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) node: u64,
    pub(super) says: Says,
}

impl Note {
    pub(super) fn bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_u64(self.node);
        match &self.says {
            Says::Beat { version } => {
                out.put_u8(0);
                out.put_u64(*version);
            }
            Says::Hello => out.put_u8(1),
            Says::Delta { from, to, entries } => {
                out.put_u8(2);
                out.put_u64(*from);
                out.put_u64(*to);
                put(&mut out, entries);
            }
            Says::Full { version, part, parts, entries } => {
                out.put_u8(3);
                out.put_u64(*version);
                out.put_u32(*part);
                out.put_u32(*parts);
                put(&mut out, entries);
            }
            Says::Ask { whom } => {
                out.put_u8(4);
                out.put_u64(*whom);
            }
            Says::Bye => out.put_u8(5),
        }
        out.freeze()
    }

    /// `None` for what is no note of this version.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        if rest.try_get_u8().ok()? != VERSION {
            return None;
        }
        let node = rest.try_get_u64().ok()?;
        let says = match rest.try_get_u8().ok()? {
            0 => Says::Beat { version: rest.try_get_u64().ok()? },
            1 => Says::Hello,
            2 => {
                let (from, to) = (rest.try_get_u64().ok()?, rest.try_get_u64().ok()?);
                Says::Delta { from, to, entries: get(&mut rest)? }
            }
            3 => {
                let version = rest.try_get_u64().ok()?;
                let (part, parts) = (rest.try_get_u32().ok()?, rest.try_get_u32().ok()?);
                Says::Full { version, part, parts, entries: get(&mut rest)? }
            }
            4 => Says::Ask { whom: rest.try_get_u64().ok()? },
            5 => Says::Bye,
            _ => return None,
        };
        rest.is_empty().then_some(Self { node, says })
    }
}

fn put(out: &mut BytesMut, entries: &[Entry]) {
    for entry in entries {
        for name in [&entry.room, &entry.user] {
            // Names are at most 200 bytes (`state`).
            out.put_u16(u16::try_from(name.len()).unwrap_or(0));
            out.put_slice(name.as_bytes());
        }
        out.put_u32(entry.connections);
    }
}

fn get(rest: &mut &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (room, user) = (name(rest)?, name(rest)?);
        entries.push(Entry { room, user, connections: rest.try_get_u32().ok()? });
    }
    Some(entries)
}

fn name(rest: &mut &[u8]) -> Option<String> {
    let length = usize::from(rest.try_get_u16().ok()?);
    let (name, after) = rest.split_at_checked(length)?;
    *rest = after;
    String::from_utf8(name.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let entry = ("[a-z/가-힣]{0,20}", "[a-z:]{0,20}", any::<u32>());
        let entry = entry.prop_map(|(room, user, connections)| Entry { room, user, connections });
        proptest::collection::vec(entry, 0..20)
    }

    fn says() -> impl Strategy<Value = Says> {
        prop_oneof![
            any::<u64>().prop_map(|version| Says::Beat { version }),
            Just(Says::Hello),
            (any::<u64>(), any::<u64>(), entries()).prop_map(|(from, to, entries)| Says::Delta {
                from,
                to,
                entries
            }),
            (any::<u64>(), any::<u32>(), any::<u32>(), entries())
                .prop_map(|(version, part, parts, entries)| Says::Full { version, part, parts, entries }),
            any::<u64>().prop_map(|whom| Says::Ask { whom }),
            Just(Says::Bye),
        ]
    }

    proptest! {
        #[test]
        fn notes_come_back_as_they_were_and_cut_ones_are_passed_over(node in any::<u64>(), says in says()) {
            let note = Note { node, says };
            let bytes = note.bytes();
            prop_assert_eq!(Note::read(&bytes), Some(note.clone()));
            for length in 0..bytes.len() {
                prop_assert_ne!(Note::read(&bytes[..length]), Some(note.clone()));
            }
        }

        #[test]
        fn whatever_comes_is_read_or_passed_over(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Note::read(&bytes);
            let _ = Note::read(&[&[VERSION], &bytes[..]].concat());
        }
    }
}
