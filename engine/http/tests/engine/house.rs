//! The worker, the service and the clients of these tests.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use madang_host::connection::{Connection, PhaseLimits};
use madang_host::gate::{Gate, GateLimits, ListenerGate};
use madang_host::net::listen::{Address, ListenerSet};
use madang_host::worker::{Accepting, Worker};
use madang_http::accept::HttpAcceptor;
use madang_http::body::{Body, BodyFault, BodyStream, Frame};
use madang_http::endpoint::{Endpoint, HttpLimits, Pool, Serving};
use madang_http::exchange::{Exchange, Outcome, Reply, Service};
use madang_http::websocket::{self, Closed, Hall, Handler, Limits, Offer, Origins, Socket};
use madang_wire::websocket::write_text;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How the engine is set up.
#[derive(Default)]
pub(crate) struct Setup {
    pub limits: HttpLimits,
    pub phases: PhaseLimits,
    pub proxy_trusted: Vec<ipnet::IpNet>,
    pub websocket: madang_http::websocket::Limits,
}

/// A running engine.
pub(crate) struct House {
    pub address: SocketAddr,
    pub worker: Rc<Worker>,
    pub told: Rc<RefCell<Vec<String>>>,
    /// Open websockets, in the order in which they came.
    pub sockets: Rc<RefCell<Vec<Rc<Socket>>>>,
    _accepting: Accepting,
}

/// Runs a test on its own worker; no test may take longer than a minute.
pub(crate) fn with_house<F: Future<Output = ()>>(setup: Setup, test: impl FnOnce(Rc<House>) -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async {
        let gate = Gate::new(GateLimits { connections_max: 1000, per_address_max: 0 });
        let worker = Worker::here(0, gate, setup.phases);
        let told = Rc::new(RefCell::new(Vec::new()));
        let sockets = Rc::default();
        let service = Rc::new(Paths {
            told: Rc::clone(&told),
            hall: Hall::new(&worker),
            websocket: setup.websocket,
            sockets: Rc::clone(&sockets),
        });
        let (limits, proxy_trusted) = (setup.limits, setup.proxy_trusted);
        let serving = Serving { service, limits, tls: None, proxy_trusted, h2c: true };
        let endpoint = Endpoint::new(Rc::clone(&worker), Pool::new(), serving);
        let set = ListenerSet::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap()), 1).unwrap();
        let Address::Tcp(address) = set.bound else { unreachable!() };
        let listener = set.for_worker(0, 1).unwrap().remove(0);
        let gate = Arc::new(ListenerGate::default());
        let accepting =
            worker.listen("test".into(), false, listener, gate, Rc::new(HttpAcceptor { endpoint })).unwrap();
        let house = Rc::new(House { address, worker, told, sockets, _accepting: accepting });
        tokio::time::timeout(Duration::from_secs(60), test(house)).await.expect("the test hangs");
    });
}

impl House {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes, then reads until the server closes.
    pub(crate) async fn talk(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        read_to_end(&mut stream).await
    }
}

pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is told by what is missing of it.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until the text so far satisfies `enough`.
pub(crate) async fn read_until(stream: &mut TcpStream, enough: impl Fn(&str) -> bool) -> String {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if enough(&text) {
            return text;
        }
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed after {text:?}");
        all.extend_from_slice(&buffer[..count]);
    }
}

/// One path per behaviour.
struct Paths {
    told: Rc<RefCell<Vec<String>>>,
    hall: Rc<Hall>,
    websocket: Limits,
    sockets: Rc<RefCell<Vec<Rc<Socket>>>>,
}

/// Says back what it hears, and tells what happens to it.
struct Shouting {
    socket: Rc<Socket>,
    told: Rc<RefCell<Vec<String>>>,
}

impl Handler for Shouting {
    fn text(&self, text: &str) {
        let mut frame = Vec::new();
        write_text(&mut frame, text.to_uppercase().as_bytes());
        self.socket.send(&frame.into());
    }
    fn drained(&self) {
        self.told.borrow_mut().push("drained".to_owned());
    }
    fn ending(&self) {
        self.text("ending");
    }
    fn closed(&self, why: Closed) {
        self.told.borrow_mut().push(format!("closed {}", why.name()));
    }
}

