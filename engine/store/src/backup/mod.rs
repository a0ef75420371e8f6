//! Backups: all the house's data in one file that both databases can be restored from.
//!
//! **Job.** Write the file from a running store's database, verify it, restore from it, export streams as JSON lines.
//! **Called by** `madang backup`, `madang restore`, `madang export`. **Calls** its parts.
//!
//! The file is JSON, one record a line, compressed by zstd: a head, the migrations, the streams each with its entries, the
//! keys and values, the roles' tables, and an end with counts and a SHA-256 over every line before it.
//!
//! Invariants
//! 1. A backup is one moment of the database; the house goes on writing while it is taken.
//! 2. Nothing is restored from a file that was not verified whole before.
//! 3. A restore is done whole or not at all. Every stream has a new epoch afterwards: what was acknowledged after the
//!    backup is gone, and clients must be able to tell.
//!
//! Not here: how each database is read and filled (`sqlite`, `postgres`).

mod file;
mod postgres;
mod record;
mod sqlite;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

pub use self::file::{Counts, Verified, verify};
use self::record::{Body, Record};
use crate::config::StoreSettings;
use crate::error::StoreError;

/// Why there is no backup, or nothing was restored.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackupError {
    /// There is no data yet.
    Nothing {
        /// Where it would be.
        place: String,
    },
    /// The file cannot be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is no backup, or not a whole one.
    Broken {
        /// Which.
        path: PathBuf,
        /// The line, from 1; 0: the file as a whole.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// There is data where it would be restored to.
    Occupied {
        /// Where.
        place: String,
    },
    /// The database did not do it.
    Store(StoreError),
}

impl std::fmt::Display for BackupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing { place } => write!(f, "there is no data yet in {place}"),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Broken { path, line: 0, why } => write!(f, "{} is no whole backup: {why}", path.display()),
            Self::Broken { path, line, why } => {
                write!(f, "{} is no whole backup: line {line}: {why}", path.display())
            }
            Self::Occupied { place } => {
                write!(f, "there is data in {place} already; --force puts the backup in its place")
            }
            Self::Store(error) => write!(f, "{error}"),
        }
    }
}
impl std::error::Error for BackupError {}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Where records go; an error ends the reading of the database.
type Sink<'a> = &'a mut dyn FnMut(&Record) -> Result<(), BackupError>;

fn read_all(settings: &StoreSettings, data: &Path, sink: Sink<'_>) -> Result<(), BackupError> {
    match settings {
        StoreSettings::Sqlite { .. } => sqlite::read_all(&crate::database_file(data), sink),
        StoreSettings::Postgres { address, ca, .. } => {
            postgres::read_all(address.secret(), ca.as_deref(), sink)
        }
    }
}

/// Writes everything into a new file, and verifies it.
///
/// The file has its name only when it is whole and on disk. Blocks.
///
/// # Errors
/// [`BackupError::File`] with [`io::ErrorKind::AlreadyExists`]: a backup never replaces a file.
pub fn backup(
    settings: &StoreSettings,
    data: &Path,
    to: &Path,
    now_ms: u64,
) -> Result<Verified, BackupError> {
    let mut writer = file::Writer::begin(to)?;
    let from = match settings {
        StoreSettings::Sqlite { .. } => "sqlite",
        StoreSettings::Postgres { .. } => "postgresql",
    };
    let program = env!("CARGO_PKG_VERSION").to_owned();
    let written = writer
        .put(&Record::Head { format: record::FORMAT, program, made_ms: now_ms, from: from.to_owned() })
        .and_then(|()| read_all(settings, data, &mut |record| writer.put(record)));
    match written {
        Ok(()) => writer.end(),
        Err(error) => {
            writer.forget();
            Err(error)
        }
    }
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// What was in the file.
    pub counts: Counts,
    /// Where the data is now that was there before, if it was kept.
    pub before: Option<PathBuf>,
}

/// Puts a backup in the place of what is there. The server must not run. Blocks.
///
/// # Errors
/// [`BackupError::Broken`], [`BackupError::Occupied`] (without `force`), …: nothing was changed.
pub fn restore(
    settings: &StoreSettings,
    data: &Path,
    from: &Path,
    force: bool,
    now_ms: u64,
) -> Result<Restored, BackupError> {
    let verified = verify(from)?;
    let before = match settings {
        StoreSettings::Sqlite { .. } => sqlite::restore(data, from, force, now_ms)?,
        StoreSettings::Postgres { address, ca, .. } => {
            postgres::restore(address.secret(), ca.as_deref(), from, force)?;
            None
        }
    };
    Ok(Restored { counts: verified.counts, before })
}

/// Gives the entries of one stream or of all, each as a line of JSON. Blocks.
///
/// # Errors
/// The database's, and what `line` gives.
pub fn export(
    settings: &StoreSettings,
    data: &Path,
    only: Option<&str>,
    line: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<u64, BackupError> {
    let (mut stream, mut epoch, mut count) = (String::new(), 0, 0);
    read_all(settings, data, &mut |record| {
        match record {
            Record::Stream { name, epoch: of, .. } => (stream, epoch) = (name.clone(), *of),
            Record::Entry { offset, at_ms, edits, removed, data, text } => {
                if only.is_some_and(|only| only != stream) {
                    return Ok(());
                }
                let told = json!({
                    "stream": stream, "epoch": epoch, "offset": offset, "at_ms": at_ms, "edits": edits,
                    "removed": removed, "text": text, "data": readable(data),
                });
                count += 1;
                let path = PathBuf::from("standard output");
                line(&told.to_string()).map_err(|error| BackupError::File { path, error })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(count)
}

/// Data as JSON where it is JSON, as text where it is text.
fn readable(data: &Body) -> serde_json::Value {
    match std::str::from_utf8(&data.0) {
        Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        Err(_) => json!({ "base64": data }),
    }
}
