//! What holds in a block of nginx's and below it.
//!
//! **Job.** Take the directives that are handed down, and give them to a route. **Called by** `server`, `location`.
//!
//! Invariants
//! 1. As in nginx, a block that has one directive of a list of its own inherits nothing of that list.
//! 2. A rule about who may come in that cannot be carried over closes the route (403).
//!
//! Not here: which routes there are.

use crate::closed;
use crate::draft::{Lost, Place, Route, Value};
use crate::folder::Folder;

use super::lex::Directive;

/// Directives whose work Madang does by itself or does otherwise.
const NOT_NEEDED: &[&str] = &[
    "sendfile",
    "tcp_nopush",
    "tcp_nodelay",
    "keepalive_timeout",
    "keepalive_requests",
    "types_hash_max_size",
    "server_tokens",
    "worker_processes",
    "worker_connections",
    "worker_rlimit_nofile",
    "events",
    "pid",
    "error_log",
    "log_format",
    "log_not_found",
    "gzip_vary",
    "gzip_types",
    "gzip_comp_level",
    "gzip_min_length",
    "gzip_proxied",
    "gzip_buffers",
    "gzip_http_version",
    "gzip_disable",
    "gzip_static",
    "types",
    "open_file_cache",
    "open_file_cache_valid",
    "open_file_cache_min_uses",
    "open_file_cache_errors",
    "proxy_http_version",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_buffer_size",
    "proxy_busy_buffers_size",
    "proxy_request_buffering",
    "proxy_cache_bypass",
    "proxy_no_cache",
    "proxy_max_temp_file_size",
    "ssl_session_cache",
    "ssl_session_timeout",
    "ssl_session_tickets",
    "ssl_prefer_server_ciphers",
    "ssl_ciphers",
    "ssl_dhparam",
    "ssl_ecdh_curve",
    "ssl_buffer_size",
    "ssl_early_data",
    "http2",
    "charset",
    "server_names_hash_bucket_size",
    "multi_accept",
    "use",
    "reset_timedout_connection",
    "client_body_buffer_size",
    "client_header_buffer_size",
    "large_client_header_buffers",
    "client_body_timeout",
    "client_header_timeout",
    "send_timeout",
    "output_buffers",
    "postpone_output",
    "aio",
    "directio",
    "default_type",
    "server_name_in_redirect",
    "port_in_redirect",
    "absolute_redirect",
    "etag",
    "if_modified_since",
    "msie_padding",
    "load_module",
    "uninitialized_variable_warn",
    "zone",
    "proxy_pass_header",
    "map_hash_bucket_size",
    "resolver",
    "resolver_timeout",
    "limit_req_log_level",
    "limit_conn_log_level",
    "variables_hash_max_size",
    "daemon",
    "proxy_pass_request_headers",
    "proxy_socket_keepalive",
    "limit_req_zone",
    "upstream",
    "merge_slashes",
    "chunked_transfer_encoding",
    "recursive_error_pages",
];

/// What to do instead of directives that have no counterpart.
const INSTEAD: &[(&str, &str)] = &[
    ("sub_filter", "answers are not changed on the way; let the app write the text"),
    ("auth_request", "no route asks another server for leave; let the app decide, or `auth`"),
    ("fastcgi_", "Madang speaks no FastCGI; run the program's own HTTP server as an [app.NAME]"),
    (
        "uwsgi_",
        "Madang speaks no uwsgi; run the program's own HTTP server (uwsgi --http, gunicorn) as an [app.NAME]",
    ),
    ("scgi_", "Madang speaks no SCGI; run the program's own HTTP server as an [app.NAME]"),
    ("proxy_cache", "answers of servers are not cached in this version"),
    ("limit_conn", "`server.connections_per_address_max` bounds connections of one address"),
    ("ssl_stapling", "OCSP answers are not stapled; the large authorities have ended OCSP"),
    ("ssl_trusted_certificate", "it belongs to OCSP stapling, which Madang does not do"),
    ("ssl_verify_client", "`client_auth = { mode = \"required\", ca = \"…\" }` on the site"),
    ("ssl_client_certificate", "`client_auth = { ca = \"…\" }` on the site"),
    ("user", "`[server] user`, once the ports need root"),
    ("set_real_ip_from", "`[server] trusted_proxies` names the proxies that are believed"),
    ("real_ip_header", "X-Forwarded-For of `[server] trusted_proxies` is believed"),
    ("mirror", "`mirror = { pool = \"…\" }` on the route"),
    ("split_clients", "`split` on the route"),
    ("geo", "`from` on a route takes addresses and ranges"),
    ("map", "write a route for each case (`header`, `query`, `cookie`, `host`)"),
    ("set", "there are no variables; write the value where it is used"),
    ("if", "write a route with the condition (`header`, `query`, `cookie`, `method`, `host`)"),
    ("more_set_headers", "`headers` on the site or the route"),
    ("add_trailer", "trailers come from the app"),
    ("ssi", "pages are not put together; let the app do it"),
    ("satisfy", "`auth` and `allow` of a route must both let a client in"),
    ("perl", "no language runs inside; make it an [app.NAME]"),
    ("js_", "no language runs inside; make it an [app.NAME]"),
    ("valid_referers", "`header = { referer = \"…\" }` takes one value"),
    ("modsecurity", "there is no web application firewall"),
    ("brotli", "`compress` of the site does zstd, br and gzip"),
    ("ssl_password_file", "Madang reads keys that are not encrypted"),
    ("underscores_in_headers", "fields with _ pass as they are"),
    ("ignore_invalid_headers", "requests that can be read in two ways are refused"),
];

