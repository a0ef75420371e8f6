//! Bytes both ways until both directions have ended, one broke, or nothing moved for too long.
//!
//! **Job.** Copy what comes in small pieces; leave bulk to the kernel. **Called by** `super`. **Calls** `host::net::splice`.
//!
//! Invariants
//! 1. The end of one direction is passed on as such (half-close): the other may go on.
//! 2. Buffers and pipes are held only while bytes are on their way: an idle connection costs none.
//! 3. Nothing is read while the other side does not take what was read before: a slow reader slows its sender.
//!
//! Why both ways of moving: a piece that fits a buffer costs one read and one write, which splicing cannot beat, for it asks
//! once more to learn that nothing is left. What fills whole buffers is bulk: there the copying is what costs.
//!
//! Not here: opening (`open`).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use madang_host::connection::{Connection, Phase};
use madang_host::deadline::Deadline;
use madang_host::net::splice::{Pipe, Pipes};
use madang_host::net::stream::Stream;
use madang_host::telemetry::streams::StreamBlock;
use madang_http::endpoint::Pool as Buffers;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::end::End;
use super::program::Bond;

/// So many reads in a row that filled their buffer: bulk.
const FULL_READS: u8 = 4;
/// So many small pieces in a row: bulk no more.
const SMALL_PIECES: u8 = 8;
/// What is a small piece, in bytes.
const SMALL_BYTES: usize = 8 * 1024;
/// What one direction may move before the worker's other connections get their turn, in bytes.
const TURN_BYTES: usize = 1024 * 1024;

/// What passing needs besides the two streams.
pub(super) struct Passing<'a> {
    pub(super) connection: &'a Connection,
    pub(super) idle: Deadline,
    pub(super) idle_after: std::time::Duration,
    pub(super) block: &'a StreamBlock,
    pub(super) buffers: &'a Buffers,
    pub(super) pipes: &'a Rc<Pipes>,
}

/// Passes bytes on; `early` goes to the server first. Says how it ended.
pub(super) async fn pass(
    client: &mut Stream,
    server: &mut Stream,
    bond: &mut Option<Bond>,
    early: Vec<u8>,
    with: Passing<'_>,
) -> End {
    let can_splice = client.can_splice() && server.can_splice();
    let (mut up, mut down) = (Half::new(early, can_splice), Half::new(Vec::new(), can_splice));
    let from_client = |count: usize| {
        with.idle.set(with.idle_after);
        with.connection.received(count);
        with.block.bytes_in.add(count as u64);
    };
    let to_client = |count: usize| {
        with.idle.set(with.idle_after);
        with.connection.sent(count);
        with.block.bytes_out.add(count as u64);
    };
    let end = poll_fn(|cx| {
        if let Some(cut) = with.connection.poll_cut(cx) {
            return Poll::Ready(if up.unwanted { End::Done } else { End::Cut(cut) });
        }
        if with.idle.poll(cx).is_ready() {
            return Poll::Ready(End::Idle);
        }
        let upward = up.poll(cx, client, server, with.buffers, with.pipes, &from_client);
        let downward = down.poll(cx, server, client, with.buffers, with.pipes, &to_client);
        if let Some(bond) = bond {
            return program_ends(cx, bond, (upward, downward), (&mut up, &mut down), with.connection);
        }
        match (upward, downward) {
            (Poll::Ready(Err(Side::From)), _) | (_, Poll::Ready(Err(Side::To))) => {
                Poll::Ready(End::ClientBroke)
            }
            (Poll::Ready(Err(Side::To)), _) | (_, Poll::Ready(Err(Side::From))) => {
                Poll::Ready(End::ServerBroke)
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Done),
            _ => Poll::Pending,
        }
    })
    .await;
    up.give_back(with.buffers);
    down.give_back(with.buffers);
    end
}

