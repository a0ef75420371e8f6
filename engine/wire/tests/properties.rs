//! Goal: the laws of the parsers (`laws`) hold for any bytes, not only for those that somebody thought of.
//! Method: proptest makes heads, bodies, paths and addresses that are nearly right and lets them arrive in any pieces;
//! the corpora that the fuzz targets keep (`fuzz/corpus`) are run through the same laws, so that a bug once found stays found.
#![allow(clippy::unwrap_used)] // a test may stop at what it did not expect

mod laws;

use std::net::SocketAddr;
use std::path::Path;

use laws::Pieces;
use madang_wire::http1::chunked::{Chunk, ChunkedDecoder, write_chunk_head, write_last_chunk};
use madang_wire::request::{Parts, Scheme, Version};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Request lines, most of them fine.
fn line() -> impl Strategy<Value = String> {
    let method = prop_oneof![4 => "GET|POST|OPTIONS|CONNECT", 1 => "[A-Za-z!_ ]{0,9}"];
    let target = prop_oneof![
        4 => "/[a-z./%0-9A-F;?]{0,20}",
        1 => "http://[a-zA-Z.:0-9]{1,9}[/?]?[a-z.]{0,5}",
        1 => r"\*|[a-z]{1,4}:[0-9]{0,5}",
    ];
    let version = prop_oneof![6 => "HTTP/1\\.[01]", 1 => "HTTP/[012]\\.[0-9]| HTTP/1\\.1"];
    (method, target, version).prop_map(|(method, target, version)| format!("{method} {target} {version}"))
}

/// Fields that decide something, and fields that do not.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => "(Host|host|HOST): ?[a-zA-Z0-9.-]{0,8}(:[0-9]{0,5})?",
        1 => r"Host: \[[0-9a-f:]{2,9}\](:443|:80)?",
        1 => "Content-Length: ?[0-9+ ,]{0,4}",
        1 => "Transfer-Encoding: (chunked|gzip, chunked|chunked, chunked|Chunked)",
        2 => "(Connection|connection): (close|keep-alive|Upgrade|x-a|cookie|host|,){0,3}",
        1 => "(Upgrade: (websocket|h2c)|TE: trailers|Expect: 100-continue|Expect: 1)",
        2 => "Cookie: ?[a-z=; ]{0,6}",
        3 => "[A-Za-z_-]{1,12}:[ \t]{0,2}[ -~\\t]{0,20}",
        1 => "[ -~]{0,12}",
    ]
}

fn head() -> impl Strategy<Value = Vec<u8>> {
    let end = prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\n ")];
    let fields = vec((field(), end.clone()), 0..9);
    let host = prop_oneof![9 => Just("Host: a.b\r\n"), 1 => Just("")];
    ("(\r\n)?", line(), end, host, fields, any::<Vec<u8>>()).prop_map(
        |(before, line, end, host, fields, behind)| {
            let fields: String =
                fields.into_iter().flat_map(|(field, end)| [field, end.to_owned()]).collect();
            let text = [before.as_str(), &line, end, host, &fields, "\r\n"].concat();
            [text.as_bytes(), &behind].concat()
        },
    )
}

/// Heads of answers, most of them fine.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        6 => "HTTP/1\\.[01] (100|101|103|200|204|206|304|404|502)( [A-Za-z ]{0,9})?",
        1 => "HTTP/[012]\\.[0-9] ?[0-9]{0,4} [ -~]{0,5}|[ -~]{0,9}",
    ];
    let field = prop_oneof![
        3 => "(Content-Length|content-length): ?[0-9]{1,3}",
        1 => "Content-Length:[0-9+ ,-]{0,4}",
        2 => "Transfer-Encoding: (chunked|Chunked|gzip, chunked|chunked, chunked|x|)",
        2 => "(Connection|connection): (close|keep-alive|Upgrade|x-a|date|content-length|, ){0,3}",
        1 => "(Upgrade: websocket|Keep-Alive: 5|Proxy-Connection: close|X-A: 1)",
        3 => "[A-Za-z_-]{1,12}:[ \t]{0,2}[ -~\\t]{0,20}",
        1 => "[ -~]{0,12}",
    ];
    let end = prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\n ")];
    (line, end.clone(), vec((field, end), 0..7), any::<Vec<u8>>()).prop_map(|(line, end, fields, behind)| {
        let fields: String = fields.into_iter().flat_map(|(field, end)| [field, end.to_owned()]).collect();
        [line.as_bytes(), end.as_bytes(), fields.as_bytes(), b"\r\n", &behind].concat()
    })
}

