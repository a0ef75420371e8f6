//! Whether what somebody wrote may be written at all: sizes, characters, attachments.
//!
//! **Job.** Judge texts without knowing who wrote them or where. **Called by** `flows`, `order`.
//!
//! Not here: who may write (`law`), how fast (`pace`).

use super::limits::{
    FILE_NAME_BYTES_MAX, FILE_TYPE_BYTES_MAX, FILE_URL_BYTES_MAX, FILES_MAX, TOPIC_BYTES_MAX,
};
use crate::ask::NONCE_BYTES_MAX;
use crate::event::File;
use crate::refusal::Refusal;

const FILE_MUST: &str =
    "one of at most 10, with a name of 1 to 255 bytes and an address this chat gave to an upload";
const TEXT_MUST: &str = "more than blanks, without control characters other than tabs and line ends";

pub(super) fn within(what: &'static str, bytes: usize, max: usize) -> Result<(), Refusal> {
    if bytes > max { Err(Refusal::TooLong { what, bytes, max }) } else { Ok(()) }
}

pub(super) fn check_nonce(nonce: &str) -> Result<(), Refusal> {
    if nonce.is_empty() || nonce.len() > NONCE_BYTES_MAX {
        return Err(Refusal::Malformed { why: format!("nonce: 1 to {NONCE_BYTES_MAX} bytes") });
    }
    Ok(())
}

pub(super) fn check_text(what: &'static str, text: &str, max: usize) -> Result<(), Refusal> {
    within(what, text.len(), max)?;
    let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    if text.trim().is_empty() || text.chars().any(bad) {
        return Err(Refusal::BadText { must: TEXT_MUST });
    }
    Ok(())
}

/// The text of a message. What clients of IRC tell each other in a notice (CTCP) has a frame of its own: one U+0001 on each side.
pub(super) fn check_said(text: &str, notice: bool, max: usize) -> Result<(), Refusal> {
    let framed = text.strip_prefix('\u{1}').and_then(|text| text.strip_suffix('\u{1}'));
    within("a message", text.len(), max)?;
    check_text("a message", framed.filter(|_| notice).unwrap_or(text), max)
}

/// What a room is about: one line.
pub(super) fn check_topic(topic: &str) -> Result<(), Refusal> {
    check_line("a topic", topic, TOPIC_BYTES_MAX)
}

/// One line, or nothing.
pub(super) fn check_line(what: &'static str, line: &str, max: usize) -> Result<(), Refusal> {
    within(what, line.len(), max)?;
    if line.chars().any(char::is_control) {
        return Err(Refusal::BadText { must: "one line without control characters" });
    }
    Ok(())
}

pub(super) fn check_files(files: &[File], below: &str) -> Result<(), Refusal> {
    let fine = |file: &File| {
        let url = file.url.strip_prefix(below).or_else(|| file.url.strip_prefix("files/"));
        let is_plain =
            |text: &str, max| !text.is_empty() && text.len() <= max && !text.chars().any(char::is_control);
        let url_is_fine = url.is_some_and(|rest| {
            is_plain(rest, FILE_URL_BYTES_MAX)
                && !rest.split('/').any(|part| part == ".." || part.is_empty())
                && !rest.contains(['\\', '?', '#'])
        });
        url_is_fine
            && is_plain(&file.name, FILE_NAME_BYTES_MAX)
            && is_plain(&file.media_type, FILE_TYPE_BYTES_MAX)
    };
    if files.len() <= FILES_MAX && files.iter().all(fine) {
        Ok(())
    } else {
        Err(Refusal::BadFile { must: FILE_MUST })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the frame of CTCP is for notices, whole, and for nothing inside.
    #[test]
    fn only_a_notice_has_the_frame() {
        check("hi", true, true);
        check("\u{1}PING 1\u{1}", true, true);
        check("\u{1}PING 1\u{1}", false, false);
        check("\u{1}PING 1", true, false);
        check("\u{1}\u{1}", true, false);
        check("\u{1}", true, false);
        check("\u{1}a\u{1}b\u{1}", true, false);
        check("\u{2}a", true, false);
        check("123456789", true, false);

        #[track_caller]
        fn check(text: &str, notice: bool, fine: bool) {
            assert_eq!(check_said(text, notice, 8).is_ok(), fine, "{text:?}");
        }
    }
}
