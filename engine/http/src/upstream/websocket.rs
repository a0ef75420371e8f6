//! What two HTTP versions have to tell each other about a websocket (RFC 6455 4, RFC 8441 5).
//!
//! **Job.** The key of HTTP/1.1, which HTTP/2 does not have: made where a client of HTTP/2 reaches a server of
//! HTTP/1.1, answered where it is the other way round. **Called by** `request_head`, `answer`, `http2`. **Calls** base64.
//!
//! Invariants
//! 1. A server that cannot prove that it read our key did not agree: nothing of it is passed on as a tunnel.
//!
//! Not here: the proof (`crate::websocket`), what is spoken over a websocket; copying it (`answer`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A fresh key: 16 bytes, base64 (RFC 6455 4.1). It keeps caches and mistaken servers away and is no secret.
pub(super) fn key() -> String {
    let (first, second) = (madang_host::random::seed(), madang_host::random::seed());
    STANDARD.encode([first.to_le_bytes(), second.to_le_bytes()].concat())
}

/// The value of a field in a head that we wrote ourselves; `name` in lower case.
pub(super) fn written<'h>(head: &'h [u8], name: &str) -> Option<&'h [u8]> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b": ")?;
        Some(value.strip_suffix(b"\r").unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: keys have the right form and differ.
    #[test]
    fn keys_are_sixteen_bytes_each_other_ones() {
        let (one, other) = (key(), key());
        assert_eq!(STANDARD.decode(&one).unwrap().len(), 16);
        assert_ne!(one, other);
    }

    #[test]
    fn a_written_field_is_found_by_its_whole_name() {
        let head = b"GET /x HTTP/1.1\r\nhost: a\r\nx-sec-websocket-key: no\r\nsec-websocket-key: yes\r\n\r\n";
        assert_eq!(written(head, "sec-websocket-key"), Some(&b"yes"[..]));
        assert_eq!(written(head, "host"), Some(&b"a"[..]));
        assert_eq!(written(head, "accept"), None);
    }
}
