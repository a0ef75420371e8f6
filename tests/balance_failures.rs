//! Ways to fail that servers have in production, each with its exact outcome.
//!
//! Not here: answers that make no sense (`balance_answers`), sides that do not read (`balance_pressure`).

use std::fmt::Display;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::house::House;
use crate::support::tls::{Made, certificate, expired};
use crate::support::tls_upstream::TlsUpstream;
use crate::support::upstream::{Then, Upstream, ok};

/// A site that leads to a pool of these servers.
pub(crate) fn pool_of(servers: &[impl Display], pool: &str) -> String {
    let addresses: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ proxy = \"api\" }}]\n\
         [pool.api]\nservers = [{}]\n{pool}\n",
        addresses.join(", ")
    )
}

/// A request and the outcome: status, and the content or the name of the error.
#[track_caller]
fn outcome(client: &mut Client, method: &str) -> (u16, String) {
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    let answer = client.ask(method, "/x", &format!("{length}Accept: application/json\r\n"));
    let error: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let name = error.and_then(|error| error["error"]["name"].as_str().map(str::to_owned));
    (answer.status, name.unwrap_or_else(|| answer.text()))
}

#[track_caller]
fn check(house: &House, method: &str, status: u16, text: &str) {
    assert_eq!(outcome(&mut house.client(), method), (status, text.to_owned()), "{method}");
}

/// A real server process: the program itself, which answers with a word.
fn process(word: &str) -> House {
    let settings = format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ respond = \"{word}\" }}]\n"
    );
    House::start(&settings, &[])
}

fn state(house: &House, place: usize) -> String {
    house.json("status")["pools"][0]["servers"][place]["state"].as_str().unwrap().to_owned()
}

// Goal: a process that hangs fails no idempotent request, is found by its checks, and serves again when it goes on.
// Method: SIGSTOP and SIGCONT for a real process under the load of three clients.
#[test]
fn a_process_that_hangs_fails_no_idempotent_request() {
    let servers = [process("hangs"), process("works")];
    let house = House::start(
        &pool_of(
            &[servers[0].address(0), servers[1].address(0)],
            "health = { path = \"/\", every = \"100ms\", timeout = \"300ms\", fall = 2, rise = 1 }\n\
             timeouts = { first_byte = \"500ms\" }\nslow_start = \"0s\"",
        ),
        &[],
    );
    let over = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..3)
        .map(|_| {
            let (address, over) = (house.address(0), Arc::clone(&over));
            std::thread::spawn(move || {
                let (mut client, mut wrong) = (Client::plain(address), Vec::new());
                while !over.load(Ordering::SeqCst) {
                    let answer = outcome(&mut client, "GET");
                    if !matches!(&answer, (200, text) if text == "hangs" || text == "works") {
                        wrong.push(answer);
                    }
                }
                wrong
            })
        })
        .collect();
    for _ in 0..3 {
        house.until(|| outcome(&mut house.client(), "GET").1 == "hangs");
        servers[0].hang();
        house.until(|| state(&house, 0) == "down");
        servers[0].signal(Signal::CONT);
        house.until(|| state(&house, 0) == "up");
    }
    over.store(true, Ordering::SeqCst);
    for client in load {
        assert_eq!(client.join().unwrap(), [], "requests failed; said: {}", house.said());
    }
}

// Goal: where there is nobody else, a hung process is a 504; what it received is not sent again.
#[test]
fn a_process_that_hangs_alone_is_a_timeout() {
    let server = process("hangs");
    let settings =
        pool_of(&[server.address(0)], "timeouts = { first_byte = \"300ms\" }\nretry = { attempts = 2 }");
    let house = House::start(&settings, &[]);
    check(&house, "GET", 200, "hangs");
    server.hang();
    check(&house, "POST", 504, "upstream-first-byte-timeout");
    check(&house, "GET", 504, "upstream-first-byte-timeout");
    server.signal(Signal::CONT);
    house.until(|| outcome(&mut house.client(), "GET") == (200, "hangs".to_owned()));
}

