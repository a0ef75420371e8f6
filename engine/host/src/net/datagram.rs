//! Datagrams (UDP): a socket that takes them from anybody, sockets that speak with one server.
//!
//! **Job.** Receive with the sender and our own address it wrote to, answer from that same address. **Called by** streams.
//! **Calls** the kernel by tokio, and by nix where the local address has to be known.
//!
//! Invariants
//! 1. An answer leaves from the address that was asked, also on a socket that listens on all addresses.
//! 2. Nothing waits to be sent: what the kernel does not take at once is an error, as UDP has it.
//!
//! Not here: binding and handing over (`listen`), sessions (roles).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, ready};

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The longest datagram: what fits the length of an IP packet, and more.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// What the kernel may hold for us while we are busy, in bytes; it may grant less (net.core.rmem_max).
const RECEIVE_BYTES: usize = 1024 * 1024;

const AT_ONCE: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// A datagram that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its length, in bytes.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// Which of our addresses it was sent to, where the socket listens on all of them.
    pub to: Option<IpAddr>,
}

/// A socket that takes datagrams from anybody.
pub struct Datagrams {
    socket: UdpSocket,
    local: SocketAddr,
}

impl Datagrams {
    /// From a bound socket; on a runtime.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        match local.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            _ => {}
        }
        // The kernel may grant less; that is no reason not to serve.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BYTES);
        Ok(Self { socket: UdpSocket::from_std(socket)?, local })
    }

    /// Where it is bound.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// The next datagram, into `room`. What is longer than `room` is cut off: give it [`DATAGRAM_BYTES_MAX`].
    pub fn poll_receive(&self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<Received>> {
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            let received = if self.local.ip().is_unspecified() {
                self.socket.try_io(Interest::READABLE, || receive_with_local(&self.socket, room))
            } else {
                self.socket.try_recv_from(room).map(|(length, from)| Received { length, from, to: None })
            };
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Sends to `to`, from the address `from` of ours where that is given.
    ///
    /// # Errors
    /// `WouldBlock`: the kernel has no room; the datagram is lost, as datagrams may be.
    pub fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        // Straight to the kernel: the runtime would say "not ready" of a socket it has not looked at yet.
        match from {
            None => Ok(rustix::net::sendto(&self.socket, bytes, AT_ONCE, &to).map(drop)?),
            Some(from) => send_from(&self.socket, bytes, to, from),
        }
    }
}

fn receive_with_local(socket: &UdpSocket, room: &mut [u8]) -> io::Result<Received> {
    let mut space = nix::cmsg_space!(in6_pktinfo);
    let mut room = [IoSliceMut::new(room)];
    let got =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut room, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let from = got.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
    let to = got.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into())
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into()),
        _ => None,
    });
    Ok(Received { length: got.bytes, from, to })
}

fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
    match (from.as_sockaddr_in(), from.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddr::V4((*v4).into())),
        (_, Some(v6)) => Some(SocketAddr::V6((*v6).into())),
        _ => None,
    }
}

fn send_from(socket: &UdpSocket, bytes: &[u8], to: SocketAddr, from: IpAddr) -> io::Result<()> {
    let to = SockaddrStorage::from(to);
    let (four, six);
    let message = match from {
        IpAddr::V4(ip) => {
            let source = in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
            four = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: in_addr { s_addr: 0 } };
            ControlMessage::Ipv4PacketInfo(&four)
        }
        IpAddr::V6(ip) => {
            six = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
            ControlMessage::Ipv6PacketInfo(&six)
        }
    };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &[message], flags, Some(&to))?;
    Ok(())
}

/// A socket that speaks with one server only: nobody else's datagrams reach it, and it is told when nobody listens there.
pub struct Towards {
    socket: UdpSocket,
}

impl Towards {
    /// A socket of its own to this server; on a runtime.
    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        let any: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UdpSocket::from_std(socket)? })
    }

    /// Sends.
    ///
    /// # Errors
    /// `ConnectionRefused`: an *earlier* datagram found nobody; this one was not sent. `WouldBlock`: as in [`Datagrams::send`].
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        Ok(rustix::net::send(&self.socket, bytes, AT_ONCE).map(drop)?)
    }

    /// Resolves when there may be an answer, or word that nobody listens there: the kernel tells that as an error alone,
    /// which those who wait for something to read would never hear of.
    pub async fn ready(&self) -> io::Result<()> {
        self.socket.ready(Interest::READABLE | Interest::ERROR).await.map(drop)
    }

    /// The next answer's length, its bytes in `room`.
    ///
    /// # Errors
    /// `ConnectionRefused`: nobody listens there. `WouldBlock`: nothing yet; [`Towards::ready`] says when.
    pub fn try_receive(&self, room: &mut [u8]) -> io::Result<usize> {
        let mut receive = || Ok(rustix::net::recv(&self.socket, &mut *room, RecvFlags::DONTWAIT)?.0);
        // The runtime keeps the two apart: each is asked only while it is there.
        match self.socket.try_io(Interest::READABLE, &mut receive) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.socket.try_io(Interest::ERROR, receive)
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: that nobody listens is heard without anything to read.
    #[test]
    fn nobody_there_is_heard() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let gone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let client = Towards::connect(gone).unwrap();
            client.send(b"anybody?").unwrap();
            client.ready().await.unwrap();
            let heard = client.try_receive(&mut [0; 16]);
            assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        });
    }

    // Goal: an answer comes from the address that was asked, whichever of ours that is.
    // Method: a socket on all addresses, asked at two of loopback's, by clients that take answers from there only.
    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            check("0.0.0.0:0", "127.0.0.1").await;
            check("0.0.0.0:0", "127.0.0.77").await;
            check("127.0.0.1:0", "127.0.0.1").await;
            check("[::]:0", "::1").await;
        });

        async fn check(bind: &str, asked: &str) {
            let socket = std::net::UdpSocket::bind(bind).unwrap();
            socket.set_nonblocking(true).unwrap();
            let ours = Datagrams::new(socket).unwrap();
            let asked = SocketAddr::new(asked.parse().unwrap(), ours.local().port());
            let client = Towards::connect(asked).unwrap();
            let sent = vec![7; 60_000];
            client.send(&sent).unwrap();
            let mut room = vec![0; DATAGRAM_BYTES_MAX];
            let got = std::future::poll_fn(|cx| ours.poll_receive(cx, &mut room)).await.unwrap();
            assert_eq!((got.length, got.from), (sent.len(), client.socket.local_addr().unwrap()));
            ours.send(&room[..got.length], got.from, got.to).unwrap();
            let mut back = vec![0; DATAGRAM_BYTES_MAX];
            client.ready().await.unwrap();
            assert_eq!(client.try_receive(&mut back).unwrap(), sent.len());
        }
    }
}
