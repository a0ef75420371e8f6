//! What a stream's listener has on one worker.
//!
//! **Job.** Hold the settings, the pools by route and TLS of a listener; a reload swaps them whole for new connections.
//! **Made by** `madang` (room). **Read by** `super`.
//!
//! Invariants
//! 1. Open connections keep what they began with.
//!
//! Not here: accepting (`host::worker`).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use madang_host::net::splice::Pipes;
use madang_host::telemetry::streams::StreamBlock;
use madang_host::tls::TlsPolicies;
use madang_host::tls::connect::ClientTls;
use madang_http::endpoint::Pool as Buffers;

use super::end::StreamObserver;
use super::program::Programs;
use crate::config::{SERVERS_MAX, StreamSettings};
use crate::here::{Here, client_tls};
use crate::pool::Pool;
use crate::server::{Server, ServerId};

/// A way to a pool, and TLS towards its servers, made once.
pub struct Way {
    pub(super) here: Rc<Here>,
    /// A handful: a walk beats a hash.
    tls: RefCell<Vec<(ServerId, Option<ClientTls>)>>,
}

impl Way {
    /// To this pool.
    pub fn to(here: Rc<Here>) -> Rc<Self> {
        Rc::new(Self { here, tls: RefCell::default() })
    }

    /// TLS towards a server, where its address asks for it.
    pub(super) fn tls(&self, pool: &Pool, server: &Server) -> Result<Option<ClientTls>, String> {
        let mut known = self.tls.borrow_mut();
        if let Some((_, tls)) = known.iter().find(|(id, _)| *id == server.id()) {
            return Ok(tls.clone());
        }
        if known.len() >= SERVERS_MAX {
            // Servers by name come and go.
            known.clear();
        }
        let tls = client_tls(pool.settings(), server, false)?;
        known.push((server.id(), tls.clone()));
        Ok(tls)
    }
}

/// One snapshot of a listener.
pub struct Serving {
    /// As checked.
    pub settings: Arc<StreamSettings>,
    /// One for each route.
    pub ways: Vec<Rc<Way>>,
    /// TLS that ends here.
    pub tls: Option<TlsPolicies>,
}

/// What does not change with settings; one per worker.
pub struct Kit {
    /// Buffers of the worker.
    pub buffers: Rc<Buffers>,
    /// Pipes of the worker.
    pub pipes: Rc<Pipes>,
    /// Who is told.
    pub observer: Rc<dyn StreamObserver>,
    /// Who has programs.
    pub programs: Rc<dyn Programs>,
}

/// A stream's door on one worker.
pub struct StreamDoor {
    serving: RefCell<(Rc<Serving>, Arc<StreamBlock>)>,
    pub(super) kit: Rc<Kit>,
}

impl StreamDoor {
    /// A door to these pools.
    pub fn new(serving: Serving, kit: &Rc<Kit>) -> Rc<Self> {
        let block = kit.observer.block(&serving.settings.name);
        Rc::new(Self { serving: RefCell::new((Rc::new(serving), block)), kit: Rc::clone(kit) })
    }

    /// New settings, for new connections.
    pub fn renew(&self, serving: Serving) {
        let block = self.kit.observer.block(&serving.settings.name);
        self.serving.replace((Rc::new(serving), block));
    }

    pub(super) fn serving(&self) -> (Rc<Serving>, Arc<StreamBlock>) {
        self.serving.borrow().clone()
    }
}
