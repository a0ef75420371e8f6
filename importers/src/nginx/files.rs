//! Files of a location: `root`, `alias`, `index`, `try_files`.
//!
//! **Job.** Make a route of them; tell apart what `try_files` asks in turn and a route decides by path. **Called by** `action`.
//!
//! Not here: everything else a location does (`action`).

use crate::draft::{Place, Route, Value};
use crate::regex;

use super::action::{base, routes, unable};
use super::lex::Directive;
use super::location::{Around, Where};
use super::scope::{Notes, Scope};

/// Files of the top folder that are told apart for `try_files … @app`.
const TOP_MAX: usize = 48;

/// Files of `root` or `alias`, and `try_files`.
pub(super) fn files(
    around: &mut Around<'_, '_>,
    alias: Option<&Directive>,
    here: &Where,
    scope: &Scope,
    notes: &mut Notes<'_>,
) -> Vec<Route> {
    let mut route = base(here);
    let Some(root) = alias.map(|alias| alias.word(0).to_owned()).or_else(|| scope.root.clone()) else {
        let mut route = route.with("respond", "").with("status", 404);
        route.say(format!("No root was set ({}): nginx looked in its own folder html.", around.at));
        return vec![route];
    };
    if root.contains('$') {
        notes.lose(
            &around.at,
            format!("root {root}"),
            "a folder is named without variables; it answers 503 until then",
        );
        return vec![unable(here)];
    }
    let bare = root.trim_end_matches('/');
    match (alias, &here.prefix) {
        (Some(_), Some(prefix)) if here.exact => {
            let (folder, file) = bare.rsplit_once('/').unwrap_or((".", bare));
            route.set("files", around.folder.named(folder));
            route.set("try", format!("/{file}"));
            let _ = prefix;
            return vec![route];
        }
        (Some(_), Some(prefix)) => {
            route.set("files", around.folder.named(bare));
            if prefix.len() > 1 {
                route.set("strip", prefix.trim_end_matches('/'));
            }
        }
        (Some(alias), None) => {
            notes.lose(
                &alias.at,
                format!("alias {root} in a location by expression"),
                "`files` with `strip`; it answers 503 until then",
            );
            return vec![unable(here)];
        }
        (None, _) => route.set("files", around.folder.named(bare)),
    }
    if let Some(index) = &scope.index {
        let names: Vec<String> = index
            .iter()
            .filter(|name| !name.contains('$') && !name.ends_with(".php") && !name.starts_with('/'))
            .cloned()
            .collect();
        if !names.is_empty() && names != ["index.html"] {
            route.set("index", Value::one_or_many(names));
        }
    }
    if scope.listing {
        route.set("listing", true);
    }
    match &scope.try_files {
        Some((words, at)) => tried(around, route, words, at, here, scope, notes),
        None => vec![route],
    }
}

fn tried(
    around: &mut Around<'_, '_>,
    mut route: Route,
    words: &[String],
    at: &Place,
    here: &Where,
    scope: &Scope,
    notes: &mut Notes<'_>,
) -> Vec<Route> {
    let Some((last, names)) = words.split_last() else { return vec![route] };
    let mut tries: Vec<String> = Vec::new();
    for name in names {
        let made = name.replace("$uri", "{path}").replace("$document_uri", "{path}");
        if made.contains('$') || made.contains("{path}{path}") {
            notes.lose(
                at,
                format!("{name} of try_files"),
                "`try` takes {path}, {path}.html, {path}/ and names",
            );
            continue;
        }
        tries.push(made.replace("/{path}", "{path}"));
    }
    let plain = tries.iter().all(|name| name == "{path}" || name == "{path}/");
    if !plain {
        route.set("try", tries.clone());
    } else if !tries.iter().any(|name| name == "{path}/") {
        route.say("nginx did not look into folders here; Madang answers with their index.");
    }
    match last.as_str() {
        "=404" => vec![route],
        last if last.starts_with('@') => named(around, route, last, at, here, scope, notes),
        last if last.starts_with('/') && last.contains(".php") => {
            notes.lose(at, format!("try_files … {last}"), "Madang speaks no FastCGI; run the PHP program's own HTTP server as an [app.NAME] and let a route lead there");
            vec![route]
        }
        last if last.starts_with('/') && !last.contains('$') => {
            let strip = match route.get("strip") {
                Some(Value::Text(strip)) => strip.clone(),
                _ => String::new(),
            };
            route.set("fallback", last.strip_prefix(&strip).unwrap_or(last));
            route.say("`fallback` answers where a page is asked for (accept); a missing picture or script stays 404.");
            vec![route]
        }
        "$uri" | "$uri/" => vec![route],
        last => {
            notes.lose(at, format!("try_files … {last}"), "`fallback` names a file; other statuses are 404");
            vec![route]
        }
    }
}

/// `try_files $uri @app`: files first, then servers. Madang decides by path: the files that there are now get routes.
fn named(
    around: &mut Around<'_, '_>,
    route: Route,
    name: &str,
    at: &Place,
    here: &Where,
    above: &Scope,
    notes: &mut Notes<'_>,
) -> Vec<Route> {
    let Some(block) = around.named.iter().find(|(known, _)| *known == name).map(|(_, block)| *block) else {
        notes.lose(at, format!("try_files … {name}"), "there is no such location");
        return vec![route];
    };
    let mut scope = above.child();
    scope.try_files = None;
    let deeds: Vec<&Directive> = block
        .inside()
        .iter()
        .filter(|inner| inner.name.ends_with("_pass") || inner.name == "return")
        .collect();
    for inner in block.inside() {
        if !deeds.iter().any(|deed| std::ptr::eq(*deed, inner)) && !scope.absorb(inner, notes) {
            notes.unknown(inner);
        }
    }
    // Without a prefix nothing is stripped: nginx hands the whole path on.
    let there = Where { prefix: None, ..here.clone() };
    let mut front = Vec::new();
    let rest = routes(around, &deeds, &there, &scope, notes, &mut front);
    let whole = here.paths == ["/*"];
    let root = above.root.clone().unwrap_or_default();
    let names: Vec<String> =
        around.folder.names(&root).into_iter().filter(|name| !name.starts_with('.')).collect();
    let mut paths = Vec::new();
    for name in &names {
        let path = format!("{root}/{name}");
        let made = if around.folder.has_folder(&path) { format!("/{name}/*") } else { format!("/{name}") };
        // A page for / is the servers': nginx did not look into folders for `$uri` alone.
        if regex::is_pattern(&made) && paths.len() < TOP_MAX {
            paths.push(made);
        }
    }
    let mut all = Vec::new();
    if whole && !paths.is_empty() && names.len() <= TOP_MAX {
        let mut files = route;
        files.set("path", Value::one_or_many(paths));
        files.say(format!("nginx looked for a file first, then asked {name}. A route decides by path: these are what {root}/ holds now."));
        all.push(files);
    } else {
        notes.lose(
            at,
            format!("try_files … {name}"),
            format!("files of {root}/ are not looked for first: write a route with `files` for their paths"),
        );
    }
    all.extend(rest);
    all
}
