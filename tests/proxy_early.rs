//! A server that answers before the upload is whole.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::pattern;
use crate::support::proxied::{ask, get, house, over_h2, post};
use crate::support::upstream::Upstream;

/// Reads the head of a request and answers at once, by the path; then it reads on, as far as anything comes.
fn hasty() -> Upstream {
    Upstream::raw(|mut stream| {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut one = [0; 1];
                if stream.read_exact(&mut one).is_err() {
                    return;
                }
                head.push(one[0]);
            }
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
