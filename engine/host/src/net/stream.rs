//! One accepted stream, plain or under TLS, over TCP or a unix socket.
//!
//! **Job.** Give the protocols one type to read and write, and the one fast path that plain TCP has: sendfile.
//! **Called by** `http`. **Calls** the kernel.
//!
//! Invariants
//! 1. A read or write that would block registers exactly one waker per direction.
//!
//! Not here: counting and time limits (`connection`), buffers (the protocols own them).

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A stream before TLS.
pub enum Plain {
    /// TCP, version 4 or 6.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// A stream that protocols read and write.
pub enum Stream {
    /// As it came.
    Plain(Plain),
    /// Decrypted. Boxed: a TLS session is large, and most of a plain server's streams have none.
    Tls(Box<TlsStream<Prefixed>>),
    /// The same towards an upstream, where we are the client.
    TlsOut(Box<tokio_rustls::client::TlsStream<Plain>>),
}

/// A plain stream with bytes that were read too early (behind a PROXY header, or to look at the first byte).
pub struct Prefixed {
    early: Vec<u8>,
    taken: usize,
    inner: Plain,
}

impl Prefixed {
    /// `early` is read before anything of `inner`.
    pub fn new(early: Vec<u8>, inner: Plain) -> Self {
        Self { early, taken: 0, inner }
    }
    /// The first byte that will be read, without taking it; `None` at the end of the stream.
    pub async fn peek_first(&mut self) -> io::Result<Option<u8>> {
        if self.early.is_empty() {
            let mut first = [0; 1];
            match &self.inner {
                // Looking does not take: no buffer is needed for the bytes behind it.
                Plain::Tcp(tcp) => {
                    if tcp.peek(&mut first).await? == 0 {
                        return Ok(None);
                    }
                    return Ok(Some(first[0]));
                }
                Plain::Unix(_) => {
                    let mut room = ReadBuf::new(&mut first);
                    std::future::poll_fn(|cx| Pin::new(&mut self.inner).poll_read(cx, &mut room)).await?;
                    self.early.extend_from_slice(room.filled());
                }
            }
        }
        Ok(self.early.get(self.taken).copied())
    }
    /// The stream itself and the early bytes nobody has read.
    pub fn into_parts(mut self) -> (Vec<u8>, Plain) {
        self.early.drain(..self.taken);
        (self.early, self.inner)
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.taken < self.early.len() {
            let taken = self.taken;
            let take = (self.early.len() - taken).min(buf.remaining());
            buf.put_slice(&self.early[taken..taken + take]);
            self.taken += take;
            if self.taken == self.early.len() {
                self.early = Vec::new();
                self.taken = 0;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Stream {
    /// Whether [`Stream::poll_sendfile`] works here: a file's bytes reach the socket without passing through us.
    pub fn can_sendfile(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Moves up to `length` bytes of `file` from `offset` into the socket, inside the kernel. `Ok(0)` means the file
    /// ended early.
    pub fn poll_sendfile(
        &self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        length: u64,
    ) -> Poll<io::Result<usize>> {
        // The kernel moves at most 2 GiB a call; smaller turns keep one large download from holding the worker.
        let turn = usize::try_from(length.min(2 * 1024 * 1024)).unwrap_or(usize::MAX);
        match self {
            Self::Plain(Plain::Tcp(tcp)) => loop {
                ready!(tcp.poll_write_ready(cx))?;
                match tcp.try_io(Interest::WRITABLE, || sendfile(tcp, file, offset, turn)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result),
                }
            },
            Self::Plain(Plain::Unix(unix)) => loop {
                ready!(unix.poll_write_ready(cx))?;
                match unix.try_io(Interest::WRITABLE, || sendfile(unix, file, offset, turn)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result),
                }
            },
            Self::Tls(_) | Self::TlsOut(_) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::Unsupported, "sendfile under TLS")))
            }
        }
    }

