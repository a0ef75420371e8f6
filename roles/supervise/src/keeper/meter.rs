//! How much CPU time each instance uses, in percent of one core.
//!
//! **Job.** From what was used until now to a rate. **Owned by** `keeper`. **Calls** `host::process` (control group, else /proc).
//!
//! Invariants
//! 1. Two readings of an instance are at least [`READ_EVERY`] apart; between them the last rate stands.
//! 2. /proc is looked at at most once a look, and only for instances without a group that counts.
//!
//! Not here: what a rate means (`scale`).

use std::time::{Duration, Instant};

use madang_host::process::cgroup::Group;
use madang_host::process::cpu::Processes;

/// The kernel counts in ticks of 10 ms where there is no group: less than this would be noise.
const READ_EVERY: Duration = Duration::from_millis(250);

/// The meter of one instance.
#[derive(Debug, Default)]
pub(super) struct Meter {
    last: Option<(Instant, Duration)>,
    percent: Option<f64>,
}

impl Meter {
    /// Reads when it is time to. `processes` is shared by all that need it in this look; `scan`: a look at /proc is worth it.
    pub(super) fn read(
        &mut self,
        group: &Group,
        leader: u32,
        processes: &mut Option<Processes>,
        scan: bool,
        now: Instant,
    ) {
        if self.last.is_some_and(|(at, _)| now.saturating_duration_since(at) < READ_EVERY) {
            return;
        }
        let used = group.cpu_time().or_else(|| {
            scan.then(|| processes.get_or_insert_with(Processes::look).cpu_time(leader)).flatten()
        });
        let Some(used) = used else { return };
        if let Some((at, before)) = self.last {
            let passed = now.saturating_duration_since(at).as_secs_f64();
            self.percent = Some(used.saturating_sub(before).as_secs_f64() * 100.0 / passed);
        }
        self.last = Some((now, used));
    }

    /// Percent of one core, of late; `None`: not read twice yet.
    pub(super) const fn percent(&self) -> Option<f64> {
        self.percent
    }
}
