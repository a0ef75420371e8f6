//! A deploy, followed from the terminal; and the deploys there were.
//!
//! **Job.** Order, tell each stage with its time, tell how it ended: exit code 0 when the version is in. **Called by**
//! `cli::apps`. **Calls** `ask`, `show`.
//!
//! Invariants
//! 1. The server deploys, not this command: interrupted, it says so and nothing changes there.
//!
//! Not here: what the server does (`app_orders`).

use std::fmt::Write as _;
use std::time::Duration;

use madang_host::clock;
use serde_json::Value;

use super::orders::asked;
use super::show::{list, text};
use super::table::{Column, Screen, table};
use super::{Asked, Ended, complain, put, screen};
use crate::control::encode;

/// How often a deploy is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Progress of files is told so often.
const FILES_EVERY: Duration = Duration::from_secs(2);

/// Orders it and follows it to its end.
pub(super) fn follow(args: &Asked, app: &str, path: &str) -> Ended {
    let version = match asked(args, "POST", path) {
        Ok(value) => value["version"].as_u64().unwrap_or(0),
        Err(ended) => return ended,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        complain(&format!("it is under way; `madang app history {app}` tells how it ends"));
        return Ended::Failed;
    };
    runtime.block_on(async {
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        let mut told = Told { begun: clock::now(), line: String::new(), files_at: None };
        loop {
            match look(args, app, version, &mut told) {
                Some(ended) => return ended,
                None => tokio::select! {
                    _ = &mut interrupt => {
                        complain(&format!(
                            "version {version} goes on coming in at the server; `madang app history {app}` tells how it \
                             ended, `madang app rollback {app}` takes it back"
                        ));
                        return Ended::Failed;
                    }
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                },
            }
        }
    })
}

struct Told {
    begun: std::time::Instant,
    line: String,
    files_at: Option<std::time::Instant>,
}

impl Told {
    /// A line when something moved.
    fn tell(&mut self, args: &Asked, line: String, of_files: bool) {
        let now = clock::now();
        if line == self.line || args.output.json {
            return;
        }
        if of_files && self.files_at.is_some_and(|at| now.saturating_duration_since(at) < FILES_EVERY) {
            return;
        }
        self.files_at = of_files.then_some(now);
        say!("{:>7.1} s  {line}", now.saturating_duration_since(self.begun).as_secs_f64());
        self.line = line;
    }
}

/// One look at it; `None`: it is not decided yet.
fn look(args: &Asked, app: &str, version: u64, told: &mut Told) -> Option<Ended> {
    let history = match asked(args, "GET", &format!("/api/v1/app/history?app={}", encode(app))) {
        Ok(history) => history,
        Err(ended) => return Some(ended),
    };
    let deploy = list(&history["deploys"]).iter().rev().find(|deploy| deploy["version"] == version);
    let Some(deploy) = deploy else {
        // Older than what is remembered: the version that has been in all the time.
        return Some(is_in(args, &history, version));
    };
    match &deploy["end"] {
        Value::String(end) if end == "in" => Some(is_in(args, &history, version)),
        Value::String(end) if end == "under-way" => {
            match asked(args, "GET", "/api/v1/apps") {
                Ok(apps) => {
                    let here = list(&apps).iter().find(|here| here["app"] == app);
                    if let Some(deploy) = here.map(|here| &here["deploy"]).filter(|deploy| deploy.is_object())
                    {
                        told.tell(args, stage(deploy), deploy["files"].is_string());
                    }
                }
                Err(ended) => return Some(ended),
            }
            None
        }
        end => {
            if args.output.json {
                say!("{history}");
                return Some(Ended::Failed);
            }
            let current = &history["current"];
            let lines = list(&end["taken-back"]["lines"]);
            if !lines.is_empty() {
                let mut out = format!("the last that version {version} wrote:\n");
                for line in lines {
                    // Writing to a string cannot fail.
                    let _ = writeln!(out, "  {}", text(line));
                }
                eprint!("{out}");
            }
            match end["taken-back"]["why"].as_str() {
                Some(why) => {
                    complain(&format!("version {version} was taken back: {why}; version {current} goes on"));
                }
                None => complain(&format!(
                    "the server ended before version {version} was in; version {current} goes on"
                )),
            }
            Some(Ended::Failed)
        }
    }
}

