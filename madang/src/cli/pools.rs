//! Pools for people: part of `madang status`, and `madang status POOL`.
//!
//! **Job.** Text from JSON; pure. **Called by** `show`, `orders`. **Calls** `table`.
//!
//! Invariants
//! 1. A table fits into 80 columns for servers named by IPv4 address and port; what is more is shown where there is room.
//! 2. A server that is not up says why.
//!
//! Not here: asking, the rest of the screen (`show`).

use std::fmt::Write as _;

use serde_json::Value;

use super::show::{counted, list, text};
use super::table::{Column, NOTHING, Screen, cells, printable, table};

/// Events shown beside everything else; `madang status POOL` shows all that are remembered.
const EVENTS_SHOWN: usize = 3;
/// Columns of a terminal from which there is room for more.
const WIDE: usize = 110;

/// The pool of this name, or a sentence that names those there are.
pub(super) fn find<'a>(status: &'a Value, name: &str) -> Result<&'a Value, String> {
    let pools = list(&status["pools"]);
    pools.iter().find(|pool| pool["pool"] == name).ok_or_else(|| {
        let known: Vec<String> = pools.iter().map(|pool| text(&pool["pool"])).collect();
        let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
        format!("there is no pool {name:?}; pools here: {known}")
    })
}

/// One pool among others.
pub(super) fn short(pool: &Value, screen: Screen) -> String {
    let mut out = heading(pool, screen);
    out.push_str(&servers(pool, screen.width.is_none_or(|width| width >= WIDE), screen));
    let events = list(&pool["events"]);
    out.push_str(&happened(&events[events.len().saturating_sub(EVENTS_SHOWN)..], screen));
    out
}

/// Everything about one pool.
pub(super) fn whole(pool: &Value, screen: Screen) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut out = heading(pool, screen);
    out.push_str(&servers(pool, true, screen));
    let queue = &pool["queue"];
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "\n{}  {} waiting now; {} waited, {} too long, {} found it full",
        screen.paint("2", "queue  "),
        number(&queue["length"]),
        number(&queue["entered"]),
        number(&queue["timeouts"]),
        number(&queue["full"]),
    );
    let _ = writeln!(
        out,
        "{}  {} made, {} refused by the budget",
        screen.paint("2", "retries"),
        number(&pool["retries"]),
        number(&pool["retries_refused"]),
    );
    let events = list(&pool["events"]);
    if !events.is_empty() {
        let _ = writeln!(out, "\n{}", screen.paint("2", "what happened, newest last"));
        out.push_str(&happened(events, screen));
    }
    out
}

fn heading(pool: &Value, screen: Screen) -> String {
    let name = screen.paint("1", &format!("pool {}", printable(&text(&pool["pool"]))));
    let mut facts = vec![format!("{}/s", text(&pool["rate"]))];
    for (key, label) in [("p50_ms", "p50"), ("p99_ms", "p99")] {
        if !pool[key].is_null() {
            facts.push(format!("{label} <= {} ms", text(&pool[key])));
        }
    }
    let count = |value: &Value, what: &str| value.as_u64().filter(|n| *n > 0).map(|n| format!("{n} {what}"));
    facts.extend(count(&pool["retries"], "tried again"));
    facts.extend(count(&pool["queue"]["length"], "waiting"));
    let panic = if pool["panic"] == true { "  panic: too few are up, health is doubted" } else { "" };
    let waiting = pool["counts"]["waiting"].as_u64().unwrap_or(0);
    let wait = format!("{} wait{}", counted(waiting, "request"), if waiting == 1 { "s" } else { "" });
    let held = match (pool["held"] == true, waiting) {
        (true, _) => format!("  held: {wait}"),
        (false, 1..) => format!("  nobody up: {wait}"),
        _ => String::new(),
    };
    format!("{name}  {}{}{}\n", facts.join("  "), screen.paint("31", panic), screen.paint("33", &held))
}

fn servers(pool: &Value, wide: bool, screen: Screen) -> String {
    let all = list(&pool["servers"]);
    if all.is_empty() {
        return "  no server: its names lead to no address\n".to_owned();
    }
    let unless_zero =
        |value: &Value| if value.as_u64() == Some(0) { NOTHING.to_owned() } else { text(value) };
    let ms = |value: &Value| if value.is_null() { NOTHING.to_owned() } else { format!("{} ms", text(value)) };
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            let mut row = vec![
                text(&one["server"]),
                text(&one["state"]),
                age(one["since_seconds"].as_u64().unwrap_or(0)),
                text(&one["in_flight"]),
                text(&one["rate"]),
                ms(&one["p50_ms"]),
                ms(&one["p99_ms"]),
                unless_zero(&one["failed"]),
            ];
            if wide {
                let share = one["share_permille"].as_u64().unwrap_or(1000);
                let starting = one["state"] == "up" && share < 1000;
                row.extend([
                    text(&one["requests"]),
                    unless_zero(&one["ejections"]),
                    text(&one["weight"]),
                    if starting { format!("{} %", share / 10) } else { NOTHING.to_owned() },
                    if one["backup"] == true { "yes".to_owned() } else { NOTHING.to_owned() },
                    text(&one["circuit"]),
                ]);
            }
            row
        })
        .collect();
    let mut columns = vec![
        Column::Text("SERVER"),
        Column::State("STATE"),
        Column::Number("SINCE"),
        Column::Number("OPEN"),
        Column::Number("RATE/S"),
        Column::Number("p50 <="),
        Column::Number("p99 <="),
        Column::Number("FAILED"),
    ];
    if wide {
        columns.extend([
            Column::Number("REQUESTS"),
            Column::Number("EJECTED"),
            Column::Number("WEIGHT"),
            Column::Number("STARTING"),
            Column::Text("BACKUP"),
            Column::Text("CIRCUIT"),
        ]);
    }
    let mut out = table(&columns, &rows, screen);
    for one in all
        .iter()
        .filter(|one| one["state"] != "up" && one["why"].as_str().is_some_and(|why| !why.is_empty()))
    {
        let why = format!("{} is {}: {}", text(&one["server"]), text(&one["state"]), text(&one["why"]));
        out.push_str(&wrapped(&why, "  ", screen));
    }
    out
}

