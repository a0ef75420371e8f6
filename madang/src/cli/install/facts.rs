//! What a service manager and a packet filter have to know of the settings.
//!
//! **Job.** Read it out of checked settings, once, for units, rules and `doctor`. Pure.
//! **Called by** `install`, `firewall`, `doctor`. **Calls** nothing.
//!
//! Not here: the words of units (`units`) and rules (`firewall::rules`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use madang_host::net::listen::Address;
use madang_settings::tree::{Table, Value};
use madang_web::config::Action;

use super::place::Place;
use crate::config::Settings;

/// Time beyond what settings allow for draining, before systemd loses patience.
const STOP_BEYOND: Duration = Duration::from_secs(15);
/// Descriptors beside those of connections: files, logs, servers' health checks.
const OPEN_FILES_BESIDE: u64 = 4096;
/// Ports below this one are the machine's (ip_unprivileged_port_start).
const PORTS_OPEN_TO_ALL: u16 = 1024;

/// What the settings ask of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::cli) struct Facts {
    /// Addresses that are kept open, in the settings' order. Not those whose port the kernel chooses.
    pub(in crate::cli) listen: Vec<Address>,
    /// The admin address, where it has a fixed port.
    pub(in crate::cli) admin: Option<SocketAddr>,
    /// The data folder.
    pub(in crate::cli) data: PathBuf,
    /// Every folder that is written, the data folder first.
    pub(in crate::cli) writable: Vec<PathBuf>,
    /// Something lies in somebody's home.
    pub(in crate::cli) homes: bool,
    /// Something lies where others put what they need for a while.
    pub(in crate::cli) temporary: bool,
    /// There are apps.
    pub(in crate::cli) apps: bool,
    /// An app is limited (memory, CPU, processes).
    pub(in crate::cli) limits: bool,
    /// An app sees folders it cannot write: that needs root.
    pub(in crate::cli) read_only: bool,
    /// An app may gain rights.
    pub(in crate::cli) gains_rights: bool,
    /// Users that apps run as.
    pub(in crate::cli) app_users: Vec<String>,
    /// `server.user`.
    pub(in crate::cli) user: Option<String>,
    /// How long a stop may take.
    pub(in crate::cli) stop_within: Duration,
    /// Descriptors.
    pub(in crate::cli) open_files: u64,
}

impl Facts {
    /// Of settings whose paths are absolute; `file` is where they lie.
    pub(in crate::cli) fn of(settings: &Settings, file: &Path) -> Self {
        let listeners = settings.sites.iter().flat_map(|site| &site.listen);
        let listeners = listeners.chain(settings.streams.iter().flat_map(|stream| &stream.listen));
        let mut listen: Vec<Address> = Vec::new();
        for address in listeners.map(|listen| &listen.address) {
            if !matches!(address, Address::Tcp(ip) | Address::Udp(ip) if ip.port() == 0)
                && !listen.contains(address)
            {
                listen.push(address.clone());
            }
        }
        let mut writable = vec![settings.server.data.clone()];
        let mut write = |folder: &Path| {
            if !writable.iter().any(|have| folder.starts_with(have)) {
                writable.push(folder.to_owned());
            }
        };
        for log in [&settings.log.access_file, &settings.log.error_file].into_iter().flatten() {
            // "-" is stdout; /dev is written in every sandbox.
            if let Some(folder) =
                log.parent().filter(|folder| folder.is_absolute() && !folder.starts_with("/dev"))
            {
                write(folder);
            }
        }
        for route in settings.sites.iter().flat_map(|site| &site.routes) {
            match &route.action {
                Action::Files(files) if files.upload => write(&files.root),
                _ => {}
            }
        }
        // A program keeps its database where it lives, more often than not.
        settings.apps.iter().for_each(|app| write(&app.program.dir));
        let mut texts = vec![file.to_string_lossy().into_owned()];
        texts_of(&settings.tree, &mut texts);
        let below = |folders: &[&str]| {
            texts.iter().any(|text| folders.iter().any(|folder| Path::new(text).starts_with(folder)))
        };
        let homes = below(&["/home", "/root", "/run/user"]);
        let temporary = below(&["/tmp", "/var/tmp"]);
        let programs = || settings.apps.iter().map(|app| &app.program);
        let stop = settings.apps.iter().map(|app| app.stop.drain + app.stop.grace).max().unwrap_or_default();
        let mut app_users: Vec<String> = programs().filter_map(|program| program.user.clone()).collect();
        app_users.sort();
        app_users.dedup();
        Self {
            listen,
            admin: settings.server.admin.filter(|admin| admin.port() != 0),
            data: settings.server.data.clone(),
            homes,
            temporary,
            writable: writable.iter().map(|path| path.components().collect()).collect(),
            apps: !settings.apps.is_empty(),
            limits: programs().any(|program| program.limits != Default::default()),
            read_only: programs().any(|program| !program.read_only.is_empty()),
            gains_rights: programs().any(|program| !program.no_new_privs),
            app_users,
            user: settings.server.user.clone(),
            stop_within: settings.server.drain + stop + STOP_BEYOND,
            // A proxied request has two.
            open_files: 2 * u64::from(settings.server.gate.connections_max) + OPEN_FILES_BESIDE,
        }
    }

    /// With paths as that machine knows them.
    pub(in crate::cli) fn on(mut self, place: &Place) -> Self {
        self.data = place.there(&self.data);
        self.writable.iter_mut().for_each(|path| *path = place.there(path));
        self
    }

    /// Whether a port is taken that is not open to all.
    pub(in crate::cli) fn low_ports(&self) -> bool {
        self.listen.iter().any(
            |address| matches!(address, Address::Tcp(ip) | Address::Udp(ip) if ip.port() < PORTS_OPEN_TO_ALL),
        )
    }

    /// Whether the server has to begin as root to do what the settings say, as a service that runs as `user`.
    pub(in crate::cli) fn needs_root(&self, user: &str) -> bool {
        self.read_only || self.app_users.iter().any(|app| app != user)
    }
}

/// Every text of the settings: one of them may be a path.
fn texts_of(table: &Table, found: &mut Vec<String>) {
    table.entries.iter().for_each(|entry| texts_in(&entry.node.value, found));
}

fn texts_in(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Text(text) => found.push(text.clone()),
        Value::List(nodes) => nodes.iter().for_each(|node| texts_in(&node.value, found)),
        Value::Table(table) => texts_of(table, found),
        _ => {}
    }
}
