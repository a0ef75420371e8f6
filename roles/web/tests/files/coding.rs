//! Compressed answers: files beside the file, and codings made while serving.

use std::io::Read;
use std::time::Duration;

use crate::site::{Answer, Site};

const ALL: (&str, &str) = ("accept-encoding", "gzip, deflate, br, zstd");

pub(crate) fn decoded(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    match answer.field("content-encoding") {
        None => out.extend_from_slice(&answer.body),
        Some("br") => drop(brotli::Decompressor::new(&answer.body[..], 4096).read_to_end(&mut out).unwrap()),
        Some("zstd") => out = zstd::stream::decode_all(&answer.body[..]).unwrap(),
        Some("gzip") => drop(flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut out).unwrap()),
        Some(other) => panic!("nobody asked for {other}"),
    }
    out
}

pub(crate) fn prose(bytes: usize) -> String {
    let mut text = String::new();
    let mut n = 0_u32;
    while text.len() < bytes {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(&format!("line {} of the courtyard, {}\n", n % 977, n % 13));
    }
    text.truncate(bytes);
    text
}

// Goal: the form that is sent follows the client's wishes; who might have got another is told by `vary`.
// Method: a tree with a small text, a picture, a tiny text; a table of wishes.
#[test]
fn the_form_follows_the_wishes() {
    let text = prose(20_000);
    let site =
        Site::with(&[("a.txt", &text), ("a.png", &text), ("tiny.txt", "tiny"), ("x.unknown", &text)], |_| {});
    let check = |target: &str, wishes: &str, status: u16, coding: Option<&str>, vary: Option<&str>| {
        let answer = site.ask("GET", target, &[("accept-encoding", wishes)]);
        let got = (answer.status, answer.field("content-encoding"), answer.field("vary"));
        assert_eq!(got, (status, coding, vary), "{target} {wishes}");
        if status == 200 && target != "/tiny.txt" {
            assert_eq!(decoded(&answer), text.as_bytes(), "{target} {wishes}");
        }
    };
    let vary = Some("accept-encoding");
    check("/a.txt", "gzip, deflate, br, zstd", 200, Some("zstd"), vary);
    check("/a.txt", "gzip, deflate, br", 200, Some("br"), vary);
    check("/a.txt", "gzip, br;q=0.5", 200, Some("gzip"), vary);
    check("/a.txt", "deflate", 200, None, vary);
    check("/a.txt", "", 200, None, vary);
    check("/a.txt", "identity, gzip;q=0.5", 200, None, vary);
    check("/a.txt", "identity;q=0, gzip", 200, Some("gzip"), vary);
    check("/a.txt", "identity;q=0", 406, None, vary);
    check("/a.txt", "*", 200, Some("zstd"), vary);
    check("/a.png", "gzip, br", 200, None, None);
    check("/a.png", "identity;q=0, gzip", 406, None, None);
    check("/x.unknown", "gzip, br", 200, None, None);
    check("/tiny.txt", "gzip, br", 200, None, None);
    assert_eq!(site.get("/a.txt").field("vary"), vary, "no wish at all");
}

// Goal: a made form is weakly named, answers its own conditions, has the fields of GET on HEAD, and no ranges.
#[test]
fn a_made_form_keeps_its_promises() {
    let text = prose(20_000);
    let site = Site::with(&[("a.txt", &text)], |_| {});
    let plain = site.get("/a.txt");
    let made = site.ask("GET", "/a.txt", &[ALL]);
    assert_eq!(made.etag(), format!("W/{}-zstd\"", plain.etag().trim_end_matches('"')));
    assert_eq!(made.field("accept-ranges"), None);

    let head = site.ask("HEAD", "/a.txt", &[ALL]);
    assert_eq!((&head.fields, head.length), (&made.fields, made.length));
    let again = site.ask("GET", "/a.txt", &[ALL, ("if-none-match", made.etag())]);
    assert_eq!((again.status, again.body.len(), again.field("etag")), (304, 0, Some(made.etag())));
    assert_eq!(again.field("vary"), Some("accept-encoding"));
    // The plain form's tag is another file to a client that now takes zstd.
    assert_eq!(site.ask("GET", "/a.txt", &[ALL, ("if-none-match", plain.etag())]).status, 200);

    let part = site.ask("GET", "/a.txt", &[ALL, ("range", "bytes=10-19")]);
    assert_eq!(
        (part.status, part.field("content-encoding"), &part.body[..]),
        (206, None, &text.as_bytes()[10..20])
    );
    let guarded = site.ask("GET", "/a.txt", &[ALL, ("if-match", plain.etag())]);
    assert_eq!((guarded.status, guarded.field("content-encoding")), (200, None));
}

