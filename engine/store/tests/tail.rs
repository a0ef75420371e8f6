//! Goal: what was appended is read, found, known again and changed alike, whether it is in its place or at the end of the log.
//! Method: more small appends than the end holds, over many streams; asked at once, after half was changed, and from a copy of the
//! files taken while the store was at work, as a crash would leave them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)] // a test may stop at what it did not expect

use std::path::Path;

use madang_store::Store;
use madang_store::log::{Batch, Change, History, Keep, Key, NewEntry, Read, Search, StreamId};

const STREAMS: u64 = 50;
const ENTRIES: u64 = 120;

fn stream(number: u64) -> StreamId {
    StreamId::new(&format!("room/{number}")).unwrap()
}

fn text(stream: u64, offset: u64) -> String {
    format!("word{offset} of room{stream} 회의록")
}

fn batch(stream: u64, offset: u64) -> Batch {
    Batch::one(format!("data {offset}"), text(stream, offset)).keyed(Key::new("mina", &offset.to_string()))
}

fn fill(store: &Store) {
    let appends: Vec<_> = (1..=ENTRIES)
        .flat_map(|offset| (0..STREAMS).map(move |number| (number, offset)))
        .map(|(number, offset)| (offset, store.log().append(&stream(number), batch(number, offset))))
        .collect();
    for (offset, append) in appends {
        assert_eq!(append.wait().unwrap().first, offset);
    }
}

fn texts(store: &Store, number: u64, read: Read) -> Vec<(u64, String)> {
    match store.log().read(&stream(number), read).wait().unwrap() {
        History::Page(page) => page.entries.into_iter().map(|entry| (entry.offset, entry.text)).collect(),
        other => panic!("{other:?}"),
    }
}

/// Every question about every stream; the entry of offset 3 says `third`.
#[track_caller]
fn check(store: &Store, third: &str) {
    let mut next = Vec::new();
    for number in 0..STREAMS {
        let want: Vec<(u64, String)> = (1..=ENTRIES)
            .map(|offset| (offset, if offset == 3 { third.to_owned() } else { text(number, offset) }))
            .collect();
        assert_eq!(texts(store, number, Read::from(1)), want, "forwards, room {number}");
        assert_eq!(
            texts(store, number, Read::newest(7)),
            want[want.len() - 7..],
            "the newest, room {number}"
        );
        assert_eq!(texts(store, number, Read::before(60, 100)), want[..59], "backwards, room {number}");
        let pages: Vec<_> = (0..ENTRIES / 30)
            .flat_map(|page| texts(store, number, Read::from(page * 30 + 1).entries(30)))
            .collect();
        assert_eq!(pages, want, "page by page, room {number}");
        next.push(stream(number));
        for offset in [1, 2, ENTRIES / 2, ENTRIES] {
            let search = Search {
                streams: vec![stream(number)],
                words: format!("word{offset} \"of room{number}\" 의록"),
                entries_max: 200,
                before: None,
            };
            let found = store.log().search(search).wait().unwrap();
            assert!(found.iter().any(|found| found.entry.offset == offset), "word{offset} in room {number}");
            let again = store.log().append(&stream(number), batch(number, offset)).wait().unwrap();
            assert_eq!((again.first, again.duplicate), (offset, true), "sent again, room {number}");
        }
    }
    for (number, position) in store.log().positions(next).wait().unwrap().into_iter().enumerate() {
        let position = position.unwrap();
        assert_eq!((position.first, position.next), (1, ENTRIES + 1), "room {number}");
        let number = number as u64;
        let bytes = |text: &str, offset: u64| (text.len() + format!("data {offset}").len()) as u64;
        let all: u64 = (1..=ENTRIES).map(|offset| bytes(&text(number, offset), offset)).sum();
        // An edit takes its data away.
        let want = all - bytes(&text(number, 3), 3) + third.len() as u64;
        assert_eq!(position.bytes, want, "room {number}");
        let late = store.log().offset_at(&stream(number), position.at_ms + 1).wait().unwrap();
        assert_eq!(late, ENTRIES + 1, "room {number}");
        assert_eq!(store.log().offset_at(&stream(number), 1).wait().unwrap(), 1, "room {number}");
    }
}

/// The files as they are at this moment: the journal behind what it belongs to.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for name in ["madang.db", "madang.db-wal"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn the_end_of_the_log_is_read_like_the_rest_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (first, crashed) = (folder.path().join("first"), folder.path().join("crashed"));
    std::fs::create_dir(&first).unwrap();
    let store = Store::sqlite(&first.join("madang.db"), None).unwrap();
    fill(&store);
    let changes: Vec<_> = (0..STREAMS)
        .map(|number| {
            let edit = Change::Edit(NewEntry { data: "".into(), text: "edited".into() });
            store.log().change(&stream(number), 3, edit)
        })
        .collect();
    copy(&first, &crashed);
    changes.into_iter().for_each(|change| drop(change.wait().unwrap()));
    check(&store, "edited");
    store.close();
    let store = Store::sqlite(&first.join("madang.db"), None).unwrap();
    check(&store, "edited");
    store.close();
    let store = Store::sqlite(&crashed.join("madang.db"), None).unwrap();
    // Whichever edits were on disk at the moment of the copy: made again they are there.
    for number in 0..STREAMS {
        let edit = Change::Edit(NewEntry { data: "".into(), text: "edited".into() });
        store.log().change(&stream(number), 3, edit).wait().unwrap();
    }
    check(&store, "edited");
    store.close();
}

#[test]
fn what_is_trimmed_or_removed_at_the_end_of_the_log_stays_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("madang.db");
    let store = Store::sqlite(&path, None).unwrap();
    fill(&store);
    let keep = Keep { entries_max: Some(10), ..Keep::default() };
    assert_eq!(store.log().trim(&stream(0), keep).wait().unwrap().first, ENTRIES - 9);
    let more = Batch::one("more", "more");
    store.log().append(&stream(0), more.clone()).wait().unwrap();
    while !store.log().remove(&stream(1)).wait().unwrap() {}
    // Made anew, it is another stream.
    assert_eq!(store.log().append(&stream(1), more).wait().unwrap().first, 1);
    store.close();
    let store = Store::sqlite(&path, None).unwrap();
    let kept = texts(&store, 0, Read::from(1));
    assert_eq!(
        kept.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(),
        (ENTRIES - 9..=ENTRIES + 1).collect::<Vec<_>>()
    );
    assert_eq!(texts(&store, 1, Read::from(1)), [(1, "more".to_owned())]);
    store.close();
}
