//! What a location does, as routes.
//!
//! **Job.** `return`, `rewrite`, `if`, `proxy_pass`. **Called by** `location`.
//!
//! Invariants
//! 1. A location whose work cannot be done here answers 503: its files are not shown in its place.
//!
//! Not here: files (`files`), the order of routes (`location`), what is handed down (`scope`).

use crate::draft::{Route, Value};

use super::files::files;
use super::lex::Directive;
use super::location::{Around, Where};
use super::proxy::Pools;
use super::scope::{Notes, Scope};
use crate::regex;
use crate::target::{Known, target};

pub(super) fn base(here: &Where) -> Route {
    Route::default().with("path", Value::one_or_many(here.paths.clone()))
}

/// The routes of one location; rewrites that lead elsewhere go to the front.
pub(super) fn routes(
    around: &mut Around<'_, '_>,
    deeds: &[&Directive],
    here: &Where,
    scope: &Scope,
    notes: &mut Notes<'_>,
    front: &mut Vec<Route>,
) -> Vec<Route> {
    let mut routes = Vec::new();
    let find = |name: &str| deeds.iter().copied().find(|deed| deed.name == name);
    for deed in deeds.iter().filter(|deed| deed.name == "if") {
        routes.extend(condition(around, deed, here, scope, notes));
    }
    let pass = find("proxy_pass").or_else(|| find("grpc_pass"));
    let rewrites: Vec<&Directive> = deeds.iter().copied().filter(|deed| deed.name == "rewrite").collect();
    for rewrite in rewrites {
        let breaks = rewrite.word(2) == "break";
        match (pass, breaks) {
            (Some(pass), true) => routes.extend(rewritten_proxy(around, rewrite, pass, scope, notes)),
            (None, true) => notes.lose(
                &rewrite.at,
                format!("rewrite {} … break", rewrite.word(0)),
                "`strip` or a `files` folder of its own says where files lie",
            ),
            _ => front.extend(rewritten(around, rewrite, rewrite.word(2), notes)),
        }
    }
    if find("internal").is_some() {
        routes.push(base(here).with("respond", "").with("status", 404));
        return routes;
    }
    let mut main =
        if let Some(deed) = find("return") {
            vec![returned(around, deed, here, scope, notes)]
        } else if let Some(deed) = pass {
            proxied(around, deed, here, scope, notes)
        } else if let Some(deed) = deeds.iter().copied().find(|deed| {
            deed.name.ends_with("_pass") || deed.name == "stub_status" || deed.name == "empty_gif"
        }) {
            let mut route = unable(here);
            notes.unknown(&Directive {
                name: deed.name.clone(),
                words: deed.words.clone(),
                block: None,
                at: deed.at.clone(),
            });
            route.say("It answers 503 until then.");
            vec![route]
        } else {
            files(around, find("alias"), here, scope, notes)
        };
    for route in &mut main {
        scope.apply(around.folder, route);
    }
    routes.extend(main);
    routes
}

pub(super) fn unable(here: &Where) -> Route {
    base(here).with("respond", "").with("status", 503)
}

fn known<'k>(around: &'k Around<'_, '_>, here: &'k Where) -> Known<'k> {
    Known {
        scheme: around.scheme,
        server_name: around.server_name,
        path: here.paths.first().map_or("/*", String::as_str),
        captures: &here.captures,
    }
}

/// `return CODE [TEXT or URL]`.
pub(super) fn returned(
    around: &Around<'_, '_>,
    deed: &Directive,
    here: &Where,
    scope: &Scope,
    notes: &mut Notes<'_>,
) -> Route {
    let (code, text) = match deed.word(0).parse::<u64>() {
        Ok(code) => (code, deed.word(1)),
        Err(_) => (302, deed.word(0)),
    };
    let route = base(here);
    if matches!(code, 301 | 302 | 303 | 307 | 308) {
        return match target(text, &known(around, here)) {
            Some(to) => redirect(route, &to.to, code, to.keep_query),
            None => {
                notes.lose(
                    &deed.at,
                    format!("return {code} {text}"),
                    "`redirect` takes {rest}, the path's captures, {path}, {query} and {host}",
                );
                unable(here)
            }
        };
    }
    if code == 444 {
        notes.lose(&deed.at, "return 444", "no connection is closed without an answer; it is 403");
        return route.with("respond", "").with("status", 403);
    }
    if text.contains('$') {
        notes.lose(
            &deed.at,
            format!("return {code} with variables"),
            "`respond` is a fixed text; let the app answer",
        );
    }
    let mut route = route.with("respond", text);
    if let Some(media) = scope.media.as_deref().filter(|_| !text.is_empty())
        && media != "text/plain"
    {
        route.set("type", media);
    }
    if code != 200 || text.is_empty() {
        route.set("status", code.clamp(200, 599));
    }
    route
}

