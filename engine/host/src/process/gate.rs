//! The moment between spawning a process and writing down that it runs.
//!
//! **Job.** Hold a process that was just born until its record stands; one whose server died before that ends. **Called by**
//! `roles/supervise` (our side), `exec` (the child's side). **Calls** the kernel (flock(2)).
//!
//! How: the server locks a file beside the record, spawns, writes the record, unlocks. The child begins by waiting for the lock,
//! which the kernel takes back from a server that was killed, and then looks whether the record names it. That the server still
//! seems to live means nothing: the kernel takes locks back before a parent is gone.
//!
//! Invariants
//! 1. A program runs only if its record names it, or its server left word that the record could not be written (and told it).
//! 2. A lock is never left: it is the open file's, not the file's.
//!
//! Not here: what else is in a record (`roles/supervise`).

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;

use super::identity::Identity;

/// The largest record that is looked into, in bytes.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// Closed as long as it is held.
#[derive(Debug)]
pub struct Gate {
    locked: File,
    record: PathBuf,
}

impl Gate {
    /// Closes the gate in front of whoever waits for this record.
    ///
    /// # Errors
    /// The file cannot be made or locked: then there is no gate to wait at.
    pub fn close(record: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path(record))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.set_len(0)?;
        Ok(Self { locked: file, record: record.to_owned() })
    }

    /// Opens it although there is no record: the server lives, and has told that there is none.
    ///
    /// # Errors
    /// The word could not be left: whoever waits will end.
    pub fn open_unrecorded(self) -> io::Result<()> {
        // A length takes no room on a disk, which may be what a record was refused for.
        self.locked.set_len(1)
    }

    /// The record that is waited for.
    pub(super) fn record(&self) -> &Path {
        &self.record
    }

    /// The file that stays; to be removed with the record.
    pub fn path(&self) -> PathBuf {
        path(&self.record)
    }
}

fn path(record: &Path) -> PathBuf {
    record.with_extension("gate")
}

/// What of a record is looked at.
#[derive(Deserialize)]
struct Names {
    process: Identity,
}

/// In the child: waits until the server has let go, and says whether to go on.
pub(super) fn wait(record: &Path) -> io::Result<bool> {
    let file = File::open(path(record))?;
    flock(&file, FlockOperation::LockShared)?;
    let named = crate::file::read(record, RECORD_BYTES_MAX)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Names>(&bytes).ok())
        .is_some_and(|names| Identity::of(std::process::id()).is_some_and(|us| us == names.process));
    Ok(named || file.metadata()?.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: who is named goes on; who is not goes on only with a word of its server, which the next gate takes back.
    // Method: this process, its own record, another's, none.
    #[test]
    fn only_who_is_named_goes_on_without_a_word() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("1.json");
        let us = Identity::of(std::process::id()).unwrap();
        let check = |names: Option<&Identity>, want: bool| {
            let text = names.map(|names| serde_json::json!({ "process": names }).to_string());
            std::fs::write(&record, text.unwrap_or_default()).unwrap();
            assert_eq!(wait(&record).unwrap(), want, "{names:?}");
        };
        let gate = Gate::close(&record).unwrap();
        assert!(Gate::close(&record).is_err(), "it is held");
        drop(gate);
        check(None, false);
        check(Some(&us), true);
        check(Some(&Identity { start_ticks: us.start_ticks + 1, ..us.clone() }), false);
        Gate::close(&record).unwrap().open_unrecorded().unwrap();
        check(None, true);
        drop(Gate::close(&record).unwrap());
        check(None, false);
    }
}
