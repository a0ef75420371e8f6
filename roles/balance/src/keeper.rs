//! The pools on the control side: health, names, the operator's wishes.
//!
//! **Job.** Carry out what `health` and `names` decide: ask servers, publish their standing, tell events; look names up; make
//! snapshots for the workers. **Owned by** the main loop. **Calls** `health`, `names`, `probe`, the resolver.
//!
//! Invariants
//! 1. One state machine per pool decides; everything here only acts.
//! 2. A pool that stays keeps its servers' state over every reload.
//!
//! 3. At most [`LOOKUPS_MAX`] names are looked up at a time.
//!
//! Not here: requests (`proxy`), deciding (`health`, `names`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::clock;
use madang_host::net::listen;
use madang_host::net::resolve::{Found, LookupFailure, Resolver, ServiceAddress};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::chronicle::{Chronicle, Happened};
use crate::config::{Address, Check, Place, PoolSettings, Protocol};
use crate::families::{Families, Pools};
use crate::health::{Action, Health, ProbeFailure, Wish};
use crate::here::{LookNow, by_tls, client_tls};
use crate::hold::HELD_WAIT;
use crate::names::{Names, Question};
use crate::pool::Pool;
use crate::probe::Probe;
use crate::recent;
use crate::server::{Server, ServerId, State};
use crate::view::PoolView;

/// How often requests' results are looked at without being called.
const PASSIVE_EVERY: Duration = Duration::from_millis(200);
const LOOKS_MAX: usize = 256;
/// Names looked up at a time.
const LOOKUPS_MAX: usize = 16;

/// What the keeper tells.
pub trait Observer {
    /// A server changed its state, a pool its mood, a name its addresses.
    fn told(&self, pool: &str, happened: &Happened);
    /// A pool has a new snapshot: the workers need it.
    fn renewed(&self, pool: &Arc<Pool>);
}

pub(crate) struct Kept {
    pub(crate) pool: Arc<Pool>,
    pub(crate) health: Health,
    names: Names,
    pub(crate) chronicle: Chronicle,
    /// When counters are looked at next.
    next_look: Instant,
}

/// One server at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// How it stands.
    pub state: State,
    /// Requests open there.
    pub in_flight: u32,
    /// What was wrong with the last answer to a health check, if anything was.
    pub failure: Option<ProbeFailure>,
}

/// See the module.
pub struct Keeper {
    me: Weak<Self>,
    pools: RefCell<BTreeMap<Arc<str>, Kept>>,
    changed: Notify,
    look_now: LookNow,
    observer: Box<dyn Observer>,
    resolver: RefCell<Rc<Resolver>>,
    lookups: Rc<Semaphore>,
    seed: u64,
}

