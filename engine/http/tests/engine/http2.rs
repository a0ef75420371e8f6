//! HTTP/2 on the wire, with the h2 crate's client and hostile variations.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Version};
use madang_host::connection::PhaseLimits;
use madang_http::endpoint::HttpLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{House, Setup, with_house};

type Connection = h2::client::Connection<tokio::net::TcpStream, Bytes>;

async fn client(house: &House) -> (SendRequest<Bytes>, Connection) {
    h2::client::Builder::new().enable_push(false).handshake(house.connect().await).await.unwrap()
}

/// A client whose connection runs by itself.
async fn running(house: &House) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let (sender, connection) = client(house).await;
    (sender, tokio::task::spawn_local(connection))
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .version(Version::HTTP_2)
        .uri(format!("http://x{path}"))
        .body(())
        .unwrap()
}

async fn body(mut stream: h2::RecvStream) -> Result<(String, Option<http::HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?;
    Ok((String::from_utf8(all).unwrap(), trailers))
}

#[test]
fn requests_bodies_and_trailers_go_both_ways() {
    with_house(Setup::default(), |house| async move {
        let (mut sender, _connection) = running(&house).await;
        let (answer, _) = sender.send_request(request(Method::GET, "/a?b"), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-length"]),
            (200, &"7".parse().unwrap())
        );
        assert_eq!(body(answer.into_body()).await.unwrap().0, "GET /a\n");

        let (answer, mut send) = sender.send_request(request(Method::POST, "/echo"), false).unwrap();
        send.send_data("hello".into(), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "9".parse().unwrap());
        send.send_trailers(trailers).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["x-sum"], "9");
        assert_eq!(body(answer.into_body()).await.unwrap().0, "hello");

        let (answer, _) = sender.send_request(request(Method::GET, "/pieces"), true).unwrap();
        let (text, trailers) = body(answer.await.unwrap().into_body()).await.unwrap();
        assert_eq!((text.as_str(), &trailers.unwrap()["x-sum"]), ("one two three", &"3".parse().unwrap()));

        let (answer, _) = sender.send_request(request(Method::HEAD, "/a"), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["content-length"], "8");
        assert!(answer.into_body().is_end_stream());
    });
}

#[test]
fn large_bodies_flow_both_ways_and_streams_do_not_wait_for_each_other() {
    with_house(Setup::default(), |house| async move {
        let (sender, _connection) = running(&house).await;
        let mut tasks = Vec::new();
        for _ in 0..10 {
            let mut sender = sender.clone().ready().await.unwrap();
            tasks.push(tokio::task::spawn_local(async move {
                let (answer, _) = sender.send_request(request(Method::GET, "/large"), true).unwrap();
                body(answer.await.unwrap().into_body()).await.unwrap().0.len()
            }));
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), 4 * 1024 * 1024);
        }
    });
}

