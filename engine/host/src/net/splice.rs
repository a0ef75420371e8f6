//! Bytes from socket to socket inside the kernel (splice(2)).
//!
//! **Job.** Lend pipes, fill one from a socket, empty it into another: what a stream moves in bulk is never copied to us.
//! **Called by** streams. **Calls** the kernel by rustix.
//!
//! Invariants
//! 1. A pipe is filled only when it is empty: "would block" then always means the socket.
//! 2. A worker has at most [`PIPES_MAX`] pipes, keeps [`PIPES_KEPT`] of them between uses, and only empty ones.
//!
//! Not here: when it is worth it (the caller), files (`stream`, sendfile).

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;

use super::stream::{Plain, Stream};

/// Pipes of one worker at once; whoever gets none copies. Each holds two descriptors and up to [`PIPE_BYTES`].
pub const PIPES_MAX: usize = 128;
/// Empty pipes kept for the next.
const PIPES_KEPT: usize = 16;
/// What a pipe holds: the kernel's own default, so that no limit of pipe pages is asked for more.
pub const PIPE_BYTES: usize = 64 * 1024;

/// One worker's pipes.
#[derive(Default)]
pub struct Pipes {
    kept: RefCell<Vec<(OwnedFd, OwnedFd)>>,
    lent: Cell<usize>,
}

/// A pipe on loan; dropping it gives it back.
pub struct Pipe {
    ends: Option<(OwnedFd, OwnedFd)>,
    holds: usize,
    all: Rc<Pipes>,
}

impl Pipes {
    /// No pipe yet.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// An empty pipe; `None` when [`PIPES_MAX`] are lent or the kernel has none left.
    pub fn lend(self: &Rc<Self>) -> Option<Pipe> {
        if self.lent.get() >= PIPES_MAX {
            return None;
        }
        let kept = self.kept.borrow_mut().pop();
        let ends = kept.or_else(|| pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok())?;
        self.lent.set(self.lent.get() + 1);
        Some(Pipe { ends: Some(ends), holds: 0, all: Rc::clone(self) })
    }
}

impl Pipe {
    /// Bytes inside.
    pub const fn holds(&self) -> usize {
        self.holds
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.all.lent.set(self.all.lent.get() - 1);
        let mut kept = self.all.kept.borrow_mut();
        if self.holds == 0 && kept.len() < PIPES_KEPT {
            kept.extend(self.ends.take());
        }
    }
}

impl Stream {
    /// Whether [`Stream::poll_fill`] and [`Stream::poll_drain`] work here.
    pub const fn can_splice(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Moves what has arrived into an empty pipe. `Ok(0)`: the peer said its last.
    ///
    /// # Errors
    /// `InvalidInput` and `Unsupported`: this socket cannot be spliced.
    pub fn poll_fill(&self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let Some((_, entrance)) = &pipe.ends else { return Poll::Ready(Ok(0)) };
        let moved = ready!(self.poll_move(cx, Interest::READABLE, |socket| {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            Ok(splice(socket, None, entrance, None, PIPE_BYTES, flags)?)
        }))?;
        pipe.holds += moved;
        Poll::Ready(Ok(moved))
    }

    /// Moves what is in the pipe out to the peer, as far as it takes it.
    pub fn poll_drain(&self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let Some((exit, _)) = &pipe.ends else { return Poll::Ready(Ok(0)) };
        let holds = pipe.holds;
        let moved = ready!(self.poll_move(cx, Interest::WRITABLE, |socket| {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            Ok(splice(exit, None, socket, None, holds, flags)?)
        }))?;
        pipe.holds -= moved.min(holds);
        Poll::Ready(Ok(moved))
    }

    /// Tries until the socket is not ready any more.
    fn poll_move(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut call: impl FnMut(std::os::fd::BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        macro_rules! each {
            ($socket:expr) => {
                loop {
                    if interest.is_readable() {
                        ready!($socket.poll_read_ready(cx))?;
                    } else {
                        ready!($socket.poll_write_ready(cx))?;
                    }
                    match $socket.try_io(interest, || call($socket.as_fd())) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        result => return Poll::Ready(result),
                    }
                }
            };
        }
        match self {
            Self::Plain(Plain::Tcp(socket)) => each!(socket),
            Self::Plain(Plain::Unix(socket)) => each!(socket),
            Self::Tls(_) | Self::TlsOut(_) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::Unsupported, "splice under TLS")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: no more pipes than the bound, and what comes back empty is used again.
    #[test]
    fn pipes_are_bounded_and_used_again() {
        let pipes = Pipes::new();
        let lent: Vec<Pipe> = (0..PIPES_MAX).map(|_| pipes.lend().unwrap()).collect();
        assert!(pipes.lend().is_none());
        drop(lent);
        assert_eq!((pipes.lent.get(), pipes.kept.borrow().len()), (0, PIPES_KEPT));
        let mut used = pipes.lend().unwrap();
        used.holds = 1;
        drop(used);
        assert_eq!(
            (pipes.lent.get(), pipes.kept.borrow().len()),
            (0, PIPES_KEPT - 1),
            "a full one is not kept"
        );
    }

    // Goal: bytes go through a pipe as they are, between every pair of sockets, up to the peer's end.
    // Method: a pattern larger than the pipe from one socket pair to another, over TCP and unix sockets.
    #[test]
    fn bytes_pass_through_a_pipe_unchanged() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            check(unix(), tcp().await).await;
            check(tcp().await, unix()).await;
        });

        fn unix() -> (Stream, Stream) {
            let (a, b) = tokio::net::UnixStream::pair().unwrap();
            (Stream::Plain(Plain::Unix(a)), Stream::Plain(Plain::Unix(b)))
        }
        async fn tcp() -> (Stream, Stream) {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            (Stream::Plain(Plain::Tcp(client)), Stream::Plain(Plain::Tcp(listener.accept().await.unwrap().0)))
        }
        async fn check((mut from, inside): (Stream, Stream), (outside, mut to): (Stream, Stream)) {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let sent: Vec<u8> =
                (0..300_000_u32).map(|at| at.to_le_bytes()[usize::from(at % 3 == 0)]).collect();
            let writing = async {
                from.write_all(&sent).await.unwrap();
                from.shutdown().await.unwrap();
            };
            let moving = async {
                let pipes = Pipes::new();
                let mut pipe = pipes.lend().unwrap();
                while std::future::poll_fn(|cx| inside.poll_fill(cx, &mut pipe)).await.unwrap() > 0 {
                    while pipe.holds() > 0 {
                        std::future::poll_fn(|cx| outside.poll_drain(cx, &mut pipe)).await.unwrap();
                    }
                }
                drop(outside);
            };
            let reading = async {
                let mut all = Vec::new();
                to.read_to_end(&mut all).await.unwrap();
                all
            };
            let ((), (), received) = tokio::join!(writing, moving, reading);
            assert!(received == sent, "the content differs");
        }
    }
}
