//! Interim answers and expectations through the proxy, to HTTP/1.1 and HTTP/2 clients.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::house::House;
use crate::support::http2_upstream::{Http2Upstream, Options, answer, content};
use crate::support::proxied::{ask, get, house, over_h2, post, settings};
use crate::support::upstream::{Then, Upstream, head_alone, ok};

/// Two hints, a progress report, then the answer; `apart`: each in a packet of its own.
fn hinting() -> Upstream {
    Upstream::start(|seen, stream| {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n\
                     HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        stream.write_all(hints.as_bytes()).unwrap();
        if seen.line().contains("/apart") {
            // The client must have them before it lets us go on: see the test.
            let mut go = [0; 1];
            let _ = TcpStream::read(stream, &mut go);
        }
        ok(stream, "fine");
        Then::Keep
    })
}

// Goal: hints reach clients that can take them, in order, before the answer and without hop-by-hop fields.
#[test]
fn early_hints_reach_the_client_before_the_answer() {
    let server = hinting();
    let house = house(&[&server], "");
    let mut client = house.client();
    for _ in 0..3 {
        client.send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let hint = client.answer("GET");
        assert_eq!((hint.status, hint.field("link").as_deref()), (103, Some("</a.css>; rel=preload")));
        assert_eq!(
            (hint.field("x-hop"), hint.field("connection"), hint.field("content-length")),
            (None, None, None)
        );
        assert_eq!(client.answer("GET").status, 102);
        assert_eq!(client.answer("GET").text(), "fine", "100 was for nobody: no body waits");
    }
    over_h2(house.address(0), async |client| {
        for _ in 0..3 {
            let answer = ask(&client, get("/x"), &[]).await;
            let statuses: Vec<u16> = answer.interim.iter().map(|(status, _)| *status).collect();
            assert_eq!((statuses, answer.status, answer.text()), (vec![103, 102], 200, "fine".to_owned()));
            assert_eq!(answer.interim[0].1["link"], "</a.css>; rel=preload");
            assert!(!answer.interim[0].1.contains_key("x-hop"));
        }
    });
}

// Goal: hints leave at once, not with the answer. Method: the server waits for a byte that is only sent once they came.
#[test]
fn hints_do_not_wait_for_the_answer() {
    let server = hinting();
    let house = house(&[&server], "");
    let mut client = house.client();
    client.send("POST /apart HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n");
    // The server of this test reads whole requests: it answers once the byte is there, and then waits for another.
    client.send("x");
    assert_eq!((client.answer("POST").status, client.answer("POST").status), (103, 102));
    server.die();
    assert_eq!(client.answer("POST").status, 502);
}

// Goal: a client of HTTP/1.0 gets the answer and nothing else.
#[test]
fn an_old_client_gets_no_interim_answer() {
    let server = hinting();
    let house = house(&[&server], "");
    let mut client = house.client();
    client.send("GET /x HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let answer = String::from_utf8(client.rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nfine"), "{answer}");
}

// Goal: a flood of interim answers is a bad answer, and the client got no more than the bound.
#[test]
fn a_flood_of_interim_answers_is_refused() {
    let server = Upstream::start(|_, stream| {
        for _ in 0..1000 {
            if stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").is_err() {
                break;
            }
        }
        Then::Close
    });
    let house = house(&[&server], "retry = { attempts = 1 }");
    let mut client = house.client();
    client.send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut hints = 0;
    let last = loop {
        match client.answer("GET").status {
            103 => hints += 1,
            status => break status,
        }
    };
    assert_eq!((hints, last), (16, 502));
}

/// A server that says by the path what it thinks of an expectation, before any of the body came.
fn expecting() -> Upstream {
    Upstream::raw(|mut stream| {
        // It stays, as its answers promise: a POST on a connection that closes just then could not be sent again.
        while let Some(head) = head_alone(&mut stream) {
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
            if head.starts_with("post /refused") {
                let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 4\r\n\r\nnope");
                // A body that came all the same would be told here.
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest);
                assert_eq!(rest, b"", "the body came though it was refused");
                return;
            }
            if head.starts_with("post /wanted") {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            }
            let mut body = [0; 5];
            stream.read_exact(&mut body).unwrap();
            ok(&mut stream, std::str::from_utf8(&body).unwrap());
        }
    })
}

