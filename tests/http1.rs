//! HTTP/1.1 seen from the wire (RFC 9112).

use crate::support::client::Client;
use crate::support::house::{House, PLAIN};

fn house() -> House {
    House::start(
        PLAIN,
        &[("public/a.txt", b"alpha"), ("public/b.txt", b"beta"), ("public/index.html", b"<p>hi")],
    )
}

// Goal: a connection stays open between requests, and answers do not mix.
// Method: ask for two files in turn on one connection, a hundred times.
#[test]
fn a_connection_answers_many_requests_in_order() {
    let house = house();
    let mut client = house.client();
    for _ in 0..100 {
        assert_eq!(client.get("/a.txt").text(), "alpha");
        assert_eq!(client.get("/b.txt").text(), "beta");
    }
}

// Goal: pipelined requests are answered in order and none is lost (RFC 9112 9.3.2).
// Method: 50 requests in one write, the last asks to close; read 50 answers, then the end.
#[test]
fn pipelined_requests_are_answered_in_order_until_close() {
    let house = house();
    let mut client = house.client();
    let mut wire = String::new();
    for index in 0..50 {
        let file = if index % 2 == 0 { "a" } else { "b" };
        let close = if index == 49 { "Connection: close\r\n" } else { "" };
        wire.push_str(&format!("GET /{file}.txt HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"));
    }
    client.send(&wire);
    for index in 0..50 {
        let want = if index % 2 == 0 { "alpha" } else { "beta" };
        assert_eq!(client.answer("GET").text(), want, "answer {index}");
    }
    client.closed();
}

// Goal: a head may arrive in any pieces.
// Method: one byte per write.
#[test]
fn a_head_that_arrives_byte_by_byte_is_understood() {
    let house = house();
    let mut client = house.client();
    for byte in b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.answer("GET").text(), "alpha");
}

// Goal: HEAD has the fields of GET and no content (RFC 9110 9.3.2).
// Method: both on one connection; a byte of content after HEAD would break the next answer.
#[test]
fn head_says_what_get_says_without_content() {
    let house = house();
    let mut client = house.client();
    let head = client.ask("HEAD", "/a.txt", "");
    let get = client.get("/a.txt");
    assert_eq!(head.status, get.status);
    for field in ["content-length", "content-type", "etag", "last-modified"] {
        assert!(get.field(field).is_some(), "GET has no {field}: {}", get.head);
        assert_eq!(head.field(field), get.field(field), "{field}");
    }
    assert_eq!(client.get("/b.txt").text(), "beta");
}

// Goal: content that nobody wanted is read to its exact end, or the connection ends; it is never the next request.
// Method: a POST to a file with a chunked body that looks like a request, then a GET.
#[test]
fn content_of_a_refused_request_is_never_taken_for_the_next_request() {
    let house = house();
    let mut client = house.client();
    let hidden = "GET /b.txt HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.send(format!(
        "POST /a.txt HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x};note=1\r\n{hidden}\r\n0\r\nX-Trailer: 1\r\n\r\n\
         GET /a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        hidden.len(),
    ));
    let refused = client.answer("POST");
    assert_eq!(refused.status, 405);
    assert_eq!(refused.field("allow").as_deref(), Some("GET, HEAD, OPTIONS"));
    if refused.field("connection").as_deref() != Some("close") {
        assert_eq!(client.answer("GET").text(), "alpha");
    }
    client.closed();
}

// Goal: a client that waits for 100 gets the final answer at once when its content is not wanted (RFC 9110 10.1.1).
// Method: announce a megabyte, send nothing of it.
#[test]
fn a_client_that_expects_100_is_refused_without_sending_its_content() {
    let house = house();
    let mut client = house.client();
    let answer = client.ask("PUT", "/a.txt", "Content-Length: 1048576\r\nExpect: 100-continue\r\n");
    assert_eq!(answer.status, 405);
}

// Goal: HTTP/1.0 closes after an answer unless told otherwise.
#[test]
fn http_1_0_is_closed_after_the_answer() {
    let house = house();
    let mut client = house.client();
    client.send("GET /a.txt HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer("GET").text(), "alpha");
    client.closed();
}

// Goal: what can be read in two ways is refused and the connection ends (RFC 9112 6.3, 3.2, 2.2, 5.1).
// Method: a few of the classic shapes; tests/corpus has hundreds.
#[test]
fn ambiguous_requests_are_refused_and_the_connection_ends() {
    let house = house();
    let check = |request: &str, want| refused(house.client(), request, want);
    check(
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    );
    check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\n\r\n", 400);
    check("GET / HTTP/1.1\nHost: a\n\n", 400);
    check("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400);
    check("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);

    #[track_caller]
    fn refused(mut client: Client, request: &str, want: u16) {
        client.send(request);
        assert_eq!(client.answer("GET").status, want, "{request:?}");
        client.closed();
    }
}

// Goal: limits answer with their own status instead of a cut.
#[test]
fn limits_of_a_head_have_their_status() {
    let house = house();
    let long = "x".repeat(9 * 1024);
    let answer = house.client().get(&format!("/{long}"));
    assert_eq!(answer.status, 414);
    let fields = format!("X-Long: {}\r\n", "y".repeat(17 * 1024));
    assert_eq!(house.client().ask("GET", "/", &fields).status, 431);
}