#[test]
fn extended_connect_gives_the_stream_to_its_role() {
    with_house(Setup::default(), |house| async move {
        let (mut sender, _connection) = running(&house).await;
        // The server's settings must have come before extended CONNECT may be used (RFC 8441 3).
        let (answer, _) = sender.send_request(request(Method::GET, "/a"), true).unwrap();
        answer.await.unwrap();
        let mut connect =
            Request::builder().method(Method::CONNECT).uri("http://x/connect").body(()).unwrap();
        connect.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (answer, mut send) = sender.send_request(connect, false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut receive = answer.into_body();
        for word in ["first", "second"] {
            send.send_data(word.into(), false).unwrap();
            assert_eq!(receive.data().await.unwrap().unwrap(), word);
        }
        send.send_data(Bytes::new(), true).unwrap();
        assert!(receive.data().await.is_none_or(|data| data.is_ok_and(|data| data.is_empty())));
    });
}

// Goal: an answer arrives whole though nobody read the request's body, be that at its end, too large for anybody, or refused.
// Method: bodies below and above the limit, to an address that reads none and to one that reads all.
#[test]
fn answers_arrive_whole_though_nobody_reads_the_body() {
    let limits = HttpLimits { body_bytes_max: 1_000_000, ..HttpLimits::default() };
    with_house(Setup { limits, ..Setup::default() }, |house| async move {
        let (mut sender, _connection) = running(&house).await;
        for (path, length, status) in
            [("/a", 900_000, 200), ("/a", 1_500_000, 200), ("/echo", 1_500_000, 413), ("/a", 10, 200)]
        {
            sender = sender.ready().await.unwrap();
            let (answer, mut send) = sender.send_request(request(Method::POST, path), false).unwrap();
            send.send_data(vec![b'x'; length].into(), true).unwrap();
            let answer = answer.await.unwrap_or_else(|error| panic!("{path} {length}: {error}"));
            assert_eq!(answer.status(), status, "{path} {length}");
            let text = body(answer.into_body()).await.unwrap().0;
            assert!(text.ends_with('\n') || status != 200, "{path} {length}: {text:?}");
        }
    });
}

// Goal: a body that stops coming, or trickles, ends its request with 408 (slow POST), and the connection goes on.
#[test]
fn slow_bodies_are_given_up() {
    let phases = PhaseLimits { body_idle: Duration::from_millis(300), ..PhaseLimits::default() };
    with_house(Setup { phases, ..Setup::default() }, |house| async move {
        let (mut sender, _connection) = running(&house).await;
        let (answer, mut send) = sender.send_request(request(Method::POST, "/echo"), false).unwrap();
        send.send_data("begun".into(), false).unwrap();
        assert_eq!(answer.await.unwrap().status(), 408);
        sender = sender.ready().await.unwrap();
        let (answer, _) = sender.send_request(request(Method::GET, "/a"), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
    });
}

// Goal: honest traffic is never taken for chatter, however much of it there is.
// Method: uploads that are read and uploads that nobody reads, downloads by a client that opens its window byte by byte, small
// messages on an extended CONNECT: each several times what the allowance for chatter would bear.
#[test]
fn uploads_downloads_and_messages_are_no_chatter() {
    with_house(Setup::default(), |house| async move {
        let (mut sender, _connection) = running(&house).await;
        let large = Bytes::from(vec![b'x'; 600_000]);
        for path in ["/echo", "/a", "/a", "/a"] {
            sender = sender.ready().await.unwrap();
            let (answer, mut send) = sender.send_request(request(Method::POST, path), false).unwrap();
            // Where nobody reads it, the stream ends before all of it is taken.
            let _ = send.send_data(large.clone(), true);
            let answer = answer.await.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(answer.status(), 200, "{path}");
            body(answer.into_body()).await.unwrap();
        }

        let stream = house.connect().await;
        stream.set_nodelay(true).unwrap();
        let narrow = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(1024)
            .handshake::<_, Bytes>(stream);
        let (mut sender, connection) = narrow.await.unwrap();
        tokio::task::spawn_local(connection);
        for _ in 0..2 {
            sender = sender.ready().await.unwrap();
            let (answer, _) = sender.send_request(request(Method::GET, "/large"), true).unwrap();
            assert_eq!(body(answer.await.unwrap().into_body()).await.unwrap().0.len(), 4 * 1024 * 1024);
        }

        let mut connect =
            Request::builder().method(Method::CONNECT).uri("http://x/connect").body(()).unwrap();
        connect.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        sender = sender.ready().await.unwrap();
        let (answer, mut send) = sender.send_request(connect, false).unwrap();
        let mut receive = answer.await.unwrap().into_body();
        for count in 0..12_000 {
            send.send_data(Bytes::from_static(b"ping"), false).unwrap();
            let echo = receive.data().await.unwrap_or_else(|| panic!("ended at {count}")).unwrap();
            receive.flow_control().release_capacity(echo.len()).unwrap();
        }
    });
}

// Goal: content that is read together with the head of its request is not taken for chatter.
// Method: bytes, so that head and more content than the allowance for chatter are there at once when the server looks.
#[test]
fn content_that_comes_with_its_head_is_no_chatter() {
    with_house(Setup::default(), |house| async move {
        let mut stream = house.connect().await;
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat()).await.unwrap();
        // The connection's window must be open before so much may be sent: the server's WINDOW_UPDATE on stream 0.
        let mut said = Vec::new();
        while !said.windows(9).any(|bytes| bytes == [0, 0, 4, 8, 0, 0, 0, 0, 0]) {
            assert!(stream.read_buf(&mut said).await.unwrap() > 0, "{said:?}");
        }
        // `:method: POST`, `:scheme: http`, `:path: /`, `:authority: x`; END_HEADERS.
        let head = [0, 0, 6, 1, 4, 0, 0, 0, 1, 0x83, 0x86, 0x84, 0x41, 1, b'x'];
        let content = |end: u8| [&[0, 0x40, 0, 0, end, 0, 0, 0, 1][..], &[b'x'; 16 * 1024]].concat();
        // Its settings hold from our acknowledgement on.
        let acknowledged = [0, 0, 0, 4, 1, 0, 0, 0, 0];
        let all = [acknowledged.to_vec(), head.to_vec(), content(0).repeat(9), content(1)].concat();
        stream.write_all(&all).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(7).any(|bytes| bytes == b"POST /\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "ended: {answer:?}");
        }
    });
}

// Goal: a client cannot push: the connection ends with PROTOCOL_ERROR (RFC 9113 8.4).
// Method: the frame as bytes, with its field block complete, which h2's client could not be made to send.
#[test]
fn a_push_promise_from_a_client_ends_the_connection() {
    with_house(Setup::default(), |house| async move {
        let mut stream = house.connect().await;
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        // PUSH_PROMISE on stream 1 with END_HEADERS: promised stream 2, `:method: GET` by its index.
        let push = [0, 0, 5, 5, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0x82];
        let preface = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        stream.write_all(&[&preface[..], &settings, &push].concat()).await.unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        let goaway = said.windows(5).position(|bytes| bytes == [7, 0, 0, 0, 0]).expect("GOAWAY");
        assert_eq!(said[goaway + 10..goaway + 14], [0, 0, 0, 1], "{said:?}");
    });
}

#[test]
fn what_http1_would_refuse_is_refused_here_too() {
    with_house(Setup::default(), |house| async move {
        let (mut sender, _connection) = running(&house).await;
        let mut differing = request(Method::GET, "/a");
        differing.headers_mut().insert("host", "other".parse().unwrap());
        let mut repeated = request(Method::GET, "/a");
        repeated.headers_mut().append("host", "x".parse().unwrap());
        repeated.headers_mut().append("host", "x".parse().unwrap());
        for wrong in [differing, repeated, request(Method::GET, "/a%2fb"), request(Method::GET, "/%2e%2e/x")]
        {
            let (answer, _) = sender.send_request(wrong, true).unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 400);
            // RFC 9110 6.6.1: a server with a clock says when.
            assert_eq!(answer.headers()["date"].len(), 29);
            assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
        }
        let (answer, _) = sender.send_request(request(Method::HEAD, "/a%2fb"), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 400);
        assert!(answer.body().is_end_stream(), "an answer to HEAD has no content");
        assert_eq!(house.told.borrow().len(), 5);
    });
}

