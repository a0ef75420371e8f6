//! The head of an HTTP/1 answer from an upstream: bytes to a value (RFC 9112 4, 6.3).
//!
//! **Job.** Find where the head ends, have httparse tokenise it, refuse what can be read in two ways, decide what follows.
//! **Called by** `http::upstream`. **Calls** httparse.
//!
//! Invariants
//! 1. An answer whose length two readers would see differently is refused: it would poison the connection for the next
//!    request (response splitting; TRAPS 1).
//! 2. Fields that concern this connection only are taken out and acted upon; what `connection` names goes with them.
//! 3. Names are lower case. Every line ends in CR LF.
//! 4. A 204 that announces content ends its connection, a 1xx that does is refused: the content may follow, and would be
//!    taken for the next answer.
//!
//! Not here: the body (`chunked`), writing (`response`).

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Range;

use crate::grammar::{TOKEN_LOWER, parse_length};

/// More fields than this are refused: the tokeniser's table lives on the stack.
pub const FIELDS_CEILING: usize = 256;

/// What follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyFraming {
    /// Nothing.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Everything until the connection ends.
    UntilClose,
}

/// Why an answer cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadAnswer {
    /// Not a status line and fields.
    Malformed,
    /// A line that does not end in CR LF, or a folded one.
    LineEnd,
    /// Larger than allowed.
    TooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// More fields than allowed.
    TooManyFields,
    /// `content-length` that is no number, or several that differ.
    Length,
    /// `transfer-encoding` other than `chunked`, beside a length, or on HTTP/1.0.
    Coding,
    /// Against the rules of HTTP/2 (RFC 9113 8.1.1): fields of a connection, a length that is not kept, frames out of place;
    /// or a head that is too large.
    Protocol,
}

impl BadAnswer {
    /// A stable name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "upstream-malformed",
            Self::LineEnd => "upstream-line-end",
            Self::TooLarge { .. } => "upstream-head-too-large",
            Self::TooManyFields => "upstream-too-many-fields",
            Self::Length => "upstream-bad-length",
            Self::Coding => "upstream-bad-coding",
            Self::Protocol => "upstream-http2-protocol",
        }
    }
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the answer is not HTTP/1"),
            Self::LineEnd => f.write_str("a line of the answer's head does not end in CR LF"),
            Self::TooLarge { max } => write!(f, "the answer's head is larger than {max} bytes"),
            Self::TooManyFields => f.write_str("the answer has too many fields"),
            Self::Length => f.write_str("the answer's length cannot be read in one way"),
            Self::Coding => f.write_str("the answer's transfer coding cannot be read in one way"),
            Self::Protocol => f.write_str("the server broke the rules of HTTP/2, or its head is too large"),
        }
    }
}
impl std::error::Error for BadAnswer {}

/// An answer's head. Spans point into the bytes that were parsed.
#[derive(Debug, Default)]
pub struct AnswerHead {
    /// 100..=599.
    pub status: u16,
    /// What follows.
    pub framing: BodyFraming,
    /// The length that was announced, also where nothing follows (HEAD, 304).
    pub announced: Option<u64>,
    /// Whether the connection can carry another request after this answer.
    pub keep_alive: bool,
    /// End-to-end fields: names (lower case once [`AnswerHead::lower_names`] ran) and values.
    pub fields: Vec<(Range<usize>, Range<usize>)>,
    /// The protocol of a 101.
    pub upgrade: Option<Range<usize>>,
}

/// How the request was asked, as far as the answer's framing depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// HEAD: no body whatever the fields say.
    Head,
    /// Anything else.
    Other,
}

impl AnswerHead {
    /// Looks at everything read so far. `None`: more is needed. Else the bytes the head took.
    ///
    /// # Errors
    /// [`BadAnswer`]: the connection must not be used again.
    pub fn parse(
        &mut self,
        buffer: &[u8],
        asked: Asked,
        bytes_max: usize,
    ) -> Result<Option<usize>, BadAnswer> {
        // What lies behind the limit is not looked at: a head reads the same however much of it came at once.
        let Some(end) = find_end(&buffer[..buffer.len().min(bytes_max)])? else {
            if buffer.len() > bytes_max {
                return Err(BadAnswer::TooLarge { max: bytes_max });
            }
            return Ok(None);
        };
        self.fill(&buffer[..end], asked)?;
        Ok(Some(end))
    }

    /// Makes the names lower case in a copy of the bytes that were parsed.
    pub fn lower_names(&self, bytes: &mut [u8]) {
        for (name, _) in &self.fields {
            bytes[name.clone()].make_ascii_lowercase();
        }
    }

