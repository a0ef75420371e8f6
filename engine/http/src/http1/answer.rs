//! An answer on its way to the socket.
//!
//! **Job.** Decide the framing of an answer (RFC 9112 6), write its head, send its body the cheapest way: one write for
//! small ones, a gathered write for larger ones, sendfile for files over plain TCP, chunks for streams.
//! **Called by** the driver. **Calls** `wire::http1::response`, `io`.
//!
//! Invariants
//! 1. Exactly `content-length` bytes follow a head that announces them; an answer that cannot keep its word ends the
//!    connection without an end mark, so that the peer knows.
//! 2. No body follows HEAD, 204 and 304.
//!
//! Not here: fields' content (roles), HTTP/2 (`http2`).

use std::future::poll_fn;
use std::os::unix::fs::FileExt;
use std::task::{Poll, ready};

use bytes::Bytes;
use madang_wire::http1::chunked::{write_chunk_head, write_last_chunk};
use madang_wire::http1::response::write_status_line;
use madang_wire::request::{Method, Version};

use super::body_in::BodyIn;
use super::io::{Ended, Io};
use crate::body::{Body, BodyStream, FileBody, Frame};
use crate::exchange::Exchange;
use crate::interim::Interim;

/// Bodies up to this are copied behind their head: one write call is cheaper than a gathered one.
const COPY_BYTES_MAX: usize = 16 * 1024;
/// A piece of a file that cannot go by sendfile.
const FILE_PIECE_BYTES: usize = 64 * 1024;

/// How an answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// No length, no body: 101, 204.
    Nothing,
    /// 304 and HEAD: a length may be told, no body follows.
    HeadOnly(Option<u64>),
    Length(u64),
    Chunked,
    /// HTTP/1.0: the end of the connection is the end of the body.
    UntilClose,
}

/// What was decided about an answer before its first byte leaves.
pub(super) struct Plan {
    framing: Framing,
    pub(super) keep_alive: bool,
    upgrade: bool,
}

impl Plan {
    pub(super) fn new(exchange: &Exchange, keep_alive: bool) -> Self {
        let response = &exchange.response;
        let framing = match (response.status, response.body.length()) {
            (204, _) => Framing::Nothing,
            (304, _) => Framing::HeadOnly(response.length_hint),
            (_, length) if exchange.head.method() == Method::Head => {
                let length = if response.body.is_empty() { response.length_hint } else { length };
                Framing::HeadOnly(length)
            }
            (_, Some(length)) => Framing::Length(length),
            (_, None) if exchange.head.version() == Version::Http10 => Framing::UntilClose,
            (_, None) => Framing::Chunked,
        };
        Self { framing, keep_alive: keep_alive && framing != Framing::UntilClose, upgrade: false }
    }

    pub(super) fn upgrade() -> Self {
        Self { framing: Framing::Nothing, keep_alive: true, upgrade: true }
    }
}

impl Io {
    /// Writes the whole answer. While it does, a handler that streams may still ask for the request's body.
    pub(super) async fn write_answer(
        &mut self,
        exchange: &mut Exchange,
        plan: &Plan,
        body_in: Option<&mut BodyIn>,
        date: &[u8; 29],
    ) -> Result<(), Ended> {
        self.body_sent = 0;
        write_head(self.out(), exchange, plan, date);
        let body = std::mem::take(&mut exchange.response.body);
        match (plan.framing, body) {
            (Framing::Nothing | Framing::HeadOnly(_), Body::Upgrade(task)) => {
                exchange.response.body = Body::Upgrade(task);
                self.flush().await
            }
            (Framing::Nothing | Framing::HeadOnly(_), _) | (_, Body::Empty | Body::Upgrade(_)) => {
                self.finish().await
            }
            (_, Body::Bytes(bytes)) if bytes.len() <= COPY_BYTES_MAX => {
                self.out.extend_from_slice(&bytes);
                self.body_sent = bytes.len() as u64;
                self.finish().await
            }
            (_, Body::Bytes(bytes)) => {
                self.write_bytes(&bytes).await?;
                self.flush().await
            }
            (_, Body::File(file)) if self.stream.can_sendfile() => self.write_by_sendfile(&file).await,
            (_, Body::File(file)) => self.write_by_reading(&file).await,
            (framing, Body::Stream(stream)) => self.write_stream(stream, framing, body_in).await,
        }
    }

    /// Flushes, unless the next request is already here: then answers leave together (pipelining).
    async fn finish(&mut self) -> Result<(), Ended> {
        if !self.input.is_empty() && self.out.len() < COPY_BYTES_MAX {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        poll_fn(|cx| self.poll_flush_out(cx)).await
    }

    async fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let mut written = 0;
        poll_fn(|cx| self.poll_write_both(cx, bytes, &mut written)).await
    }

