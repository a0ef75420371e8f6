//! Counters of streams (layer 4), and their Prometheus text.
//!
//! **Job.** Count connections and sessions by how they ended, and bytes as they move. **Called by** `roles/balance` (count),
//! `metrics` (render, sum).
//!
//! Invariants
//! 1. A block is written by one worker; bytes are plain load and store.
//! 2. Labels are bounded: streams by the settings ([`STREAMS_MAX`], then `_other`), ends by `&'static str`s in the code.
//!
//! Not here: lines of the access log (`access`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::metrics::{Counter, head, line};

/// Streams with their own labels; further ones share `_other`.
pub const STREAMS_MAX: usize = 200;

/// One stream on one worker.
#[derive(Debug, Default)]
pub struct StreamBlock {
    /// Connections and sessions begun.
    pub begun: Counter,
    /// Bytes from clients.
    pub bytes_in: Counter,
    /// Bytes to clients.
    pub bytes_out: Counter,
    /// Datagrams from clients that went nowhere.
    pub dropped: Counter,
    ended: Mutex<BTreeMap<&'static str, u64>>,
    failed: Counter,
    over: Counter,
}

impl StreamBlock {
    /// A connection or session ended so; `failed`: not as its two ends wanted.
    pub fn ended(&self, how: &'static str, failed: bool) {
        self.over.add(1);
        self.failed.add(u64::from(failed));
        // Once per connection, and contended by a scrape alone.
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner).entry(how).or_default() += 1;
    }
}

/// What one stream did, summed over workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct StreamSummary {
    pub name: String,
    pub open: u64,
    pub total: u64,
    pub failed: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub dropped: u64,
}

/// All blocks of each stream.
pub(super) type Blocks = BTreeMap<String, Vec<Arc<StreamBlock>>>;

/// Every stream, for `madang status`.
pub(super) fn summaries(all: Blocks) -> Vec<StreamSummary> {
    let summary = |(name, blocks): (String, Vec<Arc<StreamBlock>>)| {
        let sum = |of: fn(&StreamBlock) -> &Counter| blocks.iter().map(|block| of(block).get()).sum::<u64>();
        let total = sum(|block| &block.begun);
        StreamSummary {
            name,
            open: total.saturating_sub(sum(|block| &block.over)),
            total,
            failed: sum(|block| &block.failed),
            bytes_in: sum(|block| &block.bytes_in),
            bytes_out: sum(|block| &block.bytes_out),
            dropped: sum(|block| &block.dropped),
        }
    };
    all.into_iter().map(summary).collect()
}

pub(super) fn render(out: &mut String, all: Blocks) {
    if all.is_empty() {
        return;
    }
    let name = "madang_stream_connections_total";
    head(out, name, "counter", "Connections and UDP sessions of streams, by how they ended.");
    for (stream, blocks) in &all {
        let mut ended = BTreeMap::new();
        for block in blocks {
            for (how, count) in block.ended.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                *ended.entry(*how).or_insert(0) += count;
            }
        }
        for (how, count) in ended {
            line(out, name, &[("stream", stream), ("end", how)], count as f64);
        }
    }
    let all = summaries(all);
    head(out, "madang_stream_open", "gauge", "Connections and UDP sessions open now.");
    for one in &all {
        line(out, "madang_stream_open", &[("stream", &one.name)], one.open as f64);
    }
    head(out, "madang_stream_bytes_total", "counter", "Bytes passed on, seen from the client.");
    for one in &all {
        let name = "madang_stream_bytes_total";
        line(out, name, &[("stream", &one.name), ("direction", "in")], one.bytes_in as f64);
        line(out, name, &[("stream", &one.name), ("direction", "out")], one.bytes_out as f64);
    }
    head(out, "madang_stream_datagrams_dropped_total", "counter", "Datagrams of clients that went nowhere.");
    for one in &all {
        line(out, "madang_stream_datagrams_dropped_total", &[("stream", &one.name)], one.dropped as f64);
    }
}
