//! The laws of the PROXY protocol.
//!
//! **Job.** 1. However a header arrives, it is read the same, and nothing behind it is looked at. 2. It is complete or an
//! error within the longest that is taken. 3. What was read, written again in either version, reads the same.
//!
//! Not here: who may send it (`http::accept`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use madang_wire::proxy_protocol::{Progress, ProxyError, V2_BYTES_MAX, parse, write_v1, write_v2};

/// All laws for one input; its first bytes are taken for a pair of addresses too.
pub fn hold(bytes: &[u8]) {
    let whole = parse(bytes);
    assert_eq!(first_answer(bytes), whole, "in pieces it reads differently");
    match whole {
        Ok(Progress::Complete { consumed, ends }) => {
            assert!(consumed <= bytes.len() && consumed <= V2_BYTES_MAX);
            if let Some((client, server)) = ends {
                survive_writing(client, server);
            }
        }
        Ok(Progress::Partial) => {
            assert!(bytes.len() < V2_BYTES_MAX, "still waiting after {} bytes", bytes.len())
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Some((client, server)) = addresses(bytes) {
        survive_writing(client, server);
    }
}

/// The first answer other than "more" when bytes come one by one.
fn first_answer(bytes: &[u8]) -> Result<Progress, ProxyError> {
    (0..=bytes.len())
        .map(|seen| parse(&bytes[..seen]))
        .find(|answer| *answer != Ok(Progress::Partial))
        .unwrap_or(Ok(Progress::Partial))
}

/// Both versions say who it was; of two kinds of addresses they say nothing rather than something wrong.
pub fn survive_writing(client: SocketAddr, server: SocketAddr) {
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let (from, to) = (plain(client), plain(server));
    let ends = (from.is_ipv4() == to.is_ipv4()).then_some((from, to));
    for write in [write_v1, write_v2] {
        let mut out = Vec::new();
        write(&mut out, client, server);
        let want = Progress::Complete { consumed: out.len(), ends };
        assert_eq!(parse(&out).as_ref(), Ok(&want), "{client} {server}");
        out.extend_from_slice(b"\r\nGET / HTTP/1.1\r\n");
        assert_eq!(parse(&out), Ok(want), "what follows changed it");
    }
}

fn addresses(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (kinds, rest) = bytes.split_first()?;
    let one = |six: bool, bytes: &[u8]| {
        let port = u16::from_be_bytes(bytes.get(16..18)?.try_into().ok()?);
        let long: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
        let short: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
        let ip = if six { Ipv6Addr::from(long).into() } else { Ipv4Addr::from(short).into() };
        Some(SocketAddr::new(ip, port))
    };
    Some((one(kinds & 1 == 1, rest)?, one(kinds & 2 == 2, rest.get(18..)?)?))
}
