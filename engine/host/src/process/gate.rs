//! The moment between spawning a process and writing down that it runs.
//!
//! **Job.** Hold a process that was just born until its record stands; one whose server died before that ends. **Called by**
//! `roles/supervise` (our side), `exec` (the child's side). **Calls** the kernel (flock(2)).
//!
//! How: the server locks a file beside the record, spawns, writes the record, unlocks. The child begins by waiting for the lock,
//! which the kernel takes back from a server that was killed, and then looks whether the record names it.
//!
//! Invariants
//! 1. A program runs only if its record names it, or its server lived to see that the record could not be written (and told it).
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
    _locked: File,
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
        Ok(Self { _locked: file, record: record.to_owned() })
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

/// In the child: waits until the server has let go, and says whether to go on. `server`: the process that spawned us.
pub(super) fn wait(record: &Path, server: u32) -> io::Result<bool> {
    let file = File::open(path(record))?;
    flock(&file, FlockOperation::LockShared)?;
    let named = crate::file::read(record, RECORD_BYTES_MAX)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Names>(&bytes).ok())
        .is_some_and(|names| Identity::of(std::process::id()).is_some_and(|us| us == names.process));
    // Not named by a server that lives: it could not write, and says so.
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    Ok(named || parent == i32::try_from(server).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: who is named goes on, whoever the parent is; who is not goes on only with its server alive.
    // Method: this process, its own record, another's, none.
    #[test]
    fn only_who_is_named_goes_on_without_a_server() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("1.json");
        let parent = std::os::unix::process::parent_id();
        let us = Identity::of(std::process::id()).unwrap();
        let check = |names: Option<&Identity>, server: u32, want: bool| {
            let text = names.map(|names| serde_json::json!({ "process": names }).to_string());
            std::fs::write(&record, text.unwrap_or_default()).unwrap();
            assert_eq!(wait(&record, server).unwrap(), want, "{names:?} {server}");
        };
        let gate = Gate::close(&record).unwrap();
        assert!(Gate::close(&record).is_err(), "it is held");
        drop(gate);
        check(None, parent, true);
        check(None, parent + 1, false);
        check(Some(&us), parent + 1, true);
        check(Some(&Identity { start_ticks: us.start_ticks + 1, ..us.clone() }), parent + 1, false);
    }
}
