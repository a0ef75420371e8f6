//! An app that has a program for each connection: which programs there are, whose, and what becomes of each.
//!
//! **Job.** Give each connection a program - one that is ready, or a fresh one -, keep as many ready as are wanted, end those
//! whose connection is over. Pure. **Owned by** `keeper`. **Calls** `restart`.
//!
//! Fed by [`Crew::call`], [`Crew::started`], [`Crew::not_started`], [`Crew::over`], [`Crew::ended`] and the operator's orders;
//! asked by [`Crew::poll`] and [`Crew::next_deadline`].
//!
//! Invariants
//! 1. A program has one connection in its life, and a connection one program.
//! 2. Nothing of an earlier version is given a connection.
//! 3. Every call is answered once: by [`Action::Hand`] or [`Action::Refuse`].
//! 4. A program whose connection is over is asked to end after `stop.drain`, and killed after `stop.grace`.
//!
//! Not here: how many connections there may be and who waits (the pool), processes (`keeper::connections`).

mod recent;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::connection::Ends;
use madang_host::draws::Draws;
use madang_host::process::exit::Exit;

use self::recent::Recent;
pub use self::view::ConnectionsView;
use crate::app::{Release, Tone};
use crate::config::{AppSettings, Program};
use crate::releases::Made;
use crate::restart::{Restarts, Verdict};

/// Names a program within its app; never used again while this server runs.
pub type ProgramNumber = u32;
/// Names a connection that wants a program.
pub type CallNumber = u64;

/// Versions kept to go back to.
const EARLIER_MAX: usize = 3;
/// Ends remembered for people.
const ENDS_SHOWN: usize = 8;
/// Failures are told at most so often; the others are counted.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start a program; tell [`Crew::started`] or [`Crew::not_started`].
    Start {
        /// Under this number.
        program: ProgramNumber,
        /// Of this version.
        release: Release,
        /// Whose connection it is for; `None`: it waits for one.
        ends: Option<Ends>,
    },
    /// Give the caller the connection of this program.
    Hand {
        /// Who called.
        call: CallNumber,
        /// Which program.
        program: ProgramNumber,
    },
    /// Tell the caller that there is none.
    Refuse {
        /// Who called.
        call: CallNumber,
        /// Why.
        why: Refusal,
    },
    /// Close its connection.
    HangUp(ProgramNumber),
    /// Ask it to end.
    Stop(ProgramNumber),
    /// End it.
    Kill(ProgramNumber),
    /// Nothing of this version is left and nothing of it will be started.
    Retire(u32),
    /// Tell the log.
    Tell(Tone, String),
}

/// Why a connection got no program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The operator stopped the app, or the server ends.
    Stopped,
    /// None could be started.
    NotStarted(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the app is stopped"),
            Self::NotStarted(why) => write!(f, "no program could be started: {why}"),
        }
    }
}

/// Where in its life a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Ordered; for this call, or to be ready.
    Starting(Option<CallNumber>),
    Ready,
    /// It has a connection; `until`: it is asked to end then all the same.
    Serving {
        until: Option<Instant>,
    },
    /// Its connection is over and it may end by itself.
    Leaving {
        stop_at: Instant,
    },
    Stopping {
        kill_at: Instant,
    },
    Killed,
}

#[derive(Debug)]
struct Member {
    release: u32,
    stage: Stage,
    client: Option<SocketAddr>,
    /// The client left first, or it was told to end: how it ends says nothing about it.
    excused: bool,
}

/// Whether connections get programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Running,
    Stopped,
    Ending,
}

/// See the module.
#[derive(Debug)]
pub struct Crew {
    settings: Arc<AppSettings>,
    mode: Mode,
    current: Release,
    /// Versions to go back to, the newest last.
    earlier: Vec<Release>,
    /// Versions of which there may be programs still.
    old: Vec<u32>,
    members: BTreeMap<ProgramNumber, Member>,
    /// After a program ended before it had a connection, the next one is started then.
    pause: Option<Instant>,
    restarts: Restarts,
    numbers: ProgramNumber,
    releases: u32,
    draws: Draws,
    served: Recent,
    failed: Recent,
    refused: u64,
    told: Option<Instant>,
    untold: u64,
    ends: VecDeque<String>,
    actions: VecDeque<Action>,
}

