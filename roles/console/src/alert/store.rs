//! What was told and what waits, in the data folder: a restart tells nothing twice and loses nothing.
//!
//! **Job.** Write it whole, read it again. **Called by** `keeper`. **Calls** the file system.
//!
//! Invariants
//! 1. The file is whole or as it was before: it is written beside its place and renamed. Nobody but its owner reads it.
//! 2. What does not read is nothing: then alerts that go on are told once more.
//!
//! Not here: what is remembered (`rules`, `delivery`).

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::message::Message;
use super::rules::Subject;

/// The largest file that is read, in bytes: bounded by what is remembered.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// All of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) alerts: Vec<StoredAlert>,
    pub(super) ways: Vec<StoredWay>,
}

/// One alert.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredAlert {
    pub(super) alert: String,
    pub(super) when: String,
    pub(super) last: Option<u64>,
    pub(super) subjects: Vec<Subject>,
}

/// One way of one alert.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredWay {
    pub(super) alert: String,
    pub(super) way: String,
    pub(super) waiting: Vec<Message>,
}

impl Stored {
    pub(super) fn read(path: &Path) -> Self {
        let bytes = madang_host::file::read(path, FILE_BYTES_MAX).unwrap_or_default();
        // Invariant 2.
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        std::fs::rename(&beside, path)
    }
}
