//! The upgrade: what a client must say and what it is answered (RFC 6455 4.2, RFC 8441 5).
//!
//! **Job.** Check method, version, key and origin; write the head of the answer. **Called by** `super`, `upstream` (the proof).
//! **Calls** SHA-1, base64.
//!
//! Invariants
//! 1. A page of another origin is not let in unless the settings name it: a browser sends its user's cookies to anybody.
//! 2. A refusal says what would be taken.
//!
//! Not here: whether HTTP/1 framing allows an upgrade (`http1`), the connection after it (`serve`).

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use madang_wire::request::{Method, RequestHead, Version};

use crate::exchange::Exchange;

/// RFC 6455 1.3.
const PROOF: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What proves that a key was read (RFC 6455 4.2.2).
pub(crate) fn proof(key: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(PROOF);
    STANDARD.encode(context.finish())
}

/// Whose pages may open a connection. Programs that are no browsers send no origin and are not asked for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origins<'a> {
    /// Those of the host that is asked, and these: scheme and host in lower case.
    SameHostAnd(&'a [String]),
    /// All.
    Any,
}

/// Why an upgrade was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAccepted {
    /// Not by GET (HTTP/1.1) or the extended CONNECT (HTTP/2).
    Method,
    /// A usual request: no websocket was asked for.
    NoUpgrade,
    /// Not version 13.
    Version,
    /// No key of 16 bytes.
    Key,
    /// A page of an origin that the settings do not name.
    Origin,
}

impl NotAccepted {
    /// A stable name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Method => "websocket-method",
            Self::NoUpgrade => "no-websocket",
            Self::Version => "websocket-version",
            Self::Key => "websocket-key",
            Self::Origin => "websocket-origin",
        }
    }
    fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::NoUpgrade | Self::Version => 426,
            Self::Key => 400,
            Self::Origin => 403,
        }
    }
}

impl fmt::Display for NotAccepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "a websocket is opened by GET",
            Self::NoUpgrade => "this address speaks websocket: ask for `Upgrade: websocket`",
            Self::Version => "this address speaks version 13 of websocket",
            Self::Key => "the key of a websocket is 16 bytes in base64",
            Self::Origin => {
                "pages of this origin may not connect; `origins` in the settings names those that may"
            }
        })
    }
}
impl std::error::Error for NotAccepted {}