impl Crew {
    /// The version that is in, and those that can be gone back to, the newest last.
    pub fn versions(&self) -> (u32, Vec<u32>) {
        (self.current.number, self.earlier.iter().map(|release| release.number).collect())
    }

    /// An app that was not there before.
    pub fn new(settings: Arc<AppSettings>, seed: u64) -> Self {
        let program = Arc::clone(&settings.program);
        Self {
            settings,
            mode: Mode::Running,
            current: Release { number: 1, program, made: Arc::new(Made::of_settings()) },
            earlier: Vec::new(),
            old: Vec::new(),
            members: BTreeMap::new(),
            pause: None,
            restarts: Restarts::new(),
            numbers: 0,
            releases: 1,
            draws: Draws::new(seed),
            served: Recent::default(),
            failed: Recent::default(),
            refused: 0,
            told: None,
            untold: 0,
            ends: VecDeque::new(),
            actions: VecDeque::new(),
        }
    }

    /// Its settings.
    pub const fn settings(&self) -> &Arc<AppSettings> {
        &self.settings
    }

    /// Whether nothing of it runs.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A connection wants a program.
    pub fn call(&mut self, call: CallNumber, ends: Ends) {
        if self.mode != Mode::Running {
            self.refused += 1;
            self.actions.push_back(Action::Refuse { call, why: Refusal::Stopped });
            return;
        }
        let now_ready = |member: &Member| member.stage == Stage::Ready;
        let on_its_way = |member: &Member| member.stage == Stage::Starting(None);
        for suits in [&now_ready as &dyn Fn(&Member) -> bool, &on_its_way] {
            let current = self.current.number;
            // The one that has waited longest has surely finished what it does at its start.
            let found = self.members.iter_mut().find(|(_, one)| one.release == current && suits(one));
            if let Some((number, member)) = found {
                member.client = Some(ends.peer);
                if member.stage == Stage::Ready {
                    member.stage = Stage::Serving { until: None };
                    self.actions.push_back(Action::Hand { call, program: *number });
                } else {
                    member.stage = Stage::Starting(Some(call));
                }
                return;
            }
        }
        // One that is sometimes told its client and sometimes not would be a trap: with ready ones none is.
        let told = (self.workers() == 0).then_some(ends);
        self.start(Some((call, ends.peer)), told);
    }

    /// A program runs.
    pub fn started(&mut self, program: ProgramNumber) {
        let Some(member) = self.members.get_mut(&program) else { return };
        match member.stage {
            Stage::Starting(Some(call)) => {
                member.stage = Stage::Serving { until: None };
                self.actions.push_back(Action::Hand { call, program });
            }
            Stage::Starting(None) => member.stage = Stage::Ready,
            _ => {}
        }
    }

    /// A program could not be started.
    pub fn not_started(&mut self, program: ProgramNumber, why: &str, now: Instant) {
        let Some(member) = self.members.remove(&program) else { return };
        match member.stage {
            Stage::Starting(Some(call)) => {
                self.refused += 1;
                self.actions.push_back(Action::Refuse { call, why: Refusal::NotStarted(why.to_owned()) });
            }
            _ => self.wait_a_while(now),
        }
        self.failed.add(now);
        self.failure(format!("no program could be started: {why}"), &[], now);
    }

    /// The connection of a program is over; `orderly`: both ends said their last, nobody broke off.
    pub fn over(&mut self, program: ProgramNumber, orderly: bool, now: Instant) {
        let drain = self.settings.stop.drain;
        if let Some(member) = self.members.get_mut(&program)
            && let Stage::Serving { .. } = member.stage
        {
            member.stage = Stage::Leaving { stop_at: now + drain };
            member.excused = !orderly;
        }
    }

    /// A program has ended. True: it failed.
    pub fn ended(
        &mut self,
        program: ProgramNumber,
        exit: &Exit,
        last_lines: &[String],
        now: Instant,
    ) -> bool {
        let Some(member) = self.members.remove(&program) else { return false };
        let idle = matches!(member.stage, Stage::Ready | Stage::Starting(_));
        if let Stage::Starting(Some(call)) = member.stage {
            let why = Refusal::NotStarted(exit.to_string());
            self.actions.push_back(Action::Refuse { call, why });
        }
        // A pipe that breaks because the client left is how programs usually notice it.
        let well = exit.is_success() || (member.excused && !is_bug(exit));
        if idle && !member.excused {
            self.failed.add(now);
            let told = format!("program {program}, which waited for a connection, {exit}");
            self.failure(told, last_lines, now);
            self.wait_a_while(now);
            true
        } else if member.client.is_none() {
            // It was ready and let go: nobody missed it.
            false
        } else if well && member.stage != Stage::Killed {
            self.served.add(now);
            self.restarts.forgive();
            false
        } else {
            self.failed.add(now);
            let whose = member.client.map_or_else(String::new, |client| format!(" of {client}"));
            let how = if member.stage == Stage::Killed {
                format!("program {program}{whose} did not end by itself and {exit}")
            } else {
                format!("program {program}{whose} {exit}")
            };
            self.failure(how, last_lines, now);
            true
        }
    }

