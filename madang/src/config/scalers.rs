//! Scalers among the other sections: what only the whole can tell.
//!
//! **Job.** Check that each has its pool or app, and that this one can have servers that come and go. **Called by** `config`.
//!
//! Not here: a scaler by itself (`madang_supervise::config`), joining its servers to the pool (`crate::apps`).

use std::sync::Arc;

use madang_balance::config::PoolSettings;
use madang_settings::reader::Reader;
use madang_supervise::config::{AppSettings, ScaleBy, ScalerSettings};
use madang_supervise::scaler::knows_cpu;

use super::apps::targets;

/// What holds between scalers and the rest.
pub(super) fn check(
    root: &mut Reader<'_>,
    scalers: &[Arc<ScalerSettings>],
    pools: &[Arc<PoolSettings>],
    apps: &[Arc<AppSettings>],
) {
    for scaler in scalers {
        let name = &*scaler.name;
        let (whole, by) = (root.mark_below(&["scaler", name]), root.mark_below(&["scaler", name, "by"]));
        let (path, by_path) = (format!("scaler.{name}"), format!("scaler.{name}.by"));
        let report = &mut root.report;
        let app = apps.iter().find(|app| *app.name == *name);
        let pool = pools.iter().find(|pool| *pool.name == *name);
        let places = match (app, pool) {
            (Some(app), _) if !app.takes_requests() || app.per_connection.is_some() => {
                let message = format!("app.{name} takes no requests: it needs no servers");
                report.error(whole, &path, message, None);
                continue;
            }
            (Some(app), _) => app.max_connections,
            (None, Some(pool)) => {
                if pool.health.is_none() {
                    let help = Some(format!(
                        "for example, in [pool.{name}]: health = {{ path = \"/healthz\", every = \"2s\" }}"
                    ));
                    let message = format!(
                        "pool.{name} has no `health`: nobody would know when a server that comes is well"
                    );
                    report.error(whole, &path, message, help);
                }
                pool.servers.iter().map(|server| server.max_connections).min().unwrap_or(0)
            }
            (None, None) => {
                let known: Vec<&str> = targets(pools, apps);
                let help = if known.is_empty() {
                    "a scaler has the name of the pool or the app that it serves".to_owned()
                } else {
                    format!(
                        "a scaler has the name of the pool or the app that it serves; known here: {}",
                        known.join(", ")
                    )
                };
                report.error(whole, &path, format!("there is no pool and no app {name:?}"), Some(help));
                continue;
            }
        };
        if !knows_cpu(scaler, app.is_some()) {
            let help = Some("by = \"in-flight\", \"latency\" or \"queue\"".to_owned());
            report.error(by, &by_path, "nobody here knows the CPU time of a pool's servers", help);
        }
        if scaler.scale.looks_at(ScaleBy::Queue) && places == 0 {
            let help = Some("say how many requests one server takes at once: max_connections = 8".to_owned());
            report.error(by, &by_path, "nobody ever waits: `max_connections` sets no limit", help);
        }
    }
}
