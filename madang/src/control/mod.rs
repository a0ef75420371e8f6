//! The admin surface: the control socket in the data folder, and the admin address.
//!
//! **Job.** Serve status, metrics and orders to commands and monitors, over the same HTTP engine as everything else.
//! **Called by** `run`. **Calls** `house` through [`Request`]s, `host::telemetry`.
//!
//! Invariants
//! 1. Orders (reload, stop, upgrade, …) come only through the control socket, which only the server's own user can open.
//! 2. The admin address serves what a monitor reads, nothing else, and only to requests that name it by address or
//!    `localhost` (a web page cannot reach it by a name of its own).
//!
//! Not here: what the orders do (`run`, `house`), how commands show answers (`cli`).

pub mod admin;

use std::fmt::Write as _;
use std::rc::Rc;

use bytes::Bytes;
use madang_balance::health::Wish;
use madang_chat::hooks::Order as HookOrder;
use madang_host::connection::Connection;
use madang_http::body::Body;
use madang_http::exchange::{Exchange, Outcome, Reply, Service};
use madang_wire::request::Method;
use tokio::sync::{mpsc, oneshot};

use crate::app_orders::AppOrder;
use crate::identity_orders::IdentityOrder;

/// The largest body of an order.
const BODY_BYTES_MAX: u64 = 16 * 1024;

/// What a command asks of the running server.
#[derive(Clone, PartialEq, Eq)]
pub enum Order {
    /// Everything about the server, as JSON.
    Status,
    /// Open connections, as JSON.
    Connections,
    /// Metrics, as Prometheus text.
    Metrics,
    /// Read the settings file and change to it.
    Reload,
    /// What a reload would change.
    Plan,
    /// Drain and end.
    Stop,
    /// Hand over to a new process.
    Upgrade,
    /// Open log files anew.
    Reopen,
    /// What the operator wants of a server; the query names pool and server.
    Pool(Wish, String),
    /// Whether the operator holds a pool; the query names it.
    Hold(bool, String),
    /// Every alert, as JSON.
    Alerts,
    /// A test message of an alert; the query names it.
    AlertTest(String),
    /// Every app, as JSON.
    Apps,
    /// What an app said and how it ended, as JSON; the query names it.
    AppWords(String),
    /// What is wanted of an app; the query names it.
    App(AppOrder, String),
    /// An app's deploys, as JSON; the query names it.
    AppHistory(String),
    /// What is wanted of users and keys; the body says more.
    Identity(IdentityOrder, Vec<u8>),
    /// The hooks of a chat, as JSON; the query names it.
    ChatHooks(String),
    /// What is wanted of a hook; the query names chat and hook.
    ChatHook(HookOrder, String),
}

