//! Counters and histograms, and their Prometheus text.
//!
//! **Job.** Give each worker its own blocks, sum them when read. **Called by** roles (count), the admin surface (render).
//!
//! Invariants
//! 1. A block is written by one worker: plain load and store, no read-modify-write.
//! 2. Label sets are bounded: sites by the settings ([`SITES_MAX`], then `_other`), reasons by `&'static str`s in the code.
//! 3. Blocks are kept over reloads: counters never go back.
//!
//! Not here: which values are gauges of the process (`process_facts`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::streams::{self, STREAMS_MAX, StreamBlock, StreamSummary};

/// Sites with their own labels; further ones share `_other`.
pub const SITES_MAX: usize = 200;
/// Upper bounds of the duration buckets, in microseconds.
pub const BOUNDS_US: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 60_000_000,
];
/// Buckets of a [`Histogram`]: one for each bound, and one for what is longer.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;
const VERSIONS: [&str; 4] = ["1.0", "1.1", "2", "3"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// A number one worker adds to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only ever called by the owning worker.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }
    /// Now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_us: Counter,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[at].add(1);
        self.sum_us.add(us);
    }

    /// The count of one bucket.
    pub fn bucket(&self, at: usize) -> u64 {
        self.buckets.get(at).map_or(0, Counter::get)
    }

    /// All durations together, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us.get()
    }
}

/// One site on one worker.
#[derive(Debug, Default)]
pub struct SiteBlock {
    requests: [[Counter; VERSIONS.len()]; CLASSES.len()],
    duration: Histogram,
    bytes_in: Counter,
    bytes_out: Counter,
}

impl SiteBlock {
    /// Counts one answered request.
    pub fn record(
        &self,
        status: u16,
        version: madang_wire::request::Version,
        duration: Duration,
        bytes_in: u64,
        bytes_out: u64,
    ) {
        use madang_wire::request::Version as V;
        let version = match version {
            V::Http10 => 0,
            V::Http11 => 1,
            V::Http2 => 2,
            V::Http3 => 3,
        };
        let class = usize::from((status / 100).clamp(1, 5) - 1);
        self.requests[class][version].add(1);
        self.duration.observe(duration);
        self.bytes_in.add(bytes_in);
        self.bytes_out.add(bytes_out);
    }
}

/// One worker's blocks.
#[derive(Debug, Default)]
pub struct WorkerBlock {
    sites: Mutex<BTreeMap<String, Arc<SiteBlock>>>,
    streams: Mutex<BTreeMap<String, Arc<StreamBlock>>>,
    accepted: Mutex<BTreeMap<String, u64>>,
    // Rare paths: an uncontended lock (only a scrape reads) is fine here.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    limited: Mutex<BTreeMap<&'static str, u64>>,
    handshakes: Mutex<BTreeMap<(&'static str, bool), u64>>,
    /// Log lines that were dropped because the writer lagged.
    pub lines_dropped: Counter,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters are whole numbers: there is no half-made state to fear.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WorkerBlock {
    /// The block of a site; made once, kept over reloads.
    pub fn site(&self, name: &str) -> Arc<SiteBlock> {
        let mut sites = lock(&self.sites);
        let name = if sites.len() >= SITES_MAX && !sites.contains_key(name) { "_other" } else { name };
        Arc::clone(sites.entry(name.to_owned()).or_default())
    }
    /// The block of a stream; likewise.
    pub fn stream(&self, name: &str) -> Arc<StreamBlock> {
        let mut streams = lock(&self.streams);
        let name = if streams.len() >= STREAMS_MAX && !streams.contains_key(name) { "_other" } else { name };
        Arc::clone(streams.entry(name.to_owned()).or_default())
    }
    /// A connection was admitted.
    pub fn accepted(&self, listener: &str) {
        let mut accepted = lock(&self.accepted);
        match accepted.get_mut(listener) {
            Some(count) => *count += 1,
            None => {
                accepted.insert(listener.to_owned(), 1);
            }
        }
    }
    /// A connection or request was refused before it had a site.
    pub fn refused(&self, reason: &'static str) {
        *lock(&self.refused).entry(reason).or_default() += 1;
    }
    /// A limit decided an answer or cut a connection.
    pub fn limited(&self, limit: &'static str) {
        *lock(&self.limited).entry(limit).or_default() += 1;
    }
    /// A TLS handshake was completed.
    pub fn handshake(&self, version: &'static str, resumed: bool) {
        *lock(&self.handshakes).entry((version, resumed)).or_default() += 1;
    }
}

/// All workers' blocks.
#[derive(Debug, Default)]
pub struct Metrics {
    workers: Mutex<Vec<Arc<WorkerBlock>>>,
}

/// A gauge, or a counter where the name ends in `_total`, computed by the caller at the time of reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// Full name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Labels and values.
    pub values: Vec<(Labels, f64)>,
}

/// Names of labels and their values.
pub type Labels = Vec<(&'static str, String)>;

/// Histograms of one name, summed by the caller at the time of reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Durations {
    /// Full name, ending in `_seconds`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Labels, counts by bucket, and the sum in microseconds.
    pub series: Vec<(Labels, [u64; BUCKETS], u64)>,
}

/// What one site did, summed over workers.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SiteSummary {
    /// Its name.
    pub name: String,
    /// Answers by class: 1xx to 5xx.
    pub classes: [u64; 5],
    /// Half of the answers took at most this, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 took at most this, in milliseconds.
    pub p99_ms: f64,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes sent.
    pub bytes_out: u64,
}

