//! The tags of a line (IRCv3 message-tags).
//!
//! **Job.** Say which tags a line has, in their unescaped form; escape values that go out. **Called by** `irc`.
//!
//! Invariants
//! 1. Of a key that comes twice the last counts.
//! 2. A missing value and an empty one are the same.
//!
//! Not here: which tags a server passes on (`roles/chat/src/irc`).

use std::borrow::Cow;

use super::LineError;

/// The tags of one line. Borrows it; all keys have their form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tags<'a>(&'a str);

impl<'a> Tags<'a> {
    /// Reads what is between `@` and the space.
    pub(super) fn parse(text: &'a str) -> Result<Self, LineError> {
        let fits = |tag: &str| is_key(tag.split_once('=').map_or(tag, |(key, _)| key));
        // Empty ones between two `;` mean nothing and harm nobody.
        if text.is_empty() || text.split(';').any(|tag| !tag.is_empty() && !fits(tag)) {
            return Err(LineError::Tag);
        }
        Ok(Self(text))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every key with its value, in order; a key may come twice.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&'a str, Cow<'a, str>)> + use<'a> {
        self.0.split(';').filter(|tag| !tag.is_empty()).map(|tag| {
            let (key, value) = tag.split_once('=').unwrap_or((tag, ""));
            (key, unescape(value))
        })
    }

    /// The value of a key; empty where it has none.
    pub fn get(&self, key: &str) -> Option<Cow<'a, str>> {
        self.iter().rfind(|(have, _)| *have == key).map(|(_, value)| value)
    }
}

/// `+`, a vendor and `/` where they belong, then letters, digits and `-`.
pub(super) fn is_key(key: &str) -> bool {
    let key = key.strip_prefix('+').unwrap_or(key);
    let (vendor, name) = key.split_once('/').unwrap_or(("v", key));
    let is = |text: &str, also: fn(u8) -> bool| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || also(byte))
    };
    is(vendor, |byte| byte == b'.') && is(name, |_| false)
}

fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next() {
                Some(':') => ';',
                Some('s') => ' ',
                Some('r') => '\r',
                Some('n') => '\n',
                Some(other) => other,
                None => break,
            },
            other => other,
        });
    }
    Cow::Owned(plain)
}

/// Appends a value in its escaped form. NUL, which no escape has, is left out.
pub(super) fn escape(out: &mut Vec<u8>, value: &str) {
    for byte in value.bytes() {
        match byte {
            b';' => out.extend_from_slice(b"\\:"),
            b' ' => out.extend_from_slice(b"\\s"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0 => {}
            byte => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the examples of the specification, and the odd ones around them.
    #[test]
    fn tags_are_taken_apart_and_unescaped() {
        check("aaa=bbb;ccc;example.com/ddd=eee", &[("aaa", "bbb"), ("ccc", ""), ("example.com/ddd", "eee")]);
        check("+typing=active", &[("+typing", "active")]);
        check("+draft/reply=1-2", &[("+draft/reply", "1-2")]);
        check(r"a=\:\s\\\r\n\x\", &[("a", "; \\\r\nx")]);
        check("a=1;a=2", &[("a", "1"), ("a", "2")]);
        check("a=b=c;;d=", &[("a", "b=c"), ("d", "")]);
        assert_eq!(Tags::parse("a=1;a=2").unwrap().get("a").as_deref(), Some("2"), "the last counts");
        assert_eq!(Tags::parse("a=1").unwrap().get("b"), None);

        #[track_caller]
        fn check(text: &str, want: &[(&str, &str)]) {
            let tags = Tags::parse(text).unwrap();
            let have: Vec<(&str, Cow<'_, str>)> = tags.iter().collect();
            let have: Vec<(&str, &str)> = have.iter().map(|(key, value)| (*key, &**value)).collect();
            assert_eq!(have, want);
        }
    }

    #[test]
    fn keys_without_a_form_are_refused() {
        for text in ["", "=b", "+", "a_b", "/a", "a/", "a/b/c", "++a", "ä", "a;b!"] {
            assert_eq!(Tags::parse(text), Err(LineError::Tag), "{text:?}");
        }
    }
}
