//! Every open connection, and the clock that ends the ones that take too long.
//!
//! **Job.** Keep, per worker, one entry per open connection (who, where, what it does, since when, how many bytes) and
//! cut those that break a time limit. `madang connections` and drain read the same table.
//! **Called by** `worker` (sweep), `http` (phases, bytes). **Calls** nothing of ours but the clock.
//!
//! Time limits cost the hot path three cell stores: a connection says which phase it is in, and the worker's sweep
//! (every 250 ms) compares phase, start and progress with the limits. No timer exists per connection or request.
//!
//! Invariants
//! 1. An entry lives exactly as long as its connection's task.
//! 2. A cut is sticky: once set, every wait of the connection ends with it.
//!
//! Not here: admission (`gate`), sockets (`net`).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use serde::Serialize;
use slab::Slab;
use tokio::sync::oneshot;

use crate::gate::{Permit, Refusal};
use crate::tls::TlsFacts;

/// What a connection is doing; each phase has its own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// PROXY header and TLS handshake. Limit: `handshake_timeout` in all.
    Handshake,
    /// A request head is expected or incomplete. Limit: `head_timeout` in all.
    Head,
    /// Between requests. Limit: `keep_alive_timeout`.
    Idle,
    /// A request body is awaited. Limits: `body_idle_timeout` without a byte, `body_rate_min` on the whole.
    Body,
    /// A handler works; its own limits apply.
    Handling,
    /// An answer is being written. Limits: `write_idle_timeout` without a byte, `write_rate_min` on the whole.
    Writing,
    /// Upgraded: the role's own limits apply.
    Tunnel,
    /// Said goodbye; reads what the peer still sends so that it sees the answer. Limit: 2 s.
    Closing,
}

/// Why a connection was ended by us before its peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// `handshake_timeout`.
    HandshakeTimeout,
    /// `head_timeout`.
    HeadTimeout,
    /// `keep_alive_timeout`: the normal end of an idle connection.
    KeepAliveTimeout,
    /// `body_idle_timeout`.
    BodyIdle,
    /// `body_rate_min`.
    BodyTooSlow,
    /// `write_idle_timeout`.
    WriteIdle,
    /// `write_rate_min`.
    WriteTooSlow,
    /// The peer did not close in time after our goodbye.
    LingerTimeout,
    /// The drain deadline passed.
    DrainDeadline,
}

impl Cut {
    /// The limit's name in `[limits]`, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HeadTimeout => "head_timeout",
            Self::KeepAliveTimeout => "keep_alive_timeout",
            Self::BodyIdle => "body_idle_timeout",
            Self::BodyTooSlow => "body_rate_min",
            Self::WriteIdle => "write_idle_timeout",
            Self::WriteTooSlow => "write_rate_min",
            Self::LingerTimeout => "linger",
            Self::DrainDeadline => "drain",
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The limits the sweep applies. A snapshot of `[limits]`; a reload swaps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseLimits {
    /// Whole time for PROXY header and TLS handshake.
    pub handshake: Duration,
    /// Whole time for a request head, from the connection's start or the head's first byte.
    pub head: Duration,
    /// Time between requests.
    pub keep_alive: Duration,
    /// Longest pause inside a request body.
    pub body_idle: Duration,
    /// Least average rate of a request body, bytes a second; 0 is off.
    pub body_rate_min: u64,
    /// Longest pause of a peer that reads an answer.
    pub write_idle: Duration,
    /// Least average rate at which a peer takes an answer, bytes a second; 0 is off.
    pub write_rate_min: u64,
    /// How long a body or an answer may be slow before the rates count.
    pub rate_grace: Duration,
}

impl Default for PhaseLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            body_rate_min: 128,
            write_idle: Duration::from_secs(30),
            write_rate_min: 128,
            rate_grace: Duration::from_secs(10),
        }
    }
}

const LINGER: Duration = Duration::from_secs(2);

/// What a peer may still send after our last words before nobody reads it any more. It keeps its connection for its time
/// all the same.
pub const LINGER_BYTES_MAX: usize = 256 * 1024;

impl PhaseLimits {
    /// Judges one phase: how long it lasts, how long nothing moved, how many bytes moved in it.
    pub fn judge(&self, phase: Phase, lasted: Duration, quiet: Duration, bytes: u64) -> Option<Cut> {
        let over = |limit: Duration, cut: Cut| (lasted > limit).then_some(cut);
        let too_slow = |rate: u64| {
            let counted = lasted.saturating_sub(self.rate_grace);
            rate > 0
                && !counted.is_zero()
                && u128::from(bytes) * 1000 < u128::from(rate) * counted.as_millis()
        };
        match phase {
            Phase::Handshake => over(self.handshake, Cut::HandshakeTimeout),
            Phase::Head => over(self.head, Cut::HeadTimeout),
            Phase::Idle => over(self.keep_alive, Cut::KeepAliveTimeout),
            Phase::Body if quiet > self.body_idle => Some(Cut::BodyIdle),
            Phase::Body => too_slow(self.body_rate_min).then_some(Cut::BodyTooSlow),
            Phase::Writing if quiet > self.write_idle => Some(Cut::WriteIdle),
            Phase::Writing => too_slow(self.write_rate_min).then_some(Cut::WriteTooSlow),
            Phase::Closing => over(LINGER, Cut::LingerTimeout),
            Phase::Handling | Phase::Tunnel => None,
        }
    }
}

