//! `madang run`, `madang check`, `madang schema`.
//!
//! **Job.** Load settings and run them, tell what is wrong with them, or tell what they may be.
//! **Called by** `cli`. **Calls** `config`, `run`, `settings`.
//!
//! Not here: the server's life (`run`).

use std::path::{Path, PathBuf};

use madang_host::clock;
use madang_settings::{docs, schema};

use super::{Ended, Output, colour_err, colour_out, complain, show};
use crate::config::{self, ROOT, Settings};
use crate::run::{self, Start};

/// Runs a settings file.
pub(super) fn run(file: PathBuf, takeover: Option<PathBuf>) -> Ended {
    let (settings, report) = config::load(&file, clock::wall());
    eprint!("{}", report.to_text(colour_err()));
    let Some(settings) = settings else {
        complain("the settings have errors; nothing was started");
        return Ended::Usage;
    };
    start(Start { settings, file: Some(file), takeover })
}

/// Runs checked settings.
pub(super) fn start(start: Start) -> Ended {
    match run::run(start) {
        Ok(()) => Ended::Done,
        Err(failure) => {
            complain(&failure.message);
            if failure.code == 2 { Ended::Usage } else { Ended::Failed }
        }
    }
}

/// Tells every error.
pub(super) fn check(file: &Path, output: Output) -> Ended {
    let (settings, report) = config::load(file, clock::wall());
    if output.json {
        say!("{}", report.to_json());
    } else {
        eprint!("{}", report.to_text(colour_err()));
        match &settings {
            Some(settings) => {
                let (open, close) = if colour_out() { ("\x1b[32m", "\x1b[0m") } else { ("", "") };
                say!("{open}ok{close}: {}", summary(settings));
            }
            None => {
                complain(&format!("{} in the settings", show::counted(report.count() as u64, "problem")));
            }
        }
    }
    if settings.is_some() { Ended::Done } else { Ended::Usage }
}

/// `2 sites, 1 app on http://…`: what there is, and where it listens.
fn summary(settings: &Settings) -> String {
    let counts = [
        (settings.sites.len(), "site"),
        (settings.streams.len(), "stream"),
        (settings.apps.len(), "app"),
        (settings.pools.len(), "pool"),
    ];
    let there = counts.iter().filter(|(count, _)| *count > 0);
    let there: Vec<String> = there.map(|(count, what)| show::counted(*count as u64, what)).collect();
    let of_sites = settings.listeners().into_iter().map(|(listen, _)| listen.name);
    let of_streams =
        settings.streams.iter().flat_map(|stream| &stream.listen).map(|listen| listen.name.clone());
    let listeners: Vec<String> = of_sites.chain(of_streams).collect();
    match (&*there, &*listeners) {
        ([], _) => "nothing to serve".to_owned(),
        (_, []) => there.join(", "),
        _ => format!("{} on {}", there.join(", "), listeners.join(", ")),
    }
}

/// What docs/configuration.md begins with.
const INTRO: &str = "# Settings

This page is made by `madang schema --docs` from the table that reads the settings: it cannot say anything else than the
program does. Editors complete and check `madang.toml` with the schema that `madang schema` prints.

Durations and sizes are text with a unit (`\"5s\"`, `\"10MiB\"`). Paths are relative to the file that names them.";

/// Prints the JSON Schema or the page.
pub(super) fn schema(as_docs: bool) -> Ended {
    if as_docs {
        super::put(&docs::markdown(&ROOT, INTRO));
    } else {
        return print(&schema::document(&ROOT));
    }
    Ended::Done
}

/// Prints a document for programs.
pub(super) fn print(document: &serde_json::Value) -> Ended {
    say!("{document:#}");
    Ended::Done
}
