//! The keys of `[pool.NAME]`: one table for reading, schema and documentation.
//!
//! **Job.** Say name, kind, default and meaning of each key. **Called by** `config`, `madang schema`. **Calls** `settings::schema`.
//!
//! Not here: reading them (`config`), which pool a request goes to (the routes of a site).

use madang_http::check::HEALTH;
use madang_settings::schema::{Kind, Section, key};

const TEXTS: Kind = Kind::List(&Kind::Text);

/// `[pool.NAME]`.
pub const POOL: Section = Section {
    title: "[pool.NAME]",
    doc: "Servers that can answer for each other: who gets a request, how they are watched, what is tried again.",
    keys: &[
        key(
            "servers",
            Kind::List(&Kind::Either(&[Kind::Text, Kind::Table(&SERVER)])),
            "",
            "Addresses: `\"127.0.0.1:3001\"`, `\"app.internal:3001\"`, `\"unix:/run/app.sock\"`, `\"https://app.internal:443\"`, `\"h2c://127.0.0.1:50051\"`, `\"srv://_http._tcp.api.internal\"`, or tables with options. Every address of a name is a server; names are looked up again as their time to live says (1 s to 1 h). With `srv://` (RFC 2782) the records give ports and weights, and priorities above the lowest are backups; `_https` speaks TLS. At most 256, names resolved.",
        ),
        key(
            "balance",
            Kind::Choice(&["round-robin", "least-connections", "two-choices", "least-time", "hash"]),
            "\"round-robin\"",
            "Who gets the next request: in turn by weight, the one with the fewest open, the better of two drawn, the quickest of late, or always the same one for the same key.",
        ),
        key(
            "hash_by",
            Kind::Text,
            "\"ip\"",
            "With `balance = \"hash\"`: the key. `ip`, `path`, `uri` (with the query), `header:NAME`, `cookie:NAME`.",
        ),
        key(
            "sticky",
            Kind::Either(&[Kind::Choice(&["ip"]), Kind::Table(&STICKY)]),
            "",
            "Keep a client at its server while that one is fit: by a signed cookie, or `\"ip\"` by its address. Left out: off.",
        ),
        key(
            "slow_start",
            Kind::Duration("0s", "1h"),
            "\"10s\"",
            "A server that came back takes a tenth of its share at first and all of it after this time. 0s is off.",
        ),
        key(
            "health",
            Kind::Table(&HEALTH),
            "",
            "Ask the servers regularly. Left out: only what requests show counts.",
        ),
        key("passive", Kind::Table(&PASSIVE), "", "What requests show: who fails too often rests a while."),
        key(
            "panic_below",
            Kind::Count(0, 100),
            "50",
            "When fewer than so many percent of the servers are up, health is doubted and sick ones that still answer get requests too. 0 is off.",
        ),
        key("retry", Kind::Table(&RETRY), "", "What is tried again at another server."),
        key("queue", Kind::Table(&QUEUE), "", "Requests that wait when every server is full."),
        key(
            "hold",
            Kind::Duration("0s", "10m"),
            "\"0s\"",
            "While no server is up, or none can be connected to (an app that restarts), requests wait up to this time instead of failing; so do all while `madang pool hold NAME` lasts (30s there when this is 0s). At most `queue.length` wait, per worker; 503 after that. 0s is off.",
        ),
        key(
            "breaker",
            Kind::Table(&BREAKER),
            "",
            "Stop sending to a server at once when too many of its answers are failures, panic or not. Left out: off.",
        ),
        key("timeouts", Kind::Table(&TIMEOUTS), "", "How long each step of a request may take."),
        key(
            "keep_alive",
            Kind::Count(0, 65_536),
            "512",
            "Idle connections of HTTP/1.1 kept open to each server, per worker. 0: a fresh connection for each request. HTTP/2 shares a few connections: up to 128 requests on each and 64 of them.",
        ),
        key(
            "http2",
            Kind::Bool,
            "true",
            "Servers with https are offered HTTP/2, and choose. Those with h2c:// are spoken to in HTTP/2 always, all others in HTTP/1.1.",
        ),
        key(
            "body_buffer",
            Kind::Size("0B", "64MiB"),
            "\"64KiB\"",
            "A request body is remembered up to this size so that it can be sent again. 0B: requests with a body are tried once.",
        ),
        key(
            "tls",
            Kind::Table(&UPSTREAM_TLS),
            "",
            "How servers with https are checked. Left out: by the system's authorities.",
        ),
    ],
};

/// A table in `servers`.
pub const SERVER: Section = Section {
    title: "servers",
    doc: "One server, as text or as a table with options.",
    keys: &[
        key("address", Kind::Text, "", "The address as above."),
        key(
            "weight",
            Kind::Count(0, 256),
            "1",
            "Its share beside the others'. 0: only clients that stick to it.",
        ),
        key("backup", Kind::Bool, "false", "Used only when no other can."),
        key(
            "max_connections",
            Kind::Count(0, 1_000_000),
            "0",
            "Requests open at once, of all workers together; never more, whatever happens. 0: no limit.",
        ),
    ],
};

