//! `[site.NAME]` and its routes: as checked.
//!
//! **Job.** Read sites. A [`Site`] in hand is the proof that its routes, captures, certificates and folders were checked.
//! **Called by** `madang` (config). **Calls** `settings`, `host::config`.
//!
//! Not here: matching (`route`), what an action does (`files`, `phases`).

mod access;
mod keys;
mod proxy;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use madang_host::config::{Listen, TlsSettings, host_names};
use madang_settings::reader::Reader;
use madang_settings::schema::Kind;
use madang_settings::tree::Value;
use madang_settings::unit::Rate;

pub use self::access::{Auth, Basic, Cors, LoginRule};
pub use self::keys::{AUTH, CORS, ROUTE, SITE};
pub use self::proxy::{MIRROR, MirrorSettings, ProxySettings, SPLIT, SplitArm, SplitBy, Takes};
use crate::pattern::PathPattern;
use crate::template::Template;

/// A site, checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // `keys` documents each
pub struct Site {
    pub name: Arc<str>,
    pub listen: Vec<Listen>,
    pub hosts: Vec<String>,
    pub tls: Option<TlsSettings>,
    pub https_redirect: bool,
    pub hsts: Option<Duration>,
    pub request_id: bool,
    pub security_headers: bool,
    pub compress: bool,
    pub headers: Vec<(String, String)>,
    /// Status, or 400/500 for `4xx`/`5xx`, with `whole_class`.
    pub errors: Vec<ErrorPage>,
    pub routes: Vec<Route>,
}

/// An own error page.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ErrorPage {
    pub status: u16,
    pub whole_class: bool,
    pub file: PathBuf,
}

/// A route, checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // `keys` documents each
pub struct Route {
    pub paths: Vec<PathPattern>,
    pub hosts: Vec<String>,
    pub methods: Vec<String>,
    /// Lower-case name; `None` is any value.
    pub headers_match: Vec<(String, Option<String>)>,
    pub query: Vec<(String, Option<String>)>,
    pub cookies: Vec<(String, Option<String>)>,
    pub from: Vec<IpNet>,
    pub action: Action,
    pub limits: Vec<Rate>,
    pub auth: Option<Auth>,
    pub cors: Option<Cors>,
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
    pub headers: Vec<(String, String)>,
    pub cache_control: Option<String>,
    pub body_max: Option<u64>,
}

/// What a route does.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Action {
    Files(FilesSettings),
    Redirect { to: String, status: u16, keep_query: bool },
    Rewrite { to: String, keep_query: bool },
    Respond { status: u16, body: String, media_type: String },
    Proxy(ProxySettings),
    Chat { chat: String },
    Identity,
}

/// `files`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct FilesSettings {
    pub root: PathBuf,
    pub index: Vec<String>,
    pub fallback: Option<String>,
    pub tries: Vec<String>,
    pub listing: bool,
    pub upload: bool,
    pub dotfiles: bool,
    pub symlinks: Symlinks,
    pub cache_valid: Duration,
    pub strip: Option<String>,
    pub compress: bool,
}

/// Which symbolic links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Symlinks {
    Inside,
    Off,
    Anywhere,
}

