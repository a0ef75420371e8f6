//! The head of an HTTP/1 request: bytes to the canonical value (RFC 9112 2-3, 5).
//!
//! **Job.** Find where the head ends, have httparse tokenise it, refuse what can be read in two ways, fill [`RequestHead`].
//! **Called by** `http::http1`. **Calls** httparse, `framing`, `path`.
//!
//! Invariants
//! 1. A head that arrives byte by byte costs the same as one that arrives whole: what was scanned is not scanned again.
//! 2. Nothing is tokenised before the head is complete, and nothing behind the head is looked at.
//! 3. Every line ends in CR LF (httparse would take a bare LF).
//!
//! Not here: the body (`chunked`), the response's head (`response`).

use std::mem::MaybeUninit;

use super::framing::Seen;
use crate::grammar::{expects_continue, is_method};
use crate::request::{Field, HeadLimits, Malformed, Method, RequestHead, Scheme, Version};

/// More fields than this are refused even where `fields_max` allows them: the tokeniser's table lives on the stack.
pub const FIELDS_CEILING: usize = 256;

/// What a look at the buffer gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed.
    Partial,
    /// The head is complete.
    Complete {
        /// Bytes it took, with the empty line.
        consumed: usize,
    },
}

/// Remembers how far a head was scanned.
#[derive(Debug, Default)]
pub struct HeadParser {
    scanned: usize,
    started: bool,
}

impl HeadParser {
    /// Looks at everything read so far of this head. `secure`: it came over TLS.
    pub fn parse(
        &mut self,
        buffer: &[u8],
        secure: bool,
        limits: &HeadLimits,
        head: &mut RequestHead,
    ) -> Result<Parsed, Malformed> {
        // One empty line before a request is tolerated (RFC 9112 2.2): old clients send it after a body.
        let skip = if buffer.starts_with(b"\r\n") { 2 } else { 0 };
        // What lies beyond the limit is not looked at: which fault is told must not depend on how much arrived at once.
        let within = &buffer[..buffer.len().min(limits.head_bytes_max)];
        let Some(end) = self.find_end(within, skip)? else {
            if buffer.len() > limits.head_bytes_max {
                return Err(too_large(&within[skip.min(within.len())..], limits));
            }
            return Ok(Parsed::Partial);
        };
        fill(&buffer[skip..end], secure, limits, head)?;
        *self = Self::default();
        Ok(Parsed::Complete { consumed: end })
    }

    /// The end of the empty line. Judges line ends on the way, so that a bare LF is refused when it is seen.
    fn find_end(&mut self, buffer: &[u8], skip: usize) -> Result<Option<usize>, Malformed> {
        if !self.started {
            if buffer.len() < 3 && b"\r\n".starts_with(&buffer[..buffer.len().min(2)]) {
                return Ok(None);
            }
            self.started = true;
            self.scanned = skip;
        }
        while let Some(found) = memchr::memchr(b'\n', &buffer[self.scanned..]) {
            let at = self.scanned + found;
            if at == skip || buffer[at - 1] != b'\r' {
                return Err(Malformed::BareLineEnd);
            }
            if at == skip + 1 {
                return Err(Malformed::RequestLine); // a second empty line, not a request
            }
            if at >= skip + 3 && &buffer[at - 3..at] == b"\r\n\r" {
                return Ok(Some(at + 1));
            }
            self.scanned = at + 1;
        }
        Ok(None)
    }
}

fn too_large(head: &[u8], limits: &HeadLimits) -> Malformed {
    let line = memchr::memchr(b'\n', head).unwrap_or(head.len());
    if line > limits.target_bytes_max {
        Malformed::TargetTooLong { max: limits.target_bytes_max }
    } else {
        Malformed::HeadTooLarge { max: limits.head_bytes_max }
    }
}

