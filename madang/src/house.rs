//! The running house, from the control side: sockets by address, workers, the settings in force.
//!
//! **Job.** Start, reload by difference, hand over, drain, stop. **Called by** `run`, `control`. **Calls** `plan`, `room`
//! (through orders to the workers), `host::net::listen`.
//!
//! Invariants
//! 1. A reload either happens as a whole or not at all: every new socket is bound before anything is swapped.
//! 2. A listener named before and after keeps its sockets, its queue and its connections.
//! 3. The old settings stay in force until every worker has the new ones.
//!
//! Not here: who asks (`control`, signals in `run`), what a worker does with it (`room`).

mod leaving;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use madang_balance::keeper::{Keeper, Observer};
use madang_bus::error::BusError;
use madang_host::clock::unix_seconds;
use madang_host::connection::View;
use madang_host::gate::Gate;
use madang_host::net::listen::{Address, BindError, Listener, ListenerSet};
use madang_host::net::own_address;
use madang_host::tls::TlsPolicies;
use madang_host::tls::local_ca::{LocalCa, LocalCaError, RENEW_DAYS};
use madang_host::worker::{Pulse, Worker, WorkerGone, WorkerHandle};
use madang_identity::OpenError;
use madang_store::config::StoreSettings;
use madang_store::error::StoreError;

use crate::apps::Apps;
use crate::chats::Chats;
use crate::config::Settings;
use crate::logins::Logins;
use crate::plan::{ListenerPlan, Plan, PlanError, rules, session_limits};
use crate::programs::ToApps;
use crate::room::{PoolKit, Room, Seat};
use crate::telemetry::Telemetry;

/// Why the house could not be opened or changed.
#[derive(Debug)]
pub enum HouseError {
    /// Addresses that cannot be opened; all of them.
    Bind(Vec<BindError>),
    /// The plan.
    Plan(PlanError),
    /// A worker thread.
    Worker(std::io::Error),
    /// The store cannot be had.
    Store {
        /// Where it should be.
        place: String,
        /// Why not.
        error: StoreError,
    },
    /// The bus cannot be had.
    Bus(BusError),
    /// Logins cannot be had.
    Logins(OpenError),
    /// A worker ended.
    Gone(WorkerGone),
}

impl fmt::Display for HouseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(errors) => {
                for (index, error) in errors.iter().enumerate() {
                    if index > 0 {
                        f.write_str("\n")?;
                    }
                    error.fmt(f)?;
                }
                Ok(())
            }
            Self::Plan(error) => error.fmt(f),
            Self::Worker(error) => write!(f, "cannot start a worker: {error}"),
            Self::Store { place, error } => {
                write!(f, "the store that chats and logins need cannot be opened ({place}): {error}")
            }
            Self::Bus(error) => write!(f, "the bus between machines cannot be used: {error}"),
            Self::Logins(error) => write!(f, "there can be no logins: {error}"),
            Self::Gone(error) => error.fmt(f),
        }
    }
}
impl std::error::Error for HouseError {}

/// A listener that is open.
struct Open {
    plan: ListenerPlan,
    sockets: ListenerSet,
}

/// Everything that runs.
pub struct House {
    /// Admission, shared by all workers.
    pub gate: Arc<Gate>,
    /// Counters and logs.
    pub telemetry: Arc<Telemetry>,
    settings: Settings,
    open: Vec<Open>,
    workers: Vec<WorkerHandle<Room>>,
    /// Sockets handed to us that no listener wanted.
    pub left_over: Inherited,
    pools: Option<Pools>,
    chats: Chats,
    logins: Logins,
    /// Of sockets without connections that are accepted no more: resolved as their sessions are over.
    sessions: Vec<tokio::sync::oneshot::Receiver<()>>,
}

/// The pools, from the moment the house opens.
struct Pools {
    keeper: Rc<Keeper>,
    kit: PoolKit,
    apps: Apps,
}

/// An open listener as people see it.
pub struct ListenerView {
    /// As in the settings.
    pub name: String,
    /// With the port that was really taken.
    pub bound: String,
    /// The sites on it.
    pub sites: Vec<String>,
    /// Connections open.
    pub open: u32,
}

