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
#[derive(Debug, Default)]
pub struct Fields {
    list: Vec<(Text, Text)>,
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
        self.list.push((name, value));
    }

    /// Sets a field, replacing every other of the same name.
    pub fn set(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        let name = name.into();
        self.list.retain(|(have, _)| *have != name);
        self.add(name, value);
    }

    /// Sets a field only where there is none of that name.
    pub fn set_default(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        let name = name.into();
        if !self.list.iter().any(|(have, _)| *have == name) {
            self.add(name, value);
        }
    }

    /// Takes every field of this name out.
    pub fn remove(&mut self, name: &str) {
        self.list.retain(|(have, _)| have.as_bytes() != name.as_bytes());
    }

    /// The first value of a field.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.list
            .iter()
            .find(|(have, _)| have.as_bytes() == name.as_bytes())
            .map(|(_, value)| value.as_bytes())
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, &Text)> {
        self.list.iter().map(|(name, value)| (name, value))
    }

    /// Adds a member to a list field such as `vary`, unless it is there.
    pub fn add_to_list(&mut self, name: &'static str, member: &'static str) {
        let Some((_, value)) = self.list.iter_mut().find(|(have, _)| have.as_bytes() == name.as_bytes())
        else {
            return self.add(name, member);
        };
        let text = value.as_str();
        if text == "*" || text.split(',').any(|have| have.trim().eq_ignore_ascii_case(member)) {
            return;
        }
        *value = Text::from(format!("{text}, {member}"));
    }

    /// Drops all fields; capacity stays.
    pub fn clear(&mut self) {
        self.list.clear();
    }
}
