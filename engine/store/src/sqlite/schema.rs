//! The tables of the store itself in SQLite.
//!
//! **Job.** Open a database file, find out whether it is ours and whole, make or renew its tables.
//! **Called by** `sqlite` at the start, `restore`. **Calls** SQLite.
//!
//! Invariants
//! 1. A file that is damaged or not ours is never written to.
//! 2. What is answered as written is on disk: `synchronous = FULL` in WAL mode syncs the journal at every commit.
//!
//! Not here: tables of roles (`tables`), what the columns mean (`log`, `kv`).

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{fault, int};
use crate::error::StoreError;
use crate::terms;

/// `madg`: says that a SQLite file is one of ours.
const APPLICATION: i64 = 0x6d61_6467;
/// Raised when the tables below change.
const FORM: i64 = 2;
/// Larger files are not read whole at the start: `madang backup` checks everything.
const CHECK_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long another process (a backup) may hold the file.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// Pages of the journal after which it is written back into the file: 16 MiB.
const CHECKPOINT_PAGES: u32 = 4096;
/// Prepared statements kept by each connection.
pub(super) const STATEMENTS: usize = 128;
/// How a SQLite file begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// By so many pages a file may grow beyond its limit, so that the end of the log finds its place: twice what it holds at most.
pub(super) const SLACK_PAGES: i64 = 1024;
/// The size of a page.
const PAGE_BYTES: u64 = 4096;

const TABLES: &str = "
CREATE TABLE madang_meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE madang_stream (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL,
    first INTEGER NOT NULL, next INTEGER NOT NULL, bytes INTEGER NOT NULL, at_ms INTEGER NOT NULL);
CREATE TABLE madang_entry (
    id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, edits INTEGER NOT NULL, removed INTEGER NOT NULL,
    data BLOB NOT NULL, text TEXT NOT NULL);
CREATE TABLE madang_sent (
    day INTEGER NOT NULL, stream INTEGER NOT NULL, key BLOB NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (day, stream, key)) WITHOUT ROWID;
CREATE TABLE madang_kv (
    namespace TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, version INTEGER NOT NULL, expires_ms INTEGER,
    PRIMARY KEY (namespace, key)) WITHOUT ROWID;
