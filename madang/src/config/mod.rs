//! The settings as a whole.
//!
//! **Job.** Join the sections of every owner into one table, load a file, check what only the whole can tell.
//! **Called by** `cli` and the running server. **Calls** `settings`, the owners' `config.rs`.
//!
//! Invariants
//! 1. Nothing is bound, written or started while settings are read.
//! 2. [`Settings`] in hand means: no error anywhere, certificates included.
//!
//! Not here: what a change means (`diff`), what runs (`assemble`).

mod alerts;
mod apps;
mod bus;
mod chats;
pub mod diff;
pub mod disk;
mod per_connection;
mod scalers;
pub mod serve_folder;
mod store;
mod streams;

pub use self::store::{identity, store};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use madang_balance::config::{POOL, PoolSettings, STREAM, StreamSettings};
use madang_bus::config::{BUS, BusSettings};
use madang_chat::config::{CHAT, ChatSettings};
use madang_console::config::{ALERT, AlertSettings};
use madang_host::config::{
    Certificates, LIMITS, LOG, Limits, Listen, LogSettings, SERVER, Server, TlsSettings,
};
use madang_host::net::listen::Address;
use madang_host::rights::{Identity, RightsError};
use madang_host::tls::store::{CertificateError, Pair};
use madang_identity::config::{IDENTITY, ISSUER, IdentitySettings, IssuerSettings, check_issuers};
use madang_settings::reader::Reader;
use madang_settings::report::{Mark, Report};
use madang_settings::schema::{Key, Kind, Section};
use madang_settings::source::{self, Source};
use madang_settings::tree::Table;
use madang_store::config::{STORE, StoreSettings};
use madang_supervise::config::{APP, AppSettings, SCALER, ScalerSettings};
use madang_web::config::{Action, Auth, Route, SITE, Site};

/// A whole settings file: every section this build knows.
pub static ROOT: Section = Section {
    title: "madang.toml",
    doc: "TOML 1.0. First match wins, top to bottom; nothing is inherited in secret. `${NAME}` reads the environment, `${NAME:-default}` with a default.",
    keys: &[
        Key {
            name: "include",
            kind: Kind::List(&Kind::Path),
            default: "",
            doc: "More settings files, for example `\"conf.d/*.toml\"`.",
        },
        Key { name: "server", kind: Kind::Table(&SERVER), default: "", doc: "The machine's side." },
        Key { name: "limits", kind: Kind::Table(&LIMITS), default: "", doc: "Times and sizes." },
        Key { name: "log", kind: Kind::Table(&LOG), default: "", doc: "Logs." },
        Key { name: "store", kind: Kind::Table(&STORE), default: "", doc: "Data that must not be lost." },
        Key { name: "bus", kind: Kind::Table(&BUS), default: "", doc: "Several machines as one." },
        Key { name: "site", kind: Kind::Named(&SITE), default: "", doc: "Web sites by name." },
        Key { name: "pool", kind: Kind::Named(&POOL), default: "", doc: "Pools of servers by name." },
        Key { name: "app", kind: Kind::Named(&APP), default: "", doc: "Programs that Madang runs, by name." },
        Key {
            name: "alert",
            kind: Kind::Named(&ALERT),
            default: "",
            doc: "Who is told when something goes wrong.",
        },
        Key {
            name: "scaler",
            kind: Kind::Named(&SCALER),
            default: "",
            doc: "Servers beyond this machine, by the name of their pool or app.",
        },
        Key {
            name: "stream",
            kind: Kind::Named(&STREAM),
            default: "",
            doc: "Connections that go to a pool byte by byte.",
        },
        Key { name: "chat", kind: Kind::Named(&CHAT), default: "", doc: "Chats by name." },
        Key { name: "identity", kind: Kind::Table(&IDENTITY), default: "", doc: "Who may come in." },
        Key { name: "issuer", kind: Kind::Named(&ISSUER), default: "", doc: "Others who vouch for users." },
    ],
};