/// What is handed down.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) root: Option<String>,
    pub(super) index: Option<Vec<String>>,
    pub(super) listing: bool,
    pub(super) auth: Option<(String, Option<String>, Place)>,
    /// `allow` and `deny` in order.
    pub(super) access: Vec<(bool, String, Place)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body_max: Option<String>,
    pub(super) limits: Vec<String>,
    /// Fields set on the way to servers.
    pub(super) send: Vec<(String, String, Place)>,
    pub(super) hide: Vec<String>,
    pub(super) timeouts: Vec<(&'static str, String)>,
    pub(super) media: Option<String>,
    pub(super) cache: Option<String>,
    pub(super) try_files: Option<(Vec<String>, Place)>,
    pub(super) errors: Vec<(Vec<u16>, String)>,
    pub(super) compress: Option<bool>,
    pub(super) no_retry: bool,
    pub(super) keeps_location: bool,
    /// Lists that this block has of its own.
    own: Vec<&'static str>,
}

/// Where what is found of the whole file goes.
pub(super) struct Notes<'n> {
    pub(super) lost: &'n mut Vec<Lost>,
    pub(super) not_needed: &'n mut Vec<String>,
    /// Rates by zone.
    pub(super) zones: &'n [(String, String)],
}

impl Notes<'_> {
    pub(super) fn lose(&mut self, at: &Place, what: impl Into<String>, instead: impl Into<String>) {
        let lost = Lost { at: at.clone(), what: what.into(), instead: instead.into() };
        if !self.lost.contains(&lost) {
            self.lost.push(lost);
        }
    }

    /// A directive that nobody took.
    pub(super) fn unknown(&mut self, directive: &Directive) {
        let name = directive.name.as_str();
        if NOT_NEEDED.contains(&name) {
            if !self.not_needed.iter().any(|known| known == name)
                && !matches!(name, "upstream" | "limit_req_zone")
            {
                self.not_needed.push(name.to_owned());
            }
            return;
        }
        let known = INSTEAD.iter().find(|(known, _)| match known.strip_suffix('_') {
            Some(_) => name.starts_with(known),
            None => name == *known || name.starts_with(&format!("{known}_")),
        });
        let instead =
            known.map_or("there is no counterpart; see `madang schema --docs`", |(_, instead)| instead);
        let words = directive.words.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(" ");
        let words: String = words.chars().take(60).collect();
        let what = if words.is_empty() { name.to_owned() } else { format!("{name} {words}") };
        self.lose(&directive.at, what, instead);
    }
}

impl Scope {
    /// For a block inside.
    pub(super) fn child(&self) -> Self {
        Self { own: Vec::new(), ..self.clone() }
    }

