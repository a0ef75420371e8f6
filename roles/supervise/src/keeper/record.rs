//! Which processes run, in the data folder.
//!
//! **Job.** Write a record for each, read them all, forget them. **Called by** `keeper`. **Calls** the file system.
//!
//! Invariants
//! 1. A record is whole or not there: it is written beside its place and renamed.
//! 2. What does not read is no record; the process it may have named is not touched.
//!
//! Not here: whether the process is still the same (`host::process::identity`).

use std::io;
use std::path::{Path, PathBuf};

use madang_host::process::identity::Identity;
use serde::{Deserialize, Serialize};

/// The largest record, in bytes.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// A process and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it
pub(super) struct Record {
    pub app: String,
    pub instance: u32,
    pub address: String,
    pub process: Identity,
    /// Of its program: another one is another version.
    pub program: u64,
    /// The number of the folder it runs from.
    #[serde(default)]
    pub tree: Option<u32>,
    /// Files that go when it goes.
    pub files: Vec<PathBuf>,
    /// Folders of its control group.
    pub groups: Vec<PathBuf>,
    /// The server without which it ends by itself; `None`: it outlives servers.
    #[serde(default)]
    pub owner: Option<Identity>,
}

/// The folder of an app.
pub(super) fn folder(apps: &Path, app: &str) -> PathBuf {
    apps.join(app)
}

/// Where the record of an instance stands.
pub(super) fn path(apps: &Path, app: &str, instance: u32) -> PathBuf {
    folder(apps, app).join(format!("{instance}.json"))
}

/// Writes a record; gives its path.
pub(super) fn keep(apps: &Path, record: &Record) -> io::Result<PathBuf> {
    let path = path(apps, &record.app, record.instance);
    let beside = path.with_extension("new");
    std::fs::write(&beside, serde_json::to_vec(record)?)?;
    std::fs::rename(&beside, &path)?;
    Ok(path)
}

/// All of them, with their paths.
pub(super) fn all(apps: &Path) -> Vec<(PathBuf, Record)> {
    let mut all = Vec::new();
    // No folder, no records: the first start.
    for app in std::fs::read_dir(apps).into_iter().flatten().flatten() {
        for entry in std::fs::read_dir(app.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Ok(bytes) = madang_host::file::read(&path, RECORD_BYTES_MAX)
                && let Ok(record) = serde_json::from_slice(&bytes)
            {
                all.push((path, record));
            }
        }
    }
    all
}

/// The process is gone.
pub(super) fn forget(record: &Path, files: &[PathBuf]) {
    forget_all(files);
    // What is not there need not go.
    let _ = std::fs::remove_file(record);
}

/// Removes files of a process that is gone.
pub(super) fn forget_all(files: &[PathBuf]) {
    for file in files {
        // Likewise.
        let _ = std::fs::remove_file(file);
    }
}
