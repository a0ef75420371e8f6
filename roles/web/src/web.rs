//! The web role as the engine sees it: one service per listener and worker.
//!
//! **Job.** Make sites ready, hold what a worker's sites share, hand requests to the pipeline.
//! **Called by** `madang` (room: [`WebWorker::serve`]) and the engine ([`Service`]). **Calls** `site`, `phases`.
//!
//! Invariants
//! 1. Three layers, by what shares them: [`WebShared`] all workers (limits, password checks), [`WebWorker`] one worker's listeners (caches),
//!    `Web` one listener's requests (sites). Only the first has locks, and none on the way of a request.
//! 2. A reload makes new `Web`s; limiters of routes that did not change go on counting where they were.
//!
//! Not here: the way of a request (`phases`), settings (`config`), metrics and logs (`Recorder`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use madang_host::clock;
use madang_host::config::{Limits, Listen};
use madang_host::connection::Connection;
use madang_host::worker::Worker;
use madang_http::exchange::{Exchange, Outcome, Reply, Service};
use madang_settings::unit::Rate;

use crate::auth::login::Logins;
use crate::auth::{Desk, Verified};
use crate::config::{self, Route};
use crate::files::{CacheLimits, Caches};
use crate::hosts::Hosts;
use crate::limit::Limiter;
use crate::phases;
use crate::record::Recorder;
use crate::site::Site;

/// What all workers share: counts that hold for the whole machine.
#[derive(Default)]
pub struct WebShared {
    /// By site, conditions and rate. Weak: a limiter lives as long as a site uses it.
    limiters: Mutex<HashMap<String, std::sync::Weak<Limiter>>>,
    passwords: Arc<Desk>,
}

impl WebShared {
    /// Nothing counted yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The limiter of a route's rate: the same for every worker and listener, and over reloads that leave the route alone.
    pub(crate) fn limiter(&self, site: &str, route: &Route, rate: &Rate) -> Arc<Limiter> {
        let Route { paths, hosts, methods, headers_match, query, cookies, from, .. } = route;
        let conditions = (paths, hosts, methods, headers_match, query, cookies, from);
        let key = format!("{site} {conditions:?} {rate:?}");
        // A panic under this lock leaves the map whole: go on with what is there.
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limiter) = limiters.get(&key).and_then(std::sync::Weak::upgrade) {
            return limiter;
        }
        limiters.retain(|_, limiter| limiter.strong_count() > 0);
        let limiter = Arc::new(Limiter::new(rate.clone(), clock::now()));
        limiters.insert(key, Arc::downgrade(&limiter));
        limiter
    }
}

/// Finds the service of another role for a route: by the site's name and the route's place.
pub type Roles = dyn Fn(&str, usize) -> Option<Rc<dyn Service>>;

/// One worker's part: what its listeners share.
pub struct WebWorker {
    shared: Arc<WebShared>,
    recorder: Rc<dyn Recorder>,
    now_ms: Rc<dyn Fn() -> u64>,
    trusted: RefCell<Rc<[IpNet]>>,
    caches: RefCell<(CacheLimits, Rc<Caches>)>,
    roles: RefCell<Option<Box<Roles>>>,
    ids: RefCell<RequestIds>,
    verified: Rc<Verified>,
    logins: RefCell<Option<Rc<dyn Logins>>>,
}

impl WebWorker {
    /// A worker's part, with empty caches. `trusted` are the proxies whose word about clients is believed.
    pub fn new(
        worker: &Rc<Worker>,
        limits: &Limits,
        trusted: Vec<IpNet>,
        shared: Arc<WebShared>,
        recorder: Rc<dyn Recorder>,
    ) -> Rc<Self> {
        let worker = Rc::clone(worker);
        Self::with_clock(Rc::new(move || worker.clock.ms()), cache_limits(limits), trusted, shared, recorder)
    }