fn is_in(args: &Asked, history: &Value, version: u64) -> Ended {
    if args.output.json {
        say!("{history}");
    } else {
        say!("version {version} is in");
    }
    Ended::Done
}

fn stage(deploy: &Value) -> String {
    match deploy["stage"].as_str() {
        Some("preparing") => deploy["files"].as_str().unwrap_or("the files are made ready").to_owned(),
        Some("starting") => {
            format!("new instances start beside the old ones: {} of {} well", deploy["ready"], deploy["of"])
        }
        Some("watching") => "the new version has all requests; the old one stands by".to_owned(),
        _ => format!("the new version gets {} % of the requests", deploy["share_percent"]),
    }
}

/// `madang app history`.
pub(super) fn history(args: &Asked, app: &str) -> Ended {
    match asked(args, "GET", &format!("/api/v1/app/history?app={}", encode(app))) {
        Ok(value) if args.output.json => {
            say!("{value}");
            Ended::Done
        }
        Ok(value) => {
            put(&shown(&value, screen()));
            Ended::Done
        }
        Err(ended) => ended,
    }
}

fn shown(value: &Value, screen: Screen) -> String {
    let (current, earlier) = (&value["current"], list(&value["earlier"]));
    let rows: Vec<Vec<String>> = list(&value["deploys"])
        .iter()
        .map(|deploy| {
            let version = &deploy["version"];
            let can = match () {
                () if version == current => "runs",
                () if earlier.contains(version) => "kept",
                () => "-",
            };
            let took = deploy["took_ms"].as_u64().unwrap_or(0);
            vec![
                version.to_string(),
                when(deploy["begun"].as_u64().unwrap_or(0)),
                from(deploy),
                end(&deploy["end"]),
                format!("{}.{} s", took / 1000, took % 1000 / 100),
                can.to_owned(),
            ]
        })
        .collect();
    let columns = [
        Column::Number("VERSION"),
        Column::Text("BEGUN (UTC)"),
        Column::Text("FROM"),
        Column::Text("HOW IT ENDED"),
        Column::Number("TOOK"),
        Column::Text("NOW"),
    ];
    table(&columns, &rows, screen)
}

/// `2026-11-21 10:31:28`.
fn when(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = madang_wire::date::civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn from(deploy: &Value) -> String {
    let (cause, origin) = (&deploy["cause"], &deploy["origin"]);
    let files = match origin {
        Value::Object(kind) => kind.iter().next().map_or_else(String::new, |(kind, facts)| {
            let digest = facts["digest"].as_str().unwrap_or("");
            let short: String = digest.trim_start_matches("sha256:").chars().take(12).collect();
            let digest = if short.is_empty() { String::new() } else { format!(" ({short})") };
            format!("{kind} {}{digest}", text(&facts["path"]))
        }),
        _ => "the settings' folder".to_owned(),
    };
    match cause {
        Value::Object(back) => format!("rollback to {}: {files}", back["rollback"]["to"]),
        Value::String(cause) if cause == "restart" => format!("restart: {files}"),
        Value::String(cause) if cause == "settings" => format!("changed settings: {files}"),
        Value::String(cause) if cause == "first" => format!("first start: {files}"),
        _ => files,
    }
}

fn end(end: &Value) -> String {
    match end {
        Value::String(end) if end == "under-way" => "under way".to_owned(),
        Value::String(end) if end == "interrupted" => "taken back: the server ended meanwhile".to_owned(),
        Value::String(end) => end.clone(),
        other => format!("taken back: {}", text(&other["taken-back"]["why"])),
    }
}
