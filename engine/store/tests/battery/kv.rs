//! Key-value's part of the battery.

use std::time::Duration;

use bytes::Bytes;
use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::kv::{Put, When};

fn put(store: &Store, key: &str, value: &'static str, when: When) -> Put {
    store.kv().put("test", key, Bytes::from_static(value.as_bytes()), when, None).wait().unwrap()
}

fn get(store: &Store, key: &str) -> Option<String> {
    let held = store.kv().get("test", key).wait().unwrap();
    held.map(|held| String::from_utf8(held.value.to_vec()).unwrap())
}

#[track_caller]
fn version(put: &Put) -> u64 {
    match put {
        Put::Done(version) => *version,
        Put::Held(held) => panic!("not written: {held:?}"),
    }
}

pub fn values(store: &Store) {
    assert_eq!(get(store, "a"), None);
    put(store, "a", "1", When::Always);
    put(store, "a", "2", When::Always);
    put(store, "", "empty key", When::Always);
    store.kv().put("other", "a", Bytes::from_static(&[0, 255]), When::Always, None).wait().unwrap();
    assert_eq!(get(store, "a").as_deref(), Some("2"));
    assert_eq!(get(store, "").as_deref(), Some("empty key"));
    assert_eq!(store.kv().get("other", "a").wait().unwrap().unwrap().value, Bytes::from_static(&[0, 255]));
    assert_eq!(store.kv().delete("test", "a", When::Always).wait().unwrap(), Put::Done(0));
    assert_eq!(store.kv().delete("test", "a", When::Always).wait().unwrap(), Put::Done(0));
    assert_eq!(get(store, "a"), None);
    let refused = |namespace: &str, key: &str, value: usize| {
        let put = store.kv().put(namespace, key, vec![0; value].into(), When::Always, None);
        put.wait().unwrap_err().name()
    };
    assert_eq!(refused("", "a", 0), "invalid");
    assert_eq!(refused(&"n".repeat(65), "a", 0), "too-large");
    assert_eq!(refused("n", &"k".repeat(513), 0), "too-large");
    assert_eq!(refused("n", "a\0", 0), "invalid");
    assert_eq!(refused("n", "a", 1024 * 1024 + 1), "too-large");
}

pub fn compare_and_set(store: &Store) {
    let first = version(&put(store, "a", "1", When::Absent));
    assert!(matches!(put(store, "a", "2", When::Absent), Put::Held(Some(held)) if held.version == first));
    let second = version(&put(store, "a", "2", When::Version(first)));
    assert!(second > first);
    assert!(
        matches!(put(store, "a", "3", When::Version(first)), Put::Held(Some(held)) if held.version == second)
    );
    assert_eq!(put(store, "b", "1", When::Version(first)), Put::Held(None));
    assert!(matches!(
        store.kv().delete("test", "a", When::Version(first)).wait().unwrap(),
        Put::Held(Some(_))
    ));
    assert_eq!(get(store, "a").as_deref(), Some("2"));
    store.kv().delete("test", "a", When::Version(second)).wait().unwrap();
    let third = version(&put(store, "a", "1", When::Absent));
    assert!(third > second, "a version is given once");
    // Many at once: one of them wins.
    let wins: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| put(store, "race", "x", When::Absent))).collect();
        let won = |put: &Put| matches!(put, Put::Done(_));
        callers.into_iter().map(|caller| caller.join().unwrap()).filter(won).count()
    });
    assert_eq!(wins, 1);
}

pub fn expiry(store: &Store) {
    let none = Some(Duration::ZERO);
    store.kv().put("test", "gone", Bytes::from_static(b"x"), When::Always, none).wait().unwrap();
    let long = Some(Duration::from_secs(3600));
    store.kv().put("test", "here", Bytes::from_static(b"x"), When::Always, long).wait().unwrap();
    store
        .kv()
        .put("test", "for ever", Bytes::from_static(b"x"), When::Always, Some(Duration::MAX))
        .wait()
        .unwrap();
    assert_eq!(get(store, "gone"), None);
    assert_eq!(get(store, "here").as_deref(), Some("x"));
    assert!(store.kv().get("test", "here").wait().unwrap().unwrap().expires_ms.is_some());
    let keys: Vec<String> =
        store.kv().scan("test", "", None, 10).wait().unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["for ever", "here"]);
    version(&put(store, "gone", "again", When::Absent));
    assert_eq!(get(store, "gone").as_deref(), Some("again"), "made again, it lasts");
    put(store, "here", "y", When::Always);
    assert_eq!(store.kv().get("test", "here").wait().unwrap().unwrap().expires_ms, None);
}

pub fn scanning(store: &Store) {
    for key in ["b/2", "b/1", "a", "b", "c", "b/10", "b0", "비/1"] {
        put(store, key, "x", When::Always);
    }
    store.kv().put("other", "b/9", Bytes::new(), When::Always, None).wait().unwrap();
    let scan = |prefix: &str, after: Option<&str>, most: usize| {
        let found = store.kv().scan("test", prefix, after, most).wait().unwrap();
        found.into_iter().map(|(key, _)| key).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(scan("b/", None, 10), "b/1 b/10 b/2");
    assert_eq!(scan("b", None, 10), "b b/1 b/10 b/2 b0");
    assert_eq!(scan("b/", Some("b/1"), 1), "b/10");
    assert_eq!(scan("b/", Some("b/2"), 1), "");
    assert_eq!(scan("", None, 2), "a b");
    assert_eq!(scan("비", None, 2), "비/1");
    assert_eq!(scan("b%", None, 2), "");
    assert_eq!(scan("z", Some("a"), 2), "");
}

pub fn counters(store: &Store) {
    let add = |key: &str, more| store.kv().add("test", key, more, None).wait().map(|count| count.value);
    assert_eq!(add("n", 5), Ok(5));
    assert_eq!(add("n", -7), Ok(-2));
    assert_eq!(get(store, "n").as_deref(), Some("-2"));
    assert_eq!(add("top", i64::MAX), Ok(i64::MAX));
    assert_eq!(add("top", 1), Err(StoreError::NoCounter));
    assert_eq!(add("top", 0), Ok(i64::MAX), "a refusal changes nothing");
    put(store, "word", "abc", When::Always);
    assert_eq!(add("word", 1), Err(StoreError::NoCounter));
    let hour = Some(Duration::from_secs(3600));
    let first = store.kv().add("test", "window", 1, hour).wait().unwrap();
    let second = store.kv().add("test", "window", 1, Some(Duration::ZERO)).wait().unwrap();
    assert_eq!((second.value, second.expires_ms), (2, first.expires_ms), "an addition prolongs nothing");
    let many: Vec<_> = (0..100).map(|_| store.kv().add("test", "many", 1, None)).collect();
    let last = many.into_iter().map(|count| count.wait().unwrap().value).max();
    assert_eq!(last, Some(100));
}
