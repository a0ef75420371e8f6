//! Where a subscriber is in a conversation: the one mechanism behind live delivery, resume and slow readers.
//!
//! **Job.** Say whether what was just published may go to this subscriber now, or has to be read from the log later.
//! **Called by** the worker that holds the subscriber's connection. **Calls** nothing.
//!
//! Invariants
//! 1. What is delivered are the offsets from the beginning on, each once, in order: whatever is published, lost or slow.
//! 2. While a subscriber cannot take more, nothing is kept for it: it falls behind and reads the log when it can.
//! 3. At most one read of the log is under way for a subscriber.
//!
//! Not here: what is written and to whom (`hub`), how far a log goes back (`engine/store`).

/// A subscriber's place in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The offset that has to be delivered next.
    next: u64,
    /// The offset behind the last one that is known to exist.
    end: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Everything known was delivered: what is published next is passed on at once.
    Live,
    /// There is more in the log.
    Behind,
    /// A piece of the log is on its way.
    Reading,
}

/// What a piece of the log is to a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// To be delivered.
    Deliver,
    /// The log begins only behind what was asked for: so many offsets are gone. To be told; the piece is delivered.
    DeliverAfterGap {
        /// The first offset that is gone.
        from: u64,
        /// The first that is still there.
        to: u64,
    },
    /// Nobody asked for it.
    Drop,
}

impl Cursor {
    /// A subscriber that has seen everything before `next`, of a log that ends before `end`.
    pub fn new(next: u64, end: u64) -> Self {
        let state = if next < end { State::Behind } else { State::Live };
        Self { next, end: end.max(next), state }
    }

    /// The offset that comes next: what a client that comes back later has to name.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether nothing has to be read from the log.
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// `count` messages from `first` on were published; `takes`: the subscriber's connection has room for them.
    /// Whether they go to it now; if not, and they are new, it is behind.
    pub fn published(&mut self, first: u64, count: u64, takes: bool) -> bool {
        let end = first + count;
        self.end = self.end.max(end);
        match self.state {
            State::Live if end <= self.next => false,
            State::Live if first == self.next && takes => {
                self.next = end;
                true
            }
            State::Live => {
                self.state = State::Behind;
                false
            }
            State::Behind | State::Reading => false,
        }
    }

    /// The offset from which the log has to be read now, if it has; then one of [`Cursor::piece`] or [`Cursor::not_read`] follows.
    pub fn poll_read(&mut self, takes: bool) -> Option<u64> {
        if self.state != State::Behind || !takes {
            return None;
        }
        self.state = State::Reading;
        Some(self.next)
    }

    /// A piece of the log came: `count` messages from `first` on; `end`: where the log ends.
    pub fn piece(&mut self, first: u64, count: u64, end: u64) -> Piece {
        if self.state != State::Reading || first < self.next {
            return Piece::Drop;
        }
        let from = self.next;
        self.next = first + count;
        self.end = self.end.max(end).max(self.next);
        self.state = if self.next < self.end { State::Behind } else { State::Live };
        if first > from { Piece::DeliverAfterGap { from, to: first } } else { Piece::Deliver }
    }

    /// The log could not be read: it is tried again.
    pub fn not_read(&mut self) {
        if self.state == State::Reading {
            self.state = State::Behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Goal: a subscriber that comes back gets what it missed, then what is new, and nothing twice.
    #[test]
    fn who_comes_back_reads_and_then_is_live() {
        let mut cursor = Cursor::new(3, 5);
        assert!(!cursor.published(5, 1, true), "it has not seen 3 and 4");
        assert_eq!(cursor.poll_read(true), Some(3));
        assert_eq!(cursor.poll_read(true), None, "one read at a time");
        assert_eq!(cursor.piece(3, 3, 6), Piece::Deliver);
        assert!(cursor.is_live());
        assert!(!cursor.published(5, 1, true), "it was in the piece");
        assert!(cursor.published(6, 2, true));
        assert_eq!(cursor.next(), 8);
    }

    // Goal: history that is gone is told, not skipped in silence.
    #[test]
    fn what_is_too_old_is_told() {
        let mut cursor = Cursor::new(2, 100);
        assert_eq!(cursor.poll_read(true), Some(2));
        assert_eq!(cursor.piece(40, 60, 100), Piece::DeliverAfterGap { from: 2, to: 40 });
        assert!(cursor.is_live());
    }

    proptest! {
        // Goal: invariant 1, over any order of publishing, slowness, lost notices and late pieces of the log.
        #[test]
        fn every_offset_comes_once_and_in_order(
            steps in prop::collection::vec((0_u8..6, 1_u64..4, any::<bool>()), 1..300),
            since in 0_u64..5,
        ) {
            let (mut log_end, mut told) = (5_u64, 5_u64);
            let mut cursor = Cursor::new(since, log_end);
            let mut delivered = since;
            let mut reading = None;
            for (step, count, takes) in steps {
                match step {
                    // Messages are written; later they are told, perhaps several at once.
                    0 | 1 => log_end += count,
                    2 if told < log_end => {
                        if cursor.published(told, log_end - told, takes) {
                            prop_assert!(takes);
                            prop_assert_eq!(delivered, told);
                            delivered = log_end;
                        }
                        told = log_end;
                    }
                    // A notice is lost (the worker was too busy to be told).
                    3 => told = log_end,
                    4 if reading.is_none() => reading = cursor.poll_read(takes),
                    5 => {
                        if let Some(from) = reading.take() {
                            let upto = log_end.min(from + count);
                            if upto == from {
                                cursor.not_read();
                                continue;
                            }
                            prop_assert_eq!(cursor.piece(from, upto - from, log_end), Piece::Deliver);
                            prop_assert_eq!(delivered, from);
                            delivered = upto;
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(cursor.next(), delivered);
            }
            // At rest: one more message is told, and everything is read.
            log_end += 1;
            let _ = reading.map(|_| cursor.not_read());
            if cursor.published(log_end - 1, 1, true) {
                delivered = log_end;
            }
            while let Some(from) = cursor.poll_read(true) {
                prop_assert_eq!(cursor.piece(from, log_end - from, log_end), Piece::Deliver);
                delivered = log_end;
            }
            prop_assert!(cursor.is_live());
            prop_assert_eq!(delivered, log_end);
        }
    }
}
