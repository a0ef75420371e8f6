//! IRC lines (RFC 1459 2.3, IRCv3 message-tags): what a client sends, what a server answers.
//!
//! **Job.** Cut bytes into lines, say what a line is, write one. **Called by** role chat's IRC face and its line face.
//! **Calls** nothing of ours.
//!
//! Invariants
//! 1. A line is UTF-8 without NUL, CR and LF, of at most 512 bytes and 4,096 bytes of tags: else it is refused, by name, once,
//!    and the one behind it is read as if it had not been there.
//! 2. Whatever is written is one line: no text of a user can begin a second one or grow a parameter.
//!
//! Not here: what commands mean, who may give them (`roles/chat/src/irc`).

mod reader;
mod tags;
mod writer;

use std::fmt;

pub use self::reader::{Reader, Taken, line};
pub use self::tags::Tags;
pub use self::writer::Line;

/// The longest line without its tags, with CR LF (RFC 2812 2.3).
pub const LINE_BYTES_MAX: usize = 512;
/// The longest tags of a client, with `@` and the space behind (IRCv3 message-tags: 4,094 bytes of data).
pub const CLIENT_TAGS_BYTES_MAX: usize = 4096;
/// The longest tags of a line that goes out, with `@` and the space behind (IRCv3 message-tags).
pub const TAGS_BYTES_MAX: usize = 8191;
/// The longest that is read: a buffer of so many bytes always suffices.
pub const INPUT_BYTES_MAX: usize = LINE_BYTES_MAX + CLIENT_TAGS_BYTES_MAX;
/// Parameters of a message (RFC 2812 2.3).
pub const PARAMS_MAX: usize = 15;

/// Why a line is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineError {
    /// More than 512 bytes, CR LF included.
    TooLong,
    /// More than 4,096 bytes of tags.
    TagsTooLong,
    /// Bytes that are no UTF-8.
    NotUtf8,
    /// NUL, or CR that does not end the line.
    Control,
    /// A tag whose key has no form.
    Tag,
    /// `:` or `@` with nothing behind.
    Nothing,
    /// A command of other than letters or three digits.
    Command,
}

impl LineError {
    /// A stable name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLong => "irc-line-too-long",
            Self::TagsTooLong => "irc-tags-too-long",
            Self::NotUtf8 => "irc-not-utf8",
            Self::Control => "irc-control-character",
            Self::Tag => "irc-tag",
            Self::Nothing => "irc-nothing-there",
            Self::Command => "irc-command",
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "a line has at most 512 bytes",
            Self::TagsTooLong => "the tags of a line have at most 4096 bytes",
            Self::NotUtf8 => "a line is UTF-8",
            Self::Control => "a line has no NUL and no CR but at its end",
            Self::Tag => "the key of a tag is made of letters, digits and -, with + before and a name and / where they belong",
            Self::Nothing => "the line ends where something has to follow",
            Self::Command => "a command is made of letters, or of three digits",
        })
    }
}
impl std::error::Error for LineError {}

/// What a line says. Borrows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// In front, behind `@`.
    pub tags: Tags<'a>,
    /// Who says it, behind `:`. Clients need not give it, and a server does not believe it.
    pub source: Option<&'a str>,
    /// As written, in small or large letters.
    pub command: &'a str,
    params: [&'a str; PARAMS_MAX],
    count: usize,
}

impl<'a> Message<'a> {
    /// Reads a line that has no end any more.
    ///
    /// # Errors
    /// [`LineError`]: what about it is wrong.
    pub fn parse(line: &'a str) -> Result<Self, LineError> {
        let (tags, rest) = match line.strip_prefix('@') {
            None => (Tags::default(), line),
            Some(tagged) => {
                let (tags, rest) = tagged.split_once(' ').ok_or(LineError::Nothing)?;
                (Tags::parse(tags)?, rest)
            }
        };
        let rest = rest.trim_start_matches(' ');
        let (source, rest) = match rest.strip_prefix(':') {
            None => (None, rest),
            Some(sourced) => {
                let (source, rest) = sourced.split_once(' ').ok_or(LineError::Nothing)?;
                (Some(source), rest.trim_start_matches(' '))
            }
        };
        let (command, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let letters = !command.is_empty() && command.bytes().all(|byte| byte.is_ascii_alphabetic());
        let numeric = command.len() == 3 && command.bytes().all(|byte| byte.is_ascii_digit());
        if !letters && !numeric {
            return Err(if command.is_empty() { LineError::Nothing } else { LineError::Command });
        }
        let mut message = Self { tags, source, command, params: [""; PARAMS_MAX], count: 0 };
        loop {
            rest = rest.trim_start_matches(' ');
            let Some(slot) = message.params.get_mut(message.count) else { break };
            if rest.is_empty() {
                break;
            }
            message.count += 1;
            if let Some(last) = rest.strip_prefix(':') {
                *slot = last;
                break;
            }
            // The last one there is room for takes all that is left (RFC 2812 2.3.1).
            if message.count == PARAMS_MAX {
                *slot = rest;
                break;
            }
            (*slot, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        }
        Ok(message)
    }

    /// All parameters in order; the last may be empty and have spaces.
    pub fn params(&self) -> &[&'a str] {
        &self.params[..self.count]
    }

    /// The `index`th parameter, counted from 0; `None` where there is none or nothing in it.
    pub fn param(&self, index: usize) -> Option<&'a str> {
        self.params().get(index).copied().filter(|param| !param.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the forms of a line, read as RFC 2812 2.3.1 and IRCv3 message-tags say.
    #[test]
    fn a_line_is_taken_apart() {
        check("NICK mina", None, "NICK", &["mina"]);
        check("ping", None, "ping", &[]);
        check("PRIVMSG #lobby :hello, town", None, "PRIVMSG", &["#lobby", "hello, town"]);
        check("PRIVMSG #lobby ::-)", None, "PRIVMSG", &["#lobby", ":-)"]);
        check(":mina!u@h  PRIVMSG   #a  b  ", Some("mina!u@h"), "PRIVMSG", &["#a", "b"]);
        check("TOPIC #a :", None, "TOPIC", &["#a", ""]);
        check("A b:c", None, "A", &["b:c"]);
        check(":s 001 마당 :어서 와", Some("s"), "001", &["마당", "어서 와"]);
        let many = "a b c d e f g h i j k l m n";
        let want: Vec<&str> = many.split(' ').chain(["o :p q"]).collect();
        check(&format!("X {many} o :p q"), None, "X", &want);

        #[track_caller]
        fn check(line: &str, source: Option<&str>, command: &str, params: &[&str]) {
            let message = Message::parse(line).unwrap();
            assert_eq!((message.source, message.command, message.params()), (source, command, params));
        }
    }

    // Goal: what has no form is refused by name.
    #[test]
    fn what_is_no_message_is_refused_by_name() {
        check("", LineError::Nothing);
        check("   ", LineError::Nothing);
        check(":source", LineError::Nothing);
        check(":source ", LineError::Nothing);
        check("@a=b", LineError::Nothing);
        check("@a=b ", LineError::Nothing);
        check("@a b1", LineError::Command);
        check("PRIV_MSG a", LineError::Command);
        check("01 a", LineError::Command);
        check("0123 a", LineError::Command);
        check("마당", LineError::Command);
        check("@a!=b PING", LineError::Tag);

        #[track_caller]
        fn check(line: &str, want: LineError) {
            assert_eq!(Message::parse(line), Err(want), "{line:?}");
        }
    }
}
