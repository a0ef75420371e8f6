//! The child's side of [`super::spawn`]: sets up what is left and becomes the program.
//!
//! **Job.** Wait until our record stands, join control groups, hide folders from writing, hand on the listener, give up rights,
//! exec - or, as a zygote, go on and start programs by order. **Called by** `madang`,
//! first thing in `main`, when its first argument is [`WORD`]. **Calls** the kernel.
//!
//! Invariants
//! 1. Either the program runs with everything that was asked, or nothing runs and a sentence says why (code 126, 127).
//! 2. Rights are given up last: everything before may need them.
//!
//! Not here: anything that outlives exec.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use super::root::Who;
use super::zygote::Farewell;
use super::zygote::serve::serve;
use super::{gate, root};
use crate::inherited_fds::close_all_on_exec;
use crate::rights::Identity;

/// The first argument that leads here.
pub const WORD: &str = "__exec";
pub(super) const RECORD: &str = "--record";
pub(super) const JOIN: &str = "--join";
pub(super) const READ_ONLY: &str = "--read-only";
pub(super) const USER: &str = "--user";
pub(super) const NO_NEW_PRIVS: &str = "--no-new-privs";
pub(super) const LISTENER: &str = "--listener";
pub(super) const ZYGOTE: &str = "--zygote";
pub(super) const ROOT: &str = "--root";
pub(super) const ROOT_USER: &str = "--root-user";
pub(super) const ROOT_DIR: &str = "--root-dir";

/// By the convention of sockets that are handed on (sd_listen_fds(3)).
const LISTENER_NUMBER: i32 = 3;

#[derive(Default)]
struct Asked {
    record: Option<PathBuf>,
    join: Vec<PathBuf>,
    read_only: Vec<PathBuf>,
    user: Option<String>,
    no_new_privs: bool,
    listener: bool,
    zygote: Option<Farewell>,
    root: Option<PathBuf>,
    root_user: Option<String>,
    root_dir: Option<PathBuf>,
    run: Vec<OsString>,
}

