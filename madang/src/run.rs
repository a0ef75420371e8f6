//! The life of the running server: check, bind, drop rights, open, serve orders, drain, end.
//!
//! **Job.** One readable order of steps, each with its error. **Called by** `cli`. **Calls** `house`, `control`, `upgrade`.
//!
//! Invariants
//! 1. Nothing is bound before the settings are whole; nothing accepts before everything is bound.
//! 2. A start that fails leaves nothing behind and ends with exit code 2 and one sentence with the remedy.
//! 3. A reload that fails leaves everything as it was.
//!
//! Not here: what a listener serves (`roles/web`), what commands print (`cli`).

use std::cell::Cell;
use std::io::Write as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use madang_balance::chronicle::Happened;
use madang_balance::health::Wish;
use madang_balance::keeper::Observer;
use madang_balance::pool::Pool;
use madang_host::clock;
use madang_host::config::Level;
use madang_host::notify::Notifier;
use madang_host::process_facts::{descriptors_for_connections, raise_open_files};
use madang_host::rights::{Dropped, Identity};
use madang_host::tls::TlsPolicies;
use tokio::sync::mpsc;

use crate::activation;
use crate::alerts::Alerts;
use crate::app_orders;
use crate::app_words;
use crate::config::{self, Settings};
use crate::control::admin::{Admin, CONTROL_SOCKET};
use crate::control::{Answer, Order, Request, parameter};
use crate::data_folder;
use crate::house::House;
use crate::identity_orders;
use crate::signals::{Sign, Signals};
use crate::status;
use crate::telemetry::Telemetry;
use crate::upgrade::{self, Handed};
use crate::watchdog;

/// Orders that may wait for the main loop.
const ORDERS_MAX: usize = 32;
/// A limit of open files that leaves room for fewer connections than this is worth a warning.
const CONNECTIONS_FEW: u32 = 4096;
/// How often certificate files are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(5);

/// How often alerts look.
const ALERTS_EVERY: Duration = Duration::from_secs(1);

/// How the server was started.
pub struct Start {
    /// The settings, checked.
    pub settings: Settings,
    /// Where they came from; `None` when the command line made them.
    pub file: Option<PathBuf>,
    /// The socket of the process we take over from.
    pub takeover: Option<PathBuf>,
}

/// Why the server did not start or ended: exit code and sentence.
#[derive(Debug)]
pub struct Failure {
    /// 1: failed while it ran; 2: could not start as told.
    pub code: u8,
    /// One sentence with the remedy.
    pub message: String,
}

/// It could not start as told.
pub fn cannot(message: impl Into<String>) -> Failure {
    Failure { code: 2, message: message.into() }
}

/// Runs until it is told to stop.
pub fn run(start: Start) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(|error| cannot(format!("cannot start: {error}")))?;
    runtime.block_on(serve(start))
}

async fn serve(start: Start) -> Result<(), Failure> {
    let mut handed = match &start.takeover {
        Some(socket) => {
            upgrade::take(socket).map_err(|error| cannot(format!("cannot take over: {error}")))?
        }
        None => activation::take()?,
    };
    let mut confirm = handed.confirm.take();
    let served = live(start, handed, &mut confirm).await;
    if let (Err(failure), Some(confirm)) = (&served, &mut confirm) {
        confirm.failed(&failure.message);
    }
    served
}

