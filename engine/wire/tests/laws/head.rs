//! The laws of request heads.
//!
//! **Job.** 1. However a head arrives, it is read the same, refusal and all. 2. What is accepted is canonical: every
//! invariant of `request.rs` holds. 3. Written out again and read once more, it says the same. 4. Carried by HTTP/2, too.
//!
//! Not here: which heads are refused and how (`tests/corpus/http1`).

use madang_wire::http1::head::{HeadParser, Parsed};
use madang_wire::path::percent_encode_path;
use madang_wire::request::{Framing, HeadLimits, Malformed, Method, Parts, RequestHead, Scheme, Version};

use super::Pieces;

/// What a server has unless its settings say otherwise.
pub const USUAL: HeadLimits =
    HeadLimits { head_bytes_max: 16 * 1024, fields_max: 100, target_bytes_max: 8 * 1024 };
/// So small that every limit is met.
pub const TIGHT: HeadLimits = HeadLimits { head_bytes_max: 160, fields_max: 4, target_bytes_max: 40 };
/// The same, with a target that may be longer than the head: senseless, and still to be survived.
pub const ODD: HeadLimits = HeadLimits { head_bytes_max: 96, fields_max: 300, target_bytes_max: 1024 };
/// For what was accepted before: no limit may stop it now.
const WIDE: HeadLimits =
    HeadLimits { head_bytes_max: 1024 * 1024, fields_max: 256, target_bytes_max: 1024 * 1024 };

/// Fields that concern one connection, or that many read as something else.
const NEVER_KEPT: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Everything a head says.
#[derive(Debug, PartialEq)]
struct Facts {
    method: String,
    known: Method,
    scheme: Scheme,
    version: Version,
    authority: String,
    host: String,
    port: Option<u16>,
    target: String,
    path: String,
    query: Option<String>,
    fields: Vec<(String, Vec<u8>)>,
    framing: Framing,
    flags: [bool; 3],
    upgrade: Option<String>,
}

#[derive(Debug, PartialEq)]
enum Reading {
    Refused(Malformed),
    Unfinished,
    Accepted(usize, Facts),
}

/// Two bytes that choose how, then what was sent.
pub fn from_fuzz(data: &[u8]) {
    let [how, pieces, bytes @ ..] = data else { return };
    let limits = [USUAL, TIGHT, ODD, USUAL][usize::from(how >> 1 & 3)];
    hold(bytes, how & 1 == 1, &limits, Pieces::new(*pieces));
}

/// All laws for one input.
pub fn hold(bytes: &[u8], secure: bool, limits: &HeadLimits, pieces: Pieces) {
    let (mut parser, mut head) = (HeadParser::default(), RequestHead::new());
    let whole = look(&mut parser, bytes, secure, limits, &mut head);

    // A head that was used before is as good as a new one, and so is a parser that came to an end.
    let mut used = RequestHead::new();
    used.push_field("left-over", b"from the request before");
    let mut arriving = HeadParser::default();
    let split = in_pieces(&mut arriving, bytes, secure, limits, &mut used, pieces);
    assert_eq!(whole, split, "in pieces it reads differently: {}", bytes.escape_ascii());

    let Reading::Accepted(consumed, facts) = whole else { return };
    assert!(consumed <= limits.head_bytes_max.min(bytes.len()), "{consumed} bytes of head");
    let again = look(&mut arriving, &bytes[..consumed], secure, limits, &mut used);
    assert_eq!(Reading::Accepted(consumed, facts_of(&head)), again, "what follows the head changed it");

    check_canonical(&facts, limits);
    let written = write(&facts);
    let Reading::Accepted(all, rewritten) =
        look(&mut HeadParser::default(), &written, secure, &WIDE, &mut used)
    else {
        panic!("accepted once, refused when written again: {}", written.escape_ascii());
    };
    assert_eq!(all, written.len());
    carry_by_http2(&rewritten);
    let same_meaning = |facts: Facts| Facts { target: String::new(), upgrade: None, ..facts };
    assert_eq!(same_meaning(facts), same_meaning(rewritten), "{}", written.escape_ascii());
}

