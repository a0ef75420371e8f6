//! The uploaded files of one chat on disk.
//!
//! **Job.** Take a file piece by piece, find it again by its id, keep all of them under their limit, throw away the old.
//! **Called by** `super`, on threads that may block. **Calls** the file system.
//!
//! Invariants
//! 1. An id is 128 random bits: whoever has the link may read the file, and nobody guesses one.
//! 2. An id never leads to half a file: it gets its name when all of it is on the disk.
//! 3. Room is taken before bytes are written, and given back for what breaks off.
//!
//! Not here: HTTP (`super`).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};
use std::time::Duration;

use madang_host::clock;
use serde::{Deserialize, Serialize};

/// The ending of what is kept about a file.
const ABOUT: &str = "json";
/// The beginning of a file that is not whole yet.
const PART: &str = "part-";

/// What is kept about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// As its sender calls it.
    pub name: String,
    /// Its media type, as its sender says and the settings allow.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Its size.
    pub bytes: u64,
    /// Who sent it, by name.
    pub by: String,
    /// A message with it is noted in the store before it is written: without a note none has it.
    #[serde(default)]
    pub noted: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    used: AtomicU64,
}

/// A file that is being taken. Dropped before its end: it is gone.
#[derive(Debug)]
pub struct Part {
    shelf: Arc<Shelf>,
    file: File,
    id: String,
    path: PathBuf,
    taken: u64,
    whole: bool,
}

impl Shelf {
    /// The shelf of a chat. Counts what is there: blocks.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: PathBuf) -> io::Result<Arc<Self>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let this = Self { folder, used: AtomicU64::new(0) };
        let mut used = 0;
        for path in this.paths()? {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PART)) {
                // Of a process before us that was killed.
                fs::remove_file(&path)?;
            } else {
                used += fs::metadata(&path)?.len();
            }
        }
        this.used.store(used, Relaxed);
        Ok(Arc::new(this))
    }

    /// All files of all its folders.
    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        let mut all = Vec::new();
        for below in fs::read_dir(&self.folder)? {
            let below = below?.path();
            if below.is_dir() {
                for one in fs::read_dir(below)? {
                    all.push(one?.path());
                }
            }
        }
        Ok(all)
    }

    /// What all of them take, in bytes.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Begins a file.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(self: &Arc<Self>) -> io::Result<Part> {
        let secret = madang_host::random::secret()?;
        let id: String = secret.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let below = self.folder.join(&id[..2]);
        DirBuilder::new().recursive(true).mode(0o700).create(&below)?;
        let path = below.join(format!("{PART}{id}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Part { shelf: Arc::clone(self), file, id, path, taken: 0, whole: false })
    }

    /// A file by its id, open, and what is kept about it. `None`: there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn find(&self, id: &str) -> io::Result<Option<(File, About)>> {
        if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Ok(None);
        }
        let path = self.folder.join(&id[..2]).join(id);
        let about = match fs::read(path.with_extension(ABOUT)) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let about = serde_json::from_slice(&about)?;
        match File::open(path) {
            Ok(file) => Ok(Some((file, about))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Throws away what is older; how many files.
    ///
    /// # Errors
    /// The folder cannot be read. What cannot be thrown away stays and is tried again the next time.
    pub fn forget(&self, age_max: Duration) -> io::Result<usize> {
        let now = clock::wall();
        let mut gone = 0;
        for path in self.paths()? {
            let Ok(about) = fs::metadata(&path) else { continue };
            let is_old =
                about.modified().is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > age_max));
            if is_old && fs::remove_file(&path).is_ok() {
                self.give_back(about.len());
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// Ids of files that no message has: those that are named no more, and those that were never named within `unsent_max`.
    /// `names`: whether a message names this one; `None`: none ever did.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn unnamed(
        &self,
        names: impl Fn(&str) -> Option<bool>,
        unsent_max: Duration,
    ) -> io::Result<Vec<String>> {
        let now = clock::wall();
        let mut all = Vec::new();
        for path in self.paths()? {
            let Some(id) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")) else {
                continue;
            };
            let named = names(id);
            if named == Some(true) {
                continue;
            }
            // What cannot be read now is looked at the next time.
            let Ok(about) = fs::read(&path) else { continue };
            // Of a program before notes: nobody knows whether a message has it.
            let is_noted = serde_json::from_slice::<About>(&about).is_ok_and(|about| about.noted);
            let taken = fs::metadata(&path).and_then(|about| about.modified());
            let is_late = taken.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age >= unsent_max));
            if is_noted && (named == Some(false) || is_late) {
                all.push(id.to_owned());
            }
        }
        Ok(all)
    }

    /// Throws one file away. Nothing if there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove(&self, id: &str) -> io::Result<()> {
        if self.find(id)?.is_none() {
            return Ok(());
        }
        let path = self.folder.join(&id[..2]).join(id);
        // What leads to it first: nobody finds half of it.
        for path in [path.with_extension(ABOUT), path] {
            let bytes = fs::metadata(&path)?.len();
            fs::remove_file(&path)?;
            self.give_back(bytes);
        }
        Ok(())
    }

    fn take_room(&self, bytes: u64, max: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= max);
        self.used.fetch_update(AcqRel, Acquire, fits).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        // Somebody may have thrown away a file by hand: never below nothing.
        let _ = self.used.fetch_update(AcqRel, Acquire, |used| Some(used.saturating_sub(bytes)));
    }
}