async fn live(
    start: Start,
    mut handed: Handed,
    confirm: &mut Option<upgrade::Confirm>,
) -> Result<(), Failure> {
    let Start { settings, file, takeover } = start;
    let notifier = notifier(takeover.is_some());
    // Found before anything is opened: a misspelt user must not leave a half-started server.
    let user = settings.server.user.as_deref().map(Identity::find).transpose();
    let user = user.map_err(|error| cannot(error.to_string()))?;
    let workers = settings
        .server
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    // A folder served from the command line keeps nothing but its certificates: no data folder, no control socket.
    let keeps = file.is_some();
    if keeps || settings.listeners().iter().any(|(listen, _)| listen.secure) {
        data_folder::make(&settings.server.data)?;
    }
    let lock = if keeps { Some(data_folder::lock(&settings.server.data, handed.lock.take())?) } else { None };
    let telemetry =
        Telemetry::start(&settings.log, &settings.server).map_err(|error| cannot(error.to_string()))?;
    let log = &telemetry.log;
    if let Err(error) = raise_open_files() {
        log.always(Level::Warn, "open-files", &format!("the limit of open files stays as it is: {error}"));
    }
    let kept_for_us = activation::addresses(&handed.listeners, takeover.is_some());
    let mut house = House::bind(
        settings,
        workers,
        std::mem::take(&mut handed.listeners),
        Arc::clone(&telemetry),
        clock::wall(),
    )
    .map_err(|error| cannot(error.to_string()))?;

    // Admin surfaces, bound before rights are dropped.
    let (orders, mut inbox) = mpsc::channel(ORDERS_MAX);
    let ready = Rc::new(Cell::new(false));
    let mut admin = Admin::new(orders, Rc::clone(&ready));
    if keeps {
        admin.control_socket(&house.settings().server.data, handed.control.take())?;
    }
    if let Some(address) = house.settings().server.admin {
        admin.address(address, handed.admin.take())?;
    }
    activation::tell_differences(&mut house, &kept_for_us, log);
    if let Some(user) = &user {
        give_up_root(user, &house, keeps, &telemetry)?;
    }
    let mut signals = Signals::new().map_err(|error| cannot(format!("cannot catch signals: {error}")))?;
    let secret = if keeps { data_folder::secret(&house.settings().server.data)? } else { [0; 32] };
    let (renewed, mut renewals) = mpsc::channel(ORDERS_MAX);
    let observer = PoolObserver { telemetry: Arc::clone(&telemetry), renewed };
    house.open(workers, secret, Box::new(observer)).await.map_err(|error| cannot(error.to_string()))?;
    if let Some(room) = descriptors_for_connections() {
        house.gate.set_descriptors(room);
        let wanted = house.settings().server.gate.connections_max;
        if room < wanted {
            let sentence = format!(
                "the limit of open files leaves room for {room} connections, server.connections_max is {wanted}; \
                 raise it (LimitNOFILE= in the unit, ulimit -n in a shell)"
            );
            // The usual limits are enough for a small machine; `doctor` tells them too.
            let level = if room < CONNECTIONS_FEW { Level::Warn } else { Level::Debug };
            log.tell(level, "open-files", &sentence);
        }
    }
    ready.set(true);
    announce(&house);
    if let Some(mut confirm) = confirm.take() {
        confirm.ready().map_err(|error| cannot(format!("the old process is gone: {error}")))?;
    }
    let said = notifier.ready(&format!("serving on {} listeners", house.listeners().len()));
    if let Err(error) = said {
        log.always(Level::Warn, "notify", &format!("the service manager cannot be told: {error}"));
    }
    let notifier = Rc::new(notifier);
    watchdog::start(&notifier, house.pulses());
    log.always(
        Level::Info,
        "started",
        &format!("{} listeners, {workers} workers, process {}", house.listeners().len(), std::process::id()),
    );

    let alerts = Alerts::start(house.settings(), &telemetry);
    let mut life = Life { house, file, telemetry, ready, lock, notifier, alerts };
    let mut looks = tokio::time::interval(ALERTS_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut certificates = tokio::time::interval(CERTIFICATES_EVERY);
    let end = loop {
        tokio::select! {
            Some(request) = inbox.recv() => if let Some(end) = life.order(request, &admin).await { break end },
            sign = signals.next() => if let Some(end) = life.signal(sign, &admin).await { break end },
            _ = certificates.tick() => life.watch_certificates(),
            _ = looks.tick() => {
                life.house.chats().beat();
                life.alerts.look(&life.house);
            }
            Some(()) = renewals.recv() => life.renew_pools().await,
        }
    };
    // Orders that came too late are answered at once: they were not carried out, and the asker may ask again.
    drop(inbox);
    if end == End::HandedOver {
        admin.leave();
    }
    life.end(end, signals).await;
    admin.end().await;
    Ok(())
}

/// Why the main loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stop,
    HandedOver,
}

