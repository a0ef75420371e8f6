//! `madang doctor`: is this machine fit.
//!
//! **Job.** Look at what commonly breaks a server and say how to fix each. **Called by** `cli`. **Calls** the file system, /proc.
//!
//! Invariants
//! 1. It changes nothing.
//!
//! Not here: the settings' own errors (`check`).

use std::fmt::Write as _;
use std::path::Path;

use madang_host::clock;
use madang_host::net::listen::ListenerSet;
use serde_json::json;

use super::table::Screen;
use super::{Ended, Output, screen, show};
use crate::config;

struct Finding {
    what: &'static str,
    fine: bool,
    found: String,
    remedy: String,
}

fn fine(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, fine: true, found: found.into(), remedy: String::new() }
}

fn wrong(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { what, fine: false, found: found.into(), remedy: remedy.into() }
}

/// Looks and tells. Exit code 1 when something should be fixed.
pub(super) fn doctor(file: &Path, output: Output) -> Ended {
    let mut findings = vec![file_limit(), memory(), clock_is_sane(), backlog()];
    let (settings, report) = config::load(file, clock::wall());
    match settings {
        None if !file.exists_as_file() => findings.push(wrong(
            "settings",
            format!("there is no {}", file.display()),
            "name one with -c, or serve a folder: madang DIR",
        )),
        None => findings.push(wrong(
            "settings",
            show::counted(report.count() as u64, "problem"),
            "`madang check` tells them",
        )),
        Some(settings) => {
            findings.push(fine("settings", show::counted(settings.sites.len() as u64, "site")));
            findings.push(data_folder(&settings.server.data));
            let runs = super::ask::ask(file, "GET", "/healthz").is_ok();
            for (listen, _) in settings.listeners() {
                findings.push(if runs {
                    fine("address", format!("{} (the server runs)", listen.name))
                } else {
                    match ListenerSet::bind(&listen.address, 1) {
                        Ok(_) => fine("address", format!("{} is free", listen.name)),
                        Err(error) => match holder(&listen.address) {
                            Some(who) => wrong(
                                "address",
                                format!("{} is held by {who}", listen.name),
                                "stop that process, or choose another port",
                            ),
                            None => wrong("address", error.to_string(), ""),
                        },
                    }
                });
            }
        }
    }
    let bad = findings.iter().filter(|finding| !finding.fine).count();
    if output.json {
        let list: Vec<_> = findings
            .iter()
            .map(|f| json!({ "what": f.what, "ok": f.fine, "found": f.found, "remedy": f.remedy }))
            .collect();
        say!("{}", json!({ "ok": bad == 0, "findings": list }));
    } else {
        super::put(&told(&findings, screen()));
    }
    if bad == 0 { Ended::Done } else { Ended::Failed }
}

/// The findings for people: what should be fixed has its remedy beneath.
fn told(findings: &[Finding], screen: Screen) -> String {
    let widest = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let mark = if finding.fine { screen.paint("32", "ok ") } else { screen.paint("1;31", "fix") };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{mark}  {:<widest$}  {}", finding.what, finding.found);
        if !finding.remedy.is_empty() {
            let _ = writeln!(out, "     {:<widest$}  {} {}", "", screen.paint("36", "help:"), finding.remedy);
        }
    }
    let bad = findings.iter().filter(|finding| !finding.fine).count();
    let _ = match bad {
        0 => writeln!(out, "\nnothing needs fixing"),
        bad => writeln!(out, "\n{} to fix", show::counted(bad as u64, "thing")),
    };
    out
}

trait ExistsAsFile {
    fn exists_as_file(&self) -> bool;
}
impl ExistsAsFile for Path {
    fn exists_as_file(&self) -> bool {
        self.is_file()
    }
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

fn memory() -> Finding {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = |name: &str| -> u64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) / 1024
    };
    let (total, swap) = (value("MemTotal:"), value("SwapTotal:"));
    if total < 1024 && swap == 0 {
        return wrong(
            "memory",
            format!("{total} MiB and no swap"),
            "add swap: fallocate -l 1G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile",
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

fn backlog() -> Finding {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    match text.trim().parse::<u32>() {
        Ok(max) if max < 1024 => {
            wrong("accept queue", format!("net.core.somaxconn = {max}"), "sysctl -w net.core.somaxconn=4096")
        }
        Ok(max) => fine("accept queue", format!("net.core.somaxconn = {max}")),
        Err(_) => fine("accept queue", "unknown here"),
    }
}

fn data_folder(path: &Path) -> Finding {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(path) {
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => wrong(
            "data folder",
            format!("{} can be read by others", path.display()),
            format!("chmod 700 {}", path.display()),
        ),
        Ok(_) => fine("data folder", path.display().to_string()),
        Err(_) => fine("data folder", format!("{} will be made", path.display())),
    }
}

/// Who listens on an address, as far as /proc tells.
fn holder(address: &madang_host::net::listen::Address) -> Option<String> {
    let madang_host::net::listen::Address::Tcp(address) = address else { return None };
    let port = format!(":{:04X}", address.port());
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = std::fs::read_to_string(table).ok()?;
        let line = table.lines().skip(1).find(|line| {
            let mut words = line.split_whitespace();
            words.nth(1).is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some("0A")
        })?;
        line.split_whitespace().nth(9).map(str::to_owned)
    })?;
    let wanted = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = |fd: std::fs::DirEntry| {
            std::fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        };
        if descriptors.flatten().any(holds) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {})", name.trim(), process.file_name().to_string_lossy()));
        }
    }
    None
}
