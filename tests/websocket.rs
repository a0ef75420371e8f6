//! Websockets between the versions of HTTP: a client of one, a server of the other (RFC 6455, RFC 8441).
//! Method: what is sent over them is no websocket frames: the proxy must not care.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response};

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::house::House;
use crate::support::http2_upstream::{Http2Upstream, Options, answer, content};
use crate::support::tls::{Made, certificate};
use crate::support::upstream::{Seen, Then, Upstream};

/// The pair of RFC 6455 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn house(server: &str, pool: &str, made: Option<&Made>) -> House {
    let settings = format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = {{ address = \"http://127.0.0.1:0\", h2c = true }}\n\
         route = [{{ path = \"/*\", proxy = \"api\" }}]\n[pool.api]\nservers = [\"{server}\"]\n{pool}\n"
    );
    let certificate = made.map(|made| ("ca.pem", made.certificate.as_bytes()));
    House::start(&settings, certificate.as_slice())
}

/// A server of HTTP/1.1 that agrees to a websocket, shouts back what it hears, or refuses by its path.
fn shouting() -> Upstream {
    Upstream::start(|seen, stream| {
        let path = seen.line().split(' ').nth(1).unwrap();
        let accept = match path {
            "/ws" | "/wss" => proof(seen),
            "/wrong" => ACCEPT.to_owned(),
            "/no" => {
                stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").unwrap();
                return Then::Keep;
            }
            _ => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage").unwrap();
                return Then::Keep;
            }
        };
        write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {accept}\r\nsec-websocket-protocol: shout\r\n\r\nhello"
        )
        .unwrap();
        shout(stream);
        Then::Close
    })
}

fn shout(stream: &mut TcpStream) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        let loud = piece[..count].to_ascii_uppercase();
        if stream.write_all(&loud).is_err() {
            return;
        }
    }
}

/// What RFC 6455 4.2.2 asks for.
fn proof(seen: &Seen) -> String {
    let key = seen.field("sec-websocket-key").expect("a key");
    assert_eq!((key.len(), seen.field("sec-websocket-version")), (24, Some("13")));
    assert_eq!((seen.field("upgrade"), seen.field("connection")), (Some("websocket"), Some("upgrade")));
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// A client of HTTP/2 that asks for a websocket; its status, what it hears of `hello`, and how its text comes back.
async fn ask_by_http2(house: &House, path: &str) -> (u16, String) {
    let stream = tokio::net::TcpStream::connect(house.address(0)).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    while !client.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://localhost{path}"))
        .header("sec-websocket-version", "13")
        .extension(h2::ext::Protocol::from("websocket"))
        .body(())
        .unwrap();
    client = client.ready().await.unwrap();
    let (waiting, mut send) = client.send_request(request, false).unwrap();
    let head = waiting.await.unwrap();
    let status = head.status().as_u16();
    for gone in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!head.headers().contains_key(gone), "{gone} is of HTTP/1.1");
    }
    let mut body = head.into_body();
    let mut heard = Vec::new();
    if status == 200 {
        send.send_data(Bytes::from_static(b" and back"), false).unwrap();
    }
    let mut ended = status != 200;
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).unwrap();
        heard.extend_from_slice(&piece);
        if !ended && heard.ends_with(b"BACK") {
            send.send_data(Bytes::new(), true).unwrap();
            ended = true;
        }
    }
    (status, String::from_utf8(heard).unwrap())
}

// Goal: a client of HTTP/2 gets a websocket of a server of HTTP/1.1, with a key of ours and its proof checked; whatever
// is no agreement is no tunnel.
#[test]
fn a_client_of_http2_reaches_a_server_of_http1() {
    let server = shouting();
    let house = house(&server.address.to_string(), "", None);
    run(async {
        assert_eq!(ask_by_http2(&house, "/ws").await, (200, "hello AND BACK".to_owned()));
        assert_eq!(ask_by_http2(&house, "/no").await, (403, "no".to_owned()));
        assert_eq!(ask_by_http2(&house, "/wrong").await.0, 502);
        house.until_said("its proof of the websocket's key is wrong");
        assert_eq!(ask_by_http2(&house, "/page").await.0, 502, "a 200 would stand for a tunnel");
    });
    let seen = server.seen();
    assert!(
        seen.iter().all(|seen| seen.line().starts_with("GET ") && seen.field("transfer-encoding").is_none())
    );
    // No server lost its good name: any client can ask for what is not there.
    assert!(!house.said().contains("is down"), "{}", house.said());
}

