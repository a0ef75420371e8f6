//! What the house tells about itself: counters, the access log, the error log.
//!
//! **Job.** Count and note on the hot path without locks or waiting; write and show elsewhere.
//! **Called by** everyone. **Calls** files and the clock.
//!
//! Invariants
//! 1. A worker counts in blocks only it writes; readers sum them.
//! 2. Log lines are made on the worker and written by one thread; when that thread lags, lines are dropped and counted.
//! 3. Secrets never reach a line: values of credentials are not passed in.
//!
//! Not here: what is worth telling (callers), alerts.

pub mod access;
pub mod error_log;
pub mod metrics;
pub mod rotate;
pub mod stream_access;
pub mod streams;
pub mod writer;