fn redirect(route: Route, to: &str, code: u64, keep_query: bool) -> Route {
    let mut route = route.with("redirect", to);
    if code != 308 {
        route.set("status", code);
    }
    if !keep_query {
        route.set("keep_query", false);
    }
    route
}

/// `rewrite EXPRESSION TARGET [FLAG]` as a route of its own.
pub(super) fn rewritten(
    around: &Around<'_, '_>,
    deed: &Directive,
    flag: &str,
    notes: &mut Notes<'_>,
) -> Option<Route> {
    let made = rewrite_target(around, deed, notes)?;
    let (here, to, keep_query) = made;
    let elsewhere = to.contains("://");
    let route = base(&here);
    Some(match flag {
        "permanent" => redirect(route, &to, 301, keep_query),
        "redirect" => redirect(route, &to, 302, keep_query),
        _ if elsewhere => redirect(route, &to, 302, keep_query),
        _ => {
            let mut route = route.with("rewrite", to);
            if !keep_query {
                route.set("keep_query", false);
            }
            route
        }
    })
}

fn rewrite_target(
    around: &Around<'_, '_>,
    deed: &Directive,
    notes: &mut Notes<'_>,
) -> Option<(Where, String, bool)> {
    let what = format!("rewrite {} {}", deed.word(0), deed.word(1));
    let expression = if deed.word(0) == "^" { "^(.*)$" } else { deed.word(0) };
    let Some(made) = regex::patterns(expression) else {
        notes.lose(
            &deed.at,
            what,
            "write it as a route: `path = \"/old/*\"`, `rewrite` or `redirect = \"/new/{rest}\"`",
        );
        return None;
    };
    let here = Where { paths: made.paths, prefix: None, exact: false, captures: made.captures };
    let (text, keep) = match deed.word(1).strip_suffix('?') {
        Some(text) => (text, false),
        None => (deed.word(1), true),
    };
    match target(text, &known(around, &here)) {
        Some(to) => Some((here, to.to, keep || to.keep_query)),
        None => {
            notes.lose(
                &deed.at,
                what,
                "its target takes what a path pattern catches: {rest}, {name}, {path}, {query}, {host}",
            );
            None
        }
    }
}

fn rewritten_proxy(
    around: &mut Around<'_, '_>,
    rewrite: &Directive,
    pass: &Directive,
    scope: &Scope,
    notes: &mut Notes<'_>,
) -> Option<Route> {
    let (here, to, keep_query) = rewrite_target(around, rewrite, notes)?;
    let mut route = proxied(around, pass, &Where { prefix: None, ..here }, scope, notes).pop()?;
    route.unset("strip");
    route.set("rewrite", to);
    if !keep_query {
        route.set("keep_query", false);
    }
    scope.apply(around.folder, &mut route);
    Some(route)
}

/// `if (CONDITION) { return or rewrite }`.
pub(super) fn condition(
    around: &mut Around<'_, '_>,
    deed: &Directive,
    here: &Where,
    scope: &Scope,
    notes: &mut Notes<'_>,
) -> Vec<Route> {
    let words: Vec<&str> = deed
        .words
        .iter()
        .map(|word| word.trim_start_matches('(').trim_end_matches(')'))
        .filter(|word| !word.is_empty())
        .collect();
    let inside = deed.inside();
    let lose = |notes: &mut Notes<'_>, instead: &str| {
        notes.lose(&deed.at, format!("if ({})", words.join(" ")), instead);
        Vec::new()
    };
    let usual = "write a route with the condition (`header`, `query`, `cookie`, `method`, `host`)";
    let ([variable, "=", value], [only]) = (words.as_slice(), inside) else {
        let missing = words.first().is_some_and(|word| word.starts_with("!-"));
        return lose(notes, if missing { "`fallback` or `try` of a `files` route" } else { usual });
    };
    let name = variable.trim_start_matches('$');
    if name == "scheme"
        && *value == "http"
        && around.both
        && only.name == "return"
        && only.words.iter().any(|word| word.starts_with("https://"))
    {
        around.https_redirect = true;
        return Vec::new();
    }
    let made = match only.name.as_str() {
        "return" => Some(returned(around, only, here, scope, notes)),
        "rewrite" => rewritten(around, only, only.word(2), notes),
        _ => None,
    };
    let Some(mut route) = made else { return lose(notes, usual) };
    match name {
        "host" | "http_host" | "server_name" if !value.is_empty() => route.set("host", *value),
        "request_method" => route.set("method", *value),
        _ => {
            let (key, field) = if let Some(field) = name.strip_prefix("http_") {
                ("header", field.replace('_', "-"))
            } else if let Some(field) = name.strip_prefix("arg_") {
                ("query", field.to_owned())
            } else if let Some(field) = name.strip_prefix("cookie_") {
                ("cookie", field.to_owned())
            } else {
                return lose(notes, usual);
            };
            if value.is_empty() || *value == "*" {
                return lose(notes, usual);
            }
            route.add_to_map(key, &field, value);
        }
    }
    vec![route]
}