impl Keeper {
    /// Takes care of these pools from now on, until dropped. Must be called on the main loop's runtime. `name_servers` are
    /// asked for names instead of the system's.
    pub fn start(
        settings: &[Arc<PoolSettings>],
        name_servers: &[SocketAddr],
        seed: u64,
        observer: Box<dyn Observer>,
    ) -> Rc<Self> {
        let (look_now, looks) = mpsc::channel(LOOKS_MAX);
        let this = Rc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            pools: RefCell::default(),
            changed: Notify::new(),
            look_now,
            observer,
            resolver: RefCell::new(Rc::new(Resolver::new(name_servers.to_vec()))),
            lookups: Rc::new(Semaphore::new(LOOKUPS_MAX)),
            seed,
        });
        this.update(settings, name_servers);
        let weak = Rc::downgrade(&this);
        tokio::task::spawn_local(async move { turn(&weak, looks).await });
        this
    }

    /// Where workers tell that a server deserves a look.
    pub fn look_now(&self) -> LookNow {
        self.look_now.clone()
    }

    /// The current snapshots.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.borrow().values().map(|kept| Arc::clone(&kept.pool)).collect()
    }

    /// New settings: pools that stay keep their servers, others come and go.
    pub fn update(&self, settings: &[Arc<PoolSettings>], name_servers: &[SocketAddr]) {
        let now = clock::now();
        let others_asked = self.resolver.borrow().servers() != name_servers;
        if others_asked {
            self.resolver.replace(Rc::new(Resolver::new(name_servers.to_vec())));
        }
        let mut pools = self.pools.borrow_mut();
        let mut before = std::mem::take(&mut *pools);
        for settings in settings {
            let mut kept = match before.remove(&settings.name) {
                Some(kept) if kept.pool.settings() == settings => kept,
                Some(mut kept) => {
                    kept.names.update(settings, now);
                    let endpoints = kept.names.endpoints(settings);
                    kept.pool = Arc::new(kept.pool.next(Arc::clone(settings), endpoints, now));
                    kept.health.update(&kept.pool, now);
                    kept
                }
                None => {
                    let pool = Arc::new(Pool::new(Arc::clone(settings), now));
                    let health = Health::new(&pool, self.seed, now);
                    let names = Names::new(settings, self.seed, now);
                    Kept { pool, health, names, chronicle: Chronicle::default(), next_look: now }
                }
            };
            if others_asked {
                kept.names.hurry(now);
            }
            kept.pool.set_awaits_names(kept.names.is_waiting());
            kept.chronicle.follow(&kept.pool, now);
            pools.insert(Arc::clone(&settings.name), kept);
        }
        drop(pools);
        self.changed.notify_one();
    }

    /// What the operator wants of a server; the number of servers meant.
    pub fn wish(&self, pool: &str, server: &str, wish: Wish) -> Option<usize> {
        let mut pools = self.pools.borrow_mut();
        let kept = pools.get_mut(pool)?;
        let meant: Vec<ServerId> = kept.pool.find(server).into_iter().map(|server| server.id()).collect();
        for id in &meant {
            kept.health.wish(*id, wish, clock::now());
        }
        drop(pools);
        self.act();
        self.changed.notify_one();
        Some(meant.len())
    }

    /// The operator holds a pool (requests wait) or releases it. Gives how long a request may wait; `None`: no such pool.
    pub fn hold(&self, pool: &str, on: bool) -> Option<Duration> {
        let mut pools = self.pools.borrow_mut();
        let kept = pools.get_mut(pool)?;
        let was = kept.pool.is_held();
        kept.pool.set_held(on);
        if was != on {
            let sentence =
                if on { "held by the operator: requests wait" } else { "released by the operator" };
            self.tell(pool, &mut kept.chronicle, of_pool("hold", sentence.to_owned(), on));
        }
        Some(kept.pool.settings().hold.unwrap_or(HELD_WAIT))
    }

    /// One server at a glance. `hurry`: asked as soon as possible, somebody waits for it.
    pub fn glance(&self, pool: &str, server: &str, hurry: bool) -> Option<Glance> {
        let mut pools = self.pools.borrow_mut();
        let kept = pools.get_mut(pool)?;
        let server = Arc::clone(kept.pool.find(server).first()?);
        if hurry && server.standing().state != State::Up {
            kept.health.hurry(server.id(), clock::now());
            self.changed.notify_one();
        }
        let failure = kept.chronicle.record(server.id()).and_then(|record| record.failure);
        Some(Glance { state: server.standing().state, in_flight: server.in_flight(), failure })
    }

    /// New settings of one pool that is there: an app's instances come and go.
    pub fn renew(&self, settings: &Arc<PoolSettings>) {
        let now = clock::now();
        let mut pools = self.pools.borrow_mut();
        let Some(kept) = pools.get_mut(&settings.name) else { return };
        if kept.pool.settings() == settings {
            return;
        }
        kept.names.update(settings, now);
        let endpoints = kept.names.endpoints(settings);
        let next = Arc::new(kept.pool.next(Arc::clone(settings), endpoints, now));
        kept.pool = Arc::clone(&next);
        kept.health.update(&next, now);
        kept.chronicle.follow(&next, now);
        drop(pools);
        self.observer.renewed(&next);
        self.changed.notify_one();
    }

    /// The snapshot of one pool.
    pub fn pool(&self, name: &str) -> Option<Arc<Pool>> {
        self.pools.borrow().get(name).map(|kept| Arc::clone(&kept.pool))
    }

    /// Everything, for `status`.
    pub fn views(&self) -> Vec<PoolView> {
        let now = clock::now();
        self.pools.borrow().iter().map(|(name, kept)| PoolView::of(name, kept, now)).collect()
    }

    /// Everything that is counted, for metrics.
    pub fn families(&self) -> Families {
        let pools = self.pools.borrow();
        let all = pools.iter().map(|(name, kept)| (&**name, kept)).collect();
        Pools { all, now: clock::now() }.families()
    }

    /// Carries out everything that is due; gives the next deadline.
    fn act(&self) -> Option<Instant> {
        let now = clock::now();
        let (mut next, mut probes, mut questions) = (None::<Instant>, Vec::new(), Vec::new());
        for (name, kept) in self.pools.borrow_mut().iter_mut() {
            while let Some(action) = kept.health.poll(now) {
                match action {
                    Action::Publish { server, standing } => kept.pool.publish(server, standing),
                    Action::Panic { on, up, of } => {
                        kept.pool.set_panic(on);
                        let sentence = if on {
                            format!(
                                "panic: only {up} of {of} servers are up, so health is doubted and all get requests"
                            )
                        } else {
                            format!("panic over: {up} of {of} servers are up")
                        };
                        kept.chronicle.panics += u64::from(on);
                        self.tell(name, &mut kept.chronicle, of_pool("panic", sentence, on));
                    }
                    Action::Event(event) => {
                        let happened = kept.chronicle.turned(&kept.pool, &event, clock::wall());
                        self.tell(name, &mut kept.chronicle, happened);
                    }
                    Action::Probe { server, deadline } => {
                        probes.push((Arc::clone(name), Arc::clone(&kept.pool), server, deadline));
                    }
                }
            }
            while let Some((address, question)) = kept.names.due(now) {
                questions.push((Arc::clone(name), address, question));
            }
            let deadlines = [kept.health.next_deadline(), kept.names.next_deadline()];
            next = next.into_iter().chain(deadlines.into_iter().flatten()).min();
        }
        for (name, pool, server, deadline) in probes {
            self.probe(name, &pool, server, deadline);
        }
        for (pool, address, question) in questions {
            self.look_up(pool, address, question);
        }
        next
    }

    fn tell(&self, pool: &str, chronicle: &mut Chronicle, happened: Happened) {
        self.observer.told(pool, &happened);
        chronicle.note(happened);
    }

    fn probe(&self, name: Arc<str>, pool: &Arc<Pool>, id: ServerId, deadline: Instant) {
        let Some(member) = pool.member(id) else { return };
        let built = build(pool.settings(), &member.server);
        let me = Weak::clone(&self.me);
        tokio::task::spawn_local(async move {
            let result = match built {
                Err(failure) => Err(failure),
                Ok(probe) => {
                    let until = tokio::time::Instant::from_std(deadline);
                    tokio::time::timeout_at(until, probe.run()).await.unwrap_or(Err(ProbeFailure::Late))
                }
            };
            // Nobody wants it any more when the keeper is gone.
            let Some(this) = me.upgrade() else { return };
            if let Some(kept) = this.pools.borrow_mut().get_mut(&name) {
                kept.chronicle.probed(id, result);
                kept.health.probe(id, result, clock::now());
            }
            this.changed.notify_one();
        });
    }

    /// What requests showed since the last look.
    fn look(&self, only: Option<(Arc<str>, ServerId)>) {
        let now = clock::now();
        for (name, kept) in self.pools.borrow_mut().iter_mut() {
            for member in kept.pool.members() {
                let id = member.server.id();
                if only.as_ref().is_none_or(|(pool, server)| pool == name && *server == id) {
                    kept.health.passive(id, member.server.counts(), now);
                }
            }
            if now >= kept.next_look {
                kept.next_look = now + recent::LOOK_EVERY;
                for member in kept.pool.members() {
                    let server = &member.server;
                    if let Some(record) = kept.chronicle.record_mut(server.id()) {
                        record.recent.look(server.picked(), || server.ledgers().first_bytes().0, now);
                    }
                }
            }
        }
    }

    /// Asks for a name, in its turn.
    fn look_up(&self, pool: Arc<str>, address: Address, question: Question) {
        let (me, lookups) = (Weak::clone(&self.me), Rc::clone(&self.lookups));
        let resolver = Rc::clone(&self.resolver.borrow());
        tokio::task::spawn_local(async move {
            // Never closed.
            let _turn = lookups.acquire().await;
            let answer = ask(&resolver, &question).await;
            let Some(this) = me.upgrade() else { return };
            this.adopt(&pool, &address, answer);
        });
    }

    /// What came of a look-up: the next snapshot, where the name leads elsewhere.
    fn adopt(
        &self,
        name: &Arc<str>,
        address: &Address,
        answer: Result<Found<ServiceAddress>, LookupFailure>,
    ) {
        let now = clock::now();
        let mut pools = self.pools.borrow_mut();
        let Some(kept) = pools.get_mut(name) else { return };
        kept.chronicle.looked_up(answer.as_ref().map_or_else(LookupFailure::name, |_| "found"));
        if let Some(news) = kept.names.answered(address, answer, now) {
            let why = format!("{} {news}", address.place);
            self.tell(name, &mut kept.chronicle, of_pool("names", why, news.is_bad()));
        }
        let settings = Arc::clone(kept.pool.settings());
        let next = kept.pool.next(Arc::clone(&settings), kept.names.endpoints(&settings), now);
        let same = next.has_the_servers_of(&kept.pool);
        if !same {
            kept.pool = Arc::new(next);
            kept.health.update(&kept.pool, now);
            kept.chronicle.follow(&kept.pool, now);
        }
        kept.pool.set_awaits_names(kept.names.is_waiting());
        let renewed = (!same).then(|| Arc::clone(&kept.pool));
        drop(pools);
        if let Some(pool) = renewed {
            self.observer.renewed(&pool);
        }
        self.changed.notify_one();
    }
}

