//! HTTP/1 on the wire.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::house::{Setup, read_to_end, read_until, with_house};

/// Sends a request on a fresh connection that the request itself closes; checks the answer's parts.
#[track_caller]
fn check(request: &str, wants: &[&str], wants_not: &[&str]) {
    with_house(Setup::default(), |house| async move {
        let answer = house.talk(request).await;
        for want in wants {
            assert!(answer.contains(want), "{want:?} is missing in {answer:?}");
        }
        for not in wants_not {
            assert!(!answer.contains(not), "{not:?} is in {answer:?}");
        }
    });
}

#[test]
fn a_plain_request_gets_status_fields_and_body() {
    check(
        "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        &[
            "HTTP/1.1 200 OK\r\n",
            "\r\ncontent-length: 7\r\n",
            "\r\nconnection: close\r\n",
            "\r\ndate: ",
            "\r\n\r\nGET /a\n",
        ],
        &["transfer-encoding"],
    );
}

#[test]
fn head_tells_the_length_and_sends_no_body() {
    check(
        "HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        &["content-length: 8\r\n", "\r\n\r\n"],
        &["HEAD /a"],
    );
}

#[test]
fn http10_closes_unless_it_asks_not_to() {
    check("GET /a HTTP/1.0\r\n\r\n", &["HTTP/1.1 200 OK", "connection: close", "GET /a\n"], &[]);
    check(
        "GET /a HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
        &["connection: keep-alive", "GET /a\n", "GET /b\n"],
        &[],
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let many: String = (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    with_house(Setup::default(), |house| async move {
        let answer =
            house.talk(format!("{many}GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        let order: Vec<&str> =
            answer.split("GET /").skip(1).map(|rest| rest.lines().next().unwrap()).collect();
        let want: Vec<String> = (0..50).map(|n| n.to_string()).chain(["end".to_owned()]).collect();
        assert_eq!(order, want);
    });
}

#[test]
fn streams_are_chunked_with_trailers_and_end_with_the_connection_on_http10() {
    check(
        "GET /pieces HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        &["transfer-encoding: chunked", "4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\nx-sum: 3\r\n\r\n"],
        &["content-length"],
    );
    check(
        "GET /pieces HTTP/1.0\r\n\r\n",
        &["connection: close", "\r\n\r\none two three"],
        &["chunked", "content-length"],
    );
}

// Goal: a body that cannot keep its announced or framed length never looks whole.
#[test]
fn an_answer_that_breaks_off_has_no_end_mark() {
    with_house(Setup::default(), |house| async move {
        let short =
            house.talk("GET /short HTTP/1.1\r\nHost: x\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(short.contains("content-length: 10") && !short.contains("GET /a"), "{short:?}");
        let broken = house.talk("GET /broken HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(broken.contains("3\r\nabc\r\n") && !broken.contains("0\r\n\r\n"), "{broken:?}");
        let told = house.told.borrow().clone();
        assert_eq!(told, ["GET /short 200 out=3 complete=false", "GET /broken 200 out=3 complete=false"]);
    });
}

#[test]
fn bodies_arrive_by_length_and_in_chunks_with_trailers() {
    check(
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        &["\r\n\r\nhello", "GET /next\n"],
        &[],
    );
    check(
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-Sum: 9\r\n\r\n",
        &["\r\n\r\nhello", "x-sum: 9\r\n"],
        &[],
    );
}

#[test]
fn a_large_body_goes_through_a_small_pipe() {
    with_house(Setup::default(), |house| async move {
        let body = "0123456789abcdef".repeat(200_000);
        let head = format!(
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let answer = house.talk(head + &body).await;
        assert!(answer.ends_with(&body), "{} bytes came back", answer.len());
    });
}

// Goal: "100 Continue" is sent when the handler wants the body, and only then.
#[test]
fn continue_is_sent_when_the_handler_asks() {
    with_house(Setup::default(), |house| async move {
        let mut asked = house.connect().await;
        asked
            .write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            .await
            .unwrap();
        let first = read_until(&mut asked, |text| text.ends_with("\r\n\r\n")).await;
        assert_eq!(first, "HTTP/1.1 100 Continue\r\n\r\n");
        asked.write_all(b"ok").await.unwrap();
        read_until(&mut asked, |text| text.ends_with("\r\n\r\nok")).await;

        let refused = house
            .talk("POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            .await;
        assert!(
            refused.starts_with("HTTP/1.1 200 OK") && refused.contains("connection: close"),
            "{refused:?}"
        );
    });
}

#[test]
fn an_unread_body_is_read_past_when_small_and_ends_the_connection_when_large() {
    with_house(Setup::default(), |house| async move {
        let small = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = house.talk(small).await;
        assert!(answer.contains("POST /a\n") && answer.contains("GET /b\n"), "{answer:?}");
        let chunks = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = house.talk(chunks).await;
        assert!(answer.contains("POST /a\n") && answer.contains("GET /b\n"), "{answer:?}");
        let answer = house.talk("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nhello").await;
        assert!(answer.contains("connection: close") && answer.ends_with("POST /a\n"), "{answer:?}");
    });
}

#[test]
fn a_body_over_the_limit_is_refused_by_length_and_by_count() {
    let mut setup = Setup::default();
    setup.limits.body_bytes_max = 4;
    with_house(setup, |house| async move {
        for request in [
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
        ] {
            let answer = house.talk(request).await;
            assert!(
                answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close"),
                "{answer:?}"
            );
        }
    });
}

#[test]
fn an_upgraded_connection_belongs_to_its_role() {
    with_house(Setup::default(), |house| async move {
        let mut stream = house.connect().await;
        stream
            .write_all(
                b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly ",
            )
            .await
            .unwrap();
        let head = read_until(&mut stream, |text| text.ends_with("early ")).await;
        assert!(
            head.starts_with("HTTP/1.1 101 Switching Protocols\r\n")
                && head.contains("connection: upgrade\r\n"),
            "{head:?}"
        );
        stream.write_all(b"and late").await.unwrap();
        read_until(&mut stream, |text| text == "and late").await;
        stream.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, "");
    });
    // Not offered, on the wrong version, with a body in flight: no upgrade.
    check("GET /upgrade HTTP/1.1\r\nHost: x\r\n\r\n", &["HTTP/1.1 426 "], &["101"]);
    check(
        "GET /upgrade HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        &["HTTP/1.1 426 "],
        &["101"],
    );
    check(
        "POST /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\nContent-Length: 1\r\n\r\nx",
        &["HTTP/1.1 426 "],
        &["101"],
    );
}

#[test]
fn what_cannot_be_read_in_one_way_is_refused_and_the_rest_is_not_read() {
    with_house(Setup::default(), |house| async move {
        let answer = house.talk("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\ndate: ") && !answer.contains("smuggled"),
            "{answer:?}"
        );
        assert_eq!(answer.matches("HTTP/1.1").count(), 1);
        assert_eq!(*house.told.borrow(), ["refused 400 length-and-chunked 127.0.0.1"]);
    });
}

#[test]
fn a_broken_chunk_ends_request_and_connection() {
    check(
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        &["HTTP/1.1 400 ", "connection: close"],
        &["GET /smuggled"],
    );
}

// Goal: each phase's time limit ends the connection that breaks it, and tells.
#[test]
fn slow_heads_idle_connections_and_stalled_readers_are_ended() {
    let mut setup = Setup::default();
    setup.phases.head = Duration::from_millis(300);
    setup.phases.keep_alive = Duration::from_millis(300);
    setup.phases.write_idle = Duration::from_millis(300);
    with_house(setup, |house| async move {
        let slow = house.talk("GET / HTTP/1.1\r\nHost:").await;
        assert!(slow.starts_with("HTTP/1.1 408 "), "{slow:?}");
        let idle = house.talk("GET /a HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(idle.ends_with("GET /a\n"), "{idle:?}");
        let mut stalled = house.connect().await;
        stalled.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(4).as_slice()).await.unwrap();
        while !house.told.borrow().iter().any(|line| line.contains("complete=false limit=write_idle_timeout"))
        {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn requests_per_connection_are_bounded() {
    let mut setup = Setup::default();
    setup.limits.requests_per_connection_max = 2;
    with_house(setup, |house| async move {
        let answer = house.talk("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.contains("GET /2\n") && !answer.contains("GET /3\n"), "{answer:?}");
    });
}

#[test]
fn drain_lets_open_requests_end_and_tells_the_client_to_go() {
    with_house(Setup::default(), |house| async move {
        let mut open = house.connect().await;
        open.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nha").await.unwrap();
        let mut idle = house.connect().await;
        idle.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        read_until(&mut idle, |text| text.ends_with("GET /a\n")).await;
        while house.worker.connections.count() < 2 {
            tokio::task::yield_now().await;
        }
        let empty = house.worker.connections.drain(true);
        assert_eq!(read_to_end(&mut idle).await, "");
        open.write_all(b"lf").await.unwrap();
        let answer = read_to_end(&mut open).await;
        assert!(answer.contains("connection: close") && answer.ends_with("half"), "{answer:?}");
        drop(open);
        empty.await.unwrap();
    });
}

#[test]
fn a_proxy_header_is_believed_from_trusted_peers_and_required_of_them() {
    let setup = Setup { proxy_trusted: vec!["127.0.0.0/8".parse().unwrap()], ..Setup::default() };
    with_house(setup, |house| async move {
        let bad = house.talk("PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\nGET / HTTP/1.1\r\n\r\n").await;
        assert!(bad.starts_with("HTTP/1.1 400 "), "{bad:?}");
        assert_eq!(house.talk("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, "");
        assert_eq!(
            *house.told.borrow(),
            ["refused 400 host-missing 192.0.2.7", "refused 400 bad-proxy-header 127.0.0.1"]
        );
    });
    check("PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n\r\n", &["HTTP/1.1 505 "], &[]);
}

#[test]
fn a_client_that_goes_away_ends_the_work_for_it() {
    with_house(Setup::default(), |house| async move {
        let stream = house.connect().await;
        let mut stream = stream;
        stream.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        while house.worker.connections.views().first().is_none_or(|view| view.requests == 0) {
            tokio::task::yield_now().await;
        }
        stream.set_zero_linger().unwrap();
        drop(stream);
        while house.worker.connections.count() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

// Goal: who is refused while still sending a large body gets the answer, not a reset.
// Method: sends without reading until nothing more is taken, then looks.
#[test]
fn a_refusal_reaches_a_client_that_goes_on_sending() {
    with_house(Setup::default(), |house| async move {
        let mut stream = house.connect().await;
        let head = format!("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 1_u64 << 30);
        stream.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        while tokio::time::timeout(Duration::from_millis(300), stream.writable()).await.is_ok() {
            match stream.try_write(&piece) {
                Ok(count) => sent += count,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "after {sent} bytes"),
            }
            assert!(sent < 1 << 30, "it takes everything");
        }
        let answer = read_until(&mut stream, |text| text.ends_with("POST /a\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}
