//! The keys of the engine's own sections: one table for reading, schema and documentation.
//!
//! **Job.** Say name, kind, default and meaning of each key. **Called by** `config`, `madang schema`, `roles/web`.
//! **Calls** `settings::schema`.
//!
//! Not here: reading them (`config`).

use madang_settings::schema::{Kind, Section, key};

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
        key(
            "resolver",
            Kind::List(&Kind::Text),
            "",
            "Name servers that are asked for the names of pools' servers: `\"10.0.0.53\"`, `\"127.0.0.1:5353\"`. Left out: those of /etc/resolv.conf. The hosts file goes before them.",
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
            "errors",
            Kind::Choice(&["text", "json"]),
            "\"text\"",
            "Form of everything else: for people, or JSON lines with the facts of each event one by one.",
        ),
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
