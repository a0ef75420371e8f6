//! A server of HTTP/2 behind the proxy that does what a test wants.
//!
//! **Job.** Serve streams by the h2 crate on a thread of its own, note what was asked, speak single frames where a test needs
//! what no honest server says. **Called by** tests of `upstream_http2`, `grpc`. **Calls** h2, sockets.
//!
//! Not here: what is asserted (the tests).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::sync::{Notify, oneshot};

use super::PATIENCE;

/// What a handler does.
pub type Handled = Pin<Box<dyn Future<Output = ()> + Send>>;
/// A request's head as it arrived.
pub type Head = http::request::Parts;

struct Shared {
    seen: Mutex<Vec<Head>>,
    connections: AtomicUsize,
    goodbye: Notify,
}

/// One running server.
pub struct Http2Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// How a server is set up.
#[derive(Clone)]
pub struct Options {
    /// MAX_CONCURRENT_STREAMS.
    pub streams_max: u32,
    /// ENABLE_CONNECT_PROTOCOL (RFC 8441).
    pub extended_connect: bool,
    /// TLS with these protocols on offer.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { streams_max: 100, extended_connect: false, tls: None }
    }
}

impl Http2Upstream {
    /// A server that answers every stream by `handler`.
    pub fn start<H>(options: Options, handler: H) -> Self
    where
        H: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Handled + Send + Sync + 'static,
    {
        Self::at("127.0.0.1:0".parse().unwrap(), options, handler)
    }

    /// The same at an address that was used before.
    pub fn at<H>(address: SocketAddr, options: Options, handler: H) -> Self
    where
        H: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Handled + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            goodbye: Notify::new(),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let all = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let handler = Arc::new(handler);
                let accepting = async {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        let (all, handler, options) =
                            (Arc::clone(&all), Arc::clone(&handler), options.clone());
                        tokio::spawn(async move {
                            all.connections.fetch_add(1, Ordering::SeqCst);
                            match options.tls.clone() {
                                None => serve(stream, &options, &all, &*handler).await,
                                Some(config) => {
                                    let acceptor = tokio_rustls::TlsAcceptor::from(config);
                                    if let Ok(stream) = acceptor.accept(stream).await {
                                        serve(stream, &options, &all, &*handler).await;
                                    }
                                }
                            }
                        });
                    }
                };
                // Ended, everything goes with the runtime: connections are cut.
                tokio::select! { () = accepting => {} _ = stopped => {} }
            });
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// A server that tells its name to whoever asks, after the whole request.
    pub fn named(name: &'static str) -> Self {
        Self::start(Options::default(), move |request, respond| {
            Box::pin(async move {
                content(request.into_body()).await;
                answer(respond, 200, name);
            })
        })
    }

    /// The heads it was asked.
    pub fn seen(&self) -> Vec<Head> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Connections it accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Says goodbye on every connection that is open: GOAWAY, what was begun is finished.
    pub fn say_goodbye(&self) {
        self.shared.goodbye.notify_waiters();
    }

    /// Dies: nobody listens any more, what was open is cut.
    pub fn die(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        self.die();
    }
}

async fn serve<T, H>(stream: T, options: &Options, all: &Shared, handler: &H)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    H: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Handled,
{
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(options.streams_max);
    if options.extended_connect {
        builder.enable_connect_protocol();
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    loop {
        let goodbye = all.goodbye.notified();
        tokio::select! {
            next = connection.accept() => match next {
                Some(Ok((request, respond))) => {
                    let (parts, body) = request.into_parts();
                    all.seen.lock().unwrap().push(parts.clone());
                    tokio::spawn(handler(Request::from_parts(parts, body), respond));
                }
                _ => return,
            },
            () = goodbye => connection.graceful_shutdown(),
        }
    }
}

/// Reads a body to its end; `None` where it broke off.
pub async fn content(mut body: RecvStream) -> Option<(Vec<u8>, Option<HeaderMap>)> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        let _ = body.flow_control().release_capacity(piece.len());
        all.extend_from_slice(&piece);
    }
    Some((all, body.trailers().await.ok()?))
}

/// Answers whole.
pub fn answer(mut respond: SendResponse<Bytes>, status: u16, text: &str) {
    let head = Response::builder().status(status).header("content-length", text.len()).body(()).unwrap();
    if let Ok(mut send) = respond.send_response(head, text.is_empty()) {
        let _ = send.send_data(Bytes::copy_from_slice(text.as_bytes()), true);
    }
}

/// Sends all of it as the windows open; false when the stream was reset.
pub async fn send_all(send: &mut h2::SendStream<Bytes>, mut bytes: Bytes) -> bool {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
            Some(Ok(capacity)) => {
                let piece = bytes.split_to(capacity.min(bytes.len()));
                if send.send_data(piece, false).is_err() {
                    return false;
                }
            }
            _ => return false,
        }
    }
    true
}

/// A frame, byte by byte (RFC 9113 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A head block without compression (RFC 7541 6.2.2).
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A connection on which frames are said one by one.
pub struct Frames {
    stream: TcpStream,
}

impl Frames {
    /// Takes the client's preface and greets it with these settings.
    pub fn greet(mut stream: TcpStream, settings: &[u8]) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut preface = [0; 24];
        let _ = stream.read_exact(&mut preface);
        let mut this = Self { stream };
        this.send(&frame(4, 0, 0, settings));
        this
    }

    /// Sends bytes; a client that left does not matter.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next frame: kind, flags, stream, payload. `None` when the client left.
    pub fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some((head[3], head[4], stream, payload))
    }

    /// Reads until a request's head came; its stream.
    pub fn request(&mut self) -> Option<u32> {
        loop {
            match self.next()? {
                (1, _, stream, _) => return Some(stream),
                (4, 0, ..) => self.send(&frame(4, 1, 0, b"")),
                _ => {}
            }
        }
    }
}
