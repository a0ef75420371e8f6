//! Bytes to lines of bounded length.
//!
//! **Job.** Cut what comes in pieces into lines. **Called by** `console`, `talk`.
//!
//! Invariants
//! 1. No line is longer than the limit, and no byte but line ends is lost: a longer line becomes several.
//! 2. Valid UTF-8 is never cut within a character.
//!
//! Not here: what a line means, bytes that are no text (`wire::clean`).

/// Cuts lines.
#[derive(Debug)]
pub(crate) struct LineCutter {
    begun: Vec<u8>,
    bytes_max: usize,
}

impl LineCutter {
    /// Lines of at most `bytes_max` bytes (at least 4, the longest character).
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { begun: Vec::new(), bytes_max: bytes_max.max(4) }
    }

    /// Takes a piece, gives the lines that are whole now, without their ends (LF or CRLF).
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while !piece.is_empty() {
            let end = piece.iter().position(|byte| *byte == b'\n');
            // Never more in hand than one line, its CR and what shows that this CR ends nothing.
            let room = (self.bytes_max + 2).saturating_sub(self.begun.len());
            let taken = end.unwrap_or(piece.len()).min(room);
            self.begun.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            if end == Some(taken) {
                piece = &piece[1..];
                if self.begun.last() == Some(&b'\r') {
                    self.begun.pop();
                }
                self.shorten(&mut lines);
                lines.push(std::mem::take(&mut self.begun));
            } else {
                self.shorten(&mut lines);
            }
        }
        lines
    }

    /// What came after the last line end.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.begun);
        (!rest.is_empty()).then_some(rest)
    }

    /// Cuts off what is too long, between two characters. A CR that may belong to the line's end stays in hand.
    fn shorten(&mut self, lines: &mut Vec<Vec<u8>>) {
        let waits_for_lf = self.begun.len() == self.bytes_max + 1 && self.begun.last() == Some(&b'\r');
        if self.begun.len() <= self.bytes_max || waits_for_lf {
            return;
        }
        let is_start = |at: &usize| self.begun[*at] & 0b1100_0000 != 0b1000_0000;
        let at = (self.bytes_max - 3..=self.bytes_max).rev().find(is_start).unwrap_or(self.bytes_max);
        let rest = self.begun.split_off(at);
        lines.push(std::mem::replace(&mut self.begun, rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(bytes_max: usize, pieces: &[&[u8]]) -> Vec<String> {
        let mut cutter = LineCutter::new(bytes_max);
        let mut lines: Vec<_> = pieces.iter().flat_map(|piece| cutter.push(piece)).collect();
        lines.extend(cutter.finish());
        lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    // Goal: where pieces and lines end are different things; a line that is too long is told in several.
    #[test]
    fn lines_come_out_however_the_pieces_were_cut() {
        check(8, &[b"one\ntwo\n"], &["one", "two"]);
        check(8, &[b"o", b"ne\r", b"\ntwo"], &["one", "two"]);
        check(8, &[b"\n\n"], &["", ""]);
        check(8, &[b"12345678\n"], &["12345678"]);
        check(8, &[b"12345678\r\n1"], &["12345678", "1"]);
        check(8, &[b"12345678\rx\n"], &["12345678", "\rx"]);
        check(8, &[b"123456789\n"], &["12345678", "9"]);
        check(8, &["가나다라".as_bytes()], &["가나", "다라"]);
        check(
            8,
            &[&[0x80; 10]],
            &["\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}"],
        );

        #[track_caller]
        fn check(bytes_max: usize, pieces: &[&[u8]], want: &[&str]) {
            assert_eq!(cut(bytes_max, pieces), want);
        }
    }

    proptest! {
        // Goal: invariants 1 and 2 for any text, however it is cut.
        #[test]
        fn no_line_is_too_long_and_no_character_is_lost(text in "[a가😀\n]{0,60}", size in 1_usize..9) {
            let mut cutter = LineCutter::new(8);
            let mut lines: Vec<Vec<u8>> = text.as_bytes().chunks(size).flat_map(|piece| cutter.push(piece)).collect();
            lines.extend(cutter.finish());
            let mut all = String::new();
            for line in lines {
                prop_assert!(line.len() <= 8);
                all.push_str(std::str::from_utf8(&line).unwrap());
            }
            prop_assert_eq!(all, text.replace('\n', ""));
        }
    }
}
