//! One app: which instances there are to be, of which version, and what becomes of each.
//!
//! **Job.** Put lives, restarts, deploys and scaling together: fed with what happens, asked what to do. Pure. **Owned by**
//! `keeper`. **Calls** `life`, `restart`, `deploy`, `scale`.
//!
//! Fed by [`App::started`], [`App::see`], [`App::ended`], [`App::load`], the operator's orders; asked by [`App::poll`],
//! [`App::places`] and [`App::next_deadline`].
//!
//! Invariants
//! 1. Of a version there are never more instances that stay than are wanted, restarts that wait included.
//! 2. An instance gets requests only while it is neither on its way out nor of a version whose share is 0.
//! 3. A new version's instances are started beside the old ones, which go only once it has won.
//!
//! Not here: processes, the pool (`keeper` carries out), what people see (`view`).

mod deploys;
mod orders;
mod reconcile;
mod unwell;
mod view;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::draws::Draws;
use madang_host::process::exit::Exit;

pub use self::orders::Refused;
pub use self::view::{AppView, DeployView, InstanceView, ReleaseView};
use crate::config::{AppSettings, Kind, Program};
use crate::deploy::Deploy;
use crate::life::{Life, Look, Phase, Step};
use crate::releases::resume::Resumed;
use crate::releases::{Cause, Made, Origin};
use crate::restart::{Restarts, Verdict};
use crate::scale::{Load, Scaler};

/// Names an instance within its app; never used again while this server runs.
pub type InstanceNumber = u32;

/// A version of the app.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// 1 is the first; goes up with each deploy.
    pub number: u32,
    /// What is run.
    pub program: Arc<Program>,
    /// Of what it is made.
    pub made: Arc<Made>,
}

/// How loud a sentence is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Somebody should look.
    Bad,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start an instance; tell [`App::started`] or [`App::ended`].
    Start {
        /// Under this number.
        instance: InstanceNumber,
        /// Of this version.
        release: Release,
    },
    /// Ask it to end.
    Stop(InstanceNumber),
    /// End it with all that is left of it.
    Kill(InstanceNumber),
    /// [`App::places`] says something new.
    Places,
    /// A job has ended and comes again by its schedule: tell [`App::run_at`] when.
    AskSchedule,
    /// A version is on its way in.
    Begun {
        /// Which.
        version: u32,
        /// Why.
        cause: Cause,
        /// Where its files are from.
        origin: Origin,
    },
    /// It is decided: the current version is in force before anything else is done.
    Over {
        /// Which.
        version: u32,
        /// `None`: it is in.
        lost: Option<String>,
        /// The last that it wrote, when it is lost because of that.
        lines: Vec<String>,
        /// How long it was on its way.
        took: Duration,
    },
    /// The files of this version are not wanted any more.
    Forget(u32),
    /// Tell the log.
    Tell(Tone, String),
}

/// Where an instance stands in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub instance: InstanceNumber,
    /// Its share beside the others', 0 to 256.
    pub weight: u16,
    /// Nothing new goes there.
    pub draining: bool,
}

/// Whether instances are started at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Running,
    /// Not before the apps of `after` are ready.
    Waiting,
    /// The operator stopped it.
    Stopped,
    /// It ended too often.
    Failed(String),
    /// A job has done what it had to.
    Done,
    /// The server ends.
    Ending,
}

#[derive(Debug)]
struct Instance {
    number: InstanceNumber,
    release: u32,
    life: Life,
    born: Instant,
    /// Why it was made to go, if it did nothing wrong or what it did.
    why: Option<String>,
    /// It was ended for a fault of its own, and that was counted.
    counts: bool,
    /// What is the matter with it, as far as anybody knows.
    unwell: Option<String>,
    /// There is a process.
    runs: bool,
}

/// A restart that waits for its time.
#[derive(Debug, Clone, Copy)]
struct Again {
    release: u32,
    at: Instant,
}

/// A version on its way in.
#[derive(Debug)]
struct Entering {
    release: Release,
    deploy: Deploy,
    begun: Instant,
    /// The last that an instance wrote which ended unasked.
    lines: Vec<String>,
}

/// A version whose files are being made.
#[derive(Debug)]
struct Preparing {
    number: u32,
    begun: Instant,
}

