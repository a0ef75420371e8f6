//! What an operator or a reload may ask of an app.
//!
//! **Job.** Start, stop, scale, new settings, end. **Called by** `keeper`.
//!
//! Not here: new versions (`deploys`), carrying it out (`app`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Action, App, Mode, Release, Tone};
use crate::config::AppSettings;
use crate::releases::resume::program_of;
use crate::releases::{Cause, Made};
use crate::scale::Scaler;

/// Why an order is not obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Another version is on its way in.
    DeployUnderWay {
        /// Which.
        release: u32,
        /// For how long.
        since: Duration,
    },
    /// That version is not there any more.
    NotKept {
        /// As asked.
        release: u32,
        /// Those that are.
        known: Vec<u32>,
    },
    /// That version is in.
    RunsAlready {
        /// As asked.
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
            Self::DeployUnderWay { release, since } => write!(
                f,
                "version {release} is on its way in since {} s: wait for it, or take it back with `madang app rollback`",
                since.as_secs()
            ),
            Self::NotKept { release, known } if known.is_empty() => {
                write!(f, "version {release} is not kept, and there is no earlier one to go back to")
            }
            Self::NotKept { release, known } => {
                let known: Vec<String> = known.iter().map(u32::to_string).collect();
                write!(f, "version {release} is not kept; there are {}", known.join(", "))
            }
            Self::RunsAlready { release } => write!(f, "version {release} is the one that runs"),
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
        self.take_back(now);
        for at in 0..self.instances.len() {
            self.let_go(at, "it is stopped", now);
        }
    }

    /// The server ends: every instance is asked to, at once.
    pub fn end(&mut self, now: Instant) {
        self.mode = Mode::Ending;
        self.again.clear();
        self.entering = None;
        if let Some(preparing) = self.preparing.take() {
            self.actions.push_back(Action::Forget(preparing.number));
        }
        for instance in &mut self.instances {
            instance.why = Some("the server ends".to_owned());
            instance.life.leave(&self.settings.stop, true, now);
        }
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
    ///
    /// `trees`: where its versions lie.
    pub fn update(&mut self, settings: Arc<AppSettings>, trees: &Path, now: Instant) {
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
                let program = Arc::clone(&settings.program);
                let made = Arc::new(Made::of_settings());
                self.current = Release { number: self.releases, program, made };
                self.numbers = 0;
                self.again.clear();
                if self.mode == Mode::Done {
                    self.mode = Mode::Running;
                }
            } else {
                // A version on its way in is overtaken: what the file says now is what is wanted.
                self.take_back(now);
                // The files of the version that is in stay, unless the settings name others.
                let keeps = before.program.dir == settings.program.dir && !before.kind.is_job();
                let made = if keeps { Arc::clone(&self.current.made) } else { Arc::new(Made::of_settings()) };
                let program = Arc::new(program_of(&settings.program, &made, trees));
                let entered = self.enter(program, made, Cause::Settings, now);
                if let Err(refused) = entered {
                    self.tell(Tone::Bad, format!("the new settings are not in: {refused}"));
                }
            }
        }
    }
}
