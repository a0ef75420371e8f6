//! Asking the running server over its control socket.
//!
//! **Job.** One HTTP/1.1 request, one answer. **Called by** `orders`. **Calls** httparse for the answer's head.
//!
//! Not here: what to ask, how to show it (`orders`, `show`).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::control::admin::CONTROL_SOCKET;

/// An upgrade may take its whole patience.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// No answer of ours is longer.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How often an order is given to a process that is just ending, before that is the answer.
const ATTEMPTS_MAX: u32 = 5;
/// Not carried out, the process ends: during an upgrade another one answers the next time.
const ENDING: u16 = 503;

/// Why there is no answer.
pub(super) enum Unasked {
    /// There is no server to ask.
    NobodyRuns(String),
    /// It did not answer, or may not be asked.
    Failed(String),
}

impl Unasked {
    fn sentence(self) -> String {
        match self {
            Self::NobodyRuns(sentence) | Self::Failed(sentence) => sentence,
        }
    }
}

/// Status and body, or a sentence.
pub(super) fn ask(settings: &Path, method: &str, path: &str) -> Result<(u16, String), String> {
    send(settings, method, path, &[]).map_err(Unasked::sentence)
}

/// The same with a body.
pub(super) fn send(settings: &Path, method: &str, path: &str, body: &[u8]) -> Result<(u16, String), Unasked> {
    let mut answer = ask_once(settings, method, path, body);
    for _ in 1..ATTEMPTS_MAX {
        if !matches!(answer, Ok((ENDING, _))) {
            break;
        }
        answer = ask_once(settings, method, path, body);
    }
    answer
}

fn ask_once(settings: &Path, method: &str, path: &str, body: &[u8]) -> Result<(u16, String), Unasked> {
    let data = crate::config::data_folder(settings);
    let socket = data.join(CONTROL_SOCKET);
    let mut stream = UnixStream::connect(&socket).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound if !settings.is_file() => Unasked::NobodyRuns(format!(
            "there is no {}; name the settings of the running server with -c FILE",
            settings.display()
        )),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => Unasked::NobodyRuns(format!(
            "no server runs with the settings {} (nobody listens on {}); start it with `madang run`",
            settings.display(),
            socket.display()
        )),
        std::io::ErrorKind::PermissionDenied => Unasked::Failed(format!(
            "{} belongs to the user the server runs as; use that one or root",
            socket.display()
        )),
        _ => Unasked::Failed(format!("cannot reach the server at {}: {error}", socket.display())),
    })?;
    let broken = |error: std::io::Error| Unasked::Failed(format!("the server did not answer: {error}"));
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(broken)?;
    let length = if method == "POST" { format!("content-length: {}\r\n", body.len()) } else { String::new() };
    stream
        .write_all(
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{length}connection: close\r\n\r\n")
                .as_bytes(),
        )
        .and_then(|()| stream.write_all(body))
        .map_err(broken)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(broken)?;
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(&answer) {
        Ok(httparse::Status::Complete(at)) => {
            let status = head.code.unwrap_or(0);
            Ok((status, String::from_utf8_lossy(&answer[at..]).into_owned()))
        }
        _ => Err(Unasked::Failed("the server's answer was cut".to_owned())),
    }
}
