//! HTTP/2 towards the servers of a pool: streams, connections, goodbyes, and what servers do wrong.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::house::House;
use crate::support::http2_upstream::{
    Frames, Http2Upstream, Options, answer, content, fields, frame, send_all,
};
use crate::support::pattern;
use crate::support::tls::certificate;
use crate::support::upstream::Upstream;

fn house(servers: &[&str], pool: &str) -> House {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    house_of(&servers.join(", "), pool)
}

fn house_of(servers: &str, pool: &str) -> House {
    let settings = format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\n\
         route = [{{ path = \"/*\", proxy = \"api\" }}]\n[pool.api]\nservers = [{servers}]\n{pool}\n"
    );
    House::start(&settings, &[])
}

fn h2c(server: &Http2Upstream) -> String {
    format!("h2c://{}", server.address)
}

// Goal: requests of many clients share one connection, and the server sees the canonical request as HTTP/2 says it.
#[test]
fn requests_share_a_connection_and_are_canonical() {
    let server = Http2Upstream::named("two");
    let house = house(&[&h2c(&server)], "");
    let mut clients = [house.client(), house.client()];
    for client in &mut clients {
        for _ in 0..5 {
            assert_eq!(client.get("/x/../y%7e%20z?q=%2F").text(), "two");
        }
    }
    clients[0].send(
        "POST /p HTTP/1.1\r\nHost: LOCALHOST:80\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
         Upgrade: h2c\r\nCookie: a=1\r\nTransfer-Encoding: chunked\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!(clients[0].answer("POST").text(), "two");
    assert_eq!(server.connections(), 1);
    let seen = server.seen();
    assert_eq!(seen.len(), 11);
    assert_eq!(
        (seen[0].method.as_str(), seen[0].uri.to_string()),
        ("GET", "http://localhost/y~%20z?q=%2F".into())
    );
    let head = &seen[10];
    assert_eq!((head.method.as_str(), head.uri.to_string()), ("POST", "http://localhost/p".into()));
    let field = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!((field("te"), field("cookie")), (Some("trailers"), Some("a=1")));
    for gone in
        ["host", "connection", "x-hop", "keep-alive", "upgrade", "transfer-encoding", "content-length"]
    {
        assert_eq!(field(gone), None, "{gone}");
    }
}

// Goal: bodies much larger than any window pass whole in both directions, by length and without, with trailers.
#[test]
fn bodies_pass_whole_in_both_directions() {
    let large = Bytes::from(pattern(8 * 1024 * 1024));
    let back = large.clone();
    let server = Http2Upstream::start(Options::default(), move |request, mut respond| {
        let back = back.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let body = content(request.into_body()).await;
            if path == "/up" {
                let (body, trailers) = body.unwrap();
                let sum = trailers.and_then(|all| all.get("x-sum").cloned());
                return answer(respond, 200, &format!("{} {} {sum:?}", body.len(), body == back));
            }
            let head = Response::builder().status(200);
            let head = if path == "/length" { head.header("content-length", back.len()) } else { head };
            let mut send = respond.send_response(head.body(()).unwrap(), false).unwrap();
            assert!(send_all(&mut send, back).await);
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-sum", "1".parse().unwrap());
            send.send_trailers(trailers).unwrap();
        })
    });
    let house = house(&[&h2c(&server)], "");
    let mut client = house.client();
    for path in ["/length", "/stream", "/length"] {
        assert!(client.get(path).body == large, "{path}: the content differs");
    }
    client.send(format!("POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", large.len()));
    client.send(&large);
    assert_eq!(client.answer("POST").text(), format!("{} true None", large.len()));
    client.send("POST /up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in large.chunks(77_777) {
        client.send(format!("{:x}\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client.send("0\r\nx-sum: 2\r\n\r\n");
    assert_eq!(client.answer("POST").text(), format!("{} true Some(\"2\")", large.len()));
}

// Goal: a server's limit of streams is kept by opening more connections, and nobody waits for nothing.
// Method: at most two streams each; six requests that are answered only once all six have arrived.
#[test]
fn more_streams_than_allowed_go_over_more_connections() {
    let all_here = Arc::new(tokio::sync::Barrier::new(6));
    let options = Options { streams_max: 2, ..Options::default() };
    let server = Http2Upstream::start(options, move |_, respond| {
        let all_here = Arc::clone(&all_here);
        Box::pin(async move {
            all_here.wait().await;
            answer(respond, 200, "all");
        })
    });
    let house = house(&[&h2c(&server)], "");
    let mut clients: Vec<Client> = (0..6).map(|_| house.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer("GET").text(), "all");
    }
    // The first requests may have left before the server's settings came: what is above its limit comes again.
    assert!((3..=4).contains(&server.connections()), "{} connections", server.connections());
}

// Goal: a server that says goodbye (GOAWAY) again and again fails nothing, not even a POST, and sees each exactly once.
// Method: four clients ask without pause; every twenty answers the server says goodbye.
#[test]
fn goodbyes_under_load_fail_nothing() {
    let posts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&posts);
    let server = Http2Upstream::start(Options::default(), move |request, respond| {
        let seen = Arc::clone(&seen);
        Box::pin(async move {
            let post = request.method() == "POST";
            let (body, _) = content(request.into_body()).await.unwrap();
            if post {
                seen.lock().unwrap().push(String::from_utf8(body).unwrap());
            }
            answer(respond, 200, "fine");
        })
    });
    let house = house(&[&h2c(&server)], "");
    let (address, done) = (house.address(0), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let mut client = Client::plain(address);
                for turn in 0..250 {
                    let status = if turn % 2 == 0 {
                        client.get("/").status
                    } else {
                        let text = format!("{number}-{turn}");
                        client.send(format!(
                            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{text}",
                            text.len()
                        ));
                        client.answer("POST").status
                    };
                    assert_eq!(status, 200, "client {number}, turn {turn}");
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut said = 0;
    while done.load(Ordering::SeqCst) < 1000 && clients.iter().any(|client| !client.is_finished()) {
        if done.load(Ordering::SeqCst) >= said * 20 {
            server.say_goodbye();
            said += 1;
        }
        std::thread::yield_now();
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    let mut posts = posts.lock().unwrap().clone();
    posts.sort();
    posts.dedup();
    assert_eq!(posts.len(), 500, "each POST arrived");
    assert_eq!(server.seen().len(), 1000, "nothing was sent twice");
    assert!(server.connections() > 5, "only {} connections", server.connections());
}

// Goal: what a server refuses unprocessed (REFUSED_STREAM) goes elsewhere, whatever its method.
#[test]
fn a_refused_stream_goes_to_another_server() {
    let refusing = Http2Upstream::start(Options::default(), |_, mut respond| {
        Box::pin(async move { respond.send_reset(h2::Reason::REFUSED_STREAM) })
    });
    let good = Http2Upstream::named("good");
    let house = house(
        &[&h2c(&refusing), &h2c(&good)],
        "retry = { budget_percent = 100 }\npassive = { failures = 0 }",
    );
    let mut client = house.client();
    for _ in 0..10 {
        client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
        let answer = client.answer("POST");
        assert_eq!((answer.status, answer.text().as_str()), (200, "good"));
    }
    assert!(refusing.seen().len() >= 4 && good.seen().len() == 10);
    // Nobody else is there: the refusal is told.
    drop(good);
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.answer("POST").status, 502);
}

// Goal: a server that dies under its streams fails no idempotent request; a POST that it may have acted on is told 502.
#[test]
fn a_server_that_dies_under_streams_fails_no_idempotent_request() {
    let (begun, arrived) = channel();
    let mut dying = Http2Upstream::start(Options::default(), move |_, respond| {
        let begun = begun.clone();
        Box::pin(async move {
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(respond);
        })
    });
    let backup = Http2Upstream::named("backup");
    let servers = format!("\"{}\", {{ address = \"{}\", backup = true }}", h2c(&dying), h2c(&backup));
    let house = house_of(&servers, "");
    let mut gets: Vec<Client> = (0..8).map(|_| house.client()).collect();
    for client in &mut gets {
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    let mut post = house.client();
    post.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
    (0..9).for_each(|_| arrived.recv_timeout(PATIENCE).unwrap());
    dying.die();
    for client in &mut gets {
        assert_eq!(client.answer("GET").text(), "backup");
    }
    assert_eq!(post.answer("POST").status, 502);
    house.until_said("not tried again: the server may have acted on it");
    assert!(backup.seen().iter().all(|head| head.method == "GET"));
}

// Goal: a client that leaves takes its stream with it (CANCEL) and nothing else.
// Method: two streams on one connection; one client leaves, the server tells what it sees, the other stream goes on.
#[test]
fn a_client_that_leaves_resets_its_stream_alone() {
    let (begun, arrived) = channel();
    let go = Arc::new(tokio::sync::Notify::new());
    let waiting = Arc::clone(&go);
    let server = Http2Upstream::start(Options::default(), move |request, mut respond| {
        let (begun, waiting) = (begun.clone(), Arc::clone(&waiting));
        Box::pin(async move {
            begun.send(None).unwrap();
            if request.uri().path() == "/leaves" {
                let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
                begun.send(Some(reason)).unwrap();
            } else {
                waiting.notified().await;
                answer(respond, 200, "still here");
            }
        })
    });
    let house = house(&[&h2c(&server)], "");
    let mut leaves = std::net::TcpStream::connect(house.address(0)).unwrap();
    let mut stays = house.client();
    stays.send("GET /stays HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(arrived.recv_timeout(PATIENCE).unwrap(), None);
    leaves.write_all(b"GET /leaves HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(arrived.recv_timeout(PATIENCE).unwrap(), None);
    // By a reset: a client that closes its sending half only may still be waiting.
    socket2::SockRef::from(&leaves).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(leaves);
    assert_eq!(arrived.recv_timeout(PATIENCE).unwrap(), Some(h2::Reason::CANCEL));
    go.notify_one();
    assert_eq!(stays.answer("GET").text(), "still here");
    assert_eq!(server.connections(), 1);
}

// Goal: a client that does not read stops its own answer after a bounded number of bytes, and nobody else's.
// Method: an endless answer to a client that reads nothing, counted at the server; others are answered on the same connection.
#[test]
fn a_client_that_does_not_read_stops_only_its_own_answer() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let server = Http2Upstream::start(Options::default(), move |request, mut respond| {
        let counted = Arc::clone(&counted);
        Box::pin(async move {
            if request.uri().path() != "/endless" {
                return answer(respond, 200, &"x".repeat(100_000));
            }
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            while send_all(&mut send, Bytes::from(vec![b'x'; 16 * 1024])).await {
                counted.fetch_add(16 * 1024, Ordering::SeqCst);
            }
        })
    });
    let house = house(&[&h2c(&server)], "");
    let mut lazy = house.client();
    lazy.send("GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut last = usize::MAX;
    let mut other = house.client();
    // While it still grows, the kernel's buffers are being filled; when ten others were answered meanwhile, it stands.
    house.until(|| {
        (0..10).for_each(|_| assert_eq!(other.get("/").body.len(), 100_000));
        let now = sent.load(Ordering::SeqCst);
        std::mem::replace(&mut last, now) == now && now > 0
    });
    assert!(last < 16 * 1024 * 1024, "{last} bytes for a client that reads nothing");
    assert_eq!(server.connections(), 1);
}

// Goal: nothing of a client's body is read faster than the server takes it, and an early answer reaches the client.
// Method: a server that takes nothing, then refuses; the client pushes until nothing goes any more.
#[test]
fn an_upload_that_nobody_takes_stands_and_an_early_answer_ends_it() {
    let go = Arc::new(tokio::sync::Notify::new());
    let waiting = Arc::clone(&go);
    let server = Http2Upstream::start(Options::default(), move |request, respond| {
        let waiting = Arc::clone(&waiting);
        Box::pin(async move {
            let _unread = request.into_body();
            waiting.notified().await;
            answer(respond, 413, "enough");
        })
    });
    let house = house(&[&h2c(&server)], "");
    let mut socket = std::net::TcpStream::connect(house.address(0)).unwrap();
    socket.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16000000\r\n\r\n").unwrap();
    socket.set_nonblocking(true).unwrap();
    let (piece, mut pushed, mut stood) = ([7; 64 * 1024], 0, 0);
    house.until(|| {
        match socket.write(&piece[..piece.len().min(15_000_000 - pushed)]) {
            Ok(count) => (pushed, stood) = (pushed + count, 0),
            Err(_) => stood += 1,
        }
        stood > 50 || pushed == 15_000_000
    });
    assert!(pushed < 12_000_000, "{pushed} bytes went to a server that takes nothing");
    go.notify_one();
    socket.set_nonblocking(false).unwrap();
    assert_eq!(Client::over(socket).answer("POST").status, 413);
}

/// A server that says these frames to each request after greeting; `{id}` of the stream is filled in by the frames' maker.
fn saying(frames: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Upstream {
    Upstream::raw(move |stream| {
        let mut said = Frames::greet(stream, b"");
        while let Some(id) = said.request() {
            said.send(&frames(id));
        }
    })
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// HEADERS with this status and these fields.
fn head(id: u32, flags: u8, status: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![(":status", status)];
    all.extend_from_slice(more);
    frame(1, END_HEADERS | flags, id, &fields(&all))
}

// Goal: an answer that two readers could take for different things never reaches the client: 502, and the reason is told.
// Method: one row for each way to be wrong; the server has no second, and a GET is tried three times.
#[test]
fn wrong_answers_are_refused_with_their_reason() {
    let protocol = "the server broke the rules of HTTP/2";
    check("a connection's field", protocol, |id| head(id, 1, "200", &[("connection", "close")]));
    check("a transfer coding", protocol, |id| head(id, 1, "200", &[("transfer-encoding", "chunked")]));
    check("an upgrade", protocol, |id| head(id, 1, "200", &[("upgrade", "h3")]));
    check("a name in upper case", protocol, |id| head(id, 1, "200", &[("X-A", "1")]));
    check("no status", protocol, |id| frame(1, END_HEADERS | END_STREAM, id, &fields(&[("a", "b")])));
    check("a status that is no number", protocol, |id| head(id, 1, "2x0", &[]));
    check("a status beyond", "the answer is not HTTP", |id| head(id, 1, "999", &[]));
    check("two lengths", protocol, |id| {
        head(id, 0, "200", &[("content-length", "3"), ("content-length", "4")])
    });
    check("a length that is none", protocol, |id| head(id, 0, "200", &[("content-length", "+3")]));
    check("a length without content", protocol, |id| head(id, 1, "200", &[("content-length", "3")]));
    check("an upgrade that does not exist", protocol, |id| head(id, 0, "101", &[]));
    check("content before the head", protocol, |id| frame(0, 0, id, b"abc"));
    check("a pushed request", protocol, |id| frame(5, END_HEADERS, id, &[0, 0, 0, 2]));
    check("a frame of a stream nobody opened", protocol, |id| frame(0, 0, id + 100, b"abc"));
    check("a head of 72,000 bytes", protocol, |id| {
        let long = "x".repeat(127);
        let block = fields(&[&[(":status", "200")][..], &[("a", long.as_str()); 450]].concat());
        let mut frames = frame(1, 0, id, &block[..16_000]);
        let rest: Vec<&[u8]> = block[16_000..].chunks(16_000).collect();
        for (index, piece) in rest.iter().enumerate() {
            frames.extend(frame(9, if index + 1 == rest.len() { END_HEADERS } else { 0 }, id, piece));
        }
        frames
    });
    check("a reset", "the server reset the stream, code 2", |id| frame(3, 0, id, &[0, 0, 0, 2]));
    check("HTTP/1", protocol, |_| b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec());

    #[track_caller]
    fn check(name: &str, why: &str, frames: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) {
        let server = saying(frames);
        let house = house(&[&format!("h2c://{}", server.address)], "passive = { failures = 0 }");
        let answer = house.client().get("/");
        assert_eq!(answer.status, 502, "{name}: {}", answer.text());
        house.until(|| house.said().contains(why));
    }
}

// Goal: an answer that breaks after its head is broken for the client too, never short and whole.
#[test]
fn an_answer_that_breaks_off_is_broken_for_the_client() {
    let long = [("content-length", "10")];
    check("less than announced", move |id| [head(id, 0, "200", &long), frame(0, 1, id, b"abc")].concat());
    check("a reset", move |id| [head(id, 0, "200", &long), frame(3, 0, id, &[0, 0, 0, 8])].concat());
    check("a reset without a length", |id| {
        [head(id, 0, "200", &[]), frame(3, 0, id, &[0, 0, 0, 8])].concat()
    });
    check("more than announced", move |id| {
        [head(id, 0, "200", &long), frame(0, 1, id, b"abcdefghijklmno")].concat()
    });

    #[track_caller]
    fn check(name: &str, frames: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) {
        let server = saying(frames);
        let house = house(&[&format!("h2c://{}", server.address)], "passive = { failures = 0 }");
        let mut client = house.client();
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let all = String::from_utf8(client.rest()).unwrap();
        // Broken at the head where it is seen in time (502), else in the middle: no last chunk, no tenth byte.
        let (head, body) = all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{name}: {all}"));
        let whole =
            body.ends_with("0\r\n\r\n") || (head.contains("content-length: 10\r\n") && body.len() >= 10);
        assert!(head.starts_with("HTTP/1.1 502") || !whole, "{name}: {all}");
    }
}

// Goal: what is unusual and right passes: interim answers, empty frames, padding, an end of its own, unknown frames.
#[test]
fn unusual_answers_that_are_right_pass() {
    let server = saying(|id| {
        let mut padded = vec![3];
        padded.extend(b"abc\0\0\0");
        [
            head(id, 0, "103", &[("link", "</a>")]),
            frame(0xbe, 0, id, b"unknown"),
            head(id, 0, "200", &[("x-a", "1"), ("x-a", "2"), ("set-cookie", "a"), ("set-cookie", "b")]),
            frame(0, 0, id, b""),
            frame(0, 8, id, &padded),
            frame(0, 1, id, b""),
        ]
        .concat()
    });
    let house = house(&[&format!("h2c://{}", server.address)], "");
    let mut client = house.client();
    let hint = client.get("/");
    assert_eq!((hint.status, hint.field("link").as_deref()), (103, Some("</a>")));
    let answer = client.answer("GET");
    assert_eq!((answer.status, answer.text().as_str()), (200, "abc"));
    assert_eq!(
        (answer.field("x-a").as_deref(), answer.field("set-cookie").as_deref()),
        (Some("1, 2"), Some("a, b"))
    );
    assert_eq!(answer.field("link"), None);
}

// Goal: where there is no content there is none: HEAD, 204 and 304, whatever the server sends behind them.
#[test]
fn answers_without_content_have_none() {
    let server = saying(|id| head(id, 1, "304", &[("content-length", "9"), ("etag", "\"1\"")]));
    let house = house(&[&format!("h2c://{}", server.address)], "");
    let mut client = house.client();
    for method in ["GET", "HEAD"] {
        let answer = client.ask(method, "/", "");
        assert_eq!((answer.status, answer.field("etag").as_deref()), (304, Some("\"1\"")), "{method}");
    }
    let server = saying(|id| [head(id, 0, "204", &[]), frame(0, 1, id, b"smuggled")].concat());
    let house = self::house(&[&format!("h2c://{}", server.address)], "");
    let mut client = house.client();
    assert_eq!((client.get("/").status, client.get("/").status), (204, 204));
}

// Goal: a client that waits for `100 Continue` is asked for its body when the server wants it, and not when it refuses.
#[test]
fn an_expectation_is_the_servers_to_answer() {
    let server = Http2Upstream::start(Options::default(), |request, mut respond| {
        Box::pin(async move {
            assert_eq!(request.headers()["expect"], "100-continue");
            if request.uri().path() == "/no" {
                return answer(respond, 403, "no");
            }
            respond.send_informational(Response::builder().status(100).body(()).unwrap()).unwrap();
            let (body, _) = content(request.into_body()).await.unwrap();
            answer(respond, 200, &String::from_utf8(body).unwrap());
        })
    });
    let house = house(&[&h2c(&server)], "");
    let mut client = house.client();
    client.send("PUT /yes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer("PUT").status, 100);
    client.send("abc");
    assert_eq!(client.answer("PUT").text(), "abc");
    client.send("PUT /no HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer("PUT").status, 403);
}

// Goal: with https the server chooses: HTTP/2 where it has it, HTTP/1.1 where it has not or the settings want that.
// Method: a server of HTTP/2 with TLS, by what it offers; one that speaks HTTP/1.1 only would break on a preface.
#[test]
fn with_https_the_server_chooses_the_version() {
    let made = certificate(&["localhost"]);
    let server = |offers: &[&[u8]]| {
        let options = Options { tls: Some(made.serving(offers)), ..Options::default() };
        Http2Upstream::start(options, |request, respond| {
            Box::pin(async move {
                assert_eq!(request.uri().scheme_str(), Some("https"));
                answer(respond, 200, "by http2");
            })
        })
    };
    let pool = "tls = { ca = \"ca.pem\", name = \"localhost\" }\nretry = { attempts = 1 }";
    let ask = |server: &Http2Upstream, more: &str| {
        let settings = format!(
            "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\n\
             route = [{{ path = \"/*\", proxy = \"api\" }}]\n[pool.api]\nservers = [\"https://{}\"]\n{pool}\n{more}\n",
            server.address
        );
        let house = House::start(&settings, &[("ca.pem", made.certificate.as_bytes())]);
        let mut client = house.client();
        (client.get("/").status, client.get("/").status, server.connections())
    };
    assert_eq!(ask(&server(&[b"h2", b"http/1.1"]), ""), (200, 200, 1));
    assert_eq!(ask(&server(&[b"h2"]), ""), (200, 200, 1));
    // HTTP/1.1 is agreed on, and this server cannot speak it: proof that nothing else was tried.
    assert_eq!(ask(&server(&[b"http/1.1"]), ""), (502, 502, 2));
    assert_eq!(ask(&server(&[b"h2", b"http/1.1"]), "http2 = false"), (502, 502, 2));
}

// Goal: the usual health check asks in the version that requests go by.
#[test]
fn a_health_check_by_path_speaks_http2_to_a_server_of_http2() {
    let good = Arc::new(AtomicUsize::new(200));
    let status = Arc::clone(&good);
    let server = Http2Upstream::start(Options::default(), move |_, respond| {
        let status = u16::try_from(status.load(Ordering::SeqCst)).unwrap();
        Box::pin(async move { answer(respond, status, "health") })
    });
    let pool = "health = { path = \"/healthz\", body = \"health\", every = \"100ms\", timeout = \"1s\", rise = 1, fall = 1 }";
    let house = house(&[&h2c(&server)], pool);
    assert_eq!(house.client().get("/").status, 200);
    good.store(503, Ordering::SeqCst);
    house.until_said("status 503");
    good.store(200, Ordering::SeqCst);
    house.until(|| house.json("status")["pools"][0]["servers"][0]["state"] == "up");
}
