//! Bytes from outside as text that does nothing to a terminal.
//!
//! **Job.** Take colours away, write every other control character and every byte that is no text so that it can be seen.
//! **Called by** whoever shows what others wrote: the lines of apps, the words of people who talk.
//!
//! Invariants
//! 1. What comes out is UTF-8 without control characters but tabs, and without those that reorder text (UAX 9): no
//!    program's line can move the operator's cursor, retitle a window or hide what it says.
//!
//! Not here: how long a line may be (`host::process::output`, the chat client).

use std::fmt::Write as _;

/// The line, harmless.
pub fn clean(line: &[u8]) -> String {
    let mut out = String::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(is_unsafe) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(behind) = colour(rest) {
                rest = behind;
                continue;
            }
            let mut characters = rest.chars();
            if let Some(character) = characters.next() {
                show(&mut out, character);
            }
            rest = characters.as_str();
        }
        out.push_str(rest);
        for byte in chunk.invalid() {
            // Writing to a string cannot fail, here and below.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn is_unsafe(character: char) -> bool {
    match character {
        '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => true,
        '\u{2028}' | '\u{2029}' => true,
        other => other.is_control(),
    }
}

fn show(out: &mut String, character: char) {
    let number = u32::from(character);
    let _ = if number < 0x80 { write!(out, "\\x{number:02x}") } else { write!(out, "\\u{{{number:x}}}") };
}

/// What is behind a sequence that only sets colours (ECMA-48 8.3.117, SGR); `None`: it is another one.
fn colour(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("\u{1b}[")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == ':'))?;
    rest[end..].strip_prefix('m')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        check(b"plain \xea\xb0\x80 text\twith a tab", "plain \u{ac00} text\twith a tab");
        check(b"\x1b[1;31mred\x1b[0m and \x1b[38;5;208mmore\x1b[m", "red and more");
        check(b"\x1b]0;title\x07 \x1b[2J \x1b[1A", "\\x1b]0;title\\x07 \\x1b[2J \\x1b[1A");
        check(b"\x1b[31", "\\x1b[31");
        check(b"bell \x07 nul \x00 del \x7f back \x08", "bell \\x07 nul \\x00 del \\x7f back \\x08");
        check(b"csi \xc2\x9b31m", "csi \\u{9b}31m");
        check(b"bytes \xff\xfe\xc3", "bytes \\xff\\xfe\\xc3");
        check("evil \u{202e}txt.exe".as_bytes(), "evil \\u{202e}txt.exe");
        check(b"one\rtwo", "one\\x0dtwo");

        #[track_caller]
        fn check(line: &[u8], want: &str) {
            assert_eq!(clean(line), want);
        }
    }

    proptest! {
        // Goal: invariant 1, whatever the bytes; and what is harmless stays as it is.
        #[test]
        fn what_comes_out_is_harmless(line: Vec<u8>) {
            let out = clean(&line);
            prop_assert!(!out.chars().any(is_unsafe), "{out:?}");
            prop_assert_eq!(clean(out.as_bytes()), out);
        }
    }
}
