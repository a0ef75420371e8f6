//! Handing listening sockets to the process that comes after us (`madang upgrade`).
//!
//! **Job.** Send named descriptors over a unix socket and receive them (SCM_RIGHTS, unix(7)).
//! **Called by** `madang` (upgrade). **Calls** the kernel by rustix.
//!
//! Invariants
//! 1. A name belongs to exactly the descriptors sent with it; a torn message is an error, not a guess.
//! 2. Both ends keep their own descriptors: until the new process says it is ready the old one serves.
//!
//! Not here: when to hand over and when to drain (`madang/src/upgrade`).

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// Descriptors in one message; the kernel takes up to 253.
const BATCH: usize = 64;
/// The longest name.
const NAME_BYTES_MAX: usize = 4096;

/// Sends the sockets of one name. An empty name ends the list.
pub fn send(to: &UnixStream, name: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut batches = sockets.chunks(BATCH).peekable();
    if batches.peek().is_none() {
        return send_batch(to, name, &[]);
    }
    batches.try_for_each(|batch| send_batch(to, name, batch))
}

fn send_batch(to: &UnixStream, name: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    // Length, name: 4 bytes, then that many. The descriptors ride on the first byte.
    let length = u32::try_from(name.len()).map_err(io::Error::other)?.to_be_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other("too many descriptors in one message"));
    }
    let sent = rustix::net::sendmsg(to.as_fd(), &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
    if sent != length.len() {
        return Err(io::Error::other("a hand-over message was cut"));
    }
    io::Write::write_all(&mut &*to, name.as_bytes())
}

/// Receives everything up to the end of the list: names in order, with all their sockets.
pub fn receive(from: &UnixStream) -> io::Result<Vec<(String, Vec<OwnedFd>)>> {
    let mut all: Vec<(String, Vec<OwnedFd>)> = Vec::new();
    loop {
        let mut length = [0; 4];
        let mut sockets = Vec::new();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::net::recvmsg(
            from.as_fd(),
            &mut [IoSliceMut::new(&mut length)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                sockets.extend(fds);
            }
        }
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (&mut &*from).read_exact(&mut length[got.bytes..])?;
        let length = u32::from_be_bytes(length) as usize;
        if length > NAME_BYTES_MAX {
            return Err(io::Error::other("a hand-over name is too long"));
        }
        let mut name = vec![0; length];
        (&mut &*from).read_exact(&mut name)?;
        let name = String::from_utf8(name).map_err(io::Error::other)?;
        if name.is_empty() {
            return Ok(all);
        }
        match all.iter_mut().find(|(have, _)| *have == name) {
            Some((_, have)) => have.extend(sockets),
            None => all.push((name, sockets)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: names arrive with their own sockets, however many; the sockets are the same ones.
    // Method: a listener handed over 150 times under one name and once under another, then used.
    #[test]
    fn sockets_arrive_under_their_names_and_work() {
        let (old, new) = UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sender = {
            let listener = listener.try_clone().unwrap();
            move || {
                let many: Vec<_> = (0..150).map(|_| listener.as_fd()).collect();
                send(&old, "http://a", &many).unwrap();
                send(&old, "lock", &[listener.as_fd()]).unwrap();
                send(&old, "", &[]).unwrap();
            }
        };
        let received = std::thread::scope(|scope| {
            scope.spawn(sender);
            receive(&new).unwrap()
        });
        let counts: Vec<_> = received.iter().map(|(name, sockets)| (name.as_str(), sockets.len())).collect();
        assert_eq!(counts, [("http://a", 150), ("lock", 1)]);
        drop(listener);
        let again = std::net::TcpListener::from(received[0].1[149].try_clone().unwrap());
        assert_eq!(again.local_addr().unwrap(), address);
        let client = std::net::TcpStream::connect(address).unwrap();
        let (_, peer) = again.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    }
}
