//! Apps joined to pools: an app's instances are the servers of a pool of its name.
//!
//! **Job.** Make that pool, keep its members as `roles/supervise` says, tell it back what the pool's checks say.
//! **Owned by** `house`. **Calls** `balance::keeper`, `supervise::keeper`.
//!
//! Invariants
//! 1. The pool of an app is there from before the first request until its last instance has gone, in the settings or not.
//! 2. Health is not doubted here (no panic): Madang knows which processes it has just started.
//!
//! Not here: deciding about instances (`roles/supervise`) or requests (`roles/balance`).

mod machines;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use madang_balance::config::{Address, PoolSettings, ServerSettings};
use madang_balance::health::Wish;
use madang_balance::keeper::Keeper as Pools;
use madang_balance::server::State;
use madang_host::clock;
use madang_host::config::Level;
use madang_supervise::app::Tone;
use madang_supervise::around::{Around, Member, Seen};
use madang_supervise::config::{AppSettings, ScalerSettings};
use madang_supervise::keeper::Keeper;
use madang_supervise::scale::Load;
use madang_supervise::scaler;

use crate::programs;
use crate::telemetry::Telemetry;

/// How long requests wait for an app whose instances are being started.
const STARTING_WAIT: Duration = Duration::from_secs(30);

/// Apps and the pools they make.
pub struct Apps {
    /// Runs them.
    pub keeper: Rc<Keeper>,
    joint: Rc<Joint>,
    /// Servers beyond this machine, from the moment the pools are there.
    scalers: OnceCell<Rc<scaler::keeper::Keeper>>,
}

impl Apps {
    /// Starts them; what an earlier server left is found again. The pools are joined behind ([`Apps::join`]).
    pub fn start(
        settings: &[Arc<AppSettings>],
        data: &std::path::Path,
        seed: u64,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let joint = Rc::new(Joint {
            telemetry,
            apps: RefCell::default(),
            pools: OnceCell::new(),
            keeper: OnceCell::new(),
            machines: RefCell::default(),
        });
        joint.know(settings);
        let around = Rc::clone(&joint) as Rc<dyn Around>;
        let keeper = Keeper::start(settings, data.to_owned(), seed, around);
        // Filled once, here.
        let _ = joint.keeper.set(Rc::downgrade(&keeper));
        Self { keeper, joint, scalers: OnceCell::new() }
    }

    /// The pools as written, and those of apps.
    pub fn pools(&self, written: &[Arc<PoolSettings>]) -> Vec<Arc<PoolSettings>> {
        self.joint.machines.borrow_mut().know(written);
        let machines = self.joint.machines.borrow();
        let apps = self.joint.apps.borrow();
        let of_apps = apps.iter().filter(|(_, known)| known.settings.takes_requests());
        let of_apps = of_apps.map(|(name, known)| machines.beside(known.pool(name)));
        written.iter().map(|pool| machines.beside(PoolSettings::clone(pool))).chain(of_apps).collect()
    }

    /// From here on members are told to these pools, and scalers look at them.
    pub fn join(&self, pools: Rc<Pools>, scalers: &[Arc<ScalerSettings>], data: &std::path::Path) {
        // Joined once, as the house opens.
        let _ = self.joint.pools.set(pools);
        let grounds = Rc::clone(&self.joint) as Rc<dyn scaler::keeper::Grounds>;
        let _ = self.scalers.set(scaler::keeper::Keeper::start(scalers, data.join("scalers"), grounds));
    }

    /// Servers beyond this machine, as people see them.
    pub fn scalers(&self) -> Vec<scaler::keeper::ScalerView> {
        self.scalers.get().map(|scalers| scalers.views()).unwrap_or_default()
    }

    /// New settings; the pools of [`Apps::pools`] have to be told before [`Apps::update`].
    pub fn know(&self, settings: &[Arc<AppSettings>]) {
        self.joint.know(settings);
    }

    /// New settings.
    pub fn update(&self, settings: &[Arc<AppSettings>], scalers: &[Arc<ScalerSettings>]) {
        self.keeper.update(settings);
        if let Some(keeper) = self.scalers.get() {
            keeper.update(scalers);
        }
    }
}

