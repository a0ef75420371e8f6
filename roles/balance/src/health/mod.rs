//! The health of a pool: one state machine, fed and asked.
//!
//! **Job.** Turn answers to probes, counts of requests and the operator's wishes into states, shares, probes to send and
//! events with reasons. **Owned by** the control side. **Fed by** [`Health::probe`], [`Health::passive`], [`Health::wish`],
//! [`Health::update`]; **asked by** [`Health::poll`] and [`Health::next_deadline`].
//!
//! What wins: the operator's wish, then health checks, then ejection.
//!
//! Invariants
//! 1. A server is ejected only while at most `eject_max` percent of its kind (primaries, backups) would then not be up.
//! 2. An ejected server comes back by a trial only: a health check where the pool has them, else one request at a time.
//!    One that was ejected because it could not be reached comes back early, by `rise` good health checks.
//! 3. Every change of state is one event and one publication.
//! 4. A panic is on exactly while fewer than `panic_below` percent of the primaries in rotation are up, and no backup
//!    stands in for them all.
//!
//! Not here: asking servers (the probes), what workers do with a state (`pick`).

mod active;
mod eject;
mod event;
mod passive;
mod watched;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use self::active::Turn;
use self::eject::Phase;
pub use self::eject::REST_FACTOR_MAX;
pub use self::event::{Action, Event, ProbeFailure, Why};
use self::passive::{Fresh, is_outlier, percent};
use self::watched::Watched;
use crate::config::PoolSettings;
use crate::pool::Pool;
use crate::server::{Counts, ServerId, State};
use madang_host::draws::Draws;

/// What the operator wants of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// In rotation, as health allows.
    #[default]
    Enabled,
    /// Nothing new; what is open may end.
    Drained,
    /// Nothing, and no health checks.
    Disabled,
}

/// The state machine.
#[derive(Debug)]
pub struct Health {
    settings: Arc<PoolSettings>,
    servers: Vec<Watched>,
    draws: Draws,
    actions: VecDeque<Action>,
    panic: bool,
}

impl Health {
    /// Begins with the servers of a pool, all taken for up until checked.
    pub fn new(pool: &Pool, seed: u64, now: Instant) -> Self {
        let settings = Arc::clone(pool.settings());
        let mut draws = Draws::new(seed);
        let servers =
            pool.members().iter().map(|m| Watched::trusted(m, &settings, &mut draws, now)).collect();
        Self { settings, servers, draws, actions: VecDeque::new(), panic: false }
    }

    /// Follows the next snapshot of the pool. Who stays keeps its state; who is new waits for its first check, unless nobody
    /// who stays is up and requests are not held for it.
    pub fn update(&mut self, pool: &Pool, now: Instant) {
        let last = std::mem::replace(&mut self.settings, Arc::clone(pool.settings()));
        let mut known = std::mem::take(&mut self.servers);
        let stays = |id: ServerId| known.iter().any(|watched| watched.id == id);
        let goes_on = pool
            .members()
            .iter()
            .any(|member| stays(member.server.id()) && member.server.standing().state == State::Up);
        for member in pool.members() {
            let id = member.server.id();
            let watched = match known.iter().position(|watched| watched.id == id) {
                Some(at) => {
                    let mut kept = known.swap_remove(at);
                    kept.adopt(member, &last, &self.settings, &mut self.draws, now);
                    kept
                }
                None if goes_on || self.settings.hold.is_some() => {
                    Watched::new(member, &self.settings, &mut self.draws, now)
                }
                None => Watched::trusted(member, &self.settings, &mut self.draws, now),
            };
            self.servers.push(watched);
        }
        // Actions for servers that left are dropped by whoever looks them up; new standings must be told.
        for index in 0..self.servers.len() {
            self.settle(index, Why::Settings, now);
        }
        self.judge_panic();
    }

    /// What a probe found.
    pub fn probe(&mut self, server: ServerId, answer: Result<(), ProbeFailure>, now: Instant) {
        if let Some(index) = self.index(server) {
            self.answered(index, answer, now);
        }
    }

