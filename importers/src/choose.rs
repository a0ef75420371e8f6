//! Which of the things in a folder the settings are made from.
//!
//! **Job.** Look in a fixed order, take the first that is recognised, say what else lies there and how to take that.
//! **Called by** `madang init`. **Calls** the importers.
//!
//! Invariants
//! 1. [`SOURCES`] is the order, and what the list of recognised things is made from.
//!
//! Not here: reading any of them.

use std::fmt;

use crate::draft::Draft;
use crate::folder::Folder;
use crate::{caddy, go, nginx, node, procfile, python, rust, statics, systemd};

/// What is looked for, in order: what the operator wrote for a server before what a project only implies.
pub const SOURCES: &[(&str, &str)] = &[
    ("Caddyfile, *.caddy", "sites of Caddy"),
    ("nginx.conf, *.conf with a server block", "sites of nginx"),
    ("ecosystem.config.js, .cjs, .json", "apps of pm2"),
    ("Procfile", "processes by name"),
    ("NAME.service, NAME.timer", "a unit of systemd"),
    ("package.json", "a Node program, or a build that leaves files"),
    ("manage.py, app.py, main.py", "Django, Flask, FastAPI or a plain Python program"),
    ("Cargo.toml", "a Rust program"),
    ("go.mod", "a Go program"),
    ("index.html, dist/, build/, public/", "files"),
];

/// Things that are seen and not read.
const NOT_READ: [(&str, &str); 5] = [
    ("docker-compose.yml", "write an [app.NAME] with each service's own command"),
    ("compose.yml", "write an [app.NAME] with each service's own command"),
    ("compose.yaml", "write an [app.NAME] with each service's own command"),
    ("docker-compose.yaml", "write an [app.NAME] with each service's own command"),
    ("Dockerfile", "its CMD is what `run` of an [app.NAME] needs"),
];

/// Why there is no draft.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing here is known.
    Nothing {
        /// What was seen but is not read, and what to do.
        seen: Vec<String>,
    },
    /// The file that was named, or chosen, cannot be used.
    Unusable {
        /// With file and line where there is one.
        why: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable { why } => f.write_str(why),
            Self::Nothing { seen } => {
                f.write_str("nothing here is recognised")?;
                for line in seen {
                    write!(f, "\n  {line}")?;
                }
                f.write_str("\nrecognised are:")?;
                for (name, what) in SOURCES {
                    write!(f, "\n  {name}: {what}")?;
                }
                f.write_str("\nanother name: madang init --from FILE. Only files: madang DIR serves them without settings")
            }
        }
    }
}

/// Makes a draft from a folder, or from the file of it that was named.
///
/// # Errors
/// A [`Refusal`]: nothing known, or a file that cannot be read or breaks off.
pub fn import(folder: &dyn Folder, from: Option<&str>) -> Result<Draft, Refusal> {
    let mut draft = match from {
        Some(file) => named(folder, file)?,
        None => looked(folder)?,
    };
    for (name, instead) in NOT_READ {
        if folder.has(name) {
            draft.found.push(format!("{name} is not read: {instead}"));
        }
    }
    Ok(draft)
}

fn read(folder: &dyn Folder, file: &str) -> Result<String, Refusal> {
    folder
        .read(file)
        .map_err(|why| Refusal::Unusable { why: format!("cannot use {}: {why}", folder.named(file)) })
}

fn looked(folder: &dyn Folder) -> Result<Draft, Refusal> {
    let files = candidates(folder);
    let mut others = files.clone();
    for file in &files {
        others.retain(|other| other != file);
        let made = match file.as_str() {
            // What says nothing that could be served does not hide what comes after it.
            "package.json" => match named(folder, file) {
                Ok(draft) => Some(draft),
                Err(_) if !others.is_empty() => None,
                Err(why) => return Err(why),
            },
            // A server's file that breaks off is told, not passed over.
            _ if others.is_empty() || file.ends_with(".conf") || file == "Caddyfile" => {
                Some(named(folder, file)?)
            }
            _ => named(folder, file).ok(),
        };
        if let Some(mut draft) = made {
            if !others.is_empty() {
                draft.found.push(format!(
                    "not taken: {} (madang init --from FILE takes another)",
                    others.join(", ")
                ));
            }
            return Ok(draft);
        }
    }
    if let Some(draft) = statics::import(folder) {
        return Ok(draft);
    }
    let seen = NOT_READ.iter().filter(|(name, _)| folder.has(name));
    Err(Refusal::Nothing {
        seen: seen.map(|(name, instead)| format!("{name} is not read: {instead}")).collect(),
    })
}

