//! A pool as one worker has it.
//!
//! **Job.** The worker's picker, budget, counters and connections for a pool; the line of those who wait for a place; what is
//! told to the keeper of health. **Owned by** the worker. **Read by** `proxy`.
//!
//! Invariants
//! 1. Nothing here is shared between threads but the pool's snapshot and the way to the keeper.
//! 2. The line has its length; whoever leaves it makes room.
//!
//! Not here: forwarding (`proxy`), deciding states (`health`), probes (`keeper`).

use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use madang_host::clock;
use madang_host::deadline::Deadline;
use madang_host::net::listen;
use madang_host::tls::connect::{ClientTls, ClientTlsSettings};
use madang_host::worker::Worker;
use madang_http::endpoint::Pool as Buffers;
use madang_http::exchange::Exchange;
use madang_http::upstream::{ConnectionTally, Spoken, Upstream, UpstreamLimits};
use madang_wire::request::{RequestHead, Scheme};
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::config::{Place, PoolSettings, Protocol, RetrySettings};
use crate::ledger::{PoolLedger, ServerLedger};
use crate::pick::{Ask, Pick, Picker};
use crate::pool::Pool;
use crate::retry::{self, Attempt, RetryBudget, Verdict};
use crate::server::{Outcome, Server, ServerId};
use crate::sticky::StickyCookies;
use madang_host::draws::Draws;

/// How often those in line look for a place that another worker gave back.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Tells the keeper that a server deserves a look now.
pub type LookNow = mpsc::Sender<(Arc<str>, ServerId)>;

/// See the module.
pub struct Here {
    pool: RefCell<Arc<Pool>>,
    picker: RefCell<Picker>,
    budget: RefCell<RetryBudget>,
    /// A handful: a walk beats a hash.
    upstreams: RefCell<Vec<Known>>,
    sticky: RefCell<Option<StickyCookies>>,
    secret: [u8; 32],
    draws: RefCell<Draws>,
    line: Rc<Waiting>,
    /// Copies for this pool under way.
    mirrors: Cell<usize>,
    /// Requests that wait until somebody is up.
    held: Cell<usize>,
    ledger: Arc<PoolLedger>,
    look_now: LookNow,
    worker: Rc<Worker>,
    buffers: Rc<Buffers>,
}

struct Known {
    server: Arc<Server>,
    name: Rc<str>,
    ledger: Arc<ServerLedger>,
    /// `None` until the first request goes there.
    upstream: Option<Rc<Upstream>>,
}

struct Waiting {
    wake: RefCell<VecDeque<oneshot::Sender<()>>>,
    count: Cell<usize>,
    ledger: Arc<PoolLedger>,
}

impl Here {
    /// A pool on this worker. `secret` signs sticky cookies; `seed` tells this worker's choices from others'.
    pub fn new(
        pool: Arc<Pool>,
        secret: [u8; 32],
        seed: u64,
        look_now: LookNow,
        worker: &Rc<Worker>,
        buffers: &Rc<Buffers>,
    ) -> Rc<Self> {
        let sticky = StickyCookies::new(&pool, &secret);
        let ledger = pool.ledgers().block();
        Rc::new(Self {
            picker: RefCell::new(Picker::new(seed)),
            budget: RefCell::new(RetryBudget::new(clock::now())),
            upstreams: RefCell::default(),
            sticky: RefCell::new(sticky),
            secret,
            draws: RefCell::new(Draws::new(seed)),
            line: Rc::new(Waiting::new(Arc::clone(&ledger))),
            ledger,
            mirrors: Cell::default(),
            held: Cell::default(),
            look_now,
            worker: Rc::clone(worker),
            buffers: Rc::clone(buffers),
            pool: RefCell::new(pool),
        })
    }

    /// The next snapshot. Connections to servers that stay are kept, unless what is said about connections changed.
    pub fn renew(&self, pool: Arc<Pool>) {
        let before = self.pool.replace(Arc::clone(&pool));
        *self.sticky.borrow_mut() = StickyCookies::new(&pool, &self.secret);
        let same = |a: &PoolSettings, b: &PoolSettings| {
            (a.timeouts, a.keep_alive, a.http2) == (b.timeouts, b.keep_alive, b.http2) && a.tls == b.tls
        };
        let mut upstreams = self.upstreams.borrow_mut();
        if !same(before.settings(), pool.settings()) {
            upstreams.iter_mut().for_each(|known| known.upstream = None);
        }
        let stays =
            |known: &Known| pool.members().iter().any(|member| Arc::ptr_eq(&member.server, &known.server));
        upstreams.retain(stays);
    }