impl ListenerView {
    /// The address that other machines type, where it listens on all of them.
    pub fn on_the_network(&self) -> Option<String> {
        let own = own_address()?;
        let (all, port) = self.bound.rsplit_once(':')?;
        let scheme = all.strip_suffix("://0.0.0.0").or_else(|| all.strip_suffix("://[::]"))?;
        Some(format!("{scheme}://{own}:{port}"))
    }
}

/// Sockets another process handed us.
pub type Inherited = Vec<(String, Vec<Listener>)>;

impl House {
    /// Binds every address. Nothing accepts yet: privileges can be dropped before [`House::open`].
    pub fn bind(
        settings: Settings,
        workers: usize,
        mut inherited: Inherited,
        telemetry: Arc<Telemetry>,
        now: SystemTime,
    ) -> Result<Self, HouseError> {
        let plan = Plan::new(settings, now).map_err(HouseError::Plan)?;
        let gate = Gate::new(plan.settings.server.gate);
        let mut house = Self {
            gate,
            telemetry,
            settings: plan.settings.clone(),
            open: Vec::new(),
            workers: Vec::new(),
            left_over: Vec::new(),
            pools: None,
            chats: Chats::default(),
            logins: Logins::default(),
            sessions: Vec::new(),
        };
        let bound =
            bind_new(&house.open, plan.listeners, workers, &mut inherited).map_err(HouseError::Bind)?;
        house.open = bound.into_iter().map(|(plan, sockets)| Open { plan, sockets }).collect();
        house.left_over = inherited;
        Ok(house)
    }

