//! Role supervise: apps that are kept alive, deployed, scaled and heard.
//!
//! **Job.** Run programs as the settings say, give the healthy ones to a pool of the app's name, bring new versions in
//! without losing a request.
//! **Promises.** Decisions are pure: no socket, no clock, no randomness; time and random numbers are handed in, so one seed
//! replays a whole failure. Only `keeper` carries out what is decided.
//! **Called by** `madang`, which joins it to the pools of `roles/balance`. **Calls** `host::process`, `settings`.
//!
//! Not here: asking instances whether they are well and sending requests there (`roles/balance`).
#![forbid(unsafe_code)]

pub mod app;
pub mod around;
pub mod config;
pub mod deploy;
pub mod keeper;
pub mod life;
pub mod log;
pub mod order;
pub mod per_connection;
pub mod releases;
pub mod restart;
pub mod scale;
pub mod scaler;
pub mod schedule;
