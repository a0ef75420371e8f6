//! The canonical path: decoded once, no dot segments, one reading only (RFC 3986 6, TRAPS 5).
//!
//! **Job.** Turn a path as sent into the one that routes, files and upstreams all see, or refuse it.
//! **Called by** `request`. **Calls** nothing of ours.
//!
//! Invariants
//! 1. What an encoded byte could make ambiguous is refused: `%2F`, `%5C`, `%00`, and raw backslashes; so is `..;`.
//! 2. The result is UTF-8, starts with `/`, holds no `//`, no `.` and no `..` segment.
//! 3. `canonicalise(encode(canonicalise(x))) == canonicalise(x)`.
//!
//! Not here: what a path means (`roles/web`), symbolic links (`roles/web/files`).

use std::fmt;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// `%` without two hex digits.
    Escape,
    /// An encoded `/` or `\`, or a raw `\`.
    EncodedSeparator,
    /// An encoded control byte.
    Control,
    /// Not UTF-8 once decoded.
    NotUtf8,
    /// `..` above the root.
    AboveRoot,
    /// `.;` or `..;`: servers that cut parameters off (Java's) see a dot segment where others see a name.
    DotParameter,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Escape => "the path has a % without two hexadecimal digits",
            Self::EncodedSeparator => "the path has an encoded slash or a backslash",
            Self::Control => "the path has a control character",
            Self::NotUtf8 => "the path is not UTF-8",
            Self::AboveRoot => "the path leads above the root",
            Self::DotParameter => "the path has a dot segment with a parameter",
        })
    }
}
impl std::error::Error for PathError {}

/// Whether a path (of target bytes only) is canonical as it stands: the usual case, checked without copying.
pub fn is_canonical(path: &[u8]) -> bool {
    let mut before = 0;
    for byte in path {
        match byte {
            b'%' | b'\\' => return false,
            b'/' | b'.' if before == b'/' => return false,
            _ => {}
        }
        before = *byte;
    }
    path.first() == Some(&b'/')
}

/// Appends the canonical form of `raw` to `out`. On an error `out` may hold a part of it.
pub fn canonicalise(raw: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    let base = out.len();
    out.push(b'/');
    let mut rest = raw.strip_prefix(b"/").unwrap_or(raw);
    loop {
        let (segment, more) = match memchr::memchr(b'/', rest) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        let start = out.len();
        decode(segment, out)?;
        match &out[start..] {
            b"" | b"." => out.truncate(start),
            [b'.', b';', ..] | [b'.', b'.', b';', ..] => return Err(PathError::DotParameter),
            b".." => {
                out.truncate(start);
                if start == base + 1 {
                    return Err(PathError::AboveRoot);
                }
                // Drop the closing slash, then back to the one before: the parent's.
                out.pop();
                while out.len() > base + 1 && out.last() != Some(&b'/') {
                    out.pop();
                }
            }
            _ if more.is_some() => out.push(b'/'),
            _ => {}
        }
        match more {
            Some(more) => rest = more,
            None => break,
        }
    }
    std::str::from_utf8(&out[base..]).map_err(|_| PathError::NotUtf8)?;
    Ok(())
}

fn decode(segment: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let byte = match byte {
            b'%' => {
                let [high, low, after @ ..] = rest else { return Err(PathError::Escape) };
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return Err(PathError::Escape) };
                rest = after;
                match high << 4 | low {
                    b'/' | b'\\' => return Err(PathError::EncodedSeparator),
                    control if control < 0x20 || control == 0x7f => return Err(PathError::Control),
                    byte => byte,
                }
            }
            b'\\' => return Err(PathError::EncodedSeparator),
            control if control < 0x20 || control == 0x7f => return Err(PathError::Control),
            byte => byte,
        };
        out.push(byte);
    }
    Ok(())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Appends `path` percent-encoded as a path: everything but unreserved, sub-delims, `:`, `@` and `/`.
pub fn percent_encode_path(path: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut rest = path.as_bytes();
    // Most paths are one run of bytes that stay as they are.
    while let Some(at) = rest.iter().position(|byte| !STAYS[usize::from(*byte)]) {
        let byte = rest[at];
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Bytes that need no encoding in a path.
const STAYS: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"/-._~!$&'()*+,;=:@";
    let mut i = 0;
    while i < marks.len() {
        table[marks[i] as usize] = true;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Goal: every spelling of a path has one canonical form or a named refusal.
    // Method: a table; the fast check must agree with the full walk.
    #[test]
    fn spellings_meet_in_one_form() {
        check("/", Ok("/"));
        check("/a/b.html", Ok("/a/b.html"));
        check("/a//b///c", Ok("/a/b/c"));
        check("/a/./b/.", Ok("/a/b/"));
        check("/a/b/../c", Ok("/a/c"));
        check("/a/b/..", Ok("/a/"));
        check("/a/..", Ok("/"));
        check("/a/%2e%2e/b", Ok("/b"));
        check("/a/%2E/b", Ok("/a/b"));
        check("/..a/.b/c..", Ok("/..a/.b/c.."));
        check("/%61%2562", Ok("/a%62"));
        check("/%ED%95%9C", Ok("/한"));
        check("/a;v=1/b..;c", Ok("/a;v=1/b..;c"));
        check("/a/..;/b", Err(PathError::DotParameter));
        check("/a/..;x=1/b", Err(PathError::DotParameter));
        check("/a/.;/b", Err(PathError::DotParameter));
        check("/a/%2e.%3b/b", Err(PathError::DotParameter));
        check("/..", Err(PathError::AboveRoot));
        check("/a/../..", Err(PathError::AboveRoot));
        check("/%2e%2e/x", Err(PathError::AboveRoot));
        check("/a%2fb", Err(PathError::EncodedSeparator));
        check("/a%5Cb", Err(PathError::EncodedSeparator));
        check("/a\\b", Err(PathError::EncodedSeparator));
        check("/a%00", Err(PathError::Control));
        check("/a%0d%0a", Err(PathError::Control));
        check("/%c0%ae%c0%ae/", Err(PathError::NotUtf8));
        check("/%ff", Err(PathError::NotUtf8));
        check("/%", Err(PathError::Escape));
        check("/%4", Err(PathError::Escape));
        check("/%zz", Err(PathError::Escape));

        #[track_caller]
        fn check(raw: &str, want: Result<&str, PathError>) {
            let mut out = b"kept".to_vec();
            let got = canonicalise(raw.as_bytes(), &mut out)
                .map(|()| String::from_utf8(out[4..].to_vec()).unwrap());
            assert_eq!(got.as_deref().map_err(|error| *error), want);
            if is_canonical(raw.as_bytes()) {
                assert_eq!(want, Ok(raw));
            }
        }
    }

    proptest! {
        // Goal: a canonical path survives being encoded and read again, for any input.
        #[test]
        fn canonical_paths_are_fixed_points(raw in "/[a-z./%0-9A-F\\\\é]{0,40}") {
            let mut once = Vec::new();
            if canonicalise(raw.as_bytes(), &mut once).is_ok() {
                let text = String::from_utf8(once.clone()).unwrap();
                prop_assert!(text.starts_with('/') && !text.contains("//"));
                prop_assert!(!text.split('/').any(|segment| segment == "." || segment == ".."));
                let (mut encoded, mut twice) = (Vec::new(), Vec::new());
                percent_encode_path(&text, &mut encoded);
                canonicalise(&encoded, &mut twice).unwrap();
                prop_assert_eq!(once, twice);
            }
        }
    }
}
