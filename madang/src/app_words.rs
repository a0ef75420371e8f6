//! What an app said and how it ended, for commands.
//!
//! **Job.** Answer `madang app why` and, where the disk takes no lines, `madang logs`. **Called by** `run`. **Calls**
//! `supervise::keeper`.
//!
//! Not here: lines on disk (`cli::logs` reads them itself), how it is shown (`cli`).

use madang_supervise::keeper::Keeper;
use serde_json::json;

use crate::control::{Answer, parameter};

const JSON: &str = "application/json";

/// The app that the query names: its state, its last crashes, its newest lines.
pub fn words(keeper: Option<&Keeper>, query: &str) -> Answer {
    let refuse =
        |status, message: String| (status, JSON, json!({ "ok": false, "message": message }).to_string());
    let Some(name) = parameter(query, "app") else {
        return refuse(400, "the query needs app=NAME".to_owned());
    };
    let views = keeper.map(Keeper::views).unwrap_or_default();
    let (Some(keeper), Some(view)) = (keeper, views.iter().find(|view| view.app == name)) else {
        let known: Vec<&str> = views.iter().map(|view| view.app.as_str()).collect();
        let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
        return refuse(404, format!("there is no app {name:?}; apps here: {known}"));
    };
    let (newest, trouble, crashes) = keeper.words(&name);
    let answer = json!({ "app": view, "crashes": crashes, "newest": newest, "trouble": trouble });
    (200, JSON, answer.to_string())
}
