//! `after` between apps: whom they name, and that they do not wait for each other.
//!
//! **Job.** Check the order of starts over all apps. **Called by** `madang` (config). **Calls** `settings`, `crate::order`.
//!
//! Not here: waiting (`keeper`).

use std::sync::Arc;

use madang_settings::reader::Reader;

use super::AppSettings;
use crate::order::{Names, circle};

/// Reports every `after` that cannot be obeyed. `root` reads the whole file.
pub fn check_order(root: &mut Reader<'_>, apps: &[Arc<AppSettings>]) {
    let mut complain = |app: &AppSettings, message: String, help: Option<String>| {
        let mark = root.mark_below(&["app", &app.name, "after"]);
        root.report.error(mark, &format!("app.{}.after", app.name), message, help);
    };
    let names: Names<'_> = apps
        .iter()
        .map(|app| (&*app.name, app.after.iter().map(String::as_str).collect::<Vec<_>>()))
        .collect();
    for app in apps {
        for other in &app.after {
            let Some(first) = apps.iter().find(|have| *have.name == **other) else {
                let known: Vec<&str> =
                    apps.iter().map(|app| &*app.name).filter(|name| *name != &*app.name).collect();
                let help = (!known.is_empty()).then(|| format!("known here: {}", known.join(", ")));
                complain(app, format!("there is no app {other:?}"), help);
                continue;
            };
            if first.kind.is_job() && first.kind != super::Kind::Once {
                let message =
                    format!("{other} is a job that comes again and again: nobody can wait for its end");
                complain(app, message, Some("a job to wait for has `once = true`".to_owned()));
            }
        }
    }
    if let Some(circle) = circle(&names)
        && let Some(app) = apps.iter().find(|app| *app.name == *circle[0])
    {
        let message = format!("these apps wait for each other: {}", circle.join(" after "));
        complain(app, message, None);
    }
}
