//! A program of somebody else's, started with exactly what it is to have.
//!
//! **Job.** Turn a [`Launch`] into a process in a group of its own. **Called by** `roles/supervise`. **Calls** the kernel.
//!
//! How: the process begins as this very program (`/proc/self/exe`, whatever lies on disk by now) with the word
//! [`exec::WORD`]; what the standard library cannot set between fork and exec without `unsafe` is set there, by code that may
//! allocate and fail with a sentence (docs/decisions/0014-apps-by-a-second-self.md).
//!
//! Invariants
//! 1. Nothing secret is in the arguments: the environment goes as the environment.
//! 2. The process gets descriptors 0, 1, 2, and 3 if it inherits a listener; nothing else.
//!
//! Not here: what happens in the child (`exec`), waiting (`running`).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::exec;
use super::gate::Gate;
use super::running::Running;
use super::zygote::Farewell;

/// Everything a program is started with.
#[derive(Debug)]
pub struct Launch {
    /// The program and its arguments.
    pub run: Vec<String>,
    /// Its working directory.
    pub dir: PathBuf,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Who it runs as; `None`: as we do.
    pub user: Option<String>,
    /// A listening socket it inherits as descriptor 3, with LISTEN_FDS and LISTEN_PID.
    pub listener: Option<OwnedFd>,
    /// Where its stdout goes.
    pub output: OwnedFd,
    /// Where its stderr goes.
    pub errors: OwnedFd,
    /// It becomes no program but starts them by order, from this socket ([`super::zygote`]).
    pub zygote: Option<(OwnedFd, Farewell)>,
    /// `cgroup.procs` files it joins.
    pub join: Vec<PathBuf>,
    /// It gains no rights by executing something (PR_SET_NO_NEW_PRIVS).
    pub no_new_privs: bool,
    /// Folders it cannot write.
    pub read_only: Vec<PathBuf>,
    /// An image's files are all it sees; then `dir` and `read_only` are seen from there. Needs root.
    pub root: Option<Root>,
}

/// A root of its own.
#[derive(Debug)]
pub struct Root {
    /// The folder.
    pub folder: PathBuf,
    /// Who the image wants to be run as, when [`Launch::user`] does not say: `name`, `name:group`, or numbers.
    pub user: Option<String>,
}

/// Starts it.
///
/// # Errors
/// No process could be made. That the program itself cannot be run is told by its output and the code 126 or 127.
pub fn spawn(launch: Launch) -> io::Result<Running> {
    start(launch, None)
}

/// The same, but it begins only when the gate is open: dropped by whoever wrote its record.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_behind(gate: &Gate, launch: Launch) -> io::Result<Running> {
    start(launch, Some(gate))
}

fn start(launch: Launch, gate: Option<&Gate>) -> io::Result<Running> {
    #[allow(clippy::disallowed_methods)] // this is the place the ban points to
    let mut command = Command::new("/proc/self/exe");
    command.arg(exec::WORD);
    if let Some(gate) = gate {
        command.arg(exec::RECORD).arg(std::path::absolute(gate.record())?);
    }
    for file in &launch.join {
        command.arg(exec::JOIN).arg(file);
    }
    for folder in &launch.read_only {
        command.arg(exec::READ_ONLY).arg(folder);
    }
    if let Some(user) = &launch.user {
        command.arg(exec::USER).arg(user);
    }
    if launch.no_new_privs {
        command.arg(exec::NO_NEW_PRIVS);
    }
    let input = match (launch.zygote, launch.listener) {
        (Some((control, farewell)), _) => {
            command.arg(exec::ZYGOTE).arg(farewell.signal.to_string());
            command.arg(farewell.grace.as_millis().to_string());
            Stdio::from(control)
        }
        (None, Some(listener)) => {
            command.arg(exec::LISTENER);
            Stdio::from(listener)
        }
        (None, None) => Stdio::null(),
    };
    let mut starts_in = &launch.dir;
    if let Some(root) = &launch.root {
        command.arg(exec::ROOT).arg(&root.folder).arg(exec::ROOT_DIR).arg(&launch.dir);
        if let Some(user) = &root.user {
            command.arg(exec::ROOT_USER).arg(user);
        }
        starts_in = &root.folder;
    }
    command.arg("--").args(&launch.run).current_dir(starts_in);
    command.env_clear().envs(launch.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(input).stdout(launch.output).stderr(launch.errors).process_group(0);
    Running::of(command.spawn()?)
}