impl Site {
    /// Reads one site.
    pub fn read(r: &mut Reader<'_>, name: &str) -> Self {
        let listen = Listen::read_all(r);
        let tls = TlsSettings::read(r);
        if !r.has("listen") {
            r.error(
                "listen",
                "`listen` is missing: the addresses of the site",
                Some("for example listen = \"http://127.0.0.1:8080\"".to_owned()),
            );
        }
        if listen.iter().any(|listen| listen.secure) && tls.is_none() && !r.has("tls") {
            let help = Some(
                "tls = \"local\" while developing, or tls = { cert = \"cert.pem\", key = \"key.pem\" }"
                    .to_owned(),
            );
            r.error("listen", "an https address needs `tls`", help);
        }
        if tls.is_some() && !listen.iter().any(|listen| listen.secure) {
            r.warn("tls", "no address of this site is https, so `tls` has no effect", None);
        }
        let hosts = host_names(r, "hosts");
        let compress = r.bool("compress");
        let errors = read_errors(r);
        let hsts = Some(r.duration("hsts")).filter(|hsts| !hsts.is_zero());
        let mut routes: Vec<Route> =
            r.tables("route", &ROUTE, |r, _| Route::read(r, compress)).into_iter().flatten().collect();
        if !r.has("route") {
            r.error(
                "route",
                "`route` is missing: what to do with requests",
                Some("for example route = [{ path = \"/*\", files = \"public\" }]".to_owned()),
            );
        }
        routes.shrink_to_fit();
        warn_unreachable(r, &routes);
        Self {
            name: name.into(),
            listen,
            hosts,
            tls,
            https_redirect: r.bool("https_redirect"),
            hsts,
            request_id: r.bool("request_id"),
            security_headers: r.bool("security_headers"),
            compress,
            headers: read_fields(r, "headers"),
            errors,
            routes,
        }
    }
}

fn read_methods(r: &mut Reader<'_>) -> Vec<String> {
    let mut methods = Vec::new();
    for (node, text) in r.texts_with_nodes("method") {
        // RFC 9110 9.1: a method is a token; in settings, letters and a hyphen cover all that are registered.
        let fine = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
        if !fine {
            let path = r.key_path("method");
            let help = Some("one method each: method = [\"GET\", \"POST\"]".to_owned());
            r.report.error(node.mark, &path, format!("{text:?} is not a method"), help);
            continue;
        }
        methods.push(text.to_ascii_uppercase());
    }
    methods
}

fn read_errors(r: &mut Reader<'_>) -> Vec<ErrorPage> {
    let mut pages = Vec::new();
    let mark = r.mark_of("errors");
    for (status, file) in r.text_map("errors") {
        let (number, whole_class) = match status.as_str() {
            "4xx" => (Some(400), true),
            "5xx" => (Some(500), true),
            exact => (exact.parse().ok().filter(|status| (400..=599).contains(status)), false),
        };
        let file = r.resolve(mark, &file);
        match number {
            None => r.error(
                "errors",
                format!("{status:?} is not a status from 400 to 599, \"4xx\" or \"5xx\""),
                None,
            ),
            Some(_) if !file.is_file() => {
                r.error("errors", format!("there is no file {}", file.display()), None)
            }
            Some(status) => pages.push(ErrorPage { status, whole_class, file }),
        }
    }
    pages
}

fn read_fields(r: &mut Reader<'_>, key: &str) -> Vec<(String, String)> {
    const OURS: [&str; 6] =
        ["content-length", "transfer-encoding", "connection", "date", "keep-alive", "host"];
    let mut headers = Vec::new();
    for (name, value) in r.text_map(key) {
        let name = name.to_ascii_lowercase();
        let token = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if !token || value.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f) {
            r.error(key, format!("{name:?} is not a header field that can be sent"), None);
        } else if OURS.contains(&name.as_str()) {
            r.error(key, format!("{name} is written by the server itself"), None);
        } else {
            headers.push((name, value));
        }
    }
    headers
}

