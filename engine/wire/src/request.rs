//! The canonical request head (DESIGN section 5): one value that every part decides from.
//!
//! **Job.** Hold method, scheme, authority, path, query and fields of one request, checked and made unambiguous, whatever
//! protocol it came by. **Filled by** `http1::head` and, from already split parts, by [`RequestHead::fill`] (`parts`).
//! **Read by** everyone.
//!
//! Invariants
//! 1. `path` is percent-decoded exactly once, has no dot segments, no empty segments, no NUL and is UTF-8.
//! 2. `fields` holds lower-case names and end-to-end fields only: what concerns one connection was taken out and acted upon.
//! 3. Names with `_` are dropped: many programs read `x_forwarded_for` as `x-forwarded-for` (TRAPS 6). So is `proxy`, which
//!    many read as the setting of the same name.
//! 4. There is at most one `cookie`: whoever checks the first one has checked them all.
//! 5. All text lives in one arena; `clear` keeps its capacity, so a warm head costs no heap allocation.
//!
//! Not here: why a request is refused (`malformed`), the parts of HTTP/2 and 3 (`parts`), the grammar of single tokens
//! (`grammar`), whether the path leads anywhere (`roles/web`).

use std::fmt;
use std::io::Write;

use crate::grammar::{TOKEN_LOWER, ipv6, is_target_byte, split_authority};
use crate::path;

pub use crate::malformed::Malformed;
pub use crate::parts::Parts;

/// Request methods that are known by name (RFC 9110 9.3, RFC 5789).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    Connect,
    Trace,
    /// Any other token.
    Other,
}

impl Method {
    /// By its (case-sensitive) name.
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"PATCH" => Self::Patch,
            b"OPTIONS" => Self::Options,
            b"CONNECT" => Self::Connect,
            b"TRACE" => Self::Trace,
            _ => Self::Other,
        }
    }
    /// Asks for nothing to change (RFC 9110 9.2.1).
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }
    /// Repeating it changes nothing more (RFC 9110 9.2.2).
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

/// How the request travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
    /// 80 or 443.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Protocol version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Version {
    Http10,
    Http11,
    Http2,
    Http3,
}

impl Version {
    /// As logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
            Self::Http3 => "HTTP/3.0",
        }
    }
}

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// Exactly so many bytes.
    Length(u64),
    /// HTTP/1.1 chunks.
    Chunked,
    /// HTTP/2 and 3: until the stream ends; no length was announced.
    Stream,
}

/// Limits of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head.
    pub head_bytes_max: usize,
    /// Fields.
    pub fields_max: usize,
    /// Bytes of the request target.
    pub target_bytes_max: usize,
}

/// A piece of the arena.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// One request's head. See the module's invariants.
#[derive(Clone)]
pub struct RequestHead {
    pub(crate) arena: Vec<u8>,
    pub(crate) fields: Vec<Field>,
    pub(crate) method: Method,
    pub(crate) method_text: Span,
    pub(crate) scheme: Scheme,
    pub(crate) version: Version,
    pub(crate) authority: Span,
    pub(crate) host_end: u32,
    pub(crate) target: Span,
    pub(crate) path: Span,
    pub(crate) query: Option<Span>,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) accepts_trailers: bool,
    pub(crate) upgrade: Option<Span>,
    pub(crate) protocol: Option<Span>,
}

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            arena: Vec::new(),
            fields: Vec::new(),
            method: Method::Get,
            method_text: Span::default(),
            scheme: Scheme::Http,
            version: Version::Http11,
            authority: Span::default(),
            host_end: 0,
            target: Span::default(),
            path: Span::default(),
            query: None,
            framing: Framing::None,
            keep_alive: false,
            expects_continue: false,
            accepts_trailers: false,
            upgrade: None,
            protocol: None,
        }
    }
}