fn fill(bytes: &[u8], secure: bool, limits: &HeadLimits, head: &mut RequestHead) -> Result<(), Malformed> {
    let mut table = [MaybeUninit::<httparse::Header<'_>>::uninit(); FIELDS_CEILING];
    let room = limits.fields_max.min(FIELDS_CEILING);
    let mut request = httparse::Request::new(&mut []);
    let parsed = request
        .parse_with_uninit_headers(bytes, &mut table[..room])
        .map_err(|error| named(error, bytes, room))?;
    if parsed.is_partial() {
        return Err(Malformed::RequestLine);
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Malformed::RequestLine);
    };
    if target.len() > limits.target_bytes_max {
        return Err(Malformed::TargetTooLong { max: limits.target_bytes_max });
    }
    if !is_method(method.as_bytes()) {
        return Err(Malformed::Method);
    }
    head.clear();
    head.arena.reserve(bytes.len() + 64);
    head.scheme = if secure { Scheme::Https } else { Scheme::Http };
    head.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    head.method = Method::from_token(method.as_bytes());
    head.method_text = head.store(method.as_bytes());

    let mut seen = Seen::default();
    let mut host = None;
    for field in request.headers.iter() {
        walk(field, &mut seen, &mut host, head)?;
    }
    if seen.named > 0 {
        take_out_named(request.headers, head);
    }
    if seen.cookies > 1 {
        head.join_cookies();
    }
    head.framing = seen.framing()?;
    head.keep_alive = seen.keeps_alive(head.version);
    head.accepts_trailers = seen.te_trailers;
    // Two offers in two lines: which one is meant differs by reader, and no server has to switch.
    if let (Some(upgrade), 1, true, Version::Http11) =
        (seen.upgrade, seen.upgrades, seen.upgrade_named, head.version)
    {
        head.upgrade = Some(head.store_lower(upgrade));
    }
    set_where(target.as_bytes(), host, head)
}

/// One field: what concerns the connection is acted upon, what concerns both ends is kept.
fn walk<'a>(
    field: &httparse::Header<'a>,
    seen: &mut Seen<'a>,
    host: &mut Option<&'a [u8]>,
    head: &mut RequestHead,
) -> Result<(), Malformed> {
    let value = field.value.trim_ascii();
    let mark = head.mark();
    let lower = head.store_name(field.name.as_bytes()).ok_or(Malformed::FieldName)?;
    let mut keep = true;
    // The names that decide something; the length check keeps the usual field cheap.
    match head.bytes(lower) {
        b"host" => {
            if host.replace(value).is_some() {
                return Err(Malformed::HostRepeated);
            }
            keep = false;
        }
        b"content-length" => {
            seen.content_length(value)?;
            keep = false;
        }
        b"transfer-encoding" => {
            seen.transfer_encoding(value, head.version)?;
            keep = false;
        }
        b"connection" => {
            seen.connection(value)?;
            keep = false;
        }
        b"keep-alive" | b"proxy-connection" | b"proxy" => keep = false,
        b"cookie" => seen.cookies += 1,
        b"te" => {
            seen.te_trailers |= value
                .split(|byte| *byte == b',')
                .any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"));
            keep = false;
        }
        b"upgrade" => {
            seen.upgrade = Some(value);
            seen.upgrades += 1;
            keep = false;
        }
        b"expect" => {
            // HTTP/1.0 has no interim answers: its expectation must be ignored (RFC 9110 10.1.1).
            head.expects_continue = expects_continue(value)? && head.version == Version::Http11;
            keep = false;
        }
        other if other.contains(&b'_') => keep = false,
        _ => {}
    }
    if keep {
        let value = head.store(value);
        head.fields.push(Field { name: lower, value });
    } else {
        head.arena.truncate(mark);
    }
    Ok(())
}

/// What `connection` names is of this connection only and goes no further (RFC 9110 7.6.1).
fn take_out_named(fields: &[httparse::Header<'_>], head: &mut RequestHead) {
    for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection")) {
        for name in field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            head.remove_named(name);
        }
    }
}

