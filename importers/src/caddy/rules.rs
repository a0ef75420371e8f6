//! What a Caddyfile says about requests beside what answers them, given to the routes.
//!
//! **Job.** Fields, logins, sizes and closed doors for the paths they are about. **Called by** `site`. **Calls** `closed`.
//!
//! Invariants
//! 1. What is said about some paths of a route makes a route of its own for those, in front.
//!
//! Not here: reading directives (`site`).

use crate::closed;
use crate::draft::{Place, Route};

use super::matcher::Matcher;

/// The most routes of one site.
pub(super) const ROUTES_MAX: usize = 1000;

/// Something said about requests, beside what answers them.
#[derive(Clone)]
pub(super) struct Rule {
    pub(super) matcher: Matcher,
    pub(super) what: What,
}

#[derive(Clone)]
pub(super) enum What {
    Header(String, String),
    Auth(Place, Vec<String>),
    BodyMax(String),
    /// Nobody could read who may come in.
    Closed(Place, String),
}

/// Routes with all that the rules say about them.
pub(super) fn dressed(rules: &[Rule], routes: Vec<(Matcher, Route)>) -> Vec<Route> {
    let mut out: Vec<Route> = Vec::new();
    for (matcher, route) in routes {
        // Paths that some rule is about get a route of their own in front, the narrowest first.
        let mut parts: Vec<Matcher> = Vec::new();
        for rule in rules {
            if let Some(both) = matcher.and(&rule.matcher)
                && both != matcher
                && !parts.contains(&both)
                && parts.len() < 32
            {
                parts.push(both);
            }
        }
        // What two rules are about together is a part, too.
        let pairs: Vec<Matcher> =
            parts.iter().flat_map(|one| parts.iter().filter_map(|two| one.and(two))).collect();
        for pair in pairs {
            if pair != matcher && !parts.contains(&pair) && parts.len() < 64 {
                parts.push(pair);
            }
        }
        parts.sort_by_key(|part| std::cmp::Reverse(part.weight()));
        for part in parts.iter().chain([&matcher]) {
            let mut own = part.route();
            own.comments.clone_from(&route.comments);
            own.lost.clone_from(&route.lost);
            for (key, value) in route
                .entries
                .iter()
                .filter(|(key, _)| !["path", "host", "method", "header", "query", "from"].contains(key))
            {
                own.set(key, value.clone());
            }
            for rule in rules
                .iter()
                .filter(|rule| rule.matcher.is_any() || rule.matcher.and(part).as_ref() == Some(part))
            {
                follow(&mut own, &rule.what);
            }
            if out.len() < ROUTES_MAX {
                out.push(own);
            }
        }
    }
    out
}

fn follow(route: &mut Route, what: &What) {
    match what {
        What::Header(name, value) => match name.as_str() {
            "cache-control" if !value.is_empty() => route.set("cache_control", value.as_str()),
            "content-type" if route.get("respond").is_some() => route.set("type", value.as_str()),
            "content-length" | "transfer-encoding" | "connection" | "date" | "keep-alive" | "host" => {}
            name => route.add_to_map("headers", name, value),
        },
        What::Auth(at, users) => closed::passwords(route, at, "basic_auth", "restricted", users),
        What::BodyMax(size) => route.set("body_max", size.as_str()),
        What::Closed(at, what) => closed::route(
            route,
            at,
            what,
            "no route asks another server for leave; `auth`, `allow` or `header` say who may come in",
        ),
    }
}

/// `10MB` in powers of ten and `10MiB` of two; Madang has the latter.
pub(super) fn size(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let scale: u64 = match text[end..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    let bytes = number.checked_mul(scale)?.min(1 << 40);
    Some(match bytes {
        bytes if bytes % (1 << 20) == 0 && bytes > 0 => format!("{}MiB", bytes >> 20),
        bytes => format!("{bytes}B"),
    })
}
