//! The task of one connection: reads, writes what waits, ends.
//!
//! **Job.** Put messages together and hand them over, answer pings and closes, tell the handler of the end. **Called by** the
//! worker's runtime. **Calls** `socket`, `wire::websocket`, the handler.
//!
//! Invariants
//! 1. It is small: ten thousand idle connections consist of it, of their `Socket` and of what their role keeps.
//! 2. What comes behind a close, or behind what is no frame, is read past and not looked at.
//!
//! Not here: sending (`socket`), time limits (`hall`).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use madang_host::connection::LINGER_BYTES_MAX;
use madang_wire::websocket::{Event, FrameError, Reader, write_pong};
use tokio::io::ReadBuf;

use super::socket::{Socket, State};
use super::{Closed, Handler, code};

/// Reads in one turn before others have theirs.
const READS_PER_TURN: usize = 8;
/// How much room a message that has begun is given at a time.
const MORE_BYTES: usize = 8 * 1024;

pub(super) struct Serve {
    socket: Rc<Socket>,
    /// `None` once it was told of the end.
    handler: Option<Rc<dyn Handler>>,
    reader: Reader,
    /// The front of a frame whose rest has not come yet.
    partial: Vec<u8>,
    told_ending: bool,
    hears: Hears,
    /// Whether the whole connection is ours.
    alone: bool,
}

/// What is still read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hears {
    Frames,
    /// Nothing the client says matters any more; so many bytes are read past.
    Nothing(usize),
    /// The client has said all.
    End,
}

impl Serve {
    pub(super) fn new(socket: Rc<Socket>, handler: Rc<dyn Handler>, alone: bool) -> Self {
        let reader = Reader::new(socket.message_bytes_max());
        let (partial, told_ending, hears) = (Vec::new(), false, Hears::Frames);
        Self { socket, handler: Some(handler), reader, partial, told_ending, hears, alone }
    }

    /// The connection's own news: cut by the engine, asked to end.
    fn look(&mut self, cx: &Context<'_>) {
        let Some(connection) = self.socket.connection() else { return };
        // On a shared connection the one to be woken is who drives it: the sweep brings us here.
        let cut = if self.alone { connection.poll_cut(cx) } else { connection.was_cut() };
        if let Some(cut) = cut {
            self.socket.ends_at_once(Closed::Cut(cut));
        } else if connection.draining() && !self.told_ending && self.socket.state() == State::Open {
            self.told_ending = true;
            if let Some(handler) = &self.handler {
                handler.ending();
            }
            self.socket.close(code::AWAY, "the server ends or starts anew: come back");
        }
    }

    fn read(&mut self, cx: &Context<'_>) {
        for _ in 0..READS_PER_TURN {
            if self.socket.is_broken() || self.hears == Hears::End || !self.read_once() {
                return;
            }
        }
        // The others' turn.
        cx.waker().wake_by_ref();
    }

    /// One read, and what it brought. False: nothing came.
    fn read_once(&mut self) -> bool {
        let fresh = self.partial.is_empty();
        let mut buffer =
            if fresh { self.socket.hall().take_scratch() } else { std::mem::take(&mut self.partial) };
        let have = if fresh { 0 } else { buffer.len() };
        if !fresh {
            buffer.resize(have + MORE_BYTES, 0);
        }
        let came = self.receive(&mut buffer[have..]);
        let end = have + came;
        let taken = if came > 0 { self.heed(&mut buffer[..end]) } else { 0 };
        if fresh {
            self.partial = buffer[taken..end].to_vec();
            self.socket.hall().give_scratch(buffer);
        } else {
            buffer.truncate(end);
            buffer.drain(..taken);
            if !buffer.is_empty() {
                self.partial = buffer;
            }
        }
        came > 0
    }