// Goal: a slow answer is late, whatever of it trickles in; GET is asked elsewhere, POST is not.
#[test]
fn a_slow_server_is_late() {
    let slow = Upstream::start(|_, stream| {
        std::thread::park_timeout(Duration::from_secs(2));
        ok(stream, "slow");
        Then::Keep
    });
    let trickles = Upstream::start(|_, stream| {
        let mut head = b"HTTP/1.1 200 OK\r\na: ".iter().chain(std::iter::repeat(&b'b'));
        while stream.write_all(&[*head.next().unwrap_or(&b'b')]).is_ok() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Then::Close
    });
    let fast = Upstream::named("fast");
    let patience = "timeouts = { first_byte = \"250ms\" }\npassive = { failures = 0, success_rate = 0 }";
    for late in [&slow, &trickles] {
        let alone =
            House::start(&pool_of(&[late.address], &format!("{patience}\nretry = {{ attempts = 1 }}")), &[]);
        check(&alone, "GET", 504, "upstream-first-byte-timeout");
        let both = House::start(&pool_of(&[late.address, fast.address], patience), &[]);
        let mut client = both.client();
        for _ in 0..4 {
            assert_eq!(outcome(&mut client, "GET"), (200, "fast".to_owned()));
        }
        let before = fast.seen().len();
        let posts: Vec<_> = (0..4).map(|_| outcome(&mut client, "POST")).collect();
        let good = posts.iter().filter(|post| **post == (200, "fast".to_owned())).count();
        let late =
            posts.iter().filter(|post| **post == (504, "upstream-first-byte-timeout".to_owned())).count();
        assert_eq!((good, late, fast.seen().len() - before), (2, 2, 2), "{posts:?}");
    }
}

// Goal: an answer whose body stops moving ends as a broken one.
#[test]
fn a_body_that_stalls_is_broken_off() {
    let server = Upstream::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").unwrap();
        let _ = std::io::Read::read(stream, &mut [0; 1]); // until the proxy gives up
        Then::Close
    });
    let house = House::start(&pool_of(&[server.address], "timeouts = { idle = \"300ms\" }"), &[]);
    let mut client = house.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let all = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && all.ends_with("\r\n\r\nhalf"), "{all}");
}

// Goal: which statuses are asked for again is the operator's to say; POST is not, and the last answer is the server's own.
#[test]
fn errors_are_asked_again_where_they_are_listed() {
    let says = |status: &'static str| {
        Upstream::start(move |_, stream| {
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\nbad").as_bytes());
            Then::Keep
        })
    };
    let good = Upstream::named("good");
    let house = |servers: &[&Upstream], retry: &str| {
        let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
        House::start(
            &pool_of(&addresses, &format!("passive = {{ failures = 0, success_rate = 0 }}\n{retry}")),
            &[],
        )
    };
    let count = |house: &House, method: &str| {
        let mut client = house.client();
        let all: Vec<_> = (0..10).map(|_| outcome(&mut client, method)).collect();
        let good = all.iter().filter(|one| **one == (200, "good".to_owned())).count();
        let bad = all.iter().filter(|one| one.1 == "bad").count();
        assert_eq!(good + bad, 10, "{all:?}");
        good
    };
    let (internal, unavailable) = (says("500 Internal"), says("503 Unavailable"));
    // By default 500 is an answer like another, 502, 503 and 504 are worth another server.
    assert_eq!(count(&house(&[&internal, &good], ""), "GET"), 5);
    assert_eq!(count(&house(&[&unavailable, &good], ""), "GET"), 10);
    assert_eq!(count(&house(&[&unavailable, &good], ""), "POST"), 5);
    let listed = "retry = { on = [\"5xx\"] }";
    assert_eq!(count(&house(&[&internal, &good], listed), "GET"), 10);
    assert_eq!(count(&house(&[&internal, &good], listed), "POST"), 5);
    assert_eq!(count(&house(&[&unavailable, &good], "retry = { on = [\"connect\"] }"), "GET"), 5);
    check(&house(&[&internal], listed), "GET", 500, "bad");
}

// Goal: a host that answers no packet costs a connect timeout and no request.
// Method: a listener whose line of waiting connections is full takes no more: its kernel is silent.
#[test]
fn a_host_that_answers_no_packet_is_passed_over() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(1).unwrap();
    let silent = socket.local_addr().unwrap().as_socket().unwrap();
    let fill = |_| TcpStream::connect_timeout(&silent, Duration::from_millis(100));
    let line: Vec<_> = (0..8).map(fill).take_while(Result::is_ok).collect();
    assert!(line.len() < 8, "the line never filled");

    let patience = "timeouts = { connect = \"250ms\" }";
    let alone = House::start(&pool_of(&[silent], &format!("{patience}\nretry = {{ attempts = 1 }}")), &[]);
    check(&alone, "GET", 502, "upstream-connect-timeout");
    let fast = Upstream::named("fast");
    let both = House::start(&pool_of(&[silent, fast.address], patience), &[]);
    let mut client = both.client();
    // Nothing was sent, so POST may be asked elsewhere as well.
    for method in ["GET", "POST", "GET", "POST"] {
        assert_eq!(outcome(&mut client, method), (200, "fast".to_owned()), "{method}");
    }
}

