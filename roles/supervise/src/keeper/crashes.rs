//! The last crashes of each app, with what was said before: kept over restarts of the server.
//!
//! **Job.** Remember, write beside the app's other records, read back. **Called by** `keeper`. **Calls** the file system.
//!
//! Invariants
//! 1. At most [`CRASHES_MAX`] of an app are kept; the file is whole or not there.
//!
//! Not here: which end is a crash (`keeper`), showing them (`madang app why`).

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record;

/// Crashes kept of each app.
const CRASHES_MAX: usize = 10;
/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const FILE: &str = "crashes";

/// An end that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// RFC 3339, UTC.
    pub time: String,
    /// Which instance, or program.
    pub instance: u32,
    /// How it ended, in words.
    pub how: String,
    /// The last lines it wrote.
    pub lines: Vec<String>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Crashes {
    folder: PathBuf,
    known: BTreeMap<Arc<str>, VecDeque<Crash>>,
}

impl Crashes {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder, known: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, app: &Arc<str>, crash: Crash) {
        let path = path(&self.folder, app);
        let all = self.known.entry(Arc::clone(app)).or_insert_with(|| read(&path));
        if all.len() == CRASHES_MAX {
            all.pop_front();
        }
        all.push_back(crash);
        let beside = path.with_extension("new");
        // A full disk costs the next server this memory, nothing else.
        let written = serde_json::to_vec(all).map(|text| std::fs::write(&beside, text));
        if matches!(written, Ok(Ok(()))) {
            let _ = std::fs::rename(&beside, &path);
        }
    }

    /// The newest last.
    pub(super) fn of(&self, app: &str) -> Vec<Crash> {
        match self.known.get(app) {
            Some(all) => all.iter().cloned().collect(),
            None => read(&path(&self.folder, app)).into(),
        }
    }
}

fn path(folder: &Path, app: &str) -> PathBuf {
    record::folder(folder, app).join(FILE)
}

fn read(path: &Path) -> VecDeque<Crash> {
    // None yet, or one that does not read: it begins anew.
    let bytes = madang_host::file::read(path, FILE_BYTES_MAX).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the last ten are there after a restart, the newest last.
    #[test]
    fn the_last_crashes_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("hello")).unwrap();
        let mut crashes = Crashes::new(folder.path().to_owned());
        let crash = |instance| Crash {
            time: "2026".to_owned(),
            instance,
            how: "ended with code 3".to_owned(),
            lines: vec!["it broke".to_owned()],
        };
        (1..=12).for_each(|instance| crashes.add(&"hello".into(), crash(instance)));
        let numbers =
            |crashes: &Crashes| crashes.of("hello").iter().map(|one| one.instance).collect::<Vec<_>>();
        assert_eq!(numbers(&crashes), (3..=12).collect::<Vec<_>>());
        assert_eq!(numbers(&Crashes::new(folder.path().to_owned())), (3..=12).collect::<Vec<_>>());
        assert_eq!(crashes.of("nobody"), []);
    }
}