    /// The addresses as they were asked for.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.open.iter().map(|open| &open.plan.listen.address)
    }

    /// Starts the workers and lets them accept.
    pub async fn open(
        &mut self,
        workers: usize,
        secret: [u8; 32],
        observer: Box<dyn Observer>,
    ) -> Result<(), HouseError> {
        let seed = madang_host::random::seed();
        open_store(&mut self.chats, &mut self.logins, &self.settings, &self.telemetry).await?;
        let settings = &self.settings;
        let apps = Apps::start(&settings.apps, &settings.server.data, seed, Arc::clone(&self.telemetry));
        let pools = apps.pools(&settings.pools);
        let keeper = Keeper::start(&pools, &settings.server.resolver, seed, observer);
        apps.join(Rc::clone(&keeper), &settings.scalers, &settings.server.data);
        let caller = apps.keeper.caller();
        let kit = PoolKit { secret, seed, look_now: keeper.look_now() };
        self.pools = Some(Pools { keeper, kit, apps });
        let limits = self.settings.limits;
        let shared = madang_web::WebShared::new();
        for index in 0..workers {
            let caller = caller.clone();
            let (telemetry, web, trusted) =
                (self.telemetry.worker(), Arc::clone(&shared), self.settings.server.trusted_proxies.clone());
            let handle = WorkerHandle::start(index, Arc::clone(&self.gate), limits.phases, move |worker| {
                let telemetry = telemetry.here(worker);
                let web = madang_web::WebWorker::new(
                    worker,
                    &limits,
                    trusted,
                    web,
                    Rc::clone(&telemetry) as Rc<dyn madang_web::Recorder>,
                );
                Room::new(worker, web, telemetry, Rc::new(ToApps(caller)))
            });
            self.workers.push(handle.map_err(HouseError::Worker)?);
        }
        self.send_pools().await?;
        self.send_logins().await?;
        self.send_chats().await?;
        for index in 0..self.open.len() {
            self.seat(index, true).await?;
        }
        Ok(())
    }

    /// Tells every worker who knows users.
    async fn send_logins(&self) -> Result<(), HouseError> {
        for worker in &self.workers {
            let identity = self.logins.identity().cloned();
            let order = move |_: &Rc<_>, room: &mut Room| room.set_logins(identity);
            worker.ask(order).await.map_err(HouseError::Gone)?;
        }
        Ok(())
    }

    /// Who knows users, where there are logins.
    pub fn logins(&self) -> &Logins {
        &self.logins
    }

    /// Sends the pools' snapshots to every worker.
    pub async fn send_pools(&self) -> Result<(), HouseError> {
        let Some(Pools { keeper, kit, .. }) = &self.pools else { return Ok(()) };
        for worker in &self.workers {
            let (snapshots, kit) = (keeper.pools(), kit.clone());
            let order = move |worker: &Rc<_>, room: &mut Room| room.set_pools(worker, &snapshots, &kit);
            worker.ask(order).await.map_err(HouseError::Gone)?;
        }
        Ok(())
    }

    /// Starts the chats that do not run yet and tells every worker of all.
    async fn send_chats(&mut self) -> Result<(), HouseError> {
        let all = &self.settings.chats;
        let directory = self.logins.directory();
        let data = &self.settings.server.data;
        let parts = self.chats.start(all, self.workers.len(), data, directory.as_ref());
        let parts = parts.map_err(HouseError::Worker)?;
        let name_servers = &self.settings.server.resolver;
        self.chats.open_offices(&self.telemetry, name_servers).map_err(HouseError::Worker)?;
        for (worker, new) in self.workers.iter().zip(parts) {
            let all = all.clone();
            let order = move |worker: &Rc<_>, room: &mut Room| room.set_chats(worker, new, &all);
            worker.ask(order).await.map_err(HouseError::Gone)?;
        }
        Ok(())
    }

    /// The chats.
    pub fn chats(&self) -> &Chats {
        &self.chats
    }

    /// Ends the chats: another process is to have them. The store stays open for logins that are under way.
    pub async fn end_chats(&mut self) {
        self.chats.end().await;
        self.logins.share(None);
        self.chats.close_bus();
    }

    /// Ends the chats: everything that was written is told, then their connections are asked to leave.
    pub async fn end_hubs(&mut self) {
        self.chats.end().await;
    }

    /// Has the chats again after [`House::end_chats`].
    pub async fn resume_chats(&mut self) -> Result<(), HouseError> {
        let bus = &self.settings.bus;
        let opened = self.chats.open_bus(self.settings.logins, bus, &self.telemetry).await;
        opened.map_err(HouseError::Bus)?;
        self.logins.share(self.chats.bus());
        self.send_chats().await?;
        for index in 0..self.open.len() {
            self.seat(index, false).await?;
        }
        Ok(())
    }

    /// The pools' keeper.
    pub fn keeper(&self) -> Option<&Rc<Keeper>> {
        self.pools.as_ref().map(|pools| &pools.keeper)
    }

    /// The apps' keeper.
    pub fn apps(&self) -> Option<&madang_supervise::keeper::Keeper> {
        self.pools.as_ref().map(|pools| &*pools.apps.keeper)
    }

    /// Servers beyond this machine, as people see them.
    pub fn scalers(&self) -> Vec<madang_supervise::scaler::keeper::ScalerView> {
        self.pools.as_ref().map(|pools| pools.apps.scalers()).unwrap_or_default()
    }

    /// Sends one listener to every worker; with its sockets when it is new.
    async fn seat(&self, index: usize, with_sockets: bool) -> Result<(), HouseError> {
        let open = &self.open[index];
        let limits = self.settings.limits;
        for (at, worker) in self.workers.iter().enumerate() {
            let seat = Seat {
                listen: open.plan.listen.clone(),
                sites: open.plan.sites.clone(),
                tls: open.plan.tls.clone(),
                gate: Arc::clone(&open.plan.gate),
                sessions: Arc::clone(&open.plan.sessions),
                workers: self.workers.len(),
                stream: open.plan.stream.clone(),
                chat: open.plan.chat.clone(),
            };
            let sockets = if with_sockets {
                open.sockets.for_worker(at, self.workers.len()).map_err(HouseError::Worker)?
            } else {
                Vec::new()
            };
            let trusted = self.settings.server.trusted_proxies.clone();
            let order = move |worker: &Rc<_>, room: &mut Room| {
                room.set_limits(worker, &limits);
                room.set_trusted_proxies(trusted);
                room.seat(worker, seat, &limits, sockets)
            };
            worker.ask(order).await.map_err(HouseError::Gone)?.map_err(HouseError::Worker)?;
        }
        Ok(())
    }

    /// Changes to new settings by difference. On an error nothing has changed.
    pub async fn reload(&mut self, settings: Settings, now: SystemTime) -> Result<(), HouseError> {
        let plan = Plan::new(settings, now).map_err(HouseError::Plan)?;
        let (stay, new): (Vec<_>, Vec<_>) = plan
            .listeners
            .into_iter()
            .partition(|listener| self.open.iter().any(|open| same_socket(&open.plan, listener)));
        let bound =
            bind_new(&self.open, new, self.workers.len(), &mut Vec::new()).map_err(HouseError::Bind)?;
        open_store(&mut self.chats, &mut self.logins, &plan.settings, &self.telemetry).await?;

        // From here on nothing fails but a dead worker.
        self.settings = plan.settings;
        self.gate.set_limits(self.settings.server.gate);
        if let Some(Pools { keeper, apps, .. }) = &self.pools {
            apps.know(&self.settings.apps);
            keeper.update(&apps.pools(&self.settings.pools), &self.settings.server.resolver);
            apps.update(&self.settings.apps, &self.settings.scalers);
        }
        self.send_pools().await?;
        self.send_logins().await?;
        self.chats.update(&self.settings.chats).await;
        self.send_chats().await?;
        let mut old = std::mem::take(&mut self.open);
        for listener in stay {
            let Some(at) = old.iter().position(|open| same_socket(&open.plan, &listener)) else { continue };
            let kept = old.swap_remove(at);
            kept.plan.gate.set_rules(rules(&listener.listen));
            kept.plan.sessions.set_limits(session_limits(listener.stream.as_deref()));
            self.open.push(Open {
                plan: ListenerPlan { gate: kept.plan.gate, sessions: kept.plan.sessions, ..listener },
                sockets: kept.sockets,
            });
            self.seat(self.open.len() - 1, false).await?;
        }
        for (plan, sockets) in bound {
            self.open.push(Open { plan, sockets });
            self.seat(self.open.len() - 1, true).await?;
        }
        let mut closing = Vec::new();
        let mut names = Vec::new();
        for gone in old {
            for worker in &self.workers {
                let name = gone.plan.listen.name.clone();
                closing
                    .extend(worker.ask(move |_, room| room.unseat(&name)).await.map_err(HouseError::Gone)?);
            }
            names.push(gone.plan.listen.name);
        }
        // Whoever comes after the reload is told by the kernel that nobody listens there.
        for closed in closing {
            let _ = closed.await;
        }
        // Only now, so that the last of the queues are told too.
        for worker in &self.workers {
            let names = names.clone();
            let order = move |worker: &Rc<Worker>, _: &mut Room| {
                names.iter().for_each(|name| worker.connections.drain_listener(name));
            };
            worker.ask(order).await.map_err(HouseError::Gone)?;
        }
        Ok(())
    }

    /// One pulse per worker, for the watchdog.
    pub fn pulses(&self) -> Vec<Pulse<Room>> {
        self.workers.iter().map(WorkerHandle::pulse).collect()
    }

    /// Certificates made by this machine's own authority that end soon are made anew.
    pub fn renew_made(&self, now: SystemTime) -> Vec<Result<String, LocalCaError>> {
        let soon = unix_seconds(now) + RENEW_DAYS * 86_400;
        let mut told = Vec::new();
        for policy in self.policies().flat_map(TlsPolicies::iter) {
            if policy.store.made_expires().is_none_or(|end| end > soon) {
                continue;
            }
            let made = LocalCa::open(&self.settings.server.data, now)
                .and_then(|authority| authority.issue(&policy.hosts, now))
                .map(|pair| policy.store.replace_made(pair));
            told.push(made.map(|()| policy.name.to_string()));
        }
        told
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many workers run.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The open listeners.
    pub fn listeners(&self) -> Vec<ListenerView> {
        let view = |open: &Open| {
            let scheme = match (&open.plan.stream, open.plan.listen.secure) {
                // As it was written.
                _ if open.plan.chat.is_some() => open.plan.listen.name.split(':').next().unwrap_or_default(),
                (Some(_), _) if matches!(open.sockets.bound, Address::Udp(_)) => "udp",
                (Some(_), true) => "tls",
                (Some(_), false) => "tcp",
                (None, true) => "https",
                (None, false) => "http",
            };
            let stream = open.plan.stream.iter().map(|stream| stream.name.to_string());
            let chat = open.plan.chat.iter().map(|(chat, _)| chat.to_string());
            ListenerView {
                name: open.plan.listen.name.clone(),
                bound: format!("{scheme}://{}", open.sockets.bound),
                sites: open
                    .plan
                    .sites
                    .iter()
                    .map(|site| site.name.to_string())
                    .chain(stream)
                    .chain(chat)
                    .collect(),
                open: open.plan.gate.open(),
            }
        };
        self.open.iter().map(view).collect()
    }

    /// TLS policies of every https listener, to watch and show.
    pub fn policies(&self) -> impl Iterator<Item = &madang_host::tls::TlsPolicies> {
        self.open.iter().filter_map(|open| open.plan.tls.as_ref())
    }

    /// Names and sockets, to hand over.
    pub fn sockets(&self) -> impl Iterator<Item = (&str, &[Listener])> {
        self.open.iter().map(|open| (open.plan.listen.name.as_str(), open.sockets.sockets()))
    }

    /// Every open connection.
    pub async fn connections(&self) -> Result<Vec<View>, HouseError> {
        let mut all = Vec::new();
        for worker in &self.workers {
            all.extend(worker.ask(|worker, _| worker.connections.views()).await.map_err(HouseError::Gone)?);
        }
        Ok(all)
    }

    /// Ends the worker threads and closes the store.
    pub fn close(mut self) {
        for worker in self.workers {
            worker.stop();
        }
        self.chats.close();
    }
}

