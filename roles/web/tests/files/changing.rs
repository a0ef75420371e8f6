//! Files that change, come and go.

use std::time::{Duration, SystemTime};

use crate::site::Site;

/// Gives a file a time of change that lies back far enough to be trusted.
fn set_age(site: &Site, path: &str, seconds: u64) {
    let file = std::fs::File::options().write(true).open(site.root().join(path)).unwrap();
    #[allow(clippy::disallowed_methods)] // the age of a test's file, not a decision
    let then = SystemTime::now() - Duration::from_secs(seconds);
    file.set_modified(then).unwrap();
}

// Goal: a change shows after `cache_valid`, and not before; a removal and a new file likewise.
#[test]
fn changes_show_after_the_validity() {
    let site = Site::with(&[("a.txt", "one"), ("b.txt", "b")], |_| {});
    set_age(&site, "a.txt", 100);
    let first = site.get("/a.txt");
    assert_eq!((first.text(), site.get("/new.txt").status, site.get("/b.txt").status), ("one", 404, 200));

    site.write("a.txt", b"two");
    site.write("new.txt", b"new");
    std::fs::remove_file(site.root().join("b.txt")).unwrap();
    site.advance(999);
    assert_eq!(
        (site.get("/a.txt").text(), site.get("/new.txt").status, site.get("/b.txt").status),
        ("one", 404, 200)
    );
    site.advance(1);
    let second = site.get("/a.txt");
    assert_eq!((second.text(), site.get("/new.txt").text(), site.get("/b.txt").status), ("two", "new", 404));
    assert_ne!(first.etag(), second.etag());
}

// Goal: with a validity of 0 every change shows at once.
#[test]
fn without_validity_every_change_shows() {
    let site = Site::with(&[("a.txt", "0")], |o| o.cache_valid_ms = 0);
    for n in 1..20 {
        site.write("a.txt", n.to_string().as_bytes());
        assert_eq!(site.get("/a.txt").text(), n.to_string());
    }
}

// Goal: a file rewritten within one tick of the file system's clock, same size, is still noticed.
// Method: both versions get the very same time, as a coarse clock would give them.
#[test]
fn a_change_that_left_no_trace_in_the_times_is_noticed() {
    let site = Site::with(&[("a.txt", "one")], |_| {});
    let modified = std::fs::metadata(site.root().join("a.txt")).unwrap().modified().unwrap();
    assert_eq!(site.get("/a.txt").text(), "one");
    site.write("a.txt", b"two");
    std::fs::File::options()
        .write(true)
        .open(site.root().join("a.txt"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    site.advance(1000);
    assert_eq!(site.get("/a.txt").text(), "two");
}

// Goal: a deploy that flips the link the root is reached by is followed, cache or not.
#[test]
fn a_replaced_root_is_followed() {
    use std::os::unix::fs::symlink;
    let site = Site::with(&[("index.html", "unused")], |_| {});
    let outside = site.outside().to_owned();
    let at = |name: &str| outside.join(name);
    for release in ["one", "two"] {
        crate::site::write(&at(release).join("index.html"), release.as_bytes());
    }
    symlink("one", at("current")).unwrap();
    let site = site.serving(at("current"));
    assert_eq!(site.get("/").text(), "one");
    symlink("two", at("next")).unwrap();
    std::fs::rename(at("next"), at("current")).unwrap();
    assert_eq!(site.get("/").text(), "one");
    site.advance(1000);
    assert_eq!(site.get("/").text(), "two");

    // A root that is gone for a moment does no harm.
    std::fs::remove_file(at("current")).unwrap();
    site.advance(1000);
    assert_eq!(site.get("/").text(), "two");
}

// Goal: a reload, and a second site of the same folder, find what is already open; another policy does not.
#[test]
fn folders_read_the_same_way_share_what_is_open() {
    let site = Site::with(&[("a.txt", "x"), (".b", "hidden")], |_| {});
    assert_eq!(
        (site.get("/a.txt").status, site.get("/.b").status, site.caches.open_files().0),
        (200, 404, 2)
    );
    let root = site.root();
    let site = site.serving(root.clone());
    assert_eq!((site.get("/a.txt").status, site.caches.open_files().0), (200, 2));
    let site = site.serving_with(root, |o| o.dotfiles = true);
    assert_eq!(
        (site.get("/a.txt").status, site.get("/.b").text(), site.caches.open_files().0),
        (200, "hidden", 4)
    );
}

// Goal: the same tree on two machines has the same tags, although inodes differ.
#[test]
fn tags_depend_on_size_and_time_only() {
    let (one, two) =
        (Site::with(&[("a.txt", "same")], |_| {}), Site::with(&[("b", ""), ("a.txt", "same")], |_| {}));
    let modified = std::fs::metadata(one.root().join("a.txt")).unwrap().modified().unwrap();
    std::fs::File::options()
        .write(true)
        .open(two.root().join("a.txt"))
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_eq!(one.get("/a.txt").etag(), two.get("/a.txt").etag());
}

// Goal: the cache is bounded in entries and bytes whatever is asked for.
#[test]
fn the_cache_is_bounded() {
    let files: Vec<(String, String)> = (0..40).map(|n| (format!("{n}.txt"), "x".repeat(20_000))).collect();
    let tree: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let site = Site::with(&tree, |_| {}).with_limits(30, 200_000);
    for n in 0..200 {
        let answer = site.get(&format!("/{n}.txt"));
        assert_eq!(answer.status, if n < 40 { 200 } else { 404 });
        let (entries, bytes) = site.caches.open_files();
        assert!(entries <= 30 && bytes <= 200_000, "{entries} entries, {bytes} bytes");
    }
}

// Goal: a file from the future has no date to be trusted, and is served.
#[test]
fn files_from_the_future_have_no_date() {
    let site = Site::with(&[("a.txt", "x")], |_| {});
    let file = std::fs::File::options().write(true).open(site.root().join("a.txt")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(33_000_000_000)).unwrap();
    let answer = site.ask("GET", "/a.txt", &[("if-modified-since", "Fri, 31 Dec 9999 23:59:59 GMT")]);
    assert_eq!((answer.status, answer.field("last-modified")), (200, None));
}
