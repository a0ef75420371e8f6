//! The seam between the bus of one machine and what carries it to others.
//!
//! **Job.** Say what a carrier must do. **Implemented by** `nats`; a machine on its own has none. **Called by** `exchange`.
//!
//! Invariants of every carrier
//! 1. No call waits, for the network or for anything else.
//! 2. What one handle publishes in one topic arrives in that order everywhere, or a gap is told in its place.
//! 3. Nothing is delivered twice.
//!
//! Not here: delivery on this machine (`exchange`).

use std::sync::Arc;

use bytes::Bytes;

use crate::exchange::Line;
use crate::metrics::CarrierNumbers;

/// Whether other machines hear us now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// There are no others: the bus of one machine.
    Alone,
    /// The server answers.
    Connected,
    /// The server is away: this machine hears itself, the others will be told that they missed something.
    Away,
}

/// Carries publications to other machines and theirs to us.
pub(crate) trait Carrier: Send + Sync {
    /// Sends a publication to the machines that want the topic, some time soon.
    fn publish(&self, line: &Arc<Line>, bytes: &Bytes);
    /// A batch of publications is complete.
    fn wake(&self);
    /// From now on this machine wants the topic, or no longer does. `number` comes back in [`Line::live`].
    fn interest(&self, line: &Arc<Line>, number: u64, wanted: bool);
    /// Whether others hear us.
    fn reach(&self) -> Reach;
    /// What was counted.
    fn numbers(&self) -> CarrierNumbers;
    /// Ends it.
    fn close(&self);
}
