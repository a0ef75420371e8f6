//! Listening sockets, kept by address.
//!
//! **Job.** Bind, own and hand over listening sockets. A set holds one socket per worker on the same address
//! (SO_REUSEPORT), so the kernel spreads new connections and no lock is shared.
//! **Called by** `madang` (assemble, reload, upgrade). **Calls** the kernel.
//!
//! Invariants
//! 1. A set that is listening is never closed by a reload that still names its address: connections waiting in the
//!    kernel's queue are not lost.
//! 2. An address that another process holds is an error, although SO_REUSEPORT would let us share it.
//!
//! Not here: accepting (`worker`), which sites an address serves (`roles/web`).

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections the kernel completes for us before we accept them. Linux caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// Bytes the kernel holds for a peer beyond what it may send now. Without a bound it takes megabytes for each, and two
/// thousand peers that do not read fill the machine's TCP memory: then everybody's connections are slow.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket file.
    Unix(PathBuf),
    /// UDP. Its ports are others than TCP's.
    Udp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why an address could not be bound.
#[derive(Debug)]
pub struct BindError {
    /// The address as asked.
    pub address: Address,
    /// What the kernel said.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, error } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: another process already does; stop it or choose another port \
                 (`madang doctor` names the process)"
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot listen on {address}: not allowed; ports below 1024 need root (set server.user to drop it \
                 afterwards) or the capability CAP_NET_BIND_SERVICE"
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "cannot listen on {address}: this machine has no such address; `ip addr` lists those it has, \
                 0.0.0.0 and [::] stand for all"
            ),
            _ => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}
impl std::error::Error for BindError {}

/// One listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
    /// Datagrams: it listens without a queue of connections.
    Udp(UdpSocket),
}

impl Listener {
    /// A second handle to the same socket: the accept queue is shared.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
            Self::Udp(socket) => Self::Udp(socket.try_clone()?),
        })
    }
    /// From a descriptor that was handed over, of any kind.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        socket.set_nonblocking(true)?;
        if socket.r#type()? == Type::DGRAM {
            return Ok(Self::Udp(socket.into()));
        }
        let address = socket.local_addr()?;
        if !address.is_unix() {
            tune(&socket)?;
        }
        Ok(if address.is_unix() { Self::Unix(socket.into()) } else { Self::Tcp(socket.into()) })
    }
    /// The address it listens on.
    pub fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Self::Tcp(listener) => Address::Tcp(listener.local_addr()?),
            Self::Unix(listener) => {
                Address::Unix(listener.local_addr()?.as_pathname().map(PathBuf::from).unwrap_or_default())
            }
            Self::Udp(socket) => Address::Udp(socket.local_addr()?),
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

/// All sockets of one address, one per worker.
#[derive(Debug)]
pub struct ListenerSet {
    /// The address as asked (port 0 stays 0 here).
    pub asked: Address,
    /// The address as bound.
    pub bound: Address,
    sockets: Vec<Listener>,
}

impl ListenerSet {
    /// Binds `address` once per worker.
    pub fn bind(address: &Address, workers: usize) -> Result<Self, BindError> {
        let fail = |error| BindError { address: address.clone(), error };
        match address {
            Address::Tcp(tcp) => {
                let mut bound = *tcp;
                // Without SO_REUSEPORT first: a port that somebody else holds must be an error, not a shared port.
                let probe = tcp_socket(bound, false).map_err(fail)?;
                bound = probe.local_addr().map_err(fail)?.as_socket().unwrap_or(bound);
                drop(probe);
                let mut sockets = Vec::with_capacity(workers);
                for _ in 0..workers.max(1) {
                    let socket = tcp_socket(bound, true).map_err(fail)?;
                    socket.listen(BACKLOG).map_err(fail)?;
                    sockets.push(Listener::Tcp(socket.into()));
                }
                Ok(Self { asked: address.clone(), bound: Address::Tcp(bound), sockets })
            }
            Address::Udp(udp) => {
                // As above. SO_REUSEADDR would let two programs share a port of UDP: it stays off.
                let probe = udp_socket(*udp, false).map_err(fail)?;
                let bound = probe.local_addr().map_err(fail)?.as_socket().unwrap_or(*udp);
                drop(probe);
                let socket = || udp_socket(bound, true).map(|socket| Listener::Udp(socket.into()));
                let sockets =
                    (0..workers.max(1)).map(|_| socket()).collect::<Result<_, _>>().map_err(fail)?;
                Ok(Self { asked: address.clone(), bound: Address::Udp(bound), sockets })
            }
            Address::Unix(path) => {
                let listener = bind_unix(path).map_err(fail)?;
                Ok(Self {
                    asked: address.clone(),
                    bound: address.clone(),
                    sockets: vec![Listener::Unix(listener)],
                })
            }
        }
    }

