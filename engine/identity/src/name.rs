//! Names of users: what is one, and when two are the same.
//!
//! **Job.** One written form and one key of a name, however it was typed. **Called by** `users`, `sessions`, `scram`. Pure.
//!
//! Invariants
//! 1. Two names with the same key are the same user: full width and half width, composed and not, large and small letters.
//! 2. No user's name begins with `guest-`, has `@`, `/` or a space in it: guests and outside users never look like one.
//!
//! Not here: letters of different scripts that look alike (`а` and `a`): an operator makes users, not a stranger.

use std::fmt;

/// A name has at most so many characters.
pub const NAME_CHARS_MAX: usize = 32;
/// What guests' names begin with.
pub const GUEST: &str = "guest-";

/// A name in its one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    shown: String,
    key: String,
}

/// Why a text is no name of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// Nothing is left of it, or it is longer than [`NAME_CHARS_MAX`].
    Length,
    /// A character that no name has.
    Character,
    /// It begins as guests' names do.
    Guest,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(f, "a name has 1 to {NAME_CHARS_MAX} characters"),
            Self::Character => {
                f.write_str("a name has letters, digits, `-`, `_` and `.`, and begins with a letter or digit")
            }
            Self::Guest => write!(f, "names that begin with `{GUEST}` are guests'"),
        }
    }
}
impl std::error::Error for NameError {}

impl Name {
    /// The name that was typed so.
    ///
    /// # Errors
    /// A [`NameError`] that says what names look like.
    pub fn parse(written: &str) -> Result<Self, NameError> {
        let name = Self::any(written)?;
        if name.key.starts_with(GUEST) { Err(NameError::Guest) } else { Ok(name) }
    }

    /// The same for what a guest wants to be called; the `guest-` before it is ours.
    pub(crate) fn guest(written: &str) -> Result<String, NameError> {
        let name = Self::any(written)?;
        let left = NAME_CHARS_MAX - GUEST.len();
        if name.shown.chars().count() > left {
            return Err(NameError::Length);
        }
        Ok(format!("{GUEST}{}", name.shown))
    }

    fn any(written: &str) -> Result<Self, NameError> {
        // Cut before the work: four times as many bytes as a name may have cannot become one.
        if written.is_empty() || written.len() > NAME_CHARS_MAX * 16 {
            return Err(NameError::Length);
        }
        let shown = stringprep::saslprep(written).map_err(|_| NameError::Character)?.into_owned();
        let count = shown.chars().count();
        if count == 0 || count > NAME_CHARS_MAX {
            return Err(NameError::Length);
        }
        let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if !shown.starts_with(char::is_alphanumeric) || !shown.chars().all(fits) {
            return Err(NameError::Character);
        }
        let small = shown.to_lowercase();
        let key = stringprep::saslprep(&small).map_err(|_| NameError::Character)?.into_owned();
        // Small letters of a few capitals are two characters, of which one is none of a name's.
        if !key.chars().all(fits) {
            return Err(NameError::Character);
        }
        Ok(Self { shown, key })
    }

    /// As it is shown.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// What it is found by.
    pub fn key(&self) -> &str {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Goal: what people type for one name finds one user.
    #[test]
    fn names_that_read_alike_are_the_same() {
        check("Mina", "mina");
        check("ＭＩＮＡ", "mina");
        check("min\u{ad}a", "mina");
        check("민아", "민아");
        check("\u{1106}\u{1175}\u{11ab}\u{110b}\u{1161}", "민아");
        check("É.T-1_2", "é.t-1_2");

        #[track_caller]
        fn check(written: &str, want: &str) {
            assert_eq!(Name::parse(written).unwrap().key(), want);
        }
    }

    // Negative space: nothing that could be read as a guest, an outside user, a path, markup or an order in a protocol.
    #[test]
    fn what_is_no_name_is_refused() {
        check("", NameError::Length);
        check(&"a".repeat(33), NameError::Length);
        check(&"a".repeat(100_000), NameError::Length);
        check("guest-7", NameError::Guest);
        check("ＧＵＥＳＴ-x", NameError::Guest);
        check("mina@google", NameError::Character);
        check("a/b", NameError::Character);
        check("a b", NameError::Character);
        check("a\r\nb", NameError::Character);
        check("-a", NameError::Character);
        check("<b>", NameError::Character);
        check("\u{202e}anim", NameError::Character);
        check("a\0", NameError::Character);

        #[track_caller]
        fn check(written: &str, want: NameError) {
            assert_eq!(Name::parse(written), Err(want), "{written:?}");
        }
    }

    proptest! {
        // Goal: the form is final: a name read again is the same name, and its key is the key of its key.
        #[test]
        fn a_name_read_again_is_itself(written in "\\PC{0,40}") {
            if let Ok(name) = Name::parse(&written) {
                prop_assert_eq!(Name::parse(name.shown()).map(|again| again.key), Ok(name.key.clone()));
                prop_assert_eq!(Name::parse(name.key()).map(|again| again.key), Ok(name.key));
            }
        }
    }
}