// Goal: a connection cut in the middle of an answer is a broken answer, by an end and by a reset, however it was framed.
#[test]
fn an_answer_cut_in_the_middle_is_broken_off() {
    check("content-length: 100000\r\n\r\nshort", || Then::Close);
    check("content-length: 100000\r\n\r\nshort", || Then::Reset);
    check("transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n", || Then::Reset);
    check("content-length: 6\r\n\r\nshort", || Then::Close);

    #[track_caller]
    fn check(answer: &'static str, then: impl Fn() -> Then + Send + Sync + 'static) {
        let server = Upstream::start(move |_, stream| {
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{answer}").as_bytes()).unwrap();
            then()
        });
        let house = House::start(&pool_of(&[server.address], ""), &[]);
        let mut client = house.client();
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let all = String::from_utf8_lossy(&client.rest()).into_owned();
        // A reset may take what was not read yet with it: then nothing was given away, and 502 is the truth.
        let broken = all.starts_with("HTTP/1.1 200 OK\r\n") && !all.ends_with("0\r\n\r\n");
        assert!(broken || all.starts_with("HTTP/1.1 502 "), "{answer}: {all}");
        assert_eq!(
            server.seen().len(),
            if broken { 1 } else { server.seen().len() },
            "an answer that began is not asked again"
        );
    }
}

// Goal: TLS that proves nothing is refused, with the reason in the log; our own certificate is shown where it is wanted.
#[test]
fn a_server_that_cannot_prove_its_name_gets_no_request() {
    let good = certificate(&["api.test"]);
    let ours = certificate(&["proxy.test"]);
    let name = "name = \"api.test\"";
    let server = TlsUpstream::start(&good, None);
    check(&server, &good, &ours, name, Ok(()));
    check(&server, &good, &ours, "name = \"other.test\"", Err("not valid for name"));
    check(&server, &ours, &ours, name, Err("BadSignature"));
    check(&server, &ours, &ours, "verify = false, name = \"api.test\"", Ok(()));
    let old = expired(&["api.test"]);
    let server = TlsUpstream::start(&old, None);
    check(&server, &old, &ours, name, Err("expired"));
    let wants = TlsUpstream::start(&good, Some(&ours));
    check(&wants, &good, &ours, name, Err("CertificateRequired"));
    check(&wants, &good, &ours, "name = \"api.test\", cert = \"ours.pem\", key = \"ours.key\"", Ok(()));
    check(&wants, &good, &good, "name = \"api.test\", cert = \"ours.pem\", key = \"ours.key\"", Err("alert"));

    #[track_caller]
    fn check(server: &TlsUpstream, believed: &Made, shown: &Made, tls: &str, want: Result<(), &str>) {
        let before = server.requests();
        let pool = format!("tls = {{ ca = \"ca.pem\", {tls} }}\nretry = {{ attempts = 1 }}");
        let house = House::start(
            &pool_of(&[format!("https://{}", server.address)], &pool),
            &[
                ("ca.pem", believed.certificate.as_bytes()),
                ("ours.pem", shown.certificate.as_bytes()),
                ("ours.key", shown.key.as_bytes()),
            ],
        );
        let got = outcome(&mut house.client(), "GET");
        match want {
            Ok(()) => assert_eq!((got, server.requests() - before), ((200, "secret".to_owned()), 1), "{tls}"),
            Err(why) => {
                assert_eq!((got.0, server.requests() - before), (502, 0), "{tls}: {got:?}");
                house.until_said(why);
            }
        }
    }
}

// Goal: a unix socket that goes away is a server that is down; when it is back it serves again.
#[test]
fn a_unix_socket_may_go_away_and_come_back() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("app.sock");
    let serve = |word: &'static str| {
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            // One connection, one request, and gone: the listener closes with this thread.
            let (mut stream, _) = listener.accept().unwrap();
            let mut got = Vec::new();
            let mut piece = [0; 4096];
            while !got.ends_with(b"\r\n\r\n") {
                let count = std::io::Read::read(&mut stream, &mut piece).unwrap();
                got.extend_from_slice(&piece[..count]);
            }
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{word}", word.len()).unwrap();
        })
    };
    let settings = pool_of(
        &[format!("unix:{}", path.display())],
        "retry = { attempts = 1 }\npassive = { failures = 0, success_rate = 0 }",
    );
    let house = House::start(&settings, &[]);
    check(&house, "GET", 502, "upstream-refused");
    for word in ["first", "second"] {
        let server = serve(word);
        check(&house, "GET", 200, word);
        server.join().unwrap();
        // The path is there and nobody listens, then not even the path.
        check(&house, "GET", 502, "upstream-refused");
        std::fs::remove_file(&path).unwrap();
        check(&house, "POST", 502, "upstream-refused");
    }
}