// Goal: files beside the file are used, where they are not older, each under its own tag, ranges included.
#[test]
fn files_beside_the_file_are_used() {
    let site =
        Site::with(&[("a.js", &prose(5000)), ("a.js.br", "the br form"), ("a.js.gz", "the gz form")], |_| {});
    let check = |wishes: &str, body: &str| {
        let answer = site.ask("GET", "/a.js", &[("accept-encoding", wishes)]);
        assert_eq!(
            (answer.text(), answer.field("content-type")),
            (body, Some("text/javascript; charset=utf-8"))
        );
        assert_eq!(answer.field("vary"), Some("accept-encoding"));
        answer.etag().to_owned()
    };
    let br = check("br, gzip", "the br form");
    let gz = check("gzip", "the gz form");
    let plain = site.get("/a.js").etag().to_owned();
    assert!(br != gz && gz != plain && !br.starts_with("W/") && br.ends_with("-br\""), "{br} {gz} {plain}");

    let part =
        site.ask("GET", "/a.js", &[("accept-encoding", "br"), ("range", "bytes=4-5"), ("if-range", &br)]);
    assert_eq!((part.status, part.text(), part.field("content-range")), (206, "br", Some("bytes 4-5/11")));
    let changed =
        site.ask("GET", "/a.js", &[("accept-encoding", "br"), ("range", "bytes=4-5"), ("if-range", &plain)]);
    assert_eq!((changed.status, changed.text()), (200, "the br form"));
    // Asked for by its own name it is just a file.
    assert_eq!(site.get("/a.js.br").field("content-encoding"), None);
}

// Goal: a form that is older than the file is not sent; one that appears later is.
#[test]
fn stale_forms_are_not_used() {
    let site = Site::with(&[("a.svg", "<svg>new</svg>"), ("a.svg.br", "old form")], |_| {});
    let modified = std::fs::metadata(site.root().join("a.svg")).unwrap().modified().unwrap();
    let set = |at| {
        std::fs::File::options()
            .write(true)
            .open(site.root().join("a.svg.br"))
            .unwrap()
            .set_modified(at)
            .unwrap();
    };
    set(modified - Duration::from_nanos(10_000_000));
    assert_eq!(site.ask("GET", "/a.svg", &[ALL]).text(), "<svg>new</svg>");
    set(modified);
    site.advance(1000);
    assert_eq!(site.ask("GET", "/a.svg", &[ALL]).text(), "old form");
    std::fs::remove_file(site.root().join("a.svg.br")).unwrap();
    site.advance(1000);
    assert_eq!(site.ask("GET", "/a.svg", &[ALL]).text(), "<svg>new</svg>");
}

// Goal: a large file is compressed away from the worker, once however many ask, and remembered.
#[test]
fn a_large_file_is_compressed_once_for_all_who_ask() {
    let text = prose(500_000);
    let site = Site::with(&[("big.txt", &text)], |_| {});
    let answers = site.ask_together("/big.txt", &[ALL], 5);
    let bytes: Vec<_> = answers.iter().map(|answer| answer.shared_body().expect("bytes in memory")).collect();
    assert!(bytes.windows(2).all(|pair| pair[0] == pair[1]), "all were given the same memory: {bytes:?}");
    for answer in &answers {
        assert_eq!(
            (answer.field("content-encoding"), decoded(answer) == text.as_bytes()),
            (Some("zstd"), true)
        );
    }
    let later = site.ask("GET", "/big.txt", &[ALL]);
    assert_eq!(later.shared_body(), answers[0].shared_body());
    assert!(site.caches.compressed_bytes() < text.len() / 2);
}

// Goal: a client that leaves while its file is compressed takes nothing from the next one.
#[test]
fn a_client_that_leaves_spoils_nothing() {
    let text = prose(500_000);
    let site = Site::with(&[("big.txt", &text)], |_| {});
    site.ask_and_leave("/big.txt", &[ALL]);
    let answer = site.ask("GET", "/big.txt", &[ALL]);
    assert_eq!((answer.field("content-encoding"), decoded(&answer) == text.as_bytes()), (Some("zstd"), true));
}

// Goal: what does not shrink goes as it is, and is not tried again; what is too large is never tried.
#[test]
fn what_does_not_shrink_goes_as_it_is() {
    let mut state = 7_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
    .take(30_000)
    .collect();
    let site = Site::with(&[("long.txt", &prose(9 << 20))], |_| {});
    site.write("noise.txt", &noise);
    for _ in 0..2 {
        for target in ["/noise.txt", "/long.txt"] {
            let answer = site.ask("GET", target, &[("accept-encoding", "zstd")]);
            assert_eq!((answer.status, answer.field("content-encoding")), (200, None), "{target}");
        }
    }
}

// Goal: after a change nobody gets the old form.
#[test]
fn a_changed_file_is_compressed_anew() {
    let (one, two) = (prose(20_000), prose(21_000).replace("line", "LINE"));
    let site = Site::with(&[("a.txt", &one)], |_| {});
    assert_eq!(decoded(&site.ask("GET", "/a.txt", &[ALL])), one.as_bytes());
    site.write("a.txt", two.as_bytes());
    site.advance(1000);
    assert_eq!(decoded(&site.ask("GET", "/a.txt", &[ALL])), two.as_bytes());
}
