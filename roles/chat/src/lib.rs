//! Role chat: rooms whose messages arrive once and in order, even over a crash.
//!
//! **Job.** Carry what people write to those who are there, keep it for those who are not. **Promises.** What was acknowledged
//! is on disk and has one offset in its conversation; every subscriber sees offsets in order, without gap or duplicate.
//! **Called by** `madang`, which joins it to sites and to the store.
//!
//! Where to begin: [`ask`] (what one may ask), [`event`] (what happens), [`floor`] (the connections of a worker), `hub` (the one
//! place where messages get their order).
//!
//! Not here: who somebody is (`engine/identity`), how a log is kept (`engine/store`), sockets (`engine/http`).
#![forbid(unsafe_code)]

pub mod ask;
pub mod config;
pub mod cursor;
pub mod event;
pub mod exact;
pub mod floor;
pub mod here;
pub mod hooks;
pub mod hub;
pub mod irc;
pub mod law;
pub mod line;
pub mod listen;
pub mod login;
pub mod names;
pub mod notice;
pub mod pace;
pub mod pipe;
pub mod post;
pub mod protocol;
pub mod refusal;
pub mod reply;
pub mod rules;
mod seat;
pub mod session;
pub mod web;
