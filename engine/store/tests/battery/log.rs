//! The append log's part of the battery.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::log::{
    Batch, Change, Entry, History, Keep, Key, NewEntry, Page, Position, Read, StreamId, Trimmed,
};

pub fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

pub fn entry(text: &str) -> NewEntry {
    NewEntry { data: Bytes::from(format!("<{text}>")), text: text.to_owned() }
}

pub fn batch(texts: &[&str]) -> Batch {
    Batch { entries: texts.iter().map(|text| entry(text)).collect(), ..Batch::default() }
}

#[track_caller]
pub fn append(store: &Store, to: &StreamId, texts: &[&str]) -> u64 {
    store.log().append(to, batch(texts)).wait().unwrap().first
}

#[track_caller]
pub fn page(store: &Store, of: &StreamId, read: Read) -> Page {
    match store.log().read(of, read).wait().unwrap() {
        History::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

pub fn texts(entries: &[Entry]) -> String {
    entries.iter().map(|entry| format!("{}:{}", entry.offset, entry.text)).collect::<Vec<_>>().join(" ")
}

fn position(store: &Store, of: &StreamId) -> Position {
    store.log().positions(vec![of.clone()]).wait().unwrap()[0].unwrap()
}

pub fn appends_are_read_back(store: &Store) {
    let (room, other) = (stream("room"), stream("other"));
    assert_eq!(store.log().read(&room, Read::newest(1)).wait().unwrap(), History::NoStream);
    let opened = store.log().open(&room).wait().unwrap();
    assert_eq!((opened.first, opened.next, opened.bytes, opened.at_ms), (1, 1, 0, 0));
    assert!(opened.epoch > 0 && opened.epoch < 1 << 53);
    assert_eq!(store.log().open(&room).wait().unwrap(), opened, "opening twice makes nothing");
    assert_eq!(append(store, &room, &["a"]), 1);
    assert_eq!(append(store, &other, &["x"]), 1);
    assert_eq!(append(store, &room, &["b", "c"]), 2);
    let page = page(store, &room, Read::from(0));
    assert_eq!(texts(&page.entries), "1:a 2:b 3:c");
    assert_eq!(page.entries[1].data, Bytes::from_static(b"<b>"));
    assert_eq!((page.position.epoch, page.position.first, page.position.next), (opened.epoch, 1, 4));
    assert_eq!(page.position.bytes, 3 * 4);
    assert_eq!(page.position.at_ms, page.entries[2].at_ms);
    assert!(page.entries.is_sorted_by_key(|entry| entry.at_ms) && page.entries[0].at_ms > 1_600_000_000_000);
    let all = store.log().positions(vec![other, stream("none"), room]).wait().unwrap();
    assert_eq!(all.iter().map(|one| one.map(|at| at.next)).collect::<Vec<_>>(), [Some(2), None, Some(4)]);
}

pub fn a_batch_is_one(store: &Store) {
    let room = stream("room");
    let too_large = NewEntry { data: vec![0; 1024 * 1024 + 1].into(), text: String::new() };
    let refused = Batch { entries: vec![entry("a"), too_large], ..Batch::default() };
    let error = store.log().append(&room, refused).wait().unwrap_err();
    assert_eq!(error.name(), "too-large");
    assert_eq!(store.log().read(&room, Read::newest(1)).wait().unwrap(), History::NoStream);
    let appended = store.log().append(&room, batch(&["a"; 1000])).wait().unwrap();
    assert_eq!((appended.first, appended.count), (1, 1000));
    let page = page(store, &room, Read::newest(2000));
    assert!(page.entries.iter().map(|entry| entry.offset).eq(1..=1000));
}

pub fn the_same_key_is_the_same_append(store: &Store) {
    let (room, other) = (stream("room"), stream("other"));
    let key = Key::new("phone", "1");
    append(store, &room, &["before"]);
    let first = store.log().append(&room, batch(&["a", "b"]).keyed(key.clone())).wait().unwrap();
    assert_eq!((first.first, first.count, first.duplicate), (2, 2, false));
    append(store, &room, &["c"]);
    let again = store.log().append(&room, batch(&["a", "b"]).keyed(key.clone())).wait().unwrap();
    assert_eq!((again.first, again.count, again.duplicate, again.epoch), (2, 2, true, first.epoch));
    // A retry of a conditional append finds that it was done, not that the stream has moved.
    let again = store.log().append(&room, batch(&["a"]).keyed(key.clone()).expecting(2)).wait().unwrap();
    assert!(again.duplicate);
    let elsewhere = store.log().append(&other, batch(&["a"]).keyed(key)).wait().unwrap();
    assert_eq!((elsewhere.first, elsewhere.duplicate), (1, false), "a key is of one stream");
    for (client, nonce) in [("phone", "2"), ("phon", "e1"), ("", "phone1")] {
        let appended =
            store.log().append(&room, batch(&["d"]).keyed(Key::new(client, nonce))).wait().unwrap();
        assert!(!appended.duplicate, "{client:?} {nonce:?}");
    }
    assert_eq!(position(store, &room).next, 8);
    // Both at once: in one group the second must already find the first.
    let twin = Key::new("phone", "twin");
    let (one, two) = (
        store.log().append(&room, batch(&["t"]).keyed(twin.clone())),
        store.log().append(&room, batch(&["t"]).keyed(twin)),
    );
    let (one, two) = (one.wait().unwrap(), two.wait().unwrap());
    assert_eq!((one.first, one.duplicate, two.first, two.duplicate), (8, false, 8, true));
}

// Wherever the entry is: at the end of the log, in its place (a change puts it there), redacted, and when it is not kept any more.
pub fn the_time_of_a_duplicate(store: &Store) {
    let room = stream("room");
    let mine = || batch(&["a", "b"]).keyed(Key::new("phone", "1"));
    let first = store.log().append(&room, mine()).wait().unwrap();
    let large = batch(&["l"; 900]).keyed(Key::new("phone", "large"));
    let second = store.log().append(&room, large.clone()).wait().unwrap();
    // Until the clock has gone on, so that neither "now" nor the newest entry's time is the first one's.
    let is_later = |_| store.log().append(&room, batch(&["c"])).wait().unwrap().at_ms > second.at_ms + 1;
    assert!((0..100_000).any(is_later));
    let time_of = |batch: Batch| {
        let again = store.log().append(&room, batch).wait().unwrap();
        assert!(again.duplicate);
        again.at_ms
    };
    assert_eq!((time_of(mine()), time_of(large.clone())), (first.at_ms, second.at_ms));
    store.log().change(&room, 2, Change::Edit(entry("edited"))).wait().unwrap();
    assert_eq!(time_of(mine()), first.at_ms);
    store.log().change(&room, 1, Change::Remove).wait().unwrap();
    assert_eq!(time_of(mine()), first.at_ms);
    store.log().trim(&room, Keep { entries_max: Some(1), ..Keep::default() }).wait().unwrap();
    let newest = position(store, &room).at_ms;
    assert!(newest > second.at_ms);
    assert_eq!((time_of(mine()), time_of(large)), (newest, newest));
}

pub fn expected_offsets(store: &Store) {
    let room = stream("room");
    let expecting = |offset| store.log().append(&room, batch(&["a"]).expecting(offset)).wait();
    assert_eq!(expecting(2), Err(StoreError::Moved { epoch: 0, next: 1 }));
    assert_eq!(store.log().read(&room, Read::newest(1)).wait().unwrap(), History::NoStream);
    let epoch = expecting(1).unwrap().epoch;
    assert_eq!(expecting(1), Err(StoreError::Moved { epoch, next: 2 }));
    assert_eq!(expecting(3), Err(StoreError::Moved { epoch, next: 2 }));
    assert_eq!(expecting(2).unwrap().first, 2);
}

pub fn resume(store: &Store) {
    let room = stream("room");
    let epoch = store.log().append(&room, batch(&["a", "b", "c"])).wait().unwrap().epoch;
    let after = |epoch, offset| store.log().read(&room, Read::after(epoch, offset)).wait().unwrap();
    let seen = |history: History| match history {
        History::Page(page) => texts(&page.entries),
        other => format!("{other:?}").split('(').next().unwrap().to_owned(),
    };
    assert_eq!(seen(after(epoch, 0)), "1:a 2:b 3:c");
    assert_eq!(seen(after(epoch, 2)), "3:c");
    assert_eq!(seen(after(epoch, 3)), "");
    assert_eq!(seen(after(epoch, 4)), "OtherEpoch", "nobody can have seen what is not there");
    assert_eq!(seen(after(epoch + 1, 2)), "OtherEpoch");
    assert_eq!(seen(after(0, 0)), "1:a 2:b 3:c", "who has seen nothing needs no epoch");
    store.log().trim(&room, Keep { entries_max: Some(1), ..Keep::default() }).wait().unwrap();
    assert_eq!(seen(after(epoch, 2)), "3:c");
    let History::TooOld(place) = after(epoch, 1) else { panic!("offset 2 is gone") };
    assert_eq!((place.epoch, place.first, place.next), (epoch, 3, 4));
    assert_eq!(seen(after(0, 0)), "TooOld");
}

pub fn reading_is_bounded(store: &Store) {
    let room = stream("room");
    append(store, &room, &["a", "b", "c", "d", "e"]);
    let check = |read, want: &str| {
        let page = page(store, &room, read);
        assert_eq!(format!("{}{}", texts(&page.entries), if page.more { " more" } else { "" }), want);
    };
    check(Read::from(1).entries(2), "1:a 2:b more");
    check(Read::from(4).entries(2), "4:d 5:e");
    check(Read::from(9), "");
    check(Read::newest(2), "4:d 5:e more");
    check(Read::newest(5), "1:a 2:b 3:c 4:d 5:e");
    check(Read::before(3, 1), "2:b more");
    check(Read::before(3, 9), "1:a 2:b");
    check(Read::before(1, 9), "");
    check(Read::from(1).bytes(8), "1:a 2:b more");
    check(Read::from(1).bytes(7), "1:a more");
    check(Read::from(1).bytes(0), "1:a more");
    check(Read::newest(9).bytes(11), "4:d 5:e more");
    check(Read::from(1).entries(0), "1:a more");
}

pub fn changes(store: &Store) {
    let room = stream("room");
    append(store, &room, &["a", "b", "c"]);
    let edited = store.log().change(&room, 2, Change::Edit(entry("better"))).wait().unwrap();
    assert_eq!((edited.offset, edited.edits, edited.removed, &*edited.text), (2, 1, false, "better"));
    let removed = store.log().change(&room, 3, Change::Remove).wait().unwrap();
    assert_eq!((removed.offset, removed.edits, removed.removed, removed.data.len()), (3, 1, true, 0));
    let again = store.log().change(&room, 3, Change::Remove).wait().unwrap();
    assert_eq!(again, removed, "removing twice is done");
    let missing = |offset| Err(StoreError::Missing { stream: "room".to_owned(), offset });
    assert_eq!(store.log().change(&room, 3, Change::Edit(entry("back"))).wait(), missing(3));
    assert_eq!(store.log().change(&room, 4, Change::Remove).wait(), missing(4));
    assert_eq!(store.log().change(&room, 0, Change::Remove).wait(), missing(0));
    assert_eq!(store.log().change(&stream("none"), 1, Change::Remove).wait().unwrap_err().name(), "missing");
    let page = page(store, &room, Read::from(1));
    assert_eq!(texts(&page.entries), "1:a 2:better 3:");
    assert_eq!(page.entries[1], edited);
    assert_eq!(page.position.bytes, 4 + (6 + 8));
    assert_eq!(append(store, &room, &["d"]), 4);
}

pub fn trimming(store: &Store) {
    let room = stream("room");
    append(store, &room, &["a", "b", "c", "d", "e"]);
    let trim = |keep| store.log().trim(&room, keep).wait().unwrap();
    let count = |entries_max| Keep { entries_max: Some(entries_max), ..Keep::default() };
    assert_eq!(trim(Keep::default()), Trimmed { entries: 0, first: 1, more: false });
    assert_eq!(trim(count(9)), Trimmed { entries: 0, first: 1, more: false });
    assert_eq!(trim(count(4)), Trimmed { entries: 1, first: 2, more: false });
    let bytes = |bytes_max| Keep { bytes_max: Some(bytes_max), ..Keep::default() };
    assert_eq!(trim(bytes(16)).entries, 0);
    assert_eq!(trim(bytes(15)), Trimmed { entries: 1, first: 3, more: false });
    let age = |age_max| Keep { age_max: Some(age_max), ..Keep::default() };
    assert_eq!(trim(age(Duration::from_secs(3600))).entries, 0);
    assert_eq!(texts(&page(store, &room, Read::from(1)).entries), "3:c 4:d 5:e");
    assert_eq!(trim(count(0)), Trimmed { entries: 3, first: 6, more: false });
    let place = position(store, &room);
    assert_eq!((place.first, place.next, place.bytes), (6, 6, 0));
    assert_eq!(append(store, &room, &["f"]), 6, "offsets go on");
    append(store, &room, &["x"; 1000]);
    append(store, &room, &["y"; 500]);
    let first = trim(count(0));
    assert!(first.more && first.entries < 1501, "{first:?}");
    let mut last = first;
    while last.more {
        last = trim(count(0));
    }
    assert_eq!(last.first, 1507);
    assert_eq!(store.log().trim(&stream("none"), count(0)).wait().unwrap_err().name(), "missing");
}

pub fn a_removed_stream(store: &Store) {
    let room = stream("room");
    let key = Key::new("phone", "1");
    let before = store.log().append(&room, batch(&["a"]).keyed(key.clone())).wait().unwrap();
    for _ in 0..2 {
        append(store, &room, &["x"; 1000]);
    }
    let mut calls = 1;
    while !store.log().remove(&room).wait().unwrap() {
        calls += 1;
    }
    assert!(calls > 1, "a long stream goes in pieces");
    assert_eq!(store.log().read(&room, Read::newest(1)).wait().unwrap(), History::NoStream);
    assert!(store.log().remove(&room).wait().unwrap(), "what is not there is gone");
    let after = store.log().append(&room, batch(&["a"]).keyed(key)).wait().unwrap();
    assert_eq!((after.first, after.duplicate), (1, false));
    assert_ne!(after.epoch, before.epoch);
}

pub fn listing(store: &Store) {
    for name in ["b/2", "a/1", "b/10", "b", "bb", "가/나"] {
        store.log().open(&stream(name)).wait().unwrap();
    }
    let names = |prefix: &str, after: Option<&str>| {
        let after = after.map(stream);
        let found = store.log().streams(prefix, after.as_ref()).wait().unwrap();
        found.iter().map(|stream| stream.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("", None), "a/1 b b/10 b/2 bb 가/나");
    assert_eq!(names("b/", None), "b/10 b/2");
    assert_eq!(names("b", Some("b/10")), "b/2 bb");
    assert_eq!(names("가", None), "가/나");
    assert_eq!(names("c", Some("a/1")), "");
}

pub fn by_time(store: &Store) {
    let room = stream("room");
    assert_eq!(store.log().offset_at(&room, 0).wait().unwrap_err().name(), "missing");
    append(store, &room, &["a"; 5]);
    let at_ms = position(store, &room).at_ms;
    assert_eq!(store.log().offset_at(&room, 0).wait().unwrap(), 1);
    assert_eq!(store.log().offset_at(&room, at_ms).wait().unwrap(), 1);
    assert_eq!(store.log().offset_at(&room, at_ms + 1).wait().unwrap(), 6);
    store.log().trim(&room, Keep { entries_max: Some(2), ..Keep::default() }).wait().unwrap();
    assert_eq!(store.log().offset_at(&room, 0).wait().unwrap(), 4);
}

pub fn refusals(store: &Store) {
    for name in ["", "a\nb", "a\0b", &"x".repeat(201)] {
        assert_eq!(StreamId::new(name).unwrap_err().name(), "invalid");
    }
    let room = stream(&"x".repeat(200));
    let refused = |batch: Batch| store.log().append(&room, batch).wait().unwrap_err().to_string();
    assert_eq!(refused(Batch::default()), "an append must be of one entry or more");
    assert_eq!(refused(batch(&["a"; 1001])), "an append's entries of 1001: at most 1000");
    assert_eq!(refused(Batch::one("x", "a\0b")), "text must be without the character 0");
    let half = NewEntry { data: vec![1; 900_000].into(), text: String::new() };
    let heavy = Batch { entries: vec![half; 5], ..Batch::default() };
    assert_eq!(refused(heavy), "an append's bytes of 4500000: at most 4194304");
    let limit = Batch::one(vec![0; 1024 * 1024 - 1], "x");
    assert_eq!(store.log().append(&room, limit).wait().unwrap().first, 1, "the largest entry fits");
    let many = vec![room; 1001];
    assert_eq!(store.log().positions(many).wait().unwrap_err().name(), "too-large");
}

pub fn many_callers(store: &Store) {
    let room = stream("room");
    let offsets: Vec<u64> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let room = &room;
                scope.spawn(move || {
                    let word = format!("c{caller}");
                    (0..25).map(|_| append(store, room, &[&word])).collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(offsets.iter().copied().collect::<BTreeSet<_>>(), (1..=200).collect());
    let page = page(store, &room, Read::from(1));
    assert!(page.entries.iter().map(|entry| entry.offset).eq(1..=200));
    assert!(page.entries.is_sorted_by_key(|entry| entry.at_ms), "times do not go back");
}

pub fn order_of_calls(store: &Store) {
    let (room, other) = (stream("room"), stream("other"));
    let answers: Vec<_> = (0..300)
        .map(|number| {
            let to = if number % 3 == 0 { &other } else { &room };
            store.log().append(to, batch(&[&number.to_string()]))
        })
        .collect();
    for answer in answers {
        answer.wait().unwrap();
    }
    for of in [room, other] {
        let page = page(store, &of, Read::from(1));
        assert!(page.entries.is_sorted_by_key(|entry| entry.text.parse::<u32>().unwrap()), "{of}");
    }
}
