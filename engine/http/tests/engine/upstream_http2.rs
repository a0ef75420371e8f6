//! Connections of HTTP/2 to a server over their life: opened once for all who wait, noticed when they are dead, closed when idle.
//! Method: the upstream client itself with short limits, against a server of the test's own on the same thread.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use madang_host::clock;
use madang_host::connection::Connection;
use madang_host::net::listen::Address;
use madang_http::body::RequestBody;
use madang_http::endpoint::Pool;
use madang_http::exchange::Exchange;
use madang_http::upstream::{Fault, FaultKind, Replay, Spoken, Step, Upstream, UpstreamLimits, Watch};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::house::{House, Setup, with_house};

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

struct Nobody;

impl Watch for Nobody {
    fn ended(&mut self, _: bool) {}
}

fn upstream(house: &House, listener: &TcpListener, limits: UpstreamLimits) -> Rc<Upstream> {
    let address = Address::Tcp(listener.local_addr().unwrap());
    let upstream =
        Upstream::new(address, None, Spoken::Http2, limits, &house.worker, &Pool::new(), Arc::default());
    let swept = Rc::clone(&upstream);
    house.worker.at_sweep(Rc::new(move || swept.sweep()));
    upstream
}

async fn ask(upstream: Rc<Upstream>) -> Result<u16, Fault> {
    let mut exchange = Exchange::new(Connection::nobody(), clock::now());
    let mut nothing = Replay::new(RequestBody::default(), 0);
    let watch = || -> Box<dyn Watch> { Box::new(Nobody) };
    upstream.send(&mut exchange, HEAD, &mut nothing, watch, false).await.map(|()| exchange.response.status)
}

async fn answer_all(stream: TcpStream) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        respond.send_response(http::Response::new(()), true).unwrap();
    }
}

/// Greets, and from then on keeps silent with an open connection: what a machine that lost its power looks like.
async fn greet_and_keep_silent(mut stream: TcpStream) {
    let greeting = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    tokio::io::AsyncWriteExt::write_all(&mut stream, &greeting).await.unwrap();
    let mut all = Vec::new();
    // What comes is read, so that the kernel answers: only HTTP/2 can notice.
    let _ = stream.read_to_end(&mut all).await;
}

// Goal: a server that is gone without a word fails its streams after a PING that nobody answers, long before `first_byte`.
#[test]
fn a_server_that_keeps_silent_is_noticed_by_ping() {
    with_house(Setup::default(), |house| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = UpstreamLimits {
            ping_after: Duration::from_millis(300),
            ping_timeout: Duration::from_millis(300),
            first_byte: Duration::from_secs(3600),
            ..UpstreamLimits::default()
        };
        let upstream = upstream(&house, &listener, limits);
        let asking = [ask(Rc::clone(&upstream)), ask(Rc::clone(&upstream))].map(tokio::task::spawn_local);
        tokio::task::spawn_local(greet_and_keep_silent(listener.accept().await.unwrap().0));
        for asked in asking {
            let fault = asked.await.unwrap().unwrap_err();
            assert_eq!((fault.step, fault.kind, fault.sent), (Step::Wait, FaultKind::Closed, true));
        }
        assert_eq!(upstream.http2_connections(), 0);
        // The next one is a connection of its own, and works.
        let asked = tokio::task::spawn_local(ask(Rc::clone(&upstream)));
        tokio::task::spawn_local(answer_all(listener.accept().await.unwrap().0));
        assert_eq!(asked.await.unwrap(), Ok(200));
    });
}

// Goal: a slow answer is no silence for ever: a server that answers PINGs keeps its streams.
#[test]
fn a_server_that_answers_pings_may_take_its_time() {
    with_house(Setup::default(), |house| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = UpstreamLimits {
            ping_after: Duration::from_millis(100),
            ping_timeout: Duration::from_millis(600),
            ping_again: Duration::from_millis(100),
            ..UpstreamLimits::default()
        };
        let upstream = upstream(&house, &listener, limits);
        let asked = tokio::task::spawn_local(ask(Rc::clone(&upstream)));
        let (stream, _) = listener.accept().await.unwrap();
        let sweeps = Rc::new(Cell::new(0));
        let counted = Rc::clone(&sweeps);
        house.worker.at_sweep(Rc::new(move || counted.set(counted.get() + 1)));
        let mut connection = h2::server::handshake::<_>(stream).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        // Twelve sweeps are three seconds: several PINGs and more than one time limit for each.
        std::future::poll_fn(|cx| {
            let _ = connection.poll_closed(cx);
            let enough = sweeps.get() >= 12;
            if enough { std::task::Poll::Ready(()) } else { tick(cx) }
        })
        .await;
        respond.send_response(http::Response::new(()), true).unwrap();
        tokio::task::spawn_local(async move { while connection.accept().await.is_some() {} });
        assert_eq!(asked.await.unwrap(), Ok(200));
        assert_eq!(upstream.http2_connections(), 1);
    });
}

/// Looks again at the next turn of the loop.
fn tick(cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
    cx.waker().wake_by_ref();
    std::task::Poll::Pending
}

// Goal: a connection that nobody used for `keep_alive` is closed.
#[test]
fn an_idle_connection_is_closed() {
    with_house(Setup::default(), |house| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = UpstreamLimits { keep_alive: Duration::from_millis(300), ..UpstreamLimits::default() };
        let upstream = upstream(&house, &listener, limits);
        let asked = tokio::task::spawn_local(ask(Rc::clone(&upstream)));
        let (stream, _) = listener.accept().await.unwrap();
        let serving = tokio::task::spawn_local(answer_all(stream));
        assert_eq!(asked.await.unwrap(), Ok(200));
        assert_eq!(upstream.http2_connections(), 1);
        serving.await.unwrap();
        assert_eq!(upstream.http2_connections(), 0);
    });
}

// Goal: many who come at once wait for one connection and share it; where it cannot be opened, all hear why.
#[test]
fn one_opening_serves_all_who_wait() {
    with_house(Setup::default(), |house| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = upstream(&house, &listener, UpstreamLimits::default());
        let all: Vec<_> = (0..50).map(|_| tokio::task::spawn_local(ask(Rc::clone(&upstream)))).collect();
        tokio::task::spawn_local(answer_all(listener.accept().await.unwrap().0));
        for asked in all {
            assert_eq!(asked.await.unwrap(), Ok(200));
        }
        assert_eq!(upstream.http2_connections(), 1);

        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nowhere = self::upstream(&house, &closed, UpstreamLimits::default());
        drop(closed);
        let all: Vec<_> = (0..50).map(|_| tokio::task::spawn_local(ask(Rc::clone(&nowhere)))).collect();
        for asked in all {
            let fault = asked.await.unwrap().unwrap_err();
            assert_eq!((fault.step, fault.kind, fault.sent), (Step::Connect, FaultKind::Refused, false));
        }
    });
}

// Goal: a server that allows no streams at all fails a request in time, and as one that nobody processed.
#[test]
fn a_server_that_allows_no_streams_processes_none() {
    with_house(Setup::default(), |house| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = UpstreamLimits { connect: Duration::from_millis(300), ..UpstreamLimits::default() };
        let upstream = upstream(&house, &listener, limits);
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(0);
        let asked = tokio::task::spawn_local(ask(Rc::clone(&upstream)));
        let (stream, _) = listener.accept().await.unwrap();
        tokio::task::spawn_local(async move {
            let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
            while connection.accept().await.is_some() {}
        });
        let fault = asked.await.unwrap().unwrap_err();
        assert!(!fault.sent, "{fault:?}");
    });
}
