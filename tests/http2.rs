//! HTTP/2 over TLS, by the h2 crate's client.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::house::House;
use crate::support::tls::{Made, certificate, trusting};
use crate::support::{PATIENCE, pattern};

const SECURE: &str = r#"
[server]
workers = 1
[site.main]
listen = "https://127.0.0.1:0"
tls    = { cert = "cert.pem", key = "key.pem" }
route  = [{ path = "/*", files = "public" }]
"#;

fn house(made: &Made, files: &[(&str, &[u8])]) -> House {
    let mut all: Vec<(&str, &[u8])> =
        vec![("cert.pem", made.certificate.as_bytes()), ("key.pem", made.key.as_bytes())];
    all.extend_from_slice(files);
    House::start(SECURE, &all)
}

async fn connect(address: SocketAddr, made: &Made) -> TlsStream<TcpStream> {
    secure(TcpStream::connect(address).await.unwrap(), made).await
}

async fn secure(socket: TcpStream, made: &Made) -> TlsStream<TcpStream> {
    let connector = TlsConnector::from(trusting(made, &[b"h2", b"http/1.1"]));
    let stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "h2 is chosen when offered");
    stream
}

async fn content(answer: http::Response<h2::RecvStream>) -> Vec<u8> {
    let mut body = answer.into_body();
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        all.extend_from_slice(&piece);
    }
    all
}

fn get(path: &str) -> http::Request<()> {
    http::Request::get(format!("https://localhost{path}")).body(()).unwrap()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

// Goal: many requests share one connection and none gets another's content.
// Method: 64 streams at once over files of different sizes, the largest beyond the window.
#[test]
fn many_streams_share_a_connection() {
    let made = certificate(&["localhost"]);
    let (small, large) = (pattern(1000), pattern(300_000));
    let house = house(&made, &[("public/small.bin", &small), ("public/large.bin", &large)]);
    run(async {
        let (mut client, connection) =
            h2::client::handshake(connect(house.address(0), &made).await).await.unwrap();
        let driving = tokio::spawn(connection);
        let mut answers = Vec::new();
        for index in 0..64 {
            let path = if index % 4 == 0 { "/large.bin" } else { "/small.bin" };
            client = client.ready().await.unwrap();
            let (answer, _) = client.send_request(get(path), true).unwrap();
            answers.push((index, answer));
        }
        // All at once: what nobody reads holds the window that all of them share.
        let mut read = tokio::task::JoinSet::new();
        for (index, answer) in answers {
            read.spawn(async move {
                let answer = answer.await.unwrap();
                assert_eq!(answer.status(), 200);
                (index, content(answer).await)
            });
        }
        while let Some(done) = read.join_next().await {
            let (index, got) = done.unwrap();
            let want = if index % 4 == 0 { &large } else { &small };
            assert!(got == *want, "stream {index}: the content differs");
        }
        drop(client);
        driving.await.unwrap().unwrap();
    });
}

// Goal: HEAD, conditions and ranges mean the same over HTTP/2.
#[test]
fn http2_answers_head_conditions_and_ranges() {
    let made = certificate(&["localhost"]);
    let house = house(&made, &[("public/a.txt", b"alphabet")]);
    run(async {
        let (mut client, connection) =
            h2::client::handshake(connect(house.address(0), &made).await).await.unwrap();
        tokio::spawn(connection);
        let mut ask = async |method: &str, name: &str, value: &str| {
            let request = http::Request::builder()
                .method(method)
                .uri("https://localhost/a.txt")
                .header(name, value)
                .body(())
                .unwrap();
            client = client.clone().ready().await.unwrap();
            client.send_request(request, true).unwrap().0.await.unwrap()
        };
        let head = ask("HEAD", "accept", "*/*").await;
        assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"8".parse().unwrap()));
        let etag = head.headers()["etag"].to_str().unwrap().to_owned();
        assert!(content(head).await.is_empty());
        assert_eq!(ask("GET", "if-none-match", &etag).await.status(), 304);
        let range = ask("GET", "range", "bytes=2-4").await;
        assert_eq!(range.status(), 206);
        assert_eq!(content(range).await, b"pha");
    });
}

