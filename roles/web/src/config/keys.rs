//! The keys of `[site.NAME]`, its routes, logins and CORS: one table for reading, schema and documentation.
//!
//! **Job.** Say name, kind, default and meaning of each key. **Called by** `config`, `madang schema`. **Calls** `settings::schema`.
//!
//! Not here: reading them (`config`).

use madang_host::config::{CERTIFICATE, CLIENT_AUTH, LISTEN};
use madang_settings::schema::{Kind, Section, key};

use super::proxy::{MIRROR, SPLIT};

const TEXTS: Kind = Kind::List(&Kind::Text);

/// `[site.NAME]`.
pub const SITE: Section = Section {
    title: "[site.NAME]",
    doc: "A web site: where it listens, which names it answers to, what it does with each path.",
    keys: &[
        key(
            "listen",
            Kind::List(&Kind::Either(&[Kind::Text, Kind::Table(&LISTEN)])),
            "",
            "Addresses: `\"http://0.0.0.0:80\"`, `\"https://[::]:443\"`, `\"http://unix:/run/site.sock\"`, or tables with options.",
        ),
        key(
            "hosts",
            TEXTS,
            "",
            "Names it answers to: `example.org`, `*.example.org` (one label). Left out: any name no other site on the address has.",
        ),
        key(
            "tls",
            Kind::List(&Kind::Either(&[Kind::Choice(&["local", "auto"]), Kind::Table(&CERTIFICATE)])),
            "",
            "Certificates for its https addresses: `\"local\"` (this machine's own authority, for development) or `{ cert = \"…\", key = \"…\" }`.",
        ),
        key("tls_min", Kind::Choice(&["1.2", "1.3"]), "\"1.2\"", "The oldest TLS version taken."),
        key(
            "client_auth",
            Kind::Table(&CLIENT_AUTH),
            "",
            "Certificates that clients must or may show (mTLS).",
        ),
        key(
            "https_redirect",
            Kind::Bool,
            "false",
            "Send plain http requests to https (308), for a site that listens to both.",
        ),
        key(
            "hsts",
            Kind::Duration("0s", "3650d"),
            "\"0s\"",
            "Strict-Transport-Security on https answers: how long browsers remember to come by https only. 0s is off.",
        ),
        key(
            "request_id",
            Kind::Bool,
            "false",
            "Give each request an id (x-request-id): in the answer and in the access log. One from a trusted proxy is kept.",
        ),
        key(
            "security_headers",
            Kind::Bool,
            "false",
            "Set x-content-type-options, x-frame-options, referrer-policy and permissions-policy where the answer has none.",
        ),
        key(
            "compress",
            Kind::Bool,
            "true",
            "Compress text answers with zstd, br or gzip as the client prefers; precompressed .zst, .br and .gz files are used first.",
        ),
        key(
            "headers",
            Kind::Map(&Kind::Text),
            "",
            "Fields set on every answer; an empty value removes the field.",
        ),
        key(
            "errors",
            Kind::Map(&Kind::Path),
            "",
            "Own error pages by status: `errors = { 404 = \"404.html\", 5xx = \"sorry.html\" }`.",
        ),
        key(
            "route",
            Kind::List(&Kind::Table(&ROUTE)),
            "",
            "What to do with which requests; the first that matches wins.",
        ),
    ],
};

