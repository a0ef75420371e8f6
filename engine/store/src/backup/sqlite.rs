//! A SQLite file read whole, and filled from a backup.
//!
//! **Job.** Give every row as a record, from one moment; make a new file from records and put it in the old one's place.
//! **Called by** `backup`.
//!
//! Invariants
//! 1. The folder with the data is exchanged by one step of the file system: at any moment it is the old or the new one.
//! 2. What was there before is kept beside it.
//!
//! Not here: the backup's file (`file`).

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::file::{self, sync_folder};
use super::record::{Body, Cell, Record, quoted};
use super::{BackupError, Sink};
use crate::error::StoreError;
use crate::log::{Entry, StreamId};
use crate::number::{int, new_epoch, uint};
use crate::sqlite::tail::Recent;
use crate::sqlite::{fault, log, schema, tables, tail};
use crate::tables::Value;

/// Versions that may have been given after the backup are not given again.
const VERSIONS_LEFT_OUT: i64 = 1 << 32;

fn body(value: ValueRef<'_>) -> Body {
    Body(value.as_bytes().unwrap_or_default().to_vec())
}

/// Gives everything, as of one moment. The house may go on writing meanwhile.
pub(super) fn read_all(path: &Path, sink: Sink<'_>) -> Result<(), BackupError> {
    if !path.try_exists().map_err(|error| BackupError::File { path: path.to_owned(), error })? {
        return Err(BackupError::Nothing { place: path.display().to_string() });
    }
    let connection = schema::open_reader(path)?;
    let fail = |error: rusqlite::Error| BackupError::Store(fault::at(path, &error));
    let view = connection.unchecked_transaction().map_err(fail)?;
    let found: String = view.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(fail)?;
    if found != "ok" {
        let why = format!("{}: {found}", path.display());
        return Err(StoreError::Damaged { why }.into());
    }
    each(&view, path, MIGRATIONS, &[], sink, |row| {
        Ok(Record::Migration {
            owner: row.get(0)?,
            number: row.get(1)?,
            name: row.get(2)?,
            checksum: row.get(3)?,
            sqlite: row.get(4)?,
            postgres: row.get(5)?,
            at_ms: uint(row.get(6)?),
        })
    })?;
    // A file of a version before has no end of the log.
    let has_end = "SELECT count(*) FROM sqlite_schema WHERE name = 'madang_tail'";
    let has_end: bool = view.query_row(has_end, [], |row| row.get(0)).map_err(fail)?;
    let ends = if has_end { tail::load(&view)?.0 } else { HashMap::new() };
    let sql = "SELECT number, name, epoch, first, next, bytes, at_ms FROM madang_stream ORDER BY number";
    let mut streams = view.prepare(sql).map_err(fail)?;
    let mut rows = streams.query([]).map_err(fail)?;
    while let Some(row) = rows.next().map_err(fail)? {
        let (number, mut record) = stream(row).map_err(fail)?;
        let end = end_of(&ends, &mut record);
        sink(&record)?;
        one_stream(&view, path, number, end, sink)?;
    }
    let sql = "SELECT namespace, key, value, version, expires_ms FROM madang_kv ORDER BY namespace, key";
    each(&view, path, sql, &[], sink, |row| {
        Ok(Record::Value {
            namespace: row.get(0)?,
            key: row.get(1)?,
            value: body(row.get_ref(2)?),
            version: uint(row.get(3)?),
            expires_ms: row.get::<_, Option<i64>>(4)?.map(uint),
        })
    })?;
    tables_of_roles(&view, path, sink)
}

const MIGRATIONS: &str = "SELECT owner, number, name, checksum, sqlite, postgres, at_ms FROM madang_migration \
                          ORDER BY at_ms, owner, number";

fn stream(row: &Row<'_>) -> rusqlite::Result<(i64, Record)> {
    let number = |column| row.get(column).map(uint);
    let record = Record::Stream {
        name: row.get(1)?,
        epoch: number(2)?,
        first: number(3)?,
        next: number(4)?,
        bytes: number(5)?,
        at_ms: number(6)?,
    };
    Ok((row.get(0)?, record))
}

/// The end of a stream, which then goes as far as that.
fn end_of<'e>(ends: &'e HashMap<StreamId, Recent>, record: &mut Record) -> Option<&'e Recent> {
    let Record::Stream { name, next, bytes, at_ms, .. } = record else { return None };
    let end = ends.get(&StreamId::new(name).ok()?)?;
    (*next, *bytes, *at_ms) = (end.position.next, end.position.bytes, end.position.at_ms);
    Some(end)
}

