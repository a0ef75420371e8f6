//! Which names of a folder may be asked for.
//!
//! **Job.** Judge a path's parts before the disk is asked: clean, and not hidden.
//! **Called by** `files` for every path the cache does not hold, and by `listing` for every name it shows.
//!
//! Invariants
//! 1. What passes has no empty, `.` or `..` part, no NUL, no backslash and no control byte, whatever the caller did.
//! 2. A name is listed only when it can be asked for.
//!
//! Not here: decoding (`wire::path`), links (`root`).

/// The longest path that is looked up, in bytes (Linux's `PATH_MAX`).
pub(super) const PATH_BYTES_MAX: usize = 4095;

/// Whether `path` (relative, without a slash at either end) may be looked up.
pub(super) fn is_allowed(path: &str, dotfiles: bool) -> bool {
    if path.is_empty() {
        return true;
    }
    path.len() <= PATH_BYTES_MAX
        && path.split('/').enumerate().all(|(depth, part)| {
            is_name(part) && (dotfiles || !part.starts_with('.') || (depth == 0 && part == ".well-known"))
        })
}

/// Whether this can be one part of a path that a client can send.
pub(super) fn is_name(part: &str) -> bool {
    !part.is_empty()
        && part != "."
        && part != ".."
        && !part.bytes().any(|b| b < 0x20 || matches!(b, 0x7f | b'\\' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: only clean, visible names pass. Method: a table, both policies.
    #[test]
    fn only_clean_and_visible_names_pass() {
        check("", true, true);
        check("a/b.html", true, true);
        check("한글/파일.txt", true, true);
        check("..a/b..", false, true);
        check(".git/config", false, true);
        check("a/.env", false, true);
        check(".well-known/acme-challenge/x", true, true);
        check("a/.well-known/x", false, true);
        check(".well-known/.secret", false, true);
        check(".well-known2", false, true);
        check("..", false, false);
        check("a/../b", false, false);
        check("a/./b", false, false);
        check("a//b", false, false);
        check("/a", false, false);
        check("a/", false, false);
        check("a\0b", false, false);
        check("a\\b", false, false);
        check("a\nb", false, false);

        #[track_caller]
        fn check(path: &str, hidden_policy: bool, dotfiles_policy: bool) {
            assert_eq!((is_allowed(path, false), is_allowed(path, true)), (hidden_policy, dotfiles_policy));
        }
    }
}
