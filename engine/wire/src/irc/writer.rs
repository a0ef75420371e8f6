//! A line that goes out.
//!
//! **Job.** Append one line to a buffer, part by part. **Called by** `irc`'s callers.
//!
//! Invariants
//! 1. What was appended is one line that reads as it was written, with CR LF at its end and nowhere else.
//! 2. It has at most 512 bytes and 8,191 bytes of tags: a text that does not fit is cut between two letters, a tag is left out.
//!
//! Not here: cutting long texts into several lines (`roles/chat/src/irc`).

use super::{LINE_BYTES_MAX, TAGS_BYTES_MAX, tags};

/// A line that is being written: tags, source, command, parameters, text, end - in this order.
#[derive(Debug)]
#[must_use = "a line without an end joins the next one"]
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    begin: usize,
    /// Where the part of 512 bytes begins.
    untagged: usize,
}

impl<'a> Line<'a> {
    /// Begins a line behind whatever `out` holds.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let begin = out.len();
        Self { out, begin, untagged: begin }
    }

    /// Adds a tag: only before anything else. One without a form, or for which there is no room, is left out.
    pub fn tag(self, key: &str, value: &str) -> Self {
        debug_assert_eq!(self.untagged, self.out.len(), "tags come first");
        if !tags::is_key(key) {
            return self;
        }
        let from = self.out.len();
        match self.out.last_mut() {
            // The space behind the tags so far gives way.
            Some(space) if from > self.begin => *space = b';',
            _ => self.out.push(b'@'),
        }
        self.out.extend_from_slice(key.as_bytes());
        if !value.is_empty() {
            self.out.push(b'=');
            tags::escape(self.out, value);
        }
        self.out.push(b' ');
        if self.out.len() - self.begin > TAGS_BYTES_MAX {
            self.out.truncate(from);
            if let Some(space) = self.out.last_mut().filter(|_| from > self.begin) {
                *space = b' ';
            }
        }
        Self { untagged: self.out.len(), ..self }
    }

    /// Who says it.
    pub fn source(self, source: &str) -> Self {
        self.out.push(b':');
        word(self.out, source);
        self.out.push(b' ');
        self
    }

    /// The command: letters or three digits, ours.
    pub fn command(self, command: &str) -> Self {
        debug_assert!(command.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{command}");
        self.out.extend_from_slice(command.as_bytes());
        self
    }

    /// A parameter of one word. One that could not be told apart from its neighbours becomes `*`.
    pub fn param(self, param: &str) -> Self {
        self.out.push(b' ');
        let plain = !param.is_empty() && !param.starts_with(':') && param.bytes().all(|byte| byte > b' ');
        word(self.out, if plain { param } else { "*" });
        self
    }

    /// The last parameter, of any text; control characters that end lines become spaces.
    pub fn text(self, text: &str) -> Self {
        self.out.extend_from_slice(b" :");
        self.out.extend(text.bytes().map(|byte| if matches!(byte, 0 | b'\r' | b'\n') { b' ' } else { byte }));
        self
    }

    /// How many bytes of the 512 are left for a text.
    pub fn room_for_text(&self) -> usize {
        (LINE_BYTES_MAX - 4).saturating_sub(self.out.len() - self.untagged)
    }

    /// Ends the line.
    pub fn end(self) {
        let longest = self.untagged + LINE_BYTES_MAX - 2;
        if self.out.len() > longest {
            // Back to where a letter begins.
            let cut = (self.untagged..=longest).rev().find(|at| self.out[*at] & 0xc0 != 0x80);
            self.out.truncate(cut.unwrap_or(longest));
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Without what would end it.
fn word(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().map(|byte| if matches!(byte, 0 | b'\r' | b'\n' | b' ') { b'_' } else { byte }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_part_by_part() {
        let mut out = b"before".to_vec();
        Line::new(&mut out)
            .tag("time", "2026-11-21T12:00:00.000Z")
            .tag("msgid", "a;b c")
            .source("mina!u@town")
            .command("PRIVMSG")
            .param("#lobby")
            .text("안녕, town")
            .end();
        Line::new(&mut out).command("PING").param("1").end();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "before@time=2026-11-21T12:00:00.000Z;msgid=a\\:b\\sc :mina!u@town PRIVMSG #lobby :안녕, town\r\nPING 1\r\n"
        );
    }

    // Goal: what users wrote cannot begin a line, end one, or make one parameter two.
    #[test]
    fn no_text_escapes_its_place() {
        check("a\r\nQUIT", "PRIVMSG a__QUIT :a  QUIT");
        check("", "PRIVMSG * :");
        check(":a", "PRIVMSG * ::a");
        check("a b", "PRIVMSG * :a b");

        #[track_caller]
        fn check(text: &str, want: &str) {
            let mut out = Vec::new();
            Line::new(&mut out).command("PRIVMSG").param(&text.replace(['\r', '\n'], "_")).text(text).end();
            assert_eq!(String::from_utf8(out).unwrap(), format!("{want}\r\n"));
        }
    }

    // Goal: a line that is too long is cut between letters, and says beforehand how much fits.
    #[test]
    fn what_does_not_fit_is_cut_between_letters() {
        let mut out = Vec::new();
        let line = Line::new(&mut out).tag("a", "b").command("A").param("b");
        let room = line.room_for_text();
        line.text(&"가".repeat(200)).end();
        let text = String::from_utf8(out.clone()).unwrap();
        assert!(text.ends_with("가\r\n"));
        assert!((510..=512).contains(&(text.len() - "@a=b ".len())), "{}", text.len());
        let mut exact = Vec::new();
        Line::new(&mut exact).tag("a", "b").command("A").param("b").text(&"x".repeat(room)).end();
        assert_eq!(exact.len(), "@a=b ".len() + LINE_BYTES_MAX);
        assert!(exact.ends_with(b"x\r\n"));
    }

    #[test]
    fn a_tag_without_room_is_left_out() {
        let mut out = Vec::new();
        Line::new(&mut out).tag("a", "1").tag("b", &"x".repeat(8_200)).tag("c", "2").command("PING").end();
        assert_eq!(out, b"@a=1;c=2 PING\r\n");
    }
}
