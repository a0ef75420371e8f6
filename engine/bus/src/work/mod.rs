//! Work that must not be lost: put once, taken by one, done or taken again.
//!
//! **Job.** A line of jobs between whoever has something to be done (a webhook to be sent) and whoever does it, on any
//! machine. **Called by** roles. **Calls** JetStream (`nats::work`), or `memory`.
//!
//! Over NATS a job that was put is on disk at the server, and outlives it and us. On one machine jobs live as long as
//! the process: what must outlive that is put again at the next start by whoever keeps it in the store, under the same id.
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use madang_bus::work::WorkLimits;
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! let bus = madang_bus::Bus::local();
//! let hooks = bus.work("hooks", WorkLimits::default()).await.unwrap();
//! let job = Bytes::from_static(b"POST this there");
//! assert!(!hooks.put("town/lobby/41", job.clone()).await.unwrap().duplicate);
//! assert!(hooks.put("town/lobby/41", job).await.unwrap().duplicate); // once is enough
//!
//! for job in hooks.take(10, Duration::from_secs(1)).await.unwrap() {
//!     match job.attempt {
//!         1 => job.again(Duration::from_millis(1)).await.unwrap(), // it failed: later, by somebody
//!         _ => job.done().await.unwrap(),
//!     }
//! }
//! # });
//! ```
//!
//! Invariants
//! 1. A put that was answered is taken, again and again until it is done.
//! 2. The same id within `remembered` is one job.
//! 3. A full line refuses; it drops nothing.
//!
//! Not here: what jobs are, when they are given up (roles).

mod memory;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub(crate) use self::memory::Memory;
use crate::error::BusError;
use crate::exchange::MESSAGE_MAX;
use crate::nats::work::{JetJob, JetLine};

/// Limits of a line. Over NATS those of whoever made it first hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkLimits {
    /// Jobs that may wait. Default 100,000.
    pub jobs_max: u32,
    /// Bytes of them. Default 256 MiB.
    pub bytes_max: u64,
    /// How long a job that was taken may take; then somebody else gets it. Default 30 s.
    pub patience: Duration,
    /// How long an id is remembered. Default 10 minutes.
    pub remembered: Duration,
}

impl Default for WorkLimits {
    fn default() -> Self {
        Self {
            jobs_max: 100_000,
            bytes_max: 256 << 20,
            patience: Duration::from_secs(30),
            remembered: Duration::from_secs(600),
        }
    }
}

/// The answer to a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// The id was there already; nothing was added.
    pub duplicate: bool,
}

/// A line of jobs. Cheap to clone.
#[derive(Clone)]
pub struct Work(Kind);

#[derive(Clone)]
enum Kind {
    Memory(Memory),
    Jet(Arc<JetLine>),
}

impl Work {
    pub(crate) fn memory(line: Memory) -> Self {
        Self(Kind::Memory(line))
    }
    pub(crate) fn jet(line: JetLine) -> Self {
        Self(Kind::Jet(Arc::new(line)))
    }

    /// Adds a job and waits until it is kept. `id`: 1 to 200 bytes of printable ASCII without spaces.
    ///
    /// # Errors
    /// [`BusError::Full`], [`BusError::TooLarge`], [`BusError::Invalid`]; [`BusError::Unreachable`]: nothing was added;
    /// [`BusError::Unknown`]: put it again with the same id.
    pub async fn put(&self, id: &str, bytes: Bytes) -> Result<Put, BusError> {
        if id.is_empty() || id.len() > 200 || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            let must = "1 to 200 bytes of printable ASCII without spaces";
            return Err(BusError::Invalid { what: "the id of a job", must });
        }
        if bytes.len() > MESSAGE_MAX {
            return Err(BusError::TooLarge { what: "job", size: bytes.len(), max: MESSAGE_MAX });
        }
        match &self.0 {
            Kind::Memory(line) => line.put(id, bytes),
            Kind::Jet(line) => line.put(id, bytes).await,
        }
    }

    /// Takes up to `max` jobs, the oldest first; waits for the first at most `wait`, then gives none.
    ///
    /// # Errors
    /// [`BusError::Unreachable`], [`BusError::Failed`].
    pub async fn take(&self, max: usize, wait: Duration) -> Result<Vec<Job>, BusError> {
        match &self.0 {
            Kind::Memory(line) => Ok(line.take(max, wait).await),
            Kind::Jet(line) => line.take(max, wait).await,
        }
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}

/// A job that was taken. Dropped without a word it comes again after `patience`.
#[derive(Debug)]
pub struct Job {
    /// As it was put.
    pub id: String,
    /// As it was put.
    pub bytes: Bytes,
    /// The first time it is taken this is 1.
    pub attempt: u32,
    hold: Hold,
}

#[derive(Debug)]
enum Hold {
    Memory(memory::Taken),
    Jet(Box<JetJob>),
}

impl Job {
    pub(crate) fn of_jet(id: String, bytes: Bytes, attempt: u32, job: JetJob) -> Self {
        Self { id, bytes, attempt, hold: Hold::Jet(Box::new(job)) }
    }

    /// It is done and comes no more. Waits until that is kept.
    ///
    /// # Errors
    /// [`BusError::Unknown`]: it may come again.
    pub async fn done(self) -> Result<(), BusError> {
        match self.hold {
            Hold::Memory(taken) => taken.done(),
            Hold::Jet(job) => job.done().await?,
        }
        Ok(())
    }

    /// It failed: somebody gets it again after so long.
    ///
    /// # Errors
    /// [`BusError::Unknown`]: it comes again after `patience`.
    pub async fn again(self, after: Duration) -> Result<(), BusError> {
        match self.hold {
            Hold::Memory(taken) => taken.again(after),
            Hold::Jet(job) => job.again(after).await?,
        }
        Ok(())
    }
}
