//! Pools behind routes, with servers that behave and servers that do not.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::client::Client;
use crate::support::house::House;
use crate::support::pattern;
use crate::support::upstream::{Then, Upstream, ok};

fn settings(servers: &[&Upstream], pool: &str) -> String {
    let addresses: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address)).collect();
    format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\n\
         route = [{{ path = \"/app/*\", proxy = \"api\", strip = \"/app\" }}, {{ path = \"/*\", proxy = \"api\" }}]\n\
         [pool.api]\nservers = [{}]\n{pool}\n",
        addresses.join(", ")
    )
}

fn house(servers: &[&Upstream], pool: &str) -> House {
    House::start(&settings(servers, pool), &[])
}

// Goal: requests go to all servers in turn, over few connections, each exactly once.
#[test]
fn requests_go_round_over_kept_connections() {
    let servers = [Upstream::named("a"), Upstream::named("b"), Upstream::named("c")];
    let house = house(&[&servers[0], &servers[1], &servers[2]], "");
    let mut client = house.client();
    let answers: String = (0..30).map(|index| client.get(&format!("/{index}")).text()).collect();
    for (server, name) in servers.iter().zip(["a", "b", "c"]) {
        assert_eq!(answers.matches(name).count(), 10, "{answers}");
        assert_eq!((server.seen().len(), server.connections()), (10, 1));
    }
}

// Goal: servers see the canonical request: one host, one path, what we know of the client and nothing it made up.
#[test]
fn servers_see_the_canonical_request() {
    let server = Upstream::named("a");
    let house = house(&[&server], "");
    let mut client = house.client();
    client.send(
        "GET /app/x/../y%7e%20z?q=%2F HTTP/1.1\r\nHost: LOCALHOST:80\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: 5\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
         Proxy: evil\r\nCookie: a=1\r\nTE: trailers\r\nX-Real: kept\r\n\r\n",
    );
    assert_eq!(client.answer("GET").status, 200);
    let seen = server.seen().remove(0);
    assert_eq!(seen.line(), "GET /y~%20z?q=%2F HTTP/1.1");
    assert_eq!(seen.field("host"), Some("localhost"));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("forwarded"), Some("for=127.0.0.1;host=\"localhost\";proto=http"));
    assert_eq!(seen.field("x-real"), Some("kept"));
    assert_eq!(seen.field("te"), Some("trailers"));
    for gone in ["x-hop", "keep-alive", "x_forwarded_for", "proxy"] {
        assert_eq!(seen.field(gone), None, "{gone}");
    }
    client.send("POST /app HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    client.answer("POST");
    assert_eq!(server.seen().remove(1).line(), "POST / HTTP/1.1");
}

// Goal: bodies pass whole in both directions, by length and in chunks, much larger than any buffer.
#[test]
fn bodies_pass_whole_in_both_directions() {
    let large = pattern(8 * 1024 * 1024);
    let (by_length, back) = (large.clone(), large.clone());
    let server = Upstream::start(move |seen, stream| {
        if seen.line().starts_with("POST") {
            ok(stream, &format!("{} {}", seen.body.len(), seen.body == by_length));
        } else if seen.line().contains("/chunks") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
            for piece in back.chunks(99_991) {
                write!(stream, "{:x};ext=1\r\n", piece.len()).unwrap();
                stream.write_all(piece).unwrap();
                stream.write_all(b"\r\n").unwrap();
            }
            stream.write_all(b"0\r\nx-sum: 1\r\n\r\n").unwrap();
        } else if seen.line().contains("/until-close") {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            stream.write_all(&back).unwrap();
            return Then::Close;
        } else {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", back.len()).unwrap();
            stream.write_all(&back).unwrap();
        }
        Then::Keep
    });
    let house = house(&[&server], "");
    let mut client = house.client();
    for path in ["/length", "/chunks", "/until-close", "/length"] {
        assert!(client.get(path).body == large, "{path}: the content differs");
    }
    client.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", large.len()));
    client.send(&large);
    assert_eq!(client.answer("POST").text(), format!("{} true", large.len()));
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in large.chunks(77_777) {
        client.send(format!("{:x}\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.answer("POST").text(), format!("{} true", large.len()));
    let head = client.ask("HEAD", "/length", "");
    assert_eq!(head.field("content-length"), Some(large.len().to_string()));
}

// Goal: one of three dies under load, fifty times, and no idempotent request fails; no POST is sent twice.
// Method: four clients ask without pause while the servers die and come back in turn.
#[test]
fn a_server_that_dies_fails_no_idempotent_request() {
    let posts = Arc::new(Mutex::new(Vec::<String>::new()));
    let begin = |posts: &Arc<Mutex<Vec<String>>>, address: Option<std::net::SocketAddr>| {
        let posts = Arc::clone(posts);
        let answer = move |seen: &crate::support::upstream::Seen, stream: &mut std::net::TcpStream| {
            if seen.line().starts_with("POST") {
                posts.lock().unwrap().push(String::from_utf8_lossy(&seen.body).into_owned());
            }
            ok(stream, "fine");
            Then::Keep
        };
        Upstream::at(address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap()), answer)
    };
    let mut servers: Vec<Upstream> = (0..3).map(|_| begin(&posts, None)).collect();
    let house = house(
        &[&servers[0], &servers[1], &servers[2]],
        "health = { path = \"/\", every = \"100ms\", timeout = \"1s\", rise = 1, fall = 2 }\nslow_start = \"0s\"",
    );
    let (address, over) = (house.address(0), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let mut client = Client::plain(address);
                let (mut good, mut refused) = (0, Vec::new());
                while over.load(Ordering::SeqCst) == 0 {
                    let answer = client.get("/x");
                    if (answer.status, answer.text()) != (200, "fine".to_owned()) {
                        return Err(format!("{}{}", answer.head, answer.text()));
                    }
                    let body = format!("{number}-{good}");
                    client.send(format!(
                        "POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    ));
                    if client.answer("POST").status != 200 {
                        refused.push(body);
                    }
                    good += 1;
                }
                Ok((good, refused))
            })
        })
        .collect();
    for round in 0..50 {
        let place = round % 3;
        let address = servers[place].address;
        let before: Vec<usize> = servers.iter().map(|server| server.seen().len()).collect();
        servers[place].die();
        // Others go on being asked before the next event: by requests, not by time.
        let other = (place + 1) % 3;
        house.until(|| servers[other].seen().len() > before[other] + 5);
        servers[place] = begin(&posts, Some(address));
        house.until(|| servers[place].seen().len() > 2);
    }
    over.store(1, Ordering::SeqCst);
    let mut total = 0;
    for client in clients {
        match client.join().unwrap() {
            Ok((good, _refused)) => total += good,
            Err(answer) => panic!("an idempotent request failed: {answer}\n{}", house.said()),
        }
    }
    let mut posts = posts.lock().unwrap().clone();
    let count = posts.len();
    posts.sort();
    posts.dedup();
    assert_eq!(posts.len(), count, "no POST arrived twice");
    assert!(total > 100, "{total} rounds");
}

// Goal: each way to fail has its exact outcome.
#[test]
fn each_failure_has_its_answer() {
    // Nobody listens.
    let gone = Upstream::named("gone");
    gone.die();
    check(&gone, "", 502, "upstream-refused");
    // It accepts and says nothing.
    let silent = Upstream::start(|_, stream| {
        let _ = stream.read(&mut [0; 1]);
        Then::Close
    });
    check(&silent, "timeouts = { first_byte = \"1s\" }", 504, "upstream-first-byte-timeout");
    // It closes instead of answering.
    check(&Upstream::start(|_, _| Then::Close), "", 502, "upstream-closed");
    check(&Upstream::start(|_, _| Then::Reset), "", 502, "upstream-closed");
    // What it says is no answer, or one with two lengths.
    let says = |text: &'static str| {
        Upstream::start(move |_, stream| {
            let _ = stream.write_all(text.as_bytes());
            Then::Close
        })
    };
    check(&says("SSH-2.0-x\r\n\r\n"), "", 502, "upstream-malformed");
    check(&says("HTTP/1.1 200 OK\nx: y\n\n"), "", 502, "upstream-line-end");
    let two = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    check(&says(two), "", 502, "upstream-bad-coding");
    check(&says("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), "", 502, "upstream-nonsense");

    #[track_caller]
    fn check(server: &Upstream, pool: &str, status: u16, name: &str) {
        let house = house(&[server], &format!("retry = {{ attempts = 1 }}\n{pool}"));
        let mut client = house.client();
        let answer = client.get("/x");
        assert_eq!(answer.status, status, "{name}: {}{}", answer.head, answer.text());
        assert!(!answer.text().contains(&server.address.to_string()), "nothing of the inside is shown");
        house.until_said(name);
        // The connection to the client goes on.
        assert_eq!(client.get("/y").status, status);
    }
}

// Goal: an answer that breaks off in the middle is a broken answer to the client, never a short one.
#[test]
fn an_answer_that_breaks_off_is_broken_for_the_client() {
    check("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nshort");
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n");
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");

    #[track_caller]
    fn check(answer: &'static str) {
        let server = Upstream::start(move |_, stream| {
            stream.write_all(answer.as_bytes()).unwrap();
            Then::Close
        });
        let house = house(&[&server], "");
        let mut client = house.client();
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let all = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(all.starts_with("HTTP/1.1 200 OK\r\n"), "{all}");
        assert!(!all.ends_with("0\r\n\r\n"), "the end mark was made up: {all}");
    }
}

// Goal: a connection that a server closed for its age costs no request.
#[test]
fn a_connection_closed_while_idle_costs_no_request() {
    let server = Upstream::start(|_, stream| {
        ok(stream, "fine");
        Then::Close // without having said so
    });
    let house = house(&[&server], "");
    let mut client = house.client();
    for index in 0..200 {
        assert_eq!(client.get("/").text(), "fine", "request {index}");
    }
    assert_eq!(server.seen().len(), 200);
}

// Goal: a websocket lives through fifty reloads of other parts.
#[test]
fn an_upgraded_connection_lives_through_reloads() {
    let server = Upstream::start(|seen, stream| {
        assert_eq!(seen.field("upgrade"), Some("websocket"));
        assert_eq!(seen.field("connection"), Some("upgrade"));
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi",
            )
            .unwrap();
        let mut piece = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            stream.write_all(&piece[..count]).unwrap();
        }
        Then::Close
    });
    let house = house(&[&server], "");
    let mut client = house.client();
    client.send("GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let answer = client.answer("GET");
    assert_eq!((answer.status, answer.field("upgrade").as_deref()), (101, Some("websocket")));
    assert_eq!(client.exactly(2), b"hi");
    let plain = settings(&[&server], "");
    for round in 0..50 {
        let other = format!(
            "[site.other{round}]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ respond = \"x\" }}]\n"
        );
        house.reload(&format!("{plain}{other}"));
        let word = format!("round {round}");
        client.send(&word);
        assert_eq!(client.exactly(word.len()), word.as_bytes());
    }
}

// Goal: drained servers get nothing new, are shown so, and come back when they are enabled.
#[test]
fn an_operator_can_drain_a_server_and_bring_it_back() {
    let servers = [Upstream::named("a"), Upstream::named("b")];
    let house = house(&[&servers[0], &servers[1]], "");
    let mut client = house.client();
    let names = |client: &mut Client| (0..10).map(|_| client.get("/").text()).collect::<String>();
    let both = names(&mut client);
    assert!(both.contains('a') && both.contains('b'), "{both}");
    let address = servers[0].address.to_string();
    let output = house.ask(&["pool", "drain", "api", &address]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    house.until(|| !names(&mut client).contains('a'));
    assert_eq!(house.json("status")["pools"][0]["servers"][0]["state"], "draining");
    let output = house.ask(&["pool", "enable", "api", &address]);
    assert!(output.status.success());
    house.until(|| names(&mut client).contains('a'));
    let output = house.ask(&["pool", "drain", "api", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("127.0.0.1:1") && text.contains(&address), "{text}");
}

// Goal: a client sticks to its server by a cookie it cannot forge, also after a reload.
#[test]
fn a_client_sticks_to_its_server() {
    let servers = [Upstream::named("a"), Upstream::named("b"), Upstream::named("c")];
    let all = [&servers[0], &servers[1], &servers[2]];
    let pool = "sticky = { cookie = \"where\" }";
    let house = house(&all, pool);
    let mut client = house.client();
    let first = client.get("/");
    let cookie = first.field("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert!(!cookie.contains("127.0.0.1"), "{cookie}");
    house.reload(&settings(&all, pool));
    for _ in 0..10 {
        let answer = client.ask("GET", "/", &format!("Cookie: x=y; {cookie}\r\n"));
        assert_eq!((answer.text(), answer.field("set-cookie")), (first.text(), None));
    }
    let forged = client.ask("GET", "/", &format!("Cookie: {cookie}0\r\n"));
    assert!(forged.field("set-cookie").is_some(), "a forged cookie is replaced");
}

// Goal: more requests than places wait in line for their turn, and beyond the line are refused at once.
#[test]
fn requests_wait_in_line_for_a_place() {
    let server = Upstream::start(|_, stream| {
        std::thread::park_timeout(std::time::Duration::from_millis(30));
        ok(stream, "fine");
        Then::Keep
    });
    let pool = format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ proxy = \"api\" }}]\n\
         [pool.api]\nservers = [{{ address = \"{}\", max_connections = 2 }}]\n\
         queue = {{ length = 6, wait = \"20s\" }}\n",
        server.address
    );
    let house = House::start(&pool, &[]);
    let address = house.address(0);
    let all: Vec<_> =
        (0..12).map(|_| std::thread::spawn(move || Client::plain(address).get("/").status)).collect();
    let statuses: Vec<u16> = all.into_iter().map(|client| client.join().unwrap()).collect();
    let good = statuses.iter().filter(|status| **status == 200).count();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert!(good >= 8, "two at work and six in line: {statuses:?}");
    assert!(server.connections() <= 2, "{} connections", server.connections());
}

fn stream(server: &[&Upstream], options: &str) -> String {
    let addresses: Vec<String> = server.iter().map(|server| format!("\"{}\"", server.address)).collect();
    format!(
        "[server]\nworkers = 1\n[stream.db]\nlisten = \"tcp://127.0.0.1:0\"\nproxy = \"db\"\n{options}\n\
         [pool.db]\nservers = [{}]\n",
        addresses.join(", ")
    )
}

// Goal: bytes go through as they are, both ways, however many, and the end of one direction leaves the other open.
#[test]
fn a_stream_passes_bytes_as_they_are() {
    let server = Upstream::raw(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap(); // until the client's half is closed
        all.reverse();
        stream.write_all(&all).unwrap();
    });
    let house = House::start(&stream(&[&server], ""), &[]);
    let mut socket = std::net::TcpStream::connect(house.address(0)).unwrap();
    let sent = pattern(3 * 1024 * 1024);
    socket.write_all(&sent).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = Vec::new();
    socket.read_to_end(&mut back).unwrap();
    back.reverse();
    assert!(back == sent, "the content differs");
}

// Goal: a connection goes to a server that is there, an open one lives through a reload, and the server is told whose it is.
#[test]
fn a_stream_finds_a_server_and_lives_through_reloads() {
    let gone = Upstream::named("gone");
    gone.die();
    let echo = Upstream::raw(|mut stream| {
        let mut piece = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            stream.write_all(&piece[..count]).unwrap();
        }
    });
    let settings = stream(&[&gone, &echo], "proxy_protocol = \"v1\"");
    let house = House::start(&settings, &[]);
    for _ in 0..5 {
        let mut client = house.client();
        client.send("hello\n");
        let all = String::from_utf8(client.exactly(6)).unwrap();
        assert!(all.starts_with("PROXY "), "{all}");
    }
    let mut client = house.client();
    client.send("one");
    house.until(|| String::from_utf8_lossy(&client.exactly(1)) == "e");
    house.reload(&format!(
        "{settings}[site.new]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ respond = \"x\" }}]\n"
    ));
    client.send("two");
    house.until(|| String::from_utf8_lossy(&client.exactly(1)) == "w");
    assert_eq!(house.json("connections").as_array().unwrap().len(), 1);
}
