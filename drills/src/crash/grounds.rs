//! What several machines stand on: one PostgreSQL and one NATS, started for a drill.
//!
//! **Job.** Make a cluster in a folder, start both on free ports, say what a machine's settings need, end both.
//! **Called by** `crash`. **Calls** Debian's packages `postgresql` and `nats-server` (tests/setup/install test).
//!
//! Invariants
//! 1. Dropping it ends both, by their own handles.
//!
//! Not here: what befalls the machines (`plan`).
#![allow(clippy::disallowed_methods)] // as `server`: what a drill starts is no child of the house

use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use madang_host::clock;

use super::server::{StartError, free, io};

const READY: Duration = Duration::from_secs(60);

/// Both.
#[derive(Debug)]
pub(super) struct Grounds {
    postgres: Child,
    nats: Child,
    database: String,
    bus: String,
}

impl Grounds {
    /// Starts both in this folder.
    pub(super) async fn start(folder: &Path) -> Result<Self, StartError> {
        let (database, bus) = (free()?, free()?);
        let place = folder.join("postgres");
        std::fs::create_dir(&place).map_err(io("make a folder"))?;
        let user = if rustix::process::geteuid().is_root() { Some(ids("postgres")?) } else { None };
        if let Some((user, group)) = user {
            // PostgreSQL refuses to be root, and has to come through the folder above.
            chown(folder, Some(user), Some(group)).map_err(io("give a folder to PostgreSQL"))?;
            chown(&place, Some(user), Some(group)).map_err(io("give a folder to PostgreSQL"))?;
        }
        let programs = programs()?;
        let run = |program: &str| {
            let mut command = Command::new(programs.join(program));
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let mut made = run("initdb");
        made.arg("-D").arg(place.join("data")).args([
            "-A",
            "trust",
            "-U",
            "madang",
            "-E",
            "UTF8",
            "--locale=C",
        ]);
        let made = made.status().map_err(io("run initdb"))?;
        if !made.success() {
            return Err(StartError::NotReady { said: format!("initdb ended with {made}") });
        }
        let mut postgres = run("postgres");
        postgres.arg("-D").arg(place.join("data")).arg("-p").arg(database.port().to_string());
        postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=100"]);
        postgres.arg("-c").arg(format!("unix_socket_directories={}", place.display()));
        let postgres = postgres.spawn().map_err(io("start PostgreSQL"))?;
        let mut nats = Command::new("nats-server");
        nats.env("PATH", "/usr/sbin:/usr/bin:/usr/local/bin");
        nats.args(["-a", "127.0.0.1", "-p"])
            .arg(bus.port().to_string())
            .arg("-js")
            .arg("-sd")
            .arg(folder.join("nats"));
        let nats = nats.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let nats = nats.map_err(io("start nats-server"))?;
        let grounds = Self {
            postgres,
            nats,
            database: format!("postgres://madang@{database}/postgres"),
            bus: format!("nats://{bus}"),
        };
        let began = clock::now();
        while TcpStream::connect(database).is_err() || TcpStream::connect(bus).is_err() {
            if began.elapsed() > READY {
                return Err(StartError::NotReady { said: "PostgreSQL or NATS did not listen".to_owned() });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(grounds)
    }

    /// What the settings of every machine need.
    pub(super) fn settings(&self) -> String {
        format!("[store]\ndatabase = \"{}\"\n[bus]\nnats = \"{}\"\n", self.database, self.bus)
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        for child in [&mut self.postgres, &mut self.nats] {
            let _ = child.kill(); // nothing of it is needed any more
            let _ = child.wait();
        }
    }
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
