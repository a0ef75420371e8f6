//! Names of people.
//!
//! **Job.** What may be a name: what a chat server takes, so that a name from elsewhere can neither pretend to be a notice
//! nor fill the screen. **Called by** the command line, `talk`.
//!
//! Not here: whether a name is free (a server knows).

use std::fmt;
use std::str::FromStr;

/// Characters a name has at most.
const CHARACTERS_MAX: usize = 32;

/// 1 to 32 letters of any script, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// The text is no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAName;

impl FromStr for Name {
    type Err = NotAName;
    fn from_str(text: &str) -> Result<Self, NotAName> {
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let fits = (1..=CHARACTERS_MAX).contains(&text.chars().count()) && text.chars().all(allowed);
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAName) }
    }
}

impl Name {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name has 1 to {CHARACTERS_MAX} letters, digits, `-`, `_` or `.`, and no space")
    }
}
impl std::error::Error for NotAName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_of_bounded_length() {
        check("mina", true);
        check("미나", true);
        check("a-b_c.9", true);
        check(&"가".repeat(32), true);
        check("", false);
        check(&"가".repeat(33), false);
        check("two words", false);
        check("mina:", false);
        check("a\u{202e}b", false);
        check("a\x1b", false);

        #[track_caller]
        fn check(text: &str, is_name: bool) {
            assert_eq!(text.parse::<Name>().is_ok(), is_name, "{text:?}");
        }
    }
}