/// Everything, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `[server]`.
    pub server: Server,
    /// `[limits]`.
    pub limits: Limits,
    /// `[log]`.
    pub log: LogSettings,
    /// `[store]`.
    pub store: StoreSettings,
    /// `[bus]`.
    pub bus: BusSettings,
    /// The pools in the order they were written.
    pub pools: Vec<Arc<PoolSettings>>,
    /// The apps in the order they were written.
    pub apps: Vec<Arc<AppSettings>>,
    /// The alerts in the order they were written.
    pub alerts: Vec<Arc<AlertSettings>>,
    /// The scalers in the order they were written.
    pub scalers: Vec<Arc<ScalerSettings>>,
    /// The streams in the order they were written.
    pub streams: Vec<Arc<StreamSettings>>,
    /// The chats in the order they were written.
    pub chats: Vec<Arc<ChatSettings>>,
    /// `[identity]`.
    pub identity: IdentitySettings,
    /// The issuers in the order they were written.
    pub issuers: Vec<Arc<IssuerSettings>>,
    /// Whether anything here has to do with logins.
    pub logins: bool,
    /// The sites in the order they were written.
    pub sites: Vec<Arc<Site>>,
    /// What was written, for `plan`.
    pub tree: Table,
}

impl Settings {
    /// Every listener once, with the sites it serves, in the settings' order.
    pub fn listeners(&self) -> Vec<(Listen, Vec<Arc<Site>>)> {
        let mut all: Vec<(Listen, Vec<Arc<Site>>)> = Vec::new();
        for site in &self.sites {
            for listen in &site.listen {
                // A port of 0 is another one for each scheme: the kernel chooses.
                match all
                    .iter_mut()
                    .find(|(have, _)| have.address == listen.address && have.secure == listen.secure)
                {
                    Some((have, sites)) => {
                        // A plain mention beside one with options takes those options.
                        if is_plain(have) {
                            *have = listen.clone();
                        }
                        if !sites.iter().any(|have| Arc::ptr_eq(have, site)) {
                            sites.push(Arc::clone(site));
                        }
                    }
                    None => all.push((listen.clone(), vec![Arc::clone(site)])),
                }
            }
        }
        all
    }
}

fn is_plain(listen: &Listen) -> bool {
    Listen::plain(&listen.name).is_some_and(|plain| plain == *listen)
}

/// Loads and checks a settings file. The report holds warnings on success, at least one error on failure.
pub fn load(path: &Path, now: SystemTime) -> (Option<Settings>, Report) {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    load_from(path, &environment, &disk::Disk, now)
}

