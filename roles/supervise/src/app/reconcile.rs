//! From the instances there are to the instances there should be.
//!
//! **Job.** Start what is missing, let go what is too many, give each its place. **Called by** `app`.
//!
//! Not here: why a number is wanted (`app`, `scale`, `deploy`).

use std::time::Instant;

use super::{Action, App, Mode, Place, Release};
use crate::config::Ready;
use crate::life::Phase;

impl App {
    pub(super) fn reconcile(&mut self, now: Instant) {
        if self.mode != Mode::Running {
            return;
        }
        let entering = self.entering.as_ref().map(|entering| entering.release.clone());
        let staying: Vec<u32> =
            entering.iter().map(|release| release.number).chain([self.current.number]).collect();
        self.again.retain(|again| staying.contains(&again.release));
        for at in 0..self.instances.len() {
            if !staying.contains(&self.instances[at].release) {
                self.let_go(at, "its version is over", now);
            }
        }
        self.bring_to(&self.current.clone(), self.wanted, now);
        if let Some(release) = entering {
            self.bring_to(&release, self.wanted.max(1), now);
        }
    }

    /// Brings the instances of one version to a number.
    fn bring_to(&mut self, release: &Release, wanted: u32, now: Instant) {
        if self.settings.kind.is_job() {
            return self.bring_job(release, now);
        }
        let of = release.number;
        self.again.retain(|again| again.release != of || again.at > now);
        let stays: Vec<usize> = (0..self.instances.len())
            .filter(|at| self.instances[*at].release == of && !self.instances[*at].life.phase().is_leaving())
            .collect();
        let waiting = self.again.iter().filter(|again| again.release == of).count();
        let (have, wanted) = (stays.len() + waiting, wanted as usize);
        for _ in have..wanted {
            self.start(release, now);
        }
        let mut surplus = have.saturating_sub(wanted);
        // Those that only wait cost nothing to give up; then those that are not ready; then the youngest.
        while surplus > 0 {
            let Some(at) = self.again.iter().position(|again| again.release == of) else { break };
            self.again.remove(at);
            surplus -= 1;
        }
        let mut going = stays;
        going.sort_by_key(|at| {
            let instance = &self.instances[*at];
            (instance.life.phase() == Phase::Ready, std::cmp::Reverse(instance.number))
        });
        for at in going.into_iter().take(surplus) {
            self.let_go(at, "fewer are wanted", now);
        }
    }

    /// A job: one at a time, when its time has come.
    fn bring_job(&mut self, release: &Release, now: Instant) {
        if !self.instances.is_empty() {
            return;
        }
        let first = self.numbers == 0;
        if first && matches!(self.settings.kind, crate::config::Kind::At(_)) {
            // Its first time is by the schedule too.
            if self.again.is_empty() && !self.actions.contains(&Action::AskSchedule) {
                self.actions.push_back(Action::AskSchedule);
            }
        }
        let due = self.again.iter().any(|again| again.at <= now);
        let at_once =
            first && self.again.is_empty() && !matches!(self.settings.kind, crate::config::Kind::At(_));
        if due || at_once {
            self.again.clear();
            self.start(release, now);
        }
    }

    pub(super) fn start(&mut self, release: &Release, now: Instant) {
        self.numbers = self.numbers.wrapping_add(1);
        let instance = self.born(self.numbers, release.number, now);
        self.instances.push(instance);
        self.actions.push_back(Action::Start { instance: self.numbers, release: release.clone() });
    }

    pub(super) fn let_go(&mut self, at: usize, why: &str, now: Instant) {
        let instance = &mut self.instances[at];
        if instance.life.phase().is_leaving() {
            return;
        }
        instance.why = Some(why.to_owned());
        instance.life.leave(&self.settings.stop, self.settings.kind.is_job(), now);
        self.actions.push_back(Action::Places);
    }

    /// Where each instance stands in the pool; those without a process, and those that have not said READY yet, do not.
    pub fn places(&self) -> Vec<Place> {
        if !self.settings.takes_requests() {
            return Vec::new();
        }
        let notify = self.settings.ready == Ready::Notify;
        let there = self.instances.iter().filter(|instance| {
            let look = instance.life.look();
            instance.runs && (!notify || look.notified || look.fit.is_some())
        });
        let each = there.map(|instance| Place {
            instance: instance.number,
            weight: self.weight(instance.release),
            draining: instance.life.phase().is_leaving(),
        });
        each.collect()
    }

    /// The weight of each instance of a version: shares in percent, spread over as many as there are.
    fn weight(&self, release: u32) -> u16 {
        let Some(entering) = &self.entering else {
            return u16::from(release == self.current.number);
        };
        let (new, share) = (entering.release.number, u64::from(entering.deploy.share()));
        let count = |of: u32| {
            let ready =
                |instance: &&super::Instance| instance.release == of && instance.life.phase() == Phase::Ready;
            (self.instances.iter().filter(ready).count() as u64).max(1)
        };
        let (of_new, of_old) = (share * count(self.current.number), (100 - share) * count(new));
        let mine = match release {
            number if number == new => of_new,
            number if number == self.current.number => of_old,
            _ => 0,
        };
        // 1 at least, where there is a share at all.
        let scaled = (mine * 100).div_ceil(of_new.max(of_old).max(1));
        u16::try_from(scaled.min(256)).unwrap_or(256)
    }
}
