//! What several machines stand on: one PostgreSQL and one NATS, started for a drill.
//!
//! **Job.** Make a cluster in a folder, start both on free ports, say what a machine's settings need, end both and start them again.
//! **Called by** `house`. **Calls** Debian's packages `postgresql` and `nats-server` (tests/setup/install test).
//!
//! Invariants
//! 1. Dropping it ends both, by their own handles.
//! 2. Both are found again where they were; what PostgreSQL had answered is on its disk.
//!
//! Not here: what befalls them and when (`plan`).
#![allow(clippy::disallowed_methods)] // as `server`: what a drill starts is no child of the house

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use madang_host::clock;
use rustix::process::{Pid, Signal, kill_process};

use super::network::Wire;
use super::server::{StartError, free, io};

const READY: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Both.
#[derive(Debug)]
pub(super) struct Grounds {
    folder: PathBuf,
    programs: PathBuf,
    /// Whom PostgreSQL runs as, when this runs as root.
    user: Option<(u32, u32)>,
    database: SocketAddr,
    bus: SocketAddr,
    postgres: Option<Child>,
    nats: Option<Child>,
}

impl Grounds {
    /// Starts both in this folder; with `wires`, where the machines' wires end.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) async fn start(folder: &Path, wires: bool) -> Result<Self, StartError> {
        let (mut database, mut bus) = (free()?, free()?);
        if wires {
            database.set_ip(IpAddr::V4(Wire::Database.near()));
            bus.set_ip(IpAddr::V4(Wire::Bus.near()));
        }
        let user = if rustix::process::geteuid().is_root() { Some(ids("postgres")?) } else { None };
        let (folder, programs) = (folder.to_owned(), programs()?);
        let mut grounds = Self { folder, programs, user, database, bus, postgres: None, nats: None };
        grounds.make_cluster()?;
        grounds.database_again().await?;
        grounds.bus_again().await?;
        Ok(grounds)
    }

    /// What the settings of every machine need.
    pub(super) fn settings(&self) -> String {
        let Self { database, bus, .. } = self;
        format!(
            "[store]\ndatabase = \"postgres://madang@{database}/postgres?sslmode=disable\"\n[bus]\nnats = \"nats://{bus}\"\n"
        )
    }

    /// PostgreSQL ends at once, without writing anything more: what it has to know it reads from its log.
    pub(super) fn end_database(&mut self) {
        let Some(mut postgres) = self.postgres.take() else { return };
        if let Some(pid) = i32::try_from(postgres.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::QUIT); // it may have ended by itself
        }
        let _ = postgres.wait();
    }

    /// NATS is killed.
    pub(super) fn end_bus(&mut self) {
        if let Some(mut nats) = self.nats.take() {
            let _ = nats.kill(); // it may have ended by itself
            let _ = nats.wait();
        }
    }

    /// Starts PostgreSQL where it was.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) async fn database_again(&mut self) -> Result<(), StartError> {
        let place = self.place();
        let mut postgres = self.run("postgres");
        postgres.arg("-D").arg(place.join("data")).arg("-p").arg(self.database.port().to_string());
        postgres.arg("-c").arg(format!("listen_addresses={}", self.database.ip()));
        postgres.args(["-c", "max_connections=100"]);
        postgres.arg("-c").arg(format!("unix_socket_directories={}", place.display()));
        self.postgres = Some(postgres.spawn().map_err(io("start PostgreSQL"))?);
        listens(self.database, "PostgreSQL").await
    }

    /// Starts NATS where it was.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) async fn bus_again(&mut self) -> Result<(), StartError> {
        let mut nats = Command::new("nats-server");
        nats.env("PATH", "/usr/sbin:/usr/bin:/usr/local/bin");
        nats.args(["-a", &self.bus.ip().to_string(), "-p", &self.bus.port().to_string(), "-js", "-sd"]);
        nats.arg(self.folder.join("nats"));
        let nats = nats.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.nats = Some(nats.map_err(io("start nats-server"))?);
        listens(self.bus, "NATS").await
    }

    fn place(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    fn make_cluster(&self) -> Result<(), StartError> {
        let place = self.place();
        std::fs::create_dir(&place).map_err(io("make a folder"))?;
        if let Some((user, group)) = self.user {
            // PostgreSQL refuses to be root, and has to come through the folder above.
            chown(&self.folder, Some(user), Some(group)).map_err(io("give a folder to PostgreSQL"))?;
            chown(&place, Some(user), Some(group)).map_err(io("give a folder to PostgreSQL"))?;
        }
        let mut made = self.run("initdb");
        made.arg("-D").arg(place.join("data"));
        made.args(["-A", "trust", "-U", "madang", "-E", "UTF8", "--locale=C"]);
        let made = made.status().map_err(io("run initdb"))?;
        if !made.success() {
            return Err(StartError::NotReady { said: format!("initdb ended with {made}") });
        }
        let rules = std::fs::File::options().append(true).open(place.join("data/pg_hba.conf"));
        let mut rules = rules.map_err(io("say who may come to PostgreSQL"))?;
        let wire = Wire::Database.near();
        writeln!(rules, "host all all {wire}/24 trust").map_err(io("say who may come to PostgreSQL"))
    }

    fn run(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        self.end_database();
        self.end_bus();
    }
}

async fn listens(address: SocketAddr, what: &str) -> Result<(), StartError> {
    let began = clock::now();
    while TcpStream::connect(address).is_err() {
        if began.elapsed() > READY {
            return Err(StartError::NotReady { said: format!("{what} did not listen at {address}") });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn programs() -> Result<PathBuf, StartError> {
    let folders =
        std::fs::read_dir("/usr/lib/postgresql").map_err(io("find PostgreSQL (tests/setup/install test)"))?;
    let programs =
        folders.flatten().map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").is_file());
    programs.max().ok_or(StartError::NotReady { said: "no initdb: tests/setup/install test".to_owned() })
}

/// User and group of a name.
fn ids(user: &str) -> Result<(u32, u32), StartError> {
    let known = std::fs::read_to_string("/etc/passwd").map_err(io("read /etc/passwd"))?;
    let line = known.lines().find_map(|line| line.strip_prefix(user)?.strip_prefix(':'));
    let mut fields = line.unwrap_or_default().split(':').skip(1);
    let mut number = || fields.next().and_then(|field| field.parse().ok());
    match (number(), number()) {
        (Some(user), Some(group)) => Ok((user, group)),
        _ => Err(StartError::NotReady { said: format!("no user {user} on this machine") }),
    }
}