    /// Writes bytes that more will follow at once: the kernel may wait for those to fill a packet.
    pub fn poll_write_more(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self::Plain(Plain::Tcp(tcp)) = self else { return Pin::new(self).poll_write(cx, bytes) };
        loop {
            ready!(tcp.poll_write_ready(cx))?;
            let result = tcp.try_io(Interest::WRITABLE, || {
                let flags = rustix::net::SendFlags::MORE | rustix::net::SendFlags::NOSIGNAL;
                Ok(rustix::net::send(&*tcp, bytes, flags)?)
            });
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl Stream {
    /// Whether the server we connected to chose HTTP/2 by ALPN.
    pub fn chose_http2(&self) -> bool {
        matches!(self, Self::TlsOut(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// Whether an idle stream can be used again: the peer has neither closed it nor said anything nobody asked for.
    /// Costs no system call while nothing happened.
    pub fn poll_is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let readable = match self {
            Self::Plain(Plain::Tcp(tcp)) => tcp.poll_read_ready(cx),
            Self::Plain(Plain::Unix(unix)) => unix.poll_read_ready(cx),
            // What TLS itself still has to say (tickets) is taken in by reading.
            Self::Tls(_) | Self::TlsOut(_) => Poll::Ready(Ok(())),
        };
        if readable.is_pending() {
            return true;
        }
        let mut byte = [0; 1];
        let mut room = ReadBuf::new(&mut byte);
        Pin::new(self).poll_read(cx, &mut room).is_pending()
    }
}

fn sendfile(socket: &impl std::os::fd::AsFd, file: &File, offset: u64, length: usize) -> io::Result<usize> {
    let mut offset = offset;
    Ok(rustix::fs::sendfile(socket, file, Some(&mut offset), length)?)
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp($stream) => $call,
            Self::Unix($stream) => $call,
        }
    };
}

/// One call into the kernel, by rustix and not by libc: libc's `send` and `recv` are points where a thread can be cancelled, and
/// cost two atomic exchanges each for it. A short count means that the socket has no more (or takes no more): its readiness is
/// cleared at once, as edge-triggered polling allows, so that the next turn does not cost a call that says `EAGAIN`.
macro_rules! once_ready {
    ($stream:expr, $cx:expr, $ready:ident, $interest:expr, $wanted:expr, $call:expr) => {{
        let (stream, wanted) = ($stream, $wanted);
        loop {
            ready!(stream.$ready($cx))?;
            let mut short = None;
            let result = stream.try_io($interest, || match $call(&*stream) {
                Ok(count) if count > 0 && count < wanted => {
                    short = Some(count);
                    Err(io::ErrorKind::WouldBlock.into())
                }
                Ok(count) => Ok(count),
                Err(error) => Err(io::Error::from(error)),
            });
            match (short, result) {
                (Some(count), _) => break Poll::Ready(Ok(count)),
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                (None, Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                (None, result) => break Poll::Ready(result),
            }
        }
    }};
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // What is not initialised yet is tokio's business: ours always is.
        if buf.initialized().len() < buf.capacity() {
            return each!(self, stream => Pin::new(stream).poll_read(cx, buf));
        }
        let flags = rustix::net::RecvFlags::empty();
        let room = buf.initialize_unfilled();
        let wanted = room.len();
        let read: Poll<io::Result<usize>> = each!(self, stream => once_ready!(
            stream, cx, poll_read_ready, Interest::READABLE, wanted,
            |stream| rustix::net::recv(stream, &mut *room, flags).map(|(count, _)| count)
        ));
        let count = ready!(read)?;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let flags = rustix::net::SendFlags::NOSIGNAL;
        each!(self, stream => once_ready!(
            stream, cx, poll_write_ready, Interest::WRITABLE, buf.len(),
            |stream| rustix::net::send(stream, buf, flags)
        ))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // One piece, as TLS usually has it: the plain call costs the kernel less than the gathering one.
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
            Self::TlsOut(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
            Self::TlsOut(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
            Self::TlsOut(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Self::TlsOut(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::TlsOut(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
