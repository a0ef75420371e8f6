//! Goal: connections reach the right servers byte by byte: by name, under TLS or not, whatever the pieces they come in.
//! Method: the real binary; servers that echo behind their own TLS; rustls clients whose hello is post-quantum sized.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use crate::support::client::Client;
use crate::support::house::House;
use crate::support::tls::{self, Made};
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, pattern};

/// Echoes what it reads, its name in front.
fn named(name: &'static str) -> Upstream {
    Upstream::raw(move |mut stream| echo(&mut stream, name))
}

fn echo(stream: &mut (impl Read + Write), name: &str) {
    let mut piece = [0; 16 * 1024];
    let mut first = true;
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        let greeting = if std::mem::take(&mut first) { name } else { "" };
        if stream.write_all(&[greeting.as_bytes(), &piece[..count]].concat()).is_err()
            || stream.flush().is_err()
        {
            return;
        }
    }
}

/// The same behind TLS of its own.
fn secure(name: &'static str, made: &Made) -> Upstream {
    let config = server_config(made);
    Upstream::raw(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        echo(&mut StreamOwned::new(connection, stream), name);
    })
}

fn server_config(made: &Made) -> Arc<ServerConfig> {
    use rustls::pki_types::pem::PemObject;
    let chain = vec![rustls::pki_types::CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap()];
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

#[track_caller]
fn said(client: &mut Client, say: &str, want: &str) {
    client.send(say);
    assert_eq!(String::from_utf8_lossy(&client.exactly(want.len())), want);
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn by_name(a: &Upstream, b: &Upstream, rest: &str) -> String {
    format!(
        "[server]\nworkers = 1\n[stream.s]\nlisten = \"tcp://127.0.0.1:0\"\n\
         route = [{{ sni = [\"*.example.test\", \"a.test\"], proxy = \"a\" }}, {{ sni = \"b.test\", proxy = \"b\" }}{rest}]\n\
         [pool.a]\nservers = [\"{}\"]\n[pool.b]\nservers = [\"{}\"]\n",
        a.address, b.address
    )
}

// Goal: the name a client asks for decides, and TLS stays its server's: the client sees that server's certificate.
#[test]
fn connections_go_by_the_name_in_their_hello() {
    let (for_a, for_b) = (tls::certificate(&["a.test", "x.example.test"]), tls::certificate(&["b.test"]));
    let (a, b, rest) = (secure("a:", &for_a), secure("b:", &for_b), named("rest:"));
    let settings = by_name(&a, &b, ", { proxy = \"rest\" }");
    let settings = format!("{settings}[pool.rest]\nservers = [\"{}\"]\n", rest.address);
    let house = House::start(&settings, &[]);
    let to = |name: &str, made: &Made| tls::connect(house.address(0), name, tls::trusting(made, &[]));
    said(&mut to("a.test", &for_a), "hello", "a:hello");
    said(&mut to("x.example.test", &for_a), "hello", "a:hello");
    said(&mut to("b.test", &for_b), "hello", "b:hello");
    // No TLS: it has no name, and every byte of it arrives.
    said(&mut house.client(), "GET / HTTP/1.1\r\n", "rest:GET / HTTP/1.1\r\n");
    said(&mut house.client(), "\x16\x02 not TLS either", "rest:\x16\x02 not TLS either");
    let status = house.json("status");
    assert_eq!((&status["streams"][0]["name"], &status["streams"][0]["total"]), (&"s".into(), &5.into()));
}

// Goal: a hello larger than a packet is read however it is cut. Method: its bytes one at a time, each in a segment of its own.
#[test]
fn a_post_quantum_hello_arrives_byte_by_byte() {
    let made = tls::certificate(&["b.test"]);
    let (a, b) = (named("a:"), secure("b:", &made));
    let house = House::start(&by_name(&a, &b, ""), &[]);
    let name = rustls::pki_types::ServerName::try_from("b.test").unwrap();
    let offered: [&[u8]; 2] = [b"http/1.1", &[b'x'; 200]];
    let mut connection = ClientConnection::new(tls::trusting(&made, &offered), name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    assert!(hello.len() > 1500, "a hello of {} bytes is not post-quantum", hello.len());
    let mut socket = connect(house.address(0));
    for byte in &hello {
        socket.write_all(&[*byte]).unwrap();
    }
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    said(&mut Client::over(StreamOwned::new(connection, socket)), "hello", "b:hello");
}

// Goal: who names nobody's server is turned away, told once in the log with the reason, and counted.
#[test]
fn who_has_no_route_is_turned_away_and_told() {
    let made = tls::certificate(&["c.test"]);
    let (a, b) = (named("a:"), named("b:"));
    let settings = by_name(&a, &b, "").replace("[server]", "[log]\naccess = \"json\"\n[server]");
    let house = House::start(&settings, &[]);
    for _ in 0..3 {
        let name = rustls::pki_types::ServerName::try_from("c.test").unwrap();
        let mut connection = ClientConnection::new(tls::trusting(&made, &[]), name).unwrap();
        let mut socket = connect(house.address(0));
        assert!(connection.complete_io(&mut socket).is_err());
    }
    let mut plain = house.client();
    plain.send("GET / HTTP/1.1\r\n\r\n");
    plain.closed();
    house.until_said("stream-refused: 127.0.0.1 on s: no route is for the name c.test");
    assert_eq!(house.said().matches("stream-refused").count(), 1, "{}", house.said());
    house.until(|| house.json("status")["streams"][0]["failed"] == 4);
    let log = || std::fs::read_to_string(house.path("data/logs/access.log")).unwrap_or_default();
    house.until(|| log().lines().count() == 4);
    let first: serde_json::Value = serde_json::from_str(log().lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["stream"], &first["end"], &first["name"], &first["status"]),
        (&"s".into(), &"no-route".into(), &"c.test".into(), &403.into())
    );
}

// Goal: a client that never finishes its hello does not hold its place longer than handshake_timeout.
#[test]
fn a_hello_that_does_not_come_is_cut() {
    let (a, b) = (named("a:"), named("b:"));
    let settings = format!("[limits]\nhandshake_timeout = \"1s\"\n{}", by_name(&a, &b, ""));
    let house = House::start(&settings, &[]);
    let mut client = house.client();
    client.send(b"\x16\x03\x01\x02");
    client.closed();
    house.until_said("cut by handshake_timeout");
}

// Goal: TLS ends here by the same rules as a site's, and begins anew towards servers that want it.
#[test]
fn tls_ends_here_and_begins_anew_towards_the_servers() {
    let (ours, theirs) = (tls::certificate(&["mail.test", "127.0.0.1"]), tls::certificate(&["127.0.0.1"]));
    let (plain, hidden) = (named("plain:"), secure("hidden:", &theirs));
    let files = [
        ("our.pem", ours.certificate.as_bytes()),
        ("our.key", ours.key.as_bytes()),
        ("ca.pem", theirs.certificate.as_bytes()),
    ];
    let settings = format!(
        "[server]\nworkers = 1\n[stream.mail]\nlisten = [\"tls://127.0.0.1:0\"]\ntls = {{ cert = \"our.pem\", key = \"our.key\" }}\n\
         route = [{{ sni = \"mail.test\", proxy = \"hidden\" }}, {{ proxy = \"plain\" }}]\n\
         [pool.hidden]\nservers = [\"tls://{}\"]\ntls = {{ ca = \"ca.pem\" }}\nhealth = {{ tcp = true, every = \"100ms\" }}\n\
         [pool.plain]\nservers = [\"{}\"]\n",
        hidden.address, plain.address
    );
    let house = House::start(&settings, &files);
    assert!(house.addresses[0].starts_with("tls://"), "{:?}", house.addresses);
    let to =
        |name: &str, offered: &[&[u8]]| tls::connect(house.address(0), name, tls::trusting(&ours, offered));
    // A protocol nobody here knows is no reason to refuse: what is spoken is between the two ends.
    said(&mut to("mail.test", &[b"imap"]), "hello", "hidden:hello");
    said(&mut to("127.0.0.1", &[]), "hello", "plain:hello");
    // Large amounts under TLS, both ways at once.
    let sent = pattern(1_000_000);
    let mut client = to("127.0.0.1", &[]);
    for piece in sent.chunks(100_000) {
        client.send(piece);
    }
    assert!(client.exactly(6 + sent.len())[6..] == sent, "the content differs");
    // The health check shook hands, for that is how connections go.
    house.until(|| house.json("status")["pools"][0]["servers"][0]["state"] == "up");
    let mut wrong = house.client();
    wrong.send("hello\n\n\n\n\n\n");
    wrong.rest();
    house.until_said("TLS was not agreed on");
}

// Goal: a server whose certificate is not the right one gets nothing, and the reason is told.
#[test]
fn a_server_with_a_wrong_certificate_gets_nothing() {
    let (theirs, other) = (tls::certificate(&["127.0.0.1"]), tls::certificate(&["127.0.0.1"]));
    let server = secure("x:", &theirs);
    let settings = format!(
        "[server]\nworkers = 1\n[stream.s]\nlisten = \"tcp://127.0.0.1:0\"\nproxy = \"p\"\n\
         [pool.p]\nservers = [\"tls://{}\"]\ntls = {{ ca = \"ca.pem\" }}\n",
        server.address
    );
    let house = House::start(&settings, &[("ca.pem", other.certificate.as_bytes())]);
    house.client().closed();
    house.until_said("stream-not-connected");
    assert!(house.said().contains("invalid peer certificate"), "{}", house.said());
}

// Goal: a server is told who the client is before anything else, also when a hello was read for its name.
#[test]
fn the_client_is_named_before_its_hello() {
    let made = tls::certificate(&["b.test"]);
    let config = server_config(&made);
    let b = Upstream::raw(move |mut stream| {
        let mut header = [0; 28]; // version 2 over IPv4
        stream.read_exact(&mut header).unwrap();
        assert!(header.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"), "{header:?}");
        let port = u16::from_be_bytes([header[24], header[25]]);
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        echo(&mut StreamOwned::new(connection, stream), &format!("{port}:"));
    });
    let a = named("a:");
    let settings = by_name(&a, &b, "").replace("listen =", "proxy_protocol = \"v2\"\nlisten =");
    let house = House::start(&settings, &[]);
    let socket = connect(house.address(0));
    let port = socket.local_addr().unwrap().port();
    let name = rustls::pki_types::ServerName::try_from("b.test").unwrap();
    let connection = ClientConnection::new(tls::trusting(&made, &[]), name).unwrap();
    said(&mut Client::over(StreamOwned::new(connection, socket)), "hello", &format!("{port}:hello"));
}

// Goal: the end of one direction is passed on alone, from either side, after small and after bulk traffic.
#[test]
fn either_side_may_end_first() {
    let server = Upstream::raw(|mut stream| {
        stream.write_all(&pattern(2_000_000)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"still heard");
    });
    let settings = format!(
        "[server]\nworkers = 1\n[log]\naccess = \"json\"\n[stream.s]\nlisten = \"tcp://127.0.0.1:0\"\nproxy = \"p\"\n[pool.p]\nservers = [\"{}\"]\n",
        server.address
    );
    let house = House::start(&settings, &[]);
    let mut socket = connect(house.address(0));
    let mut all = Vec::new();
    socket.read_to_end(&mut all).unwrap();
    assert!(all == pattern(2_000_000), "the content differs");
    socket.write_all(b"still heard").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let log = || std::fs::read_to_string(house.path("data/logs/access.log")).unwrap_or_default();
    house.until(|| log().contains("\"end\":\"done\""));
    let line: serde_json::Value = serde_json::from_str(log().lines().next().unwrap()).unwrap();
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&11.into(), &2_000_000.into()));
}

// Goal: a client that does not read slows its server instead of filling our memory; all of it arrives once it reads.
#[test]
fn a_slow_reader_slows_its_server() {
    const ALL: usize = 64 * 1024 * 1024;
    let written = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&written);
    let server = Upstream::raw(move |mut stream| {
        let piece = pattern(64 * 1024);
        while counting.load(Ordering::SeqCst) < ALL {
            let Ok(count) = stream.write(&piece) else { return };
            counting.fetch_add(count, Ordering::SeqCst);
        }
    });
    let settings = format!(
        "[server]\nworkers = 1\n[stream.s]\nlisten = \"tcp://127.0.0.1:0\"\nproxy = \"p\"\n[pool.p]\nservers = [\"{}\"]\n",
        server.address
    );
    let house = House::start(&settings, &[]);
    let mut socket = connect(house.address(0));
    // Until it stands still: the same count in many looks.
    let (mut last, mut same) = (0, 0);
    house.until(|| {
        let now = written.load(Ordering::SeqCst);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        same > 40
    });
    assert!(last < ALL / 2, "the server could write {last} bytes that nobody read");
    let mut room = vec![0; 1 << 20];
    let mut all = 0;
    while let Ok(count @ 1..) = socket.read(&mut room) {
        all += count;
    }
    assert_eq!(all, written.load(Ordering::SeqCst));
}

