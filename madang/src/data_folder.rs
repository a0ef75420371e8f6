//! The data folder: made, locked, given to the server's user.
//!
//! **Job.** One server per folder; nobody else reads it. **Called by** `run`. **Calls** the file system, `host::rights`.
//!
//! Not here: what lies in it (`tls::local_ca`, `control::admin`, logs).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use madang_host::random;
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

/// The secret that signs sticky cookies; made at the first start, so that clients stay where they are over restarts.
pub fn secret(data: &Path) -> Result<[u8; 32], Failure> {
    let path = data.join("sticky.key");
    let fail = |error: std::io::Error| cannot(format!("cannot use {}: {error}", path.display()));
    match std::fs::read(&path) {
        Ok(bytes) if bytes.len() == 32 => Ok(std::array::from_fn(|at| bytes[at])),
        Ok(_) => Err(cannot(format!(
            "{} is not 32 bytes long; remove it, clients get new cookies",
            path.display()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = random::secret().map_err(fail)?;
            let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            options.and_then(|mut file| file.write_all(&secret)).map_err(fail)?;
            Ok(secret)
        }
        Err(error) => Err(fail(error)),
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
