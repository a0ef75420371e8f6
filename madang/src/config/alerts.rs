//! Alerts among the other sections.
//!
//! **Job.** Check that what `of` names is there. **Called by** `config`. **Calls** `console::config`.
//!
//! Not here: the alert's own keys (`roles/console`), the facts (`crate::alerts`).

use std::sync::Arc;

use madang_console::alert::condition::Names;
use madang_console::config::AlertSettings;
use madang_settings::reader::Reader;

/// Names of apps, of pools, of sites and streams.
pub(super) struct Known<'a> {
    pub(super) apps: Vec<&'a str>,
    pub(super) pools: Vec<&'a str>,
    pub(super) sites: Vec<&'a str>,
}

/// What only the whole can tell.
pub(super) fn check(root: &mut Reader<'_>, alerts: &[Arc<AlertSettings>], known: &Known<'_>) {
    for alert in alerts {
        let (names, what) = match alert.when.names() {
            Names::Apps => (&known.apps, "app"),
            Names::Pools => (&known.pools, "pool"),
            Names::Sites => (&known.sites, "site or stream"),
            Names::Nothing => continue,
        };
        let mark = root.mark_below(&["alert", &alert.name, "of"]);
        let key = format!("alert.{}.of", alert.name);
        for of in alert.of.iter().filter(|of| !names.contains(&of.as_str())) {
            let help = if names.is_empty() {
                "there is none".to_owned()
            } else {
                format!("known here: {}", names.join(", "))
            };
            root.report.error(mark, &key, format!("there is no {what} {of:?}"), Some(help));
        }
    }
}
