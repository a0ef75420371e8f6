//! Connections of a chat's own addresses (`irc://`, `line://`): from an accepted socket to who speaks its protocol.
//!
//! **Job.** PROXY header, TLS, then the door for what is spoken there. **Called by** the worker's accept loop. **Calls**
//! `http::accept`, `host::tls`, [`Door`].
//!
//! Invariants
//! 1. Whoever is at a door has passed the gate, and what it sends is counted and cut like any connection.
//! 2. A reload renews what new connections find; open ones keep what they began with.
//!
//! Not here: what is spoken (`irc`, `line`).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use ipnet::IpNet;
use madang_host::connection::{Connection, Phase};
use madang_host::net::stream::{Plain, Prefixed, Stream};
use madang_host::tls::{self, TlsPolicies};
use madang_host::worker::Acceptor;
use madang_http::accept::read_proxy_header;
use madang_http::body::{Duplex, LocalFuture};
use madang_http::tunnel::Tunnel;

use crate::config::Speaks;
use crate::here::Here;
use crate::irc::IrcDoor;
use crate::line::LineDoor;

/// Speaks a protocol on connections of a chat's own addresses; one per worker, chat and protocol.
pub trait Door {
    /// Serves one connection to its end. The peer's address, TLS and the drain are told by `connection`
    /// ([`Connection::peer`], [`Connection::tls`], [`Connection::draining`]); reading and writing fail once it is cut.
    fn serve(&self, duplex: Box<dyn Duplex>, connection: Rc<Connection>) -> LocalFuture<()>;
}

/// The door for what is spoken at an address; `None`: this build does not speak it.
pub fn door(here: &Rc<Here>, speaks: Speaks) -> Option<Rc<dyn Door>> {
    match speaks {
        Speaks::Irc => Some(IrcDoor::new(here)),
        Speaks::Line => Some(LineDoor::new(here)),
    }
}

/// What [`door`] has. Settings that name anything else are refused.
pub fn is_spoken(speaks: Speaks) -> bool {
    match speaks {
        Speaks::Irc | Speaks::Line => true,
    }
}

/// Who is told about what happens before a door.
pub trait Porter {
    /// A handshake was completed.
    fn secured(&self, connection: &Connection);
    /// It did not get to the door, for this reason.
    fn refused(&self, connection: &Connection, what: &'static str);
}

/// What new connections of one address find.
pub struct Entry {
    /// Who speaks there.
    pub door: Rc<dyn Door>,
    /// TLS that ends here.
    pub tls: Option<TlsPolicies>,
    /// Peers that begin with a PROXY header.
    pub proxy_trusted: Vec<IpNet>,
}

/// One address of a chat on one worker.
pub struct Threshold {
    entry: RefCell<Rc<Entry>>,
    porter: Rc<dyn Porter>,
}

impl Threshold {
    /// An address that leads there.
    pub fn new(entry: Entry, porter: Rc<dyn Porter>) -> Rc<Self> {
        Rc::new(Self { entry: RefCell::new(Rc::new(entry)), porter })
    }

    /// New settings, for new connections.
    pub fn renew(&self, entry: Entry) {
        self.entry.replace(Rc::new(entry));
    }
}

/// Takes connections for an address.
pub struct ChatAcceptor {
    /// Where they come in.
    pub threshold: Rc<Threshold>,
}

impl Acceptor for ChatAcceptor {
    fn accept(&self, stream: Plain, connection: Rc<Connection>) -> Pin<Box<dyn Future<Output = ()>>> {
        connection.set_role("chat");
        let entry = Rc::clone(&self.threshold.entry.borrow());
        let proxied =
            entry.proxy_trusted.iter().any(|net| net.contains(&connection.peer().ip().to_canonical()));
        if !proxied && entry.tls.is_none() {
            return inside(&*entry.door, Stream::Plain(stream), Vec::new(), connection);
        }
        let porter = Rc::clone(&self.threshold.porter);
        Box::pin(async move {
            match before(stream, &entry, proxied, &connection, &*porter).await {
                Ok((stream, early)) => inside(&*entry.door, stream, early, connection).await,
                Err(what) => porter.refused(&connection, what),
            }
        })
    }
}

fn inside(door: &dyn Door, stream: Stream, early: Vec<u8>, connection: Rc<Connection>) -> LocalFuture<()> {
    connection.enter(Phase::Tunnel);
    door.serve(Box::new(Tunnel::new(stream, early, Rc::clone(&connection))), connection)
}

/// What comes before the first byte of the protocol, within `limits.handshake_timeout`.
async fn before(
    mut stream: Plain,
    entry: &Entry,
    proxied: bool,
    connection: &Rc<Connection>,
    porter: &dyn Porter,
) -> Result<(Stream, Vec<u8>), &'static str> {
    let mut early = Vec::new();
    if proxied {
        read_proxy_header(&mut stream, &mut early, connection).await?;
    }
    let Some(policies) = &entry.tls else { return Ok((Stream::Plain(stream), early)) };
    let mut handshake = Box::pin(tls::accept(Prefixed::new(early, stream), policies));
    let agreed = poll_fn(|cx| match connection.poll_cut(cx) {
        Some(cut) => Poll::Ready(Err(cut.name())),
        None => handshake.as_mut().poll(cx).map(Ok),
    });
    let (stream, facts) = agreed.await?.map_err(|failure| failure.name())?;
    connection.set_tls(facts);
    porter.secured(connection);
    Ok((Stream::Tls(Box::new(stream)), Vec::new()))
}
