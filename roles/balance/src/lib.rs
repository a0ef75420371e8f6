//! Role balance: pools of servers.
//!
//! **Job.** Decide: which server a request goes to, which servers are fit, what is tried again, who stays where.
//! **Promises.** Decisions are pure: no socket, no clock, no randomness; time and random numbers are handed in, so one seed
//! replays a whole failure (`tests/simulation`). Only `here`, `keeper`, `probe`, `proxy` and what it calls (`hedge`, `hold`,
//! `mirror`, `ways`, `whole`) carry out what is decided.
//! **Called by** routes of the web role, joined by `madang`. **Calls** `http`'s upstream client, `host`, `settings`.
//!
//! Who owns what
//! - A [`pool::Pool`] is an immutable snapshot shared by all workers. What changes while requests run are the atomics of
//!   its [`server::Server`]s, which outlive snapshots.
//! - A [`pick::Picker`] and a [`retry::RetryBudget`] belong to one worker.
//! - A [`health::Health`] belongs to the control side: it alone decides what state a server has.
//!
//! Begin reading at [`pick::Picker::pick`].
//!
//! Not here: connecting, copying bytes (the upstream client), other roles (joined by `madang`).
#![forbid(unsafe_code)]

pub mod breaker;
pub mod chronicle;
pub mod config;
pub mod families;
mod grpc_health;
pub mod health;
mod hedge;
pub mod here;
mod hold;
pub mod keeper;
mod latency;
pub mod ledger;
mod location;
pub mod mirror;
pub mod names;
pub mod pick;
pub mod pool;
mod probe;
pub mod proxy;
mod recent;
pub mod retry;
pub mod server;
pub mod split;
pub mod sticky;
pub mod stream;
pub mod tally;
pub mod view;
pub mod ways;
mod whole;
mod window;
