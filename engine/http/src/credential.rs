//! What a request shows of who sends it, and whether a cookie among it may be believed.
//!
//! **Job.** Find a bearer token or a cookie; tell a site's own requests from those that another site's page made a browser send.
//! **Called by** `identity`, roles with logins. Pure.
//!
//! Invariants
//! 1. A cookie alone never makes a request of another site's page do something: browsers say where a request comes from
//!    (`Sec-Fetch-Site`, `Origin`), and where nothing is said only reading is believed.
//! 2. A token in `Authorization` counts before a cookie: no page of another site can set it.
//!
//! Not here: whether the token is good (`identity`), which other origins may read answers (CORS, `roles/web`).

use madang_wire::request::{Method, RequestHead, Scheme};

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'h> {
    /// Nothing.
    Nothing,
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer(&'h str),
    /// A cookie, on a request of the site's own.
    Cookie(&'h str),
}

/// What a request shows: a bearer token, or else a cookie of this name that may be believed.
pub fn shown<'h>(head: &'h RequestHead, cookie_name: &str) -> Shown<'h> {
    if let Some(token) = bearer(head) {
        return Shown::Bearer(token);
    }
    match cookie(head, cookie_name) {
        Some(value) if !value.is_empty() && is_own(head) => Shown::Cookie(value),
        _ => Shown::Nothing,
    }
}

/// A bearer token.
pub fn bearer(head: &RequestHead) -> Option<&str> {
    let (scheme, token) = head.get_str("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// The value of the first cookie of this name (RFC 6265 5.4).
pub fn cookie<'h>(head: &'h RequestHead, name: &str) -> Option<&'h str> {
    head.get_str("cookie")?.split(';').find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whether a cookie on this request may be believed: the request only reads, or the browser says that a page of the site itself
/// sent it.
pub fn is_own(head: &RequestHead) -> bool {
    let upgrades = head.upgrade().is_some() || head.protocol().is_some();
    let reads = matches!(head.method(), Method::Get | Method::Head) && !upgrades;
    match (head.get_str("sec-fetch-site"), head.get_str("origin")) {
        _ if reads => true,
        (Some("same-origin" | "none"), _) => true,
        (Some(_), _) => false,
        (None, Some(origin)) => is_same_origin(head, origin),
        // Every browser says one of the two with whatever changes something. Programs show a bearer token.
        (None, None) => false,
    }
}

fn is_same_origin(head: &RequestHead, origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let fits = match head.scheme() {
        // In front of us TLS may have ended: a page that came by https is no worse for it.
        Scheme::Http => matches!(scheme, "http" | "https"),
        Scheme::Https => scheme == "https",
    };
    fits && !authority.is_empty() && authority.eq_ignore_ascii_case(head.authority())
}

#[cfg(test)]
mod tests {
    use super::*;
    use madang_wire::http1::head::HeadParser;
    use madang_wire::request::HeadLimits;

    fn head(method: &str, fields: &str) -> RequestHead {
        let text = format!("{method} / HTTP/1.1\r\nHost: town.example:8080\r\n{fields}\r\n");
        let limits = HeadLimits { head_bytes_max: 4096, fields_max: 20, target_bytes_max: 100 };
        let mut head = RequestHead::default();
        HeadParser::default().parse(text.as_bytes(), false, &limits, &mut head).unwrap();
        head
    }

    // Goal: a token and a cookie are found where they stand, and nothing that only looks like one.
    #[test]
    fn what_is_shown_is_found() {
        check("", Shown::Nothing);
        check("Authorization: Bearer abc\r\n", Shown::Bearer("abc"));
        check("Authorization: bearer  abc \r\n", Shown::Bearer("abc"));
        check("Authorization: Basic abc\r\n", Shown::Nothing);
        check("Authorization: Bearer\r\n", Shown::Nothing);
        check("Cookie: login=abc\r\n", Shown::Cookie("abc"));
        check("Cookie: a=b;login=abc; c=d\r\n", Shown::Cookie("abc"));
        check("Cookie: xlogin=abc; logins=x; login\r\n", Shown::Nothing);
        check("Cookie: login=\r\n", Shown::Nothing);
        check("Cookie: login=abc\r\nAuthorization: Bearer xyz\r\n", Shown::Bearer("xyz"));

        #[track_caller]
        fn check(fields: &str, want: Shown<'_>) {
            assert_eq!(shown(&head("GET", fields), "login"), want, "{fields}");
        }
    }

    // Goal: what another site's page makes a browser send finds no login; what the site's own page sends does.
    #[test]
    fn cookies_count_on_the_sites_own_requests() {
        let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
        check("GET", "", true);
        check("GET", "Sec-Fetch-Site: cross-site\r\n", true);
        check("POST", "", false);
        check("DELETE", "", false);
        check("POST", "Sec-Fetch-Site: same-origin\r\n", true);
        check("POST", "Sec-Fetch-Site: none\r\n", true);
        check("POST", "Sec-Fetch-Site: same-site\r\n", false);
        check("POST", "Sec-Fetch-Site: cross-site\r\nOrigin: http://town.example:8080\r\n", false);
        check("POST", "Origin: http://town.example:8080\r\n", true);
        check("POST", "Origin: https://Town.example:8080\r\n", true);
        check("POST", "Origin: http://town.example\r\n", false);
        check("POST", "Origin: http://evil.example:8080\r\n", false);
        check("POST", "Origin: null\r\n", false);
        check("POST", "Origin: ftp://town.example:8080\r\n", false);
        check("GET", upgrade, false);
        check("GET", &format!("{upgrade}Origin: http://evil.example\r\n"), false);
        check("GET", &format!("{upgrade}Origin: http://town.example:8080\r\n"), true);

        #[track_caller]
        fn check(method: &str, fields: &str, want: bool) {
            assert_eq!(is_own(&head(method, fields)), want, "{method} {fields}");
        }
    }
}
