//! A real NATS server, started for one test of the program.
//!
//! **Job.** Start it on a free port with a folder of its own and what the test adds to its settings; kill it, start it again.
//! **Called by** tests of several machines. **Calls** Debian's package `nats-server` (tests/setup/install).
//!
//! Invariants
//! 1. Dropping a [`Nats`] ends it, by its own process number.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use super::PATIENCE;

/// One server.
pub struct Nats {
    folder: TempDir,
    child: Option<Child>,
    settings: String,
    /// Where it listens, of 127.0.0.1.
    pub port: u16,
}

impl Nats {
    /// With these lines in its settings file.
    #[track_caller]
    pub fn start(settings: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("madang-nats").tempdir_in("/tmp").unwrap();
        let port = madang_host::process::port::free(|_| false).unwrap();
        let mut server = Self { folder, child: None, settings: settings.to_owned(), port };
        server.up();
        server
    }

    /// Starts it (again) and waits until it answers.
    #[track_caller]
    pub fn up(&mut self) {
        let place = self.folder.path();
        let file = place.join("nats.conf");
        std::fs::write(&file, format!("host: 127.0.0.1\nport: {}\n{}\n", self.port, self.settings)).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(place.join("log")).unwrap();
        let mut command = Command::new("nats-server");
        command.env("PATH", "/usr/sbin:/usr/bin:/usr/local/bin").arg("-c").arg(&file);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().expect("nats-server is missing: tests/setup/install test"));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "nats-server does not answer: {}", self.log());
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
    }

    /// Ends it at once, as a crash would.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.crash();
    }
}
