//! The clock: the only place that reads time.
//!
//! **Job.** Give the time, exact when asked and coarse for free.
//! **Reads** the kernel's clocks. **Called by** everyone; pure crates are handed the values.
//!
//! Invariants
//! 1. [`Coarse`] never runs backwards and is never more than one sweep (250 ms) behind.
//!
//! Not here: time limits of connections (the worker's sweep, `worker`), formatting (`wire::date`, `telemetry`).
#![allow(clippy::disallowed_methods)] // this is the one place the ban points to

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time, exact. About 25 ns.
pub fn now() -> Instant {
    Instant::now()
}

/// Resolves at `at`; never without one. For state machines that know when they have something to do next.
pub async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Time of day. May jump: never measure with it.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970 of a time of day; 0 for times before it.
pub fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A time of day for people: by this machine's clock and zone, to the second.
pub fn shown(unix_seconds: u64) -> String {
    let at = i64::try_from(unix_seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let zoned = at.map(|at| at.to_zoned(jiff::tz::TimeZone::system()));
    zoned.map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}

/// A worker's cached clock: read for nothing on every request, moved on by the sweep.
#[derive(Debug)]
pub struct Coarse {
    born: Instant,
    ms: Cell<u64>,
    date: Cell<[u8; 29]>,
    date_second: Cell<u64>,
}

impl Coarse {
    /// A clock that starts now.
    pub fn new() -> Self {
        let clock = Self {
            born: now(),
            ms: Cell::new(0),
            date: Cell::new([b' '; 29]),
            date_second: Cell::new(u64::MAX),
        };
        clock.tick();
        clock
    }

    /// Reads the kernel's clocks and moves the cached values on.
    pub fn tick(&self) {
        let ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ms.set(ms);
        let second = unix_seconds(wall());
        if second != self.date_second.get() {
            let mut date = [0; 29];
            madang_wire::date::write_imf_fixdate(second, &mut date);
            self.date.set(date);
            self.date_second.set(second);
        }
    }

    /// Milliseconds since the worker began, as of the last sweep.
    pub fn ms(&self) -> u64 {
        self.ms.get()
    }

    /// How long ago `ms` was, as of the last sweep.
    pub fn since(&self, ms: u64) -> Duration {
        Duration::from_millis(self.ms().saturating_sub(ms))
    }

    /// The `Date` field's value (IMF-fixdate, RFC 9110 5.6.7), as of the last sweep.
    pub fn date(&self) -> [u8; 29] {
        self.date.get()
    }

    /// Seconds since 1970, as of the last sweep.
    pub fn unix_second(&self) -> u64 {
        self.date_second.get()
    }
}

impl Default for Coarse {
    fn default() -> Self {
        Self::new()
    }
}
/// RFC 3339 in UTC with milliseconds: as text it sorts by time.
pub fn rfc3339(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}
