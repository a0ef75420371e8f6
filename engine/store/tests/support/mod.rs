//! A real PostgreSQL, started for one test.
//!
//! **Job.** Make a cluster in a folder of its own, start it on a free port, stop or kill it, remove it.
//! **Called by** tests. **Calls** Debian's package `postgresql` (tests/setup/install).
//!
//! Invariants
//! 1. Dropping a [`Server`] ends it, by its own process number.
#![allow(dead_code, unreachable_pub, clippy::expect_used)] // each test uses its part

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub struct Server {
    folder: TempDir,
    programs: PathBuf,
    /// Its user and group, when we are root: PostgreSQL refuses to be root.
    user: Option<(u32, u32)>,
    pub port: u16,
}

impl Server {
    /// Makes and starts one.
    pub fn start() -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("madang-pg").tempdir_in("/tmp").unwrap();
        let user = rustix::process::geteuid().is_root().then(|| ids("postgres"));
        if let Some((user, group)) = user {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let port = madang_host::process::port::free(|_| false).unwrap();
        let server = Self { folder, programs, user, port };
        let data = server.data();
        server.run(
            "initdb",
            &["-D", &data, "-A", "trust", "-U", "madang", "-E", "UTF8", "--no-sync", "--locale=C"],
        );
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nmax_connections = 60\n\
             shared_buffers = 16MB\nlogging_collector = off\n",
            server.folder.path().display()
        );
        let file = server.folder.path().join("data/postgresql.conf");
        std::fs::write(&file, settings).unwrap();
        server.up();
        server
    }

    /// Speaks TLS from now on, with this certificate and key (PEM).
    pub fn with_tls(&self, certificate: &str, key: &str) {
        use std::os::unix::fs::PermissionsExt;
        let data = PathBuf::from(self.data());
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let file = data.join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = self.user {
                std::os::unix::fs::chown(&file, Some(user), Some(group)).unwrap();
            }
        }
        self.sql("postgres", "ALTER SYSTEM SET ssl = on");
        self.crash();
        self.up();
    }

    /// Starts it (again).
    pub fn up(&self) {
        let log = self.folder.path().join("log");
        self.run("pg_ctl", &["-D", &self.data(), "-l", log.to_str().unwrap(), "-w", "-t", "60", "start"]);
    }

    /// Ends it at once, as a crash would: without writing anything back.
    pub fn crash(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }

    /// A database of its own for each store.
    pub fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.address(name)
    }

    pub fn address(&self, name: &str) -> String {
        format!("postgres://madang@127.0.0.1:{}/{name}", self.port)
    }

    /// Says something to it by its own client.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let port = self.port.to_string();
        self.run(
            "psql",
            &["-h", "127.0.0.1", "-p", &port, "-U", "madang", "-d", database, "-X", "-A", "-t", "-c", sql],
        )
    }

    fn data(&self) -> String {
        self.folder.path().join("data").to_str().unwrap().to_owned()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).current_dir("/tmp").stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        // The server outlives pg_ctl and must not hold a pipe of ours.
        let out = self.folder.path().join("out");
        let file = std::fs::File::create(&out).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let status = command.status().unwrap();
        let said = std::fs::read_to_string(&out).unwrap();
        assert!(status.success(), "{program} {arguments:?}: {said}");
        said.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.data();
        if Path::new(&data).join("postmaster.pid").try_exists().unwrap_or(false) {
            self.crash();
        }
    }
}

fn programs() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is missing: tests/setup/install test")
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    versions.sort();
    versions.pop().expect("PostgreSQL's server is missing: tests/setup/install test")
}

fn ids(user: &str) -> (u32, u32) {
    let known = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = known.lines().find(|line| line.starts_with(&format!("{user}:"))).expect("no user postgres");
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}
