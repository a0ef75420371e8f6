//! Answers of the server as tables for people.
//!
//! **Job.** Text from JSON; pure. **Called by** `orders`. Not here: asking.

use std::fmt::Write as _;

use madang_host::telemetry::access::size;
use serde_json::Value;

/// Columns as wide as their widest cell; two spaces between.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
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

/// `madang status`.
pub(super) fn status(value: &Value, colour: bool) -> String {
    let (bold, plain) = if colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let memory = size(value["memory_bytes"].as_u64().unwrap_or(0));
    let mut out = format!(
        "{bold}madang {}{plain}  process {}  {} workers  {} connections  {memory} resident\n\n",
        text(&value["version"]),
        value["process"],
        value["workers"],
        value["connections"]
    );
    let rows: Vec<Vec<String>> = list(&value["listeners"])
        .iter()
        .map(|one| vec![text(&one["bound"]), text(&one["sites"]), text(&one["connections"])])
        .collect();
    out.push_str(&table(&["LISTENER", "SITES", "CONNECTIONS"], &rows));
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
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&table(&["SITE", "2xx", "3xx", "4xx", "5xx", "p50 <=", "p99 <=", "SENT"], &rows));
    }
    let rows: Vec<Vec<String>> = list(&value["certificates"])
        .iter()
        .map(|one| vec![text(&one["site"]), text(&one["names"]), format!("{} days", text(&one["days_left"]))])
        .collect();
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&table(&["CERTIFICATE", "NAMES", "LEFT"], &rows));
    }
    out
}

/// `madang connections`.
pub(super) fn connections(value: &Value) -> String {
    let rows: Vec<Vec<String>> = list(value)
        .iter()
        .map(|one| {
            let number = |key: &str| one[key].as_u64().unwrap_or(0);
            vec![
                text(&one["role"]),
                text(&one["client"]),
                text(&one["server"]),
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
    table(&["ROLE", "CLIENT", "SERVER", "TLS", "STATE", "AGE", "REQUESTS", "IN", "OUT", "USER"], &rows)
}

/// `madang plan`, `madang reload`.
pub(super) fn changes(value: &Value, none: &str) -> String {
    let rows: Vec<Vec<String>> = list(value)
        .iter()
        .map(|change| {
            vec![text(&change["key"]), text(&change["old"]), text(&change["new"]), text(&change["effect"])]
        })
        .collect();
    if rows.is_empty() { format!("{none}\n") } else { table(&["KEY", "NOW", "THEN", "EFFECT"], &rows) }
}
