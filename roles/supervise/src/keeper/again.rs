//! What an earlier server left running.
//!
//! **Job.** Take processes over that are still what is to run; end the others. **Called by** `keeper`, once, as it starts.
//! **Calls** `record`, `host::process`.
//!
//! Invariants
//! 1. A process is taken over only if it runs the version that has won, under the same settings.
//!
//! Not here: folders of versions (`shelf`).

use std::path::PathBuf;
use std::time::Duration;

use madang_host::clock;
use madang_host::process::cgroup::Group;
use madang_host::process::output::Output;
use madang_host::process::running::Running;
use rustix::process::Signal;

use super::launch;
use super::record::{self, Record};
use super::{Keeper, Run, end_group};
use crate::app::Tone;
use crate::config::Kind;
use crate::releases::resume::fingerprint;

impl Keeper {
    /// Processes that an earlier server started: those of an app that is still the same go on, others are ended.
    pub(super) fn find_again(&self) {
        let mut apps = self.apps.borrow_mut();
        let mut known = Vec::new();
        for (path, record) in record::all(&self.folder) {
            let Some(running) = Running::found(&record.process) else {
                // Whatever descended from it goes with it.
                end_group(Group::found(&record.groups, None));
                record::forget(&path, &record.files);
                continue;
            };
            known.extend(record.groups.iter().cloned());
            if record.owner.is_some() {
                // It ends with its server: by itself, even if that was killed just now.
                tokio::task::spawn_local(async move {
                    running.ended().await;
                    end_group(Group::found(&record.groups, None));
                    record::forget(&path, &record.files);
                });
                continue;
            }
            let same = apps.get_mut(&*record.app).filter(|kept| {
                let settings = kept.app.settings();
                settings.kind == Kind::Service && record.program == fingerprint(&kept.app.current().program)
            });
            let number = record.process.number;
            match same {
                Some(kept) => {
                    let said = format!("instance {} (process {number}) runs on", record.instance);
                    self.around.told(&record.app, Tone::Good, &said);
                    kept.app.adopt(record.instance, clock::now());
                    let memory = kept.app.settings().program.limits.memory;
                    let group = Group::found(&record.groups, memory);
                    let mut files = record.files.clone();
                    files.push(path);
                    let (out, err) = launch::output_paths(&self.folder, &record.app, record.instance);
                    let run = self.watch(
                        &record.app,
                        record.instance,
                        (running, group),
                        record.address,
                        files,
                        ((Output::open(&out).ok(), Output::open(&err).ok()), None),
                    );
                    let (version, tree) = (kept.app.current().number, record.tree);
                    kept.runs.insert(record.instance, Run { notified: true, version, tree, ..run });
                }
                None => {
                    let said =
                        format!("process {number} of an earlier start is ended: what is to run has changed");
                    self.around.told(&record.app, Tone::Good, &said);
                    if let Some(kept) = apps.get_mut(&*record.app) {
                        kept.app.passes_over(record.instance);
                        kept.shelf.strays.extend(record.tree);
                    }
                    self.end_stray(running, path, record);
                }
            }
        }
        self.groups.end_others(&known);
        for (name, kept) in apps.iter() {
            self.place(name, kept);
            self.tidy(name, kept);
        }
    }

    /// Ends a process that belongs to nobody any more.
    fn end_stray(&self, running: Running, path: PathBuf, record: Record) {
        /// A process without settings has no other grace.
        const GRACE: Duration = Duration::from_secs(5);
        let me = self.me.clone();
        tokio::task::spawn_local(async move {
            // One that has ended meanwhile is no error, here and below.
            let _ = running.signal(Signal::TERM);
            if tokio::time::timeout(GRACE, running.ended()).await.is_err() {
                let _ = running.signal(Signal::KILL);
                running.ended().await;
            }
            end_group(Group::found(&record.groups, None));
            record::forget(&path, &record.files);
            if let (Some(this), Some(tree)) = (me.upgrade(), record.tree) {
                this.stray_ended(&record.app, tree);
            }
        });
    }
}
