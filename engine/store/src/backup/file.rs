//! The file of a backup.
//!
//! **Job.** Write lines with their digest, read them back, verify a whole file. **Called by** `backup`.
//!
//! Invariants
//! 1. A file gets its name when it is whole, synced and verified; before that it is `NAME.partial`.
//! 2. Lines and their sum are bounded: a wrong file cannot fill the memory.
//!
//! Not here: what the records mean (`sqlite`, `postgres`).

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::BackupError;
use super::record::{FORMAT, Record};
use crate::tables::hex;

/// The longest line: the largest row in base64, with room.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// zstd's level: fast, and a quarter of the size.
const LEVEL: i32 = 3;

/// What is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Streams.
    pub streams: u64,
    /// Their entries.
    pub entries: u64,
    /// Keys with values.
    pub values: u64,
    /// Tables of roles.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
}

impl Counts {
    fn count(&mut self, record: &Record) {
        match record {
            Record::Stream { .. } => self.streams += 1,
            Record::Entry { .. } => self.entries += 1,
            Record::Value { .. } => self.values += 1,
            Record::Table { .. } => self.tables += 1,
            Record::Row { .. } => self.rows += 1,
            _ => {}
        }
    }
}

/// A file that is whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// When it was made, in milliseconds since 1970.
    pub made_ms: u64,
    /// From which database.
    pub from: String,
    /// What is in it.
    pub counts: Counts,
    /// Its size in bytes.
    pub bytes: u64,
    /// Over all lines but the last.
    pub sha256: String,
}

/// Writes a file.
pub(super) struct Writer {
    path: PathBuf,
    partial: PathBuf,
    out: zstd::Encoder<'static, BufWriter<File>>,
    digest: Context,
    lines: u64,
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

impl Writer {
    /// Opens a new file. Only its owner may read it: it holds everything.
    pub(super) fn begin(path: &Path) -> Result<Self, BackupError> {
        let fail = |error| BackupError::File { path: path.to_owned(), error };
        if path.try_exists().map_err(fail)? {
            let message = "is there already; a backup replaces nothing, give another name";
            return Err(fail(io::Error::new(io::ErrorKind::AlreadyExists, message)));
        }
        let partial = partial(path);
        // What an interrupted backup left is no backup.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let out = file.and_then(|file| zstd::Encoder::new(BufWriter::new(file), LEVEL)).map_err(fail)?;
        Ok(Self { path: path.to_owned(), partial, out, digest: Context::new(&SHA256), lines: 0 })
    }

    /// Writes one line.
    pub(super) fn put(&mut self, record: &Record) -> Result<(), BackupError> {
        self.line(record, true)
    }

    fn line(&mut self, record: &Record, counted: bool) -> Result<(), BackupError> {
        let written = serde_json::to_vec(record).map_err(io::Error::other).and_then(|mut line| {
            line.push(b'\n');
            if counted {
                self.digest.update(&line);
                self.lines += 1;
            }
            self.out.write_all(&line)
        });
        written.map_err(|error| BackupError::File { path: self.partial.clone(), error })
    }

    /// Ends the file, syncs it, verifies it and gives it its name.
    pub(super) fn end(mut self) -> Result<Verified, BackupError> {
        let sha256 = hex(self.digest.clone().finish().as_ref());
        let lines = self.lines;
        self.line(&Record::End { lines, sha256 }, false)?;
        let Self { path, partial, out, .. } = self;
        let fail = |error| BackupError::File { path: path.clone(), error };
        let file = out.finish().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
        file.and_then(|file| file.sync_all()).map_err(fail)?;
        let verified = verify(&partial)?;
        // Linked, not renamed: a file that has come to be there meanwhile is not replaced.
        std::fs::hard_link(&partial, &path).map_err(fail)?;
        std::fs::remove_file(&partial).map_err(fail)?;
        sync_folder(&path).map_err(fail)?;
        Ok(verified)
    }

    /// Takes an unfinished file away.
    pub(super) fn forget(self) {
        // It says what it is by its name.
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// Makes a new name in a folder last.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Reads every line; the end is checked, not given.
pub(super) fn read(
    path: &Path,
    mut take: impl FnMut(Record) -> Result<(), BackupError>,
) -> Result<Verified, BackupError> {
    let fail = |error| BackupError::File { path: path.to_owned(), error };
    let broken = |line, why: &str| BackupError::Broken { path: path.to_owned(), line, why: why.to_owned() };
    let file = File::open(path).map_err(fail)?;
    let bytes = file.metadata().map_err(fail)?.len();
    let unpacked = zstd::Decoder::new(BufReader::new(file)).map_err(fail)?;
    let mut lines = BufReader::new(unpacked);
    let (mut digest, mut count, mut text) = (Context::new(&SHA256), 0_u64, Vec::new());
    let (mut counts, mut head) = (Counts::default(), None);
    loop {
        text.clear();
        let length = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text);
        match length {
            Err(error) => return Err(broken(count + 1, &error.to_string())),
            Ok(0) => return Err(broken(0, "its end is missing")),
            Ok(_) if text.last() != Some(&b'\n') => return Err(broken(count + 1, "it was cut off")),
            Ok(_) => {}
        }
        let record: Record =
            serde_json::from_slice(&text).map_err(|error| broken(count + 1, &error.to_string()))?;
        if let Record::End { lines: told, sha256 } = &record {
            let found = hex(digest.finish().as_ref());
            if *told != count || *sha256 != found {
                return Err(broken(0, "its lines are not those that were written (SHA-256)"));
            }
            let Some((made_ms, from)) = head else { return Err(broken(1, "its head is missing")) };
            return Ok(Verified { made_ms, from, counts, bytes, sha256: found });
        }
        digest.update(&text);
        count += 1;
        counts.count(&record);
        match (&record, count) {
            (Record::Head { format, .. }, 1) if *format > FORMAT => {
                return Err(broken(1, "it was made by a newer version of Madang; use that one"));
            }
            (Record::Head { made_ms, from, .. }, 1) => head = Some((*made_ms, from.clone())),
            (Record::Head { .. }, _) | (_, 1) => return Err(broken(count, "its head is not the first line")),
            _ => take(record)?,
        }
    }
}

/// Reads a file from its beginning to its end and checks every line, the counts and the digest.
///
/// # Errors
/// [`BackupError::Broken`] with the line.
pub fn verify(path: &Path) -> Result<Verified, BackupError> {
    read(path, |_| Ok(()))
}