/// `proxy_pass URL`.
fn proxied(
    around: &mut Around<'_, '_>,
    deed: &Directive,
    here: &Where,
    scope: &Scope,
    notes: &mut Notes<'_>,
) -> Vec<Route> {
    let url = deed.word(0);
    let (scheme, rest) = match url.split_once("://") {
        Some(("http", rest)) => ("", rest),
        Some(("https" | "grpcs", rest)) => ("https://", rest),
        Some(("grpc", rest)) => ("h2c://", rest),
        None if deed.name == "grpc_pass" => ("h2c://", url),
        _ => ("", ""),
    };
    let (authority, uri) = match rest.strip_prefix("unix:") {
        Some(socket) => match socket.split_once(':') {
            Some((path, uri)) => (format!("unix:{path}"), Some(uri).filter(|uri| !uri.is_empty())),
            None => (rest.to_owned(), None),
        },
        None => match rest.find('/') {
            Some(at) => (rest[..at].to_owned(), Some(&rest[at..])),
            None => (rest.to_owned(), None),
        },
    };
    let pool = if url.contains('$') || rest.is_empty() {
        None
    } else {
        around.pools.of(around.draft, scheme, &authority, &deed.at)
    };
    let Some(pool) = pool else {
        notes.lose(
            &deed.at,
            format!("{} {url}", deed.name),
            "`proxy` names a pool of fixed addresses or names; it answers 503 until then",
        );
        return vec![unable(here)];
    };
    for (name, value) in &scope.timeouts {
        Pools::wait(around.draft, &pool, name, value);
    }
    if scope.no_retry
        && let Some(section) = around
            .draft
            .sections
            .iter_mut()
            .find(|section| section.kind == crate::draft::Kind::Pool && section.name == pool)
    {
        section.set_in("retry", "attempts", 1);
    }
    let mut routes = Vec::new();
    let mut route = base(here).with("proxy", pool);
    let mut query_away = false;
    if let (Some(uri), Some(prefix)) = (uri, &here.prefix) {
        let (uri, fixed) = uri.split_once('?').map_or((uri, false), |(path, _)| (path, true));
        query_away = fixed;
        let front = prefix.trim_end_matches('/');
        if here.exact {
            if uri != prefix {
                route.set("rewrite", uri);
            }
        } else if uri == "/" && !front.is_empty() {
            route.set("strip", front);
        } else if uri.trim_end_matches('/') != front {
            route.set("rewrite", format!("{}/{{rest}}", uri.trim_end_matches('/')));
        }
    }
    if query_away {
        notes.lose(
            &deed.at,
            format!("the query of {} {url}", deed.name),
            "`rewrite` may have one: \"/path?a=b\"",
        );
    }
    // nginx sends who asks for a folder without its slash there, when it is a folder of servers.
    if let Some(prefix) =
        here.prefix.as_deref().filter(|prefix| !here.exact && prefix.len() > 1 && prefix.ends_with('/'))
    {
        let exact = prefix.trim_end_matches('/');
        routes.push(redirect(Route::at(exact), prefix, 301, true));
    }
    fields(&mut route, scope, &authority, scheme, notes);
    if scope.keeps_location {
        route.set("rewrite_location", false);
    }
    routes.push(route);
    routes
}

/// `proxy_set_header`, and the host that nginx sends when nothing is said.
fn fields(route: &mut Route, scope: &Scope, authority: &str, scheme: &str, notes: &mut Notes<'_>) {
    const OURS: [&str; 13] = [
        "x-real-ip",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "upgrade",
        "connection",
        "forwarded",
        "x-scheme",
        "x-request-id",
        "accept-encoding",
        "x-forwarded-server",
        "x-forwarded-ssl",
    ];
    let mut host = Some(authority.strip_prefix("unix:").map_or(authority, |_| "localhost").to_owned());
    for (name, value, at) in &scope.send {
        match (name.as_str(), value.as_str()) {
            ("host", "$host" | "$http_host" | "$host:$server_port" | "$server_name") => host = None,
            ("host", "$proxy_host") => {}
            ("host", value) if !value.contains('$') => host = Some(value.to_owned()),
            ("connection" | "upgrade", _) => {}
            ("x-real-ip", "$remote_addr") => {
                route.say("X-Real-IP is not sent: the client's address is the last of X-Forwarded-For.");
            }
            (name, value) if OURS.contains(&name) && value.contains('$') => {}
            (name, value) if !value.contains('$') => route.add_to_map("request_headers", name, value),
            (name, value) => notes.lose(
                at,
                format!("proxy_set_header {name} {value}"),
                "`request_headers` are fixed texts; x-forwarded-for, -proto and -host are sent by themselves",
            ),
        }
    }
    let default_port = if scheme == "https://" { ":443" } else { ":80" };
    if let Some(host) = host {
        route.set("upstream_host", host.strip_suffix(default_port).unwrap_or(&host));
    }
}
