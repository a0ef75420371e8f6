//! The answer: status, fields and a body, the same for every protocol version.
//!
//! **Job.** Hold what a handler answers until a protocol writes it.
//! **Written by** handlers and the pipeline. **Read by** `http1`, `http2` (later `http3`).
//!
//! Invariants
//! 1. Field names are lower case. `content-length`, `transfer-encoding`, `connection` and `date` are never
//!    set by a handler: framing is the protocol's business.
//! 2. `clear` keeps capacity, so a warm connection answers without touching the heap.
//!
//! Not here: how bytes leave (`http1::write`, `http2::respond`), what is answered (roles).

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::body::Body;

/// One answer. Reused from request to request.
pub struct Response {
    /// Status code, 200..=599 for a final answer, 101 for an upgrade.
    pub status: u16,
    /// The fields in the order they are written.
    pub fields: Fields,
    /// What follows the head.
    pub body: Body,
    /// True when the connection must end after this answer (HTTP/1) whatever the peer asked for.
    pub close: bool,
    /// For HEAD and 304: the length the body would have had, when it is known and `body` is empty.
    pub length_hint: Option<u64>,
}

impl Response {
    /// An empty 200.
    pub fn new() -> Self {
        Self { status: 200, fields: Fields::default(), body: Body::Empty, close: false, length_hint: None }
    }

    /// Back to an empty 200; capacity stays.
    pub fn clear(&mut self) {
        self.status = 200;
        self.fields.clear();
        self.body = Body::Empty;
        self.close = false;
        self.length_hint = None;
    }

    /// Replaces everything by a short text answer.
    pub fn text(&mut self, status: u16, text: impl Into<Bytes>) {
        self.clear();
        self.status = status;
        self.fields.set("content-type", "text/plain; charset=utf-8");
        self.body = Body::Bytes(text.into());
    }
}

impl Default for Response {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

/// Text that is either built in or shared: cloning never copies.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Bytes);

impl Text {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    /// As text; field names always are, values nearly always.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}
impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}
impl From<Bytes> for Text {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The fields of an answer, in order. A handful, so a plain list beats a map.
#[derive(Default)]
pub struct Fields {
    list: Vec<Field>,
    /// The bytes that passed-on fields point into: one copy for all of them, its room kept from answer to answer.
    passed: Vec<u8>,
}

enum Field {
    Own(Text, Text),
    /// Name and value in `passed`.
    Passed(Span, Span),
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn of(range: &Range<usize>) -> Option<Self> {
        Some(Self { start: u32::try_from(range.start).ok()?, end: u32::try_from(range.end).ok()? })
    }
    fn in_bytes(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

impl Field {
    fn name<'a>(&'a self, passed: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Own(name, _) => name.as_bytes(),
            Self::Passed(name, _) => name.in_bytes(passed),
        }
    }
    fn value<'a>(&'a self, passed: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Own(_, value) => value.as_bytes(),
            Self::Passed(_, value) => value.in_bytes(passed),
        }
    }
}

