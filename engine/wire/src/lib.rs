//! Pure bytes <-> values: HTTP/1 heads and framing, paths, dates, the PROXY protocol, the first message of TLS, websocket
//! frames, IRC lines.
//!
//! **Job.** Read what a peer sent strictly and once, write what goes out.
//! **Promises.** No socket, no clock, no randomness, no async: the dependency list proves it. Ambiguity is an error with a name.
//! **Called by** `host` (PROXY, dates) and `http` (heads, bodies), by whoever shows what others wrote ([`clean`]).
//!
//! Not here: who sent it and what it means (`http`, `roles`).
#![forbid(unsafe_code)]

pub mod clean;
pub mod client_hello;
pub mod date;
mod grammar;
pub mod http1;
pub mod irc;
mod malformed;
mod parts;
pub mod path;
pub mod proxy_protocol;
pub mod request;
pub mod websocket;
