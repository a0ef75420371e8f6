//! Procfile: a process a line, `name: command`.
//!
//! **Job.** `web` becomes an app with the site's route, `release` a job before all others, the rest apps without a route.
//! **Called by** `choose`. Pure.
//!
//! Not here: reading commands (`shell`).

use crate::draft::{Draft, Kind, Place, Section, as_name};
use crate::folder::Folder;
use crate::listening::{set_env, set_run, site_for};
use crate::shell;

/// Processes that are read.
const PROCESSES_MAX: usize = 64;

/// Reads a Procfile.
pub(crate) fn import(folder: &dyn Folder, file: &str, text: &str) -> Draft {
    let mut draft = Draft::from_source(file);
    let mut release = None;
    let mut web = None;
    let environment = environment_file(folder, &mut draft);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = Place::new(file, u32::try_from(index + 1).unwrap_or(0));
        let fine = |name: &&str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let Some((name, command)) = line
            .split_once(':')
            .map(|(name, command)| (name.trim(), command.trim()))
            .filter(|(name, _)| fine(name))
        else {
            draft.lose(at, "a line that is not `name: command`", "write it so, or begin it with #");
            continue;
        };
        if draft.sections.len() >= PROCESSES_MAX {
            draft.lose(
                at,
                format!("process {name:?}"),
                format!("more than {PROCESSES_MAX} processes are not read"),
            );
            break;
        }
        if draft.sections.iter().any(|section| section.name == as_name(name)) {
            draft.lose(at, format!("the second {name:?}"), "the first line of a name counts");
            continue;
        }
        let command = shell::command(command);
        if command.run.is_empty() {
            draft.lose(at, format!("process {name:?}"), "it has no command");
            continue;
        }
        let mut app = Section::new(Kind::App, as_name(name));
        set_run(&mut app, &command.run);
        set_env(&mut app, command.env);
        if let Some((key, path)) = &environment {
            app.set(key, path.as_str());
        }
        match name {
            "web" => web = Some(app.name.clone()),
            "release" => {
                app.set_why("once", true, "runs and ends before the others start");
                release = Some(app.name.clone());
            }
            _ => {
                app.say("It takes no requests: it is well as long as it runs.");
                app.set("ready", "running");
            }
        }
        draft.sections.push(app);
    }
    if let Some(release) = &release {
        for app in draft.sections.iter_mut().filter(|app| app.name != *release) {
            app.set("after", release.as_str());
        }
    }
    let names: Vec<&str> = draft.sections.iter().map(|section| section.name.as_str()).collect();
    let sentence =
        format!("{file}: {}", if names.is_empty() { "no process".to_owned() } else { names.join(", ") });
    draft.found.insert(0, sentence);
    match web {
        Some(web) => site_for(&mut draft, &web),
        None => draft.found.push("no process is called web: there is no site, only apps".to_owned()),
    }
    draft
}

/// `.env`, as `heroku local` and foreman read it, where Madang can.
fn environment_file(folder: &dyn Folder, draft: &mut Draft) -> Option<(&'static str, String)> {
    let text = folder.read(".env").ok()?;
    let port = text.lines().position(|line| {
        let line = line.trim();
        line.strip_prefix("export ").unwrap_or(line).starts_with("PORT=")
    });
    if let Some(line) = port {
        let at = Place::new(".env", u32::try_from(line + 1).unwrap_or(0));
        draft.lose(
            at,
            "the file .env",
            "it sets PORT, which Madang sets: take that line out, then env_file = \".env\"",
        );
        return None;
    }
    draft.found.push(
        ".env is the apps' environment (secrets_file instead of env_file, once it has mode 0600)".to_owned(),
    );
    Some(("env_file", folder.named(".env")))
}
