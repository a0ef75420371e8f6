//! A process that starts programs for us, each with a connection as its standard input and output.
//!
//! **Job.** Say what the two sides tell each other. [`handle`] is our side; [`serve`] runs in the process itself.
//! **Called by** `roles/supervise`. **Calls** the kernel.
//!
//! Why: rights, control group and mounts are set up once, by the second self that becomes the zygote, and every program
//! inherits them; so a program costs one fork and one exec, and neither happens in the server's own process
//! (docs/decisions/0020-a-program-for-each-connection.md).
//!
//! Invariants
//! 1. The zygote lives as long as our end of its socket: when the server is gone it ends what it started, then itself.
//! 2. A program is in a process group of its own; when it has ended, its group is killed before its number is given back.
//! 3. A message is whole or not there (SOCK_SEQPACKET), and at most [`MESSAGE_BYTES_MAX`].
//!
//! Not here: when programs are started and ended (`roles/supervise`).

pub mod handle;
pub(super) mod serve;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::exit::Exit;

/// The longest message in bytes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// How programs are asked to end when the server is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// The signal (signal(7)).
    pub signal: i32,
    /// How long after it SIGKILL comes.
    pub grace: Duration,
}

/// What the zygote is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Start a program. Two descriptors come along: its connection, its standard error.
    Start {
        /// What it is called from here on; never used again.
        number: u32,
        /// What it finds in its environment besides the zygote's own.
        environment: Vec<(String, String)>,
    },
    /// Signal a program and its group. One that has ended is no error.
    Signal {
        /// Which.
        number: u32,
        /// Which signal.
        signal: i32,
    },
}

/// What the zygote tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It runs.
    Started {
        /// As ordered.
        number: u32,
        /// Its process.
        process: u32,
    },
    /// It does not.
    NotStarted {
        /// As ordered.
        number: u32,
        /// One sentence.
        why: String,
    },
    /// It has ended, and nothing of its group is left.
    Ended {
        /// As ordered.
        number: u32,
        /// Its exit code.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
        /// It left a core dump.
        core: bool,
    },
}

impl Report {
    /// How a program ended, from what was told.
    pub const fn exit(code: Option<i32>, signal: Option<i32>, core: bool) -> Exit {
        match (code, signal) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(number)) => Exit::Signal { number, core },
            (None, None) => Exit::Unknown,
        }
    }
}