    /// What requests showed so far. To be told a few times a second, and at once when a worker says so
    /// ([`crate::pool::Noticed::look_now`]).
    pub fn passive(&mut self, server: ServerId, counts: Counts, now: Instant) {
        let Some(index) = self.index(server) else { return };
        let fresh = self.servers[index].passive.see(counts, now);
        match self.servers[index].state() {
            State::Up => self.judge(index, fresh, now),
            State::Probing if self.settings.health.is_none() => self.judge_trial(index, fresh, now),
            _ => {}
        }
    }

    /// What the operator wants.
    pub fn wish(&mut self, server: ServerId, wish: Wish, now: Instant) {
        if let Some(index) = self.index(server) {
            let watched = &mut self.servers[index];
            if wish == Wish::Enabled && watched.wish != wish {
                // A rest from before says nothing about what the operator has repaired since.
                watched.ejection.pardon(now);
            }
            watched.wish = wish;
            self.settle(index, Why::Operator, now);
        }
    }

    /// Asks a server as soon as possible: somebody waits for it to be well.
    pub fn hurry(&mut self, server: ServerId, now: Instant) {
        if let Some(index) = self.index(server)
            && let Some(active) = &mut self.servers[index].active
        {
            active.hurry(now);
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.actions.is_empty() {
            for index in 0..self.servers.len() {
                self.advance(index, now);
            }
        }
        self.actions.pop_front()
    }

    /// When [`Health::poll`] will have something to do, if nothing is told before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.servers.iter().filter_map(|watched| watched.deadline(&self.settings)).min()
    }

    /// The state of a server and since when, for status.
    pub fn state(&self, server: ServerId) -> Option<(State, Instant)> {
        self.servers
            .iter()
            .find(|watched| watched.id == server)
            .map(|watched| (watched.told.state, watched.since))
    }

    fn index(&self, server: ServerId) -> Option<usize> {
        self.servers.iter().position(|watched| watched.id == server)
    }

    /// What time alone changes.
    fn advance(&mut self, index: usize, now: Instant) {
        // First: the trial behind a rest is a probe that is due now.
        let watched = &mut self.servers[index];
        if watched.ejection.wakes(now) {
            if let Some(active) = &mut watched.active {
                active.forget_good();
                active.hurry(now);
            }
            self.settle(index, Why::RestOver, now);
        }
        if let Some(rules) = &self.settings.health {
            let watched = &mut self.servers[index];
            if let Some(deadline) = watched.probe_due(rules, &mut self.draws, now) {
                self.actions.push_back(Action::Probe { server: watched.id, deadline });
            }
            if watched.active.as_ref().is_some_and(|active| active.is_lost(now)) {
                self.answered(index, Err(ProbeFailure::Late), now);
            }
        }
        let watched = &mut self.servers[index];
        if let Some(standing) = watched.ramp(&self.settings, now) {
            self.actions.push_back(Action::Publish { server: watched.id, standing });
        }
    }

    fn answered(&mut self, index: usize, answer: Result<(), ProbeFailure>, now: Instant) {
        let Some(rules) = self.settings.health.as_ref() else { return };
        let rise = rules.rise;
        let first_rest = self.settings.passive.eject_for;
        let watched = &mut self.servers[index];
        let Some(active) = &mut watched.active else { return };
        let turn = active.answer(answer, rules);
        let good = active.good();
        match (turn, watched.ejection.phase()) {
            (Turn::Down { in_a_row, last }, _) => {
                // Checks decide from here on; they will say when it is back.
                watched.ejection.pardon(now);
                self.settle(index, Why::ChecksFailed { in_a_row, last }, now);
            }
            (Turn::Up { in_a_row }, _) => self.settle(index, Why::ChecksPassed { in_a_row }, now),
            (Turn::None, Phase::Trial { .. }) => {
                let why = if answer.is_ok() {
                    watched.ejection.pardon(now);
                    Why::TrialPassed
                } else {
                    let silent = active.is_silent();
                    Why::TrialFailed { rest: watched.ejection.eject(first_rest, silent, now) }
                };
                self.settle(index, why, now);
            }
            (Turn::None, Phase::Resting { silent: true, .. }) if good >= rise => {
                watched.ejection.pardon(now);
                self.settle(index, Why::ChecksPassed { in_a_row: good }, now);
            }
            (Turn::None, _) => {}
        }
    }

