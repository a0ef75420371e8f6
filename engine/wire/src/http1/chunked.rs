//! Chunked bodies (RFC 9112 7.1), strictly.
//!
//! **Job.** Say which bytes of a buffer are content, without copying; write chunks.
//! **Called by** `http::http1`. **Calls** nothing of ours.
//!
//! Invariants
//! 1. Lines end in CR LF only; sizes are 1 to 16 hex digits; extensions are bounded and hold no control bytes.
//! 2. Trailers are bounded; those that could change framing, routing or rights are dropped (RFC 9110 6.5.1).
//!
//! Not here: limits on content (`http::http1::body_in`).

use crate::grammar::is_token_byte;
use crate::malformed::Malformed;

/// Bytes of chunk extensions and padding in one body.
const EXTENSIONS_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a trailer section.
const TRAILERS_BYTES_MAX: usize = 8 * 1024;
const TRAILERS_MAX: usize = 64;

/// Why a chunked body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkError {
    /// Not 1 to 16 hex digits.
    Size,
    /// A line end other than CR LF, or a size line with bytes it may not have.
    Line,
    /// No CR LF behind a chunk's content.
    ContentEnd,
    /// Too many bytes of extensions.
    Extensions,
    /// A trailer section that is not well-formed or too large.
    Trailers,
}

impl ChunkError {
    /// A stable name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Size => "bad-chunk-size",
            Self::Line => "bad-chunk-line",
            Self::ContentEnd => "bad-chunk-end",
            Self::Extensions => "chunk-extensions-too-large",
            Self::Trailers => "bad-trailers",
        }
    }
}

/// What the buffer's front is.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Skip `skip` bytes; the next `len` are content.
    Data {
        /// Framing before the content.
        skip: usize,
        /// Content, at least one byte.
        len: usize,
    },
    /// These bytes were framing; more are needed.
    NeedMore {
        /// Framing at the front.
        consumed: usize,
    },
    /// The body is complete.
    End {
        /// The last framing bytes.
        consumed: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Content { left: u64 },
    ContentCr,
    ContentLf,
    Trailer,
    Done,
}

/// Reads one chunked body.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    extensions: usize,
    trailer_bytes: Vec<u8>,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self { state: State::Size { digits: 0, size: 0 }, extensions: 0, trailer_bytes: Vec::new() }
    }
}

