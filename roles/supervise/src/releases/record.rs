//! What is remembered of an app's versions: one file per app.
//!
//! **Job.** Hold the history of deploys, write it with the versions that can be run again, read it strictly. **Called by**
//! `keeper`, `resume`. **Calls** the file system.
//!
//! `DATA/apps/NAME/releases/record.json`. No secret is in it: what the settings say of the environment is taken from the
//! settings again, so is everything else but the files and what an image says of itself.
//!
//! Invariants
//! 1. The file is whole or the one before: it is written beside its place, flushed and renamed.
//! 2. One that does not read is set aside and told, never guessed at.
//!
//! Not here: what follows from it at a start (`resume`).

use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::prepare::{make_folder, open};
use super::{Cause, Made, Origin};

/// The form below. Another one is another number.
const FORMAT: u32 = 1;
/// The largest record, in bytes.
const RECORD_BYTES_MAX: u64 = 4 << 20;
/// Deploys remembered; the oldest goes first.
const ENTRIES_MAX: usize = 100;
const NAME: &str = "record.json";

/// A version that can be run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its number.
    pub version: u32,
    /// Its program's fingerprint: one of the settings can be run again only while they say the same.
    pub program: u64,
    /// Of what it is made.
    pub made: Made,
}

/// How a deploy ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum End {
    /// It has not.
    UnderWay,
    /// It is in.
    In,
    /// The version before has all requests again.
    TakenBack {
        /// Why.
        why: String,
        /// The last that it wrote.
        lines: Vec<String>,
    },
    /// The server ended before it was decided.
    Interrupted,
}

/// One deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The version it was to bring in.
    pub version: u32,
    /// Why there was one.
    pub cause: Cause,
    /// Where its files are from.
    pub origin: Origin,
    /// Seconds since 1970.
    pub begun: u64,
    /// Milliseconds it took.
    pub took_ms: u64,
    /// How it ended.
    pub end: End,
}

/// What the settings said when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Fingerprint of their program.
    pub program: u64,
    /// Their `dir`.
    pub dir: String,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    format: u32,
    /// The highest number given so far.
    pub numbers: u32,
    /// As of then.
    pub settings: Said,
    /// The one that has won.
    pub current: Known,
    /// Those to go back to, the newest last.
    pub earlier: Vec<Known>,
    /// The deploys, the newest last.
    pub history: Vec<Entry>,
}

impl Record {
    /// Of what is true now.
    pub const fn new(
        numbers: u32,
        settings: Said,
        current: Known,
        earlier: Vec<Known>,
        history: Vec<Entry>,
    ) -> Self {
        Self { format: FORMAT, numbers, settings, current, earlier, history }
    }

    /// Reads an app's; `None`: there is none yet.
    ///
    /// # Errors
    /// It cannot be used: it lies beside its place now, for whoever wants to look.
    pub fn read(trees: &Path) -> Result<Option<Self>, Damaged> {
        let path = trees.join(NAME);
        let fault = match madang_host::file::read(&path, RECORD_BYTES_MAX) {
            Ok(bytes) => match serde_json::from_slice::<Self>(&bytes) {
                Ok(record) if record.format == FORMAT => return Ok(Some(record)),
                Ok(record) => format!("it is of format {}, this server knows {FORMAT}", record.format),
                Err(error) => error.to_string(),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => error.to_string(),
        };
        let aside = trees.join(format!("{NAME}.damaged"));
        let moved = std::fs::rename(&path, &aside).is_ok().then_some(aside);
        Err(Damaged { path, fault, moved })
    }

    /// Writes it.
    ///
    /// # Errors
    /// What the kernel said; the one before is still there.
    pub fn write(&self, trees: &Path) -> io::Result<()> {
        make_folder(trees)?;
        let (path, beside) = (trees.join(NAME), trees.join(format!("{NAME}.new")));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)?;
        rustix::fs::fsync(open(trees)?)?;
        Ok(())
    }
}

/// A record that cannot be used.
#[derive(Debug)]
pub struct Damaged {
    /// Where it was.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: String,
    /// Where it is now.
    pub moved: Option<PathBuf>,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record of its versions, {}, cannot be used: {}", self.path.display(), self.fault)?;
        if let Some(moved) = &self.moved {
            write!(f, "; it lies at {} now", moved.display())?;
        }
        f.write_str("; what the settings say runs, deploy again what should")
    }
}

/// The deploys of an app, as they happen.
#[derive(Debug, Default)]
pub struct History(Vec<Entry>);

impl History {
    /// As read; what had not ended then has been interrupted.
    pub fn of(mut entries: Vec<Entry>) -> Self {
        for entry in &mut entries {
            if entry.end == End::UnderWay {
                entry.end = End::Interrupted;
            }
        }
        Self(entries)
    }

    /// One begins.
    pub fn begin(&mut self, version: u32, cause: Cause, origin: Origin, begun: u64) {
        if self.0.len() >= ENTRIES_MAX {
            self.0.remove(0);
        }
        self.0.push(Entry { version, cause, origin, begun, took_ms: 0, end: End::UnderWay });
    }

    /// What is known of where it is from, once it was read.
    pub fn is_from(&mut self, version: u32, origin: Origin) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.version == version) {
            entry.origin = origin;
        }
    }

    /// It is over.
    pub fn end(&mut self, version: u32, took_ms: u64, end: End) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.version == version) {
            (entry.took_ms, entry.end) = (took_ms, end);
        }
    }

    /// All of them, the newest last.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let made =
            Made { origin: Origin::Folder { path: "/a".to_owned() }, tree: Some(2), bytes: 7, image: None };
        let mut history = History::default();
        history.begin(1, Cause::First, Origin::Settings, 5);
        history.end(1, 10, End::In);
        history.begin(2, Cause::Deploy, made.origin.clone(), 6);
        Record::new(
            2,
            Said { program: u64::MAX, dir: "/s".to_owned() },
            Known { version: 2, program: 9, made: made.clone() },
            vec![Known { version: 1, program: 8, made: Made::of_settings() }],
            history.0,
        )
    }

    // Goal: what is written is read again; what was under way then counts as interrupted.
    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), None);
        record().write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), Some(record()));
        let ends: Vec<End> = History::of(record().history).0.into_iter().map(|entry| entry.end).collect();
        assert_eq!(ends, [End::In, End::Interrupted]);
    }

    // Goal: a damaged record is told and set aside, whatever is wrong with it; nothing is guessed.
    #[test]
    fn a_damaged_record_is_set_aside() {
        let good = serde_json::to_string(&record()).unwrap();
        check("", "EOF while parsing a value at line 1 column 0");
        check(&good[..good.len() / 2], "EOF while parsing");
        check(&good.replace("\"format\":1", "\"format\":2"), "it is of format 2, this server knows 1");
        check(&good.replace("\"numbers\":2", "\"numbers\":-2"), "invalid value: integer `-2`, expected u32");
        check(&good.replace("\"numbers\":2", "\"numbers\":2,\"more\":1"), "unknown field `more`");
        check(&good.replace("\"folder\"", "\"cloud\""), "unknown variant `cloud`");

        #[track_caller]
        fn check(text: &str, want: &str) {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(NAME), text).unwrap();
            let damaged = Record::read(folder.path()).unwrap_err();
            assert!(damaged.fault.contains(want), "{}", damaged.fault);
            let aside = std::fs::read_to_string(damaged.moved.unwrap()).unwrap();
            assert_eq!(aside, text);
            assert_eq!(Record::read(folder.path()).unwrap(), None);
        }
    }
}
