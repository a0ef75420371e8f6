//! gRPC through Madang: tonic on both sides, over h2c and over TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::support::PATIENCE;
use crate::support::echo::{Echo, Raw};
use crate::support::house::House;
use crate::support::http2_upstream::{Http2Upstream, Options};
use crate::support::tls::{Made, certificate};

fn house(servers: &[std::net::SocketAddr], pool: &str, made: &Made) -> House {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"h2c://{server}\"")).collect();
    let settings = format!(
        "[server]\nworkers = 1\n[site.main]\n\
         listen = [{{ address = \"http://127.0.0.1:0\", h2c = true }}, \"https://127.0.0.1:0\"]\n\
         tls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n\
         route = [{{ path = \"/test.Echo/*\", proxy = \"echo\" }}]\n\
         [pool.echo]\nservers = [{}]\n{pool}\n",
        servers.join(", ")
    );
    let files = [("cert.pem", made.certificate.as_bytes()), ("key.pem", made.key.as_bytes())];
    House::start(&settings, &files)
}

async fn plain(house: &House) -> Channel {
    Endpoint::from_shared(format!("http://{}", house.address(0))).unwrap().connect().await.unwrap()
}

async fn secure(house: &House, made: &Made) -> Channel {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&made.certificate))
        .domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{}", house.address(1))).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.unwrap()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(3 * PATIENCE, test).await.expect("in time") });
}

fn path(method: &str) -> PathAndQuery {
    format!("/test.Echo/{method}").parse().unwrap()
}

async fn unary(channel: &Channel, message: &str) -> Result<Response<Bytes>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    grpc.unary(Request::new(Bytes::copy_from_slice(message.as_bytes())), path("Unary"), Raw).await
}

// Goal: every kind of call passes whole, over h2c and over TLS, with its metadata and its end.
#[test]
fn every_kind_of_call_passes() {
    let (made, echo) = (certificate(&["localhost"]), Echo::start());
    let house = house(&[echo.address], "", &made);
    run(async {
        for channel in [plain(&house).await, secure(&house, &made).await] {
            let answer = unary(&channel, "hello").await.unwrap();
            assert_eq!(
                (&answer.get_ref()[..], answer.metadata().get("x-echo").unwrap()),
                (&b"hello"[..], &"1".parse().unwrap())
            );
            let failed = unary(&channel, "fail").await.unwrap_err();
            assert_eq!(
                (failed.code(), failed.message()),
                (Code::FailedPrecondition, "as you wish: 100 %, 마당")
            );
            let large = "x".repeat(1_000_000);
            assert_eq!(unary(&channel, &large).await.unwrap().get_ref().len(), large.len());

            let mut grpc = Grpc::new(channel.clone());
            grpc.ready().await.unwrap();
            let messages =
                tonic::codegen::tokio_stream::iter((0..1000).map(|_| Bytes::from_static(b"0123456789")));
            let answer = grpc.client_streaming(Request::new(messages), path("Collect"), Raw).await.unwrap();
            assert_eq!(&answer.get_ref()[..], b"1000 10000");

            grpc.ready().await.unwrap();
            let asked = Request::new(Bytes::from_static(b"1000!"));
            let mut stream = grpc.server_streaming(asked, path("Count"), Raw).await.unwrap().into_inner();
            for number in 0..1000 {
                assert_eq!(stream.message().await.unwrap().unwrap(), number.to_string());
            }
            let lost = stream.message().await.unwrap_err();
            assert_eq!((lost.code(), lost.message()), (Code::DataLoss, "the rest is lost"));

            talk(&channel).await;
        }
        let unknown = {
            let mut grpc = Grpc::new(plain(&house).await);
            grpc.ready().await.unwrap();
            grpc.unary(Request::new(Bytes::new()), path("Unknown"), Raw).await.unwrap_err()
        };
        assert_eq!((unknown.code(), unknown.message()), (Code::Unimplemented, "/test.Echo/Unknown"));
    });
}

/// Each message is sent only after the last one came back: nothing may wait for more.
async fn talk(channel: &Channel) {
    let (send, receive) = mpsc::channel(1);
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let answer = grpc.streaming(Request::new(ReceiverStream::new(receive)), path("Talk"), Raw).await.unwrap();
    let mut stream = answer.into_inner();
    for turn in 0..50 {
        let text = format!("turn {turn}");
        send.send(Bytes::from(text.clone())).await.unwrap();
        assert_eq!(stream.message().await.unwrap().unwrap(), text);
    }
    drop(send);
    assert!(stream.message().await.unwrap().is_none());
}

