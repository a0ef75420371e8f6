//! Where a server is: an address as written, taken apart.
//!
//! **Job.** `[scheme://]host:port | ip:port | unix:/path | srv://_service._tcp.domain` to a [`Place`] and a [`Protocol`].
//! **Called by** `config`.
//!
//! Invariants
//! 1. What [`Address::parse`] takes, it gives back the same for the text of [`Address::key`].
//! 2. Two spellings of one place have one key.
//!
//! Not here: resolving names, connecting (the upstream client).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// The longest address that is taken, in bytes: a DNS name has 253, a unix socket 108.
const ADDRESS_BYTES_MAX: usize = 300;

/// What is spoken to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 in the clear (no scheme, or `http://`).
    Http,
    /// HTTP/1.1 or HTTP/2 by TLS, as ALPN decides (`https://`).
    Https,
    /// HTTP/2 in the clear by prior knowledge (`h2c://`, RFC 9113 3.3).
    H2c,
    /// Whatever a stream carries, by TLS (`tls://`).
    Tls,
}

impl Protocol {
    /// As written, without `://`.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::Tls => "tls",
        }
    }
}

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A plain address.
    Ip(SocketAddr),
    /// A name that has to be resolved, lower case, and a port.
    Host(String, u16),
    /// A service whose servers DNS names (RFC 2782), lower case: `_http._tcp.api.internal`.
    Service(String),
    /// A unix socket.
    Unix(PathBuf),
    /// No address: a program of this app for each connection. Made by the server, never written.
    Program(Arc<str>),
}

impl Place {
    /// Whether it has to be looked up.
    pub const fn is_name(&self) -> bool {
        matches!(self, Self::Host(..) | Self::Service(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Host(name, port) => write!(f, "{name}:{port}"),
            Self::Service(name) => write!(f, "srv://{name}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Program(app) => write!(f, "app:{app}"),
        }
    }
}

/// A server's address, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// What is spoken.
    pub protocol: Protocol,
    /// Where.
    pub place: Place,
}

impl Address {
    /// Reads an address; `None` when it is none. A port may be left out after `http://` (80) and `https://` (443).
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > ADDRESS_BYTES_MAX {
            return None;
        }
        if let Some(name) = text.strip_prefix("srv://") {
            return Self::service(name);
        }
        let (protocol, rest, port) = match text.split_once("://") {
            None => (Protocol::Http, text, None),
            Some(("http", rest)) => (Protocol::Http, rest, Some(80)),
            Some(("https", rest)) => (Protocol::Https, rest, Some(443)),
            Some(("h2c", rest)) => (Protocol::H2c, rest, None),
            Some(("tls", rest)) => (Protocol::Tls, rest, None),
            Some(_) => return None,
        };
        if let Some(path) = rest.strip_prefix("unix:") {
            // 107: what fits into sockaddr_un with its closing zero.
            let fine = path.starts_with('/') && path.len() <= 107 && !path.contains('\0');
            return fine.then(|| Self { protocol, place: Place::Unix(PathBuf::from(path)) });
        }
        let place = if let Ok(address) = rest.parse::<SocketAddr>() {
            (address.port() != 0).then_some(Place::Ip(address))?
        } else if let Some(ip) = bare_ip(rest) {
            Place::Ip(SocketAddr::new(ip, port?))
        } else {
            let (name, port) = match rest.rsplit_once(':') {
                Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                    (name, port.parse().ok().filter(|port| *port != 0)?)
                }
                Some(_) => return None,
                None => (rest, port?),
            };
            host_name(name).then(|| Place::Host(name.to_ascii_lowercase(), port))?
        };
        Some(Self { protocol, place })
    }

    /// `_https._tcp.…` speaks TLS, every other service plain HTTP.
    fn service(name: &str) -> Option<Self> {
        let (service, rest) = name.split_once('.')?;
        let domain = rest.strip_prefix("_tcp.").or_else(|| rest.strip_prefix("_TCP."))?;
        if !(service.starts_with('_') && service.len() > 1 && host_name(name) && host_name(domain)) {
            return None;
        }
        let name = name.to_ascii_lowercase();
        let protocol = if name.starts_with("_https.") { Protocol::Https } else { Protocol::Http };
        Some(Self { protocol, place: Place::Service(name) })
    }

    /// The host's name or address without a port: what a certificate has to be for. Of a service it is the domain that the
    /// settings name, not the target that DNS does: DNS can be forged (RFC 6125 6.5.1).
    pub fn host(&self) -> String {
        match &self.place {
            Place::Ip(address) => address.ip().to_string(),
            Place::Host(name, _) => name.clone(),
            Place::Service(name) => name.splitn(3, '.').nth(2).unwrap_or(name).to_owned(),
            Place::Unix(_) | Place::Program(_) => "localhost".to_owned(),
        }
    }

    /// What a request to it has in its Host field where nobody says otherwise: with the port, as clients have it.
    pub fn authority(&self) -> String {
        match &self.place {
            Place::Service(_) | Place::Unix(_) | Place::Program(_) => self.host(),
            Place::Ip(_) | Place::Host(..) => self.place.to_string(),
        }
    }

    /// The one spelling that names this server everywhere: in commands, logs, metrics and the hash ring.
    pub fn key(&self) -> String {
        match self.protocol {
            _ if matches!(self.place, Place::Service(_)) => self.place.to_string(),
            Protocol::Http => self.place.to_string(),
            other => format!("{}://{}", other.scheme(), self.place),
        }
    }
}

