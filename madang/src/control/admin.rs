//! The surfaces that people and scrapers ask: the control socket and the admin address.
//!
//! **Job.** Bind or inherit them and serve [`Control`] on the control side's own thread.
//! **Called by** `run`. **Calls** `host::net::listen`, `http`.
//!
//! Invariants
//! 1. The control socket is 0600: who may open it is decided by the file system.
//! 2. Both are bound before rights are dropped and handed over at an upgrade like any listener.
//!
//! Not here: what is asked there (`control`).

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use madang_host::connection::PhaseLimits;
use madang_host::gate::{Gate, GateLimits, ListenerGate, ListenerRules};
use madang_host::net::listen::{Address, Listener, ListenerSet};
use madang_host::worker::{Accepting, Worker};
use madang_http::accept::HttpAcceptor;
use madang_http::endpoint::{Endpoint, HttpLimits, Pool, Serving};
use tokio::sync::mpsc;

use super::{Control, Request};
use crate::run::{Failure, cannot};

/// The control socket in the data folder.
pub const CONTROL_SOCKET: &str = "madang.sock";

/// How long answers may take to leave once everything else has ended.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// The admin surfaces.
pub struct Admin {
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    orders: mpsc::Sender<Request>,
    ready: Rc<Cell<bool>>,
    open: Vec<(String, ListenerSet, Accepting)>,
}

impl Admin {
    /// None is open yet.
    pub fn new(orders: mpsc::Sender<Request>, ready: Rc<Cell<bool>>) -> Self {
        let gate = Gate::new(GateLimits { connections_max: 256, per_address_max: 0 });
        let worker = Worker::here(usize::MAX, gate, PhaseLimits::default());
        Self { worker, pool: Pool::new(), orders, ready, open: Vec::new() }
    }

    /// The control socket in the data folder: everything is allowed to who may open it (its owner and root).
    pub fn control_socket(&mut self, data: &Path, handed: Option<Listener>) -> Result<(), Failure> {
        let path = data.join(CONTROL_SOCKET);
        let address = Address::Unix(path.clone());
        let set = match handed.and_then(|listener| ListenerSet::inherited(address.clone(), vec![listener])) {
            Some(set) => set,
            None => {
                // The lock says that no living server uses it.
                let _ = std::fs::remove_file(&path);
                ListenerSet::bind(&address, 1).map_err(|error| cannot(error.to_string()))?
            }
        };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(|error| cannot(format!("cannot protect {}: {error}", path.display())))?;
        self.serve("control", set, true)
    }

    /// `server.admin`: looking only.
    pub fn address(
        &mut self,
        address: std::net::SocketAddr,
        handed: Option<Listener>,
    ) -> Result<(), Failure> {
        let address = Address::Tcp(address);
        let set = match handed.and_then(|listener| ListenerSet::inherited(address.clone(), vec![listener])) {
            Some(set) => set,
            None => ListenerSet::bind(&address, 1).map_err(|error| cannot(error.to_string()))?,
        };
        self.serve("admin", set, false)
    }

    fn serve(&mut self, name: &str, set: ListenerSet, trusted: bool) -> Result<(), Failure> {
        let control = Control { orders: self.orders.clone(), trusted, ready: Rc::clone(&self.ready) };
        let serving = Serving {
            service: Rc::new(control),
            limits: HttpLimits::default(),
            tls: None,
            proxy_trusted: Vec::new(),
            h2c: false,
        };
        let endpoint = Endpoint::new(Rc::clone(&self.worker), Rc::clone(&self.pool), serving);
        let fail = |error: std::io::Error| cannot(format!("cannot listen for {name}: {error}"));
        let listener = set.for_worker(0, 1).map_err(fail)?.pop().ok_or_else(|| cannot("no socket"))?;
        let gate = Arc::new(ListenerGate::new(ListenerRules::default()));
        let accepting = self
            .worker
            .listen(name.into(), false, listener, gate, Rc::new(HttpAcceptor { endpoint }))
            .map_err(fail)?;
        self.open.push((name.to_owned(), set, accepting));
        Ok(())
    }

    /// Another process answers here from now on, whoever waits in the queues included: its answers are the true ones.
    pub fn leave(&mut self) {
        for (_, _, accepting) in self.open.drain(..) {
            accepting.leave_queue();
        }
        // Scrapers on kept connections go over too. Nobody waits for the last here; `end` does.
        drop(self.worker.connections.drain(true));
    }

    /// Lets the answers under way out: the last order was to end.
    pub async fn end(self) {
        let gone = self.worker.connections.drain(true);
        // An asker that does not read its answer keeps nobody.
        let _ = tokio::time::timeout(ANSWERS_WITHIN, gone).await;
    }

    /// Names and sockets, to hand over.
    pub fn sockets(&self) -> Vec<(&str, &[Listener])> {
        self.open.iter().map(|(name, set, _)| (name.as_str(), set.sockets())).collect()
    }
}