/// The two ends of a connection, as the operator thinks of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client: after the PROXY header, where one is trusted.
    pub peer: SocketAddr,
    /// Our end: likewise.
    pub local: SocketAddr,
}

/// One open connection.
pub struct Connection {
    /// Unique on this worker for its lifetime.
    pub id: u64,
    /// The listener's address as written in the settings.
    pub listener: Rc<str>,
    /// Whether bytes travel under TLS.
    pub secure: bool,
    ends: Cell<Ends>,
    tls: RefCell<Option<Box<TlsFacts>>>,
    role: Cell<&'static str>,
    user: RefCell<Option<Rc<str>>>,
    born_ms: u64,
    phase: Cell<Phase>,
    phase_ms: Cell<u64>,
    moved_ms: Cell<u64>,
    phase_bytes: Cell<u64>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    requests: Cell<u64>,
    cut: Cell<Option<Cut>>,
    draining: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    worker: Rc<Connections>,
    key: usize,
    permit: RefCell<Option<Permit>>,
}

impl Connection {
    /// Stands where no connection is: in pools, between uses. In no worker's table, holds no permit.
    pub fn nobody() -> Rc<Self> {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Connections::new(PhaseLimits::default()).enter(
            "".into(),
            false,
            Ends { peer: nowhere, local: nowhere },
            None,
        )
    }
    /// Stands for this connection where work goes on without it: the same ends, in no worker's table, without a permit.
    pub fn detached(&self) -> Rc<Self> {
        let (listener, ends) = (Rc::clone(&self.listener), self.ends.get());
        Connections::new(PhaseLimits::default()).enter(listener, self.secure, ends, None)
    }
    /// Client and server address.
    pub fn ends(&self) -> Ends {
        self.ends.get()
    }
    /// The client's address.
    pub fn peer(&self) -> SocketAddr {
        self.ends.get().peer
    }
    /// What a trusted PROXY header said: the real client is who counts at the gate from now on.
    pub fn set_ends(&self, ends: Ends) -> Result<(), Refusal> {
        self.ends.set(ends);
        let permit = self.permit.borrow_mut().take();
        if let Some(permit) = permit {
            *self.permit.borrow_mut() = Some(permit.readdress(ends.peer.ip())?);
        }
        Ok(())
    }
    /// What the TLS handshake agreed on; `None` on plain connections and before the handshake.
    pub fn tls(&self) -> Option<std::cell::Ref<'_, TlsFacts>> {
        std::cell::Ref::filter_map(self.tls.borrow(), |tls| tls.as_deref()).ok()
    }
    /// Called once, after the handshake.
    pub fn set_tls(&self, facts: TlsFacts) {
        *self.tls.borrow_mut() = Some(Box::new(facts));
    }
    /// The role that serves it (`web`, `chat`, …).
    pub fn set_role(&self, role: &'static str) {
        self.role.set(role);
    }
    /// The user it speaks for, once known.
    pub fn set_user(&self, user: Option<Rc<str>>) {
        *self.user.borrow_mut() = user;
    }
    /// What it does now.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }
    /// Enters a phase: its time and byte count start anew.
    pub fn enter(&self, phase: Phase) {
        let now = self.worker.now_ms.get();
        self.phase.set(phase);
        self.phase_ms.set(now);
        self.moved_ms.set(now);
        self.phase_bytes.set(0);
    }
    /// Enters a phase unless it is already in it.
    pub fn enter_if_new(&self, phase: Phase) {
        if self.phase.get() != phase {
            self.enter(phase);
        }
    }
    /// Bytes came from the peer.
    pub fn received(&self, bytes: usize) {
        self.bytes_in.set(self.bytes_in.get() + bytes as u64);
        self.moved(bytes);
    }
    /// Bytes left for the peer.
    pub fn sent(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
        self.moved(bytes);
    }
    fn moved(&self, bytes: usize) {
        self.phase_bytes.set(self.phase_bytes.get() + bytes as u64);
        self.moved_ms.set(self.worker.now_ms.get());
    }
    /// A request was read; returns how many there were, this one included.
    pub fn count_request(&self) -> u64 {
        let count = self.requests.get() + 1;
        self.requests.set(count);
        count
    }
    /// Bytes in and out so far, on the socket or under TLS as the protocol sees them.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.get(), self.bytes_out.get())
    }
    /// Whether the listener asks its connections to end after the current request.
    pub fn draining(&self) -> bool {
        self.draining.get() || self.worker.draining.get()
    }
    /// The time limits that hold now.
    pub fn phase_limits(&self) -> PhaseLimits {
        self.worker.limits.get()
    }
    /// Whether a connection without a request should end now.
    pub fn ends_when_idle(&self) -> bool {
        self.draining.get() || self.worker.ends_idle.get()
    }
    /// Asks this one connection to end after its current request.
    pub fn drain(&self) {
        self.draining.set(true);
        self.wake();
    }
    /// Registers the task to be woken by a cut; tells whether there is one. Every wait of the connection asks this.
    pub fn poll_cut(&self, cx: &Context<'_>) -> Option<Cut> {
        if let Some(cut) = self.cut.get() {
            return Some(cut);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|have| have.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        None
    }
    /// Why it is being ended by us, if it is.
    pub fn was_cut(&self) -> Option<Cut> {
        self.cut.get()
    }
    /// Ends it: the first reason stays.
    pub fn cut(&self, why: Cut) {
        if self.cut.get().is_none() {
            self.cut.set(Some(why));
            self.wake();
        }
    }
    /// Forgets a cut so that a last answer (408) can still be written, in the closing phase with its own limit.
    pub fn begin_goodbye(&self) {
        self.cut.set(None);
        self.enter(Phase::Closing);
    }
    /// Wakes the connection's own task: one of its streams has something to tell.
    pub fn nudge(&self) {
        self.wake();
    }
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    fn view(&self, now_ms: u64) -> View {
        let ends = self.ends.get();
        View {
            id: self.id,
            role: self.role.get(),
            client: ends.peer.to_string(),
            server: ends.local.to_string(),
            listener: self.listener.to_string(),
            tls: self.tls.borrow().as_ref().map(|tls| tls.version.to_owned()),
            state: self.phase.get(),
            age_ms: now_ms.saturating_sub(self.born_ms),
            state_ms: now_ms.saturating_sub(self.phase_ms.get()),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            requests: self.requests.get(),
            user: self.user.borrow().as_deref().map(str::to_owned),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut table = self.worker.table.borrow_mut();
        table.try_remove(self.key);
        if table.is_empty()
            && let Some(empty) = self.worker.empty.borrow_mut().take()
        {
            // Nobody waits any more: then nobody needs to know.
            let _ = empty.send(());
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} {:?})", self.ends.get().peer, self.phase.get())
    }
}

