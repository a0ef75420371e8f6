//! The hashing threads: where passwords wait to be checked.
//!
//! **Job.** Run slow work on a few threads of its own, with a bound on how much waits. **Called by** `sessions`, `users`,
//! `scram`. **Calls** `host::thread`.
//!
//! Invariants
//! 1. At most `at_once` pieces of work run and `waiting_max` wait; one more is refused at once, with the time it may be looked at.
//! 2. Who goes away while waiting costs nothing more: the work is passed over.
//! 3. A piece of work that panics ends neither its thread nor anybody else's work.
//!
//! Not here: what is hashed (`password`, `scram`).

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use madang_host::{clock, thread};
use tokio::sync::oneshot;

use crate::refused::Refused;

/// How much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeskLimits {
    /// Threads: 1 to 64, default 2.
    pub at_once: usize,
    /// Pieces of work that wait: 1 to 10,000, default 64.
    pub waiting_max: usize,
}

/// What one piece of work takes until it is known better: argon2id at its default cost. Nanoseconds.
const FIRST_GUESS_NS: u64 = 40_000_000;

type Work = Box<dyn FnOnce() + Send>;

struct Shared {
    line: Mutex<Line>,
    more: Condvar,
    at_once: usize,
    waiting_max: AtomicUsize,
    /// Of one piece of work, smoothed.
    each_ns: AtomicU64,
    done: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Line {
    work: VecDeque<Work>,
    closed: bool,
}

/// The desk. The last one that is dropped ends its threads.
pub(crate) struct Desk {
    shared: Arc<Shared>,
}

impl Desk {
    /// Starts the threads.
    pub(crate) fn start(limits: DeskLimits) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            line: Mutex::default(),
            more: Condvar::new(),
            at_once: limits.at_once.max(1),
            waiting_max: AtomicUsize::new(limits.waiting_max),
            each_ns: AtomicU64::new(FIRST_GUESS_NS),
            done: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let desk = Self { shared };
        for number in 0..desk.shared.at_once {
            let shared = Arc::clone(&desk.shared);
            thread::start(&format!("hash-{number}"), move || shared.run())?;
        }
        Ok(desk)
    }

    /// Has it done on a thread of the desk.
    ///
    /// # Errors
    /// [`Refused::LoginBusy`] at once when the line is full. [`Refused::Failed`]: the work broke off.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let answer = self.put(work)?;
        answer.await.map_err(|_| Refused::Failed { what: "answer from the hashing threads" })
    }

    fn put<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Refused> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move || {
            if !reply.is_closed() {
                let _ = reply.send(work());
            }
        });
        let mut line = self.shared.line();
        let waiting = line.work.len();
        if waiting >= self.shared.waiting_max.load(Ordering::Relaxed) {
            drop(line);
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::LoginBusy { waiting, wait: self.shared.wait(waiting) });
        }
        line.work.push_back(work);
        drop(line);
        self.shared.more.notify_one();
        Ok(answer)
    }

    /// A new bound on what waits; threads stay as many as there are.
    pub(crate) fn set_waiting_max(&self, waiting_max: usize) {
        self.shared.waiting_max.store(waiting_max, Ordering::Relaxed);
    }

    /// Waiting, done, refused: for metrics.
    pub(crate) fn counts(&self) -> (usize, u64, u64) {
        let shared = &self.shared;
        let waiting = shared.line().work.len();
        (waiting, shared.done.load(Ordering::Relaxed), shared.refused.load(Ordering::Relaxed))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.shared.line().closed = true;
        self.shared.more.notify_all();
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing that can panic is done under this lock.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until half of the line is gone.
    fn wait(&self, waiting: usize) -> Duration {
        let each = Duration::from_nanos(self.each_ns.load(Ordering::Relaxed));
        let rounds = u32::try_from(waiting / 2 / self.at_once + 1).unwrap_or(u32::MAX);
        each.saturating_mul(rounds).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }

    fn run(&self) {
        while let Some(work) = self.next() {
            let began = clock::now();
            // Whoever waits for it learns by the answer's end being dropped.
            let _ = catch_unwind(AssertUnwindSafe(work));
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let each = self.each_ns.load(Ordering::Relaxed);
            self.each_ns.store(each - each / 8 + took / 8, Ordering::Relaxed);
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn next(&self) -> Option<Work> {
        let mut line = self.line();
        loop {
            // What waits is still done: somebody holds the other end.
            if let Some(work) = line.work.pop_front() {
                return Some(work);
            }
            if line.closed {
                return None;
            }
            line = self.more.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    // Goal: with the thread taken the line fills to its bound, the next is refused with a time, who leaves is passed over, and
    // the desk goes on after work that panicked.
    // Method: one thread held by a channel; a line of two; a piece whose asker is gone; a piece that panics.
    #[test]
    fn the_line_is_bounded_and_outlives_its_work() {
        let desk = Desk::start(DeskLimits { at_once: 1, waiting_max: 2 }).unwrap();
        let ((began, begins), (go, goes)) = (mpsc::channel(), mpsc::channel::<()>());
        let held = desk
            .put(move || {
                began.send(()).unwrap();
                goes.recv().unwrap()
            })
            .unwrap();
        begins.recv().unwrap();
        let (told, tells) = mpsc::channel();
        drop(desk.put(move || told.send("passed over work was done")).unwrap());
        let broken = desk.put(|| panic!("broken")).unwrap();
        let full = desk.put(|| ()).unwrap_err();
        assert!(matches!(full, Refused::LoginBusy { waiting: 2, wait } if wait >= Duration::from_secs(1)));
        assert_eq!((full.name(), full.status()), ("login-busy", 503));

        go.send(()).unwrap();
        held.blocking_recv().unwrap();
        assert!(broken.blocking_recv().is_err());
        assert_eq!(desk.put(|| 7).unwrap().blocking_recv(), Ok(7));
        assert!(tells.recv().is_err(), "the sender was dropped without a word");
        assert_eq!(desk.counts().2, 1);
    }

    // Goal: dropping the desk ends its threads, after what was asked for.
    #[test]
    fn what_was_asked_for_is_done_before_the_end() {
        let desk = Desk::start(DeskLimits { at_once: 2, waiting_max: 64 }).unwrap();
        let answers: Vec<_> = (0..20).map(|number| desk.put(move || number).unwrap()).collect();
        let shared = Arc::downgrade(&desk.shared);
        drop(desk);
        let got: Vec<i32> = answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
        assert_eq!(got, (0..20).collect::<Vec<_>>());
        // Threads hold the last references; they leave once the line is empty.
        while shared.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}
