//! One exchange: a request and its answer, from first byte to record.
//!
//! **Job.** Carry everything the pipeline needs about one request; the same for HTTP/1, 2 and 3.
//! **Made by** the protocols (reused from a per-worker pool). **Changed by** roles. **Read last by** `Service::record`.
//!
//! Invariants
//! 1. Whoever holds the `Box<Exchange>` owns the request: there is never a second view of it (DESIGN section 5).
//! 2. `clear` keeps capacity: on a warm worker an exchange costs no heap allocation.
//!
//! Not here: the socket (`host::net`), decisions (roles).

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use madang_host::connection::Connection;
use madang_wire::request::RequestHead;

use crate::body::{LocalFuture, RequestBody};
use crate::interim::InterimSlot;
use crate::response::Response;

/// A request, its answer so far, and what is noted for the record.
pub struct Exchange {
    /// The canonical request head.
    pub head: RequestHead,
    /// The request's body.
    pub body: RequestBody,
    /// The answer so far.
    pub response: Response,
    /// Interim answers on their way to the client.
    pub interim: Rc<InterimSlot>,
    /// Where it came in: peer, listener, TLS facts.
    pub connection: Rc<Connection>,
    /// When the head was complete.
    pub started: Instant,
    /// What the record will tell beside request and answer.
    pub notes: Notes,
}

/// Facts gathered on the way, for the access log, metrics and `trace`.
#[derive(Debug, Default)]
pub struct Notes {
    /// The site that answered.
    pub site: Option<Rc<str>>,
    /// The route's place in its site, from 0.
    pub route: Option<u32>,
    /// The client's address, where a trusted proxy stands between: else it is the peer's.
    pub client: Option<IpAddr>,
    /// Who asked, once known.
    pub user: Option<Rc<str>>,
    /// The request's id, when the site gives one.
    pub request_id: Option<Bytes>,
    /// Name of the error or refusal that decided the answer.
    pub error: Option<&'static str>,
    /// What a role tells the operator about that error; never shown to the client.
    pub error_detail: Option<String>,
    /// The upstream server that answered.
    pub upstream: Option<Rc<str>>,
    /// The limit that refused the request (`telemetry` counts by this name).
    pub limit: Option<&'static str>,
}

impl Exchange {
    /// Who asks: the client behind trusted proxies, or the peer.
    pub fn client(&self) -> IpAddr {
        self.notes.client.unwrap_or_else(|| self.connection.peer().ip())
    }

    /// An empty exchange on this connection.
    pub fn new(connection: Rc<Connection>, started: Instant) -> Self {
        Self {
            head: RequestHead::default(),
            body: RequestBody::default(),
            response: Response::new(),
            interim: Rc::default(),
            connection,
            started,
            notes: Notes::default(),
        }
    }

    /// Ready for the next request, on this connection; capacity stays.
    pub fn clear(&mut self, connection: &Rc<Connection>, started: Instant) {
        self.head.clear();
        self.body = RequestBody::default();
        self.response.clear();
        self.interim.clear();
        if !Rc::ptr_eq(&self.connection, connection) {
            self.connection = Rc::clone(connection);
        }
        self.started = started;
        self.notes = Notes::default();
    }
}

/// What a service gives back: the exchange with its answer, at once or later.
pub enum Reply {
    /// Answered without waiting: the plain path.
    Now(Box<Exchange>),
    /// Something must be waited for.
    Later(LocalFuture<Box<Exchange>>),
}

/// How an exchange ended, known only to the protocol.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Body bytes that left.
    pub bytes_out: u64,
    /// Body bytes that came.
    pub bytes_in: u64,
    /// Whether the answer left whole.
    pub complete: bool,
}

/// Whoever answers requests of a listener: the web role, the admin surface, a test.
pub trait Service {
    /// Answers. A service never panics on what a client sent.
    fn call(&self, exchange: Box<Exchange>) -> Reply;

    /// Called once per exchange after the answer left (or broke off): metrics and access log.
    fn record(&self, exchange: &Exchange, outcome: Outcome);

    /// A request that never became an exchange: the protocol refused it with `status` because of `what`.
    fn refused(&self, connection: &Connection, status: u16, what: &'static str);

    /// A TLS handshake was completed: the connection's facts are set.
    fn secured(&self, connection: &Connection) {
        let _ = connection;
    }

    /// Whether this listener's TLS name and the request's host belong to different sites (421).
    fn misdirected(&self, exchange: &Exchange) -> bool {
        let _ = exchange;
        false
    }
}
