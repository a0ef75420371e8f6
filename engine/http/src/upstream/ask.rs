//! One request of HTTP/1.1 over a connection of its own.
//!
//! **Job.** Ask a server something small, for a check or a message to it: send it whole, read the answer. The same over
//! HTTP/2 is [`super::http2::ask`], whose types these are. **Called by** health checks (`roles/balance`), alerts
//! (`roles/console`). **Calls** `wire::http1`.
//!
//! Invariants
//! 1. About as many bytes of the answer are read as were asked for, whatever comes.
//! 2. It waits as long as its caller lets it: dropping the future closes the connection.
//!
//! Not here: connecting (`host::net::connect`), what is asked, what an answer means, following redirects.

use madang_host::net::stream::Stream;
use madang_wire::http1::answer_head::{AnswerHead, Asked as AskedKind, BodyFraming};
use madang_wire::http1::chunked::{Chunk, ChunkedDecoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http2::ask::{Answer, Asked, NoAnswer};

/// Asks on this fresh connection. `bytes_max`: of the answer's head, and of its content, which is cut there; 0: the content
/// is not read.
///
/// # Errors
/// [`NoAnswer::Broken`], [`NoAnswer::Nonsense`].
pub async fn ask(
    mut stream: Stream,
    authority: &str,
    asked: Asked<'_>,
    head_bytes_max: usize,
    content_bytes_max: usize,
) -> Result<Answer, NoAnswer> {
    let request = write(authority, &asked)?;
    stream.write_all(&request).await.map_err(|_| NoAnswer::Broken)?;
    stream.flush().await.map_err(|_| NoAnswer::Broken)?;
    let (mut bytes, mut head) = (Vec::with_capacity(2048), AnswerHead::default());
    let end = loop {
        match head.parse(&bytes, AskedKind::Other, head_bytes_max) {
            Ok(Some(end)) if (100..200).contains(&head.status) => drop(bytes.drain(..end)),
            Ok(Some(end)) => break end,
            Ok(None) => more(&mut stream, &mut bytes, head_bytes_max).await?,
            Err(_) => return Err(NoAnswer::Nonsense),
        }
    };
    head.lower_names(&mut bytes);
    let text = |range: &std::ops::Range<usize>| String::from_utf8_lossy(&bytes[range.clone()]).into_owned();
    let fields = head.fields.iter().map(|(name, value)| (text(name), text(value))).collect();
    let body = if content_bytes_max > 0 {
        content(&mut stream, bytes.split_off(end), head.framing, content_bytes_max).await?
    } else {
        Vec::new()
    };
    Ok(Answer { status: head.status, fields, body })
}

/// The request; nothing of it may end a line before its time.
fn write(authority: &str, asked: &Asked<'_>) -> Result<Vec<u8>, NoAnswer> {
    let Asked { method, path, fields, body } = asked;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\n");
    let values = fields.iter().flat_map(|(name, value)| [*name, *value]);
    let breaks = |text: &str| text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    if path.bytes().any(|byte| byte <= b' ') || [authority].into_iter().chain(values).any(breaks) {
        return Err(NoAnswer::Nonsense);
    }
    for (name, value) in *fields {
        head.extend([*name, ": ", *value, "\r\n"]);
    }
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("connection: close\r\n\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    Ok(request)
}

async fn content(
    stream: &mut Stream,
    mut bytes: Vec<u8>,
    framing: BodyFraming,
    bytes_max: usize,
) -> Result<Vec<u8>, NoAnswer> {
    match framing {
        BodyFraming::None => Ok(Vec::new()),
        BodyFraming::Length(length) => {
            let wanted = usize::try_from(length).unwrap_or(bytes_max).min(bytes_max);
            while bytes.len() < wanted {
                more(stream, &mut bytes, bytes_max).await?;
            }
            Ok(bytes)
        }
        BodyFraming::UntilClose => {
            while bytes.len() < bytes_max && more(stream, &mut bytes, bytes_max).await.is_ok() {}
            Ok(bytes)
        }
        BodyFraming::Chunked => {
            let (mut decoder, mut body) = (ChunkedDecoder::default(), Vec::new());
            loop {
                match decoder.decode(&bytes).map_err(|_| NoAnswer::Nonsense)? {
                    Chunk::Data { skip, len } => {
                        body.extend_from_slice(&bytes[skip..skip + len]);
                        bytes.drain(..skip + len);
                        if body.len() >= bytes_max {
                            return Ok(body);
                        }
                    }
                    Chunk::NeedMore { consumed } => {
                        bytes.drain(..consumed);
                        more(stream, &mut bytes, bytes_max).await?;
                    }
                    Chunk::End { .. } => return Ok(body),
                }
            }
        }
    }
}

async fn more(stream: &mut Stream, bytes: &mut Vec<u8>, bytes_max: usize) -> Result<(), NoAnswer> {
    if bytes.len() > bytes_max {
        return Err(NoAnswer::Nonsense);
    }
    match stream.read_buf(bytes).await {
        Ok(0) | Err(_) => Err(NoAnswer::Broken),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what is asked cannot smuggle a second line or request. Method: line ends and spaces in every part.
    #[test]
    fn a_request_is_one_request() {
        let good = ("/a?b=c", [("x", "y")]);
        check(good.0, "h", &good.1, Some("POST /a?b=c HTTP/1.1\r\nhost: h\r\nx: y\r\ncontent-length: 2\r\n"));
        check("/a b", "h", &[], None);
        check("/a\r\nx: y", "h", &[], None);
        check("/", "h\r\nx: y", &[], None);
        check("/", "h", &[("x", "y\nz: 1")], None);
        check("/", "h", &[("x\r", "y")], None);

        #[track_caller]
        fn check(path: &str, authority: &str, fields: &[(&str, &str)], want: Option<&str>) {
            let asked = Asked { method: "POST", path, fields, body: b"{}".to_vec() };
            let want = want.map(|want| format!("{want}connection: close\r\n\r\n{{}}").into_bytes());
            assert_eq!(write(authority, &asked).ok(), want, "{path:?} {authority:?} {fields:?}");
        }
    }
}
