//! Several ranges in one answer: `multipart/byteranges` (RFC 9110 14.6).
//!
//! **Job.** Put parts and their heads in a row, with the length known before the first byte.
//! **Called by** `answer`. **Calls** nothing of ours.
//!
//! Invariants
//! 1. What is sent is exactly as long as announced.
//! 2. The boundary cannot be foreseen by whoever wrote the file.
//!
//! Not here: which parts (`range`).

use std::fs::File;
use std::hash::BuildHasher;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hashbrown::DefaultHashBuilder;
use madang_http::body::{Body, BodyFault, BodyStream, Frame};
use madang_http::response::Text;

use super::answer::slice;
use super::entry::Content;
use super::range::Part;

/// A piece of a file that is read at once.
const PIECE_BYTES: u64 = 64 * 1024;

/// A boundary for one answer.
pub(super) fn boundary(etag: &Text) -> String {
    // Each builder is seeded anew from the process's random state.
    let half = |salt: u8| DefaultHashBuilder::default().hash_one((etag.as_bytes(), salt));
    format!("{:016x}{:016x}", half(0), half(1))
}

/// The `content-type` of the whole.
pub(super) fn content_type(boundary: &str) -> Text {
    Text::from(format!("multipart/byteranges; boundary={boundary}"))
}

/// The `content-range` of one part.
pub(super) fn content_range(part: Part, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.first, part.last)
}

/// The body.
pub(super) fn body(
    content: &Content,
    parts: &[Part],
    length: u64,
    content_type: &Text,
    boundary: &str,
) -> Body {
    let head = |n: usize, part: &Part| {
        let lead = if n == 0 { "" } else { "\r\n" };
        let (content_type, range) = (content_type.as_str(), content_range(*part, length));
        format!("{lead}--{boundary}\r\ncontent-type: {content_type}\r\ncontent-range: {range}\r\n\r\n")
    };
    let end = format!("\r\n--{boundary}--\r\n");
    match content {
        Content::Memory(bytes) => {
            let mut all = BytesMut::new();
            for (n, part) in parts.iter().enumerate() {
                all.extend_from_slice(head(n, part).as_bytes());
                all.extend_from_slice(&slice(bytes, part.first, part.length()));
            }
            all.extend_from_slice(end.as_bytes());
            Body::Bytes(all.freeze())
        }
        Content::Open(file) => {
            let mut pieces: Vec<Piece> = Vec::with_capacity(parts.len() * 2 + 1);
            for (n, part) in parts.iter().enumerate() {
                pieces.push(Piece::Bytes(Bytes::from(head(n, part))));
                pieces.push(Piece::File { offset: part.first, left: part.length() });
            }
            pieces.push(Piece::Bytes(Bytes::from(end)));
            let length = pieces.iter().map(Piece::length).sum();
            pieces.reverse();
            Body::Stream(Box::new(Parts { file: Rc::clone(file), pieces, length }))
        }
    }
}

enum Piece {
    Bytes(Bytes),
    File { offset: u64, left: u64 },
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { left, .. } => *left,
        }
    }
}

/// Parts of a file on their way, the next one last.
struct Parts {
    file: Rc<File>,
    pieces: Vec<Piece>,
    length: u64,
}

impl BodyStream for Parts {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyFault>>> {
        match self.pieces.pop() {
            None => Poll::Ready(None),
            Some(Piece::Bytes(bytes)) => Poll::Ready(Some(Ok(Frame::Data(bytes)))),
            Some(Piece::File { offset, left }) => {
                let want = left.min(PIECE_BYTES);
                let mut piece = BytesMut::zeroed(usize::try_from(want).unwrap_or(0));
                // A file cut short under us: the announced length cannot be kept.
                if self.file.read_exact_at(&mut piece, offset).is_err() {
                    return Poll::Ready(Some(Err(BodyFault::Source { what: "file-shrank" })));
                }
                if left > want {
                    self.pieces.push(Piece::File { offset: offset + want, left: left - want });
                }
                Poll::Ready(Some(Ok(Frame::Data(piece.freeze()))))
            }
        }
    }

    fn length(&self) -> Option<u64> {
        Some(self.length)
    }
}