/// The same from any source.
pub fn load_from(
    path: &Path,
    environment: &BTreeMap<String, String>,
    source: &dyn Source,
    now: SystemTime,
) -> (Option<Settings>, Report) {
    let mut report = Report::default();
    let tree = source::load(path, environment, source, &mut report);
    if report.has_errors() && tree.entries.is_empty() {
        return (None, report);
    }
    let mut root = Reader::root(&tree, &ROOT, &mut report);
    let server = root.table_or_default("server", &SERVER, Server::read);
    let limits = root.table_or_default("limits", &LIMITS, Limits::read);
    let log = root.table_or_default("log", &LOG, LogSettings::read);
    let store = root.table_or_default("store", &STORE, StoreSettings::read);
    let bus = root.table_or_default("bus", &BUS, BusSettings::read);
    let sites: Vec<Arc<Site>> = root.named("site", &SITE, |r, name| {
        let site = Site::read(r, name);
        check_certificates(r, site.tls.as_ref(), &site.hosts, now);
        Arc::new(site)
    });
    let pools: Vec<Arc<PoolSettings>> =
        root.named("pool", &POOL, |r, name| Arc::new(PoolSettings::read(r, name)));
    let streams: Vec<Arc<StreamSettings>> = root.named("stream", &STREAM, |r, name| {
        let stream = StreamSettings::read(r, name);
        check_certificates(r, stream.tls.as_ref(), &stream.names(), now);
        Arc::new(stream)
    });
    let chats: Vec<Arc<ChatSettings>> = root.named("chat", &CHAT, |r, name| {
        let chat = ChatSettings::read(r, name);
        check_certificates(r, chat.tls.as_ref(), &[], now);
        Arc::new(chat)
    });
    let identity = root.table_or_default("identity", &IDENTITY, IdentitySettings::read);
    let issuers: Vec<Option<Arc<IssuerSettings>>> =
        root.named("issuer", &ISSUER, |r, name| IssuerSettings::read(r, name).map(Arc::new));
    let issuers: Vec<Arc<IssuerSettings>> = issuers.into_iter().flatten().collect();
    check_issuers(&mut root, &issuers);
    let wants =
        |route: &Route| route.action == Action::Identity || matches!(route.auth, Some(Auth::Login(_)));
    let asked_for = |site: &Arc<Site>| site.routes.iter().any(wants);
    let logins =
        root.has("identity") || !issuers.is_empty() || !chats.is_empty() || sites.iter().any(asked_for);
    let apps: Vec<Arc<AppSettings>> = root.named("app", &APP, |r, name| Arc::new(AppSettings::read(r, name)));
    apps::check(&mut root, &apps, &pools, &server);
    let alerts: Vec<Arc<AlertSettings>> =
        root.named("alert", &ALERT, |r, name| Arc::new(AlertSettings::read(r, name)));
    let known = alerts::Known {
        apps: apps.iter().map(|app| &*app.name).collect(),
        pools: pools.iter().map(|pool| &*pool.name).collect(),
        sites: sites
            .iter()
            .map(|site| &*site.name)
            .chain(streams.iter().map(|stream| &*stream.name))
            .collect(),
    };
    alerts::check(&mut root, &alerts, &known);
    let scalers: Vec<Arc<ScalerSettings>> =
        root.named("scaler", &SCALER, |r, name| Arc::new(ScalerSettings::read(r, name)));
    scalers::check(&mut root, &scalers, &pools, &apps);
    let targets = apps::targets(&pools, &apps);
    check_pools(&mut root, &sites, &targets);
    streams::check(&mut root, &streams, &sites, &pools, &targets);
    bus::check(&mut root, &bus, &store, logins);
    chats::check(&mut root, &chats, &sites, &streams);
    per_connection::check(&mut root, &apps::per_connection(&apps), &sites, &streams);
    if sites.is_empty()
        && streams.is_empty()
        && apps.is_empty()
        && chats.is_empty()
        && !root.has("site")
        && !root.report.has_errors()
    {
        let help = Some("the smallest one:\n    [site.main]\n    listen = \"http://127.0.0.1:8080\"\n    route = [{ files = \"public\" }]".to_owned());
        root.report.error(root.mark(), "site", "there is no site to serve", help);
    }
    check_listeners(&mut root, &sites);
    check_server(&mut root, &server);
    check_log(&mut root, &log);
    if report.has_errors() {
        return (None, report);
    }
    (
        Some(Settings {
            server,
            limits,
            log,
            store,
            bus,
            pools,
            apps,
            scalers,
            alerts,
            streams,
            chats,
            identity,
            issuers,
            logins,
            sites,
            tree,
        }),
        report,
    )
}

/// The data folder of a file that may be broken in other places: commands must find the running server.
pub fn data_folder(path: &Path) -> PathBuf {
    let mut report = Report::default();
    let environment = std::env::vars().collect();
    let tree = source::load(path, &environment, &disk::Disk, &mut report);
    let mut root = Reader::root(&tree, &ROOT, &mut report);
    root.table_or_default("server", &SERVER, |r| r.path_or_default("data"))
}

fn check_certificates(r: &mut Reader<'_>, tls: Option<&TlsSettings>, hosts: &[String], now: SystemTime) {
    let Some(tls) = tls else { return };
    if let Err(error) = tls.client_auth.check() {
        r.error("client_auth", error.to_string(), None);
    }
    let Certificates::Files(files) = &tls.certificates else { return };
    let mut names = Vec::new();
    for source in files {
        match Pair::load(&source.certificate, &source.key, now) {
            Ok(pair) => {
                let days = pair.days_left(now);
                if days < 14 {
                    r.warn(
                        "tls",
                        format!("the certificate in {} ends in {days} days", source.certificate.display()),
                        None,
                    );
                }
                names.extend(pair.names);
            }
            Err(error) => {
                let help = match &error {
                    CertificateError::Unreadable { .. } => {
                        Some("is the path right, and may the server's user read it?".to_owned())
                    }
                    _ => None,
                };
                r.error("tls", error.to_string(), help);
            }
        }
    }
    for host in hosts {
        let covered =
            names.iter().any(|name| name == host || madang_host::tls::store::name_matches(name, host));
        if !covered && !names.is_empty() {
            r.warn("tls", format!("no certificate here is for {host}"), None);
        }
    }
}

/// A route that proxies leads to a pool or an app that is there.
fn check_pools(root: &mut Reader<'_>, sites: &[Arc<Site>], targets: &[&str]) {
    for site in sites {
        for (place, route) in site.routes.iter().enumerate() {
            let Action::Proxy(proxy) = &route.action else { continue };
            for (key, pool) in proxy.pools() {
                if targets.contains(&pool) {
                    continue;
                }
                let mark = root.mark_below(&["site", &site.name, "route"]);
                let key = format!("site.{}.route[{place}].{key}", site.name);
                no_such_pool(root, mark, &key, pool, targets);
            }
        }
    }
}