impl Route {
    fn read(r: &mut Reader<'_>, compress: bool) -> Option<Self> {
        let mut paths = Vec::new();
        let written = r.texts_with_nodes("path");
        for (node, text) in &written {
            match PathPattern::parse(text) {
                Ok(pattern) => paths.push(pattern),
                Err(why) => {
                    let path = r.key_path("path");
                    r.report.error(
                        node.mark,
                        &path,
                        format!("{text:?}: {why}"),
                        Some("for example \"/exact\", \"/folder/*\", \"/users/{id}\"".to_owned()),
                    );
                }
            }
        }
        if written.is_empty() {
            paths.extend(PathPattern::parse("/*"));
        }
        let matches = |r: &mut Reader<'_>, key: &str, lower: bool| {
            let map = r.text_map(key).into_iter();
            map.map(|(name, value)| {
                let name = if lower { name.to_ascii_lowercase() } else { name };
                (name, Some(value).filter(|value| value != "*"))
            })
            .collect::<Vec<_>>()
        };
        let action = Self::action(r, &paths, compress);
        let mut limits = Vec::new();
        for (node, text) in r.texts_with_nodes("limit") {
            match madang_settings::unit::rate(&text) {
                Some(rate) => limits.push(rate),
                None => {
                    let (path, allowed) = (r.key_path("limit"), Kind::Rate.allowed());
                    r.report.error(node.mark, &path, format!("{text:?} is not {allowed}"), None);
                }
            }
        }
        Some(Self {
            hosts: host_names(r, "host"),
            methods: read_methods(r),
            headers_match: matches(r, "header", true),
            query: matches(r, "query", false),
            cookies: matches(r, "cookie", false),
            from: r.networks("from"),
            limits,
            auth: r.table("auth", &AUTH, Auth::read).flatten(),
            cors: r.table("cors", &CORS, Cors::read).flatten(),
            allow: r.networks("allow"),
            deny: r.networks("deny"),
            headers: read_fields(r, "headers"),
            cache_control: r.text("cache_control"),
            body_max: r.size_if("body_max"),
            paths,
            action: action?,
        })
    }

    fn action(r: &mut Reader<'_>, paths: &[PathPattern], compress: bool) -> Option<Action> {
        if r.has("data") {
            let help = Some("use files, proxy, chat, redirect, rewrite or respond".to_owned());
            r.error("data", "`data` is not in this version", help);
            return None;
        }
        let named: Vec<&str> = ["files", "proxy", "chat", "identity", "redirect", "rewrite", "respond"]
            .into_iter()
            .filter(|key| r.has(key))
            // With `proxy`, a rewrite says which path the servers see.
            .filter(|key| *key != "rewrite" || !r.has("proxy"))
            .collect();
        let [one] = named[..] else {
            let message = if named.is_empty() {
                "a route needs one of files, proxy, chat, identity, redirect, rewrite, respond".to_owned()
            } else {
                format!("a route does one thing, here are {}", named.join(" and "))
            };
            let (mark, path) = (r.mark(), r.path().to_owned());
            r.report.error(mark, &path, message, None);
            return None;
        };
        for (needs, key) in [
            ("files", "index"),
            ("files", "fallback"),
            ("files", "try"),
            ("files", "listing"),
            ("files", "dotfiles"),
            ("files", "symlinks"),
            ("files", "cache_valid"),
            ("respond", "type"),
        ]
        .into_iter()
        .chain(proxy::KEYS.map(|key| ("proxy", key)))
        {
            if one != needs && r.has(key) {
                r.error(key, format!("`{key}` goes with `{needs}` only"), None);
            }
        }
        if !matches!(one, "files" | "proxy") && r.has("strip") {
            r.error("strip", "`strip` goes with `files` and `proxy` only", None);
        }
        match one {
            "files" => Self::files(r, compress),
            "proxy" => ProxySettings::read(r, paths).map(Action::Proxy),
            "chat" => {
                if paths.iter().any(|path| path.folder().is_none()) {
                    let message = "a chat needs a folder of its own, written without captures";
                    r.error("path", message, Some("for example path = \"/chat/*\"".to_owned()));
                }
                r.text("chat").map(|chat| Action::Chat { chat })
            }
            "identity" => {
                if paths.iter().any(|path| path.folder().is_none()) {
                    let message = "logins need a folder of their own, written without captures";
                    r.error("path", message, Some("for example path = \"/auth/*\"".to_owned()));
                }
                if !r.bool("identity") {
                    r.error("identity", "only `identity = true` says something", None);
                }
                Some(Action::Identity)
            }
            "respond" => Some(Action::Respond {
                status: r.count("status").and_then(|status| u16::try_from(status).ok()).unwrap_or(200),
                body: r.text("respond")?,
                media_type: r.text_or_default("type"),
            }),
            key => {
                let to = r.text(key)?;
                let checked = match key {
                    "rewrite" => Template::for_rewrite(&to, paths),
                    _ => Template::new(&to, paths),
                };
                if let Err(why) = checked {
                    r.error(
                        key,
                        why.to_string(),
                        Some("`*` at the end of a path is caught as {rest}".to_owned()),
                    );
                }
                let keep_query = r.bool("keep_query");
                if key == "rewrite" {
                    return Some(Action::Rewrite { to, keep_query });
                }
                let status = r.count("status").and_then(|status| u16::try_from(status).ok()).unwrap_or(308);
                if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                    r.error(
                        "status",
                        format!("{status} is no redirect"),
                        Some("301, 302, 303, 307 or 308".to_owned()),
                    );
                }
                Some(Action::Redirect { to, status, keep_query })
            }
        }
    }

    fn files(r: &mut Reader<'_>, compress: bool) -> Option<Action> {
        let root = r.path_value("files")?;
        match std::fs::metadata(&root) {
            Ok(meta) if meta.is_dir() => {
                if let Err(error) = rustix::fs::access(&root, rustix::fs::Access::EXEC_OK) {
                    let help = "let the user who runs this enter it: chmod o+x, or another owner".to_owned();
                    r.error(
                        "files",
                        format!("cannot enter the folder {}: {error}", root.display()),
                        Some(help),
                    );
                }
            }
            Ok(_) => r.error("files", format!("{} is a file, a folder is needed", root.display()), None),
            Err(error) => {
                let help = match error.kind() {
                    std::io::ErrorKind::NotFound => Some(format!("make it: mkdir -p {}", root.display())),
                    std::io::ErrorKind::PermissionDenied => {
                        Some("let the server's user read it and enter every folder above it".to_owned())
                    }
                    _ => None,
                };
                r.error("files", format!("cannot use the folder {}: {error}", root.display()), help);
            }
        }
        let mut index = r.texts("index");
        if !r.has("index") {
            index.push("index.html".to_owned());
        }
        let fallback = r.text("fallback");
        if fallback.as_deref().is_some_and(|path| !path.starts_with('/')) {
            r.error("fallback", "a fallback is a path in the folder and begins with /", None);
        }
        Some(Action::Files(FilesSettings {
            root,
            index,
            fallback,
            tries: r.texts("try"),
            listing: r.bool("listing"),
            upload: r.bool("upload"),
            dotfiles: r.bool("dotfiles"),
            symlinks: match r.choice("symlinks") {
                "off" => Symlinks::Off,
                "anywhere" => Symlinks::Anywhere,
                _ => Symlinks::Inside,
            },
            cache_valid: r.duration("cache_valid"),
            strip: r.text("strip"),
            compress,
        }))
    }
}

/// A route behind one that takes everything is never reached.
fn warn_unreachable(r: &mut Reader<'_>, routes: &[Route]) {
    let takes_all = |route: &Route| {
        route.hosts.is_empty()
            && route.methods.is_empty()
            && route.headers_match.is_empty()
            && route.query.is_empty()
            && route.cookies.is_empty()
            && route.from.is_empty()
            && !matches!(route.action, Action::Rewrite { .. })
            && route.paths.iter().any(PathPattern::takes_all)
    };
    if let Some(at) = routes.iter().position(takes_all)
        && at + 1 < routes.len()
    {
        let nodes = r.nodes("route");
        if let Some(node) = nodes.get(at + 1).filter(|node| matches!(node.value, Value::Table(_))) {
            let (mark, path) = (node.mark, format!("{}[{}]", r.key_path("route"), at + 1));
            r.report.warn(mark, &path, "this route is never reached: the one before takes every path", None);
        }
    }
}