fn one_stream(
    view: &Connection,
    path: &Path,
    number: i64,
    end: Option<&Recent>,
    sink: Sink<'_>,
) -> Result<(), BackupError> {
    let end = || end.into_iter().flat_map(|end| &end.entries);
    let range = [Value::Int(log::id(number, 0)), Value::Int(log::id(number, u64::MAX))];
    let sql = "SELECT id, at_ms, edits, removed, data, text FROM madang_entry WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
    each(view, path, sql, &range, sink, |row| {
        Ok(Record::Entry {
            offset: log::offset(row.get(0)?),
            at_ms: uint(row.get(1)?),
            edits: row.get(2)?,
            removed: row.get(3)?,
            data: body(row.get_ref(4)?),
            text: row.get(5)?,
        })
    })?;
    for fresh in end() {
        let Entry { offset, at_ms, edits, removed, data, text } = Entry::clone(&fresh.entry);
        sink(&Record::Entry { offset, at_ms, edits, removed, data: Body(data.into()), text })?;
    }
    let sql = "SELECT day, key, first, count FROM madang_sent WHERE stream = ?1 ORDER BY day, key";
    each(view, path, sql, &[Value::Int(number)], sink, |row| {
        Ok(Record::Sent {
            day: uint(row.get(0)?),
            key: body(row.get_ref(1)?),
            first: uint(row.get(2)?),
            count: uint(row.get(3)?),
        })
    })?;
    for (sent, fresh) in end().filter_map(|fresh| fresh.sent.as_ref().map(|sent| (sent, fresh))) {
        let (key, first) = (Body(sent.key.to_vec()), fresh.entry.offset);
        sink(&Record::Sent { day: sent.day, key, first, count: sent.count })?;
    }
    Ok(())
}

/// In the order they were made, so that what refers to another table comes after it.
fn tables_of_roles(view: &Connection, path: &Path, sink: Sink<'_>) -> Result<(), BackupError> {
    let fail = |error: rusqlite::Error| BackupError::Store(fault::at(path, &error));
    let names = r"SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'madang\_%' ESCAPE '\'
                  AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY rowid";
    for name in texts(view, names, None).map_err(fail)? {
        let columns = "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid";
        let columns = texts(view, columns, Some(&name)).map_err(fail)?;
        let listed = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let count = columns.len();
        let sql = format!("SELECT {listed} FROM {}", quoted(&name));
        sink(&Record::Table { name, columns })?;
        each(view, path, &sql, &[], sink, |row| {
            let cell = |column| row.get_ref(column).map(|value| Cell::from(&tables::value_of(value)));
            Ok(Record::Row { values: (0..count).map(cell).collect::<rusqlite::Result<_>>()? })
        })?;
    }
    Ok(())
}

fn texts(view: &Connection, sql: &str, value: Option<&str>) -> rusqlite::Result<Vec<String>> {
    let mut select = view.prepare(sql)?;
    let rows = select.query_map(rusqlite::params_from_iter(value), |row| row.get(0))?;
    rows.collect()
}

fn each(
    view: &Connection,
    path: &Path,
    sql: &str,
    values: &[Value],
    sink: Sink<'_>,
    record: impl Fn(&Row<'_>) -> rusqlite::Result<Record>,
) -> Result<(), BackupError> {
    let fail = |error: rusqlite::Error| BackupError::Store(fault::at(path, &error));
    let mut select = view.prepare(sql).map_err(fail)?;
    let mut rows = select.query(rusqlite::params_from_iter(values)).map_err(fail)?;
    while let Some(row) = rows.next().map_err(fail)? {
        sink(&record(row).map_err(fail)?)?;
    }
    Ok(())
}

/// Makes a new folder from a backup and puts it in the place of the old one. Gives where the old one is now.
pub(super) fn restore(
    data: &Path,
    from: &Path,
    force: bool,
    now_ms: u64,
) -> Result<Option<PathBuf>, BackupError> {
    let target = crate::database_file(data);
    let folder = target.parent().unwrap_or(data).to_owned();
    let fail = |path: &Path, error| BackupError::File { path: path.to_owned(), error };
    let occupied = folder.try_exists().map_err(|error| fail(&folder, error))?;
    if occupied && !force {
        return Err(BackupError::Occupied { place: folder.display().to_string() });
    }
    let fresh = data.join("store.restoring");
    // What an interrupted restore left behind; it never had the place of anything.
    if let Err(error) = std::fs::remove_dir_all(&fresh)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(fail(&fresh, error));
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&fresh)
        .map_err(|error| fail(&fresh, error))?;
    let made = fill(&fresh.join("madang.db"), from);
    if let Err(error) = made {
        // It is in nobody's way: the next restore takes it away.
        let _ = std::fs::remove_dir_all(&fresh);
        return Err(error);
    }
    if !occupied {
        std::fs::rename(&fresh, &folder).map_err(|error| fail(&folder, error))?;
        sync_folder(&folder).map_err(|error| fail(data, error))?;
        return Ok(None);
    }
    renameat_with(CWD, &fresh, CWD, &folder, RenameFlags::EXCHANGE)
        .map_err(|error| fail(&folder, error.into()))?;
    sync_folder(&folder).map_err(|error| fail(data, error))?;
    let before = data.join(format!("store.before-{}", now_ms / 1000));
    std::fs::rename(&fresh, &before).map_err(|error| fail(&before, error))?;
    Ok(Some(before))
}

