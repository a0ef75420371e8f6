//! Websockets on the wire: a client of raw frames, and one over HTTP/2, against a role that shouts back.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use madang_http::websocket::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::{House, Setup, read_until, with_house};

const ASK: &str = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// The next frame of the server: its first byte and what it carries. `None`: the end.
async fn next(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.ok()?;
    let length = match head[1] {
        126 => usize::from(stream.read_u16().await.ok()?),
        127 => usize::try_from(stream.read_u64().await.ok()?).unwrap(),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[0], payload))
}

async fn open(house: &House) -> TcpStream {
    let mut stream = house.connect().await;
    stream.write_all(format!("{ASK}\r\n").as_bytes()).await.unwrap();
    let head = read_until(&mut stream, |text| text.ends_with("\r\n\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    stream
}

/// The code of a close frame.
fn code((first, payload): (u8, Vec<u8>)) -> u16 {
    assert_eq!(first, 0x88, "{payload:?}");
    u16::from_be_bytes([payload[0], payload[1]])
}

async fn until(house: &House, what: &str) {
    while !house.told.borrow().iter().any(|told| told == what) {
        tokio::task::yield_now().await;
    }
}

fn limits(change: impl FnOnce(&mut Limits)) -> Setup {
    let mut websocket = Limits::default();
    change(&mut websocket);
    Setup { websocket, ..Setup::default() }
}

// Goal: a connection's whole life: what came with the request, messages in pieces, pings, the close and its answer.
#[test]
fn messages_go_both_ways_until_the_client_closes() {
    with_house(Setup::default(), |house| async move {
        let mut stream = house.connect().await;
        let mut first = format!("{ASK}sec-websocket-protocol: other, shout\r\n\r\n").into_bytes();
        first.extend(frame(0x81, b"early"));
        stream.write_all(&first).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains("sec-websocket-protocol: shout\r\n"), "{head}");
        assert_eq!(next(&mut stream).await, Some((0x81, b"EARLY".to_vec())));

        let long = vec![b'a'; 40_000];
        for piece in [frame(0x01, "가나".as_bytes()), frame(0x89, b"are you there"), frame(0x80, &long)]
            .concat()
            .chunks(777)
        {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(next(&mut stream).await, Some((0x8a, b"are you there".to_vec())));
        let (first, shouted) = next(&mut stream).await.unwrap();
        assert_eq!((first, shouted.len(), &shouted[..3]), (0x81, 40_006, "가".as_bytes()));

        stream.write_all(&frame(0x88, &1000_u16.to_be_bytes())).await.unwrap();
        assert_eq!(code(next(&mut stream).await.unwrap()), 1000);
        assert_eq!(next(&mut stream).await, None);
        until(&house, "closed closed").await;
        assert_eq!(house.worker.connections.count(), 0);
        assert!(!house.sockets.borrow()[0].takes());
    });
}

// Goal: what is no websocket is closed by its code, is told by its name, and harms nobody else.
#[test]
fn what_is_no_frame_is_closed_by_its_code() {
    with_house(Setup::default(), |house| async move {
        let mut neighbour = open(&house).await;
        check(&house, &[0x81, 0x01, b'a'], 1002, "websocket-unmasked").await;
        check(&house, &[0xc1, 0x80], 1002, "websocket-reserved-bit").await;
        check(&house, &frame(0x81, b"\xff\xfe"), 1007, "websocket-not-utf8").await;
        check(&house, &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], 1009, "websocket-message-too-large")
            .await;
        check(&house, &frame(0x88, b"\x03"), 1002, "websocket-close-code").await;
        check(&house, &frame(0x82, b"bytes"), 1003, "ended").await;
        // However much follows it.
        check(&house, &[vec![0x83; 20_000], vec![0; 100_000]].concat(), 1002, "websocket-opcode").await;
        neighbour.write_all(&frame(0x81, b"still here")).await.unwrap();
        assert_eq!(next(&mut neighbour).await, Some((0x81, b"STILL HERE".to_vec())));

        async fn check(house: &House, bytes: &[u8], want: u16, name: &str) {
            let mut stream = open(house).await;
            stream.write_all(bytes).await.unwrap();
            assert_eq!(code(next(&mut stream).await.unwrap()), want, "{name}");
            if want == 1003 {
                stream.write_all(&frame(0x88, b"")).await.unwrap();
            }
            assert_eq!(next(&mut stream).await, None, "{name}");
            drop(stream);
            until(house, &format!("closed {name}")).await;
        }
    });
}

// Goal: one turn of one task reaches every socket at once: nothing waits although nobody else has run.
#[test]
fn one_turn_sends_to_all() {
    with_house(Setup::default(), |house| async move {
        let mut clients = Vec::new();
        for _ in 0..300 {
            clients.push(open(&house).await);
        }
        let frame = Bytes::from_static(b"\x81\x05hello");
        {
            let sockets = house.sockets.borrow();
            assert_eq!(sockets.len(), 300);
            for socket in sockets.iter() {
                socket.send(&frame);
                socket.queue(frame.clone());
                socket.queue(frame.clone());
                socket.flush();
            }
            assert_eq!(sockets.iter().map(|socket| socket.waiting_bytes()).sum::<usize>(), 0);
        }
        for client in &mut clients {
            for _ in 0..3 {
                assert_eq!(next(client).await, Some((0x81, b"hello".to_vec())));
            }
        }
    });
}

// Goal: a client that reads late is told to the role, gets all of it in order, and then the role hears that there is room.
#[test]
fn who_reads_late_gets_everything_in_order() {
    with_house(limits(|limits| limits.outbox_bytes_max = 64 * 1024), |house| async move {
        let mut stream = open(&house).await;
        let socket = Rc::clone(&house.sockets.borrow()[0]);
        let mut sent = 0_u64;
        while socket.takes() {
            let mut frame = vec![0x82, 126, 0x04, 0x00];
            frame.extend_from_slice(&sent.to_be_bytes());
            frame.resize(4 + 1024, b'x');
            socket.send(&frame.into());
            sent += 1;
        }
        assert!(socket.waiting_bytes() >= 64 * 1024 && socket.waiting_bytes() < 66 * 1024);
        for want in 0..sent {
            let (_, payload) = next(&mut stream).await.unwrap();
            assert_eq!(payload[..8], want.to_be_bytes());
        }
        until(&house, "drained").await;
        assert!(socket.takes() && socket.waiting_bytes() == 0);
    });
}

// Goal: who reads nothing costs no more than twice the outbox, and is ended by 4000 behind what has begun; its memory is free.
#[test]
fn who_reads_nothing_is_ended() {
    with_house(limits(|limits| limits.outbox_bytes_max = 16 * 1024), |house| async move {
        let mut stream = open(&house).await;
        let socket = Rc::clone(&house.sockets.borrow()[0]);
        let frame = Bytes::from([&[0x82, 126, 0x10, 0x00][..], &[b'x'; 4096]].concat());
        for _ in 0..10_000 {
            socket.send(&frame);
            assert!(socket.waiting_bytes() <= 40 * 1024, "{}", socket.waiting_bytes());
        }
        until(&house, "closed too-slow").await;
        let mut last = None;
        while let Some(frame) = next(&mut stream).await {
            last = Some(frame);
        }
        assert_eq!(code(last.unwrap()), 4000);
    });
}

// Goal: who reads nothing is noticed after little: the kernel does not take megabytes for each, which would fill what it has for all.
// Method: send until something waits for the kernel; what was sent until then is what the buffers of both ends hold.
#[test]
fn the_kernel_holds_little_for_who_reads_nothing() {
    with_house(Setup::default(), |house| async move {
        let _stream = open(&house).await;
        let socket = Rc::clone(&house.sockets.borrow()[0]);
        let frame = Bytes::from([&[0x82, 126, 0x10, 0x00][..], &[b'x'; 4096]].concat());
        let mut sent = 0;
        while socket.waiting_bytes() == 0 {
            socket.send(&frame);
            sent += frame.len();
            assert!(sent <= 512 * 1024, "the kernel took {sent} bytes for a client that reads nothing");
        }
    });
}

// Goal: a client that takes nothing of what waits is ended after `stalled`, although it has not filled the outbox.
#[test]
fn who_stalls_is_ended() {
    with_house(limits(|limits| limits.stalled = Duration::from_millis(500)), |house| async move {
        let _stream = open(&house).await;
        let socket = Rc::clone(&house.sockets.borrow()[0]);
        while socket.waiting_bytes() == 0 {
            socket.send(&Bytes::from([&[0x82, 126, 0x10, 0x00][..], &[b'x'; 4096]].concat()));
        }
        until_sweeps(&house, "closed too-slow").await;
    });
}

/// The same for what the sweep does: it needs time, so the runtime must be able to sleep.
async fn until_sweeps(house: &House, what: &str) {
    while !house.told.borrow().iter().any(|told| told == what) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

// Goal: who is silent is asked twice and then ended with 4004; who answers stays.
#[test]
fn who_gives_no_sign_of_life_is_ended() {
    with_house(limits(|limits| limits.ping = Duration::from_millis(300)), |house| async move {
        let (mut silent, mut alive) = (open(&house).await, open(&house).await);
        let answering = async {
            loop {
                assert_eq!(next(&mut alive).await, Some((0x89, Vec::new())));
                alive.write_all(&frame(0x8a, b"")).await.unwrap();
            }
        };
        let waiting = async {
            for _ in 0..2 {
                assert_eq!(next(&mut silent).await, Some((0x89, Vec::new())));
            }
            assert_eq!(code(next(&mut silent).await.unwrap()), 4004);
            // It does not answer our close, either.
            assert_eq!(next(&mut silent).await, None);
        };
        tokio::select! {
            () = answering => {}
            () = waiting => {}
        }
        assert_eq!(
            *house.told.borrow(),
            ["GET /ws 101 out=0 complete=true"; 2]
                .iter()
                .map(|s| (*s).to_owned())
                .chain(["closed idle".to_owned()])
                .collect::<Vec<_>>()
        );
        assert!(house.sockets.borrow()[1].takes());
    });
}

// Goal: a server that ends lets the role have its last word, closes with 1001, and its drain is over when clients have answered.
#[test]
fn a_drain_closes_with_1001_behind_the_last_word() {
    with_house(Setup::default(), |house| async move {
        let mut stream = open(&house).await;
        let drained = house.worker.connections.drain(true);
        assert_eq!(next(&mut stream).await, Some((0x81, b"ENDING".to_vec())));
        assert_eq!(code(next(&mut stream).await.unwrap()), 1001);
        stream.write_all(&frame(0x88, &1001_u16.to_be_bytes())).await.unwrap();
        assert_eq!(next(&mut stream).await, None);
        drained.await.unwrap();
        until(&house, "closed shutting-down").await;
    });
}

// Goal: a client that has gone without a word is noticed, and so is one that goes while its close is awaited.
#[test]
fn who_has_gone_is_told() {
    with_house(Setup::default(), |house| async move {
        drop(open(&house).await);
        until(&house, "closed gone").await;
        let stream = open(&house).await;
        house.sockets.borrow()[1].close(4321, "enough");
        house.sockets.borrow()[1].close(1000, "the first one counts");
        until(&house, "closed ended").await;
        drop(stream);
        while house.worker.connections.count() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

// Goal: what is asked wrongly is answered, not cut: 426 with the version, 403 for a foreign page.
#[test]
fn a_wrong_upgrade_is_answered() {
    with_house(Setup::default(), |house| async move {
        let answer = house.talk("GET /ws HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 426 ") && answer.contains("sec-websocket-version: 13\r\n"),
            "{answer}"
        );
        let answer = house
            .talk(format!(
                "{ASK}origin: http://evil.test\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("HTTP/1.1 200 OK"), "{answer}");
        assert!(house.told.borrow().iter().any(|told| told == "websocket-origin"));
    });
}

// Goal: the same over HTTP/2 (RFC 8441), beside usual requests of the same connection.
#[test]
fn a_stream_of_http2_is_a_websocket_too() {
    with_house(Setup::default(), |house| async move {
        let (mut client, connection) = h2::client::handshake(house.connect().await).await.unwrap();
        tokio::task::spawn_local(connection);
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("http://x/ws")
            .header("sec-websocket-version", "13")
            .extension(h2::ext::Protocol::from("websocket"))
            .body(())
            .unwrap();
        let (answer, mut send) = client.send_request(request, false).unwrap();
        let mut body = answer.await.unwrap().into_body();
        send.send_data(frame(0x81, b"over two").into(), false).unwrap();
        assert_eq!(&body.data().await.unwrap().unwrap()[..], b"\x81\x08OVER TWO");
        let usual = Request::builder().uri("http://x/page").body(()).unwrap();
        assert_eq!(client.send_request(usual, true).unwrap().0.await.unwrap().status(), 200);
        drop(house.worker.connections.drain(true));
        let mut heard = Vec::new();
        while !heard.contains(&0x88) {
            heard.extend_from_slice(&body.data().await.unwrap().unwrap());
        }
        assert_eq!(&heard[..8], b"\x81\x06ENDING");
        send.send_data(frame(0x88, &1001_u16.to_be_bytes()).into(), true).unwrap();
        until(&house, "closed shutting-down").await;
    });
}