/// How the last deploy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which version.
    pub release: u32,
    /// `None`: it is in.
    pub lost: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub struct App {
    settings: Arc<AppSettings>,
    mode: Mode,
    current: Release,
    /// Versions to go back to, the newest last.
    earlier: Vec<Release>,
    preparing: Option<Preparing>,
    entering: Option<Entering>,
    last: Option<Outcome>,
    instances: Vec<Instance>,
    again: Vec<Again>,
    restarts: Restarts,
    wanted: u32,
    scaler: Option<Scaler>,
    numbers: InstanceNumber,
    releases: u32,
    draws: Draws,
    actions: VecDeque<Action>,
    /// The latest ends, for people.
    ends: VecDeque<String>,
    unasked_ends: u64,
    /// What the last instance that ended unasked wrote.
    last_lines: Vec<String>,
    /// What it waits for, and whether that has failed.
    blocked: Option<(bool, String)>,
}

/// What follows the end of a program that should not end.
const ENDED_WELL: &str = "it should run on: a job has `once`, `every` or `schedule`, and what goes into the background has to stay in front";
/// Ends remembered for people.
const ENDS_SHOWN: usize = 8;

impl App {
    /// An app that was not there before in this server. It starts when [`App::allow`] says so.
    pub fn new(settings: Arc<AppSettings>, resumed: Resumed, seed: u64, now: Instant) -> Self {
        let wanted = settings.instances_min;
        Self {
            mode: Mode::Waiting,
            current: resumed.current,
            earlier: resumed.earlier,
            preparing: None,
            entering: None,
            last: None,
            instances: Vec::new(),
            again: Vec::new(),
            restarts: Restarts::new(),
            wanted,
            scaler: settings.scales().then(|| Scaler::new(settings.scale_rules(), wanted, now)),
            numbers: 0,
            releases: resumed.numbers,
            draws: Draws::new(seed),
            actions: VecDeque::new(),
            ends: VecDeque::new(),
            unasked_ends: 0,
            last_lines: Vec::new(),
            blocked: None,
            settings,
        }
    }

    /// Its settings.
    pub const fn settings(&self) -> &Arc<AppSettings> {
        &self.settings
    }

    /// Whether it is started at all.
    pub const fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Whether those that wait for it may start.
    pub fn is_ready(&self) -> bool {
        if self.settings.kind == Kind::Once {
            return self.mode == Mode::Done;
        }
        self.settings.kind.is_job()
            || self.settings.instances_min == 0
            || self.instances.iter().any(|instance| instance.life.phase() == Phase::Ready)
    }

    /// Whether somebody will be there: requests may wait for it.
    pub fn comes_up(&self) -> bool {
        let blocked = self.blocked.as_ref().is_some_and(|(failed, _)| *failed);
        matches!(self.mode, Mode::Running | Mode::Waiting) && !blocked
    }

    /// Whether nothing of it runs.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// The instances that have a process.
    pub fn numbers(&self) -> impl Iterator<Item = InstanceNumber> {
        self.instances.iter().map(|instance| instance.number)
    }

    /// Whether an instance was asked to end.
    pub fn is_leaving(&self, number: InstanceNumber) -> bool {
        self.instances.iter().any(|instance| instance.number == number && instance.life.phase().is_leaving())
    }

    /// The program of a version that is still known.
    pub fn release(&self, number: u32) -> Option<&Release> {
        let entering = self.entering.iter().map(|entering| &entering.release);
        entering.chain([&self.current]).chain(self.earlier.iter()).find(|release| release.number == number)
    }

    /// The apps it waits for are ready.
    pub fn allow(&mut self) {
        if self.mode == Mode::Waiting {
            self.mode = Mode::Running;
            self.blocked = None;
        }
    }

    /// An instance that an earlier server started and that still runs: taken over as it is.
    pub fn adopt(&mut self, number: InstanceNumber, now: Instant) {
        self.numbers = self.numbers.max(number);
        let mut instance = self.born(number, self.current.number, now);
        instance.runs = true;
        self.instances.push(instance);
        self.wanted = self.wanted.max(u32::try_from(self.instances.len()).unwrap_or(u32::MAX));
        self.wanted = self.wanted.min(self.settings.instances_max);
        if let Some(scaler) = &mut self.scaler {
            scaler.set(self.wanted, now);
        }
        self.actions.push_back(Action::Places);
    }

