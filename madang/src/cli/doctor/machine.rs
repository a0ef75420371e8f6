//! The machine itself: files, memory, clock, systemd.
//!
//! **Job.** Look at what commonly breaks a server, whatever the settings are. **Called by** `doctor`. **Reads** /proc, /run.
//!
//! Invariants
//! 1. It changes nothing.
//!
//! Not here: what only the settings can tell (`service`).

use std::path::Path;

use madang_host::clock;
use madang_host::process::tool::Tool;

use super::{Finding, fine, wrong};
use crate::cli::install::{Place, systemd_runs};

/// A machine with less memory than this wants swap, in MiB.
const MEMORY_SMALL_MIB: u64 = 1024;
/// The units are tried with 252; what older ones do not know they pass over, down to this one.
const SYSTEMD_OLDEST: u32 = 240;
/// Programs that keep the clock right, as the kernel shortens their names.
const CLOCK_KEEPERS: [&str; 5] = ["chronyd", "ntpd", "ntpd-rs", "openntpd", "systemd-timesyn"];

/// All that can be said of it.
pub(super) fn findings(place: &Place) -> Vec<Finding> {
    vec![file_limit(), memory(place), clock_is_sane(), clock_is_kept(place), backlog(place), systemd(place)]
}

fn file_limit() -> Finding {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    let hard: u64 = line.split_whitespace().nth(4).and_then(|number| number.parse().ok()).unwrap_or(u64::MAX);
    if hard < 16_384 {
        wrong(
            "open files",
            format!("at most {hard}"),
            "raise it: LimitNOFILE=65536 in the systemd unit, or ulimit -n 65536",
        )
    } else {
        fine("open files", format!("at most {hard}"))
    }
}

fn memory(place: &Place) -> Finding {
    let info = std::fs::read_to_string(place.here(Path::new("/proc/meminfo"))).unwrap_or_default();
    let value = |name: &str| -> Option<u64> {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? / 1024)
    };
    let (Some(total), swap) = (value("MemTotal:"), value("SwapTotal:").unwrap_or_default()) else {
        return fine("memory", "unknown here");
    };
    if total < MEMORY_SMALL_MIB && swap == 0 {
        return wrong(
            "memory",
            format!("{total} MiB and no swap"),
            "add swap: fallocate -l 1G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile; \
             for every start: echo '/swapfile none swap sw 0 0' >> /etc/fstab",
        );
    }
    fine("memory", format!("{total} MiB, {swap} MiB swap"))
}

fn clock_is_sane() -> Finding {
    // The year this was written: a machine that believes in an earlier one has no clock.
    const BUILT: u64 = 1_767_225_600;
    if clock::unix_seconds(clock::wall()) < BUILT {
        return wrong("clock", "it is before 2026 here", "certificates will fail: timedatectl set-ntp true");
    }
    fine("clock", "plausible")
}

fn clock_is_kept(place: &Place) -> Finding {
    const WHAT: &str = "time sync";
    let there = |path: &str| place.here(Path::new(path)).try_exists().unwrap_or_default();
    if there("/run/systemd/timesync/synchronized") {
        return fine(WHAT, "by systemd-timesyncd");
    }
    let processes = std::fs::read_dir(place.here(Path::new("/proc"))).into_iter().flatten().flatten();
    let names = processes.filter_map(|process| std::fs::read_to_string(process.path().join("comm")).ok());
    let keeper = names.map(|name| name.trim().to_owned()).find(|name| CLOCK_KEEPERS.contains(&name.as_str()));
    if let Some(keeper) = keeper {
        return fine(WHAT, format!("by {keeper}"));
    }
    if there("/run/systemd/container") || there("/.dockerenv") || there("/run/.containerenv") {
        return fine(WHAT, "this is a container: the host's clock");
    }
    wrong(
        WHAT,
        "nobody keeps the clock right",
        "certificates and logs depend on it: apt-get install systemd-timesyncd && timedatectl set-ntp true",
    )
}

fn backlog(place: &Place) -> Finding {
    let path = place.here(Path::new("/proc/sys/net/core/somaxconn"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.trim().parse::<u32>() {
        Ok(max) if max < 1024 => {
            wrong("accept queue", format!("net.core.somaxconn = {max}"), "sysctl -w net.core.somaxconn=4096")
        }
        Ok(max) => fine("accept queue", format!("net.core.somaxconn = {max}")),
        Err(_) => fine("accept queue", "unknown here"),
    }
}

fn systemd(place: &Place) -> Finding {
    const WHAT: &str = "systemd";
    if !place.is_here() || !systemd_runs() {
        return fine(WHAT, "it does not run here: `madang install` writes units all the same");
    }
    let said = Tool::new(["systemctl", "--version"]).run().map(|said| said.out).unwrap_or_default();
    // "systemd 252 (252.38-1~deb12u1)"
    let version = said.split_whitespace().nth(1).and_then(|version| {
        version.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u32>().ok())
    });
    match version {
        Some(version) if version < SYSTEMD_OLDEST => wrong(
            WHAT,
            format!("version {version}"),
            format!(
                "the units of `madang install` need {SYSTEMD_OLDEST} or later: a newer release of the distribution"
            ),
        ),
        Some(version) => fine(WHAT, format!("version {version}")),
        None => fine(WHAT, "it does not tell its version"),
    }
}
