//! Goal: both databases do exactly the same.
//! Method: one table of behaviours, each run on a fresh store of every kind.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)] // a test may stop at what it did not expect

mod kv;
mod log;
mod model;
mod search;
#[path = "../support/mod.rs"]
mod support;
mod tables;

use std::panic::{AssertUnwindSafe, catch_unwind};

use madang_store::Store;

type Behaviour = fn(&Store);

/// Every behaviour, by name.
const BATTERY: &[(&str, Behaviour)] = &[
    ("offsets have no gap and appends are read back", log::appends_are_read_back),
    ("a batch is written together or not at all", log::a_batch_is_one),
    ("the same key is the same append", log::the_same_key_is_the_same_append),
    ("a duplicate has the time of what was written", log::the_time_of_a_duplicate),
    ("an append that expects another offset is refused", log::expected_offsets),
    ("resume gives exactly what was missed", log::resume),
    ("reading is bounded by entries and bytes, in both directions", log::reading_is_bounded),
    ("a change keeps the offset, a removal cannot be undone", log::changes),
    ("trimming keeps the newest and tells how far history goes", log::trimming),
    ("a removed stream comes back with another epoch", log::a_removed_stream),
    ("streams are listed by prefix", log::listing),
    ("an offset is found by its time", log::by_time),
    ("what is too large or ill-formed is refused by name", log::refusals),
    ("many callers at once share one order", log::many_callers),
    ("appends of one caller keep the order of its calls", log::order_of_calls),
    ("a log behaves as its model", model::a_log_behaves_as_its_model),
    ("search finds words, beginnings and pieces of Korean words", search::finding),
    ("search pages neither overlap nor leave out", search::paging),
    ("what was changed, removed or trimmed is not found", search::gone),
    ("values are put, read, deleted", kv::values),
    ("compare-and-set has one winner", kv::compare_and_set),
    ("expired values are not there", kv::expiry),
    ("scans go by prefix, in order, page by page", kv::scanning),
    ("counters add up and never wrap", kv::counters),
    ("migrations are applied once and in order", tables::migrations),
    ("a failing migration leaves nothing behind", tables::a_failing_migration),
    ("a write is all or nothing", tables::all_or_nothing),
    ("values of every kind come back as they were", tables::values),
    ("a question cannot write", tables::a_question_cannot_write),
];

/// Runs the whole battery and tells every behaviour that is not there.
fn run(kind: &str, fresh: impl Fn(usize) -> Store) {
    let mut failed = Vec::new();
    for (number, (name, behaviour)) in BATTERY.iter().enumerate() {
        let store = fresh(number);
        if catch_unwind(AssertUnwindSafe(|| behaviour(&store))).is_err() {
            failed.push(*name);
        }
        store.close();
    }
    assert!(failed.is_empty(), "{kind} does not do this: {failed:#?}");
}

#[test]
fn sqlite_does_it_all() {
    let folder = tempfile::tempdir().unwrap();
    run("SQLite", |number| Store::sqlite(&folder.path().join(format!("{number}.db")), None).unwrap());
}

#[test]
fn postgresql_does_it_all() {
    let server = support::Server::start();
    run("PostgreSQL", |number| Store::postgres(&server.database(&format!("b{number}")), None, 4).unwrap());
}
