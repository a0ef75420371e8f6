//! Ends by time and by size on the way through the proxy.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::house::House;
use crate::support::proxied::{ask, get, house, over_h2, pool, post, settings, until_recorded};
use crate::support::upstream::{Seen, Then, Upstream};

/// Begins an answer and goes on a byte at a time, as long as anybody reads.
fn endless(seen: &Seen, stream: &mut TcpStream) -> Then {
    let head = if seen.line().contains("/length") {
        "content-length: 1000000"
    } else {
        "transfer-encoding: chunked"
    };
    write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n").unwrap();
    let piece: &[u8] = if seen.line().contains("/length") { b"x" } else { b"1\r\nx\r\n" };
    while stream.write_all(piece).is_ok() {
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    Then::Close
}

// Goal: `timeouts.whole` ends an answer that never ends: broken for the client, by name in the log, and closed to the server.
#[test]
fn the_whole_time_covers_the_answer() {
    let server = Upstream::start(endless);
    let house = house(&[&server], "timeouts = { whole = \"500ms\" }");
    for path in ["/length", "/chunked"] {
        let mut client = house.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let all = String::from_utf8(client.rest()).unwrap();
        assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && !all.ends_with("0\r\n\r\n"), "{path}: {all}");
        over_h2(house.address(0), async |client| {
            let answer = ask(&client, get(path), &[]).await;
            let reset = answer.body.unwrap_err();
            assert_eq!((answer.status, reset.reason()), (200, Some(h2::Reason::INTERNAL_ERROR)), "{path}");
        });
    }
    house.until_said("answer-broken");
    until_recorded(&house, "upstream-whole-timeout", 4);
    house.until(|| house.json("status")["pools"][0]["servers"][0]["in_flight"] == 0);
}

// Goal: before the answer begins the same limit is a 504.
#[test]
fn the_whole_time_before_an_answer_is_a_504() {
    let silent = Upstream::start(|_, stream| {
        let _ = stream.read(&mut [0; 1]);
        Then::Close
    });
    let house = house(&[&silent], "timeouts = { whole = \"300ms\" }");
    assert_eq!(house.client().get("/").status, 504);
    until_recorded(&house, "upstream-whole-timeout", 1);
}

/// A site whose bodies may have 1,000 bytes: by `[limits]`, or by the route.
fn small(server: &Upstream, by_route: bool) -> House {
    let (route, limits) = if by_route {
        (", body_max = \"1000B\"", "")
    } else {
        ("", "[limits]\nbody_bytes_max = \"1000B\"\n")
    };
    let rest = format!("{limits}{}", pool("api", &[server], ""));
    House::start(&settings(&format!("proxy = \"api\"{route}"), &rest), &[])
}

// Goal: a body that announces too much is refused before a server hears of it.
#[test]
fn a_body_that_announces_too_much_reaches_nobody() {
    for by_route in [false, true] {
        let server = Upstream::named("a");
        let house = small(&server, by_route);
        let mut client = house.client();
        client.send(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n",
        );
        let answer = client.answer("POST");
        assert_eq!((answer.status, answer.field("connection").as_deref()), (413, Some("close")));
        over_h2(house.address(0), async |client| {
            let body = [b'x'; 1001];
            let request = post("/").header("content-length", "1001");
            assert_eq!(ask(&client, request, &[&body]).await.status, 413);
        });
        let mut client = house.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{}",
            "x".repeat(1000)
        ));
        assert_eq!(client.answer("POST").status, 200, "the limit itself is taken");
        assert_eq!((server.connections(), server.seen().len()), (1, 1));
    }
}

// Goal: a body that turns out too large on the way ends both sides: 413 to the client, and the server's connection closes in
// the middle of a request that it therefore cannot take for whole.
#[test]
fn a_body_that_grows_too_large_is_cut_on_both_sides() {
    let whole = Arc::new(AtomicUsize::new(0));
    let (count, ended) = (Arc::clone(&whole), Arc::new(AtomicUsize::new(0)));
    let over = Arc::clone(&ended);
    let server = Upstream::raw(move |mut stream| {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        if all.ends_with(b"0\r\n\r\n") {
            count.fetch_add(1, Ordering::SeqCst);
        }
        over.fetch_add(1, Ordering::SeqCst);
    });
    let house = small(&server, false);
    let mut client = house.client();
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("258\r\n{}\r\n", "x".repeat(600)));
    house.until(|| server.connections() == 1);
    client.send(format!("258\r\n{}\r\n", "x".repeat(600)));
    let answer = client.answer("POST");
    assert_eq!((answer.status, answer.field("connection").as_deref()), (413, Some("close")));
    house.until(|| ended.load(Ordering::SeqCst) == 1);
    over_h2(house.address(0), async |client| {
        let piece = [b'x'; 600];
        assert_eq!(ask(&client, post("/"), &[&piece, &piece]).await.status, 413);
    });
    house.until(|| ended.load(Ordering::SeqCst) == server.connections());
    assert_eq!(whole.load(Ordering::SeqCst), 0, "no server took a cut body for whole");
}