/// Authority, path and query from the target and Host (RFC 9112 3.2, 3.3).
fn set_where(target: &[u8], host: Option<&[u8]>, head: &mut RequestHead) -> Result<(), Malformed> {
    if head.method == Method::Connect {
        head.set_authority(target).map_err(|_| Malformed::Connect)?;
        // RFC 9112 3.2.3: the port is never left out, and 0 is none.
        let port = target.iter().rposition(|byte| *byte == b':').map(|at| &target[at + 1..]);
        if !port.is_some_and(|digits| digits.iter().any(|digit| matches!(digit, b'1'..=b'9')))
            || target.last() == Some(&b']')
        {
            return Err(Malformed::Connect);
        }
        if host.is_none() && head.version == Version::Http11 {
            return Err(Malformed::HostMissing);
        }
        if head.framing != crate::request::Framing::None
            || host.is_some_and(|host| !head.same_authority(host).unwrap_or(false))
        {
            return Err(Malformed::Connect);
        }
        head.target = head.store(target);
        return Ok(());
    }
    let absolute = [(&b"http://"[..], Scheme::Http), (&b"https://"[..], Scheme::Https)].into_iter().find(
        |(prefix, _)| target.len() > prefix.len() && target[..prefix.len()].eq_ignore_ascii_case(prefix),
    );
    let origin = match absolute {
        Some((prefix, scheme)) => {
            if scheme != head.scheme {
                return Err(Malformed::Target); // a plain connection cannot ask for https, nor the other way round
            }
            let rest = &target[prefix.len()..];
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            head.set_authority(&rest[..end])?;
            if let Some(host) = host
                && !head.same_authority(host)?
            {
                return Err(Malformed::HostDiffers);
            }
            if host.is_none() && head.version == Version::Http11 {
                return Err(Malformed::HostMissing);
            }
            &rest[end..]
        }
        None => {
            match host {
                Some(host) => head.set_authority(host)?,
                None if head.version == Version::Http11 => return Err(Malformed::HostMissing),
                None => {}
            }
            target
        }
    };
    if origin == b"*" && head.method == Method::Options {
        head.target = head.store(b"*");
        head.path = head.target;
        return Ok(());
    }
    match (absolute.is_some(), origin.first()) {
        (true, None) => head.set_target(b"/"),
        (true, Some(b'?')) => {
            let mut slashed = b"/".to_vec();
            slashed.extend_from_slice(origin);
            head.set_target(&slashed)
        }
        _ => head.set_target(origin),
    }
}

/// httparse's errors in our words: a second look at the bytes says which rule was broken.
fn named(error: httparse::Error, bytes: &[u8], room: usize) -> Malformed {
    match error {
        httparse::Error::TooManyHeaders => Malformed::TooManyFields { max: room },
        httparse::Error::Version => Malformed::Version,
        httparse::Error::Token => {
            let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
            if is_method(method) { Malformed::Target } else { Malformed::Method }
        }
        httparse::Error::NewLine => Malformed::BareLineEnd,
        httparse::Error::HeaderName => {
            let folded = bytes.windows(3).any(|three| matches!(three, b"\r\n " | b"\r\n\t"));
            if folded { Malformed::ObsoleteFolding } else { Malformed::FieldName }
        }
        httparse::Error::HeaderValue => {
            let folded = bytes.windows(3).any(|three| matches!(three, b"\r\n " | b"\r\n\t"));
            if folded {
                Malformed::ObsoleteFolding
            } else {
                Malformed::FieldValue { name: field_with_control(bytes) }
            }
        }
        httparse::Error::Status => Malformed::RequestLine,
    }
}

/// Which field holds the byte that a value may not hold.
fn field_with_control(bytes: &[u8]) -> String {
    let control = |byte: &u8| matches!(byte, 0..=8 | 0x0b..=0x1f | 0x7f);
    let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = lines.find(|line| line.iter().any(control)).unwrap_or_default();
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    name.escape_ascii().to_string().to_ascii_lowercase()
}
