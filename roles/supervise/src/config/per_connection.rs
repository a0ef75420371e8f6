//! `mode = "per-connection"`: a program of its own for each connection.
//!
//! **Job.** Read what holds for such an app, and refuse what has no effect on it. **Called by** `config`. **Calls** `settings`.
//!
//! Not here: starting them (`per_connection`), who leads there (`madang`).

use std::time::Duration;

use madang_settings::reader::Reader;
use madang_settings::schema::{Kind, Section, key};

/// `queue`.
pub const QUEUE: Section = Section {
    title: "queue of an app",
    doc: "With `mode = \"per-connection\"`: connections that wait while `connections_max` programs run. Who finds no room, or waits in vain, is closed and told in the log.",
    keys: &[
        key(
            "length",
            Kind::Count(0, 1_000_000),
            "128",
            "Connections that may wait, per worker of the server. 0: none.",
        ),
        key("wait", Kind::Duration("0s", "5m"), "\"5s\"", "The longest wait."),
    ],
};

/// As checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerConnection {
    /// Programs that are ready before anybody comes, 0 to 64.
    pub workers: u32,
    /// Programs with a connection at once, 1 to 10000.
    pub connections_max: u32,
    /// Connections that may wait, per worker of the server.
    pub queue_length: usize,
    /// How long.
    pub queue_wait: Duration,
}

/// What a program has that takes many connections, or none, and these have not.
const NOT_HERE: [&str; 12] = [
    "instances",
    "max_connections",
    "give",
    "ready",
    "health",
    "start_within",
    "after",
    "once",
    "every",
    "schedule",
    "deploy",
    "scale",
];
const ONLY_HERE: [&str; 3] = ["workers", "connections_max", "queue"];

impl PerConnection {
    /// `None`: the app is of another kind.
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        if r.choice("mode") != "per-connection" {
            for key in ONLY_HERE {
                if r.has(key) {
                    let help = Some("write mode = \"per-connection\", or leave it out".to_owned());
                    r.error(key, format!("`{key}` is for apps with a program for each connection"), help);
                }
            }
            return None;
        }
        for key in NOT_HERE {
            if r.has(key) {
                let message = format!("with mode = \"per-connection\" `{key}` has no effect");
                let help = match key {
                    "instances" | "max_connections" | "scale" => {
                        "`workers` are ready before anybody comes, `connections_max` run at once"
                    }
                    "give" => "the connection is its standard input and output",
                    "ready" | "health" | "start_within" => {
                        "each program serves the one connection it is given"
                    }
                    _ => "leave it out",
                };
                r.error(key, message, Some(help.to_owned()));
            }
        }
        let (queue_length, queue_wait) = r.table_or_default("queue", &QUEUE, |r| {
            (usize::try_from(r.count_u32("length")).unwrap_or(usize::MAX), r.duration("wait"))
        });
        Some(Self {
            workers: r.count_u32("workers"),
            connections_max: r.count_u32("connections_max"),
            queue_length,
            queue_wait,
        })
    }
}
