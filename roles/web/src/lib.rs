//! Role web: sites, routes, files, middleware.
//!
//! **Job.** Answer requests of sites as their settings say. **Promises.** One visible pipeline; no escape from a root.
//! **Called by** `http` through its `Service`. **Calls** `http`'s types, `host`'s telemetry.
//!
//! Not here: sockets and protocols (`http`), other roles (joined by `madang/src/assemble.rs`).

pub mod config;
mod hosts;
mod limit;
pub mod pattern;
mod routes;
pub mod template;
#[cfg(test)]
mod testing;
pub mod verdict;
