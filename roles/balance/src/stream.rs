//! Connections to a pool, byte by byte (layer 4).
//!
//! **Job.** Pick a server, connect, pass bytes both ways until both sides have ended. **Called by** the worker for each
//! connection of a stream's listener. **Calls** `here`, `host::net::connect`.
//!
//! Invariants
//! 1. Another server is tried only while nothing has been sent: a connection that did not open had no effect.
//! 2. The end of one direction is passed on as such (half-close): the other may go on.
//! 3. Buffers are held only while bytes are on their way: an idle connection costs none.
//!
//! Not here: HTTP (`proxy`), decisions (`pick`).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use madang_host::clock;
use madang_host::connection::{Connection, Phase};
use madang_host::net::connect::plain;
use madang_host::net::listen;
use madang_host::net::stream::Plain;
use madang_host::worker::Acceptor;
use madang_http::endpoint::Pool as Buffers;
use madang_wire::proxy_protocol::{write_v1, write_v2};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::config::{Place, ProxyHeader, StreamSettings};
use crate::here::Here;
use crate::pick::hash::key_of;
use crate::pick::{Ask, Pick, Tried};
use crate::server::{InFlight, Outcome};

/// A stream's door on one worker. A reload gives it other settings; open connections keep those they began with.
pub struct StreamDoor {
    inside: RefCell<(Arc<StreamSettings>, Rc<Here>)>,
    buffers: Rc<Buffers>,
}

impl StreamDoor {
    /// A door to this pool.
    pub fn new(settings: Arc<StreamSettings>, here: Rc<Here>, buffers: &Rc<Buffers>) -> Rc<Self> {
        Rc::new(Self { inside: RefCell::new((settings, here)), buffers: Rc::clone(buffers) })
    }

    /// New settings, for new connections.
    pub fn renew(&self, settings: Arc<StreamSettings>, here: Rc<Here>) {
        self.inside.replace((settings, here));
    }
}

/// Takes connections for a door.
pub struct StreamAcceptor {
    /// The door.
    pub door: Rc<StreamDoor>,
}

impl Acceptor for StreamAcceptor {
    fn accept(&self, stream: Plain, connection: Rc<Connection>) -> Pin<Box<dyn Future<Output = ()>>> {
        let (settings, here) = self.door.inside.borrow().clone();
        let buffers = Rc::clone(&self.door.buffers);
        Box::pin(async move {
            connection.set_role("stream");
            connection.enter(Phase::Tunnel);
            let Some((server, place)) = open(&here, &settings, &connection).await else { return };
            pass(stream, server, &settings, &here, &connection, &buffers).await;
            drop(place);
            here.place_given_back();
        })
    }
}

/// A connection to a server that took it, and the place there.
async fn open(
    here: &Rc<Here>,
    settings: &StreamSettings,
    connection: &Connection,
) -> Option<(Plain, InFlight)> {
    let mut tried = Tried::default();
    let attempts = here.pool().settings().retry.attempts.max(1);
    for _ in 0..attempts {
        let pool = here.pool();
        let key = match connection.peer().ip() {
            std::net::IpAddr::V4(v4) => key_of(&v4.octets()),
            std::net::IpAddr::V6(v6) => key_of(&v6.octets()[..8]),
        };
        let ask = Ask { key: Some(key), sticky: None, tried: &tried, random: here.random() };
        let chosen = match here.picker().pick(&pool, &ask, clock::now()) {
            Pick::Server(chosen) => chosen,
            // A connection has no way to be told why.
            Pick::Wait | Pick::NoneUp(_) => return None,
        };
        let server = Arc::clone(chosen.place.server());
        tried.add(server.id());
        let address = match server.place() {
            Place::Ip(address) => listen::Address::Tcp(*address),
            Place::Unix(path) => listen::Address::Unix(path.clone()),
            Place::Host(..) | Place::Service(_) => continue,
        };
        let begun = clock::now();
        let deadline = here.deadline(pool.settings().timeouts.connect);
        let mut connecting = std::pin::pin!(plain(&address));
        let connected = poll_fn(|cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.ok()),
            Poll::Pending => deadline.poll(cx).map(|()| None),
        });
        let connected = match connected.await {
            Some(mut stream) => match greet(&mut stream, settings.proxy_header, connection).await {
                Ok(()) => Some(stream),
                Err(_) => None,
            },
            None => None,
        };
        let now = clock::now();
        let took = now.saturating_duration_since(begun);
        let outcome = if connected.is_some() { Outcome::Good } else { Outcome::NotConnected };
        here.note(&pool, &server, outcome, took, now);
        if let Some(stream) = connected {
            return Some((stream, chosen.place));
        }
    }
    None
}

/// Says who the client is, where the server wants to be told.
async fn greet(stream: &mut Plain, header: ProxyHeader, connection: &Connection) -> io::Result<()> {
    let mut bytes = Vec::new();
    let (peer, local): (SocketAddr, SocketAddr) = (connection.ends().peer, connection.ends().local);
    match header {
        ProxyHeader::Off => return Ok(()),
        ProxyHeader::V1 => write_v1(&mut bytes, peer, local),
        ProxyHeader::V2 => write_v2(&mut bytes, peer, local),
    }
    stream.write_all(&bytes).await
}

/// Passes bytes both ways until both directions have ended, one broke, or nothing moved for too long.
async fn pass(
    mut client: Plain,
    mut server: Plain,
    settings: &StreamSettings,
    here: &Rc<Here>,
    connection: &Rc<Connection>,
    buffers: &Buffers,
) {
    let idle = here.deadline(settings.idle);
    let (mut up, mut down) = (Half::default(), Half::default());
    let moved = |count: usize, from_client: bool| {
        idle.set(settings.idle);
        if from_client { connection.received(count) } else { connection.sent(count) }
    };
    poll_fn(|cx| {
        if connection.poll_cut(cx).is_some() || idle.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let to_server = up.poll(cx, &mut client, &mut server, buffers, |count| moved(count, true));
        let to_client = down.poll(cx, &mut server, &mut client, buffers, |count| moved(count, false));
        match (to_server, to_client) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(()),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    up.give_back(buffers);
    down.give_back(buffers);
}

/// One direction.
#[derive(Default)]
struct Half {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    shut: bool,
}

impl Half {
    /// Ready once the end of `from` was passed on to `to`.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Plain,
        to: &mut Plain,
        buffers: &Buffers,
        moved: impl Fn(usize),
    ) -> Poll<io::Result<()>> {
        loop {
            while self.start < self.end {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer[self.start..self.end]))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.start += count;
                moved(count);
            }
            if self.ended {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            if self.buffer.is_empty() {
                self.buffer = buffers.input();
            }
            let mut room = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut *from).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) => {
                    (self.start, self.end) = (0, room.filled().len());
                    self.ended = self.end == 0;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.give_back(buffers);
                    return Poll::Pending;
                }
            }
        }
    }

    fn give_back(&mut self, buffers: &Buffers) {
        buffers.give_input(std::mem::take(&mut self.buffer));
        (self.start, self.end) = (0, 0);
    }
}
