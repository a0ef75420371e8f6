//! Websockets of our own roles (RFC 6455, RFC 8441): the upgrade, and a connection's life after it.
//!
//! **Job.** Check an upgrade and answer it (`handshake`), read messages and hand them over (`serve`), write frames that roles
//! have built (`socket`), end who is silent or stalled (`hall`). **Called by** roles. **Calls** `wire::websocket`, `body::Duplex`.
//!
//! The path of a message to many: its frame is built once; [`Socket::send`] of each hands the same bytes to the kernel at once,
//! without a copy, a task switch or a lock. Only what the kernel does not take waits, in a bounded outbox.
//!
//! Invariants
//! 1. An idle connection holds no buffer: its bytes are read into the worker's one, and only an unfinished message keeps any.
//! 2. What waits for a client is bounded; a client that takes nothing for [`Limits::stalled`] is ended.
//! 3. No timer per connection: the worker's sweep pings and ends (docs/decisions/0004-time-limits-by-sweep.md).
//! 4. A handler is told of the end exactly once, and of nothing after it.
//!
//! Not here: frames as bytes (`wire::websocket`), websockets of upstreams (`upstream`), what messages mean (roles).

mod hall;
mod handshake;
mod outbox;
mod serve;
mod socket;

use std::rc::Rc;
use std::time::Duration;

use madang_host::connection::Cut;
use madang_wire::request::Version;
use madang_wire::websocket::FrameError;

pub use self::hall::Hall;
pub(crate) use self::handshake::proof;
pub use self::handshake::{NotAccepted, Origins, offered};
pub use self::socket::Socket;
use crate::body::Body;
use crate::exchange::Exchange;

/// The limits of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest message, in bytes.
    pub message_bytes_max: usize,
    /// What may wait for the client before [`Socket::takes`] says no, in bytes. At twice as much it is ended.
    pub outbox_bytes_max: usize,
    /// A client that says nothing for so long is asked for a sign of life; one that owes two is ended.
    pub ping: Duration,
    /// A client that takes nothing of what waits for it for so long is ended.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 * 1024,
            outbox_bytes_max: 256 * 1024,
            ping: Duration::from_secs(30),
            stalled: Duration::from_secs(30),
        }
    }
}

/// Close codes beside those of RFC 6455 7.4.1.
pub mod code {
    /// Done.
    pub const NORMAL: u16 = 1000;
    /// The server ends: come back.
    pub const AWAY: u16 = 1001;
    /// A kind of message that is not taken.
    pub const UNSUPPORTED: u16 = 1003;
    /// It broke a rule of ours.
    pub const POLICY: u16 = 1008;
    /// It reads too slowly: come back and go on where you were.
    pub const TOO_SLOW: u16 = 4000;
    /// It gave no sign of life.
    pub const IDLE: u16 = 4004;
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The client said so, with its code if it gave one.
    Client(Option<u16>),
    /// The client has gone without a word.
    Gone,
    /// We said so, by this code: the role, or a limit of ours ([`code`]).
    Ours(u16),
    /// What the client sent is no websocket.
    Refused(FrameError),
    /// The engine ended it.
    Cut(Cut),
}

impl Closed {
    /// A stable name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client(_) => "closed",
            Self::Gone => "gone",
            Self::Ours(code::TOO_SLOW) => "too-slow",
            Self::Ours(code::IDLE) => "idle",
            Self::Ours(code::AWAY) => "shutting-down",
            Self::Ours(_) => "ended",
            Self::Refused(error) => error.name(),
            Self::Cut(cut) => cut.name(),
        }
    }
}

/// What a role does with a connection. All of it happens on the connection's worker; nothing may wait.
pub trait Handler {
    /// A message of text.
    fn text(&self, text: &str);
    /// A message of bytes. Unless a role takes them, they end the connection with 1003.
    fn binary(&self, socket: &Socket, bytes: &[u8]) {
        let _ = bytes;
        socket.close(code::UNSUPPORTED, "text only");
    }
    /// [`Socket::takes`] said no and now says yes: next to nothing waits any more.
    fn drained(&self) {}
    /// The server or the listener ends: last words may be sent, behind them goes the close with 1001.
    fn ending(&self) {}
    /// It is over; nothing sent from now on arrives.
    fn closed(&self, why: Closed);
}

/// What is agreed on with a client.
pub struct Offer<'a> {
    /// Whose pages may connect.
    pub origins: Origins<'a>,
    /// The sub-protocol, one of those that were [`offered`].
    pub protocol: Option<&'static str>,
    /// The connection's limits.
    pub limits: Limits,
}

/// Answers an upgrade: 101 (HTTP/1.1) or 200 (HTTP/2), and from then on `open`'s handler is the connection's.
///
/// `open` is called when the answer has left; what it sends goes out first.
///
/// # Errors
/// [`NotAccepted`]: the exchange has its answer already (400, 403, 405, 426).
pub fn accept(
    exchange: &mut Exchange,
    hall: &Rc<Hall>,
    offer: &Offer<'_>,
    open: impl FnOnce(&Rc<Socket>) -> Rc<dyn Handler> + 'static,
) -> Result<(), NotAccepted> {
    handshake::answer(exchange, &offer.origins, offer.protocol)?;
    let (hall, limits) = (Rc::clone(hall), offer.limits);
    let connection = Rc::clone(&exchange.connection);
    // A connection that is all ours is left by what spoke HTTP on it, whose state is larger than ours; a stream of a shared
    // one ends with that connection.
    let alone = exchange.head.version() == Version::Http11;
    exchange.response.body = Body::Upgrade(Box::new(move |duplex| {
        let socket = Socket::new(duplex, connection, &hall, limits);
        let handler = open(&socket);
        let serving = serve::Serve::new(socket, handler, alone);
        if alone {
            tokio::task::spawn_local(serving);
            Box::pin(std::future::ready(()))
        } else {
            Box::pin(serving)
        }
    }));
    Ok(())
}
