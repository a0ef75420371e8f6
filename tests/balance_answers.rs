//! What servers answer, right and wrong, and what a client gets of it: never a second answer, never another's.

use std::io::{Read as _, Write as _};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use crate::support::client::{Answer, Client};
use crate::support::house::House;
use crate::support::upstream::{Then, Upstream, ok};

/// One server, no second attempt, no rest for it: what it says is what is judged.
fn house(server: &Upstream) -> House {
    House::start(
        &format!(
            "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ proxy = \"api\" }}]\n\
             [pool.api]\nservers = [\"{}\"]\nretry = {{ attempts = 1 }}\npassive = {{ failures = 0, success_rate = 0 }}\n",
            server.address
        ),
        &[],
    )
}

/// What the client gets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Want {
    /// An answer of this status and content. The connection behind the proxy is used again.
    Kept(u16, &'static str),
    /// The same, and that connection is not used again.
    Once(u16, &'static str),
    /// 502, and this is said.
    Refused(&'static str),
    /// An answer that begins and breaks off: the connection ends without an end mark.
    Broken,
}
use Want::{Broken, Kept, Once, Refused};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const SECOND: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond";

// Goal: an answer that can be read in two ways is passed on in none; one that is followed by more is the only one.
// Method: a server that says exactly these bytes; then a marker on the same client's connection, and one on a new one.
#[test]
fn a_client_never_gets_a_second_answer() {
    let court = Court::new();
    // Lengths (RFC 9112 6.3).
    court.field("200 OK", "content-length: 2\r\n\r\nhi", Kept(200, "hi"));
    court.field("200 OK", "content-length: 2\r\ncontent-length: 2\r\n\r\nhi", Kept(200, "hi"));
    court.field(
        "200 OK",
        "content-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
        Refused("upstream-bad-length"),
    );
    court.field("200 OK", "content-length: 2, 2\r\n\r\nhi", Refused("upstream-bad-length"));
    court.field("200 OK", "content-length: +2\r\n\r\nhi", Refused("upstream-bad-length"));
    court.field("200 OK", "content-length: 0x2\r\n\r\nhi", Refused("upstream-bad-length"));
    court.field("200 OK", "content-length:\r\n\r\nhi", Refused("upstream-bad-length"));
    court.field("200 OK", "content-length: 18446744073709551618\r\n\r\nhi", Refused("upstream-bad-length"));
    court.field(
        "200 OK",
        "content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused("upstream-bad-coding"),
    );
    // Codings (RFC 9112 6.1).
    court.field(
        "200 OK",
        "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Refused("upstream-bad-coding"),
    );
    court.field(
        "200 OK",
        "transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        Refused("upstream-bad-coding"),
    );
    court.field(
        "200 OK",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused("upstream-bad-coding"),
    );
    court.field("200 OK", "transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", Refused("upstream-malformed"));
    court.field("200 OK", "transfer-encoding: identity\r\n\r\nhi", Refused("upstream-bad-coding"));
    // Lines (RFC 9112 2.2, 5.1, 5.2).
    court.field("200 OK", "a: b\r\n c\r\ncontent-length: 2\r\n\r\nhi", Refused("upstream-line-end"));
    court.field("200 OK", "a: b\ncontent-length: 2\r\n\r\nhi", Refused("upstream-line-end"));
    court.field("200 OK", "content-length : 2\r\n\r\nhi", Refused("upstream-malformed"));
    court.field("200 OK", "a: b\0c\r\ncontent-length: 2\r\n\r\nhi", Refused("upstream-malformed"));
    court.field("200 OK", "a: b\rcontent-length: 2\r\n\r\nhi", Refused("upstream-malformed"));
    court.field("99 Odd", "content-length: 2\r\n\r\nhi", Refused("upstream-malformed"));
    court.field("2000 Odd", "content-length: 2\r\n\r\nhi", Refused("upstream-malformed"));
    // Chunks (RFC 9112 7.1): the head has gone, so the answer breaks off.
    court.check("GET", &format!("{CHUNKED}2\r\nhi\r\n0\r\n\r\n"), Kept(200, "hi"));
    for chunks in [
        "zz\r\nhi\r\n0\r\n\r\n",
        "2\nhi\r\n0\r\n\r\n",
        "2\r\nhi0\r\n\r\n",
        "2\r\nhi!\r\n0\r\n\r\n",
        "+2\r\nhi\r\n0\r\n\r\n",
    ] {
        court.check("GET", &format!("{CHUNKED}{chunks}"), Broken);
    }
    court.check("GET", &format!("{CHUNKED}10000000000000002\r\nhi\r\n0\r\n\r\n"), Broken);
    court.check("GET", &format!("{CHUNKED}2\r\nhi\r\n0\r\nbad trailer\r\n\r\n"), Broken);
    // More than was announced.
    court.check("GET", &format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi{SECOND}"), Once(200, "hi"));
    court.check("GET", &format!("{CHUNKED}2\r\nhi\r\n0\r\n\r\n{SECOND}"), Once(200, "hi"));
    // No content by definition, and yet some is announced or comes (RFC 9110 8.6, RFC 9112 6.3).
    court.check("GET", "HTTP/1.1 204 No Content\r\n\r\n", Kept(204, ""));
    court.check("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", Kept(204, ""));
    court.check("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 6\r\n\r\n", Once(204, ""));
    court.check("GET", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", Once(204, ""));
    court.check("GET", &format!("HTTP/1.1 204 No Content\r\n\r\n{SECOND}"), Once(204, ""));
    court.check("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\n", Kept(304, ""));
    court.check(
        "GET",
        &format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\n{SECOND}"),
        Once(304, ""),
    );
    court.check("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n", Kept(200, ""));
    court.check("HEAD", CHUNKED, Kept(200, ""));
    court.check("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond", Once(200, ""));
    court.check("HEAD", &format!("{CHUNKED}6\r\nsecond\r\n0\r\n\r\n"), Once(200, ""));
    // Before the answer (RFC 9110 15.2): passed on, few of them, without content, never instead of it.
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n";
    court.check(
        "GET",
        &format!("HTTP/1.1 100 Continue\r\n\r\n{hint}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
        Kept(200, "hi"),
    );
    court.check(
        "GET",
        &format!("{}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", hint.repeat(16)),
        Kept(200, "hi"),
    );
    court.check(
        "GET",
        &format!("{}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", hint.repeat(17)),
        Refused("upstream-malformed"),
    );
    court.check("GET", &hint.repeat(5000), Refused("upstream-malformed"));
    court.check(
        "GET",
        &format!("HTTP/1.1 103 Early Hints\r\ncontent-length: {}\r\n\r\n{SECOND}", SECOND.len()),
        Refused("upstream-bad-length"),
    );
    court.check(
        "GET",
        &format!("HTTP/1.1 100 Continue\r\ntransfer-encoding: chunked\r\n\r\n{SECOND}"),
        Refused("upstream-bad-coding"),
    );
    court.check(
        "GET",
        &format!("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n{SECOND}"),
        Refused("upstream-nonsense"),
    );
    // Sizes.
    court.check(
        "GET",
        &format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(70_000)),
        Refused("upstream-head-too-large"),
    );
    court.check(
        "GET",
        &format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(300)),
        Refused("upstream-too-many-fields"),
    );
}

/// The answer behind the interim ones.
#[track_caller]
fn last(client: &mut Client, method: &str) -> Answer {
    loop {
        let got = client.answer(method);
        if got.status != 103 {
            return got;
        }
    }
}

/// A house whose server answers `/case` with what was given to it last.
struct Court {
    answer: Arc<Mutex<Vec<u8>>>,
    server: Upstream,
    house: House,
}

impl Court {
    fn new() -> Self {
        let answer = Arc::new(Mutex::new(Vec::new()));
        let given = Arc::clone(&answer);
        let server = Upstream::start(move |seen, stream| {
            if seen.line().contains("/case") {
                let _ = stream.write_all(&given.lock().unwrap());
            } else {
                ok(stream, "marker");
            }
            Then::Keep
        });
        let house = house(&server);
        Self { answer, server, house }
    }

    #[track_caller]
    fn field(&self, status: &str, rest: &str, want: Want) {
        self.check("GET", &format!("HTTP/1.1 {status}\r\n{rest}"), want);
    }

    #[track_caller]
    fn check(&self, method: &str, answer: &str, want: Want) {
        let house = &self.house;
        *self.answer.lock().unwrap() = answer.as_bytes().to_vec();
        let shown: String = answer.escape_debug().take(200).collect();
        let mut client = house.client();
        // From here on there is one connection to the server, and nobody uses it.
        assert_eq!(client.get("/marker").text(), "marker", "{shown}");
        let before = self.server.connections();
        client
            .send(format!("{method} /case HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"));
        let another = match want {
            Broken => {
                let all = String::from_utf8_lossy(&client.rest()).into_owned();
                assert!(all.starts_with("HTTP/1.1 200 OK\r\n"), "{shown}: {all}");
                assert!(!all.ends_with("0\r\n\r\n") && !all.contains("second"), "{shown}: {all}");
                client = house.client();
                1
            }
            Kept(status, text) | Once(status, text) => {
                let got = last(&mut client, method);
                assert_eq!((got.status, got.text().as_str()), (status, text), "{shown}: {}", got.head);
                usize::from(matches!(want, Once(..)))
            }
            Refused(name) => {
                let got = last(&mut client, method);
                assert_eq!(got.status, 502, "{shown}: {}{}", got.head, got.text());
                assert!(got.text().contains(&format!("\"{name}\"")), "{shown}: {}", got.text());
                1
            }
        };
        assert_eq!(client.get("/marker").text(), "marker", "{shown}");
        assert_eq!(house.client().get("/marker").text(), "marker", "{shown}");
        assert_eq!(self.server.connections() - before, another, "{shown}: new connections to the server");
        client.send("GET /marker HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer("GET").text(), "marker", "{shown}");
        client.closed();
    }
}

// Goal: what a server says between two requests is nobody's answer.
// Method: it answers, is told that the client has its answer, says another; then a marker.
#[test]
fn what_a_server_says_unasked_is_nobodys_answer() {
    let (tell, told) = channel::<()>();
    let (said, heard) = channel::<()>();
    let (told, said) = (Mutex::new(told), Mutex::new(said));
    let server = Upstream::start(move |seen, stream| {
        if !seen.line().contains("/case") {
            ok(stream, "marker");
            return Then::Keep;
        }
        ok(stream, "first");
        told.lock().unwrap().recv().unwrap();
        stream.write_all(SECOND.as_bytes()).unwrap();
        said.lock().unwrap().send(()).unwrap();
        // Until the proxy closes it: what it does not want it does not keep.
        let _ = stream.read(&mut [0; 1]);
        Then::Close
    });
    let house = house(&server);
    let mut client = house.client();
    assert_eq!(client.get("/case").text(), "first");
    tell.send(()).unwrap();
    heard.recv().unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/marker").text(), "marker");
    }
    assert_eq!(server.connections(), 2);
}

// Goal: requests that come in one write are answered in order, each with its own answer, whoever takes how long.
// Method: fifty at once to a server behind the proxy, mixed with answers that need no server and with uploads.
#[test]
fn pipelined_requests_through_a_proxy_are_answered_in_order() {
    let server = Upstream::start(|seen, stream| {
        let path = seen.line().split(' ').nth(1).unwrap_or("").to_owned();
        ok(stream, &format!("{path}{}", String::from_utf8_lossy(&seen.body)));
        Then::Keep
    });
    let house = House::start(
        &format!(
            "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\n\
             route = [{{ path = \"/here\", respond = \"here\" }}, {{ proxy = \"api\" }}]\n\
             [pool.api]\nservers = [\"{}\"]\n",
            server.address
        ),
        &[],
    );
    let mut wire = String::new();
    for index in 0..50 {
        match index % 5 {
            0 => wire.push_str("GET /here HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            1 => wire.push_str(&format!(
                "POST /{index} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n{index:03}"
            )),
            _ => wire.push_str(&format!("GET /{index} HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        }
    }
    let mut client = house.client();
    client.send(&wire);
    for index in 0..50 {
        let want = match index % 5 {
            0 => "here".to_owned(),
            1 => format!("/{index}{index:03}"),
            _ => format!("/{index}"),
        };
        assert_eq!(client.answer("GET").text(), want, "answer {index}");
    }
    assert_eq!(server.seen().len(), 40);
}
