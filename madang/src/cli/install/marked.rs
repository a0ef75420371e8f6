//! Text files that we write and people may change.
//!
//! **Job.** Put a digest of our words on top, so that it can be told whether somebody changed them since. Pure.
//! **Called by** `journal`, `uninstall`, `doctor`. **Calls** aws-lc-rs.
//!
//! Not here: reading and writing (`journal`).

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

const BEGIN: &str = "# Written by `madang install`. Once changed by hand it is not overwritten (but with --force).\n# digest: sha256:";

/// What lies where we would write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Found {
    /// Our words as they are now.
    Same,
    /// Our words as they were once.
    Ours,
    /// Somebody changed it. `outdated`: and our own words have changed too.
    Edited {
        /// The words it was made from are not those of now.
        outdated: bool,
    },
    /// Not made by us.
    Foreign,
}

/// SHA-256, in hexadecimal.
pub(in crate::cli) fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The words with their mark.
pub(in crate::cli) fn mark(words: &str) -> String {
    format!("{BEGIN}{}\n{words}", sha256(words.as_bytes()))
}

/// The digest that was written, and the words below it.
fn parts(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(BEGIN)?.split_once('\n')
}

/// What `text` is, where we would write `words` now.
pub(in crate::cli) fn found(text: &str, words: &str) -> Found {
    let Some((digest, below)) = parts(text) else { return Found::Foreign };
    let now = sha256(words.as_bytes());
    match (sha256(below.as_bytes()) == digest, digest == now) {
        (true, true) => Found::Same,
        (true, false) => Found::Ours,
        (false, same) => Found::Edited { outdated: !same },
    }
}

/// Whether it is ours and nobody changed it.
pub(in crate::cli) fn untouched(text: &str) -> bool {
    parts(text).is_some_and(|(digest, below)| sha256(below.as_bytes()) == digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: our words, our older words, changed words and others' words are told apart.
    #[test]
    fn who_wrote_a_file_is_known() {
        let ours = mark("[Unit]\n");
        check(&ours, "[Unit]\n", Found::Same);
        check(&ours, "[Unit]\nA=1\n", Found::Ours);
        check(&format!("{ours}B=2\n"), "[Unit]\n", Found::Edited { outdated: false });
        check(&format!("{ours}B=2\n"), "[Unit]\nA=1\n", Found::Edited { outdated: true });
        check("[Unit]\n", "[Unit]\n", Found::Foreign);
        check("", "", Found::Foreign);
        assert!(untouched(&ours) && !untouched("[Unit]\n") && !untouched(&format!("{ours}#")));

        #[track_caller]
        fn check(text: &str, words: &str, want: Found) {
            assert_eq!(found(text, words), want, "{text}");
        }
    }
}
