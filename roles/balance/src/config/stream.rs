//! `[stream.NAME]`: as written and as checked.
//!
//! **Job.** Read listeners whose bytes go to a pool as they are (layer 4). **Called by** `madang` (config). **Calls**
//! `settings`.
//!
//! Not here: moving the bytes (`stream`), whether the pool is there (`madang`).

use std::sync::Arc;
use std::time::Duration;

use madang_host::config::Listen;
use madang_host::net::listen::Address;
use madang_settings::reader::Reader;
use madang_settings::schema::{Kind, Section, key};

/// `[stream.NAME]`.
pub const STREAM: Section = Section {
    title: "[stream.NAME]",
    doc: "Connections passed on to a pool byte by byte: databases, mail, TLS that the servers end themselves.",
    keys: &[
        key(
            "listen",
            Kind::List(&Kind::Text),
            "",
            "Addresses: `\"tcp://127.0.0.1:5433\"`, `\"tcp://[::]:5432\"`, `\"tcp://unix:/run/db.sock\"`.",
        ),
        key("proxy", Kind::Text, "", "The pool, by its name in `[pool.NAME]`."),
        key(
            "idle",
            Kind::Duration("1s", "30d"),
            "\"1h\"",
            "A connection on which nothing moves in either direction ends after this.",
        ),
        key(
            "proxy_protocol",
            Kind::Choice(&["off", "v1", "v2"]),
            "\"off\"",
            "Tell the servers who the client is, in front of its first byte.",
        ),
        key("allow", Kind::Networks, "", "Only these clients may connect. Left out: all."),
        key("deny", Kind::Networks, "", "These may not; wins over `allow`."),
        key(
            "connections_max",
            Kind::Count(0, 10_000_000),
            "0",
            "Connections open at once here. 0: only the server's limit.",
        ),
    ],
};

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

/// A stream, checked.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the table above documents each
pub struct StreamSettings {
    pub name: Arc<str>,
    pub listen: Vec<Listen>,
    pub pool: String,
    pub idle: Duration,
    pub proxy_header: ProxyHeader,
}

impl StreamSettings {
    /// Reads one stream.
    pub fn read(r: &mut Reader<'_>, name: &str) -> Self {
        let (allow, deny) = (r.networks("allow"), r.networks("deny"));
        let connections_max = r.count_u32("connections_max");
        let mut listen = Vec::new();
        for (node, text) in r.texts_with_nodes("listen") {
            match address(&text) {
                Some(address) => listen.push(Listen {
                    name: text,
                    secure: false,
                    address,
                    allow: allow.clone(),
                    deny: deny.clone(),
                    connections_max,
                    proxy_protocol: Vec::new(),
                    h2c: false,
                }),
                None => {
                    let (path, help) = (r.key_path("listen"), Some(HELP.to_owned()));
                    r.report.error(
                        node.mark,
                        &path,
                        format!("{text:?} is not an address to listen on"),
                        help,
                    );
                }
            }
        }
        if !r.has("listen") {
            r.error("listen", "`listen` is missing: the addresses of the stream", Some(HELP.to_owned()));
        }
        let pool = r.text("proxy").unwrap_or_default();
        if !r.has("proxy") {
            r.error("proxy", "`proxy` is missing: the pool that connections go to", None);
        }
        Self {
            name: name.into(),
            listen,
            pool,
            idle: r.duration("idle"),
            proxy_header: match r.choice("proxy_protocol") {
                "v1" => ProxyHeader::V1,
                "v2" => ProxyHeader::V2,
                _ => ProxyHeader::Off,
            },
        }
    }
}

const HELP: &str = "for example listen = \"tcp://127.0.0.1:5433\"";

fn address(text: &str) -> Option<Address> {
    let rest = text.strip_prefix("tcp://")?;
    match rest.strip_prefix("unix:") {
        Some(path) => path.starts_with('/').then(|| Address::Unix(path.into())),
        None => Some(Address::Tcp(rest.parse().ok()?)),
    }
}
