//! Both directions of a connection that is a role's own: upgraded from HTTP/1, or of the role's own address.
//!
//! **Job.** Give the role its bytes, still counted and still cut at the drain deadline.
//! **Called by** the role's task. **Calls** `host::net::stream`.
//!
//! Not here: what is spoken (websocket, …: the roles).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use madang_host::connection::Connection;
use madang_host::net::stream::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An upgraded connection.
pub struct Tunnel {
    stream: Stream,
    early: Vec<u8>,
    taken: usize,
    connection: Rc<Connection>,
}

impl Tunnel {
    /// `early` is read before anything of `stream`.
    pub fn new(stream: Stream, early: Vec<u8>, connection: Rc<Connection>) -> Self {
        Self { stream, early, taken: 0, connection }
    }

    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        match self.connection.poll_cut(cx) {
            None => Ok(()),
            Some(cut) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, cut.name())),
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        if self.taken < self.early.len() {
            let taken = self.taken;
            let take = (self.early.len() - taken).min(buf.remaining());
            buf.put_slice(&self.early[taken..taken + take]);
            self.taken += take;
            if self.taken == self.early.len() {
                // It may stay open for days.
                (self.early, self.taken) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.connection.received(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.connection.sent(count);
        Poll::Ready(Ok(count))
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        self.connection.sent(count);
        Poll::Ready(Ok(count))
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
