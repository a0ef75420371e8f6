//! The connections that read.
//!
//! **Job.** Answer questions over a few connections, several at once on each; try once more when one was lost.
//! **Called by** `postgres`. **Calls** `connect`. Not here: what is asked (`log`, `kv`, `tables`).
//!
//! Invariants
//! 1. A session of a reader cannot write, and no question takes longer than [`READ_TIME_MAX`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use madang_host::clock;
use madang_host::draws::Draws;
use madang_host::random;
use tokio::sync::Mutex;
use tokio_postgres::Error;

use super::connect::{Connected, Way};
use super::fault;
use super::lane::BoxFuture;
use crate::error::StoreError;

/// A question may take so long.
pub(super) const READ_TIME_MAX: Duration = Duration::from_secs(5);
const SESSION: &str = "SET default_transaction_read_only = on; SET statement_timeout = '5s'";

/// Why a question has no answer.
pub(super) enum Trouble {
    Database(Error),
    Told(StoreError),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}
impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Told(error)
    }
}

/// Connections, made when they are needed.
pub(super) struct Readers {
    way: Way,
    slots: Vec<Mutex<Option<Arc<Connected>>>>,
    next: AtomicUsize,
}

impl Readers {
    pub(super) fn new(way: Way, count: usize) -> Self {
        let slots = (0..count.max(1)).map(|_| Mutex::new(None)).collect();
        Self { way, slots, next: AtomicUsize::new(0) }
    }

    /// Asks; once more over a new connection when the first was lost.
    pub(super) async fn ask<T>(
        &self,
        question: impl Fn(Arc<Connected>) -> BoxFuture<Result<T, Trouble>>,
    ) -> Result<T, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let until = clock::now() + READ_TIME_MAX;
        let mut lost = false;
        loop {
            let connected = self.connection(number, until).await?;
            match question(Arc::clone(&connected)).await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Told(error)) => return Err(error),
                Err(Trouble::Database(error)) if fault::is_lost(&error) && !lost => {
                    lost = true;
                    self.forget(number, &connected).await;
                }
                Err(Trouble::Database(error)) => return Err(fault::meaning(&error)),
            }
        }
    }

    async fn connection(
        &self,
        number: usize,
        until: std::time::Instant,
    ) -> Result<Arc<Connected>, StoreError> {
        // Held while connecting: the others of this slot wait for the same connection.
        let mut slot = self.slots[number].lock().await;
        if let Some(connected) = slot.as_ref().filter(|connected| !connected.client.is_closed()) {
            return Ok(Arc::clone(connected));
        }
        let mut draws = Draws::new(random::seed());
        let connected = self.way.connect_until(SESSION, until, &mut draws).await?;
        Ok(Arc::clone(slot.insert(Arc::new(connected))))
    }

    async fn forget(&self, number: usize, lost: &Arc<Connected>) {
        let mut slot = self.slots[number].lock().await;
        if slot.as_ref().is_some_and(|known| Arc::ptr_eq(known, lost)) {
            *slot = None;
        }
    }
}
