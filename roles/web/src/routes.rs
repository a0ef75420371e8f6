//! The list of routes of a site: which one a request takes.
//!
//! **Job.** First match wins, top to bottom; every condition of a route must hold.
//! **Reads** the canonical request and the client's address. **Called by** `phases` (route).
//!
//! Invariants
//! 1. The order of the settings is the order of the matching; the index below never changes the outcome.
//! 2. Matching allocates nothing, but for query tests on an encoded query.
//! 3. A route costs two instructions when the path's first eight bytes already differ: hundreds of routes stay cheap.
//!
//! Not here: what a route does (`actions`), path patterns themselves (`pattern`).

use std::borrow::Cow;
use std::net::IpAddr;

use madang_wire::request::{Method, RequestHead};

use crate::config::Route;

/// How well a route fits a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Yes,
    AllButMethod,
    No,
}

fn fit(route: &Route, head: &RequestHead, client: IpAddr) -> Fit {
    let passes = route.paths.iter().any(|pattern| pattern.matches(head.path()).is_some())
        && (route.hosts.is_empty() || route.hosts.iter().any(|name| is_host(name, head.host())))
        && (route.from.is_empty() || route.from.iter().any(|net| net.contains(&client)))
        && route.headers_match.iter().all(|(name, want)| holds(want, head.get_all(name).map(Cow::Borrowed)))
        && route.query.iter().all(|(name, want)| holds(want, query_values(head.query(), name)))
        && route.cookies.iter().all(|(name, want)| holds(want, cookie_values(head, name)));
    match (passes, takes_method(route, head)) {
        (false, _) => Fit::No,
        (true, true) => Fit::Yes,
        (true, false) => Fit::AllButMethod,
    }
}

/// `GET` stands for `HEAD`, too (RFC 9110 9.3.2).
fn takes_method(route: &Route, head: &RequestHead) -> bool {
    route.methods.is_empty()
        || route
            .methods
            .iter()
            .any(|method| method == head.method_str() || (head.method() == Method::Head && method == "GET"))
}

/// Whether a host is `name`, or one label under a `*.name`.
fn is_host(name: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    match name.strip_prefix('*') {
        Some(suffix) => host.find('.').is_some_and(|at| at > 0 && host[at..] == *suffix),
        None => host == name,
    }
}

/// Whether a wanted value is among those there; `None` wants any.
fn holds<'v>(want: &Option<String>, mut values: impl Iterator<Item = Cow<'v, [u8]>>) -> bool {
    match want {
        None => values.next().is_some(),
        Some(want) => values.any(|value| *value == *want.as_bytes()),
    }
}

/// What lets most routes of a site be passed over at a glance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    first_eight: Vec<FirstEight>,
}

/// The first bytes every path of a route has, and how many of them count.
#[derive(Debug, Clone, Copy, Default)]
struct FirstEight {
    bytes: u64,
    mask: u64,
}

impl FirstEight {
    fn of(route: &Route) -> Self {
        // Several patterns: only a route of one can be judged by its first bytes.
        let [pattern] = &route.paths[..] else { return Self::default() };
        let prefix = pattern.literal_prefix();
        let counting = prefix.len().min(8);
        let mask = if counting == 8 { u64::MAX } else { (1_u64 << (8 * counting)) - 1 };
        Self { bytes: first_eight(prefix.as_bytes()), mask }
    }
}

/// The first eight bytes with zeros behind, the first one lowest.
fn first_eight(text: &[u8]) -> u64 {
    match text.first_chunk::<8>() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => text.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    }
}

impl Index {
    /// The index of these routes.
    pub(crate) fn new(routes: &[Route]) -> Self {
        Self { first_eight: routes.iter().map(FirstEight::of).collect() }
    }

    /// The first route at or after `from` that takes this request. `routes` are those of [`Index::new`].
    pub(crate) fn find(
        &self,
        routes: &[Route],
        from: usize,
        head: &RequestHead,
        client: IpAddr,
    ) -> Option<usize> {
        let start = first_eight(head.path().as_bytes());
        let rest = self.first_eight.iter().zip(routes).enumerate().skip(from);
        rest.filter(|(_, (glance, _))| start & glance.mask == glance.bytes)
            .find(|(_, (_, route))| fit(route, head, client) == Fit::Yes)
            .map(|(place, _)| place)
    }
}

