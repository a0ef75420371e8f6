//! pm2's ecosystem file: its apps as apps.
//!
//! **Job.** Script and interpreter to a command; instances, environments, limits, restarts. **Called by** `choose`.
//! **Calls** `literal`, and [`Folder::evaluate`] for a file that is more than a value.
//!
//! Not here: deploying by ssh (pm2's `deploy`).

use serde_json::{Map, Value as Json};

use crate::draft::{Draft, Kind, Place, Section, as_name};
use crate::folder::Folder;
use crate::listening::{set_env, set_run, site_for, tell};
use crate::shell;

use super::literal;

/// Apps that are read.
const APPS_MAX: usize = 64;
/// Keys whose work Madang does by itself.
const NOT_NEEDED: &[&str] = &[
    "watch",
    "ignore_watch",
    "watch_options",
    "watch_delay",
    "merge_logs",
    "combine_logs",
    "log_date_format",
    "error_file",
    "out_file",
    "log_file",
    "output",
    "error",
    "log",
    "pid_file",
    "pid",
    "time",
    "source_map_support",
    "instance_var",
    "vizion",
    "namespace",
    "exp_backoff_restart_delay",
    "min_uptime",
    "disable_logs",
    "log_type",
    "pmx",
    "automation",
    "treekill",
    "force",
    "autostart",
    "increment_var",
    "append_env_to_name",
    "filter_env",
    "exec_mode",
    "kill_retry_time",
];

/// Whether a file may be one of pm2's.
pub(crate) fn is_name(file: &str) -> bool {
    let ends = [".json", ".js", ".cjs", ".mjs"].iter().any(|end| file.ends_with(end));
    ends && (file.starts_with("ecosystem")
        || file.starts_with("pm2")
        || file.starts_with("process.")
        || file.contains(".config.") && file.starts_with("eco"))
}

/// Reads a file.
///
/// # Errors
/// A sentence: it is no value, or there are no apps in it.
pub(crate) fn import(folder: &dyn Folder, file: &str, text: &str) -> Result<Draft, String> {
    let mut draft = Draft::from_source(file);
    let json = if file.ends_with(".json") {
        serde_json::from_str(text)
            .ok()
            .or_else(|| literal::exported(text))
            .ok_or_else(|| format!("{file}: this is not JSON"))?
    } else if let Some(value) = literal::exported(text) {
        value
    } else {
        // More than a value: only running it tells.
        let told = folder
            .evaluate(file)
            .map_err(|why| format!("{file} is a program, and node could not tell what it exports: {why}"))?;
        draft.found.push(format!("{file} is a program: node was run to see what it exports"));
        serde_json::from_str(&told).map_err(|_| format!("{file}: what it exports is no JSON"))?
    };
    let apps: Vec<&Map<String, Json>> = match &json {
        Json::Array(list) => list.iter().filter_map(Json::as_object).collect(),
        Json::Object(map) => match map.get("apps") {
            Some(Json::Array(list)) => list.iter().filter_map(Json::as_object).collect(),
            Some(Json::Object(app)) => vec![app],
            _ if map.contains_key("script") => vec![map],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    if apps.is_empty() {
        return Err(format!("{file}: there are no apps in it"));
    }
    if json.get("deploy").is_some() {
        draft.lose(
            line_of(file, text, "deploy"),
            "deploy",
            "`madang app deploy NAME --dir NEW` on the machine itself",
        );
    }
    let mut names = Vec::new();
    for app in apps.into_iter().take(APPS_MAX) {
        names.extend(one(&mut draft, folder, file, text, app));
    }
    draft.found.insert(0, format!("{file}: pm2, {}", names.join(", ")));
    // The first app that seems to listen gets the site; the others have the sites that their operator gives them.
    if let Some(first) = names.first().cloned() {
        site_for(&mut draft, &first);
        if names.len() > 1 {
            draft.next.push(format!("the site leads to {first}: add a route for each other app that takes requests, ready = \"running\" to those that take none"));
        }
    }
    draft.next.push("pm2 delete all && pm2 unstartup before the first start".to_owned());
    Ok(draft)
}

fn line_of(file: &str, text: &str, key: &str) -> Place {
    let found =
        text.lines().position(|line| line.trim_start().trim_start_matches(['"', '\'']).starts_with(key));
    Place::new(file, found.and_then(|at| u32::try_from(at + 1).ok()).unwrap_or(0))
}

fn text_of(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn words_of(value: &Json) -> Vec<String> {
    match value {
        Json::Array(list) => list.iter().filter_map(text_of).collect(),
        Json::String(text) => {
            shell::plain_words(text).unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect())
        }
        other => text_of(other).into_iter().collect(),
    }
}

fn pairs(value: &Json) -> Vec<(String, String)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), text_of(value)?)))
        .collect()
}

