//! A PostgreSQL database read whole, and filled from a backup.
//!
//! **Job.** Give every row as a record, from one snapshot; fill the schema from records in one transaction.
//! **Called by** `backup`. Blocks: it has a runtime of its own.
//!
//! Invariants
//! 1. The old schema goes and the new one comes in one transaction.
//!
//! Not here: the backup's file (`file`).

use std::path::Path;
use std::pin::pin;

use futures_util::TryStreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::file;
use super::record::{Body, Cell, Record, quoted};
use super::{BackupError, Sink};
use crate::error::StoreError;
use crate::number::{int, new_epoch, uint};
use crate::postgres::connect::Way;
use crate::postgres::{fault, log, schema, tables};
use crate::tables::Value;

/// Entries and keys that are sent together.
const TOGETHER_MAX: usize = 500;
/// And their bytes.
const TOGETHER_BYTES_MAX: usize = 1024 * 1024;
/// Versions that may have been given after the backup are not given again.
const VERSIONS_LEFT_OUT: i64 = 1 << 32;

fn fail(error: Error) -> BackupError {
    BackupError::Store(fault::meaning(&error))
}

fn connect(address: &str, ca: Option<&Path>) -> Result<(Runtime, Client), BackupError> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| StoreError::Failed { why: error.to_string() })?;
    let connected = runtime.block_on(Way::of(address, ca)?.connect(""))?;
    Ok((runtime, connected.client))
}

async fn is_there(client: &Client) -> Result<bool, BackupError> {
    let there = client.query_one("SELECT to_regclass('madang.madang_meta') IS NOT NULL", &[]).await;
    Ok(there.map_err(fail)?.get(0))
}

/// Gives everything, as of one snapshot. The house may go on writing meanwhile.
pub(super) fn read_all(address: &str, ca: Option<&Path>, sink: Sink<'_>) -> Result<(), BackupError> {
    let (runtime, client) = connect(address, ca)?;
    runtime.block_on(async {
        if !is_there(&client).await? {
            return Err(BackupError::Nothing { place: crate::config::without_password(address) });
        }
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        client.batch_execute(begin).await.map_err(fail)?;
        let sql = "SELECT owner, number, name, checksum, sqlite, postgres, at_ms FROM madang_migration \
                   ORDER BY at_ms, owner, number";
        each(&client, sql, &[], sink, |row| {
            Ok(Record::Migration {
                owner: row.get(0),
                number: u32::try_from(row.get::<_, i32>(1)).unwrap_or(0),
                name: row.get(2),
                checksum: row.get(3),
                sqlite: row.get(4),
                postgres: row.get(5),
                at_ms: uint(row.get(6)),
            })
        })
        .await?;
        let sql = "SELECT number, name, epoch, first, next, bytes, at_ms FROM madang_stream ORDER BY number";
        let streams = client.query(sql, &[]).await.map_err(fail)?;
        for row in &streams {
            let number = |column: usize| uint(row.get::<_, i64>(column));
            sink(&Record::Stream {
                name: row.get(1),
                epoch: number(2),
                first: number(3),
                next: number(4),
                bytes: number(5),
                at_ms: number(6),
            })?;
            one_stream(&client, row.get(0), sink).await?;
        }
        let sql = "SELECT namespace, key, value, version, expires_ms FROM madang_kv ORDER BY namespace, key";
        each(&client, sql, &[], sink, |row| {
            Ok(Record::Value {
                namespace: row.get(0),
                key: row.get(1),
                value: Body(row.get(2)),
                version: uint(row.get(3)),
                expires_ms: row.get::<_, Option<i64>>(4).map(uint),
            })
        })
        .await?;
        tables_of_roles(&client, sink).await
    })
}

async fn one_stream(client: &Client, number: i64, sink: Sink<'_>) -> Result<(), BackupError> {
    let sql = "SELECT id & 68719476735, at_ms, edits, removed, data, text FROM madang_entry \
               WHERE id >= $1::bigint << 36 AND id < ($1 + 1) << 36 ORDER BY id";
    each(client, sql, &[number], sink, |row| {
        Ok(Record::Entry {
            offset: uint(row.get(0)),
            at_ms: uint(row.get(1)),
            edits: u32::try_from(row.get::<_, i32>(2)).unwrap_or(0),
            removed: row.get(3),
            data: Body(row.get(4)),
            text: row.get(5),
        })
    })
    .await?;
    let sql = "SELECT day, key, first, count FROM madang_sent WHERE stream = $1 ORDER BY day, key";
    each(client, sql, &[number], sink, |row| {
        Ok(Record::Sent {
            day: uint(row.get(0)),
            key: Body(row.get(1)),
            first: uint(row.get(2)),
            count: uint(row.get(3)),
        })
    })
    .await
}

