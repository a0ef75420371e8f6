//! Locations in the order in which Madang looks at routes.
//!
//! **Job.** nginx finds the longest prefix, then asks expressions; here the first route wins. Put them so that both find the same.
//! **Called by** `server`. **Calls** `action`.
//!
//! The order: what the server itself returns or rewrites; exact paths; prefixes with `^~`, the longest first; expressions as
//! written; other prefixes, the longest first.
//!
//! Invariants
//! 1. A prefix inside one with `^~` goes with those: no expression is asked there before it.
//!
//! Not here: what a location does (`action`).

use crate::draft::{Draft, Place, Route};
use crate::folder::Folder;

use super::action;
use super::lex::Directive;
use super::proxy::Pools;
use super::scope::{Notes, Scope};
use crate::regex::{self, is_pattern};

/// What a server's routes are made with.
pub(super) struct Around<'a, 'd> {
    pub(super) draft: &'a mut Draft,
    pub(super) folder: &'a dyn Folder,
    pub(super) pools: &'a mut Pools,
    /// `http` or `https` where all addresses are of one kind.
    pub(super) scheme: Option<&'static str>,
    pub(super) server_name: Option<&'a str>,
    /// It listens to both.
    pub(super) both: bool,
    /// `location @name`.
    pub(super) named: Vec<(&'d str, &'d Directive)>,
    pub(super) https_redirect: bool,
    pub(super) at: Place,
}

/// What a location is about.
#[derive(Debug, Clone)]
pub(super) struct Where {
    /// Patterns of paths.
    pub(super) paths: Vec<String>,
    /// The prefix or path as written, where it is one.
    pub(super) prefix: Option<String>,
    /// One path and no other.
    pub(super) exact: bool,
    /// `$1`, `$2`, …
    pub(super) captures: Vec<Option<String>>,
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) front: Vec<Route>,
    exact: Vec<Route>,
    caret: Vec<(String, Vec<Route>)>,
    regex: Vec<Route>,
    plain: Vec<(String, Vec<Route>)>,
}

/// The routes of a server.
pub(super) fn routes<'d>(
    around: &mut Around<'_, 'd>,
    deeds: &[&'d Directive],
    scope: &Scope,
    notes: &mut Notes<'_>,
) -> Vec<Route> {
    let whole = Where {
        paths: vec!["/*".to_owned()],
        prefix: Some("/".to_owned()),
        exact: false,
        captures: Vec::new(),
    };
    let mut groups = Groups::default();
    for directive in deeds {
        match directive.name.as_str() {
            "location" if directive.word(0).starts_with('@') => {
                around.named.push((directive.word(0), directive))
            }
            "return" => {
                // Nothing behind it is ever asked.
                let mut route = action::returned(around, directive, &whole, scope, notes);
                scope.apply(around.folder, &mut route);
                groups.front.push(route);
                return groups.front;
            }
            "rewrite" => {
                let flag = directive.word(2);
                groups.front.extend(action::rewritten(around, directive, flag, notes));
            }
            "if" => groups.front.extend(action::condition(around, directive, &whole, scope, notes)),
            _ => {}
        }
    }
    for directive in
        deeds.iter().filter(|directive| directive.name == "location" && !directive.word(0).starts_with('@'))
    {
        location(around, directive, scope, &mut groups, notes, "");
    }
    let covered = groups.plain.iter().chain(&groups.caret).any(|(prefix, _)| prefix == "/");
    if !covered && (scope.root.is_some() || groups_empty(&groups)) {
        let rest = action::routes(around, &[], &whole, &scope.clone(), notes, &mut groups.front);
        groups.plain.push(("/".to_owned(), rest));
    }
    in_order(groups)
}

fn groups_empty(groups: &Groups) -> bool {
    groups.exact.is_empty()
        && groups.caret.is_empty()
        && groups.plain.is_empty()
        && groups.regex.is_empty()
        && groups.front.is_empty()
}

fn in_order(mut groups: Groups) -> Vec<Route> {
    // Invariant 1.
    let inside = |prefix: &str, carets: &[(String, Vec<Route>)]| {
        carets.iter().any(|(caret, _)| prefix.starts_with(caret.as_str()))
    };
    let carets = std::mem::take(&mut groups.caret);
    let (with_caret, plain): (Vec<_>, Vec<_>) =
        groups.plain.into_iter().partition(|(prefix, _)| inside(prefix, &carets));
    let mut first: Vec<(String, Vec<Route>)> = carets.into_iter().chain(with_caret).collect();
    let mut last = plain;
    for list in [&mut first, &mut last] {
        list.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    }
    let mut all = groups.front;
    all.extend(groups.exact);
    all.extend(first.into_iter().flat_map(|(_, routes)| routes));
    all.extend(groups.regex);
    all.extend(last.into_iter().flat_map(|(_, routes)| routes));
    all
}