    fn fill(&mut self, bytes: &[u8], asked: Asked) -> Result<(), BadAnswer> {
        let mut table = [MaybeUninit::<httparse::Header<'_>>::uninit(); FIELDS_CEILING];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            bytes,
            &mut table,
        );
        match parsed {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(BadAnswer::TooManyFields),
            _ => return Err(BadAnswer::Malformed),
        }
        let (Some(status @ 100..=599), Some(minor)) = (response.code, response.version) else {
            return Err(BadAnswer::Malformed);
        };
        let at = |part: &[u8]| {
            let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
            start..start + part.len()
        };
        self.fields.clear();
        (self.status, self.upgrade) = (status, None);
        let mut seen = Seen { keep_alive: minor == 1, ..Seen::default() };
        let mut named: [Option<&[u8]>; 8] = [None; 8];
        for field in response.headers.iter() {
            let (name, value) = (field.name.as_bytes(), field.value.trim_ascii());
            // obs-fold: httparse refuses it; a name that is no token too. What is left is judged by name.
            match name.len() {
                14 if name.eq_ignore_ascii_case(b"content-length") => seen.length(value)?,
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => seen.coding(value)?,
                10 if name.eq_ignore_ascii_case(b"connection") => seen.connection(value, &mut named)?,
                10 if name.eq_ignore_ascii_case(b"keep-alive") => {}
                16 if name.eq_ignore_ascii_case(b"proxy-connection") => {}
                7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = Some(at(value)),
                _ => self.fields.push((at(name), at(value))),
            }
        }
        if named.iter().flatten().next().is_some() {
            let is_named = |range: &Range<usize>| {
                named.iter().flatten().any(|name| bytes[range.clone()].eq_ignore_ascii_case(name))
            };
            self.fields.retain(|(name, _)| !is_named(name));
        }
        self.framing = seen.framing(status, asked, minor)?;
        self.announced = seen.length;
        let ends_it = self.framing == BodyFraming::UntilClose || seen.announces_what_cannot_come(status);
        self.keep_alive = seen.keep_alive && !seen.close && !ends_it;
        Ok(())
    }
}

/// The end of the empty line; every line before it is judged.
fn find_end(buffer: &[u8]) -> Result<Option<usize>, BadAnswer> {
    let mut from = 0;
    while let Some(found) = memchr::memchr(b'\n', &buffer[from..]) {
        let at = from + found;
        if at == 0 || buffer[at - 1] != b'\r' {
            return Err(BadAnswer::LineEnd);
        }
        if at - 1 == from {
            // An empty first line is no answer.
            return if from == 0 { Err(BadAnswer::Malformed) } else { Ok(Some(at + 1)) };
        }
        if from > 0 && matches!(buffer[from], b' ' | b'\t') {
            return Err(BadAnswer::LineEnd);
        }
        from = at + 1;
    }
    Ok(None)
}

