//! Pools as metrics.
//!
//! **Job.** Every decision of the role as families of the Prometheus text. **Called by** the keeper when somebody reads them.
//! **Reads** pools, chronicles, ledgers.
//!
//! Invariants
//! 1. Labels are bounded: pools by the settings, servers by [`crate::config::SERVERS_MAX`] for each, everything else by tables in the
//!    code.
//! 2. Counters that never counted are left out where a table has many rows: a pool of three servers is some hundred lines.
//!
//! Not here: writing the text (`host::telemetry::metrics`), counting (`ledger`, `chronicle`).

use std::time::Instant;

use madang_host::telemetry::metrics::{Durations, Gauge, Labels};

use crate::breaker::Circuit;
use crate::chronicle::{EJECTIONS, LOOKUPS, PROBES};
use crate::keeper::Kept;
use crate::ledger::{NOBODY, OUTCOMES, PoolLedger, RETRIED, RULES, ServerLedger, TIERS, WHY_NOT};
use crate::pool::Member;
use crate::server::State;

type Values = Vec<(Labels, f64)>;

/// Everything that is known of pools.
pub struct Families {
    /// Counters (their names end in `_total`) and gauges.
    pub numbers: Vec<Gauge>,
    /// Histograms.
    pub durations: Vec<Durations>,
}

/// Whether rows of nought are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noughts {
    Told,
    LeftOut,
}

/// Pools by name.
pub(crate) struct Pools<'a> {
    pub(crate) all: Vec<(&'a str, &'a Kept)>,
    pub(crate) now: Instant,
}

