//! How long a server takes of late, in one atomic word.
//!
//! **Job.** A moving average that follows peaks at once and forgets them slowly (peak EWMA). **Called by** `server`.
//!
//! A slower sample becomes the value at once, a quicker one pulls it down by how much time has passed. Without new samples
//! the value fades by itself, so that a server which was slow once is tried again.
//!
//! Layout: microseconds in the upper half, the millisecond of the last sample (modulo 2^32) in the lower.
//!
//! Not here: what is measured (the caller: to the first byte of the answer).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// After this time a sample counts for 1/e.
const FADE_MS: f64 = 10_000.0;

/// The average. Zero until the first sample.
#[derive(Debug, Default)]
pub(crate) struct Latency(AtomicU64);

#[allow(clippy::cast_possible_truncation)] // splitting the word is what this is for
const fn parts(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// How much of a sample is left at `now_ms`. Samples from the future of another core are fresh.
fn left(at_ms: u32, now_ms: u32) -> f64 {
    let age = now_ms.wrapping_sub(at_ms);
    if age > u32::MAX / 2 { 1.0 } else { (-f64::from(age) / FADE_MS).exp() }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // floats saturate
fn micros(value: f64) -> u32 {
    value as u32
}

impl Latency {
    #[allow(clippy::cast_possible_truncation)] // modulo 2^32 by design
    pub(crate) fn record(&self, took: Duration, now_ms: u64) {
        let now_ms = now_ms as u32;
        let sample = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let new = |word: u64| {
            let (value, at_ms) = parts(word);
            let left = left(at_ms, now_ms);
            let value = if sample >= value {
                sample
            } else {
                micros(f64::from(value) * left + f64::from(sample) * (1.0 - left)).max(1)
            };
            Some((u64::from(value) << 32) | u64::from(now_ms))
        };
        // Never fails: `new` always gives a word.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, new);
    }

    /// Microseconds, faded to `now_ms`; 0.0 without a sample.
    #[allow(clippy::cast_possible_truncation)] // modulo 2^32 by design
    pub(crate) fn micros(&self, now_ms: u64) -> f64 {
        let (value, at_ms) = parts(self.0.load(Ordering::Relaxed));
        f64::from(value) * left(at_ms, now_ms as u32)
    }

    /// Forgets: what was before a failure says nothing about a server that came back.
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: peaks count at once, fade in time, and the wrap of the clock does no harm. Method: samples at given moments.
    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let ms = Duration::from_millis;
        let latency = Latency::default();
        assert_eq!(latency.micros(0), 0.0);
        latency.record(ms(10), 0);
        latency.record(ms(100), 1);
        assert_eq!(latency.micros(1), 100_000.0);
        latency.record(ms(10), 10_001);
        let one_fade = latency.micros(10_001);
        assert!((42_000.0..44_000.0).contains(&one_fade), "{one_fade}");
        assert!(latency.micros(110_001) < 2.0);
        latency.reset();
        assert_eq!(latency.micros(10_001), 0.0);
    }

    #[test]
    fn the_wrap_of_the_milliseconds_does_no_harm() {
        let latency = Latency::default();
        let wrap = u64::from(u32::MAX);
        latency.record(Duration::from_millis(10), wrap);
        latency.record(Duration::from_millis(5), wrap + 2);
        let value = latency.micros(wrap + 2);
        assert!((9_000.0..10_000.0).contains(&value), "{value}");
        // A reader whose clock is behind sees the value as it is.
        assert_eq!(latency.micros(wrap), value);
    }
}
