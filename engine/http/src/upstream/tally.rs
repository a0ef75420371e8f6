//! What happened to connections towards one server, as one worker counts it.
//!
//! **Job.** Three numbers. **Written by** the worker's upstream client. **Read by** whoever made it, from any thread.
//!
//! Not here: requests and their outcomes (the caller's).

use madang_host::telemetry::metrics::Counter;

/// Counts since it was made.
#[derive(Debug, Default)]
pub struct ConnectionTally {
    /// Connections opened, TLS included.
    pub opened: Counter,
    /// Requests that went by a connection kept from before.
    pub reused: Counter,
    /// Handshakes that failed: certificate, name, version.
    pub tls_failed: Counter,
}
