//! Whatever a client sends, the answer is one of those RFC 9110 knows, and its bytes are right.

use proptest::prelude::*;

use crate::coding::{decoded, prose};
use crate::site::{Answer, Site};

const TARGETS: [&str; 5] = ["/small.txt", "/large.txt", "/beside.css", "/picture.png", "/empty.txt"];

/// Values a field may have; `{etag}` and `{date}` stand for those of the file.
const VALUES: &[(&str, &[&str])] = &[
    (
        "accept-encoding",
        &["gzip", "br, gzip", "zstd;q=0.1", "identity;q=0", "identity;q=0, gzip", "*", "*;q=0", "", ";;,q"],
    ),
    (
        "range",
        &[
            "bytes=0-",
            "bytes=5-9",
            "bytes=-7",
            "bytes=1-2,4-5,9-",
            "bytes=999999999-",
            "bytes=9-1",
            "lines=1-2",
            "bytes=0-0,0-1,2-90",
        ],
    ),
    ("if-range", &["{etag}", "\"other\"", "{date}", "W/{etag}", "junk"]),
    ("if-none-match", &["{etag}", "W/{etag}", "*", "\"other\"", "junk", "\"a\", {etag}"]),
    ("if-match", &["{etag}", "W/{etag}", "*", "\"other\"", "junk"]),
    ("if-modified-since", &["{date}", "Thu, 01 Jan 1970 00:00:00 GMT", "junk"]),
    ("if-unmodified-since", &["{date}", "Thu, 01 Jan 1970 00:00:00 GMT", "junk"]),
];

/// The bytes of a multipart body: each part's range and content.
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let content_type = answer.field("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").expect("a multipart");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut rest = &answer.body[..];
    let mut parts = Vec::new();
    let delimiter = format!("--{boundary}");
    rest = rest.strip_prefix(delimiter.as_bytes()).expect("begins with the boundary");
    while !rest.starts_with(b"--") {
        let end_of_head = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = text(&rest[..end_of_head]);
        let range =
            head.lines().find_map(|line| line.strip_prefix("content-range: ")).expect("a range").to_owned();
        rest = &rest[end_of_head + 4..];
        let end = format!("\r\n{delimiter}");
        let length = rest.windows(end.len()).position(|window| window == end.as_bytes()).expect("an end");
        parts.push((range, rest[..length].to_vec()));
        rest = &rest[length + end.len()..];
    }
    assert_eq!(rest, b"--\r\n");
    parts
}

fn check_part(range: &str, bytes: &[u8], whole: &[u8]) {
    let (span, length) =
        range.strip_prefix("bytes ").and_then(|range| range.split_once('/')).expect("bytes a-b/c");
    let (first, last) = span.split_once('-').expect("a-b");
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    assert_eq!(length.parse::<usize>().unwrap(), whole.len());
    assert_eq!(bytes, &whole[first..=last]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    // Goal: any combination of fields gets a status that makes sense and the bytes it announces; HEAD tells what GET has.
    // Method: every answer is checked against the file, decoded, cut and counted.
    #[test]
    fn any_combination_of_fields_is_answered_rightly(
        target in proptest::sample::select(&TARGETS[..]),
        picks in proptest::collection::vec(proptest::option::of(any::<u8>()), VALUES.len()),
    ) {
        thread_local!(static SITE: Site = {
            let (small, large) = (prose(3000), prose(90_000));
            let tree = [
                ("small.txt", &*small), ("large.txt", &*large), ("beside.css", "plain form of it"),
                ("beside.css.gz", "gzip form, not really"), ("picture.png", &*large), ("empty.txt", ""),
            ];
            Site::with(&tree, |_| {})
        });
        SITE.with(|site| {
            let whole = std::fs::read(site.root().join(&target[1..])).unwrap();
            let plain = site.get(target);
            let mut fields = Vec::new();
            for ((name, values), pick) in VALUES.iter().zip(&picks) {
                if let Some(pick) = pick {
                    let value = values[usize::from(*pick) % values.len()]
                        .replace("{etag}", plain.etag())
                        .replace("{date}", plain.field("last-modified").unwrap());
                    fields.push((*name, value));
                }
            }
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = site.ask("GET", target, &fields);
            let head = site.ask("HEAD", target, &fields);
            let has = |name: &str| fields.iter().any(|(have, _)| *have == name);
            // The bytes of the form that was chosen.
            let beside = answer.field("content-encoding") == Some("gzip") && target == "/beside.css";
            let form = if beside { b"gzip form, not really".to_vec() } else { whole.clone() };
            match answer.status {
                200 => {
                    prop_assert_eq!(if beside { answer.body.clone() } else { decoded(&answer) }, form);
                    prop_assert!(answer.length == Some(answer.body.len() as u64));
                }
                206 => {
                    prop_assert!(has("range"));
                    match answer.field("content-range") {
                        Some(range) => check_part(range, &answer.body, &form),
                        None => parts(&answer).iter().for_each(|(range, bytes)| check_part(range, bytes, &form)),
                    }
                }
                304 => {
                    prop_assert!(has("if-none-match") || has("if-modified-since"));
                    prop_assert!(answer.body.is_empty() && answer.field("etag").is_some());
                    prop_assert_eq!(answer.field("content-type"), None);
                }
                406 => prop_assert!(has("accept-encoding")),
                412 => prop_assert!(has("if-match") || has("if-unmodified-since")),
                416 => {
                    prop_assert!(has("range"));
                    // An error has no content-encoding to tell which form was meant: either length is right.
                    let length = answer.field("content-range").and_then(|range| range.strip_prefix("bytes */"));
                    let beside = "gzip form, not really".len();
                    let lengths = [whole.len(), if target == "/beside.css" { beside } else { whole.len() }];
                    let length = length.and_then(|length| length.parse().ok());
                    prop_assert!(length.is_some_and(|length| lengths.contains(&length)));
                }
                other => prop_assert!(false, "status {}", other),
            }
            prop_assert!(answer.status < 400 || answer.failure.is_some());
            prop_assert!(head.body.is_empty());
            // HEAD knows no ranges (RFC 9110 14.2): without one, all is the same.
            if !has("range") {
                prop_assert_eq!(head.status, answer.status);
                prop_assert_eq!(&head.fields, &answer.fields);
            }
            Ok(())
        })?;
    }
}
