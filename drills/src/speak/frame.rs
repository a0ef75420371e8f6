//! Websocket frames of a client (RFC 6455): the upgrade, masked frames out, a server's frames in.
//!
//! **Job.** As little as a load generator needs. **Called by** `json` and `socketio`.
//!
//! Invariants
//! 1. What is read is a server's: unmasked, not in pieces; anything else is trouble.
//!
//! Not here: a witness for our server's websocket (the drill of crashes speaks by somebody else's library).

use super::{Trouble, put};

/// One mask for all: a server has the same work with every mask that is not zero.
const MASK: [u8; 4] = [0x4d, 0x61, 0x64, 0x61];

/// Asks for the upgrade.
pub(super) fn upgrade(path: &str, protocol: Option<&str>, out: &mut Vec<u8>) {
    put!(
        out,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bWFkYW5nLWNoYXQtZHJpbA==\r\n"
    );
    if let Some(protocol) = protocol {
        put!(out, "Sec-WebSocket-Protocol: {protocol}\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// How many bytes the answer to the upgrade has; `None`: it is not there as a whole.
pub(super) fn upgraded(input: &[u8]) -> Result<Option<usize>, Trouble> {
    let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") else { return Ok(None) };
    if !input.starts_with(b"HTTP/1.1 101") {
        return Err(Trouble::said(input));
    }
    Ok(Some(end + 4))
}

/// A frame of text, masked.
pub(super) fn text(payload: &[u8], out: &mut Vec<u8>) {
    write(1, payload, out);
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8], out: &mut Vec<u8>) {
    write(10, payload, out);
}

fn write(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let from = out.len();
    out.extend_from_slice(payload);
    for (byte, mask) in out[from..].iter_mut().zip(MASK.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// A server's frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) opcode: u8,
    pub(super) payload: &'a [u8],
    /// With its head.
    pub(super) bytes: usize,
}

/// The frame at the front of `input`; `None`: it is not there as a whole.
pub(super) fn take(input: &[u8]) -> Result<Option<Frame<'_>>, Trouble> {
    let [first, second, rest @ ..] = input else { return Ok(None) };
    let (length, head) = match second {
        126 => match rest.first_chunk::<2>() {
            Some(two) => (usize::from(u16::from_be_bytes(*two)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(eight) => (usize::try_from(u64::from_be_bytes(*eight)).unwrap_or(usize::MAX), 10),
            None => return Ok(None),
        },
        short => (usize::from(*short), 2),
    };
    // A whole message, unmasked, without extensions, of at most a MiB.
    if first & 0xf0 != 0x80 || second & 0x80 != 0 || length > 1 << 20 {
        return Err(Trouble { said: format!("a frame that begins with {first:02x} {second:02x}") });
    }
    let bytes = head + length;
    Ok(input.get(head..bytes).map(|payload| Frame { opcode: first & 0x0f, payload, bytes }))
}

/// What a close frame says.
pub(super) fn closed(payload: &[u8]) -> Trouble {
    match payload {
        [a, b, reason @ ..] => Trouble {
            said: format!("close {} {}", u16::from_be_bytes([*a, *b]), String::from_utf8_lossy(reason)),
        },
        _ => Trouble { said: "close".to_owned() },
    }
}
