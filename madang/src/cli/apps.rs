//! `madang app …`: the apps and orders to them.
//!
//! **Job.** Ask, show. **Called by** `cli`. **Calls** `ask`, `show`, `deploy`.
//!
//! Not here: what the server does (`app_orders`).

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use super::orders::done;
use super::{Asked, Ended, complain, deploy, screen, show};
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
        /// A folder to run a copy of. The copy is kept until newer versions push it out; what the app writes belongs
        /// elsewhere. Left out: the settings' folder as its files are now, without a copy
        #[arg(long, conflicts_with = "image")]
        dir: Option<PathBuf>,
        /// An archive of a folder, or an image (OCI, `docker save`): .tar, .tar.gz, .tar.zst
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
    },
    /// Go back to the version before; during a deploy: take that one back
    Rollback {
        #[command(flatten)]
        named: Named,
        /// To this version, as `madang app history` numbers them
        #[arg(long, value_name = "VERSION")]
        to: Option<u32>,
    },
    /// The deploys there were: when, from where, how each ended, what can be gone back to
    History(Named),
}

/// Which app.
#[derive(clap::Args)]
pub(super) struct Named {
    /// The app's name
    app: String,
    #[command(flatten)]
    asked: Asked,
}

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
        AppCommand::Restart(named) => deploy::follow(&named.asked, &named.app, &order(named, "restart", "")),
        AppCommand::Rollback { named, to } => {
            let to = to.map(|to| format!("&to={to}")).unwrap_or_default();
            deploy::follow(&named.asked, &named.app, &order(named, "rollback", &to))
        }
        AppCommand::History(named) => deploy::history(&named.asked, &named.app),
        AppCommand::Deploy { named, dir, image } => {
            let named_by = |key: &str, path: &PathBuf| {
                let path = std::path::absolute(path)?;
                Ok::<_, std::io::Error>(format!("&{key}={}", encode(&path.to_string_lossy())))
            };
            let more = match (dir, image) {
                (Some(dir), _) => named_by("dir", dir),
                (None, Some(image)) => named_by("image", image),
                (None, None) => Ok(String::new()),
            };
            match more {
                Ok(more) => deploy::follow(&named.asked, &named.app, &order(named, "deploy", &more)),
                Err(error) => {
                    complain(&format!("cannot use the path: {error}"));
                    Ended::Failed
                }
            }
        }
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
