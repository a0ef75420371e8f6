//! Tables of the roles: numbered migrations, and statements in SQL.
//!
//! **Job.** Say how a role keeps tables of its own in the house's database. **Done by** `sqlite`, `postgres`.
//! **Called by** roles, `identity`.
//!
//! How a role does it: one `static` list of [`Migration`]s, applied with [`Tables::migrate`] at its start; statements as
//! [`Sql`] constants with `$1`, `$2`, … where values go. Most statements read the same in both databases ([`Sql::both`]);
//! where they do not, one text for each ([`Sql::each`]). Tables are named after their owner: `identity_user`.
//!
//! Invariants
//! 1. A migration is applied once, in the order of numbers, each in a transaction; an applied one never changes.
//! 2. A write is one transaction: all its statements or none.
//!
//! Not here: tables that users define (role `data`), queries built at run time.

use bytes::Bytes;

use crate::answer::Answer;
use crate::error::StoreError;
use crate::log::{no_nul, within};

/// Rows one statement gives at most.
pub const ROWS_MAX: usize = 10_000;
/// Statements of one write.
pub const STATEMENTS_MAX: usize = 100;
/// Values of one write together, in bytes.
pub const VALUES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A statement in the dialects of both databases. Values are `$1`, `$2`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sql {
    /// For SQLite.
    pub sqlite: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
}

impl Sql {
    /// One text that both understand.
    pub const fn both(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }

    /// A text for each.
    pub const fn each(sqlite: &'static str, postgres: &'static str) -> Self {
        Self { sqlite, postgres }
    }
}

/// A value of a row. Truths are the integers 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// None.
    Null,
    /// `INTEGER` and `BIGINT`, `BOOLEAN`.
    Int(i64),
    /// `REAL` and `DOUBLE PRECISION`.
    Real(f64),
    /// `TEXT`. Without the character 0.
    Text(String),
    /// `BLOB` and `BYTEA`.
    Blob(Bytes),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<Bytes> for Value {
    fn from(value: Bytes) -> Self {
        Self::Blob(value)
    }
}
impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Value {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Null | Self::Int(_) | Self::Real(_) => 8,
            Self::Text(text) => text.len(),
            Self::Blob(blob) => blob.len(),
        }
    }
}

/// A row's values in the order of the statement's columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// An integer.
    ///
    /// # Errors
    /// [`StoreError::Failed`]: the column is not there or something else (also for the ones below).
    pub fn int(&self, column: usize) -> Result<i64, StoreError> {
        match self.0.get(column) {
            Some(Value::Int(int)) => Ok(*int),
            other => Err(unlike("an integer", column, other)),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn text(&self, column: usize) -> Result<&str, StoreError> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(text),
            other => Err(unlike("text", column, other)),
        }
    }

    /// Bytes.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn blob(&self, column: usize) -> Result<Bytes, StoreError> {
        match self.0.get(column) {
            Some(Value::Blob(blob)) => Ok(blob.clone()),
            other => Err(unlike("bytes", column, other)),
        }
    }

    /// Whether there is no value.
    pub fn is_null(&self, column: usize) -> bool {
        matches!(self.0.get(column), Some(Value::Null))
    }
}

fn unlike(wanted: &str, column: usize, found: Option<&Value>) -> StoreError {
    let found = match found {
        None => "nothing",
        Some(Value::Null) => "NULL",
        Some(Value::Int(_)) => "an integer",
        Some(Value::Real(_)) => "a real number",
        Some(Value::Text(_)) => "text",
        Some(Value::Blob(_)) => "bytes",
    };
    StoreError::Failed { why: format!("column {column} holds {found} where {wanted} was expected") }
}

/// One statement of a write.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What to do.
    pub sql: Sql,
    /// `$1`, `$2`, …
    pub values: Vec<Value>,
    /// So many rows must it change, or the whole write is undone: compare-and-set over rows.
    pub must_change: Option<u64>,
}

impl Statement {
    /// A statement that may change any number of rows.
    pub fn new(sql: Sql, values: Vec<Value>) -> Self {
        Self { sql, values, must_change: None }
    }

    /// The same, which must change so many rows.
    #[must_use]
    pub fn must_change(self, rows: u64) -> Self {
        Self { must_change: Some(rows), ..self }
    }
}

/// What a statement of a write did.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// Rows changed.
    pub rows_changed: u64,
    /// Rows of `RETURNING`.
    pub rows: Vec<Row>,
}

/// One step of an owner's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// 1, 2, 3, … without a gap.
    pub number: u32,
    /// What it is for, for people.
    pub name: &'static str,
    /// Statements, separated by semicolons; without values.
    pub sql: Sql,
}

