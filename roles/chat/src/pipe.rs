//! A connection of plain bytes under a face: what waits to be written, what has been read, how long it may be silent.
//!
//! **Job.** Write at once where the kernel takes it, wait in a bounded outbox where it does not; hand over what was read while it is
//! wanted. **Called by** the faces of `irc://` and `line://`. **Calls** `http::body::Duplex`.
//!
//! Invariants
//! 1. While something waits for the kernel only the connection's own task writes: bytes keep their order.
//! 2. What is not wanted now stays in the peer's socket: a bounded piece is held here.
//! 3. An idle connection holds no buffer. No timer per connection: the worker's sweep judges.
//! 4. Last words arrive: a peer that still sends is read and forgotten until it has heard them (closing over unread bytes would
//!    reset the connection and take them back).
//!
//! Not here: what the bytes mean (`irc`, `line`), websockets (`http::websocket`).

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use madang_host::connection::{Connection, LINGER_BYTES_MAX};
use madang_http::body::{Duplex, LocalFuture};
use slab::Slab;
use tokio::io::ReadBuf;
use tokio::task::coop::unconstrained;

use crate::floor::Cut;

/// Read by one call into the kernel at most.
const READ_BYTES: usize = 16 * 1024;
/// Reads in one turn before others have theirs.
const READS_PER_TURN: usize = 4;
/// How long last words may take, with the peer's own end.
const GOODBYE_MS: u64 = 2_000;
/// An empty outbox keeps no more than this.
const KEPT_BYTES: usize = 4 * 1024;
/// An outbox with this part of its limit is as good as empty: what the kernel holds keeps the peer busy.
const LOW_PART: usize = 8;
/// Asked for signs of life without an answer.
const OWED_MAX: u32 = 2;

/// What is spoken on a pipe. Called on its worker; never waits.
pub trait Speaker {
    /// Whether it wants to read now.
    fn ready(&self) -> bool;
    /// Reads from the front of `input` as long as it is ready; how many bytes are done with. What it leaves comes again, with more.
    fn take(&self, input: &[u8]) -> usize;
    /// The peer has said nothing for long: it should be made to.
    fn ask_for_life(&self);
    /// Another quarter of a second has passed.
    fn sweep(&self, now_ms: u64);
    /// There was too much in the outbox and now there is not.
    fn drained(&self);
    /// The server or its address ends: last words may be written.
    fn ending(&self);
    /// It has to end, for this reason.
    fn cut(&self, why: Cut);
    /// It is over.
    fn closed(&self, why: &'static str);
}

/// The limits of one pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipeLimits {
    /// What may wait for the peer before [`Pipe::takes`] says no, in bytes; at twice as much it is ended.
    pub outbox_bytes_max: usize,
    /// A peer that says nothing for so long is asked for a sign of life; one that owes two is ended.
    pub ping: Duration,
    /// A peer that takes nothing of what waits for it for so long is ended.
    pub stalled: Duration,
}

/// The pipes of one chat on one worker.
#[derive(Default)]
pub struct Pipes {
    all: RefCell<Slab<Weak<Served>>>,
    scratch: RefCell<Vec<u8>>,
    now_ms: Cell<u64>,
}

/// A pipe and who speaks on it.
struct Served {
    pipe: Rc<Pipe>,
    speaker: Rc<dyn Speaker>,
}

/// One connection of bytes. Cheap to hold; it stays with its worker.
pub struct Pipe {
    duplex: RefCell<Option<Box<dyn Duplex>>>,
    /// What was read and is not wanted yet.
    unread: RefCell<Vec<u8>>,
    outbox: RefCell<Vec<u8>>,
    /// So much of the outbox has left.
    left: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    limits: PipeLimits,
    pipes: Rc<Pipes>,
    blocked: Cell<bool>,
    above: Cell<bool>,
    broken: Cell<bool>,
    /// Since when it only says its last words.
    ending_ms: Cell<Option<u64>>,
    why: Cell<&'static str>,
    heard_ms: Cell<u64>,
    moved_ms: Cell<u64>,
    owed: Cell<u32>,
}