/// One number of a site.
type OfSite = fn(&SiteBlock) -> u64;

impl Metrics {
    /// A worker's block.
    pub fn worker(&self) -> Arc<WorkerBlock> {
        let block = Arc::new(WorkerBlock::default());
        lock(&self.workers).push(Arc::clone(&block));
        block
    }

    fn blocks(&self) -> Vec<Arc<WorkerBlock>> {
        lock(&self.workers).clone()
    }

    fn sites(&self) -> BTreeMap<String, Vec<Arc<SiteBlock>>> {
        let mut all: BTreeMap<String, Vec<Arc<SiteBlock>>> = BTreeMap::new();
        for worker in self.blocks() {
            for (name, block) in lock(&worker.sites).iter() {
                all.entry(name.clone()).or_default().push(Arc::clone(block));
            }
        }
        all
    }

    fn streams(&self) -> streams::Blocks {
        let mut all = streams::Blocks::new();
        for worker in self.blocks() {
            for (name, block) in lock(&worker.streams).iter() {
                all.entry(name.clone()).or_default().push(Arc::clone(block));
            }
        }
        all
    }

    /// Every stream, for `madang status`.
    pub fn stream_summaries(&self) -> Vec<StreamSummary> {
        streams::summaries(self.streams())
    }

    /// Every site, for `madang status`.
    pub fn summaries(&self) -> Vec<SiteSummary> {
        let summary = |(name, blocks): (String, Vec<Arc<SiteBlock>>)| {
            let sum = |of: &dyn Fn(&SiteBlock) -> u64| blocks.iter().map(|block| of(block)).sum::<u64>();
            let mut classes = [0; 5];
            for (class, total) in classes.iter_mut().enumerate() {
                *total = sum(&|block| block.requests[class].iter().map(Counter::get).sum());
            }
            let buckets: Vec<u64> =
                (0..=BOUNDS_US.len()).map(|at| sum(&|block| block.duration.buckets[at].get())).collect();
            SiteSummary {
                name,
                classes,
                p50_ms: quantile_ms(&buckets, 0.50),
                p99_ms: quantile_ms(&buckets, 0.99),
                bytes_in: sum(&|block| block.bytes_in.get()),
                bytes_out: sum(&|block| block.bytes_out.get()),
            }
        };
        self.sites().into_iter().map(summary).collect()
    }