/// After no route was found: the methods that would have led to one (for 405 and `allow`).
pub(crate) fn other_methods<'r>(routes: &'r [Route], head: &RequestHead, client: IpAddr) -> Vec<&'r str> {
    let mut methods = Vec::new();
    for route in routes.iter().filter(|route| fit(route, head, client) == Fit::AllButMethod) {
        for method in &route.methods {
            let also = (method == "GET").then_some("HEAD");
            for method in [Some(method.as_str()), also].into_iter().flatten() {
                if !methods.contains(&method) {
                    methods.push(method);
                }
            }
        }
    }
    methods
}

/// The values of a query parameter, decoded as forms do (`+` is a space).
fn query_values<'q>(query: Option<&'q str>, name: &'q str) -> impl Iterator<Item = Cow<'q, [u8]>> {
    query.unwrap_or("").split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (!pair.is_empty() && *form_decoded(key) == *name.as_bytes()).then(|| form_decoded(value))
    })
}

fn form_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digit = |place: usize| char::from(*after.get(place)?).to_digit(16);
        out.push(match (byte, digit(0), digit(1)) {
            (b'+', ..) => b' ',
            (b'%', Some(high), Some(low)) => {
                rest = &after[2..];
                u8::try_from(high << 4 | low).unwrap_or(b'%')
            }
            _ => byte, // not an escape: stands for itself
        });
    }
    Cow::Owned(out)
}

