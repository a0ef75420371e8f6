//! `[server]`, `[limits]`, `[log]`, `listen` and `tls`: as checked.
//!
//! **Job.** Read the engine's own sections. Holding one of the types is the proof that every bound in `keys` holds.
//! **Called by** `madang` (config) and `roles/web` (listen, tls). **Calls** `settings`.
//!
//! Not here: sites and routes (`roles/web/config`), what is done with the values (`gate`, `connection`, `tls`, `telemetry`).

mod hosts;
mod keys;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use madang_settings::reader::Reader;
use madang_settings::tree::{Node, Value};

pub use self::hosts::host_names;
pub use self::keys::{CERTIFICATE, CLIENT_AUTH, LIMITS, LISTEN, LOG, SERVER};
use crate::connection::PhaseLimits;
use crate::gate::GateLimits;
use crate::net::listen::Address;
use crate::tls::store::Source;
use crate::tls::{ClientAuth, VersionMin};

/// `[server]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct Server {
    pub data: PathBuf,
    pub admin: Option<SocketAddr>,
    pub workers: Option<usize>,
    pub user: Option<String>,
    pub drain: Duration,
    pub gate: GateLimits,
    pub trusted_proxies: Vec<IpNet>,
    pub resolver: Vec<SocketAddr>,
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
            resolver: name_servers(r),
        }
    }
}

/// `resolver`: addresses with or without a port.
fn name_servers(r: &mut Reader<'_>) -> Vec<SocketAddr> {
    let (mut all, path) = (Vec::new(), r.key_path("resolver"));
    for (node, text) in r.texts_with_nodes("resolver") {
        let bare = || text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)).ok();
        match text.parse().ok().or_else(bare).filter(|address| address.port() != 0) {
            Some(address) => all.push(address),
            None => {
                let help = Some("an address, for example \"10.0.0.53\" or \"127.0.0.1:5353\"".to_owned());
                r.report.error(
                    node.mark,
                    &path,
                    format!("{text:?} is not the address of a name server"),
                    help,
                );
            }
        }
    }
    all
}

/// RFC 1035 4.2.
const DNS_PORT: u16 = 53;

/// `[limits]`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
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
#[allow(missing_docs)] // `keys` documents each
pub struct LogSettings {
    pub access: AccessForm,
    pub access_file: Option<PathBuf>,
    pub error_file: Option<PathBuf>,
    pub errors_json: bool,
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
            errors_json: r.choice("errors") == "json",
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
#[allow(missing_docs)] // `keys` documents each
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