// Goal: a client whose socket is always full gets all of a large answer: nothing is forgotten on its way through TLS.
// Method: the smallest receive buffer and the widest windows, so that the server's writes end in the middle of a record.
#[test]
fn a_full_socket_forgets_nothing() {
    let made = certificate(&["localhost"]);
    let large = pattern(1024 * 1024 + 17);
    let house = house(&made, &[("public/large.bin", &large)]);
    run(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = secure(socket.connect(house.address(0)).await.unwrap(), &made).await;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(8 << 20).initial_connection_window_size(8 << 20);
        let (mut client, connection) = builder.handshake::<_, bytes::Bytes>(stream).await.unwrap();
        tokio::spawn(connection);
        for turn in 0..5 {
            client = client.ready().await.unwrap();
            let answer = client.send_request(get("/large.bin"), true).unwrap().0.await.unwrap();
            assert!(content(answer).await == large, "turn {turn}: the content differs");
        }
    });
}

// Goal: a stop says goodbye (GOAWAY) and lets an open stream finish.
#[test]
fn a_stop_lets_an_open_stream_finish() {
    let made = certificate(&["localhost"]);
    let large = pattern(2 * 1024 * 1024);
    let mut house = house(&made, &[("public/large.bin", &large)]);
    run(async {
        let (client, connection) =
            h2::client::handshake(connect(house.address(0), &made).await).await.unwrap();
        let driving = tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let (answer, _) = client.send_request(get("/large.bin"), true).unwrap();
        let answer = answer.await.unwrap();
        house.signal(rustix::process::Signal::TERM);
        assert!(content(answer).await == large, "the content differs");
        drop(client);
        driving.await.unwrap().unwrap();
    });
    assert!(house.ended().success());
}

// Goal: an upgrade drops no request of HTTP/2: open connections are told to go (GOAWAY) and what was asked is answered.
// Method: four clients ask on and on over one connection each, come again when they are told to, through two upgrades.
#[test]
fn an_upgrade_drops_no_request() {
    let made = std::sync::Arc::new(certificate(&["localhost"]));
    let mut house = house(&made, &[("public/a.txt", b"alpha")]);
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (address, theirs, stop) =
        (house.address(0), std::sync::Arc::clone(&made), std::sync::Arc::clone(&over));
    let (asked, answered) = std::sync::mpsc::channel();
    let clients = std::thread::spawn(move || {
        let mut goodbyes = 0;
        run(async {
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..4 {
                let (made, stop, asked) = (theirs.clone(), stop.clone(), asked.clone());
                all.spawn(async move {
                    let mut goodbyes = 0;
                    loop {
                        let (client, connection) =
                            h2::client::handshake(connect(address, &made).await).await.unwrap();
                        let driving = tokio::spawn(connection);
                        let mut client = client;
                        // Not ready any more: told to go. Whatever was sent before that has to be answered.
                        while let Ok(mut ready) = client.clone().ready().await {
                            if stop.load(std::sync::atomic::Ordering::SeqCst) {
                                return goodbyes;
                            }
                            let (answer, _) = ready.send_request(get("/a.txt"), true).unwrap();
                            assert_eq!(content(answer.await.unwrap()).await, b"alpha");
                            // The test's end is nobody's failure.
                            let _ = asked.send(());
                            client = ready;
                        }
                        drop(client);
                        driving.await.unwrap().unwrap();
                        goodbyes += 1;
                    }
                });
            }
            while let Some(done) = all.join_next().await {
                goodbyes += done.unwrap();
            }
        });
        goodbyes
    });
    let some = || (0..100).for_each(|_| answered.recv_timeout(PATIENCE).unwrap());
    some();
    for _ in 0..2 {
        house.upgrade();
        some();
    }
    over.store(true, std::sync::atomic::Ordering::SeqCst);
    let goodbyes = clients.join().unwrap();
    // A client that is still on its way at an upgrade arrives at the new process and is told nothing.
    assert!((4..=8).contains(&goodbyes), "four clients were told to go {goodbyes} times in two upgrades");
    assert!(house.ended().success(), "{}", house.said());
}