fn bare_ip(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// RFC 1123 2.1, and `_` as many internal names have it. A name of digits and dots alone would be a mistyped address.
fn host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253
        && name.split('.').all(label)
        && !name.rsplit('.').next().unwrap_or(name).bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Goal: every form of the settings page is read, one spelling names one place. Method: text in, key out.
    #[test]
    fn every_form_of_an_address_has_one_key() {
        check("127.0.0.1:3001", "127.0.0.1:3001");
        check("http://127.0.0.1:3001", "127.0.0.1:3001");
        check("http://127.0.0.1", "127.0.0.1:80");
        check("[::1]:3001", "[::1]:3001");
        check("https://[::1]", "https://[::1]:443");
        check("App.Internal:80", "app.internal:80");
        check("https://app.internal", "https://app.internal:443");
        check("h2c://127.0.0.1:50051", "h2c://127.0.0.1:50051");
        check("tls://Mail.internal:993", "tls://mail.internal:993");
        check("unix:/run/app.sock", "unix:/run/app.sock");
        check("h2c://unix:/run/app.sock", "h2c://unix:/run/app.sock");
        check("srv://_http._tcp.API.internal", "srv://_http._tcp.api.internal");
        check("srv://_https._tcp.api.internal", "srv://_https._tcp.api.internal");

        #[track_caller]
        fn check(text: &str, key: &str) {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.key(), key);
            assert_eq!(Address::parse(key), Some(address));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":80",
            "host",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "host:",
            "host:0",
            "host:+80",
            "host:80/path",
            "ftp://host:80",
            "http://",
            "http://host/",
            "h2c://host",
            "tls://host",
            "unix:",
            "unix:relative",
            "256.0.0.1:80",
            "1.2.3:80",
            "a..b:80",
            "-a:80",
            "a-:80",
            "a b:80",
            "::1:80",
            "[::1:80",
            "user@host:80",
            "srv://",
            "srv://api.internal",
            "srv://_http.api.internal",
            "srv://_http._udp.api.internal",
            "srv://_._tcp.api.internal",
            "srv://_http._tcp.",
            "srv://_http._tcp.api.internal:80",
        ] {
            assert_eq!(Address::parse(text), None, "{text:?}");
        }
        assert_eq!(Address::parse(&format!("unix:/{}", "a".repeat(107))), None);
        assert_eq!(Address::parse(&format!("{}:80", "a".repeat(64))), None);
    }

    // Goal: TLS is checked against what the settings name. Method: address in, protocol and host out.
    #[test]
    fn a_certificate_is_for_the_host_that_was_written() {
        check("https://127.0.0.1:8443", Protocol::Https, "127.0.0.1");
        check("https://[::1]", Protocol::Https, "::1");
        check("https://app.internal", Protocol::Https, "app.internal");
        check("srv://_https._tcp.api.internal", Protocol::Https, "api.internal");
        check("srv://_http._tcp.api.internal", Protocol::Http, "api.internal");
        check("unix:/run/app.sock", Protocol::Http, "localhost");

        #[track_caller]
        fn check(text: &str, protocol: Protocol, host: &str) {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.protocol, address.host().as_str()), (protocol, host));
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser_and_keys_are_fixed_points(
            text in ".{0,40}|[a-z0-9.:/\\[\\]-]{0,40}|srv://[_a-zA-Z.]{0,20}",
        ) {
            if let Some(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(&address.key()), Some(address));
            }
        }
    }
}
