//! An app's versions on disk, from the keeper's side.
//!
//! **Job.** Open what an earlier server left, remember what changes, know what each folder takes and which may go.
//! **Owned by** `keeper`. **Calls** `releases`.
//!
//! Invariants
//! 1. A folder goes only when no version that is kept needs it and nothing runs from it.
//!
//! Not here: which versions are kept (`app`), making and removing folders (`releases`, on a thread that may wait).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Run;
use crate::app::{App, InstanceNumber};
use crate::config::AppSettings;
use crate::releases::record::{History, Record};
use crate::releases::resume::{Resumed, known, resume, said};
use crate::releases::{Made, Progress, folder};

/// See the module.
pub(super) struct Shelf {
    /// `DATA/apps/NAME/releases`.
    pub(super) trees: PathBuf,
    /// How each deploy went.
    pub(super) history: History,
    /// The version whose files are being made.
    pub(super) preparing: Option<(u32, Arc<Progress>)>,
    /// What is on the shelf, and how much it takes.
    bytes: BTreeMap<u32, u64>,
    /// Processes of an earlier server that are being ended, by the folder they run from.
    pub(super) strays: Vec<u32>,
}

impl Shelf {
    /// Opens it. Gives what the app begins with, and what is to be told.
    pub(super) fn open(apps: &Path, settings: &AppSettings) -> (Self, Resumed, Vec<String>) {
        // Absolute, because it is used in another working directory too.
        let apps = std::path::absolute(apps).unwrap_or_else(|_| apps.to_owned());
        let trees = folder(&apps, &settings.name);
        let mut told = Vec::new();
        let record = match Record::read(&trees) {
            Ok(record) => record,
            Err(damaged) => {
                told.push(damaged.to_string());
                None
            }
        };
        let mut resumed = resume(record.as_ref(), &settings.program, &trees, &numbered(&trees));
        told.extend(resumed.told.take());
        let versions = resumed.earlier.iter().chain([&resumed.current]);
        let bytes = versions.filter_map(|release| Some((release.made.tree?, release.made.bytes))).collect();
        let history = History::of(record.map(|record| record.history).unwrap_or_default());
        (Self { trees, history, preparing: None, bytes, strays: Vec::new() }, resumed, told)
    }

    /// Writes down what is true now.
    pub(super) fn remember(&self, app: &App) -> io::Result<()> {
        let settings = said(&app.settings().program);
        let earlier = app.earlier().iter().map(known).collect();
        let history = self.history.entries().to_vec();
        Record::new(app.releases(), settings, known(app.current()), earlier, history).write(&self.trees)
    }

    /// One more folder.
    pub(super) fn add(&mut self, made: &Made) {
        self.bytes.extend(made.tree.map(|tree| (tree, made.bytes)));
    }

    /// What all folders take, in bytes.
    pub(super) fn total(&self) -> u64 {
        self.bytes.values().sum()
    }

    /// What those take that cannot go to make room.
    pub(super) fn fixed(&self, app: &App, runs: &BTreeMap<InstanceNumber, Run>) -> u64 {
        let stays = |tree: &u32| app.current().made.tree == Some(*tree) || self.is_run(*tree, runs);
        self.bytes.iter().filter(|(tree, _)| stays(tree)).map(|(_, bytes)| bytes).sum()
    }

    fn is_run(&self, tree: u32, runs: &BTreeMap<InstanceNumber, Run>) -> bool {
        self.strays.contains(&tree) || runs.values().any(|run| run.tree == Some(tree))
    }

    /// Whether a folder is needed still.
    pub(super) fn keeps(&self, tree: u32, app: &App, runs: &BTreeMap<InstanceNumber, Run>) -> bool {
        app.needs(tree) || self.is_run(tree, runs)
    }

    /// Takes those from the shelf that may go.
    pub(super) fn take_unneeded(&mut self, app: &App, runs: &BTreeMap<InstanceNumber, Run>) -> Vec<u32> {
        let goes = |tree: &u32| !self.keeps(*tree, app, runs);
        let going: Vec<u32> = self.bytes.keys().copied().filter(goes).collect();
        for tree in &going {
            self.bytes.remove(tree);
        }
        going
    }
}

/// The folders that have a number.
fn numbered(trees: &Path) -> BTreeSet<u32> {
    // No folder, no versions.
    let entries = std::fs::read_dir(trees).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
