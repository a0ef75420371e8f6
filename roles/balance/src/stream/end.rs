//! How a connection of a stream ended.
//!
//! **Job.** Name every end once: its facts, its stable name for logs and metrics, whether it is worth a warning, its
//! sentence for people. **Filled by** `super`'s steps. **Read by** whoever records (`madang`).
//!
//! Not here: the checks themselves.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use madang_host::connection::{Connection, Cut};
use madang_host::telemetry::streams::StreamBlock;
use madang_wire::client_hello::HelloError;

use crate::pick::NoneUp;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Both sides said their last.
    Done,
    /// Nothing moved for `idle`.
    Idle,
    /// A limit, or the end of a drain.
    Cut(Cut),
    /// The client broke off.
    ClientBroke,
    /// The server broke off.
    ServerBroke,
    /// The client left before it was known where it wants to go.
    ClientLeft,
    /// Its ClientHello cannot be taken.
    Hello(HelloError),
    /// No route takes the name, or the lack of one.
    NoRoute {
        /// What the client asked for.
        name: Option<String>,
    },
    /// TLS was not agreed on.
    Handshake(&'static str),
    /// No server of the pool may be asked.
    NobodyUp {
        /// The pool.
        pool: Arc<str>,
        /// Why.
        why: NoneUp,
    },
    /// Every server is full and so is the line of those who wait.
    QueueFull {
        /// The pool.
        pool: Arc<str>,
    },
    /// No place within `queue.wait`.
    QueueTimeout {
        /// The pool.
        pool: Arc<str>,
    },
    /// No server took the connection.
    NotConnected {
        /// The pool.
        pool: Arc<str>,
        /// What was said at the last attempt.
        last: String,
        /// Attempts made.
        attempts: u8,
    },
    /// The server did not answer (UDP, where answers are expected).
    NoAnswer,
    /// The session made room for a newer one (UDP).
    MadeRoom,
}

impl End {
    /// A stable name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Idle => "idle",
            Self::Cut(cut) => cut.name(),
            Self::ClientBroke => "client-broke",
            Self::ServerBroke => "server-broke",
            Self::ClientLeft => "client-left",
            Self::Hello(error) => error.name(),
            Self::NoRoute { .. } => "no-route",
            Self::Handshake(name) => name,
            Self::NobodyUp { .. } => "pool-nobody-up",
            Self::QueueFull { .. } => "pool-queue-full",
            Self::QueueTimeout { .. } => "pool-queue-timeout",
            Self::NotConnected { .. } => "server-not-connected",
            Self::NoAnswer => "server-no-answer",
            Self::MadeRoom => "made-room",
        }
    }

    /// In HTTP's numbers, as access logs want them.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Done | Self::Idle | Self::ClientLeft | Self::ClientBroke | Self::MadeRoom => 200,
            Self::Cut(Cut::DrainDeadline) => 200,
            Self::Cut(_) => 408,
            Self::Hello(_) | Self::Handshake(_) => 400,
            Self::NoRoute { .. } => 403,
            Self::ServerBroke | Self::NotConnected { .. } => 502,
            Self::NobodyUp { .. } | Self::QueueFull { .. } | Self::QueueTimeout { .. } => 503,
            Self::NoAnswer => 504,
        }
    }

    /// Whether it ended otherwise than its two ends wanted.
    pub const fn failed(&self) -> bool {
        self.status() != 200
    }

    /// What a warning about it is called; `None`: it is not worth one.
    pub const fn warning(&self) -> Option<&'static str> {
        match self {
            Self::Cut(Cut::DrainDeadline) => None,
            Self::Cut(_) | Self::Hello(_) | Self::NoRoute { .. } | Self::Handshake(_) => {
                Some("stream-refused")
            }
            Self::NobodyUp { .. } | Self::QueueFull { .. } | Self::QueueTimeout { .. } => {
                Some("stream-no-server")
            }
            Self::NotConnected { .. } => Some("stream-not-connected"),
            Self::ServerBroke | Self::NoAnswer => Some("stream-broke"),
            _ => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("both sides ended"),
            Self::Idle => f.write_str("nothing moved for too long"),
            Self::Cut(cut) => write!(f, "cut by {cut}"),
            Self::ClientBroke => f.write_str("the client broke off"),
            Self::ServerBroke => f.write_str("the server broke off"),
            Self::ClientLeft => f.write_str("the client left before it said anything"),
            Self::Hello(error) => error.fmt(f),
            Self::NoRoute { name: Some(name) } => write!(f, "no route is for the name {name}"),
            Self::NoRoute { name: None } => f.write_str("no route is for clients that name no server"),
            Self::Handshake(name) => write!(f, "TLS was not agreed on: {name}"),
            Self::NobodyUp { pool, why } => write!(f, "pool {pool}: {why}"),
            Self::QueueFull { pool } => write!(f, "pool {pool}: every place is taken and so is the queue"),
            Self::QueueTimeout { pool } => write!(f, "pool {pool}: no place within queue.wait"),
            Self::NotConnected { pool, last, attempts } => {
                write!(
                    f,
                    "pool {pool}: no server took the connection after {attempts} attempts, the last: {last}"
                )
            }
            Self::NoAnswer => f.write_str("the server did not answer"),
            Self::MadeRoom => f.write_str("it made room for a newer session"),
        }
    }
}

/// A connection or session that ended, to be recorded.
#[derive(Debug)]
#[allow(missing_docs)] // the names say it
pub struct Ended<'a> {
    pub stream: &'a str,
    pub client: SocketAddr,
    /// `TCP`, `TLS` or `UDP`.
    pub protocol: &'static str,
    /// The name the client asked for, where it was looked at.
    pub name: Option<&'a str>,
    pub server: Option<&'a str>,
    pub end: &'a End,
    /// From and to the client.
    pub bytes: (u64, u64),
    pub took: Duration,
}

/// Who is told about streams on one worker.
pub trait StreamObserver {
    /// Where a stream's counts go.
    fn block(&self, stream: &str) -> Arc<StreamBlock>;
    /// TLS was agreed on.
    fn secured(&self, connection: &Connection);
    /// A connection or session is over.
    fn ended(&self, ended: &Ended<'_>);
}