impl Service for Paths {
    fn call(&self, mut exchange: Box<Exchange>) -> Reply {
        match exchange.head.path() {
            "/echo" => Reply::Later(Box::pin(async move {
                let collected = exchange.body.collect(u64::MAX).await;
                match collected {
                    Ok(body) => exchange.response.body = Body::Bytes(body),
                    Err(fault) => exchange.response.text(fault.status(), fault.to_string()),
                }
                let trailers = exchange.body.trailers();
                for (name, value) in trailers {
                    exchange.response.fields.add(name, value);
                }
                exchange
            })),
            "/pieces" => {
                let pieces = ["one ", "two ", "three"]
                    .map(|piece| Ok(Frame::Data(Bytes::from_static(piece.as_bytes()))));
                let trailer = Ok(Frame::Trailers(vec![("x-sum".into(), "3".into())]));
                exchange.response.body = Body::Stream(Box::new(Pieces {
                    left: pieces.into_iter().chain([trailer]).collect(),
                    length: None,
                }));
                Reply::Now(exchange)
            }
            "/short" => {
                let left = [Ok(Frame::Data(Bytes::from_static(b"abc")))].into();
                exchange.response.body = Body::Stream(Box::new(Pieces { left, length: Some(10) }));
                Reply::Now(exchange)
            }
            "/broken" => {
                let left =
                    [Ok(Frame::Data(Bytes::from_static(b"abc"))), Err(BodyFault::Source { what: "test" })]
                        .into();
                exchange.response.body = Body::Stream(Box::new(Pieces { left, length: None }));
                Reply::Now(exchange)
            }
            "/upgrade" | "/connect" => {
                exchange.response.status = 101;
                exchange.response.fields.set("upgrade", "echo");
                exchange.response.body = Body::Upgrade(Box::new(|mut duplex| {
                    Box::pin(async move {
                        let mut buffer = [0; 1024];
                        while let Ok(count) = duplex.read(&mut buffer).await {
                            if count == 0 || duplex.write_all(&buffer[..count]).await.is_err() {
                                break;
                            }
                        }
                        let _ = duplex.shutdown().await;
                    })
                }));
                Reply::Now(exchange)
            }
            "/ws" => {
                let (told, sockets) = (Rc::clone(&self.told), Rc::clone(&self.sockets));
                let protocol =
                    websocket::offered(&exchange.head).find(|one| *one == "shout").map(|_| "shout");
                let origins = Origins::SameHostAnd(&[]);
                let offer = Offer { origins, protocol, limits: self.websocket };
                let accepted = websocket::accept(&mut exchange, &self.hall, &offer, move |socket| {
                    sockets.borrow_mut().push(Rc::clone(socket));
                    Rc::new(Shouting { socket: Rc::clone(socket), told })
                });
                if let Err(refused) = accepted {
                    self.told.borrow_mut().push(refused.name().to_owned());
                }
                Reply::Now(exchange)
            }
            "/never" => {
                self.told.borrow_mut().push("began /never".to_owned());
                Reply::Later(Box::pin(std::future::pending()))
            }
            "/large" => {
                exchange.response.body = Body::Bytes(Bytes::from(vec![b'x'; 4 * 1024 * 1024]));
                Reply::Now(exchange)
            }
            path => {
                let text = format!("{} {path}\n", exchange.head.method_str());
                exchange.response.text(200, text);
                Reply::Now(exchange)
            }
        }
    }

    fn record(&self, exchange: &Exchange, outcome: Outcome) {
        let line = format!(
            "{} {} {} out={} complete={}{}",
            exchange.head.method_str(),
            exchange.head.path(),
            exchange.response.status,
            outcome.bytes_out,
            outcome.complete,
            exchange.notes.limit.map(|limit| format!(" limit={limit}")).unwrap_or_default(),
        );
        self.told.borrow_mut().push(line);
    }

    fn refused(&self, connection: &Connection, status: u16, what: &'static str) {
        self.told.borrow_mut().push(format!("refused {status} {what} {}", connection.peer().ip()));
    }
}

struct Pieces {
    left: VecDeque<Result<Frame, BodyFault>>,
    length: Option<u64>,
}

impl BodyStream for Pieces {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyFault>>> {
        Poll::Ready(self.left.pop_front())
    }
    fn length(&self) -> Option<u64> {
        self.length
    }
}