async fn ask(resolver: &Resolver, question: &Question) -> Result<Found<ServiceAddress>, LookupFailure> {
    match question {
        Question::Services(name) => resolver.services(name).await,
        Question::Addresses(name, port) => {
            let Found { all, ttl, whole } = resolver.addresses(name).await?;
            let plain =
                |ip| ServiceAddress { priority: 0, weight: 0, address: SocketAddr::new(ip, *port), of: 1 };
            Ok(Found { all: all.into_iter().map(plain).collect(), ttl, whole })
        }
    }
}

/// Acts whenever something is due or was told.
async fn turn(me: &Weak<Keeper>, mut looks: mpsc::Receiver<(Arc<str>, ServerId)>) {
    let mut passive = tokio::time::interval(PASSIVE_EVERY);
    passive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let Some(this) = me.upgrade() else { return };
        let next = this.act();
        tokio::select! {
            () = clock::due(next) => {}
            () = this.changed.notified() => {}
            _ = passive.tick() => this.look(None),
            Some(look) = looks.recv() => this.look(Some(look)),
        }
    }
}

/// Something about a pool as a whole.
fn of_pool(what: &'static str, why: String, bad: bool) -> Happened {
    Happened { at: clock::wall(), what, server: None, states: None, why, bad }
}

/// What to ask a server, by the pool's settings.
fn build(settings: &PoolSettings, server: &Server) -> Result<Probe, ProbeFailure> {
    let health = settings.health.as_ref().ok_or(ProbeFailure::Nonsense)?;
    let address = match server.place() {
        Place::Ip(address) => {
            let mut address = *address;
            address.set_port(health.port.unwrap_or(address.port()));
            listen::Address::Tcp(address)
        }
        Place::Unix(path) => listen::Address::Unix(path.clone()),
        // Never a server's place: names are looked up before.
        Place::Host(..) | Place::Service(_) => return Err(ProbeFailure::NotConnected),
        // It is started when somebody comes: there is nothing to ask before.
        Place::Program(_) => return Err(ProbeFailure::Nonsense),
    };
    let is_grpc = matches!(health.check, Check::Grpc { .. });
    let tls = match health.tls {
        Some(false) => None,
        Some(true) => {
            Some(by_tls(settings, server, settings.http2 || is_grpc).map_err(|_| ProbeFailure::Tls)?)
        }
        None => client_tls(settings, server, settings.http2 || is_grpc).map_err(|_| ProbeFailure::Tls)?,
    };
    let host = health.host.clone().unwrap_or_else(|| server.address().authority());
    let http2 = server.address().protocol == Protocol::H2c;
    Ok(Probe { address, tls, host, http2, check: health.check.clone() })
}