/// A server of HTTP/2 that agrees to websockets, or refuses by its path.
fn agreeing(options: Options) -> Http2Upstream {
    Http2Upstream::start(options, |request, mut respond| {
        Box::pin(async move {
            if request.method() != Method::CONNECT {
                return answer(respond, 200, "page");
            }
            assert_eq!(request.extensions().get::<h2::ext::Protocol>().unwrap().as_str(), "websocket");
            assert!(!request.headers().contains_key("sec-websocket-key"), "the key is of HTTP/1.1");
            assert_eq!(request.headers()["sec-websocket-version"], "13");
            if request.uri().path() == "/no" {
                return answer(respond, 403, "no");
            }
            let head = Response::builder().header("sec-websocket-protocol", "shout").body(()).unwrap();
            let mut send = respond.send_response(head, false).unwrap();
            send.send_data(Bytes::from_static(b"hello"), false).unwrap();
            let mut body = request.into_body();
            while let Some(Ok(piece)) = body.data().await {
                let _ = body.flow_control().release_capacity(piece.len());
                let _ = send.send_data(Bytes::from(piece.to_ascii_uppercase()), false);
            }
            let _ = send.send_data(Bytes::new(), true);
        })
    })
}

fn ask_by_http1(house: &House, path: &str) -> (Client, crate::support::client::Answer) {
    let mut client = house.client();
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ));
    let answer = client.answer("GET");
    (client, answer)
}

#[track_caller]
fn shouts_back(mut client: Client) {
    assert_eq!(client.exactly(5), b"hello");
    client.send(" and back");
    assert_eq!(client.exactly(9), b" AND BACK");
}

// Goal: a client of HTTP/1.1 gets a websocket of a server that speaks HTTP/2 only, where that allows it.
#[test]
fn a_client_of_http1_reaches_a_server_of_http2() {
    let server = agreeing(Options { extended_connect: true, ..Options::default() });
    let house = house(&format!("h2c://{}", server.address), "", None);
    let (client, answer) = ask_by_http1(&house, "/ws");
    assert_eq!(answer.status, 101, "{}", answer.head);
    assert_eq!(answer.field("sec-websocket-accept").as_deref(), Some(ACCEPT));
    assert_eq!(answer.field("sec-websocket-protocol").as_deref(), Some("shout"));
    shouts_back(client);
    let (mut client, answer) = ask_by_http1(&house, "/no");
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    assert_eq!(client.get("/page").text(), "page", "the refusal left the connection as it was");
    assert_eq!(server.connections(), 1);
    // A client of HTTP/2 to the same server: the same stream all the way.
    run(async { assert_eq!(ask_by_http2(&house, "/ws").await, (200, "hello AND BACK".to_owned())) });
}

// Goal: a server that has no websockets on HTTP/2 is named as the reason, once and without a second try.
#[test]
fn a_server_of_http2_without_websockets_is_told() {
    let server = agreeing(Options::default());
    let house = house(&format!("h2c://{}", server.address), "", None);
    let (_, answer) = ask_by_http1(&house, "/ws");
    assert_eq!(answer.status, 502);
    house.until_said("the server does not upgrade: its settings do not allow the extended CONNECT");
    run(async { assert_eq!(ask_by_http2(&house, "/ws").await.0, 502) });
    assert!(server.seen().is_empty());
}

// Goal: with https, usual requests go by HTTP/2 and a websocket that has no place there by a connection of HTTP/1.1.
// Method: a server that looks at what TLS agreed on, and speaks that.
#[test]
fn with_https_a_websocket_goes_by_http1_where_http2_has_none() {
    let made = certificate(&["localhost"]);
    let server = both(&made);
    let house =
        house(&format!("https://{server}"), "tls = { ca = \"ca.pem\", name = \"localhost\" }", Some(&made));
    assert_eq!(house.client().get("/page").text(), "by http2");
    let (client, answer) = ask_by_http1(&house, "/ws");
    assert_eq!(answer.status, 101, "{}", answer.head);
    shouts_back(client);
    assert_eq!(house.client().get("/page").text(), "by http2");
}

/// Speaks HTTP/2 or HTTP/1.1, as ALPN says; for as long as the test runs.
fn both(made: &Made) -> std::net::SocketAddr {
    let config = made.serving(&[b"h2", b"http/1.1"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&config));
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                tokio::spawn(async move {
                    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                        by_http2(stream).await;
                    } else {
                        by_http1(stream).await;
                    }
                });
            }
        });
    });
    address
}

async fn by_http2<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: T) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(async move {
            content(request.into_body()).await;
            answer(respond, 200, "by http2");
        });
    }
}

async fn by_http1<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut stream: T) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"GET /ws HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {ACCEPT}\r\n\r\nhello"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        stream.write_all(&piece[..count].to_ascii_uppercase()).await.unwrap();
    }
}
