//! `madang logs`: what apps write, and the access log.
//!
//! **Job.** Read the files of the data folder - a server need not run -, choose lines, show them, follow. **Called by** `cli`.
//! **Calls** `supervise::log`, `ask` (only to learn of a disk that takes no lines).
//!
//! Invariants
//! 1. Nothing that a program wrote reaches the terminal as anything but text.
//! 2. Of each file at most [`READ_BYTES_MAX`] are read.
//!
//! Not here: writing (`roles/supervise`).

mod access;
mod follow;

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use madang_host::clock;
use madang_supervise::log::level::Level;
use madang_supervise::log::line::{Line, Source};
use madang_wire::clean::clean;
use serde_json::{Value, json};

use super::ask::ask;
use super::{Ended, FileArg, colour_out, complain};
use crate::control::encode;

/// What is read of one file at most, from its end, in bytes.
const READ_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The name that stands for the access log; no app can be called so while it is asked for.
const ACCESS: &str = "access";

/// What to show.
#[derive(clap::Args)]
pub(super) struct LogsArgs {
    /// The app, or `access`; left out: all apps, by time
    app: Option<String>,
    #[command(flatten)]
    file: FileArg,
    /// Keep showing what is added
    #[arg(short, long)]
    follow: bool,
    /// How many lines back
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,
    /// Only lines that say they are at least so loud: trace, debug, info, warn, error
    #[arg(long, value_name = "LEVEL")]
    level: Option<Level>,
    /// Only lines that are not older: 30s, 10m, 2h, 1d
    #[arg(long, value_name = "AGE", value_parser = age)]
    since: Option<Duration>,
    /// Only of this instance
    #[arg(long, value_name = "NUMBER")]
    instance: Option<u32>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

fn age(text: &str) -> Result<Duration, String> {
    madang_settings::unit::duration(text).ok_or_else(|| "a number with its unit: 30s, 10m, 2h, 1d".to_owned())
}

/// The log of one app.
struct Log {
    app: String,
    path: PathBuf,
}

pub(super) fn logs(args: &LogsArgs) -> Ended {
    let folder = crate::config::data_folder(&args.file.config).join("logs");
    let mut all = found(&folder);
    match &args.app {
        Some(app) if app == ACCESS && !all.iter().any(|log| log.app == ACCESS) => {
            return access::show(&folder, args.follow, args.lines);
        }
        None if all.is_empty() => return access::show(&folder, args.follow, args.lines),
        Some(app) => {
            let known: Vec<String> = all.iter().map(|log| log.app.clone()).collect();
            all.retain(|log| log.app == *app);
            if all.is_empty() {
                let known =
                    if known.is_empty() { "none has written yet".to_owned() } else { known.join(", ") };
                complain(&format!(
                    "there is no log of an app {app:?} in {}; there are: {known}",
                    folder.display()
                ));
                return Ended::Failed;
            }
        }
        None => {}
    }
    let choice = Choice::of(args, all.len() > 1);
    let mut lines = Vec::new();
    for log in &all {
        // Only a server that runs knows of a disk that is full now.
        let (text, notice) = match kept_in_memory(&args.file.config, &log.app) {
            Some((newest, trouble)) => (newest, Some(trouble)),
            None => (read(&log.path), None),
        };
        if let Some(trouble) = notice {
            complain(&format!(
                "{}: the disk does not take its lines ({trouble}); these are the newest, from memory",
                log.app
            ));
        }
        lines.extend(choice.choose(&log.app, &text));
    }
    // By time; lines of one time stay as they were written.
    lines.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut out = std::io::stdout().lock();
    for (_, line) in &lines[lines.len().saturating_sub(args.lines)..] {
        if out.write_all(line.as_bytes()).is_err() {
            return Ended::Done;
        }
    }
    if !args.follow {
        return Ended::Done;
    }
    drop(out);
    follow::follow(&all, &choice)
}

/// Every app that has a log.
fn found(folder: &Path) -> Vec<Log> {
    let mut all: Vec<Log> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let app = name.strip_prefix("app-")?.strip_suffix(".log")?.to_owned();
            Some(Log { app, path: entry.path() })
        })
        .collect();
    all.sort_by(|a, b| a.app.cmp(&b.app));
    all
}

