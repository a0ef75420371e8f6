//! The search's part of the battery.

use madang_store::Store;
use madang_store::log::{Change, Found, Keep, Search, StreamId};

use super::log::{append, entry, stream};

#[track_caller]
fn find(store: &Store, streams: &[&StreamId], words: &str) -> String {
    shown(&page(store, streams, words, 50, None))
}

fn page(store: &Store, streams: &[&StreamId], words: &str, most: usize, last: Option<&Found>) -> Vec<Found> {
    let streams = streams.iter().copied().cloned().collect();
    let before = last.map(Found::cursor);
    store.log().search(Search { streams, words: words.to_owned(), entries_max: most, before }).wait().unwrap()
}

fn shown(found: &[Found]) -> String {
    let mut all: Vec<_> = found.iter().map(|one| format!("{}{}", one.stream, one.entry.offset)).collect();
    all.sort();
    all.join(" ")
}

pub fn finding(store: &Store) {
    let (a, b) = (stream("a"), stream("b"));
    append(store, &a, &["Deployed version v2.1 to production", "회의록을 보냈습니다", "점심 뭐 먹지?"]);
    append(store, &a, &["내일 회의 있어요", "<script>alert('x')</script> it's \"quoted\"", ""]);
    append(store, &b, &["deploy failed: timeout", "東京タワーで会いましょう", "ㅋㅋㅋㅋ 미팅 취소"]);
    let both = &[&a, &b];
    let check = |words: &str, want: &str| assert_eq!(find(store, both, words), want, "{words:?}");
    check("deploy", "a1 b1");
    check("DEPLOY version", "a1");
    check("deployed", "a1");
    check("eploy", "");
    check("v2", "a1");
    check("v2 1", "a1");
    check("2.1", "");
    check("회의", "a2 a4");
    check("회의록", "a2");
    check("의록", "a2");
    check("록", "a2");
    check("보냈", "a2");
    check("회의 내일", "a4");
    check("회의 점심", "");
    check("밋", "");
    check("미팅", "b3");
    check("ㅋㅋ", "b3");
    check("タワー", "b2");
    check("京", "b2");
    check("it's", "a5");
    check("\"deploy failed\"", "b1");
    check("\"failed deploy\"", "");
    check("script", "a5");
    check("' OR 1=1 --", "");
    check("\"", "");
    check("NOT deploy AND *", "");
    check("", "");
    assert_eq!(find(store, &[&a], "deploy"), "a1", "only where it was looked for");
    assert_eq!(find(store, &[], "deploy"), "");
    assert_eq!(find(store, &[&stream("none"), &b, &b], "deploy"), "b1");
    let found = &page(store, both, "미팅", 1, None)[0];
    assert_eq!((&*found.entry.text, found.entry.data.len() > 2), ("ㅋㅋㅋㅋ 미팅 취소", true));
}

pub fn paging(store: &Store) {
    let rooms: Vec<StreamId> = (0..5).map(|number| stream(&format!("r{number}/"))).collect();
    for round in 0..12 {
        for room in &rooms {
            append(store, room, &[&format!("needle {round}"), "hay"]);
        }
    }
    let all: Vec<&StreamId> = rooms.iter().collect();
    let (mut found, mut pages): (Vec<Found>, usize) = (Vec::new(), 0);
    loop {
        let next = page(store, &all, "needle", 7, found.last());
        if next.is_empty() {
            break;
        }
        found.extend(next);
        pages += 1;
    }
    assert_eq!((found.len(), pages), (60, 9));
    let rank = |one: &Found| (one.entry.at_ms, one.stream.clone(), one.entry.offset);
    assert!(found.is_sorted_by(|a, b| rank(a) > rank(b)), "the newest first, none twice");
}

pub fn gone(store: &Store) {
    let a = stream("a");
    append(store, &a, &["secret plan", "another secret", "비밀 이야기", "keep this"]);
    store.log().change(&a, 1, Change::Edit(entry("public plan"))).wait().unwrap();
    assert_eq!(find(store, &[&a], "secret"), "a2");
    assert_eq!(find(store, &[&a], "public plan"), "a1");
    store.log().change(&a, 2, Change::Remove).wait().unwrap();
    store.log().change(&a, 3, Change::Remove).wait().unwrap();
    assert_eq!(find(store, &[&a], "secret"), "");
    assert_eq!(find(store, &[&a], "비밀"), "");
    store.log().trim(&a, Keep { entries_max: Some(1), ..Keep::default() }).wait().unwrap();
    assert_eq!(find(store, &[&a], "plan"), "");
    assert_eq!(find(store, &[&a], "keep"), "a4");
    while !store.log().remove(&a).wait().unwrap() {}
    append(store, &a, &["other"]);
    assert_eq!(find(store, &[&a], "keep"), "");
}
