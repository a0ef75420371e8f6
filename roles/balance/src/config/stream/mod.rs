//! `[stream.NAME]`: as checked.
//!
//! **Job.** Read listeners whose bytes go to pools as they are (layer 4). A [`StreamSettings`] in hand is the proof that it
//! has an address, at least one route, and nothing that contradicts itself. **Called by** `madang` (config). **Calls**
//! `settings`, `host::config`.
//!
//! Not here: moving the bytes (`stream`), whether the pools are there (`madang`).

mod keys;

use std::sync::Arc;
use std::time::Duration;

use madang_host::config::{Listen, TlsSettings, host_names};
use madang_host::net::listen::Address;
use madang_host::tls::names::{name_matches, normal};
use madang_settings::reader::Reader;

pub use self::keys::{STREAM, STREAM_ROUTE, STREAM_UDP};

/// Which header tells the servers about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// None.
    Off,
    /// Version 1, a line of text.
    V1,
    /// Version 2, binary.
    V2,
}

/// Where connections go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRoute {
    /// Names it is for, exact or `*.rest`, lower case; empty: everything.
    pub names: Vec<String>,
    /// The pool's name.
    pub pool: String,
}

/// A stream, checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // `keys` documents each
pub struct StreamSettings {
    pub name: Arc<str>,
    pub listen: Vec<Listen>,
    /// At least one; only the last may be without names.
    pub routes: Vec<StreamRoute>,
    pub tls: Option<TlsSettings>,
    pub idle: Duration,
    pub proxy_header: ProxyHeader,
    pub udp: UdpSettings,
}

/// `udp`, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // `keys` documents each
pub struct UdpSettings {
    pub idle: Duration,
    /// 0: answers are not counted.
    pub replies: u64,
    pub sessions_max: usize,
    /// 0: no limit.
    pub sessions_per_address_max: u32,
}

impl UdpSettings {
    fn read(r: &mut Reader<'_>) -> Self {
        Self {
            idle: r.duration("idle"),
            replies: r.count("replies").unwrap_or_default(),
            sessions_max: usize::try_from(r.count_u32("sessions_max")).unwrap_or(usize::MAX),
            sessions_per_address_max: r.count_u32("sessions_per_address_max"),
        }
    }
}

impl StreamSettings {
    /// Reads one stream.
    pub fn read(r: &mut Reader<'_>, name: &str) -> Self {
        let listen = read_listen(r);
        let routes = read_routes(r);
        let tls = TlsSettings::read(r);
        let ends_tls = listen.iter().any(|listen| listen.secure);
        if ends_tls && tls.is_none() && !r.has("tls") {
            let help = "write tls = \"local\" or { cert = \"…\", key = \"…\" }, or listen by tcp:// and leave TLS to the servers";
            r.error("listen", "an address is tls:// but the stream has no `tls`", Some(help.to_owned()));
        }
        if tls.is_some() && !ends_tls && !listen.is_empty() {
            let help = "listen by tls:// to end TLS here".to_owned();
            r.error("tls", "there are certificates but no tls:// address", Some(help));
        }
        let proxy_header = match r.choice("proxy_protocol") {
            "v1" => ProxyHeader::V1,
            "v2" => ProxyHeader::V2,
            _ => ProxyHeader::Off,
        };
        let this = Self {
            name: name.into(),
            listen,
            routes,
            tls,
            idle: r.duration("idle"),
            proxy_header,
            udp: r.table_or_default("udp", &STREAM_UDP, UdpSettings::read),
        };
        this.check_udp(r);
        this
    }

    /// What goes with datagrams and what does not.
    fn check_udp(&self, r: &mut Reader<'_>) {
        if !self.takes_datagrams() {
            if r.has("udp") && !self.listen.is_empty() {
                r.error("udp", "there is no udp:// address", Some("listen by udp://".to_owned()));
            }
            return;
        }
        let apart = || Some("give udp:// addresses a stream of their own".to_owned());
        if self.by_name() {
            r.error("route", "datagrams have no names to route by", apart());
        }
        if self.proxy_header != ProxyHeader::Off {
            r.error("proxy_protocol", "PROXY headers go with connections, not with datagrams", apart());
        }
    }