    /// How many bytes came; 0 also when it is over.
    fn receive(&mut self, room: &mut [u8]) -> usize {
        let mut room = ReadBuf::new(room);
        match self.socket.io(|duplex, cx| duplex.poll_read(cx, &mut room)) {
            Poll::Pending => 0,
            Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                self.socket.heard();
                room.filled().len()
            }
            Poll::Ready(_) => {
                self.socket.ends_at_once(Closed::Gone);
                0
            }
        }
    }

    /// Does what these bytes say; how many of them are done with.
    fn heed(&mut self, bytes: &mut [u8]) -> usize {
        if let Hears::Nothing(left) = self.hears {
            self.hears = left.checked_sub(bytes.len()).map_or(Hears::End, Hears::Nothing);
            return bytes.len();
        }
        let (mut taken, whole) = match self.take(bytes) {
            Ok(result) => result,
            Err(error) => {
                self.hears = Hears::Nothing(LINGER_BYTES_MAX);
                self.socket.close_as(Closed::Refused(error), error.close_code(), error.name());
                (bytes.len(), false)
            }
        };
        if self.hears != Hears::Frames {
            taken = bytes.len();
        }
        self.socket.set_unfinished(taken < bytes.len() || self.reader.is_within_message(), whole);
        taken
    }

    /// Takes the frames at the front of `bytes`: how many bytes, and whether a message ended.
    fn take(&mut self, bytes: &mut [u8]) -> Result<(usize, bool), FrameError> {
        let (mut at, mut whole, mut pong) = (0, false, None);
        let result = loop {
            let taken = match self.reader.take(&mut bytes[at..]) {
                Ok(taken) => taken,
                Err(error) => break Err(error),
            };
            if taken.bytes == 0 {
                break Ok((at, whole));
            }
            at += taken.bytes;
            let Some(event) = taken.event else { continue };
            // A role may have closed it by the message before.
            let handler = self.handler.as_ref().filter(|_| self.socket.state() == State::Open);
            match event {
                Event::Text(text) => {
                    whole = true;
                    if let Some(handler) = handler {
                        handler.text(&text);
                    }
                }
                Event::Binary(bytes) => {
                    whole = true;
                    if let Some(handler) = handler {
                        handler.binary(&self.socket, &bytes);
                    }
                }
                // Of several, the newest is enough (RFC 6455 5.5.3).
                Event::Ping(payload) => pong = Some(payload),
                Event::Pong(_) => {}
                Event::Close(given) => {
                    self.hears = Hears::End;
                    self.socket.close_as(Closed::Client(given), given.unwrap_or(code::NORMAL), "");
                    return Ok((at, whole));
                }
            }
        };
        if let Some(payload) = pong {
            let mut frame = Vec::new();
            write_pong(&mut frame, &payload);
            self.socket.send(&frame.into());
        }
        result
    }

    /// Whether everything is said on both sides.
    fn is_over(&mut self) -> bool {
        if self.socket.is_broken() {
            return true;
        }
        if self.socket.state() == State::Open || !self.socket.all_left() {
            return false;
        }
        match self.hears {
            // Our close is answered by the client's.
            Hears::Frames => false,
            // We say that nothing more comes, so that the client does not wait for its answer to be read.
            Hears::Nothing(_) => {
                let shut = self.socket.io(|duplex, cx| duplex.poll_shutdown(cx));
                matches!(shut, Poll::Ready(Err(_)))
            }
            Hears::End => self.socket.io(|duplex, cx| duplex.poll_shutdown(cx)).is_ready(),
        }
    }
}

impl Future for Serve {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.socket.register(cx.waker());
        this.look(cx);
        if !this.socket.is_broken() {
            this.socket.write_out();
        }
        this.read(cx);
        if this.socket.has_drained()
            && this.socket.state() == State::Open
            && let Some(handler) = &this.handler
        {
            handler.drained();
        }
        if let State::Closing(why) = this.socket.state()
            && let Some(handler) = this.handler.take()
        {
            handler.closed(why);
        }
        if this.is_over() {
            this.socket.release();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Serve {
    /// A task that is dropped with its runtime, or with the HTTP/2 connection that carries it.
    fn drop(&mut self) {
        if let Some(handler) = self.handler.take() {
            self.socket.ends_at_once(Closed::Gone);
            handler.closed(Closed::Gone);
        }
        self.socket.release();
    }
}
