//! What a rate limit tells the client.
//!
//! **Job.** Write `ratelimit-policy`, `ratelimit` and `retry-after` for a limiter's word.
//! **Called by** `phases` (limit). **Calls** nothing.
//!
//! The names and forms are those of draft-ietf-httpapi-ratelimit-headers-10 (structured fields; `q` quota, `w` window in
//! seconds, `r` what is left, `t` seconds until the quota is whole again). A token bucket is told as its burst and the
//! time a burst takes to refill.
//!
//! Invariants
//! 1. `r` is never more than `q`; `retry-after` is at least 1.
//!
//! Not here: counting (`limit`).

use std::time::Duration;

use madang_http::response::{Fields, Text};
use madang_settings::unit::{Rate, RateKey};

use crate::limit::Allowance;

/// The fixed part of one rate's fields.
pub(crate) struct LimitFields {
    policy: Text,
    name: &'static str,
}

impl LimitFields {
    pub(crate) fn new(rate: &Rate) -> Self {
        let name = match rate.key {
            RateKey::Ip => "ip",
            RateKey::User => "user",
            RateKey::Header(_) => "header",
            RateKey::All => "all",
        };
        let window = rate.period.saturating_mul(rate.burst) / rate.count.max(1);
        Self { policy: Text::from(format!("\"{name}\";q={};w={}", rate.burst, up(window))), name }
    }

    /// The limit's name in answers, logs and metrics.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Writes the fields. With several limits the one with the least left has the last word.
    pub(crate) fn write(&self, allowance: &Allowance, fields: &mut Fields) {
        fields.set("ratelimit-policy", self.policy.clone());
        let (left, reset) = (allowance.remaining, up(allowance.refilled_after));
        fields.set("ratelimit", Text::from(format!("\"{}\";r={left};t={reset}", self.name)));
        if !allowance.admitted {
            fields.set("retry-after", Text::from(up(allowance.retry_after).max(1).to_string()));
        }
    }
}

/// Whole seconds, rounded up: who waits that long is not too early.
fn up(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the fields say what the bucket holds, in whole seconds that are never too short.
    #[test]
    fn the_fields_tell_quota_rest_and_time() {
        let second = Duration::from_secs(1);
        check((100, second, 200), (true, 150, 0, 500), "\"ip\";q=200;w=2|\"ip\";r=150;t=1|");
        check((10, 60 * second, 10), (false, 0, 5_001, 60_000), "\"ip\";q=10;w=60|\"ip\";r=0;t=60|6");
        check((10, second, 10), (false, 0, 1, 1), "\"ip\";q=10;w=1|\"ip\";r=0;t=1|1");

        #[track_caller]
        fn check((count, period, burst): (u32, Duration, u32), told: (bool, u32, u64, u64), want: &str) {
            let (admitted, remaining, retry_ms, refilled_ms) = told;
            let allowance = Allowance {
                admitted,
                remaining,
                retry_after: Duration::from_millis(retry_ms),
                refilled_after: Duration::from_millis(refilled_ms),
            };
            let mut fields = Fields::default();
            LimitFields::new(&Rate { count, period, burst, key: RateKey::Ip }).write(&allowance, &mut fields);
            let value = |name| String::from_utf8_lossy(fields.get(name).unwrap_or_default()).into_owned();
            assert_eq!(
                format!("{}|{}|{}", value("ratelimit-policy"), value("ratelimit"), value("retry-after")),
                want
            );
        }
    }
}