/// In the order they were made, so that what refers to another table comes after it.
async fn tables_of_roles(client: &Client, sink: Sink<'_>) -> Result<(), BackupError> {
    let sql = r"SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_class c
                JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
                WHERE n.nspname = 'madang' AND c.relkind = 'r' AND c.relname NOT LIKE 'madang\_%'
                AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' GROUP BY c.oid, c.relname ORDER BY c.oid";
    for row in &client.query(sql, &[]).await.map_err(fail)? {
        let (name, columns): (String, Vec<String>) = (row.get(0), row.get(1));
        let listed = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {listed} FROM {}", quoted(&name));
        sink(&Record::Table { name, columns })?;
        each(client, &sql, &[], sink, |row| {
            let values = tables::row(row)?;
            Ok(Record::Row { values: values.0.iter().map(Cell::from).collect() })
        })
        .await?;
    }
    Ok(())
}

async fn each(
    client: &Client,
    sql: &str,
    values: &[i64],
    sink: Sink<'_>,
    record: impl Fn(&Row) -> Result<Record, StoreError>,
) -> Result<(), BackupError> {
    let mut rows = pin!(client.query_raw(sql, values).await.map_err(fail)?);
    while let Some(row) = rows.try_next().await.map_err(fail)? {
        sink(&record(&row)?)?;
    }
    Ok(())
}

/// Puts a backup in the place of what is there.
pub(super) fn restore(address: &str, ca: Option<&Path>, from: &Path, force: bool) -> Result<(), BackupError> {
    let (runtime, client) = connect(address, ca)?;
    runtime.block_on(async {
        client.batch_execute(&format!("BEGIN; {}", schema::LOCK)).await.map_err(fail)?;
        if is_there(&client).await? && !force {
            return Err(BackupError::Occupied { place: crate::config::without_password(address) });
        }
        let sql = format!(
            "DROP SCHEMA IF EXISTS madang CASCADE; CREATE SCHEMA madang; SET search_path = madang; {}",
            schema::all()
        );
        client.batch_execute(&sql).await.map_err(fail)
    })?;
    let mut filling = Filling { client: &client, stream: 0, insert: None, together: Together::default() };
    file::read(from, |record| runtime.block_on(filling.put(record)))?;
    runtime.block_on(filling.end())
}

/// Rows that are sent together.
#[derive(Default)]
struct Together {
    bytes: usize,
    ids: Vec<i64>,
    at_ms: Vec<i64>,
    edits: Vec<i32>,
    removed: Vec<bool>,
    data: Vec<Vec<u8>>,
    text: Vec<String>,
    words: Vec<String>,
}

struct Filling<'a> {
    client: &'a Client,
    stream: i64,
    insert: Option<Statement>,
    together: Together,
}

