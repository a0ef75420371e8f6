//! Free ports for programs that open their own.
//!
//! **Job.** Find one that nobody uses now. **Called by** `roles/supervise`, tests. **Calls** the kernel.
//!
//! Between finding and opening somebody else may take it; then the program says so, ends, and gets another one. The kernel gives
//! every outgoing connection a port of its own range (`ip_local_port_range`), a proxy's thousands a second: ours are from below it.
//!
//! Not here: sockets that are handed on (`net::listen`).

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use crate::random;

/// How often another one is drawn.
const DRAWS_MAX: usize = 64;
/// Below live services that people know by their numbers.
const LOWEST: u16 = 20_000;
/// Where the kernel's own range begins, if it does not say.
const KERNELS_FROM: u16 = 32_768;
/// With less room than this below the kernel's range, ports are drawn from that.
const ROOM_MIN: usize = 1000;

/// A port of 127.0.0.1 that is free and not one of `taken`.
pub fn free(taken: impl Fn(u16) -> bool) -> io::Result<u16> {
    let said = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    match below(&said) {
        Some(ours) => drawn(&ours, &taken).map_or_else(|| of_the_kernel(&taken), Ok),
        None => of_the_kernel(&taken),
    }
}

/// The ports that are ours to draw from, by what the kernel says of its range.
fn below(said: &str) -> Option<Range<u16>> {
    let from = said.split_whitespace().next().and_then(|from| from.parse().ok()).unwrap_or(KERNELS_FROM);
    Some(LOWEST..from).filter(|ours| ours.len() >= ROOM_MIN)
}

fn drawn(ours: &Range<u16>, taken: impl Fn(u16) -> bool) -> Option<u16> {
    (0..DRAWS_MAX).find_map(|_| {
        let at = random::seed() % u64::try_from(ours.len()).ok()?;
        let port = ours.start + u16::try_from(at).ok()?;
        (!taken(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()).then_some(port)
    })
}

fn of_the_kernel(taken: impl Fn(u16) -> bool) -> io::Result<u16> {
    let mut last = Err(io::ErrorKind::AddrInUse.into());
    // Held until the end, so that none is drawn twice.
    let mut drawn = Vec::new();
    for _ in 0..DRAWS_MAX {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if !taken(port) {
            last = Ok(port);
            break;
        }
        drawn.push(listener);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what is given is free, is not taken, and is none that an outgoing connection could be given meanwhile.
    #[test]
    fn a_port_is_free_and_not_of_the_kernels_range() {
        assert_eq!(below("32768\t60999\n"), Some(20_000..32_768));
        assert_eq!(below("1024\t65535\n"), None, "no room below");
        assert_eq!(below(""), Some(20_000..32_768));
        let port = drawn(&(20_000..32_768), |port| port % 2 == 0).unwrap();
        assert!(port % 2 == 1 && (20_000..32_768).contains(&port));
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        rustix::net::listen(&held, 1).unwrap();
        assert_eq!(drawn(&(port..port + 1), |_| false), None, "somebody listens there");
        let other = of_the_kernel(|other| other == port).unwrap();
        assert_ne!(other, port);
    }
}
