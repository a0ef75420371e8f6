//! A worker's own part of the house: its endpoints by listener, its caches.
//!
//! **Job.** On one worker, make what a plan says: endpoints for new listeners, new snapshots for those that stay, the end
//! of those that go. **Called by** `house` through orders. **Calls** `http`, the roles.
//!
//! Invariants
//! 1. A listener that stays keeps its endpoint: its open connections go on and use the new snapshot from their next request.
//!
//! Not here: sockets (`house` hands them in).

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

use madang_balance::config::{StreamRoute, StreamSettings};
use madang_balance::here::{Here, LookNow};
use madang_balance::mirror::{MARK, Mirror};
use madang_balance::pool::Pool as Snapshot;
use madang_balance::proxy::{Proxy, ProxyRoute};
use madang_balance::split::{Rule, Split};
use madang_balance::stream::program::Programs;
use madang_balance::stream::{self, StreamAcceptor, StreamDoor, Way, udp};
use madang_balance::ways::{SplitBy, Ways};
use madang_chat::config::{ChatSettings, Speaks};
use madang_chat::floor::Floor;
use madang_chat::here::Here as Chat;
use madang_chat::listen::{ChatAcceptor, Entry as ChatEntry, Porter, Threshold, door};
use madang_chat::web::ChatService;
use madang_host::config::{Limits, Listen};
use madang_host::gate::{Gate, ListenerGate};
use madang_host::net::listen::Listener;
use madang_host::net::splice::Pipes;
use madang_host::tls::TlsPolicies;
use madang_host::worker::{Accepting, Acceptor, Worker};
use madang_http::accept::HttpAcceptor;
use madang_http::endpoint::{Endpoint, HttpLimits, Pool, Serving};
use madang_http::exchange::Service;
use madang_http::websocket::Hall;
use madang_identity::Identity;
use madang_identity::http::IdentityService;
use madang_web::config::{self as web, Action, ProxySettings, Site, SplitArm, Takes};
use madang_wire::request::HeadLimits;
use tokio::sync::oneshot;

use crate::chats::ChatPart;
use crate::irc_logins::IrcLogins;
use crate::logins::ChatLogins;
use crate::telemetry::WorkerTelemetry;
use crate::web_logins::WebLogins;

/// One worker's state.
pub struct Room {
    pool: Rc<Pool>,
    web: Rc<madang_web::WebWorker>,
    telemetry: Rc<WorkerTelemetry>,
    places: HashMap<String, Place>,
    streams: Rc<stream::Kit>,
    pools: Rc<RefCell<HashMap<Arc<str>, Rc<Here>>>>,
    chats: Rc<RefCell<HashMap<Arc<str>, Rc<Chat>>>>,
    identity: Rc<RefCell<Option<Identity>>>,
    hall: Rc<Hall>,
}

/// What pools need besides their snapshots; the same on every worker.
#[derive(Clone)]
pub struct PoolKit {
    /// Signs sticky cookies.
    pub secret: [u8; 32],
    /// Tells workers' choices apart.
    pub seed: u64,
    /// The way to the keeper.
    pub look_now: LookNow,
}

struct Place {
    door: Door,
    accepting: Vec<Accepting>,
}

/// Who takes a listener's connections.
enum Door {
    Http(Rc<Endpoint>),
    Stream(Rc<StreamDoor>),
    Chat(Rc<Threshold>),
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
    /// Sessions by client address, where it takes datagrams.
    pub sessions: Arc<Gate>,
    /// How many workers there are.
    pub workers: usize,
    /// Where its bytes go, when it is no web listener.
    pub stream: Option<Arc<StreamSettings>>,
    /// The chat it is of, and what is spoken there, when it is no web listener.
    pub chat: Option<(Arc<str>, Speaks)>,
}

/// What was stopped, and when it is over.
#[derive(Default)]
pub struct Stopping {
    /// Resolve as the last in each queue is served and the socket is closed.
    pub queues: Vec<oneshot::Receiver<()>>,
    /// Resolve as the sessions of sockets without connections are over.
    pub sessions: Vec<oneshot::Receiver<()>>,
}

