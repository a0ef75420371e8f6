//! Counters of identity.
//!
//! **Job.** What the admin surface shows of logins and tokens. **Read by** `madang`.
//!
//! Not here: their text (`host::telemetry::metrics`).

use std::sync::atomic::{AtomicU64, Ordering};

use madang_host::telemetry::metrics::Gauge;

use crate::identity::Identity;

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) logins: AtomicU64,
    pub(crate) wrong: AtomicU64,
    pub(crate) held_up: AtomicU64,
    pub(crate) reused: AtomicU64,
}

impl Numbers {
    pub(crate) fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Identity {
    /// Counters for the admin surface.
    pub fn metrics(&self) -> Vec<Gauge> {
        #[allow(clippy::cast_precision_loss)] // Prometheus numbers are floats
        let count = |value: u64| value as f64;
        let read = |counter: &AtomicU64| count(counter.load(Ordering::Relaxed));
        let one = |name, help, value: f64| Gauge { name, help, values: vec![(Vec::new(), value)] };
        let numbers = &self.0.numbers;
        let login = |how: &str, counter: &AtomicU64| (vec![("result", how.to_owned())], read(counter));
        let (waiting, hashed, refused) = self.0.desk.counts();
        let settings = self.settings();
        let keys = settings
            .issuers
            .iter()
            .map(|issuer| (vec![("issuer", issuer.settings.name.to_string())], count(issuer.keys() as u64)));
        vec![
            Gauge {
                name: "madang_logins_total",
                help: "Logins by password or SCRAM, by how they ended.",
                values: vec![
                    login("right", &numbers.logins),
                    login("wrong", &numbers.wrong),
                    login("held-up", &numbers.held_up),
                    (vec![("result", "busy".to_owned())], count(refused)),
                ],
            },
            one("madang_hashes_total", "Passwords hashed.", count(hashed)),
            one("madang_hashes_waiting", "Passwords that wait to be hashed.", count(waiting as u64)),
            one(
                "madang_refresh_reused_total",
                "Sessions ended because a refresh token was used twice.",
                read(&numbers.reused),
            ),
            one(
                "madang_tokens_revoked",
                "Revocations that tokens may still be about.",
                count(self.0.revoked.len() as u64),
            ),
            Gauge { name: "madang_issuer_keys", help: "Keys read of an issuer.", values: keys.collect() },
        ]
    }
}