    /// An instance of an earlier server that is being ended: its number names its files and its group until then.
    pub fn passes_over(&mut self, number: InstanceNumber) {
        // A job counts its runs by it.
        if !self.settings.kind.is_job() {
            self.numbers = self.numbers.max(number);
        }
    }

    /// The process of an instance runs.
    pub fn started(&mut self, number: InstanceNumber) {
        if let Some(instance) = self.instances.iter_mut().find(|instance| instance.number == number) {
            instance.runs = true;
            self.actions.push_back(Action::Places);
        }
    }

    /// What is seen of an instance. To be told a few times a second.
    pub fn see(&mut self, number: InstanceNumber, look: Look) {
        if let Some(instance) = self.instances.iter_mut().find(|instance| instance.number == number) {
            instance.life.see(look);
        }
    }

    /// What the load is; those that carry it are counted here.
    pub fn load(&mut self, load: &Load, now: Instant) {
        let ready = self.instances.iter().filter(|instance| instance.life.phase() == Phase::Ready).count();
        let load = Load { ready: u32::try_from(ready).unwrap_or(u32::MAX), ..*load };
        if let Some(scaler) = &mut self.scaler {
            scaler.see(&load, now);
        }
    }

    /// A job comes next at this time.
    pub fn run_at(&mut self, at: Instant) {
        if self.mode == Mode::Running && self.instances.is_empty() && self.again.is_empty() {
            self.again.push(Again { release: self.current.number, at });
        }
    }

    /// An instance has ended, or could not be started.
    pub fn ended(&mut self, number: InstanceNumber, exit: &Exit, last_lines: &[String], now: Instant) {
        let Some(at) = self.instances.iter().position(|instance| instance.number == number) else { return };
        let instance = self.instances.remove(at);
        self.actions.push_back(Action::Places);
        let asked = instance.life.phase().is_leaving();
        let told = match &instance.why {
            Some(why) if instance.counts => format!("instance {number}, ended because it {why}, {exit}"),
            Some(why) => format!("instance {number} {exit}, as asked: {why}"),
            None if !asked && self.settings.kind == Kind::Service && exit.is_success() => {
                format!("instance {number} {exit}; {ENDED_WELL}")
            }
            None if asked => format!("instance {number} {exit}, as asked"),
            None => format!("instance {number} {exit}"),
        };
        let good = (asked && !instance.counts) || (self.settings.kind.is_job() && exit.is_success());
        if self.ends.len() == ENDS_SHOWN {
            self.ends.pop_front();
        }
        self.ends.push_back(told.clone());
        self.tell(if good { Tone::Good } else { Tone::Bad }, told);
        for line in last_lines.iter().filter(|_| !good) {
            self.tell(Tone::Bad, format!("instance {number} wrote: {line}"));
        }
        if !good {
            self.unasked_ends += 1;
            self.last_lines = last_lines.to_vec();
        }
        if let Some(entering) = &mut self.entering
            && entering.release.number == instance.release
            && !good
        {
            entering.deploy.failed(exit.to_string());
            entering.lines = last_lines.to_vec();
            return;
        }
        if matches!(self.mode, Mode::Stopped | Mode::Ending | Mode::Failed(_)) {
            return;
        }
        if self.settings.kind.is_job() && exit.is_success() {
            return self.job_done(now);
        }
        // One that was ended for its fault was counted then.
        if asked || instance.release != self.current.number {
            return;
        }
        self.fell(instance.release, now.saturating_duration_since(instance.born), now);
    }

    /// An instance of the current version ended, or must, by its own fault.
    fn fell(&mut self, release: u32, ran: Duration, now: Instant) {
        match self.restarts.ended(&self.settings.restart, ran, &mut self.draws, now) {
            Verdict::At(at) => {
                let wait = at.saturating_duration_since(now);
                self.tell(Tone::Good, format!("starts again in {:.1} s", wait.as_secs_f64()));
                self.again.push(Again { release, at });
            }
            Verdict::Failed(why) => {
                let name = Arc::clone(&self.settings.name);
                let how = format!(
                    "`madang app start {name}`, a deploy or a reload that changes it starts it again"
                );
                self.tell(Tone::Bad, format!("has failed: {why}; {how}"));
                self.again.clear();
                self.mode = Mode::Failed(why.to_string());
            }
        }
    }