/// A connection as `madang connections` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    /// Unique on its worker.
    pub id: u64,
    /// The role that serves it.
    pub role: &'static str,
    /// Client address.
    pub client: String,
    /// Server address.
    pub server: String,
    /// Listener as written in the settings.
    pub listener: String,
    /// TLS version, if any.
    pub tls: Option<String>,
    /// What it does.
    pub state: Phase,
    /// Milliseconds since it was accepted.
    pub age_ms: u64,
    /// Milliseconds in this state.
    pub state_ms: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Requests read.
    pub requests: u64,
    /// Known user.
    pub user: Option<String>,
}

/// The table of one worker's connections.
pub struct Connections {
    table: RefCell<Slab<std::rc::Weak<Connection>>>,
    next_id: Cell<u64>,
    now_ms: Cell<u64>,
    draining: Cell<bool>,
    ends_idle: Cell<bool>,
    empty: RefCell<Option<oneshot::Sender<()>>>,
    limits: Cell<PhaseLimits>,
}

impl Connections {
    /// An empty table.
    pub fn new(limits: PhaseLimits) -> Rc<Self> {
        Rc::new(Self {
            table: RefCell::default(),
            next_id: Cell::new(1),
            now_ms: Cell::new(0),
            draining: Cell::new(false),
            ends_idle: Cell::new(false),
            empty: RefCell::new(None),
            limits: Cell::new(limits),
        })
    }

    /// Enters a new connection.
    pub fn open(
        self: &Rc<Self>,
        listener: Rc<str>,
        secure: bool,
        ends: Ends,
        permit: Permit,
    ) -> Rc<Connection> {
        self.enter(listener, secure, ends, Some(permit))
    }

