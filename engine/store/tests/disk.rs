//! Goal: a SQLite store tells a full disk, a damaged file and too much work by name, harms nothing, and goes on.
//! Method: small files, broken bytes, more work than may wait; and the bytes on disk after a redaction.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)] // a test may stop at what it did not expect

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::kv::When;
use madang_store::log::{Batch, Change, History, NewEntry, Read, StreamId};

fn room() -> StreamId {
    StreamId::new("room").unwrap()
}

fn append(store: &Store, data: Vec<u8>, text: &str) -> Result<u64, StoreError> {
    store.log().append(&room(), Batch::one(data, text)).wait().map(|told| told.first)
}

#[test]
fn a_full_store_says_so_keeps_what_it_has_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::sqlite(&folder.path().join("madang.db"), Some(2 * 1024 * 1024)).unwrap();
    let mut kept = 0;
    let error = loop {
        match append(&store, vec![1; 50_000], "words to find") {
            Ok(offset) => kept = offset,
            Err(error) => break error,
        }
        assert!(kept < 100, "2 MiB do not hold this");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(append(&store, vec![1; 50_000], "").is_err(), "still full");
    let History::Page(page) = store.log().read(&room(), Read::newest(1)).wait().unwrap() else { panic!() };
    assert_eq!((page.position.next, page.entries[0].offset), (kept + 1, kept));
    for offset in 1..=10 {
        store.log().change(&room(), offset, Change::Remove).wait().unwrap();
    }
    assert_eq!(append(&store, vec![1; 50_000], "").unwrap(), kept + 1, "there is room again");
    store.close();
}

#[test]
fn what_is_redacted_is_on_the_disk_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::sqlite(&folder.path().join("madang.db"), None).unwrap();
    append(&store, b"<Qxjzkwv-data>".to_vec(), "qxjzkwvtext 비밀번호").unwrap();
    append(&store, b"edited <Qxjzkwv-data>".to_vec(), "qxjzkwvtext").unwrap();
    append(&store, b"stays".to_vec(), "stays").unwrap();
    assert!(is_on_disk(folder.path()));
    store.log().change(&room(), 1, Change::Remove).wait().unwrap();
    let harmless = NewEntry { data: "fine".into(), text: "fine".into() };
    store.log().change(&room(), 2, Change::Edit(harmless)).wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_on_disk(folder.path()) {
        assert!(Instant::now() < deadline, "it is still there");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    store.close();
}

/// Whether any file holds any of what was redacted.
fn is_on_disk(folder: &Path) -> bool {
    let secrets: [&[u8]; 3] = [b"Qxjzkwv-data", b"qxjzkwvtext", "비밀".as_bytes()];
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        secrets.iter().any(|secret| bytes.windows(secret.len()).any(|window| window == *secret))
    })
}

fn closed_store(folder: &Path) -> PathBuf {
    let path = folder.join("madang.db");
    let store = Store::sqlite(&path, None).unwrap();
    for _ in 0..50 {
        append(&store, vec![1; 5000], "some words to index").unwrap();
    }
    store.close();
    path
}

#[test]
fn a_damaged_or_foreign_file_is_told_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed_store(folder.path());
    let whole = std::fs::read(&path).unwrap();
    assert!(whole.len() > 4096 * 40, "a closed store is one file");
    let foreign = folder.path().join("foreign.db");
    let other = rusqlite::Connection::open(&foreign).unwrap();
    other.execute_batch("CREATE TABLE theirs (a); PRAGMA user_version = 7").unwrap();
    other.close().unwrap();
    let foreign = std::fs::read(&foreign).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        bytes
    };
    check(&path, &whole, None);
    check(
        &path,
        b"this is no database, it is a letter to my landlord and longer than a header of SQLite is",
        Some("damaged"),
    );
    check(&path, &with(&|bytes| bytes[4096 * 3..4096 * 5].fill(0x5a)), Some("damaged"));
    check(&path, &with(&|bytes| bytes.truncate(4096 * 7)), Some("damaged"));
    // SQLite itself takes what is shorter than a page for an empty database, and begins anew.
    check(&path, &with(&|bytes| bytes.truncate(4000)), Some("damaged"));
    check(&path, &foreign, Some("failed"));
    // user_version, at byte 60 of the header: of a program that is not written yet.
    check(&path, &with(&|bytes| bytes[60..64].copy_from_slice(&999_u32.to_be_bytes())), Some("failed"));

    #[track_caller]
    fn check(path: &Path, bytes: &[u8], want: Option<&str>) {
        std::fs::write(path, bytes).unwrap();
        match (Store::sqlite(path, None), want) {
            (Ok(store), None) => store.close(),
            (Err(error), Some(name)) => {
                assert_eq!(error.name(), name, "{error}");
                assert_eq!(std::fs::read(path).unwrap(), bytes, "it was written to");
            }
            (got, want) => panic!("{got:?} instead of {want:?}"),
        }
    }
}

#[test]
fn an_empty_file_beside_a_journal_is_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("madang.db");
    std::fs::write(&path, b"").unwrap();
    std::fs::write(folder.path().join("madang.db-wal"), b"frames").unwrap();
    assert_eq!(Store::sqlite(&path, None).unwrap_err().name(), "damaged");
    assert_eq!(std::fs::read(folder.path().join("madang.db-wal")).unwrap(), b"frames");
}

#[test]
fn more_work_than_may_wait_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::sqlite(&folder.path().join("madang.db"), None).unwrap();
    // 64 MiB may wait: of these only some can, however quick the writer is.
    let heavy = Batch::one(vec![0; 1024 * 1024], "");
    let answers: Vec<_> = (0..400).map(|_| store.log().append(&room(), heavy.clone())).collect();
    let (mut done, mut overloaded) = (0_u64, 0);
    for answer in answers {
        match answer.wait() {
            Ok(told) => {
                done += 1;
                assert_eq!(told.first, done, "what was taken is done in order");
            }
            Err(StoreError::Overloaded { .. }) => overloaded += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(done >= 64 && overloaded > 0, "{done} done, {overloaded} refused");
    assert_eq!(append(&store, vec![], "").unwrap(), done + 1, "it goes on");
    store.close();
}

#[test]
fn a_closed_store_has_done_what_it_took_and_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("madang.db");
    let store = Store::sqlite(&path, None).unwrap();
    let answers: Vec<_> = (0..500).map(|_| store.log().append(&room(), Batch::one("x", ""))).collect();
    store.close();
    assert_eq!(append(&store, vec![], "").unwrap_err(), StoreError::Closed);
    assert_eq!(store.kv().get("a", "b").wait().unwrap_err(), StoreError::Closed);
    assert!(answers.into_iter().all(|answer| answer.wait().is_ok()));
    let again = Store::sqlite(&path, None).unwrap();
    assert_eq!(append(&again, vec![], "").unwrap(), 501);
    // Versions go on over a restart.
    let put = |store: &Store| store.kv().put("a", "b", "c".into(), When::Always, None).wait().unwrap();
    let before = put(&again);
    again.close();
    let third = Store::sqlite(&path, None).unwrap();
    assert_ne!(put(&third), before);
    third.close();
}
