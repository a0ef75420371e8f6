//! What hub and workers say to each other.
//!
//! **Job.** Name it. **Sent by** `session`, `floor` and `hub`, over bounded channels.
//!
//! Invariants
//! 1. A worker always takes what the hub sends, without waiting for anybody: so the hub may wait for a worker.
//! 2. What the hub sends to one worker arrives in the order in which it was sent.
//!
//! Not here: doing it.

use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::Request;
use crate::town::SessionId;

/// To the hub.
#[derive(Debug)]
pub enum ToHub {
    /// A client asks for something.
    Request(SessionId, Request),
    /// A subscriber needs the log from this offset on.
    Read {
        /// Whose.
        session: SessionId,
        /// Of which room.
        room: Arc<str>,
        /// The first offset it lacks.
        from: u64,
    },
    /// A connection ended.
    Gone(SessionId),
}

/// To a worker.
#[derive(Debug, Clone)]
pub enum ToWorker {
    /// A message for one client: a whole websocket frame.
    Tell(SessionId, Bytes),
    /// The client is in the room from now on.
    Joined {
        /// Who.
        session: SessionId,
        /// Where.
        room: Arc<str>,
        /// The first offset it lacks.
        next: u64,
        /// The one behind the last.
        end: u64,
        /// The answer to its request: a whole frame.
        answer: Bytes,
    },
    /// The client is no longer in the room.
    Left {
        /// Who.
        session: SessionId,
        /// Where.
        room: Arc<str>,
    },
    /// What was written in a room.
    Published(Arc<Published>),
    /// What was read from the log for one subscriber.
    Page {
        /// Whose.
        session: SessionId,
        /// What.
        published: Arc<Published>,
        /// The offset behind the last in the log.
        end: u64,
        /// Told before it, if something before it is not kept any more: a whole frame.
        gap: Option<Bytes>,
    },
    /// The log could not be read.
    NotRead {
        /// Whose.
        session: SessionId,
        /// Of which room.
        room: Arc<str>,
    },
}

/// Messages of one room, one behind another.
#[derive(Debug)]
pub struct Published {
    /// Where.
    pub room: Arc<str>,
    /// The offset of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Websocket frames, made once for everybody.
    pub frames: Bytes,
}