/// What HTTP/2 or 3 brings in parts is canonical too, and the same request when HTTP/1 carries it on.
pub fn hold_parts(parts: &Parts<'_>, fields: &[(String, Vec<u8>)], limits: &HeadLimits) {
    let mut head = RequestHead::new();
    head.push_field("left-over", b"from the request before");
    let each = fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    if head.fill(parts, each, limits).is_err() {
        return;
    }
    let facts = facts_of(&head);
    assert!(!facts.authority.is_empty(), "no host on HTTP/2");
    if facts.known == Method::Connect {
        assert!(head.protocol().is_some(), "CONNECT without a protocol");
        return; // HTTP/1 says it by Upgrade
    }
    let framing = match facts.framing {
        Framing::Stream => Framing::Chunked,
        Framing::Length(0) => Framing::None, // an empty body that does not end with the head
        framing => framing,
    };
    let facts = Facts { version: Version::Http11, framing, ..facts };
    check_canonical(&facts, limits);
    let written = write(&facts);
    let secure = facts.scheme == Scheme::Https;
    let reading = look(&mut HeadParser::default(), &written, secure, &WIDE, &mut RequestHead::new());
    let Reading::Accepted(_, carried) = reading else {
        panic!("HTTP/1 says {reading:?} to {}", written.escape_ascii());
    };
    let same_meaning = |facts: Facts| Facts { target: String::new(), ..facts };
    assert_eq!(same_meaning(carried), same_meaning(facts), "{}", written.escape_ascii());
}

/// The same request by HTTP/2 is the same request.
fn carry_by_http2(facts: &Facts) {
    if facts.known == Method::Connect || facts.authority.is_empty() {
        return; // no proxy for others here, and HTTP/2 has no request without a host
    }
    let parts = Parts {
        method: &facts.method,
        scheme: facts.scheme,
        authority: Some(&facts.authority),
        path_and_query: &facts.target,
        version: Version::Http2,
        protocol: None,
        ended: facts.framing == Framing::None,
    };
    let mut head = RequestHead::new();
    let fields = facts.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    head.fill(&parts, fields, &WIDE).unwrap_or_else(|error| panic!("HTTP/2 refuses {facts:?}: {error}"));
    let carried = facts_of(&head);
    assert_eq!(
        (&carried.method, &carried.authority, &carried.path, &carried.query, &carried.fields),
        (&facts.method, &facts.authority, &facts.path, &facts.query, &facts.fields)
    );
}