/// Becomes the program that the arguments behind [`WORD`] name. Comes back only with a failure.
pub fn become_program(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(asked) = read(arguments) else {
        eprintln!("madang: {WORD} is how Madang starts apps; it is nothing to type");
        return ExitCode::from(2);
    };
    let program = asked.run.first().cloned().unwrap_or_default();
    let (error, what) = match prepare(&asked) {
        Err(failure) => failure,
        Ok(home) => {
            if let Some(farewell) = asked.zygote {
                return match serve(&asked.run, farewell) {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => {
                        eprintln!("madang: cannot start programs any more: {error}");
                        ExitCode::FAILURE
                    }
                };
            }
            #[allow(clippy::disallowed_methods)] // this is the place the ban points to
            let mut command = Command::new(&program);
            command.args(asked.run.iter().skip(1));
            if let Some(home) = home.filter(|_| std::env::var_os("HOME").is_none()) {
                command.env("HOME", home);
            }
            if asked.listener {
                command.env("LISTEN_FDS", "1").env("LISTEN_PID", std::process::id().to_string());
            }
            (command.exec(), format!("run {}", Path::new(&program).display()))
        }
    };
    eprintln!("madang: cannot {what}: {error}");
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

fn read(mut arguments: impl Iterator<Item = OsString>) -> Option<Asked> {
    let mut asked = Asked::default();
    while let Some(word) = arguments.next() {
        match word.to_str()? {
            RECORD => asked.record = Some(arguments.next()?.into()),
            JOIN => asked.join.push(arguments.next()?.into()),
            READ_ONLY => asked.read_only.push(arguments.next()?.into()),
            USER => asked.user = Some(arguments.next()?.into_string().ok()?),
            NO_NEW_PRIVS => asked.no_new_privs = true,
            LISTENER => asked.listener = true,
            ZYGOTE => {
                let mut number = || arguments.next()?.to_str()?.parse::<u64>().ok();
                let (signal, grace) = (i32::try_from(number()?).ok()?, Duration::from_millis(number()?));
                asked.zygote = Some(Farewell { signal, grace });
            }
            ROOT => asked.root = Some(arguments.next()?.into()),
            ROOT_USER => asked.root_user = Some(arguments.next()?.into_string().ok()?),
            ROOT_DIR => asked.root_dir = Some(arguments.next()?.into()),
            "--" => {
                asked.run = arguments.collect();
                return (!asked.run.is_empty()).then_some(asked);
            }
            _ => return None,
        }
    }
    None
}

pub(super) type Failure = (io::Error, String);

/// Gives the home of an image's user.
fn prepare(asked: &Asked) -> Result<Option<String>, Failure> {
    let at = |what: String| move |error: io::Error| (error, what);
    if let Some(record) = &asked.record
        && !gate::wait(record).map_err(at(format!("wait for {}", record.display())))?
    {
        // Nobody knows of us, and whoever wanted this program run is dead: the next server starts it.
        return Err((io::Error::other("its server died"), "begin".to_owned()));
    }
    for file in &asked.join {
        // "0" is whoever writes it.
        std::fs::write(file, "0").map_err(at(format!("join {}", file.display())))?;
    }
    close_all_on_exec().map_err(at("close what was left open".to_owned()))?;
    if asked.listener {
        hand_on().map_err(at("hand on the listening socket".to_owned()))?;
    }
    if let Some(root) = &asked.root {
        return in_root(asked, root);
    }
    if !asked.read_only.is_empty() {
        protect(&asked.read_only)?;
    }
    if let Some(user) = &asked.user {
        let become_it = || Identity::find(user)?.become_for_good();
        become_it().map_err(|error| {
            let told = error.to_string();
            let told = told
                .strip_prefix("server.user: ")
                .unwrap_or(&told)
                .replace("server.user", "the app's `user`");
            (io::Error::new(io::ErrorKind::PermissionDenied, told), format!("become the user {user}"))
        })?;
    }
    if asked.no_new_privs {
        rustix::thread::set_no_new_privs(true)
            .map_err(|error| at("set no_new_privs".to_owned())(error.into()))?;
    }
    Ok(None)
}

/// The rest of it, for an image.
fn in_root(asked: &Asked, root: &Path) -> Result<Option<String>, Failure> {
    let at = |what: String| move |error: io::Error| (error, what);
    let whom = |name: &str| format!("become the user {name}");
    let chosen = asked.user.as_ref().map(|name| Who::of_machine(name).map_err(at(whom(name)))).transpose()?;
    root::enter(root, &asked.read_only)?;
    let who = match (&chosen, &asked.root_user) {
        (None, Some(said)) => Some(Who::of_image(said).map_err(at(whom(said)))?),
        _ => chosen,
    };
    if let Some(who) = &who {
        who.become_it().map_err(at("become the image's user".to_owned()))?;
    }
    if let Some(dir) = &asked.root_dir {
        std::env::set_current_dir(dir).map_err(at(format!("start in {}", dir.display())))?;
    }
    if asked.no_new_privs {
        rustix::thread::set_no_new_privs(true)
            .map_err(|error| at("set no_new_privs".to_owned())(error.into()))?;
    }
    Ok(Some(who.and_then(|who| who.home).unwrap_or_else(|| "/root".to_owned())))
}

/// The socket came as standard input. Nothing of ours is open, so its copy gets the number it must have.
fn hand_on() -> io::Result<()> {
    let copy = fcntl_dupfd_cloexec(rustix::stdio::stdin(), LISTENER_NUMBER)?;
    if copy.as_raw_fd() != LISTENER_NUMBER {
        let told = format!("descriptor {LISTENER_NUMBER} was left open by whoever started Madang");
        return Err(io::Error::other(told));
    }
    fcntl_setfd(&copy, FdFlags::empty())?;
    // It is the program's from here on.
    std::mem::forget(copy);
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(())
}

/// A mount namespace of its own, in which these folders cannot be written (mount_namespaces(7)).
fn protect(folders: &[PathBuf]) -> Result<(), Failure> {
    let none: Option<&OsStr> = None;
    let step = |what: String, result: nix::Result<()>| result.map_err(|error| (error.into(), what));
    step("get a mount namespace".to_owned(), unshare(CloneFlags::CLONE_NEWNS))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    step("make mounts private".to_owned(), mount(none, "/", none, private, none))?;
    for folder in folders {
        let what = || format!("protect {}", folder.display());
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        step(what(), mount(Some(folder), folder, none, bind, none))?;
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        step(what(), mount(none, folder, none, read_only, none))?;
    }
    Ok(())
}
