//! Sockets: listening, accepted streams, sendfile.
//!
//! **Job.** The part of `host` that owns file descriptors of sockets.
//! Not here: who may come in (`gate`), what is spoken (`http`).

pub mod connect;
pub mod datagram;
pub mod listen;
pub mod resolve;
pub mod splice;
pub mod stream;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The address of this machine that others on its network see; `None` without a way out. Sends nothing: connecting a
/// datagram socket only asks the kernel for the route (to an address reserved for documents, RFC 5737).
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}