fn look(
    parser: &mut HeadParser,
    bytes: &[u8],
    secure: bool,
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Reading {
    match parser.parse(bytes, secure, limits, head) {
        Err(error) => {
            assert!(!error.name().is_empty() && !error.to_string().is_empty());
            assert!((400..=505).contains(&error.status()), "{error:?}");
            Reading::Refused(error)
        }
        Ok(Parsed::Partial) => Reading::Unfinished,
        Ok(Parsed::Complete { consumed }) => Reading::Accepted(consumed, facts_of(head)),
    }
}

fn in_pieces(
    parser: &mut HeadParser,
    bytes: &[u8],
    secure: bool,
    limits: &HeadLimits,
    head: &mut RequestHead,
    pieces: Pieces,
) -> Reading {
    let mut seen = 0;
    for piece in pieces {
        match look(parser, &bytes[..seen], secure, limits, head) {
            Reading::Unfinished if seen < bytes.len() => seen = (seen + piece).min(bytes.len()),
            reading => return reading,
        }
    }
    Reading::Unfinished
}

fn facts_of(head: &RequestHead) -> Facts {
    Facts {
        method: head.method_str().to_owned(),
        known: head.method(),
        scheme: head.scheme(),
        version: head.version(),
        authority: head.authority().to_owned(),
        host: head.host().to_owned(),
        port: head.port(),
        target: head.target().to_owned(),
        path: head.path().to_owned(),
        query: head.query().map(str::to_owned),
        fields: head.fields().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        framing: head.framing(),
        flags: [head.keep_alive(), head.expects_continue(), head.accepts_trailers()],
        upgrade: head.upgrade().map(str::to_owned),
    }
}

fn check_canonical(facts: &Facts, limits: &HeadLimits) {
    let Facts { method, known, version, authority, host, port, target, path, query, .. } = facts;
    assert!(!method.is_empty() && method.len() <= 32 && method.bytes().all(is_token), "{method:?}");
    assert_eq!(*known, Method::from_token(method.as_bytes()));
    assert!(matches!(version, Version::Http10 | Version::Http11));

    assert!(!authority.is_empty() || *version == Version::Http10, "no host on HTTP/1.1");
    assert!(!authority.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii_graphic()));
    assert!(!authority.contains(['/', '@', '?', '#', ',', '\\', '%']), "{authority:?}");
    match port {
        Some(port) => assert_eq!(*authority, format!("{host}:{port}")),
        None => assert_eq!(authority, host),
    }
    assert_ne!(*port, Some(facts.scheme.default_port()));

    assert!(target.len() <= limits.target_bytes_max.max(1) && target.bytes().all(|b| b.is_ascii_graphic()));
    match (path.as_str(), known) {
        ("", Method::Connect) => assert!(query.is_none() && facts.framing == Framing::None),
        (path, Method::Connect) => panic!("CONNECT with the path {path:?}"),
        ("*", Method::Options) => assert_eq!(*query, None),
        (path, _) => super::path::check_canonical(path),
    }
    if let Some(query) = query {
        assert!(query.bytes().all(|byte| byte.is_ascii_graphic()) && !query.contains('#'), "{query:?}");
    }

    assert!(facts.fields.len() <= limits.fields_max);
    for (name, value) in &facts.fields {
        assert!(!name.is_empty() && name.bytes().all(is_token), "{name:?}");
        assert!(!name.contains('_') && !name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name:?}");
        assert!(!NEVER_KEPT.contains(&name.as_str()), "{name} was kept");
        assert!(!value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)), "{name}: {value:?}");
        assert_eq!(value.trim_ascii(), value, "white space around the value of {name}");
    }
    assert!(facts.fields.iter().filter(|(name, _)| name == "cookie").count() <= 1, "two cookies");
    assert!(facts.framing != Framing::Stream && facts.framing != Framing::Length(0));
    assert!(facts.framing != Framing::Chunked || *version == Version::Http11, "chunked on HTTP/1.0");
    if let Some(upgrade) = &facts.upgrade {
        assert!(*version == Version::Http11 && !upgrade.bytes().any(|byte| byte.is_ascii_control()));
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A request that says what `facts` say, in the plainest spelling.
fn write(facts: &Facts) -> Vec<u8> {
    let mut target = Vec::new();
    match (facts.known, facts.path.as_str()) {
        (Method::Connect, _) => {
            let port = facts.port.unwrap_or(facts.scheme.default_port());
            target.extend_from_slice(format!("{}:{port}", facts.host).as_bytes());
        }
        (_, "*") => target.push(b'*'),
        (_, path) => percent_encode_path(path, &mut target),
    }
    if let Some(query) = &facts.query {
        target.push(b'?');
        target.extend_from_slice(query.as_bytes());
    }
    let version = facts.version.as_str();
    let mut out = [facts.method.as_bytes(), b" ", &target, b" ", version.as_bytes(), b"\r\n"].concat();
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    if !facts.authority.is_empty() {
        field("Host", facts.authority.as_bytes());
    }
    match facts.framing {
        Framing::Length(length) => field("Content-Length", length.to_string().as_bytes()),
        Framing::Chunked => field("Transfer-Encoding", b"chunked"),
        Framing::None | Framing::Stream => {}
    }
    let [keep_alive, expects_continue, accepts_trailers] = facts.flags;
    field("Connection", if keep_alive { b"keep-alive" } else { b"close" });
    if expects_continue {
        field("Expect", b"100-continue");
    }
    if accepts_trailers {
        field("TE", b"trailers");
    }
    for (name, value) in &facts.fields {
        field(name, value);
    }
    out.extend_from_slice(b"\r\n");
    out
}
