//! A memory that forgets: bounded in entries and bytes.
//!
//! **Job.** Keep values by key; when room is needed, drop what was not used since the hand last passed (CLOCK).
//! **Used by** `cache` (open files) and `made` (results of compression). Pure.
//!
//! Invariants
//! 1. `len() <= entries_max` and `bytes() <= bytes_max` after every call.
//! 2. A hit touches no heap: one hash of the key, one comparison.
//! 3. What is used between two floods outlives them: a flood of strangers costs the strangers' entries.
//!
//! Not here: what is worth keeping (the users).

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, Equivalent, HashTable};

struct Slot<K, V> {
    hash: u64,
    key: K,
    value: V,
    used: bool,
    bytes: usize,
}

/// The memory. Keys are hashed with a seed of this process: nobody outside can aim at one bucket.
pub(super) struct Bounded<K, V> {
    hasher: DefaultHashBuilder,
    table: HashTable<usize>,
    slots: Vec<Slot<K, V>>,
    hand: usize,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
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

    /// The value of `key`, marked as used.
    pub(super) fn get<Q: Hash + Equivalent<K>>(&mut self, key: &Q) -> Option<&mut V> {
        let index = self.find(key)?;
        let slot = &mut self.slots[index];
        slot.used = true;
        Some(&mut slot.value)
    }

    /// Keeps `value`, which counts as `bytes`, in place of the one before. False: it is larger than all the room.
    pub(super) fn put(&mut self, key: K, value: V, bytes: usize) -> bool {
        if let Some(index) = self.find(&key) {
            self.remove_at(index);
        }
        if bytes > self.bytes_max || self.entries_max == 0 {
            return false;
        }
        while self.slots.len() >= self.entries_max || self.bytes + bytes > self.bytes_max {
            self.evict_one();
        }
        let hash = self.hasher.hash_one(&key);
        self.bytes += bytes;
        self.slots.push(Slot { hash, key, value, used: false, bytes });
        let slots = &self.slots;
        self.table.insert_unique(hash, slots.len() - 1, |index| slots[*index].hash);
        true
    }

    /// Values kept.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes accounted for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn find<Q: Hash + Equivalent<K>>(&self, key: &Q) -> Option<usize> {
        let hash = self.hasher.hash_one(key);
        self.table.find(hash, |index| key.equivalent(&self.slots[*index].key)).copied()
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
    use proptest::prelude::*;

    use super::*;

    // Goal: a flood of keys nobody asks for twice does not push out what is used.
    // Method: a hot key touched between strangers that fill the room many times over.
    #[test]
    fn what_is_used_outlives_a_flood_of_strangers() {
        let mut memory = Bounded::new(64, 1 << 20);
        memory.put(0, (), 1);
        for stranger in 1..1000 {
            assert!(memory.get(&0).is_some(), "gone after {stranger} strangers");
            memory.put(stranger, (), 1);
        }
    }

    proptest! {
        // Goal: bounds hold and what is found is what was put last, for any order of operations.
        // Method: against a plain map that never forgets.
        #[test]
        fn bounds_hold_and_answers_are_the_last_ones_put(
            steps in proptest::collection::vec((0_u8..20, 0_u32..100, 0_usize..40, any::<bool>()), 0..300),
            entries_max in 0_usize..12,
            bytes_max in 0_usize..100,
        ) {
            let mut memory = Bounded::new(entries_max, bytes_max);
            let mut model = std::collections::HashMap::new();
            for (key, value, bytes, put) in steps {
                if put {
                    let kept = memory.put(key, value, bytes);
                    prop_assert_eq!(kept, entries_max > 0 && bytes <= bytes_max);
                    prop_assert_eq!(memory.get(&key).copied(), kept.then_some(value));
                    model.insert(key, value);
                } else if let Some(got) = memory.get(&key) {
                    prop_assert_eq!(Some(&*got), model.get(&key));
                }
                prop_assert!(memory.len() <= entries_max && memory.bytes() <= bytes_max);
                prop_assert_eq!(memory.table.len(), memory.slots.len());
                prop_assert_eq!(memory.bytes, memory.slots.iter().map(|slot| slot.bytes).sum::<usize>());
            }
        }
    }
}
