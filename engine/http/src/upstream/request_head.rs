//! The head of a request to an upstream, written from the canonical one (RFC 9112 3, RFC 9110 7.6).
//!
//! **Job.** Request line, host, end-to-end fields, forwarding fields, framing. **Called by** `roles/balance`.
//! **Calls** `wire::path`.
//!
//! Invariants
//! 1. Forwarding fields say what *we* know; what the client sent under these names goes on only from a trusted proxy.
//! 2. Framing is ours: the client's never gets here.
//! 3. These are the rules for HTTP/2 too, which says the same head in its own way (`http2::request`).
//!
//! Not here: which values (`roles/balance` builds [`Forward`]).

use std::fmt::Write as _;
use std::net::IpAddr;

use madang_wire::path::percent_encode_path;
use madang_wire::request::{Framing, RequestHead};

use super::websocket;

/// Which host the server is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPolicy<'a> {
    /// The one the client asked for.
    Client,
    /// This one.
    Fixed(&'a str),
}

/// What is said about the client, and what is changed on the way.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// The host.
    pub host: HostPolicy<'a>,
    /// Where the path to send begins (a prefix of whole segments was stripped).
    pub path_from: usize,
    /// The peer's address.
    pub peer: IpAddr,
    /// Whether what the peer says about others is believed.
    pub trusted: bool,
    /// Fields to set.
    pub set: &'a [(String, String)],
    /// Fields to take out.
    pub remove: &'a [String],
    /// The request's id.
    pub request_id: Option<&'a [u8]>,
    /// Whether an upgrade that the client offers is passed on.
    pub upgrade: bool,
}

