//! The zygote's own side: start, watch, report.
//!
//! **Job.** Carry out orders until the server is gone, then end what is left. **Called by** `exec`, in the second self.
//! **Calls** the kernel.
//!
//! Invariants
//! 1. One thread, nothing but this loop: what is forked here is small.
//!
//! Not here: what was set up before (`exec`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::{fcntl_dupfd_cloexec, ioctl_fionbio};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::{Farewell, MESSAGE_BYTES_MAX, Order, Report};
use crate::clock;

/// The socket's mark among what is watched; programs have their numbers, from 1.
const CONTROL: u64 = 0;
/// Events taken in one turn.
const EVENTS: usize = 64;

struct Running {
    child: Child,
    pid: Pid,
    /// Readable once it has ended; watched as long as it is held.
    _end: OwnedFd,
}

/// The loop; returns when everything is over.
pub(in crate::process) fn serve(run: &[OsString], farewell: Farewell) -> io::Result<()> {
    let control = fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    ioctl_fionbio(&control, false)?;
    let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&events, &control, epoll::EventData::new_u64(CONTROL), epoll::EventFlags::IN)?;
    let mut zygote = Zygote { run, control, events, running: BTreeMap::new() };
    loop {
        let (told, gone) = zygote.wait(None)?;
        zygote.reap(&gone);
        if told && !zygote.obey()? {
            return zygote.end(farewell);
        }
    }
}

struct Zygote<'a> {
    run: &'a [OsString],
    control: OwnedFd,
    events: OwnedFd,
    running: BTreeMap<u32, Running>,
}

impl Zygote<'_> {
    /// Waits; gives whether there is an order, and who has ended.
    fn wait(&self, limit: Option<Duration>) -> io::Result<(bool, Vec<u32>)> {
        let mut space = [MaybeUninit::uninit(); EVENTS];
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let (happened, _) = match epoll::wait(&self.events, &mut space, limit.as_ref()) {
            Ok(happened) => happened,
            Err(rustix::io::Errno::INTR) => return Ok((false, Vec::new())),
            Err(error) => return Err(error.into()),
        };
        let marks = happened.iter().map(|event| event.data.u64());
        let told = marks.clone().any(|mark| mark == CONTROL);
        Ok((told, marks.filter_map(|mark| u32::try_from(mark).ok().filter(|number| *number > 0)).collect()))
    }

    /// Takes one order. False: nobody is left to give any.
    fn obey(&mut self) -> io::Result<bool> {
        let mut message = [0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut room = [IoSliceMut::new(&mut message)];
        let got =
            match rustix::net::recvmsg(&self.control, &mut room, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) => got.bytes,
                Err(rustix::io::Errno::INTR) => return Ok(true),
                Err(rustix::io::Errno::CONNRESET) => 0,
                Err(error) => return Err(error.into()),
            };
        if got == 0 {
            return Ok(false);
        }
        let mut descriptors = Vec::new();
        for one in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(all) = one {
                descriptors.extend(all);
            }
        }
        // What does not read is no order of ours.
        let Ok(order) = serde_json::from_slice::<Order>(&message[..got]) else { return Ok(true) };
        match order {
            Order::Start { number, environment } => {
                let mut descriptors = descriptors.into_iter();
                let report = match (descriptors.next(), descriptors.next()) {
                    (Some(connection), Some(errors)) => {
                        match self.start(number, environment, connection, errors) {
                            Ok(process) => Report::Started { number, process },
                            Err(error) => Report::NotStarted { number, why: why(&error) },
                        }
                    }
                    // The kernel dropped them: no descriptors were free here.
                    _ => Report::NotStarted { number, why: "too many files are open".to_owned() },
                };
                self.tell(&report);
            }
            Order::Signal { number, signal } => {
                if let (Some(running), Some(signal)) =
                    (self.running.get(&number), Signal::from_named_raw(signal))
                {
                    // It was not waited for: the number is still its own.
                    let _ = kill_process_group(running.pid, signal);
                }
            }
        }
        Ok(true)
    }

    fn start(
        &mut self,
        number: u32,
        environment: Vec<(String, String)>,
        connection: OwnedFd,
        errors: OwnedFd,
    ) -> io::Result<u32> {
        let Some((program, arguments)) = self.run.split_first() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let output = connection.try_clone()?;
        #[allow(clippy::disallowed_methods)] // this is the place the ban points to
        let mut command = Command::new(program);
        command.args(arguments).envs(environment).stdin(Stdio::from(connection)).stdout(Stdio::from(output));
        let child = command.stderr(Stdio::from(errors)).process_group(0).spawn()?;
        let held = hold(&child).and_then(|(pid, end)| {
            let mark = epoll::EventData::new_u64(number.into());
            epoll::add(&self.events, end.as_fd(), mark, epoll::EventFlags::IN)?;
            Ok((pid, end))
        });
        let process = child.id();
        match held {
            Ok((pid, end)) => {
                self.running.insert(number, Running { child, pid, _end: end });
                Ok(process)
            }
            Err(error) => {
                // What cannot be held must not run.
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn reap(&mut self, gone: &[u32]) {
        for number in gone {
            let Some(mut running) = self.running.remove(number) else { continue };
            // Invariant 2 of the module above: one without a group any more is no error.
            let _ = kill_process_group(running.pid, Signal::KILL);
            let status = running.child.wait().ok();
            let code = status.and_then(|status| status.code());
            let signal = status.and_then(|status| status.signal());
            let core = status.is_some_and(|status| status.core_dumped());
            self.tell(&Report::Ended { number: *number, code, signal, core });
        }
    }

    fn tell(&self, report: &Report) {
        // A server that is gone need not know.
        if let Ok(text) = serde_json::to_vec(report) {
            let _ = rustix::net::send(&self.control, &text, SendFlags::NOSIGNAL);
        }
    }

    /// The server is gone: what still runs is asked to end, then killed.
    fn end(&mut self, farewell: Farewell) -> io::Result<()> {
        self.signal(Signal::from_named_raw(farewell.signal).unwrap_or(Signal::TERM));
        let kill_at = clock::now() + farewell.grace;
        let mut killed = false;
        // What is said now nobody hears; its end would be told over and over.
        epoll::delete(&self.events, &self.control)?;
        while !self.running.is_empty() {
            let left = kill_at.saturating_duration_since(clock::now());
            if left.is_zero() && !killed {
                self.signal(Signal::KILL);
                killed = true;
            }
            let limit: Option<Duration> = (!killed).then_some(left);
            let (_, gone) = self.wait(limit)?;
            self.reap(&gone);
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        for running in self.running.values() {
            let _ = kill_process_group(running.pid, signal);
        }
    }
}

fn hold(child: &Child) -> io::Result<(Pid, OwnedFd)> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    Ok((pid, pidfd_open(pid, PidfdFlags::empty())?))
}

fn why(error: &io::Error) -> String {
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::AGAIN) => {
            "no more processes may be made (limits.pids, or the machine's own)".to_owned()
        }
        _ => error.to_string(),
    }
}