impl Room {
    /// An empty room.
    pub fn new(
        worker: &Rc<Worker>,
        web: Rc<madang_web::WebWorker>,
        telemetry: Rc<WorkerTelemetry>,
        programs: Rc<dyn Programs>,
    ) -> Self {
        worker.observe(Rc::clone(&telemetry) as Rc<dyn madang_host::worker::AcceptObserver>);
        let pools: Rc<RefCell<HashMap<Arc<str>, Rc<Here>>>> = Rc::default();
        let sweeping = Rc::clone(&pools);
        worker.at_sweep(Rc::new(move || sweeping.borrow().values().for_each(|here| here.sweep())));
        let pool = Pool::new();
        let observer = Rc::clone(&telemetry) as Rc<dyn stream::end::StreamObserver>;
        let streams =
            Rc::new(stream::Kit { buffers: Rc::clone(&pool), pipes: Pipes::new(), observer, programs });
        let (chats, hall) = (Rc::default(), Hall::new(worker));
        let identity = Rc::default();
        Self { pool, web, telemetry, places: HashMap::new(), streams, pools, chats, identity, hall }
    }

    /// Who knows users from now on.
    pub fn set_logins(&mut self, identity: Option<Identity>) {
        for chat in self.chats.borrow().values() {
            chat.set_logins(ChatLogins::of(identity.as_ref()));
            chat.set_accounts(IrcLogins::of(identity.as_ref()));
        }
        self.web.set_logins(WebLogins::of(identity.as_ref()));
        self.identity.replace(identity);
    }

    /// Chats that are new here, and the settings of all; those that are not among them are gone once their last route is.
    pub fn set_chats(&mut self, worker: &Rc<Worker>, new: Vec<ChatPart>, all: &[Arc<ChatSettings>]) {
        let mut chats = self.chats.borrow_mut();
        chats.retain(|name, _| all.iter().any(|settings| settings.name == *name));
        for settings in all {
            if let Some(chat) = chats.get(&settings.name) {
                chat.renew(Arc::clone(settings));
            }
        }
        for ChatPart { settings, link, post, counts, shared } in new {
            // Fewer than 65,536 workers.
            let place = u16::try_from(worker.index).unwrap_or(u16::MAX);
            let floor = Floor::new(place, link, counts);
            tokio::task::spawn_local(Rc::clone(&floor).serve(post));
            let name = Arc::clone(&settings.name);
            let chat = Chat::new(worker, &self.hall, &floor, settings, shared);
            chat.set_logins(ChatLogins::of(self.identity.borrow().as_ref()));
            chat.set_accounts(IrcLogins::of(self.identity.borrow().as_ref()));
            chats.insert(name, chat);
        }
    }

    /// New snapshots of pools; those that are not among them are gone once their last route is.
    pub fn set_pools(&mut self, worker: &Rc<Worker>, snapshots: &[Arc<Snapshot>], kit: &PoolKit) {
        let mut pools = self.pools.borrow_mut();
        pools.retain(|name, _| snapshots.iter().any(|snapshot| snapshot.settings().name == *name));
        for snapshot in snapshots {
            match pools.get(&snapshot.settings().name) {
                Some(here) => here.renew(Arc::clone(snapshot)),
                None => {
                    let seed = kit.seed.wrapping_add(worker.index as u64);
                    let look_now = kit.look_now.clone();
                    let here =
                        Here::new(Arc::clone(snapshot), kit.secret, seed, look_now, worker, &self.pool);
                    pools.insert(Arc::clone(&snapshot.settings().name), here);
                }
            }
        }
    }

