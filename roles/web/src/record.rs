//! Where the web role tells what happened.
//!
//! **Job.** The one small trait between the pipeline and telemetry. **Implemented by** `madang` (telemetry) and tests.
//! **Called by** `web` once per request, by `phases` (explain) for failures, by `site` while it is made ready.
//!
//! Not here: counters and log lines (`host::telemetry`).

use madang_host::connection::Connection;
use madang_http::exchange::{Exchange, Outcome};

use crate::verdict::Failure;

/// Takes what is worth counting or writing down. On the hot path: never waits.
pub trait Recorder {
    /// An answer left, or broke off.
    fn record(&self, exchange: &Exchange, outcome: Outcome);

    /// A request never became one: the protocol refused it.
    fn refused(&self, connection: &Connection, status: u16, what: &'static str);

    /// A TLS handshake was completed.
    fn secured(&self, connection: &Connection) {
        let _ = connection;
    }

    /// A step failed: the facts, which the client does not get to see. The request is recorded in any case.
    fn failed(&self, exchange: &Exchange, failure: &Failure) {
        let _ = (exchange, failure);
    }

    /// A part of a site could not be made ready; the rest of it works. Told once per worker and reload.
    fn trouble(&self, what: &'static str, detail: &str) {
        let _ = (what, detail);
    }
}
