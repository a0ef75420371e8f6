//! The keys of `[chat.NAME]`: one table for reading, schema and documentation.
//!
//! **Job.** Say name, kind, default and meaning of each key. **Called by** `config`, `madang schema`. **Calls** `settings::schema`.
//!
//! Not here: reading them (`super`).

use madang_host::config::{CERTIFICATE, CLIENT_AUTH};
use madang_settings::schema::{Kind, Section, key};

use super::hooks::{HOOK, POST};

/// `[chat.NAME]`.
pub const CHAT: Section = Section {
    title: "[chat.NAME]",
    doc: "A chat: rooms, direct messages, announcements. Browsers reach it by a route of a site: `{ path = \"/chat/*\", chat = \"NAME\" }`; other programs by `listen`. Names: small letters, digits, `-` and `_`, 32 at most.",
    keys: &[
        key(
            "listen",
            Kind::List(&Kind::Text),
            "",
            "Addresses for IRC and for plain lines of text: `\"irc://127.0.0.1:6667\"`, `\"ircs://0.0.0.0:6697\"` (TLS, by `tls`), `\"line://127.0.0.1:7000\"`, `\"lines://0.0.0.0:7001\"` (TLS). Left out: browsers only.",
        ),
        key(
            "tls",
            Kind::List(&Kind::Either(&[Kind::Choice(&["local", "auto"]), Kind::Table(&CERTIFICATE)])),
            "",
            "Certificates for its `ircs://` and `lines://` addresses, as a site has them: `\"local\"` or `{ cert = \"…\", key = \"…\" }`.",
        ),
        key("tls_min", Kind::Choice(&["1.2", "1.3"]), "\"1.2\"", "The oldest TLS version taken."),
        key(
            "client_auth",
            Kind::Table(&CLIENT_AUTH),
            "",
            "Certificates that clients of these addresses must or may show (mTLS).",
        ),
        key("allow", Kind::Networks, "", "Only these clients may connect to `listen`. Left out: all."),
        key("deny", Kind::Networks, "", "These may not; wins over `allow`."),
        key(
            "connections_max",
            Kind::Count(0, 10_000_000),
            "0",
            "Connections open at once on each address of `listen`. 0: only the server's limit.",
        ),
        key(
            "proxy_protocol",
            Kind::Networks,
            "",
            "Peers of `listen` that begin with a PROXY header, which says who the client is.",
        ),
        key(
            "history",
            Kind::Either(&[Kind::Choice(&["forever"]), Kind::Duration("1h", "5200w")]),
            "\"30d\"",
            "How long messages and uploaded files are kept.",
        ),
        key(
            "history_messages",
            Kind::Count(0, 1_000_000_000),
            "0",
            "So many newest messages of each room are kept. 0: no limit beside `history`.",
        ),
        key(
            "history_bytes",
            Kind::Size("0B", "1TiB"),
            "\"0B\"",
            "So many bytes of newest messages of each room are kept. 0: no limit beside `history`.",
        ),
        key(
            "guests",
            Kind::Bool,
            "true",
            "Whether people may come in without a login, under a name of their choice.",
        ),
        key("rooms", Kind::Table(&ROOMS), "", "How many rooms there may be and who makes them."),
        key("message_size", Kind::Size("64B", "256KiB"), "\"8KiB\"", "The longest text of a message."),
        key(
            "frame",
            Kind::Size("4KiB", "1MiB"),
            "\"64KiB\"",
            "The largest message of a browser's connection, all that belongs to it included; at least 4KiB more than `message_size`.",
        ),
        key(
            "rate",
            Kind::Rate,
            "\"5/s\"",
            "How often one person may send in the long run; above it `too-fast`.",
        ),
        key("burst", Kind::Count(1, 10_000), "20", "How many at once after a pause."),
        key(
            "files",
            Kind::Either(&[Kind::Bool, Kind::Table(&FILES)]),
            "",
            "What may be attached to messages; `false`: nothing. Left out: as the table's defaults say.",
        ),
        key(
            "ping",
            Kind::Duration("1s", "10m"),
            "\"30s\"",
            "How often a quiet connection is asked for a sign of life; one that owes two is ended.",
        ),
        key(
            "outbox",
            Kind::Size("16KiB", "64MiB"),
            "\"256KiB\"",
            "What may wait in memory for one connection that reads slowly; above it the connection is fed from history at its own pace.",
        ),
        key(
            "stalled",
            Kind::Duration("1s", "1h"),
            "\"30s\"",
            "A connection that takes nothing of what waits for it for so long is ended; it can come back and goes on where it was.",
        ),
        key(
            "presence",
            Kind::Duration("50ms", "1m"),
            "\"250ms\"",
            "How often at most a room is told who came and who left.",
        ),
        key(
            "origins",
            Kind::List(&Kind::Text),
            "",
            "Pages that may open connections from browsers, beside those of the same host: `\"https://app.example.org\"`, or `\"*\"` for all.",
        ),
        key("hooks", Kind::Named(&HOOK), "", "Other servers that are told what happens here, by name."),
        key("posts", Kind::Named(&POST), "", "URLs by which other programs post here, by name."),
        key("motd", Kind::Text, "", "What everybody is told on arrival (IRC: the message of the day)."),
    ],
};

/// `rooms`.
pub const ROOMS: Section = Section {
    title: "rooms",
    doc: "Rooms of a chat.",
    keys: &[
        key("max", Kind::Count(1, 1_000_000), "10000", "Rooms in all."),
        key(
            "create",
            Kind::Choice(&["everyone", "users", "admins"]),
            "\"everyone\"",
            "Who may make rooms: everyone (guests, too, where `guests` is on), people with a login, admins.",
        ),
        key("members_max", Kind::Count(1, 1_000_000), "10000", "People in one room at once."),
        key("per_person", Kind::Count(1, 10_000), "200", "Rooms that one person is in at once."),
    ],
};

/// `files`.
pub const FILES: Section = Section {
    title: "files",
    doc: "Files attached to messages. They lie in the data folder and go with `history`.",
    keys: &[
        key("size", Kind::Size("1KiB", "4GiB"), "\"10MiB\"", "The largest file."),
        key(
            "types",
            Kind::List(&Kind::Text),
            "",
            "Media types that are taken: `\"image/png\"`, `\"image/*\"`. Left out: image/*, audio/*, video/*, text/plain, application/pdf, application/zip.",
        ),
        key("total", Kind::Size("1MiB", "16TiB"), "\"1GiB\"", "All files of the chat together."),
        key("guests", Kind::Bool, "true", "Whether guests may attach files."),
    ],
};
