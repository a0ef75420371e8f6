//! `[alert.NAME]`: as checked.
//!
//! **Job.** Read alerts. An [`AlertSettings`] in hand is the proof that its condition reads, its ways can be tried and every
//! bound in `keys` holds. **Called by** `madang` (config). **Calls** `settings`, `way`.
//!
//! Not here: whether what `of` names is there (`madang` knows apps, pools and sites), what the values do (`alert`).

mod keys;
mod way;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use madang_settings::reader::Reader;
use madang_settings::unit;

pub use self::keys::ALERT;
pub use self::way::{Secret, Way, Webhook};
use crate::alert::condition::{Condition, KNOWN, Names};

/// An alert, checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // `keys` documents each
pub struct AlertSettings {
    pub name: Arc<str>,
    pub when: Condition,
    /// Empty: all.
    pub of: Vec<String>,
    pub ways: Vec<Way>,
    /// Where programs start: the folder of the settings.
    pub dir: PathBuf,
    /// `None`: never.
    pub repeat: Option<Duration>,
    pub group: Duration,
    pub resolved: bool,
    pub timeout: Duration,
}

impl AlertSettings {
    /// Reads one alert.
    pub fn read(r: &mut Reader<'_>, name: &str) -> Self {
        let when = read_when(r);
        let of = r.texts("of");
        if !of.is_empty() && when.is_some_and(|when| when.names() == Names::Nothing) {
            r.error("of", "there is only one machine: `of` has no effect here", None);
        }
        let secret = r.path_value("secret_file").and_then(|path| way::read_secret(r, &path));
        let ways = way::read(r, secret.as_ref());
        if r.has("secret_file") && !ways.iter().any(|way| matches!(way, Way::Webhook(_))) {
            r.error("secret_file", "it signs webhooks, and there is none in `send`", None);
        }
        Self {
            name: name.into(),
            when: when.unwrap_or(Condition::AppFailed),
            of,
            ways,
            dir: r.resolve(r.mark(), "."),
            repeat: read_repeat(r),
            group: r.duration("group"),
            resolved: r.bool("resolved"),
            timeout: r.duration("timeout"),
        }
    }
}

fn read_when(r: &mut Reader<'_>) -> Option<Condition> {
    let known = || format!("known here: {}", KNOWN.map(|known| format!("{known:?}")).join(", "));
    let Some(text) = r.text("when") else {
        if !r.has("when") {
            r.error("when", "`when` is missing: what is watched", Some(known()));
        }
        return None;
    };
    let when = Condition::parse(&text);
    if when.is_none() {
        let shown = r.node("when").map(madang_settings::tree::Node::shown).unwrap_or_default();
        r.error("when", format!("{shown} is nothing that can be watched"), Some(known()));
    }
    when
}

fn read_repeat(r: &mut Reader<'_>) -> Option<Duration> {
    let text = r.text_or_default("repeat");
    let range = Duration::from_secs(60)..=Duration::from_secs(30 * 86_400);
    match unit::duration(&text).filter(|repeat| range.contains(repeat)) {
        Some(repeat) => Some(repeat),
        None if text == "never" => None,
        None => {
            let help = Some("a duration from \"1m\" to \"30d\", or \"never\"".to_owned());
            r.error("repeat", format!("{text:?} is not how often a message is repeated"), help);
            None
        }
    }
}
