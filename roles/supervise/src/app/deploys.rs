//! New versions: from an order to the version that is in.
//!
//! **Job.** Number a new version, wait until its files are there, let it in beside the old one, take it back. **Called by**
//! `app`, `keeper`. **Calls** `deploy`.
//!
//! Invariants
//! 1. One version at a time is on its way in; a number is given once.
//! 2. Every version that begins is told with [`Action::Begun`] and, once it is decided, with [`Action::Over`].
//!
//! Not here: making its files (`releases`), instances (`reconcile`).

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::{Action, App, Entering, Mode, Outcome, Preparing, Refused, Release, Tone};
use crate::config::Program;
use crate::deploy::{Change, Deploy, Why};
use crate::life::Phase;
use crate::releases::resume::program_of;
use crate::releases::{Cause, Made, Origin};

impl App {
    /// The version that has won.
    pub const fn current(&self) -> &Release {
        &self.current
    }

    /// Those to go back to, the newest last.
    pub fn earlier(&self) -> &[Release] {
        &self.earlier
    }

    /// The highest number given so far.
    pub const fn releases(&self) -> u32 {
        self.releases
    }

    /// Whether the folder of that number may be needed.
    pub fn needs(&self, tree: u32) -> bool {
        let entering = self.entering.iter().map(|entering| &entering.release);
        let all = entering.chain([&self.current]).chain(&self.earlier);
        self.preparing.as_ref().is_some_and(|preparing| preparing.number == tree)
            || all.into_iter().any(|release| release.made.tree == Some(tree))
    }

    /// The same program anew: new instances first, then the old ones go.
    pub fn restart(&mut self, now: Instant) -> Result<u32, Refused> {
        let Release { program, made, .. } = self.current.clone();
        self.enter(program, made, Cause::Restart, now)
    }

    /// A new version of files that lie where the settings say.
    pub fn deploy(&mut self, program: Arc<Program>, now: Instant) -> Result<u32, Refused> {
        self.enter(program, Arc::new(Made::of_settings()), Cause::Deploy, now)
    }

    /// A version whose files have to be made first; tell [`App::prepared`] or [`App::unprepared`].
    pub fn prepare(&mut self, origin: Origin, now: Instant) -> Result<u32, Refused> {
        self.may_enter(now)?;
        self.releases += 1;
        let number = self.releases;
        self.tell(Tone::Good, format!("version {number} is made ready"));
        self.actions.push_back(Action::Begun { version: number, cause: Cause::Deploy, origin });
        self.preparing = Some(Preparing { number, begun: now });
        Ok(number)
    }

    /// Its files are there. `false`: it is not wanted any more.
    pub fn prepared(&mut self, number: u32, made: Made, trees: &Path, now: Instant) -> bool {
        let wanted = self.preparing.take_if(|preparing| preparing.number == number);
        let Some(preparing) = wanted else { return false };
        let program = Arc::new(program_of(&self.settings.program, &made, trees));
        self.bring_in(Release { number, program, made: Arc::new(made) }, preparing.begun, now);
        true
    }

    /// Its files cannot be had.
    pub fn unprepared(&mut self, number: u32, why: &str, now: Instant) {
        let wanted = self.preparing.take_if(|preparing| preparing.number == number);
        let Some(preparing) = wanted else { return };
        let stays = self.current.number;
        self.tell(Tone::Bad, format!("version {number} cannot be made: {why}; version {stays} goes on"));
        self.over(number, Some(why.to_owned()), Vec::new(), preparing.begun, now);
    }

    /// Back: the version on its way in is taken back, or an earlier one - the last, or that one - comes in again.
    pub fn roll_back(&mut self, to: Option<u32>, now: Instant) -> Result<u32, Refused> {
        let under_way = self.take_back(now);
        if under_way && to.is_none_or(|to| to == self.current.number) {
            return Ok(self.current.number);
        }
        let found = match to {
            None => self.earlier.last(),
            Some(to) => self.earlier.iter().find(|release| release.number == to),
        };
        let Some(Release { number, program, made }) = found.cloned() else {
            return Err(match to {
                None => Refused::NothingEarlier,
                Some(to) if to == self.current.number => Refused::RunsAlready { release: to },
                Some(to) => {
                    let known = self.earlier.iter().map(|release| release.number).collect();
                    Refused::NotKept { release: to, known }
                }
            });
        };
        self.enter(program, made, Cause::Rollback { to: number }, now)
    }

    /// Whatever is on its way in is not wanted any more. True: something was.
    pub(super) fn take_back(&mut self, now: Instant) -> bool {
        if let Some(preparing) = &self.preparing {
            let number = preparing.number;
            self.actions.push_back(Action::Forget(number));
            self.unprepared(number, "by the operator", now);
            return true;
        }
        let Some(entering) = &mut self.entering else { return false };
        entering.deploy.take_back();
        self.advance_deploy(now);
        true
    }