fn location<'d>(
    around: &mut Around<'_, 'd>,
    directive: &'d Directive,
    above: &Scope,
    groups: &mut Groups,
    notes: &mut Notes<'_>,
    inside: &str,
) {
    let (kind, text) = match directive.words.as_slice() {
        [kind, text] => (kind.as_str(), text.as_str()),
        [text] if text.starts_with('=') && text.len() > 1 => ("=", &text[1..]),
        [text] => ("", text.as_str()),
        _ => return notes.lose(&directive.at, "a location", "it needs one path"),
    };
    let mut scope = above.child();
    scope.try_files = None;
    let mut deeds = Vec::new();
    for inner in directive.inside() {
        match inner.name.as_str() {
            "location" => {}
            "proxy_pass" | "grpc_pass" | "return" | "rewrite" | "if" | "alias" | "internal"
            | "fastcgi_pass" | "uwsgi_pass" | "scgi_pass" | "memcached_pass" | "stub_status"
            | "empty_gif" => {
                deeds.push(inner);
            }
            "access_log" => {}
            _ if scope.absorb(inner, notes) => {}
            name if ["fastcgi_", "uwsgi_", "scgi_"].iter().any(|of| name.starts_with(of)) => {}
            _ => notes.unknown(inner),
        }
    }
    let closes =
        scope.guards() || deeds.iter().any(|deed| deed.name == "return" && deed.word(0).starts_with('4'));
    let here = match kind {
        "=" => Some(Where {
            paths: vec![text.to_owned()],
            prefix: Some(text.to_owned()),
            exact: true,
            captures: Vec::new(),
        }),
        "" | "^~" => Some(prefix(text, closes)),
        "~" | "~*" => regex::patterns(text).map(|made| Where {
            paths: made.paths,
            prefix: None,
            exact: false,
            captures: made.captures,
        }),
        _ => None,
    };
    let Some(here) = here.filter(|here| here.paths.iter().all(|path| is_pattern(path))) else {
        let instead = if closes {
            "CAREFUL: it kept something closed, which is open now; write a route with `allow` or `auth` for its paths"
        } else {
            "write a route with `path`: /exact, /folder/*, /users/{id}, /**/*.php"
        };
        return notes.lose(&directive.at, format!("location {kind} {text}").replace("  ", " "), instead);
    };
    let mut routes = action::routes(around, &deeds, &here, &scope, notes, &mut groups.front);
    if kind.is_empty()
        && !closes
        && !text.ends_with('/')
        && text != "/"
        && let Some(route) = routes.first_mut()
    {
        route.say(format!(
            "nginx took all that begins with {text}, {text}x too; path = \"{text}*/*\" does so here."
        ));
    }
    if kind == "~*"
        && text.chars().any(char::is_alphabetic)
        && let Some(route) = routes.first_mut()
    {
        route.say("nginx did not mind upper case here (~*); paths are as written.");
    }
    match kind {
        "=" => groups.exact.extend(routes),
        "^~" => groups.caret.push((text.to_owned(), routes)),
        "" => groups.plain.push((text.to_owned(), routes)),
        _ => groups.regex.extend(routes),
    }
    for inner in directive.inside().iter().filter(|inner| inner.name == "location") {
        if inner.words.first().is_some_and(|word| word.starts_with('~')) && text != "/" && inside.is_empty() {
            notes.lose(
                &inner.at,
                format!("a location {} inside of {text}", inner.words.join(" ")),
                "it is looked at for all paths here; write its route with the folder in front",
            );
        }
        location(around, inner, &scope, groups, notes, text);
    }
}

fn prefix(text: &str, closes: bool) -> Where {
    let path = if text.ends_with('/') {
        format!("{text}*")
    } else if closes {
        // `/admin` kept /admin.php closed, too.
        format!("{text}*/*")
    } else {
        format!("{text}/*")
    };
    Where { paths: vec![path], prefix: Some(text.to_owned()), exact: false, captures: Vec::new() }
}