impl Filling<'_> {
    async fn put(&mut self, record: Record) -> Result<(), BackupError> {
        if let Record::Entry { offset, at_ms, edits, removed, data, text } = record {
            return self.entry(offset, at_ms, edits, removed, data, text).await;
        }
        self.flush().await?;
        match record {
            Record::Head { .. } | Record::End { .. } | Record::Entry { .. } => Ok(()),
            Record::Migration { owner, number, name, checksum, sqlite, postgres, at_ms } => {
                self.client.batch_execute(&postgres).await.map_err(fail)?;
                let number = i32::try_from(number).unwrap_or(i32::MAX);
                let sql = "INSERT INTO madang_migration (owner, number, name, checksum, sqlite, postgres, at_ms) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7)";
                self.run(sql, &[&owner, &number, &name, &checksum, &sqlite, &postgres, &int(at_ms)]).await
            }
            Record::Stream { name, first, next, bytes, at_ms, .. } => {
                let sql = "INSERT INTO madang_stream (name, epoch, first, next, bytes, at_ms) \
                           VALUES ($1, $2, $3, $4, $5, $6) RETURNING number";
                let (epoch, first, next) = (int(new_epoch()), int(first), int(next));
                let made = self
                    .client
                    .query_one(sql, &[&name, &epoch, &first, &next, &int(bytes), &int(at_ms)])
                    .await;
                self.stream = made.map_err(fail)?.get(0);
                Ok(())
            }
            Record::Sent { day, key, first, count } => {
                let sql = "INSERT INTO madang_sent (day, stream, key, token, first, count) \
                           VALUES ($1, $2, $3, 0, $4, $5)";
                self.run(sql, &[&int(day), &self.stream, &key.0, &int(first), &int(count)]).await
            }
            Record::Value { namespace, key, value, version, expires_ms } => {
                let sql = "INSERT INTO madang_kv (namespace, key, value, version, expires_ms) \
                           VALUES ($1, $2, $3, $4, $5)";
                self.run(sql, &[&namespace, &key, &value.0, &int(version), &expires_ms.map(int)]).await
            }
            Record::Table { name, columns } => {
                // A migration may have put rows there; those of the backup are the ones.
                self.run(&format!("DELETE FROM {}", quoted(&name)), &[]).await?;
                let listed = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
                let values =
                    (1..=columns.len()).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ");
                let sql = format!(
                    "INSERT INTO {} ({listed}) OVERRIDING SYSTEM VALUE VALUES ({values})",
                    quoted(&name)
                );
                self.insert = Some(self.client.prepare(&sql).await.map_err(fail)?);
                Ok(())
            }
            Record::Row { values } => {
                let values: Vec<Value> = values.into_iter().map(Value::from).collect();
                let values: Vec<&(dyn ToSql + Sync)> =
                    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
                let Some(insert) = &self.insert else { return Ok(()) };
                self.client.execute(insert, &values).await.map(drop).map_err(fail)
            }
        }
    }

    async fn run(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<(), BackupError> {
        self.client.execute(sql, values).await.map(drop).map_err(fail)
    }

    async fn entry(
        &mut self,
        offset: u64,
        at_ms: u64,
        edits: u32,
        removed: bool,
        data: Body,
        text: String,
    ) -> Result<(), BackupError> {
        let together = &mut self.together;
        together.bytes += data.0.len() + text.len();
        together.ids.push(self.stream << 36 | int(offset));
        together.at_ms.push(int(at_ms));
        together.edits.push(i32::try_from(edits).unwrap_or(i32::MAX));
        together.removed.push(removed);
        together.words.push(log::vector(&text));
        together.data.push(data.0);
        together.text.push(text);
        if together.ids.len() >= TOGETHER_MAX || together.bytes >= TOGETHER_BYTES_MAX {
            return self.flush().await;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), BackupError> {
        let all = std::mem::take(&mut self.together);
        if all.ids.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO madang_entry (id, at_ms, edits, removed, data, text, words) \
                   SELECT a, b, c, d, e, f, g::tsvector FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::bool[], \
                   $5::bytea[], $6::text[], $7::text[]) AS all_of (a, b, c, d, e, f, g)";
        let Together { ids, at_ms, edits, removed, data, text, words, .. } = &all;
        self.run(sql, &[ids, at_ms, edits, removed, data, text, words]).await
    }

    async fn end(mut self) -> Result<(), BackupError> {
        self.flush().await?;
        let sql = "SELECT setval('madang_kv_version', $1::bigint + coalesce((SELECT max(version) FROM madang_kv), 0))";
        self.client.query_one(sql, &[&VERSIONS_LEFT_OUT]).await.map_err(fail)?;
        // Numbers that the database gives by itself go on after those that were restored.
        let sql = r"SELECT format('SELECT setval(pg_get_serial_sequence(%L, %L), greatest(1, max(%I))) FROM %I',
                        quote_ident(c.relname), a.attname, a.attname, c.relname) FROM pg_class c
                    JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
                    WHERE n.nspname = 'madang' AND c.relkind = 'r' AND c.relname NOT LIKE 'madang\_%' AND a.attnum > 0
                    AND NOT a.attisdropped AND pg_get_serial_sequence(quote_ident(c.relname), a.attname) IS NOT NULL";
        for row in &self.client.query(sql, &[]).await.map_err(fail)? {
            self.client.batch_execute(row.get(0)).await.map_err(fail)?;
        }
        self.client.batch_execute("COMMIT").await.map_err(fail)
    }
}
