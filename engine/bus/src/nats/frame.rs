//! What goes over NATS, as bytes.
//!
//! **Job.** Publications and beats to bytes and back. **Called by** `link`.
//!
//! A publication is its head and the message. Numbers count the publications of a node, all topics together; `previous` is
//! the number of the one before in the same topic, 0 for the first. A beat says, about once a second, which topics a node
//! published in, so that a reader learns what it missed even if nothing more is published.
//!
//! Whole numbers are big-endian. Another version is another machine's affair: such frames are passed over.
//!
//! Invariants
//! 1. Reading never panics and never allocates more than the frame's own size, whatever comes.
//!
//! Not here: what the numbers mean (`follow`).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Of the form of frames. Nodes of different versions do not hear each other.
const VERSION: u8 = 1;
/// Version, publisher, number, previous.
const HEAD_BYTES: usize = 1 + 8 + 8 + 8;
/// Bytes of a beat: it ends before the topic that would pass this.
pub(super) const BEAT_MAX: usize = 400 << 10;

/// The head of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The publishing node's life.
    pub(super) publisher: u64,
    pub(super) number: u64,
    pub(super) previous: u64,
}

/// A publication's bytes. The message is copied: the one copy on its way out.
pub(super) fn publication(head: Head, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + message.len());
    frame.put_u8(VERSION);
    frame.put_u64(head.publisher);
    frame.put_u64(head.number);
    frame.put_u64(head.previous);
    frame.put_slice(message);
    frame.freeze()
}

/// Head and message; `None` for what is not of this version.
pub(super) fn read_publication(mut frame: Bytes) -> Option<(Head, Bytes)> {
    if frame.len() < HEAD_BYTES || frame.get_u8() != VERSION {
        return None;
    }
    let head = Head { publisher: frame.get_u64(), number: frame.get_u64(), previous: frame.get_u64() };
    Some((head, frame))
}

/// What a node says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) publisher: u64,
    /// Counts the beats of this life, from 1.
    pub(super) number: u64,
    /// Everything published after that beat was made is in `heads`.
    pub(super) since: u64,
    /// The node is going: it will not be heard again.
    pub(super) last: bool,
    /// Topics and the number of their newest publication.
    pub(super) heads: Vec<(String, u64)>,
}

impl Beat {
    pub(super) fn bytes(&self) -> Bytes {
        let mut frame = BytesMut::with_capacity(64 + self.heads.len() * 48);
        frame.put_u8(VERSION);
        frame.put_u64(self.publisher);
        frame.put_u64(self.number);
        frame.put_u64(self.since);
        frame.put_u8(u8::from(self.last));
        for (name, head) in &self.heads {
            // Names are at most 200 bytes.
            frame.put_u8(u8::try_from(name.len()).unwrap_or(0));
            frame.put_slice(name.as_bytes());
            frame.put_u64(*head);
        }
        frame.freeze()
    }

    pub(super) fn read(mut frame: Bytes) -> Option<Self> {
        if frame.len() < HEAD_BYTES + 1 || frame.get_u8() != VERSION {
            return None;
        }
        let (publisher, number, since) = (frame.get_u64(), frame.get_u64(), frame.get_u64());
        let last = frame.get_u8() != 0;
        let mut heads = Vec::new();
        while !frame.is_empty() {
            let length = usize::from(frame.get_u8());
            if frame.len() < length + 8 {
                return None;
            }
            let name = String::from_utf8(frame.split_to(length).to_vec()).ok()?;
            heads.push((name, frame.get_u64()));
        }
        Some(Self { publisher, number, since, last, heads })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_back_as_they_were(
            numbers in any::<[u64; 3]>(),
            message in proptest::collection::vec(any::<u8>(), 0..300),
            heads in proptest::collection::vec(("[a-z/가-힣]{1,60}", any::<u64>()), 0..20),
            last in any::<bool>(),
        ) {
            let [publisher, number, previous] = numbers;
            let head = Head { publisher, number, previous };
            let (read, rest) = read_publication(publication(head, &message)).unwrap();
            prop_assert_eq!((read, &rest[..]), (head, &message[..]));

            let beat = Beat { publisher, number, since: previous, last, heads };
            prop_assert_eq!(Beat::read(beat.bytes()), Some(beat));
        }

        #[test]
        fn whatever_comes_is_read_or_passed_over(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = read_publication(bytes.clone());
            if let Some(beat) = Beat::read(bytes.clone()) {
                prop_assert!(beat.heads.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_frame_that_was_cut_is_passed_over() {
        let heads = vec![("town".to_owned(), 7)];
        let whole = Beat { publisher: 1, number: 2, since: 1, last: false, heads }.bytes();
        for length in 0..whole.len() {
            let read = Beat::read(whole.slice(..length));
            // Cut before the first topic it is a beat without topics.
            assert_eq!(read.is_some(), length == HEAD_BYTES + 1, "{length}");
        }
    }
}