/// Fields as HTTP/2 brings them: split, and any bytes in either half.
fn part() -> impl Strategy<Value = (String, Vec<u8>)> {
    let name = prop_oneof![
        4 => "[a-z-]{1,9}",
        2 => "cookie|host|te|expect|content-length|x_y|proxy|connection|upgrade",
        1 => "[ -~]{0,5}",
    ];
    let value = prop_oneof![
        4 => "[!-~]([ -~]{0,9}[!-~])?".prop_map(String::into_bytes),
        2 => "trailers|100-continue|[0-9]{1,3}|a.b|".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..5),
    ];
    (name, value)
}

/// Chunked bodies with a fault here and there.
fn chunks() -> impl Strategy<Value = Vec<u8>> {
    let chunk =
        (vec(any::<u8>(), 0..20), "(;[ -~]{0,9}){0,2}", 0..40_u8).prop_map(|(data, extension, fault)| {
            let size = if fault == 1 { data.len() + 1 } else { data.len() };
            let end = if fault == 2 { "\n" } else { "\r\n" };
            [format!("{size:x}{extension}{end}").as_bytes(), &data, end.as_bytes()].concat()
        });
    let trailers = "([A-Za-z-]{1,9}: ?[ -~]{0,9}\r\n){0,3}";
    (vec(chunk, 0..5), trailers, any::<Vec<u8>>()).prop_map(|(chunks, trailers, behind)| {
        [chunks.concat().as_slice(), b"0\r\n", trailers.as_bytes(), b"\r\n", &behind].concat()
    })
}

/// Hellos as clients send them, cut into records, with a fault here and there.
fn hello() -> impl Strategy<Value = Vec<u8>> {
    let sized = |bytes: usize, content: &[u8]| [&content.len().to_be_bytes()[8 - bytes..], content].concat();
    let list = move |content: Vec<u8>| sized(2, &content);
    let name = "[a-zA-Z0-9._-]{0,12}|[ -~]{0,5}".prop_map(String::into_bytes);
    let named = name.prop_map(move |name| list([&[0][..], &list(name)].concat()));
    let alpn = vec("[!-~]{0,9}", 0..4)
        .prop_map(move |all| list(all.iter().flat_map(|one| sized(1, one.as_bytes())).collect()));
    let extension = prop_oneof![
        3 => named.prop_map(|content| (0_u16, content)),
        2 => alpn.prop_map(|content| (16, content)),
        2 => (any::<u16>(), vec(any::<u8>(), 0..1300)),
    ];
    let records = prop_oneof![Just(16_384_usize), 1..40_usize, 100..700_usize];
    (vec(extension, 0..5), records, 0..30_u8, any::<u16>()).prop_map(move |(extensions, size, fault, at)| {
        let all = extensions
            .into_iter()
            .flat_map(|(kind, content)| [&kind.to_be_bytes()[..], &list(content)].concat());
        let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &list(all.collect())].concat();
        let message = [&[1][..], &sized(3, &body)].concat();
        let mut bytes: Vec<u8> =
            message.chunks(size).flat_map(|one| [&[22, 3, 1][..], &list(one.to_vec())].concat()).collect();
        let at = usize::from(at) % bytes.len();
        match fault {
            0 => bytes[at] ^= 1,
            1 => bytes.truncate(at),
            _ => {}
        }
        bytes
    })
}