/// An order's answer: status, media type, text.
pub type Answer = (u16, &'static str, String);

/// An order on its way to the main loop.
pub struct Request {
    /// What.
    pub order: Order,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// Every path of the surface: method, path, order, whether the admin address has it too, what it is.
pub const PATHS: &[(Method, &str, Order, bool, &str)] = &[
    (Method::Get, "/metrics", Order::Metrics, true, "Prometheus metrics"),
    (Method::Get, "/api/v1/status", Order::Status, false, "sites, listeners, certificates, counters"),
    (Method::Get, "/api/v1/connections", Order::Connections, false, "every open connection"),
    (Method::Get, "/api/v1/plan", Order::Plan, false, "what a reload would change"),
    (Method::Post, "/api/v1/reload", Order::Reload, false, "change to the settings file"),
    (Method::Post, "/api/v1/stop", Order::Stop, false, "drain and stop"),
    (Method::Post, "/api/v1/upgrade", Order::Upgrade, false, "hand over to a new process"),
    (Method::Post, "/api/v1/reopen", Order::Reopen, false, "open log files anew"),
    (
        Method::Post,
        "/api/v1/pool/drain",
        Order::Pool(Wish::Drained, String::new()),
        false,
        "?pool=P&server=S: nothing new",
    ),
    (
        Method::Post,
        "/api/v1/pool/disable",
        Order::Pool(Wish::Disabled, String::new()),
        false,
        "the same, without checks",
    ),
    (
        Method::Post,
        "/api/v1/pool/enable",
        Order::Pool(Wish::Enabled, String::new()),
        false,
        "back in rotation",
    ),
    (Method::Post, "/api/v1/pool/hold", Order::Hold(true, String::new()), false, "?pool=P: requests wait"),
    (Method::Post, "/api/v1/pool/release", Order::Hold(false, String::new()), false, "they go on"),
    (Method::Get, "/api/v1/alerts", Order::Alerts, false, "every alert, what is so now, how each way works"),
    (
        Method::Post,
        "/api/v1/alert/test",
        Order::AlertTest(String::new()),
        false,
        "?alert=A: a test message by every way",
    ),
    (Method::Get, "/api/v1/apps", Order::Apps, false, "every app and its instances"),
    (
        Method::Get,
        "/api/v1/app/words",
        Order::AppWords(String::new()),
        false,
        "?app=A: its crashes, its newest lines",
    ),
    (
        Method::Post,
        "/api/v1/app/start",
        Order::App(AppOrder::Start, String::new()),
        false,
        "?app=A: what is stopped or failed",
    ),
    (
        Method::Post,
        "/api/v1/app/stop",
        Order::App(AppOrder::Stop, String::new()),
        false,
        "?app=A: all instances end",
    ),
    (
        Method::Post,
        "/api/v1/app/restart",
        Order::App(AppOrder::Restart, String::new()),
        false,
        "?app=A: new instances first",
    ),
    (
        Method::Post,
        "/api/v1/app/scale",
        Order::App(AppOrder::Scale, String::new()),
        false,
        "?app=A&count=N: so many instances",
    ),
    (
        Method::Post,
        "/api/v1/app/deploy",
        Order::App(AppOrder::Deploy, String::new()),
        false,
        "?app=A[&dir=D|&image=F]: a new version",
    ),
    (
        Method::Post,
        "/api/v1/app/rollback",
        Order::App(AppOrder::Rollback, String::new()),
        false,
        "?app=A[&to=N]: the version before",
    ),
    (
        Method::Get,
        "/api/v1/app/history",
        Order::AppHistory(String::new()),
        false,
        "?app=A: the deploys there were",
    ),
    (
        Method::Post,
        "/api/v1/users",
        Order::Identity(IdentityOrder::Users, Vec::new()),
        false,
        "users; after (JSON; docs/identity.md)",
    ),
    (
        Method::Post,
        "/api/v1/user/add",
        Order::Identity(IdentityOrder::Add, Vec::new()),
        false,
        "a new user (JSON; docs/identity.md)",
    ),
    (
        Method::Post,
        "/api/v1/user/passwd",
        Order::Identity(IdentityOrder::Password, Vec::new()),
        false,
        "another password (JSON; docs/identity.md)",
    ),
    (
        Method::Post,
        "/api/v1/user/roles",
        Order::Identity(IdentityOrder::Roles, Vec::new()),
        false,
        "these roles (JSON; docs/identity.md)",
    ),
    (
        Method::Post,
        "/api/v1/user/disable",
        Order::Identity(IdentityOrder::Disable, Vec::new()),
        false,
        "no logins (JSON; docs/identity.md)",
    ),
    (
        Method::Post,
        "/api/v1/user/enable",
        Order::Identity(IdentityOrder::Enable, Vec::new()),
        false,
        "logins again (JSON; docs/identity.md)",
    ),
    (
        Method::Post,
        "/api/v1/user/logout",
        Order::Identity(IdentityOrder::Logout, Vec::new()),
        false,
        "every login ends (JSON; docs/identity.md)",
    ),
    (
        Method::Post,
        "/api/v1/user/remove",
        Order::Identity(IdentityOrder::Remove, Vec::new()),
        false,
        "for good (JSON; docs/identity.md)",
    ),
    (
        Method::Post,
        "/api/v1/keys",
        Order::Identity(IdentityOrder::Keys, Vec::new()),
        false,
        "API keys of a user (JSON; docs/identity.md)",
    ),
    (
        Method::Post,
        "/api/v1/key/new",
        Order::Identity(IdentityOrder::NewKey, Vec::new()),
        false,
        "a new API key, shown once (JSON; docs/identity.md)",
    ),
    (
        Method::Post,
        "/api/v1/key/revoke",
        Order::Identity(IdentityOrder::RevokeKey, Vec::new()),
        false,
        "an API key is taken back (JSON; docs/identity.md)",
    ),
    (
        Method::Get,
        "/api/v1/chat/hooks",
        Order::ChatHooks(String::new()),
        false,
        "?chat=C: its hooks, what waits, dead letters",
    ),
    (
        Method::Post,
        "/api/v1/chat/hooks/retry",
        Order::ChatHook(HookOrder::Retry, String::new()),
        false,
        "?chat=C&hook=H: dead letters wait again",
    ),
    (
        Method::Post,
        "/api/v1/chat/hooks/drop",
        Order::ChatHook(HookOrder::Drop, String::new()),
        false,
        "?chat=C&hook=H: dead letters are thrown away",
    ),
];

/// Answers on one of the two surfaces.
pub struct Control {
    /// To the main loop.
    pub orders: mpsc::Sender<Request>,
    /// Whether this is the control socket.
    pub trusted: bool,
    /// Whether the server is taking requests.
    pub ready: Rc<std::cell::Cell<bool>>,
}

impl Service for Control {
    fn call(&self, mut exchange: Box<Exchange>) -> Reply {
        exchange.connection.set_role("console");
        if !self.trusted && !named_by_address(exchange.head.host()) {
            exchange.response.text(403, "403 Forbidden: use the address or localhost\n");
            return Reply::Now(exchange);
        }
        let path = exchange.head.path();
        match path {
            "/healthz" => exchange.response.text(200, "ok\n"),
            "/readyz" if self.ready.get() => exchange.response.text(200, "ready\n"),
            "/readyz" => exchange.response.text(503, "draining\n"),
            _ => return self.order(exchange),
        }
        Reply::Now(exchange)
    }

    fn record(&self, _: &Exchange, _: Outcome) {}

    fn refused(&self, _: &Connection, _: u16, _: &'static str) {}
}

impl Control {
    fn order(&self, mut exchange: Box<Exchange>) -> Reply {
        let (path, method) = (exchange.head.path(), exchange.head.method());
        let found = PATHS.iter().find(|(_, have, _, open, _)| *have == path && (self.trusted || *open));
        let Some((wanted, _, order, _, _)) = found else {
            let mut text = String::from("404 Not Found. Here are:\n");
            let listed = PATHS.iter().filter(|(_, _, _, open, _)| self.trusted || *open);
            for (_, path, _, _, what) in listed {
                let _ = writeln!(text, "  {path:<22} {what}");
            }
            text.push_str(
                "  /healthz               the process runs\n  /readyz                it takes requests\n",
            );
            exchange.response.text(404, text);
            return Reply::Now(exchange);
        };
        if method != *wanted && !(method == Method::Head && *wanted == Method::Get) {
            exchange.response.text(405, "405 Method Not Allowed\n");
            exchange.response.fields.set("allow", if *wanted == Method::Get { "GET, HEAD" } else { "POST" });
            return Reply::Now(exchange);
        }
        let (orders, mut order) = (self.orders.clone(), order.clone());
        if let Order::Pool(_, query)
        | Order::Hold(_, query)
        | Order::App(_, query)
        | Order::AppHistory(query)
        | Order::ChatHooks(query)
        | Order::ChatHook(_, query)
        | Order::AppWords(query)
        | Order::AlertTest(query) = &mut order
        {
            exchange.head.query().unwrap_or_default().clone_into(query);
        }
        Reply::Later(Box::pin(async move {
            if let Order::Identity(_, text) = &mut order {
                match exchange.body.collect(BODY_BYTES_MAX).await {
                    Ok(body) => *text = body.to_vec(),
                    Err(fault) => {
                        exchange.response.text(fault.status(), format!("{fault}\n"));
                        return exchange;
                    }
                }
            }
            let (answer, wait) = oneshot::channel();
            let sent = orders.send(Request { order, answer }).await.is_ok();
            let (status, media_type, text) = match (sent, wait.await) {
                (true, Ok(answer)) => answer,
                _ => (503, "text/plain; charset=utf-8", "the server is ending\n".to_owned()),
            };
            exchange.response.status = status;
            exchange.response.fields.set("content-type", media_type);
            exchange.response.fields.set("cache-control", "no-store");
            exchange.response.body = Body::Bytes(Bytes::from(text));
            exchange
        }))
    }
}

/// A parameter of a query, decoded (WHATWG URL, application/x-www-form-urlencoded, without `+`).
pub fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let (mut out, mut bytes) = (Vec::new(), value.bytes());
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        match byte {
            b'%' => out.push(u8::try_from(digit()? * 16 + digit()?).ok()?),
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}

/// The same the other way.
pub fn encode(value: &str) -> String {
    value.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// `127.0.0.1`, `[::1]`, `localhost`: what a page of another site cannot be loaded from.
fn named_by_address(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok()
}
