//! Frames that wait for a client to take them.
//!
//! **Job.** Keep them in order, say how much waits, give what can be written at once. **Called by** `socket`. **Calls** nothing
//! of ours.
//!
//! Invariants
//! 1. Frames are shared, never copied.
//! 2. A frame of which bytes have left is finished before anything else, whatever is thrown away.
//! 3. An empty outbox holds next to no memory.
//!
//! Not here: writing (`socket`).

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Frames written by one call into the kernel at most.
pub(super) const GATHERED_MAX: usize = 64;
/// Places for frames that an empty outbox keeps.
const PLACES_KEPT: usize = 16;

/// Frames that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Whether bytes of the oldest frame have left.
    begun: bool,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// What waits, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A whole frame.
    pub(super) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// What is left of a frame whose first bytes have left. Nothing else waits.
    pub(super) fn push_rest(&mut self, rest: Bytes) {
        debug_assert!(self.frames.is_empty());
        self.push(rest);
        self.begun = true;
    }

    /// The frame that waits, if it is one.
    pub(super) fn only(&self) -> Option<&Bytes> {
        self.frames.front().filter(|_| self.frames.len() == 1)
    }

    /// What can be written at once; how many of the slices were filled.
    pub(super) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame);
            filled += 1;
        }
        filled
    }

    /// So many bytes have left.
    pub(super) fn advance(&mut self, mut count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        while let Some(front) = self.frames.front_mut() {
            if count < front.len() {
                front.advance(count);
                self.begun |= count > 0;
                return;
            }
            count -= front.len();
            self.frames.pop_front();
            self.begun = false;
        }
        if self.frames.capacity() > PLACES_KEPT {
            self.frames = VecDeque::new();
        }
    }

    /// Throws away what need not arrive: everything but a frame that has begun.
    pub(super) fn keep_begun(&mut self) {
        self.frames.truncate(usize::from(self.begun));
        self.bytes = self.frames.iter().map(Bytes::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Goal: whatever the kernel takes at a time, what leaves is what was pushed, and the count is right.
        // Method: push frames, take so many bytes after each; now and then throw away what has not begun.
        #[test]
        fn what_leaves_is_what_was_pushed(
            steps in prop::collection::vec((1_usize..40, 0_usize..60, prop::bool::weighted(0.1)), 0..40),
        ) {
            let (mut outbox, mut kept, mut left) = (Outbox::default(), Vec::new(), Vec::new());
            // Where frames end in `kept`.
            let mut ends = vec![0];
            for (index, (length, taken, cut)) in (0_u8..).zip(steps) {
                outbox.push(vec![index; length].into());
                kept.extend(vec![index; length]);
                ends.push(kept.len());
                let mut slices = [IoSlice::new(&[]); 3];
                let filled = outbox.gather(&mut slices);
                let ready: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = taken.min(ready.len());
                left.extend_from_slice(&ready[..taken]);
                outbox.advance(taken);
                if cut {
                    outbox.keep_begun();
                    // The frame that has begun is finished.
                    let end = ends.iter().copied().find(|end| *end >= left.len()).unwrap();
                    kept.truncate(end);
                    ends.retain(|at| *at <= end);
                }
                prop_assert_eq!(outbox.bytes(), kept.len() - left.len());
                prop_assert_eq!(outbox.is_empty(), outbox.bytes() == 0);
            }
            prop_assert_eq!(&kept[..left.len()], &left[..]);
        }
    }
}