impl Pools<'_> {
    pub(crate) fn families(&self) -> Families {
        if self.all.is_empty() {
            return Families { numbers: Vec::new(), durations: Vec::new() };
        }
        Families { numbers: [self.of_servers(), self.of_pools()].concat(), durations: self.durations() }
    }

    /// One family with rows for each server: a row is the text of one more label, if any, and a number.
    fn server_rows(
        &self,
        label: &'static str,
        noughts: Noughts,
        rows: impl Fn(&Kept, &Member) -> Vec<(&'static str, f64)>,
    ) -> Values {
        let mut values = Vec::new();
        for (pool, kept) in &self.all {
            for member in kept.pool.members() {
                for (text, value) in rows(kept, member) {
                    if value == 0.0 && noughts == Noughts::LeftOut {
                        continue;
                    }
                    let mut labels = server_labels(pool, member);
                    if !label.is_empty() {
                        labels.push((label, text.to_owned()));
                    }
                    values.push((labels, value));
                }
            }
        }
        values
    }

    /// The same for each pool.
    fn pool_rows(
        &self,
        label: &'static str,
        noughts: Noughts,
        rows: impl Fn(&Kept) -> Vec<(&'static str, f64)>,
    ) -> Values {
        let mut values = Vec::new();
        for (pool, kept) in &self.all {
            for (text, value) in rows(kept) {
                if value == 0.0 && noughts == Noughts::LeftOut {
                    continue;
                }
                let mut labels = vec![("pool", (*pool).to_owned())];
                if !label.is_empty() {
                    labels.push((label, text.to_owned()));
                }
                values.push((labels, value));
            }
        }
        values
    }

    fn of_servers(&self) -> Vec<Gauge> {
        use Noughts::{LeftOut, Told};
        let sum = |member: &Member, of: &dyn Fn(&ServerLedger) -> u64| member.server.ledgers().sum(of) as f64;
        let gauge = |name, help, values| Gauge { name, help, values };
        let mut all = vec![
            gauge(
                "madang_pool_server_state",
                "1 for the state a server has, 0 for the others.",
                self.server_rows("state", Told, |_, member| {
                    let has = member.server.standing().state;
                    State::ALL.map(|state| (state.name(), f64::from(u8::from(state == has)))).into()
                }),
            ),
            gauge(
                "madang_pool_server_share_ratio",
                "Part of its weight that a server gets: below 1 in slow start.",
                self.server_rows("", Told, |_, member| {
                    vec![("", f64::from(member.server.standing().share) / 1000.0)]
                }),
            ),
            gauge(
                "madang_pool_server_in_flight",
                "Requests open at a server.",
                self.server_rows("", Told, |_, member| vec![("", f64::from(member.server.in_flight()))]),
            ),
            gauge(
                "madang_pool_attempts_total",
                "Attempts at a server that ended, by how.",
                self.server_rows("outcome", LeftOut, |_, member| {
                    OUTCOMES
                        .map(|(outcome, text)| (text, sum(member, &|ledger| ledger.outcome(outcome))))
                        .into()
                }),
            ),
            gauge("madang_pool_picks_total", "Requests given to a server, by rule and tier.", self.picks()),
            gauge(
                "madang_pool_connections_total",
                "Connections to a server: opened for a request, or reused by one.",
                self.server_rows("how", LeftOut, |_, member| {
                    vec![
                        ("opened", sum(member, &|ledger| ledger.connections.opened.get())),
                        ("reused", sum(member, &|ledger| ledger.connections.reused.get())),
                    ]
                }),
            ),
            gauge(
                "madang_pool_tls_failures_total",
                "TLS handshakes with a server that failed.",
                self.server_rows("", Told, |_, member| {
                    vec![("", sum(member, &|ledger| ledger.connections.tls_failed.get()))]
                }),
            ),
            gauge(
                "madang_pool_circuit_changes_total",
                "Times the circuit breaker of a server opened or closed.",
                self.server_rows("to", LeftOut, |_, member| {
                    vec![
                        ("open", sum(member, &|ledger| ledger.circuit().0)),
                        ("closed", sum(member, &|ledger| ledger.circuit().1)),
                    ]
                }),
            ),
        ];
        all.push(gauge(
            "madang_pool_circuit_state",
            "1 for the state of a server's circuit breaker, 0 for the others; only where the pool has breakers.",
            self.server_rows("state", Told, |kept, member| {
                if kept.pool.settings().breaker.is_none() {
                    return Vec::new();
                }
                let has = member.server.circuit(self.now);
                let states =
                    [(Circuit::Closed, "closed"), (Circuit::HalfOpen, "half-open"), (Circuit::Open, "open")];
                states.map(|(state, text)| (text, f64::from(u8::from(state == has)))).into()
            }),
        ));
        all.extend(self.recorded());
        all
    }

    /// What the control side saw of servers.
    fn recorded(&self) -> Vec<Gauge> {
        let record =
            |kept: &Kept,
             member: &Member,
             of: &dyn Fn(&crate::chronicle::Record) -> Vec<(&'static str, f64)>| {
                kept.chronicle.record(member.server.id()).map_or_else(Vec::new, of)
            };
        let zip = |texts: &[&'static str], counts: &[u64]| -> Vec<(&'static str, f64)> {
            texts.iter().copied().zip(counts.iter().map(|count| *count as f64)).collect()
        };
        let gauge = |name, help, values| Gauge { name, help, values };
        vec![
            gauge(
                "madang_pool_probes_total",
                "Health checks of a server, by what came of them.",
                self.server_rows("result", Noughts::LeftOut, |kept, member| {
                    record(kept, member, &|record| zip(&PROBES, &record.probes))
                }),
            ),
            gauge(
                "madang_pool_ejections_total",
                "Times a server was sent to rest, by why.",
                self.server_rows("why", Noughts::Told, |kept, member| {
                    record(kept, member, &|record| zip(&EJECTIONS, &record.ejections))
                }),
            ),
            gauge(
                "madang_pool_ejections_refused_total",
                "Times a server should have rested, and too few would have been left.",
                self.server_rows("", Noughts::Told, |kept, member| {
                    record(kept, member, &|record| vec![("", record.not_ejected as f64)])
                }),
            ),
            gauge(
                "madang_pool_transitions_total",
                "Times a server came into a state.",
                self.server_rows("to", Noughts::LeftOut, |kept, member| {
                    let names = State::ALL.map(State::name);
                    record(kept, member, &|record| zip(&names, &record.turns))
                }),
            ),
        ]
    }

    fn of_pools(&self) -> Vec<Gauge> {
        use Noughts::{LeftOut, Told};
        let sum = |kept: &Kept, of: &dyn Fn(&PoolLedger) -> u64| kept.pool.ledgers().sum(of) as f64;
        let gauge = |name, help, values| Gauge { name, help, values };
        vec![
            gauge(
                "madang_pool_retries_total",
                "Requests tried again, by how the attempt before had failed.",
                self.pool_rows("reason", Told, |kept| {
                    let of = |at: usize| sum(kept, &|ledger| ledger.retries(at));
                    RETRIED.iter().enumerate().map(|(at, text)| (*text, of(at))).collect()
                }),
            ),
            gauge(
                "madang_pool_retries_refused_total",
                "Failed attempts that were not made again, by why.",
                self.pool_rows("why", LeftOut, |kept| {
                    WHY_NOT.map(|(why, text)| (text, sum(kept, &|ledger| ledger.refused_retries(why)))).into()
                }),
            ),
            gauge(
                "madang_pool_unserved_total",
                "Requests that no server could take, by why.",
                self.pool_rows("why", Told, |kept| {
                    NOBODY.map(|(why, text)| (text, sum(kept, &|ledger| ledger.nobodies(why)))).into()
                }),
            ),
            gauge(
                "madang_pool_ways_total",
                "Requests that took a way of their own: sent here by a split, copied here, held, asked of a second server too.",
                self.pool_rows("what", LeftOut, |kept| {
                    let counts = kept.pool.tally().view();
                    let count = |count: u64| count as f64;
                    vec![
                        ("split", count(counts.split)),
                        ("mirrored", count(counts.mirrored)),
                        ("mirror-skipped", count(counts.mirror_skipped)),
                        ("hedged", count(counts.hedged)),
                        ("hedge-won", count(counts.hedge_won)),
                        ("held", count(counts.held)),
                        ("hold-refused", count(counts.hold_refused)),
                    ]
                }),
            ),
            gauge(
                "madang_pool_held",
                "Requests that wait because nobody is up or the pool is held.",
                self.pool_rows("", Told, |kept| vec![("", kept.pool.tally().view().waiting as f64)]),
            ),
            gauge(
                "madang_pool_queue_length",
                "Requests that wait for a place.",
                self.pool_rows("", Told, |kept| {
                    let left = sum(kept, &|ledger| ledger.queue_left.get());
                    vec![("", (sum(kept, &|ledger| ledger.queue_entered.get()) - left).max(0.0))]
                }),
            ),
            gauge(
                "madang_pool_queue_total",
                "Requests that went to wait, waited too long, or found the line full.",
                self.pool_rows("what", Told, |kept| {
                    vec![
                        ("entered", sum(kept, &|ledger| ledger.queue_entered.get())),
                        ("timeout", sum(kept, &|ledger| ledger.queue_timeouts.get())),
                        ("full", sum(kept, &|ledger| ledger.queue_full.get())),
                    ]
                }),
            ),
            gauge(
                "madang_pool_panic",
                "1 while so few servers are up that health is doubted.",
                self.pool_rows("", Told, |kept| vec![("", f64::from(u8::from(kept.pool.is_in_panic())))]),
            ),
            gauge(
                "madang_pool_panics_total",
                "Times that began.",
                self.pool_rows("", Told, |kept| vec![("", kept.chronicle.panics as f64)]),
            ),
            gauge(
                "madang_pool_lookups_total",
                "Look-ups of names, by what came of them.",
                self.pool_rows("result", LeftOut, |kept| {
                    let counts = kept.chronicle.lookups.iter().map(|count| *count as f64);
                    LOOKUPS.iter().copied().zip(counts).collect()
                }),
            ),
        ]
    }

    /// By rule and tier: two labels more than servers have.
    fn picks(&self) -> Values {
        let mut values = Vec::new();
        for (pool, kept) in &self.all {
            for member in kept.pool.members() {
                for (rule, rule_text) in RULES {
                    for (tier, tier_text) in TIERS {
                        let count = member.server.ledgers().sum(|ledger| ledger.picks(rule, tier));
                        if count > 0 {
                            let mut labels = server_labels(pool, member);
                            labels.push(("rule", rule_text.to_owned()));
                            labels.push(("tier", tier_text.to_owned()));
                            values.push((labels, count as f64));
                        }
                    }
                }
            }
        }
        values
    }

    fn durations(&self) -> Vec<Durations> {
        let mut series = Vec::new();
        for (pool, kept) in &self.all {
            for member in kept.pool.members() {
                let (buckets, sum_us) = member.server.ledgers().first_bytes();
                if buckets.iter().any(|count| *count > 0) {
                    series.push((server_labels(pool, member), buckets, sum_us));
                }
            }
        }
        vec![Durations {
            name: "madang_pool_first_byte_seconds",
            help: "From the beginning of an attempt to the first byte of its answer; of a stream: to the connection.",
            series,
        }]
    }
}

fn server_labels(pool: &str, member: &Member) -> Labels {
    vec![("pool", pool.to_owned()), ("server", member.server.name().to_owned())]
}