/// The values of a cookie (RFC 6265 5.4: pairs between semicolons).
fn cookie_values<'h>(head: &'h RequestHead, name: &'h str) -> impl Iterator<Item = Cow<'h, [u8]>> {
    head.get_all("cookie").flat_map(|field| field.split(|byte| *byte == b';')).filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(Cow::Borrowed(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::PathPattern;
    use crate::testing::{head, route, route_to};
    use proptest::prelude::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn test(name: &str, value: &str) -> Vec<(String, Option<String>)> {
        vec![(name.to_owned(), Some(value.to_owned()).filter(|value| value != "*"))]
    }

    // Goal: each kind of condition, when it holds and when it just does not.
    // Method: one route with one condition; a request; whether it is taken.
    #[test]
    fn every_condition_decides() {
        check(route(), "GET", "/", &[], true);
        check(route_to("/a/*"), "GET", "/a/b", &[], true);
        check(route_to("/a/*"), "GET", "/b", &[], false);
        let two = ["/a", "/b/{id}"].map(|text| PathPattern::parse(text).unwrap()).to_vec();
        check(Route { paths: two.clone(), ..route() }, "GET", "/b/1", &[], true);
        check(Route { paths: two, ..route() }, "GET", "/b", &[], false);
        let methods = |method: &str| Route { methods: vec![method.to_owned()], ..route() };
        check(methods("GET"), "GET", "/", &[], true);
        check(methods("GET"), "HEAD", "/", &[], true);
        check(methods("GET"), "POST", "/", &[], false);
        check(methods("PURGE"), "PURGE", "/", &[], true);
        check(methods("HEAD"), "GET", "/", &[], false);
        let beta = |value| Route { headers_match: test("x-beta", value), ..route() };
        check(beta("*"), "GET", "/", &[("X-Beta", "")], true);
        check(beta("*"), "GET", "/", &[], false);
        check(beta("1"), "GET", "/", &[("X-Beta", "2"), ("X-Beta", "1")], true);
        check(beta("1"), "GET", "/", &[("X-Beta", "11")], false);
        let query = |name, value| Route { query: test(name, value), ..route() };
        check(query("q r", "a&b"), "GET", "/?x=1&q+r=a%26b", &[], true);
        check(query("q r", "a&b"), "GET", "/?q%20r=a%26B", &[], false);
        check(query("q", "a"), "GET", "/", &[], false);
        check(query("q", "*"), "GET", "/?q", &[], true);
        check(query("q", "100%"), "GET", "/?q=100%", &[], true);
        check(query("", "*"), "GET", "/?", &[], false);
        let cookie = |value| Route { cookies: test("ab", value), ..route() };
        check(cookie("b"), "GET", "/", &[("Cookie", "x=1; ab=b; y=2")], true);
        check(cookie("b"), "GET", "/", &[("Cookie", "x=1; ab=\"b\"")], true);
        check(cookie("b"), "GET", "/", &[("Cookie", "xab=b; abc=b; ab=c")], false);
        check(cookie("*"), "GET", "/", &[("Cookie", "ab")], false);
        let from = |net: &str| Route { from: vec![net.parse().unwrap()], ..route() };
        check(from("192.0.2.0/24"), "GET", "/", &[], true);
        check(from("198.51.100.0/24"), "GET", "/", &[], false);
        let host = |name: &str| Route { hosts: vec![name.to_owned()], ..route() };
        check(host("a.example"), "GET", "/", &[], true);
        check(host("*.example"), "GET", "/", &[], true);
        check(host("b.example"), "GET", "/", &[], false);
        check(host("*.a.example"), "GET", "/", &[], false);

        #[track_caller]
        fn check(route: Route, method: &str, target: &str, fields: &[(&str, &str)], want: bool) {
            let head = head(method, "a.example", target, fields);
            let routes = [route];
            assert_eq!(Index::new(&routes).find(&routes, 0, &head, HERE), want.then_some(0));
        }
    }

    // Goal: the first route that fits wins, and a search can go on behind a route.
    #[test]
    fn the_first_fitting_route_wins() {
        let routes = ["/api/v1/users", "/api/*", "/*.php", "/*"].map(route_to);
        check(&routes, 0, "/api/v1/users", Some(0));
        check(&routes, 1, "/api/v1/users", Some(1));
        check(&routes, 2, "/api/v1/users", Some(3));
        check(&routes, 0, "/api", Some(1));
        check(&routes, 0, "/apis", Some(3));
        check(&routes, 0, "/x.php", Some(2));
        check(&routes, 4, "/", None);
        check(&routes, 9, "/", None);

        #[track_caller]
        fn check(routes: &[Route], from: usize, target: &str, want: Option<usize>) {
            let head = head("GET", "a.example", target, &[]);
            assert_eq!(Index::new(routes).find(routes, from, &head, HERE), want, "{target}");
        }
    }

    // Goal: a wrong method is told apart from a wrong path, and the right ones are named.
    #[test]
    fn methods_that_would_have_fitted_are_named() {
        let with = |pattern: &str, methods: &[&str]| Route {
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            ..route_to(pattern)
        };
        let routes = [with("/a", &["GET"]), with("/a", &["POST", "GET"]), with("/b", &["PUT"])];
        check(&routes, "/a", &["GET", "HEAD", "POST"]);
        check(&routes, "/b", &["PUT"]);
        check(&routes, "/c", &[]);

        #[track_caller]
        fn check(routes: &[Route], target: &str, want: &[&str]) {
            assert_eq!(other_methods(routes, &head("DELETE", "a.example", target, &[]), HERE), want);
        }
    }

    proptest! {
        // Goal: the index of first bytes never changes which route is found.
        // Method: compare with walking the list.
        #[test]
        fn the_index_changes_nothing(
            patterns in prop::collection::vec("/[ab]{0,9}(/\\{x\\})?(/[ab]{1,3}){0,2}(/\\*)?", 1..20),
            target in "/[ab]{0,9}(/[ab]{0,4}){0,3}",
        ) {
            let routes: Vec<_> =
                patterns.iter().filter(|text| PathPattern::parse(text).is_ok()).map(|text| route_to(text)).collect();
            let head = head("GET", "a.example", &target, &[]);
            let walked = routes.iter().position(|route| fit(route, &head, HERE) == Fit::Yes);
            prop_assert_eq!(Index::new(&routes).find(&routes, 0, &head, HERE), walked);
        }
    }
}
