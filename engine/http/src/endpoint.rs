//! What a listener serves on one worker, and the pools its connections draw from.
//!
//! **Job.** Hold the current service and limits of a listener; a reload swaps them whole and open connections use the
//! new ones from their next request on.
//! **Made by** `madang` (assemble). **Read by** `http1`, `http2`, `accept`.
//!
//! Invariants
//! 1. One request sees one [`Serving`] from its head to its record.
//! 2. Pools are bounded: what does not fit is freed.
//!
//! Not here: which site answers (`roles/web`).

use std::cell::RefCell;
use std::rc::Rc;

use ipnet::IpNet;
use madang_host::clock;
use madang_host::connection::Connection;
use madang_host::tls::TlsPolicies;
use madang_host::worker::Worker;
use madang_wire::request::HeadLimits;

use crate::exchange::{Exchange, Service};

/// Limits of the HTTP engine; `[limits]` in the settings has units, ranges and defaults.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Of a request head.
    pub head: HeadLimits,
    /// Of a request body, unless the route says otherwise.
    pub body_bytes_max: u64,
    /// Requests on one connection before it is closed.
    pub requests_per_connection_max: u64,
    /// HTTP/2: streams open at once.
    pub h2_streams_max: u32,
    /// HTTP/2: misbehaviour of one connection before it is ended (resets, refused streams, empty frames).
    pub h2_glitches_max: u32,
    /// HTTP/2: bytes of all decoded fields of one request.
    pub h2_header_list_bytes_max: u32,
    /// HTTP/2: bytes a peer may send on one stream before the handler takes them.
    pub h2_stream_window_bytes: u32,
    /// HTTP/2: the same for a whole connection.
    pub h2_connection_window_bytes: u32,
    /// HTTP/2: bytes of answers buffered for one stream.
    pub h2_send_buffer_bytes_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            head: HeadLimits { head_bytes_max: 16 * 1024, fields_max: 100, target_bytes_max: 8 * 1024 },
            body_bytes_max: 16 * 1024 * 1024,
            requests_per_connection_max: 100_000,
            h2_streams_max: 128,
            h2_glitches_max: 100,
            h2_header_list_bytes_max: 32 * 1024,
            h2_stream_window_bytes: 256 * 1024,
            h2_connection_window_bytes: 1024 * 1024,
            h2_send_buffer_bytes_max: 256 * 1024,
        }
    }
}

/// What is served now: one snapshot.
pub struct Serving {
    /// Who answers.
    pub service: Rc<dyn Service>,
    /// Within which limits.
    pub limits: HttpLimits,
    /// TLS, on an https listener.
    pub tls: Option<TlsPolicies>,
    /// Peers that must begin with a PROXY header; everyone else must not.
    pub proxy_trusted: Vec<IpNet>,
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113 3.3).
    pub h2c: bool,
}

/// A listener's place on one worker.
pub struct Endpoint {
    /// The worker.
    pub worker: Rc<Worker>,
    pub(crate) pool: Rc<Pool>,
    serving: RefCell<Rc<Serving>>,
}

impl Endpoint {
    /// A listener's place, with the worker's pool.
    pub fn new(worker: Rc<Worker>, pool: Rc<Pool>, serving: Serving) -> Rc<Self> {
        Rc::new(Self { worker, pool, serving: RefCell::new(Rc::new(serving)) })
    }
    /// The current snapshot.
    pub fn serving(&self) -> Rc<Serving> {
        Rc::clone(&self.serving.borrow())
    }
    /// A reload's new snapshot.
    pub fn swap(&self, serving: Serving) {
        *self.serving.borrow_mut() = Rc::new(serving);
    }
}

/// Size of a pooled buffer.
pub(crate) const BUFFER_BYTES: usize = 16 * 1024;
const BUFFERS_KEPT: usize = 64;
const EXCHANGES_KEPT: usize = 64;

/// Buffers and exchanges between uses: what makes a request cost no heap allocation, and an idle connection no buffer.
pub struct Pool {
    nobody: Rc<Connection>,
    inputs: RefCell<Vec<Vec<u8>>>,
    outputs: RefCell<Vec<Vec<u8>>>,
    // Boxed on purpose: the box itself is what is reused.
    #[allow(clippy::vec_box)]
    exchanges: RefCell<Vec<Box<Exchange>>>,
}

impl Pool {
    /// One per worker.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            nobody: Connection::nobody(),
            inputs: RefCell::default(),
            outputs: RefCell::default(),
            exchanges: RefCell::default(),
        })
    }
    /// A buffer of 16 KiB, initialised.
    pub fn input(&self) -> Vec<u8> {
        self.inputs.borrow_mut().pop().unwrap_or_else(|| vec![0; BUFFER_BYTES])
    }
    /// Back from use.
    pub fn give_input(&self, buffer: Vec<u8>) {
        let mut kept = self.inputs.borrow_mut();
        if buffer.len() == BUFFER_BYTES && kept.len() < BUFFERS_KEPT {
            kept.push(buffer);
        }
    }
    /// An empty buffer to write into.
    pub fn output(&self) -> Vec<u8> {
        self.outputs.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }
    /// Back from use.
    pub fn give_output(&self, mut buffer: Vec<u8>) {
        let mut kept = self.outputs.borrow_mut();
        if buffer.capacity() > 0 && buffer.capacity() <= 4 * BUFFER_BYTES && kept.len() < BUFFERS_KEPT {
            buffer.clear();
            kept.push(buffer);
        }
    }
    /// An empty exchange. Whoever fills it says when it started.
    pub(crate) fn exchange(&self, connection: &Rc<Connection>) -> Box<Exchange> {
        match self.exchanges.borrow_mut().pop() {
            Some(mut exchange) => {
                let started = exchange.started;
                exchange.clear(connection, started);
                exchange
            }
            None => Box::new(Exchange::new(Rc::clone(connection), clock::now())),
        }
    }
    pub(crate) fn give_exchange(&self, mut exchange: Box<Exchange>) {
        let mut kept = self.exchanges.borrow_mut();
        if kept.len() < EXCHANGES_KEPT {
            // Bodies may hold files and streams, and the connection must be able to end: let go of them now.
            let started = exchange.started;
            exchange.clear(&self.nobody, started);
            kept.push(exchange);
        }
    }
}