/// The newest lines and the trouble, where there is one.
fn kept_in_memory(settings: &Path, app: &str) -> Option<(String, String)> {
    let (status, text) = ask(settings, "GET", &format!("/api/v1/app/words?app={}", encode(app))).ok()?;
    let value: Value = serde_json::from_str(&text).ok().filter(|_| status == 200)?;
    Some((value["newest"].as_str()?.to_owned(), value["trouble"].as_str()?.to_owned()))
}

/// A log's files, the oldest first.
fn read(path: &Path) -> String {
    let numbered = |number: usize| PathBuf::from(format!("{}.{number}", path.display()));
    let older = (1..100).map(numbered).take_while(|path| path.is_file()).collect::<Vec<_>>();
    let mut all = Vec::new();
    for path in older.iter().rev().map(PathBuf::as_path).chain([path]) {
        // One that was taken away meanwhile is read no more.
        let Ok(mut file) = std::fs::File::open(path) else { continue };
        let length = file.metadata().map_or(0, |meta| meta.len());
        let from = length.saturating_sub(READ_BYTES_MAX);
        if file.seek(SeekFrom::Start(from)).is_ok() {
            let _ = file.take(READ_BYTES_MAX).read_to_end(&mut all);
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Which lines, and how they look.
struct Choice {
    level: Option<Level>,
    since: Option<String>,
    instance: Option<u32>,
    json: bool,
    colour: bool,
    /// The app's name goes before each.
    names: bool,
}

impl Choice {
    fn of(args: &LogsArgs, names: bool) -> Self {
        let since = args.since.and_then(|age| clock::wall().checked_sub(age));
        let since = since.map(clock::rfc3339);
        let colour = !args.json && colour_out();
        Self { level: args.level, since, instance: args.instance, json: args.json, colour, names }
    }

    /// The lines of a text that are wanted: their times, and as they are shown.
    fn choose(&self, app: &str, text: &str) -> Vec<(String, String)> {
        let lines = text.lines().filter_map(Line::read).filter(|line| self.wants(line));
        lines.map(|line| (line.time.to_owned(), self.shown(app, &line))).collect()
    }

    fn wants(&self, line: &Line<'_>) -> bool {
        self.level.is_none_or(|level| line.level.is_some_and(|have| have >= level))
            && self.instance.is_none_or(|instance| line.instance == instance)
            && self.since.as_deref().is_none_or(|since| line.time >= since)
    }

    fn shown(&self, app: &str, line: &Line<'_>) -> String {
        let Line { time, instance, source, level, goes_on, text } = line;
        if self.json {
            let value = json!({
                "time": time, "app": app, "instance": instance, "source": source.name(),
                "level": level.map(Level::name), "goes_on": goes_on, "text": text,
            });
            return format!("{value}\n");
        }
        // What stands in the file is harmless already, if nobody else wrote into it.
        let (time, text) = (clean(time.as_bytes()), clean(text.as_bytes()));
        let name = if self.names { format!("{app} ") } else { String::new() };
        let head = format!("{time} {name}{instance} {}", source.name());
        if !self.colour {
            return format!("{head} {text}\n");
        }
        let colour = match (level, source) {
            (_, Source::Log) => "35",
            (Some(Level::Error), _) => "31",
            (Some(Level::Warn), _) => "33",
            (Some(Level::Debug | Level::Trace), _) => "2",
            _ => "0",
        };
        format!("\x1b[2m{head}\x1b[0m \x1b[{colour}m{text}\x1b[0m\n")
    }
}
