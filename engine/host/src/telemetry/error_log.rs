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
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
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
    json: AtomicBool,
    told: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl Log {
    /// A log that keeps `level` and what is more important.
    pub fn new(sender: LogSender, level: Level) -> Self {
        let log = Self {
            shared: Arc::new(Shared {
                sender,
                level: AtomicU8::new(0),
                json: AtomicBool::new(false),
                told: Mutex::default(),
            }),
        };
        log.set_level(level);
        log
    }

    /// From a reload.
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
    }

    /// Whether lines are JSON objects.
    pub fn set_json(&self, on: bool) {
        self.shared.json.store(on, Ordering::Relaxed);
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
        self.line(level, what, detail, &[], left_out);
    }

    /// Tells an event however often it happens: starts, reloads, ends.
    pub fn always(&self, level: Level, what: &'static str, detail: &str) {
        if level as u8 <= self.shared.level.load(Ordering::Relaxed) {
            self.line(level, what, detail, &[], 0);
        }
    }

    /// The same with its facts one by one, for programs: `detail` has them as a sentence.
    pub fn facts(&self, level: Level, what: &'static str, detail: &str, facts: &[(&str, &str)]) {
        if level as u8 <= self.shared.level.load(Ordering::Relaxed) {
            self.line(level, what, detail, facts, 0);
        }
    }

    fn line(&self, level: Level, what: &'static str, detail: &str, facts: &[(&str, &str)], left_out: u64) {
        let time = jiff::Zoned::try_from(clock::wall())
            .map(|at| at.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string())
            .unwrap_or_default();
        let level = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        let mut line = if self.shared.json.load(Ordering::Relaxed) {
            json(&time, level, what, detail, facts, left_out)
        } else {
            text(&time, level, what, detail, left_out)
        };
        line.push(b'\n');
        // A writer that lags cannot be told of in a log; metrics count dropped lines of the access log.
        let _ = self.shared.sender.send(ERROR_LOG, line);
    }
}

fn text(time: &str, level: &str, what: &str, detail: &str, left_out: u64) -> Vec<u8> {
    let mut line = format!("{time} {level:<5} {what}: ").into_bytes();
    escape(&mut line, detail.as_bytes());
    if left_out > 0 {
        line.extend_from_slice(format!(" ({left_out} more like it since)").as_bytes());
    }
    line
}

/// Names of facts that are not ours to give.
const OWN: [&str; 5] = ["time", "level", "event", "message", "more"];

fn json(time: &str, level: &str, what: &str, detail: &str, facts: &[(&str, &str)], left_out: u64) -> Vec<u8> {
    let mut object = serde_json::Map::new();
    let mut add = |name: &str, value: serde_json::Value| object.insert(name.to_owned(), value);
    add("time", time.into());
    add("level", level.into());
    add("event", what.into());
    add("message", detail.into());
    for (name, value) in facts.iter().filter(|(name, _)| !OWN.contains(name)) {
        add(name, (*value).into());
    }
    if left_out > 0 {
        add("more", left_out.into());
    }
    serde_json::Value::Object(object).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: one line is one event in both forms, whatever is in it. Method: texts that would break out.
    #[test]
    fn a_line_is_one_event_in_both_forms() {
        let facts = [("server", "a\"b\n"), ("level", "forged")];
        let json = json("T", "warn", "pool", "two\nlines \u{1b}[2J", &facts, 3);
        assert!(!json.contains(&b'\n') && !json.contains(&0x1b));
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["message"], "two\nlines \u{1b}[2J");
        assert_eq!((value["server"].as_str(), value["level"].as_str()), (Some("a\"b\n"), Some("warn")));
        assert_eq!((value["more"].as_u64(), value["event"].as_str()), (Some(3), Some("pool")));
        let text = text("T", "warn", "pool", "two\nlines", 3);
        assert!(!text.contains(&b'\n'));
        assert!(text.ends_with(b" (3 more like it since)"));
    }
}
