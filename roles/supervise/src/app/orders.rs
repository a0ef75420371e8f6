//! What an operator or a reload may ask of an app.
//!
//! **Job.** Start, stop, restart, scale, deploy, take back, new settings, end. **Called by** `keeper`.
//!
//! Not here: carrying it out (`app`).

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::{Action, App, Entering, Mode, Release, Tone};
use crate::config::{AppSettings, Program};
use crate::deploy::Deploy;
use crate::scale::Scaler;

/// Why an order is not obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Another version is on its way in.
    DeployUnderWay {
        /// Which.
        release: u32,
    },
    /// There is no version to go back to.
    NothingEarlier,
    /// Out of what the settings allow.
    Count {
        /// As asked.
        asked: u32,
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// Not of a job.
    Job,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeployUnderWay { release } => {
                write!(f, "version {release} is on its way in; `madang app rollback` takes it back")
            }
            Self::NothingEarlier => f.write_str("there is no earlier version to go back to"),
            Self::Count { asked, min, max } => {
                write!(f, "{asked} instances are not between {min} and {max}, as its settings say")
            }
            Self::Job => f.write_str("it is a job: it has no instances that stay"),
        }
    }
}

impl App {
    /// Starts what is stopped or has failed.
    pub fn start_all(&mut self, now: Instant) {
        self.restarts.forgive();
        self.again.clear();
        if !matches!(self.mode, Mode::Ending | Mode::Waiting) {
            self.mode = Mode::Running;
        }
        if self.settings.kind.is_job() && self.instances.is_empty() {
            // Counted as a first run: it starts at once.
            self.again.push(super::Again { release: self.current.number, at: now });
        }
    }

    /// Ends every instance, drained first, until [`App::start_all`].
    pub fn stop_all(&mut self, now: Instant) {
        if self.mode == Mode::Ending {
            return;
        }
        self.mode = Mode::Stopped;
        self.again.clear();
        if let Some(entering) = &mut self.entering {
            entering.deploy.take_back();
            self.advance_deploy(now);
        }
        for at in 0..self.instances.len() {
            self.let_go(at, "it is stopped", now);
        }
    }

    /// The server ends: every instance is asked to, at once.
    pub fn end(&mut self, now: Instant) {
        self.mode = Mode::Ending;
        self.again.clear();
        self.entering = None;
        for instance in &mut self.instances {
            instance.why = Some("the server ends".to_owned());
            instance.life.leave(&self.settings.stop, true, now);
        }
    }

    /// The same program anew: new instances first, then the old ones go.
    pub fn restart(&mut self, now: Instant) -> Result<u32, Refused> {
        self.enter(Arc::clone(&self.current.program), now)
    }

    /// A new version.
    pub fn deploy(&mut self, program: Arc<Program>, now: Instant) -> Result<u32, Refused> {
        self.enter(program, now)
    }

    /// Back: the version on its way in is taken back, or the one before this comes in again.
    pub fn roll_back(&mut self, now: Instant) -> Result<u32, Refused> {
        if let Some(entering) = &mut self.entering {
            entering.deploy.take_back();
            return Ok(self.current.number);
        }
        let Some(earlier) = self.earlier.last().cloned() else { return Err(Refused::NothingEarlier) };
        self.enter(earlier.program, now)
    }

    /// So many instances, until the load or another order changes it.
    pub fn scale(&mut self, count: u32, now: Instant) -> Result<(), Refused> {
        if self.settings.kind.is_job() {
            return Err(Refused::Job);
        }
        let (min, max) = (self.settings.instances_min, self.settings.instances_max);
        // A fixed number may be left for a while: the settings say what it is after the next start.
        let max = if self.settings.scales() { max } else { 64 };
        let min = if self.settings.scales() { min } else { 1 };
        if !(min..=max).contains(&count) {
            return Err(Refused::Count { asked: count, min, max });
        }
        self.wanted = count;
        if let Some(scaler) = &mut self.scaler {
            scaler.set(count, now);
        }
        Ok(())
    }

    /// Somebody asks while nobody is there.
    pub fn wake(&mut self, now: Instant) {
        if let Some(scaler) = &mut self.scaler {
            scaler.wake(now);
        }
    }

    /// New settings. Another program is a deploy; everything else holds from now on.
    pub fn update(&mut self, settings: Arc<AppSettings>, now: Instant) {
        let before = std::mem::replace(&mut self.settings, settings);
        let settings = Arc::clone(&self.settings);
        let counts = |of: &AppSettings| (of.instances_min, of.instances_max);
        if counts(&before) != counts(&settings) {
            self.wanted = self.wanted.clamp(settings.instances_min, settings.instances_max);
        }
        if counts(&before) != counts(&settings) || before.scale != settings.scale {
            self.scaler = settings.scales().then(|| Scaler::new(settings.scale_rules(), self.wanted, now));
        }
        if *before != *settings && matches!(self.mode, Mode::Failed(_)) {
            self.start_all(now);
        }
        if before.program != settings.program || before.kind != settings.kind {
            if settings.kind.is_job() {
                self.releases += 1;
                self.current = Release { number: self.releases, program: Arc::clone(&settings.program) };
                self.numbers = 0;
                self.again.clear();
                if self.mode == Mode::Done {
                    self.mode = Mode::Running;
                }
            } else {
                // A version on its way in is overtaken: what the file says now is what is wanted.
                if let Some(entering) = &mut self.entering {
                    entering.deploy.take_back();
                    self.advance_deploy(now);
                }
                let entered = self.enter(Arc::clone(&settings.program), now);
                if let Err(refused) = entered {
                    self.tell(Tone::Bad, format!("the new settings are not in: {refused}"));
                }
            }
        }
    }

    fn enter(&mut self, program: Arc<Program>, now: Instant) -> Result<u32, Refused> {
        if self.settings.kind.is_job() {
            return Err(Refused::Job);
        }
        if let Some(entering) = &self.entering {
            return Err(Refused::DeployUnderWay { release: entering.release.number });
        }
        self.releases += 1;
        let release = Release { number: self.releases, program };
        let number = release.number;
        // Nobody is served by it: the next start is of the new version, with nothing to go back to while it starts.
        let nobody = self.instances.iter().all(|instance| instance.life.phase().is_leaving());
        if matches!(self.mode, Mode::Failed(_)) {
            self.start_all(now);
        }
        if self.mode != Mode::Running || (nobody && self.wanted == 0) {
            self.current = release;
            self.last = Some(super::Outcome { release: number, lost: None });
            return Ok(number);
        }
        self.tell(Tone::Good, format!("version {number} starts beside version {}", self.current.number));
        let deploy = Deploy::new(self.settings.deploy.clone(), now);
        self.entering = Some(Entering { release, deploy, begun: now });
        self.actions.push_back(Action::Places);
        Ok(number)
    }
}
