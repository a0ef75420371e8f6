//! The tables' part of the battery.

use bytes::Bytes;
use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::tables::{Migration, Sql, Statement, Value};

static PEOPLE: [Migration; 2] = [
    Migration {
        number: 1,
        name: "people",
        sql: Sql::each(
            "CREATE TABLE test_person (name TEXT PRIMARY KEY, age INTEGER NOT NULL CHECK (age >= 0))",
            "CREATE TABLE test_person (name TEXT PRIMARY KEY, age BIGINT NOT NULL CHECK (age >= 0))",
        ),
    },
    Migration {
        number: 2,
        name: "what they are like",
        sql: Sql::each(
            "ALTER TABLE test_person ADD COLUMN height REAL; ALTER TABLE test_person ADD COLUMN face BLOB; \
             ALTER TABLE test_person ADD COLUMN away INTEGER",
            "ALTER TABLE test_person ADD COLUMN height DOUBLE PRECISION; ALTER TABLE test_person ADD COLUMN face BYTEA; \
             ALTER TABLE test_person ADD COLUMN away BOOLEAN",
        ),
    },
];
const INSERT: Sql = Sql::both("INSERT INTO test_person (name, age) VALUES ($1, $2)");
const AGES: Sql = Sql::both("SELECT name, age FROM test_person ORDER BY name");

fn made(store: &Store) {
    store.tables().migrate("test", &PEOPLE).wait().unwrap();
}

fn insert(name: &str, age: i64) -> Statement {
    Statement::new(INSERT, vec![name.into(), age.into()])
}

fn ages(store: &Store) -> String {
    let rows = store.tables().read(AGES, vec![]).wait().unwrap();
    let one = |row: &madang_store::tables::Row| format!("{}={}", row.text(0).unwrap(), row.int(1).unwrap());
    rows.iter().map(one).collect::<Vec<_>>().join(" ")
}

pub fn migrations(store: &Store) {
    static CHANGED: [Migration; 1] =
        [Migration { number: 1, name: "people", sql: Sql::both("CREATE TABLE test_person (name TEXT)") }];
    static FIRST: &[Migration] = &[PEOPLE[0]];
    static OTHER: [Migration; 1] =
        [Migration { number: 1, name: "other", sql: Sql::both("CREATE TABLE other_thing (a TEXT)") }];
    assert_eq!(store.tables().migrate("test", FIRST).wait(), Ok(1));
    assert_eq!(store.tables().migrate("test", &PEOPLE).wait(), Ok(1));
    assert_eq!(store.tables().migrate("test", &PEOPLE).wait(), Ok(0));
    assert_eq!(store.tables().migrate("other", &OTHER).wait(), Ok(1), "each owner has its own numbers");
    let refused = |migrations| store.tables().migrate("test", migrations).wait().unwrap_err().to_string();
    let changed = refused(&CHANGED);
    assert_eq!(
        changed,
        "tables of test, migration 1: what was applied is not what this program knows under this number"
    );
    assert_eq!(
        refused(FIRST),
        "tables of test, migration 2: it was applied by a newer program: use that one"
    );
}

pub fn a_failing_migration(store: &Store) {
    static BROKEN: [Migration; 2] = [
        PEOPLE[0],
        Migration {
            number: 2,
            name: "broken",
            sql: Sql::both("CREATE TABLE test_half (a TEXT); SELECT nonsense FROM nowhere"),
        },
    ];
    let error = store.tables().migrate("test", &BROKEN).wait().unwrap_err();
    assert!(matches!(&error, StoreError::Migration { number: 2, .. }), "{error}");
    assert_eq!(store.tables().migrate("test", &PEOPLE).wait(), Ok(1), "the first one stayed");
    let half = store.tables().read(Sql::both("SELECT a FROM test_half"), vec![]).wait();
    assert!(half.is_err());
}

