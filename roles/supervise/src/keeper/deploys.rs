//! Deploys, carried out: files made and removed off the main loop, everything remembered.
//!
//! **Job.** Have a version's files made, tell the app when they are there, write the record when something is decided, remove
//! what nothing needs. **Called by** `keeper`. **Calls** `shelf`, `releases`.
//!
//! Invariants
//! 1. What has won is in the record before anybody is told that it has.
//!
//! Not here: deciding (`app`), what is on the shelf (`shelf`).

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::clock;
use serde::Serialize;

use super::shelf::Shelf;
use super::{Keeper, Kept};
use crate::app::{App, Refused, Tone};
use crate::config::{AppSettings, Give, Kind};
use crate::releases::record::{End, Entry};
use crate::releases::{Cause, Order, Origin, Prepared, Progress, Source, Unfit, clear, prepare};

/// An app's deploys as people see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct HistoryView {
    pub app: String,
    /// The version that is in.
    pub current: u32,
    /// Those that can be gone back to, the newest last.
    pub earlier: Vec<u32>,
    /// The newest last.
    pub deploys: Vec<Entry>,
}

impl Keeper {
    /// An app that was not there before.
    pub(super) fn take_on(&self, settings: &Arc<AppSettings>, now: Instant) -> Kept {
        let (mut shelf, resumed, told) = Shelf::open(&self.folder, settings);
        for sentence in told {
            self.around.told(&settings.name, Tone::Bad, &sentence);
        }
        if let Some(cause) = resumed.fresh {
            let (number, origin) = (resumed.current.number, resumed.current.made.origin.clone());
            shelf.history.begin(number, cause, origin, clock::unix_seconds(clock::wall()));
            shelf.history.end(number, 0, End::In);
        }
        let app = App::new(Arc::clone(settings), resumed, self.seed, now);
        let kept = Kept { app, runs: BTreeMap::new(), gone: false, shelf, metered: false };
        self.remember(&settings.name, &kept);
        kept
    }

    /// Removes what an earlier server left behind: half a version, versions that are needed no more.
    pub(super) fn tidy(&self, name: &Arc<str>, kept: &Kept) {
        let (trees, given) = (kept.shelf.trees.clone(), kept.app.releases());
        let folders: Vec<u32> =
            (1..=given).filter(|tree| kept.shelf.keeps(*tree, &kept.app, &kept.runs)).collect();
        self.remove(name, move || clear(&trees, |tree| tree <= given && !folders.contains(&tree)));
    }

    /// A version of other files than the settings name. `None`: there is no such app.
    pub fn deploy_from(&self, name: &str, source: Source) -> Option<Result<u32, Refused>> {
        let mut apps = self.apps.borrow_mut();
        let (name, _) = apps.get_key_value(name)?;
        let name = Arc::clone(name);
        let kept = apps.get_mut(&name)?;
        let number = match kept.app.prepare(source.origin(), clock::now()) {
            Ok(number) => number,
            Err(refused) => return Some(Err(refused)),
        };
        let settings = kept.app.settings();
        let order = Order {
            number,
            source,
            trees: kept.shelf.trees.clone(),
            data: self.data.clone(),
            disk: settings.deploy.disk,
            beside: kept.shelf.fixed(&kept.app, &kept.runs),
            no_image: no_image(settings.program.give),
            owner: settings.program.user.clone(),
            image_dir: settings.program.image.dir.clone().map(Into::into),
        };
        let through = settings.program.user.is_some();
        let progress = Arc::new(Progress::default());
        kept.shelf.preparing = Some((number, Arc::clone(&progress)));
        let (me, data) = (self.me.clone(), self.data.clone());
        drop(apps);
        self.act();
        self.changed.notify_one();
        tokio::task::spawn_local(async move {
            let work = tokio::task::spawn_blocking(move || {
                let prepared = prepare(&order, &progress)?;
                if through && let Err(unfit) = let_through(&data, &order.trees) {
                    // What else it met, the next start meets too, and tries again.
                    let _ = clear(&order.trees, |tree| tree == order.number);
                    return Err(unfit);
                }
                Ok(prepared)
            });
            let done = work.await;
            let Some(this) = me.upgrade() else { return };
            match done {
                Ok(done) => this.prepared(&name, number, done),
                Err(_) => this.prepared(&name, number, Err(Unfit::Cancelled)),
            }
        });
        Some(Ok(number))
    }

    fn prepared(&self, name: &Arc<str>, number: u32, done: Result<Prepared, Unfit>) {
        let mut apps = self.apps.borrow_mut();
        let Some(kept) = apps.get_mut(name) else { return };
        if kept.shelf.preparing.as_ref().is_some_and(|(preparing, _)| *preparing == number) {
            kept.shelf.preparing = None;
        }
        let now = clock::now();
        match done {
            Err(unfit) => kept.app.unprepared(number, &unfit.to_string(), now),
            Ok(Prepared { made, files, left_out }) => {
                kept.shelf.add(&made);
                kept.shelf.history.is_from(number, made.origin.clone());
                let sizes = madang_settings::unit::show_size(made.bytes);
                let mut told = format!("version {number} has its files: {files}, {sizes}");
                if let Some(left_out) = left_out {
                    told.push_str(&format!("; left out: {left_out}"));
                }
                if kept.app.prepared(number, made, &kept.shelf.trees, now) {
                    self.around.told(name, Tone::Good, &told);
                } else {
                    // Taken back behind its last look at that: it is whole, and nothing needs it.
                    self.sweep(name, kept);
                }
                while kept.shelf.total() > kept.app.settings().deploy.disk {
                    let Some(oldest) = kept.app.forget_oldest() else { break };
                    let disk = madang_settings::unit::show_size(kept.app.settings().deploy.disk);
                    let told = format!("version {oldest} goes to make room: deploy.disk is {disk}");
                    self.around.told(name, Tone::Good, &told);
                    self.sweep(name, kept);
                }
            }
        }
        drop(apps);
        self.changed.notify_one();
    }

