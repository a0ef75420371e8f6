//! What an installation brought, written down for the day it is taken away.
//!
//! **Job.** Keep `installed.json`. **Called by** `install`, `uninstall`, `doctor`. **Calls** serde.
//!
//! Invariants
//! 1. What is not written down here is not ours to remove.
//!
//! Not here: removing (`uninstall`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::journal::{Stopped, stopped};
use super::place::{self, Place};

/// The form of this file.
const VERSION: u32 = 1;

/// What was installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Manifest {
    version: u32,
    /// Where the program went below.
    pub(in crate::cli) prefix: PathBuf,
    /// The settings that the service runs with.
    pub(in crate::cli) settings: PathBuf,
    /// Its data folder.
    pub(in crate::cli) data: PathBuf,
    /// The user it runs as.
    pub(in crate::cli) user: String,
    /// We made that user.
    pub(in crate::cli) user_made: bool,
    /// The packet filter is ours to load at the start of the machine.
    pub(in crate::cli) firewall: bool,
    /// Files without a mark of their own, and their SHA-256.
    pub(in crate::cli) files: BTreeMap<PathBuf, String>,
    /// Marked files.
    pub(in crate::cli) texts: Vec<PathBuf>,
    /// Folders that were not there before.
    pub(in crate::cli) folders: Vec<PathBuf>,
}

impl Manifest {
    /// Nothing is installed yet.
    pub(in crate::cli) fn new(prefix: &Path, settings: &Path, data: &Path, user: &str) -> Self {
        Self {
            version: VERSION,
            prefix: prefix.to_owned(),
            settings: settings.to_owned(),
            data: data.to_owned(),
            user: user.to_owned(),
            user_made: false,
            firewall: false,
            files: BTreeMap::new(),
            texts: Vec::new(),
            folders: Vec::new(),
        }
    }

    /// What was written down; `None` when nothing was installed.
    pub(in crate::cli) fn read(place: &Place) -> Result<Option<Self>, Stopped> {
        let path = place::manifest();
        let fail = |why: String| stopped(format!("cannot read {}", path.display()), why);
        let text = match std::fs::read_to_string(place.here(&path)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error.to_string())),
        };
        let manifest: Self = serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
        match manifest.version {
            VERSION => Ok(Some(manifest)),
            other => Err(fail(format!("it is of form {other}, this program knows {VERSION}"))),
        }
    }

    /// As it is written.
    pub(in crate::cli) fn text(&self) -> String {
        // It has nothing that JSON cannot say.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Remembers a marked file.
    pub(in crate::cli) fn text_at(&mut self, path: PathBuf) {
        if !self.texts.contains(&path) {
            self.texts.push(path);
        }
    }

    /// Remembers a folder that was made.
    pub(in crate::cli) fn folder_at(&mut self, path: &Path) {
        if !self.folders.iter().any(|have| have == path) {
            self.folders.push(path.to_owned());
        }
    }
}