/// A client's frames with a fault here and there.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => "[a-z가-힣]{0,9}".prop_map(String::into_bytes),
        2 => (1000_u16..1018, "[a-z]{0,3}").prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat()),
        1 => vec(any::<u8>(), 0..9),
        1 => (120_usize..140).prop_map(|length| vec![b'x'; length]),
    ];
    // Pieces of messages, whole ones, control frames; now and then anything.
    let first = prop_oneof![9 => prop::sample::select(vec![0x81_u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8a]), 1 => any::<u8>()];
    let frame = (first, payload, any::<[u8; 4]>(), 0..40_u8).prop_map(|(first, payload, mask, fault)| {
        let length = payload.len().to_be_bytes();
        let long = if fault == 1 { 0 } else { 126 };
        let mut frame = vec![first];
        match payload.len() {
            _ if fault == 0 => frame.extend([&[0xff], &length[..]].concat()),
            short if short < long => frame.push(0x80 | length[7]),
            _ => frame.extend([0xfe, length[6], length[7]]),
        }
        if fault == 2 {
            frame[1] &= 0x7f;
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    });
    vec(frame, 0..7).prop_map(|frames| frames.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_head_is_read_the_same_in_any_pieces_and_is_canonical(bytes in head(), secure: bool, pieces: u8, limits in 0..3_usize) {
        let limits = [laws::head::USUAL, laws::head::TIGHT, laws::head::ODD][limits];
        laws::head::hold(&bytes, secure, &limits, Pieces::new(pieces));
    }

    #[test]
    fn an_answers_head_is_read_the_same_in_any_pieces_and_by_a_naive_reader(bytes in answer(), head: bool, pieces: u8, bytes_max in 0..3_usize) {
        laws::answer::hold(&bytes, head, laws::answer::BYTES_MAX[bytes_max], Pieces::new(pieces));
    }

    #[test]
    fn a_request_of_http2_is_canonical_and_the_same_over_http1(
        method in "GET|POST|OPTIONS|CONNECT|[A-Za-z!_ ]{0,3}",
        secure: bool,
        authority in option::weighted(0.9, "[a-zA-Z.:0-9-]{1,9}(:[0-9]{1,5})?|\\[[0-9a-f:]{2,9}\\](:443|:80)?"),
        path in prop_oneof!["/[a-z./%0-9A-F;?]{0,20}", "/[ -~]{0,9}", Just("*".to_owned()), "[ -~]{0,5}"],
        protocol in option::weighted(0.1, "[a-z ]{0,9}"),
        fields in vec(part(), 0..6),
        ended: bool,
        tight: bool,
    ) {
        let parts = Parts {
            method: &method,
            scheme: if secure { Scheme::Https } else { Scheme::Http },
            authority: authority.as_deref(),
            path_and_query: &path,
            version: Version::Http2,
            protocol: protocol.as_deref(),
            ended,
        };
        let limits = if tight { laws::head::TIGHT } else { laws::head::USUAL };
        laws::head::hold_parts(&parts, &fields, &limits);
    }

    #[test]
    fn a_chunked_body_is_read_the_same_in_any_pieces_and_by_a_naive_reader(bytes in chunks(), pieces: u8) {
        laws::chunked::hold(&bytes, Pieces::new(pieces));
    }

    #[test]
    fn what_is_written_in_chunks_is_read_back(
        contents in vec(vec(any::<u8>(), 1..300), 0..6),
        trailers in vec(("x-[a-z0-9]{1,9}", "[!-~]([ -~]{0,9}[!-~])?"), 0..4),
    ) {
        let mut bytes = Vec::new();
        for content in &contents {
            write_chunk_head(&mut bytes, content.len());
            bytes.extend_from_slice(content);
            bytes.extend_from_slice(b"\r\n");
        }
        write_last_chunk(&mut bytes, trailers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));

        let (mut decoder, mut body, mut at) = (ChunkedDecoder::default(), Vec::new(), 0);
        loop {
            match decoder.decode(&bytes[at..]).unwrap() {
                Chunk::Data { skip, len } => {
                    body.extend_from_slice(&bytes[at + skip..at + skip + len]);
                    at += skip + len;
                }
                Chunk::End { consumed } => break prop_assert_eq!(at + consumed, bytes.len()),
                more @ Chunk::NeedMore { .. } => prop_assert!(false, "{more:?} at {at} of {}", bytes.len()),
            }
        }
        prop_assert_eq!(body, contents.concat());
        let read: Vec<_> =
            decoder.trailers().map(|(name, value)| (name, String::from_utf8(value.to_vec()).unwrap())).collect();
        prop_assert_eq!(read, trailers);
    }

    #[test]
    fn websocket_frames_are_read_the_same_in_any_pieces_and_by_a_naive_reader(
        bytes in prop_oneof![9 => frames(), 1 => any::<Vec<u8>>()],
        limit in prop_oneof![Just(1_000_usize), 0..30_usize],
        pieces: u8,
    ) {
        laws::websocket::hold(&bytes, limit, Pieces::new(pieces));
    }

    #[test]
    fn a_path_has_one_form_whatever_the_bytes(raw in any::<Vec<u8>>()) {
        laws::path::hold(&raw);
    }

    #[test]
    fn a_path_of_dots_slashes_and_escapes_has_one_form(raw in "/?([a-z.;/]|%2[eEfF]|%5c|%[0-9a-fA-F]{2}|%|é|//|/\\.\\.?;?){0,12}") {
        laws::path::hold(raw.as_bytes());
    }

    #[test]
    fn a_client_hello_is_read_the_same_in_any_pieces(bytes in prop_oneof![9 => hello(), 1 => any::<Vec<u8>>()], pieces: u8) {
        laws::client_hello::hold(&bytes, Pieces::new(pieces));
    }

    #[test]
    fn a_proxy_header_says_who_it_was(client: SocketAddr, server: SocketAddr) {
        laws::proxy::survive_writing(client, server);
    }

    #[test]
    fn a_proxy_header_is_read_the_same_in_any_pieces(
        bytes in prop_oneof![
            "PROXY (TCP[46]|UNKNOWN|TCP)( ?[0-9a-f.:]{1,9}){0,5}\r?\n?".prop_map(String::into_bytes),
            (any::<[u8; 2]>(), 0..60_u8, vec(any::<u8>(), 0..80)).prop_map(|([command, family], length, body)| {
                [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x20 | command & 3, family & 0x33, 0, length], &body].concat()
            }),
            any::<Vec<u8>>(),
        ],
    ) {
        laws::proxy::hold(&bytes);
    }
}