    /// Closes connections that were unused for too long.
    pub fn sweep(&self) {
        for known in self.upstreams.borrow().iter() {
            if let Some(upstream) = &known.upstream {
                upstream.sweep();
            }
        }
    }

    pub(crate) fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.pool.borrow())
    }

    pub(crate) fn mirrors(&self) -> &Cell<usize> {
        &self.mirrors
    }

    pub(crate) fn held(&self) -> &Cell<usize> {
        &self.held
    }

    /// Who gets a request, counted.
    pub(crate) fn pick(&self, pool: &Pool, ask: &Ask<'_>, now: Instant) -> Pick {
        let pick = self.picker.borrow_mut().pick(pool, ask, now);
        match &pick {
            Pick::Server(chosen) => self.known(chosen.place.server()).ledger.picked(chosen.why),
            Pick::NoneUp(why) => self.ledger.nobody(*why),
            Pick::Wait => {}
        }
        pick
    }

    /// Whether a failed attempt is made again, counted.
    pub(crate) fn judge(&self, rules: &RetrySettings, attempt: &Attempt, now: Instant) -> Verdict {
        let verdict = retry::judge(rules, &mut self.budget(), attempt, self.random(), now);
        match verdict {
            Verdict::Again { fresh_connection, .. } => self.ledger.retried(attempt.failure, fresh_connection),
            Verdict::No(why) => self.ledger.not_retried(why),
        }
        verdict
    }

    /// What this worker has of a server.
    fn known(&self, server: &Arc<Server>) -> RefMut<'_, Known> {
        RefMut::map(self.upstreams.borrow_mut(), |all| {
            let at = all.iter().position(|known| Arc::ptr_eq(&known.server, server)).unwrap_or_else(|| {
                let (name, ledger) = (server.name().into(), server.ledgers().block());
                all.push(Known { server: Arc::clone(server), name, ledger, upstream: None });
                all.len() - 1
            });
            &mut all[at]
        })
    }

    pub(crate) fn budget(&self) -> RefMut<'_, RetryBudget> {
        self.budget.borrow_mut()
    }

    pub(crate) fn random(&self) -> u64 {
        self.draws.borrow_mut().next()
    }

    pub(crate) fn deadline(&self, after: Duration) -> Deadline {
        self.worker.deadlines.after(after)
    }

    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.buffers.output()
    }

    pub(crate) fn give_buffer(&self, buffer: Vec<u8>) {
        self.buffers.give_output(buffer);
    }

    /// The name of a server as records hold it, and the connections to it.
    pub(crate) fn way_to(
        &self,
        pool: &Pool,
        server: &Arc<Server>,
    ) -> (Rc<str>, Result<Rc<Upstream>, String>) {
        let mut known = self.known(server);
        let name = Rc::clone(&known.name);
        if let Some(upstream) = &known.upstream {
            return (name, Ok(Rc::clone(upstream)));
        }
        let made = self.connections_to(pool, server, Arc::clone(&known.ledger.connections));
        if let Ok(upstream) = &made {
            known.upstream = Some(Rc::clone(upstream));
        }
        (name, made)
    }

    fn connections_to(
        &self,
        pool: &Pool,
        server: &Server,
        tally: Arc<ConnectionTally>,
    ) -> Result<Rc<Upstream>, String> {
        let settings = pool.settings();
        let address = match server.place() {
            Place::Ip(address) => listen::Address::Tcp(*address),
            Place::Unix(path) => listen::Address::Unix(path.clone()),
            // The settings let no route that speaks HTTP lead to programs.
            Place::Host(..) | Place::Service(_) | Place::Program(_) => {
                return Err(format!("{} has no address yet", server.place()));
            }
        };
        let tls = client_tls(settings, server, settings.http2)?;
        let limits = UpstreamLimits {
            connect: settings.timeouts.connect,
            first_byte: settings.timeouts.first_byte,
            idle: settings.timeouts.idle,
            idle_connections_max: settings.keep_alive,
            ..UpstreamLimits::default()
        };
        let spoken = match server.address().protocol {
            Protocol::H2c => Spoken::Http2,
            Protocol::Https if settings.http2 => Spoken::Http2,
            Protocol::Http | Protocol::Https | Protocol::Tls => Spoken::Http1,
        };
        Ok(Upstream::new(address, tls, spoken, limits, &self.worker, &self.buffers, tally))
    }

    /// How an attempt ended.
    pub(crate) fn note(
        &self,
        pool: &Pool,
        server: &Arc<Server>,
        outcome: Outcome,
        took: Duration,
        now: Instant,
    ) {
        let noticed = pool.note(server, outcome, took, now);
        self.known(server).ledger.attempt(outcome, took, noticed.circuit);
        if noticed.look_now {
            // A full line means that the keeper is on its way.
            let _ = self.look_now.try_send((Arc::clone(&pool.settings().name), server.id()));
        }
    }

    /// The server a client's cookie names.
    pub(crate) fn sticky_of(&self, head: &RequestHead) -> Option<ServerId> {
        let sticky = self.sticky.borrow();
        let cookies = sticky.as_ref()?;
        let value = crate::proxy::cookie(head, cookies.name())?;
        cookies.read(value, clock::unix_seconds(clock::wall())).ok()
    }

    /// Gives the client its cookie, where it has none for this server.
    pub(crate) fn stick(&self, exchange: &mut Exchange, server: &Server) {
        let sticky = self.sticky.borrow();
        let Some(cookies) = sticky.as_ref() else { return };
        let now = clock::unix_seconds(clock::wall());
        let has = crate::proxy::cookie(&exchange.head, cookies.name())
            .and_then(|value| cookies.read(value, now).ok());
        if has == Some(server.id()) {
            return;
        }
        let secure = exchange.head.scheme() == Scheme::Https;
        if let Some(field) = cookies.set_cookie(server.id(), secure, now) {
            exchange.response.fields.add("set-cookie", field);
        }
    }

    /// A place in the line; `None` when it is full.
    pub(crate) fn stand_in_line(&self, length: usize, wait: Duration) -> Option<Line> {
        if self.line.count.get() >= length {
            self.ledger.queue_full.add(1);
            return None;
        }
        self.line.count.set(self.line.count.get() + 1);
        let all = Arc::clone(self.pool.borrow().line());
        all.fetch_add(1, Ordering::Relaxed);
        self.ledger.queue_entered.add(1);
        Some(Line { line: Rc::clone(&self.line), all, until: clock::now() + wait })
    }

    /// A request has ended here: the first in line may look.
    pub(crate) fn place_given_back(&self) {
        while let Some(first) = self.line.wake.borrow_mut().pop_front() {
            // One that gave up waiting passes it on.
            if first.send(()).is_ok() {
                break;
            }
        }
    }
}