    /// From sockets another process (the one before us, or systemd) had bound. `None` when there are none.
    pub fn inherited(asked: Address, sockets: Vec<Listener>) -> Option<Self> {
        let bound = sockets.first()?.address().ok()?;
        Some(Self { asked, bound, sockets })
    }

    /// The sockets worker `index` of `workers` accepts from. Every socket has at least one worker; where there are
    /// fewer sockets than workers (systemd, unix), workers share one accept queue. Not so with datagrams: those of one
    /// client must all reach the worker that knows it, so a socket has one worker and some workers may have none.
    pub fn for_worker(&self, index: usize, workers: usize) -> io::Result<Vec<Listener>> {
        let count = self.sockets.len();
        if count < workers && !matches!(self.bound, Address::Udp(_)) {
            return Ok(vec![self.sockets[index % count].try_clone()?]);
        }
        (index..count).step_by(workers).map(|socket| self.sockets[socket].try_clone()).collect()
    }

    /// All sockets, to hand over.
    pub fn sockets(&self) -> &[Listener] {
        &self.sockets
    }
}

fn tcp_socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // [::] means IPv6 only: 0.0.0.0 beside it is then no conflict, on every machine alike.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    tune(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn udp_socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(reuse_port)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What connections are to have. Accepted sockets inherit all of it on Linux: no system call per connection.
fn tune(listener: &Socket) -> io::Result<()> {
    listener.set_tcp_nodelay(true)?;
    listener.set_keepalive(true)?;
    listener.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
}

fn bind_unix(path: &PathBuf) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // A file left by a process that died is ours to replace; a living listener is not.
            match std::os::unix::net::UnixStream::connect(path) {
                Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                    UnixListener::bind(path)?
                }
                _ => return Err(error),
            }
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what is set on a listener holds for its connections; a peer that never reads cannot have the kernel hold much.
    // Method: a connection to a bound and to an inherited listener; then bytes until the kernel takes no more.
    #[test]
    fn a_peer_that_never_reads_is_held_little_for() {
        let set = ListenerSet::bind(&Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))), 1).unwrap();
        check(&set.sockets()[0]);
        let handed = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        handed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        handed.listen(8).unwrap();
        check(&Listener::from_fd(handed.into()).unwrap());

        #[track_caller]
        fn check(listener: &Listener) {
            use std::io::Write;
            let Listener::Tcp(listener) = listener else { panic!("not TCP") };
            let peer = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            peer.set_recv_buffer_size(4096).unwrap();
            peer.connect(&listener.local_addr().unwrap().into()).unwrap();
            listener.set_nonblocking(false).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.nodelay().unwrap());
            stream.set_nonblocking(true).unwrap();
            let (piece, mut taken) = ([0; 4096], 0);
            while let Ok(count) = stream.write(&piece) {
                taken += count;
            }
            // What the peer's window takes and one piece more come on top.
            assert!(taken <= 2 * UNSENT_BYTES_MAX as usize, "the kernel took {taken} bytes");
        }
    }
}
