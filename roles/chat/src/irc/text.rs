//! Texts between IRC and everybody else.
//!
//! **Job.** Take out what only terminals of IRC mean, know `/me`, cut long texts at sensible places.
//! **Called by** `message`, `told`.
//!
//! Invariants
//! 1. The pieces of a text fit, break between letters, and lose nothing but the blank at which they break.
//!
//! Not here: what a text may be at all (`hub`).

/// What a client said: its words, and whether it does them (`/me`).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Words.
    Text {
        /// Without formatting.
        text: String,
        /// `/me`.
        action: bool,
    },
    /// Another request from client to client, or an answer to one (CTCP), without its frame.
    Ctcp(String),
}

/// Words with `between` between them, in lines of at most `space` bytes; a word that is longer has a line for itself.
pub(super) fn gathered(words: Vec<String>, between: char, space: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut().filter(|line| line.len() + 1 + word.len() <= space) {
            Some(line) => {
                line.push(between);
                line.push_str(&word);
            }
            None => lines.push(word),
        }
    }
    lines
}

/// Reads the text of a PRIVMSG or of a NOTICE.
pub(super) fn read(text: &str) -> Said {
    let Some(request) = text.strip_prefix('\u{1}') else {
        return Said::Text { text: unformatted(text), action: false };
    };
    let request = request.strip_suffix('\u{1}').unwrap_or(request);
    match request.strip_prefix("ACTION ") {
        Some(action) => Said::Text { text: unformatted(action), action: true },
        None => Said::Ctcp(unformatted(request)),
    }
}

/// What one client tells another, in its frame (CTCP).
pub(super) fn ctcp(words: &str) -> String {
    format!("\u{1}{words}\u{1}")
}

/// Without bold, colours and the like: control characters that only terminals of IRC understand.
fn unformatted(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\u{3}' => {
                rest = without_digits(rest, 2, |c| c.is_ascii_digit());
            }
            '\u{4}' => rest = without_digits(rest, 6, |c| c.is_ascii_hexdigit()),
            '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// Without a colour and, behind a comma, a second one.
fn without_digits(rest: &str, most: usize, is: fn(char) -> bool) -> &str {
    let count = |text: &str| text.chars().take(most).take_while(|c| is(*c)).count();
    let first = count(rest);
    let after = &rest[first..];
    match after.strip_prefix(',') {
        Some(second) if first > 0 && count(second) > 0 => &second[count(second)..],
        _ => after,
    }
}

/// The lines of a text, each of at most `bytes` bytes: broken at its own line ends, then at blanks, then between letters.
/// Lines with nothing in them are left out, unless `blanks`.
pub(super) fn pieces(text: &str, bytes: usize, blanks: bool) -> impl Iterator<Item = Piece<'_>> {
    let bytes = bytes.max(4);
    text.lines().filter(move |line| blanks || !line.trim().is_empty()).flat_map(move |line| Pieces {
        rest: Some(line),
        bytes,
        begun: false,
    })
}

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Its words.
    pub(super) text: &'a str,
    /// It goes on the line of the one before it, which was only too long.
    pub(super) continues: bool,
}

struct Pieces<'a> {
    rest: Option<&'a str>,
    bytes: usize,
    begun: bool,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;
    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = self.rest?;
        let continues = std::mem::replace(&mut self.begun, true);
        if rest.len() <= self.bytes {
            self.rest = None;
            return Some(Piece { text: rest, continues });
        }
        let longest = rest.floor_char_boundary(self.bytes);
        // The blank stays with the piece before it: put together the pieces are the text again.
        let at = match rest[..longest].rfind(' ') {
            Some(blank) if blank > longest / 2 => blank + 1,
            _ => longest,
        };
        let (text, rest) = rest.split_at(at);
        self.rest = Some(rest);
        Some(Piece { text, continues })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn formatting_is_taken_out_and_actions_are_known() {
        check("hello, town", "hello, town", false);
        check("\u{2}bold\u{f} \u{3}04,12red\u{3} \u{1d}i\u{1d} \u{4}ff00ffhex\u{3}", "bold red i hex", false);
        check("\u{3}1,a", ",a", false);
        check("\u{3},1", ",1", false);
        check("\u{3}1234", "34", false);
        check("tab\there \u{7f}\u{85}", "tab\there ", false);
        check("\u{1}ACTION waves\u{1}", "waves", true);
        check("\u{1}ACTION waves", "waves", true);
        assert_eq!(read("\u{1}VERSION\u{1}"), Said::Ctcp("VERSION".to_owned()));

        #[track_caller]
        fn check(text: &str, want: &str, action: bool) {
            assert_eq!(read(text), Said::Text { text: want.to_owned(), action });
        }
    }

    #[test]
    fn long_texts_break_where_a_person_would() {
        check("short", 10, &["short"]);
        check("one two three", 10, &["one two ", "three"]);
        check("가나다라", 7, &["가나", "다라"]);
        check("a\n\nb\r\n", 10, &["a", "b"]);
        check("a verylongword", 10, &["a verylong", "word"]);
        let blanks: Vec<Piece<'_>> = pieces("a\n\nb", 10, true).collect();
        assert_eq!(blanks.len(), 3);

        #[track_caller]
        fn check(text: &str, bytes: usize, want: &[&str]) {
            let have: Vec<&str> = pieces(text, bytes, false).map(|piece| piece.text).collect();
            assert_eq!(have, want);
        }
    }

    proptest! {
        // Goal: invariant 1.
        #[test]
        fn pieces_fit_and_lose_nothing(text in "[ a-z가-힣\n]{0,300}", bytes in 4_usize..80) {
            let mut lines: Vec<String> = Vec::new();
            for piece in pieces(&text, bytes, true) {
                prop_assert!(piece.text.len() <= bytes);
                match lines.last_mut() {
                    Some(line) if piece.continues => line.push_str(piece.text),
                    _ => lines.push(piece.text.to_owned()),
                }
            }
            prop_assert_eq!(lines, text.lines().map(str::to_owned).collect::<Vec<_>>());
        }
    }
}
