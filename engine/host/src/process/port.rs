//! Free ports for programs that open their own.
//!
//! **Job.** Find one that nobody uses now. **Called by** `roles/supervise`. **Calls** the kernel.
//!
//! Between finding and opening somebody else may take it; then the program says so, ends, and gets another one.
//!
//! Not here: sockets that are handed on (`net::listen`).

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// How often another one is drawn.
const DRAWS_MAX: usize = 64;

/// A port of 127.0.0.1 that is free and not one of `taken`.
pub fn free(taken: impl Fn(u16) -> bool) -> io::Result<u16> {
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