impl Waiting {
    fn new(ledger: Arc<PoolLedger>) -> Self {
        Self { wake: RefCell::default(), count: Cell::new(0), ledger }
    }

    /// One more who wants to be woken. Looks that are over would pile up while no place is given back on this worker.
    fn add(&self, wake: oneshot::Sender<()>) {
        let mut all = self.wake.borrow_mut();
        while all.front().is_some_and(oneshot::Sender::is_closed) {
            all.pop_front();
        }
        all.push_back(wake);
    }
}

/// A place in the line of those who wait.
pub(crate) struct Line {
    line: Rc<Waiting>,
    all: Arc<AtomicU32>,
    until: Instant,
}

impl Line {
    /// Waits for the next moment that is worth a look. False: the time is over.
    pub(crate) async fn next(&mut self) -> bool {
        let now = clock::now();
        if now >= self.until {
            self.line.ledger.queue_timeouts.add(1);
            return false;
        }
        let (wake, woken) = oneshot::channel();
        self.line.add(wake);
        // Places are given back on other workers too, which do not tell.
        let _ = tokio::time::timeout(LOOK_EVERY.min(self.until - now), woken).await;
        true
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.line.count.set(self.line.count.get() - 1);
        self.all.fetch_sub(1, Ordering::Relaxed);
        self.line.ledger.queue_left.add(1);
    }
}

/// TLS towards a server, where its address asks for it. `http2`: offered.
pub(crate) fn client_tls(
    settings: &PoolSettings,
    server: &Server,
    http2: bool,
) -> Result<Option<ClientTls>, String> {
    match server.address().protocol {
        Protocol::Https | Protocol::Tls => by_tls(settings, server, http2).map(Some),
        Protocol::Http | Protocol::H2c => Ok(None),
    }
}

/// TLS towards a server, whatever its address says.
pub(crate) fn by_tls(settings: &PoolSettings, server: &Server, http2: bool) -> Result<ClientTls, String> {
    let host = server.address().host();
    let tls = &settings.tls;
    let wanted = ClientTlsSettings {
        name: tls.name.clone(),
        ca: tls.ca.clone(),
        certificate: tls.identity.clone(),
        insecure: !tls.verify,
        pin: None,
        http2,
        raw: server.address().protocol != Protocol::Https,
    };
    ClientTls::new(&wanted, &host).map_err(|error| error.to_string())
}
