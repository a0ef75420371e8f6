//! What a route changes on the way to a pool and back: paths, redirects, fields.

use std::io::Write as _;

use crate::support::house::House;
use crate::support::proxied::{ask, get, over_h2, pool, settings, site};
use crate::support::upstream::{Then, Upstream};

/// Redirects to whatever the query says.
fn redirecting() -> Upstream {
    Upstream::start(|seen, stream| {
        let to = seen.line().split(['?', ' ']).nth(2).unwrap_or("").to_owned();
        write!(stream, "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").unwrap();
        Then::Keep
    })
}

// Goal: a redirect that only makes sense to the servers becomes one the client can follow; others stay as they are.
#[test]
fn redirects_lead_where_the_client_can_go() {
    let server = redirecting();
    let routes = "{ path = \"/app/*\", proxy = \"api\", strip = \"/app\", upstream_host = \"inner.test\" }, \
                  { path = \"/raw/*\", proxy = \"api\", strip = \"/raw\", rewrite_location = false }, \
                  { path = \"/*\", proxy = \"api\" }";
    let house = House::start(&site(routes, &pool("api", &[&server], "")), &[]);
    let own = server.address.to_string();
    check(&house, "/app/x", "/login", "/app/login");
    check(&house, "/app/x", "/app/login", "/app/login");
    check(&house, "/app/x", "http://inner.test/a", "/app/a");
    check(&house, "/app/x", &format!("http://{own}/a"), "/app/a");
    check(&house, "/app/x", "http://localhost/a", "http://localhost/app/a");
    check(&house, "/app/x", "https://elsewhere.test/a", "https://elsewhere.test/a");
    check(&house, "/app/x", "//elsewhere.test/a", "//elsewhere.test/a");
    check(&house, "/raw/x", "/login", "/login");
    check(&house, "/x", "/login", "/login");
    check(&house, "/x", &format!("http://{own}/a"), "/a");

    #[track_caller]
    fn check(house: &House, path: &str, told: &str, want: &str) {
        let answer = house.client().get(&format!("{path}?{told}"));
        assert_eq!((answer.status, answer.field("location").as_deref()), (302, Some(want)), "{path} {told}");
        over_h2(house.address(0), async |client| {
            let answer = ask(&client, get(&format!("{path}?{told}")), &[]).await;
            assert_eq!(answer.fields["location"], want, "{path} {told}");
        });
    }
}

// Goal: servers learn which prefix was taken off, from us and not from the client.
#[test]
fn servers_are_told_the_prefix_that_was_taken_off() {
    let server = Upstream::named("a");
    let routes =
        "{ path = \"/my app/*\", proxy = \"api\", strip = \"/my app\" }, { path = \"/*\", proxy = \"api\" }";
    let house = House::start(&site(routes, &pool("api", &[&server], "")), &[]);
    let mut client = house.client();
    for (path, want) in [("/my%20app/x", Some("/my%20app")), ("/x", None)] {
        client.ask("GET", path, "X-Forwarded-Prefix: /evil\r\nX-Madang-Mirror: 1\r\n");
        let seen = server.seen().pop().unwrap();
        assert_eq!((seen.line(), seen.field("x-forwarded-prefix")), ("GET /x HTTP/1.1", want));
        assert_eq!(seen.field("x-madang-mirror"), None, "nobody else may say so");
    }
}

// Goal: with `rewrite` the servers see the path that the captures make, encoded once.
#[test]
fn a_route_says_which_path_the_servers_see() {
    let server = Upstream::named("a");
    let routes = "{ path = \"/users/{id}/edit\", proxy = \"api\", rewrite = \"/v2/u/{id}\" }, \
                  { path = \"/q/*\", proxy = \"api\", rewrite = \"/search/{rest}?site=1\" }, \
                  { path = \"/n/*\", proxy = \"api\", rewrite = \"/n2/{rest}\", keep_query = false }";
    let house = House::start(&site(routes, &pool("api", &[&server], "")), &[]);
    let check = |path: &str, want: &str| {
        assert_eq!(house.client().get(path).status, 200, "{path}");
        check_seen(&server, path, want);
        over_h2(house.address(0), async |client| {
            assert_eq!(ask(&client, get(path), &[]).await.status, 200, "{path}");
        });
        check_seen(&server, path, want);
    };
    check("/users/ana/edit?x=%2F", "/v2/u/ana?x=%2F");
    check("/users/a%20%3f%25b/edit", "/v2/u/a%20%3F%25b");
    check("/users/x/../%79/edit", "/v2/u/y");
    check("/q/a/b?c=d", "/search/a/b?site=1&c=d");
    check("/n/a?c=d", "/n2/a");

    #[track_caller]
    fn check_seen(server: &Upstream, path: &str, want: &str) {
        let seen = server.seen().pop().unwrap();
        assert_eq!(seen.line(), format!("GET {want} HTTP/1.1"), "{path}");
    }
}

// Goal: a proxied answer is dressed like any other; orders to a front end and fields of the connection stay inside.
#[test]
fn answers_are_dressed_and_undressed() {
    let server = Upstream::start(|_, stream| {
        let fields = "server: app/1\r\nx-powered-by: x\r\nx-accel-redirect: /inside\r\nx-accel-buffering: no\r\n\
                      x-sendfile: /srv/secret\r\nx-own: kept\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\n\
                      date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
        write!(stream, "HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n").unwrap();
        Then::Keep
    });
    let route = "proxy = \"api\", headers = { x-powered-by = \"\", x-new = \"1\" }";
    let house = House::start(&settings(route, &pool("api", &[&server], "")), &[]);
    let answer = house.client().get("/");
    let field = |name: &str| answer.field(name);
    assert_eq!(field("server").as_deref(), Some("app/1"), "the server's own word");
    assert_eq!((field("x-own").as_deref(), field("x-new").as_deref()), (Some("kept"), Some("1")));
    for gone in ["x-powered-by", "x-accel-redirect", "x-accel-buffering", "x-sendfile", "x-hop", "keep-alive"]
    {
        assert_eq!(field(gone), None, "{gone}");
    }
    assert!(!field("date").unwrap().contains("1970"));
    over_h2(house.address(0), async |client| {
        let fields = ask(&client, get("/"), &[]).await.fields;
        assert!(fields.contains_key("x-own") && !fields.contains_key("x-accel-redirect"), "{fields:?}");
    });
}

// Goal: what a server says of its own errors passes; only its absence is ours to explain.
#[test]
fn a_servers_own_error_page_passes() {
    let server = Upstream::start(|seen, stream| {
        let status = if seen.line().contains("/500") { "500 Own" } else { "404 Own" };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\nown").unwrap();
        Then::Keep
    });
    let house = House::start(&settings("proxy = \"api\"", &pool("api", &[&server], "")), &[]);
    let mut client = house.client();
    for (path, status) in [("/500", 500), ("/404", 404)] {
        let answer = client.get(path);
        assert_eq!((answer.status, answer.text()), (status, "own".to_owned()));
    }
}

// Goal: a client that names no host (HTTP/1.0 may) does not make us send an empty one, which servers refuse.
#[test]
fn a_request_without_a_host_is_for_the_servers_own() {
    let server = Upstream::named("a");
    let house = House::start(&settings("proxy = \"api\"", &pool("api", &[&server], "")), &[]);
    let mut client = house.client();
    client.send("GET /x HTTP/1.0\r\n\r\n");
    let answer = String::from_utf8(client.rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(server.seen().pop().unwrap().field("host"), Some(server.address.to_string().as_str()));
}
