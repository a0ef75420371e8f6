//! All servers of a pool replaced one after another: nobody notices, and what is under way elsewhere goes on.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::balance_failures::pool_of;
use crate::support::client::Client;
use crate::support::house::House;
use crate::support::pattern;
use crate::support::upstream::{Then, Upstream, ok};

const LARGE: usize = 64 * 1024 * 1024;

/// A server of some release: tells which, echoes over a websocket's connection, gives a large file.
fn release(address: Option<SocketAddr>, number: usize, large: &Arc<Vec<u8>>) -> Upstream {
    let large = Arc::clone(large);
    Upstream::at(address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap()), move |seen, stream| {
        if seen.line().contains("/socket") {
            stream
                .write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
                )
                .unwrap();
            let mut piece = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                stream.write_all(&piece[..count]).unwrap();
            }
            return Then::Close;
        }
        if seen.line().contains("/large") {
            let _ =
                stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes());
            let _ = stream.write_all(&large);
            return Then::Keep;
        }
        ok(stream, &number.to_string());
        Then::Keep
    })
}

fn server(house: &House, place: usize) -> serde_json::Value {
    house.json("status")["pools"][0]["servers"][place].clone()
}

fn order(house: &House, wish: &str, address: SocketAddr) {
    let output = house.ask(&["pool", wish, "api", &address.to_string()]);
    assert!(output.status.success(), "{wish}: {}", String::from_utf8_lossy(&output.stderr));
}

// Goal: drain, stop, start, enable, for each of three servers in turn, three times over: no request fails, kept connection
// or new; a websocket and a long download live while the other servers are replaced; a drain counts what it waits for.
#[test]
fn servers_are_replaced_in_turn_and_nobody_notices() {
    let large = Arc::new(pattern(LARGE));
    let mut servers: Vec<Upstream> = (0..3).map(|_| release(None, 0, &large)).collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let house = House::start(
        &pool_of(
            &addresses,
            "health = { path = \"/health\", every = \"100ms\", timeout = \"2s\", rise = 1, fall = 2 }\nslow_start = \"0s\"",
        ),
        &[],
    );
    let (address, over, asked) =
        (house.address(0), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..6)
        .map(|number| {
            let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
            std::thread::spawn(move || {
                let mut client = Client::plain(address);
                while !over.load(Ordering::SeqCst) {
                    if number % 2 == 1 {
                        client = Client::plain(address); // a new connection for each
                    }
                    let (method, fields) =
                        if number < 4 { ("GET", "") } else { ("POST", "Content-Length: 0\r\n") };
                    let got = client.ask(method, "/", fields);
                    assert_eq!(got.status, 200, "{method}: {}{}", got.head, got.text());
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();

    // What is under way: where the two went is seen by what is in flight at the drained servers.
    let mut socket = house.client();
    socket
        .send("GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(socket.answer("GET").status, 101);
    let mut download = house.client();
    download.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = download.exactly(1024); // and no more for now: the server is held back
    assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let holder = |path: &str| {
        servers.iter().position(|server| server.seen().iter().any(|seen| seen.line().contains(path))).unwrap()
    };
    let (at_socket, at_download) = (holder("/socket"), holder("/large"));

    let mut replaced = 0;
    for (round, place) in (0..9).map(|turn| (turn / 3 + 1, turn % 3)) {
        if place == at_socket || place == at_download {
            continue;
        }
        replace(&house, &mut servers, place, round, &large, &asked);
        replaced += 1;
        let word = format!("still here {round}");
        socket.send(&word);
        assert_eq!(socket.exactly(word.len()), word.as_bytes());
    }
    assert!(replaced >= 3);

    // Now their own servers: the drain waits for them, counted, and others get no new work there meanwhile.
    let mut busy = vec![at_socket, at_download];
    busy.dedup();
    for place in busy {
        order(&house, "drain", addresses[place]);
    }
    let waiting = |place: usize| usize::from(at_socket == place) + usize::from(at_download == place);
    house.until(|| server(&house, at_socket)["in_flight"] == waiting(at_socket));
    house.until(|| server(&house, at_download)["in_flight"] == waiting(at_download));
    socket.send("to the end");
    assert_eq!(socket.exactly(10), b"to the end");
    drop(socket);
    let rest = {
        let end = head.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let mut all = head[end..].to_vec();
        all.append(&mut download.exactly(LARGE - all.len()));
        all
    };
    assert!(rest == *large, "the download differs");
    for place in [at_socket, at_download] {
        house.until(|| server(&house, place)["in_flight"] == 0);
        assert_eq!(server(&house, place)["state"], "draining");
    }
    for place in [at_socket, at_download] {
        replace(&house, &mut servers, place, 9, &large, &asked);
    }
    over.store(true, Ordering::SeqCst);
    for client in load {
        client.join().unwrap_or_else(|_| panic!("a request failed; said: {}", house.said()));
    }
    assert!(asked.load(Ordering::SeqCst) > 200);
}

/// Drains, stops when nothing is in flight, starts the next release at the same address, enables.
fn replace(
    house: &House,
    servers: &mut [Upstream],
    place: usize,
    number: usize,
    large: &Arc<Vec<u8>>,
    asked: &AtomicUsize,
) {
    let address = servers[place].address;
    order(house, "drain", address);
    house.until(|| server(house, place)["in_flight"] == 0);
    servers[place].die();
    let before = asked.load(Ordering::SeqCst);
    house.until(|| asked.load(Ordering::SeqCst) > before + 5); // the others serve meanwhile
    servers[place] = release(Some(address), number, large);
    order(house, "enable", address);
    house.until(|| servers[place].seen().iter().any(|seen| seen.line().ends_with(" / HTTP/1.1")));
    // A moment of both: what goes wrong at the change would be seen by the next requests.
    std::thread::park_timeout(Duration::from_millis(10));
}