impl Pipes {
    /// Serves a connection to its end. `open` gives who speaks on it.
    pub fn serve(
        self: &Rc<Self>,
        duplex: Box<dyn Duplex>,
        connection: Rc<Connection>,
        limits: PipeLimits,
        open: impl FnOnce(&Rc<Pipe>) -> Rc<dyn Speaker>,
    ) -> LocalFuture<()> {
        let now_ms = self.now_ms.get();
        let pipe = Rc::new(Pipe {
            duplex: RefCell::new(Some(duplex)),
            unread: RefCell::default(),
            outbox: RefCell::default(),
            left: Cell::new(0),
            waker: RefCell::default(),
            limits,
            pipes: Rc::clone(self),
            // Until its task's first turn everything waits.
            blocked: Cell::new(true),
            above: Cell::new(false),
            broken: Cell::new(false),
            ending_ms: Cell::new(None),
            why: Cell::new("gone"),
            heard_ms: Cell::new(now_ms),
            moved_ms: Cell::new(now_ms),
            owed: Cell::new(0),
        });
        let speaker = open(&pipe);
        let served = Rc::new(Served { pipe, speaker });
        let key = self.all.borrow_mut().insert(Rc::downgrade(&served));
        let mut task = Task {
            served,
            pipes: Rc::clone(self),
            connection,
            key,
            told_ending: false,
            lingering: Cell::new(None),
        };
        Box::pin(poll_fn(move |cx| task.turn(cx)))
    }

    /// The worker's sweep.
    pub fn sweep(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        let places = self.all.borrow().capacity();
        // By place: ending one may end others meanwhile.
        for at in 0..places {
            let served = self.all.borrow().get(at).and_then(Weak::upgrade);
            if let Some(served) = served {
                served.judge(now_ms);
            }
        }
    }
}

impl Served {
    fn judge(&self, now_ms: u64) {
        let Self { pipe, speaker } = self;
        let over =
            |since_ms: u64, limit: Duration| u128::from(now_ms.saturating_sub(since_ms)) > limit.as_millis();
        if let Some(since_ms) = pipe.ending_ms.get() {
            if now_ms.saturating_sub(since_ms) > GOODBYE_MS {
                pipe.breaks();
            }
            return;
        }
        speaker.sweep(now_ms);
        if pipe.waits() > 0 && over(pipe.moved_ms.get(), pipe.limits.stalled) {
            return speaker.cut(Cut::TooSlow);
        }
        // Whoever is made to wait cannot answer: what it says lies unread.
        let owed = pipe.owed.get();
        if !speaker.ready() || !over(pipe.heard_ms.get(), pipe.limits.ping.saturating_mul(owed + 1)) {
            return;
        }
        if owed >= OWED_MAX {
            return speaker.cut(Cut::Idle);
        }
        pipe.owed.set(owed + 1);
        speaker.ask_for_life();
    }
}

impl Pipe {
    /// Waits to be written; `from` is empty then.
    pub fn push(&self, from: &mut Vec<u8>) {
        if from.is_empty() {
            return;
        }
        let mut outbox = self.outbox.borrow_mut();
        if outbox.is_empty() {
            self.moved_ms.set(self.pipes.now_ms.get());
            std::mem::swap(&mut *outbox, from);
        } else {
            outbox.append(from);
        }
        let waits = outbox.len() - self.left.get();
        drop(outbox);
        if waits >= self.limits.outbox_bytes_max {
            self.above.set(true);
        }
        if waits > self.limits.outbox_bytes_max.saturating_mul(2) {
            self.end(Cut::TooSlow.name());
            self.breaks();
        }
    }

    /// Writes what waits, as much as the kernel takes.
    pub fn flush(&self) {
        if !self.blocked.get() {
            self.write_out();
        }
        if self.above.get() || self.ending_ms.get().is_some() {
            self.wake();
        }
    }

