//! A worker's own part of the house: its endpoints by listener, its caches.
//!
//! **Job.** On one worker, make what a plan says: endpoints for new listeners, new snapshots for those that stay, the end
//! of those that go. **Called by** `house` through orders. **Calls** `http`, the roles.
//!
//! Invariants
//! 1. A listener that stays keeps its endpoint: its open connections go on and use the new snapshot from their next request.
//!
//! Not here: sockets (`house` hands them in).

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use madang_host::config::{Limits, Listen};
use madang_host::gate::ListenerGate;
use madang_host::net::listen::Listener;
use madang_host::tls::TlsPolicies;
use madang_host::worker::{Accepting, Worker};
use madang_http::accept::HttpAcceptor;
use madang_http::endpoint::{Endpoint, HttpLimits, Pool, Serving};
use madang_web::config::Site;
use madang_wire::request::HeadLimits;
use tokio::sync::oneshot;

use crate::telemetry::WorkerTelemetry;

/// One worker's state.
pub struct Room {
    pool: Rc<Pool>,
    web: Rc<madang_web::WebWorker>,
    telemetry: Rc<WorkerTelemetry>,
    places: HashMap<String, Place>,
}

struct Place {
    endpoint: Rc<Endpoint>,
    accepting: Vec<Accepting>,
}

/// What one worker needs to know of one listener; travels between threads.
#[derive(Clone)]
pub struct Seat {
    /// As in the settings.
    pub listen: Listen,
    /// What it serves.
    pub sites: Vec<Arc<Site>>,
    /// TLS.
    pub tls: Option<TlsPolicies>,
    /// Admission.
    pub gate: Arc<ListenerGate>,
}

impl Room {
    /// An empty room.
    pub fn new(worker: &Rc<Worker>, web: Rc<madang_web::WebWorker>, telemetry: Rc<WorkerTelemetry>) -> Self {
        worker.observe(Rc::clone(&telemetry) as Rc<dyn madang_host::worker::AcceptObserver>);
        Self { pool: Pool::new(), web, telemetry, places: HashMap::new() }
    }

    /// New limits for everything on this worker.
    pub fn set_limits(&mut self, worker: &Worker, limits: &Limits) {
        worker.connections.set_limits(limits.phases);
        self.web.set_limits(limits);
    }

    /// Whose word about clients is believed from now on.
    pub fn set_trusted_proxies(&self, trusted: Vec<ipnet::IpNet>) {
        self.web.set_trusted_proxies(trusted);
    }

    /// Opens or renews one listener. `sockets` is empty for one that stays.
    pub fn seat(
        &mut self,
        worker: &Rc<Worker>,
        seat: Seat,
        limits: &Limits,
        sockets: Vec<Listener>,
    ) -> std::io::Result<()> {
        let name = seat.listen.name.clone();
        let serving = Serving {
            service: self.web.serve(&seat.listen, &seat.sites),
            limits: http_limits(limits),
            tls: seat.tls,
            proxy_trusted: seat.listen.proxy_protocol.clone(),
            h2c: seat.listen.h2c,
        };
        let place = match self.places.get_mut(&name) {
            Some(place) => {
                place.endpoint.swap(serving);
                place
            }
            None => {
                let endpoint = Endpoint::new(Rc::clone(worker), Rc::clone(&self.pool), serving);
                self.places.entry(name.clone()).or_insert(Place { endpoint, accepting: Vec::new() })
            }
        };
        let name: Rc<str> = name.into();
        for socket in sockets {
            let acceptor = Rc::new(HttpAcceptor { endpoint: Rc::clone(&place.endpoint) });
            let accepting = worker.listen(
                Rc::clone(&name),
                seat.listen.secure,
                socket,
                Arc::clone(&seat.gate),
                acceptor,
            )?;
            place.accepting.push(accepting);
        }
        Ok(())
    }

    /// Ends a listener: no new connections; open ones are the caller's to drain. What it gives resolves as its sockets
    /// are closed.
    pub fn unseat(&mut self, name: &str) -> Vec<oneshot::Receiver<()>> {
        let accepting = self.places.remove(name).map(|place| place.accepting);
        accepting.into_iter().flatten().map(Accepting::stop).collect()
    }

    /// Stops accepting everywhere; open connections go on. What it gives resolves as the queues are served.
    pub fn stop_accepting(&mut self) -> Vec<oneshot::Receiver<()>> {
        self.places.values_mut().flat_map(|place| place.accepting.drain(..)).map(Accepting::stop).collect()
    }

    /// Writes out what is buffered.
    pub fn flush(&self) {
        self.telemetry.flush();
    }
}

/// The engine's limits from the settings'.
pub fn http_limits(limits: &Limits) -> HttpLimits {
    HttpLimits {
        head: HeadLimits {
            head_bytes_max: limits.head_bytes_max,
            fields_max: limits.headers_max,
            target_bytes_max: limits.uri_bytes_max,
        },
        body_bytes_max: limits.body_bytes_max,
        requests_per_connection_max: limits.requests_per_connection_max,
        h2_streams_max: limits.h2_streams_max,
        h2_glitches_max: limits.h2_glitches_max,
        h2_header_list_bytes_max: limits.h2_headers_bytes_max,
        h2_stream_window_bytes: limits.h2_stream_window,
        h2_connection_window_bytes: limits.h2_connection_window,
        h2_send_buffer_bytes_max: limits.h2_send_buffer,
    }
}