    fn list<'s, T>(own: &mut Vec<&'static str>, name: &'static str, list: &'s mut Vec<T>) -> &'s mut Vec<T> {
        if !own.contains(&name) {
            own.push(name);
            list.clear();
        }
        list
    }

    /// Takes a directive that is handed down; false: it is none.
    pub(super) fn absorb(&mut self, directive: &Directive, notes: &mut Notes<'_>) -> bool {
        let (first, second) = (directive.word(0), directive.word(1));
        match directive.name.as_str() {
            "root" => {
                self.root = Some(first.trim_end_matches('/').to_owned()).filter(|root| !root.is_empty())
            }
            "index" => self.index = Some(directive.words.clone()),
            "autoindex" => self.listing = first == "on",
            "auth_basic" if first == "off" => self.auth = None,
            "auth_basic" => {
                let file = self.auth.take().and_then(|(_, file, _)| file);
                self.auth = Some((first.to_owned(), file, directive.at.clone()));
            }
            "auth_basic_user_file" => match &mut self.auth {
                Some((_, file, _)) => *file = Some(first.to_owned()),
                None => self.auth = Some(("closed".to_owned(), Some(first.to_owned()), directive.at.clone())),
            },
            "allow" | "deny" => {
                let rule = (directive.name == "allow", first.to_owned(), directive.at.clone());
                Self::list(&mut self.own, "access", &mut self.access).push(rule);
            }
            "add_header" if second.contains('$') => {
                notes.lose(
                    &directive.at,
                    format!("add_header {first}"),
                    "its value is made of variables; let the app set it",
                );
            }
            "add_header" => {
                let headers = Self::list(&mut self.own, "headers", &mut self.headers);
                headers.push((first.to_ascii_lowercase(), second.to_owned()));
            }
            "proxy_hide_header" => self.hide.push(first.to_ascii_lowercase()),
            "client_max_body_size" => self.body_max = Some(size(first)),
            "limit_req" => {
                let word = |name: &str| directive.words.iter().find_map(|word| word.strip_prefix(name));
                let zone = word("zone=").unwrap_or_default();
                match notes.zones.iter().find(|(name, _)| name == zone) {
                    Some((_, rate)) => {
                        let burst = word("burst=").and_then(|n| n.parse::<u64>().ok()).map_or(1, |n| n.saturating_add(1));
                        let rate = format!("{rate} burst {} per ip", burst.min(1_000_000));
                        Self::list(&mut self.own, "limits", &mut self.limits).push(rate);
                        if !directive.words.iter().any(|word| word == "nodelay") {
                            notes.lose(&directive.at, "the delay of limit_req", "requests within the burst are answered at once, those above with 429");
                        }
                    }
                    None => notes.lose(&directive.at, format!("limit_req zone={zone}"), "its zone is not by $binary_remote_addr; `limit` counts per ip, user, header:NAME or all"),
                }
            }
            "limit_req_status" => {}
            "proxy_set_header" | "grpc_set_header" => {
                let field = (first.to_ascii_lowercase(), second.to_owned(), directive.at.clone());
                Self::list(&mut self.own, "send", &mut self.send).push(field);
            }
            "proxy_connect_timeout" => self.timeouts.push(("connect", time(first))),
            "proxy_read_timeout" | "grpc_read_timeout" => {
                self.timeouts.push(("first_byte", time(first)));
                self.timeouts.push(("idle", time(first)));
            }
            "proxy_send_timeout" => {}
            "proxy_next_upstream" => self.no_retry = first == "off",
            "proxy_redirect" if first == "off" => self.keeps_location = true,
            "proxy_redirect" if first == "default" => {}
            "proxy_ssl_server_name" | "proxy_ssl_verify" | "proxy_intercept_errors" => {}
            "default_type" => self.media = Some(first.to_owned()),
            "expires" => self.cache = expires(first),
            "try_files" => self.try_files = Some((directive.words.clone(), directive.at.clone())),
            "gzip" => self.compress = Some(first == "on"),
            "error_page" => {
                let page = directive.words.last().cloned().unwrap_or_default();
                let statuses: Vec<u16> =
                    directive.words.iter().filter_map(|word| word.parse().ok()).collect();
                let plain = page.starts_with('/')
                    && !page.contains('$')
                    && !directive.words.iter().any(|word| word.starts_with('='));
                if plain && statuses.iter().all(|status| (400..600).contains(status)) && !statuses.is_empty()
                {
                    Self::list(&mut self.own, "errors", &mut self.errors).push((statuses, page));
                } else {
                    notes.lose(
                        &directive.at,
                        format!("error_page {}", directive.words.join(" ")),
                        "`errors = { 404 = \"page.html\" }` of the site names files",
                    );
                }
            }
            _ => return false,
        }
        true
    }

    /// Whether somebody is kept out here.
    pub(super) fn guards(&self) -> bool {
        self.auth.is_some() || self.access.iter().any(|(allow, ..)| !allow)
    }

    /// Gives a route all that holds for it. True: nobody may come in, the route says so.
    pub(super) fn apply(&self, folder: &dyn Folder, route: &mut Route) {
        if let Some((realm, file, at)) = &self.auth {
            let names = file.as_ref().map(|file| closed::names_of(folder, file)).unwrap_or_default();
            closed::passwords(route, at, "auth_basic_user_file", realm, &names);
        }
        self.apply_access(route);
        if !self.limits.is_empty() {
            route.set("limit", Value::one_or_many(self.limits.clone()));
        }
        if let Some(size) = &self.body_max
            && (route.get("proxy").is_some())
        {
            route.set("body_max", size.as_str());
        }
        for name in &self.hide {
            if !name.starts_with("x-accel") {
                route.add_to_map("headers", name, "");
            }
        }
        for (name, value) in &self.headers {
            match name.as_str() {
                "cache-control" => route.set("cache_control", value.as_str()),
                "content-type" => {
                    if route.get("respond").is_some() {
                        route.set("type", value.as_str());
                    }
                }
                _ => route.add_to_map("headers", name, value),
            }
        }
        if let Some(cache) = &self.cache
            && route.get("cache_control").is_none()
        {
            route.set("cache_control", cache.as_str());
        }
    }

    fn apply_access(&self, route: &mut Route) {
        if self.access.is_empty() {
            return;
        }
        let (last_allow, last, _) = &self.access[self.access.len() - 1];
        let rules = if last == "all" { &self.access[..self.access.len() - 1] } else { &self.access[..] };
        let open = *last_allow || last != "all";
        let nets = |which: bool| -> Vec<String> {
            rules.iter().filter(|(allow, ..)| *allow == which).map(|(_, net, _)| net.clone()).collect()
        };
        let (allow, deny) = (nets(true), nets(false));
        let fine =
            |nets: &[String]| nets.iter().all(|net| net.parse::<std::net::IpAddr>().is_ok() || is_range(net));
        let at = &self.access[0].2;
        if !fine(&allow) || !fine(&deny) || (open && !deny.is_empty() && !allow.is_empty()) {
            closed::route(
                route,
                at,
                "allow and deny in this order",
                "write `allow` or `deny` with addresses, then give the route its work back",
            );
            return;
        }
        match (open, allow.is_empty()) {
            (false, true) => closed::deny_all(route),
            (false, false) => {
                route.set("allow", Value::one_or_many(allow));
                if !deny.is_empty() {
                    route.set("deny", Value::one_or_many(deny));
                }
            }
            (true, _) if !deny.is_empty() => route.set("deny", Value::one_or_many(deny)),
            (true, _) => {}
        }
    }
}