    fn enter(
        self: &Rc<Self>,
        listener: Rc<str>,
        secure: bool,
        ends: Ends,
        permit: Option<Permit>,
    ) -> Rc<Connection> {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let now = self.now_ms.get();
        let mut table = self.table.borrow_mut();
        let slot = table.vacant_entry();
        let connection = Rc::new(Connection {
            id,
            listener,
            secure,
            ends: Cell::new(ends),
            tls: RefCell::new(None),
            role: Cell::new("web"),
            user: RefCell::new(None),
            born_ms: now,
            phase: Cell::new(Phase::Handshake),
            phase_ms: Cell::new(now),
            moved_ms: Cell::new(now),
            phase_bytes: Cell::new(0),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            requests: Cell::new(0),
            cut: Cell::new(None),
            draining: Cell::new(false),
            waker: RefCell::new(None),
            worker: Rc::clone(self),
            key: slot.key(),
            permit: RefCell::new(permit),
        });
        slot.insert(Rc::downgrade(&connection));
        connection
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.table.borrow().len()
    }

    /// Moves time on and cuts whoever broke a limit. Costs one pass over the table.
    pub fn sweep(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        let limits = self.limits.get();
        // Wakers run later (they only queue tasks), so the table is not changed under this loop.
        for (_, entry) in self.table.borrow().iter() {
            let Some(connection) = entry.upgrade() else { continue };
            let lasted = Duration::from_millis(now_ms.saturating_sub(connection.phase_ms.get()));
            let quiet = Duration::from_millis(now_ms.saturating_sub(connection.moved_ms.get()));
            if let Some(cut) =
                limits.judge(connection.phase.get(), lasted, quiet, connection.phase_bytes.get())
            {
                connection.cut(cut);
            }
        }
    }

    /// New limits from a reload; they hold for open connections too.
    pub fn set_limits(&self, limits: PhaseLimits) {
        self.limits.set(limits);
    }

    /// From now on every connection ends after its current request, with `idle_too` also those without one. The
    /// receiver resolves when the last is gone: drain is counted, never slept.
    pub fn drain(&self, idle_too: bool) -> oneshot::Receiver<()> {
        self.draining.set(true);
        self.ends_idle.set(idle_too);
        let (sender, empty) = oneshot::channel();
        if self.table.borrow().is_empty() {
            // The receiver is in our hands: it cannot be gone.
            let _ = sender.send(());
        } else {
            *self.empty.borrow_mut() = Some(sender);
            for (_, entry) in self.table.borrow().iter() {
                if let Some(connection) = entry.upgrade() {
                    connection.wake();
                }
            }
        }
        empty
    }

    /// Every connection of one listener ends after its current request.
    pub fn drain_listener(&self, listener: &str) {
        for (_, entry) in self.table.borrow().iter() {
            if let Some(connection) = entry.upgrade().filter(|connection| &*connection.listener == listener) {
                connection.drain();
            }
        }
    }

    /// Ends all that are left.
    pub fn cut_all(&self, why: Cut) {
        for (_, entry) in self.table.borrow().iter() {
            if let Some(connection) = entry.upgrade() {
                connection.cut(why);
            }
        }
    }

    /// Everything, for people and programs that ask.
    pub fn views(&self) -> Vec<View> {
        let now_ms = self.now_ms.get();
        self.table.borrow().iter().filter_map(|(_, entry)| Some(entry.upgrade()?.view(now_ms))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: each phase is judged by its own limit and by nothing else.
    // Method: one table of (phase, lasted, quiet, bytes) around each limit.
    #[test]
    fn a_phase_is_cut_just_past_its_limit_and_not_before() {
        let s = Duration::from_secs;
        check(Phase::Handshake, s(10), s(10), 0, None);
        check(Phase::Handshake, s(11), s(0), 9999, Some(Cut::HandshakeTimeout));
        check(Phase::Head, s(11), s(0), 9999, Some(Cut::HeadTimeout));
        check(Phase::Idle, s(75), s(75), 0, None);
        check(Phase::Idle, s(76), s(76), 0, Some(Cut::KeepAliveTimeout));
        check(Phase::Body, s(31), s(31), 1_000_000, Some(Cut::BodyIdle));
        check(Phase::Body, s(20), s(1), 1279, Some(Cut::BodyTooSlow));
        check(Phase::Body, s(20), s(1), 1280, None);
        check(Phase::Body, s(10), s(1), 0, None);
        check(Phase::Writing, s(31), s(31), 1_000_000, Some(Cut::WriteIdle));
        check(Phase::Writing, s(3600), s(1), 1000, Some(Cut::WriteTooSlow));
        check(Phase::Closing, s(3), s(0), 5, Some(Cut::LingerTimeout));
        check(Phase::Handling, s(100_000), s(100_000), 0, None);
        check(Phase::Tunnel, s(100_000), s(100_000), 0, None);

        #[track_caller]
        fn check(phase: Phase, lasted: Duration, quiet: Duration, bytes: u64, want: Option<Cut>) {
            assert_eq!(PhaseLimits::default().judge(phase, lasted, quiet, bytes), want);
        }
    }
}