// Goal: a client that starts work and resets it is ended before it gets far (CVE-2023-44487 and its kin).
#[test]
fn rapid_resets_end_the_connection() {
    with_house(Setup::default(), |house| async move {
        let (mut sender, connection) = running(&house).await;
        for _ in 0..20_000 {
            let Ok(ready) = sender.ready().await else { break };
            sender = ready;
            let Ok((answer, mut send)) = sender.send_request(request(Method::GET, "/never"), true) else {
                break;
            };
            // Let the server begin the work, then take it back.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            send.send_reset(h2::Reason::CANCEL);
            drop(answer);
            if connection.is_finished() {
                break;
            }
        }
        let error = connection.await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{error:?}");
        let began = house.told.borrow().iter().filter(|line| *line == "began /never").count();
        assert!((1..400).contains(&began), "work was begun {began} times");
        while house.worker.connections.count() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

// Goal: control frames without requests are bounded: pings flood nobody.
#[test]
fn a_flood_of_control_frames_ends_the_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    with_house(Setup::default(), |house| async move {
        let mut stream = house.connect().await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let reading = tokio::task::spawn_local(async move {
            let mut all = Vec::new();
            let _ = read.read_to_end(&mut all).await;
            all
        });
        let ping = b"\0\0\x08\x06\0\0\0\0\0pingpong".repeat(100);
        let refused = || house.told.borrow().iter().any(|line| line.starts_with("refused 0 h2_glitches_max"));
        let mut sent = 0;
        while !refused() && sent < 1_000_000 {
            sent += 100;
            if write.write_all(&ping).await.is_err() {
                break;
            }
        }
        assert!(refused(), "{sent} pings were taken");
        drop(write);
        reading.await.unwrap();
    });
}

// Goal: answers that a client asks for and does not take are given up, however many (window starvation).
#[test]
fn answers_nobody_takes_are_given_up() {
    let mut setup = Setup::default();
    setup.phases.write_idle = Duration::from_millis(500);
    setup.phases.rate_grace = Duration::from_millis(500);
    with_house(setup, |house: Rc<House>| async move {
        let (sender, connection) = running(&house).await;
        let mut held = Vec::new();
        for _ in 0..20 {
            let mut sender = sender.clone().ready().await.unwrap();
            let (answer, _) = sender.send_request(request(Method::GET, "/large"), true).unwrap();
            held.push(answer);
        }
        let mut given_up = 0;
        for answer in held {
            // The head comes; the body's window is never opened.
            if let Ok(answer) = answer.await
                && let Err(error) = drain_without_window(answer.into_body()).await
            {
                assert!(error.is_reset() || error.is_go_away() || error.is_io(), "{error:?}");
                given_up += 1;
            }
        }
        assert_eq!(given_up, 20);
        drop((sender, connection));
    });
}

async fn drain_without_window(mut stream: h2::RecvStream) -> Result<(), h2::Error> {
    while let Some(data) = stream.data().await {
        data?;
    }
    Ok(())
}

#[test]
fn a_head_that_unpacks_too_large_is_refused() {
    with_house(Setup::default(), |house| async move {
        let (mut sender, _connection) = running(&house).await;
        let mut bomb = request(Method::GET, "/a");
        for number in 0..90 {
            bomb.headers_mut().append(
                http::HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap(),
                "y".repeat(500).parse().unwrap(),
            );
        }
        let (answer, _) = sender.send_request(bomb, true).unwrap();
        match answer.await {
            Ok(answer) => assert_eq!(answer.status(), 431),
            Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error:?}"),
        }
        let told = house.told.borrow().clone();
        assert!(!told.iter().any(|line| line.starts_with("GET /a")), "{told:?}");
    });
}