    pub(crate) fn with_clock(
        now_ms: Rc<dyn Fn() -> u64>,
        limits: CacheLimits,
        trusted: Vec<IpNet>,
        shared: Arc<WebShared>,
        recorder: Rc<dyn Recorder>,
    ) -> Rc<Self> {
        let caches = caches(limits, &now_ms);
        Rc::new(Self {
            shared,
            recorder,
            now_ms,
            trusted: RefCell::new(trusted.into()),
            caches: RefCell::new((limits, caches)),
            roles: RefCell::default(),
            ids: RefCell::default(),
            verified: Rc::new(Verified::new()),
            logins: RefCell::default(),
        })
    }

    /// New limits: services made from now on use caches of the new size.
    pub fn set_limits(&self, limits: &Limits) {
        let limits = cache_limits(limits);
        let mut have = self.caches.borrow_mut();
        if have.0 != limits {
            *have = (limits, caches(limits, &self.now_ms));
        }
    }

    /// New trusted proxies, from the next request on.
    pub fn set_trusted_proxies(&self, trusted: Vec<IpNet>) {
        *self.trusted.borrow_mut() = trusted.into();
    }

    /// How routes find other roles, for services made from now on.
    pub fn set_roles(&self, roles: Box<Roles>) {
        *self.roles.borrow_mut() = Some(roles);
    }

    /// Who knows the logins of this house, from the next request on.
    pub fn set_logins(&self, logins: Option<Rc<dyn Logins>>) {
        *self.logins.borrow_mut() = logins;
    }

    pub(crate) fn logins(&self) -> Option<Rc<dyn Logins>> {
        self.logins.borrow().clone()
    }

    /// The service of a listener that has these sites.
    pub fn serve(self: &Rc<Self>, listen: &Listen, sites: &[Arc<config::Site>]) -> Rc<dyn Service> {
        let (caches, roles) = (Rc::clone(&self.caches.borrow().1), self.roles.borrow());
        let making = Making {
            shared: &self.shared,
            caches: &caches,
            recorder: &*self.recorder,
            roles: roles.as_deref(),
        };
        let mut hosts = Hosts::default();
        for (place, site) in sites.iter().enumerate() {
            if site.hosts.is_empty() {
                hosts.add("*", place);
            }
            for host in &site.hosts {
                hosts.add(host, place);
            }
        }
        let sites = sites.iter().map(|site| Site::new(site, listen, &making)).collect();
        Rc::new_cyclic(|me| Web { me: Weak::clone(me), worker: Rc::clone(self), sites, hosts })
    }

    pub(crate) fn trusted(&self) -> Rc<[IpNet]> {
        Rc::clone(&self.trusted.borrow())
    }

    pub(crate) fn recorder(&self) -> &dyn Recorder {
        &*self.recorder
    }

    /// Where passwords are checked, and what was checked lately.
    pub(crate) fn passwords(&self) -> (Arc<Desk>, Rc<Verified>) {
        (Arc::clone(&self.shared.passwords), Rc::clone(&self.verified))
    }

    pub(crate) fn verified(&self) -> &Verified {
        &self.verified
    }

    pub(crate) fn request_id(&self) -> Bytes {
        self.ids.borrow_mut().next()
    }
}

fn cache_limits(limits: &Limits) -> CacheLimits {
    CacheLimits {
        entries_max: limits.open_files_max,
        bytes_max: limits.file_cache_bytes,
        compressed_bytes_max: limits.compressed_cache_bytes,
    }
}

fn caches(limits: CacheLimits, now_ms: &Rc<dyn Fn() -> u64>) -> Rc<Caches> {
    let now_ms = Rc::clone(now_ms);
    Caches::new(limits, move || now_ms())
}

/// What is at hand while a site is made ready.
pub(crate) struct Making<'a> {
    pub(crate) shared: &'a WebShared,
    pub(crate) caches: &'a Rc<Caches>,
    recorder: &'a dyn Recorder,
    roles: Option<&'a Roles>,
}