    /// Says which routes of these sites lead to pools and chats.
    fn join_roles(&self, sites: &[Arc<Site>]) {
        let (pools, chats, sites) = (Rc::clone(&self.pools), Rc::clone(&self.chats), sites.to_vec());
        let identity = Rc::clone(&self.identity);
        self.web.set_roles(Box::new(move |site, place| {
            let site = sites.iter().find(|have| *have.name == *site)?;
            let route = site.routes.get(place)?;
            let folders = || route.paths.iter().filter_map(|path| path.folder().map(str::to_owned)).collect();
            match &route.action {
                // Sites and routes with the same split do not divide clients at the same place.
                Action::Proxy(proxy) => proxied(proxy, &pools.borrow(), &format!("{}/{place}", site.name)),
                Action::Chat { chat } => {
                    Some(ChatService::new(chats.borrow().get(chat.as_str())?, folders()))
                }
                Action::Identity => {
                    let logins: Rc<dyn Service> =
                        IdentityService::new(identity.borrow().as_ref()?, folders());
                    Some(logins)
                }
                _ => None,
            }
        }));
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
        let place = match (seat.stream.clone(), &seat.chat) {
            (Some(stream), _) => self.stream_place(&name, stream, seat.tls.clone())?,
            (None, Some((chat, speaks))) => self.chat_place(&seat, chat, *speaks)?,
            (None, None) => self.web_place(worker, &seat, limits),
        };
        let name: Rc<str> = name.into();
        for socket in sockets {
            let acceptor: Rc<dyn Acceptor> = match &place.door {
                Door::Http(endpoint) => Rc::new(HttpAcceptor { endpoint: Rc::clone(endpoint) }),
                Door::Chat(threshold) => Rc::new(ChatAcceptor { threshold: Rc::clone(threshold) }),
                Door::Stream(door) => {
                    if let Listener::Udp(socket) = socket {
                        let admission = udp::Admission {
                            listener: Arc::clone(&seat.gate),
                            sessions: Arc::clone(&seat.sessions),
                            workers: seat.workers,
                        };
                        place.accepting.push(udp::serve(worker, Rc::clone(&name), socket, door, admission)?);
                        continue;
                    }
                    Rc::new(StreamAcceptor { door: Rc::clone(door) })
                }
            };
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

    fn web_place(&mut self, worker: &Rc<Worker>, seat: &Seat, limits: &Limits) -> &mut Place {
        self.join_roles(&seat.sites);
        let serving = Serving {
            service: self.web.serve(&seat.listen, &seat.sites),
            limits: http_limits(limits),
            tls: seat.tls.clone(),
            proxy_trusted: seat.listen.proxy_protocol.clone(),
            h2c: seat.listen.h2c,
        };
        match self.places.entry(seat.listen.name.clone()) {
            Entry::Occupied(place) => {
                let place = place.into_mut();
                if let Door::Http(endpoint) = &place.door {
                    endpoint.swap(serving);
                }
                place
            }
            Entry::Vacant(free) => {
                let endpoint = Endpoint::new(Rc::clone(worker), Rc::clone(&self.pool), serving);
                free.insert(Place { door: Door::Http(endpoint), accepting: Vec::new() })
            }
        }
    }

    fn stream_place(
        &mut self,
        name: &str,
        settings: Arc<StreamSettings>,
        tls: Option<TlsPolicies>,
    ) -> std::io::Result<&mut Place> {
        let pools = self.pools.borrow();
        let way = |route: &StreamRoute| {
            let here = pools.get(route.pool.as_str()).map(Rc::clone);
            // The settings were checked: the pool is there.
            here.map(Way::to).ok_or_else(|| std::io::Error::other(format!("no pool {}", route.pool)))
        };
        let ways = settings.routes.iter().map(way).collect::<std::io::Result<_>>()?;
        drop(pools);
        let serving = stream::Serving { settings, ways, tls };
        match self.places.entry(name.to_owned()) {
            Entry::Occupied(place) => {
                let place = place.into_mut();
                if let Door::Stream(door) = &place.door {
                    door.renew(serving);
                }
                Ok(place)
            }
            Entry::Vacant(free) => {
                let door = Door::Stream(StreamDoor::new(serving, &self.streams));
                Ok(free.insert(Place { door, accepting: Vec::new() }))
            }
        }
    }

    fn chat_place(&mut self, seat: &Seat, chat: &str, speaks: Speaks) -> std::io::Result<&mut Place> {
        let chats = self.chats.borrow();
        // The settings were checked: both are there.
        let missing = || std::io::Error::other(format!("no chat {chat} that speaks this"));
        let door = chats.get(chat).and_then(|here| door(here, speaks)).ok_or_else(missing)?;
        drop(chats);
        let entry =
            ChatEntry { door, tls: seat.tls.clone(), proxy_trusted: seat.listen.proxy_protocol.clone() };
        match self.places.entry(seat.listen.name.clone()) {
            Entry::Occupied(place) => {
                let place = place.into_mut();
                if let Door::Chat(threshold) = &place.door {
                    threshold.renew(entry);
                }
                Ok(place)
            }
            Entry::Vacant(free) => {
                let porter = Rc::clone(&self.telemetry) as Rc<dyn Porter>;
                let door = Door::Chat(Threshold::new(entry, porter));
                Ok(free.insert(Place { door, accepting: Vec::new() }))
            }
        }
    }

    /// Ends a listener: no new connections; open ones are the caller's to drain. What it gives resolves as its sockets
    /// are closed.
    pub fn unseat(&mut self, name: &str) -> Vec<oneshot::Receiver<()>> {
        let accepting = self.places.remove(name).map(|place| place.accepting);
        accepting.into_iter().flatten().map(Accepting::stop).collect()
    }

    /// Stops accepting everywhere; open connections go on.
    pub fn stop_accepting(&mut self) -> Stopping {
        let all = self.places.values_mut().flat_map(|place| place.accepting.drain(..));
        let (sessions, queues) = all.partition::<Vec<_>, _>(Accepting::lingers);
        let stop = |all: Vec<Accepting>| all.into_iter().map(Accepting::stop).collect();
        Stopping { queues: stop(queues), sessions: stop(sessions) }
    }

    /// Writes out what is buffered.
    pub fn flush(&self) {
        self.telemetry.flush();
    }
}

/// A route's way to its pools; `None` when one is not there.
fn proxied(
    settings: &ProxySettings,
    pools: &HashMap<Arc<str>, Rc<Here>>,
    name: &str,
) -> Option<Rc<dyn Service>> {
    let route = ProxyRoute {
        strip: settings.strip.clone(),
        host: settings.upstream_host.clone(),
        set: settings.set.clone(),
        remove: settings.remove.clone(),
        keep_location: !settings.rewrite_location,
    };
    let mirror = || {
        let mirror = settings.mirror.as_ref()?;
        let mut marked = route.clone();
        marked.set.retain(|(name, _)| name != MARK.0);
        marked.set.push((MARK.0.to_owned(), MARK.1.to_owned()));
        let to = Proxy::new(pools.get(mirror.pool.as_str())?, marked, None);
        Some(Mirror { to, percent: mirror.percent, timeout: mirror.timeout })
    };
    let way = |pool: &str| Some(Proxy::new(pools.get(pool)?, route.clone(), mirror()));
    let rest = way(&settings.pool)?;
    if settings.split.is_empty() {
        return Some(rest);
    }
    let rule = |arm: &SplitArm| match arm.takes.clone() {
        Takes::Percent(percent) => Rule::Percent(percent),
        Takes::Header(name, value) => Rule::Header(name, value),
        Takes::Cookie(name, value) => Rule::Cookie(name, value),
    };
    let by = match settings.split_by.clone() {
        web::SplitBy::Ip => SplitBy::Ip,
        web::SplitBy::Header(name) => SplitBy::Header(name),
        web::SplitBy::Cookie(name) => SplitBy::Cookie(name),
    };
    let split = Split::new(name, settings.split.iter().map(rule).collect()).ok()?;
    let arms = settings.split.iter().map(|arm| way(&arm.pool)).collect::<Option<_>>()?;
    Some(Ways::new(split, by, arms, rest))
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