// Goal: the server decides about `Expect: 100-continue`; one that keeps silent gets the body after a moment; a refusal comes
// without the body having been asked for.
#[test]
fn the_server_decides_about_an_expectation() {
    let server = expecting();
    let house = house(&[&server], "");
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    for path in ["/wanted", "/silent"] {
        let mut client = house.client();
        client.send(head(path));
        assert_eq!(client.answer("POST").status, 100, "{path}");
        client.send("hello");
        let answer = client.answer("POST");
        assert_eq!((answer.status, answer.text()), (200, "hello".to_owned()), "{path}");
    }
    let mut client = house.client();
    client.send(head("/refused"));
    let answer = client.answer("POST");
    assert_eq!((answer.status, answer.text()), (401, "nope".to_owned()));
    assert_eq!(answer.field("connection").as_deref(), Some("close"), "whether the body follows is in doubt");
    over_h2(house.address(0), async |client| {
        let answer = post("/wanted").header("expect", "100-continue").header("content-length", "5");
        let answer = ask(&client, answer, &[b"hello"]).await;
        let interim: Vec<u16> = answer.interim.iter().map(|(status, _)| *status).collect();
        assert_eq!((interim, answer.status, answer.text()), (vec![100], 200, "hello".to_owned()));
    });
}

// Goal: the same with servers that speak HTTP/2.
#[test]
fn interim_answers_and_expectations_of_http2_servers() {
    let server = Http2Upstream::start(Options::default(), |request, mut respond| {
        Box::pin(async move {
            let interim = |status: u16| {
                http::Response::builder().status(status).header("link", "</a.css>").body(()).unwrap()
            };
            match request.uri().path() {
                "/refused" => return answer(respond, 401, "nope"),
                "/wanted" => respond.send_informational(interim(100)).unwrap(),
                "/hint" => respond.send_informational(interim(103)).unwrap(),
                _ => {}
            }
            let body = content(request.into_body()).await.map(|(body, _)| body).unwrap_or_default();
            answer(respond, 200, &format!("got {}", String::from_utf8_lossy(&body)));
        })
    });
    let pool = format!("[pool.api]\nservers = [\"h2c://{}\"]\n", server.address);
    let house = House::start(&settings("proxy = \"api\"", &pool), &[]);
    let mut client = house.client();
    client.send("GET /hint HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let hint = client.answer("GET");
    assert_eq!((hint.status, hint.field("link").as_deref()), (103, Some("</a.css>")));
    assert_eq!(client.answer("GET").text(), "got ");
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    for path in ["/wanted", "/silent"] {
        client.send(head(path));
        assert_eq!(client.answer("POST").status, 100, "{path}");
        client.send("hello");
        assert_eq!(client.answer("POST").text(), "got hello", "{path}");
    }
    client.send(head("/refused"));
    let answer = client.answer("POST");
    assert_eq!((answer.status, answer.text()), (401, "nope".to_owned()), "without a 100 before it");
    over_h2(house.address(0), async |client| {
        let answer = ask(&client, get("/hint"), &[]).await;
        let interim: Vec<u16> = answer.interim.iter().map(|(status, _)| *status).collect();
        assert_eq!((interim, answer.text()), (vec![103], "got ".to_owned()));
    });
}

// Goal: an answer to an earlier pipelined request is not lost, and does not wait, while a later one is worked on.
#[test]
fn a_pipelined_answer_does_not_wait_for_the_next_request() {
    let server = Upstream::start(|seen, stream| {
        if seen.line().contains("/slow") {
            let mut never = [0; 1];
            let _ = TcpStream::read(stream, &mut never);
            return Then::Close;
        }
        ok(stream, "quick");
        Then::Keep
    });
    let house = house(&[&server], "retry = { attempts = 1 }");
    let mut client = house.client();
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send(format!("{}{}", ask("/quick"), ask("/slow")));
    assert_eq!(client.answer("GET").text(), "quick");
    server.die();
    assert_eq!(client.answer("GET").status, 502);
}