/// A route.
pub const ROUTE: Section = Section {
    title: "route",
    doc: "Which requests (`path`, `host`, `method`, `header`, `query`, `cookie`, `from`; all that are given must match) and what to do: exactly one of `files`, `proxy`, `redirect`, `rewrite`, `respond` (and `rewrite` with `proxy`). The first match wins.",
    keys: &[
        key(
            "path",
            TEXTS,
            "\"/*\"",
            "A path: `/exact`, `/folder/*` (also `/folder`), `/users/{id}/edit` (one segment), `/*.php`, `/**/*.php` (at any depth). `*` at the end is the capture `{rest}`.",
        ),
        key("host", TEXTS, "", "Only for these of the site's names."),
        key("method", TEXTS, "", "Only these methods. GET stands for HEAD too."),
        key(
            "header",
            Kind::Map(&Kind::Text),
            "",
            "Only with these request fields: `{ x-beta = \"1\" }`; `*` is any value.",
        ),
        key("query", Kind::Map(&Kind::Text), "", "Only with these query parameters; `*` is any value."),
        key("cookie", Kind::Map(&Kind::Text), "", "Only with these cookies; `*` is any value."),
        key("from", Kind::Networks, "", "Only from these client addresses."),
        key("files", Kind::Path, "", "Serve this folder."),
        key("index", TEXTS, "\"index.html\"", "With `files`: what answers for a folder."),
        key(
            "fallback",
            Kind::Text,
            "",
            "With `files`: what answers, with 200, where nothing is found: `/index.html` of a single-page app.",
        ),
        key(
            "try",
            TEXTS,
            "",
            "With `files`: names tried in order, `{path}` stands for the path: `[\"{path}\", \"{path}.html\"]`.",
        ),
        key("listing", Kind::Bool, "false", "With `files`: list folders that have no index."),
        key(
            "upload",
            Kind::Bool,
            "false",
            "With `files`: take files by PUT into folders that exist. A name that exists is replaced only with If-Match. Add `auth` or `allow`, and a `body_max`.",
        ),
        key(
            "dotfiles",
            Kind::Bool,
            "false",
            "With `files`: serve names that begin with a dot. /.well-known always is.",
        ),
        key(
            "symlinks",
            Kind::Choice(&["inside", "off", "anywhere"]),
            "\"inside\"",
            "With `files`: follow symbolic links that stay in the folder, none, or all.",
        ),
        key(
            "cache_valid",
            Kind::Duration("0s", "1h"),
            "\"1s\"",
            "With `files`: how long an open file is used before it is looked at again.",
        ),
        key(
            "strip",
            Kind::Text,
            "",
            "With `files` and `proxy`: a prefix of the path (whole segments) that the file's name, or the servers, do not have.",
        ),
        key(
            "redirect",
            Kind::Text,
            "",
            "Send the client elsewhere: `/new/{rest}`, `https://example.org/{rest}`.",
        ),
        key("keep_query", Kind::Bool, "true", "With `redirect` and `rewrite`: keep the query."),
        key(
            "rewrite",
            Kind::Text,
            "",
            "Go on with another path, at the routes after this one: `/v2/{rest}`. Together with `proxy`: the path that the servers see.",
        ),
        key("respond", Kind::Text, "", "Answer this text."),
        key("type", Kind::Text, "\"text/plain; charset=utf-8\"", "With `respond`: its media type."),
        key("status", Kind::Count(200, 599), "", "With `redirect` (308 when left out), `respond` (200)."),
        key(
            "limit",
            Kind::List(&Kind::Rate),
            "",
            "Rates above which requests are refused with 429: `\"100/s burst 200 per ip\"`.",
        ),
        key(
            "auth",
            Kind::Table(&AUTH),
            "",
            "Ask for a name and password (basic authentication; use it under https only), or for a login of this house: `auth = { roles = [\"admin\"] }`.",
        ),
        key("cors", Kind::Table(&CORS), "", "Let pages of other origins read the answers."),
        key("allow", Kind::Networks, "", "Only these client addresses; others get 403."),
        key("deny", Kind::Networks, "", "Never these client addresses; wins over `allow`."),
        key(
            "headers",
            Kind::Map(&Kind::Text),
            "",
            "Fields set on the answer; an empty value removes the field.",
        ),
        key("cache_control", Kind::Text, "", "The cache-control field of successful answers."),
        key(
            "body_max",
            Kind::Size("0B", "1TiB"),
            "",
            "Largest request body; left out: `limits.body_bytes_max`.",
        ),
        key("proxy", Kind::Text, "", "Send the request on to a pool, by its name in `[pool.NAME]`."),
        key(
            "upstream_host",
            Kind::Text,
            "",
            "With `proxy`: the host that the servers are told; left out: the one the client asked for.",
        ),
        key(
            "request_headers",
            Kind::Map(&Kind::Text),
            "",
            "With `proxy`: fields to set on the way to the servers; an empty text takes one out.",
        ),
        key(
            "rewrite_location",
            Kind::Bool,
            "true",
            "With `proxy`: redirects of the servers get the prefix back that `strip` took off, and lose a host that only the servers have (`upstream_host`, their address).",
        ),
        key(
            "split",
            Kind::List(&Kind::Table(&SPLIT)),
            "",
            "With `proxy`: some requests go to other pools: `[{ pool = \"canary\", percent = 5 }, { pool = \"beta\", cookie = \"beta=1\" }]`. The first arm that takes a request has it, the rest goes to `proxy`.",
        ),
        key(
            "split_by",
            Kind::Text,
            "\"ip\"",
            "What the percents of `split` are taken of, so that a client stays where it is: `ip`, `header:NAME`, `cookie:NAME` (who has none: its address).",
        ),
        key("mirror", Kind::Table(&MIRROR), "", "With `proxy`: copies of the requests for another pool."),
        key(
            "chat",
            Kind::Text,
            "",
            "A chat, by its name in `[chat.NAME]`: its page, its websocket and its HTTP interface. The path is a folder: `/chat/*`.",
        ),
        key(
            "identity",
            Kind::Bool,
            "",
            "Logins by HTTP, `identity = true`: login, guest, refresh, logout, password, me. The path is a folder: `/auth/*`. docs/identity.md shows the requests.",
        ),
        key("data", Kind::Text, "", "A data API, by name (not in this version)."),
    ],
};

/// `auth`.
pub const AUTH: Section = Section {
    title: "auth",
    doc: "Who may use a route: by names and argon2id hashes of its own (basic authentication; make one with `madang hash`), or by a login of this house (docs/identity.md).",
    keys: &[
        key("realm", Kind::Text, "\"madang\"", "What the browser shows."),
        key("users", Kind::Map(&Kind::Text), "", "Names to hashes: `{ ana = \"$argon2id$…\" }`."),
        key("users_file", Kind::Path, "", "The same in a file, a line each: `name:$argon2id$…`."),
        key(
            "login",
            Kind::Bool,
            "",
            "`login = true`: every user who is signed in, by token, API key or cookie; no guests. Others get 401.",
        ),
        key(
            "roles",
            TEXTS,
            "",
            "Users who are signed in and have one of these roles; others get 403 (`role-missing`).",
        ),
    ],
};

/// `cors`.
pub const CORS: Section = Section {
    title: "cors",
    doc: "Cross-origin requests (Fetch standard).",
    keys: &[
        key("origins", TEXTS, "", "Origins such as `https://app.example.org`, or `*` for all."),
        key("methods", TEXTS, "", "Methods beyond GET, HEAD and POST."),
        key("headers", TEXTS, "", "Request fields beyond the simple ones."),
        key("expose", TEXTS, "", "Answer fields that pages may read."),
        key("credentials", Kind::Bool, "false", "Allow cookies and logins; not together with `*`."),
        key("max_age", Kind::Duration("0s", "1d"), "\"10m\"", "How long browsers remember the permission."),
    ],
};