    fn job_done(&mut self, now: Instant) {
        self.restarts.forgive();
        match &self.settings.kind {
            Kind::Every(every) => {
                self.again.push(Again { release: self.current.number, at: now + *every });
            }
            Kind::At(_) => self.actions.push_back(Action::AskSchedule),
            Kind::Once | Kind::Service => self.mode = Mode::Done,
        }
    }

    fn tell(&mut self, tone: Tone, sentence: String) {
        self.actions.push_back(Action::Tell(tone, sentence));
    }

    fn born(&self, number: InstanceNumber, release: u32, now: Instant) -> Instance {
        let life = Life::new(&self.settings, now);
        Instance { number, release, life, born: now, why: None, counts: false, unwell: None, runs: false }
    }

    /// The next thing to do, until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.actions.is_empty() {
            self.advance(now);
        }
        self.actions.pop_front()
    }

    /// When [`App::poll`] will have something to do by time alone.
    pub fn next_deadline(&self) -> Option<Instant> {
        let lives = self.instances.iter().filter_map(|instance| instance.life.deadline(&self.settings));
        let again = self.again.iter().map(|again| again.at);
        let deploy = self.entering.iter().filter_map(|entering| entering.deploy.deadline());
        lives.chain(again).chain(deploy).min()
    }

    fn advance(&mut self, now: Instant) {
        for at in 0..self.instances.len() {
            while let Some(step) = self.instances[at].life.poll(&self.settings, now) {
                self.step(at, step, now);
            }
        }
        self.advance_deploy(now);
        if let Some(scaler) = &self.scaler
            && self.entering.is_none()
            && scaler.wanted() != self.wanted
        {
            let (from, to, why) = (self.wanted, scaler.wanted(), scaler.why());
            self.wanted = to;
            self.tell(Tone::Good, format!("the load wants {to} instances, not {from}: {why}"));
        }
        self.reconcile(now);
    }

    fn step(&mut self, at: usize, step: Step, now: Instant) {
        let instance = &mut self.instances[at];
        let (number, release) = (instance.number, instance.release);
        match step {
            Step::Ready => {
                instance.unwell = None;
                let took = now.saturating_duration_since(instance.born);
                if !self.settings.kind.is_job() {
                    self.tell(
                        Tone::Good,
                        format!("instance {number} is ready after {:.1} s", took.as_secs_f64()),
                    );
                }
            }
            Step::Late | Step::TooSick => {
                let why = match step {
                    Step::Late => format!("was not ready within {}", show(self.settings.start_within)),
                    _ => format!("was not well for {}", show(self.settings.restart.after)),
                };
                instance.counts = true;
                instance.why = Some(why.clone());
                let ran = now.saturating_duration_since(instance.born);
                let why = self.with_reason(at, why);
                self.tell(Tone::Bad, format!("instance {number} {why}: it is ended"));
                self.deploy_failed(release, why);
                self.actions.push_back(Action::Places);
                if release == self.current.number && self.mode == Mode::Running {
                    self.fell(release, ran, now);
                }
            }
            Step::Sick => {
                let told =
                    self.with_reason(at, format!("instance {number} is not well: its health checks fail"));
                self.tell(Tone::Bad, told);
                let how = self.with_reason(at, "failed its health checks".to_owned());
                self.deploy_failed(release, how);
            }
            Step::Well => {
                instance.unwell = None;
                self.tell(Tone::Good, format!("instance {number} is well again"));
            }
            Step::Stop => self.actions.push_back(Action::Stop(number)),
            Step::Kill => {
                let grace = show(self.settings.stop.grace);
                self.tell(Tone::Bad, format!("instance {number} did not end within {grace}: it is killed"));
                self.actions.push_back(Action::Kill(number));
            }
        }
    }
}

fn show(duration: Duration) -> String {
    madang_settings::unit::show_duration(duration)
}
