//! One client's datagrams to one server, and what comes back.
//!
//! **Job.** Hold the socket to the server; pass answers on to the client and to nobody else; end when there is nothing more
//! to wait for. **Made by** `super`. **Calls** `host::net::datagram`, `pick`.
//!
//! Invariants
//! 1. A client gets answers of its own server only: the socket is connected to it.
//! 2. A datagram is sent to a second server only when the first said that nobody listens there (ICMP) and nothing of it had
//!    been answered: then it had no effect.
//!
//! Not here: whose datagram it is (`super`), the order of sessions (`table`).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use madang_host::clock;
use madang_host::connection::Connection;
use madang_host::gate::Permit;
use madang_host::net::datagram::Towards;

use super::Door;
use crate::config::Place;
use crate::pick::{Ask, Pick, Tried};
use crate::pool::Pool;
use crate::server::{InFlight, Outcome, Server};
use crate::stream::door::Way;
use crate::stream::end::End;
use crate::stream::open::key;

/// A first datagram up to this length is remembered until its answer, in bytes.
const KEPT_BYTES_MAX: usize = 2 * 1024;
/// Answers passed on before other sessions get their turn.
const TURN: usize = 64;

/// Who asks: the address, and ours that it wrote to where there are several.
pub(super) type Client = (SocketAddr, Option<IpAddr>);

/// See the module.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) connection: Rc<Connection>,
    pub(super) begun: Instant,
    way: Rc<Way>,
    to: RefCell<Chosen>,
    tried: RefCell<Tried>,
    attempts: Cell<u8>,
    kept: RefCell<Option<Vec<u8>>>,
    asked: Cell<u64>,
    answered: Cell<u64>,
    end: RefCell<Option<End>>,
    /// A place of the client's address.
    permit: RefCell<Option<Permit>>,
}

/// The server of the moment.
struct Chosen {
    socket: Rc<Towards>,
    pool: Arc<Pool>,
    place: InFlight,
}

impl Session {
    /// A session with a server that may be asked, or why there is none.
    pub(super) fn begin(
        client: Client,
        way: &Rc<Way>,
        connection: Rc<Connection>,
        permit: Permit,
    ) -> Result<Rc<Self>, End> {
        let (mut tried, mut attempts) = (Tried::default(), 0);
        let to = towards(way, client.0.ip(), &mut tried, &mut attempts)?;
        Ok(Rc::new(Self {
            client,
            connection,
            begun: clock::now(),
            way: Rc::clone(way),
            to: RefCell::new(to),
            tried: RefCell::new(tried),
            attempts: Cell::new(attempts),
            kept: RefCell::new(None),
            asked: Cell::new(0),
            answered: Cell::new(0),
            end: RefCell::new(None),
            permit: RefCell::new(Some(permit)),
        }))
    }

    /// The server of the moment.
    pub(super) fn server(&self) -> Arc<Server> {
        Arc::clone(self.to.borrow().place.server())
    }

    /// Whether every question has as many answers as questions have.
    pub(super) fn has_all(&self, replies: u64) -> bool {
        self.answered.get() >= self.asked.get().saturating_mul(replies.max(1))
    }

    /// Ends it; the first reason stays.
    pub(super) fn end(&self, why: End) {
        self.end.borrow_mut().get_or_insert(why);
        self.connection.nudge();
    }

    /// Whether it is being ended.
    pub(super) fn is_ending(&self) -> bool {
        self.end.borrow().is_some() || self.connection.was_cut().is_some()
    }

    /// The reason when it was quiet for too long.
    pub(super) fn quiet(&self, replies: u64) -> End {
        if replies > 0 && self.answered.get() == 0 { End::NoAnswer } else { End::Idle }
    }

