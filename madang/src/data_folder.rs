//! The data folder: made, locked, given to the server's user.
//!
//! **Job.** One server per folder; nobody else reads it. **Called by** `run`. **Calls** the file system, `host::rights`.
//!
//! Not here: what lies in it (`tls::local_ca`, `control::admin`, logs).

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use madang_host::rights::Identity;

use crate::run::{Failure, cannot};

const LOCK_FILE: &str = "madang.lock";

/// Makes it, readable by its owner only.
pub fn make(data: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(|error| {
        cannot(format!(
            "cannot make the data folder {}: {error}; set server.data to a folder the server may write",
            data.display()
        ))
    })
}

/// One server per data folder.
pub fn lock(data: &Path, handed: Option<File>) -> Result<File, Failure> {
    if let Some(lock) = handed {
        return Ok(lock);
    }
    let path = data.join(LOCK_FILE);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(|error| {
        cannot(format!(
            "cannot write {}: {error}; set server.data to a folder the server may write",
            path.display()
        ))
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(cannot(format!(
            "a server already runs with the data folder {}; `madang status` shows it, `madang stop` ends it",
            data.display()
        ))),
    }
}

/// Gives it, with all that is in it, to the user the server becomes. As root, before rights are dropped.
pub fn give_to(data: &Path, user: &Identity) -> Result<(), Failure> {
    let fail = |path: &Path, error: std::io::Error| {
        cannot(format!("server.user: cannot give {} to {:?}: {error}", path.display(), user.name))
    };
    user.own(data).map_err(|error| fail(data, error))?;
    let entries = std::fs::read_dir(data).map_err(|error| fail(data, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| fail(data, error))?;
        let path = entry.path();
        // A link is given, not followed: only what lies in the folder changes hands.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            give_to(&path, user)?;
        } else {
            user.own(&path).map_err(|error| fail(&path, error))?;
        }
    }
    Ok(())
}