/// The store, and the logins on it.
async fn open_store(
    chats: &mut Chats,
    logins: &mut Logins,
    settings: &Settings,
    telemetry: &Arc<Telemetry>,
) -> Result<(), HouseError> {
    let data = &settings.server.data;
    let opened = chats.open_store(settings.logins, &settings.store, data).await;
    chats.open_bus(settings.logins, &settings.bus, telemetry).await.map_err(HouseError::Bus)?;
    opened.map_err(|error| {
        let place = match &settings.store {
            StoreSettings::Sqlite { .. } => madang_store::database_file(data).display().to_string(),
            StoreSettings::Postgres { address, .. } => address.to_string(),
        };
        HouseError::Store { place, error }
    })?;
    match chats.store() {
        Some(store) => logins.update(store, settings, telemetry).await.map_err(HouseError::Logins)?,
        None => return Ok(()),
    }
    if let Some(bus) = chats.bus() {
        logins.share(Some(bus));
    }
    Ok(())
}

/// Same address and scheme, written the same way: sockets, gate and endpoints stay.
fn same_socket(a: &ListenerPlan, b: &ListenerPlan) -> bool {
    a.listen.address == b.listen.address && a.listen.name == b.listen.name
}

/// Binds what is new, or takes the sockets that another listener of the same address holds. All errors at once.
fn bind_new(
    open: &[Open],
    new: Vec<ListenerPlan>,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<(ListenerPlan, ListenerSet)>, Vec<BindError>> {
    let (mut bound, mut errors) = (Vec::new(), Vec::new());
    for plan in new {
        let address: &Address = &plan.listen.address;
        let handed = inherited.iter().position(|(name, sockets)| {
            *name == plan.listen.name
                || sockets.iter().any(|socket| socket.address().is_ok_and(|have| have == *address))
        });
        let taken =
            handed.and_then(|at| ListenerSet::inherited(address.clone(), inherited.swap_remove(at).1));
        let shared = || {
            // Any free port is another one each time.
            let any = matches!(address, Address::Tcp(address) | Address::Udp(address) if address.port() == 0);
            let have = open.iter().find(|open| open.plan.listen.address == *address && !any)?;
            let sockets =
                have.sockets.sockets().iter().map(Listener::try_clone).collect::<Result<Vec<_>, _>>().ok()?;
            ListenerSet::inherited(address.clone(), sockets)
        };
        match taken.or_else(shared).map_or_else(|| ListenerSet::bind(address, workers), Ok) {
            Ok(sockets) => bound.push((plan, sockets)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(bound) } else { Err(errors) }
}