    /// A datagram of the client goes to the server. False: it went nowhere.
    pub(super) fn ask(&self, bytes: &[u8]) -> bool {
        let first = self.asked.get() == 0;
        self.asked.set(self.asked.get() + 1);
        // More than one on the way: which of them a refusal is about, nobody says.
        let keep = first && bytes.len() <= KEPT_BYTES_MAX;
        *self.kept.borrow_mut() = keep.then(|| bytes.to_vec());
        loop {
            let socket = Rc::clone(&self.to.borrow().socket);
            match socket.send(bytes) {
                Ok(()) => return true,
                // Of an earlier datagram.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    if !self.refused() {
                        return false;
                    }
                    // What was kept has gone to another server with that.
                    if keep {
                        return true;
                    }
                }
                Err(_) => return false,
            }
        }
    }

    /// Nobody listens there: another server, as long as nothing was answered. False: the session is over.
    fn refused(&self) -> bool {
        {
            let to = self.to.borrow();
            let now = clock::now();
            let took = now.saturating_duration_since(self.begun);
            self.way.here.note(&to.pool, to.place.server(), Outcome::NotConnected, took, now);
        }
        let again = self.kept.borrow().clone().filter(|_| self.answered.get() == 0);
        let Some(bytes) = again else {
            self.end(End::ServerBroke);
            return false;
        };
        let (mut tried, mut attempts) = (self.tried.borrow_mut(), self.attempts.get());
        let next = towards(&self.way, self.client.0.ip(), &mut tried, &mut attempts);
        self.attempts.set(attempts);
        match next {
            Ok(to) => {
                // Whether it is taken shows when it is answered or refused.
                let _ = to.socket.send(&bytes);
                *self.to.borrow_mut() = to;
                self.connection.nudge();
                true
            }
            Err(_) => {
                let server = self.server();
                let last = format!("{}: nobody listens there", server.name());
                let pool = Arc::clone(&self.way.here.pool().settings().name);
                self.end(End::NotConnected { pool, last, attempts });
                false
            }
        }
    }

    /// Passes answers on until the session is over; says how it ended.
    pub(super) async fn answers(&self, door: &Door, number: usize) -> End {
        let end = loop {
            let socket = Rc::clone(&self.to.borrow().socket);
            tokio::select! {
                biased;
                end = self.told(&socket) => match end {
                    Some(end) => break end,
                    None => continue,
                },
                ready = socket.ready() => if ready.is_err() {
                    break End::ServerBroke;
                },
            }
            if let Some(end) = self.take_answers(&socket, door, number) {
                break end;
            }
        };
        if end == End::NoAnswer {
            let (to, now) = (self.to.borrow(), clock::now());
            let took = now.saturating_duration_since(self.begun);
            self.way.here.note(&to.pool, to.place.server(), Outcome::Late, took, now);
        }
        end
    }

    /// Resolves to an end when the session is to end, to nothing when it has another socket.
    async fn told(&self, socket: &Rc<Towards>) -> Option<End> {
        poll_fn(|cx| {
            if let Some(cut) = self.connection.poll_cut(cx) {
                return Poll::Ready(Some(End::Cut(cut)));
            }
            if let Some(end) = self.end.borrow_mut().take() {
                return Poll::Ready(Some(end));
            }
            if Rc::ptr_eq(socket, &self.to.borrow().socket) { Poll::Pending } else { Poll::Ready(None) }
        })
        .await
    }

    /// Passes on what is there; an end when it was the last.
    fn take_answers(&self, socket: &Towards, door: &Door, number: usize) -> Option<End> {
        for _ in 0..TURN {
            let mut room = door.room.borrow_mut();
            let length = match socket.try_receive(&mut room) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.refused();
                    return None;
                }
                Err(_) => return Some(End::ServerBroke),
            };
            if self.answered.replace(self.answered.get() + 1) == 0 {
                let (to, now) = (self.to.borrow(), clock::now());
                let took = now.saturating_duration_since(self.begun);
                self.way.here.note(&to.pool, to.place.server(), Outcome::Good, took, now);
                self.kept.take();
            }
            door.pass_back(self, &room[..length], number);
            let replies = door.replies();
            if (replies > 0 || door.stopping.get()) && self.has_all(replies) {
                return Some(End::Done);
            }
        }
        None
    }

    /// The place of the client's address is free for another of its sessions.
    pub(super) fn leave(&self) {
        self.permit.take();
    }

    /// The pool it belongs to, which has a place more once the session is dropped.
    pub(super) fn way(&self) -> Rc<Way> {
        Rc::clone(&self.way)
    }
}

/// A socket to a server that was not tried yet.
fn towards(way: &Rc<Way>, client: IpAddr, tried: &mut Tried, attempts: &mut u8) -> Result<Chosen, End> {
    let mut last = "no attempt is left".to_owned();
    loop {
        let pool = way.here.pool();
        let name = Arc::clone(&pool.settings().name);
        if *attempts >= pool.settings().retry.attempts.max(1) {
            return Err(End::NotConnected { pool: name, last, attempts: *attempts });
        }
        let ask = Ask { key: Some(key(client)), sticky: None, tried, random: way.here.random() };
        let chosen = match way.here.pick(&pool, &ask, clock::now()) {
            Pick::Server(chosen) => chosen,
            // A datagram does not stand in line.
            Pick::Wait => return Err(End::QueueFull { pool: name }),
            Pick::NoneUp(why) => return Err(End::NobodyUp { pool: name, why }),
        };
        *attempts += 1;
        let server = Arc::clone(chosen.place.server());
        tried.add(server.id());
        let socket = match server.place() {
            Place::Ip(address) => Towards::connect(*address),
            // The settings are checked: what is left is a name without an address.
            place => Err(io::Error::other(format!("{place} has no address yet"))),
        };
        match socket {
            Ok(socket) => return Ok(Chosen { socket: Rc::new(socket), pool, place: chosen.place }),
            Err(error) => {
                let now = clock::now();
                way.here.note(&pool, &server, Outcome::NotConnected, std::time::Duration::ZERO, now);
                last = format!("{}: {error}", server.name());
            }
        }
    }
}
