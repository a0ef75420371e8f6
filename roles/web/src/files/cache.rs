//! The open-file cache of one worker.
//!
//! **Job.** Remember what paths lead to - files, folders, nothing - bounded in entries and bytes.
//! **Called by** `files` on every request. **Calls** nothing of ours.
//!
//! Invariants
//! 1. `slots.len() <= entries_max` and `bytes <= bytes_max` after every insertion.
//! 2. A hit touches no heap: one hash of the path, one comparison.
//! 3. What was used since the hand last passed is not evicted (CLOCK): a flood of unknown names costs the flood's own
//!    entries, not the site's.
//!
//! Not here: whether an entry is still true (`files` asks the disk), results of compression (`compress`).

use std::hash::BuildHasher;
use std::rc::Rc;

use hashbrown::{DefaultHashBuilder, HashTable};

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

struct Slot {
    hash: u64,
    folder: u64,
    path: Box<str>,
    found: Found,
    checked_ms: u64,
    used: bool,
    bytes: usize,
}

/// The cache. One per worker, shared by all its folders.
pub(super) struct OpenFiles {
    hasher: DefaultHashBuilder,
    table: HashTable<usize>,
    slots: Vec<Slot>,
    hand: usize,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
}

impl OpenFiles {
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            slots: Vec::new(),
            hand: 0,
            bytes: 0,
            entries_max,
            bytes_max,
        }
    }

    /// What is remembered of `path` in the folder numbered `folder`, and when the disk was last asked.
    pub(super) fn get(&mut self, folder: u64, path: &str) -> Option<(&Found, u64)> {
        let hash = self.hasher.hash_one((folder, path));
        let index = *self.table.find(hash, |index| {
            let slot = &self.slots[*index];
            slot.folder == folder && *slot.path == *path
        })?;
        let slot = &mut self.slots[index];
        slot.used = true;
        Some((&slot.found, slot.checked_ms))
    }

    /// The disk was asked again and nothing had changed.
    pub(super) fn confirm(&mut self, folder: u64, path: &str, now_ms: u64) {
        if let Some(index) = self.find(folder, path) {
            self.slots[index].checked_ms = now_ms;
        }
    }

    /// Remembers, in place of what was remembered before.
    pub(super) fn put(&mut self, folder: u64, path: &str, found: Found, now_ms: u64) {
        self.remove(folder, path);
        let contents = if let Found::File(entry) = &found { entry.memory_bytes() } else { 0 };
        let bytes = ENTRY_BYTES + path.len() + contents;
        if path.len() > PATH_BYTES_MAX || bytes > self.bytes_max || self.entries_max == 0 {
            return;
        }
        while self.slots.len() >= self.entries_max || self.bytes + bytes > self.bytes_max {
            self.evict_one();
        }
        let hash = self.hasher.hash_one((folder, path));
        let slot = Slot { hash, folder, path: path.into(), found, checked_ms: now_ms, used: false, bytes };
        self.bytes += bytes;
        self.slots.push(slot);
        let slots = &self.slots;
        self.table.insert_unique(hash, self.slots.len() - 1, |index| slots[*index].hash);
    }

    /// Entries, for tests and `status`.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes accounted for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn find(&self, folder: u64, path: &str) -> Option<usize> {
        let hash = self.hasher.hash_one((folder, path));
        self.table
            .find(hash, |index| {
                let slot = &self.slots[*index];
                slot.folder == folder && *slot.path == *path
            })
            .copied()
    }

    fn remove(&mut self, folder: u64, path: &str) {
        if let Some(index) = self.find(folder, path) {
            self.remove_at(index);
        }
    }

    fn evict_one(&mut self) {
        // Ends within two rounds: the first clears every mark.
        while let Some(slot) = self.slots.get_mut(self.hand) {
            if !slot.used {
                return self.remove_at(self.hand);
            }
            slot.used = false;
            self.hand = (self.hand + 1) % self.slots.len();
        }
        self.hand = 0;
    }

    fn remove_at(&mut self, index: usize) {
        let slot = self.slots.swap_remove(index);
        self.bytes -= slot.bytes;
        if let Ok(found) = self.table.find_entry(slot.hash, |at| *at == index) {
            found.remove();
        }
        // The last slot moved into the gap: its place in the table follows.
        if let Some(moved) = self.slots.get(index) {
            let last = self.slots.len();
            if let Some(at) = self.table.find_mut(moved.hash, |at| *at == last) {
                *at = index;
            }
        }
        if self.hand >= self.slots.len() {
            self.hand = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn absent() -> Found {
        Found::Missing(Missing::Absent)
    }

    // Goal: a flood of names nobody asks for twice does not push out what is used.
    // Method: a hot name touched between floods larger than the cache.
    #[test]
    fn what_is_used_outlives_a_flood_of_unknown_names() {
        let mut cache = OpenFiles::new(64, 1 << 20);
        cache.put(1, "hot", absent(), 0);
        for n in 0..1000 {
            assert!(cache.get(1, "hot").is_some(), "gone after {n} others");
            cache.put(1, &format!("cold{n}"), absent(), 0);
        }
    }

    // Goal: folders do not see each other's names, and giants are not kept.
    #[test]
    fn folders_are_apart_and_giants_are_not_kept() {
        let mut cache = OpenFiles::new(8, 4096);
        cache.put(1, "a", absent(), 5);
        assert!(cache.get(2, "a").is_none());
        assert_eq!(cache.get(1, "a").map(|(_, checked_ms)| checked_ms), Some(5));
        cache.confirm(1, "a", 9);
        assert_eq!(cache.get(1, "a").map(|(_, checked_ms)| checked_ms), Some(9));
        let long = "x".repeat(PATH_BYTES_MAX + 1);
        cache.put(1, &long, absent(), 0);
        assert!(cache.get(1, &long).is_none());
        let mut none = OpenFiles::new(0, 0);
        none.put(1, "a", absent(), 0);
        assert_eq!(none.len(), 0);
    }

    proptest! {
        // Goal: bounds hold and what is found is what was put last, for any order of operations.
        // Method: against a plain map that never forgets.
        #[test]
        fn bounds_hold_and_answers_are_the_last_ones_put(
            steps in proptest::collection::vec((0_u64..3, "[ab]{0,3}", 0_u64..100, any::<bool>()), 0..300),
            entries_max in 0_usize..12,
            bytes_max in 0_usize..8000,
        ) {
            let mut cache = OpenFiles::new(entries_max, bytes_max);
            let mut model = std::collections::HashMap::new();
            for (folder, path, now_ms, put) in steps {
                if put {
                    cache.put(folder, &path, absent(), now_ms);
                    model.insert((folder, path), now_ms);
                } else if let Some((_, checked_ms)) = cache.get(folder, &path) {
                    prop_assert_eq!(Some(&checked_ms), model.get(&(folder, path)));
                }
                prop_assert!(cache.len() <= entries_max && cache.bytes() <= bytes_max);
                prop_assert_eq!(cache.table.len(), cache.slots.len());
                prop_assert_eq!(cache.bytes, cache.slots.iter().map(|slot| slot.bytes).sum::<usize>());
            }
        }
    }
}