fn one(
    draft: &mut Draft,
    folder: &dyn Folder,
    file: &str,
    text: &str,
    app: &Map<String, Json>,
) -> Option<String> {
    let get = |names: &[&str]| names.iter().find_map(|name| app.get(*name));
    let script = get(&["script"]).and_then(Json::as_str).map(str::trim).filter(|script| !script.is_empty());
    let Some(script) = script else {
        draft.lose(line_of(file, text, "script"), "an app without a script", "`run` is what starts it");
        return None;
    };
    let wish =
        get(&["name"]).and_then(Json::as_str).unwrap_or_else(|| script.rsplit('/').next().unwrap_or(script));
    let name = draft.free_name(Kind::App, &as_name(wish.trim_end_matches(".js")));
    let mut section = Section::new(Kind::App, &*name);
    let arguments = get(&["args"]).map(words_of).unwrap_or_default();
    let before = get(&["node_args", "interpreter_args", "interpreterArgs", "nodeArgs"])
        .map(words_of)
        .unwrap_or_default();
    let interpreter = get(&["interpreter", "exec_interpreter"]).and_then(Json::as_str);
    let mut run = command(script, interpreter, before);
    run.extend(arguments);
    set_run(&mut section, &run);
    if let Some(folder_of) = get(&["cwd"]).and_then(Json::as_str) {
        section.set("dir", folder.named(folder_of));
    }
    let mut env = get(&["env"]).map(pairs).unwrap_or_default();
    let others: Vec<&String> =
        app.keys().filter(|key| key.starts_with("env_") && *key != "env_file").collect();
    if let Some(production) = app.get("env_production") {
        env.extend(pairs(production));
        section.say("env and env_production together, as with `pm2 start --env production`.");
    }
    let left: Vec<&str> =
        others.iter().map(|key| key.as_str()).filter(|key| *key != "env_production").collect();
    if let Some(first) = left.first() {
        section.lose(
            line_of(file, text, first),
            left.join(", "),
            "one `env`; settings for another machine are another file (`include`, ${NAME})",
        );
    }
    set_env(&mut section, env);
    instances(&mut section, folder, app);
    if let Some(user) = get(&["uid", "user"]).and_then(Json::as_str) {
        section.set("user", user);
    }
    if let Some(memory) = get(&["max_memory_restart"]) {
        match text_of(memory).as_deref().and_then(size) {
            Some(size) => {
                section.set_in("limits", "memory", size);
                section.say("pm2 restarted it gently above this memory; the kernel ends it there, and Madang starts it again.");
            }
            None => section.lose(
                line_of(file, text, "max_memory_restart"),
                "max_memory_restart",
                "`limits.memory` is a size: \"300MiB\"",
            ),
        }
    }
    times(&mut section, app);
    for (key, value) in app {
        let at = line_of(file, text, key);
        match key.as_str() {
            "cron_restart" | "cron" if value.as_str().is_some_and(|cron| cron != "0") => {
                section.lose(
                    at,
                    format!("cron_restart {}", text_of(value).unwrap_or_default()),
                    "a job with `schedule` that runs: madang app restart NAME",
                );
            }
            "wait_ready" if value == &Json::Bool(true) => {
                section.lose(
                    at,
                    "wait_ready (process.send('ready'))",
                    "`health` with a path, or `ready = \"notify\"` with sd_notify",
                );
            }
            "stop_exit_codes" | "post_update" | "gid" | "shutdown_with_message" | "env_file" => {
                section.lose(at, key.clone(), "there is no counterpart; see `madang schema --docs`")
            }
            key if NOT_NEEDED.contains(&key) => draft.not_needed(key),
            _ => {}
        }
    }
    if run.first().is_some_and(|first| first == "node") {
        let inside = get(&["cwd"])
            .and_then(Json::as_str)
            .map(|folder| format!("{}/", folder.trim_end_matches('/')))
            .unwrap_or_default();
        tell(
            draft,
            folder,
            &format!("{inside}{}", script.trim_start_matches("./")),
            "127.0.0.1 and the port in process.env.PORT",
        );
    }
    draft.sections.push(section);
    Some(name)
}

