//! Files seen from outside: ranges, conditions, escapes (RFC 9110 13, 14).

use crate::support::house::{House, PLAIN};
use crate::support::pattern;

// Goal: a file larger than any buffer arrives whole, on a connection that goes on.
// Method: bytes that differ everywhere, asked for twice, then a small file.
#[test]
fn a_large_file_arrives_whole_and_the_connection_goes_on() {
    let large = pattern(3 * 1024 * 1024 + 17);
    let house = House::start(PLAIN, &[("public/large.bin", &large), ("public/a.txt", b"alpha")]);
    let mut client = house.client();
    for _ in 0..2 {
        let answer = client.get("/large.bin");
        assert_eq!(answer.status, 200);
        assert!(answer.body == large, "the content differs");
    }
    assert_eq!(client.get("/a.txt").text(), "alpha");
}

// Goal: one range gives exactly those bytes and says which; what cannot be given says 416.
#[test]
fn a_range_gives_exactly_its_bytes() {
    let content = pattern(200_000);
    let house = House::start(PLAIN, &[("public/f.bin", &content)]);
    let mut client = house.client();
    let mut check = |range: &str, from: usize, to: usize| {
        let answer = client.ask("GET", "/f.bin", &format!("Range: {range}\r\n"));
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.field("content-range"), Some(format!("bytes {from}-{to}/200000")), "{range}");
        assert!(answer.body == content[from..=to], "{range}: the content differs");
    };
    check("bytes=0-0", 0, 0);
    check("bytes=100000-", 100_000, 199_999);
    check("bytes=-5", 199_995, 199_999);
    check("bytes=150000-999999999", 150_000, 199_999);

    let beyond = client.ask("GET", "/f.bin", "Range: bytes=200000-\r\n");
    assert_eq!((beyond.status, beyond.field("content-range").as_deref()), (416, Some("bytes */200000")));
    for ignored in ["bytes=5-2", "lines=1-2", "bytes=x"] {
        let answer = client.ask("GET", "/f.bin", &format!("Range: {ignored}\r\n"));
        assert_eq!((answer.status, answer.body.len()), (200, content.len()), "{ignored}");
    }
}

// Goal: several ranges come as multipart/byteranges whose parts hold those bytes.
#[test]
fn several_ranges_come_in_parts() {
    let house = House::start(PLAIN, &[("public/f.txt", b"0123456789")]);
    let answer = house.client().ask("GET", "/f.txt", "Range: bytes=0-1,8-9\r\n");
    assert_eq!(answer.status, 206);
    let kind = answer.field("content-type").unwrap();
    assert!(kind.starts_with("multipart/byteranges; boundary="), "{kind}");
    let text = answer.text();
    for part in ["bytes 0-1/10", "bytes 8-9/10", "\r\n\r\n01\r\n", "\r\n\r\n89\r\n"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

// Goal: conditions are weighed in the order of RFC 9110 13.2.2.
#[test]
fn conditions_decide_between_200_304_and_412() {
    let house = House::start(PLAIN, &[("public/a.txt", b"alpha")]);
    let mut client = house.client();
    let first = client.get("/a.txt");
    let (etag, date) = (first.field("etag").unwrap(), first.field("last-modified").unwrap());
    let mut check = |fields: &str, want: u16| {
        assert_eq!(client.ask("GET", "/a.txt", fields).status, want, "{fields:?}");
    };
    check(&format!("If-None-Match: {etag}\r\n"), 304);
    check(&format!("If-None-Match: \"other\", W/{etag}\r\n"), 304);
    check("If-None-Match: \"other\"\r\n", 200);
    check("If-None-Match: *\r\n", 304);
    check(&format!("If-Modified-Since: {date}\r\n"), 304);
    check("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 200);
    check(&format!("If-None-Match: \"other\"\r\nIf-Modified-Since: {date}\r\n"), 200);
    check(&format!("If-Match: {etag}\r\n"), 200);
    check("If-Match: \"other\"\r\n", 412);
    check("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 412);
    check(&format!("If-Range: {etag}\r\nRange: bytes=0-1\r\n"), 206);
    check("If-Range: \"other\"\r\nRange: bytes=0-1\r\n", 200);
}

// Goal: no spelling of a path, and no link, leads out of the folder or to a hidden file.
#[test]
fn no_spelling_leads_out_of_the_folder() {
    let files: [(&str, &[u8]); 3] =
        [("secret.txt", b"SECRET"), ("public/.env", b"SECRET"), ("public/in/a.txt", b"alpha")];
    let house = House::start(PLAIN, &files);
    std::os::unix::fs::symlink(house.path("secret.txt"), house.path("public/link.txt")).unwrap();
    for target in [
        "/../secret.txt",
        "/in/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/in/%2e%2e/%2e%2e/secret.txt",
        "/..%5csecret.txt",
        "/in/..;/../../secret.txt",
        "//../secret.txt",
        "/.env",
        "/%2eenv",
        "/in/../.env",
        "/link.txt",
        "/secret.txt%00.html",
    ] {
        let answer = house.client().get(target);
        assert!(!answer.text().contains("SECRET"), "{target} gave it away");
        assert!((300..500).contains(&answer.status), "{target}: {}", answer.status);
    }
    // Negative space: what stays inside is served.
    assert_eq!(house.client().get("/in/../in/./a.txt").text(), "alpha");
}

// Goal: a file replaced on disk is served as new, with a new validator.
#[test]
fn a_replaced_file_is_noticed() {
    let house = House::start(
        &PLAIN.replace("files = \"public\"", "files = \"public\", cache_valid = \"0s\""),
        &[("public/a.txt", b"before")],
    );
    let mut client = house.client();
    let before = client.get("/a.txt");
    house.write("new.txt", "after!");
    std::fs::rename(house.path("new.txt"), house.path("public/a.txt")).unwrap();
    let after = client.get("/a.txt");
    assert_eq!(after.text(), "after!");
    assert_ne!(before.field("etag"), after.field("etag"));
}
