//! A real NATS server, started for one test.
//!
//! **Job.** Start it on a free port with a folder of its own, stop or kill it, start it again. **Called by** tests.
//! **Calls** Debian's package `nats-server` (tests/setup/install).
//!
//! Invariants
//! 1. Dropping a [`Server`] ends it, by its own process number.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods
)] // each test uses its part

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use madang_bus::Bus;
use madang_bus::config::{Address, BusSettings, NatsSettings};
use madang_host::clock;
use tempfile::TempDir;

/// Nothing here takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    folder: TempDir,
    child: Option<Child>,
    /// More of its settings file.
    settings: String,
    jetstream: bool,
    pub port: u16,
}

impl Server {
    pub fn start() -> Self {
        Self::with("")
    }

    /// With more lines in its settings file.
    pub fn with(settings: &str) -> Self {
        Self::make(settings, true)
    }

    pub fn without_jetstream() -> Self {
        Self::make("", false)
    }

    /// With more lines in its settings file, and without JetStream.
    pub fn with_only(settings: &str) -> Self {
        Self::make(settings, false)
    }

    fn make(settings: &str, jetstream: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("madang-nats").tempdir_in("/tmp").unwrap();
        let port = madang_host::process::port::free(|_| false).unwrap();
        let mut server = Self { folder, child: None, settings: settings.to_owned(), jetstream, port };
        server.up();
        server
    }

    /// Starts it (again), with what it stored before, and waits until it answers.
    pub fn up(&mut self) {
        let place = self.folder.path();
        let store = place.join("store");
        let jetstream = format!("jetstream {{ store_dir: {store:?}, max_file: 1GB }}");
        let jetstream = if self.jetstream { &*jetstream } else { "" };
        let text = format!("host: 127.0.0.1\nport: {}\n{jetstream}\n{}\n", self.port, self.settings);
        let file = place.join("nats.conf");
        std::fs::write(&file, text).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(place.join("log")).unwrap();
        let child = Command::new("nats-server")
            .env("PATH", "/usr/sbin:/usr/bin:/usr/local/bin")
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("nats-server is missing: tests/setup/install test");
        self.child = Some(child);
        let port = self.port;
        until("nats-server answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Ends it at once, as a crash would.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// `STOP`: it stands still until `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn settings(&self, cluster: &str) -> NatsSettings {
        NatsSettings {
            servers: vec![Address::new(&self.address()).unwrap()],
            credentials: None,
            ca: None,
            certificate: None,
            cluster: cluster.to_owned(),
        }
    }

    /// A machine's bus.
    pub fn bus(&self, cluster: &str) -> Bus {
        Bus::start(&BusSettings::Nats(Box::new(self.settings(cluster))), |_| {}).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

/// Waits until all these buses of one cluster have heard of each other.
pub fn acquainted(buses: &[&Bus]) {
    until("the machines know each other", || {
        buses.iter().all(|bus| bus.numbers().1.unwrap().nodes == buses.len() as u64 - 1)
    });
}

/// Looks again and again until it is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun: Instant = clock::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        // The thing waited for is in another process or on another thread and calls nobody.
        std::thread::sleep(Duration::from_millis(10));
    }
}
