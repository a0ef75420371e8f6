//! One site of a Caddyfile: its directives in Caddy's own order, as routes.
//!
//! **Job.** Sort as Caddy sorts, make a route of each that answers, give each route what others say about its paths.
//! **Called by** `caddy`. **Calls** `matcher`, `proxy`, `address`.
//!
//! The order of what answers: redir, handle and handle_path and route, error, respond, reverse_proxy, file_server; among the same,
//! the longest path first. In `route` the order is as written.
//!
//! Not here: the language (`lex`), what is said beside answers (`rules`).

use crate::draft::{Draft, Entry, Kind, Lost, Place, Route, Section, Value};
use crate::folder::Folder;
use crate::target::{Known, path_again, target};

use super::address::{self, certificates};
use super::lex::Line;
use super::matcher::{Matcher, pattern};
use super::rules::{ROUTES_MAX, Rule, What, dressed, size};
use super::{Options, proxy, push_site};

/// What answers, in Caddy's order; what changes the request first.
const ORDER: [&str; 13] = [
    "redir",
    "rewrite",
    "handle",
    "handle_path",
    "route",
    "abort",
    "error",
    "templates",
    "respond",
    "reverse_proxy",
    "php_fastcgi",
    "file_server",
    "acme_server",
];
/// What holds inside of a block.
#[derive(Clone, Default)]
struct Inside {
    matcher: Matcher,
    roots: Vec<(Matcher, String)>,
    strip: Option<String>,
    tries: Option<(Matcher, Vec<String>)>,
    /// The whole block is rewritten.
    rewrite: Option<String>,
    named: Vec<(String, Result<Matcher, String>)>,
    depth: usize,
}

struct Site<'a> {
    draft: &'a mut Draft,
    folder: &'a dyn Folder,
    section: Section,
    scheme: Option<&'static str>,
    rules: Vec<Rule>,
    /// Matcher and route, in order.
    routes: Vec<(Matcher, Route)>,
}

/// Reads one.
pub(super) fn import(draft: &mut Draft, folder: &dyn Folder, line: &Line, options: &Options) {
    let mut addresses = address::read(&line.words, options);
    let mut section = Section::new(Kind::Site, "");
    for lost in &addresses.lost {
        section.lose(
            line.at.clone(),
            format!("the address {lost}"),
            "`listen` takes addresses, `hosts` names and *.name; a path goes to a route",
        );
    }
    if addresses.plain.is_empty() && addresses.secure.is_empty() {
        addresses.plain.push(8080);
    }
    let wish = addresses.hosts.first().cloned().unwrap_or_else(|| "main".to_owned());
    section.name = draft.free_name(Kind::Site, &wish);
    let scheme = match (addresses.plain.is_empty(), addresses.secure.is_empty()) {
        (false, true) => Some("http"),
        _ if addresses.secure.is_empty() => None,
        _ => Some("https"),
    };
    let inside = line.inside();
    let bound = inside.iter().find(|line| line.name() == "bind").map(|line| line.word(1).to_owned());
    let ip =
        bound.filter(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok()).unwrap_or_else(|| "0.0.0.0".to_owned());
    let plain = addresses.plain.iter().map(|port| format!("http://{ip}:{port}"));
    let all: Vec<String> =
        plain.chain(addresses.secure.iter().map(|port| format!("https://{ip}:{port}"))).collect();
    section.set("listen", Value::one_or_many(all));
    if !addresses.hosts.is_empty() {
        section.set("hosts", Value::one_or_many(addresses.hosts.clone()));
    }
    certificates(&mut section, folder, line, &addresses, options);
    let mut site = Site { draft, folder, section, scheme, rules: Vec::new(), routes: Vec::new() };
    site.block(inside, &Inside::default(), false);
    let (rules, routes) = (std::mem::take(&mut site.rules), std::mem::take(&mut site.routes));
    let mut section = site.section;
    section.routes = dressed(&rules, routes);
    if section.routes.is_empty() {
        section.say("Nothing answered here: Caddy gave an empty page.");
        section.routes.push(Route::at("/*").with("respond", ""));
    }
    push_site(draft, section);
}

