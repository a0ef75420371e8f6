//! `madang doctor`: is this machine fit.
//!
//! **Job.** Look at what commonly breaks a server and say how to fix each: the machine ([`machine`]), the settings' addresses and
//! folders (here), what was installed ([`service`]). **Called by** `cli`. **Calls** the file system, /proc.
//!
//! Invariants
//! 1. It changes nothing.
//!
//! Not here: the settings' own errors (`check`).

mod machine;
mod service;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use madang_host::clock;
use madang_host::net::listen::{Address, ListenerSet};
use serde_json::json;

use super::install::{Facts, Place};
use super::listening::{self, Protocol};
use super::table::Screen;
use super::{Ended, FileArg, Output, screen, show};
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

/// Options of `madang doctor`.
#[derive(clap::Args, Clone)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    file: FileArg,
    /// Look at a machine that is a folder tree (a mounted disk, what `madang install --root` made)
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Looks and tells. Exit code 1 when something should be fixed.
pub(super) fn doctor(args: &DoctorArgs) -> Ended {
    let place = Place::new(args.root.as_deref(), Path::new("/usr/local"));
    let absolute = std::fs::canonicalize(&args.file.config).ok();
    let (file, output) = (absolute.as_deref().unwrap_or(&args.file.config), args.output);
    let mut findings = machine::findings(&place);
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
            findings.extend(service::findings(&place, &Facts::of(&settings, file).on(&place), file));
            let runs = super::ask::ask(file, "GET", "/healthz").is_ok();
            let streams = settings.streams.iter().flat_map(|stream| &stream.listen).cloned();
            let all = settings.listeners().into_iter().map(|(listen, _)| listen).chain(streams);
            for listen in all.filter(|_| place.is_here()) {
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

fn data_folder(path: &Path) -> Finding {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(path) {
        // Passing through is allowed: an app that runs as another user has its files there.
        Ok(meta) if meta.permissions().mode() & 0o066 != 0 => wrong(
            "data folder",
            format!("{} can be read by others", path.display()),
            format!("chmod 700 {}", path.display()),
        ),
        Ok(_) => fine("data folder", path.display().to_string()),
        Err(_) => fine("data folder", format!("{} will be made", path.display())),
    }
}

/// Who listens on an address, as far as /proc tells.
fn holder(address: &Address) -> Option<String> {
    let (protocol, address) = match address {
        Address::Tcp(address) => (Protocol::Tcp, address),
        Address::Udp(address) => (Protocol::Udp, address),
        Address::Unix(_) => return None,
    };
    let holds = |one: &listening::Listening| one.protocol == protocol && one.address.port() == address.port();
    let (name, number) = listening::all().into_iter().filter(holds).find_map(|one| one.process)?;
    Some(format!("{name} (process {number})"))
}
