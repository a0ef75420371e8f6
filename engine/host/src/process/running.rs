//! A process that runs, with its group.
//!
//! **Job.** Signal it, wait for its end, leave nothing of its group behind. **Called by** `roles/supervise`. **Calls** the kernel.
//!
//! Invariants
//! 1. It is waited for exactly once: no zombie is left, no number is signalled after it was given back.
//! 2. When it has ended, its group is killed before its number is given back: the group's number is still its own then.
//!
//! Not here: processes that left the group (`cgroup`), starting (`spawn`).

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Child;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::net::unix::pipe;

use super::exit::Exit;
use super::identity::Identity;

/// See the module.
pub struct Running {
    /// `None`: an earlier server's child, found again.
    child: Cell<Option<Child>>,
    /// Its pidfd, in the one coat in which tokio waits for any descriptor without `unsafe`: nothing is read from it.
    end: pipe::Receiver,
    identity: Identity,
    pid: Pid,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Running {
    /// A child just started. Must be called on a tokio runtime.
    pub(super) fn of(mut child: Child) -> io::Result<Self> {
        let made = Self::held(child.id(), |number| {
            // Not waited for yet, so the number is still its own.
            Identity::of(number).ok_or_else(|| io::Error::other("/proc does not show it"))
        });
        match made {
            Ok(running) => Ok(Self { child: Cell::new(Some(child)), ..running }),
            Err(error) => {
                // What cannot be held must not run.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// A process that an earlier server started; `None` when it is not there any more. Must be called on a tokio runtime.
    pub fn found(identity: &Identity) -> Option<Self> {
        // First held, then looked at: what is held cannot become another one.
        let running = Self::held(identity.number, |_| Ok(identity.clone())).ok()?;
        identity.is_there().then_some(running)
    }

    fn held(number: u32, identity: impl FnOnce(u32) -> io::Result<Identity>) -> io::Result<Self> {
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        let end = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        let end = pipe::Receiver::from_owned_fd_unchecked(end)?;
        Ok(Self { child: Cell::new(None), end, identity: identity(number)?, pid })
    }

    /// Which process it is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    fn handle(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// Signals it and its group. One that has ended is no error.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // The pidfd says whether it is still there; while it is, the group has its number.
        match pidfd_send_signal(self.handle(), signal) {
            Ok(()) => {}
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        match kill_process_group(self.pid, signal) {
            // Everybody else has gone, or the group was left.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for its end and says how it was.
    pub async fn ended(&self) -> Exit {
        if self.end.readable().await.is_err() {
            return Exit::Unknown;
        }
        // For one that was found its parent may have taken the number back already.
        let Some(mut child) = self.child.take() else { return Exit::Unknown };
        // Invariant 2.
        let _ = kill_process_group(self.pid, Signal::KILL);
        child.wait().map_or(Exit::Unknown, Exit::from)
    }
}