/// Writes the head. The body's framing follows from the canonical one: a length stays a length, all else is chunked.
pub fn write(out: &mut Vec<u8>, head: &RequestHead, forward: &Forward<'_>) {
    // RFC 8441 5: what is an extended CONNECT in HTTP/2 is an upgrade by GET in HTTP/1.1.
    let method = if head.protocol().is_some() { "GET" } else { head.method_str() };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    write_target(out, head, forward.path_from);
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(match forward.host {
        HostPolicy::Client => head.authority().as_bytes(),
        HostPolicy::Fixed(host) => host.as_bytes(),
    });
    out.extend_from_slice(b"\r\n");
    for (name, value) in head.fields() {
        if is_ours(name) || is_edited(name, forward) {
            continue;
        }
        // Of HTTP/1.1 only: to that, the key is ours.
        if head.protocol().is_some() && name == "sec-websocket-key" {
            continue;
        }
        field(out, name, value);
    }
    write_forwarding(out, head, forward);
    for (name, value) in forward.set {
        field(out, name, value.as_bytes());
    }
    if let Some(id) = forward.request_id {
        field(out, "x-request-id", id);
    }
    if head.accepts_trailers() {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    if head.protocol() == Some("websocket") {
        field(out, "sec-websocket-key", websocket::key().as_bytes());
    }
    match (forward.upgrade, head.upgrade().or(head.protocol())) {
        (true, Some(upgrade)) => {
            field(out, "upgrade", upgrade.as_bytes());
            out.extend_from_slice(b"connection: upgrade\r\n");
        }
        // RFC 9110 10.1.4: `te` is of this connection.
        _ if head.accepts_trailers() => out.extend_from_slice(b"connection: te\r\n"),
        _ => {}
    }
    if head.expects_continue() && head.framing() != Framing::None {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    match head.framing() {
        // What follows is the tunnel's.
        _ if head.protocol().is_some() => {}
        Framing::None => {
            // Said where a body is usual: some servers wait for one otherwise (RFC 9110 8.6).
            if matches!(head.method_str(), "POST" | "PUT" | "PATCH") {
                out.extend_from_slice(b"content-length: 0\r\n");
            }
        }
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked | Framing::Stream => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether the body goes out in chunks.
pub fn is_chunked(head: &RequestHead) -> bool {
    matches!(head.framing(), Framing::Chunked | Framing::Stream)
}

fn write_target(out: &mut Vec<u8>, head: &RequestHead, path_from: usize) {
    if head.is_asterisk() {
        return out.push(b'*');
    }
    let path = head.path().get(path_from..).unwrap_or("");
    if !path.starts_with('/') {
        out.push(b'/');
    }
    percent_encode_path(path, out);
    if let Some(query) = head.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Fields that are written here and nowhere else.
fn is_ours(name: &str) -> bool {
    matches!(name.len(), 4 | 7 | 9 | 12 | 14..=18)
        && matches!(
            name,
            "host"
                | "forwarded"
                | "x-forwarded-for"
                | "x-forwarded-proto"
                | "x-forwarded-host"
                | "x-forwarded-port"
                | "x-forwarded-prefix"
                | "x-madang-mirror"
                | "x-request-id"
                | "content-length"
        )
}

fn is_edited(name: &str, forward: &Forward<'_>) -> bool {
    forward.set.iter().any(|(have, _)| have == name) || forward.remove.iter().any(|have| have == name)
}

/// `forwarded` (RFC 7239) and the older fields that everybody reads.
fn write_forwarding(out: &mut Vec<u8>, head: &RequestHead, forward: &Forward<'_>) {
    let before = |name: &'static str| head.get(name).filter(|_| forward.trusted);
    let peer = Shown(forward.peer);
    out.extend_from_slice(b"x-forwarded-for: ");
    for value in head.get_all("x-forwarded-for").filter(|_| forward.trusted) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    peer.write(out, false);
    out.extend_from_slice(b"\r\nx-forwarded-proto: ");
    // The canonical scheme already is what a trusted proxy said.
    out.extend_from_slice(head.scheme().as_str().as_bytes());
    out.extend_from_slice(b"\r\nx-forwarded-host: ");
    out.extend_from_slice(before("x-forwarded-host").unwrap_or(head.authority().as_bytes()));
    write_prefix(out, head, forward);
    out.extend_from_slice(b"\r\nforwarded: ");
    for value in head.get_all("forwarded").filter(|_| forward.trusted) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(b"for=");
    peer.write(out, true);
    out.extend_from_slice(b";host=\"");
    out.extend_from_slice(head.authority().as_bytes());
    out.extend_from_slice(b"\";proto=");
    out.extend_from_slice(head.scheme().as_str().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The prefix that the server does not see: with it, it can write links that lead back (what Spring, ASP.NET, Werkzeug and
/// others read). Behind a prefix of a trusted proxy, if that took one off, too.
fn write_prefix(out: &mut Vec<u8>, head: &RequestHead, forward: &Forward<'_>) {
    let before = head.get("x-forwarded-prefix").filter(|_| forward.trusted).unwrap_or_default();
    let taken = head.path().get(..forward.path_from).unwrap_or_default();
    if !before.is_empty() || !taken.is_empty() {
        out.extend_from_slice(b"\r\nx-forwarded-prefix: ");
        out.extend_from_slice(before.strip_suffix(b"/").unwrap_or(before));
        percent_encode_path(taken, out);
    }
}

/// An address in a field.
struct Shown(IpAddr);

impl Shown {
    /// `quoted`: as RFC 7239 6 wants version 6.
    fn write(&self, out: &mut Vec<u8>, quoted: bool) {
        if let IpAddr::V4(v4) = self.0 {
            // The usual one, without the machinery of formatting.
            for (index, octet) in v4.octets().iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(*octet).as_bytes());
            }
            return;
        }
        let mut text = arrayed();
        // 45 bytes hold every address.
        let _ = match self.0 {
            IpAddr::V6(v6) if quoted => write!(text, "\"[{v6}]\""),
            address => write!(text, "{address}"),
        };
        out.extend_from_slice(text.bytes());
    }
}

/// Room for an address without the heap.
struct Arrayed {
    bytes: [u8; 64],
    end: usize,
}

fn arrayed() -> Arrayed {
    Arrayed { bytes: [0; 64], end: 0 }
}

impl Arrayed {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }
}

impl std::fmt::Write for Arrayed {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.end + text.len();
        self.bytes.get_mut(self.end..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.end = end;
        Ok(())
    }
}
