//! The laws of answer heads.
//!
//! **Job.** 1. However a head arrives, it is read the same, refusal and all. 2. What is accepted is canonical: tokens for
//! names, no control byte in a value, nothing left that concerns this connection only. 3. A naive reader, which splits the
//! whole head into lines and counts lengths and codings, frames it the same and lets go of the connection as early.
//! 4. Written out again it reads the same.
//!
//! Not here: single heads with their known reading (`answer_head.rs`).

use madang_wire::http1::answer_head::{AnswerHead, Asked, BadAnswer, BodyFraming};

use super::Pieces;

/// What an upstream has by default, and so little that the limit is met.
pub const BYTES_MAX: [usize; 3] = [64 * 1024, 160, 48];

/// Fields that are acted upon and never passed on.
const NEVER_KEPT: [&str; 6] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Everything a head says.
#[derive(Debug, PartialEq)]
struct Facts {
    status: u16,
    framing: BodyFraming,
    announced: Option<u64>,
    keep_alive: bool,
    fields: Vec<(String, Vec<u8>)>,
    upgrade: Option<Vec<u8>>,
}

#[derive(Debug, PartialEq)]
enum Reading {
    Refused(BadAnswer),
    Unfinished,
    Accepted(usize, Facts),
}

/// Two bytes that choose how, then what was sent.
pub fn from_fuzz(data: &[u8]) {
    let [how, pieces, bytes @ ..] = data else { return };
    hold(bytes, how & 1 == 1, BYTES_MAX[usize::from(how >> 1) % BYTES_MAX.len()], Pieces::new(*pieces));
}

/// All laws for one input; `head`: it answers HEAD.
pub fn hold(bytes: &[u8], head: bool, bytes_max: usize, pieces: Pieces) {
    let asked = if head { Asked::Head } else { Asked::Other };
    let whole = look(&mut AnswerHead::default(), bytes, asked, bytes_max);

    // A value that was used before, and one that has seen the beginning again and again, are as good as a new one.
    let mut used = AnswerHead::default();
    let before = b"HTTP/1.1 101 x\r\nupgrade: left-over\r\na: b\r\n\r\n";
    used.parse(before, Asked::Other, 1024).unwrap();
    let (mut seen, mut split) = (0, Reading::Unfinished);
    for piece in pieces {
        split = look(&mut used, &bytes[..seen], asked, bytes_max);
        if split != Reading::Unfinished || seen == bytes.len() {
            break;
        }
        seen = (seen + piece).min(bytes.len());
    }
    assert_eq!(whole, split, "in pieces it reads differently: {}", bytes.escape_ascii());

    let Reading::Accepted(consumed, facts) = whole else {
        assert!(whole != Reading::Unfinished || bytes.len() <= bytes_max, "still waiting beyond the limit");
        return;
    };
    assert!(consumed <= bytes_max.min(bytes.len()), "{consumed} bytes of head");
    check_canonical(&facts);
    check_naive(&bytes[..consumed], head, &facts);

    let written = write(&facts);
    let Reading::Accepted(all, mut again) = look(&mut used, &written, asked, usize::MAX) else {
        panic!("accepted once, refused when written again: {}", written.escape_ascii());
    };
    assert_eq!(all, written.len());
    // A 204 that announced content is not written so again; its connection ends all the same.
    again.announced = facts.announced;
    assert_eq!(facts, again, "{}", written.escape_ascii());
}

fn look(head: &mut AnswerHead, bytes: &[u8], asked: Asked, bytes_max: usize) -> Reading {
    match head.parse(bytes, asked, bytes_max) {
        Err(bad) => {
            assert!(!bad.name().is_empty() && !bad.to_string().is_empty());
            Reading::Refused(bad)
        }
        Ok(None) => Reading::Unfinished,
        Ok(Some(consumed)) => {
            let mut copy = bytes[..consumed].to_vec();
            head.lower_names(&mut copy);
            let text =
                |range: &std::ops::Range<usize>| String::from_utf8(copy[range.clone()].to_vec()).unwrap();
            let fields = head.fields.iter().map(|(name, value)| (text(name), copy[value.clone()].to_vec()));
            let facts = Facts {
                status: head.status,
                framing: head.framing,
                announced: head.announced,
                keep_alive: head.keep_alive,
                fields: fields.collect(),
                upgrade: head.upgrade.clone().map(|range| copy[range].to_vec()),
            };
            Reading::Accepted(consumed, facts)
        }
    }
}

