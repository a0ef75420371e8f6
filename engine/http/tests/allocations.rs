//! A plain request on a warm connection costs no heap allocation, from the socket to the socket.
//!
//! Method: an allocator that counts what the worker's thread asks of it, and a client on another thread. The service
//! answers `/count` with the count so far; between two such answers lie a thousand plain requests.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at what it did not expect

mod counting;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use madang_host::connection::{Connection, PhaseLimits};
use madang_host::gate::{Gate, GateLimits, ListenerGate};
use madang_host::net::listen::{Address, ListenerSet};
use madang_host::worker::Worker;
use madang_http::accept::HttpAcceptor;
use madang_http::body::Body;
use madang_http::endpoint::{Endpoint, HttpLimits, Pool, Serving};
use madang_http::exchange::{Exchange, Outcome, Reply, Service};

use counting::{ASKED, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Plain {
    body: Bytes,
}

impl Service for Plain {
    fn call(&self, mut exchange: Box<Exchange>) -> Reply {
        if exchange.head.path() == "/count" {
            exchange.response.text(200, format!("{:>12}", ASKED.get()));
        } else {
            exchange.response.status = 200;
            exchange.response.fields.set("content-type", "text/plain");
            exchange.response.body = Body::Bytes(self.body.clone());
        }
        Reply::Now(exchange)
    }
    fn record(&self, _: &Exchange, _: Outcome) {}
    fn refused(&self, _: &Connection, _: u16, _: &'static str) {}
}

/// Sends one request and gives the answer's last twelve bytes.
fn ask(stream: &mut TcpStream, request: &[u8]) -> [u8; 12] {
    stream.write_all(request).unwrap();
    let (mut buffer, mut have) = ([0; 8192], 0);
    loop {
        have += stream.read(&mut buffer[have..]).unwrap();
        let text = &buffer[..have];
        let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&text[..end]).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if have == end + 4 + length.parse::<usize>().unwrap() {
            return text[have - 12..].try_into().unwrap();
        }
    }
}

fn counted(address: SocketAddr) -> Vec<(&'static str, u64)> {
    let requests = [
        "GET /a HTTP/1.1\r\nhost: a.test\r\n\r\n",
        "GET /a/b%20c?d=e HTTP/1.1\r\nhost: a.test\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
         accept: text/html,*/*;q=0.8\r\naccept-language: ko,en;q=0.5\r\naccept-encoding: gzip, br, zstd\r\n\
         cookie: a=b; c=d\r\nconnection: keep-alive\r\n\r\n",
    ];
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let count = |stream: &mut TcpStream| -> u64 {
        let text = ask(stream, b"GET /count HTTP/1.1\r\nhost: a.test\r\n\r\n");
        std::str::from_utf8(&text).unwrap().trim().parse().unwrap()
    };
    let mut costs = Vec::new();
    for request in requests {
        for _ in 0..100 {
            ask(&mut stream, request.as_bytes());
        }
        let own = [count(&mut stream), count(&mut stream), count(&mut stream)];
        let before = count(&mut stream);
        for _ in 0..1000 {
            ask(&mut stream, request.as_bytes());
        }
        // What counting itself costs is known from the calls before.
        costs.push((request, count(&mut stream) - before - (own[2] - own[1])));
    }
    costs
}

// Goal: speed and memory are features: the plain path allocates nothing once a connection is warm.
#[test]
fn a_plain_request_on_a_warm_connection_allocates_nothing() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    let costs = runtime.block_on(async {
        let gate = Gate::new(GateLimits { connections_max: 10, per_address_max: 0 });
        let worker = Worker::here(0, gate, PhaseLimits::default());
        let service = Rc::new(Plain { body: Bytes::from(vec![b'x'; 1024]) });
        let limits = HttpLimits::default();
        let serving = Serving { service, limits, tls: None, proxy_trusted: Vec::new(), h2c: false };
        let endpoint = Endpoint::new(Rc::clone(&worker), Pool::new(), serving);
        let set = ListenerSet::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap()), 1).unwrap();
        let Address::Tcp(address) = set.bound else { panic!("a TCP address") };
        let listener = set.for_worker(0, 1).unwrap().remove(0);
        let gate = Arc::new(ListenerGate::default());
        let _accepting =
            worker.listen("test".into(), false, listener, gate, Rc::new(HttpAcceptor { endpoint })).unwrap();
        let (done, result) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || done.send(counted(address)));
        result.await.unwrap()
    });
    for (request, cost) in costs {
        assert_eq!(cost, 0, "allocations in 1000 times {request:?}");
    }
}
