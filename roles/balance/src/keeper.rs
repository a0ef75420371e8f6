//! The pools on the control side: health, names, the operator's wishes.
//!
//! **Job.** Carry out what `health` decides: ask servers, publish their standing, tell events; look names up again; make
//! snapshots for the workers. **Owned by** the main loop. **Calls** `health`, `probe`, the resolver.
//!
//! Invariants
//! 1. One state machine per pool decides; everything here only acts.
//! 2. A pool that stays keeps its servers' state over every reload.
//!
//! Not here: requests (`proxy`), deciding (`health`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::clock;
use madang_host::net::{listen, resolve};
use serde::Serialize;
use tokio::sync::{Notify, mpsc};

use crate::config::{Place, PoolSettings, ServerSettings};
use crate::health::{Action, Event, Health, ProbeFailure, Wish};
use crate::here::{LookNow, by_tls, client_tls};
use crate::pool::{Endpoint, Pool};
use crate::probe::Probe;
use crate::server::{Server, ServerId};

/// How often requests' results are looked at without being called.
const PASSIVE_EVERY: Duration = Duration::from_millis(200);
/// How often names are looked up again.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);
const LOOKS_MAX: usize = 256;

/// What the keeper tells.
pub trait Observer {
    /// A server changed its state, or a pool its mood.
    fn told(&self, pool: &str, sentence: &str, bad: bool);
    /// A pool has a new snapshot: the workers need it.
    fn renewed(&self, pool: &Arc<Pool>);
}

struct Kept {
    pool: Arc<Pool>,
    health: Health,
    /// The last things that happened, newest last.
    last: Vec<String>,
}

/// See the module.
pub struct Keeper {
    me: Weak<Self>,
    pools: RefCell<BTreeMap<Arc<str>, Kept>>,
    changed: Notify,
    look_now: LookNow,
    observer: Box<dyn Observer>,
    seed: u64,
}

/// A server as people see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct ServerView {
    pub server: String,
    pub state: &'static str,
    pub since_seconds: u64,
    pub weight: u16,
    pub share_permille: u16,
    pub backup: bool,
    pub in_flight: u32,
    pub requests: u64,
    pub good: u64,
    pub failed: u64,
    pub first_byte_ms: f64,
}

/// A pool as people see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct PoolView {
    pub pool: String,
    pub panic: bool,
    pub servers: Vec<ServerView>,
    pub events: Vec<String>,
}

