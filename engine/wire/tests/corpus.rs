//! Goal: every malformed or ambiguous request of the corpus is refused with the status and name it deserves, every odd but
//! valid one has exactly one reading.
//! Method: each case is fed whole and byte by byte through head parser and chunked decoder; both must agree with the data.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at what it did not expect

use madang_wire::http1::chunked::{Chunk, ChunkedDecoder};
use madang_wire::http1::head::{HeadParser, Parsed};
use madang_wire::request::{Framing, HeadLimits, RequestHead};

const LIMITS: HeadLimits =
    HeadLimits { head_bytes_max: 16 * 1024, fields_max: 100, target_bytes_max: 8 * 1024 };

struct Case {
    id: String,
    expect: String,
    bytes: Vec<u8>,
}

/// What was read: a refusal, or the facts of the canonical request.
#[derive(Debug, PartialEq)]
enum Reading {
    Refused(u16, &'static str),
    Accepted(Vec<(&'static str, String)>),
    Unfinished,
}

#[test]
fn every_case_is_read_as_the_corpus_says() {
    let cases = corpus();
    let refused = cases.iter().filter(|case| !case.expect.starts_with("ok ")).count();
    assert!(refused >= 150, "only {refused} malformed cases");
    let mut wrong = Vec::new();
    for case in &cases {
        for step in [usize::MAX, 1, 7] {
            let got = read(&case.bytes, step, &LIMITS);
            if !agrees(&case.expect, &got) {
                wrong.push(format!("{} (fed by {step}): want {}, got {got:?}", case.id, case.expect));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len() * 3, wrong.join("\n"));
}

// Goal: which limit a head breaks does not depend on how much of it arrived at once.
// Method: faults behind the limit, which only a parser that looks too far can see; a line longer than either limit.
#[test]
fn what_lies_behind_the_limit_of_a_head_is_not_looked_at() {
    let limits = HeadLimits { head_bytes_max: 40, fields_max: 9, target_bytes_max: 20 };
    check("GET / HTTP/1.1\r\nHost: a\r\nX: 0123456789012345678\n\r\n", &limits, "head-too-large");
    check("GET / HTTP/1.1\r\nHost: a\r\nX: 012345678901234\r\n\r\n", &limits, "head-too-large");
    check("GET /01234567890123456789012345678901234567890 HTTP/1.1\n", &limits, "target-too-long");
    check("\r\nGET /012345678901234567890123456789012345678 HTTP/1.1\n", &limits, "target-too-long");
    let wide = HeadLimits { target_bytes_max: 60, ..limits };
    check(
        "GET /0123456789012345678901234567890123456789012345678901234567890 HTTP/1.1\n",
        &wide,
        "head-too-large",
    );

    #[track_caller]
    fn check(bytes: &str, limits: &HeadLimits, want: &'static str) {
        for step in [usize::MAX, 1, 7] {
            let Reading::Refused(_, name) = read(bytes.as_bytes(), step, limits) else {
                panic!("{bytes:?} is not refused")
            };
            assert_eq!(name, want, "{bytes:?} fed by {step}");
        }
    }
}

/// Feeds at most `step` bytes more at a time, as a socket might.
fn read(bytes: &[u8], step: usize, limits: &HeadLimits) -> Reading {
    let (mut parser, mut head) = (HeadParser::default(), RequestHead::new());
    let mut seen = 0;
    let consumed = loop {
        match parser.parse(&bytes[..seen], false, limits, &mut head) {
            Err(error) => return Reading::Refused(error.status(), error.name()),
            Ok(Parsed::Complete { consumed }) => break consumed,
            Ok(Parsed::Partial) if seen == bytes.len() => return Reading::Unfinished,
            Ok(Parsed::Partial) => seen = seen.saturating_add(step).min(bytes.len()),
        }
    };
    let mut facts = vec![
        ("path", head.path().to_owned()),
        ("host", head.host().to_owned()),
        ("authority", head.authority().to_owned()),
        ("fields", head.fields().count().to_string()),
        ("keep", if head.keep_alive() { "yes" } else { "no" }.to_owned()),
    ];
    facts.extend(head.query().map(|query| ("query", query.to_owned())));
    facts.extend(head.get("cookie").map(|cookie| ("cookie", text(cookie))));
    let rest = &bytes[consumed..];
    match head.framing() {
        Framing::None => {}
        Framing::Length(length) => facts.push(("body", text(&rest[..usize::try_from(length).unwrap()]))),
        Framing::Chunked | Framing::Stream => match chunked(rest, step) {
            Ok((body, trailers)) => facts.extend([("body", text(&body)), ("trailers", trailers)]),
            Err(refused) => return refused,
        },
    }
    Reading::Accepted(facts)
}

fn chunked(bytes: &[u8], step: usize) -> Result<(Vec<u8>, String), Reading> {
    let (mut decoder, mut body) = (ChunkedDecoder::default(), Vec::new());
    let (mut at, mut seen) = (0, 0);
    loop {
        match decoder.decode(&bytes[at..seen]) {
            Err(error) => return Err(Reading::Refused(400, error.name())),
            Ok(Chunk::Data { skip, len }) => {
                body.extend_from_slice(&bytes[at + skip..at + skip + len]);
                at += skip + len;
            }
            Ok(Chunk::NeedMore { consumed }) => {
                at += consumed;
                if seen == bytes.len() {
                    return Err(Reading::Unfinished);
                }
                seen = seen.saturating_add(step).min(bytes.len());
            }
            Ok(Chunk::End { .. }) => {
                let trailers: Vec<_> =
                    decoder.trailers().map(|(name, value)| format!("{name}:{}", text(value))).collect();
                return Ok((body, trailers.join(",")));
            }
        }
    }
}

fn agrees(expect: &str, got: &Reading) -> bool {
    match (expect.strip_prefix("ok "), got) {
        (Some(wanted), Reading::Accepted(facts)) => wants(wanted).all(|(name, value)| {
            facts.iter().find(|(have, _)| *have == name).map_or("", |(_, value)| value) == value
        }),
        (None, Reading::Refused(status, name)) => {
            let mut status_wanted = "";
            expect.split('|').any(|one| {
                let name_wanted = match one.split_once(' ') {
                    Some((status, name)) => {
                        status_wanted = status;
                        name
                    }
                    None => one,
                };
                status_wanted == status.to_string() && name_wanted == *name
            })
        }
        _ => false,
    }
}

/// `key=value` pairs; a value may hold spaces and `=`.
fn wants(text: &str) -> impl Iterator<Item = (&str, &str)> {
    const KEYS: [&str; 9] =
        ["path", "host", "authority", "query", "cookie", "fields", "keep", "body", "trailers"];
    let starts: Vec<usize> = KEYS
        .iter()
        .flat_map(|key| {
            let key = format!("{key}=");
            text.match_indices(&key)
                .map(|(at, _)| at)
                .filter(|at| *at == 0 || text.as_bytes()[at - 1] == b' ')
                .collect::<Vec<_>>()
        })
        .collect();
    let mut starts = starts;
    starts.sort_unstable();
    starts.push(text.len() + 1);
    let ranges: Vec<_> = starts.windows(2).map(|pair| (pair[0], pair[1] - 1)).collect();
    ranges.into_iter().map(|(from, to)| text[from..to].split_once('=').unwrap())
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn corpus() -> Vec<Case> {
    let data = include_str!("../../../tests/corpus/http1/requests.tsv");
    let lines = data.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let case = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [id, expect, bytes, why] = columns[..] else { panic!("four columns: {line}") };
        assert!(!why.is_empty(), "{id} has no reason");
        Case { id: id.to_owned(), expect: expect.to_owned(), bytes: unescape(bytes) }
    };
    lines.map(case).collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let (byte, length) = match after.as_bytes()[0] {
            b'r' => (b'\r', 1),
            b'n' => (b'\n', 1),
            b't' => (b'\t', 1),
            b'\\' => (b'\\', 1),
            b'x' => (u8::from_str_radix(&after[1..3], 16).unwrap(), 3),
            other => panic!("unknown escape {other}"),
        };
        out.push(byte);
        rest = &after[length..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}