impl Fields {
    /// Adds a field, keeping others of the same name (`set-cookie`, `vary`).
    pub fn add(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        let (name, value) = (name.into(), value.into());
        debug_assert!(name.as_bytes().iter().all(|b| !b.is_ascii_uppercase()), "field names are lower case");
        // A line break in a value would end the head (response splitting): such a field is dropped whole.
        if value.as_bytes().iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return;
        }
        self.list.push(Field::Own(name, value));
    }

    /// Adds fields that are passed on and that their protocol has already split: lower-case names, values without line breaks.
    pub(crate) fn pass_on_split<'a>(&mut self, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        for (name, value) in fields {
            let start = self.passed.len();
            self.passed.extend_from_slice(name);
            let middle = self.passed.len();
            self.passed.extend_from_slice(value);
            let spans = (Span::of(&(start..middle)), Span::of(&(middle..self.passed.len())));
            if let (Some(name), Some(value)) = spans {
                self.list.push(Field::Passed(name, value));
            }
        }
    }

    /// Adds the fields of an answer that is passed on: where their names and values are in `head`. One copy for all, names made
    /// lower case in it. Must have been tokenised: no value may hold a line break.
    pub(crate) fn pass_on<'a>(
        &mut self,
        head: &[u8],
        fields: impl Iterator<Item = &'a (Range<usize>, Range<usize>)>,
    ) {
        let base = self.passed.len();
        self.passed.extend_from_slice(head);
        for (name, value) in fields {
            let moved = |range: &Range<usize>| Span::of(&(range.start + base..range.end + base));
            if let (Some(name), Some(value)) = (moved(name), moved(value)) {
                self.passed[name.start as usize..name.end as usize].make_ascii_lowercase();
                self.list.push(Field::Passed(name, value));
            }
        }
    }

    /// Sets a field, replacing every other of the same name.
    pub fn set(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        let name = name.into();
        self.remove_named(name.as_bytes());
        self.add(name, value);
    }

    /// Sets a field only where there is none of that name.
    pub fn set_default(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        let name = name.into();
        if self.find(name.as_bytes()).is_none() {
            self.add(name, value);
        }
    }

    /// Takes every field of this name out.
    pub fn remove(&mut self, name: &str) {
        self.remove_named(name.as_bytes());
    }

    fn remove_named(&mut self, name: &[u8]) {
        let passed = &self.passed;
        self.list.retain(|field| field.name(passed) != name);
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        self.list.iter().position(|field| field.name(&self.passed) == name)
    }

    /// The first value of a field.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.find(name.as_bytes()).map(|at| self.list[at].value(&self.passed))
    }

    /// All fields in order: names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.iter().map(|field| (field.name(&self.passed), field.value(&self.passed)))
    }

    /// Adds a member to a list field such as `vary`, unless it is there.
    pub fn add_to_list(&mut self, name: &'static str, member: &'static str) {
        let Some(at) = self.find(name.as_bytes()) else {
            return self.add(name, member);
        };
        let text = std::str::from_utf8(self.list[at].value(&self.passed)).unwrap_or("");
        if text == "*" || text.split(',').any(|have| have.trim().eq_ignore_ascii_case(member)) {
            return;
        }
        self.list[at] = Field::Own(Text::from(name), Text::from(format!("{text}, {member}")));
    }

    /// Drops all fields; capacity stays.
    pub fn clear(&mut self) {
        self.list.clear();
        self.passed.clear();
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        f.debug_map().entries(self.iter().map(|(name, value)| (text(name), text(value)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: fields that are passed on behave like any other, and two heads do not get into each other's way.
    #[test]
    fn passed_on_fields_are_fields_like_others() {
        let mut fields = Fields::default();
        fields.add("vary", "origin");
        fields.pass_on(b"Server: x\r\nSet-Cookie: a", [(0..6, 8..9), (11..21, 23..24)].iter());
        fields.pass_on(b"Vary: y", [(0..4, 6..7)].iter());
        let all = |fields: &Fields| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            fields.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect::<Vec<_>>()
        };
        assert_eq!(all(&fields), ["vary=origin", "server=x", "set-cookie=a", "vary=y"]);
        assert_eq!(fields.get("server"), Some(&b"x"[..]));
        fields.set_default("server", "z");
        fields.set("set-cookie", "b");
        fields.remove("vary");
        assert_eq!(all(&fields), ["server=x", "set-cookie=b"]);
        fields.pass_on(b"Vary: y", [(0..4, 6..7)].iter());
        fields.add_to_list("vary", "Y");
        fields.add_to_list("vary", "accept-encoding");
        assert_eq!(fields.get("vary"), Some(&b"y, accept-encoding"[..]));
        fields.pass_on_split([(&b"x-a"[..], &b"1"[..]), (b"x-a", b"")].into_iter());
        assert_eq!(all(&fields)[3..], ["x-a=1", "x-a="]);
        fields.clear();
        assert_eq!(all(&fields), [""; 0]);
    }
}
