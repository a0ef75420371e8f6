//! Settings of one proxied site, and an HTTP/2 client for it.
//!
//! **Job.** Save the `proxy_*` tests from saying the same settings again; ask over HTTP/2 with the h2 crate, one request at a
//! time. **Called by** tests of the proxy. **Calls** `house`, h2.
//!
//! Not here: HTTP/2 as such (`tests/http2.rs`), raw HTTP/1.1 (`client`).

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::task::Poll;

use bytes::Bytes;
use h2::client::SendRequest;

use super::PATIENCE;
use super::house::House;
use super::upstream::Upstream;

/// One worker, one site on a free port that takes HTTP/1.1 and HTTP/2, these routes, this text behind it.
pub fn site(routes: &str, rest: &str) -> String {
    format!(
        "[server]\nworkers = 1\n[log]\naccess = \"json\"\n[site.main]\nlisten = [{{ address = \"http://127.0.0.1:0\", h2c = true }}]\n\
         route = [{routes}]\n{rest}\n"
    )
}

/// The same with one route for every path: its other keys.
pub fn settings(route: &str, rest: &str) -> String {
    site(&format!("{{ path = \"/*\", {route} }}"), rest)
}

/// A pool of this name.
pub fn pool(name: &str, servers: &[&Upstream], keys: &str) -> String {
    let addresses: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address)).collect();
    format!("[pool.{name}]\nservers = [{}]\n{keys}\n", addresses.join(", "))
}

/// Everything to one pool `api`.
#[track_caller]
pub fn house(servers: &[&Upstream], keys: &str) -> House {
    House::start(&settings("proxy = \"api\"", &pool("api", servers, keys)), &[])
}

/// The counts of a pool, as `madang status` has them.
#[track_caller]
pub fn counts(house: &House, pool: &str) -> serde_json::Value {
    let status = house.json("status");
    let pools = status["pools"].as_array().unwrap();
    let found =
        pools.iter().find(|have| have["pool"] == pool).unwrap_or_else(|| panic!("no pool {pool}: {status}"));
    found["counts"].clone()
}

/// Waits until the access log tells this error of so many requests: the error log tells a kind only once in a while.
#[track_caller]
pub fn until_recorded(house: &House, error: &str, times: usize) {
    let wanted = format!("\"error\":\"{error}\"");
    let log = house.path("data/logs/access.log");
    house.until(|| std::fs::read_to_string(&log).is_ok_and(|text| text.matches(&wanted).count() == times));
}

/// What came back over HTTP/2.
#[derive(Debug)]
pub struct Answer2 {
    /// Statuses and fields of interim answers, in order.
    pub interim: Vec<(u16, http::HeaderMap)>,
    /// The final status.
    pub status: u16,
    /// Its fields.
    #[allow(dead_code, reason = "tests of other features read them")]
    pub fields: http::HeaderMap,
    /// The content, or why the stream was reset.
    pub body: Result<Vec<u8>, h2::Error>,
}

impl Answer2 {
    /// The content as text.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body.as_ref().expect("a whole body")).into_owned()
    }
}

/// Runs a conversation over one connection.
pub fn over_h2<F: Future<Output = ()>>(address: SocketAddr, talk: impl FnOnce(SendRequest<Bytes>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let all = async {
            let socket = tokio::net::TcpStream::connect(address).await.unwrap();
            let (client, connection) = h2::client::handshake(socket).await.unwrap();
            tokio::spawn(connection);
            talk(client).await;
        };
        tokio::time::timeout(PATIENCE, all).await.expect("in time");
    });
}

/// One request; `body` in pieces, none: no body.
pub async fn ask(client: &SendRequest<Bytes>, request: http::request::Builder, body: &[&[u8]]) -> Answer2 {
    let mut client = client.clone().ready().await.unwrap();
    let (mut answer, mut send) = client.send_request(request.body(()).unwrap(), body.is_empty()).unwrap();
    for (index, piece) in body.iter().enumerate() {
        // A server that answered early may have reset the stream: its answer is what counts.
        if send.send_data(Bytes::copy_from_slice(piece), index + 1 == body.len()).is_err() {
            break;
        }
    }
    let mut interim = Vec::new();
    let head = poll_fn(|cx| {
        while let Poll::Ready(Some(one)) = answer.poll_informational(cx) {
            let one = one.unwrap();
            interim.push((one.status().as_u16(), one.headers().clone()));
        }
        std::pin::Pin::new(&mut answer).poll(cx)
    });
    let (head, mut body) = head.await.unwrap().into_parts();
    let mut all = Vec::new();
    let body = loop {
        match body.data().await {
            None => break Ok(all),
            Some(Err(error)) => break Err(error),
            Some(Ok(piece)) => {
                body.flow_control().release_capacity(piece.len()).unwrap();
                all.extend_from_slice(&piece);
            }
        }
    };
    Answer2 { interim, status: head.status.as_u16(), fields: head.headers, body }
}

/// A GET.
pub fn get(path: &str) -> http::request::Builder {
    http::Request::get(format!("http://localhost{path}"))
}

/// A POST.
pub fn post(path: &str) -> http::request::Builder {
    http::Request::post(format!("http://localhost{path}"))
}