/// The sub-protocols that a client offers, in its order.
pub fn offered(head: &RequestHead) -> impl Iterator<Item = &str> {
    let lines = head.get_all("sec-websocket-protocol");
    lines.filter_map(|line| std::str::from_utf8(line).ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// Answers an upgrade, or refuses it.
pub(super) fn answer(
    exchange: &mut Exchange,
    origins: &Origins<'_>,
    protocol: Option<&'static str>,
) -> Result<(), NotAccepted> {
    let checked = check(&exchange.head, origins);
    let response = &mut exchange.response;
    match checked {
        Ok(accept) => {
            response.clear();
            response.status = 101;
            if let Some(accept) = accept {
                response.fields.set("upgrade", "websocket");
                response.fields.set("sec-websocket-accept", accept);
            }
            if let Some(protocol) = protocol {
                response.fields.set("sec-websocket-protocol", protocol);
            }
            Ok(())
        }
        Err(refused) => {
            let status = refused.status();
            response.text(status, format!("{status} {refused}\n"));
            match refused {
                NotAccepted::Method => response.fields.set("allow", "GET"),
                NotAccepted::NoUpgrade | NotAccepted::Version => {
                    response.fields.set("upgrade", "websocket");
                    response.fields.set("sec-websocket-version", "13");
                }
                NotAccepted::Key | NotAccepted::Origin => {}
            }
            exchange.notes.error = Some(refused.name());
            Err(refused)
        }
    }
}

/// The proof, where the version of HTTP has one.
fn check(head: &RequestHead, origins: &Origins<'_>) -> Result<Option<String>, NotAccepted> {
    let by_http1 = head.version() != Version::Http2;
    if by_http1 {
        if head.method() != Method::Get {
            return Err(NotAccepted::Method);
        }
        let asked = head.upgrade().is_some_and(|all| all.split(',').any(|one| one.trim() == "websocket"));
        if !asked {
            return Err(NotAccepted::NoUpgrade);
        }
    } else if head.protocol() != Some("websocket") {
        return Err(if head.method() == Method::Get { NotAccepted::NoUpgrade } else { NotAccepted::Method });
    }
    let version: Vec<&[u8]> = head.get_all("sec-websocket-version").collect();
    if version[..] != [b"13"] {
        return Err(NotAccepted::Version);
    }
    let mut accept = None;
    if by_http1 {
        let keys: Vec<&[u8]> = head.get_all("sec-websocket-key").collect();
        let [key] = keys[..] else { return Err(NotAccepted::Key) };
        if STANDARD.decode(key).map_or(0, |bytes| bytes.len()) != 16 {
            return Err(NotAccepted::Key);
        }
        accept = Some(proof(key));
    }
    let mut given = head.get_all("origin");
    match (given.next(), given.next()) {
        (None, _) => Ok(accept),
        (Some(origin), None) if may(origin, head, origins) => Ok(accept),
        _ => Err(NotAccepted::Origin),
    }
}

fn may(origin: &[u8], head: &RequestHead, origins: &Origins<'_>) -> bool {
    let Origins::SameHostAnd(named) = origins else { return true };
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    if named.iter().any(|one| one.eq_ignore_ascii_case(origin)) {
        return true;
    }
    // Not by scheme: whoever ends TLS in front of us leaves us with http. So a port that goes without saying is none.
    let (rest, usual) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
        (Some(rest), _) => (rest, ":443"),
        (None, Some(rest)) => (rest, ":80"),
        (None, None) => return false,
    };
    let theirs = rest.strip_suffix(usual).unwrap_or(rest);
    let asked = head.authority();
    let ours = asked.strip_suffix(usual).unwrap_or(asked);
    theirs.eq_ignore_ascii_case(ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use madang_wire::http1::head::{HeadParser, Parsed};
    use madang_wire::request::HeadLimits;

    fn head(text: &str) -> RequestHead {
        let limits = HeadLimits { head_bytes_max: 4096, fields_max: 50, target_bytes_max: 1024 };
        let mut head = RequestHead::default();
        let parsed = HeadParser::default().parse(text.as_bytes(), false, &limits, &mut head);
        assert!(matches!(parsed, Ok(Parsed::Complete { .. })), "{text}");
        head
    }

    // Goal: the proof is the one of RFC 6455 1.3.
    #[test]
    fn the_proof_is_that_of_the_rfc() {
        assert_eq!(proof(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    // Goal: what is missing or wrong is told by its name, and nothing of it is accepted.
    #[test]
    fn an_upgrade_is_checked_field_by_field() {
        const UP: &str = "connection: upgrade\r\nupgrade: websocket\r\n";
        const V: &str = "sec-websocket-version: 13\r\n";
        const K: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        check_one("GET", &[UP, V, K], Ok(()));
        check_one("GET", &["connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n", V, K], Ok(()));
        check_one("POST", &[UP, V, K], Err(NotAccepted::Method));
        check_one("GET", &[V, K], Err(NotAccepted::NoUpgrade));
        check_one("GET", &["connection: upgrade\r\nupgrade: h2c\r\n", V, K], Err(NotAccepted::NoUpgrade));
        check_one("GET", &[UP, K], Err(NotAccepted::Version));
        check_one("GET", &[UP, "sec-websocket-version: 8\r\n", K], Err(NotAccepted::Version));
        check_one("GET", &[UP, V, V, K], Err(NotAccepted::Version));
        check_one("GET", &[UP, V], Err(NotAccepted::Key));
        check_one("GET", &[UP, V, "sec-websocket-key: c2hvcnQ=\r\n"], Err(NotAccepted::Key));
        check_one("GET", &[UP, V, "sec-websocket-key: ????\r\n"], Err(NotAccepted::Key));
        check_one("GET", &[UP, V, K, K], Err(NotAccepted::Key));
        check_one("GET", &[UP, V, K, "origin: http://evil.test\r\n"], Err(NotAccepted::Origin));

        #[track_caller]
        fn check_one(method: &str, fields: &[&str], want: Result<(), NotAccepted>) {
            let text = format!("{method} /ws HTTP/1.1\r\nhost: a.test\r\n{}\r\n", fields.concat());
            let got = check(&head(&text), &Origins::SameHostAnd(&[]));
            assert_eq!(got.map(|accept| assert!(accept.is_some())), want, "{text}");
        }
    }

    // Goal: pages of the same host get in whatever ends TLS, others only by name; `null` and two origins never.
    #[test]
    fn origins_are_those_of_the_host_and_those_named() {
        check_one("http://a.test", "a.test", true);
        check_one("https://a.test", "a.test", true);
        check_one("https://A.test", "a.test:443", true);
        check_one("http://a.test:8080", "a.test:8080", true);
        check_one("https://app.test", "a.test", true);
        check_one("http://a.test:8080", "a.test", false);
        check_one("http://a.test:443", "a.test", false);
        check_one("http://b.test", "a.test", false);
        check_one("http://a.test.evil.test", "a.test", false);
        check_one("http://app.test", "a.test", false);
        check_one("null", "a.test", false);
        check_one("", "a.test", false);

        #[track_caller]
        fn check_one(origin: &str, host: &str, want: bool) {
            let head = head(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
            let named = ["https://app.test".to_owned()];
            let given = may(origin.as_bytes(), &head, &Origins::SameHostAnd(&named));
            assert_eq!(given, want, "{origin} at {host}");
            assert!(may(origin.as_bytes(), &head, &Origins::Any));
        }
    }

    #[test]
    fn offers_are_read_in_order() {
        let head = head(
            "GET / HTTP/1.1\r\nhost: a\r\nsec-websocket-protocol: one, two\r\nsec-websocket-protocol: three\r\n\r\n",
        );
        assert_eq!(offered(&head).collect::<Vec<_>>(), ["one", "two", "three"]);
    }
}
