//! What this role's tests share: requests made the way the engine makes them.
//!
//! **Job.** Parse a request text with the real parser, so that tests see canonical heads only.
//! **Called by** tests. Not here: anything that ships.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use madang_host::clock;
use madang_host::config::Listen;
use madang_host::connection::{Connection, Connections, Ends, PhaseLimits};
use madang_host::gate::{Gate, GateLimits, ListenerGate};
use madang_host::net::listen::Address;
use madang_http::exchange::Exchange;
use madang_wire::http1::head::HeadParser;
use madang_wire::request::{HeadLimits, RequestHead};

use crate::config::{Action, Route, Site};
use crate::pattern::PathPattern;

/// The head of a request, parsed.
pub(crate) fn head(method: &str, host: &str, target: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let limits = HeadLimits { head_bytes_max: 64 * 1024, fields_max: 100, target_bytes_max: 8 * 1024 };
    let mut head = RequestHead::default();
    HeadParser::default().parse(text.as_bytes(), false, &limits, &mut head).unwrap();
    head
}

/// A connection from `peer` on `listener`.
pub(crate) fn connection(peer: &str, listener: &str) -> Rc<Connection> {
    let peer: SocketAddr = peer.parse().unwrap();
    let local = SocketAddr::from(([127, 0, 0, 1], 80));
    let secure = listener.starts_with("https");
    let gate = Gate::new(GateLimits { connections_max: 10, per_address_max: 0 });
    let permit = gate.admit(&Arc::new(ListenerGate::default()), None).unwrap();
    Connections::new(PhaseLimits::default()).open(listener.into(), secure, Ends { peer, local }, permit)
}

/// An exchange that asks for `target` from 192.0.2.1 on `http://test`.
pub(crate) fn exchange(method: &str, target: &str, fields: &[(&str, &str)]) -> Box<Exchange> {
    exchange_on(&connection("192.0.2.1:5000", "http://test"), head(method, "a.example", target, fields))
}

/// An exchange on this connection.
pub(crate) fn exchange_on(connection: &Rc<Connection>, head: RequestHead) -> Box<Exchange> {
    let mut exchange = Box::new(Exchange::new(Rc::clone(connection), clock::now()));
    exchange.head = head;
    exchange
}

/// A route for every path that answers 200.
pub(crate) fn route() -> Route {
    Route {
        paths: vec![PathPattern::parse("/*").unwrap()],
        hosts: Vec::new(),
        methods: Vec::new(),
        headers_match: Vec::new(),
        query: Vec::new(),
        cookies: Vec::new(),
        from: Vec::new(),
        action: Action::Respond { status: 200, body: "fine".to_owned(), media_type: "text/plain".to_owned() },
        limits: Vec::new(),
        auth: None,
        cors: None,
        allow: Vec::new(),
        deny: Vec::new(),
        headers: Vec::new(),
        cache_control: None,
        body_max: None,
    }
}

/// A route for one pattern that answers 200.
pub(crate) fn route_to(pattern: &str) -> Route {
    Route { paths: vec![PathPattern::parse(pattern).unwrap()], ..route() }
}

/// A site of these routes for any host on `http://test` and `https://test`.
pub(crate) fn site(routes: Vec<Route>) -> Site {
    Site {
        name: "test".into(),
        listen: Vec::new(),
        hosts: Vec::new(),
        tls: None,
        https_redirect: false,
        hsts: None,
        request_id: false,
        security_headers: false,
        compress: true,
        headers: Vec::new(),
        errors: Vec::new(),
        routes,
    }
}

/// A listener on this address, everything else at its default.
pub(crate) fn listen(name: &str) -> Listen {
    let (scheme, address) = name.split_once("://").unwrap();
    let address = Address::Tcp(address.parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 80))));
    Listen {
        name: name.to_owned(),
        secure: scheme == "https",
        address,
        allow: Vec::new(),
        deny: Vec::new(),
        connections_max: 0,
        proxy_protocol: Vec::new(),
        h2c: false,
    }
}
