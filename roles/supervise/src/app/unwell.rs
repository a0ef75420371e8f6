//! What is the matter with an instance that is not well, and with an app that cannot start.
//!
//! **Job.** Remember reasons that only others can see, so that what is told names them. **Called by** `keeper`, `app`.
//!
//! Invariants
//! 1. A reason is told with what follows from it, in the same sentence; by itself it says nothing and changes nothing.
//! 2. An instance that is ended because it was not well counts as one end, when it is decided: what starts in its place waits
//!    as `restart` says.
//!
//! Not here: finding reasons out (`keeper::ailment`).

use std::time::{Duration, Instant};

use super::{Action, App, InstanceNumber, Mode, Tone};
use crate::life::Phase;

/// The deadline is near: now is the time to look closely.
const SOON: Duration = Duration::from_millis(350);

impl App {
    /// What is the matter with an instance, as far as it can be seen.
    pub fn explain(&mut self, number: InstanceNumber, why: String) {
        if let Some(instance) = self.instances.iter_mut().find(|instance| instance.number == number) {
            instance.unwell = Some(why);
        }
    }

    /// Whether an instance has started, is not ready and will soon be too late, for itself or for the deploy it belongs to.
    pub fn is_nearly_late(&self, number: InstanceNumber, now: Instant) -> bool {
        let Some(instance) = self.instances.iter().find(|instance| instance.number == number) else {
            return false;
        };
        let Phase::Starting { deadline } = instance.life.phase() else { return false };
        let mine = self.entering.iter().filter(|entering| entering.release.number == instance.release);
        let deploy = mine.filter_map(|entering| entering.deploy.deadline()).min();
        now + SOON >= deploy.map_or(deadline, |deploy| deploy.min(deadline))
    }

    /// What keeps it from starting: apps that are not ready yet (`failed`: and will not be).
    pub fn waits_for(&mut self, others: &[std::sync::Arc<str>], failed: bool) {
        let was = std::mem::take(&mut self.blocked);
        if self.mode != Mode::Waiting || others.is_empty() {
            return;
        }
        let why = match (others, failed) {
            (_, false) => format!("waits for {}", others.join(", ")),
            ([other], true) => format!("waits for {other}, which has failed"),
            (_, true) => format!("waits for {}, which have failed", others.join(", ")),
        };
        let now = Some((failed, why.clone()));
        if was != now && failed {
            self.tell(Tone::Bad, format!("{why}: requests to it are refused"));
        }
        if was.is_some_and(|(was, _)| was) != failed {
            self.actions.push_back(Action::Places);
        }
        self.blocked = now;
    }

    /// With what is known of it: `not ready within 2s (it listens nowhere)`.
    pub(super) fn with_reason(&self, at: usize, what: String) -> String {
        match &self.instances[at].unwell {
            Some(why) => format!("{what} ({why})"),
            None => what,
        }
    }

    /// What the first of a version's instances suffers from.
    pub(super) fn reason_of(&self, release: u32) -> Option<&str> {
        let mine = self.instances.iter().filter(|instance| instance.release == release);
        mine.filter(|instance| instance.life.phase() != Phase::Ready)
            .find_map(|instance| instance.unwell.as_deref())
    }
}