fn fill(path: &Path, from: &Path) -> Result<(), BackupError> {
    let fail = |error: rusqlite::Error| BackupError::Store(fault::at(path, &error));
    let connection = schema::open(path, None)?;
    let transaction = connection.unchecked_transaction().map_err(fail)?;
    transaction.pragma_update(None, "defer_foreign_keys", true).map_err(fail)?;
    let mut filling = Filling { to: &transaction, stream: 0, insert: String::new() };
    file::read(from, |record| filling.put(record).map_err(fail))?;
    let version = "UPDATE madang_meta SET value = ?1 + coalesce((SELECT max(version) FROM madang_kv), 0) \
                   WHERE name = 'version'";
    transaction.execute(version, [VERSIONS_LEFT_OUT]).map_err(fail)?;
    transaction.commit().map_err(fail)?;
    let found: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(fail)?;
    if found != "ok" {
        return Err(StoreError::Damaged { why: found }.into());
    }
    // Closing writes the journal back and takes it away.
    connection.close().map_err(|(_, error)| fail(error))?;
    let sync = std::fs::File::open(path).and_then(|file| file.sync_all()).and_then(|()| sync_folder(path));
    sync.map_err(|error| BackupError::File { path: path.to_owned(), error })
}

/// What a backup's records are put into.
struct Filling<'a> {
    to: &'a Connection,
    stream: i64,
    insert: String,
}

impl Filling<'_> {
    fn put(&mut self, record: Record) -> rusqlite::Result<()> {
        match record {
            Record::Head { .. } | Record::End { .. } => Ok(()),
            Record::Migration { owner, number, name, checksum, sqlite, postgres, at_ms } => {
                self.to.execute_batch(&sqlite)?;
                let sql = "INSERT INTO madang_migration (owner, number, name, checksum, sqlite, postgres, at_ms) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
                let row = (owner, number, name, checksum, sqlite, postgres, int(at_ms));
                self.to.execute(sql, row).map(drop)
            }
            Record::Stream { name, first, next, bytes, at_ms, .. } => {
                let sql = "INSERT INTO madang_stream (name, epoch, first, next, bytes, at_ms) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING number";
                let row = (name, int(new_epoch()), int(first), int(next), int(bytes), int(at_ms));
                self.stream = self.to.prepare_cached(sql)?.query_row(row, |row| row.get(0))?;
                Ok(())
            }
            Record::Entry { offset, at_ms, edits, removed, data, text } => {
                let id = log::id(self.stream, offset);
                let sql = "INSERT INTO madang_entry (id, at_ms, edits, removed, data, text) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                self.to.prepare_cached(sql)?.execute((id, int(at_ms), edits, removed, data.0, &text))?;
                log::add_words(self.to, id, &text)
            }
            Record::Sent { day, key, first, count } => {
                let sql =
                    "INSERT INTO madang_sent (day, stream, key, first, count) VALUES (?1, ?2, ?3, ?4, ?5)";
                let row = (int(day), self.stream, key.0, int(first), int(count));
                self.to.prepare_cached(sql)?.execute(row).map(drop)
            }
            Record::Value { namespace, key, value, version, expires_ms } => {
                let sql = "INSERT INTO madang_kv (namespace, key, value, version, expires_ms) \
                           VALUES (?1, ?2, ?3, ?4, ?5)";
                let row = (namespace, key, value.0, int(version), expires_ms.map(int));
                self.to.prepare_cached(sql)?.execute(row).map(drop)
            }
            Record::Table { name, columns } => {
                // A migration may have put rows there; those of the backup are the ones.
                self.to.execute(&format!("DELETE FROM {}", quoted(&name)), [])?;
                let listed = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
                let values =
                    (1..=columns.len()).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ");
                self.insert = format!("INSERT INTO {} ({listed}) VALUES ({values})", quoted(&name));
                Ok(())
            }
            Record::Row { values } => {
                let values = values.into_iter().map(Value::from);
                self.to.prepare_cached(&self.insert)?.execute(rusqlite::params_from_iter(values)).map(drop)
            }
        }
    }
}
