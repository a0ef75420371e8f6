//! What a command changes on the machine, step by step.
//!
//! **Job.** Make files and folders, run the machine's tools, and write down each step in words; with `--dry-run` only the words.
//! **Called by** `install`, `uninstall`, `firewall`. **Calls** the file system, `host::process::tool`.
//!
//! Invariants
//! 1. A file is replaced whole (written beside, then renamed) or stays as it was.
//! 2. What is the same is not written; what somebody changed by hand is written only with `force`.
//! 3. Nothing happens that is not told.
//!
//! Not here: which steps (`install`, `uninstall`).

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use madang_host::process::tool::{Said, Tool};
use serde_json::{Value, json};

use super::marked::{self, Found};
use super::place::Place;

/// Wide enough for the longest word of [`Did`], in cells.
const DID_WIDTH: usize = 13;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Did {
    /// It was not there.
    Made,
    /// It was there and is another now.
    Changed,
    /// It was there as it should be.
    Unchanged,
    /// It is not as it should be, and stays.
    Kept,
    /// It was there.
    Removed,
    /// A command.
    Ran,
}

impl Did {
    const fn word(self, dry: bool) -> &'static str {
        match (self, dry) {
            (Self::Made, false) => "made",
            (Self::Made, true) => "would make",
            (Self::Changed, false) => "changed",
            (Self::Changed, true) => "would change",
            (Self::Unchanged, _) => "unchanged",
            (Self::Kept, _) => "kept",
            (Self::Removed, false) => "removed",
            (Self::Removed, true) => "would remove",
            (Self::Ran, false) => "ran",
            (Self::Ran, true) => "would run",
        }
    }
}

/// Why it could not go on.
#[derive(Debug)]
pub(in crate::cli) struct Stopped {
    /// What was about to be done.
    pub(in crate::cli) what: String,
    /// What the machine said.
    pub(in crate::cli) why: String,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// A sentence for [`Stopped`].
pub(in crate::cli) fn stopped(what: impl Into<String>, why: impl fmt::Display) -> Stopped {
    Stopped { what: what.into(), why: why.to_string() }
}

/// The steps so far, and how to make more.
#[derive(Debug)]
pub(in crate::cli) struct Journal {
    /// Nothing is changed.
    pub(in crate::cli) dry: bool,
    /// What was changed by hand is written all the same.
    pub(in crate::cli) force: bool,
    /// Steps are told when they are made, not as JSON at the end.
    aloud: bool,
    place: Place,
    steps: Vec<Value>,
    /// What is left to people.
    pub(in crate::cli) next: Vec<String>,
    /// Rules of a packet filter that would fit; `None`: they are loaded.
    pub(in crate::cli) rules: Option<String>,
}

impl Journal {
    /// Nothing happened yet.
    pub(in crate::cli) const fn new(place: Place, dry: bool, force: bool, aloud: bool) -> Self {
        Self { dry, force, aloud, place, steps: Vec::new(), next: Vec::new(), rules: None }
    }

    /// Tells a step.
    pub(in crate::cli) fn tell(&mut self, did: Did, what: &str, why: &str) {
        let word = did.word(self.dry);
        if self.aloud {
            let why = if why.is_empty() { String::new() } else { format!("  ({why})") };
            crate::cli::put(&format!("{word:<DID_WIDTH$} {what}{why}\n"));
        }
        self.steps.push(json!({ "did": word, "what": what, "why": why }));
    }

    /// The last words, for people.
    pub(in crate::cli) fn conclude(&self, words: &str) {
        if self.aloud {
            crate::cli::put(&format!("\n{words}"));
        }
    }

    /// Tells what is left to people.
    pub(in crate::cli) fn leave(&mut self, what: impl Into<String>) {
        self.next.push(what.into());
    }

    /// Everything, for programs.
    pub(in crate::cli) fn json(&self, ok: bool) -> Value {
        json!({ "ok": ok, "dry_run": self.dry, "steps": self.steps, "next": self.next, "firewall_rules": self.rules })
    }

    /// A text of ours at a path of the machine. Whether it is now as it should be, and changed.
    pub(in crate::cli) fn text(&mut self, path: &Path, words: &str) -> Result<Written, Stopped> {
        let here = self.place.here(path);
        let shown = path.display().to_string();
        let have = match std::fs::read_to_string(&here) {
            Ok(have) => Some(have),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(stopped(format!("cannot read {shown}"), error)),
        };
        let found = have.as_deref().map(|have| marked::found(have, words));
        let (did, why) = match found {
            None => (Did::Made, ""),
            Some(Found::Same) => (Did::Unchanged, ""),
            Some(Found::Ours) => (Did::Changed, ""),
            Some(_) if self.force => (Did::Changed, "--force"),
            Some(Found::Edited { outdated: false }) => (Did::Kept, "edited by hand"),
            Some(Found::Edited { outdated: true }) => {
                (Did::Kept, "edited by hand, and the settings ask for other words now")
            }
            Some(Found::Foreign) => (Did::Kept, "not written by `madang install`"),
        };
        if matches!(did, Did::Made | Did::Changed) && !self.dry {
            self.write(path, marked::mark(words).as_bytes(), 0o644)?;
        }
        self.tell(did, &shown, why);
        Ok(match (did, found) {
            (Did::Unchanged, _) => Written::Same,
            (Did::Kept, Some(Found::Edited { outdated: false })) => Written::Same,
            (Did::Kept, _) => {
                self.leave(format!(
                    "compare {shown} with what is needed now, or write it anew: madang install --force"
                ));
                Written::Not
            }
            _ => Written::Now,
        })
    }