fn happened(events: &[Value], screen: Screen) -> String {
    let each = events.iter().map(|event| {
        let ago = age(event["ago_seconds"].as_u64().unwrap_or(0));
        wrapped(&format!("{ago} ago  {}", text(&event["text"])), "  ", screen)
    });
    each.collect()
}

/// Dimmed lines that fit the screen, the later ones indented further.
fn wrapped(sentence: &str, indent: &str, screen: Screen) -> String {
    let room = screen.width.unwrap_or(usize::MAX).max(40);
    let (mut lines, mut line) = (Vec::new(), indent.to_owned());
    for word in printable(sentence).split(' ') {
        if cells(&line) + 1 + cells(word) > room && line.trim() != "" {
            lines.push(std::mem::replace(&mut line, format!("{indent}  ")));
        }
        if line.trim() != "" {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.iter().map(|line| format!("{}\n", screen.paint("2", line))).collect()
}

/// `5 s`, `12 min`, `3 h`, `9 d`.
fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pool() -> Value {
        let server = |name: &str, state: &str, why: &str| {
            json!({ "server": name, "state": state, "why": why, "since_seconds": 4000, "weight": 1,
                "share_permille": 1000, "backup": false, "in_flight": 12, "requests": 123_456, "good": 1, "failed": 1234,
                "rate": 1234.5, "first_byte_ms": 1.5, "p50_ms": 2.5, "p99_ms": 2500.0, "ejections": 3, "circuit": null })
        };
        json!({ "pool": "api", "panic": true, "rate": 2469.0, "p50_ms": 2.5, "p99_ms": 2500.0, "retries": 7,
            "retries_refused": 1, "queue": { "length": 2, "entered": 9, "timeouts": 1, "full": 0 },
            "servers": [
                server("127.0.0.1:30001", "up", ""),
                server("127.0.0.1:30002", "down", "3 health checks failed, last: no answer in time"),
            ],
            "events": [{ "ago_seconds": 70, "text": "127.0.0.1:30002 was up, is down: 3 health checks failed, last: no answer in time" }] })
    }

    // Goal: a pool is read at a glance on any screen: one line for each server, nothing beyond the edge, the reason at hand.
    // Method: the same pool on 80 columns, on a wide screen, on paper and in a corner.
    #[test]
    fn a_pool_fits_its_screen_and_says_why() {
        for width in [Some(80), Some(140), Some(40), None] {
            for colour in [false, true] {
                let screen = Screen { colour, width };
                for text in [short(&pool(), screen), whole(&pool(), screen)] {
                    assert_eq!(text.contains('\x1b'), colour);
                    assert!(text.contains("panic"), "{text}");
                    let words = text.replace("\x1b[2m", "").replace("\x1b[0m", "");
                    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
                    assert!(
                        words.contains("127.0.0.1:30002 is down: 3 health checks failed, last"),
                        "{words}"
                    );
                    assert!(words.contains("70 s ago 127.0.0.1:30002 was up"), "{words}");
                }
            }
        }
        let narrow = short(&pool(), Screen { colour: false, width: Some(80) });
        let rows: Vec<&str> = narrow.lines().filter(|line| line.starts_with("127.0.0.1")).collect();
        assert_eq!(rows.len(), 2, "{narrow}");
        assert!(rows.iter().all(|row| row.len() <= 80 && row.contains("2500.0 ms")), "{narrow}");
        assert!(!narrow.contains("REQUESTS"));
        assert!(short(&pool(), Screen { colour: false, width: Some(140) }).contains("REQUESTS"));
    }

    #[test]
    fn a_pool_that_is_not_there_is_told_with_those_that_are() {
        let status = json!({ "pools": [pool()] });
        assert!(find(&status, "api").is_ok());
        assert_eq!(find(&status, "b").unwrap_err(), "there is no pool \"b\"; pools here: api");
        assert_eq!(find(&json!({}), "b").unwrap_err(), "there is no pool \"b\"; pools here: there are none");
    }
}