impl Keeper {
    /// Takes care of these pools from now on, until dropped. Must be called on the main loop's runtime.
    pub fn start(settings: &[Arc<PoolSettings>], seed: u64, observer: Box<dyn Observer>) -> Rc<Self> {
        let (look_now, looks) = mpsc::channel(LOOKS_MAX);
        let this = Rc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            pools: RefCell::default(),
            changed: Notify::new(),
            look_now,
            observer,
            seed,
        });
        this.update(settings);
        let weak = Rc::downgrade(&this);
        tokio::task::spawn_local(async move { turn(&weak, looks).await });
        let weak = Rc::downgrade(&this);
        tokio::task::spawn_local(async move {
            let mut every = tokio::time::interval(RESOLVE_EVERY);
            loop {
                every.tick().await;
                let Some(this) = weak.upgrade() else { return };
                this.resolve().await;
            }
        });
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
    pub fn update(&self, settings: &[Arc<PoolSettings>]) {
        let now = clock::now();
        let mut pools = self.pools.borrow_mut();
        let mut before = std::mem::take(&mut *pools);
        for settings in settings {
            let kept = match before.remove(&settings.name) {
                Some(kept) if kept.pool.settings() == settings => kept,
                Some(mut kept) => {
                    let endpoints = endpoints(settings, &kept.pool);
                    kept.pool = Arc::new(kept.pool.next(Arc::clone(settings), endpoints, now));
                    kept.health.update(&kept.pool, now);
                    kept
                }
                None => {
                    let pool = Arc::new(Pool::new(Arc::clone(settings), now));
                    let health = Health::new(&pool, self.seed, now);
                    Kept { pool, health, last: Vec::new() }
                }
            };
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

    /// Everything, for `status`.
    pub fn views(&self) -> Vec<PoolView> {
        let now = clock::now();
        let view = |(name, kept): (&Arc<str>, &Kept)| {
            let servers = kept.pool.members().iter().map(|member| {
                let (server, counts) = (&member.server, member.server.counts());
                let standing = server.standing();
                let since = kept.health.state(server.id()).map_or(now, |(_, since)| since);
                ServerView {
                    server: server.name().to_owned(),
                    state: standing.state.name(),
                    since_seconds: now.saturating_duration_since(since).as_secs(),
                    weight: member.weight,
                    share_permille: standing.share,
                    backup: member.backup,
                    in_flight: server.in_flight(),
                    requests: server.picked(),
                    good: counts.good,
                    failed: counts.failed,
                    first_byte_ms: (server.latency(now).as_secs_f64() * 1e6).round() / 1e3,
                }
            });
            PoolView {
                pool: name.to_string(),
                panic: kept.pool.is_in_panic(),
                servers: servers.collect(),
                events: kept.last.clone(),
            }
        };
        self.pools.borrow().iter().map(view).collect()
    }

    /// Carries out everything that is due; gives the next deadline.
    fn act(&self) -> Option<Instant> {
        let now = clock::now();
        let (mut next, mut probes) = (None::<Instant>, Vec::new());
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
                        self.tell(name, &mut kept.last, sentence, on);
                    }
                    Action::Event(event) => {
                        let sentence = sentence(&kept.pool, &event);
                        let bad = !matches!(event.to, crate::server::State::Up);
                        self.tell(name, &mut kept.last, sentence, bad);
                    }
                    Action::Probe { server, deadline } => {
                        probes.push((Arc::clone(name), Arc::clone(&kept.pool), server, deadline));
                    }
                }
            }
            next = next.into_iter().chain(kept.health.next_deadline()).min();
        }
        for (name, pool, server, deadline) in probes {
            self.probe(name, &pool, server, deadline);
        }
        next
    }

    fn tell(&self, pool: &str, last: &mut Vec<String>, sentence: String, bad: bool) {
        /// Events remembered for `status`.
        const LAST_MAX: usize = 16;
        self.observer.told(pool, &sentence, bad);
        if last.len() == LAST_MAX {
            last.remove(0);
        }
        last.push(sentence);
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
        }
    }

    /// Looks names up again. A name that cannot be looked up keeps the addresses it had.
    async fn resolve(&self) {
        let named: Vec<(Arc<str>, Arc<Pool>)> = {
            let pools = self.pools.borrow();
            let has_names = |kept: &&Kept| {
                let servers = &kept.pool.settings().servers;
                servers.iter().any(|server| matches!(server.address.place, Place::Host(..)))
            };
            let named = pools.values().filter(has_names);
            named.map(|kept| (Arc::clone(&kept.pool.settings().name), Arc::clone(&kept.pool))).collect()
        };
        for (name, before) in named {
            let mut endpoints = Vec::new();
            for server in &before.settings().servers {
                let Place::Host(host, port) = &server.address.place else {
                    endpoints.push(Endpoint::from(server.clone()));
                    continue;
                };
                match resolve::addresses(host, *port).await {
                    Ok(found) => endpoints.extend(
                        found
                            .into_iter()
                            .map(|address| Endpoint { settings: server.clone(), place: Place::Ip(address) }),
                    ),
                    Err(error) => {
                        let kept = kept_places(&before, server);
                        if kept.is_empty() {
                            self.observer.told(&name, &format!("cannot look up {host}: {error}"), true);
                        }
                        endpoints.extend(kept);
                    }
                }
            }
            self.adopt(&name, &before, endpoints);
        }
    }

    /// The next snapshot of a pool whose names lead elsewhere now.
    fn adopt(&self, name: &Arc<str>, before: &Arc<Pool>, endpoints: Vec<Endpoint>) {
        let now = clock::now();
        let mut pools = self.pools.borrow_mut();
        let Some(kept) = pools.get_mut(name).filter(|kept| Arc::ptr_eq(&kept.pool, before)) else { return };
        let next = Arc::new(before.next(Arc::clone(before.settings()), endpoints, now));
        let ids = |pool: &Pool| pool.members().iter().map(|member| member.server.id()).collect::<Vec<_>>();
        if ids(&next) == ids(before) {
            return;
        }
        kept.pool = Arc::clone(&next);
        kept.health.update(&next, now);
        drop(pools);
        self.observer.renewed(&next);
        self.changed.notify_one();
    }
}

/// Acts whenever something is due or was told.
async fn turn(me: &Weak<Keeper>, mut looks: mpsc::Receiver<(Arc<str>, ServerId)>) {
    let mut passive = tokio::time::interval(PASSIVE_EVERY);
    passive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let Some(this) = me.upgrade() else { return };
        let next = this.act();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = this.changed.notified() => {}
            _ = passive.tick() => this.look(None),
            Some(look) = looks.recv() => this.look(Some(look)),
        }
    }
}

/// What a pool's settings say, with the addresses its names had.
fn endpoints(settings: &PoolSettings, before: &Pool) -> Vec<Endpoint> {
    let each = settings.servers.iter().flat_map(|server| match server.address.place {
        Place::Host(..) => kept_places(before, server),
        _ => vec![Endpoint::from(server.clone())],
    });
    each.collect()
}

fn kept_places(before: &Pool, server: &ServerSettings) -> Vec<Endpoint> {
    let had = before.members().iter().filter(|member| *member.server.address() == server.address);
    had.map(|member| Endpoint { settings: server.clone(), place: member.server.place().clone() }).collect()
}

fn sentence(pool: &Pool, event: &Event) -> String {
    let name = pool.member(event.server).map_or("a server that left", |member| member.server.name());
    if event.from == event.to {
        format!("{name} is {}: {}", event.to, event.why)
    } else {
        format!("{name} was {}, is {}: {}", event.from, event.to, event.why)
    }
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
        Place::Host(..) => return Err(ProbeFailure::NotConnected),
    };
    let tls = match health.tls {
        Some(false) => None,
        Some(true) => Some(by_tls(settings, server).map_err(|_| ProbeFailure::Tls)?),
        None => client_tls(settings, server).map_err(|_| ProbeFailure::Tls)?,
    };
    let host = health.host.clone().unwrap_or_else(|| server.address().place.to_string());
    Ok(Probe { address, tls, host, check: health.check.clone() })
}
