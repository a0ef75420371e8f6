//! `[server]`, `[limits]`, `[log]`, `listen` and `tls`: as written (the tables of keys) and as checked (the types).
//!
//! **Job.** Read the engine's own sections. Holding one of the types is the proof that every bound in its table holds.
//! **Called by** `madang` (config) and `roles/web` (listen, tls). **Calls** `settings`.
//!
//! Not here: sites and routes (`roles/web/config`), what is done with the values (`gate`, `connection`, `tls`, `telemetry`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use madang_settings::reader::Reader;
use madang_settings::schema::{Key, Kind, Section};
use madang_settings::tree::{Node, Value};

use crate::connection::PhaseLimits;
use crate::gate::GateLimits;
use crate::net::listen::Address;
use crate::tls::store::Source;
use crate::tls::{ClientAuth, VersionMin};

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, doc }
}

/// `[server]`.
pub const SERVER: Section = Section {
    title: "[server]",
    doc: "The machine's side: where data lives, who runs it, how many may come.",
    keys: &[
        key(
            "data",
            Kind::Path,
            "\"data\"",
            "Folder for everything Madang keeps: its control socket, logs, local certificates. Made when missing, with mode 0700.",
        ),
        key(
            "admin",
            Kind::Address,
            "",
            "Address for /metrics, /healthz and /readyz. Left out: not opened; commands use the control socket in the data folder. Keep it on loopback or a private network.",
        ),
        key(
            "workers",
            Kind::Count(1, 1024),
            "",
            "Worker threads. Left out: one per core this process may use. A change takes effect with `madang upgrade`.",
        ),
        key("user", Kind::Text, "", "System user to become once the ports are open (needs a start as root)."),
        key(
            "drain",
            Kind::Duration("0s", "1h"),
            "\"30s\"",
            "How long open requests may go on after a stop or upgrade before they are cut.",
        ),
        key(
            "connections_max",
            Kind::Count(1, 10_000_000),
            "100000",
            "Connections open at once on all listeners; further ones are closed at once.",
        ),
        key(
            "connections_per_address_max",
            Kind::Count(0, 10_000_000),
            "4096",
            "Connections open at once from one client address (IPv6: one /64). 0 is off.",
        ),
        key(
            "trusted_proxies",
            Kind::Networks,
            "",
            "Proxies whose X-Forwarded-For and X-Request-Id are believed. Left out: nobody's.",
        ),
    ],
};