CREATE INDEX madang_kv_expires ON madang_kv (expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE madang_migration (
    owner TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL, sqlite TEXT NOT NULL,
    postgres TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (owner, number)) WITHOUT ROWID;
";

/// Since form 2: the end of the log, a row for each commit that appended (`tail`).
const TAIL: &str = "CREATE TABLE madang_tail (row INTEGER PRIMARY KEY, appends BLOB NOT NULL);";

/// Contentless: the terms alone are kept. `secure-delete`: a term that is taken out is not merely marked so.
const WORDS: &str = "
DROP TABLE IF EXISTS madang_words;
CREATE VIRTUAL TABLE madang_words USING fts5(words, content='', columnsize=0, tokenize='ascii');
INSERT INTO madang_words (madang_words, rank) VALUES ('secure-delete', 1);
";

/// Opens the writer's connection, checks the file and makes the tables.
pub(crate) fn open(path: &Path, bytes_max: Option<u64>) -> Result<Connection, StoreError> {
    let size = std::fs::metadata(path).map_or(0, |about| about.len());
    let journal = std::fs::metadata(path.with_extension("db-wal")).map_or(0, |about| about.len());
    if size == 0 && journal > 0 {
        let why = format!("{} is empty, but its journal is not", path.display());
        return Err(StoreError::Damaged { why });
    }
    begins_as_ours(path, size)?;
    let connection = Connection::open(path).map_err(|error| fault::at(path, &error))?;
    let fail = |error: rusqlite::Error| fault::at(path, &error);
    connection.busy_timeout(BUSY).map_err(fail)?;
    if size > 0 {
        check(&connection, path, size)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(fail)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024).map_err(fail)?;
    // What is deleted is overwritten: redaction must not leave it in free pages.
    connection.pragma_update(None, "secure_delete", true).map_err(fail)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(fail)?;
    connection.pragma_update(None, "cache_size", -8192).map_err(fail)?;
    if let Some(bytes_max) = bytes_max {
        connection.pragma_update(None, "max_page_count", pages(bytes_max)).map_err(fail)?;
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    renew(&connection).map_err(fail)?;
    Ok(connection)
}

/// So many bytes in pages.
pub(super) fn pages(bytes: u64) -> i64 {
    int(bytes / PAGE_BYTES).min(i64::MAX - SLACK_PAGES)
}

/// SQLite takes a file that is shorter than a page for an empty database, whatever is in it, and would begin anew.
fn begins_as_ours(path: &Path, size: u64) -> Result<(), StoreError> {
    let unfinished = path.with_extension("db-journal").try_exists().unwrap_or(true);
    if size == 0 || unfinished {
        return Ok(());
    }
    let mut begin = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    if read.is_err() || size < PAGE_BYTES || begin != *MAGIC {
        let why = format!("{} does not begin like a database", path.display());
        return Err(StoreError::Damaged { why });
    }
    Ok(())
}

/// A connection that cannot write.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let fail = |error: rusqlite::Error| fault::at(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    connection.busy_timeout(BUSY).map_err(fail)?;
    connection.pragma_update(None, "query_only", true).map_err(fail)?;
    connection.pragma_update(None, "cache_size", -4096).map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Whether the file is ours, of a form we know, and whole.
fn check(connection: &Connection, path: &Path, size: u64) -> Result<(), StoreError> {
    let fail = |error: rusqlite::Error| fault::at(path, &error);
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, form) =
        (number("application_id").map_err(fail)?, number("user_version").map_err(fail)?);
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = connection.query_row(tables, [], |row| row.get(0)).map_err(fail)?;
    if tables > 0 && application != APPLICATION {
        let why = format!("{} is a database of another program; it is left as it is", path.display());
        return Err(StoreError::Failed { why });
    }
    if form > FORM {
        let why = format!("{} was written by a newer version of Madang; use that one", path.display());
        return Err(StoreError::Failed { why });
    }
    if size <= CHECK_BYTES_MAX {
        let found: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fail)?;
        if found != "ok" {
            return Err(StoreError::Damaged { why: format!("{}: {found}", path.display()) });
        }
    }
    Ok(())
}

fn renew(connection: &Connection) -> rusqlite::Result<()> {
    let form: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if form < 1 {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} {TAIL} {WORDS} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORM}; \
             INSERT INTO madang_meta VALUES ('terms', {}), ('version', 0); COMMIT",
            terms::VERSION
        ))?;
        return Ok(());
    }
    if form < 2 {
        let renew = format!("BEGIN IMMEDIATE; {TAIL} PRAGMA user_version = {FORM}; COMMIT");
        connection.execute_batch(&renew)?;
    }
    let known = "SELECT value FROM madang_meta WHERE name = 'terms'";
    let known: Option<i64> = connection.query_row(known, [], |row| row.get(0)).optional()?;
    if known != Some(terms::VERSION) {
        rebuild_words(connection)?;
    }
    Ok(())
}

/// Makes the search index anew from the entries.
fn rebuild_words(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(WORDS)?;
    {
        let mut entries =
            transaction.prepare("SELECT id, text FROM madang_entry WHERE text <> '' ORDER BY id")?;
        let mut insert = transaction.prepare("INSERT INTO madang_words (rowid, words) VALUES (?1, ?2)")?;
        let mut rows = entries.query([])?;
        while let Some(row) = rows.next()? {
            let (id, text): (i64, String) = (row.get(0)?, row.get(1)?);
            insert.execute((id, terms::terms(&text).join(" ")))?;
        }
    }
    let now = "INSERT OR REPLACE INTO madang_meta VALUES ('terms', ?1)";
    transaction.execute(now, [terms::VERSION])?;
    transaction.commit()
}
