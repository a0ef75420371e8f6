//! What the role needs of those around it.
//!
//! **Job.** Name it, so that no role knows another one. **Implemented by** `madang`, which joins apps to pools.
//!
//! Not here: doing it.

use crate::app::Tone;
use crate::scale::Load;

/// An instance in the pool of its app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// As a pool writes addresses: `127.0.0.1:40001`, `unix:/…`.
    pub address: String,
    /// 0 to 256.
    pub weight: u16,
    /// Nothing new goes there.
    pub draining: bool,
}

/// How an instance does there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// What its checks say; `None`: nothing yet.
    pub fit: Option<bool>,
    /// Requests open.
    pub in_flight: u32,
    /// What was wrong with the last answer to a check: `no connection`, `status 500`.
    pub check: Option<String>,
}

/// The pools and the log.
pub trait Around {
    /// The members of an app's pool from now on. `hold`: requests wait while none of them is up.
    fn members(&self, app: &str, members: Vec<Member>, hold: bool);
    /// How one of them does. `hurry`: somebody waits for it to be well.
    fn look(&self, app: &str, address: &str, hurry: bool) -> Seen;
    /// What the load of an app is; its CPU is not known here.
    fn load(&self, app: &str) -> Load;
    /// An app that is in the settings no more has ended: its pool may go.
    fn forgotten(&self, app: &str);
    /// For the log.
    fn told(&self, app: &str, tone: Tone, sentence: &str);
}
