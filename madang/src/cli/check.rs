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
use crate::config::{self, ROOT};
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
                let listeners: Vec<String> =
                    settings.listeners().into_iter().map(|(listen, _)| listen.name).collect();
                let (open, close) = if colour_out() { ("\x1b[32m", "\x1b[0m") } else { ("", "") };
                let sites = match settings.sites.len() {
                    1 => "1 site".to_owned(),
                    count => format!("{count} sites"),
                };
                say!("{open}ok{close}: {sites} on {}", listeners.join(", "));
            }
            None => {
                complain(&format!("{} in the settings", show::counted(report.count() as u64, "problem")));
            }
        }
    }
    if settings.is_some() { Ended::Done } else { Ended::Usage }
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
        say!("{:#}", schema::document(&ROOT));
    }
    Ended::Done
}
