//! Names of people and conversations: what may be one, and which of them are the same.
//!
//! **Job.** Check names, fold them for comparison, read what a client calls a conversation. **Called by** every face and `hub`.
//! **Calls** Unicode's tables.
//!
//! Invariants
//! 1. A name is made of letters, digits and `-_.`: nothing that looks like markup, a path, a blank or an empty place.
//! 2. Names that fold to the same are the same: NFKC, then lower case (`Mina`, `mina`, `ＭＩＮＡ`).
//!
//! Not here: who has a name (`people`).

use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

use crate::refusal::Refusal;

/// Characters of a person's name at most.
pub const NAME_CHARS_MAX: usize = 32;
/// Characters of a room's name at most.
pub const ROOM_CHARS_MAX: usize = 64;
/// Bytes of a room's name at most: it is part of a stream's name.
const ROOM_BYTES_MAX: usize = 128;

const NAME_MUST: &str = "1 to 32 letters, digits, - _ or . and begin with a letter or digit";
const ROOM_MUST: &str =
    "a room of 1 to 64 letters, digits, - _ or ., @ and a person's name, or * for announcements";

/// What a client calls a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A room.
    Room(Arc<str>),
    /// Messages between whoever says it and the person of this name.
    Direct(Arc<str>),
    /// Announcements to everybody.
    Everyone,
}

impl Address {
    /// Reads `lobby`, `@mina` or `*`. A room's name comes back folded: `Lobby` is `lobby`.
    ///
    /// # Errors
    /// [`Refusal::BadRoom`].
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let bad = Refusal::BadRoom { must: ROOM_MUST };
        if text == "*" {
            return Ok(Self::Everyone);
        }
        if let Some(name) = text.strip_prefix('@') {
            return if is_word(name, NAME_CHARS_MAX) { Ok(Self::Direct(name.into())) } else { Err(bad) };
        }
        let room = if is_word(text, ROOM_CHARS_MAX) { fold(text) } else { return Err(bad) };
        // Folding may make it longer.
        if is_word(&room, ROOM_CHARS_MAX) && room.len() <= ROOM_BYTES_MAX {
            Ok(Self::Room(room.into()))
        } else {
            Err(bad)
        }
    }
}

/// A person's name as it is shown: put together as Unicode composes it (NFC).
///
/// # Errors
/// [`Refusal::BadName`].
pub fn person(name: &str) -> Result<Arc<str>, Refusal> {
    // Composing never makes it longer in characters, but it is bounded before it is composed.
    let composed: String = name.chars().take(4 * NAME_CHARS_MAX).nfc().collect();
    if is_word(&composed, NAME_CHARS_MAX) && name.chars().count() <= 4 * NAME_CHARS_MAX {
        Ok(composed.into())
    } else {
        Err(Refusal::BadName { must: NAME_MUST })
    }
}

/// What is compared: two names that fold to the same are one.
pub fn fold(name: &str) -> String {
    name.nfkc().flat_map(char::to_lowercase).collect()
}

fn is_word(word: &str, chars_max: usize) -> bool {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.') || is_mark(c);
    let first = word.chars().next();
    first.is_some_and(char::is_alphanumeric) && word.chars().count() <= chars_max && word.chars().all(fine)
}

/// Vowel signs and accents that have no composed form; a name of some scripts cannot be written without them.
fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what a client may call a conversation, and what it may not.
    #[test]
    fn conversations_are_read_strictly() {
        check("lobby", Some(Address::Room("lobby".into())));
        check("Lobby", Some(Address::Room("lobby".into())));
        check("마당", Some(Address::Room("마당".into())));
        check("v2.0_beta-1", Some(Address::Room("v2.0_beta-1".into())));
        check("@Mina", Some(Address::Direct("Mina".into())));
        check("*", Some(Address::Everyone));
        for bad in [
            "",
            "@",
            "a b",
            "#lobby",
            "../x",
            "a/b",
            ".hidden",
            "-x",
            "<b>",
            "a\u{0}",
            "**",
            "@@a",
            "\u{200b}a",
        ] {
            check(bad, None);
        }
        check(&"x".repeat(65), None);
        check(&"마".repeat(64), None);
        check(&format!("@{}", "x".repeat(33)), None);

        #[track_caller]
        fn check(text: &str, want: Option<Address>) {
            assert_eq!(Address::read(text).ok(), want, "{text:?}");
        }
    }

    // Goal: one cannot be called what another is called in other letters.
    #[test]
    fn names_that_look_the_same_fold_to_the_same() {
        for (a, b) in [
            ("Mina", "mina"),
            ("ＭＩＮＡ", "mina"),
            ("민아", "\u{1106}\u{1175}\u{11ab}\u{110b}\u{1161}"),
            ("ﬁn", "fin"),
        ] {
            assert_eq!(fold(a), fold(b), "{a} {b}");
        }
        assert_ne!(fold("mina"), fold("nina"));
        assert_eq!(&*person("\u{1106}\u{1175}\u{11ab}").unwrap(), "민", "shown composed");
        assert!(person("x y").is_err() && person("").is_err() && person(&"x".repeat(33)).is_err());
    }
}