fn no_such_pool(root: &mut Reader<'_>, mark: Mark, key: &str, wanted: &str, known: &[&str]) {
    let help = if known.is_empty() {
        format!("for example\n    [pool.{wanted}]\n    servers = [\"127.0.0.1:3000\"]")
    } else {
        format!("known here: {}", known.join(", "))
    };
    root.report.error(mark, key, format!("there is no pool {wanted:?}"), Some(help));
}

/// What holds between sites: one address has one scheme and one set of options; one name on it has one site.
fn check_listeners(root: &mut Reader<'_>, sites: &[Arc<Site>]) {
    let mut seen: Vec<(&Listen, &Site)> = Vec::new();
    for site in sites {
        for listen in &site.listen {
            let key = format!("site.{}.listen", site.name);
            let mark = root.mark_below(&["site", &site.name, "listen"]);
            for (other, whose) in seen.iter().filter(|(other, _)| overlap(&other.address, &listen.address)) {
                let message = if other.secure != listen.secure {
                    format!(
                        "{} is http in one place and https in another (site.{})",
                        listen.address, whose.name
                    )
                } else if other.address != listen.address {
                    format!(
                        "{} and {} (site.{}) cannot both be opened: one is for all addresses",
                        listen.address, other.address, whose.name
                    )
                } else if other != &listen && !is_plain(other) && !is_plain(listen) {
                    format!("{} has different options here and in site.{}", listen.address, whose.name)
                } else if whose.name != site.name && same_host(whose, site) {
                    let names =
                        if site.hosts.is_empty() { "any host".to_owned() } else { site.hosts.join(", ") };
                    format!("site.{} already answers on {} for {names}", whose.name, listen.address)
                } else {
                    continue;
                };
                root.report.error(mark, &key, message, None);
            }
            seen.push((listen, site));
        }
    }
}

fn overlap(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Tcp(a), Address::Tcp(b)) | (Address::Udp(a), Address::Udp(b)) => {
            let any = a.ip().is_unspecified() || b.ip().is_unspecified();
            a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && (a.ip() == b.ip() || any)
        }
        (a, b) => a == b,
    }
}

fn same_host(a: &Site, b: &Site) -> bool {
    (a.hosts.is_empty() && b.hosts.is_empty()) || a.hosts.iter().any(|host| b.hosts.contains(host))
}

/// Log files are opened at the start; a folder that is not there is told before.
fn check_log(root: &mut Reader<'_>, log: &LogSettings) {
    for (key, path) in [("access_file", &log.access_file), ("error_file", &log.error_file)] {
        let Some(path) = path.as_ref().filter(|path| path.as_os_str() != "-") else { continue };
        let (mark, key) = (root.mark_below(&["log", key]), format!("log.{key}"));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if path.is_dir() {
            let message = format!("{} is a folder, a file is needed", path.display());
            root.report.error(mark, &key, message, None);
        } else if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let help = Some(format!("make it: mkdir -p {}", folder.display()));
            root.report.error(mark, &key, format!("there is no folder {}", folder.display()), help);
        }
    }
}

fn check_server(root: &mut Reader<'_>, server: &Server) {
    if std::fs::metadata(&server.data).is_ok_and(|meta| !meta.is_dir()) {
        let mark = root.mark_below(&["server", "data"]);
        let message = format!("{} is a file, a folder is needed", server.data.display());
        root.report.error(mark, "server.data", message, None);
    }
    if let Some(admin) = server.admin
        && !admin.ip().is_loopback()
    {
        let help = Some(
            "metrics tell a lot about a site: use 127.0.0.1, or close the port to the outside".to_owned(),
        );
        let mark = root.mark_below(&["server", "admin"]);
        root.report.warn(mark, "server.admin", format!("{admin} can be reached from other machines"), help);
    }
    if let Some(user) = &server.user
        && let Err(RightsError::NoSuchUser { .. }) = Identity::find(user)
    {
        let help = Some(format!("make it: useradd --system --no-create-home {user}"));
        let mark = root.mark_below(&["server", "user"]);
        root.report.error(mark, "server.user", format!("this machine has no user {user:?}"), help);
    }
}
