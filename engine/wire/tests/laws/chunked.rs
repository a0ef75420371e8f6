//! The laws of chunked bodies.
//!
//! **Job.** 1. However a body arrives, it is read the same. 2. The decoder agrees with a naive one, written here from
//! RFC 9112 7.1 with slices of the whole input and no state. 3. Trailers are bounded and none could change what was decided.
//!
//! Not here: single cases with known answers (`tests/corpus/http1`).

use madang_wire::http1::chunked::{Chunk, ChunkError, ChunkedDecoder};

use super::Pieces;

/// The bounds that `chunked.rs` promises.
const EXTENSIONS_BYTES_MAX: usize = 4 * 1024;
const TRAILERS_BYTES_MAX: usize = 8 * 1024;
const TRAILERS_MAX: usize = 64;

type Trailers = Vec<(String, Vec<u8>)>;

#[derive(Debug, PartialEq, Clone)]
enum End {
    Refused,
    Unfinished,
    Complete(usize, Trailers),
}

/// One byte that chooses the pieces, then the body.
pub fn from_fuzz(data: &[u8]) {
    let [pieces, bytes @ ..] = data else { return };
    hold(bytes, Pieces::new(*pieces));
}

/// All laws for one input.
pub fn hold(bytes: &[u8], pieces: Pieces) {
    let (body, end, error) = decode(bytes, std::iter::repeat(bytes.len().max(1)));
    let split = decode(bytes, pieces);
    assert_eq!((&body, &end, error), (&split.0, &split.1, split.2), "in pieces it reads differently");

    let (naive_body, naive_end) = naive(bytes);
    assert_eq!(end, naive_end, "the naive reader says otherwise ({error:?})");
    assert_eq!(body, naive_body, "the naive reader has other content");

    if let End::Complete(consumed, trailers) = end {
        assert!(consumed <= bytes.len() && trailers.len() <= TRAILERS_MAX);
        assert!(
            trailers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
                <= TRAILERS_BYTES_MAX
        );
        for (name, value) in &trailers {
            let decided =
                ["content-length", "transfer-encoding", "host", "connection", "cookie", "authorization"];
            assert!(!decided.contains(&name.as_str()) && !name.contains('_'), "{name} came as a trailer");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()),
                "{name:?}"
            );
            assert!(!value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)), "{name}: {value:?}");
        }
    }
}

/// What the decoder says of bytes that arrive in such pieces.
fn decode(bytes: &[u8], mut pieces: impl Iterator<Item = usize>) -> (Vec<u8>, End, Option<ChunkError>) {
    let (mut decoder, mut body) = (ChunkedDecoder::default(), Vec::new());
    let (mut at, mut seen) = (0, 0);
    loop {
        match decoder.decode(&bytes[at..seen]) {
            Err(error) => {
                assert!(!error.name().is_empty());
                return (body, End::Refused, Some(error));
            }
            Ok(Chunk::Data { skip, len }) => {
                assert!(len > 0 && at + skip + len <= seen, "content that did not arrive");
                body.extend_from_slice(&bytes[at + skip..at + skip + len]);
                at += skip + len;
            }
            Ok(Chunk::NeedMore { consumed }) => {
                at += consumed;
                assert_eq!(at, seen, "framing is taken as it comes");
                if seen == bytes.len() {
                    return (body, End::Unfinished, None);
                }
                seen = (seen + pieces.next().unwrap_or(1)).min(bytes.len());
            }
            Ok(Chunk::End { consumed }) => {
                let trailers = decoder.trailers().map(|(name, value)| (name, value.to_vec())).collect();
                return (body, End::Complete(at + consumed, trailers), None);
            }
        }
    }
}

/// The naive reader: always from the whole input, with nothing remembered but the place.
fn naive(bytes: &[u8]) -> (Vec<u8>, End) {
    let (mut body, mut at, mut extensions) = (Vec::new(), 0, 0);
    loop {
        let (line, complete) = line_of(&bytes[at..]);
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = &line[digits..];
        let is_ended = complete || line.ends_with(b"\r");
        let plain = extension.strip_suffix(b"\r").unwrap_or(extension);
        extensions += extension.len().saturating_sub(1); // the semicolon is free
        let well_formed = digits <= 16
            && (digits > 0 || line.is_empty() && !is_ended)
            && (plain.is_empty() || plain[0] == b';')
            && plain.iter().skip(1).all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f)
            && (!complete || line.ends_with(b"\r"))
            && extensions <= EXTENSIONS_BYTES_MAX;
        if !well_formed {
            return (body, End::Refused);
        }
        if !complete {
            return (body, End::Unfinished);
        }
        at += line.len() + 1;
        let size = line[..digits].iter().fold(0_u128, |sum, digit| {
            sum * 16 + u128::from(char::from(*digit).to_digit(16).unwrap_or_default())
        });
        if size >= 1 << 62 {
            return (body, End::Refused);
        }
        if size == 0 {
            return (body, naive_trailers(bytes, at));
        }
        let rest = &bytes[at..];
        let here = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        body.extend_from_slice(&rest[..here]);
        match (u128::try_from(here) == Ok(size), &rest[here..]) {
            (false, _) | (true, [] | [b'\r']) => return (body, End::Unfinished),
            (true, [b'\r', b'\n', ..]) => at += here + 2,
            (true, _) => return (body, End::Refused),
        }
    }
}

fn naive_trailers(bytes: &[u8], start: usize) -> End {
    let (mut at, mut trailers) = (start, Trailers::new());
    let mut lines = Vec::new();
    loop {
        let (line, complete) = line_of(&bytes[at..]);
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        let well_formed = text.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f);
        at += line.len() + usize::from(complete);
        if !well_formed || complete && !line.ends_with(b"\r") || at - start > TRAILERS_BYTES_MAX {
            return End::Refused;
        }
        if !complete {
            return End::Unfinished;
        }
        if text.is_empty() {
            break;
        }
        lines.push(text);
    }
    if lines.len() > TRAILERS_MAX {
        return End::Refused;
    }
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return End::Refused };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(token) {
            return End::Refused;
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if !is_dropped(&name) {
            trailers.push((name, value.to_vec()));
        }
    }
    End::Complete(at, trailers)
}

/// Up to the LF that ends it (left out), and whether there was one.
fn line_of(bytes: &[u8]) -> (&[u8], bool) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], true),
        None => (bytes, false),
    }
}

/// What decides framing, routing, rights or caching comes in the head or not at all (RFC 9110 6.5.1).
fn is_dropped(name: &str) -> bool {
    const WHOLE: &str = " host content-length content-type content-encoding content-range trailer te transfer-encoding \
        connection keep-alive upgrade authorization cookie set-cookie expect range cache-control max-forwards forwarded \
        via date origin proxy x-real-ip x-request-id ";
    WHOLE.contains(&format!(" {name} "))
        || ["x-forwarded-", "proxy-", "if-", "sec-"].iter().any(|prefix| name.starts_with(prefix))
        || name.contains('_')
}
