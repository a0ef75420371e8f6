//! Sides that do not read, and servers that close at the worst moment: memory stays bounded, nothing is sent twice.

use std::collections::HashSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::balance_failures::pool_of;
use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::house::House;
use crate::support::upstream::{Then, Upstream, ok};

/// What may lie in the kernel's buffers of two connections, with room: 4 MiB to send and 6 MiB to receive are Linux' most.
const KERNEL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What may lie in the program itself.
const OURS_BYTES_MAX: i64 = 4 * 1024 * 1024;

fn resident(house: &House) -> i64 {
    house.json("status")["memory_bytes"].as_i64().unwrap()
}

// Goal: an upload is taken no faster than the server takes it, and is ended when that does not go on.
// Method: a server that reads the head only; a client that would send 256 MiB.
#[test]
fn an_upload_that_the_server_does_not_read_is_held_back() {
    let server = Upstream::raw(|mut stream| {
        stream.read_exact(&mut [0; 16]).unwrap();
        // Until the proxy gives up: reading nothing, and noticing the end by a write that fails.
        while stream.take_error().is_ok_and(|error| error.is_none()) && stream.write_all(b"").is_ok() {
            std::thread::park_timeout(Duration::from_millis(20));
            if stream.set_nonblocking(true).is_ok() && matches!(stream.peek(&mut [0; 1]), Ok(0)) {
                return;
            }
        }
    });
    let pool = "timeouts = { idle = \"1s\" }\nretry = { attempts = 1 }\nbody_buffer = \"64KiB\"";
    let settings =
        pool_of(&[server.address], pool).replace("proxy = \"api\"", "proxy = \"api\", body_max = \"1GiB\"");
    let house = House::start(&settings, &[]);
    let before = resident(&house);
    let mut client = TcpStream::connect(house.address(0)).unwrap();
    client.set_write_timeout(Some(Duration::from_millis(400))).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = 256 * 1024 * 1024_usize;
    write!(client, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n").unwrap();
    let (piece, mut sent) = (vec![b'x'; 64 * 1024], 0);
    let stalled = loop {
        match client.write(&piece) {
            Ok(count) => sent += count,
            Err(error) => break error.kind(),
        }
        assert!(sent < KERNEL_BYTES_MAX, "{sent} bytes were taken for a server that reads none");
    };
    assert!(matches!(stalled, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stalled:?} after {sent} bytes");
    let grown = resident(&house) - before;
    assert!(grown < OURS_BYTES_MAX, "{grown} bytes more in memory for {sent} bytes of upload");
    let mut answer = Vec::new();
    // It may be followed by a reset: not all was read.
    let _ = client.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    house.until_said("upstream-send-timeout");
}

// Goal: an answer is taken from the server no faster than the client takes it, and not at all once the client has left.
// Method: a server that would send 256 MiB and counts; a client that reads nothing, then closes.
#[test]
fn an_answer_that_the_client_does_not_read_is_held_back() {
    let (given, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, end) = (Arc::clone(&given), Arc::clone(&ended));
    let server = Upstream::start(move |_, stream| {
        let length = 256 * 1024 * 1024_usize;
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes()).unwrap();
        let piece = vec![b'x'; 64 * 1024];
        while let Ok(written) = stream.write(&piece) {
            count.fetch_add(written, Ordering::SeqCst);
        }
        end.fetch_add(1, Ordering::SeqCst);
        Then::Close
    });
    let house = House::start(&pool_of(&[server.address], ""), &[]);
    let before = resident(&house);
    let mut client = TcpStream::connect(house.address(0)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    // Quiet: it gave the same count in five looks, a tenth of a second apart.
    let (mut last, mut same) = (0, 0);
    house.until(|| {
        std::thread::park_timeout(Duration::from_millis(100));
        let now = given.load(Ordering::SeqCst);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        same == 5
    });
    assert!(last < KERNEL_BYTES_MAX, "{last} bytes were taken for a client that reads none");
    let grown = resident(&house) - before;
    assert!(grown < OURS_BYTES_MAX, "{grown} bytes more in memory for {last} bytes of answer");
    assert_eq!(ended.load(Ordering::SeqCst), 0, "the server is held back, not cut");
    drop(client);
    house.until(|| ended.load(Ordering::SeqCst) == 1);
}

// Goal: a client that leaves takes its answer with it, also while nothing is sent; one that only sends no more gets it all.
// Method: a stream of events that stands still after its first; a slow answer to a client that has closed its sending half.
#[test]
fn a_client_that_leaves_a_quiet_answer_frees_its_server() {
    let ended = Arc::new(AtomicUsize::new(0));
    let end = Arc::clone(&ended);
    let server = Upstream::start(move |seen, stream| {
        if seen.line().contains("/slow") {
            std::thread::park_timeout(Duration::from_millis(600));
            ok(stream, "slow");
            return Then::Keep;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").unwrap();
        let _ = stream.read(&mut [0; 1]);
        end.fetch_add(1, Ordering::SeqCst);
        Then::Close
    });
    let house = House::start(&pool_of(&[server.address], ""), &[]);
    let mut half = TcpStream::connect(house.address(0)).unwrap();
    half.set_read_timeout(Some(PATIENCE)).unwrap();
    half.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = String::new();
    half.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && all.ends_with("\r\n\r\nslow"), "{all}");

    let mut client = house.client();
    client.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(String::from_utf8_lossy(&client.exactly(17)).starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(ended.load(Ordering::SeqCst), 0);
    drop(client);
    house.until(|| ended.load(Ordering::SeqCst) == 1);
    house.until(|| house.json("status")["pools"][0]["servers"][0]["in_flight"] == 0);
}

// Goal: servers that close kept connections just as they are used again cost no idempotent request, and no POST comes twice.
// Method: six clients without pause; the server closes after each answer, now at once and now a moment later, unannounced.
#[test]
fn connections_closed_at_the_moment_of_reuse_cost_no_request() {
    let posts = Arc::new(Mutex::new(Vec::new()));
    let (noted, turn) = (Arc::clone(&posts), AtomicUsize::new(0));
    let server = Upstream::start(move |seen, stream| {
        if seen.line().starts_with("POST") {
            noted.lock().unwrap().push(String::from_utf8_lossy(&seen.body).into_owned());
        }
        ok(stream, "fine");
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        match turn % 5 {
            0 => Then::Keep,
            1 => Then::Reset,
            _ => {
                // From none to some hundred microseconds: the next request may be on its way.
                (0..turn % 97 * 20).for_each(|_| std::hint::spin_loop());
                Then::Close
            }
        }
    });
    let house =
        House::start(&pool_of(&[server.address], "passive = { failures = 0, success_rate = 0 }"), &[]);
    let address = house.address(0);
    let load: Vec<_> = (0..6)
        .map(|number| {
            std::thread::spawn(move || {
                let (mut client, mut failed) = (Client::plain(address), 0);
                for round in 0..200 {
                    let got = client.get("/");
                    assert_eq!((got.status, got.text().as_str()), (200, "fine"), "GET {round}: {}", got.head);
                    let body = format!("{number}-{round}");
                    let length = body.len();
                    client.send(format!(
                        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
                    ));
                    match client.answer("POST").status {
                        200 => {}
                        // It may have been received: nobody but the client may send it again.
                        502 => failed += 1,
                        other => panic!("POST {round}: {other}"),
                    }
                }
                failed
            })
        })
        .collect();
    let failed: usize = load.into_iter().map(|client| client.join().unwrap()).sum();
    let posts = posts.lock().unwrap();
    let different: HashSet<&String> = posts.iter().collect();
    assert_eq!(different.len(), posts.len(), "a POST came twice");
    assert!(posts.len() + failed >= 1200, "{} came, {failed} failed", posts.len());
}
