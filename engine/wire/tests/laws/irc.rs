//! The laws of IRC lines.
//!
//! **Job.** 1. However bytes arrive, the same lines come of them, and those are the ones a naive reader sees. 2. A reader never
//! waits for more than it takes. 3. What was read, written again, reads the same. 4. Whatever is written is one line of
//! the permitted length.
//!
//! Not here: what commands mean (`roles/chat/src/irc`).

use madang_wire::irc::{
    INPUT_BYTES_MAX, LINE_BYTES_MAX, Line, LineError, Message, Reader, TAGS_BYTES_MAX, line,
};

use super::Pieces;

type Answer = Result<String, LineError>;

/// The first byte of the input says in which pieces the rest arrives.
pub fn from_fuzz(data: &[u8]) {
    if let Some((seed, bytes)) = data.split_first() {
        hold(bytes, Pieces::new(*seed));
    }
}

/// All laws for one input.
pub fn hold(bytes: &[u8], pieces: Pieces) {
    let lines = in_pieces(bytes, pieces);
    assert_eq!(lines, naive(bytes), "not what a naive reader sees");
    for text in lines.iter().flatten() {
        match Message::parse(text) {
            Ok(message) => survives_writing(&message),
            Err(error) => assert!(!error.to_string().is_empty() && !error.name().is_empty()),
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let words: Vec<&str> = text.splitn(4, '|').collect();
        let word = |at: usize| words.get(at).copied().unwrap_or("");
        is_one_line(word(0), word(1), word(2), word(3));
    }
}

fn in_pieces(bytes: &[u8], pieces: Pieces) -> Vec<Answer> {
    let (mut reader, mut buffer, mut answers, mut rest) = (Reader::default(), Vec::new(), Vec::new(), bytes);
    for piece in pieces {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        buffer.extend_from_slice(now);
        loop {
            let taken = reader.take(&buffer);
            answers.extend(taken.line.map(|line| line.map(str::to_owned)));
            let bytes = taken.bytes;
            assert!(bytes <= buffer.len());
            if bytes == 0 {
                break;
            }
            buffer.drain(..bytes);
        }
        assert!(buffer.len() < INPUT_BYTES_MAX, "waits with {} bytes", buffer.len());
        if later.is_empty() {
            break;
        }
        rest = later;
    }
    answers
}

fn naive(bytes: &[u8]) -> Vec<Answer> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // What has no end yet is only judged when it is too long already.
    let unfinished = lines.pop().unwrap_or_default();
    let whole = lines.into_iter().map(|all| all.strip_suffix(b"\r").unwrap_or(all));
    let mut answers: Vec<Answer> =
        whole.filter(|all| !all.is_empty()).map(|all| line(all).map(str::to_owned)).collect();
    if unfinished.len() >= INPUT_BYTES_MAX {
        answers.push(line(unfinished).map(str::to_owned));
    }
    answers
}

fn survives_writing(message: &Message<'_>) {
    let mut out = Vec::new();
    let mut written =
        message.tags.iter().fold(Line::new(&mut out), |line, (key, value)| line.tag(key, &value));
    if let Some(source) = message.source {
        written = written.source(source);
    }
    written = written.command(message.command);
    let params = message.params();
    if let Some((last, words)) = params.split_last() {
        written = words.iter().fold(written, |line, word| line.param(word)).text(last);
    }
    written.end();
    let text = std::str::from_utf8(&out).unwrap().strip_suffix("\r\n").unwrap();
    let again = Message::parse(text).unwrap();
    // A line that was full has no room for the `:` that is always written: its last parameter is cut.
    let (cut, whole) = (again.params().last(), params.last());
    assert!(cut.is_none() || whole.is_some_and(|whole| whole.starts_with(cut.copied().unwrap_or_default())));
    assert_eq!(
        (again.source, again.command, again.params().len()),
        (message.source, message.command, params.len())
    );
    assert!(again.tags.iter().eq(message.tags.iter()), "{text:?}");
}

/// Any words make one line.
pub fn is_one_line(tag: &str, source: &str, param: &str, text: &str) {
    let mut out = Vec::new();
    let line = Line::new(&mut out).tag(tag, text).tag("msgid", param).source(source);
    line.command("PRIVMSG").param(param).text(text).end();
    let all = std::str::from_utf8(&out).unwrap();
    let body = all.strip_suffix("\r\n").unwrap();
    assert!(!body.contains(['\r', '\n', '\0']), "{body:?}");
    let tags = if body.starts_with('@') { body.find(' ').unwrap() + 1 } else { 0 };
    assert!(tags <= TAGS_BYTES_MAX && all.len() - tags <= LINE_BYTES_MAX, "{} bytes", all.len());
    if source.len() + param.len() < 400 {
        let message = Message::parse(body).unwrap();
        assert_eq!((message.command, message.params().len()), ("PRIVMSG", 2), "{body:?}");
    }
}
