//! How many instances a load needs.
//!
//! **Job.** From what the load is now, between `min` and `max`: up fast, down slowly, no flapping. Pure. **Called by** `app`,
//! `scaler`.
//!
//! How: for each thing that is looked at, the load is averaged over `up` and divided by what one should have of it: so many are
//! needed. The thing that needs the most decides. More than now are wanted when it is a tenth above what those there should
//! carry; each step at most doubles, and steps are `up` apart. Fewer are wanted when throughout `down` fewer would have been
//! enough, with a tenth to spare; each step takes away a quarter at most, or one. Between the two nothing changes: that gap is what stops flapping.
//! Where it does not (latency and open requests grow faster than the load when instances are full), the number that was soon
//! taken back is remembered: until it is tried again twice as long passes, each time it was too few.
//!
//! Invariants
//! 1. `min <= wanted <= max`, but for 0 when `min` is 0 and nobody asked for `idle`.
//! 2. Two steps down are at least `down` apart, and no step down comes within `down` of a step up.
//! 3. A load that cannot be measured (yet) changes nothing by itself.
//!
//! Not here: measuring, starting and ending (`keeper`, `app`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::{ScaleBy, ScaleSettings, Target};

/// What the load is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Those that carry it: ready, not on their way out.
    pub ready: u32,
    /// Requests open at all of them.
    pub in_flight: u32,
    /// Requests waiting in line.
    pub queued: u32,
    /// Requests that each takes at once; 0: no limit.
    pub places: u32,
    /// Time to the first byte.
    pub latency: Duration,
    /// CPU time of all of them, percent of one core; `None`: not known.
    pub cpu_percent: Option<f64>,
    /// Requests ever sent: a difference tells that somebody asked.
    pub requests: u64,
}

/// Samples remembered; more often than this is not looked.
const SAMPLES_MAX: usize = 512;
/// Part above or below which a need is another one.
const TOLERANCE: f64 = 0.1;
/// The longest wait before a number that was too few is tried again, in times of `down`.
const PATIENCE_MAX: u32 = 16;
/// Things that can be looked at.
const TARGETS_MAX: usize = 4;

/// The bounds and the speed.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // as in `scale` and `instances`
pub struct Rules {
    pub scale: ScaleSettings,
    pub min: u32,
    pub max: u32,
}

/// How many would carry the load, each thing by itself, in the order of the targets.
type Needs = [f64; TARGETS_MAX];

/// The state machine.
#[derive(Debug)]
pub struct Scaler {
    rules: Rules,
    wanted: u32,
    /// Of the last `up`.
    samples: VecDeque<(Instant, Needs)>,
    /// The largest needs of the last `down`: newer ones are smaller, so there are at most as many as there are numbers.
    peaks: VecDeque<(Instant, u32)>,
    /// When the number changed.
    changed: Instant,
    stepped_up: Option<Instant>,
    stepped_down: Option<Instant>,
    /// A number that was tried and soon taken back.
    too_few: Option<u32>,
    /// How long it is not tried again, in times of `down`.
    patience: u32,
    /// When somebody last asked.
    asked: Instant,
    requests: u64,
    /// What decided last, and how many it needs.
    need: (Target, f64),
    /// The last change was a sleeper's waking.
    woken: bool,
}

impl Scaler {
    /// Begins with `wanted` instances.
    pub fn new(rules: Rules, wanted: u32, now: Instant) -> Self {
        let first = rules.scale.targets.first().copied();
        Self {
            wanted: wanted.clamp(rules.min, rules.max),
            samples: VecDeque::new(),
            peaks: VecDeque::new(),
            changed: now,
            stepped_up: None,
            stepped_down: None,
            too_few: None,
            patience: 1,
            asked: now,
            requests: 0,
            need: (first.unwrap_or(Target { by: ScaleBy::InFlight, each: 16.0 }), 0.0),
            woken: false,
            rules,
        }
    }

    /// How many there should be.
    pub const fn wanted(&self) -> u32 {
        self.wanted
    }

    /// What decides, and how many it needs, averaged.
    pub const fn need(&self) -> (Target, f64) {
        self.need
    }

    /// The same for people: `by cpu 2.4 are needed`.
    pub fn why(&self) -> String {
        if self.wanted == 0 {
            return format!(
                "nobody asked for {}",
                madang_settings::unit::show_duration(self.rules.scale.idle)
            );
        }
        if self.woken {
            return "somebody asks".to_owned();
        }
        format!("by {} {:.1} are needed", self.need.0.by.name(), self.need.1)
    }

    /// The operator wants so many for now; bounded by `min` and `max`.
    pub fn set(&mut self, wanted: u32, now: Instant) {
        self.wanted = wanted.clamp(self.rules.min, self.rules.max);
        (self.changed, self.asked, self.woken, self.too_few) = (now, now, false, None);
        self.peaks.clear();
    }

