//! One-to-one talk: two programs, no server.
//!
//! **Job.** One side waits ([`serve`]), the other comes ([`join`]); then both read and write. **Called by** the command line.
//!
//! What is spoken is lines of UTF-8, so that `nc` can be either side. A line `/nick NAME` tells one's name, as it does to a
//! chat server's `line://`. The side that waits outlives its guests: when it ends, the talk ends; when a guest ends, it waits
//! for the next. One guest at a time; another one is told so.
//!
//! Invariants
//! 1. A side that does not read makes the other side's input wait: nothing is gathered in between.
//! 2. What a side ends with still arrives: it says that no more comes, and waits a moment for the other side to close.
//!
//! Not here: rooms, history.

mod converse;
mod door;
mod join;
mod serve;

pub use join::join;
pub use serve::serve;

use std::path::PathBuf;

use crate::name::Name;

/// What one side of a talk knows beforehand.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// What the other side is told to call us.
    pub name: Option<Name>,
    /// Whom the side that comes believes when TLS is spoken.
    pub trust: crate::Trust,
    /// What the side that waits shows then; `None`: one that is made for this run.
    pub certificate: Option<CertificateFiles>,
}

/// PEM files of a certificate (and those up to its authority) and its key; one file may hold both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificates, the own one first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// What a second guest hears.
const BUSY: &str = "busy: somebody is talking here already; try again later";

const HELP: &str = "what you type is sent line by line; /nick NAME says who you are, /quit (or Ctrl+D) ends";