    /// A program that waits is not started again at once when it ended by itself.
    fn wait_a_while(&mut self, now: Instant) {
        match self.restarts.ended(&self.settings.restart, Duration::ZERO, &mut self.draws, now) {
            Verdict::At(at) => self.pause = Some(at),
            // It is only for want of a ready one: connections still get fresh ones.
            Verdict::Failed(_) => self.pause = Some(now + self.settings.restart.longest),
        }
    }

    fn failure(&mut self, sentence: String, lines: &[String], now: Instant) {
        if self.ends.len() == ENDS_SHOWN {
            self.ends.pop_front();
        }
        self.ends.push_back(sentence.clone());
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            self.untold += 1;
            return;
        }
        self.told = Some(now);
        let others = match std::mem::take(&mut self.untold) {
            0 => String::new(),
            others => format!(" ({others} more since the last one that was told)"),
        };
        self.tell(Tone::Bad, format!("{sentence}{others}"));
        for line in lines {
            self.tell(Tone::Bad, format!("it wrote: {line}"));
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.actions.is_empty() {
            self.advance(now);
        }
        self.actions.pop_front()
    }

    /// When [`Crew::poll`] will have something to do by time alone.
    pub fn next_deadline(&self) -> Option<Instant> {
        let stages = self.members.values().filter_map(|member| match member.stage {
            Stage::Serving { until } => until,
            Stage::Leaving { stop_at } => Some(stop_at),
            Stage::Stopping { kill_at } => Some(kill_at),
            Stage::Starting(_) | Stage::Ready | Stage::Killed => None,
        });
        stages.chain(self.pause).min()
    }

    fn advance(&mut self, now: Instant) {
        let grace = self.settings.stop.grace;
        for (number, member) in &mut self.members {
            match member.stage {
                Stage::Serving { until: Some(at) } | Stage::Leaving { stop_at: at } if now >= at => {
                    member.excused = true;
                    member.stage = Stage::Stopping { kill_at: now + grace };
                    self.actions.push_back(Action::HangUp(*number));
                    self.actions.push_back(Action::Stop(*number));
                }
                Stage::Stopping { kill_at } if now >= kill_at => {
                    member.stage = Stage::Killed;
                    self.actions.push_back(Action::Kill(*number));
                }
                _ => {}
            }
        }
        self.top_up(now);
        let members = &self.members;
        let (left, gone): (Vec<u32>, Vec<u32>) =
            self.old.iter().partition(|old| members.values().any(|member| member.release == **old));
        self.old = left;
        self.actions.extend(gone.into_iter().map(Action::Retire));
    }

    /// As many ready ones as are wanted, of the current version.
    fn top_up(&mut self, now: Instant) {
        let (current, wanted) = (self.current.number, self.workers() as usize);
        let waits = |member: &Member| matches!(member.stage, Stage::Ready | Stage::Starting(None));
        let old: Vec<u32> = self.numbers_where(|member| waits(member) && member.release != current);
        old.into_iter().for_each(|number| self.let_go(number, now));
        let have: Vec<u32> = self.numbers_where(waits);
        for number in have.iter().skip(wanted) {
            self.let_go(*number, now);
        }
        if self.pause.is_some_and(|pause| now >= pause) {
            self.pause = None;
        }
        if self.pause.is_none() {
            for _ in have.len()..wanted {
                self.start(None, None);
            }
        }
    }

    fn workers(&self) -> u32 {
        let wanted = self.settings.per_connection.map_or(0, |settings| settings.workers);
        if self.mode == Mode::Running { wanted } else { 0 }
    }

    fn numbers_where(&self, so: impl Fn(&Member) -> bool) -> Vec<ProgramNumber> {
        self.members.iter().filter(|(_, member)| so(member)).map(|(number, _)| *number).collect()
    }