/// The files that are known by their names, in the order of [`SOURCES`].
pub fn candidates(folder: &dyn Folder) -> Vec<String> {
    let server =
        folder.names(".").into_iter().filter(|name| name.ends_with(".conf") || name.ends_with(".nginx"));
    let mut servers: Vec<String> =
        server.filter(|name| folder.read(name).is_ok_and(|text| nginx::looks_like(&text))).take(8).collect();
    // The whole before its parts.
    servers.sort_by_key(|name| name != "nginx.conf");
    let caddy =
        folder.names(".").into_iter().filter(|name| name == "Caddyfile" || name.ends_with(".caddy")).take(8);
    servers.splice(0..0, caddy);
    let names = folder.names(".");
    servers.extend(names.iter().filter(|name| node::pm2::is_name(name)).take(4).cloned());
    servers.extend(folder.has("Procfile").then(|| "Procfile".to_owned()));
    servers.extend(names.iter().filter(|name| name.ends_with(".service")).take(16).cloned());
    let known = ["package.json", "manage.py", "app.py", "main.py", "Cargo.toml", "go.mod"];
    servers.extend(known.into_iter().filter(|file| folder.has(file)).map(str::to_owned));
    servers
}

/// Reads one file as what its name, or else its content, says that it is.
fn named(folder: &dyn Folder, file: &str) -> Result<Draft, Refusal> {
    let text = read(folder, file)?;
    let base = file.rsplit('/').next().unwrap_or(file);
    let nothing = |what: &str| Refusal::Unusable { why: format!("{file}: {what}") };
    let extension = base.rsplit_once('.').map(|(_, extension)| extension).unwrap_or_default();
    match (base, extension) {
        ("package.json", _) => node::import(folder, file, &text).map_err(|why| Refusal::Unusable { why }),
        ("Cargo.toml", _) => {
            rust::import(folder, file, &text).ok_or_else(|| nothing("there is no program in it"))
        }
        ("go.mod", _) => go::import(folder, file, &text).ok_or_else(|| nothing("there is no main package")),
        (_, "py") => python::import(folder, Some(file)).ok_or_else(|| nothing("there is no program in it")),
        (_, "html") => statics::import(folder).ok_or_else(|| nothing("no folder of files was found")),
        (base, _) if base.starts_with("Procfile") => {
            let draft = procfile::import(folder, file, &text);
            if draft.sections.is_empty() { Err(nothing("there is no process in it")) } else { Ok(draft) }
        }
        (base, extension) if base.starts_with("Caddyfile") || extension == "caddy" => {
            caddy::import(folder, file, &text).map_err(|why| Refusal::Unusable { why })
        }
        (base, "service" | "timer") if !base.is_empty() => {
            systemd::import(folder, file, &text).map_err(|why| Refusal::Unusable { why })
        }
        (base, _) if node::pm2::is_name(base) => {
            node::pm2::import(folder, file, &text).map_err(|why| Refusal::Unusable { why })
        }
        _ if systemd::looks_like(&text) => {
            systemd::import(folder, file, &text).map_err(|why| Refusal::Unusable { why })
        }
        _ if nginx::looks_like(&text) => {
            nginx::import(folder, file, &text).map_err(|why| Refusal::Unusable { why })
        }
        _ if caddy::looks_like(&text) => {
            caddy::import(folder, file, &text).map_err(|why| Refusal::Unusable { why })
        }
        (_, "js" | "cjs" | "mjs" | "json") => {
            node::pm2::import(folder, file, &text).map_err(|why| Refusal::Unusable { why })
        }
        _ => Err(nothing("this is none of the files that are known")),
    }
}
