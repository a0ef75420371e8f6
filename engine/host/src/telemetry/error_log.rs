//! The error log: what an operator should know.
//!
//! **Job.** One line per event with time, level, words and facts; the same event often is told once and counted.
//! **Called by** everyone through a [`Log`] handle. **Calls** `writer`.
//!
//! Invariants
//! 1. An event is told at most once in ten seconds; how often it was left out is told with the next.
//! 2. The table of events is bounded by the code: keys are `&'static str`.
//!
//! Not here: requests (`access`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::access::escape;
use super::writer::LogSender;
use crate::clock;
use crate::config::Level;

/// The error log's place among the writer's targets.
pub const ERROR_LOG: usize = 0;
/// The access log's place.
pub const ACCESS_LOG: usize = 1;
const QUIET: Duration = Duration::from_secs(10);

/// A handle to the error log.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    sender: LogSender,
    level: AtomicU8,
    told: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl Log {
    /// A log that keeps `level` and what is more important.
    pub fn new(sender: LogSender, level: Level) -> Self {
        let log =
            Self { shared: Arc::new(Shared { sender, level: AtomicU8::new(0), told: Mutex::default() }) };
        log.set_level(level);
        log
    }

    /// From a reload.
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
    }

    /// Tells an event. `what` is its name; `detail` the sentence with its facts.
    pub fn tell(&self, level: Level, what: &'static str, detail: &str) {
        if level as u8 > self.shared.level.load(Ordering::Relaxed) {
            return;
        }
        let now = clock::now();
        let left_out = {
            let mut told = self.shared.told.lock().unwrap_or_else(PoisonError::into_inner);
            match told.get_mut(what) {
                Some((last, left_out)) if now.saturating_duration_since(*last) < QUIET => {
                    *left_out += 1;
                    return;
                }
                Some((last, left_out)) => {
                    *last = now;
                    std::mem::take(left_out)
                }
                None => {
                    told.insert(what, (now, 0));
                    0
                }
            }
        };
        self.line(level, what, detail, left_out);
    }

    /// Tells an event however often it happens: starts, reloads, ends.
    pub fn always(&self, level: Level, what: &'static str, detail: &str) {
        if level as u8 <= self.shared.level.load(Ordering::Relaxed) {
            self.line(level, what, detail, 0);
        }
    }

    fn line(&self, level: Level, what: &'static str, detail: &str, left_out: u64) {
        let time = jiff::Zoned::try_from(clock::wall())
            .map(|at| at.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string())
            .unwrap_or_default();
        let level = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        let mut line = format!("{time} {level:<5} {what}: ").into_bytes();
        escape(&mut line, detail.as_bytes());
        if left_out > 0 {
            line.extend_from_slice(format!(" ({left_out} more like it since)").as_bytes());
        }
        line.push(b'\n');
        // A writer that lags cannot be told of in a log; metrics count dropped lines of the access log.
        let _ = self.shared.sender.send(ERROR_LOG, line);
    }
}
