//! The guests that are here, by their keys.
//!
//! **Job.** Tell whose key a request without a connection shows. **Called by** `ws` (who comes and goes), `super`.
//!
//! Invariants
//! 1. Keys are held as hashes.
//! 2. A guest is known while one of its connections is open.
//!
//! Not here: whether a key is good for a name (`hub`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;

type Hash = [u8; 16];

/// See the module. Shared by the workers.
#[derive(Debug, Default)]
pub struct Guests(Mutex<HashMap<Hash, (Arc<str>, u32)>>);

/// A guest that is here; dropped when its connection ends.
#[derive(Debug)]
pub(crate) struct Present {
    guests: Arc<Guests>,
    hash: Hash,
}

fn hash(key: &str) -> Hash {
    let mut hash = [0; 16];
    let whole = digest::digest(&digest::SHA256, key.as_bytes());
    hash.iter_mut().zip(whole.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

impl Guests {
    /// A connection of this guest has begun.
    pub(crate) fn enter(self: &Arc<Self>, key: &str, name: &Arc<str>) -> Present {
        let hash = hash(key);
        // A panic under this lock leaves the map whole: so with each below.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(hash).or_insert_with(|| (Arc::clone(name), 0)).1 += 1;
        Present { guests: Arc::clone(self), hash }
    }

    /// The name of the guest with this key.
    pub fn find(&self, key: &str) -> Option<Arc<str>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&hash(key)).map(|(name, _)| Arc::clone(name))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut all = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = all.get_mut(&self.hash) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_known_while_it_is_here() {
        let guests = Arc::new(Guests::default());
        let (first, second) = (guests.enter("k1", &"mina".into()), guests.enter("k1", &"mina".into()));
        drop(first);
        assert_eq!(guests.find("k1").as_deref(), Some("mina"));
        assert_eq!(guests.find("k2"), None);
        drop(second);
        assert_eq!(guests.find("k1"), None);
    }
}
