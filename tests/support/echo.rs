//! A service of gRPC that sends back what it gets, as tonic speaks it.
//!
//! **Job.** One method for each kind of call, and the health service; messages are bytes, so that no code is generated.
//! **Called by** `grpc`. **Calls** tonic.
//!
//! Not here: what is asserted (the tests).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use tokio::sync::{mpsc, oneshot};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::tokio_stream::StreamExt as _;
use tonic::codegen::tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codegen::{BoxFuture, BoxStream, Service};
use tonic::server::{ClientStreamingService, Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};

/// Messages as they are.
#[derive(Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// What the server noted.
#[derive(Default)]
pub struct Notes {
    /// Calls, all kinds.
    pub calls: AtomicUsize,
    /// `grpc-timeout` as it arrived.
    pub timeouts: Mutex<Vec<String>>,
    /// Calls whose client left before they were answered.
    pub left: AtomicUsize,
    /// What the health service answers: a `ServingStatus`.
    pub serving: AtomicU8,
}

/// One running server.
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it noted.
    pub notes: Arc<Notes>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Echo {
    /// Starts it on a thread of its own.
    pub fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap())
    }

    /// The same at an address that was used before.
    pub fn at(address: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let notes = Arc::new(Notes { serving: AtomicU8::new(1), ..Notes::default() });
        let ((stop, stopped), kept) = (oneshot::channel::<()>(), Arc::clone(&notes));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
                // As wide as a stream's, the window of the connection would let one call that is not read stop all others.
                let server = tonic::transport::Server::builder()
                    .initial_stream_window_size(64 * 1024)
                    .initial_connection_window_size(1024 * 1024);
                let serving = server.serve_with_incoming(Calls(kept), incoming);
                // Ended, everything goes with the runtime: connections are cut.
                tokio::select! { ended = serving => ended.unwrap(), _ = stopped => {} }
            });
        });
        Self { address, notes, stop: Some(stop), thread: Some(thread) }
    }

    /// Dies: nobody listens any more, what was open is cut.
    pub fn die(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.die();
    }
}

#[derive(Clone)]
struct Calls(Arc<Notes>);

impl Service<http::Request<tonic::body::Body>> for Calls {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let notes = Arc::clone(&self.0);
        notes.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(timeout) = request.headers().get("grpc-timeout") {
            notes.timeouts.lock().unwrap().push(timeout.to_str().unwrap().to_owned());
        }
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let mut grpc = Grpc::new(Raw);
            Ok(match path.as_str() {
                "/test.Echo/Unary" => grpc.unary(Unary(notes), request).await,
                "/test.Echo/Collect" => grpc.client_streaming(Collect, request).await,
                "/test.Echo/Count" => grpc.server_streaming(Count, request).await,
                "/test.Echo/Talk" => grpc.streaming(Talk, request).await,
                "/grpc.health.v1.Health/Check" => grpc.unary(Health(notes), request).await,
                _ => Status::unimplemented(path).into_http(),
            })
        })
    }
}

/// Sends the message back; `fail` fails before any answer, `slow` never answers.
struct Unary(Arc<Notes>);

struct Left(Arc<Notes>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.left.fetch_add(1, Ordering::SeqCst);
    }
}

impl UnaryService<Bytes> for Unary {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let notes = Arc::clone(&self.0);
        Box::pin(async move {
            match &request.get_ref()[..] {
                b"fail" => Err(Status::failed_precondition("as you wish: 100 %, 마당")),
                b"slow" => {
                    let _left = Left(notes);
                    std::future::pending().await
                }
                _ => {
                    let mut response = Response::new(request.into_inner());
                    response.metadata_mut().insert("x-echo", "1".parse().unwrap());
                    Ok(response)
                }
            }
        })
    }
}

/// Answers how many messages and bytes came.
struct Collect;

impl ClientStreamingService<Bytes> for Collect {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let (mut count, mut bytes, mut stream) = (0, 0, request.into_inner());
            while let Some(message) = stream.message().await? {
                (count, bytes) = (count + 1, bytes + message.len());
            }
            Ok(Response::new(Bytes::from(format!("{count} {bytes}"))))
        })
    }
}

/// Answers with as many messages as it is asked for, each its number; an `!` behind it: then fails.
struct Count;

impl ServerStreamingService<Bytes> for Count {
    type Response = Bytes;
    type ResponseStream = BoxStream<Bytes>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(async move {
            let text = String::from_utf8(request.into_inner().to_vec()).unwrap();
            let count: u32 = text.trim_end_matches('!').parse().unwrap();
            let numbers =
                tonic::codegen::tokio_stream::iter(0..count).map(|number| Ok(number.to_string().into()));
            let end = text.ends_with('!').then(|| Err(Status::data_loss("the rest is lost")));
            let stream: Pin<Box<_>> = Box::pin(numbers.chain(tonic::codegen::tokio_stream::iter(end)));
            Ok(Response::new(stream as Self::ResponseStream))
        })
    }
}

/// Sends each message back when it comes; holds at most four.
struct Talk;

impl StreamingService<Bytes> for Talk {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let (send, receive) = mpsc::channel(4);
            let mut stream = request.into_inner();
            tokio::spawn(async move {
                while let Ok(Some(message)) = stream.message().await {
                    if send.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
            });
            Ok(Response::new(ReceiverStream::new(receive)))
        })
    }
}

/// `grpc.health.v1.Health/Check`: about the whole server, or about `test.Echo`.
struct Health(Arc<Notes>);

impl UnaryService<Bytes> for Health {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let serving = self.0.serving.load(Ordering::SeqCst);
        Box::pin(async move {
            match &request.get_ref()[..] {
                b"" | b"\x0a\x09test.Echo" => Ok(Response::new(Bytes::from(vec![0x08, serving]))),
                _ => Err(Status::not_found("no such service")),
            }
        })
    }
}