impl RequestHead {
    /// An empty head.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ready for the next request; capacity stays (unless one giant head blew it up).
    pub fn clear(&mut self) {
        let (mut arena, mut fields) = (std::mem::take(&mut self.arena), std::mem::take(&mut self.fields));
        arena.clear();
        arena.shrink_to(16 * 1024);
        fields.clear();
        *self = Self { arena, fields, ..Self::default() };
    }

    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        &self.arena[span.start as usize..span.end as usize]
    }

    pub(crate) fn text(&self, span: Span) -> &str {
        // Everything stored as text was checked when it was stored; a wrong span would be a bug, not a panic.
        std::str::from_utf8(self.bytes(span)).unwrap_or("")
    }

    pub(crate) fn mark(&self) -> usize {
        self.arena.len()
    }

    pub(crate) fn since(&self, mark: usize) -> Span {
        let cut = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span { start: cut(mark), end: cut(self.arena.len()) }
    }

    pub(crate) fn store(&mut self, bytes: &[u8]) -> Span {
        let mark = self.mark();
        self.arena.extend_from_slice(bytes);
        self.since(mark)
    }

    pub(crate) fn store_lower(&mut self, bytes: &[u8]) -> Span {
        let mark = self.mark();
        self.arena.extend(bytes.iter().map(u8::to_ascii_lowercase));
        self.since(mark)
    }

    /// Stores a field's name in lower case, or `None` when it is no token. Checks and copies in one pass.
    pub(crate) fn store_name(&mut self, name: &[u8]) -> Option<Span> {
        let mark = self.mark();
        let mut fine = !name.is_empty();
        self.arena.extend(name.iter().map(|byte| {
            let lower = TOKEN_LOWER[usize::from(*byte)];
            fine &= lower != 0;
            lower
        }));
        if fine { Some(self.since(mark)) } else { None }
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }
    /// The method as sent.
    pub fn method_str(&self) -> &str {
        self.text(self.method_text)
    }
    /// `http` or `https`, as the connection is.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
    /// Protocol version.
    pub fn version(&self) -> Version {
        self.version
    }
    /// Lower-case `host[:port]`, without the scheme's default port. Empty only on HTTP/1.0 without Host.
    pub fn authority(&self) -> &str {
        self.text(self.authority)
    }
    /// Lower-case host without port; IPv6 in brackets.
    pub fn host(&self) -> &str {
        self.text(Span { start: self.authority.start, end: self.host_end })
    }
    /// The port, where it is not the scheme's default.
    pub fn port(&self) -> Option<u16> {
        self.authority().get(self.host().len() + 1..)?.parse().ok()
    }
    /// The target as sent: path and query, undecoded. For logs.
    pub fn target(&self) -> &str {
        self.text(self.target)
    }
    /// The canonical path, or `*` for `OPTIONS *`, or empty for CONNECT.
    pub fn path(&self) -> &str {
        self.text(self.path)
    }
    /// The query as sent, without `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.text(span))
    }
    /// All end-to-end fields in order: lower-case name, value as sent.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (self.text(field.name), self.bytes(field.value)))
    }
    /// The first value of a field; `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|field| self.bytes(field.name) == name.as_bytes())
            .map(|field| self.bytes(field.value))
    }
    /// The first value of a field as text; `None` also when it is not UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }
    /// Every value of a field.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let matches = move |field: &&Field| self.bytes(field.name) == name.as_bytes();
        self.fields.iter().filter(matches).map(|field| self.bytes(field.value))
    }
    /// How long the body is.
    pub fn framing(&self) -> Framing {
        self.framing
    }
    /// Whether the client wants the connection to go on (HTTP/1).
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }
    /// Whether the client waits for `100 Continue`.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }
    /// Whether the client takes trailers (`te: trailers`).
    pub fn accepts_trailers(&self) -> bool {
        self.accepts_trailers
    }
    /// The `upgrade` offered, where `connection` names it (HTTP/1.1).
    pub fn upgrade(&self) -> Option<&str> {
        self.upgrade.map(|span| self.text(span))
    }
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.map(|span| self.text(span))
    }
    /// Whether this is `OPTIONS *`.
    pub fn is_asterisk(&self) -> bool {
        self.path() == "*"
    }

    /// Replaces the path by another canonical one (a rewrite).
    pub fn set_path(&mut self, path: &str) {
        debug_assert!(path.starts_with('/'), "a canonical path starts with a slash");
        self.path = self.store(path.as_bytes());
    }
    /// Replaces the query.
    pub fn set_query(&mut self, query: Option<&str>) {
        self.query = query.map(|query| self.store(query.as_bytes()));
    }
    /// Adds a field; `name` in lower case.
    pub fn push_field(&mut self, name: &str, value: &[u8]) {
        let field = Field { name: self.store_lower(name.as_bytes()), value: self.store(value) };
        self.fields.push(field);
    }
    /// Takes every field of this name out.
    pub fn remove_field(&mut self, name: &str) {
        let arena = &self.arena;
        self.fields
            .retain(|field| &arena[field.name.start as usize..field.name.end as usize] != name.as_bytes());
    }

    /// Takes out what `connection` named, in whatever case it did.
    pub(crate) fn remove_named(&mut self, name: &[u8]) {
        let arena = &self.arena;
        self.fields.retain(|field| {
            !arena[field.name.start as usize..field.name.end as usize].eq_ignore_ascii_case(name)
        });
    }

    /// Makes one field of all `cookie` fields, where the first one was (RFC 9113 8.2.3).
    pub(crate) fn join_cookies(&mut self) {
        let mark = self.mark();
        let mut first = None;
        for index in 0..self.fields.len() {
            let field = self.fields[index];
            if self.bytes(field.name) == b"cookie" {
                first.get_or_insert(index);
                // An empty one says nothing: joined, it would leave white space at an end of the value.
                if field.value.start == field.value.end {
                    continue;
                }
                if self.mark() > mark {
                    self.arena.extend_from_slice(b"; ");
                }
                self.arena.extend_from_within(field.value.start as usize..field.value.end as usize);
            }
        }
        let Some(first) = first else { return };
        self.fields[first].value = self.since(mark);
        let (arena, mut index) = (&self.arena, 0);
        self.fields.retain(|field| {
            index += 1;
            index <= first + 1 || &arena[field.name.start as usize..field.name.end as usize] != b"cookie"
        });
    }
    /// What the client saw in front of us (from a trusted proxy).
    pub fn set_scheme(&mut self, scheme: Scheme) {
        self.scheme = scheme;
    }

    /// Stores and checks `host[:port]`.
    pub(crate) fn set_authority(&mut self, raw: &[u8]) -> Result<(), Malformed> {
        let (host, port) = split_authority(raw)?;
        let mark = self.mark();
        match ipv6(host) {
            // An address of this kind has many spellings: everyone sees the shortest (RFC 5952).
            Some(address) => write!(self.arena, "[{address}]").unwrap_or_default(), // a Vec takes all

            None => self.arena.extend(host.iter().map(u8::to_ascii_lowercase)),
        }
        self.host_end = self.since(mark).end;
        if let Some(port) = port
            && port != self.scheme.default_port()
        {
            self.arena.push(b':');
            self.arena.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
        self.authority = self.since(mark);
        Ok(())
    }

    /// Stores target, canonical path and query of an origin-form target.
    pub(crate) fn set_target(&mut self, target: &[u8]) -> Result<(), Malformed> {
        if !target.iter().all(|byte| is_target_byte(*byte)) {
            return Err(Malformed::Target);
        }
        self.target = self.store(target);
        let (path, query) = match memchr::memchr(b'?', target) {
            None => (target, None),
            Some(at) => (&target[..at], Some(&target[at + 1..])),
        };
        if path.first() != Some(&b'/') {
            return Err(Malformed::Target);
        }
        let start = self.target.start;
        let span = |from: usize, to: usize| {
            let cut = |n: usize| start + u32::try_from(n).unwrap_or(0);
            Span { start: cut(from), end: cut(to) }
        };
        self.query = query.map(|query| span(path.len() + 1, path.len() + 1 + query.len()));
        if path::is_canonical(path) {
            self.path = span(0, path.len());
        } else {
            let mark = self.mark();
            path::canonicalise(path, &mut self.arena)?;
            self.path = self.since(mark);
        }
        Ok(())
    }

    /// Whether `raw` names the same authority as the one stored.
    pub(crate) fn same_authority(&self, raw: &[u8]) -> Result<bool, Malformed> {
        let (host, port) = split_authority(raw)?;
        let default = self.scheme.default_port();
        let same_host = match ipv6(host) {
            Some(address) => ipv6(self.host().as_bytes()) == Some(address),
            None => host.eq_ignore_ascii_case(self.host().as_bytes()),
        };
        Ok(same_host && port.unwrap_or(default) == self.port().unwrap_or(default))
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Shown<'a>(&'a RequestHead);
        impl fmt::Debug for Shown<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let secret = |name: &str| matches!(name, "authorization" | "proxy-authorization" | "cookie");
                f.debug_map()
                    .entries(self.0.fields().map(|(name, value)| {
                        let value = if secret(name) { "…".into() } else { String::from_utf8_lossy(value) };
                        (name.to_owned(), value)
                    }))
                    .finish()
            }
        }
        f.debug_struct("RequestHead")
            .field("method", &self.method_str())
            .field("authority", &self.authority())
            .field("path", &self.path())
            .field("query", &self.query())
            .field("framing", &self.framing)
            .field("fields", &Shown(self))
            .finish()
    }
}
