//! Lines out of what a terminal sends.
//!
//! **Job.** Cut bytes into lines, without telnet's commands and control characters; make texts fit for a terminal.
//! **Called by** `super`, `talk`.
//!
//! Invariants
//! 1. Every line gives one answer, whatever the pieces in which it comes.
//! 2. No control character of anybody reaches a terminal.
//!
//! Not here: what a line means (`talk`).

/// Telnet's "interpret as command" (RFC 854).
const IAC: u8 = 0xff;

/// Why a line is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadLine {
    /// Longer than a message may be.
    TooLong,
    /// Not UTF-8.
    NotUtf8,
}

/// What the front of a buffer was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// So many bytes are done with; 0: more are needed.
    pub(super) bytes: usize,
    /// A line with something in it.
    pub(super) line: Option<Result<String, BadLine>>,
}

/// Cuts bytes into lines that end in LF or CR LF.
#[derive(Debug)]
pub(super) struct Lines {
    bytes_max: usize,
    skipping: bool,
}

impl Lines {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, skipping: false }
    }

    pub(super) fn take(&mut self, input: &[u8]) -> Taken {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            let too_long = self.skipping || input.len() > self.bytes_max;
            let first = too_long && !std::mem::replace(&mut self.skipping, too_long);
            let bytes = if too_long { input.len() } else { 0 };
            return Taken { bytes, line: first.then_some(Err(BadLine::TooLong)) };
        };
        let line = if std::mem::take(&mut self.skipping) {
            None
        } else if end > self.bytes_max {
            Some(Err(BadLine::TooLong))
        } else {
            match String::from_utf8(without_telnet(&input[..end])) {
                Ok(text) => Some(fit(&text).trim().to_owned()).filter(|text| !text.is_empty()).map(Ok),
                Err(_) => Some(Err(BadLine::NotUtf8)),
            }
        };
        Taken { bytes: end + 1, line }
    }
}

/// A telnet client announces what it can do; nothing of it is wanted here.
fn without_telnet(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, behind @ ..] = rest {
        rest = match (*first, behind) {
            // WILL, WONT, DO, DONT and their option.
            (IAC, [251..=254, _, more @ ..]) => more,
            // SB ... IAC SE.
            (IAC, [250, more @ ..]) => {
                let end = more.windows(2).position(|two| two == [IAC, 240]);
                end.map_or(&[][..], |end| &more[end + 2..])
            }
            (IAC, [_, more @ ..]) => more,
            (IAC, []) => &[],
            (byte, more) => {
                plain.push(byte);
                more
            }
        };
    }
    plain
}

/// Without control characters, and without those that turn the direction of writing.
pub(super) fn fit(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .filter_map(|c| match c {
            '\t' => Some(' '),
            c if c.is_control() || turns(c) => None,
            c => Some(c),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], step: usize) -> Vec<Result<String, BadLine>> {
        let (mut lines, mut buffer, mut read) = (Lines::new(20), Vec::new(), Vec::new());
        for piece in bytes.chunks(step.max(1)) {
            buffer.extend_from_slice(piece);
            loop {
                let taken = lines.take(&buffer);
                read.extend(taken.line);
                if taken.bytes == 0 {
                    break;
                }
                buffer.drain(..taken.bytes);
            }
        }
        read
    }

    // Goal: what nc, telnet and careless programs send becomes lines, and what is too much is refused once.
    #[test]
    fn lines_come_out_plain() {
        check(b"hello\r\n\n  \nyou\n", &[Ok("hello"), Ok("you")]);
        check(b"\xff\xfb\x1f\xff\xfd\x01hi\xff\xf9\n", &[Ok("hi")]);
        check(b"\xff\xfa\x1f\0\x50\xff\xf0hi\n", &[Ok("hi")]);
        check(b"\x1b[31mred\x07\tx\n", &[Ok("[31mred x")]);
        check("\u{202e}abc\n".as_bytes(), &[Ok("abc")]);
        check(b"\xc3\n", &[Err(BadLine::NotUtf8)]);
        check(&[&[b'x'; 50][..], b"\nok\n"].concat(), &[Err(BadLine::TooLong), Ok("ok")]);
        check(&[&[b'x'; 20][..], b"\n"].concat(), &[Ok("xxxxxxxxxxxxxxxxxxxx")]);

        #[track_caller]
        fn check(bytes: &[u8], want: &[Result<&str, BadLine>]) {
            for step in [bytes.len(), 1, 7] {
                let want: Vec<_> = want.iter().map(|line| line.map(str::to_owned)).collect();
                assert_eq!(read(bytes, step), want, "{step} at a time");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_the_same_lines_in_any_pieces(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(0xff), any::<u8>()], 0..200), step in 1_usize..30) {
            let whole = read(&bytes, bytes.len());
            prop_assert_eq!(read(&bytes, step), whole.clone());
            prop_assert!(whole.iter().flatten().all(|line| !line.chars().any(char::is_control)));
        }
    }
}
