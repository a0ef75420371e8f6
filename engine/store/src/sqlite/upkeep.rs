//! What is done when nobody asks.
//!
//! **Job.** Sweep expired values and old keys; get what was redacted out of the journal. **Called by** `writer`.
//!
//! Invariants
//! 1. Each sweep takes a bounded number of rows away.
//!
//! Not here: trimming of streams (roles decide what is kept).

use std::time::Duration;

use rusqlite::Connection;

use super::writer::Desk;
use super::{int, log, schema};

/// Rows one sweep takes away of each table.
const ROWS_MAX: i64 = 2000;

/// Sweeps once, in a transaction of its own.
pub(super) fn sweep(desk: &Desk) -> rusqlite::Result<()> {
    let transaction = desk.connection.unchecked_transaction()?;
    let expired = "DELETE FROM madang_kv WHERE (namespace, key) IN (SELECT namespace, key FROM madang_kv \
                   WHERE expires_ms <= ?1 LIMIT ?2)";
    transaction.prepare_cached(expired)?.execute((int(desk.now_ms), ROWS_MAX))?;
    let old = "DELETE FROM madang_sent WHERE (day, stream, key) IN (SELECT day, stream, key FROM madang_sent \
               WHERE day < ?1 LIMIT ?2)";
    transaction.prepare_cached(old)?.execute((int(log::day(desk.now_ms)) - 1, ROWS_MAX))?;
    transaction.commit()
}

/// Writes the journal back and empties it. False: a reader still needs it.
pub(super) fn empty_journal(connection: &Connection) -> bool {
    // Waiting for a long reader would hold up every write.
    if connection.busy_timeout(Duration::ZERO).is_err() {
        return false;
    }
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    let patient = connection.busy_timeout(schema::BUSY);
    patient.is_ok() && busy.is_ok_and(|busy| busy == 0)
}
