//! Trailers pass in both directions, whichever versions of HTTP are spoken on the two sides.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::house::House;
use crate::support::http2_upstream::{Http2Upstream, Options, content};
use crate::support::upstream::Upstream;

type Noted = Arc<Mutex<Vec<String>>>;

/// Notes the value of `x-up` behind the request's body; answers `abc` with `x-down: 1` behind it.
fn http1_server(noted: &Noted) -> (Upstream, String) {
    let noted = Arc::clone(noted);
    let server = Upstream::raw(move |mut stream| {
        let mut all = Vec::new();
        while !all.ends_with(b"\r\nx-up: 1\r\n\r\n") {
            let mut piece = [0; 4096];
            let Ok(count @ 1..) = stream.read(&mut piece) else { return };
            all.extend_from_slice(&piece[..count]);
        }
        let text = String::from_utf8(all).unwrap();
        noted
            .lock()
            .unwrap()
            .push(text.split("\r\n").filter_map(|line| line.strip_prefix("x-up: ")).collect());
        // It serves one request a connection and says so: a second one that met its end could not be sent again.
        let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                      3\r\nabc\r\n0\r\nX-Down: 1\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let address = server.address.to_string();
    (server, address)
}

fn http2_server(noted: &Noted) -> (Http2Upstream, String) {
    let noted = Arc::clone(noted);
    let server = Http2Upstream::start(Options::default(), move |request, mut respond| {
        let noted = Arc::clone(&noted);
        Box::pin(async move {
            let (_, trailers) = content(request.into_body()).await.unwrap();
            let value = trailers.unwrap()["x-up"].to_str().unwrap().to_owned();
            noted.lock().unwrap().push(value);
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            send.send_data(Bytes::from_static(b"abc"), false).unwrap();
            send.send_trailers(trailer("x-down")).unwrap();
        })
    });
    let address = format!("h2c://{}", server.address);
    (server, address)
}

fn trailer(name: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, "1".parse().unwrap());
    trailers
}

fn by_http1(house: &House) -> String {
    let mut client = house.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Up: 1\r\n\r\n",
    );
    let head = Client::exactly(&mut client, "HTTP/1.1 200 OK\r\n".len());
    assert_eq!(head, b"HTTP/1.1 200 OK\r\n");
    let mut all = String::new();
    while !all.ends_with("\r\n\r\n") || !all.contains("\r\n0\r\n") {
        all.push(char::from(client.exactly(1)[0]));
    }
    assert!(all.contains("\r\nabc\r\n"), "{all}");
    all.split("\r\n0\r\n").nth(1).unwrap().trim_end().to_owned()
}

fn by_http2(house: &House) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = async {
        let stream = tokio::net::TcpStream::connect(house.address(0)).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post("http://localhost/").header("te", "trailers").body(()).unwrap();
        let (answer, mut send) = client.ready().await.unwrap().send_request(request, false).unwrap();
        send.send_data(Bytes::from_static(b"abc"), false).unwrap();
        send.send_trailers(trailer("x-up")).unwrap();
        let (body, trailers) = content(answer.await.unwrap().into_body()).await.unwrap();
        assert_eq!(body, b"abc");
        let all = trailers.unwrap();
        all.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await.expect("in time") })
}

#[test]
fn trailers_pass_between_all_versions() {
    let noted = Noted::default();
    let (_one, http1) = http1_server(&noted);
    let (_two, http2) = http2_server(&noted);
    for server in [http1, http2] {
        let settings = format!(
            "[server]\nworkers = 1\n[site.main]\nlisten = {{ address = \"http://127.0.0.1:0\", h2c = true }}\n\
             route = [{{ path = \"/*\", proxy = \"api\" }}]\n[pool.api]\nservers = [\"{server}\"]\n"
        );
        let house = House::start(&settings, &[]);
        assert_eq!(by_http1(&house), "x-down: 1", "{server}");
        assert_eq!(by_http2(&house), "x-down: 1", "{server}");
        assert_eq!(std::mem::take(&mut *noted.lock().unwrap()), ["1", "1"], "{server}");
    }
}
