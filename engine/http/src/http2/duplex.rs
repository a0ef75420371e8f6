//! Both directions of an extended CONNECT stream as bytes.
//!
//! **Job.** Let a role speak its protocol over an HTTP/2 stream as it would over an upgraded connection, towards a client
//! or towards an upstream. **Called by** `stream`, `upstream::http2`. **Calls** h2.
//!
//! Not here: what is spoken.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Score;

pub(crate) struct H2Duplex {
    receive: RecvStream,
    send: SendStream<Bytes>,
    rest: Bytes,
    /// Towards a client: what it may send is counted.
    score: Option<Rc<Score>>,
}

impl H2Duplex {
    pub(crate) fn new(receive: RecvStream, send: SendStream<Bytes>, score: Option<Rc<Score>>) -> Self {
        Self { receive, send, rest: Bytes::new(), score }
    }
}

impl AsyncRead for H2Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(data)) => {
                    // The stream has ended when this fails: the next read says so.
                    let _ = self.receive.flow_control().release_capacity(data.len());
                    if let Some(score) = &self.score {
                        score.took(data.len());
                    }
                    self.rest = data;
                }
            }
        }
        let take = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..take]);
        self.rest.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Duplex {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(bytes.len());
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let take = self.send.capacity().min(bytes.len());
        self.send.send_data(Bytes::copy_from_slice(&bytes[..take]), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(take))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}