/// `[limits]`.
pub const LIMITS: Section = Section {
    title: "[limits]",
    doc: "Nothing is without a limit. Times are checked every 250 ms.",
    keys: &[
        key(
            "handshake_timeout",
            Kind::Duration("1s", "5m"),
            "\"10s\"",
            "PROXY header and TLS handshake together.",
        ),
        key(
            "head_timeout",
            Kind::Duration("1s", "5m"),
            "\"10s\"",
            "A whole request head, from its first byte (408 after that).",
        ),
        key("head_bytes_max", Kind::Size("1KiB", "1MiB"), "\"16KiB\"", "A whole request head (431 above)."),
        key("headers_max", Kind::Count(10, 256), "100", "Header fields of a request (431 above)."),
        key("uri_bytes_max", Kind::Size("256B", "64KiB"), "\"8KiB\"", "The request target (414 above)."),
        key(
            "body_bytes_max",
            Kind::Size("0B", "1TiB"),
            "\"16MiB\"",
            "A request body (413 above); `body_max` of a route goes before.",
        ),
        key(
            "body_idle_timeout",
            Kind::Duration("1s", "1h"),
            "\"30s\"",
            "The longest pause inside a request body.",
        ),
        key(
            "body_rate_min",
            Kind::Size("0B", "1GiB"),
            "\"128B\"",
            "Least average rate of a request body, per second, once `rate_grace` is over. 0B is off.",
        ),
        key(
            "keep_alive_timeout",
            Kind::Duration("1s", "1d"),
            "\"75s\"",
            "How long a connection may wait between requests.",
        ),
        key(
            "write_idle_timeout",
            Kind::Duration("1s", "1h"),
            "\"30s\"",
            "The longest pause of a client that reads an answer.",
        ),
        key(
            "write_rate_min",
            Kind::Size("0B", "1GiB"),
            "\"128B\"",
            "Least average rate at which a client takes an answer, per second, once `rate_grace` is over. 0B is off.",
        ),
        key(
            "rate_grace",
            Kind::Duration("1s", "10m"),
            "\"10s\"",
            "How long a body or an answer may be slow before the least rates count.",
        ),
        key(
            "requests_per_connection_max",
            Kind::Count(1, 1_000_000_000),
            "100000",
            "Requests on one connection before it is closed politely.",
        ),
        key("h2_streams_max", Kind::Count(1, 10_000), "128", "HTTP/2: requests at once on one connection."),
        key(
            "h2_glitches_max",
            Kind::Count(1, 100_000),
            "100",
            "HTTP/2: requests a client may reset or have refused, more than a tenth of those answered, before its connection is ended (rapid reset and its kin).",
        ),
        key(
            "h2_headers_bytes_max",
            Kind::Size("1KiB", "1MiB"),
            "\"32KiB\"",
            "HTTP/2: a request's fields once decoded, 32 bytes more counted for each.",
        ),
        key(
            "h2_stream_window",
            Kind::Size("64KiB", "16MiB"),
            "\"256KiB\"",
            "HTTP/2: body bytes a client may send ahead on one request.",
        ),
        key(
            "h2_connection_window",
            Kind::Size("64KiB", "64MiB"),
            "\"1MiB\"",
            "HTTP/2: body bytes a client may send ahead on one connection.",
        ),
        key(
            "h2_send_buffer",
            Kind::Size("16KiB", "4MiB"),
            "\"64KiB\"",
            "HTTP/2: bytes of an answer held for one request whose client does not read.",
        ),
        key("open_files_max", Kind::Count(16, 1_000_000), "1024", "Files kept open for reuse, per worker."),
        key(
            "file_cache_bytes",
            Kind::Size("0B", "4GiB"),
            "\"8MiB\"",
            "Contents of small files kept in memory, per worker.",
        ),
        key(
            "compressed_cache_bytes",
            Kind::Size("0B", "4GiB"),
            "\"8MiB\"",
            "Results of compression kept in memory, per worker.",
        ),
    ],
};

/// `[log]`.
pub const LOG: Section = Section {
    title: "[log]",
    doc: "The access log is off by default; answers of 500 and above, slow and refused requests are told in the error log all the same.",
    keys: &[
        key(
            "access",
            Kind::Choice(&["off", "text", "json", "common", "combined"]),
            "\"off\"",
            "Form of the access log: for people, JSON lines, or the forms of Apache and nginx.",
        ),
        key(
            "access_file",
            Kind::Path,
            "",
            "Where access lines go. Left out: logs/access.log in the data folder; \"-\" is standard output.",
        ),
        key("error_file", Kind::Path, "", "Where everything else goes. Left out: standard error."),
        key(
            "level",
            Kind::Choice(&["error", "warn", "info", "debug"]),
            "\"info\"",
            "The least important lines to keep.",
        ),
        key(
            "slow",
            Kind::Duration("1ms", "1h"),
            "\"5s\"",
            "Requests that took longer are told in the error log.",
        ),
        key(
            "rotate_size",
            Kind::Size("64KiB", "16GiB"),
            "\"64MiB\"",
            "A log file larger than this is rotated.",
        ),
        key("rotate_age", Kind::Duration("1m", "365d"), "\"1d\"", "A log file older than this is rotated."),
        key("keep", Kind::Count(1, 1000), "14", "Rotated files kept."),
        key(
            "bytes_max",
            Kind::Size("1MiB", "1TiB"),
            "\"512MiB\"",
            "All files of one log together; the oldest go first.",
        ),
    ],
};