/// `sticky`.
pub const STICKY: Section = Section {
    title: "sticky",
    doc: "A signed cookie names the server, without its address.",
    keys: &[
        key("cookie", Kind::Text, "\"madang_server\"", "The cookie's name."),
        key(
            "ttl",
            Kind::Duration("0s", "365d"),
            "\"0s\"",
            "How long it is good for. 0s: until the browser is closed.",
        ),
    ],
};

/// `passive`.
pub const PASSIVE: Section = Section {
    title: "passive",
    doc: "A failure is a 5xx answer, a connection that could not be opened or broke, an answer that was late or made no sense.",
    keys: &[
        key(
            "failures",
            Kind::Count(0, 10_000),
            "5",
            "So many failures in a row and the server rests. 0 is off.",
        ),
        key("window", Kind::Duration("1s", "1h"), "\"10s\"", "The span over which `success_rate` is taken."),
        key(
            "eject_for",
            Kind::Duration("100ms", "1h"),
            "\"10s\"",
            "The first rest; each further one is twice as long, up to 32 times.",
        ),
        key(
            "eject_max",
            Kind::Count(0, 100),
            "50",
            "No server is sent to rest when more than so many percent would then not be up. 0: nobody is.",
        ),
        key(
            "success_rate",
            Kind::Count(0, 100),
            "50",
            "A server rests when fewer than so many percent of at least 20 answers were good while the others together did better than that. 0 is off.",
        ),
    ],
};

/// `retry`.
pub const RETRY: Section = Section {
    title: "retry",
    doc: "Only before the first byte of an answer went to the client, and only where it is safe: the method is idempotent, or the server never got the request.",
    keys: &[
        key("attempts", Kind::Count(1, 8), "3", "Attempts in all. 1: nothing is tried again."),
        key(
            "budget_percent",
            Kind::Count(0, 100),
            "20",
            "Further attempts of the last 10 s, in percent of its requests, per worker; 10 are always allowed.",
        ),
        key(
            "deadline",
            Kind::Duration("10ms", "1h"),
            "\"30s\"",
            "No attempt begins later than this after the first.",
        ),
        key(
            "on",
            TEXTS,
            "",
            "What is tried again: `connect`, `reset`, `timeout`, `bad-answer`, `5xx`, or statuses such as `503`. Left out: connect, reset, timeout, bad-answer, 502, 503, 504.",
        ),
        key(
            "hedge_after",
            Kind::Duration("0s", "1m"),
            "\"0s\"",
            "A GET or HEAD without an answer after this time is also sent to a second server; the first answer counts, the other attempt is given up. Counts as a retry in the budget; needs `attempts` of 2 or more. 0s is off.",
        ),
    ],
};

/// `queue`.
pub const QUEUE: Section = Section {
    title: "queue",
    doc: "Without a line, a request that finds every server full is answered 503 at once.",
    keys: &[
        key("length", Kind::Count(0, 1_000_000), "128", "Requests that may wait, per worker. 0: none."),
        key("wait", Kind::Duration("0s", "5m"), "\"5s\"", "The longest wait, 503 after that."),
    ],
};

/// `breaker`.
pub const BREAKER: Section = Section {
    title: "breaker",
    doc: "Closed: requests go. Open: none. Half open: a few try.",
    keys: &[
        key("error_percent", Kind::Count(1, 100), "50", "So many percent of failures and it opens."),
        key("requests_min", Kind::Count(1, 1_000_000), "20", "Of at least so many answers in the window."),
        key("window", Kind::Duration("1s", "10m"), "\"10s\"", "The span that is looked at."),
        key("open_for", Kind::Duration("100ms", "10m"), "\"5s\"", "How long it stays open."),
        key("trials", Kind::Count(1, 1000), "3", "Half open: so many good answers in a row close it."),
    ],
};

/// `timeouts`.
pub const TIMEOUTS: Section = Section {
    title: "timeouts",
    doc: "Times are checked every 250 ms.",
    keys: &[
        key("connect", Kind::Duration("10ms", "5m"), "\"5s\"", "Opening a connection, TLS included."),
        key(
            "first_byte",
            Kind::Duration("10ms", "1h"),
            "\"60s\"",
            "From the request's last byte to the answer's first.",
        ),
        key("idle", Kind::Duration("10ms", "1d"), "\"60s\"", "The longest pause inside an answer or a body."),
        key(
            "whole",
            Kind::Duration("0s", "7d"),
            "\"0s\"",
            "All attempts together and the whole answer: 504 before it begins, broken off after that. Upgraded connections have no such end. 0s: no limit.",
        ),
    ],
};

/// `tls` of a pool.
pub const UPSTREAM_TLS: Section = Section {
    title: "tls",
    doc: "TLS towards the servers.",
    keys: &[
        key("verify", Kind::Bool, "true", "Check their certificates. Switch it off only in a laboratory."),
        key("ca", Kind::Path, "", "PEM file of the authorities to believe. Left out: the system's."),
        key(
            "name",
            Kind::Text,
            "",
            "The name that is asked for (SNI) and checked. Left out: the host of the address.",
        ),
        key("cert", Kind::Path, "", "PEM file of our own certificate, for servers that want one."),
        key("key", Kind::Path, "", "PEM file of its key."),
    ],
};
