//! Tables of the roles in SQLite.
//!
//! **Job.** Apply migrations and do statements on the writer's desk, read rows on a reader. **Called by** `sqlite`.
//!
//! Invariants
//! 1. A write has a savepoint of its own: a refused one leaves the others of its group as they are.
//!
//! Not here: which migrations are due (`crate::tables`).

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement as Prepared, ToSql};

use super::fault::{self, Stop, refuse};
use super::int;
use super::writer::Desk;
use crate::error::StoreError;
use crate::tables::{self, Applied, Changed, Migration, ROWS_MAX, Row, Statement, Value};

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(int) => ValueRef::Integer(*int),
            Self::Real(real) => ValueRef::Real(*real),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(blob) => ValueRef::Blob(blob),
        }))
    }
}

/// Gives `$1`, `$2`, … their values: SQLite knows them as names only.
fn bind(statement: &mut Prepared<'_>, values: &[Value]) -> Result<(), StoreError> {
    for place in 1..=statement.parameter_count() {
        let number = statement.parameter_name(place).and_then(|name| name.get(1..)?.parse::<usize>().ok());
        let Some(value) = number.and_then(|number| values.get(number.checked_sub(1)?)) else {
            let why = format!("the statement's value {place} is not among the {} given", values.len());
            return Err(StoreError::Failed { why });
        };
        statement.raw_bind_parameter(place, value).map_err(|error| fault::meaning(&error))?;
    }
    Ok(())
}

fn rows_of(statement: &mut Prepared<'_>) -> Result<Vec<Row>, StoreError> {
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(|error| fault::meaning(&error))? {
        if all.len() >= ROWS_MAX {
            return Err(StoreError::TooLarge { what: "rows", size: all.len() + 1, max: ROWS_MAX });
        }
        let value = |column| row.get_ref(column).map_or(Value::Null, value_of);
        all.push(Row((0..columns).map(value).collect()));
    }
    Ok(all)
}

/// A value as the file holds it.
pub(crate) fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(blob) => Value::Blob(blob.to_vec().into()),
    }
}

/// Reads rows, on a reader.
pub(super) fn read(connection: &Connection, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(|error| fault::meaning(&error))?;
    if !statement.readonly() {
        return Err(StoreError::Failed { why: "a statement that writes was given to a reader".to_owned() });
    }
    bind(&mut statement, values)?;
    rows_of(&mut statement)
}

/// Does statements, all or none.
pub(super) fn write(desk: &mut Desk, statements: &[Statement]) -> Result<Vec<Changed>, Stop> {
    desk.connection.prepare_cached("SAVEPOINT role")?.execute([])?;
    let mut all = Vec::with_capacity(statements.len());
    for (place, statement) in statements.iter().enumerate() {
        match one(&desk.connection, place, statement) {
            Ok(changed) => all.push(changed),
            // A full disk may have undone the whole transaction, savepoints and all.
            Err(error @ (StoreError::Full { .. } | StoreError::Damaged { .. })) => {
                return Err(Stop::Fault(error));
            }
            Err(error) => {
                desk.connection.prepare_cached("ROLLBACK TO role")?.execute([])?;
                desk.connection.prepare_cached("RELEASE role")?.execute([])?;
                return refuse(error);
            }
        }
    }
    desk.connection.prepare_cached("RELEASE role")?.execute([])?;
    Ok(all)
}

fn one(connection: &Connection, place: usize, statement: &Statement) -> Result<Changed, StoreError> {
    let told = |error: &rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => {
            StoreError::Constraint { statement: place, why: error.to_string() }
        }
        _ => fault::meaning(error),
    };
    let mut prepared = connection.prepare_cached(statement.sql.sqlite).map_err(|error| told(&error))?;
    bind(&mut prepared, &statement.values)?;
    let (rows_changed, rows) = if prepared.column_count() == 0 {
        (prepared.raw_execute().map_err(|error| told(&error))? as u64, Vec::new())
    } else {
        // With RETURNING (or a SELECT in between) every row is a changed (or seen) one.
        let columns = prepared.column_count();
        let (mut rows, mut all) = (prepared.raw_query(), Vec::new());
        while let Some(row) = rows.next().map_err(|error| told(&error))? {
            if all.len() >= ROWS_MAX {
                return Err(StoreError::TooLarge { what: "rows", size: all.len() + 1, max: ROWS_MAX });
            }
            let value = |column| row.get_ref(column).map_or(Value::Null, value_of);
            all.push(Row((0..columns).map(value).collect()));
        }
        (all.len() as u64, all)
    };
    match statement.must_change {
        Some(must) if must != rows_changed => {
            Err(StoreError::Unexpected { statement: place, changed: rows_changed, must })
        }
        _ => Ok(Changed { rows_changed, rows }),
    }
}

/// Brings an owner's tables to the newest migration.
pub(super) fn migrate(
    desk: &mut Desk,
    owner: &'static str,
    migrations: &'static [Migration],
) -> Result<u32, Stop> {
    let applied = {
        let sql = "SELECT number, checksum FROM madang_migration WHERE owner = ?1 ORDER BY number";
        let mut select = desk.connection.prepare_cached(sql)?;
        let rows =
            select.query_map([owner], |row| Ok(Applied { number: row.get(0)?, checksum: row.get(1)? }))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()?
    };
    let pending = match tables::pending(owner, migrations, &applied) {
        Ok(pending) => pending,
        Err(error) => return refuse(error),
    };
    let mut count = 0;
    for migration in pending {
        desk.connection.execute_batch("SAVEPOINT migration")?;
        if let Err(error) = apply(desk, owner, migration) {
            if !desk.connection.is_autocommit() {
                desk.connection.execute_batch("ROLLBACK TO migration; RELEASE migration")?;
                let (owner, number, why) = (owner.to_owned(), migration.number, error.to_string());
                return refuse(StoreError::Migration { owner, number, why });
            }
            return Err(error.into());
        }
        desk.connection.execute_batch("RELEASE migration")?;
        count += 1;
    }
    Ok(count)
}

fn apply(desk: &Desk, owner: &str, migration: &Migration) -> rusqlite::Result<()> {
    desk.connection.execute_batch(migration.sql.sqlite)?;
    let sql = "INSERT INTO madang_migration (owner, number, name, checksum, sqlite, postgres, at_ms) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = (
        owner,
        migration.number,
        migration.name,
        tables::checksum(migration),
        migration.sql.sqlite,
        migration.sql.postgres,
        int(desk.now_ms),
    );
    desk.connection.execute(sql, row).map(drop)
}
