//! Lines in a stream of bytes.
//!
//! **Job.** Say what the front of a buffer is. **Called by** `irc`'s callers.
//!
//! Invariants
//! 1. Every line gives one answer, whatever the pieces in which it comes.
//! 2. Of a line that is too long no more than [`INPUT_BYTES_MAX`] bytes are ever waited for.
//!
//! Not here: what a line says (`Message`).

use super::{CLIENT_TAGS_BYTES_MAX, INPUT_BYTES_MAX, LINE_BYTES_MAX, LineError};

/// What the front of a buffer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken<'a> {
    /// So many bytes are done with; 0: more are needed.
    pub bytes: usize,
    /// A line that has something in it, without its end; or why it is refused.
    pub line: Option<Result<&'a str, LineError>>,
}

/// Cuts bytes into lines that end in LF, with or without CR before it. Holds no bytes.
#[derive(Debug, Default)]
pub struct Reader {
    /// In a line that was refused before its end came.
    skipping: bool,
}

impl Reader {
    /// Looks at the front of `input`. To be called again with the rest until it takes nothing.
    pub fn take<'a>(&mut self, input: &'a [u8]) -> Taken<'a> {
        let end = memchr::memchr(b'\n', input);
        if self.skipping {
            self.skipping = end.is_none();
            return Taken { bytes: end.map_or(input.len(), |end| end + 1), line: None };
        }
        let Some(end) = end else {
            self.skipping = input.len() >= INPUT_BYTES_MAX;
            return match self.skipping {
                true => Taken { bytes: input.len(), line: Some(Err(too_long(input))) },
                false => Taken { bytes: 0, line: None },
            };
        };
        let content = &input[..end];
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        Taken { bytes: end + 1, line: (!content.is_empty()).then(|| line(content)) }
    }
}

/// A whole line without its end, as a websocket message carries one.
///
/// # Errors
/// Invariant 1 of `irc`, each by name.
pub fn line(content: &[u8]) -> Result<&str, LineError> {
    let tags = tags_bytes(content);
    if content.len() - tags > LINE_BYTES_MAX - 2 || tags > CLIENT_TAGS_BYTES_MAX {
        return Err(too_long(content));
    }
    if content.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err(LineError::Control);
    }
    std::str::from_utf8(content).map_err(|_| LineError::NotUtf8)
}

/// How much of a line are its tags, with `@` and the space.
fn tags_bytes(content: &[u8]) -> usize {
    match content {
        [b'@', ..] => memchr::memchr(b' ', content).map_or(content.len(), |space| space + 1),
        _ => 0,
    }
}

/// Which part is: the same answer whether the line has come to its end or not.
fn too_long(content: &[u8]) -> LineError {
    let tags = tags_bytes(&content[..content.len().min(CLIENT_TAGS_BYTES_MAX + 1)]);
    if tags > CLIENT_TAGS_BYTES_MAX { LineError::TagsTooLong } else { LineError::TooLong }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that is answered when so many bytes come at a time.
    fn read(bytes: &[u8], step: usize) -> Vec<Result<String, LineError>> {
        let (mut reader, mut buffer, mut lines) = (Reader::default(), Vec::new(), Vec::new());
        for piece in bytes.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                let taken = reader.take(&buffer);
                lines.extend(taken.line.map(|line| line.map(str::to_owned)));
                let bytes = taken.bytes;
                if bytes == 0 {
                    break;
                }
                buffer.drain(..bytes);
            }
            assert!(buffer.len() < INPUT_BYTES_MAX);
        }
        lines
    }

    // Goal: one answer a line, the same in any pieces; a refused line takes nothing with it.
    #[test]
    fn lines_come_one_by_one_in_any_pieces() {
        let long = "x".repeat(511);
        let longest = "y".repeat(510);
        let tags = format!("@a={} PING", "b".repeat(4092));
        let tags_too_long = format!("@a={} PING\nPING\n", "b".repeat(4093));
        check(b"NICK a\r\nUSER b\n\r\n\nPING\r\n", &[Ok("NICK a"), Ok("USER b"), Ok("PING")]);
        check(
            format!("{longest}\r\n{long}\r\nPING\r\n").as_bytes(),
            &[Ok(&longest), Err(LineError::TooLong), Ok("PING")],
        );
        check(format!("{tags}\n").as_bytes(), &[Ok(&tags)]);
        check(tags_too_long.as_bytes(), &[Err(LineError::TagsTooLong), Ok("PING")]);
        check(format!("{}\nPING\n", "z".repeat(20_000)).as_bytes(), &[Err(LineError::TooLong), Ok("PING")]);
        let endless = format!("@{}\nPING\n", "z".repeat(20_000));
        check(endless.as_bytes(), &[Err(LineError::TagsTooLong), Ok("PING")]);
        check(
            b"a\0b\nc\rd\ne\xff\nPING",
            &[Err(LineError::Control), Err(LineError::Control), Err(LineError::NotUtf8)],
        );

        #[track_caller]
        fn check(bytes: &[u8], want: &[Result<&str, LineError>]) {
            let want: Vec<Result<String, LineError>> =
                want.iter().map(|line| line.map(str::to_owned)).collect();
            for step in [bytes.len(), 1, 7, 4_608, 5_000] {
                assert_eq!(read(bytes, step), want, "{step} bytes at a time");
            }
        }
    }
}
