//! What the fields of an HTTP/1 request say about its connection and its body.
//!
//! **Job.** Decide framing, keep-alive, upgrade from the fields as sent, and refuse what can be read in two ways
//! (RFC 9112 6.3, 9.3; RFC 9110 7.6.1). **Called by** `head`.
//!
//! Invariants
//! 1. `Transfer-Encoding` together with `Content-Length` is refused, not repaired (TRAPS 1).
//! 2. `Connection` may name hop-by-hop fields only, and few of them.
//!
//! Not here: tokenising (`head`), the body's bytes (`chunked`).

use crate::grammar::parse_length;
use crate::request::{Framing, Malformed, Version};

/// Members of all `connection` fields together. Browsers send two.
const CONNECTION_MEMBERS_MAX: usize = 32;

/// Gathered while the fields are walked.
#[derive(Default)]
pub(super) struct Seen<'a> {
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade_named: bool,
    pub(super) upgrade: Option<&'a [u8]>,
    pub(super) upgrades: usize,
    pub(super) cookies: usize,
    /// Members of `connection` that are names of fields.
    pub(super) named: usize,
    members: usize,
    pub(super) te_trailers: bool,
}

impl<'a> Seen<'a> {
    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        // Also the same length twice is refused: whoever sends it is probing.
        if self.length.is_some() {
            return Err(Malformed::ContentLength);
        }
        self.length = Some(parse_length(value).ok_or(Malformed::ContentLength)?);
        Ok(())
    }

    pub(super) fn transfer_encoding(&mut self, value: &[u8], version: Version) -> Result<(), Malformed> {
        if version == Version::Http10 || self.chunked {
            return Err(Malformed::TransferEncoding);
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        // `gzip, chunked` is well-formed but not understood; `chunked, chunked`, `xchunked`, "" are attacks.
        let known = |coding: &str| {
            matches!(coding.trim(), "gzip" | "x-gzip" | "deflate" | "compress" | "x-compress" | "identity")
        };
        let lower = value.to_ascii_lowercase();
        let text = std::str::from_utf8(&lower).map_err(|_| Malformed::TransferEncoding)?;
        let mut codings = text.split(',').collect::<Vec<_>>();
        if codings.last().is_some_and(|last| last.trim() == "chunked") {
            codings.pop();
        }
        if !codings.is_empty() && codings.iter().all(|coding| known(coding)) {
            return Err(Malformed::UnknownCoding);
        }
        Err(Malformed::TransferEncoding)
    }

    pub(super) fn connection(&mut self, value: &'a [u8]) -> Result<(), Malformed> {
        for member in value.split(|byte| *byte == b',') {
            let member = member.trim_ascii();
            if member.is_empty() {
                continue;
            }
            self.members += 1;
            if self.members > CONNECTION_MEMBERS_MAX {
                return Err(Malformed::ConnectionTooLong { max: CONNECTION_MEMBERS_MAX });
            }
            if member.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if member.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if member.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade_named = true;
            } else if is_end_to_end(member) {
                let name = String::from_utf8_lossy(&member.to_ascii_lowercase()).into_owned();
                return Err(Malformed::ConnectionNames { name });
            } else {
                self.named += 1;
            }
        }
        Ok(())
    }

    pub(super) fn framing(&self) -> Result<Framing, Malformed> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Malformed::LengthAndChunked),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(0) | None) => Ok(Framing::None),
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }

    pub(super) fn keeps_alive(&self, version: Version) -> bool {
        match version {
            Version::Http10 => self.keep_alive && !self.close,
            _ => !self.close,
        }
    }
}

/// Fields that `Connection` could strip on their way to whoever checks them (TRAPS 6).
fn is_end_to_end(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 14] = [
        b"host",
        b"authorization",
        b"cookie",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"transfer-encoding",
        b"forwarded",
        b"via",
        b"date",
        b"origin",
        b"range",
        b"x-request-id",
        b"x-real-ip",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
        || name.len() >= 12 && name[..12].eq_ignore_ascii_case(b"x-forwarded-")
        || name.len() >= 4 && name[..4].eq_ignore_ascii_case(b"sec-")
}