/// How it goes on where the server is a program: what it has written reaches the client, and its end is the connection's.
fn program_ends(
    cx: &mut Context<'_>,
    bond: &mut Bond,
    passed: (Passed, Passed),
    (up, down): (&mut Half, &mut Half),
    connection: &Connection,
) -> Poll<End> {
    let gone = bond.poll_gone(cx);
    match passed {
        (Poll::Ready(Err(Side::From)), _) | (_, Poll::Ready(Err(Side::To))) => Poll::Ready(End::ClientBroke),
        (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Done),
        // It reads no more. What it wrote before is on its way to the client, who may still be writing.
        (Poll::Ready(Err(Side::To)), _) => {
            up.discard();
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        // It left input unread: the kernel says so once everything it wrote was taken. An end like any other.
        (_, Poll::Ready(Err(Side::From))) => {
            down.ended = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        (Poll::Pending, Poll::Ready(Ok(()))) if gone => {
            // Closing while the client still sends would take back what it has not read: it gets a moment to see the end.
            if connection.phase() != Phase::Closing {
                connection.enter(Phase::Closing);
                up.discard();
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        }
        _ => Poll::Pending,
    }
}

/// What became of one direction.
type Passed = Poll<Result<(), Side>>;

/// Which of the two broke.
enum Side {
    From,
    To,
}

/// One direction.
struct Half {
    buffer: Vec<u8>,
    /// The buffer is not one of the pool's but what was read before.
    early: bool,
    start: usize,
    end: usize,
    pipe: Option<Pipe>,
    can_splice: bool,
    splicing: bool,
    /// Full reads in a row while copying, small pieces in a row while splicing.
    streak: u8,
    unflushed: bool,
    ended: bool,
    shut: bool,
    /// Nobody takes it any more: it is read and forgotten.
    unwanted: bool,
}

impl Half {
    fn new(early: Vec<u8>, can_splice: bool) -> Self {
        let end = early.len();
        Self {
            buffer: early,
            early: true,
            start: 0,
            end,
            pipe: None,
            can_splice,
            splicing: false,
            streak: 0,
            unflushed: false,
            ended: false,
            shut: false,
            unwanted: false,
        }
    }

    /// From here on what is read goes nowhere.
    fn discard(&mut self) {
        self.unwanted = true;
        (self.start, self.end, self.pipe) = (0, 0, None);
        (self.splicing, self.can_splice, self.unflushed) = (false, false, false);
    }

    /// Ready once the end of `from` was passed on to `to`.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        buffers: &Buffers,
        pipes: &Rc<Pipes>,
        moved: &impl Fn(usize),
    ) -> Poll<Result<(), Side>> {
        let mut turn = 0;
        loop {
            if self.unwanted {
                turn += self.end - self.start;
                self.start = self.end;
            } else {
                turn += ready!(self.poll_out(cx, to, moved)).map_err(|_| Side::To)?;
            }
            if self.ended {
                return self.poll_shut(cx, to);
            }
            if turn > TURN_BYTES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let read = if self.splicing {
                self.poll_fill(cx, from, pipes)
            } else {
                self.poll_read(cx, from, buffers)
            };
            match read {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Side::From)),
                Poll::Pending => {
                    self.give_back(buffers);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Everything that was read goes out.
    fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        moved: &impl Fn(usize),
    ) -> Poll<io::Result<usize>> {
        let mut all = 0;
        while self.start < self.end {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer[self.start..self.end]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += count;
            self.unflushed = true;
            all += count;
            moved(count);
        }
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.holds() > 0) {
            let count = ready!(to.poll_drain(cx, pipe))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            all += count;
            moved(count);
        }
        if self.unflushed {
            // Under TLS a record may have been made that the socket did not take whole.
            ready!(Pin::new(&mut *to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(all))
    }

    fn poll_shut(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<Result<(), Side>> {
        if !self.shut {
            // A peer that is gone does not need to be told; the other direction will say so.
            let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        if self.early || self.buffer.is_empty() {
            self.buffer = buffers.input();
            self.early = false;
        }
        let mut room = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut room))?;
        (self.start, self.end) = (0, room.filled().len());
        self.ended = self.end == 0;
        self.streak = if self.end == self.buffer.len() { self.streak + 1 } else { 0 };
        if self.streak == FULL_READS {
            self.splicing = self.can_splice;
            self.streak = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, from: &Stream, pipes: &Rc<Pipes>) -> Poll<io::Result<()>> {
        if self.pipe.is_none() {
            self.pipe = pipes.lend();
        }
        let Some(pipe) = &mut self.pipe else {
            // All are lent: copied for now.
            self.splicing = false;
            return Poll::Ready(Ok(()));
        };
        let count = match ready!(from.poll_fill(cx, pipe)) {
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                (self.splicing, self.can_splice) = (false, false);
                return Poll::Ready(Ok(()));
            }
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.ended = count == 0;
        self.streak = if count < SMALL_BYTES { self.streak + 1 } else { 0 };
        if self.streak == SMALL_PIECES {
            (self.splicing, self.streak) = (false, 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Lends nothing to a direction that waits.
    fn give_back(&mut self, buffers: &Buffers) {
        buffers.give_input(std::mem::take(&mut self.buffer));
        (self.start, self.end) = (0, 0);
        self.pipe = None;
    }
}
