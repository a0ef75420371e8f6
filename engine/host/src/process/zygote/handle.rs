//! Our side of a zygote: orders out, reports in.
//!
//! **Job.** Start it, send it orders with their descriptors, hear its reports. **Called by** `roles/supervise`. **Calls**
//! `spawn`, the kernel.
//!
//! Invariants
//! 1. Dropping the [`Zygote`] closes its socket: it ends what it started and itself.
//!
//! Not here: what it does (`serve`).

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::{Farewell, MESSAGE_BYTES_MAX, Order, Report};
use crate::process::running::Running;
use crate::process::spawn::{Launch, spawn};

/// See the module.
#[derive(Debug)]
pub struct Zygote {
    running: Rc<Running>,
    /// A socket of messages; tokio's type is only its coat.
    control: UnixStream,
}

impl Zygote {
    /// Starts one that runs what `launch` names, once for each [`Order::Start`]. Must be called on a tokio runtime.
    pub fn start(launch: Launch, farewell: Farewell) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let running = spawn(Launch { zygote: Some((its, farewell)), ..launch })?;
        let control = UnixStream::from_std(std::os::unix::net::UnixStream::from(ours))?;
        Ok(Self { running: Rc::new(running), control })
    }

    /// Its process.
    pub const fn running(&self) -> &Rc<Running> {
        &self.running
    }

    /// Tells it that nothing more comes: it ends, once what it started has.
    pub fn hang_up(&self) {
        // One that is gone need not know.
        let _ = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Both);
    }

    /// Sends an order; waits while it has too many to carry out.
    pub async fn order(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(order)?;
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(io::Error::other("an order to a zygote is too long"));
        }
        loop {
            self.control.writable().await?;
            let sent = self.control.try_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
                    return Err(io::Error::other("too many descriptors in one order"));
                }
                let pieces = [IoSlice::new(&text)];
                Ok(rustix::net::sendmsg(&self.control, &pieces, &mut ancillary, SendFlags::NOSIGNAL)?)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent.map(drop),
            }
        }
    }

    /// The next report; `None`: it is gone.
    pub async fn report(&self) -> io::Result<Option<Report>> {
        let mut message = [0; MESSAGE_BYTES_MAX];
        loop {
            self.control.readable().await?;
            let got = self.control.try_io(Interest::READABLE, || {
                let (got, _) = rustix::net::recv(&self.control, &mut message[..], RecvFlags::empty())?;
                Ok(got)
            });
            match got {
                Ok(0) => return Ok(None),
                Ok(got) => return Ok(Some(serde_json::from_slice(&message[..got])?)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