pub fn all_or_nothing(store: &Store) {
    made(store);
    let write = |statements| store.tables().write(statements).wait();
    let told = write(vec![insert("mina", 30), insert("jun", 20)]).unwrap();
    assert_eq!(told.iter().map(|one| one.rows_changed).collect::<Vec<_>>(), [1, 1]);
    let error = write(vec![insert("sora", 1), insert("mina", 2)]).unwrap_err();
    assert!(matches!(error, StoreError::Constraint { statement: 1, .. }), "{error:?}");
    let error = write(vec![insert("sora", -1)]).unwrap_err();
    assert!(matches!(error, StoreError::Constraint { statement: 0, .. }), "{error:?}");
    const OLDER: Sql = Sql::both("UPDATE test_person SET age = age + 1 WHERE name = $1 AND age = $2");
    let older = |name: &str, age: i64| Statement::new(OLDER, vec![name.into(), age.into()]).must_change(1);
    let error = write(vec![older("mina", 30), older("jun", 99)]).unwrap_err();
    assert_eq!(error, StoreError::Unexpected { statement: 1, changed: 0, must: 1 });
    assert_eq!(ages(store), "jun=20 mina=30");
    write(vec![older("mina", 30), older("jun", 20)]).unwrap();
    assert_eq!(ages(store), "jun=21 mina=31");
    const GONE: Sql = Sql::both("DELETE FROM test_person WHERE age > $1 RETURNING name");
    let told = write(vec![Statement::new(GONE, vec![25.into()]).must_change(1)]).unwrap();
    assert_eq!(told[0].rows[0].text(0), Ok("mina"));
    // Neighbours in one group: what one of them breaks is its own.
    let (good, bad, fine) = (
        store.tables().write(vec![insert("a", 1)]),
        store.tables().write(vec![insert("b", 1), insert("jun", 1)]),
        store.kv().add("test", "n", 1, None),
    );
    assert!(good.wait().is_ok());
    assert!(matches!(bad.wait(), Err(StoreError::Constraint { statement: 1, .. })));
    assert_eq!(fine.wait().unwrap().value, 1);
    assert_eq!(ages(store), "a=1 jun=21");
    let wrong = write(vec![Statement::new(Sql::both("DELETE FROM nowhere"), vec![])]).unwrap_err();
    assert_eq!(wrong.name(), "failed");
    assert_eq!(write(vec![insert("x", 1); 101]).unwrap_err().name(), "too-large");
}

pub fn values(store: &Store) {
    made(store);
    const ALL: Sql = Sql::both(
        "INSERT INTO test_person (name, age, height, face, away) VALUES ($1, $2, $3, $4, $5) \
         RETURNING away, face, height, age, name",
    );
    let blob = Bytes::from_static(&[0, 1, 255]);
    let full =
        vec!["김 'x' \u{1F600}".into(), i64::MAX.into(), Value::Real(1.75), blob.clone().into(), true.into()];
    let none = vec!["".into(), 0.into(), Value::Null, Value::Null, Value::Null];
    let told =
        store.tables().write(vec![Statement::new(ALL, full), Statement::new(ALL, none)]).wait().unwrap();
    let row = &told[0].rows[0];
    assert_eq!(
        (row.int(0), row.blob(1), row.int(3), row.text(4)),
        (Ok(1), Ok(blob), Ok(i64::MAX), Ok("김 'x' \u{1F600}"))
    );
    assert_eq!(row.0[2], Value::Real(1.75));
    assert!((0..3).all(|column| told[1].rows[0].is_null(column)));
    assert_eq!(
        row.int(4).unwrap_err().to_string(),
        "the database says: column 4 holds text where an integer was expected"
    );
    let read = store.tables().read(
        Sql::both("SELECT name FROM test_person WHERE age > $2 AND name <> $1"),
        vec!["x".into(), 1.into()],
    );
    assert_eq!(read.wait().unwrap().len(), 1);
    let nul = store.tables().read(AGES, vec!["a\0".into()]).wait().unwrap_err();
    assert_eq!(nul.name(), "invalid");
}

pub fn a_question_cannot_write(store: &Store) {
    made(store);
    let read = |text: &'static str| store.tables().read(Sql::both(text), vec![]).wait();
    assert!(read("DELETE FROM test_person").is_err());
    assert!(read("INSERT INTO test_person (name, age) VALUES ('x', 1) RETURNING name").is_err());
    assert!(read("SELECT name FROM test_person WHERE age = $1").is_err(), "a value is missing");
    assert_eq!(ages(store), "");
}