struct Known {
    settings: Arc<AppSettings>,
    /// It is in the settings.
    kept: bool,
    members: Vec<Member>,
    hold: bool,
}

impl Known {
    fn pool(&self, name: &str) -> PoolSettings {
        if let Some(settings) = &self.settings.per_connection {
            return programs::pool(name, settings);
        }
        let servers = self.members.iter().filter_map(|member| {
            let (weight, max_connections) = (member.weight, self.settings.max_connections);
            Some(ServerSettings {
                weight,
                max_connections,
                ..ServerSettings::plain(Address::parse(&member.address)?)
            })
        });
        let mut pool = PoolSettings::of(name, servers.collect());
        pool.health = Some(self.settings.health.clone());
        pool.panic_below = 0;
        pool.hold = self.hold.then_some(STARTING_WAIT);
        pool
    }
}

struct Joint {
    telemetry: Arc<Telemetry>,
    apps: RefCell<BTreeMap<String, Known>>,
    pools: OnceCell<Rc<Pools>>,
    keeper: OnceCell<Weak<Keeper>>,
    machines: RefCell<machines::Machines>,
}

impl Joint {
    fn know(&self, settings: &[Arc<AppSettings>]) {
        let mut apps = self.apps.borrow_mut();
        apps.values_mut().for_each(|known| known.kept = false);
        for settings in settings {
            let fresh =
                || Known { settings: Arc::clone(settings), kept: true, members: Vec::new(), hold: true };
            let known = apps.entry(settings.name.to_string()).or_insert_with(fresh);
            (known.settings, known.kept) = (Arc::clone(settings), true);
        }
    }
}

impl Around for Joint {
    fn members(&self, app: &str, members: Vec<Member>, hold: bool) {
        let mut apps = self.apps.borrow_mut();
        let Some(known) = apps.get_mut(app) else { return };
        // Its pool is what its settings say; what is left of an app of the same name was another kind of app.
        if known.settings.per_connection.is_some() {
            return;
        }
        (known.members, known.hold) = (members, hold);
        let Some(pools) = self.pools.get() else { return };
        // Before it leaves: what was on its way there is let in until then.
        for member in known.members.iter().filter(|member| member.draining) {
            pools.wish(app, &member.address, Wish::Drained);
        }
        pools.renew(&self.machines.borrow().beside(known.pool(app)));
    }

    fn look(&self, app: &str, address: &str, hurry: bool) -> Seen {
        let glance = self.pools.get().and_then(|pools| pools.glance(app, address, hurry));
        let Some(glance) = glance else { return Seen::default() };
        let fit = match glance.state {
            State::Up => Some(true),
            State::Down => Some(false),
            State::Ejected | State::Probing | State::Draining | State::Disabled => None,
        };
        Seen { fit, in_flight: glance.in_flight, check: glance.failure.map(|failure| failure.to_string()) }
    }

    fn load(&self, app: &str) -> Load {
        let Some(pool) = self.pools.get().and_then(|pools| pools.pool(app)) else { return Load::default() };
        let now = clock::now();
        let mut load = Load { queued: pool.waiting(), ..Load::default() };
        for member in pool.members() {
            load.in_flight += member.server.in_flight();
            load.requests += member.server.picked();
            load.latency =
                load.latency.max(Duration::min(member.server.latency(now), Duration::from_secs(60)));
        }
        load
    }

    fn forgotten(&self, app: &str) {
        // The name may have gone over to an app of the other kind.
        if self.apps.borrow().get(app).is_some_and(|known| known.kept) {
            return;
        }
        // The pool itself goes with the next reload; nobody leads there.
        self.apps.borrow_mut().remove(app);
    }

    fn told(&self, app: &str, tone: Tone, sentence: &str) {
        let level = match tone {
            Tone::Good => Level::Info,
            Tone::Bad => Level::Warn,
        };
        self.telemetry.log.always(level, "app", &format!("{app}: {sentence}"));
    }
}