impl Site<'_> {
    fn lose(&mut self, at: &Place, what: impl Into<String>, instead: impl Into<String>) {
        self.section.lose(at.clone(), what, instead);
    }

    /// A directive's matcher and its other words; `None`: the matcher has no counterpart.
    fn matched<'l>(
        &mut self,
        line: &'l Line,
        inside: &Inside,
        least: usize,
    ) -> Option<(Matcher, &'l [String])> {
        let words = &line.words[1..];
        let Some(first) = words.first() else { return Some((inside.matcher.clone(), words)) };
        let read = if first == "*" {
            Ok(Matcher::default())
        } else if first.starts_with('@') {
            match inside.named.iter().find(|(name, _)| name == first) {
                Some((_, matcher)) => matcher.clone(),
                None => Err(format!("{first}, which is nowhere")),
            }
        } else if first.starts_with('/') && words.len() > least {
            pattern(first).map(|path| Matcher::path(&path)).ok_or_else(|| first.clone())
        } else {
            return Some((inside.matcher.clone(), words));
        };
        match read {
            Ok(own) => inside.matcher.and(&own).map(|matcher| (matcher, &words[1..])),
            Err(what) => {
                self.lose(
                    &line.at,
                    format!("{} for {what}", line.name()),
                    "write a route with `path`, `method`, `header`, `query`, `host` or `from`",
                );
                None
            }
        }
    }

    fn block(&mut self, lines: &[Line], outside: &Inside, as_written: bool) {
        let mut inside = outside.clone();
        inside.depth += 1;
        inside.tries = None;
        if inside.depth > 16 || self.routes.len() > ROUTES_MAX {
            return;
        }
        for line in lines.iter().filter(|line| line.name().starts_with('@')) {
            inside.named.push((line.name().to_owned(), Matcher::read(line)));
        }
        for line in lines {
            self.rule(line, &mut inside);
        }
        let mut deeds: Vec<&Line> = lines.iter().filter(|line| ORDER.contains(&line.name())).collect();
        if !as_written {
            let weight = |line: &&Line| {
                let order = ORDER.iter().position(|name| *name == line.name()).unwrap_or(ORDER.len());
                // The three share their place.
                let order = if (2..5).contains(&order) { 2 } else { order };
                let first = line.word(1);
                let matcher = match inside.named.iter().find(|(name, _)| name == first) {
                    Some((_, Ok(matcher))) => matcher.clone(),
                    _ if first.starts_with('/') => {
                        pattern(first).map(|path| Matcher::path(&path)).unwrap_or_default()
                    }
                    _ => Matcher::default(),
                };
                (order, std::cmp::Reverse(matcher.weight()))
            };
            deeds.sort_by_key(weight);
        }
        for line in deeds {
            self.deed(line, &mut inside);
        }
    }

    /// What is said about requests, and what is not needed.
    fn rule(&mut self, line: &Line, inside: &mut Inside) {
        match line.name() {
            "root" => {
                if let Some((matcher, words)) = self.matched(line, inside, 1)
                    && let Some(root) = words.last()
                {
                    inside.roots.insert(0, (matcher, root.clone()));
                }
            }
            "header" => self.headers(line, inside),
            "basic_auth" | "basicauth" => {
                let users = line.inside().iter().map(|line| line.name().to_owned()).collect();
                let matcher = match self.matched(line, inside, 0) {
                    Some((matcher, _)) => matcher,
                    None => {
                        return self.rules.push(Rule {
                            matcher: inside.matcher.clone(),
                            what: What::Closed(line.at.clone(), line.words.join(" ")),
                        });
                    }
                };
                self.rules.push(Rule { matcher, what: What::Auth(line.at.clone(), users) });
            }
            "forward_auth" => {
                let matcher =
                    self.matched(line, inside, 1).map_or(inside.matcher.clone(), |(matcher, _)| matcher);
                self.rules
                    .push(Rule { matcher, what: What::Closed(line.at.clone(), "forward_auth".to_owned()) });
            }
            "request_body" => {
                let matcher =
                    self.matched(line, inside, 0).map_or(inside.matcher.clone(), |(matcher, _)| matcher);
                for option in line.inside().iter().filter(|option| option.name() == "max_size") {
                    match size(option.word(1)) {
                        Some(size) => {
                            self.rules.push(Rule { matcher: matcher.clone(), what: What::BodyMax(size) })
                        }
                        None => self.lose(
                            &option.at,
                            option.words.join(" "),
                            "`body_max = \"10MiB\"` on the route",
                        ),
                    }
                }
            }
            "uri" if line.words.iter().any(|word| word == "strip_prefix") => {
                match self.matched(line, inside, 2) {
                    Some((matcher, words)) if matcher == inside.matcher => {
                        inside.strip = words.last().cloned()
                    }
                    _ => self.lose(&line.at, line.words.join(" "), "`strip` on the route"),
                }
            }
            "try_files" => {
                if let Some((matcher, words)) = self.matched(line, inside, 99) {
                    inside.tries = Some((matcher, words.to_vec()));
                }
            }
            "log" => {
                if self.draft.log.is_empty() {
                    let why = "log: to logs/access.log in the data folder (`access_file`)".to_owned();
                    self.draft.log.push(Entry { key: "access", value: "json".into(), why });
                }
            }
            "handle_errors" => self.error_pages(line, inside),
            "tls" | "bind" => {}
            "encode" | "log_skip" | "skip_log" | "log_name" | "log_append" | "push" | "metrics"
            | "tracing" => self.draft.not_needed(line.name()),
            name if name.starts_with('@') || ORDER.contains(&name) => {}
            name => {
                let words: String = line.words.join(" ").chars().take(60).collect();
                let instead = match name {
                    "request_header" => "`request_headers` on a route with `proxy`",
                    "map" | "vars" => "there are no variables; write a route for each case",
                    "uri" | "method" => "`rewrite` or `strip` on the route",
                    _ => "there is no counterpart; see `madang schema --docs`",
                };
                self.lose(&line.at, words, instead);
            }
        }
    }

    fn headers(&mut self, line: &Line, inside: &Inside) {
        let Some((matcher, words)) = self.matched(line, inside, 0) else { return };
        let single;
        let lines = if words.is_empty() {
            line.inside()
        } else {
            single = [Line { words: words.to_vec(), block: None, at: line.at.clone() }];
            &single[..]
        };
        for line in lines {
            let (name, value) = (line.name(), line.word(1));
            if name == "defer" {
                continue;
            }
            let (plain, value) = match name.strip_prefix('-') {
                Some(name) => (name, ""),
                None => (name.trim_start_matches(['+', '?', '>']), value),
            };
            let token =
                !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
            if !token || line.words.len() > 2 || value.contains('{') {
                self.lose(
                    &line.at,
                    format!("header {}", line.words.join(" ")),
                    "`headers` sets a fixed text or, empty, takes the field out",
                );
                continue;
            }
            self.rules.push(Rule {
                matcher: matcher.clone(),
                what: What::Header(plain.to_lowercase(), value.to_owned()),
            });
        }
    }

    fn error_pages(&mut self, line: &Line, inside: &Inside) {
        let root = inside.roots.first().map(|(_, root)| root.clone()).unwrap_or_else(|| ".".to_owned());
        let by_status = line.inside().iter().any(|line| {
            line.name() == "rewrite" && line.words.iter().any(|word| word.contains("err.status_code}.html"))
        });
        let pages: Vec<(String, String)> = [400, 401, 403, 404, 405, 410, 429, 500, 502, 503, 504]
            .iter()
            .map(|status| (status.to_string(), format!("{}/{status}.html", root.trim_end_matches('/'))))
            .filter(|(_, file)| by_status && self.folder.has(file))
            .map(|(status, file)| (status, self.folder.named(&file)))
            .collect();
        if pages.is_empty() {
            self.lose(
                &line.at,
                "handle_errors",
                "`errors = { 404 = \"404.html\", 5xx = \"sorry.html\" }` on the site",
            );
        } else {
            self.section.set("errors", Value::map(pages));
        }
    }

    fn deed(&mut self, line: &Line, inside: &mut Inside) {
        match line.name() {
            "handle" | "route" => {
                if let Some((matcher, _)) = self.matched(line, inside, 0) {
                    let within = Inside { matcher, ..inside.clone() };
                    self.block(line.inside(), &within, line.name() == "route");
                }
            }
            "handle_path" => {
                let strip = line.word(1).trim_end_matches('*').trim_end_matches('/').to_owned();
                if let Some((matcher, _)) = self.matched(line, inside, 0) {
                    let within = Inside {
                        matcher,
                        strip: Some(strip).filter(|strip| !strip.is_empty()),
                        ..inside.clone()
                    };
                    self.block(line.inside(), &within, false);
                }
            }
            "redir" => self.redir(line, inside),
            "rewrite" => self.rewrite(line, inside),
            "respond" | "error" => {
                if let Some((matcher, words)) = self.matched(line, inside, 0) {
                    self.respond(line, words, matcher);
                }
            }
            "abort" => {
                if let Some((matcher, _)) = self.matched(line, inside, 0) {
                    let mut route = matcher.route().with("respond", "").with("status", 403);
                    route.lost.push(Lost {
                        at: line.at.clone(),
                        what: "abort".to_owned(),
                        instead: "no connection is closed without an answer; it is 403".to_owned(),
                    });
                    self.routes.push((matcher, route));
                }
            }
            "reverse_proxy" => self.proxied(line, inside),
            "file_server" => self.files(line, inside),
            _ => {
                let matcher = self.matched(line, inside, 0).map(|(matcher, _)| matcher);
                let instead = if line.name() == "php_fastcgi" {
                    "Madang speaks no FastCGI; run the PHP program's own HTTP server as an [app.NAME]; it answers 503 until then"
                } else {
                    "there is no counterpart"
                };
                self.lose(&line.at, line.words.join(" "), instead);
                if line.name() == "php_fastcgi"
                    && let Some(matcher) = matcher
                {
                    // Its files are programs: they are not shown.
                    let php = matcher.and(&Matcher::path("/**/*.php")).unwrap_or_default();
                    self.routes.push((php.clone(), php.route().with("respond", "").with("status", 503)));
                }
            }
        }
    }

    /// Caddy's placeholders in the words that `target` reads.
    fn target(&self, text: &str, matcher: &Matcher) -> Option<(String, bool)> {
        let path = matcher.paths.first().map_or("/*", String::as_str);
        if matcher.paths.len() > 1 && (text.contains("{uri}") || text.contains("{path}")) {
            return None;
        }
        let mut text = text.to_owned();
        for (name, variable) in [
            ("{uri}", "$request_uri"),
            ("{http.request.uri}", "$request_uri"),
            ("{path}", "$uri"),
            ("{http.request.uri.path}", "$uri"),
            ("{host}", "$host"),
            ("{hostport}", "$host"),
            ("{http.request.host}", "$host"),
            ("{scheme}", "$scheme"),
            ("?{query}", "$is_args$args"),
        ] {
            text = text.replace(name, variable);
        }
        let known = Known { scheme: self.scheme, server_name: None, path, captures: &[] };
        target(&text, &known).map(|target| (target.to, target.keep_query))
    }

    fn redir(&mut self, line: &Line, inside: &Inside) {
        let Some((matcher, words)) = self.matched(line, inside, 1) else { return };
        let Some(to) = words.first() else { return };
        let status = match words.get(1).map(String::as_str) {
            None | Some("temporary") => 302,
            Some("permanent") => 301,
            Some(text) => text
                .parse::<u64>()
                .ok()
                .filter(|status| matches!(status, 301 | 302 | 303 | 307 | 308))
                .unwrap_or(302),
        };
        match self.target(to, &matcher) {
            Some((to, keep_query)) => {
                let mut route = matcher.route().with("redirect", to);
                if status != 308 {
                    route.set("status", status);
                }
                if !keep_query {
                    route.set("keep_query", false);
                }
                self.routes.push((matcher, route));
            }
            None => self.lose(
                &line.at,
                line.words.join(" "),
                "`redirect` takes {rest}, the path's captures, {path}, {query} and {host}",
            ),
        }
    }

    fn rewrite(&mut self, line: &Line, inside: &mut Inside) {
        let Some((matcher, words)) = self.matched(line, inside, 1) else { return };
        let made =
            words.last().and_then(|to| self.target(to, &matcher)).filter(|(to, _)| to.starts_with('/'));
        let Some((to, _)) = made else {
            return self.lose(&line.at, line.words.join(" "), "`rewrite = \"/new/{rest}\"` on a route");
        };
        if inside.depth > 1 {
            // What a block rewrites is answered in that block.
            match matcher == inside.matcher {
                true => inside.rewrite = Some(to),
                false => self.lose(
                    &line.at,
                    line.words.join(" "),
                    "a `rewrite` of some paths inside a block: write a route for those",
                ),
            }
            return;
        }
        // A rewrite to itself would never end.
        if path_again(matcher.paths.first().map_or("/*", String::as_str)).as_ref() != Some(&to) {
            let route = matcher.route().with("rewrite", to);
            self.routes.push((matcher, route));
        }
    }

    fn respond(&mut self, line: &Line, words: &[String], matcher: Matcher) {
        let number = |word: &String| word.parse::<u64>().ok().filter(|status| (200..600).contains(status));
        let block_status =
            line.inside().iter().find(|inner| inner.name() == "body").map(|inner| inner.word(1).to_owned());
        let (text, status) = match words {
            [] => (block_status.unwrap_or_default(), 200),
            [one] => match number(one) {
                Some(status) => (block_status.unwrap_or_default(), status),
                None => (one.clone(), if line.name() == "error" { 500 } else { 200 }),
            },
            [text, status, ..] => (text.clone(), number(status).unwrap_or(200)),
        };
        if text.contains('{') && text.contains('}') && !text.trim_start().starts_with(['{', '[']) {
            self.lose(&line.at, line.words.join(" "), "`respond` is a fixed text; let an app answer");
        }
        let mut route =
            matcher.route().with("respond", if line.name() == "error" { String::new() } else { text });
        if status != 200 {
            route.set("status", status);
        }
        self.routes.push((matcher, route));
    }

    fn proxied(&mut self, line: &Line, inside: &Inside) {
        let Some((matcher, words)) = self.matched(line, inside, 1) else { return };
        let mut route = matcher.route();
        let mut lost = Vec::new();
        let fine = proxy::proxy(self.draft, &mut route, line, words, &mut lost);
        for (at, what, instead) in lost {
            self.lose(&at, what, instead);
        }
        if !fine {
            self.lose(
                &line.at,
                line.words.join(" "),
                "`proxy` names a pool of fixed addresses or names; it answers 503 until then",
            );
            route.set("respond", "");
            route.set("status", 503);
        } else if let Some(to) = &inside.rewrite {
            route.set("rewrite", to.as_str());
        } else if let Some(strip) = &inside.strip {
            route.set("strip", strip.as_str());
        }
        self.routes.push((matcher, route));
    }

    fn files(&mut self, line: &Line, inside: &Inside) {
        let Some((matcher, words)) = self.matched(line, inside, 0) else { return };
        let own =
            line.inside().iter().find(|inner| inner.name() == "root").map(|inner| inner.word(1).to_owned());
        let of_roots =
            inside.roots.iter().filter(|(over, _)| over.and(&matcher).is_some_and(|both| both == matcher));
        let root = own
            .or_else(|| of_roots.max_by_key(|(over, _)| over.weight()).map(|(_, root)| root.clone()))
            .unwrap_or_else(|| ".".to_owned());
        let mut route = matcher.route();
        if root.contains('{') {
            self.lose(
                &line.at,
                format!("root {root}"),
                "a folder is named without placeholders; it answers 503 until then",
            );
            route.set("respond", "");
            route.set("status", 503);
            return self.routes.push((matcher, route));
        }
        if root == "." && !self.draft.server.iter().any(|entry| entry.key == "data") {
            let why = "a name with a dot: it lies in the folder that is served".to_owned();
            self.draft.server.push(Entry { key: "data", value: ".madang".into(), why });
        }
        if root == "." {
            let own = Matcher::path("/madang.toml");
            self.routes.push((own.clone(), own.route().with("respond", "").with("status", 404)));
        }
        route
            .set("files", self.folder.named(if root.len() > 1 { root.trim_end_matches('/') } else { &root }));
        if words.first().is_some_and(|word| word == "browse")
            || line.inside().iter().any(|inner| inner.name() == "browse")
        {
            route.set("listing", true);
        }
        for inner in line.inside() {
            match inner.name() {
                "index" => route.set("index", Value::one_or_many(inner.words[1..].to_vec())),
                "hide" | "precompressed" | "root" | "browse" => {}
                _ => self.lose(
                    &inner.at,
                    format!("{} of file_server", inner.words.join(" ")),
                    "see `files` and its keys",
                ),
            }
        }
        if let Some(strip) = &inside.strip {
            route.set("strip", strip.as_str());
        }
        if let Some(to) = &inside.rewrite {
            route.set("try", to.as_str());
        }
        if let Some((of, names)) = &inside.tries {
            let covers = of.and(&matcher).is_some_and(|both| both == matcher);
            let fine = covers
                && names
                    .iter()
                    .all(|name| !name.replace("{path}", "").replace("{file}", "").contains(['{', '?', '=']));
            if !fine {
                self.lose(
                    &line.at,
                    format!("try_files {}", names.join(" ")),
                    "`try` takes {path}, {path}.html, {path}/ and names; `fallback` a page",
                );
            } else if let Some((last, others)) = names.split_last() {
                let plain = others
                    .iter()
                    .all(|name| matches!(name.as_str(), "{path}" | "{path}/" | "{path}/index.html"));
                if last.contains("{path}") || !plain {
                    route.set("try", names.clone());
                } else {
                    route.set("fallback", last.as_str());
                    route.say("`fallback` answers where a page is asked for (accept); a missing picture or script stays 404.");
                }
            }
        }
        self.routes.push((matcher, route));
    }
}