/// A table in `listen`.
pub const LISTEN: Section = Section {
    title: "listen",
    doc: "One address, as text (`\"http://0.0.0.0:80\"`, `\"https://[::]:443\"`, `\"http://unix:/run/site.sock\"`) or as a table with options. Sites that share an address give its options once, or the same.",
    keys: &[
        key("address", Kind::Text, "", "The address as above."),
        key("allow", Kind::Networks, "", "Only these clients may connect. Left out: all."),
        key("deny", Kind::Networks, "", "These may not; wins over `allow`."),
        key(
            "connections_max",
            Kind::Count(0, 10_000_000),
            "0",
            "Connections open at once here. 0: only the server's limit.",
        ),
        key(
            "proxy_protocol",
            Kind::Networks,
            "",
            "From these addresses a PROXY header (version 1 or 2) is required and believed; from all others none is read.",
        ),
        key("h2c", Kind::Bool, "false", "Speak HTTP/2 without TLS to clients that begin with it."),
    ],
};

/// A certificate and its key.
pub const CERTIFICATE: Section = Section {
    title: "tls",
    doc: "A certificate by file. Both files are read again when they change; a wrong pair keeps the old one.",
    keys: &[
        key("cert", Kind::Path, "", "PEM file: the certificate, then its chain."),
        key("key", Kind::Path, "", "PEM file: the private key, not encrypted."),
    ],
};

/// `client_auth`.
pub const CLIENT_AUTH: Section = Section {
    title: "client_auth",
    doc: "Certificates that clients show (mTLS).",
    keys: &[
        key(
            "mode",
            Kind::Choice(&["optional", "required"]),
            "\"required\"",
            "Whether a connection may go on without one.",
        ),
        key("ca", Kind::Path, "", "PEM file of the authorities that sign them."),
        key(
            "crl",
            Kind::Path,
            "",
            "PEM file of the certificates they withdrew. Read again when it changes; once it is out of date, nobody gets in.",
        ),
    ],
};

/// `[server]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the table above documents each
pub struct Server {
    pub data: PathBuf,
    pub admin: Option<SocketAddr>,
    pub workers: Option<usize>,
    pub user: Option<String>,
    pub drain: Duration,
    pub gate: GateLimits,
    pub trusted_proxies: Vec<IpNet>,
}

impl Server {
    /// Reads the section.
    pub fn read(r: &mut Reader<'_>) -> Self {
        Self {
            data: r.path_or_default("data"),
            admin: r.address("admin"),
            workers: r.count("workers").and_then(|count| usize::try_from(count).ok()),
            user: r.text("user"),
            drain: r.duration("drain"),
            gate: GateLimits {
                connections_max: r.count_u32("connections_max"),
                per_address_max: r.count_u32("connections_per_address_max"),
            },
            trusted_proxies: r.networks("trusted_proxies"),
        }
    }
}

/// `[limits]`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the table above documents each
pub struct Limits {
    pub phases: PhaseLimits,
    pub head_bytes_max: usize,
    pub headers_max: usize,
    pub uri_bytes_max: usize,
    pub body_bytes_max: u64,
    pub requests_per_connection_max: u64,
    pub h2_streams_max: u32,
    pub h2_glitches_max: u32,
    pub h2_headers_bytes_max: u32,
    pub h2_stream_window: u32,
    pub h2_connection_window: u32,
    pub h2_send_buffer: usize,
    pub open_files_max: usize,
    pub file_cache_bytes: usize,
    pub compressed_cache_bytes: usize,
}

