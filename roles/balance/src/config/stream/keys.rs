//! The keys of `[stream.NAME]`: one table for reading, schema and documentation.
//!
//! **Job.** Say name, kind, default and meaning of each key. **Called by** `config`, `madang schema`. **Calls** `settings::schema`.
//!
//! Not here: reading them (`super`).

use madang_host::config::{CERTIFICATE, CLIENT_AUTH};
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
            "Addresses: `\"tcp://127.0.0.1:5433\"`, `\"tcp://[::]:5432\"`, `\"tcp://unix:/run/db.sock\"`; `\"tls://0.0.0.0:6697\"` ends TLS here, by `tls`; `\"udp://127.0.0.1:53\"` takes datagrams.",
        ),
        key(
            "proxy",
            Kind::Text,
            "",
            "The pool, by its name in `[pool.NAME]`. Where names decide: `route` instead.",
        ),
        key(
            "route",
            Kind::List(&Kind::Table(&STREAM_ROUTE)),
            "",
            "Pools by the name a TLS client asks for, first match wins: `[{ sni = \"*.example.org\", proxy = \"a\" }, { proxy = \"rest\" }]`. On `tcp://` its hello is read and passed on untouched, within `limits.handshake_timeout`.",
        ),
        key(
            "tls",
            Kind::List(&Kind::Either(&[Kind::Choice(&["local", "auto"]), Kind::Table(&CERTIFICATE)])),
            "",
            "Certificates for its `tls://` addresses, as a site has them: `\"local\"` or `{ cert = \"…\", key = \"…\" }`.",
        ),
        key("tls_min", Kind::Choice(&["1.2", "1.3"]), "\"1.2\"", "The oldest TLS version taken."),
        key(
            "client_auth",
            Kind::Table(&CLIENT_AUTH),
            "",
            "Certificates that clients must or may show (mTLS).",
        ),
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
        key("udp", Kind::Table(&STREAM_UDP), "", "Sessions of its `udp://` addresses."),
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

/// A table in `route`.
pub const STREAM_ROUTE: Section = Section {
    title: "route",
    doc: "Where connections with these names go.",
    keys: &[
        key(
            "sni",
            Kind::List(&Kind::Text),
            "",
            "Names: `\"db.example.org\"`, `\"*.example.org\"` (one label). Left out: every connection, with or without a name, TLS or not.",
        ),
        key("proxy", Kind::Text, "", "The pool, by its name in `[pool.NAME]`."),
    ],
};

/// `udp`.
pub const STREAM_UDP: Section = Section {
    title: "udp",
    doc: "A session is one client's address and port: its datagrams go to one server, whose answers come back to it alone. A server where nobody listens (ICMP) is left for another as long as it has answered nothing.",
    keys: &[
        key(
            "idle",
            Kind::Duration("1s", "1d"),
            "\"30s\"",
            "A session in which nothing moves in either direction ends after this.",
        ),
        key(
            "replies",
            Kind::Count(0, 1_000_000),
            "0",
            "A session also ends once so many answers have come for each datagram; a server that gives none in `idle` has failed. 1 for DNS. 0: answers are not counted.",
        ),
        key(
            "sessions_max",
            Kind::Count(1, 1_000_000),
            "16384",
            "Sessions open at once on each address, shared evenly by the workers; a newer client then takes the place of the one quiet longest. Each needs an open file.",
        ),
        key(
            "sessions_per_address_max",
            Kind::Count(0, 1_000_000),
            "4096",
            "Of them from one client address (IPv6: one /64); beyond that it takes its own places. 0 is off.",
        ),
    ],
};
