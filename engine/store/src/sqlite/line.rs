//! The line before a database thread.
//!
//! **Job.** Hold what waits for the writer or the readers, bounded by count and bytes; hand it out in order.
//! **Called by** `sqlite` (puts in), `writer` and `readers` (take out).
//!
//! Invariants
//! 1. At most `count_max` jobs of together `bytes_max` wait: a full line refuses at once.
//! 2. A closed line takes nothing more; what waits in it is still handed out.
//!
//! Not here: what a job does (`writer`, `readers`).

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::StoreError;

/// Jobs of one kind, waiting.
pub(super) struct Line<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    count_max: usize,
    bytes_max: usize,
}

struct State<J> {
    waiting: VecDeque<(J, usize)>,
    bytes: usize,
    closed: bool,
    /// Threads that sleep and were not called. Calling costs a system call even where nobody sleeps.
    idle: usize,
    /// Threads that were called and are not awake yet.
    called: usize,
}

impl<J> State<J> {
    fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && !self.closed
    }

    /// One thread is to be called; false: none sleeps that was not called.
    fn call(&mut self) -> bool {
        let calls = self.idle > 0;
        if calls {
            self.idle -= 1;
            self.called += 1;
        }
        calls
    }

    /// One thread is awake, by a call or not: which one does not matter to the counts.
    fn wakes(&mut self) {
        if self.called > 0 {
            self.called -= 1;
        } else {
            self.idle -= 1;
        }
    }
}

/// What the line has for a thread.
pub(super) enum Taken<J> {
    /// Jobs, in order.
    Jobs(Vec<J>),
    /// Nothing came in the time.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

impl<J> Line<J> {
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, closed: false, idle: 0, called: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new(), count_max, bytes_max }
    }

    /// Puts a job of this weight at the end.
    pub(super) fn put(&self, job: J, bytes: usize) -> Result<(), (J, StoreError)> {
        let mut state = self.lock();
        if state.closed {
            return Err((job, StoreError::Closed));
        }
        let waiting = state.waiting.len();
        // One job alone is let in whatever it weighs: its own limits were checked.
        if waiting >= self.count_max || (waiting > 0 && state.bytes + bytes > self.bytes_max) {
            return Err((job, StoreError::Overloaded { waiting, waiting_max: self.count_max }));
        }
        state.bytes += bytes;
        state.waiting.push_back((job, bytes));
        let calls = state.call();
        drop(state);
        if calls {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// The first jobs, at most `count_max` of them with about `bytes_max`; waits at most `patience` for the first.
    pub(super) fn take(&self, count_max: usize, bytes_max: usize, patience: Duration) -> Taken<J> {
        let mut state = self.lock();
        if state.is_quiet() && !patience.is_zero() {
            state.idle += 1;
            let sleeps_on = |state: &mut State<J>| {
                let sleeps = state.is_quiet();
                if sleeps {
                    // What it was called for, another has taken.
                    state.wakes();
                    state.idle += 1;
                }
                sleeps
            };
            let woken = self.changed.wait_timeout_while(state, patience, sleeps_on);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.wakes();
        }
        if state.waiting.is_empty() {
            return if state.closed { Taken::Closed } else { Taken::Nothing };
        }
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while jobs.len() < count_max && (jobs.is_empty() || bytes < bytes_max) {
            let Some((job, weight)) = state.waiting.pop_front() else { break };
            bytes += weight;
            jobs.push(job);
        }
        state.bytes -= bytes;
        Taken::Jobs(jobs)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        // Every change of the state is whole before the lock is let go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the line refuses what is over its limits, keeps the order, and hands out what waits after it was closed.
    // Method: fill a line of three jobs and ten bytes, close it, empty it.
    #[test]
    fn a_full_line_refuses_and_a_closed_one_is_emptied() {
        let line = Line::new(3, 10);
        line.put("a", 6).unwrap();
        assert!(matches!(line.put("b", 5), Err(("b", StoreError::Overloaded { waiting: 1, .. }))));
        line.put("c", 4).unwrap();
        line.put("d", 0).unwrap();
        assert!(matches!(
            line.put("e", 0),
            Err(("e", StoreError::Overloaded { waiting: 3, waiting_max: 3 }))
        ));
        line.close();
        assert!(matches!(line.put("f", 0), Err(("f", StoreError::Closed))));
        assert!(matches!(line.take(2, 100, Duration::ZERO), Taken::Jobs(jobs) if jobs == ["a", "c"]));
        assert!(matches!(line.take(2, 100, Duration::ZERO), Taken::Jobs(jobs) if jobs == ["d"]));
        assert!(matches!(line.take(2, 100, Duration::MAX), Taken::Closed));
    }

    // Goal: no job lies there while a thread sleeps, though a thread is called only if one sleeps.
    // Method: three threads that take and two that put, one at a time, each next one when the one before was taken or in a heap.
    #[test]
    fn no_job_is_left_while_a_thread_sleeps() {
        let line = Line::new(1000, 1000);
        let taken = Mutex::new(0_u32);
        let all = Condvar::new();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    loop {
                        match line.take(2, 100, Duration::from_mins(1)) {
                            Taken::Jobs(jobs) => {
                                *taken.lock().unwrap() += u32::try_from(jobs.len()).unwrap();
                                all.notify_all();
                            }
                            Taken::Nothing => panic!("a thread slept while there was something to do"),
                            Taken::Closed => return,
                        }
                    }
                });
            }
            let mut put = 0;
            for round in 0..2000 {
                let heap = if round % 3 == 0 { 5 } else { 1 };
                for _ in 0..heap {
                    line.put((), 0).unwrap();
                }
                put += heap;
                let patience = Duration::from_secs(20);
                let (so_far, _) =
                    all.wait_timeout_while(taken.lock().unwrap(), patience, |taken| *taken < put).unwrap();
                assert_eq!(*so_far, put, "something lies there and nobody takes it");
            }
            line.close();
        });
        let state = line.lock();
        assert_eq!((state.idle, state.called, state.waiting.len()), (0, 0, 0));
    }

    #[test]
    fn one_job_alone_is_let_in_whatever_it_weighs() {
        let line = Line::new(3, 10);
        line.put("a", 1000).unwrap();
        assert!(line.put("b", 1).is_err());
        assert!(matches!(line.take(9, 1, Duration::ZERO), Taken::Jobs(jobs) if jobs == ["a"]));
        assert!(matches!(line.take(9, 1, Duration::ZERO), Taken::Nothing));
    }
}