impl Limits {
    /// Reads the section.
    pub fn read(r: &mut Reader<'_>) -> Self {
        let small = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
        let memory = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        Self {
            phases: PhaseLimits {
                handshake: r.duration("handshake_timeout"),
                head: r.duration("head_timeout"),
                keep_alive: r.duration("keep_alive_timeout"),
                body_idle: r.duration("body_idle_timeout"),
                body_rate_min: r.size("body_rate_min"),
                write_idle: r.duration("write_idle_timeout"),
                write_rate_min: r.size("write_rate_min"),
                rate_grace: r.duration("rate_grace"),
            },
            head_bytes_max: memory(r.size("head_bytes_max")),
            headers_max: memory(r.count("headers_max").unwrap_or_default()),
            uri_bytes_max: memory(r.size("uri_bytes_max")),
            body_bytes_max: r.size("body_bytes_max"),
            requests_per_connection_max: r.count("requests_per_connection_max").unwrap_or_default(),
            h2_streams_max: r.count_u32("h2_streams_max"),
            h2_glitches_max: r.count_u32("h2_glitches_max"),
            h2_headers_bytes_max: small(r.size("h2_headers_bytes_max")),
            h2_stream_window: small(r.size("h2_stream_window")),
            h2_connection_window: small(r.size("h2_connection_window")),
            h2_send_buffer: memory(r.size("h2_send_buffer")),
            open_files_max: memory(r.count("open_files_max").unwrap_or_default()),
            file_cache_bytes: memory(r.size("file_cache_bytes")),
            compressed_cache_bytes: memory(r.size("compressed_cache_bytes")),
        }
    }
}

/// The access log's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AccessForm {
    Off,
    Text,
    Json,
    Common,
    Combined,
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// `[log]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the table above documents each
pub struct LogSettings {
    pub access: AccessForm,
    pub access_file: Option<PathBuf>,
    pub error_file: Option<PathBuf>,
    pub level: Level,
    pub slow: Duration,
    pub rotate_size: u64,
    pub rotate_age: Duration,
    pub keep: usize,
    pub bytes_max: u64,
}

impl LogSettings {
    /// Reads the section.
    pub fn read(r: &mut Reader<'_>) -> Self {
        let standard_out = r.text("access_file").as_deref() == Some("-");
        Self {
            access: match r.choice("access") {
                "text" => AccessForm::Text,
                "json" => AccessForm::Json,
                "common" => AccessForm::Common,
                "combined" => AccessForm::Combined,
                _ => AccessForm::Off,
            },
            access_file: if standard_out { Some(PathBuf::from("-")) } else { r.path_value("access_file") },
            error_file: r.path_value("error_file"),
            level: match r.choice("level") {
                "error" => Level::Error,
                "warn" => Level::Warn,
                "debug" => Level::Debug,
                _ => Level::Info,
            },
            slow: r.duration("slow"),
            rotate_size: r.size("rotate_size"),
            rotate_age: r.duration("rotate_age"),
            keep: r.count("keep").and_then(|count| usize::try_from(count).ok()).unwrap_or_default(),
            bytes_max: r.size("bytes_max"),
        }
    }
}

/// One address of a site, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the table above documents each
pub struct Listen {
    /// As written, with its scheme: the listener's name in commands, logs and metrics.
    pub name: String,
    pub secure: bool,
    pub address: Address,
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
    pub connections_max: u32,
    pub proxy_protocol: Vec<IpNet>,
    pub h2c: bool,
}

impl Listen {
    /// Reads every address of `listen`.
    pub fn read_all(r: &mut Reader<'_>) -> Vec<Self> {
        let mut all = Vec::new();
        for (index, node) in r.nodes("listen").into_iter().enumerate() {
            let path = format!("{}[{index}]", r.key_path("listen"));
            match &node.value {
                Value::Text(text) => match Self::plain(text) {
                    Some(listen) => all.push(listen),
                    None => r.report.error(
                        node.mark,
                        &path,
                        format!("{} is not an address to listen on", node.shown()),
                        Some(HELP.to_owned()),
                    ),
                },
                _ => all.extend(r.below("listen", node, path, &LISTEN, |r| Self::table(r, node)).flatten()),
            }
        }
        all
    }