/// Why bytes were not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// All files together would be more than this, in bytes.
    Full(u64),
    /// The disk says no.
    Disk(io::Error),
}

impl Part {
    /// More of it, if all files together stay within `total_max`.
    pub(super) fn write(mut self, bytes: &[u8], total_max: u64) -> Result<Self, NotTaken> {
        if !self.shelf.take_room(bytes.len() as u64, total_max) {
            return Err(NotTaken::Full(total_max));
        }
        self.taken += bytes.len() as u64;
        self.file.write_all(bytes).map_err(NotTaken::Disk)?;
        Ok(self)
    }

    /// All of it is there: its id.
    pub(super) fn finish(mut self, about: &About) -> Result<String, NotTaken> {
        let text = serde_json::to_vec(about).map_err(|error| NotTaken::Disk(error.into()))?;
        let path = self.path.with_file_name(&self.id);
        let write = || -> io::Result<()> {
            self.file.sync_all()?;
            let mut beside = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path.with_extension(ABOUT))?;
            beside.write_all(&text)?;
            beside.sync_all()?;
            fs::rename(&self.path, &path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(NotTaken::Disk)?;
        self.shelf.used.fetch_add(text.len() as u64, Relaxed);
        self.whole = true;
        Ok(std::mem::take(&mut self.id))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.whole {
            self.shelf.give_back(self.taken);
            // It may have its name already and lack its place in the folder: then the next start counts it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(bytes: u64) -> About {
        About { name: "a.txt".into(), media_type: "text/plain".into(), bytes, by: "mina".into(), noted: true }
    }

    // Goal: what was taken whole is found and counted, over a restart too; what breaks off leaves nothing.
    #[test]
    fn whole_files_are_found_and_counted() {
        let folder = tempfile::TempDir::new().unwrap();
        let shelf = Shelf::open(folder.path().join("files")).unwrap();
        let part = shelf.begin().unwrap().write(b"hello ", 1000).unwrap().write(b"you", 1000).unwrap();
        let id = part.finish(&about(9)).unwrap();
        drop(shelf.begin().unwrap().write(b"half", 1000).unwrap());
        let (file, kept) = shelf.find(&id).unwrap().unwrap();
        assert_eq!((file.metadata().unwrap().len(), kept), (9, about(9)));
        let used = shelf.used();
        std::mem::forget(shelf.begin().unwrap().write(b"killed", 1000).unwrap());
        let again = Shelf::open(folder.path().join("files")).unwrap();
        assert_eq!(again.used(), used);
        assert!(again.find(&id).unwrap().is_some());
        assert_eq!(again.paths().unwrap().len(), 2);
    }

    // Goal: an id that is none leads nowhere, whatever it looks like.
    #[test]
    fn nothing_but_an_id_is_looked_for() {
        let folder = tempfile::TempDir::new().unwrap();
        let shelf = Shelf::open(folder.path().to_owned()).unwrap();
        for id in
            ["", "..", "../../../../etc/passwd", "0123", &"/".repeat(32), &"A".repeat(32), &"é".repeat(16)]
        {
            assert!(shelf.find(id).unwrap().is_none(), "{id}");
        }
    }

    // Goal: what no message has is found: at once where one had it, after a while where none ever did; and files of a program before notes stay.
    #[test]
    fn what_no_message_has_is_found() {
        let folder = tempfile::TempDir::new().unwrap();
        let shelf = Shelf::open(folder.path().to_owned()).unwrap();
        let put = |noted| {
            let part = shelf.begin().unwrap().write(b"hello", 1000).unwrap();
            part.finish(&About { noted, ..about(5) }).unwrap()
        };
        let (sent, deleted, unsent, old) = (put(true), put(true), put(true), put(false));
        let names = |id: &str| match id {
            id if id == sent => Some(true),
            id if id == deleted => Some(false),
            _ => None,
        };
        let day = Duration::from_secs(86_400);
        assert_eq!(shelf.unnamed(names, day).unwrap(), [deleted.as_str()]);
        let mut late = shelf.unnamed(names, Duration::ZERO).unwrap();
        late.sort();
        let mut wanted = [deleted.as_str(), unsent.as_str()];
        wanted.sort_unstable();
        assert_eq!(late, wanted);
        let used = shelf.used();
        shelf.remove(&deleted).unwrap();
        shelf.remove(&deleted).unwrap();
        assert!(shelf.find(&deleted).unwrap().is_none() && shelf.find(&old).unwrap().is_some());
        assert!(shelf.used() < used);
        assert_eq!(Shelf::open(folder.path().to_owned()).unwrap().used(), shelf.used());
    }

    // Goal: all together never take more than their limit, and what is thrown away makes room.
    #[test]
    fn the_shelf_has_an_end() {
        let folder = tempfile::TempDir::new().unwrap();
        let shelf = Shelf::open(folder.path().to_owned()).unwrap();
        let part = shelf.begin().unwrap().write(&[0; 600], 1000).unwrap();
        assert!(matches!(shelf.begin().unwrap().write(&[0; 500], 1000), Err(NotTaken::Full(1000))));
        let id = part.finish(&about(600)).unwrap();
        assert_eq!(shelf.forget(Duration::from_secs(60)).unwrap(), 0);
        assert_eq!(shelf.forget(Duration::ZERO).unwrap(), 2);
        assert_eq!(shelf.used(), 0);
        assert!(shelf.find(&id).unwrap().is_none());
    }
}
