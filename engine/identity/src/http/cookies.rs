//! The two cookies of a browser's session.
//!
//! **Job.** Set them, read the one for refreshing, take both back. **Called by** `http`.
//!
//! Under https both have `Secure` and a name that browsers take from nobody else: `__Host-` (no other host, no other path), `__Secure-`.
//! Without TLS (this machine while developing) there are no such names, and the plain ones are never read under https.
//!
//! Invariants
//! 1. `HttpOnly`, `SameSite`: no script reads them, no other site's page sends them along.
//! 2. The refresh token goes to the login's folder only.
//!
//! Not here: whether a cookie may be believed (`http::credential`).

use madang_http::credential;
use madang_http::exchange::Exchange;
use madang_wire::request::{RequestHead, Scheme};

use crate::session::Session;

/// The name of the cookie with the access token.
pub const fn access_cookie(secure: bool) -> &'static str {
    if secure { "__Host-madang" } else { "madang" }
}

const fn refresh_cookie(secure: bool) -> &'static str {
    if secure { "__Secure-madang-refresh" } else { "madang-refresh" }
}

/// The refresh token of a site's own request.
pub(super) fn refresh(head: &RequestHead) -> Option<String> {
    let found = credential::cookie(head, refresh_cookie(head.scheme() == Scheme::Https))?;
    (!found.is_empty() && credential::is_own(head)).then(|| found.to_owned())
}

/// Sets them.
pub(super) fn give(exchange: &mut Exchange, folder: &str, session: &Session, now: u64) {
    let secure = exchange.head.scheme() == Scheme::Https;
    let lasts = session.who.until.saturating_sub(now);
    set(exchange, access_cookie(secure), &session.access, "/", "Lax", lasts);
    if let Some(refresh) = &session.refresh {
        let lasts = session.refresh_until.saturating_sub(now);
        set(exchange, refresh_cookie(secure), refresh, folder, "Strict", lasts);
    }
}

/// Ends them, where the request is one that may.
pub(super) fn take_back(exchange: &mut Exchange, folder: &str) {
    let secure = exchange.head.scheme() == Scheme::Https;
    for (name, path, same_site) in
        [(access_cookie(secure), "/", "Lax"), (refresh_cookie(secure), folder, "Strict")]
    {
        if credential::cookie(&exchange.head, name).is_some() {
            set(exchange, name, "", path, same_site, 0);
        }
    }
}

fn set(exchange: &mut Exchange, name: &'static str, value: &str, path: &str, same_site: &str, lasts: u64) {
    let secure = if exchange.head.scheme() == Scheme::Https { "; Secure" } else { "" };
    let text =
        format!("{name}={value}; Path={path}; HttpOnly; SameSite={same_site}; Max-Age={lasts}{secure}");
    exchange.response.fields.add("set-cookie", text);
}