struct Life {
    house: House,
    file: Option<PathBuf>,
    telemetry: Arc<Telemetry>,
    ready: Rc<Cell<bool>>,
    lock: Option<std::fs::File>,
    notifier: Rc<Notifier>,
    alerts: Alerts,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// An order that cannot be obeyed, and why.
fn refused(status: u16, message: String) -> Answer {
    (status, JSON, serde_json::json!({ "ok": false, "message": message }).to_string())
}

impl Life {
    async fn order(&mut self, request: Request, admin: &Admin) -> Option<End> {
        let mut end = None;
        let answer: Answer = match request.order {
            Order::Status => (200, JSON, status::json(&self.house, self.file.as_deref()).await.to_string()),
            Order::Metrics => (
                200,
                "text/plain; version=0.0.4; charset=utf-8",
                status::metrics(&self.house, self.alerts.families()),
            ),
            Order::Connections => match self.house.connections().await {
                Ok(views) => (200, JSON, serde_json::to_string(&views).unwrap_or_default()),
                Err(error) => (500, TEXT, format!("{error}\n")),
            },
            Order::Plan => self.plan(),
            Order::Reload => self.reload().await,
            Order::Reopen => {
                self.telemetry.reopen();
                (200, JSON, "{\"ok\":true}".to_owned())
            }
            Order::Pool(wish, query) => self.wish(wish, &query),
            Order::Hold(on, query) => self.hold(on, &query),
            Order::Alerts => self.alerts.list(),
            Order::AlertTest(query) => self.alerts.test(&query),
            Order::Apps => {
                let views = self.house.apps().map(|apps| apps.views()).unwrap_or_default();
                (200, JSON, serde_json::to_string(&views).unwrap_or_default())
            }
            Order::Identity(wanted, text) => {
                // Hashing takes its time; other orders need not wait for it.
                let identity = self.house.logins().identity().cloned();
                tokio::task::spawn_local(async move {
                    let answer = identity_orders::order(identity.as_ref(), wanted, &text).await;
                    let _ = request.answer.send(answer);
                });
                return None;
            }
            Order::ChatHooks(query) => self.house.chats().hooks(&query).await,
            Order::ChatHook(order, query) => self.house.chats().hook_order(order, &query).await,
            Order::AppHistory(query) => app_orders::history(self.house.apps(), &query),
            Order::AppWords(query) => app_words::words(self.house.apps(), &query),
            Order::App(order, query) => app_orders::order(self.house.apps(), order, &query),
            Order::Stop => {
                end = Some(End::Stop);
                (200, JSON, "{\"ok\":true}".to_owned())
            }
            Order::Upgrade => match self.upgrade(admin).await {
                Ok(process) => {
                    end = Some(End::HandedOver);
                    (200, JSON, serde_json::json!({ "ok": true, "process": process }).to_string())
                }
                Err(message) => {
                    (500, JSON, serde_json::json!({ "ok": false, "message": message }).to_string())
                }
            },
        };
        // The asker may have gone; the order was carried out all the same.
        let _ = request.answer.send(answer);
        end
    }

    async fn signal(&mut self, sign: Sign, admin: &Admin) -> Option<End> {
        match sign {
            Sign::Reload => {
                self.reload().await;
                None
            }
            Sign::Reopen => {
                self.telemetry.reopen();
                None
            }
            Sign::Upgrade => self.upgrade(admin).await.ok().map(|_| End::HandedOver),
            Sign::Stop => Some(End::Stop),
        }
    }

    /// Hold, release.
    fn hold(&self, on: bool, query: &str) -> Answer {
        let Some(pool) = parameter(query, "pool") else {
            return refused(400, "the query needs pool=NAME".to_owned());
        };
        let keeper = self.house.keeper();
        match keeper.and_then(|keeper| keeper.hold(&pool, on)) {
            None => self.no_such_pool(&pool),
            Some(wait) => {
                (200, JSON, serde_json::json!({ "ok": true, "wait_seconds": wait.as_secs_f64() }).to_string())
            }
        }
    }

    fn no_such_pool(&self, pool: &str) -> Answer {
        let views = self.house.keeper().map(|keeper| keeper.views()).unwrap_or_default();
        let known: Vec<&str> = views.iter().map(|view| view.pool.as_str()).collect();
        let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
        refused(404, format!("there is no pool {pool:?}; pools here: {known}"))
    }

    /// Drain, disable, enable.
    fn wish(&self, wish: Wish, query: &str) -> Answer {
        let (Some(pool), Some(server)) = (parameter(query, "pool"), parameter(query, "server")) else {
            return refused(400, "the query needs pool=NAME and server=ADDRESS".to_owned());
        };
        let views = self.house.keeper().map(|keeper| keeper.views()).unwrap_or_default();
        match self.house.keeper().and_then(|keeper| keeper.wish(&pool, &server, wish)) {
            None => self.no_such_pool(&pool),
            Some(0) => {
                let servers = views.iter().filter(|view| view.pool == pool).flat_map(|view| &view.servers);
                let known: Vec<&str> = servers.map(|server| server.server.as_str()).collect();
                refused(404, format!("pool {pool} has no server {server:?}; here are {}", known.join(", ")))
            }
            Some(count) => (200, JSON, serde_json::json!({ "ok": true, "servers": count }).to_string()),
        }
    }