    fn table(r: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let Some(text) = r.text("address") else {
            r.report.error(
                node.mark,
                r.path().to_owned().as_str(),
                "`address` is missing",
                Some(HELP.to_owned()),
            );
            return None;
        };
        let Some(mut listen) = Self::plain(&text) else {
            r.error("address", format!("{text:?} is not an address to listen on"), Some(HELP.to_owned()));
            return None;
        };
        listen.allow = r.networks("allow");
        listen.deny = r.networks("deny");
        listen.connections_max = r.count_u32("connections_max");
        listen.proxy_protocol = r.networks("proxy_protocol");
        listen.h2c = r.bool("h2c");
        Some(listen)
    }

    /// From `http://127.0.0.1:8080` and its like, without options.
    pub fn plain(text: &str) -> Option<Self> {
        let (secure, rest) = match text.split_once("://")? {
            ("http", rest) => (false, rest),
            ("https", rest) => (true, rest),
            _ => return None,
        };
        let rest = rest.trim_end_matches('/');
        let address = match rest.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Address::Unix(PathBuf::from(path)),
            Some(_) => return None,
            None => Address::Tcp(match rest.strip_prefix("localhost:") {
                Some(port) => format!("127.0.0.1:{port}").parse().ok()?,
                None => rest.parse().ok()?,
            }),
        };
        let (allow, deny, proxy_protocol) = (Vec::new(), Vec::new(), Vec::new());
        Some(Self {
            name: text.to_owned(),
            secure,
            address,
            allow,
            deny,
            connections_max: 0,
            proxy_protocol,
            h2c: false,
        })
    }
}

const HELP: &str = "for example \"http://0.0.0.0:80\", \"https://[::]:443\", \"http://unix:/run/site.sock\"";

/// Where a site's certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificates {
    /// This machine's own authority.
    Local,
    /// Files.
    Files(Vec<Source>),
}

/// A site's TLS, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TlsSettings {
    pub certificates: Certificates,
    pub version_min: VersionMin,
    pub client_auth: ClientAuth,
}

impl TlsSettings {
    /// Reads `tls`, `tls_min` and `client_auth` of a site; `None` without `tls`.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let version_min = if r.choice("tls_min") == "1.3" { VersionMin::Tls13 } else { VersionMin::Tls12 };
        let client_auth = r.table("client_auth", &CLIENT_AUTH, |r| {
            let required = r.choice("mode") == "required";
            let Some(ca) = r.path_value("ca") else {
                r.error(
                    "ca",
                    "`ca` is missing: the PEM file of the authorities that sign client certificates",
                    None,
                );
                return ClientAuth::Off;
            };
            let crl = r.path_value("crl");
            if required { ClientAuth::Required { ca, crl } } else { ClientAuth::Optional { ca, crl } }
        });
        let mut files = Vec::new();
        let mut local = false;
        for (index, node) in r.nodes("tls").into_iter().enumerate() {
            match &node.value {
                Value::Text(text) if text == "local" => local = true,
                Value::Text(text) if text == "auto" => {
                    r.error(
                        "tls",
                        "certificates by ACME (\"auto\") are not in this version",
                        Some("use { cert = \"…\", key = \"…\" } or \"local\"".to_owned()),
                    );
                }
                Value::Table(_) => {
                    let path = format!("{}[{index}]", r.key_path("tls"));
                    let source = r.below("tls", node, path, &CERTIFICATE, |r| {
                        match (r.path_value("cert"), r.path_value("key")) {
                            (Some(certificate), Some(key)) => Some(Source { certificate, key }),
                            _ => {
                                r.error("cert", "both `cert` and `key` are needed", None);
                                None
                            }
                        }
                    });
                    files.extend(source.flatten());
                }
                _ => r.error(
                    "tls",
                    format!("{} is not \"local\" or {{ cert = \"…\", key = \"…\" }}", node.shown()),
                    None,
                ),
            }
        }
        let certificates = match (local, files.is_empty()) {
            (true, true) => Certificates::Local,
            (false, false) => Certificates::Files(files),
            (true, false) => {
                r.error("tls", "\"local\" and files cannot be mixed", None);
                return None;
            }
            (false, true) => return None,
        };
        Some(Self { certificates, version_min, client_auth: client_auth.unwrap_or_default() })
    }
}
