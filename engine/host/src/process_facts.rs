//! What the kernel knows about this process, and its limit of open files.
//!
//! **Job.** Memory, threads, descriptors, CPU time and start time for `/metrics` and `status`; raise the limit at start.
//! **Reads** /proc/self (proc(5)). **Writes** the soft limit RLIMIT_NOFILE. **Called by** `madang`. **Calls** the kernel.
//!
//! Invariants
//! 1. A line of /proc that does not read as documented gives `None`, never a made-up zero: a missing sample is honest.
//!
//! Not here: names of metrics (`telemetry`), other machines' facts, whether a limit is enough (`doctor`).

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// One look at the process. Costs a few system calls: for scrapes, not for requests.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Facts {
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// Address space in bytes.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open descriptors, without the one this look needs.
    pub open_fds: Option<u64>,
    /// Descriptors the process may have open; `None` is no limit.
    pub max_fds: Option<u64>,
    /// CPU time used, user and system, in seconds.
    pub cpu_seconds: f64,
    /// When the process began, seconds since 1970.
    pub start_seconds: Option<f64>,
}

impl Facts {
    /// Looks now.
    pub fn read() -> Self {
        let status = read("/proc/self/status");
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let begun = parse_start_ticks(&read("/proc/self/stat")).zip(parse_boot_time(&read("/proc/stat")));
        let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
        Self {
            resident_bytes: parse_kib(&status, "VmRSS"),
            virtual_bytes: parse_kib(&status, "VmSize"),
            threads: field(&status, "Threads").and_then(|value| value.parse().ok()),
            open_fds: open_fds(),
            max_fds: getrlimit(Resource::Nofile).current,
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            start_seconds: begun.map(|(since_boot, boot)| boot as f64 + since_boot as f64 / ticks),
        }
    }
}

fn read(path: &str) -> String {
    // Unreadable (a sandbox without /proc) parses to None below.
    std::fs::read_to_string(path).unwrap_or_default()
}

fn open_fds() -> Option<u64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    count.checked_sub(1)
}

/// The value of `name:` in a file of `name:\tvalue` lines (proc_pid_status(5)).
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

pub(crate) fn parse_kib(status: &str, name: &str) -> Option<u64> {
    field(status, name)?.strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Field 22 of proc_pid_stat(5). Field 2, the name, may hold spaces and brackets: the last `)` ends it.
pub(crate) fn parse_start_ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// `btime` of proc_stat(5), seconds since 1970.
fn parse_boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// How many connections the limit of open files leaves room for, beside what is open now and a reserve for files, logs
/// and upstreams (a quarter of the limit, 16 to 1024). `None`: there is no limit.
pub fn descriptors_for_connections() -> Option<u32> {
    let facts = Facts::read();
    let limit = facts.max_fds?;
    let room = limit.saturating_sub(facts.open_fds.unwrap_or(0)).saturating_sub((limit / 4).clamp(16, 1024));
    Some(u32::try_from(room.max(1)).unwrap_or(u32::MAX))
}

/// The limit of open files before and after [`raise_open_files`]; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// The soft limit we were started with.
    pub before: Option<u64>,
    /// The soft limit in force.
    pub after: Option<u64>,
}

/// Raises the soft limit of open files to the hard one. Every connection, file and upstream needs a descriptor, and the
/// usual soft limit of 1024 exists for programs that call select(2); we do not.
///
/// # Errors
/// What the kernel said; the limit is then unchanged and the server can run with it.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(OpenFiles { before: limit.current, after: limit.current });
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(OpenFiles { before: limit.current, after: getrlimit(Resource::Nofile).current })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a process cannot move its own start time by its name, and broken text gives nothing.
    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = |name: &str| {
            let rest: Vec<String> = (3..=52).map(|field: u32| (field * 10).to_string()).collect();
            format!("42 ({name}) {}", rest.join(" "))
        };
        check(&stat("madang"), Some(220));
        check(&stat("a) b (c 1 2 3"), Some(220));
        check("42 (cut) S 1 2", None);
        check("", None);
        check("42 no brackets 1 2 3", None);

        #[track_caller]
        fn check(stat: &str, want: Option<u64>) {
            assert_eq!(parse_start_ticks(stat), want, "{stat}");
        }
    }

    #[test]
    fn sizes_are_read_only_with_their_unit() {
        check("VmRSS:\t    2048 kB\n", Some(2 << 20));
        check("VmRSSx:\t 2048 kB\nVmRSS:\t1 kB\n", Some(1024));
        check("VmRSS:\t2048\n", None);
        check("VmRSS:\t-1 kB\n", None);
        check("VmRSS:\t18446744073709551615 kB\n", None);
        check("", None);

        #[track_caller]
        fn check(status: &str, want: Option<u64>) {
            assert_eq!(parse_kib(status, "VmRSS"), want, "{status:?}");
        }
    }

    // Goal: the facts are this process's. Method: open files and threads of our own must show.
    #[test]
    fn facts_are_about_us_now() {
        let before = Facts::read();
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        let after = Facts::read();
        // A lower bound only: other tests of this program open and close files meanwhile.
        assert!(after.open_fds.unwrap() >= 3 + files.len() as u64);
        assert!(after.resident_bytes.unwrap() > 1 << 20);
        assert!(after.virtual_bytes.unwrap() >= after.resident_bytes.unwrap());
        assert!(after.threads.unwrap() >= 1);
        assert!(after.cpu_seconds >= before.cpu_seconds);
        let now = crate::clock::unix_seconds(crate::clock::wall()) as f64;
        let start = after.start_seconds.unwrap();
        assert!((now - 3600.0..=now + 2.0).contains(&start), "started at {start}, now {now}");
    }

    #[test]
    fn the_open_file_limit_is_raised_to_the_hard_one() {
        let first = raise_open_files().unwrap();
        let again = raise_open_files().unwrap();
        assert_eq!(again.before, first.after);
        assert_eq!(again.after, getrlimit(Resource::Nofile).maximum);
    }
}