    /// Whether more may be written.
    pub fn takes(&self) -> bool {
        !self.above.get() && self.ending_ms.get().is_none()
    }

    /// Whether next to nothing waits: an eighth of the limit at most. After a no [`Self::takes`] says no too, until the speaker is told
    /// [`Speaker::drained`].
    pub fn is_low(&self) -> bool {
        if self.waits() > self.low() {
            self.above.set(true);
        }
        self.takes()
    }

    fn low(&self) -> usize {
        self.limits.outbox_bytes_max / LOW_PART
    }

    /// Writes what waits and closes; nothing more is read.
    pub fn end(&self, why: &'static str) {
        if self.ending_ms.get().is_none() {
            self.ending_ms.set(Some(self.pipes.now_ms.get()));
            self.why.set(why);
            self.wake();
        }
    }

    /// The speaker is ready again: what was read and not wanted is handed over.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// The worker's milliseconds, to a quarter of a second.
    pub fn now_ms(&self) -> u64 {
        self.pipes.now_ms.get()
    }

    fn waits(&self) -> usize {
        self.outbox.borrow().len() - self.left.get()
    }

    fn breaks(&self) {
        self.broken.set(true);
        self.wake();
    }

    /// One call to the duplex on behalf of the connection's task, whoever makes it. Unconstrained: a task that writes to a
    /// thousand pipes would else be told by the later ones that they take nothing.
    fn io<T>(
        &self,
        mut call: impl FnMut(Pin<&mut dyn Duplex>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let (waker, mut duplex) = (self.waker.borrow(), self.duplex.borrow_mut());
        let (Some(waker), Some(duplex)) = (&*waker, duplex.as_deref_mut()) else { return Poll::Pending };
        let calling = poll_fn(|cx| call(Pin::new(&mut *duplex), cx));
        pin!(unconstrained(calling)).poll(&mut Context::from_waker(waker))
    }

    fn write_out(&self) {
        loop {
            let outbox = self.outbox.borrow();
            let rest = &outbox[self.left.get()..];
            if rest.is_empty() {
                break;
            }
            let written = self.io(|duplex, cx| duplex.poll_write(cx, rest));
            drop(outbox);
            match written {
                Poll::Pending => return self.blocked.set(true),
                Poll::Ready(Ok(0) | Err(_)) => return self.breaks(),
                Poll::Ready(Ok(count)) => {
                    self.left.set(self.left.get() + count);
                    self.moved_ms.set(self.pipes.now_ms.get());
                }
            }
        }
        let mut outbox = self.outbox.borrow_mut();
        outbox.clear();
        outbox.shrink_to(KEPT_BYTES);
        self.left.set(0);
        drop(outbox);
        match self.io(|duplex, cx| duplex.poll_flush(cx)) {
            Poll::Ready(Ok(())) => self.blocked.set(false),
            Poll::Ready(Err(_)) => self.breaks(),
            Poll::Pending => self.blocked.set(true),
        }
    }
}

/// The connection's own task.
struct Task {
    served: Rc<Served>,
    pipes: Rc<Pipes>,
    connection: Rc<Connection>,
    key: usize,
    told_ending: bool,
    /// Everything was said: so many bytes more may come before the peer's end.
    lingering: Cell<Option<usize>>,
}

impl Task {
    fn turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        let Served { pipe, speaker } = &*self.served;
        {
            let mut have = pipe.waker.borrow_mut();
            if !have.as_ref().is_some_and(|have| have.will_wake(cx.waker())) {
                *have = Some(cx.waker().clone());
            }
        }
        if let Some(cut) = self.connection.poll_cut(cx) {
            pipe.why.set(cut.name());
            pipe.broken.set(true);
        } else if self.connection.draining() && !self.told_ending {
            self.told_ending = true;
            speaker.ending();
        }
        if self.lingering.get().is_none() {
            if !pipe.broken.get() {
                pipe.write_out();
            }
            self.read(cx);
            if pipe.above.get() && pipe.waits() <= pipe.low() {
                pipe.above.set(false);
                speaker.drained();
            }
            self.say_the_end();
        }
        if pipe.broken.get() || self.has_left(cx) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Once last words have left, the peer is told that nothing follows.
    fn say_the_end(&self) {
        let Served { pipe, speaker } = &*self.served;
        if pipe.broken.get() || pipe.ending_ms.get().is_none() || pipe.waits() > 0 || pipe.blocked.get() {
            return;
        }
        match pipe.io(|duplex, cx| duplex.poll_shutdown(cx)) {
            Poll::Pending => {}
            Poll::Ready(Err(_)) => pipe.broken.set(true),
            Poll::Ready(Ok(())) => {
                self.lingering.set(Some(LINGER_BYTES_MAX));
                speaker.closed(pipe.why.get());
            }
        }
    }