/// Lines as clients send them, with a fault here and there.
fn irc_line() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop_oneof![
        3 => "",
        2 => "@[a-z]{1,4}(=[a-z\\\\:s]{0,5})?(;\\+?[a-z./]{1,9}=?){0,2} ",
        1 => "@[ -~]{0,9} ?",
        1 => (4_080..4_100_usize).prop_map(|long| format!("@a={} ", "b".repeat(long))),
    ];
    let body = prop_oneof![
        4 => "(:[a-z!@.]{1,9} {1,2})?[A-Za-z]{1,9}( [a-z#가-나]{1,4}){0,5}( :[ -~가-힣]{0,20})?",
        1 => "[0-9]{0,4}( [a-z]){0,18}",
        1 => (490..520_usize).prop_map(|long| format!("PRIVMSG {}", "c".repeat(long))),
        1 => "[ -~\\r\\x00]{0,20}",
    ];
    let ends = [&b"\r\n"[..], b"\r\n", b"\r\n", b"\n", b"\r", b"\xff\n", b""];
    let end = prop::sample::select(ends.to_vec());
    (tags, body, end).prop_map(|(tags, body, end)| [tags.as_bytes(), body.as_bytes(), end].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_of_irc_are_read_the_same_in_any_pieces_and_by_a_naive_reader(lines in vec(irc_line(), 0..6), pieces: u8) {
        laws::irc::hold(&lines.concat(), Pieces::new(pieces));
    }

    #[test]
    fn whatever_is_written_is_one_line_of_irc(tag in "[ -~]{0,9}", source: String, param: String, text: String) {
        laws::irc::is_one_line(&tag, &source, &param, &text);
    }
}

// Goal: what fuzzing found once is found again without a fuzzer. Method: every kept file through its target's law.
#[test]
fn the_corpora_of_the_fuzz_targets_keep_the_laws() {
    check("head", laws::head::from_fuzz);
    check("answer_head", laws::answer::from_fuzz);
    check("chunked", laws::chunked::from_fuzz);
    check("client_hello", laws::client_hello::from_fuzz);
    check("proxy", laws::proxy::hold);
    check("path", laws::path::hold);
    check("websocket", laws::websocket::from_fuzz);
    check("irc", laws::irc::from_fuzz);

    #[track_caller]
    fn check(target: &str, law: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!((10..60).contains(&files.len()), "{} files in {}", files.len(), folder.display());
        for file in files {
            law(&std::fs::read(&file).unwrap());
        }
    }
}
