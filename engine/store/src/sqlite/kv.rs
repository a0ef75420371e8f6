//! Key-value in SQLite.
//!
//! **Job.** Put, delete, add on the writer's desk; get and scan on a reader. **Called by** `sqlite`.
//!
//! Invariants
//! 1. An expired value is as good as absent, also to conditions.
//!
//! Not here: sweeping (`upkeep`).

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};
use std::time::Duration;

use super::fault::{Stop, refuse};
use super::writer::Desk;
use super::{int, uint};
use crate::kv::{self, Count, Held, Put, When};

const ONE: &str = "SELECT value, version, expires_ms FROM madang_kv WHERE namespace = ?1 AND key = ?2 \
                   AND (expires_ms IS NULL OR expires_ms > ?3)";

fn held_of(row: &Row<'_>) -> rusqlite::Result<Held> {
    Ok(Held {
        value: row.get::<_, Vec<u8>>(0)?.into(),
        version: uint(row.get(1)?),
        expires_ms: row.get::<_, Option<i64>>(2)?.map(uint),
    })
}

/// The value, unless it has expired.
pub(super) fn get(
    connection: &Connection,
    namespace: &str,
    key: &str,
    now_ms: u64,
) -> rusqlite::Result<Option<Held>> {
    connection.prepare_cached(ONE)?.query_row((namespace, key, int(now_ms)), held_of).optional()
}

/// Whether a condition holds of what is there; if not, what is there.
fn holds(desk: &Desk, namespace: &str, key: &str, when: When) -> rusqlite::Result<Result<(), Option<Held>>> {
    if when == When::Always {
        return Ok(Ok(()));
    }
    let held = get(&desk.connection, namespace, key, desk.now_ms)?;
    Ok(match (when, &held) {
        (When::Absent, None) => Ok(()),
        (When::Version(version), Some(held)) if held.version == version => Ok(()),
        _ => Err(held),
    })
}

fn write(
    desk: &mut Desk,
    namespace: &str,
    key: &str,
    value: &[u8],
    expires_ms: Option<u64>,
) -> rusqlite::Result<u64> {
    desk.version += 1;
    let sql = "INSERT OR REPLACE INTO madang_kv (namespace, key, value, version, expires_ms) \
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = desk.connection.prepare_cached(sql)?;
    insert.execute((namespace, key, value, int(desk.version), expires_ms.map(int)))?;
    Ok(desk.version)
}

/// Writes a value if the condition holds.
pub(super) fn put(
    desk: &mut Desk,
    namespace: &str,
    key: &str,
    value: &Bytes,
    when: When,
    lasts: Option<Duration>,
) -> Result<Put, Stop> {
    if let Err(held) = holds(desk, namespace, key, when)? {
        return Ok(Put::Held(held));
    }
    let expires = kv::end(desk.now_ms, lasts);
    Ok(Put::Done(write(desk, namespace, key, value, expires)?))
}

/// Deletes a value if the condition holds.
pub(super) fn delete(desk: &mut Desk, namespace: &str, key: &str, when: When) -> Result<Put, Stop> {
    if let Err(held) = holds(desk, namespace, key, when)? {
        return Ok(Put::Held(held));
    }
    let sql = "DELETE FROM madang_kv WHERE namespace = ?1 AND key = ?2";
    desk.connection.prepare_cached(sql)?.execute((namespace, key))?;
    Ok(Put::Done(0))
}

/// Adds to a counter.
pub(super) fn add(
    desk: &mut Desk,
    namespace: &str,
    key: &str,
    more: i64,
    lasts: Option<Duration>,
) -> Result<Count, Stop> {
    let held = get(&desk.connection, namespace, key, desk.now_ms)?;
    let (value, expires_ms) = match &held {
        None => (more, kv::end(desk.now_ms, lasts)),
        Some(held) => match kv::sum(&held.value, more) {
            Ok(sum) => (sum, held.expires_ms),
            Err(error) => return refuse(error),
        },
    };
    write(desk, namespace, key, value.to_string().as_bytes(), expires_ms)?;
    Ok(Count { value, expires_ms })
}

/// Values whose keys begin alike, in order.
pub(super) fn scan(
    connection: &Connection,
    namespace: &str,
    prefix: &str,
    after: Option<&str>,
    most: usize,
    now_ms: u64,
) -> rusqlite::Result<Vec<(String, Held)>> {
    let sql = "SELECT value, version, expires_ms, key FROM madang_kv WHERE namespace = ?1 AND key >= ?2 \
               AND (?3 IS NULL OR key > ?3) AND (expires_ms IS NULL OR expires_ms > ?4) ORDER BY key";
    let mut select = connection.prepare_cached(sql)?;
    // The walk begins at the later of both.
    let begin = after.map_or(prefix, |after| after.max(prefix));
    let mut rows = select.query((namespace, begin, after, int(now_ms)))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(3)?;
        if !key.starts_with(prefix) || all.len() >= most {
            break;
        }
        all.push((key, held_of(row)?));
    }
    Ok(all)
}
