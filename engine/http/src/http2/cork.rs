//! The output of one HTTP/2 connection, gathered: ours to a client, or ours to an upstream.
//!
//! **Job.** h2 writes and flushes frame by frame; each would be a TLS record and a system call of its own. Here frames wait
//! until the connection's task has nothing more to do at once, and leave together.
//! **Called by** h2 (as its stream), `http2` and `upstream::http2` (which pour). **Calls** the stream below.
//!
//! Invariants
//! 1. At most `HELD_BYTES_MAX` wait; when they do, h2 waits for the socket: back-pressure is as without us.
//! 2. Whoever lets h2 write pours before it waits: nothing stays here or in TLS while the task sleeps, unless the socket is
//!    full; then the socket wakes the task, and h2 looks again.
//! 3. A connection with nothing to write holds no buffer.
//!
//! Not here: what is written (h2).

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::endpoint::{BUFFER_BYTES, Pool};

/// Frames that wait together.
const HELD_BYTES_MAX: usize = 4 * BUFFER_BYTES;

struct Inner<T> {
    io: T,
    held: Vec<u8>,
    written: usize,
    /// All was written, but TLS may still keep some of it.
    unflushed: bool,
    /// h2 was told to wait: whoever pours must have it look again.
    blocked: bool,
    pool: Rc<Pool>,
}

/// One connection's gathered output: one handle for h2, one for whoever pours.
pub(crate) struct Cork<T>(Rc<RefCell<Inner<T>>>);

impl<T> Clone for Cork<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Cork<T> {
    pub(crate) fn new(io: T, pool: Rc<Pool>) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            io,
            held: Vec::new(),
            written: 0,
            unflushed: false,
            blocked: false,
            pool,
        })))
    }

    /// Writes out what waits. Ready when nothing does any more.
    pub(crate) fn poll_pour(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_pour(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Inner<T> {
    fn poll_pour(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.held.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.held[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
            self.unflushed = true;
        }
        if self.held.capacity() > 0 {
            self.pool.give_output(std::mem::take(&mut self.held));
            self.written = 0;
        }
        // There is room again: the socket wakes nobody for what it has taken already.
        if std::mem::take(&mut self.blocked) {
            cx.waker().wake_by_ref();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Room for at least one byte.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.blocked = false;
        if self.held.len() >= HELD_BYTES_MAX {
            let poured = self.poll_pour(cx);
            self.blocked = poured.is_pending();
            ready!(poured)?;
        }
        if self.held.capacity() == 0 {
            self.held = self.pool.output();
        }
        Poll::Ready(Ok(HELD_BYTES_MAX - self.held.len()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Cork<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Cork<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.0.borrow_mut();
        let room = ready!(inner.poll_room(cx))?;
        let mut taken = 0;
        for piece in pieces {
            let take = piece.len().min(room - taken);
            inner.held.extend_from_slice(&piece[..take]);
            taken += take;
        }
        Poll::Ready(Ok(taken))
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    /// Nothing: h2 flushes after each frame. The connection's task pours.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        ready!(inner.poll_pour(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use madang_host::connection::Connection;
    use madang_host::net::stream::{Plain, Stream};
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::tunnel::Tunnel;

    // Goal: frames wait until they are poured, then leave together; no more waits than the bound.
    // Method: a unix socket whose other end looks without waiting; then writes until the cork takes no more.
    #[test]
    fn frames_wait_until_they_are_poured_and_no_more_than_the_bound() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
            let pool = Pool::new();
            let io = Tunnel::new(Stream::Plain(Plain::Unix(ours)), Vec::new(), Connection::nobody());
            let mut cork = Cork::new(io, Rc::clone(&pool));
            for frame in ["one ", "two ", "three"] {
                cork.write_all(frame.as_bytes()).await.unwrap();
                cork.flush().await.unwrap();
            }
            let mut seen = [0; 64];
            let nothing = theirs.try_read(&mut seen).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock, "nothing leaves before it is poured");
            poll_fn(|cx| cork.poll_pour(cx)).await.unwrap();
            theirs.readable().await.unwrap();
            let count = theirs.try_read(&mut seen).unwrap();
            assert_eq!(&seen[..count], b"one two three");
            assert_eq!(cork.0.borrow().held.capacity(), 0, "what is written holds no buffer");

            let piece = [7; 10_000];
            let mut full = false;
            while !full {
                full =
                    poll_fn(|cx| Poll::Ready(Pin::new(&mut cork).poll_write(cx, &piece).is_pending())).await;
                assert!(cork.0.borrow().held.len() <= HELD_BYTES_MAX);
            }
        });
    }
}
