//! The PROXY protocol, versions 1 and 2: who the client really is, told by a load balancer in front.
//!
//! **Job.** Read the header from the front of a connection, write one for a server behind us.
//! **Called by** `http::accept` (only for trusted peers). **Calls** nothing of ours.
//!
//! Invariants
//! 1. A header is complete or an error within 536 bytes (version 2 with larger TLVs: within its announced length, at most 4 KiB).
//! 2. TLVs are skipped by the announced length only; nothing in them is read.
//!
//! Not here: who is trusted to send it (`[[site.*.listen]] proxy_protocol`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest version 1 line (the specification's own number).
const V1_BYTES_MAX: usize = 107;
/// The longest version 2 header taken.
pub const V2_BYTES_MAX: usize = 4096;

/// What the front of the connection is.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Partial,
    /// A whole header.
    Complete {
        /// Its length.
        consumed: usize,
        /// Client and server as the balancer saw them; `None` for LOCAL and UNKNOWN: the connection speaks for itself.
        ends: Option<(SocketAddr, SocketAddr)>,
    },
}

/// Why it is not a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// Does not begin like either version.
    NotProxy,
    /// A version 1 line that is not `PROXY TCP4|TCP6|UNKNOWN …`.
    Line,
    /// A version 2 command, family or length that is not defined.
    Binary,
    /// Longer than taken here.
    TooLong,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotProxy => "a PROXY header was expected from this address",
            Self::Line => "the PROXY line is malformed",
            Self::Binary => "the PROXY version 2 header is malformed",
            Self::TooLong => "the PROXY header is too long",
        })
    }
}
impl std::error::Error for ProxyError {}

/// Reads a header from the front of `buffer`.
pub fn parse(buffer: &[u8]) -> Result<Progress, ProxyError> {
    let looks_like = |signature: &[u8]| {
        let length = buffer.len().min(signature.len());
        buffer[..length] == signature[..length]
    };
    if looks_like(V2_SIGNATURE) {
        return if buffer.len() < 16 { Ok(Progress::Partial) } else { parse_v2(buffer) };
    }
    if looks_like(b"PROXY ") {
        return parse_v1(buffer);
    }
    Err(ProxyError::NotProxy)
}

fn parse_v1(buffer: &[u8]) -> Result<Progress, ProxyError> {
    let Some(end) = memchr::memchr(b'\n', &buffer[..buffer.len().min(V1_BYTES_MAX)]) else {
        return if buffer.len() >= V1_BYTES_MAX { Err(ProxyError::TooLong) } else { Ok(Progress::Partial) };
    };
    let line = buffer[..end].strip_suffix(b"\r").ok_or(ProxyError::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Line)?;
    let consumed = end + 1;
    let words: Vec<&str> = line.split(' ').collect();
    let ends = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let address = |text: &str| -> Result<IpAddr, ProxyError> {
                match *family {
                    "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| ProxyError::Line),
                    _ => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| ProxyError::Line),
                }
            };
            let port = |text: &str| -> Result<u16, ProxyError> {
                // Leading zeros are not allowed: some would read octal.
                let zeros = text.len() > 1 && text.starts_with('0');
                let plain = !text.is_empty() && !zeros && text.bytes().all(|b| b.is_ascii_digit());
                if plain { text.parse().map_err(|_| ProxyError::Line) } else { Err(ProxyError::Line) }
            };
            Some((
                SocketAddr::new(address(from)?, port(from_port)?),
                SocketAddr::new(address(to)?, port(to_port)?),
            ))
        }
        _ => return Err(ProxyError::Line),
    };
    Ok(Progress::Complete { consumed, ends })
}