/// pm2 runs scripts by what their name ends in.
fn command(script: &str, interpreter: Option<&str>, before: Vec<String>) -> Vec<String> {
    let by_name = match script.rsplit_once('.').map(|(_, end)| end) {
        Some("js" | "cjs" | "mjs" | "ts") => Some("node"),
        Some("py") => Some("python3"),
        Some("sh") => Some("sh"),
        Some("rb") => Some("ruby"),
        Some("php") => Some("php"),
        _ => None,
    };
    let first = match interpreter {
        Some("none") => None,
        Some(own) => Some(own),
        None => by_name,
    };
    match first {
        Some(first) => std::iter::once(first.to_owned()).chain(before).chain([script.to_owned()]).collect(),
        // `npm start` and its like: words, not a path.
        None if script.contains(' ') => shell::command(script).run,
        None => vec![script.to_owned()],
    }
}

fn instances(section: &mut Section, folder: &dyn Folder, app: &Map<String, Json>) {
    let wanted = app.get("instances").map(|value| (value.as_i64(), text_of(value).unwrap_or_default()));
    let cores = folder.cores().clamp(1, 64);
    match wanted {
        Some((Some(0 | -1), _)) => section.set_why("instances", cores, "pm2 had one per core"),
        Some((Some(count @ 2..), _)) => section.set("instances", u64::try_from(count).unwrap_or(1).min(64)),
        Some((None, text)) if text == "max" => {
            section.set_why("instances", cores, "pm2 had \"max\": one per core")
        }
        Some((None, text)) if text.parse::<u64>().is_ok_and(|count| count > 1) => {
            section.set("instances", text.parse::<u64>().unwrap_or(1).min(64))
        }
        _ => {}
    }
    if app.get("exec_mode").and_then(Json::as_str).is_some_and(|mode| mode.starts_with("cluster"))
        || section.get("instances").is_some()
    {
        section.say(
            "Each instance gets a port of its own in PORT; Madang balances them (pm2's cluster shared one).",
        );
    }
}

fn times(section: &mut Section, app: &Map<String, Json>) {
    let ms = |names: &[&str]| names.iter().find_map(|name| app.get(*name)).and_then(Json::as_u64);
    let span = |ms: u64| if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") };
    if let Some(delay) = ms(&["restart_delay"]).filter(|delay| *delay > 0) {
        section.set_in("restart", "after", span(delay.min(3_600_000)));
    }
    if app.get("autorestart") == Some(&Json::Bool(false)) {
        section.set_in("restart", "at_most", "never");
    } else if let Some(count) = ms(&["max_restarts"]) {
        section.set_in("restart", "at_most", format!("{} per 10m", count.clamp(1, 1000)));
    }
    if let Some(grace) = ms(&["kill_timeout"]) {
        section.set_in("stop", "grace", span(grace.min(3_600_000)));
    }
    if let Some(within) = ms(&["listen_timeout"]).filter(|within| *within >= 100) {
        section.set("start_within", span(within.min(3_600_000)));
    }
}

fn size(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let scale: u64 = match text[end..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" => 1 << 10,
        "M" | "MB" => 1 << 20,
        "G" | "GB" => 1 << 30,
        _ => return None,
    };
    Some(format!("{}MiB", (number.checked_mul(scale)? >> 20).clamp(1, 16 << 20)))
}
