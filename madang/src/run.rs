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
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use madang_host::clock;
use madang_host::config::Level;
use madang_host::connection::PhaseLimits;
use madang_host::gate::{Gate, GateLimits, ListenerGate, ListenerRules};
use madang_host::net::listen::{Address, Listener, ListenerSet};
use madang_host::tls::store::CertificateError;
use madang_host::worker::{Accepting, Worker};
use madang_http::accept::HttpAcceptor;
use madang_http::endpoint::{Endpoint, HttpLimits, Pool, Serving};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::{self, Settings};
use crate::control::{Answer, Control, Order, Request};
use crate::house::House;
use crate::status;
use crate::telemetry::Telemetry;
use crate::upgrade;

/// Orders that may wait for the main loop.
const ORDERS_MAX: usize = 32;
/// How often certificate files are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(5);
/// The control socket in the data folder.
pub const CONTROL_SOCKET: &str = "madang.sock";
const LOCK_FILE: &str = "madang.lock";

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

fn cannot(message: impl Into<String>) -> Failure {
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
        None => upgrade::Handed::default(),
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
    mut handed: upgrade::Handed,
    confirm: &mut Option<upgrade::Confirm>,
) -> Result<(), Failure> {
    let Start { settings, file, .. } = start;
    let workers = settings
        .server
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    // A folder served from the command line keeps nothing but its certificates: no data folder, no control socket.
    let keeps = file.is_some();
    if keeps || settings.listeners().iter().any(|(listen, _)| listen.secure) {
        make_data_folder(&settings.server.data)?;
    }
    let lock = if keeps { Some(lock_data(&settings.server.data, handed.lock.take())?) } else { None };
    let telemetry = Telemetry::start(&settings.log, &settings.server)
        .map_err(|error| cannot(format!("cannot start the log: {error}")))?;
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
    let mut admin = Admin::new(orders, Rc::clone(&ready), Arc::clone(&telemetry));
    if keeps {
        admin.control_socket(&house.settings().server.data, handed.control.take())?;
    }
    if let Some(address) = house.settings().server.admin {
        admin.address(address, handed.admin.take())?;
    }
    let mut signals = Signals::new().map_err(|error| cannot(format!("cannot catch signals: {error}")))?;
    house.open(workers).await.map_err(|error| cannot(error.to_string()))?;
    ready.set(true);
    announce(&house);
    if let Some(mut confirm) = confirm.take() {
        confirm.ready().map_err(|error| cannot(format!("the old process is gone: {error}")))?;
    }
    telemetry.log.always(
        Level::Info,
        "started",
        &format!("{} listeners, {workers} workers, process {}", house.listeners().len(), std::process::id()),
    );

    let mut life = Life { house, file, telemetry, ready, lock };
    let mut certificates = tokio::time::interval(CERTIFICATES_EVERY);
    let end = loop {
        tokio::select! {
            Some(request) = inbox.recv() => if let Some(end) = life.order(request, &admin).await { break end },
            sign = signals.next() => if let Some(end) = life.signal(sign, &admin).await { break end },
            _ = certificates.tick() => life.watch_certificates(),
        }
    };
    life.end(end, signals).await;
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
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

impl Life {
    async fn order(&mut self, request: Request, admin: &Admin) -> Option<End> {
        let mut end = None;
        let answer: Answer = match request.order {
            Order::Status => (200, JSON, status::json(&self.house, self.file.as_deref()).await.to_string()),
            Order::Metrics => (200, "text/plain; version=0.0.4; charset=utf-8", status::metrics(&self.house)),
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
        self.telemetry.reload(&new.log, &new.server, &old.log);
        match self.house.reload(new, clock::wall()).await {
            Ok(()) => {
                self.telemetry.log.always(Level::Info, "reloaded", &format!("{} changes", changes.len()));
                (200, JSON, serde_json::json!({ "ok": true, "changes": changes }).to_string())
            }
            Err(error) => {
                self.telemetry.reload(&old.log, &old.server, &old.log);
                self.telemetry.log.always(Level::Error, "reload-refused", &error.to_string());
                (409, JSON, serde_json::json!({ "ok": false, "message": error.to_string() }).to_string())
            }
        }
    }

    async fn upgrade(&mut self, admin: &Admin) -> Result<u32, String> {
        let Some(file) = &self.file else {
            return Err(
                "a folder served from the command line has no settings file to start again with".to_owned()
            );
        };
        let Some(lock) = &self.lock else { return Err("the data folder is not locked".to_owned()) };
        let result = upgrade::hand_over(&self.house, file, lock, &admin.sockets()).await;
        match &result {
            Ok(process) => self.telemetry.log.always(
                Level::Info,
                "handed-over",
                &format!("to process {process}; draining"),
            ),
            Err(message) => self.telemetry.log.always(Level::Error, "upgrade-failed", message),
        }
        result
    }

    fn watch_certificates(&self) {
        for policies in self.house.policies() {
            for policy in policies.iter() {
                for told in policy.store.reload_changed(clock::wall()) {
                    match told {
                        Ok(source) => self.telemetry.log.always(
                            Level::Info,
                            "certificate-reloaded",
                            &source.certificate.display().to_string(),
                        ),
                        Err(error) => self.telemetry.log.always(
                            Level::Error,
                            "certificate-kept",
                            &format!("{}; the one before stays in use", error as CertificateError),
                        ),
                    }
                }
            }
        }
    }

    async fn end(self, end: End, mut signals: Signals) {
        self.ready.set(false);
        let deadline = self.house.settings().server.drain;
        let data = self.house.settings().server.data.clone();
        let clean = tokio::select! {
            clean = self.house.drain(end == End::Stop, deadline) => clean,
            // Asked twice: now.
            () = signals.stop_again() => false,
        };
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

fn make_data_folder(data: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(|error| {
        cannot(format!(
            "cannot make the data folder {}: {error}; set server.data to a folder the server may write",
            data.display()
        ))
    })
}

/// One server per data folder.
fn lock_data(data: &Path, handed: Option<std::fs::File>) -> Result<std::fs::File, Failure> {
    if let Some(lock) = handed {
        return Ok(lock);
    }
    let path = data.join(LOCK_FILE);
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(
        |error| {
            cannot(format!(
                "cannot write {}: {error}; set server.data to a folder the server may write",
                path.display()
            ))
        },
    )?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(cannot(format!(
            "a server already runs with the data folder {}; `madang status` shows it, `madang stop` ends it",
            data.display()
        ))),
    }
}

/// Tells people and scripts where it listens.
fn announce(house: &House) {
    let mut out = std::io::stdout().lock();
    for listener in house.listeners() {
        // A closed standard output is no reason not to serve.
        let _ = writeln!(out, "madang: listening on {} (site {})", listener.bound, listener.sites.join(", "));
    }
    let _ = writeln!(out, "madang: ready");
    let _ = out.flush();
}

/// The admin surfaces.
pub struct Admin {
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    orders: mpsc::Sender<Request>,
    ready: Rc<Cell<bool>>,
    telemetry: Arc<Telemetry>,
    open: Vec<(String, ListenerSet, Accepting)>,
}

impl Admin {
    fn new(orders: mpsc::Sender<Request>, ready: Rc<Cell<bool>>, telemetry: Arc<Telemetry>) -> Self {
        let gate = Gate::new(GateLimits { connections_max: 256, per_address_max: 0 });
        let worker = Worker::here(usize::MAX, gate, PhaseLimits::default());
        Self { worker, pool: Pool::new(), orders, ready, telemetry, open: Vec::new() }
    }

    fn control_socket(&mut self, data: &Path, handed: Option<Listener>) -> Result<(), Failure> {
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
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(|error| cannot(format!("cannot protect {}: {error}", path.display())))?;
        self.serve("control", set, true)
    }

    fn address(&mut self, address: std::net::SocketAddr, handed: Option<Listener>) -> Result<(), Failure> {
        let address = Address::Tcp(address);
        let set = match handed.and_then(|listener| ListenerSet::inherited(address.clone(), vec![listener])) {
            Some(set) => set,
            None => ListenerSet::bind(&address, 1).map_err(|error| cannot(error.to_string()))?,
        };
        self.serve("admin", set, false)
    }

    fn serve(&mut self, name: &str, set: ListenerSet, trusted: bool) -> Result<(), Failure> {
        let control = Control {
            orders: self.orders.clone(),
            trusted,
            ready: Rc::clone(&self.ready),
            telemetry: Arc::clone(&self.telemetry),
        };
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

    fn sockets(&self) -> Vec<(&str, &[Listener])> {
        self.open.iter().map(|(name, set, _)| (name.as_str(), set.sockets())).collect()
    }
}

/// What signals ask for.
enum Sign {
    Reload,
    Reopen,
    Upgrade,
    Stop,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    upgrade: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Sign {
        tokio::select! {
            _ = self.hangup.recv() => Sign::Reload,
            _ = self.terminate.recv() => Sign::Stop,
            _ = self.interrupt.recv() => Sign::Stop,
            _ = self.reopen.recv() => Sign::Reopen,
            _ = self.upgrade.recv() => Sign::Upgrade,
        }
    }

    async fn stop_again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
