//! The connection to a chat server.
//!
//! **Job.** A websocket (RFC 6455) as two bounded queues of text. **Called by** `online`. **Calls** `connect`, tungstenite.
//!
//! Invariants
//! 1. What comes in waits here until it is taken: a client that is slow slows its server, not its memory.
//!
//! Not here: what the frames say (`client`), coming back after a cut (`client`).

use futures_util::{SinkExt, StreamExt};
use madang_host::net::stream::Stream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::Failure;
use crate::address::ChatUrl;
use crate::connect::{self, Trust};

/// Frames that wait in either direction.
const QUEUE_FRAMES: usize = 64;
/// A page of 200 messages with everything around them.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What comes from there.
#[derive(Debug)]
pub(crate) enum Came {
    /// The websocket is open.
    Opened,
    /// A message.
    Text(String),
    /// It is over: the code the server gave, and why.
    Closed(Option<u16>, String),
}

/// A connection, from its very beginning.
pub(crate) struct Link {
    /// What is to be sent.
    pub(crate) out: mpsc::Sender<String>,
    /// What comes. Ends after [`Came::Closed`].
    pub(crate) came: mpsc::Receiver<Came>,
    task: tokio::task::JoinHandle<()>,
}

impl Link {
    /// Begins to connect.
    pub(crate) fn open(url: ChatUrl, trust: Trust) -> Self {
        let (out, to_send) = mpsc::channel(QUEUE_FRAMES);
        let (tell, came) = mpsc::channel(QUEUE_FRAMES);
        let task = tokio::spawn(async move {
            let (code, why) = match handshake(&url, &trust).await {
                Err(failure) => (None, failure.to_string()),
                Ok(socket) => carry(socket, to_send, &tell).await,
            };
            // Whoever dropped the link wants to know no more.
            let _ = tell.send(Came::Closed(code, why)).await;
        });
        Self { out, came, task }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handshake(url: &ChatUrl, trust: &Trust) -> Result<WebSocketStream<Stream>, Failure> {
    let fail = |why: String| Failure::NoChat { to: url.to_string(), why };
    let stream = connect::open(&url.way, trust, true).await?;
    let request = format!("ws://{}{}", url.host, url.path);
    let request = request.into_client_request().map_err(|error| fail(error.to_string()))?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let shaken = connect::within(client_async_with_config(request, stream, Some(config))).await;
    match shaken {
        None => Err(fail("it did not answer in time".to_owned())),
        Some(Ok((socket, _))) => Ok(socket),
        Some(Err(Error::Http(answer))) => {
            let to = answer.headers().get("location").and_then(|place| place.to_str().ok());
            let to = to.map_or_else(String::new, |place| {
                format!(" to {}", madang_wire::clean::clean(place.as_bytes()))
            });
            Err(fail(format!("the server answered {}{to}", answer.status().as_u16())))
        }
        Some(Err(error)) => Err(fail(error.to_string())),
    }
}

async fn carry(
    mut socket: WebSocketStream<Stream>,
    mut to_send: mpsc::Receiver<String>,
    tell: &mpsc::Sender<Came>,
) -> (Option<u16>, String) {
    if tell.send(Came::Opened).await.is_err() {
        return (None, String::new());
    }
    loop {
        let failed = tokio::select! {
            // A queue that has ended: nobody wants this connection any more, and it is closed in order.
            frame = to_send.recv() => match frame {
                Some(frame) => socket.send(Message::text(frame)).await.err(),
                None => {
                    let _ = socket.close(None).await;
                    return (None, String::new());
                }
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    if tell.send(Came::Text(text.as_str().to_owned())).await.is_err() {
                        return (None, String::new());
                    }
                    None
                }
                Some(Ok(Message::Close(frame))) => {
                    // The answer to it is written by the library when it is asked for more.
                    let _ = socket.next().await;
                    return ended(frame.as_ref());
                }
                Some(Ok(_)) => None,
                Some(Err(error)) => Some(error),
                None => return (None, "the connection was cut".to_owned()),
            },
        };
        if let Some(error) = failed {
            return (None, said(&error));
        }
    }
}

fn ended(frame: Option<&tungstenite::protocol::CloseFrame>) -> (Option<u16>, String) {
    let Some(frame) = frame else { return (None, "the server closed the connection".to_owned()) };
    let code = u16::from(frame.code);
    let why = match code {
        1001 => "the server is ending".to_owned(),
        4000 => "we were too slow".to_owned(),
        4004 => "we were silent too long".to_owned(),
        _ => format!(
            "the server closed the connection ({code}) {}",
            madang_wire::clean::clean(frame.reason.as_bytes())
        ),
    };
    (Some(code), why.trim_end().to_owned())
}

fn said(error: &Error) -> String {
    match error {
        Error::Io(error) => format!("the connection was cut: {error}"),
        Error::ConnectionClosed | Error::AlreadyClosed => "the connection was cut".to_owned(),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            "the connection was cut".to_owned()
        }
        error => format!("the connection broke: {error}"),
    }
}
