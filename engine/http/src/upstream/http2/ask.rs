//! One request over a connection of its own.
//!
//! **Job.** Ask a server something small, for a check: send it whole, read the answer whole. **Called by** health checks
//! (`roles/balance`). **Calls** h2. The same over HTTP/1.1: `upstream::ask`.
//!
//! Invariants
//! 1. At most the given number of bytes of the answer are kept; more than that is an error.
//! 2. It waits as long as its caller lets it: dropping the future closes the connection.
//!
//! Not here: what is asked, and what an answer means.

use std::future::poll_fn;
use std::pin::{Pin, pin};

use bytes::Bytes;
use http::{Request, Version};
use madang_host::net::stream::Stream;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Lower-case names and values.
    pub fields: &'a [(&'a str, &'a str)],
    /// The content; none when it is empty.
    pub body: Vec<u8>,
}

impl Asked<'_> {
    fn head(&self, secure: bool, authority: &str) -> Result<Request<()>, NoAnswer> {
        let uri = http::Uri::builder()
            .scheme(if secure { "https" } else { "http" })
            .authority(authority)
            .path_and_query(self.path)
            .build();
        let mut request = Request::builder()
            .method(self.method)
            .version(Version::HTTP_2)
            .uri(uri.map_err(|_| NoAnswer::Nonsense)?);
        for (name, value) in self.fields {
            request = request.header(*name, *value);
        }
        request.body(()).map_err(|_| NoAnswer::Nonsense)
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200..=599.
    pub status: u16,
    /// Lower-case names and values; those of the trailers behind those of the head.
    pub fields: Vec<(String, String)>,
    /// The content.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// It cannot be asked so, or the server does not keep the rules of HTTP/2, or refused the stream.
    Nonsense,
    /// The connection broke.
    Broken,
    /// More came than is read.
    TooLarge,
}

impl NoAnswer {
    /// For people.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Nonsense => "what came is no answer of HTTP",
            Self::Broken => "the connection broke",
            Self::TooLarge => "it is too large",
        }
    }
}

impl From<h2::Error> for NoAnswer {
    fn from(error: h2::Error) -> Self {
        if error.is_io() { Self::Broken } else { Self::Nonsense }
    }
}

/// Asks on this fresh connection, and reads at most `bytes_max` of the answer's content. `secure`: the connection is TLS.
///
/// # Errors
/// [`NoAnswer`].
pub async fn ask(
    stream: Stream,
    secure: bool,
    authority: &str,
    asked: Asked<'_>,
    bytes_max: usize,
) -> Result<Answer, NoAnswer> {
    let (request, body) = (asked.head(secure, authority)?, Bytes::from(asked.body));
    let (mut send, connection) = h2::client::handshake(stream).await?;
    let (mut connection, mut connected) = (pin!(connection), true);
    let mut answering = pin!(async move {
        let (answer, mut out) = send.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            out.send_data(body, true)?;
        }
        let (head, mut recv) = answer.await?.into_parts();
        let mut answer = Answer { status: head.status.as_u16(), fields: Vec::new(), body: Vec::new() };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut keep = |fields: &http::HeaderMap| {
            let fields =
                fields.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())));
            answer.fields.extend(fields);
        };
        keep(&head.headers);
        while let Some(piece) = recv.data().await {
            let piece = piece?;
            if answer.body.len() + piece.len() > bytes_max {
                return Err(NoAnswer::TooLarge);
            }
            recv.flow_control().release_capacity(piece.len())?;
            answer.body.extend_from_slice(&piece);
        }
        if let Some(trailers) = recv.trailers().await? {
            let fields =
                trailers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())));
            answer.fields.extend(fields);
        }
        Ok(answer)
    });
    poll_fn(|cx| {
        // The connection moves the frames; when it ends, the answer's own end says how.
        if connected && Pin::new(&mut connection).as_mut().poll(cx).is_ready() {
            connected = false;
        }
        answering.as_mut().poll(cx)
    })
    .await
}