    /// A file with these bytes, replaced as a whole. Parents are made.
    pub(in crate::cli) fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Stopped> {
        let here = self.place.here(path);
        let fail = |error: std::io::Error| stopped(format!("cannot write {}", path.display()), error);
        if let Some(parent) = here.parent() {
            std::fs::create_dir_all(parent).map_err(fail)?;
        }
        let mut name = here.file_name().unwrap_or_default().to_owned();
        name.push(".madang-new");
        let beside = here.with_file_name(name);
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
            file.write_all(bytes)?;
            // Whatever the umask left, and whatever an earlier attempt left behind.
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
            file.sync_all()?;
            std::fs::rename(&beside, &here)?;
            // The name too has to be on the disk. A file system that cannot say so has done its best.
            here.parent().map(File::open).transpose()?.map_or(Ok(()), |folder| folder.sync_all().or(Ok(())))
        })();
        if written.is_err() {
            // What could not be written whole is no use to anybody.
            let _ = std::fs::remove_file(&beside);
        }
        written.map_err(fail)
    }

    /// A folder of the machine with this mode, of this user and group. Whether it was made.
    pub(in crate::cli) fn folder(
        &mut self,
        path: &Path,
        mode: u32,
        owner: Option<(u32, u32)>,
        why: &str,
    ) -> Result<bool, Stopped> {
        use std::os::unix::fs::MetadataExt;
        let here = self.place.here(path);
        let fail =
            |error: std::io::Error| stopped(format!("cannot make the folder {}", path.display()), error);
        let have = match std::fs::metadata(&here) {
            Ok(have) if have.is_dir() => Some(have),
            Ok(_) => {
                return Err(stopped(
                    format!("cannot make the folder {}", path.display()),
                    "a file is in its place",
                ));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(fail(error)),
        };
        let right = |have: &std::fs::Metadata| {
            have.mode() & 0o7777 == mode && owner.is_none_or(|owner| owner == (have.uid(), have.gid()))
        };
        let did = match &have {
            None => Did::Made,
            Some(have) if right(have) => Did::Unchanged,
            Some(_) => Did::Changed,
        };
        if did != Did::Unchanged && !self.dry {
            std::fs::create_dir_all(&here).map_err(fail)?;
            if let Some((user, group)) = owner {
                chown(&here, Some(user), Some(group)).map_err(fail)?;
            }
            std::fs::set_permissions(&here, std::fs::Permissions::from_mode(mode)).map_err(fail)?;
        }
        self.tell(did, &path.display().to_string(), why);
        Ok(did == Did::Made)
    }

    /// Runs a command that changes the machine; only an end with 0 lets us go on.
    pub(in crate::cli) fn run(&mut self, tool: &Tool, why: &str) -> Result<Option<Said>, Stopped> {
        let said = if self.dry {
            None
        } else {
            Some(
                tool.must()
                    .map_err(|error| stopped(format!("cannot go on after `{}`", tool.line()), error))?,
            )
        };
        self.tell(Did::Ran, &tool.line(), why);
        Ok(said)
    }

    /// Removes a file of the machine.
    pub(in crate::cli) fn remove(&mut self, path: &Path) -> Result<(), Stopped> {
        if !self.dry {
            match std::fs::remove_file(self.place.here(path)) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(stopped(format!("cannot remove {}", path.display()), error)),
            }
        }
        self.tell(Did::Removed, &path.display().to_string(), "");
        Ok(())
    }

    /// Removes a folder if nothing is left in it.
    pub(in crate::cli) fn remove_empty(&mut self, path: &Path) {
        let here = self.place.here(path);
        let empty = std::fs::read_dir(&here).is_ok_and(|mut entries| entries.next().is_none());
        if empty && (self.dry || std::fs::remove_dir(&here).is_ok()) {
            self.tell(Did::Removed, &path.display().to_string(), "empty");
        } else if here.is_dir() {
            self.tell(Did::Kept, &path.display().to_string(), "it holds files");
        }
    }

    /// Where a path of the machine lies here.
    pub(in crate::cli) fn here(&self, path: &Path) -> PathBuf {
        self.place.here(path)
    }
}

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Written {
    /// It was there already.
    Same,
    /// It is new.
    Now,
    /// Something else lies there.
    Not,
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a second time changes nothing, other words are written, changed files stay.
    // Method: one file through all of its lives, in a folder of its own.
    #[test]
    fn a_file_is_written_once_and_kept_when_edited() {
        let tree = tempfile::TempDir::new().unwrap();
        let place = Place::new(Some(tree.path()), Path::new("/usr/local"));
        let path = Path::new("/etc/systemd/system/madang.service");
        let write = |force: bool, words: &str| {
            Journal::new(place.clone(), false, force, false).text(path, words).unwrap()
        };
        let on_disk = || std::fs::read_to_string(place.here(path)).unwrap();
        let mut dry = Journal::new(place.clone(), true, false, false);
        assert_eq!(dry.text(path, "one\n").unwrap(), Written::Now);
        assert!(!place.here(path).is_file());
        assert_eq!(write(false, "one\n"), Written::Now);
        assert_eq!(write(false, "one\n"), Written::Same);
        assert_eq!(write(false, "two\n"), Written::Now);
        std::fs::write(place.here(path), on_disk() + "by hand\n").unwrap();
        assert_eq!(write(false, "two\n"), Written::Same);
        assert_eq!(write(false, "three\n"), Written::Not);
        assert!(on_disk().ends_with("two\nby hand\n"));
        assert_eq!(write(true, "three\n"), Written::Now);
        assert!(on_disk().ends_with("\nthree\n"));
        assert_eq!(std::fs::read_dir(place.here(path).parent().unwrap()).unwrap().count(), 1);
    }
}
