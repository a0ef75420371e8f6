//! Tables of the roles in PostgreSQL.
//!
//! **Job.** Apply migrations, do statements in a transaction, read rows; values between both worlds.
//! **Called by** `postgres` on a lane or a reader. Not here: which migrations are due (`crate::tables`).
//!
//! Invariants
//! 1. Two nodes that migrate at once apply each migration once (advisory lock).

use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::TryStreamExt;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Error, Row as Found};

use super::connect::Connected;
use super::readers::Trouble;
use super::{fault, schema};
use crate::error::StoreError;
use crate::tables::{self, Applied, Changed, Migration, ROWS_MAX, Row, Sql, Statement, Value};

type Failure = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Value {
    fn to_sql(&self, wanted: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(value) => match *wanted {
                Type::BOOL => (*value != 0).to_sql(wanted, out),
                Type::INT2 => i16::try_from(*value)?.to_sql(wanted, out),
                Type::INT4 => i32::try_from(*value)?.to_sql(wanted, out),
                Type::INT8 => value.to_sql(wanted, out),
                _ => Err(format!("an integer was given for a value of type {wanted}").into()),
            },
            Self::Real(value) if *wanted == Type::FLOAT8 => value.to_sql(wanted, out),
            Self::Text(value) if <&str as ToSql>::accepts(wanted) => value.as_str().to_sql(wanted, out),
            Self::Blob(value) if *wanted == Type::BYTEA => (&**value).to_sql(wanted, out),
            _ => Err(format!("{self:?} was given for a value of type {wanted}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A row in our values.
pub(crate) fn row(found: &Found) -> Result<Row, StoreError> {
    let unlike = |why: String| StoreError::Failed { why };
    let value = |column: usize| -> Result<Value, StoreError> {
        let told = |error: Error| unlike(error.to_string());
        Ok(match *found.columns()[column].type_() {
            Type::BOOL => found.try_get::<_, Option<bool>>(column).map_err(told)?.into(),
            Type::INT2 => found.try_get::<_, Option<i16>>(column).map_err(told)?.map(i64::from).into(),
            Type::INT4 => found.try_get::<_, Option<i32>>(column).map_err(told)?.map(i64::from).into(),
            Type::INT8 => found.try_get::<_, Option<i64>>(column).map_err(told)?.into(),
            Type::FLOAT8 => {
                found.try_get::<_, Option<f64>>(column).map_err(told)?.map_or(Value::Null, Value::Real)
            }
            Type::BYTEA => {
                let bytes = found.try_get::<_, Option<Vec<u8>>>(column).map_err(told)?;
                bytes.map_or(Value::Null, |bytes| Value::Blob(bytes.into()))
            }
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => {
                found.try_get::<_, Option<String>>(column).map_err(told)?.into()
            }
            ref other => {
                return Err(unlike(format!("column {column} is of type {other}: cast it in the statement")));
            }
        })
    };
    (0..found.len()).map(value).collect::<Result<_, _>>().map(Row)
}

/// Rows of a statement, and how many it changed.
async fn run(connected: &Connected, sql: &'static str, values: &[Value]) -> Result<(u64, Vec<Row>), Trouble> {
    let statement = connected.prepared(sql).await?;
    if statement.params().len() != values.len() {
        let why = format!("{} values for a statement of {}", values.len(), statement.params().len());
        return Err(StoreError::Failed { why }.into());
    }
    let mut rows = pin!(connected.client.query_raw(&statement, values).await?);
    let mut all = Vec::new();
    while let Some(found) = rows.try_next().await? {
        if all.len() >= ROWS_MAX {
            return Err(StoreError::TooLarge { what: "rows", size: all.len() + 1, max: ROWS_MAX }.into());
        }
        all.push(row(&found)?);
    }
    Ok((rows.rows_affected().unwrap_or(0), all))
}

/// Reads rows, on a reader.
pub(super) async fn read(
    connected: Arc<Connected>,
    sql: Sql,
    values: Vec<Value>,
) -> Result<Vec<Row>, Trouble> {
    run(&connected, sql.postgres, &values).await.map(|(_, rows)| rows)
}

/// Does statements, all or none, on a lane.
pub(super) async fn write(
    connected: Result<Arc<Connected>, StoreError>,
    statements: Vec<Statement>,
) -> Result<Vec<Changed>, StoreError> {
    let connected = connected?;
    connected.client.batch_execute("BEGIN").await.map_err(|error| fault::meaning(&error))?;
    let mut all = Vec::with_capacity(statements.len());
    for (place, statement) in statements.iter().enumerate() {
        let told = match run(&connected, statement.sql.postgres, &statement.values).await {
            Ok((changed, _)) if statement.must_change.is_some_and(|must| must != changed) => {
                let must = statement.must_change.unwrap_or_default();
                Err(StoreError::Unexpected { statement: place, changed, must })
            }
            Ok((rows_changed, rows)) => Ok(Changed { rows_changed, rows }),
            Err(Trouble::Told(error)) => Err(error),
            Err(Trouble::Database(error)) => Err(fault::of_statement(place, &error)),
        };
        match told {
            Ok(changed) => all.push(changed),
            Err(error) => {
                undo(&connected).await;
                return Err(error);
            }
        }
    }
    commit(&connected).await.map(|()| all)
}

async fn undo(connected: &Connected) {
    // Where the connection is lost the server undoes it by itself.
    let _ = connected.client.batch_execute("ROLLBACK").await;
}

async fn commit(connected: &Connected) -> Result<(), StoreError> {
    connected.client.batch_execute("COMMIT").await.map_err(|error| match fault::is_lost(&error) {
        true => StoreError::Unknown { why: fault::told(&error) },
        false => fault::of_statement(0, &error),
    })
}

/// Brings an owner's tables to the newest migration, on a lane.
pub(super) async fn migrate(
    connected: Result<Arc<Connected>, StoreError>,
    owner: &'static str,
    migrations: &'static [Migration],
) -> Result<u32, StoreError> {
    let connected = connected?;
    let mut count = 0;
    loop {
        match one(&connected, owner, migrations).await {
            Ok(true) => count += 1,
            Ok(false) => {
                undo(&connected).await;
                return Ok(count);
            }
            Err(error) => {
                undo(&connected).await;
                return Err(error);
            }
        }
    }
}

/// Applies the next migration in a transaction. False: there is none.
async fn one(
    connected: &Connected,
    owner: &'static str,
    migrations: &'static [Migration],
) -> Result<bool, StoreError> {
    let told = |error: Error| fault::meaning(&error);
    connected.client.batch_execute(&format!("BEGIN; {}", schema::LOCK)).await.map_err(told)?;
    let sql = "SELECT number, checksum FROM madang_migration WHERE owner = $1 ORDER BY number";
    let applied = connected.client.query(sql, &[&owner]).await.map_err(told)?;
    let applied: Vec<Applied> = applied
        .iter()
        .map(|row| Applied { number: u32::try_from(row.get::<_, i32>(0)).unwrap_or(0), checksum: row.get(1) })
        .collect();
    let Some(migration) = tables::pending(owner, migrations, &applied)?.first() else { return Ok(false) };
    let refused = |error: Error| match fault::meaning(&error) {
        StoreError::Failed { why } => {
            StoreError::Migration { owner: owner.to_owned(), number: migration.number, why }
        }
        other => other,
    };
    connected.client.batch_execute(migration.sql.postgres).await.map_err(refused)?;
    let sql = "INSERT INTO madang_migration (owner, number, name, checksum, sqlite, postgres, at_ms) \
               VALUES ($1, $2, $3, $4, $5, $6, madang_now_ms())";
    let number = i32::try_from(migration.number).unwrap_or(i32::MAX);
    let checksum = tables::checksum(migration);
    connected
        .client
        .execute(
            sql,
            &[&owner, &number, &migration.name, &checksum, &migration.sql.sqlite, &migration.sql.postgres],
        )
        .await
        .map_err(told)?;
    commit(connected).await.map(|()| true)
}
