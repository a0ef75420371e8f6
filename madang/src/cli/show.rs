//! Answers of the server as tables for people.
//!
//! **Job.** Text from JSON; pure. **Called by** `orders`. Not here: asking.

use std::fmt::Write as _;

use madang_host::telemetry::access::size;
use serde_json::Value;

use super::table::{Column, NOTHING, Screen, table};
use super::{chats, pools};

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => NOTHING.to_owned(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn duration(ms: u64) -> String {
    match ms / 1000 {
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m{:02}s", s / 60, s % 60),
        s if s < 86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        s => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

/// `1 site`, `2 sites`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// `madang app list`.
pub(super) fn apps(value: &Value, screen: Screen) -> String {
    let mut out = String::new();
    for app in list(value) {
        let state = app["state"].as_str().unwrap_or("");
        let colour = match state {
            "running" | "done" | "scheduled" => "32",
            "failed" => "31",
            _ => "33",
        };
        let _ = write!(out, "{}  {}", screen.paint("1", &text(&app["app"])), screen.paint(colour, state));
        if app["connections"].is_object() {
            let of = |key: &str| app["connections"][key].to_string();
            let _ = write!(
                out,
                "  {} of {} running, {} of {} ready",
                of("running"),
                of("connections_max"),
                of("ready"),
                of("workers")
            );
            let _ = write!(out, "  served {}, {} a minute", of("served"), of("served_per_minute"));
            let _ = write!(out, "  failed {}, {} a minute", of("failed"), of("failed_per_minute"));
        } else if app["job"] != true {
            let _ = write!(out, "  {} of {} ready", app["ready"], app["wanted"]);
        }
        let _ = write!(out, "  version {}", app["version"]["version"]);
        if let Some(seconds) = app["next_start_seconds"].as_u64() {
            let _ = write!(out, "  starts in {}", duration(seconds * 1000));
        }
        if app["deploy"].is_object() {
            let (version, stage) = (&app["deploy"]["version"], text(&app["deploy"]["stage"]));
            let _ = write!(out, "  version {version} {stage}, {} %", app["deploy"]["share_percent"]);
        }
        out.push('\n');
        if let Some(why) = app["why"].as_str() {
            let _ = writeln!(out, "  {why}");
        }
        let rows: Vec<Vec<String>> = list(&app["instances"])
            .iter()
            .map(|one| {
                vec![
                    text(&one["instance"]),
                    text(&one["version"]),
                    text(&one["state"]),
                    duration(one["age_seconds"].as_u64().unwrap_or(0) * 1000),
                    text(&one["process"]),
                    text(&one["address"]),
                    text(&one["in_flight"]),
                    one["cpu_percent"]
                        .as_f64()
                        .map_or_else(|| NOTHING.to_owned(), |used| format!("{used:.0} %")),
                    one["memory"].as_u64().map_or_else(|| NOTHING.to_owned(), size),
                ]
            })
            .collect();
        if !rows.is_empty() {
            let columns = [
                Column::Number("INSTANCE"),
                Column::Number("VERSION"),
                Column::Text("STATE"),
                Column::Number("AGE"),
                Column::Number("PROCESS"),
                Column::Text("ADDRESS"),
                Column::Number("OPEN"),
                Column::Number("CPU"),
                Column::Number("MEMORY"),
            ];
            out.push_str(&table(&columns, &rows, screen));
        }
        let state_is_bad = state == "failed" || state == "starting";
        for end in list(&app["ends"]).iter().filter(|_| state_is_bad) {
            let _ = writeln!(out, "  {}", text(end));
        }
    }
    if out.is_empty() { "no apps\n".to_owned() } else { out }
}

/// `madang status`.
pub(super) fn status(value: &Value, screen: Screen) -> String {
    let number = |key: &str| value[key].as_u64().unwrap_or(0);
    let mut out = format!(
        "{}  process {}  {}  {}  {} resident\n",
        screen.paint("1", &format!("madang {}", text(&value["version"]))),
        value["process"],
        counted(number("workers"), "worker"),
        counted(number("connections"), "connection"),
        size(number("memory_bytes")),
    );
    for key in ["settings", "data"] {
        if let Some(path) = value[key].as_str() {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{} {path}", screen.paint("2", &format!("{key:<8}")));
        }
    }
    let rows: Vec<Vec<String>> = list(&value["listeners"])
        .iter()
        .map(|one| vec![text(&one["bound"]), text(&one["sites"]), text(&one["connections"])])
        .collect();
    let columns = [Column::Text("LISTENER"), Column::Text("SITES"), Column::Number("CONNECTIONS")];
    section(&mut out, &columns, &rows, screen);
    let rows: Vec<Vec<String>> = list(&value["sites"])
        .iter()
        .map(|site| {
            let class = |at: usize| text(&site["classes"][at]);
            let bytes = size(site["bytes_out"].as_u64().unwrap_or(0));
            let ms = |key: &str| format!("{} ms", text(&site[key]));
            vec![
                text(&site["name"]),
                class(1),
                class(2),
                class(3),
                class(4),
                ms("p50_ms"),
                ms("p99_ms"),
                bytes,
            ]
        })
        .collect();
    let columns = [
        Column::Text("SITE"),
        Column::Number("2xx"),
        Column::Number("3xx"),
        Column::Number("4xx"),
        Column::Number("5xx"),
        Column::Number("p50 <="),
        Column::Number("p99 <="),
        Column::Number("SENT"),
    ];
    section(&mut out, &columns, &rows, screen);
    let rows: Vec<Vec<String>> = list(&value["streams"])
        .iter()
        .map(|one| {
            let bytes = |key: &str| size(one[key].as_u64().unwrap_or(0));
            let name = text(&one["name"]);
            vec![
                name,
                text(&one["open"]),
                text(&one["total"]),
                text(&one["failed"]),
                bytes("bytes_in"),
                bytes("bytes_out"),
            ]
        })
        .collect();
    let columns = [
        Column::Text("STREAM"),
        Column::Number("OPEN"),
        Column::Number("TOTAL"),
        Column::Number("FAILED"),
        Column::Number("IN"),
        Column::Number("OUT"),
    ];
    section(&mut out, &columns, &rows, screen);
    for pool in list(&value["pools"]) {
        out.push('\n');
        out.push_str(&pools::short(pool, screen));
    }
    section(&mut out, &chats::COLUMNS, &chats::rows(&value["chats"]), screen);
    section(&mut out, &chats::BUS, &chats::bus(&value["bus"]), screen);
    let rows: Vec<Vec<String>> = list(&value["scalers"])
        .iter()
        .map(|one| {
            let said = one["fault"].as_str().or(one["note"].as_str()).unwrap_or(NOTHING);
            let listed =
                |key: &str| if list(&one[key]).is_empty() { NOTHING.to_owned() } else { text(&one[key]) };
            let wanted = text(&one["wanted"]);
            vec![text(&one["scaler"]), wanted, listed("servers"), listed("draining"), said.to_owned()]
        })
        .collect();
    let columns = [
        Column::Text("SCALER"),
        Column::Number("WANTED"),
        Column::Text("GIVEN"),
        Column::Text("DRAINING"),
        Column::Text("SAYS"),
    ];
    section(&mut out, &columns, &rows, screen);
    let rows: Vec<Vec<String>> = list(&value["certificates"])
        .iter()
        .map(|one| {
            let days = one["days_left"].as_i64().unwrap_or(0);
            vec![
                text(&one["site"]),
                text(&one["names"]),
                format!("{days} day{}", if days == 1 { "" } else { "s" }),
            ]
        })
        .collect();
    let columns = [Column::Text("CERTIFICATE"), Column::Text("NAMES"), Column::Number("LEFT")];
    section(&mut out, &columns, &rows, screen);
    out
}

/// A table after an empty line, where there is anything to show.
fn section(out: &mut String, columns: &[Column], rows: &[Vec<String>], screen: Screen) {
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&table(columns, rows, screen));
    }
}

/// `madang connections`.
pub(super) fn connections(value: &Value, screen: Screen) -> String {
    let rows: Vec<Vec<String>> = list(value)
        .iter()
        .map(|one| {
            let number = |key: &str| one[key].as_u64().unwrap_or(0);
            vec![
                text(&one["client"]),
                text(&one["server"]),
                text(&one["role"]),
                text(&one["tls"]),
                text(&one["state"]),
                duration(number("age_ms")),
                number("requests").to_string(),
                size(number("bytes_in")),
                size(number("bytes_out")),
                text(&one["user"]),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no connection is open\n".to_owned();
    }
    let columns = [
        Column::Text("CLIENT"),
        Column::Text("SERVER"),
        Column::Text("ROLE"),
        Column::Text("TLS"),
        Column::Text("STATE"),
        Column::Number("AGE"),
        Column::Number("REQ"),
        Column::Number("IN"),
        Column::Number("OUT"),
        Column::Text("USER"),
    ];
    table(&columns, &rows, screen)
}

/// `madang plan`, `madang reload`.
pub(super) fn changes(value: &Value, none: &str, screen: Screen) -> String {
    let felt = |effect: &Value| match effect.as_str() {
        Some("live") => "next request".to_owned(),
        Some("new-connections") => "new connections".to_owned(),
        Some("needs-upgrade") => "after an upgrade".to_owned(),
        _ => text(effect),
    };
    let rows: Vec<Vec<String>> = list(value)
        .iter()
        .map(|change| {
            vec![text(&change["key"]), text(&change["old"]), text(&change["new"]), felt(&change["effect"])]
        })
        .collect();
    if rows.is_empty() {
        return format!("{none}\n");
    }
    let columns =
        [Column::Text("KEY"), Column::Text("NOW"), Column::Text("THEN"), Column::Text("TAKES EFFECT")];
    table(&columns, &rows, screen)
}