// Goal: a client that sends and does not read is stopped by what the buffers hold, in a memory that stays small; then
// every one of 10,000 messages comes back in order.
// Method: push until calls beside it were answered and nothing moved meanwhile; then read.
#[test]
fn ten_thousand_messages_wait_in_a_bounded_memory() {
    let (made, echo) = (certificate(&["localhost"]), Echo::start());
    let house = house(&[echo.address], "", &made);
    run(async {
        let channel = plain(&house).await;
        unary(&channel, "warm").await.unwrap();
        let before = resident_kib(&house);
        let sent = Arc::new(AtomicUsize::new(0));
        let (send, receive) = mpsc::channel(1);
        let counted = Arc::clone(&sent);
        let pushing = tokio::spawn(async move {
            for number in 0..10_000_usize {
                send.send(Bytes::from(format!("{number:01024}"))).await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut grpc = Grpc::new(plain(&house).await);
        grpc.ready().await.unwrap();
        let answer =
            grpc.streaming(Request::new(ReceiverStream::new(receive)), path("Talk"), Raw).await.unwrap();
        let mut last = usize::MAX;
        while std::mem::replace(&mut last, sent.load(Ordering::SeqCst)) != last || last < 100 {
            for _ in 0..50 {
                unary(&channel, "beside").await.unwrap();
            }
        }
        assert!(last < 6000, "{last} messages were taken for a client that reads nothing");
        let grown = resident_kib(&house).saturating_sub(before);
        assert!(grown < 16 * 1024, "{grown} KiB more");
        let mut stream = answer.into_inner();
        for number in 0..10_000 {
            assert_eq!(stream.message().await.unwrap().unwrap(), format!("{number:01024}"));
        }
        assert!(stream.message().await.unwrap().is_none());
        pushing.await.unwrap();
        let grown = resident_kib(&house).saturating_sub(before);
        assert!(grown < 16 * 1024, "{grown} KiB more at the end");
    });
}

fn resident_kib(house: &House) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", house.process())).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

// Goal: a deadline reaches the server as the client said it, and a call whose time is over is over at the server too.
#[test]
fn a_deadline_ends_a_call_on_both_sides() {
    let (made, echo) = (certificate(&["localhost"]), Echo::start());
    let house = house(&[echo.address], "", &made);
    run(async {
        let channel = plain(&house).await;
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let mut request = Request::new(Bytes::from_static(b"slow"));
        request.set_timeout(Duration::from_millis(200));
        let late = grpc.unary(request, path("Unary"), Raw).await.unwrap_err();
        assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
        assert_eq!(*echo.notes.timeouts.lock().unwrap(), ["200000u"]);
        // Without a deadline: the client leaves, and the call is dropped at the server.
        let leaving = tokio::time::timeout(Duration::from_millis(50), unary(&channel, "slow")).await;
        assert!(leaving.is_err());
        while echo.notes.left.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(unary(&channel, "still there").await.unwrap().into_inner(), "still there");
    });
}

// Goal: what Madang itself refuses is a status of gRPC, not a page.
#[test]
fn refusals_of_our_own_are_statuses_of_grpc() {
    let (made, mut echo) = (certificate(&["localhost"]), Echo::start());
    let house = house(&[echo.address], "", &made);
    run(async {
        let channel = plain(&house).await;
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let asked = grpc.unary(Request::new(Bytes::new()), "/other.Service/Call".parse().unwrap(), Raw).await;
        let nothing = asked.unwrap_err();
        assert_eq!(nothing.code(), Code::Unimplemented, "{nothing:?}");
        echo.die();
        let down = unary(&channel, "hello").await.unwrap_err();
        assert_eq!(down.code(), Code::Unavailable, "{down:?}");
        assert!(
            down.message().starts_with("The program behind this page gave no usable answer."),
            "{down:?}"
        );
    });
}

// Goal: a server that dies in the middle of its answer is told as such (UNAVAILABLE), after what had come.
#[test]
fn a_server_that_dies_under_a_stream_is_unavailable() {
    let (made, mut echo) = (certificate(&["localhost"]), Echo::start());
    let house = house(&[echo.address], "", &made);
    run(async {
        let (send, receive) = mpsc::channel(1);
        let mut grpc = Grpc::new(plain(&house).await);
        grpc.ready().await.unwrap();
        let asked = Request::new(ReceiverStream::new(receive));
        let mut stream = grpc.streaming(asked, path("Talk"), Raw).await.unwrap().into_inner();
        send.send(Bytes::from_static(b"one")).await.unwrap();
        assert_eq!(stream.message().await.unwrap().unwrap(), "one");
        echo.die();
        let died = stream.message().await.unwrap_err();
        assert_eq!((died.code(), died.message()), (Code::Unavailable, "upstream-cut"));
    });
}

// Goal: the health check of gRPC: SERVING is good, anything else takes the server out, and back in.
#[test]
fn the_health_service_decides_who_gets_calls() {
    let made = certificate(&["localhost"]);
    let (one, other) = (Echo::start(), Echo::start());
    let pool = "health = { grpc = \"test.Echo\", every = \"100ms\", timeout = \"1s\", rise = 1, fall = 1 }\nslow_start = \"0s\"";
    let house = house(&[one.address, other.address], pool, &made);
    one.notes.serving.store(2, Ordering::SeqCst);
    house.until_said("not serving");
    run(async {
        let channel = plain(&house).await;
        for _ in 0..10 {
            unary(&channel, "hello").await.unwrap();
        }
    });
    let state = |index: usize| house.json("status")["pools"][0]["servers"][index]["state"].clone();
    assert_eq!(state(1), "up");
    one.notes.serving.store(1, Ordering::SeqCst);
    house.until(|| state(0) == "up");
}

// Goal: a service nobody knows, and a server that is none of gRPC, are not healthy.
#[test]
fn a_server_without_the_service_is_not_healthy() {
    let (echo, page) = (
        Echo::start(),
        Http2Upstream::start(Options::default(), |_, respond| {
            Box::pin(async move { crate::support::http2_upstream::answer(respond, 404, "no") })
        }),
    );
    check(echo.address, "not serving");
    check(page.address, "status 404");

    #[track_caller]
    fn check(server: std::net::SocketAddr, why: &str) {
        let pool =
            "health = { grpc = \"other.Service\", every = \"100ms\", timeout = \"1s\", rise = 1, fall = 1 }";
        house(&[server], pool, &certificate(&["localhost"])).until_said(why);
    }
}