impl ChunkedDecoder {
    /// Looks at the front of `buffer`. The caller takes what is told and asks again.
    pub fn decode(&mut self, buffer: &[u8]) -> Result<Chunk, ChunkError> {
        let mut at = 0;
        loop {
            if let State::Content { left } = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len() - at);
                if here == 0 {
                    return Ok(Chunk::NeedMore { consumed: at });
                }
                let left = left - here as u64;
                self.state = if left == 0 { State::ContentCr } else { State::Content { left } };
                return Ok(Chunk::Data { skip: at, len: here });
            }
            if self.state == State::Done {
                return Ok(Chunk::End { consumed: at });
            }
            let Some(&byte) = buffer.get(at) else { return Ok(Chunk::NeedMore { consumed: at }) };
            at += 1;
            self.state = self.step(byte)?;
        }
    }

    fn step(&mut self, byte: u8) -> Result<State, ChunkError> {
        Ok(match self.state {
            State::Size { digits, size } => match (byte, char::from(byte).to_digit(16)) {
                (_, Some(digit)) if digits < 16 => {
                    State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
                }
                (b'\r', _) if digits > 0 => State::SizeLf { size },
                (b';', _) if digits > 0 => State::Extension { size },
                // RFC 9112 7.1.1: "bad" whitespace before an extension; nothing honest sends it.
                _ => return Err(ChunkError::Size),
            },
            State::Extension { size } => {
                self.extensions += 1;
                if self.extensions > EXTENSIONS_BYTES_MAX {
                    return Err(ChunkError::Extensions);
                }
                match byte {
                    b'\r' => State::SizeLf { size },
                    b'\t' | 0x20..=0x7e | 0x80.. => State::Extension { size },
                    _ => return Err(ChunkError::Line),
                }
            }
            State::SizeLf { size } => match (byte, size) {
                (b'\n', 0) => State::Trailer,
                // 2^62 and more is no size of anything: it is a probe of somebody's arithmetic.
                (b'\n', size) if size < 1 << 62 => State::Content { left: size },
                (b'\n', _) => return Err(ChunkError::Size),
                _ => return Err(ChunkError::Line),
            },
            State::ContentCr if byte == b'\r' => State::ContentLf,
            State::ContentLf if byte == b'\n' => State::Size { digits: 0, size: 0 },
            State::ContentCr | State::ContentLf => return Err(ChunkError::ContentEnd),
            State::Trailer => return self.trailer(byte),
            state @ (State::Content { .. } | State::Done) => state,
        })
    }

    fn trailer(&mut self, byte: u8) -> Result<State, ChunkError> {
        self.trailer_bytes.push(byte);
        if self.trailer_bytes.len() > TRAILERS_BYTES_MAX {
            return Err(ChunkError::Trailers);
        }
        // A CR that no LF follows would be trimmed away by one reader and end a line for another.
        let behind_cr = self.trailer_bytes.iter().rev().nth(1) == Some(&b'\r');
        if behind_cr && byte != b'\n' {
            return Err(ChunkError::Trailers);
        }
        if byte == b'\n' {
            let line_is = |end: &[u8]| self.trailer_bytes.ends_with(end);
            if !line_is(b"\r\n") {
                return Err(ChunkError::Trailers);
            }
            if self.trailer_bytes == b"\r\n" || line_is(b"\r\n\r\n") {
                self.check_trailers()?;
                return Ok(State::Done);
            }
        } else if byte < 0x20 && byte != b'\t' && byte != b'\r' || byte == 0x7f {
            return Err(ChunkError::Trailers);
        }
        Ok(State::Trailer)
    }

    fn check_trailers(&self) -> Result<(), ChunkError> {
        let mut count = 0;
        for line in lines(&self.trailer_bytes) {
            let (name, _) = split(line).ok_or(ChunkError::Trailers)?;
            let fine = !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte));
            count += 1;
            if !fine || count > TRAILERS_MAX {
                return Err(ChunkError::Trailers);
            }
        }
        Ok(())
    }

    /// The trailer fields that may be used, once the end was reached.
    pub fn trailers(&self) -> impl Iterator<Item = (String, &[u8])> {
        lines(&self.trailer_bytes).filter_map(|line| {
            let (name, value) = split(line)?;
            let name = String::from_utf8(name.to_ascii_lowercase()).ok()?;
            (!is_forbidden(&name)).then_some((name, value))
        })
    }
}

fn lines(section: &[u8]) -> impl Iterator<Item = &[u8]> {
    section
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b':', line)?;
    Some((&line[..at], line[at + 1..].trim_ascii()))
}

/// Trailers that must not change what was already decided from the head.
fn is_forbidden(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "content-range"
            | "trailer"
            | "te"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "upgrade"
            | "authorization"
            | "cookie"
            | "set-cookie"
            | "expect"
            | "range"
            | "cache-control"
            | "max-forwards"
            | "forwarded"
            | "via"
            | "date"
            | "origin"
            | "proxy"
            | "x-real-ip"
            | "x-request-id"
    ) || name.starts_with("x-forwarded-")
        || name.starts_with("proxy-")
        || name.starts_with("if-")
        || name.starts_with("sec-")
        || name.contains('_')
}

/// Writes the line before a chunk's content.
pub fn write_chunk_head(out: &mut Vec<u8>, len: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(HEX[(len >> (digit * 4)) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk and the trailers.
pub fn write_last_chunk<'a>(out: &mut Vec<u8>, trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        let fine = name.iter().all(|byte| is_token_byte(*byte))
            && !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        if fine {
            for part in [name, b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A chunked body is part of its request: its faults refuse it like the head's.
impl From<ChunkError> for Malformed {
    fn from(_: ChunkError) -> Self {
        Self::TransferEncoding
    }
}
