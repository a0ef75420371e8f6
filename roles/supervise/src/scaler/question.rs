//! What the program is told, as JSON.
//!
//! **Job.** Name its keys, once. **Made by** `scaler`. **Documented in** docs/scaler.md.
//!
//! Not here: who reads it.

use serde::Serialize;

/// The whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    /// The pool or the app.
    pub pool: String,
    /// Servers that there should be beside those of the settings.
    pub wanted: u32,
    /// Never fewer are wanted.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// For people.
    pub why: String,
    /// Requests open at all servers.
    pub in_flight: u32,
    /// Requests waiting in line.
    pub queued: u32,
    /// Every member of the pool.
    pub servers: Vec<Asked>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    /// In the spelling that the pool uses.
    pub address: String,
    /// By this program, not by the settings.
    pub given: bool,
    /// `up`, `down`, `probing`, `ejected`, `draining` or `disabled`.
    pub state: &'static str,
    /// Requests open there.
    pub in_flight: u32,
    /// To the first byte, of late.
    pub latency_ms: f64,
    /// Percent of one core; only of an app's instances on this machine.
    pub cpu_percent: Option<f64>,
}
