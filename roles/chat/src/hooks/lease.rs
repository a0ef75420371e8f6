//! Which machine sends the letters of a hook.
//!
//! **Job.** Hold a lease in the store's key-value, renew it, notice that it is lost. **Called by** `drain`, where several machines
//! share a store.
//!
//! Invariants
//! 1. Whoever holds it stops believing so before anybody else can have it: its own clock counts from before the renewal was
//!    asked for, and [`LASTS`] is longer than an attempt may take and [`FRESH`] together.
//!
//! Not here: what is done with it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use madang_host::clock;
use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::kv::{Put, When};

/// How long it holds without being renewed: as long as the longest attempt, and some.
const LASTS: Duration = Duration::from_secs(90);
/// It is renewed when it is older.
const FRESH: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Lease {
    space: String,
    key: String,
    /// This machine, in this life.
    me: String,
    version: Option<u64>,
    renewed: Option<Instant>,
}

impl Lease {
    pub(super) fn new(space: String, hook: &str, me: String) -> Self {
        Self { space, key: format!("lease/{hook}"), me, version: None, renewed: None }
    }

    /// Whether it is held, for at least as long as an attempt takes. Renews or takes it.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn holds(&mut self, store: &Store) -> Result<bool, StoreError> {
        let now = clock::now();
        if self.renewed.is_some_and(|at| now.saturating_duration_since(at) < FRESH) {
            return Ok(true);
        }
        let when = self.version.map_or(When::Absent, When::Version);
        let value = Bytes::from(self.me.clone());
        self.renewed = None;
        match store.kv().put(&self.space, &self.key, value.clone(), when, Some(LASTS)).await? {
            Put::Done(version) => {
                (self.version, self.renewed) = (Some(version), Some(now));
                Ok(true)
            }
            // An answer that was lost: it is ours all the same, and renewed in the next round.
            Put::Held(Some(held)) if held.value == value => {
                self.version = Some(held.version);
                Ok(false)
            }
            Put::Held(_) => {
                self.version = None;
                Ok(false)
            }
        }
    }

    /// Gives it back, so that others need not wait for its end.
    pub(super) async fn give_back(&mut self, store: &Store) {
        if let Some(version) = self.version.take() {
            self.renewed = None;
            // Not given back, it ends by itself.
            let _ = store.kv().delete(&self.space, &self.key, When::Version(version)).await;
        }
    }
}
