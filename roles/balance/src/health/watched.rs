//! One server as health sees it.
//!
//! **Job.** Put wish, checks and ejection together into a state; keep the ramp of slow start. **Called by** `health`.
//!
//! Invariants
//! 1. `told` is what was published last; `settle` and `ramp` give a standing only when it differs.
//!
//! Not here: what makes the parts change (`health`).

use std::time::{Duration, Instant};

use super::Wish;
use super::active::{Active, Verdict};
use super::eject::{Ejection, Phase};
use super::passive::Passive;
use crate::config::{HealthSettings, PoolSettings};
use crate::pool::Member;
use crate::server::{SHARE_FULL, SHARE_LEAST, ServerId, Standing, State};
use madang_host::draws::Draws;

/// Steps of slow start: each a twentieth of the full share.
const RAMP_STEPS: u32 = 18;

#[derive(Debug)]
pub(super) struct Watched {
    pub(super) id: ServerId,
    pub(super) backup: bool,
    pub(super) wish: Wish,
    pub(super) active: Option<Active>,
    pub(super) passive: Passive,
    pub(super) ejection: Ejection,
    pub(super) told: Standing,
    /// When the state last changed.
    pub(super) since: Instant,
    /// When slow start began, while it lasts.
    ramp: Option<Instant>,
    complained: Option<Instant>,
}

impl Watched {
    /// Of a pool that begins: taken for up until checked.
    pub(super) fn trusted(member: &Member, settings: &PoolSettings, draws: &mut Draws, now: Instant) -> Self {
        Self::with(Verdict::Trusted, member, settings, draws, now)
    }

    /// Of a pool that goes on without it: checked first.
    pub(super) fn new(member: &Member, settings: &PoolSettings, draws: &mut Draws, now: Instant) -> Self {
        Self::with(Verdict::Unknown, member, settings, draws, now)
    }

    fn with(
        verdict: Verdict,
        member: &Member,
        settings: &PoolSettings,
        draws: &mut Draws,
        now: Instant,
    ) -> Self {
        let mut passive = Passive::new(settings.passive.window, now);
        passive.see(member.server.counts(), now);
        passive.forget();
        Self {
            id: member.server.id(),
            backup: member.backup,
            wish: Wish::Enabled,
            active: settings.health.as_ref().map(|rules| Active::new(verdict, rules, draws, now)),
            passive,
            ejection: Ejection::new(now),
            told: member.server.standing(),
            since: now,
            ramp: None,
            complained: None,
        }
    }

    /// Stays with other settings: its state does, what was begun by the old rules does not.
    pub(super) fn adopt(
        &mut self,
        member: &Member,
        last: &PoolSettings,
        settings: &PoolSettings,
        draws: &mut Draws,
        now: Instant,
    ) {
        self.backup = member.backup;
        if last.health != settings.health {
            let verdict = self.active.as_ref().map_or(Verdict::Trusted, Active::verdict);
            self.active = settings.health.as_ref().map(|rules| Active::new(verdict, rules, draws, now));
        }
        if last.passive.window != settings.passive.window {
            let mut passive = Passive::new(settings.passive.window, now);
            passive.see(member.server.counts(), now);
            passive.forget();
            self.passive = passive;
        }
    }

    /// What follows from wish, checks and ejection.
    pub(super) fn state(&self) -> State {
        match self.wish {
            Wish::Drained => return State::Draining,
            Wish::Disabled => return State::Disabled,
            Wish::Enabled => {}
        }
        match self.active.as_ref().map(Active::verdict) {
            Some(Verdict::Down) => return State::Down,
            Some(Verdict::Unknown) => return State::Probing,
            Some(Verdict::Up | Verdict::Trusted) | None => {}
        }
        match self.ejection.phase() {
            Phase::InRotation { .. } => State::Up,
            Phase::Resting { .. } => State::Ejected,
            Phase::Trial { .. } => State::Probing,
        }
    }

    fn is_silent(&self) -> bool {
        let checks = self.active.as_ref().is_some_and(Active::is_silent);
        checks || matches!(self.ejection.phase(), Phase::Resting { silent: true, .. })
    }

    /// The new standing, if it is another than the one told.
    pub(super) fn settle(&mut self, settings: &PoolSettings, now: Instant) -> Option<Standing> {
        let (state, from) = (self.state(), self.told.state);
        if state != from {
            self.since = now;
            self.ramp = None;
            if state == State::Up {
                self.passive.forget();
                self.ramp = (!settings.slow_start.is_zero()).then_some(now);
            }
        }
        let silent = state != State::Up && self.is_silent();
        let share = match (state, self.ramp) {
            (State::Up, Some(since)) => share(settings.slow_start, now.saturating_duration_since(since)),
            (State::Probing, _) => SHARE_LEAST,
            _ => SHARE_FULL,
        };
        self.tell(Standing { state, silent, share })
    }

    /// The next step of slow start, if it is due.
    pub(super) fn ramp(&mut self, settings: &PoolSettings, now: Instant) -> Option<Standing> {
        let since = self.ramp?;
        let share = share(settings.slow_start, now.saturating_duration_since(since));
        if share == SHARE_FULL {
            self.ramp = None;
        }
        self.tell(Standing { share, ..self.told })
    }

    fn tell(&mut self, standing: Standing) -> Option<Standing> {
        let changed = standing != self.told;
        self.told = standing;
        changed.then_some(standing)
    }

    pub(super) fn probe_due(
        &mut self,
        rules: &HealthSettings,
        draws: &mut Draws,
        now: Instant,
    ) -> Option<Instant> {
        if self.wish == Wish::Disabled {
            return None;
        }
        self.active.as_mut()?.due(rules, draws, now)
    }

    /// Whether it is time again to say that it should rest and cannot.
    pub(super) fn may_complain(&mut self, every: Duration, now: Instant) -> bool {
        let again = self.complained.is_none_or(|then| now.saturating_duration_since(then) >= every);
        if again {
            self.complained = Some(now);
        }
        again
    }

    pub(super) fn deadline(&self, settings: &PoolSettings) -> Option<Instant> {
        let probe = self.active.as_ref().filter(|_| self.wish != Wish::Disabled).map(Active::deadline);
        let ramp = self.ramp.map(|since| {
            let step = u32::from(self.told.share.saturating_sub(SHARE_LEAST) / step_share()) + 1;
            since + (settings.slow_start / RAMP_STEPS).saturating_mul(step)
        });
        [probe, self.ejection.deadline(), ramp].into_iter().flatten().min()
    }
}

const fn step_share() -> u16 {
    (SHARE_FULL - SHARE_LEAST) / 18
}

/// The share after so long: from a tenth to all of it, in steps.
fn share(slow_start: Duration, after: Duration) -> u16 {
    let step = slow_start / RAMP_STEPS;
    let steps = if step.is_zero() { u128::from(RAMP_STEPS) } else { after.as_nanos() / step.as_nanos() };
    match u16::try_from(steps) {
        Ok(steps) if u32::from(steps) < RAMP_STEPS => SHARE_LEAST + steps * step_share(),
        _ => SHARE_FULL,
    }
}
