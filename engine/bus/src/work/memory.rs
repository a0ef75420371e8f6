//! A line of jobs in memory, for one machine.
//!
//! **Job.** Do what `work` promises for as long as the process lives. **Called by** `work`.
//!
//! Not here: surviving the process (`nats::work`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use madang_host::clock;
use tokio::sync::Notify;

use super::{Hold, Job, Put, WorkLimits};
use crate::error::BusError;

/// The line.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Shared>);

struct Shared {
    limits: WorkLimits,
    state: Mutex<State>,
    /// A job was put, or is to be had earlier than whoever waits thinks.
    news: Notify,
}

#[derive(Default)]
struct State {
    /// By when they may be taken, then by age.
    jobs: BTreeMap<(Instant, u64), Waiting>,
    /// When each job may be taken: the other half of its key.
    due: HashMap<u64, Instant>,
    ids: HashMap<String, Instant>,
    /// When ids were last cleared of old ones.
    cleared: Option<Instant>,
    bytes: u64,
    numbers: u64,
}

struct Waiting {
    id: String,
    bytes: Bytes,
    attempts: u32,
}

/// A job that was taken.
#[derive(Debug)]
pub(super) struct Taken {
    line: Memory,
    number: u64,
    attempt: u32,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

impl Memory {
    pub(crate) fn new(limits: WorkLimits) -> Self {
        Self(Arc::new(Shared { limits, state: Mutex::new(State::default()), news: Notify::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Changed in whole steps.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, id: &str, bytes: Bytes) -> Result<Put, BusError> {
        let (now, limits) = (clock::now(), self.0.limits);
        let mut state = self.state();
        let state = &mut *state;
        if state.cleared.is_none_or(|at| now - at > limits.remembered / 4) {
            state.ids.retain(|_, at| now - *at <= limits.remembered);
            state.cleared = Some(now);
        }
        if state.ids.get(id).is_some_and(|at| now - *at <= limits.remembered) {
            return Ok(Put { duplicate: true });
        }
        let max = usize::try_from(limits.jobs_max).unwrap_or(usize::MAX);
        if state.jobs.len() >= max || state.bytes + bytes.len() as u64 > limits.bytes_max {
            return Err(BusError::Full { what: "the line of jobs", waiting: state.jobs.len(), max });
        }
        state.ids.insert(id.to_owned(), now);
        state.bytes += bytes.len() as u64;
        state.numbers += 1;
        let number = state.numbers;
        state.due.insert(number, now);
        state.jobs.insert((now, number), Waiting { id: id.to_owned(), bytes, attempts: 0 });
        self.0.news.notify_one();
        Ok(Put { duplicate: false })
    }

    pub(super) async fn take(&self, max: usize, wait: Duration) -> Vec<Job> {
        let end = clock::now() + wait;
        loop {
            let now = clock::now();
            let (jobs, next) = self.take_now(max, now);
            if !jobs.is_empty() || now >= end {
                if next.is_some() {
                    // There may be more for somebody else who waits.
                    self.0.news.notify_one();
                }
                return jobs;
            }
            let due = next.map_or(end, |next| next.min(end));
            tokio::select! {
                () = self.0.news.notified() => {}
                () = clock::due(Some(due)) => {}
            }
        }
    }

    /// What may be taken, and when there will be more.
    fn take_now(&self, max: usize, now: Instant) -> (Vec<Job>, Option<Instant>) {
        let mut state = self.state();
        let mut jobs = Vec::new();
        while jobs.len() < max
            && let Some(entry) = state.jobs.first_entry()
            && entry.key().0 <= now
        {
            let ((_, number), mut waiting) = entry.remove_entry();
            waiting.attempts += 1;
            let taken = Taken { line: self.clone(), number, attempt: waiting.attempts };
            jobs.push(Job {
                id: waiting.id.clone(),
                bytes: waiting.bytes.clone(),
                attempt: waiting.attempts,
                hold: Hold::Memory(taken),
            });
            // It stays, for whoever comes after the patience.
            let due = now + self.0.limits.patience;
            state.due.insert(number, due);
            state.jobs.insert((due, number), waiting);
        }
        (jobs, state.jobs.first_key_value().map(|((due, _), _)| *due))
    }
}

impl Taken {
    /// The job's key, unless somebody else has taken it since.
    fn key(&self, state: &State) -> Option<(Instant, u64)> {
        let key = (*state.due.get(&self.number)?, self.number);
        (state.jobs.get(&key)?.attempts == self.attempt).then_some(key)
    }

    pub(super) fn done(self) {
        let mut state = self.line.state();
        // Done is done, whoever has it now.
        let key = state.due.remove(&self.number).map(|due| (due, self.number));
        if let Some(waiting) = key.and_then(|key| state.jobs.remove(&key)) {
            state.bytes -= waiting.bytes.len() as u64;
        }
    }

    pub(super) fn again(self, after: Duration) {
        let mut state = self.line.state();
        if let Some(key) = self.key(&state)
            && let Some(waiting) = state.jobs.remove(&key)
        {
            let due = clock::now() + after;
            state.due.insert(self.number, due);
            state.jobs.insert((due, self.number), waiting);
            self.line.0.news.notify_one();
        }
    }
}
