//! Counters of a store.
//!
//! **Job.** Count commits, group sizes, faults and times. **Written by** the writer's side. **Read by** the admin surface.
//!
//! Not here: their text (`host::telemetry::metrics`).

use std::time::Duration;

use madang_host::telemetry::metrics::{BUCKETS, Counter, Durations, Gauge, Histogram};

/// What a store's writer counts.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) commits: Counter,
    pub(crate) operations: Counter,
    pub(crate) faults: Counter,
    pub(crate) refused: std::sync::atomic::AtomicU64,
    commit: Histogram,
}

impl Numbers {
    /// A group was committed, or failed.
    pub(crate) fn group(&self, operations: usize, took: Duration) {
        self.commits.add(1);
        self.operations.add(operations as u64);
        self.commit.observe(took);
    }

    /// What the admin surface shows.
    pub(crate) fn shown(&self, waiting_writes: usize, waiting_reads: usize) -> (Vec<Gauge>, Vec<Durations>) {
        let one = |name, help, value: f64| Gauge { name, help, values: vec![(Vec::new(), value)] };
        #[allow(clippy::cast_precision_loss)] // Prometheus numbers are floats
        let count = |value: u64| value as f64;
        let line = |what: &str, waiting: usize| (vec![("line", what.to_owned())], count(waiting as u64));
        let gauges = vec![
            one("madang_store_commits_total", "Groups committed.", count(self.commits.get())),
            one("madang_store_operations_total", "Writes in those groups.", count(self.operations.get())),
            one("madang_store_faults_total", "Groups that failed and were undone.", count(self.faults.get())),
            one(
                "madang_store_refused_total",
                "Operations refused because the line was full.",
                count(self.refused.load(std::sync::atomic::Ordering::Relaxed)),
            ),
            Gauge {
                name: "madang_store_waiting",
                help: "Operations that wait.",
                values: vec![line("writes", waiting_writes), line("reads", waiting_reads)],
            },
        ];
        let buckets: [u64; BUCKETS] = std::array::from_fn(|at| self.commit.bucket(at));
        let durations = vec![Durations {
            name: "madang_store_commit_seconds",
            help: "From the first write of a group to its commit.",
            series: vec![(Vec::new(), buckets, self.commit.sum_us())],
        }];
        (gauges, durations)
    }
}
