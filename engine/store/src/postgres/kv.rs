//! Key-value in PostgreSQL.
//!
//! **Job.** Turn operations into calls of the database's functions, and rows into answers. **Called by** `postgres`.
//! Not here: the function (`schema`), sweeping (`postgres::upkeep`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_postgres::Row;

use super::connect::Connected;
use super::lane::{Call, Param};
use super::readers::Trouble;
use crate::answer::Reply;
use crate::error::StoreError;
use crate::kv::{Count, Held, Put, When};
use crate::number::{int, uint};

/// What is written.
pub(super) enum Kind {
    Put(Bytes),
    Delete,
    Add(i64),
}

fn held(row: &Row, at: usize) -> Held {
    Held {
        value: row.get::<_, Vec<u8>>(at).into(),
        version: uint(row.get(at + 1)),
        expires_ms: row.get::<_, Option<i64>>(at + 2).map(uint),
    }
}

/// What locks a key.
pub(super) fn lock(namespace: &str, key: &str) -> String {
    format!("k{namespace}\0{key}")
}

fn call<T: Send + 'static>(
    (namespace, key): (&str, &str),
    kind: Kind,
    when: When,
    lasts: Option<Duration>,
    reply: Reply<T>,
    decode: impl FnOnce(&Row) -> Result<T, StoreError> + Send + Sync + 'static,
) -> Call {
    let (when, version) = match when {
        When::Always => (0, None),
        When::Absent => (1, None),
        When::Version(version) => (2, Some(int(version))),
    };
    // A value put or deleted twice is put or deleted once; not so under a condition, and not an addition.
    let again = when == 0 && !matches!(kind, Kind::Add(_));
    let (kind, value, more) = match kind {
        Kind::Put(value) => (0, Some(value.to_vec()), None),
        Kind::Delete => (1, None, None),
        Kind::Add(more) => (2, None, Some(more)),
    };
    let lasts = lasts.map(|lasts| int(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX)));
    let values: Vec<Param> = vec![
        Box::new(namespace.to_owned()),
        Box::new(key.to_owned()),
        Box::new(kind),
        Box::new(value),
        Box::new(when),
        Box::new(version),
        Box::new(more),
        Box::new(lasts),
    ];
    let sql =
        "SELECT status, o_value, o_version, o_expires FROM madang_kv_write($1, $2, $3, $4, $5, $6, $7, $8)";
    let done = Box::new(move |told: Result<Row, StoreError>| {
        // The caller may have gone; what it asked for is done all the same.
        let _ = reply.send(told.and_then(|row| decode(&row)));
    });
    Call { lock: lock(namespace, key), sql, values, again, done }
}

pub(super) fn write(
    name: (&str, &str),
    kind: Kind,
    when: When,
    lasts: Option<Duration>,
    reply: Reply<Put>,
) -> Call {
    call(name, kind, when, lasts, reply, |row| {
        Ok(match row.get::<_, i32>(0) {
            0 => Put::Done(uint(row.get(2))),
            1 => Put::Held(Some(held(row, 1))),
            _ => Put::Held(None),
        })
    })
}

pub(super) fn add(name: (&str, &str), more: i64, lasts: Option<Duration>, reply: Reply<Count>) -> Call {
    call(name, Kind::Add(more), When::Always, lasts, reply, |row| {
        if row.get::<_, i32>(0) != 0 {
            return Err(StoreError::NoCounter);
        }
        let digits: Vec<u8> = row.get(1);
        let value = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
        let value = value.ok_or(StoreError::NoCounter)?;
        Ok(Count { value, expires_ms: row.get::<_, Option<i64>>(3).map(uint) })
    })
}

pub(super) async fn get(
    connected: Arc<Connected>,
    namespace: String,
    key: String,
) -> Result<Option<Held>, Trouble> {
    let sql = "SELECT value, version, expires_ms FROM madang_kv WHERE namespace = $1 AND key = $2 \
               AND (expires_ms IS NULL OR expires_ms > madang_now_ms())";
    let statement = connected.prepared(sql).await?;
    let row = connected.client.query_opt(&statement, &[&namespace, &key]).await?;
    Ok(row.map(|row| held(&row, 0)))
}

pub(super) async fn scan(
    connected: Arc<Connected>,
    namespace: String,
    prefix: String,
    after: Option<String>,
    most: usize,
) -> Result<Vec<(String, Held)>, Trouble> {
    let sql = "SELECT value, version, expires_ms, key FROM madang_kv WHERE namespace = $1 AND key >= $2 \
               AND ($3::text IS NULL OR key > $3) AND starts_with(key, $4) \
               AND (expires_ms IS NULL OR expires_ms > madang_now_ms()) ORDER BY key LIMIT $5";
    let begin = after.as_deref().map_or(&*prefix, |after| after.max(&prefix));
    let statement = connected.prepared(sql).await?;
    let limit = int(most as u64);
    let rows = connected.client.query(&statement, &[&namespace, &begin, &after, &prefix, &limit]).await?;
    Ok(rows.iter().map(|row| (row.get(3), held(row, 0))).collect())
}
