//! What the names of fields mean, wherever they stand.
//!
//! **Job.** One sentence for each name that is used in more than one place, and how long a client's text may be. **Called by** `schemas`.
//!
//! Invariants
//! 1. A name means one thing in the whole protocol; where it does not, it stands here with the request before it (`away.text`).
//!
//! Not here: what a field is for in its message: that is said where the type is.

use crate::ask::{ABOUT_BYTES_MAX, WATCHED_MAX};
use crate::hub::limits;
use crate::names::{NAME_CHARS_MAX, ROOM_CHARS_MAX};

/// A name.
pub(super) struct Word {
    pub(super) name: &'static str,
    pub(super) says: &'static str,
    /// Characters of it in a request, or items of a list: at least, at most. `None`: as many as fit.
    pub(super) length: (u64, Option<u64>),
    /// By which error another length is refused; nothing: by none of its own.
    pub(super) refused_as: Option<&'static str>,
    /// What it looks like, in a request.
    pub(super) pattern: Option<&'static str>,
}

const fn word(name: &'static str, says: &'static str) -> Word {
    Word { name, says, length: (0, None), refused_as: None, pattern: None }
}

const fn of_length(
    name: &'static str,
    says: &'static str,
    least: u64,
    most: usize,
    refused_as: &'static str,
) -> Word {
    Word { name, says, length: (least, Some(most as u64)), refused_as: Some(refused_as), pattern: None }
}

/// What the last search gave: a time, an offset, a room.
const CURSOR: &str = "^[0-9]{1,16}:[0-9]{1,16}:.";

/// By their names.
pub(super) const WORDS: &[Word] = &[
    of_length(
        "room",
        "A conversation: a room (1 to 64 letters of any script, digits, `-`, `_`, `.`; capital and small are the same), `@NAME` for \
         direct messages with somebody, `*` for announcements.",
        1,
        ROOM_CHARS_MAX,
        "bad-room",
    ),
    word("epoch", "The life of a log; with another one all offsets are others."),
    word("offset", "A place in a conversation's log; the first is 1."),
    word("at_ms", "The server's clock."),
    word("nonce", "1 to 64 bytes, best random."),
    of_length("emoji", "1 to 32 bytes without blanks.", 1, limits::EMOJI_BYTES_MAX, "bad-text"),
    of_length("topic", "One line of up to 1,000 bytes; empty: none.", 0, limits::TOPIC_BYTES_MAX, "too-long"),
    of_length("why", "One line of up to 300 bytes.", 0, limits::WHY_BYTES_MAX, "too-long"),
    of_length(
        "away.text",
        "One line of up to 200 bytes; empty: here again.",
        0,
        limits::AWAY_BYTES_MAX,
        "too-long",
    ),
    of_length(
        "hello.name",
        "1 to 32 letters of any script, digits, `-`, `_`, `.`.",
        1,
        NAME_CHARS_MAX,
        "bad-name",
    ),
    of_length(
        "rename.name",
        "1 to 32 letters of any script, digits, `-`, `_`, `.`.",
        1,
        NAME_CHARS_MAX,
        "bad-name",
    ),
    of_length("about.text", "One line of up to 200 bytes; empty: nothing.", 0, ABOUT_BYTES_MAX, "too-long"),
    of_length("watch.who", "At most 100.", 0, WATCHED_MAX, "full"),
    of_length("files", "At most 10.", 0, limits::FILES_MAX, "bad-file"),
    of_length("file.name", "1 to 255 bytes.", 1, limits::FILE_NAME_BYTES_MAX, "bad-file"),
    of_length("file.url", "As an upload answered it: `files/…`.", 1, limits::FILE_URL_BYTES_MAX, "bad-file"),
    of_length("file.type", "Up to 100 bytes.", 1, limits::FILE_TYPE_BYTES_MAX, "bad-file"),
    Word { length: (1, None), refused_as: Some("bad-text"), ..word("words", "Not only blanks.") },
    Word { pattern: Some(CURSOR), ..word("search.before", "") },
    word(
        "send.text",
        "Not only blanks, without control characters but tabs and line ends; at most `limits.message_bytes` bytes.",
    ),
    word("edit.text", "As in `send`."),
    word("announce.text", "As in `send`."),
    word("slow_ms", "Milliseconds; 0: off."),
    word("minutes", "Up to ten years."),
    word("message_bytes", "Bytes of UTF-8."),
    word("file_bytes", "Bytes."),
    word("bytes", "Bytes."),
];

/// Where it stands, else by its name alone.
pub(super) fn find(owner: &str, name: &str) -> Option<&'static Word> {
    let whole = format!("{owner}.{name}");
    WORDS.iter().find(|word| word.name == whole).or_else(|| WORDS.iter().find(|word| word.name == name))
}
