//! The house's data: an append log, key-value and tables, in one SQLite file or in PostgreSQL.
//!
//! **Job.** Keep what roles must not lose. What is answered as written is on disk.
//! **Called by** `identity`, the roles and `madang`. **Calls** SQLite, PostgreSQL, `host` for threads, clock and TLS.
//!
//! ```no_run
//! # async fn shown() -> Result<(), madang_store::error::StoreError> {
//! use madang_store::log::{Batch, History, Key, Read, StreamId};
//!
//! let store = madang_store::Store::sqlite(std::path::Path::new("data/store/madang.db"), None)?; // cheap to clone
//! let room = StreamId::new("chat/town/room/7")?;
//!
//! // Appended once, however often it is sent; answered when it is on disk.
//! let sent = Batch::one(r#"{"by":"mina"}"#, "안녕, town").keyed(Key::new("mina's phone", "17"));
//! let there = store.log().append(&room, sent).await?;
//! assert!(!there.duplicate);
//!
//! // A client that has seen everything up to an offset gets exactly what it missed.
//! match store.log().read(&room, Read::after(there.epoch, 0)).await? {
//!     History::Page(page) => assert_eq!(page.entries[0].offset, 1),
//!     History::TooOld(_) | History::OtherEpoch(_) | History::NoStream => {} // begin with what is there
//! }
//! # Ok(()) }
//! ```
//!
//! - [`Store::log`]: streams of entries with (epoch, offset): history, resume, search ([`log::Log`]).
//! - [`Store::kv`]: small values with versions, expiry, counters ([`kv::KeyValue`]).
//! - [`Store::tables`]: a role's own tables and SQL ([`tables::Tables`]).
//! - [`backup`]: one file of everything, restored into either database.
//!
//! Every operation gives an [`Answer`]: a future for any runtime that never blocks its thread. Operations of one caller
//! keep the order in which they were called; dropping an answer undoes nothing.
//!
//! Not here: telling others that something was written (the bus), who may read it (roles).
#![forbid(unsafe_code)]

mod answer;
pub mod backup;
pub mod config;
pub mod error;
pub mod kv;
pub mod log;
mod metrics;
mod number;
mod postgres;
mod sqlite;
pub mod tables;
mod terms;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use madang_host::telemetry::metrics::{Durations, Gauge};

pub use self::answer::Answer;
use self::config::StoreSettings;
use self::error::StoreError;
use self::kv::KeyValue;
use self::log::Log;
use self::postgres::Postgres;
use self::sqlite::Sqlite;
use self::tables::Tables;

/// A running store. Cheap to clone; the last one that is dropped ends it.
#[derive(Clone)]
pub struct Store(Backend);

#[derive(Clone)]
enum Backend {
    Sqlite(Arc<Sqlite>),
    Postgres(Arc<Postgres>),
}

impl Store {
    /// Opens what the settings say; the SQLite file lies in the data folder, as `store/madang.db`.
    ///
    /// Blocks: at start, not on a worker.
    ///
    /// # Errors
    /// As [`Store::sqlite`] and [`Store::postgres`]; [`StoreError::Failed`]: the folder cannot be made.
    pub fn open(settings: &StoreSettings, data: &Path) -> Result<Self, StoreError> {
        match settings {
            StoreSettings::Sqlite { size_max } => {
                let file = database_file(data);
                let folder = file.parent().unwrap_or(data);
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
                    StoreError::Failed {
                        why: format!("cannot make the folder {}: {error}", folder.display()),
                    }
                })?;
                Self::sqlite(&file, *size_max)
            }
            StoreSettings::Postgres { address, ca, connections } => {
                Self::postgres(address.secret(), ca.as_deref(), *connections)
            }
        }
    }

    /// Opens a SQLite file, making it if there is none. `bytes_max`: the largest size it may reach.
    ///
    /// Blocks while the file is checked: at start, not on a worker.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]: the file is left as it is. [`StoreError::Failed`]: it is not ours, or of a newer program.
    pub fn sqlite(path: &Path, bytes_max: Option<u64>) -> Result<Self, StoreError> {
        Ok(Self(Backend::Sqlite(Arc::new(Sqlite::open(path, bytes_max)?))))
    }

    /// Connects to a PostgreSQL database by its address (`postgres://user:password@host/name`) and makes its tables, in
    /// a schema named `madang`. `ca`: PEM file of the authorities its certificate is checked against; left out: the
    /// system's. `connections`: half of them write, half read.
    ///
    /// Blocks until the database answers, at most 8 s: at start, not on a worker.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::Failed`]: the address or the database is not fit.
    pub fn postgres(address: &str, ca: Option<&Path>, connections: usize) -> Result<Self, StoreError> {
        Ok(Self(Backend::Postgres(Arc::new(Postgres::open(address, ca, connections)?))))
    }

    /// Streams of entries.
    pub fn log(&self) -> &dyn Log {
        match &self.0 {
            Backend::Sqlite(sqlite) => &**sqlite,
            Backend::Postgres(postgres) => &**postgres,
        }
    }

    /// Small values by name.
    pub fn kv(&self) -> &dyn KeyValue {
        match &self.0 {
            Backend::Sqlite(sqlite) => &**sqlite,
            Backend::Postgres(postgres) => &**postgres,
        }
    }

    /// Tables of the roles.
    pub fn tables(&self) -> &dyn Tables {
        match &self.0 {
            Backend::Sqlite(sqlite) => &**sqlite,
            Backend::Postgres(postgres) => &**postgres,
        }
    }

    /// Counters and times for the admin surface.
    pub fn metrics(&self) -> (Vec<Gauge>, Vec<Durations>) {
        match &self.0 {
            Backend::Sqlite(sqlite) => sqlite.metrics(),
            Backend::Postgres(postgres) => postgres.metrics(),
        }
    }

    /// Does what waits and ends. Blocks until it is done; later operations are answered with [`StoreError::Closed`].
    pub fn close(&self) {
        match &self.0 {
            Backend::Sqlite(sqlite) => sqlite.close(),
            Backend::Postgres(postgres) => postgres.close(),
        }
    }
}

/// The SQLite file of a data folder, in a folder of its own: its journals lie beside it.
pub fn database_file(data: &Path) -> PathBuf {
    data.join("store/madang.db")
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}
