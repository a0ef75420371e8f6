//! The server of a drill: a child process that is killed on purpose.
//!
//! **Job.** Write its settings into a folder of its own, start it, wait until it is ready, kill it. **Called by** `crash`.
//!
//! Invariants
//! 1. Its ports are chosen once: clients find it again after every kill.
//! 2. Dropping it ends the process, by its handle.
//!
//! Not here: what is said to it (the clients).
#![allow(clippy::disallowed_methods)] // the server under test is no child of the house: nothing of `host::process` may look after it

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;

use super::grounds::Grounds;
use super::network::{self, Inside, Wire};

const READY: Duration = Duration::from_secs(30);

/// Where a server's faces are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    /// HTTP and websocket.
    pub http: SocketAddr,
    /// IRC.
    pub irc: SocketAddr,
    /// Lines of text.
    pub line: SocketAddr,
}

/// A server that is running, or was killed.
#[derive(Debug)]
pub(super) struct Server {
    program: PathBuf,
    folder: PathBuf,
    /// Where it listens, killed or not.
    pub addresses: Addresses,
    child: Option<Child>,
    /// On which of the machines with networks of their own.
    place: Option<(Rc<Inside>, u32)>,
}

/// It did not start.
#[derive(Debug)]
pub enum StartError {
    /// The kernel said no.
    Io {
        /// To what.
        doing: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// It ended, or was not ready in time.
    NotReady {
        /// What it wrote to standard error last.
        said: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, error } => write!(f, "{doing}: {error}"),
            Self::NotReady { said } => {
                write!(f, "the server was not ready within {READY:?}; it said:\n{said}")
            }
        }
    }
}

pub(super) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::Io { doing, error }
}

impl Server {
    /// Writes the settings and starts it.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) async fn start(
        program: &Path,
        folder: &Path,
        faces: &[super::Face],
        grounds: Option<&Grounds>,
        place: Option<(Rc<Inside>, u32)>,
    ) -> Result<Self, StartError> {
        std::fs::create_dir(folder).map_err(io("make a folder"))?;
        let addresses = match &place {
            None => Addresses { http: free()?, irc: free()?, line: free()? },
            Some((_, node)) => {
                let at = |port| SocketAddr::from((network::address(*node, Wire::Clients), port));
                Addresses { http: at(8080), irc: at(6667), line: at(7000) }
            }
        };
        let program = program.canonicalize().map_err(io("find the server's program"))?;
        std::fs::write(folder.join("madang.toml"), settings(addresses, faces, grounds))
            .map_err(io("write settings"))?;
        let mut server = Self { program, folder: folder.to_owned(), addresses, child: None, place };
        server.again().await?;
        Ok(server)
    }

    /// Starts it again in the same folder.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) async fn again(&mut self) -> Result<(), StartError> {
        let log =
            std::fs::File::options().create(true).append(true).open(self.log()).map_err(io("write a log"))?;
        let mut command = match &self.place {
            None => Command::new(&self.program),
            Some((inside, node)) => inside.command(*node, &self.program),
        };
        let mut child = command
            .args(["run", "-c"])
            .arg(self.folder.join("madang.toml"))
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(io("start the server"))?;
        let out = child.stdout.take();
        self.child = Some(child);
        let out = out.ok_or(io::ErrorKind::BrokenPipe.into()).map_err(io("read the server's output"))?;
        let out = pipe::Receiver::from_owned_fd(out.into()).map_err(io("read the server's output"))?;
        let mut lines = BufReader::new(out).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "madang: ready" {
                    return true;
                }
            }
            false
        };
        if !tokio::time::timeout(READY, ready).await.unwrap_or(false) {
            return Err(StartError::NotReady { said: self.said() });
        }
        // It never waits for a reader of its output.
        tokio::task::spawn_local(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(())
    }

    /// SIGKILL, and waits until the kernel has taken it away.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill(); // it may have ended on its own
            let _ = child.wait();
        }
    }

    /// SIGSTOP or SIGCONT.
    pub(super) fn signal(&self, signal: Signal) {
        let pid =
            self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal); // it may have ended: then the drill finds out
        }
    }

    /// Whether it ended without being told to.
    pub(super) fn ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// The end of what it wrote to standard error.
    pub(super) fn said(&self) -> String {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let from = text.len().saturating_sub(4_000);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("stderr.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody holds now.
pub(super) fn free() -> Result<SocketAddr, StartError> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io("find a free port"))?;
    probe.local_addr().map_err(io("find a free port"))
}

fn settings(addresses: Addresses, faces: &[super::Face], grounds: Option<&Grounds>) -> String {
    let Addresses { http, irc, line } = addresses;
    let mut listen = Vec::new();
    if faces.contains(&super::Face::Irc) {
        listen.push(format!("\"irc://{irc}\""));
    }
    if faces.contains(&super::Face::Line) {
        listen.push(format!("\"line://{line}\""));
    }
    let listen =
        if listen.is_empty() { String::new() } else { format!("listen = [{}]\n", listen.join(", ")) };
    let shared = grounds.map(Grounds::settings).unwrap_or_default();
    format!(
        "[server]\ndata = \"data\"\nworkers = 2\n\n[site.main]\nlisten = \"http://{http}\"\n\
         route = [{{ path = \"/chat/*\", chat = \"town\" }}]\n\n\
         [chat.town]\n{listen}history = \"forever\"\nguests = true\nrate = \"1000/s\"\nburst = 1000\n{shared}"
    )
}