    /// The oldest version to go back to that has a folder goes, to make room. `None`: there is none.
    pub fn forget_oldest(&mut self) -> Option<u32> {
        let at = self.earlier.iter().position(|release| {
            let tree = release.made.tree;
            // A version that came in again shares its folder with the one it is.
            tree.is_some() && tree != self.current.made.tree
        })?;
        Some(self.earlier.remove(at).number)
    }

    fn may_enter(&self, now: Instant) -> Result<(), Refused> {
        if self.settings.kind.is_job() {
            return Err(Refused::Job);
        }
        let preparing = self.preparing.as_ref().map(|preparing| (preparing.number, preparing.begun));
        let entering = self.entering.as_ref().map(|entering| (entering.release.number, entering.begun));
        match preparing.or(entering) {
            Some((release, begun)) => {
                let since = now.saturating_duration_since(begun);
                Err(Refused::DeployUnderWay { release, since })
            }
            None => Ok(()),
        }
    }

    pub(super) fn enter(
        &mut self,
        program: Arc<Program>,
        made: Arc<Made>,
        cause: Cause,
        now: Instant,
    ) -> Result<u32, Refused> {
        self.may_enter(now)?;
        self.releases += 1;
        let number = self.releases;
        self.actions.push_back(Action::Begun { version: number, cause, origin: made.origin.clone() });
        self.bring_in(Release { number, program, made }, now, now);
        Ok(number)
    }

    fn bring_in(&mut self, release: Release, begun: Instant, now: Instant) {
        let number = release.number;
        // Nobody is served by it: the next start is of the new version, with nothing to go back to while it starts.
        let nobody = self.instances.iter().all(|instance| instance.life.phase().is_leaving());
        if matches!(self.mode, Mode::Failed(_)) {
            self.start_all(now);
        }
        if self.mode != Mode::Running || (nobody && self.wanted == 0) {
            self.replace_current(release);
            self.over(number, None, Vec::new(), begun, now);
            return;
        }
        self.tell(Tone::Good, format!("version {number} starts beside version {}", self.current.number));
        let deploy = Deploy::new(self.settings.deploy.clone(), now);
        self.entering = Some(Entering { release, deploy, begun, lines: Vec::new() });
        self.actions.push_back(Action::Places);
    }

    pub(super) fn deploy_failed(&mut self, release: u32, how: String) {
        if let Some(entering) = self.entering.as_mut().filter(|entering| entering.release.number == release) {
            entering.deploy.failed(how);
        }
    }

    pub(super) fn advance_deploy(&mut self, now: Instant) {
        let Some(entering) = &mut self.entering else { return };
        let new = entering.release.number;
        let of = self.wanted.max(1);
        let is_ready =
            |instance: &&super::Instance| instance.release == new && instance.life.phase() == Phase::Ready;
        let ready = u32::try_from(self.instances.iter().filter(is_ready).count()).unwrap_or(u32::MAX);
        let Some(change) = entering.deploy.poll(ready, of, now) else { return };
        self.actions.push_back(Action::Places);
        match change {
            Change::Share(share) => {
                self.tell(Tone::Good, format!("version {new} gets {share} % of the requests"));
            }
            Change::Won => self.won(now),
            Change::Lost(why) => {
                let known = self.reason_of(new).filter(|_| matches!(why, Why::NotHealthy { .. }));
                let why = known.map_or_else(|| why.to_string(), |known| format!("{why} ({known})"));
                self.lost(&why, now);
            }
        }
    }

    fn won(&mut self, now: Instant) {
        let Some(entering) = self.entering.take() else { return };
        self.replace_current(entering.release);
        self.restarts.forgive();
        let (new, took) = (self.current.number, now.saturating_duration_since(entering.begun));
        self.tell(Tone::Good, format!("version {new} is in, after {:.1} s", took.as_secs_f64()));
        self.over(new, None, Vec::new(), entering.begun, now);
    }

    fn lost(&mut self, why: &str, now: Instant) {
        let Some(Entering { release, begun, lines, .. }) = self.entering.take() else { return };
        let (number, stays) = (release.number, self.current.number);
        self.tell(Tone::Bad, format!("version {number} is taken back: {why}; version {stays} goes on"));
        self.over(number, Some(why.to_owned()), lines, begun, now);
    }

    fn replace_current(&mut self, release: Release) {
        let old = std::mem::replace(&mut self.current, release);
        // A restart is no version to go back to.
        let known = [&old.program, &self.current.program];
        self.earlier.retain(|release| !known.contains(&&release.program));
        if old.program != self.current.program {
            self.earlier.push(old);
        }
        let more = self.earlier.len().saturating_sub(self.settings.deploy.keep);
        self.earlier.drain(..more);
    }

    fn over(&mut self, version: u32, lost: Option<String>, lines: Vec<String>, begun: Instant, now: Instant) {
        let took = now.saturating_duration_since(begun);
        self.last = Some(Outcome { release: version, lost: lost.clone() });
        self.actions.push_back(Action::Over { version, lost, lines, took });
    }
}