    /// Prometheus text exposition, version 0.0.4.
    pub fn render(&self, gauges: &[Gauge], durations: &[Durations]) -> String {
        let mut out = String::new();
        let sites = self.sites();
        head(&mut out, "madang_requests_total", "counter", "Requests answered.");
        for (site, blocks) in &sites {
            for (class, class_name) in CLASSES.iter().enumerate() {
                for (version, version_name) in VERSIONS.iter().enumerate() {
                    let total: u64 = blocks.iter().map(|block| block.requests[class][version].get()).sum();
                    if total > 0 {
                        let labels = [
                            ("site", site.as_str()),
                            ("role", "web"),
                            ("class", class_name),
                            ("protocol", version_name),
                        ];
                        line(&mut out, "madang_requests_total", &labels, total as f64);
                    }
                }
            }
        }
        let of_site = |(site, blocks): (&String, &Vec<Arc<SiteBlock>>)| {
            let mut buckets = [0; BUCKETS];
            for (at, count) in buckets.iter_mut().enumerate() {
                *count = blocks.iter().map(|block| block.duration.bucket(at)).sum();
            }
            let sum_us = blocks.iter().map(|block| block.duration.sum_us()).sum();
            (vec![("site", site.clone())], buckets, sum_us)
        };
        let requests = Durations {
            name: "madang_request_duration_seconds",
            help: "Time from the complete head to the last byte of the answer.",
            series: sites.iter().map(of_site).collect(),
        };
        histogram(&mut out, &requests);
        let of_site: [(&str, &str, OfSite); 2] = [
            ("madang_request_body_bytes_total", "Request body bytes received.", |block| block.bytes_in.get()),
            ("madang_response_body_bytes_total", "Answer body bytes sent.", |block| block.bytes_out.get()),
        ];
        for (name, help, value) in of_site {
            head(&mut out, name, "counter", help);
            for (site, blocks) in &sites {
                line(
                    &mut out,
                    name,
                    &[("site", site)],
                    blocks.iter().map(|block| value(block)).sum::<u64>() as f64,
                );
            }
        }
        streams::render(&mut out, self.streams());
        self.render_rare(&mut out);
        durations.iter().for_each(|durations| histogram(&mut out, durations));
        for gauge in gauges {
            head(
                &mut out,
                gauge.name,
                if gauge.name.ends_with("_total") { "counter" } else { "gauge" },
                gauge.help,
            );
            for (labels, value) in &gauge.values {
                let labels: Vec<(&str, &str)> =
                    labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
                line(&mut out, gauge.name, &labels, *value);
            }
        }
        out
    }

    fn render_rare(&self, out: &mut String) {
        let (mut accepted, mut refused, mut limited, mut handshakes) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut dropped = 0;
        for worker in self.blocks() {
            for (listener, count) in lock(&worker.accepted).iter() {
                *accepted.entry(listener.clone()).or_insert(0) += count;
            }
            for (map, sum) in [(&worker.refused, &mut refused), (&worker.limited, &mut limited)] {
                for (name, count) in lock(map).iter() {
                    *sum.entry(*name).or_insert(0) += count;
                }
            }
            for (key, count) in lock(&worker.handshakes).iter() {
                *handshakes.entry(*key).or_insert(0) += count;
            }
            dropped += worker.lines_dropped.get();
        }
        head(out, "madang_connections_accepted_total", "counter", "Connections admitted.");
        for (listener, count) in accepted {
            line(out, "madang_connections_accepted_total", &[("listener", &listener)], count as f64);
        }
        head(
            out,
            "madang_refused_total",
            "counter",
            "Connections and requests refused before they had a site.",
        );
        for (reason, count) in refused {
            line(out, "madang_refused_total", &[("reason", reason)], count as f64);
        }
        head(out, "madang_limit_hits_total", "counter", "Answers and cuts that a limit decided.");
        for (limit, count) in limited {
            line(out, "madang_limit_hits_total", &[("limit", limit)], count as f64);
        }
        head(out, "madang_tls_handshakes_total", "counter", "TLS handshakes completed.");
        for ((version, resumed), count) in handshakes {
            let resumed = if resumed { "true" } else { "false" };
            line(
                out,
                "madang_tls_handshakes_total",
                &[("version", version), ("resumed", resumed)],
                count as f64,
            );
        }
        head(out, "madang_log_lines_dropped_total", "counter", "Log lines dropped because the disk lagged.");
        line(out, "madang_log_lines_dropped_total", &[], dropped as f64);
    }
}

