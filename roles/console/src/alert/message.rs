//! What is told: one message about one alert.
//!
//! **Job.** Hold it, and write it as the JSON that webhooks and programs get (docs/alerts.md) and as a sentence.
//! **Made by** `rules`. **Kept by** `delivery`, `store`.
//!
//! Invariants
//! 1. At most [`ITEMS_MAX`] subjects of each kind are in it; the rest is counted.
//! 2. It does not change once it is made: whoever gets it twice knows it by its id.
//!
//! Not here: sending (`send`).

use serde::{Deserialize, Serialize};

/// Subjects listed in a message.
pub const ITEMS_MAX: usize = 20;

/// Why it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Something began.
    Firing,
    /// Nothing has changed; it goes on.
    Still,
    /// All of it is over.
    Resolved,
    /// The operator tries the way.
    Test,
}

impl Status {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Still => "still firing",
            Self::Resolved => "resolved",
            Self::Test => "a test",
        }
    }
}

/// One thing it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// `app hello`.
    pub subject: String,
    /// Seconds since 1970 when it began.
    pub since: u64,
    /// One sentence.
    pub text: String,
    /// What it wrote last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its own for ever; the same at every attempt.
    pub id: String,
    /// The alert's name.
    pub alert: String,
    /// Why it is told.
    pub status: Status,
    /// What is watched.
    pub when: String,
    /// Seconds since 1970.
    pub time: u64,
    /// What is so now and is told for the first time; with `still`: all that is so.
    pub firing: Vec<Item>,
    /// What is over.
    pub resolved: Vec<Item>,
    /// Subjects that have no place in the lists.
    pub more: usize,
}

impl Message {
    /// One sentence.
    pub fn text(&self) -> String {
        if self.status == Status::Test {
            return format!("{}: this is a test, nothing is wrong", self.alert);
        }
        let mut parts: Vec<String> = self.firing.iter().map(|item| item.text.clone()).collect();
        parts.extend(self.resolved.iter().map(|item| format!("over: {}", item.text)));
        if self.more > 0 {
            parts.push(format!("and {} more", self.more));
        }
        format!("{} {}: {}", self.alert, self.status.name(), parts.join("; "))
    }

    /// The body of a webhook, and what a program reads.
    pub fn json(&self, host: &str) -> Vec<u8> {
        let item = |item: &Item| {
            serde_json::json!({
                "subject": item.subject, "since": date(item.since), "text": item.text, "lines": item.lines,
            })
        };
        let all = |items: &[Item]| items.iter().map(item).collect::<Vec<_>>();
        serde_json::json!({
            "id": self.id,
            "alert": self.alert,
            "status": self.status,
            "when": self.when,
            "time": date(self.time),
            "host": host,
            "text": self.text(),
            "firing": all(&self.firing),
            "resolved": all(&self.resolved),
            "more": self.more,
        })
        .to_string()
        .into_bytes()
    }
}

/// RFC 3339, in UTC.
fn date(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the documented shape is the shape. Method: the example of docs/alerts.md, whole.
    #[test]
    fn the_json_is_as_documented() {
        let item = |text: &str, lines: &[&str]| Item {
            subject: "app hello".to_owned(),
            since: 1_790_000_000,
            text: text.to_owned(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        let message = Message {
            id: "9f2c".to_owned(),
            alert: "apps".to_owned(),
            status: Status::Firing,
            when: "app failed".to_owned(),
            time: 1_790_000_005,
            firing: vec![item("app hello has failed: it ended 4 times within 1m", &["no module"])],
            resolved: Vec::new(),
            more: 0,
        };
        let documented = include_str!("../../../../docs/alerts.md");
        let example = documented.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let want: serde_json::Value = serde_json::from_str(example).unwrap();
        let got: serde_json::Value = serde_json::from_slice(&message.json("shop")).unwrap();
        assert_eq!(got, want);
        assert_eq!(message.text(), "apps firing: app hello has failed: it ended 4 times within 1m");
    }
}