    fn load(&self) -> Result<Option<Settings>, Answer> {
        let Some(file) = &self.file else { return Ok(None) };
        let (settings, report) = config::load(file, clock::wall());
        match settings {
            Some(settings) => Ok(Some(settings)),
            None => {
                let mut json = report.to_json();
                json["text"] = report.to_text(false).into();
                Err((422, JSON, json.to_string()))
            }
        }
    }

    fn plan(&self) -> Answer {
        match self.load() {
            Err(answer) => answer,
            Ok(None) => (409, TEXT, "these settings came from the command line\n".to_owned()),
            Ok(Some(new)) => (
                200,
                JSON,
                serde_json::json!({ "ok": true, "changes": config::diff::diff(self.house.settings(), &new) })
                    .to_string(),
            ),
        }
    }

    async fn reload(&mut self) -> Answer {
        let new = match self.load() {
            Err(answer) => {
                self.telemetry.log.always(
                    Level::Error,
                    "reload-refused",
                    "the settings file has errors; nothing was changed (madang check tells)",
                );
                return answer;
            }
            Ok(None) => return (409, TEXT, "these settings came from the command line\n".to_owned()),
            Ok(Some(new)) => new,
        };
        let old = self.house.settings().clone();
        let changes = config::diff::diff(&old, &new);
        // A service manager that does not hear it has lost a line for people, no more: so with every notice below.
        let _ = self.notifier.reloading();
        self.telemetry.reload(&new.log, &new.server, &old.log);
        let answer = match self.house.reload(new, clock::wall()).await {
            Ok(()) => {
                self.alerts.update(self.house.settings());
                self.telemetry.log.always(Level::Info, "reloaded", &format!("{} changes", changes.len()));
                (200, JSON, serde_json::json!({ "ok": true, "changes": changes }).to_string())
            }
            Err(error) => {
                self.telemetry.reload(&old.log, &old.server, &old.log);
                self.telemetry.log.always(Level::Error, "reload-refused", &error.to_string());
                (409, JSON, serde_json::json!({ "ok": false, "message": error.to_string() }).to_string())
            }
        };
        let _ = self.notifier.ready(&format!("serving on {} listeners", self.house.listeners().len()));
        answer
    }

    async fn upgrade(&mut self, admin: &Admin) -> Result<u32, String> {
        let Some(file) = &self.file else {
            return Err(
                "a folder served from the command line has no settings file to start again with".to_owned()
            );
        };
        let Some(lock) = &self.lock else { return Err("the data folder is not locked".to_owned()) };
        // From here to its end or failure the apps are the new process's.
        if let Some(apps) = self.house.apps() {
            apps.freeze();
        }
        self.alerts.freeze();
        // One hub at a time has a room's order: clients come back to the new process, which has everything that was told.
        self.house.end_chats().await;
        let result = upgrade::hand_over(&self.house, file, lock, &admin.sockets()).await;
        if result.is_err() {
            if let Err(error) = self.house.resume_chats().await {
                self.telemetry.log.always(Level::Error, "chat", &error.to_string());
            }
            if let Some(apps) = self.house.apps() {
                apps.thaw();
            }
            self.alerts.thaw();
        }
        match &result {
            Ok(process) => {
                // Who comes once the order is answered, or was asked to come back, comes to the new process.
                self.house.stop_accepting().await;
                // The manager believes the main process only, which we still are.
                let _ = self.notifier.main_process(*process);
                let told = format!("to process {process}; draining");
                self.telemetry.log.always(Level::Info, "handed-over", &told);
            }
            Err(message) => self.telemetry.log.always(Level::Error, "upgrade-failed", message),
        }
        result
    }

    async fn renew_pools(&self) {
        if let Err(error) = self.house.send_pools().await {
            self.telemetry.log.always(Level::Error, "pool", &error.to_string());
        }
    }

    fn watch_certificates(&self) {
        let (now, log) = (clock::wall(), &self.telemetry.log);
        for policy in self.house.policies().flat_map(TlsPolicies::iter) {
            for told in policy.store.reload_changed(now) {
                match told {
                    Ok(source) => {
                        let path = source.certificate.display().to_string();
                        log.always(Level::Info, "certificate-reloaded", &path);
                    }
                    Err(error) => {
                        let sentence = format!("{error}; the one before stays in use");
                        log.always(Level::Error, "certificate-kept", &sentence);
                    }
                }
            }
            match policy.reload_changed() {
                None => {}
                Some(Ok(())) => log.always(Level::Info, "client-authorities-reloaded", &policy.name),
                Some(Err(error)) => {
                    let sentence = format!("{error}; those before stay in use");
                    log.always(Level::Error, "client-authorities-kept", &sentence);
                }
            }
        }
        for told in self.house.renew_made(now) {
            match told {
                Ok(site) => log.always(Level::Info, "certificate-renewed", &site),
                Err(error) => log.always(Level::Error, "certificate-kept", &error.to_string()),
            }
        }
    }

