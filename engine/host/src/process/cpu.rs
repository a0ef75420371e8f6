//! CPU time of processes and of all that descends from them, where no control group counts it.
//!
//! **Job.** One look at /proc, asked for any number of leaders. **Reads** /proc (proc_pid_stat(5)). **Called by**
//! `roles/supervise`. **Calls** the kernel.
//!
//! Invariants
//! 1. A process belongs to a leader by its group, its session or its parents; to at most one leader.
//! 2. Time of children that ended and were waited for is in their parent's: it does not get less while a leader runs, but by
//!    what left its tree.
//!
//! Not here: control groups (`cgroup`), rates (`roles/supervise`).

use std::collections::HashMap;
use std::time::Duration;

/// Processes looked at; more than a machine has by default.
const PROCESSES_MAX: usize = 65_536;
/// How far parents are followed.
const DEPTH_MAX: usize = 64;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    group: u32,
    session: u32,
    /// User and system time, of waited-for children too, in clock ticks.
    ticks: u64,
}

/// All processes as they were at one moment.
#[derive(Debug, Default)]
pub struct Processes {
    all: HashMap<u32, Stat>,
}

impl Processes {
    /// Looks at every process: some microseconds for each. Not for the path of a request.
    pub fn look() -> Self {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let stat = |number: u32| {
            // One that has ended meanwhile has nothing to tell.
            let text = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
            Some((number, parse(&text)?))
        };
        Self { all: numbers.take(PROCESSES_MAX).filter_map(stat).collect() }
    }

    /// CPU time of a leader and of what belongs to it; `None`: it is not there.
    pub fn cpu_time(&self, leader: u32) -> Option<Duration> {
        self.all.get(&leader)?;
        let ticks = self.all.iter().filter(|(number, _)| self.belongs(**number, leader));
        let ticks: u64 = ticks.map(|(_, stat)| stat.ticks).sum();
        let second = rustix::param::clock_ticks_per_second().max(1);
        Some(Duration::from_secs_f64(ticks as f64 / second as f64))
    }

    fn belongs(&self, number: u32, leader: u32) -> bool {
        let mut at = number;
        for _ in 0..DEPTH_MAX {
            let Some(stat) = self.all.get(&at) else { return false };
            if at == leader || stat.group == leader || stat.session == leader {
                return true;
            }
            at = stat.parent;
        }
        false
    }
}

/// Fields 4, 5, 6 and 14 to 17 of proc_pid_stat(5). Field 2, the name, may hold spaces and brackets: the last `)` ends it.
fn parse(stat: &str) -> Option<Stat> {
    let (_, behind) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let small = |field: usize| u32::try_from(number(field)?).ok();
    let ticks = (14..=17).map(number).sum::<Option<u64>>()?;
    Some(Stat { parent: small(4)?, group: small(5)?, session: small(6)?, ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_behind_any_name() {
        let line = |name: &str| format!("42 ({name}) S 7 8 9 0 -1 4 1 2 3 4 100 20 3 1 20 0 1 0 5");
        let want = Stat { parent: 7, group: 8, session: 9, ticks: 124 };
        check(&line("app"), Some(want));
        check(&line("a) S 1 1 1"), Some(want));
        check("42 (app) S 7 8 9 0 -1 4 1 2 3 4 100 20", None);
        check("42 (app) S -7 8 9 0 -1 4 1 2 3 4 100 20 3 1", None);
        check("", None);

        #[track_caller]
        fn check(stat: &str, want: Option<Stat>) {
            assert_eq!(parse(stat), want, "{stat}");
        }
    }

    // Goal: whoever left the group or the session is still its leader's by its parents; nobody is two leaders'.
    #[test]
    fn a_tree_is_counted_whole_and_once() {
        let stat = |parent, group, session, ticks| Stat { parent, group, session, ticks };
        let all = HashMap::from([
            (1, stat(0, 1, 1, 1000)),
            (10, stat(1, 10, 5, 1)),
            (11, stat(10, 10, 5, 2)),
            (12, stat(11, 12, 12, 4)),
            (13, stat(1, 10, 5, 8)),
            (20, stat(1, 20, 5, 16)),
            (21, stat(1, 21, 20, 32)),
            (30, stat(30, 30, 30, 64)),
        ]);
        let processes = Processes { all };
        let ticks = |leader| {
            let time: Duration = processes.cpu_time(leader)?;
            Some((time.as_secs_f64() * rustix::param::clock_ticks_per_second() as f64).round())
        };
        assert_eq!(ticks(10), Some(15.0));
        assert_eq!(ticks(20), Some(48.0));
        assert_eq!(ticks(30), Some(64.0));
        assert_eq!(ticks(99), None);
    }

    #[test]
    fn this_process_is_found_with_its_time() {
        let used = Processes::look().cpu_time(std::process::id());
        assert!(used.is_some_and(|used| used < Duration::from_secs(3600)), "{used:?}");
    }
}
