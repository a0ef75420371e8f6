//! Apps among the other sections: names that routes may use, and what only the whole can tell.
//!
//! **Job.** Check that an app's name is its own and its user can be had. **Called by** `config`. **Calls** `supervise::config`.
//!
//! Not here: the app's own keys (`roles/supervise`), the pool that its instances make (`crate::apps`).

use std::sync::Arc;

use madang_balance::config::PoolSettings;
use madang_host::config::Server;
use madang_settings::reader::Reader;
use madang_supervise::config::{AppSettings, check_order};

/// What holds between apps and the rest.
pub(super) fn check(
    root: &mut Reader<'_>,
    apps: &[Arc<AppSettings>],
    pools: &[Arc<PoolSettings>],
    server: &Server,
) {
    check_order(root, apps);
    for app in apps {
        let mark = |root: &Reader<'_>, key: &str| root.mark_below(&["app", &app.name, key]);
        if pools.iter().any(|pool| pool.name == app.name) {
            let mark = root.mark_below(&["app", &app.name]);
            let help = Some("an app makes a pool of its own name; give one of them another".to_owned());
            let message = format!("there is a [pool.{0}] and an [app.{0}]", app.name);
            root.report.error(mark, &format!("app.{}", app.name), message, help);
        }
        if let (Some(wanted), Some(server)) = (&app.program.user, &server.user)
            && wanted != server
        {
            let at = mark(root, "user");
            let help = Some("leave one of them out".to_owned());
            let message = format!(
                "the server becomes {server:?} (server.user) and cannot start anything as {wanted:?}"
            );
            root.report.error(at, &format!("app.{}.user", app.name), message, help);
        }
    }
}

/// The apps that have a program for each connection.
pub(super) fn per_connection(apps: &[Arc<AppSettings>]) -> Vec<&str> {
    apps.iter().filter(|app| app.per_connection.is_some()).map(|app| &*app.name).collect()
}

/// The names that a route or a stream may lead to.
pub(super) fn targets<'a>(pools: &'a [Arc<PoolSettings>], apps: &'a [Arc<AppSettings>]) -> Vec<&'a str> {
    let services = apps.iter().filter(|app| app.takes_requests());
    pools.iter().map(|pool| &*pool.name).chain(services.map(|app| &*app.name)).collect()
}
