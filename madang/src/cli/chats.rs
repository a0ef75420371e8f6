//! Chats on the screen of `madang status`.
//!
//! **Job.** Rows from JSON; pure. **Called by** `show`. Not here: asking.

use serde_json::Value;

use super::show::{list, text};
use super::table::{Column, NOTHING};

/// The columns of the chats.
pub(super) const COLUMNS: [Column; 9] = [
    Column::Text("CHAT"),
    Column::Number("OPEN"),
    Column::Number("PEOPLE"),
    Column::Number("ROOMS"),
    Column::Number("MSG/S"),
    Column::Number("SENT/S"),
    Column::Number("MESSAGES"),
    Column::Number("WRITING"),
    Column::Text("ENDED"),
];

/// A row for each chat.
pub(super) fn rows(chats: &Value) -> Vec<Vec<String>> {
    let row = |one: &Value| {
        let mut row: Vec<String> = [
            "chat",
            "connections",
            "people",
            "rooms",
            "messages_per_second",
            "deliveries_per_second",
            "messages",
            "writing",
        ]
        .iter()
        .map(|key| text(&one[*key]))
        .collect();
        let ended = one["ended"].as_object().into_iter().flatten();
        let ended: Vec<String> = ended.map(|(why, count)| format!("{why} {count}")).collect();
        row.push(if ended.is_empty() { NOTHING.to_owned() } else { ended.join(", ") });
        row
    };
    list(chats).iter().map(row).collect()
}

/// The columns of the way to other machines.
pub(super) const BUS: [Column; 4] =
    [Column::Text("BUS"), Column::Text("STATE"), Column::Number("MACHINES"), Column::Text("SAYS")];

/// Its row, where there is one.
pub(super) fn bus(bus: &Value) -> Vec<Vec<String>> {
    if bus.is_null() {
        return Vec::new();
    }
    let servers: Vec<&str> = list(&bus["servers"]).iter().filter_map(Value::as_str).collect();
    let says = bus["trouble"].as_str().unwrap_or(NOTHING).to_owned();
    vec![vec![servers.join(", "), text(&bus["state"]), text(&bus["machines"]), says]]
}