    /// Whether one of its addresses is for UDP.
    pub fn takes_datagrams(&self) -> bool {
        self.listen.iter().any(|listen| matches!(listen.address, Address::Udp(_)))
    }

    /// The first route for a client that asks for this name, or for none.
    pub fn route(&self, name: Option<&str>) -> Option<usize> {
        let name = name.map(normal);
        let takes = |route: &StreamRoute| {
            let is = |pattern: &String| name.as_ref().is_some_and(|name| name_matches(pattern, name));
            route.names.is_empty() || route.names.iter().any(is)
        };
        self.routes.iter().position(takes)
    }

    /// Whether the name that a client asks for has to be known.
    pub fn by_name(&self) -> bool {
        self.routes.iter().any(|route| !route.names.is_empty())
    }

    /// Every name of every route: what a certificate made here is for.
    pub fn names(&self) -> Vec<String> {
        self.routes.iter().flat_map(|route| route.names.iter().cloned()).collect()
    }
}

fn read_listen(r: &mut Reader<'_>) -> Vec<Listen> {
    let (allow, deny) = (r.networks("allow"), r.networks("deny"));
    let connections_max = r.count_u32("connections_max");
    let mut listen = Vec::new();
    for (node, text) in r.texts_with_nodes("listen") {
        match address(&text) {
            Some((address, secure)) => listen.push(Listen {
                name: text,
                secure,
                address,
                allow: allow.clone(),
                deny: deny.clone(),
                connections_max,
                proxy_protocol: Vec::new(),
                h2c: false,
            }),
            None => {
                let (path, help) = (r.key_path("listen"), Some(HELP.to_owned()));
                r.report.error(node.mark, &path, format!("{text:?} is not an address to listen on"), help);
            }
        }
    }
    if !r.has("listen") {
        r.error("listen", "`listen` is missing: the addresses of the stream", Some(HELP.to_owned()));
    }
    listen
}

fn read_routes(r: &mut Reader<'_>) -> Vec<StreamRoute> {
    let pool = r.text("proxy");
    let mut open_end: Option<usize> = None;
    let mut routes = r.tables("route", &STREAM_ROUTE, |r, index| {
        let names = host_names(r, "sni");
        let pool = r.text("proxy").unwrap_or_default();
        if !r.has("proxy") {
            r.error("proxy", "`proxy` is missing: the pool that connections go to", None);
        }
        if let Some(before) = open_end {
            let (mark, path) = (r.mark(), r.path().to_owned());
            let message = format!("this route is never reached: route[{before}] takes every connection");
            r.report.error(mark, &path, message, Some("put the one without `sni` last".to_owned()));
        } else if !r.has("sni") {
            open_end = Some(index);
        }
        StreamRoute { names, pool }
    });
    match (pool, routes.is_empty()) {
        (Some(pool), true) => routes.push(StreamRoute { names: Vec::new(), pool }),
        (Some(_), false) => {
            let help = "make it the last route: { proxy = \"…\" }".to_owned();
            r.error("proxy", "`proxy` and `route` say both where connections go", Some(help));
        }
        (None, true) if !r.has("proxy") && !r.has("route") => {
            r.error("proxy", "`proxy` is missing: the pool that connections go to", None);
        }
        _ => {}
    }
    routes
}

const HELP: &str = "for example listen = \"tcp://127.0.0.1:5433\"";

/// An address, and whether TLS ends there.
fn address(text: &str) -> Option<(Address, bool)> {
    let (secure, rest) = match text.split_once("://")? {
        ("tcp", rest) => (false, rest),
        ("tls", rest) => (true, rest),
        ("udp", rest) => return Some((Address::Udp(rest.parse().ok()?), false)),
        _ => return None,
    };
    let address = match rest.strip_prefix("unix:") {
        Some(path) => path.starts_with('/').then(|| Address::Unix(path.into()))?,
        None => Address::Tcp(rest.parse().ok()?),
    };
    Some((address, secure))
}
