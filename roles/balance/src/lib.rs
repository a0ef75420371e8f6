//! Role balance: pools of servers.
//!
//! **Job.** Decide: which server a request goes to, which servers are fit, what is tried again, who stays where.
//! **Promises.** Pure. No socket, no clock, no randomness: time and random numbers are handed in, so one seed replays a
//! whole failure (`tests/simulation.rs`).
//! **Called by** the proxy and the probes, which do what is decided here. **Calls** `settings`.
//!
//! Who owns what
//! - A [`pool::Pool`] is an immutable snapshot shared by all workers. What changes while requests run are the atomics of
//!   its [`server::Server`]s, which outlive snapshots.
//! - A [`pick::Picker`] and a [`retry::RetryBudget`] belong to one worker.
//! - A [`health::Health`] belongs to the control side: it alone decides what state a server has.
//!
//! Begin reading at [`pick::Picker::pick`].
//!
//! Not here: connecting, asking, copying bytes (the upstream client), other roles (joined by `madang/src/assemble.rs`).
#![forbid(unsafe_code)]

pub mod breaker;
pub mod config;
pub mod health;
pub mod here;
pub mod keeper;
mod latency;
pub mod pick;
pub mod pool;
mod probe;
pub mod proxy;
mod random;
pub mod retry;
pub mod server;
pub mod split;
pub mod sticky;
mod window;
