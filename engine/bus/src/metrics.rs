//! Counters of the bus.
//!
//! **Job.** Shape what mailboxes and the carrier counted. **Read by** the admin surface.
//!
//! Not here: their text (`host::telemetry::metrics`).

use madang_host::telemetry::metrics::Gauge;

use crate::carrier::Reach;

/// What the mailboxes of this machine counted together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LocalNumbers {
    /// Messages put into mailboxes.
    pub delivered: u64,
    /// Messages not put there because the mailbox was full; a gap was told.
    pub lagging: u64,
    /// Topics known now.
    pub topics: u64,
    /// Mailboxes open now.
    pub mailboxes: u64,
}

/// What the carrier counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CarrierNumbers {
    /// Messages given to the server.
    pub sent: u64,
    /// Messages from other machines.
    pub received: u64,
    /// Messages given up because the server was away or too slow; others are told.
    pub dropped: u64,
    /// Messages that came twice and were not delivered again.
    pub duplicates: u64,
    /// Topics in which something of another machine was missed.
    pub gaps: u64,
    /// Times the connection was made, the first included.
    pub connects: u64,
    /// Other machines heard of now.
    pub nodes: u64,
}

/// What the admin surface shows.
pub(crate) fn shown(reach: Reach, local: LocalNumbers, carrier: Option<CarrierNumbers>) -> Vec<Gauge> {
    #[allow(clippy::cast_precision_loss)] // Prometheus numbers are floats
    let one = |name, help, value: u64| Gauge { name, help, values: vec![(Vec::new(), value as f64)] };
    let mut gauges = vec![
        one("madang_bus_topics", "Topics known on this machine.", local.topics),
        one("madang_bus_delivered_total", "Messages put into mailboxes.", local.delivered),
        one(
            "madang_bus_lagging_total",
            "Messages a full mailbox did not get; a gap was told.",
            local.lagging,
        ),
    ];
    if let Some(carrier) = carrier {
        let connected = u64::from(reach == Reach::Connected);
        gauges.extend([
            one("madang_bus_connected", "1 while NATS answers.", connected),
            one("madang_bus_connects_total", "Connections made to NATS.", carrier.connects),
            one("madang_bus_sent_total", "Messages given to NATS.", carrier.sent),
            one("madang_bus_received_total", "Messages from other machines.", carrier.received),
            one("madang_bus_dropped_total", "Messages NATS did not get; gaps are told.", carrier.dropped),
            one("madang_bus_duplicates_total", "Messages that came twice.", carrier.duplicates),
            one(
                "madang_bus_gaps_total",
                "Topics in which another machine's messages were missed.",
                carrier.gaps,
            ),
            one("madang_bus_nodes", "Other machines heard of.", carrier.nodes),
        ]);
    }
    gauges
}