/// Tables of the roles.
pub trait Tables: Send + Sync {
    /// Brings an owner's tables to the newest migration; answered with how many were applied.
    ///
    /// # Errors
    /// [`StoreError::Migration`]: an applied one has changed, numbers have a gap, the database is newer than this
    /// program, or SQL was refused. The migrations before that one stay applied.
    fn migrate(&self, owner: &'static str, migrations: &'static [Migration]) -> Answer<u32>;
    /// Reads rows. A statement that would write is refused.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for more than 10,000 rows: end the statement with LIMIT.
    fn read(&self, sql: Sql, values: Vec<Value>) -> Answer<Vec<Row>>;
    /// Does statements in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Unexpected`], [`StoreError::Constraint`]: nothing was written.
    fn write(&self, statements: Vec<Statement>) -> Answer<Vec<Changed>>;
}

pub(crate) fn check(statements: &[Statement]) -> Result<(), StoreError> {
    within("statements of a write", statements.len(), STATEMENTS_MAX)?;
    let bytes = statements.iter().flat_map(|statement| &statement.values).map(Value::bytes).sum();
    within("values' bytes", bytes, VALUES_BYTES_MAX)?;
    statements.iter().try_for_each(|statement| check_values(&statement.values))
}

pub(crate) fn check_values(values: &[Value]) -> Result<(), StoreError> {
    values.iter().try_for_each(|value| match value {
        Value::Text(text) => no_nul(text),
        _ => Ok(()),
    })
}

/// What is known of an applied migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) number: u32,
    pub(crate) checksum: String,
}

/// Which migrations are still to be applied.
pub(crate) fn pending(
    owner: &str,
    migrations: &'static [Migration],
    applied: &[Applied],
) -> Result<&'static [Migration], StoreError> {
    let refuse = |number: u32, why: &str| {
        Err(StoreError::Migration { owner: owner.to_owned(), number, why: why.to_owned() })
    };
    for (place, migration) in migrations.iter().enumerate() {
        if usize::try_from(migration.number) != Ok(place + 1) {
            return refuse(migration.number, "numbers must be 1, 2, 3, … without a gap");
        }
    }
    for (place, have) in applied.iter().enumerate() {
        match migrations.get(place) {
            None => return refuse(have.number, "it was applied by a newer program: use that one"),
            Some(known) if known.number != have.number || checksum(known) != have.checksum => {
                return refuse(
                    have.number,
                    "what was applied is not what this program knows under this number",
                );
            }
            Some(_) => {}
        }
    }
    Ok(&migrations[applied.len()..])
}

/// Of both dialects: a store may be restored into the other database.
pub(crate) fn checksum(migration: &Migration) -> String {
    checksum_of(migration.sql.sqlite, migration.sql.postgres)
}

pub(crate) fn checksum_of(sqlite: &str, postgres: &str) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(&(sqlite.len() as u64).to_le_bytes());
    context.update(sqlite.as_bytes());
    context.update(postgres.as_bytes());
    hex(context.finish().as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    static TWO: [Migration; 2] = [
        Migration { number: 1, name: "one", sql: Sql::both("CREATE TABLE a (b TEXT)") },
        Migration { number: 2, name: "two", sql: Sql::both("CREATE TABLE c (d TEXT)") },
    ];

    fn applied(number: u32, text: &str) -> Applied {
        Applied { number, checksum: checksum_of(text, text) }
    }

    // Goal: only what is not applied is pending, and nothing is when what was applied is not ours.
    // Method: a list of two against what a database may hold.
    #[test]
    fn pending_migrations_are_those_after_the_applied_ones() {
        let one = applied(1, "CREATE TABLE a (b TEXT)");
        let two = applied(2, "CREATE TABLE c (d TEXT)");
        check(&[], Ok(2));
        check(std::slice::from_ref(&one), Ok(1));
        check(&[one.clone(), two.clone()], Ok(0));
        check(
            &[applied(1, "CREATE TABLE other (b TEXT)")],
            Err("tables of x, migration 1: what was applied"),
        );
        check(
            &[one, two, applied(3, "")],
            Err("tables of x, migration 3: it was applied by a newer program"),
        );

        #[track_caller]
        fn check(applied: &[Applied], want: Result<usize, &str>) {
            match (pending("x", &TWO, applied), want) {
                (Ok(pending), Ok(count)) => assert_eq!(pending.len(), count),
                (Err(error), Err(begins)) => assert!(error.to_string().starts_with(begins), "{error}"),
                (got, want) => panic!("{got:?} instead of {want:?}"),
            }
        }
    }

    #[test]
    fn numbers_with_a_gap_are_refused() {
        static GAP: [Migration; 1] = [Migration { number: 2, name: "two", sql: Sql::both("") }];
        assert!(pending("x", &GAP, &[]).unwrap_err().to_string().contains("without a gap"));
    }
}