pub(super) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

pub(super) fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    out.push_str(name);
    for (index, (label, text)) in labels.iter().enumerate() {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
    }
    let _ = writeln!(out, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

fn histogram(out: &mut String, durations: &Durations) {
    let Durations { name, help, series } = durations;
    head(out, name, "histogram", help);
    for (labels, buckets, sum_us) in series {
        let plain: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut running = 0;
        for (at, count) in buckets.iter().enumerate() {
            running += count;
            let bound = BOUNDS_US.get(at).map_or("+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
            let labels: Vec<(&str, &str)> = plain.iter().copied().chain([("le", bound.as_str())]).collect();
            line(out, &format!("{name}_bucket"), &labels, running as f64);
        }
        line(out, &format!("{name}_sum"), &plain, *sum_us as f64 / 1e6);
        line(out, &format!("{name}_count"), &plain, running as f64);
    }
}

/// The upper bound of the bucket a quantile falls in, in milliseconds: infinite beyond the last, 0 without any.
pub fn quantile_ms(buckets: &[u64], quantile: f64) -> f64 {
    let total: u64 = buckets.iter().sum();
    let wanted = (total as f64 * quantile).ceil();
    let mut seen = 0;
    for (at, count) in buckets.iter().enumerate() {
        seen += count;
        if seen as f64 >= wanted && total > 0 {
            return BOUNDS_US.get(at).map_or(f64::INFINITY, |us| *us as f64 / 1000.0);
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use madang_wire::request::Version;

    #[test]
    fn what_workers_count_is_summed_and_cumulative() {
        let metrics = Metrics::default();
        for _ in 0..2 {
            let site = metrics.worker().site("main");
            site.record(200, Version::Http11, Duration::from_micros(300), 10, 1000);
            site.record(404, Version::Http2, Duration::from_secs(90), 0, 5);
        }
        let text = metrics.render(&[], &[]);
        for want in [
            "madang_requests_total{site=\"main\",role=\"web\",class=\"2xx\",protocol=\"1.1\"} 2\n",
            "madang_requests_total{site=\"main\",role=\"web\",class=\"4xx\",protocol=\"2\"} 2\n",
            "madang_request_duration_seconds_bucket{site=\"main\",le=\"0.00025\"} 0\n",
            "madang_request_duration_seconds_bucket{site=\"main\",le=\"0.0005\"} 2\n",
            "madang_request_duration_seconds_bucket{site=\"main\",le=\"60\"} 2\n",
            "madang_request_duration_seconds_bucket{site=\"main\",le=\"+Inf\"} 4\n",
            "madang_response_body_bytes_total{site=\"main\"} 2010\n",
        ] {
            assert!(text.contains(want), "{want} is missing in\n{text}");
        }
        assert_eq!(metrics.summaries()[0].p50_ms, 0.5);
    }

    #[test]
    fn sites_beyond_the_bound_share_one_label() {
        let block = Metrics::default().worker();
        for index in 0..SITES_MAX + 50 {
            block.site(&format!("s{index}"));
        }
        assert_eq!(lock(&block.sites).len(), SITES_MAX + 1);
    }

    #[test]
    fn labels_cannot_break_out() {
        let mut out = String::new();
        line(&mut out, "m", &[("site", "a\"} 1\nevil 2")], 3.0);
        assert_eq!(out, "m{site=\"a\\\"} 1\\nevil 2\"} 3\n");
    }
}
