//! From an accepted socket to a protocol: PROXY header, TLS, then HTTP/1 or HTTP/2.
//!
//! **Job.** What has to happen before the first request, under one deadline (`handshake_timeout`).
//! **Called by** the worker's accept loop. **Calls** `wire::proxy_protocol`, `host::tls`, `http1`, `http2`.
//!
//! Invariants
//! 1. A PROXY header is read from trusted peers only, and must be there; from others it is a malformed request.
//! 2. The protocol is chosen by ALPN under TLS, by the preface on plain listeners that allow it.
//!
//! Not here: admission by address (`host::gate`).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use madang_host::connection::{Connection, Ends};
use madang_host::net::stream::{Plain, Prefixed, Stream};
use madang_host::tls;
use madang_host::worker::Acceptor;
use madang_wire::proxy_protocol::{self, Progress};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::endpoint::{Endpoint, Serving};
use crate::http1::End;
use crate::{http1, http2};

/// Accepts HTTP on one listener of one worker.
pub struct HttpAcceptor {
    /// What is served.
    pub endpoint: Rc<Endpoint>,
}

impl Acceptor for HttpAcceptor {
    fn accept(&self, stream: Plain, connection: Rc<Connection>) -> Pin<Box<dyn Future<Output = ()>>> {
        let endpoint = Rc::clone(&self.endpoint);
        let serving = endpoint.serving();
        let proxied =
            serving.proxy_trusted.iter().any(|net| net.contains(&connection.peer().ip().to_canonical()));
        // The plain case has the smallest future: it is what ten thousand idle connections consist of.
        if !proxied && serving.tls.is_none() {
            return Box::pin(plain(Stream::Plain(stream), Vec::new(), connection, endpoint));
        }
        Box::pin(async move {
            let mut stream = stream;
            let mut early = Vec::new();
            if proxied && let Err(what) = read_proxy_header(&mut stream, &mut early, &connection).await {
                serving.service.refused(&connection, 400, what);
                return;
            }
            if serving.tls.is_none() {
                return plain(Stream::Plain(stream), early, connection, endpoint).await;
            }
            secured(stream, early, connection, endpoint, serving).await;
        })
    }
}

async fn plain(stream: Stream, early: Vec<u8>, connection: Rc<Connection>, endpoint: Rc<Endpoint>) {
    if let End::Http2(stream, early) =
        http1::serve(stream, early, Rc::clone(&connection), Rc::clone(&endpoint)).await
    {
        Box::pin(http2::serve(stream, early, connection, endpoint)).await;
    }
}

async fn secured(
    stream: Plain,
    early: Vec<u8>,
    connection: Rc<Connection>,
    endpoint: Rc<Endpoint>,
    serving: Rc<Serving>,
) {
    let Some(policies) = &serving.tls else { return };
    let accepted = {
        let mut handshake = Box::pin(tls::accept(Prefixed::new(early, stream), policies));
        poll_fn(|cx| match handshake.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => connection.poll_cut(cx).map_or(Poll::Pending, |cut| Poll::Ready(Err(cut))),
        })
        .await
    };
    let (stream, facts) = match accepted {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(failure)) => {
            let what = failure.name();
            serving.service.refused(&connection, 0, what);
            if let Some((mut stream, answer)) = failure.into_answer() {
                connection.begin_goodbye();
                // The peer may be gone already: then nobody misses the answer.
                let _ = stream.write_all(answer).await;
            }
            return;
        }
        Err(cut) => return serving.service.refused(&connection, 0, cut.name()),
    };
    let http2 = facts.alpn == Some("h2");
    connection.set_tls(facts);
    serving.service.secured(&connection);
    drop(serving);
    let stream = Stream::Tls(Box::new(stream));
    if http2 {
        http2::serve(stream, Vec::new(), connection, endpoint).await;
    } else {
        // h2 was not chosen by ALPN: a preface here is not an offer but a malformed request, which http1 refuses.
        http1::serve(stream, Vec::new(), connection, endpoint).await;
    }
}

/// Reads the PROXY header; what came behind it stays in `early`.
///
/// # Errors
/// The name of what was wrong: no header, a malformed one, a limit.
pub async fn read_proxy_header(
    stream: &mut Plain,
    early: &mut Vec<u8>,
    connection: &Connection,
) -> Result<(), &'static str> {
    let mut buffer = [0; 512];
    loop {
        let count = poll_fn(|cx| {
            if let Some(cut) = connection.poll_cut(cx) {
                return Poll::Ready(Err(cut.name()));
            }
            let mut room = ReadBuf::new(&mut buffer);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut room)) {
                Ok(()) if room.filled().is_empty() => Poll::Ready(Err("proxy-header-missing")),
                Ok(()) => Poll::Ready(Ok(room.filled().len())),
                Err(_) => Poll::Ready(Err("reset")),
            }
        })
        .await?;
        early.extend_from_slice(&buffer[..count]);
        match proxy_protocol::parse(early) {
            Ok(Progress::Partial) => {}
            Ok(Progress::Complete { consumed, ends }) => {
                early.drain(..consumed);
                if let Some((peer, local)) = ends {
                    connection.set_ends(Ends { peer, local }).map_err(|refusal| refusal.name())?;
                }
                return Ok(());
            }
            Err(_) => return Err("bad-proxy-header"),
        }
    }
}