fn parse_v2(buffer: &[u8]) -> Result<Progress, ProxyError> {
    let length = usize::from(u16::from_be_bytes([buffer[14], buffer[15]]));
    let consumed = 16 + length;
    if consumed > V2_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    let Some(body) = buffer.get(16..consumed) else { return Ok(Progress::Partial) };
    let local = match buffer[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Binary),
    };
    let ends = match buffer[13] {
        _ if local => None,
        0x00 | 0x31 | 0x32 => None, // unspecified, unix sockets: no address of use
        0x11 | 0x12 => {
            let [a, b, c, d, e, f, g, h, p, q, r, s, ..] = *body else { return Err(ProxyError::Binary) };
            let from = SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([p, q]));
            Some((from, SocketAddr::new(Ipv4Addr::new(e, f, g, h).into(), u16::from_be_bytes([r, s]))))
        }
        0x21 | 0x22 => {
            let six = |at: usize| -> Result<Ipv6Addr, ProxyError> {
                let bytes: [u8; 16] =
                    body.get(at..at + 16).and_then(|s| s.try_into().ok()).ok_or(ProxyError::Binary)?;
                Ok(bytes.into())
            };
            let port = |at: usize| -> Result<u16, ProxyError> {
                let bytes: [u8; 2] =
                    body.get(at..at + 2).and_then(|s| s.try_into().ok()).ok_or(ProxyError::Binary)?;
                Ok(u16::from_be_bytes(bytes))
            };
            Some((SocketAddr::new(six(0)?.into(), port(32)?), SocketAddr::new(six(16)?.into(), port(34)?)))
        }
        _ => return Err(ProxyError::Binary),
    };
    Ok(Progress::Complete { consumed, ends })
}

/// Appends a version 1 line.
pub fn write_v1(out: &mut Vec<u8>, client: SocketAddr, server: SocketAddr) {
    let line = match (client.ip().to_canonical(), server.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            format!("PROXY TCP4 {from} {to} {} {}\r\n", client.port(), server.port())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            format!("PROXY TCP6 {from} {to} {} {}\r\n", client.port(), server.port())
        }
        _ => "PROXY UNKNOWN\r\n".to_owned(),
    };
    out.extend_from_slice(line.as_bytes());
}

/// Appends a version 2 header.
pub fn write_v2(out: &mut Vec<u8>, client: SocketAddr, server: SocketAddr) {
    out.extend_from_slice(V2_SIGNATURE);
    match (client.ip().to_canonical(), server.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        _ => return out.extend_from_slice(&[0x20, 0x00, 0, 0]),
    }
    out.extend_from_slice(&client.port().to_be_bytes());
    out.extend_from_slice(&server.port().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    // Goal: what we write we read, byte by byte too; both versions, both families.
    #[test]
    fn headers_survive_the_round_trip_and_any_split() {
        check(at("192.0.2.1:5000"), at("198.51.100.2:443"));
        check(at("[2001:db8::1]:5000"), at("[2001:db8::2]:443"));

        #[track_caller]
        fn check(client: SocketAddr, server: SocketAddr) {
            for write in [write_v1, write_v2] {
                let mut bytes = Vec::new();
                write(&mut bytes, client, server);
                let whole = bytes.len();
                bytes.extend_from_slice(b"GET / HTTP/1.1");
                let want = Progress::Complete { consumed: whole, ends: Some((client, server)) };
                assert_eq!(parse(&bytes), Ok(want));
                for cut in 0..whole {
                    assert_eq!(parse(&bytes[..cut]), Ok(Progress::Partial), "{cut} of {whole}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_header_is_named() {
        check(b"GET / HTTP/1.1\r\n", ProxyError::NotProxy);
        check(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", ProxyError::Line);
        check(b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", ProxyError::Line);
        check(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", ProxyError::Line);
        check(b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", ProxyError::Line);
        check(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 0010\r\n", ProxyError::Line);
        check(b"PROXY TCP4 1.2.3.010 5.6.7.8 1 2\r\n", ProxyError::Line);
        check(b"PROXY TCP4 ::1 ::1 1 2\r\n", ProxyError::Line);
        check(&[b"PROXY ".as_slice(), &[b'x'; 120]].concat(), ProxyError::TooLong);
        check(&[V2_SIGNATURE.as_slice(), &[0x31, 0x11, 0, 12], &[0; 12]].concat(), ProxyError::Binary);
        check(&[V2_SIGNATURE.as_slice(), &[0x21, 0x11, 0, 4], &[0; 4]].concat(), ProxyError::Binary);
        check(&[V2_SIGNATURE.as_slice(), &[0x21, 0x51, 0, 0]].concat(), ProxyError::Binary);
        check(&[V2_SIGNATURE.as_slice(), &[0x21, 0x11, 0xff, 0xff]].concat(), ProxyError::TooLong);

        #[track_caller]
        fn check(bytes: &[u8], want: ProxyError) {
            assert_eq!(parse(bytes), Err(want));
        }
    }
}
