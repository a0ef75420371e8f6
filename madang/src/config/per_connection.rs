//! Who may lead to an app that has a program for each connection.
//!
//! **Job.** Streams of connections may, web routes and datagrams may not. **Called by** `super`. **Calls** nothing of ours.
//!
//! Not here: the app's own keys (`roles/supervise`).

use std::sync::Arc;

use madang_balance::config::StreamSettings;
use madang_settings::reader::Reader;
use madang_web::config::{Action, Site};

/// Checks every way to one of `apps`.
pub(super) fn check(
    root: &mut Reader<'_>,
    apps: &[&str],
    sites: &[Arc<Site>],
    streams: &[Arc<StreamSettings>],
) {
    for site in sites {
        for (place, route) in site.routes.iter().enumerate() {
            let Action::Proxy(proxy) = &route.action else { continue };
            for (key, app) in proxy.pools().filter(|(_, pool)| apps.contains(pool)) {
                let mark = root.mark_below(&["site", &site.name, "route"]);
                let key = format!("site.{}.route[{place}].{key}", site.name);
                let message = format!("app {app:?} has a program for each connection, which speaks no HTTP");
                let help = format!(
                    "lead a stream there:\n    [stream.{app}]\n    listen = \"tcp://127.0.0.1:7000\"\n    proxy = \"{app}\""
                );
                root.report.error(mark, &key, message, Some(help));
            }
        }
    }
    for stream in streams.iter().filter(|stream| stream.takes_datagrams()) {
        for route in stream.routes.iter().filter(|route| apps.contains(&&*route.pool)) {
            let mark = root.mark_below(&["stream", &stream.name, "proxy"]);
            let message =
                format!("app {:?} has a program for each connection: datagrams have none", route.pool);
            let help = Some("listen by tcp:// or tls://".to_owned());
            root.report.error(mark, &format!("stream.{}.proxy", stream.name), message, help);
        }
    }
    for app in apps {
        let led = streams.iter().any(|stream| stream.routes.iter().any(|route| route.pool == *app));
        if !led && !root.report.has_errors() {
            let mark = root.mark_below(&["app", app]);
            let help = Some(format!(
                "for example\n    [stream.{app}]\n    listen = \"tcp://127.0.0.1:7000\"\n    proxy = \"{app}\""
            ));
            root.report.warn(mark, &format!("app.{app}"), "no stream leads to it: nobody can reach it", help);
        }
    }
}