    async fn write_by_sendfile(&mut self, file: &FileBody) -> Result<(), Ended> {
        // The head waits in the kernel for the file's first bytes: they share a packet.
        poll_fn(|cx| {
            while self.written < self.out.len() {
                if let Some(cut) = self.connection.poll_cut(cx) {
                    return Poll::Ready(Err(Ended::Cut(cut)));
                }
                match ready!(self.stream.poll_write_more(cx, &self.out[self.written..])) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(Ended::Gone)),
                    Ok(count) => {
                        self.written += count;
                        self.connection.sent(count);
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        self.out.clear();
        self.written = 0;
        poll_fn(|cx| {
            while self.body_sent < file.length {
                if let Some(cut) = self.connection.poll_cut(cx) {
                    return Poll::Ready(Err(Ended::Cut(cut)));
                }
                let (offset, left) = (file.offset + self.body_sent, file.length - self.body_sent);
                match ready!(self.stream.poll_sendfile(cx, &file.file, offset, left)) {
                    // The file was cut short under us: the announced length cannot be kept.
                    Ok(0) | Err(_) => return Poll::Ready(Err(Ended::Gone)),
                    Ok(count) => {
                        self.body_sent += count as u64;
                        self.connection.sent(count);
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    async fn write_by_reading(&mut self, file: &FileBody) -> Result<(), Ended> {
        let mut piece =
            vec![0; FILE_PIECE_BYTES.min(usize::try_from(file.length).unwrap_or(FILE_PIECE_BYTES))];
        while self.body_sent < file.length {
            let want =
                usize::try_from(file.length - self.body_sent).unwrap_or(FILE_PIECE_BYTES).min(piece.len());
            let got = file.file.read_at(&mut piece[..want], file.offset + self.body_sent).unwrap_or(0);
            if got == 0 {
                return Err(Ended::Gone);
            }
            self.write_bytes(&piece[..got]).await?;
        }
        self.flush().await
    }

    async fn write_stream(
        &mut self,
        mut stream: Box<dyn BodyStream>,
        framing: Framing,
        mut body_in: Option<&mut BodyIn>,
    ) -> Result<(), Ended> {
        let announced = if let Framing::Length(length) = framing { Some(length) } else { None };
        loop {
            let frame = poll_fn(|cx| {
                if let Some(cut) = self.connection.poll_cut(cx) {
                    return Poll::Ready(Err(Ended::Cut(cut)));
                }
                match stream.poll_next(cx) {
                    Poll::Ready(frame) => return Poll::Ready(Ok(frame)),
                    Poll::Pending => {}
                }
                // Nothing to write right now: what is buffered leaves, and the handler may get more of its body.
                if self.written < self.out.len() {
                    ready!(self.poll_flush_out(cx))?;
                }
                self.poll_while_handled(cx, body_in.as_deref_mut()).map(Err)
            })
            .await?;
            self.connection.enter_if_new(madang_host::connection::Phase::Writing);
            match frame {
                Some(Ok(Frame::Data(data))) if data.is_empty() => {}
                Some(Ok(Frame::Data(data))) => {
                    if announced.is_some_and(|length| self.body_sent + data.len() as u64 > length) {
                        return self.break_off().await;
                    }
                    self.write_piece(&data, framing).await?;
                }
                Some(Ok(Frame::Trailers(trailers))) => {
                    if framing == Framing::Chunked {
                        write_last_chunk(
                            self.out(),
                            trailers.iter().map(|(name, value)| (&name[..], &value[..])),
                        );
                    }
                    return self.flush().await;
                }
                Some(Err(fault)) => {
                    self.flush().await?;
                    return Err(Ended::Source(fault.name()));
                }
                None => {
                    if announced.is_some_and(|length| self.body_sent != length) {
                        return self.break_off().await;
                    }
                    if framing == Framing::Chunked {
                        write_last_chunk(self.out(), std::iter::empty());
                    }
                    return self.flush().await;
                }
            }
        }
    }

    /// Ends an answer that cannot be whole: what there is leaves, without an end mark, and the connection with it.
    async fn break_off(&mut self) -> Result<(), Ended> {
        self.flush().await?;
        Err(Ended::Gone)
    }

    async fn write_piece(&mut self, data: &Bytes, framing: Framing) -> Result<(), Ended> {
        let chunked = framing == Framing::Chunked;
        if chunked {
            write_chunk_head(self.out(), data.len());
        }
        if data.len() <= COPY_BYTES_MAX {
            self.out().extend_from_slice(data);
            self.body_sent += data.len() as u64;
        } else {
            self.write_bytes(data).await?;
        }
        if chunked {
            self.out().extend_from_slice(b"\r\n");
        }
        if self.out.len() >= COPY_BYTES_MAX { self.flush().await } else { Ok(()) }
    }

    /// A short plain answer to something that never became a request. The connection ends after it.
    pub(super) async fn write_refusal(
        &mut self,
        status: u16,
        why: &str,
        date: &[u8; 29],
    ) -> Result<(), Ended> {
        let reason = madang_wire::http1::response::reason(status);
        let text = format!("{status} {reason}: {why}\n");
        let out = self.out();
        write_status_line(out, status);
        // A clock is here, so 4xx have a date too (RFC 9110 6.6.1).
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(
            format!(
                "\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
            )
            .as_bytes(),
        );
        self.flush().await
    }
}

/// An interim answer: a head and nothing behind it (RFC 9110 15.2).
pub(super) fn write_interim(out: &mut Vec<u8>, interim: &Interim) {
    write_status_line(out, interim.status);
    for (name, value) in &interim.fields {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_head(out: &mut Vec<u8>, exchange: &Exchange, plan: &Plan, date: &[u8; 29]) {
    let response = &exchange.response;
    write_status_line(out, response.status);
    for (name, value) in response.fields.iter() {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"date: ");
    out.extend_from_slice(date);
    match plan.framing {
        Framing::Length(length) | Framing::HeadOnly(Some(length)) => {
            out.extend_from_slice(b"\r\ncontent-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        }
        Framing::Chunked => out.extend_from_slice(b"\r\ntransfer-encoding: chunked"),
        Framing::Nothing | Framing::HeadOnly(None) | Framing::UntilClose => {}
    }
    if plan.upgrade {
        out.extend_from_slice(b"\r\nconnection: upgrade");
    } else if !plan.keep_alive {
        out.extend_from_slice(b"\r\nconnection: close");
    } else if exchange.head.version() == Version::Http10 {
        out.extend_from_slice(b"\r\nconnection: keep-alive");
    }
    out.extend_from_slice(b"\r\n\r\n");
}
