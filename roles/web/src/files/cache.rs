//! The open-file cache of one worker: what paths lead to.
//!
//! **Job.** Remember files, folders and absences by folder and path. **Called by** `files` on every request.
//! **Calls** `bounded`.
//!
//! Invariants
//! 1. Paths of different folders never meet.
//!
//! Not here: whether an entry is still true (`files` asks the disk), results of compression (`made`).

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use hashbrown::Equivalent;

use super::bounded::Bounded;
use super::entry::FileEntry;
use super::root::{Identity, Missing};

/// Longer paths are looked up each time: nobody fills the cache with one request.
const PATH_BYTES_MAX: usize = 512;
/// What an entry costs beside its path and contents, roughly.
const ENTRY_BYTES: usize = 512;

/// What a path leads to.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// A file.
    File(Rc<FileEntry>),
    /// A folder.
    Directory(Identity),
    /// Nothing that can be served.
    Missing(Missing),
}

#[derive(PartialEq, Eq)]
struct Key {
    folder: u64,
    path: Box<str>,
}

/// The same, borrowed: looking up copies nothing.
struct KeyRef<'a> {
    folder: u64,
    path: &'a str,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef { folder: self.folder, path: &self.path }.hash(state);
    }
}
impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.folder);
        state.write(self.path.as_bytes());
    }
}
impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.folder == key.folder && *self.path == *key.path
    }
}

struct Known {
    found: Found,
    checked_ms: u64,
}

/// The cache. One per worker, shared by all its folders.
pub(super) struct OpenFiles {
    known: Bounded<Key, Known>,
}

impl OpenFiles {
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { known: Bounded::new(entries_max, bytes_max) }
    }

    /// What is remembered of `path` in the folder numbered `folder`, and when the disk was last asked.
    pub(super) fn get(&mut self, folder: u64, path: &str) -> Option<(&Found, u64)> {
        self.known.get(&KeyRef { folder, path }).map(|known| (&known.found, known.checked_ms))
    }

    /// The disk was asked again and nothing had changed.
    pub(super) fn confirm(&mut self, folder: u64, path: &str, now_ms: u64) {
        if let Some(known) = self.known.get(&KeyRef { folder, path }) {
            known.checked_ms = now_ms;
        }
    }

    /// Remembers, in place of what was remembered before.
    pub(super) fn put(&mut self, folder: u64, path: &str, found: Found, now_ms: u64) {
        if path.len() > PATH_BYTES_MAX {
            return;
        }
        let contents = if let Found::File(entry) = &found { entry.memory_bytes() } else { 0 };
        let bytes = ENTRY_BYTES + path.len() + contents;
        self.known.put(Key { folder, path: path.into() }, Known { found, checked_ms: now_ms }, bytes);
    }

    /// Entries and bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.known.len(), self.known.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: folders do not see each other's names, and giants are not kept.
    #[test]
    fn folders_are_apart_and_giants_are_not_kept() {
        let absent = || Found::Missing(Missing::Absent);
        let mut cache = OpenFiles::new(8, 4096);
        cache.put(1, "a", absent(), 5);
        assert!(cache.get(2, "a").is_none());
        assert_eq!(cache.get(1, "a").map(|(_, checked_ms)| checked_ms), Some(5));
        cache.confirm(1, "a", 9);
        assert_eq!(cache.get(1, "a").map(|(_, checked_ms)| checked_ms), Some(9));
        let long = "x".repeat(PATH_BYTES_MAX + 1);
        cache.put(1, &long, absent(), 0);
        assert!(cache.get(1, &long).is_none());
    }
}
