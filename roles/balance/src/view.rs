//! Pools as people see them.
//!
//! **Job.** One value for `madang status`, its JSON and the admin surface. **Made by** the keeper. **Reads** the pool, its health, its
//! chronicle and the workers' ledgers.
//!
//! Not here: tables (`madang`), metrics (`families`).

use std::time::Instant;

use madang_host::clock;
use madang_host::telemetry::metrics::{BUCKETS, quantile_ms};
use serde::Serialize;

use crate::breaker::Circuit;
use crate::chronicle::{Happened, Record};
use crate::keeper::Kept;
use crate::ledger::{PoolLedger, RETRIED};
use crate::pool::Member;
use crate::recent::Buckets;
use crate::retry::WhyNot;
use crate::tally::TallyView;

/// A server as people see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct ServerView {
    pub server: String,
    pub state: &'static str,
    /// Why it is so; empty: it has been so from the beginning.
    pub why: String,
    pub since_seconds: u64,
    pub weight: u16,
    pub share_permille: u16,
    pub backup: bool,
    pub in_flight: u32,
    pub requests: u64,
    pub good: u64,
    pub failed: u64,
    /// Requests per second over the last ten seconds.
    pub rate: f64,
    /// Time to the first byte of late, faded.
    pub first_byte_ms: f64,
    /// Of the last half to whole minute: half of the answers began within so many milliseconds. `None`: no answer.
    pub p50_ms: Option<f64>,
    /// 99 of 100 did.
    pub p99_ms: Option<f64>,
    pub ejections: u64,
    /// `closed`, `open`, `half-open`; `None`: the pool has no circuit breaker.
    pub circuit: Option<&'static str>,
}

/// The line of those who wait for a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct QueueView {
    pub length: u64,
    pub entered: u64,
    pub timeouts: u64,
    pub full: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// Seconds since 1970.
    pub at: u64,
    /// How long ago.
    pub ago_seconds: u64,
    /// `server`, `panic`, `names`.
    pub what: &'static str,
    /// To which server; `None`: to the pool.
    pub server: Option<String>,
    /// Its state before.
    pub from: Option<&'static str>,
    /// Its state after.
    pub to: Option<&'static str>,
    /// Why.
    pub why: String,
    /// All of it as one sentence.
    pub text: String,
}

/// A pool as people see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct PoolView {
    pub pool: String,
    pub panic: bool,
    /// Whether the operator holds its requests.
    pub held: bool,
    pub counts: TallyView,
    /// Requests per second over the last ten seconds.
    pub rate: f64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// Requests that were tried again.
    pub retries: u64,
    /// Failed ones that were not, because the budget was spent.
    pub retries_refused: u64,
    pub queue: QueueView,
    pub servers: Vec<ServerView>,
    /// Newest last.
    pub events: Vec<EventView>,
}

impl PoolView {
    pub(crate) fn of(name: &str, kept: &Kept, now: Instant) -> Self {
        let pool = &kept.pool;
        let mut all = [0; BUCKETS];
        let servers: Vec<ServerView> = pool
            .members()
            .iter()
            .map(|member| {
                let (view, late) = server(kept, member, now);
                for (sum, count) in all.iter_mut().zip(late) {
                    *sum += count;
                }
                view
            })
            .collect();
        let sum = |of: fn(&PoolLedger) -> u64| pool.ledgers().sum(of);
        let entered = sum(|ledger| ledger.queue_entered.get());
        Self {
            pool: name.to_owned(),
            panic: pool.is_in_panic(),
            held: pool.is_held(),
            counts: pool.tally().view(),
            rate: tenth(servers.iter().map(|server| server.rate).sum()),
            p50_ms: quantile(&all, 0.50),
            p99_ms: quantile(&all, 0.99),
            retries: sum(|ledger| (0..RETRIED.len()).map(|at| ledger.retries(at)).sum()),
            retries_refused: sum(|ledger| ledger.refused_retries(WhyNot::Budget)),
            queue: QueueView {
                length: entered.saturating_sub(sum(|ledger| ledger.queue_left.get())),
                entered,
                timeouts: sum(|ledger| ledger.queue_timeouts.get()),
                full: sum(|ledger| ledger.queue_full.get()),
            },
            servers,
            events: kept.chronicle.events().map(event).collect(),
        }
    }
}

fn server(kept: &Kept, member: &Member, now: Instant) -> (ServerView, Buckets) {
    let (server, counts) = (&member.server, member.server.counts());
    let standing = server.standing();
    let since = kept.health.state(server.id()).map_or(now, |(_, since)| since);
    let record = kept.chronicle.record(server.id());
    let buckets = server.ledgers().first_bytes().0;
    let late = record.map_or(buckets, |record| record.recent.latencies(&buckets));
    let circuit = kept.pool.settings().breaker.map(|_| match server.circuit(now) {
        Circuit::Closed => "closed",
        Circuit::Open => "open",
        Circuit::HalfOpen => "half-open",
    });
    let view = ServerView {
        server: server.name().to_owned(),
        state: standing.state.name(),
        why: record.map_or_else(String::new, |record| record.why.clone()),
        since_seconds: now.saturating_duration_since(since).as_secs(),
        weight: member.weight,
        share_permille: standing.share,
        backup: member.backup,
        in_flight: server.in_flight(),
        requests: server.picked(),
        good: counts.good,
        failed: counts.failed,
        rate: tenth(record.map_or(0.0, |record| record.recent.per_second(server.picked(), now))),
        first_byte_ms: (server.latency(now).as_secs_f64() * 1e6).round() / 1e3,
        p50_ms: quantile(&late, 0.50),
        p99_ms: quantile(&late, 0.99),
        ejections: record.map_or(0, |record: &Record| record.ejections.iter().sum()),
        circuit,
    };
    (view, late)
}

fn event(happened: &Happened) -> EventView {
    let states = happened.states;
    EventView {
        at: clock::unix_seconds(happened.at),
        ago_seconds: clock::wall().duration_since(happened.at).map_or(0, |ago| ago.as_secs()),
        what: happened.what,
        server: happened.server.clone(),
        from: states.map(|(from, _)| from.name()),
        to: states.map(|(_, to)| to.name()),
        why: happened.why.clone(),
        text: happened.to_string(),
    }
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// What took longer than the last bound counts as a minute.
fn quantile(buckets: &Buckets, quantile: f64) -> Option<f64> {
    let any = buckets.iter().any(|count| *count > 0);
    any.then(|| quantile_ms(buckets, quantile).min(60_000.0))
}