    /// A version is on its way in.
    pub(super) fn begun(&self, name: &str, kept: &mut Kept, version: u32, cause: Cause, origin: Origin) {
        kept.shelf.history.begin(version, cause, origin, clock::unix_seconds(clock::wall()));
        self.remember(name, kept);
    }

    /// It is decided.
    pub(super) fn over(
        &self,
        name: &Arc<str>,
        kept: &mut Kept,
        version: u32,
        lost: Option<String>,
        mut lines: Vec<String>,
        took: Duration,
    ) {
        if lines.is_empty() {
            // None of it has ended: what it wrote so far may say why it is not well.
            let of_it = kept.runs.values().find(|run| run.version == version);
            lines.extend(of_it.iter().flat_map(|run| run.said.borrow().iter().cloned().collect::<Vec<_>>()));
        }
        let end = lost.map_or(End::In, |why| End::TakenBack { why, lines });
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        kept.shelf.history.end(version, took, end);
        self.remember(name, kept);
        self.sweep(name, kept);
    }

    /// The files of a version are not wanted any more.
    pub(super) fn forget(&self, kept: &Kept, version: u32) {
        if let Some((_, progress)) = kept.shelf.preparing.as_ref().filter(|(number, _)| *number == version) {
            progress.cancel();
        }
    }

    fn remember(&self, name: &str, kept: &Kept) {
        if kept.app.settings().kind != Kind::Service {
            return;
        }
        if let Err(error) = kept.shelf.remember(&kept.app) {
            let told = format!(
                "its versions cannot be written down in {}: {error}; a server after this one would not know them",
                kept.shelf.trees.display()
            );
            self.around.told(name, Tone::Bad, &told);
        }
    }

    /// Removes the folders that nothing needs any more.
    pub(super) fn sweep(&self, name: &Arc<str>, kept: &mut Kept) {
        let going = kept.shelf.take_unneeded(&kept.app, &kept.runs);
        if !going.is_empty() {
            let trees = kept.shelf.trees.clone();
            self.remove(name, move || clear(&trees, |tree| going.contains(&tree)));
        }
    }

    fn remove(&self, name: &Arc<str>, work: impl FnOnce() -> std::io::Result<()> + Send + 'static) {
        let (name, around) = (Arc::clone(name), std::rc::Rc::clone(&self.around));
        tokio::task::spawn_local(async move {
            if let Ok(Err(error)) = tokio::task::spawn_blocking(work).await {
                let told = format!("the files of an old version cannot be removed: {error}");
                around.told(&name, Tone::Bad, &told);
            }
        });
    }

    /// A process of an earlier server that ran from a folder has ended.
    pub(super) fn stray_ended(&self, name: &str, tree: u32) {
        let mut apps = self.apps.borrow_mut();
        let Some((name, _)) = apps.get_key_value(name) else { return };
        let name = Arc::clone(name);
        let Some(kept) = apps.get_mut(&name) else { return };
        if let Some(at) = kept.shelf.strays.iter().position(|stray| *stray == tree) {
            kept.shelf.strays.swap_remove(at);
        }
        self.tidy(&name, kept);
    }

    /// An app's deploys; `None`: there is no such app.
    pub fn history(&self, name: &str) -> Option<HistoryView> {
        let apps = self.apps.borrow();
        let Some(kept) = apps.get(name) else {
            // A new version of programs for connections is in at once: there is nothing to tell of how it came in.
            let (current, earlier) = self.connections.order(name, |crew, _| crew.versions())?;
            return Some(HistoryView { app: name.to_owned(), current, earlier, deploys: Vec::new() });
        };
        Some(HistoryView {
            app: name.to_owned(),
            current: kept.app.current().number,
            earlier: kept.app.earlier().iter().map(|release| release.number).collect(),
            deploys: kept.shelf.history.entries().to_vec(),
        })
    }
}

/// Why an app cannot be of an image.
fn no_image(give: Give) -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some(
            "only a server that is root can give it a root of its own (chroot); pack the app's folder instead",
        );
    }
    (give == Give::Socket)
        .then_some("its socket would lie outside its root: use give = \"port\" or \"listener\"")
}

/// An app that runs as another user has to reach its files: the folders above may be passed through, not read.
fn let_through(data: &Path, trees: &Path) -> Result<(), Unfit> {
    let ours = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    for folder in trees.ancestors().take_while(|folder| folder.starts_with(&ours)) {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))
            .map_err(|error| Unfit::Write { path: folder.to_owned(), error })?;
    }
    Ok(())
}