#[derive(Default)]
struct Seen {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Seen {
    /// One length, however often it is said (RFC 9112 6.3): proxies repeat it, never with another number.
    fn length(&mut self, value: &[u8]) -> Result<(), BadAnswer> {
        let length = parse_length(value).ok_or(BadAnswer::Length)?;
        if self.length.is_some_and(|before| before != length) {
            return Err(BadAnswer::Length);
        }
        self.length = Some(length);
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), BadAnswer> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(BadAnswer::Coding);
        }
        self.chunked = true;
        Ok(())
    }

    fn connection<'a>(
        &mut self,
        value: &'a [u8],
        named: &mut [Option<&'a [u8]>; 8],
    ) -> Result<(), BadAnswer> {
        for member in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if member.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if member.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if !member.is_empty() && member.iter().all(|byte| TOKEN_LOWER[usize::from(*byte)] != 0) {
                let free = named.iter_mut().find(|name| name.is_none());
                *free.ok_or(BadAnswer::TooManyFields)? = Some(member);
            }
        }
        Ok(())
    }

    /// Content where there is none by definition (RFC 9110 8.6, RFC 9112 6.1): who says so may also send it.
    fn announces_what_cannot_come(&self, status: u16) -> bool {
        matches!(status, 100..=199 | 204) && (self.chunked || self.length.is_some_and(|length| length > 0))
    }

    fn framing(&self, status: u16, asked: Asked, minor: u8) -> Result<BodyFraming, BadAnswer> {
        if self.chunked && (self.length.is_some() || minor == 0) {
            return Err(BadAnswer::Coding);
        }
        if status < 200 && self.announces_what_cannot_come(status) {
            // Another answer follows on this connection: where it begins, two readers would not agree.
            return Err(if self.chunked { BadAnswer::Coding } else { BadAnswer::Length });
        }
        Ok(match status {
            100..=199 | 204 | 304 => BodyFraming::None,
            _ if asked == Asked::Head => BodyFraming::None,
            _ if self.chunked => BodyFraming::Chunked,
            _ => self.length.map_or(BodyFraming::UntilClose, |length| match length {
                0 => BodyFraming::None,
                length => BodyFraming::Length(length),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<(usize, AnswerHead)>, BadAnswer> {
        let mut head = AnswerHead::default();
        Ok(head.parse(text.as_bytes(), Asked::Other, 16 * 1024)?.map(|end| (end, head)))
    }

    // Goal: framing has one reading. Method: a table of heads, each at once and byte by byte.
    #[test]
    fn an_answers_length_has_one_reading() {
        use BodyFraming as F;
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", Ok((F::Length(3), true)));
        check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Ok((F::None, true)));
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\nContent-Length: 3\r\n\r\n", Ok((F::Length(3), true)));
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n", Err(BadAnswer::Length));
        check("HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\n\r\n", Err(BadAnswer::Length));
        check("HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\n", Err(BadAnswer::Length));
        check("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n", Err(BadAnswer::Length));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Ok((F::Chunked, true)));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", Err(BadAnswer::Coding));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n", Err(BadAnswer::Coding));
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
            Err(BadAnswer::Coding),
        );
        check("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Err(BadAnswer::Coding));
        check("HTTP/1.1 200 OK\r\n\r\n", Ok((F::UntilClose, false)));
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok((F::None, true)));
        check("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", Ok((F::None, true)));
        check("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", Ok((F::None, true)));
        check("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", Ok((F::None, false)));
        check("HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", Ok((F::None, false)));
        check("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", Ok((F::None, true)));
        check("HTTP/1.1 100 Continue\r\n\r\n", Ok((F::None, true)));
        check("HTTP/1.1 103 Early Hints\r\ncontent-length: 0\r\n\r\n", Ok((F::None, true)));
        check("HTTP/1.1 103 Early Hints\r\ncontent-length: 5\r\n\r\n", Err(BadAnswer::Length));
        check("HTTP/1.1 101 Switching\r\ntransfer-encoding: chunked\r\n\r\n", Err(BadAnswer::Coding));
        check("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n", Ok((F::Length(3), false)));
        check(
            "HTTP/1.0 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\n",
            Ok((F::Length(3), true)),
        );
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n", Ok((F::Length(3), false)));
        check("HTTP/1.1 200\r\ncontent-length: 3\r\n\r\n", Ok((F::Length(3), true)));
        check("HTTP/1.1 200 OK\ncontent-length: 3\n\n", Err(BadAnswer::LineEnd));
        check("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", Err(BadAnswer::LineEnd));
        check("HTTP/1.1 200 OK\r\na : b\r\n\r\n", Err(BadAnswer::Malformed));
        check("HTTP/1.1 099 OK\r\n\r\n", Err(BadAnswer::Malformed));
        check("HTTP/1.1 600 OK\r\n\r\n", Err(BadAnswer::Malformed));
        check("HTTP/2.0 200 OK\r\n\r\n", Err(BadAnswer::Malformed));
        check("\r\nHTTP/1.1 200 OK\r\n\r\n", Err(BadAnswer::Malformed));
        check("SSH-2.0-OpenSSH_9\r\n\r\n", Err(BadAnswer::Malformed));

        #[track_caller]
        fn check(text: &str, want: Result<(BodyFraming, bool), BadAnswer>) {
            let found = read(text).map(|found| {
                let (end, head) = found.expect("it is whole");
                assert_eq!(end, text.len());
                (head.framing, head.keep_alive)
            });
            assert_eq!(found, want, "{text:?}");
            let split = (1..text.len()).find_map(|end| match read(&text[..end]) {
                Ok(None) => None,
                other => Some(other.map(|_| ())),
            });
            // Cut short, it is refused for the same reason or waits; it is never taken for whole.
            match (split, want) {
                (None, _) => {}
                (Some(Err(early)), Err(want)) => assert_eq!(early, want, "{text:?}"),
                (Some(other), want) => panic!("{text:?}: {other:?} instead of {want:?}"),
            }
        }
    }

    #[test]
    fn fields_of_the_connection_stay_behind() {
        let text = "HTTP/1.1 200 OK\r\nServer: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
                    Set-Cookie: a\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n";
        let (_, head) = read(text).unwrap().unwrap();
        let mut bytes = text.as_bytes().to_vec();
        head.lower_names(&mut bytes);
        let text = |range: &Range<usize>| std::str::from_utf8(&bytes[range.clone()]).unwrap().to_owned();
        let fields: Vec<_> = head.fields.iter().map(|(name, value)| (text(name), text(value))).collect();
        let want = [("server", "x"), ("set-cookie", "a"), ("set-cookie", "b")];
        assert_eq!(fields, want.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn an_endless_head_is_refused() {
        let text = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(20_000));
        assert_eq!(read(&text).unwrap_err(), BadAnswer::TooLarge { max: 16 * 1024 });
        // What lies behind the limit does not change why.
        assert_eq!(read(&format!("{text}\n\n")).unwrap_err(), BadAnswer::TooLarge { max: 16 * 1024 });
    }
}