    /// Somebody asks and nobody is there.
    pub fn wake(&mut self, now: Instant) {
        self.asked = now;
        if self.wanted == 0 {
            self.set(1, now);
            self.woken = true;
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
        let mut needs = Needs::default();
        for (need, target) in needs.iter_mut().zip(&self.rules.scale.targets) {
            *need = self.need_of(*target, load);
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((now, needs));
        while self.samples.len() > 1
            && self
                .samples
                .front()
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) > self.rules.scale.up)
        {
            self.samples.pop_front();
        }
        let mean = |at: usize| {
            let sum: f64 = self.samples.iter().map(|(_, needs)| needs[at]).sum();
            sum / self.samples.len() as f64
        };
        let means = self.rules.scale.targets.iter().enumerate().map(|(at, target)| (*target, mean(at)));
        if let Some(most) = means.max_by(|(_, a), (_, b)| a.total_cmp(b)) {
            self.need = most;
        }
        self.judge(now);
    }

    /// How many would carry the load as it is now, by one thing.
    fn need_of(&self, target: Target, load: &Load) -> f64 {
        // What is wanted may not be there yet: those that are say how crowded it is.
        let ready = f64::from(if load.ready == 0 { self.wanted } else { load.ready });
        let open = f64::from(load.in_flight);
        match target.by {
            ScaleBy::InFlight => f64::from(load.in_flight.saturating_add(load.queued)) / target.each,
            // Invariant 3: as many as there are.
            ScaleBy::Cpu => load.cpu_percent.map_or(f64::from(self.wanted), |percent| percent / target.each),
            // Latency says how crowded each is; nobody there, nothing to do.
            ScaleBy::Latency if load.in_flight == 0 && load.queued == 0 => 0.0,
            ScaleBy::Latency => ready * load.latency.as_secs_f64() * 1e6 / target.each,
            // Whoever waits needs room beside those that are served.
            ScaleBy::Queue if load.queued > 0 => ready + f64::from(load.queued) / target.each,
            // Nobody waits: as many as would be half full; where that is not known one fewer may do.
            ScaleBy::Queue if load.places > 0 => (open * 2.0 / f64::from(load.places)).min(ready),
            ScaleBy::Queue => (ready - 1.0) * (1.0 - TOLERANCE),
        }
    }

    fn judge(&mut self, now: Instant) {
        let (up, down, idle) = (self.rules.scale.up, self.rules.scale.down, self.rules.scale.idle);
        let since = |at: Instant| now.saturating_duration_since(at);
        let floor = self.rules.min.max(1);
        let patient = down * self.patience;
        let mean = self.need.1;
        // The last digits of a division need no further one.
        let spared = whole(mean / (1.0 - TOLERANCE) - 1e-9).clamp(floor, self.rules.max.max(floor));
        while self.peaks.back().is_some_and(|(_, peak)| *peak <= spared) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((now, spared));
        while self.peaks.len() > 1 && self.peaks.front().is_some_and(|(at, _)| since(*at) > patient) {
            self.peaks.pop_front();
        }
        if mean > f64::from(self.wanted) * (1.0 + TOLERANCE) {
            let may_step = self.stepped_up.is_none_or(|at| since(at) >= up);
            if may_step && self.wanted < self.rules.max {
                self.woken = false;
                let before = self.wanted;
                self.wanted = whole(mean).min(before * 2).clamp(self.rules.min, self.rules.max);
                (self.changed, self.stepped_up) = (now, Some(now));
                if self.stepped_down.take().is_some_and(|at| since(at) < 2 * down) {
                    self.too_few = Some(before);
                    self.patience = (self.patience * 2).min(PATIENCE_MAX);
                }
                // What was measured with fewer says nothing about those that are there now.
                self.samples.clear();
            }
            return;
        }
        let passed = since(self.changed);
        // The most that was needed in a time until now.
        let most = |within: Duration| {
            self.peaks.iter().find(|(at, _)| since(*at) <= within).map_or(spared, |(_, peak)| *peak)
        };
        let mut to = self.wanted;
        if passed >= down {
            to = most(down).max(self.wanted - (self.wanted / 4).max(1)).max(floor).min(self.wanted);
        }
        if let Some(few) = self.too_few.filter(|few| to <= *few) {
            // Tried again, by one, when its time has come; until then one more than that is the least.
            let again = passed >= patient && most(patient) < self.wanted;
            to = if again { self.wanted - 1 } else { (few + 1).min(self.wanted) };
        }
        if to < self.wanted {
            self.woken = false;
            let survived = self.stepped_down.replace(now).is_some();
            match self.too_few {
                Some(few) if to <= few => self.too_few = None,
                None if survived => self.patience = (self.patience / 2).max(1),
                _ => {}
            }
            self.wanted = to;
            self.changed = now;
        } else if self.rules.min == 0 && self.wanted == 1 && since(self.asked) >= idle {
            self.wanted = 0;
            self.changed = now;
            self.samples.clear();
        }
    }
}

/// So many at least, bounded: no settings allow more.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded before
fn whole(need: f64) -> u32 {
    need.clamp(0.0, 65_536.0).ceil() as u32
}

#[cfg(test)]
mod tests;
