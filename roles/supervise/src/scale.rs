//! How many instances a load needs.
//!
//! **Job.** From what the load is now, between `min` and `max`: up fast, down slowly, no flapping. Pure. **Called by** `app`.
//!
//! How: the load is averaged over `up`. More instances than now are wanted when the average is a tenth above what those there
//! should carry; each step at most doubles, and steps are `up` apart. One fewer is wanted when throughout `down` one fewer
//! would have been enough, with a tenth to spare. Between the two nothing changes: that gap is what stops flapping.
//!
//! Invariants
//! 1. `min <= wanted <= max`, but for 0 when `min` is 0 and nobody asked for `idle`.
//! 2. Two steps down are at least `down` apart, and no step down comes within `down` of a step up.
//!
//! Not here: measuring, starting and ending (`keeper`, `app`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::{AppSettings, ScaleBy, ScaleSettings};

/// What the load is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Requests open at all instances.
    pub in_flight: u32,
    /// Requests waiting in line.
    pub queued: u32,
    /// Time to the first byte.
    pub latency: Duration,
    /// CPU time of all instances, percent of one core.
    pub cpu_percent: f64,
    /// Requests ever sent: a difference tells that somebody asked.
    pub requests: u64,
}

/// Samples remembered; more often than this is not looked.
const SAMPLES_MAX: usize = 512;

/// The state machine.
#[derive(Debug)]
pub struct Scaler {
    rules: ScaleSettings,
    min: u32,
    max: u32,
    wanted: u32,
    /// Of the last `up`.
    samples: VecDeque<(Instant, f64)>,
    /// When more was last needed than one instance fewer could carry, or the number changed.
    needed: Instant,
    stepped_up: Option<Instant>,
    /// When somebody last asked.
    asked: Instant,
    requests: u64,
}

impl Scaler {
    /// Begins with `wanted` instances.
    pub fn new(settings: &AppSettings, wanted: u32, now: Instant) -> Self {
        let (min, max) = (settings.instances_min, settings.instances_max);
        Self {
            rules: settings.scale,
            min,
            max,
            wanted: wanted.clamp(min, max),
            samples: VecDeque::new(),
            needed: now,
            stepped_up: None,
            asked: now,
            requests: 0,
        }
    }

    /// How many instances there should be.
    pub const fn wanted(&self) -> u32 {
        self.wanted
    }

    /// The operator wants so many for now; bounded by `min` and `max`.
    pub fn set(&mut self, wanted: u32, now: Instant) {
        self.wanted = wanted.clamp(self.min, self.max);
        (self.needed, self.asked) = (now, now);
    }

    /// Somebody asks and nobody is there.
    pub fn wake(&mut self, now: Instant) {
        self.asked = now;
        if self.wanted == 0 {
            self.wanted = 1;
            self.needed = now;
        }
    }

    /// Looks at the load. To be told a few times a second.
    pub fn see(&mut self, load: &Load, now: Instant) {
        if load.in_flight > 0 || load.queued > 0 || load.requests != self.requests {
            self.asked = now;
        }
        self.requests = load.requests;
        if self.wanted == 0 {
            return;
        }
        let use_now = self.use_of(load);
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((now, use_now));
        while self.samples.len() > 1
            && self.samples.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > self.rules.up)
        {
            self.samples.pop_front();
        }
        let sum: f64 = self.samples.iter().map(|(_, value)| value).sum();
        let mean = sum / self.samples.len() as f64;
        self.judge(mean, now);
    }

    /// How many instances' worth of work there is.
    fn use_of(&self, load: &Load) -> f64 {
        let (target, there) = (self.rules.target.0, f64::from(self.wanted));
        match self.rules.by {
            ScaleBy::InFlight => f64::from(load.in_flight + load.queued) / target,
            ScaleBy::Cpu => load.cpu_percent / target,
            // Latency says how crowded each is; nobody there, nothing to do.
            ScaleBy::Latency if load.in_flight == 0 && load.queued == 0 => 0.0,
            ScaleBy::Latency => there * load.latency.as_secs_f64() * 1e6 / target,
            // Whoever waits needs room beside those that are served; without anybody waiting one fewer may do.
            ScaleBy::Queue if load.queued == 0 => there - 1.0,
            ScaleBy::Queue => there + f64::from(load.queued) / target,
        }
    }

    fn judge(&mut self, mean: f64, now: Instant) {
        let there = f64::from(self.wanted);
        let may_step = self.stepped_up.is_none_or(|at| now.saturating_duration_since(at) >= self.rules.up);
        if mean > there * 1.1 {
            self.needed = now;
            if may_step && self.wanted < self.max {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded on the next line
                let enough = mean.min(4096.0).ceil() as u32;
                self.wanted = enough.min(self.wanted * 2).clamp(self.min, self.max);
                self.stepped_up = Some(now);
                // What was measured with fewer says nothing about those that are there now.
                self.samples.clear();
            }
            return;
        }
        if mean > (there - 1.0) * 0.9 && self.wanted > 1 {
            self.needed = now;
        }
        let floor = self.min.max(1);
        if self.wanted > floor && now.saturating_duration_since(self.needed) >= self.rules.down {
            self.wanted -= 1;
            self.needed = now;
        } else if self.min == 0
            && self.wanted == 1
            && now.saturating_duration_since(self.asked) >= self.rules.idle
        {
            self.wanted = 0;
            self.samples.clear();
        }
    }
}

#[cfg(test)]
mod tests;
