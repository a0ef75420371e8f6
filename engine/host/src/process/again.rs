//! This very program again, as another process (upgrade).
//!
//! **Job.** Start what lies on disk under our own name, and wait for it.
//! **Called by** `madang`. **Calls** the kernel.
//!
//! Invariants
//! 1. A child gets no descriptor but its standard streams: all of ours are close-on-exec.
//!
//! Not here: programs of others (`spawn`).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A started copy of this program.
pub struct SelfProcess {
    child: Child,
    /// Readable once it has ended; never mistaken for another process of the same number.
    end: OwnedFd,
}

impl SelfProcess {
    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A handle that is readable once it has ended.
    pub fn end_handle(&self) -> io::Result<OwnedFd> {
        self.end.try_clone()
    }

    /// Ends it, if it has not ended.
    pub fn end(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the program that is on disk now under our own name.
pub fn start_self(arguments: &[&OsStr]) -> io::Result<SelfProcess> {
    // After a package upgrade the running file is "… (deleted)": what counts is the path, where the new one lies.
    let mut program = std::env::current_exe()?;
    if let Some(path) = program.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        program = path.into();
    }
    #[allow(clippy::disallowed_methods)] // this is the place the ban points to
    let child = Command::new(program).args(arguments).stdin(Stdio::null()).spawn()?;
    let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    // Not waited for yet, so the number is still its own.
    let end = pidfd_open(number, PidfdFlags::empty())?;
    Ok(SelfProcess { child, end })
}

/// Accepts one connection; gives up after `limit`, or when the process behind `end` has ended.
pub fn accept_within(
    listener: &UnixListener,
    end: BorrowedFd<'_>,
    limit: Duration,
) -> io::Result<UnixStream> {
    let timeout = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let mut wait = [
        PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(end, PollFlags::IN),
    ];
    if poll(&mut wait, Some(&timeout))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    if wait[0].revents().is_empty() {
        return Err(io::Error::other("it ended before it took over"));
    }
    Ok(listener.accept()?.0)
}
