//! HTTP/2 towards the servers of a pool: streams, connections, goodbyes, and what servers do wrong.

use bytes::Bytes;
use http::Response;

use crate::support::client::Client;
use crate::support::house::House;
use crate::support::http2_upstream::{
    Frames, Http2Upstream, Options, answer, content, fields, frame, send_all,
};
use crate::support::pattern;
use crate::support::upstream::Upstream;

fn house(servers: &[&str], pool: &str) -> House {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    let settings = format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\n\
         route = [{{ path = \"/*\", proxy = \"api\" }}]\n[pool.api]\nservers = [{}]\n{pool}\n",
        servers.join(", ")
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
