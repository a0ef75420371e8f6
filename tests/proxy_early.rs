//! A server that answers before the upload is whole.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::pattern;
use crate::support::proxied::{ask, get, house, over_h2, post};
use crate::support::upstream::{Upstream, head_alone};

/// Reads the head of a request and answers at once, by the path; then it reads on, as far as anything comes.
fn hasty() -> Upstream {
    Upstream::raw(|mut stream| {
        loop {
            let Some(head) = head_alone(&mut stream) else { return };
            let status = if head.starts_with(b"POST /refused") { "413 Own" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nearly");
            let head = String::from_utf8(head).unwrap();
            let length =
                head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            match length {
                None if head.starts_with("GET") => {}
                Some(length @ 0..=100) => stream.read_exact(&mut vec![0; length]).unwrap(),
                // Until the proxy closes: it must, because the rest of the request cannot come any more.
                _ => return drop(stream.read_to_end(&mut Vec::new())),
            }
        }
    })
}

// Goal: the client gets the early answer whole, whether it goes on sending or not; both connections end, because where the
// next request would begin is in doubt (RFC 9112 9.3, 9.6), and neither is used again.
#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let server = hasty();
    let house = house(&[&server], "");
    let large = pattern(8 * 1024 * 1024);
    for (path, status) in [("/refused", 413), ("/taken", 200)] {
        let stream = TcpStream::connect(house.address(0)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut sending = stream.try_clone().unwrap();
        let (head, body) = (
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", large.len()),
            large.clone(),
        );
        let sender = std::thread::spawn(move || {
            // The other side may close while this is under way: that is what the test is about.
            let _ = sending.write_all(head.as_bytes()).and_then(|()| sending.write_all(&body));
        });
        let mut client = Client::over(stream);
        let answer = client.answer("POST");
        assert_eq!((answer.status, answer.text()), (status, "early".to_owned()), "{path}");
        assert_eq!(answer.field("connection").as_deref(), Some("close"), "{path}");
        sender.join().unwrap();
        over_h2(house.address(0), async |client| {
            let pieces: Vec<&[u8]> = large.chunks(16 * 1024).collect();
            let answer = ask(&client, post(path), &pieces).await;
            assert_eq!((answer.status, answer.text()), (status, "early".to_owned()), "{path}");
            // The connection of HTTP/2 goes on.
            assert_eq!(ask(&client, get("/taken"), &[]).await.text(), "early");
        });
    }
    house.until(|| house.json("status")["pools"][0]["servers"][0]["in_flight"] == 0);
}

// Goal: a body that came whole in spite of the early answer leaves the connection to the client usable.
#[test]
fn a_small_body_that_came_whole_keeps_the_connection() {
    let server = hasty();
    let house = house(&[&server], "");
    let mut client = house.client();
    for _ in 0..3 {
        client.send("POST /taken HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.answer("POST").text(), "early");
    }
}

/// Answers at once and gives back what it gets, as it gets it; a request of 15 bytes each.
fn echo() -> Upstream {
    Upstream::raw(|mut stream| {
        loop {
            if head_alone(&mut stream).is_none() {
                return;
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err() {
                return;
            }
            for _ in 0..3 {
                let mut piece = [0; 5];
                if stream.read_exact(&mut piece).is_err() {
                    return;
                }
                let _ = stream.write_all(b"5\r\n").and_then(|()| stream.write_all(&piece));
                let _ = stream.write_all(b"\r\n");
            }
            let _ = stream.write_all(b"0\r\n\r\n");
        }
    })
}

// Goal: a server that answers while it reads gets the whole upload, and the client the whole answer, piece by piece in turn;
// the connection to the server is in step afterwards and used again.
#[test]
fn an_upload_goes_on_while_the_answer_comes() {
    let server = echo();
    let house = house(&[&server], "");
    let mut client = house.client();
    for _ in 0..3 {
        client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n");
        assert_eq!(client.answer("HEAD").status, 200, "the head, before anything was sent");
        for piece in ["hello", "great", "world"] {
            client.send(piece);
            assert_eq!(client.exactly(10), format!("5\r\n{piece}\r\n").as_bytes());
        }
        assert_eq!(client.exactly(5), b"0\r\n\r\n");
    }
    over_h2(house.address(0), async |client| {
        let request = post("/").header("content-length", "15").body(()).unwrap();
        let (answer, mut send) = client.clone().send_request(request, false).unwrap();
        let mut body = answer.await.unwrap().into_body();
        for (index, piece) in ["hello", "great", "world"].into_iter().enumerate() {
            send.send_data(piece.into(), index == 2).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), piece.as_bytes());
        }
        assert!(body.data().await.is_none_or(|last| last.unwrap().is_empty()));
    });
    assert_eq!(server.connections(), 1, "always in step");
}

// Goal: a client that leaves in the middle of both ends the server's side too, and nobody takes its upload for whole.
#[test]
fn a_client_that_leaves_in_the_middle_ends_both() {
    let server = echo();
    let house = house(&[&server], "");
    let mut client = house.client();
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\nhello");
    assert_eq!(client.answer("HEAD").status, 200);
    assert_eq!(client.exactly(10), b"5\r\nhello\r\n");
    drop(client);
    house.until(|| house.json("status")["pools"][0]["servers"][0]["in_flight"] == 0);
    let mut client = house.client();
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\nhellogreatworld");
    assert_eq!(client.answer("POST").text(), "hellogreatworld");
    assert_eq!(server.connections(), 2, "the broken one is not used again");
}