    /// Reads past what the peer still sends. True: it has heard the end.
    fn has_left(&self, cx: &Context<'_>) -> bool {
        let Some(left) = self.lingering.get().filter(|left| *left > 0) else { return false };
        let mut buffer = self.pipes.scratch.take();
        buffer.resize(READ_BYTES, 0);
        let mut room = ReadBuf::new(&mut buffer);
        let read = self.served.pipe.io(|duplex, cx| duplex.poll_read(cx, &mut room));
        let count = room.filled().len();
        self.pipes.scratch.replace(buffer);
        match read {
            Poll::Ready(Ok(())) if count > 0 => {
                self.lingering.set(Some(left.saturating_sub(count)));
                cx.waker().wake_by_ref();
                false
            }
            read => read.is_ready(),
        }
    }

    fn read(&self, cx: &Context<'_>) {
        let Served { pipe, speaker } = &*self.served;
        for _ in 0..READS_PER_TURN {
            let wants = || !pipe.broken.get() && pipe.ending_ms.get().is_none() && speaker.ready();
            // What was left comes first; it may end with the beginning of something.
            if !pipe.unread.borrow().is_empty() && wants() {
                let unread = pipe.unread.take();
                let taken = speaker.take(&unread);
                self.keep(&unread[taken..]);
            }
            if !wants() || !self.read_once() {
                return;
            }
        }
        // The others' turn.
        cx.waker().wake_by_ref();
    }

    /// One read, and what it brought. False: nothing came.
    fn read_once(&self) -> bool {
        let Served { pipe, speaker } = &*self.served;
        let mut buffer = self.pipes.scratch.take();
        let unread = pipe.unread.take();
        buffer.resize((unread.len() + READ_BYTES).max(buffer.len()), 0);
        buffer[..unread.len()].copy_from_slice(&unread);
        let mut room = ReadBuf::new(&mut buffer[unread.len()..]);
        let came = match pipe.io(|duplex, cx| duplex.poll_read(cx, &mut room)) {
            Poll::Pending => 0,
            Poll::Ready(Ok(())) if !room.filled().is_empty() => room.filled().len(),
            Poll::Ready(_) => {
                pipe.broken.set(true);
                0
            }
        };
        let end = unread.len() + came;
        if came > 0 {
            pipe.heard_ms.set(pipe.pipes.now_ms.get());
            pipe.owed.set(0);
            let taken = speaker.take(&buffer[..end]);
            self.keep(&buffer[taken..end]);
        } else {
            pipe.unread.replace(unread);
        }
        buffer.truncate(READ_BYTES);
        self.pipes.scratch.replace(buffer);
        came > 0
    }

    fn keep(&self, rest: &[u8]) {
        if !rest.is_empty() {
            self.served.pipe.unread.replace(rest.to_vec());
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.pipes.all.borrow_mut().try_remove(self.key);
        let Served { pipe, speaker } = &*self.served;
        pipe.broken.set(true);
        // From now on nothing is written; who still holds it holds a shell.
        pipe.ending_ms.set(Some(0));
        pipe.duplex.take();
        pipe.waker.take();
        if self.lingering.get().is_none() {
            speaker.closed(pipe.why.get());
        }
    }
}
