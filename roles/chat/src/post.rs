//! What hub and workers say to each other.
//!
//! **Job.** Name it, and hold the hub's end that workers keep. **Sent by** `session`, `floor` and `hub`.
//!
//! Invariants
//! 1. A worker takes what the hub sends without waiting for anybody: so the hub may wait for a worker.
//! 2. What the hub sends to one worker arrives in the order in which it was sent.
//! 3. Requests that wait for the hub are bounded; that a connection is gone is always said.
//!
//! Not here: doing it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::ask::Ask;
use crate::event::Event;
use crate::floor::Cut;
use crate::login::Held;
use crate::notice::Notice;
use crate::refusal::Refusal;
use crate::reply::{Joined, Reply};
use crate::rules::Rules;

/// Requests that wait for the hub, of all workers together.
const WAITING_MAX: usize = 8192;

/// A connection: the worker that holds it, its slot there, and which life of that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// The worker's place.
    pub worker: u16,
    /// Its slot there.
    pub slot: u32,
    /// Counted up whenever the slot is used again.
    pub life: u32,
}

/// A conversation as its readers see it, numbered by the hub. The two sides of direct messages have one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

/// Who one says one is. Whoever makes it has checked what can be checked on a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Somebody without a login.
    Guest {
        /// As wished.
        name: String,
        /// What it was given before.
        key: Option<String>,
        /// It can keep a key, and its name is kept for it while it is away.
        keeps: bool,
    },
    /// A user whose token or password was found good.
    User {
        /// The name that identifies the user.
        name: Arc<str>,
        /// May do everything everywhere in this chat.
        admin: bool,
        /// By what; `None`: nothing that could be taken back.
        login: Option<Held>,
    },
    /// A program whose token was found good; it has no connection.
    Post {
        /// The name of its way in the settings.
        post: Arc<str>,
        /// As it wishes to be shown.
        name: Option<String>,
    },
}

/// What a request that comes without a connection (POST, a hook, a command) gets.
pub type Once = oneshot::Sender<Result<Reply, Refusal>>;

/// To the hub.
#[derive(Debug)]
pub enum ToHub {
    /// A connection says who it is.
    Hello {
        /// Which.
        session: SessionId,
        /// What the answer bears.
        tag: u64,
        /// Who.
        claim: Claim,
    },
    /// A connection asks for something.
    Ask {
        /// Which.
        session: SessionId,
        /// What the answer bears.
        tag: u64,
        /// What.
        ask: Ask,
    },
    /// Somebody without a connection asks for something.
    Once {
        /// Who.
        claim: Claim,
        /// What.
        ask: Ask,
        /// Where the answer goes.
        answer: Once,
    },
    /// A subscriber needs the log from this offset on.
    Read {
        /// Whose.
        session: SessionId,
        /// Of what.
        room: RoomId,
        /// The first offset it lacks.
        from: u64,
    },
    /// A connection ended.
    Gone(SessionId),
    /// The settings were changed.
    Rules(Box<Rules>),
    /// The end: nothing new, what is written is told.
    End,
}

/// To a worker.
#[derive(Debug, Clone)]
pub enum ToWorker {
    /// The answer to a request.
    Answer {
        /// Whose.
        session: SessionId,
        /// Which.
        tag: u64,
        /// What.
        outcome: Result<Reply, Refusal>,
    },
    /// The connection is in a conversation from now on.
    Joined {
        /// Which.
        session: SessionId,
        /// Of what.
        room: RoomId,
        /// Its request; none: it did not ask.
        tag: Option<u64>,
        /// What it is told; none: nothing (announcements, which everybody hears).
        joined: Option<Box<Joined>>,
        /// The first offset it lacks.
        next: u64,
        /// The one behind the newest.
        end: u64,
        /// It is in it already and named nothing that it saw: it goes on where it is.
        stays: bool,
    },
    /// It is not in it any more.
    Left {
        /// Which.
        session: SessionId,
        /// Of what.
        room: RoomId,
        /// What it is told, if it did not ask.
        notice: Option<Notice>,
    },
    /// What was written in a conversation.
    Published(Arc<Published>),
    /// What was read from the log for one subscriber.
    Page {
        /// Whose.
        session: SessionId,
        /// What.
        published: Arc<Published>,
        /// From where it was asked for.
        from: u64,
        /// The offset behind the newest in the log.
        end: u64,
    },
    /// The log could not be read now.
    NotRead {
        /// Whose.
        session: SessionId,
        /// Of what.
        room: RoomId,
    },
    /// Something for everybody in a conversation who can take it.
    Around {
        /// Which.
        room: RoomId,
        /// What.
        notice: Arc<Notice>,
        /// Not to this one.
        except: Option<SessionId>,
    },
    /// Something for one connection.
    Tell {
        /// Which.
        session: SessionId,
        /// What.
        notice: Notice,
    },
    /// To be ended.
    Cut {
        /// Which.
        session: SessionId,
        /// Why.
        why: Cut,
    },
}

/// Events of one conversation, one behind another.
#[derive(Debug)]
pub struct Published {
    /// Of which.
    pub room: RoomId,
    /// As its readers call it.
    pub name: Arc<str>,
    /// The offset of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Websocket frames of the JSON protocol, made once for everybody.
    pub frames: Bytes,
    /// For faces of other words.
    pub events: Vec<Event>,
}

/// The hub, as workers reach it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HubLink {
    inbox: mpsc::UnboundedSender<ToHub>,
    waiting: Arc<AtomicUsize>,
}

/// The hub's own end.
#[derive(Debug)]
pub struct Inbox {
    inbox: mpsc::UnboundedReceiver<ToHub>,
    waiting: Arc<AtomicUsize>,
}

impl HubLink {
    /// A way to a hub, and its end.
    pub fn new() -> (Self, Inbox) {
        let (sender, inbox) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        (Self { inbox: sender, waiting: Arc::clone(&waiting) }, Inbox { inbox, waiting })
    }

    /// Hands a request over, unless too many wait.
    ///
    /// # Errors
    /// [`Refusal::Busy`], [`Refusal::ShuttingDown`].
    pub fn ask(&self, what: ToHub) -> Result<(), Refusal> {
        if self.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            return Err(Refusal::Busy { again_ms: 500 });
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.inbox.send(what).map_err(|_| Refusal::ShuttingDown)
    }

    /// Says what must not be lost: bounded by the number of connections.
    pub(crate) fn say(&self, what: ToHub) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // A hub that has ended needs to know nothing.
        let _ = self.inbox.send(what);
    }

    /// New settings, from the next request on.
    pub fn renew(&self, rules: Rules) {
        self.say(ToHub::Rules(Box::new(rules)));
    }

    /// Ends the hub once what waits is done.
    pub fn end(&self) {
        self.say(ToHub::End);
    }

    /// How much waits for the hub.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Inbox {
    pub(crate) async fn recv(&mut self) -> Option<ToHub> {
        let what = self.inbox.recv().await?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(what)
    }

    pub(crate) fn try_recv(&mut self) -> Option<ToHub> {
        let what = self.inbox.try_recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(what)
    }
}
