//! The keys of `[alert.NAME]`: one table for reading, schema and documentation.
//!
//! **Job.** Say name, kind, default and meaning of each key. **Called by** `config`, `madang schema`. **Calls** `settings::schema`.
//!
//! Not here: reading them (`config`).

use madang_settings::schema::{Kind, Section, key};

/// `[alert.NAME]`.
pub const ALERT: Section = Section {
    title: "[alert.NAME]",
    doc: "Somebody is told when something goes wrong, and when it is over. `madang alert list` shows all, `madang alert test NAME` tries one; docs/alerts.md shows what is sent.",
    keys: &[
        key(
            "when",
            Kind::Text,
            "",
            "What is watched: `\"app failed\"`, `\"app restarts over 5 in 10m\"`, `\"app not ready for 30s\"`, `\"deploy taken back\"`, `\"pool down\"` (no server of it is up), `\"server down\"`, `\"certificate expires in 14d\"`, `\"disk under 10 %\"` (free where `server.data` lies), `\"memory under 5 %\"` (available). `for DURATION` may follow those that say `not ready` and `down`.",
        ),
        key(
            "of",
            Kind::List(&Kind::Text),
            "",
            "Only these apps, pools or sites, by name. Left out: all of them.",
        ),
        key(
            "send",
            Kind::List(&Kind::List(&Kind::Text)),
            "",
            "Where it is told: `\"log\"`, `\"webhook https://…\"` (a POST of JSON), or a program with its arguments, `[\"notify\", \"admin\"]` (the same JSON on stdin; it starts in the settings' folder). Several: `[\"log\", \"webhook https://…\", [\"notify\", \"admin\"]]`.",
        ),
        key(
            "secret_file",
            Kind::Path,
            "",
            "Signs webhooks: nobody but its owner may read the file. See docs/alerts.md.",
        ),
        key(
            "repeat",
            Kind::Either(&[Kind::Duration("1m", "30d"), Kind::Choice(&["never"])]),
            "\"4h\"",
            "While it goes on, it is told again this often.",
        ),
        key(
            "group",
            Kind::Duration("0s", "1h"),
            "\"30s\"",
            "After a message, whatever follows is gathered so long and told in one.",
        ),
        key("resolved", Kind::Bool, "true", "It is also told when it is over."),
        key("timeout", Kind::Duration("100ms", "5m"), "\"10s\"", "How long one webhook or program may take."),
    ],
};