fn check_canonical(facts: &Facts) {
    assert!((100..=599).contains(&facts.status), "{}", facts.status);
    assert!(facts.framing != BodyFraming::Length(0), "nothing has one form");
    for (name, value) in &facts.fields {
        assert!(!name.is_empty() && name.bytes().all(is_token), "{name:?}");
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name:?}");
        assert!(!NEVER_KEPT.contains(&name.as_str()), "{name} was kept");
        check_value(name, value);
    }
    if let Some(upgrade) = &facts.upgrade {
        check_value("upgrade", upgrade);
    }
}

#[track_caller]
fn check_value(name: &str, value: &[u8]) {
    assert!(!value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)), "{name}: {value:?}");
    assert_eq!(value.trim_ascii(), value, "white space around the value of {name}");
}

/// RFC 9112 6.3 in its own order, over all lines at once.
fn check_naive(head: &[u8], asked_head: bool, facts: &Facts) {
    let text = head.strip_suffix(b"\r\n\r\n").unwrap();
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap();
    let fields: Vec<(String, String)> = lines
        .map(|line| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            let value = line[colon + 1..].trim_ascii().iter().map(|byte| char::from(*byte)).collect();
            (String::from_utf8(line[..colon].to_ascii_lowercase()).unwrap(), value)
        })
        .collect();
    let all = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(have, _)| have == name).map(|(_, value)| value.as_str()).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let length = lengths.first().map(|text| text.parse::<u64>().unwrap());
    assert!(lengths.iter().all(|text| text.parse().ok() == length), "{lengths:?} was taken for one length");
    assert!(codings.is_empty() || lengths.is_empty(), "both framings were accepted");
    let chunked = match codings.as_slice() {
        [] => false,
        [one] => {
            assert!(one.eq_ignore_ascii_case("chunked") && first.starts_with(b"HTTP/1.1 "), "{one}");
            true
        }
        several => panic!("{several:?} was taken for one coding"),
    };
    let never = matches!(facts.status, 100..=199 | 204);
    let framing = match (never || facts.status == 304 || asked_head, chunked, length) {
        (true, ..) | (false, false, Some(0)) => BodyFraming::None,
        (false, true, _) => BodyFraming::Chunked,
        (false, false, Some(length)) => BodyFraming::Length(length),
        (false, false, None) => BodyFraming::UntilClose,
    };
    assert_eq!((facts.framing, facts.announced), (framing, length));

    let named: Vec<String> =
        all("connection").join(",").split(',').map(|word| word.trim_ascii().to_ascii_lowercase()).collect();
    let says = |word: &str| named.iter().any(|name| name == word);
    let lasts = !says("close") && (first.starts_with(b"HTTP/1.1 ") || says("keep-alive"));
    let impossible = never && (chunked || length.unwrap_or(0) > 0);
    assert!(facts.status >= 200 || !impossible, "an interim answer with content was accepted");
    assert_eq!(facts.keep_alive, lasts && framing != BodyFraming::UntilClose && !impossible);
    assert!(facts.fields.iter().all(|(name, _)| !named.contains(name)), "{named:?} was kept");
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A head that says what `facts` say, in the plainest spelling.
fn write(facts: &Facts) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {}\r\n", facts.status).into_bytes();
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    match (facts.framing, facts.announced) {
        (BodyFraming::Chunked, _) => field("Transfer-Encoding", b"chunked"),
        (BodyFraming::UntilClose, _) => {}
        (_, Some(_)) if matches!(facts.status, 100..=199 | 204) => {}
        (_, Some(length)) => field("Content-Length", length.to_string().as_bytes()),
        (_, None) => {}
    }
    if !facts.keep_alive {
        field("Connection", b"close");
    }
    if let Some(upgrade) = &facts.upgrade {
        field("Upgrade", upgrade);
    }
    for (name, value) in &facts.fields {
        field(name, value);
    }
    out.extend_from_slice(b"\r\n");
    out
}