    async fn end(mut self, end: End, mut signals: Signals) {
        self.ready.set(false);
        if end == End::Stop {
            let _ = self.notifier.stopping("draining");
        }
        let deadline = self.house.settings().server.drain;
        let data = self.house.settings().server.data.clone();
        // Nobody new meets a chat that ends. What was written is told before anybody is asked to leave.
        self.house.stop_accepting().await;
        self.house.end_hubs().await;
        let clean = tokio::select! {
            clean = self.house.drain(end == End::Stop, deadline) => clean,
            // Asked twice: now.
            () = signals.stop_again() => false,
        };
        if let Some(apps) = self.house.apps() {
            match end {
                End::Stop => apps.end().await,
                // All others are the new process's.
                End::HandedOver => apps.end_connections().await,
            }
        }
        let left =
            if clean { "every request was answered" } else { "some connections were cut at the deadline" };
        self.telemetry.log.always(Level::Info, "stopped", left);
        self.telemetry.flush();
        if end == End::Stop && self.lock.is_some() {
            // The next start would replace it anyway.
            let _ = std::fs::remove_file(data.join(CONTROL_SOCKET));
        }
        self.house.close();
    }
}

/// Pools tell the log, and the main loop when workers need a new snapshot.
struct PoolObserver {
    telemetry: Arc<Telemetry>,
    renewed: mpsc::Sender<()>,
}

impl Observer for PoolObserver {
    fn told(&self, pool: &str, happened: &Happened) {
        let level = if happened.bad { Level::Warn } else { Level::Info };
        let mut facts = vec![("pool", pool), ("about", happened.what), ("why", happened.why.as_str())];
        facts.extend(happened.server.as_deref().map(|server| ("server", server)));
        if let Some((from, to)) = happened.states {
            facts.extend([("from", from.name()), ("to", to.name())]);
        }
        self.telemetry.log.facts(level, "pool", &format!("{pool}: {happened}"), &facts);
    }
    fn renewed(&self, _: &Arc<Pool>) {
        // A full line means that the main loop is about to look anyway.
        let _ = self.renewed.try_send(());
    }
}

fn notifier(successor: bool) -> Notifier {
    match Notifier::from_environment(|name| std::env::var_os(name), std::process::id(), successor) {
        Ok(notifier) => notifier,
        Err(error) => {
            eprintln!("madang: the service manager will not hear from this server: {error}");
            Notifier::default()
        }
    }
}

/// Becomes `server.user` for good, and leaves to it what it needs.
fn give_up_root(user: &Identity, house: &House, keeps: bool, telemetry: &Telemetry) -> Result<(), Failure> {
    // The log files exist once the writer has had its turn.
    telemetry.flush();
    if rustix::process::geteuid().is_root() {
        let settings = house.settings();
        if keeps {
            data_folder::give_to(&settings.server.data, user)?;
        }
        for path in [&settings.log.access_file, &settings.log.error_file].into_iter().flatten() {
            if path.is_file() {
                user.own(path).map_err(|error| cannot(format!("cannot give {}: {error}", path.display())))?;
            }
        }
    }
    match user.become_for_good() {
        Ok(Dropped::Root) => telemetry.log.always(Level::Info, "root-given-up", &user.name),
        Ok(Dropped::Already) => {}
        Err(error) => return Err(cannot(error.to_string())),
    }
    Ok(())
}

/// Tells people and scripts where it listens.
fn announce(house: &House) {
    let mut out = std::io::stdout().lock();
    for listener in house.listeners() {
        // A closed standard output is no reason not to serve.
        let what = match listener.bound.split_once("://") {
            Some(("http" | "https", _)) => "site",
            Some(("irc" | "ircs" | "line" | "lines", _)) => "chat",
            _ => "stream",
        };
        let _ =
            writeln!(out, "madang: listening on {} ({what} {})", listener.bound, listener.sites.join(", "));
        if let Some(address) = listener.on_the_network() {
            let _ = writeln!(out, "madang: on this network {address}");
        }
    }
    let _ = writeln!(out, "madang: ready");
    let _ = out.flush();
}
