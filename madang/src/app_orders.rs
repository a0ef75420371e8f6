//! What may be ordered of an app: start, stop, restart, scale, deploy, go back.
//!
//! **Job.** From a path and its query to the app's answer. **Called by** `run`. **Calls** `supervise::keeper`.
//!
//! Not here: what an app does with it (`roles/supervise`), how commands ask and wait (`cli::apps`).

use std::path::PathBuf;
use std::sync::Arc;

use madang_supervise::app::Refused;
use madang_supervise::keeper::Keeper;
use madang_supervise::releases::Source;
use serde_json::json;

use crate::control::{Answer, parameter};

const JSON: &str = "application/json";

/// What is wanted of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppOrder {
    /// Start what is stopped or failed.
    Start,
    /// End all instances, until it is started.
    Stop,
    /// New instances of the same version, then the old ones go.
    Restart,
    /// So many instances: `count`.
    Scale,
    /// A new version: of a copy of the folder `dir`, of the archive `image`, or of the settings' folder as it is now.
    Deploy,
    /// The version before, or the version `to`.
    Rollback,
}

/// Does it. The query names the app.
pub fn order(keeper: Option<&Keeper>, order: AppOrder, query: &str) -> Answer {
    let Some(name) = parameter(query, "app") else {
        return refuse(400, "the query needs app=NAME".to_owned());
    };
    let count = parameter(query, "count").and_then(|count| count.parse::<u32>().ok());
    let dir = parameter(query, "dir").map(PathBuf::from);
    if let Some(dir) = dir.as_ref().filter(|dir| !dir.is_dir()) {
        return refuse(400, format!("there is no folder {}", dir.display()));
    }
    let image = parameter(query, "image").map(PathBuf::from);
    if let Some(image) = image.as_ref().filter(|image| !image.is_file()) {
        return refuse(400, format!("there is no file {}", image.display()));
    }
    let to = match parameter(query, "to").map(|to| to.parse::<u32>()) {
        Some(Err(_)) => return refuse(400, "to=NUMBER needs the number of a version".to_owned()),
        to => to.and_then(Result::ok),
    };
    let source = match (dir, image) {
        (Some(_), Some(_)) => {
            return refuse(400, "a version is of a folder or of an image, not both".to_owned());
        }
        (dir, image) => dir.map(Source::Folder).or(image.map(Source::File)),
    };
    if order == AppOrder::Scale && count.is_none() {
        return refuse(400, "the query needs count=NUMBER".to_owned());
    }
    if let Some(answer) = keeper.and_then(|keeper| of_crew(keeper, order, &name, source.as_ref())) {
        return answer.unwrap_or_else(|why| refuse(400, format!("{name}: {why}")));
    }
    let done = keeper.and_then(|keeper| {
        if order == AppOrder::Deploy
            && let Some(source) = source
        {
            return Some(keeper.deploy_from(&name, source)?.map(Some));
        }
        keeper.order(&name, |app, now| match order {
            AppOrder::Start => {
                app.start_all(now);
                Ok(None)
            }
            AppOrder::Stop => {
                app.stop_all(now);
                Ok(None)
            }
            AppOrder::Restart => app.restart(now).map(Some),
            AppOrder::Scale => app.scale(count.unwrap_or_default(), now).map(|()| None),
            AppOrder::Deploy => {
                let program = Arc::clone(&app.settings().program);
                app.deploy(program, now).map(Some)
            }
            AppOrder::Rollback => app.roll_back(to, now).map(Some),
        })
    });
    match done {
        None => no_such_app(keeper, &name),
        Some(Err(refused)) => {
            let status = if matches!(refused, Refused::DeployUnderWay { .. }) { 409 } else { 400 };
            refuse(status, format!("{name}: {refused}"))
        }
        Some(Ok(version)) => (200, JSON, json!({ "ok": true, "version": version }).to_string()),
    }
}

/// The same of an app with a program for each connection; `None`: it is not one.
fn of_crew(
    keeper: &Keeper,
    order: AppOrder,
    name: &str,
    source: Option<&Source>,
) -> Option<Result<Answer, &'static str>> {
    let version = keeper.order_crew(name, |crew, now| match order {
        AppOrder::Start => {
            crew.start_all();
            Ok(None)
        }
        AppOrder::Stop => {
            crew.stop_all(now);
            Ok(None)
        }
        AppOrder::Restart => Ok(Some(crew.restart())),
        AppOrder::Scale => {
            Err("it has a program for each connection; `workers` and `connections_max` say how many")
        }
        AppOrder::Deploy if source.is_some() => {
            Err("it has a program for each connection: a deploy takes the settings' folder as it is now, no other one")
        }
        AppOrder::Deploy => Ok(Some(crew.deploy(Arc::clone(&crew.settings().program)))),
        AppOrder::Rollback => crew.roll_back().map(Some).ok_or("there is no earlier version to go back to"),
    })?;
    Some(version.map(|version| (200, JSON, json!({ "ok": true, "version": version }).to_string())))
}

/// The deploys of the app that the query names.
pub fn history(keeper: Option<&Keeper>, query: &str) -> Answer {
    let Some(name) = parameter(query, "app") else {
        return refuse(400, "the query needs app=NAME".to_owned());
    };
    match keeper.and_then(|keeper| keeper.history(&name)) {
        None => no_such_app(keeper, &name),
        Some(history) => (200, JSON, json!(history).to_string()),
    }
}

fn refuse(status: u16, message: String) -> Answer {
    (status, JSON, json!({ "ok": false, "message": message }).to_string())
}

fn no_such_app(keeper: Option<&Keeper>, name: &str) -> Answer {
    let known: Vec<String> = keeper.iter().flat_map(|keeper| keeper.views()).map(|view| view.app).collect();
    let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
    refuse(404, format!("there is no app {name:?}; apps here: {known}"))
}
