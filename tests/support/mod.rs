//! What every test of the real binary needs: the house, raw clients, TLS clients.
//!
//! **Job.** Start the program on free ports, speak to it byte by byte, end it by its own number.
//! **Called by** the modules of `tests/main.rs`. **Calls** the binary, the standard library, rustls.
//!
//! Invariants
//! 1. Nothing waits by sleeping: a line that was printed, bytes that arrived, a process that ended.
//! 2. Every wait has a deadline ([`PATIENCE`]) and says what it waited for when that passes.
//!
//! Not here: what is asserted (the tests).

pub mod client;
pub mod dns;
pub mod echo;
pub mod hooks;
pub mod house;
pub mod http2_upstream;
pub mod irc;
pub mod metrics;
pub mod nats;
#[path = "../../engine/store/tests/support/mod.rs"]
pub mod postgres;
pub mod proxied;
pub mod spoken;
pub mod talk;
pub mod terminal;
pub mod tls;
pub mod tls_upstream;
pub mod upstream;
pub mod users;

use std::time::Duration;

/// The longest that anything here is waited for. Generous: a loaded machine is no bug.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that differ at every place, so that a range from the wrong place cannot look right.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..length).map(|_| next()).collect()
}
