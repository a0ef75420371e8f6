//! Goal: several nodes are one store; the way to the database is safe or not taken.
//! Method: stores that share one PostgreSQL, started at once and writing to the same streams; a server with a certificate.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)] // a test may stop at what it did not expect

mod support;

use std::collections::BTreeSet;

use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::kv::{Put, When};
use madang_store::log::{Batch, History, Read, StreamId};
use madang_store::tables::{Migration, Sql};

static MIGRATIONS: [Migration; 2] = [
    Migration { number: 1, name: "one", sql: Sql::both("CREATE TABLE test_one (a TEXT)") },
    Migration { number: 2, name: "two", sql: Sql::both("CREATE TABLE test_two (a TEXT)") },
];

#[test]
fn three_nodes_that_start_at_once_share_one_order() {
    const EACH: u64 = 60;
    let server = support::Server::start();
    let address = server.database("shared");
    let streams: Vec<StreamId> =
        (0..5).map(|number| StreamId::new(&format!("room {number}")).unwrap()).collect();
    let (applied, won) = std::thread::scope(|scope| {
        let nodes: Vec<_> = (0..3)
            .map(|node| {
                let (address, streams) = (&address, &streams);
                scope.spawn(move || {
                    let store = Store::postgres(address, None, 4).unwrap();
                    let applied = store.tables().migrate("test", &MIGRATIONS).wait().unwrap();
                    // All at once: groups of different nodes meet at the same streams, in any order.
                    let sent: Vec<_> = (0..EACH)
                        .map(|number| {
                            let at = usize::try_from((number * 7 + node) % 5).unwrap();
                            store.log().append(&streams[at], Batch::one("x", format!("{node} {number}")))
                        })
                        .collect();
                    sent.into_iter().for_each(|answer| assert!(!answer.wait().unwrap().duplicate));
                    for _ in 0..20 {
                        store.kv().add("test", "counter", 1, None).wait().unwrap();
                    }
                    let put =
                        store.kv().put("test", "leader", "me".into(), When::Absent, None).wait().unwrap();
                    store.close();
                    (applied, u32::from(matches!(put, Put::Done(_))))
                })
            })
            .collect();
        nodes
            .into_iter()
            .map(|node| node.join().unwrap())
            .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    });
    assert_eq!((applied, won), (2, 1), "each migration was applied once, one node is the leader");
    let store = Store::postgres(&address, None, 2).unwrap();
    let mut texts = BTreeSet::new();
    for stream in &streams {
        let History::Page(page) = store.log().read(stream, Read::from(0)).wait().unwrap() else { panic!() };
        assert!(
            page.entries.iter().map(|entry| entry.offset).eq(1..page.position.next),
            "{stream} has a gap"
        );
        assert!(page.entries.is_sorted_by_key(|entry| entry.at_ms), "{stream}: times went back");
        texts.extend(page.entries.into_iter().map(|entry| entry.text));
    }
    assert_eq!(texts.len() as u64, 3 * EACH);
    assert_eq!(store.kv().add("test", "counter", 0, None).wait().unwrap().value, 60);
    store.close();
}

#[test]
fn a_certificate_nobody_vouches_for_is_not_spoken_to() {
    let server = support::Server::start();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    server.with_tls(&made.cert.pem(), &made.signing_key.serialize_pem());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (good, bad) = (file("good.pem", made.cert.pem()), file("bad.pem", other.cert.pem()));
    let address = server.database("safe");
    let store = Store::postgres(&format!("{address}?sslmode=require"), Some(&good), 2).unwrap();
    let stream = StreamId::new("room").unwrap();
    assert_eq!(store.log().append(&stream, Batch::one("x", "")).wait().unwrap().first, 1);
    let safe =
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND datname = 'safe'";
    assert_ne!(server.sql("postgres", safe), "0", "it went through TLS");
    store.close();
    let refused = Store::postgres(&format!("{address}?sslmode=require"), Some(&bad), 2).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Unreachable { why } if why.contains("certificate")),
        "{refused:?}"
    );
}

#[test]
fn an_address_nobody_answers_at_is_told_without_its_password() {
    for (address, name) in [
        ("postgres://me:hunter2@127.0.0.1:1/none", "unreachable"),
        ("postgres://me:hunter2@127.0.0.1:notaport/none", "failed"),
    ] {
        let error = Store::postgres(address, None, 2).unwrap_err();
        assert_eq!(error.name(), name, "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

// Goal: a database of an earlier form is brought to this one with what is in it, one of a later form is left as it is.
// Method: the function that appends is made one that cannot, and the form lowered; opened again it appends.
#[test]
fn an_older_database_is_brought_to_this_form() {
    const OLDER: &str = "UPDATE madang.madang_meta SET value = 1 WHERE name = 'form'; \
        CREATE OR REPLACE FUNCTION madang.madang_append( \
            p_name text, p_epoch bigint, p_key bytea, p_token bigint, p_expect bigint, p_bytes bigint, \
            p_data bytea[], p_text text[], p_words text[], \
            OUT status int, OUT o_epoch bigint, OUT o_first bigint, OUT o_count bigint, OUT o_at bigint) \
            LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'of an earlier form'; END $$";
    let server = support::Server::start();
    let address = server.database("older");
    let room = StreamId::new("room").unwrap();
    let append = |text: &str| {
        let store = Store::postgres(&address, None, 2)?;
        let told = store.log().append(&room, Batch::one("x", text.to_owned())).wait();
        store.close();
        told.map(|told| told.first)
    };
    assert_eq!(append("a").unwrap(), 1);
    server.sql("older", OLDER);
    assert_eq!(append("b").unwrap(), 2);
    let form = server.sql("older", "SELECT value FROM madang.madang_meta WHERE name = 'form'");
    assert_ne!(form, "1");

    server.sql("older", "UPDATE madang.madang_meta SET value = 1000 WHERE name = 'form'");
    let refused = append("c").unwrap_err().to_string();
    assert!(refused.contains("newer version of Madang"), "{refused}");
}