    fn start(&mut self, call: Option<(CallNumber, SocketAddr)>, ends: Option<Ends>) {
        self.numbers = self.numbers.wrapping_add(1).max(1);
        let member = Member {
            release: self.current.number,
            stage: Stage::Starting(call.map(|(call, _)| call)),
            client: call.map(|(_, client)| client),
            excused: false,
        };
        self.members.insert(self.numbers, member);
        let release = self.current.clone();
        self.actions.push_back(Action::Start { program: self.numbers, release, ends });
    }

    /// One that waits is not wanted any more.
    fn let_go(&mut self, number: ProgramNumber, now: Instant) {
        let grace = self.settings.stop.grace;
        if let Some(member) = self.members.get_mut(&number) {
            member.excused = true;
            member.stage = Stage::Stopping { kill_at: now + grace };
            self.actions.push_back(Action::HangUp(number));
            self.actions.push_back(Action::Stop(number));
        }
    }

    fn tell(&mut self, tone: Tone, sentence: String) {
        self.actions.push_back(Action::Tell(tone, sentence));
    }

    /// Connections get programs again.
    pub fn start_all(&mut self) {
        self.restarts.forgive();
        self.pause = None;
        if self.mode == Mode::Stopped {
            self.mode = Mode::Running;
        }
    }

    /// Nobody gets a program any more; those that serve have `stop.drain`.
    pub fn stop_all(&mut self, now: Instant) {
        if self.mode != Mode::Ending {
            self.mode = Mode::Stopped;
            self.finish_by(now + self.settings.stop.drain);
        }
    }

    /// The server ends: every program is asked to, at once.
    pub fn end(&mut self, now: Instant) {
        self.mode = Mode::Ending;
        self.finish_by(now);
    }

    fn finish_by(&mut self, at: Instant) {
        for member in self.members.values_mut() {
            match &mut member.stage {
                Stage::Serving { until } => *until = Some(until.map_or(at, |before| before.min(at))),
                Stage::Leaving { stop_at } => *stop_at = (*stop_at).min(at),
                Stage::Starting(Some(call)) => {
                    self.refused += 1;
                    self.actions.push_back(Action::Refuse { call: *call, why: Refusal::Stopped });
                    member.stage = Stage::Leaving { stop_at: at };
                    member.excused = true;
                }
                _ => {}
            }
        }
    }

    /// The same program anew, for those who come from now on.
    pub fn restart(&mut self) -> u32 {
        self.enter(Arc::clone(&self.current.program))
    }

    /// Another program for those who come from now on; programs that serve go on.
    pub fn deploy(&mut self, program: Arc<Program>) -> u32 {
        self.enter(program)
    }

    /// The version before; `None`: there is none.
    pub fn roll_back(&mut self) -> Option<u32> {
        let earlier = self.earlier.pop()?;
        let number = self.enter(earlier.program);
        self.earlier.pop();
        Some(number)
    }

    /// New settings, for those who come from now on.
    pub fn update(&mut self, settings: Arc<AppSettings>) {
        let before = std::mem::replace(&mut self.settings, settings);
        if before.program != self.settings.program {
            let number = self.enter(Arc::clone(&self.settings.program));
            self.tell(Tone::Good, format!("version {number} is for those who come from now on"));
        }
        if *before != *self.settings {
            self.restarts.forgive();
            self.pause = None;
        }
    }

    fn enter(&mut self, program: Arc<Program>) -> u32 {
        self.releases += 1;
        let release = Release { number: self.releases, program, made: Arc::new(Made::of_settings()) };
        let before = std::mem::replace(&mut self.current, release);
        self.old.push(before.number);
        if before.program != self.current.program {
            self.earlier.retain(|one| one.program != before.program && one.program != self.current.program);
            self.earlier.push(before);
        }
        let more = self.earlier.len().saturating_sub(EARLIER_MAX);
        self.earlier.drain(..more);
        self.releases
    }
}

/// Whether no client that leaves can have caused it.
const fn is_bug(exit: &Exit) -> bool {
    match exit {
        Exit::Signal { number, .. } => matches!(*number, 3 | 4 | 6 | 7 | 8 | 11 | 24 | 25 | 31),
        Exit::OutOfMemory { .. } | Exit::NotStarted(_) => true,
        Exit::Code(_) | Exit::Unknown => false,
    }
}

#[cfg(test)]
mod tests;