fn is_range(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let max = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= max)
}

/// `10m` as Madang writes sizes; 0 is no limit.
pub(super) fn size(text: &str) -> String {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().unwrap_or(1);
    if number == 0 {
        return "1TiB".to_owned();
    }
    let (scale, unit) = match unit.to_ascii_lowercase().as_str() {
        "k" => (1 << 10, "KiB"),
        "m" => (1 << 20, "MiB"),
        "g" => (1 << 30, "GiB"),
        _ => (1, "B"),
    };
    if number.saturating_mul(scale) > 1 << 40 { "1TiB".to_owned() } else { format!("{number}{unit}") }
}

/// A time of nginx's as one of Madang's: `90`, `1m30s`, `500ms`.
pub(super) fn time(text: &str) -> String {
    let ms = milliseconds(text).unwrap_or(60_000).clamp(10, 86_400_000);
    match ms {
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

fn milliseconds(text: &str) -> Option<u64> {
    let (mut sum, mut rest) = (0_u64, text.trim());
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units: [(&str, u64); 8] = [
            ("ms", 1),
            ("s", 1000),
            ("m", 60_000),
            ("h", 3_600_000),
            ("d", 86_400_000),
            ("w", 604_800_000),
            ("M", 2_592_000_000),
            ("y", 31_536_000_000),
        ];
        let (unit, scale) = units.into_iter().find(|(unit, _)| rest.starts_with(unit)).unwrap_or(("", 1000));
        rest = rest[unit.len()..].trim_start();
        sum = sum.checked_add(number.checked_mul(scale)?)?;
        if unit.is_empty() && !rest.is_empty() {
            return None;
        }
    }
    Some(sum)
}

fn expires(text: &str) -> Option<String> {
    match text {
        "off" => None,
        "max" => Some("max-age=315360000".to_owned()),
        "epoch" => Some("no-cache".to_owned()),
        text if text.starts_with('-') => Some("no-cache".to_owned()),
        text => milliseconds(text).map(|ms| format!("max-age={}", ms / 1000)),
    }
}
