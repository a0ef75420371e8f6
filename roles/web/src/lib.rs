//! Role web: sites, routes, files, middleware.
//!
//! **Job.** Answer requests of sites as their settings say. **Promises.** One visible pipeline; no escape from a root.
//! **Called by** `http` through its `Service`. **Calls** `http`'s types, `host`'s telemetry.
//!
//! Begin reading at [`phases::PIPELINE`]: the way of a request, in order.
//!
//! Not here: sockets and protocols (`http`), other roles (joined by `madang/src/assemble.rs`).

mod actions;
mod auth;
mod client;
pub mod config;
mod cors;
mod error_page;
pub mod files;
mod grpc_error;
mod hosts;
mod inline;
mod limit;
mod limit_fields;
mod look;
pub mod pattern;
pub mod phases;
mod record;
mod routes;
mod shape;
mod site;
pub mod template;
#[cfg(test)]
mod testing;
pub mod verdict;
mod web;
#[cfg(test)]
mod web_tests;

pub use auth::login;
pub use auth::{HashError, check_hash, hash_password};
pub use record::Recorder;
pub use web::{Roles, WebShared, WebWorker};
