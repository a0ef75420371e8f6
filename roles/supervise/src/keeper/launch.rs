//! From an instance that is to start to everything its process is given.
//!
//! **Job.** Find it an address, make its environment and its output, spawn it. **Called by** `keeper`. **Calls**
//! `host::process`, `host::net`.
//!
//! Not here: when (`app`).

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use madang_host::process::PASSED_ON;
use madang_host::process::cgroup::{Group, GroupLimits, Groups};
use madang_host::process::gate::Gate;
use madang_host::process::output::Output;
use madang_host::process::running::Running;
use madang_host::process::spawn::{Launch, Root, spawn, spawn_behind};
use madang_host::process::{output, port};

use super::record;
use crate::app::{InstanceNumber, Release};
use crate::config::{AppSettings, Give, Program};
use crate::schedule::Schedule;

/// What fits into sockaddr_un with its closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Connections that may wait at a socket that is handed on.
const BACKLOG: u32 = 1024;

/// A process just started.
pub(super) struct Launched {
    pub(super) running: Running,
    /// As a pool writes it; empty for a job.
    pub(super) address: String,
    /// Files that go when it goes.
    pub(super) files: Vec<PathBuf>,
    /// Where it lives.
    pub(super) group: Group,
    /// It begins when this is dropped; `None`: it could not be held back.
    pub(super) gate: Option<Gate>,
    /// What it writes: its standard output, its standard error.
    pub(super) heard: (Output, Output),
}

/// Where an instance writes to: its standard output, its standard error.
pub(super) fn output_paths(apps: &Path, app: &str, instance: InstanceNumber) -> (PathBuf, PathBuf) {
    let folder = record::folder(apps, app);
    (folder.join(format!("{instance}.out")), folder.join(format!("{instance}.err")))
}

/// Starts an instance. `taken`: addresses that others of the app have.
pub(super) fn launch(
    apps: &Path,
    groups: &Groups,
    settings: &AppSettings,
    instance: InstanceNumber,
    release: &Release,
    notify: Option<String>,
    taken: impl Fn(&str) -> bool,
) -> io::Result<Launched> {
    let program = &release.program;
    // The kernel would only say that something is not there.
    let starts_in = program.root.as_deref().unwrap_or(&program.dir);
    std::fs::metadata(starts_in).map_err(|error| {
        let folder = starts_in.display();
        let told = match error.kind() {
            io::ErrorKind::NotFound => format!("its folder {folder} is not there"),
            _ => format!("cannot use its folder {folder}: {error}"),
        };
        io::Error::new(error.kind(), told)
    })?;
    let folder = record::folder(apps, &settings.name);
    std::fs::create_dir_all(&folder).map_err(at(&folder))?;
    let mut files = Vec::new();
    let (mut address, mut listener, mut told) = (String::new(), None, Vec::new());
    match program.give {
        _ if !settings.takes_requests() => {}
        Give::Port => {
            let port = port::free(|port| taken(&format!("127.0.0.1:{port}")))?;
            address = format!("127.0.0.1:{port}");
            told.push(("PORT", port.to_string()));
        }
        Give::Socket => {
            let path = std::path::absolute(folder.join(format!("{instance}.sock")))?;
            if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
                let told = format!(
                    "the path {} is too long for a socket; set server.data to a shorter one",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidFilename, told));
            }
            // One of an instance that was killed.
            let _ = std::fs::remove_file(&path);
            address = format!("unix:{}", path.display());
            told.push(("SOCKET", path.display().to_string()));
            files.push(path);
        }
        Give::Listener => {
            let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            rustix::net::listen(&socket, i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
            address = socket.local_addr()?.to_string();
            listener = Some(socket.into());
        }
    }
    let (out, err) = output_paths(apps, &settings.name, instance);
    let (output, errors) = (output::make(&out).map_err(at(&out))?, output::make(&err).map_err(at(&err))?);
    // Open before it runs: what a program wrote that ended at once would be gone with it.
    let heard = (Output::open(&out).map_err(at(&out))?, Output::open(&err).map_err(at(&err))?);
    files.extend([out, err]);
    told.extend(notify.map(|notify| ("NOTIFY_SOCKET", notify)));
    told.push(("MADANG_APP", settings.name.to_string()));
    told.push(("MADANG_INSTANCE", instance.to_string()));
    told.push(("MADANG_RELEASE", release.number.to_string()));
    let group = groups.make(&format!("{}-{instance}", settings.name), &limits(program))?;
    let gate = Gate::close(&record::path(apps, &settings.name, instance)).ok();
    files.extend(gate.as_ref().map(Gate::path));
    let launch = Launch {
        run: program.run.clone(),
        dir: program.dir.clone(),
        environment: environment(program, told),
        user: program.user.clone(),
        listener,
        output,
        errors,
        zygote: None,
        join: group.join_files(),
        no_new_privs: program.no_new_privs,
        read_only: program.read_only.clone(),
        root: root_of(program),
    };
    let running = match &gate {
        Some(gate) => spawn_behind(gate, launch),
        None => spawn(launch),
    };
    if running.is_err() {
        record::forget_all(&files);
        group.remove();
    }
    Ok(Launched { running: running?, address, files, group, gate, heard })
}

/// Says which file it was.
fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot make {}: {error}", path.display()))
}

/// What the zygote of a version is started with, and its group: the limits are for everything it starts.
pub(super) fn zygote(
    groups: &Groups,
    settings: &AppSettings,
    release: &Release,
    output: OwnedFd,
    group: &str,
) -> io::Result<(Launch, Group)> {
    let program = &release.program;
    let told =
        vec![("MADANG_APP", settings.name.to_string()), ("MADANG_RELEASE", release.number.to_string())];
    let errors = output.try_clone()?;
    let group = groups.make(group, &limits(program))?;
    let launch = Launch {
        run: program.run.clone(),
        dir: program.dir.clone(),
        environment: environment(program, told),
        user: program.user.clone(),
        listener: None,
        output,
        errors,
        zygote: None,
        join: group.join_files(),
        no_new_privs: program.no_new_privs,
        read_only: program.read_only.clone(),
        root: root_of(program),
    };
    Ok((launch, group))
}

fn root_of(program: &Program) -> Option<Root> {
    program.root.clone().map(|folder| Root { folder, user: program.image_user.clone() })
}

fn limits(program: &Program) -> GroupLimits {
    GroupLimits { memory: program.limits.memory, cpu_percent: program.limits.cpu, pids: program.limits.pids }
}

/// Later ones win: ours, then the settings', then what Madang says.
fn environment(program: &Program, told: Vec<(&str, String)>) -> Vec<(String, String)> {
    // An image has paths of its own.
    let is_path = |name: &&&str| matches!(**name, "PATH" | "HOME" | "TMPDIR");
    let passed = PASSED_ON.iter().filter(|name| program.root.is_none() || !is_path(name));
    let passed = passed.filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    let own = program.environment.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let told = told.into_iter().map(|(name, value)| (name.to_owned(), value));
    passed.chain(own).chain(told).collect()
}

/// How long until a schedule's next time, by this machine's clock.
pub(super) fn until_next(schedule: &Schedule) -> Option<Duration> {
    let now = madang_host::clock::wall();
    let now = jiff::Timestamp::try_from(now).ok()?.to_zoned(jiff::tz::TimeZone::system());
    let next = schedule.next(&now)?;
    Duration::try_from(next.duration_since(&now)).ok()
}
