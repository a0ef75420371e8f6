//! `madang alert …`: what is wrong now, and whether somebody would hear of it.
//!
//! **Job.** Show all alerts; try one and tell how each way went. **Called by** `cli`. **Calls** `orders`, `table`.
//!
//! Not here: what the server does (`alerts`).

use std::fmt::Write as _;
use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;

use super::orders::{asked, done};
use super::table::{Column, Screen, table};
use super::{Asked, Ended, complain, screen};
use crate::control::encode;

/// What to do about alerts.
#[derive(Subcommand)]
pub(super) enum AlertCommand {
    /// Every alert: what is so now, since when, how each way works
    List(Asked),
    /// Send a test message by every way of an alert
    Test {
        /// The alert's name
        alert: String,
        #[command(flatten)]
        asked: Asked,
    },
}

/// How often it is looked how a test went.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// And how often at most: a way has its `timeout`, 5 min at most, and older messages may go first.
const LOOKS_MAX: u32 = 20 * 400;

pub(super) fn alert(command: &AlertCommand) -> Ended {
    match command {
        AlertCommand::List(args) => {
            done(args, "GET", "/api/v1/alerts", |value| super::put(&show(value, screen())))
        }
        AlertCommand::Test { alert, asked } => test(alert, asked),
    }
}

fn show(value: &Value, screen: Screen) -> String {
    let all = value.as_array().map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        return "there are no alerts; docs/alerts.md shows how to write one\n".to_owned();
    }
    let mut out = String::new();
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for alert in all {
        let count = alert["count"].as_u64().unwrap_or(0);
        let state = if count == 0 { screen.paint("32", "quiet") } else { screen.paint("31", "firing") };
        let told =
            alert["last"].as_u64().map_or_else(|| "never told".to_owned(), |at| format!("told {}", date(at)));
        let _ = writeln!(
            out,
            "{}  {state}  {}  {told}",
            screen.paint("1", &text(&alert["alert"])),
            text(&alert["when"])
        );
        let firing = list(&alert["firing"]);
        for item in &firing {
            let since = date(item["since"].as_u64().unwrap_or(0));
            let _ = writeln!(out, "  since {since}: {}", super::table::printable(&text(&item["text"])));
        }
        let more = count.saturating_sub(firing.len() as u64);
        if more > 0 {
            let _ = writeln!(out, "  and {more} more");
        }
        let rows: Vec<Vec<String>> = list(&alert["ways"])
            .iter()
            .map(|way| {
                let last = &way["last"];
                let how = match (last.is_object(), last["taken"] == true, last["again"] == true) {
                    (false, ..) => String::new(),
                    (_, true, _) => "taken".to_owned(),
                    (_, _, true) => "tried again".to_owned(),
                    _ => "given up".to_owned(),
                };
                let number = |key: &str| way[key].to_string();
                vec![
                    text(&way["way"]),
                    number("waiting"),
                    number("taken"),
                    number("given_up"),
                    how,
                    text(&last["text"]),
                ]
            })
            .collect();
        let columns = [
            Column::Text("  way"),
            Column::Number("waiting"),
            Column::Number("taken"),
            Column::Number("given up"),
            Column::Text("last"),
            Column::Text("how"),
        ];
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|mut row| {
                row[0].insert_str(0, "  ");
                row
            })
            .collect();
        out.push_str(&table(&columns, &rows, screen));
    }
    out
}

fn date(unix_seconds: u64) -> String {
    madang_host::clock::shown(unix_seconds)
}

fn test(alert: &str, args: &Asked) -> Ended {
    let id = match asked(args, "POST", &format!("/api/v1/alert/test?alert={}", encode(alert))) {
        Ok(value) => value["id"].as_str().unwrap_or("").to_owned(),
        Err(ended) => return ended,
    };
    for _ in 0..LOOKS_MAX {
        let value = match asked(args, "GET", "/api/v1/alerts") {
            Ok(value) => value,
            Err(ended) => return ended,
        };
        let all = value.as_array().map_or(&[][..], Vec::as_slice);
        let Some(found) = all.iter().find(|one| one["alert"] == alert) else {
            complain(&format!("{alert} is gone"));
            return Ended::Failed;
        };
        let ways = found["ways"].as_array().map_or(&[][..], Vec::as_slice);
        if !ways.iter().all(|way| way["last"]["message"] == *id) {
            #[allow(clippy::disallowed_methods)] // another process has no event to wait for
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        if args.output.json {
            say!("{found}");
        }
        let mut ended = Ended::Done;
        for way in ways {
            let (name, how) = (way["way"].as_str().unwrap_or(""), way["last"]["text"].as_str().unwrap_or(""));
            if way["last"]["taken"] != true {
                ended = Ended::Failed;
                complain(&format!("{name}: {how}"));
            } else if !args.output.json {
                say!("{name}: {how}");
            }
        }
        return ended;
    }
    complain("no answer: messages before it are still on their way; `madang alert list` shows them");
    Ended::Failed
}
