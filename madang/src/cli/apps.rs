//! `madang app …`: the apps and orders to them.
//!
//! **Job.** Ask, wait for a deploy and tell how it goes, show. **Called by** `cli`. **Calls** `ask`, `show`.
//!
//! Not here: what the server does (`app_orders`).

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;

use super::orders::{asked, done};
use super::{Asked, Ended, complain, screen, show};
use crate::control::encode;

/// What to do with an app.
#[derive(Subcommand)]
pub(super) enum AppCommand {
    /// Every app and its instances
    List(Asked),
    /// How an app is, its last crashes, and what it wrote before each
    Why(Named),
    /// Start an app that is stopped or has failed
    Start(Named),
    /// End all instances of an app, until it is started again
    Stop(Named),
    /// Replace all instances: new ones first, then the old ones go
    Restart(Named),
    /// Run so many instances
    Scale {
        #[command(flatten)]
        named: Named,
        /// How many
        count: u32,
    },
    /// Bring a new version in, beside the old one; one that is not well is taken back
    Deploy {
        #[command(flatten)]
        named: Named,
        /// The new version's folder, until Madang itself starts anew: then the settings' `dir` holds again. Left out: the same
        /// folder, as its files are now
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Go back to the version before
    Rollback(Named),
}

/// Which app.
#[derive(clap::Args)]
pub(super) struct Named {
    /// The app's name
    app: String,
    #[command(flatten)]
    asked: Asked,
}

/// How often a deploy is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn app(command: &AppCommand) -> Ended {
    let order = |named: &Named, what: &str, more: &str| {
        format!("/api/v1/app/{what}?app={}{more}", encode(&named.app))
    };
    match command {
        AppCommand::List(args) => {
            done(args, "GET", "/api/v1/apps", |value| super::put(&show::apps(value, screen())))
        }
        AppCommand::Why(named) => {
            let path = format!("/api/v1/app/words?app={}", encode(&named.app));
            done(&named.asked, "GET", &path, |value| super::put(&why(value)))
        }
        AppCommand::Start(named) => {
            done(&named.asked, "POST", &order(named, "start", ""), |_| say!("{} is started", named.app))
        }
        AppCommand::Stop(named) => done(&named.asked, "POST", &order(named, "stop", ""), |_| {
            say!("{} ends: what is open there first", named.app);
        }),
        AppCommand::Scale { named, count } => {
            let path = order(named, "scale", &format!("&count={count}"));
            done(&named.asked, "POST", &path, |_| say!("{}: {count} instances are wanted", named.app))
        }
        AppCommand::Restart(named) => deploy(named, &order(named, "restart", "")),
        AppCommand::Rollback(named) => deploy(named, &order(named, "rollback", "")),
        AppCommand::Deploy { named, dir } => {
            let more = match dir.as_ref().map(std::path::absolute).transpose() {
                Ok(Some(dir)) => format!("&dir={}", encode(&dir.to_string_lossy())),
                Ok(None) => String::new(),
                Err(error) => {
                    complain(&format!("cannot use the folder: {error}"));
                    return Ended::Failed;
                }
            };
            deploy(named, &order(named, "deploy", &more))
        }
    }
}

/// Orders it and follows it to its end.
fn deploy(named: &Named, path: &str) -> Ended {
    let version = match asked(&named.asked, "POST", path) {
        Ok(value) => value["version"].as_u64().unwrap_or(0),
        Err(ended) => return ended,
    };
    let mut told = String::new();
    loop {
        let value = match asked(&named.asked, "GET", "/api/v1/apps") {
            Ok(value) => value,
            Err(ended) => return ended,
        };
        let all = value.as_array().map_or(&[][..], Vec::as_slice);
        let Some(app) = all.iter().find(|app| app["app"] == *named.app) else {
            complain(&format!("{} is gone", named.app));
            return Ended::Failed;
        };
        if app["deploy"].is_object() {
            progress(named, &app["deploy"], &mut told);
            #[allow(clippy::disallowed_methods)] // another process has no event to wait for
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        let why = app["last_deploy"][1].as_str();
        if named.asked.output.json {
            say!("{app}");
        } else if let Some(why) = why {
            complain(&format!(
                "version {version} was taken back: {why}; version {} goes on",
                app["version"]["version"]
            ));
        } else {
            say!("version {} is in", app["version"]["version"]);
        }
        return if why.is_some() { Ended::Failed } else { Ended::Done };
    }
}

/// The app, then its crashes, the newest last.
fn why(value: &Value) -> String {
    let mut out = show::apps(&Value::Array(vec![value["app"].clone()]), screen());
    let crashes = show::list(&value["crashes"]);
    if crashes.is_empty() {
        out.push_str("no crash is known\n");
    }
    for crash in crashes {
        let of = |key: &str| show::text(&crash[key]);
        out.push_str(&format!("\n{}  instance {} {}\n", of("time"), of("instance"), of("how")));
        for line in show::list(&crash["lines"]) {
            out.push_str(&format!("    {}\n", show::text(line)));
        }
    }
    out
}

fn progress(named: &Named, deploy: &Value, told: &mut String) {
    let line = match deploy["stage"].as_str() {
        Some("starting") => "new instances start beside the old ones".to_owned(),
        Some("watching") => "the new version has all requests; the old one stands by".to_owned(),
        _ => format!("the new version gets {} % of the requests", deploy["share_percent"]),
    };
    if line != *told && !named.asked.output.json {
        say!("{line}");
    }
    *told = line;
}