    fn judge(&mut self, index: usize, fresh: Fresh, now: Instant) {
        let rules = self.settings.passive;
        let own = self.servers[index].passive.sums(now);
        if rules.failures > 0 && fresh.failed > 0 && fresh.in_a_row >= rules.failures {
            let failures = fresh.in_a_row;
            return self.eject(index, fresh.silent, now, |rest| Why::FailuresInARow { failures, rest });
        }
        if rules.success_rate == 0 || fresh.failed == 0 {
            return;
        }
        let mut others = (0, 0);
        for (at, other) in self.servers.iter_mut().enumerate() {
            if at != index && other.state() == State::Up {
                let (good, failed) = other.passive.sums(now);
                others = (others.0 + good, others.1 + failed);
            }
        }
        if is_outlier(own, others, rules.success_rate) {
            let answers = own.0 + own.1;
            let (own, others) = (percent(own.0, own.1), percent(others.0, others.1));
            self.eject(index, false, now, |rest| Why::SuccessRate { percent: own, others, answers, rest });
        }
    }

    fn judge_trial(&mut self, index: usize, fresh: Fresh, now: Instant) {
        let first_rest = self.settings.passive.eject_for;
        let watched = &mut self.servers[index];
        if fresh.failed > 0 {
            let rest = watched.ejection.eject(first_rest, fresh.silent, now);
            self.settle(index, Why::TrialFailed { rest }, now);
        } else if watched.ejection.tried(fresh.good) {
            watched.ejection.pardon(now);
            self.settle(index, Why::TrialPassed, now);
        }
    }

    fn eject(
        &mut self,
        index: usize,
        silent: bool,
        now: Instant,
        why: impl FnOnce(std::time::Duration) -> Why,
    ) {
        let backup = self.servers[index].backup;
        let kind =
            || self.servers.iter().filter(|other| other.backup == backup && !other.state().is_taken_out());
        let (of, not_up) = (kind().count(), kind().filter(|other| other.state() != State::Up).count());
        let rules = self.settings.passive;
        let watched = &mut self.servers[index];
        if (not_up + 1) * 100 > of * usize::from(rules.eject_max) {
            if watched.may_complain(rules.eject_for, now) {
                let why = Why::TooFewLeft { not_up, of };
                let (server, state) = (watched.id, watched.told.state);
                self.actions.push_back(Action::Event(Event { server, at: now, from: state, to: state, why }));
            }
            return;
        }
        let rest = watched.ejection.eject(rules.eject_for, silent, now);
        if let Some(active) = &mut watched.active {
            active.forget_good();
        }
        self.settle(index, why(rest), now);
    }

    /// Tells what changed, if anything did.
    fn settle(&mut self, index: usize, why: Why, now: Instant) {
        let watched = &mut self.servers[index];
        let from = watched.told.state;
        if let Some(standing) = watched.settle(&self.settings, now) {
            let (server, to) = (watched.id, standing.state);
            self.actions.push_back(Action::Publish { server, standing });
            if from != to {
                self.actions.push_back(Action::Event(Event { server, at: now, from, to, why }));
            }
        }
        self.judge_panic();
    }

    fn judge_panic(&mut self) {
        let (mut up, mut of, mut backups) = (0, 0, 0);
        for watched in &self.servers {
            let state = watched.state();
            if watched.backup {
                backups += usize::from(state == State::Up);
            } else if !state.is_taken_out() {
                of += 1;
                up += usize::from(state == State::Up);
            }
        }
        let stood_in = up == 0 && backups > 0;
        let on = of > 0 && up * 100 < of * usize::from(self.settings.panic_below) && !stood_in;
        if on != self.panic {
            self.panic = on;
            self.actions.push_back(Action::Panic { on, up, of });
        }
    }
}