// Goal: a connection on which nothing moves ends after `idle`, and one beyond `connections_max` is refused.
#[test]
fn idle_connections_end_and_places_are_counted() {
    let server = named("s:");
    let settings = format!(
        "[server]\nworkers = 1\n[stream.s]\nlisten = \"tcp://127.0.0.1:0\"\nproxy = \"p\"\nidle = \"1s\"\nconnections_max = 1\n[pool.p]\nservers = [\"{}\"]\n",
        server.address
    );
    let house = House::start(&settings, &[]);
    let mut first = house.client();
    said(&mut first, "hello", "s:hello");
    let mut second = house.client();
    second.closed();
    house.until_said("all 1 connections of the listener are in use");
    first.closed();
    said(&mut house.client(), "hello", "s:hello");
}

// Goal: connections to a pool without a server are told once, counted each, and the metrics have them by reason.
#[test]
fn a_pool_without_a_server_is_told_and_counted() {
    let gone = named("x");
    gone.die();
    let settings = format!(
        "[server]\nworkers = 1\nadmin = \"127.0.0.1:0\"\n[stream.s]\nlisten = \"tcp://127.0.0.1:0\"\nproxy = \"p\"\n[pool.p]\nservers = [\"{}\"]\n",
        gone.address
    );
    let house = House::start(&settings, &[]);
    for _ in 0..3 {
        Client::plain(house.address(0)).closed();
    }
    house.until_said("stream-not-connected: 127.0.0.1 on s to ");
    assert_eq!(house.said().matches("stream-not-connected").count(), 1, "{}", house.said());
    house.until(|| house.json("status")["streams"][0]["failed"] == 3);
}