impl Making<'_> {
    /// The role that a route leads to, where it leads to one.
    pub(crate) fn role(&self, site: &str, place: usize) -> Option<Rc<dyn Service>> {
        self.roles.and_then(|roles| roles(site, place))
    }

    /// Tells the operator what could not be made ready.
    pub(crate) fn trouble(&self, what: &'static str, detail: &str) {
        self.recorder.trouble(what, detail);
    }
}

/// One listener's sites on one worker.
pub(crate) struct Web {
    me: Weak<Self>,
    pub(crate) worker: Rc<WebWorker>,
    pub(crate) sites: Vec<Site>,
    pub(crate) hosts: Hosts<usize>,
}

impl Service for Web {
    fn call(&self, exchange: Box<Exchange>) -> Reply {
        exchange.connection.set_role("web");
        match self.me.upgrade() {
            Some(web) => phases::run(&web, exchange),
            // Whoever calls holds us, so there is somebody to upgrade to.
            None => Reply::Now(exchange),
        }
    }

    fn record(&self, exchange: &Exchange, outcome: Outcome) {
        phases::recorded(self, exchange, outcome);
    }

    fn refused(&self, connection: &Connection, status: u16, what: &'static str) {
        self.worker.recorder.refused(connection, status, what);
    }

    fn secured(&self, connection: &Connection) {
        self.worker.recorder.secured(connection);
    }

    /// A connection was made under the rules of the site its TLS name belongs to; a request for a site with other rules
    /// (another certificate, another demand on the client's) does not belong on it (TRAPS 7).
    fn misdirected(&self, exchange: &Exchange) -> bool {
        let Some(tls) = exchange.connection.tls() else { return false };
        let Some(asked) = self.hosts.find(exchange.head.host()).and_then(|place| self.sites.get(place))
        else {
            return false; // the pipeline says that nobody has this name
        };
        if *tls.policy == *asked.name {
            return false;
        }
        let made_for = self.sites.iter().find(|site| *site.name == *tls.policy);
        // Without a TLS name the first site's rules were taken: only equal rules make that harmless.
        tls.sni.is_some() || made_for.is_none_or(|made_for| made_for.settings.tls != asked.settings.tls)
    }
}

/// 128-bit request ids: a keyed function of a counter, so they neither repeat nor tell how many there were.
struct RequestIds {
    key: RandomState,
    count: u64,
    /// Ids are cut from here: one allocation for 128 of them.
    arena: BytesMut,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { key: RandomState::new(), count: 0, arena: BytesMut::new() }
    }
}

impl RequestIds {
    const DIGITS: usize = 32;

    fn next(&mut self) -> Bytes {
        self.count += 1;
        let halves = [self.key.hash_one((0_u8, self.count)), self.key.hash_one((1_u8, self.count))];
        if self.arena.capacity() < Self::DIGITS {
            self.arena = BytesMut::with_capacity(128 * Self::DIGITS);
        }
        for byte in halves.into_iter().flat_map(u64::to_be_bytes) {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            self.arena.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        self.arena.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: ids are 32 hexadecimal digits and none comes twice, over the arena's edge as well.
    #[test]
    fn request_ids_do_not_repeat() {
        let mut ids = RequestIds::default();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let id = ids.next();
            assert!(id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit), "{id:?}");
            assert!(seen.insert(id));
        }
    }

    // Goal: a limiter is shared by all who have the same route and rate, and ends with the last of them.
    #[test]
    fn limiters_are_shared_by_route_and_rate() {
        let shared = WebShared::default();
        let (one, other) = (crate::testing::route_to("/a"), crate::testing::route_to("/b"));
        let rate = madang_settings::unit::rate("1/h").unwrap();
        let first = shared.limiter("s", &one, &rate);
        assert!(Arc::ptr_eq(&first, &shared.limiter("s", &one, &rate)));
        assert!(!Arc::ptr_eq(&first, &shared.limiter("s", &other, &rate)));
        assert!(!Arc::ptr_eq(&first, &shared.limiter("t", &one, &rate)));
        first.check("key", clock::now());
        drop(first);
        assert!(shared.limiter("s", &one, &rate).check("key", clock::now()).admitted);
    }
}
