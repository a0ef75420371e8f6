//! Tests of the whole way of a request: sites in, answers out.
//!
//! **Job.** Drive the real service with real heads; nothing is mocked but the recorder.
//! Not here: tests of the parts, which stand beside them.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use madang_host::connection::Connection;
use madang_http::body::Body;
use madang_http::exchange::{Exchange, Outcome, Reply, Service};

use crate::config::{Action, Auth, Basic, Cors, FilesSettings, Route, Site, Symlinks};
use crate::files::CacheLimits;
use crate::testing::{connection, exchange_on, head, listen, route, route_to, site};
use crate::verdict::Failure;
use crate::{Recorder, WebShared, WebWorker};

/// Remembers what it is told.
#[derive(Default)]
pub(crate) struct Told {
    failures: RefCell<Vec<String>>,
    troubles: RefCell<Vec<String>>,
    records: Cell<usize>,
}

impl Recorder for Told {
    fn record(&self, _: &Exchange, _: Outcome) {
        self.records.set(self.records.get() + 1);
    }
    fn refused(&self, _: &Connection, _: u16, _: &'static str) {}
    fn failed(&self, _: &Exchange, failure: &Failure) {
        self.failures.borrow_mut().push(failure.to_string());
    }
    fn trouble(&self, what: &'static str, detail: &str) {
        self.troubles.borrow_mut().push(format!("{what}: {detail}"));
    }
}

/// A house with one listener.
pub(crate) struct House {
    service: Rc<dyn Service>,
    listener: &'static str,
    pub(crate) told: Rc<Told>,
}

impl House {
    pub(crate) fn of(listener: &'static str, sites: Vec<Site>) -> Self {
        let told = Rc::new(Told::default());
        let worker = WebWorker::with_clock(
            Rc::new(|| 0),
            CacheLimits::default(),
            vec!["10.0.0.0/8".parse().unwrap()],
            WebShared::new(),
            Rc::clone(&told) as Rc<dyn Recorder>,
        );
        worker.set_roles(Box::new(|site, place| {
            (site == "roles").then(|| Rc::new(Echo { later: place == 1 }) as Rc<dyn Service>)
        }));
        let sites: Vec<_> = sites.into_iter().map(Arc::new).collect();
        Self { service: worker.serve(&listen(listener), &sites), listener, told }
    }

    /// Sends a request from this peer to this host.
    pub(crate) fn send(
        &self,
        peer: &str,
        host: &str,
        (method, target): (&str, &str),
        fields: &[(&str, &str)],
    ) -> Box<Exchange> {
        let exchange = exchange_on(&connection(peer, self.listener), head(method, host, target, fields));
        let exchange = match self.service.call(exchange) {
            Reply::Now(exchange) => exchange,
            Reply::Later(answer) => {
                tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answer)
            }
        };
        self.service.record(&exchange, Outcome { bytes_out: 0, bytes_in: 0, complete: true });
        exchange
    }

    pub(crate) fn get(&self, target: &str) -> Box<Exchange> {
        self.send("192.0.2.1:5000", "a.example", ("GET", target), &[])
    }
}

/// Another role: answers with the path it was given, at once or later.
struct Echo {
    later: bool,
}

impl Service for Echo {
    fn call(&self, mut exchange: Box<Exchange>) -> Reply {
        if exchange.head.path().ends_with("/fail") {
            exchange.response.status = 502;
            exchange.notes.error = Some("upstream-gone");
        } else {
            let path = exchange.head.path().to_owned();
            exchange.response.text(200, path);
        }
        if self.later { Reply::Later(Box::pin(async move { exchange })) } else { Reply::Now(exchange) }
    }
    fn record(&self, _: &Exchange, _: Outcome) {}
    fn refused(&self, _: &Connection, _: u16, _: &'static str) {}
}

pub(crate) fn field(exchange: &Exchange, name: &str) -> String {
    String::from_utf8_lossy(exchange.response.fields.get(name).unwrap_or_default()).into_owned()
}

pub(crate) fn body(exchange: &Exchange) -> String {
    match &exchange.response.body {
        Body::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

fn respond(status: u16, body: &str) -> Action {
    Action::Respond { status, body: body.to_owned(), media_type: "text/plain".to_owned() }
}

fn redirect(to: &str, status: u16) -> Action {
    Action::Redirect { to: to.to_owned(), status, keep_query: true }
}

fn rewrite(to: &str) -> Action {
    Action::Rewrite { to: to.to_owned(), keep_query: true }
}

pub(crate) fn files(root: &std::path::Path) -> Action {
    Action::Files(FilesSettings {
        root: root.to_owned(),
        index: vec!["index.html".to_owned()],
        fallback: None,
        tries: Vec::new(),
        listing: false,
        upload: false,
        dotfiles: false,
        symlinks: Symlinks::Inside,
        cache_valid: std::time::Duration::from_secs(1),
        strip: None,
        compress: false,
    })
}

// Goal: each kind of route answers as it says.
#[test]
fn routes_answer_as_their_settings_say() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page.txt"), "a page").unwrap();
    let mut stripped = files(folder.path());
    if let Action::Files(settings) = &mut stripped {
        settings.strip = Some("/static/".to_owned());
    }
    let house = House::of(
        "http://test",
        vec![site(vec![
            Route { action: redirect("/new/{rest}", 308), ..route_to("/old/*") },
            Route { action: rewrite("/fixed/{id}"), ..route_to("/users/{id}") },
            Route { action: respond(200, "fixed"), ..route_to("/fixed/*") },
            Route { action: respond(410, ""), ..route_to("/gone") },
            Route { action: respond(204, ""), ..route_to("/empty") },
            Route { methods: vec!["POST".to_owned()], ..route_to("/post") },
            Route { action: stripped, ..route_to("/static/*") },
            Route { action: files(folder.path()), ..route_to("/page.txt") },
            Route { action: files(std::path::Path::new("/nowhere")), ..route_to("/nowhere") },
        ])],
    );
    check(&house, "GET", "/old/a?b=1", 308, "/new/a?b=1", "");
    check(&house, "GET", "/users/7", 200, "", "fixed");
    check(&house, "GET", "/gone", 410, "", "410 Gone: What was here is gone for good.\n");
    check(&house, "GET", "/empty", 204, "", "");
    check(&house, "POST", "/post", 200, "", "fine");
    check(
        &house,
        "GET",
        "/post",
        405,
        "",
        "405 Method Not Allowed: This address does not take this kind of request.\n",
    );
    check(&house, "GET", "/page.txt", 200, "", "a page");
    check(&house, "GET", "/static/page.txt", 200, "", "a page");
    check(&house, "GET", "/static/none", 404, "", "404 Not Found: There is nothing at this address.\n");
    check(
        &house,
        "GET",
        "/nowhere",
        500,
        "",
        "500 Internal Server Error: Something went wrong on the server.\n",
    );
    check(&house, "GET", "/none", 404, "", "404 Not Found: There is nothing at this address.\n");
    check(&house, "OPTIONS", "*", 204, "", "");
    assert_eq!(house.told.records.get(), 12);
    assert!(house.told.troubles.borrow()[0].starts_with("folder-unavailable: site test, route 8: "));
    assert_eq!(field(&house.send("192.0.2.1:1", "a.example", ("GET", "/post"), &[]), "allow"), "POST");

    #[track_caller]
    fn check(house: &House, method: &str, target: &str, status: u16, location: &str, text: &str) {
        let exchange = house.send("192.0.2.1:5000", "a.example", (method, target), &[]);
        let told = body(&exchange);
        let told = told.split("request id").next().unwrap();
        assert_eq!(
            (exchange.response.status, field(&exchange, "location").as_str(), told),
            (status, location, text)
        );
    }
}

// Goal: the host picks the site; a host nobody has is told so, in the way of the listener.
#[test]
fn the_host_picks_the_site() {
    let named = |name: &str, hosts: &[&str]| Site {
        name: name.into(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ..site(vec![Route { action: respond(200, name), ..route() }])
    };
    let sites = || vec![named("one", &["a.example"]), named("two", &["*.example", "b.test"])];
    check("http://test", sites(), "a.example", 200, "one");
    check("http://test", sites(), "a.example.:8080", 200, "one");
    check("http://test", sites(), "c.example", 200, "two");
    check("http://test", sites(), "B.TEST", 200, "two");
    check("http://test", sites(), "other.test", 404, "unknown-host");
    check("https://test", sites(), "other.test", 421, "unknown-host");
    let mut with_any = sites();
    with_any.push(named("any", &[]));
    check("http://test", with_any, "other.test", 200, "any");

    #[track_caller]
    fn check(listener: &'static str, sites: Vec<Site>, host: &str, status: u16, want: &str) {
        let exchange = House::of(listener, sites).send("192.0.2.1:1", host, ("GET", "/"), &[]);
        let told = exchange.notes.error.map_or_else(|| body(&exchange), str::to_owned);
        assert_eq!((exchange.response.status, told.as_str()), (status, want), "{host}");
    }
}

// Goal: rewrites go down the list only, keep their own rules, and cannot go on for ever.
#[test]
fn rewrites_go_down_and_keep_their_rules() {
    let denied: Vec<_> = vec!["192.0.2.0/24".parse().unwrap()];
    let house = House::of(
        "http://test",
        vec![site(vec![
            Route { action: respond(200, "above"), ..route_to("/above") },
            Route { action: rewrite("/above"), ..route_to("/up") },
            Route { action: rewrite("/b?own=1"), ..route_to("/a") },
            Route { deny: denied, action: rewrite("/b"), ..route_to("/guarded") },
            Route { action: respond(200, "b"), ..route_to("/b") },
        ])],
    );
    assert_eq!(house.get("/up").notes.error, Some("no-route"));
    let exchange = house.get("/a?sent=2");
    assert_eq!((body(&exchange).as_str(), exchange.head.query()), ("b", Some("own=1&sent=2")));
    assert_eq!(house.get("/guarded").notes.error, Some("address-denied"));

    let chain =
        (0..20).map(|n| Route { action: rewrite(&format!("/{}", n + 1)), ..route_to(&format!("/{n}")) });
    let house = House::of("http://test", vec![site(chain.collect())]);
    assert_eq!(house.get("/0").notes.error, Some("too-many-rewrites"));
}

// Goal: plain requests of a site that wants https are sent there, with everything they asked for.
#[test]
fn plain_requests_are_sent_to_https() {
    check("http://test", "a.example", "/a?b", &[], Some("https://a.example:8443/a?b"));
    check("http://test", "a.example:8080", "/a%20b", &[], Some("https://a.example:8443/a%20b"));
    check("http://test", "a.example", "//evil", &[], Some("https://a.example:8443//evil"));
    check("http://test", "a.example", "/.well-known/acme-challenge/x", &[], None);
    check(
        "http://test",
        "a.example",
        "/",
        &[("X-Forwarded-Proto", "https")],
        Some("https://a.example:8443/"),
    );
    check("https://test", "a.example", "/", &[], None);

    #[track_caller]
    fn check(listener: &'static str, host: &str, target: &str, fields: &[(&str, &str)], want: Option<&str>) {
        let mut site = site(vec![route()]);
        site.https_redirect = true;
        site.listen = vec![listen("http://127.0.0.1:80"), listen("https://127.0.0.1:8443")];
        let exchange = House::of(listener, vec![site]).send("192.0.2.1:1", host, ("GET", target), fields);
        let location = (exchange.response.status == 308).then(|| field(&exchange, "location"));
        assert_eq!(location.as_deref(), want);
    }
}

// Goal: a rate refuses what is over it, tells when to come again, and counts by what it says it counts by.
#[test]
fn rates_refuse_and_tell_when_to_come_again() {
    check("2/h per ip", &["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"], &[], &[200, 200, 429, 200]);
    check("1/h per ip", &["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"], &[], &[200, 429, 200]);
    check("1/h per all", &["192.0.2.1", "192.0.2.2"], &[], &[200, 429]);
    check("1/h per header:x-key", &["192.0.2.1", "192.0.2.2"], &[("X-Key", "k")], &[200, 429]);
    check("1/h per user", &["192.0.2.1", "192.0.2.1", "192.0.2.2"], &[], &[200, 429, 200]);

    #[track_caller]
    fn check(rate: &str, peers: &[&str], fields: &[(&str, &str)], want: &[u16]) {
        let rate = madang_settings::unit::rate(rate).unwrap();
        let house = House::of("http://test", vec![site(vec![Route { limits: vec![rate], ..route() }])]);
        let send = |peer: &&str| {
            let peer = std::net::SocketAddr::new(peer.parse::<IpAddr>().unwrap(), 1).to_string();
            let exchange = house.send(&peer, "a.example", ("GET", "/"), fields);
            assert_eq!(field(&exchange, "retry-after").is_empty(), exchange.response.status == 200);
            assert!(
                field(&exchange, "ratelimit").contains(";r=")
                    && !field(&exchange, "ratelimit-policy").is_empty()
            );
            exchange.response.status
        };
        assert_eq!(peers.iter().map(send).collect::<Vec<_>>(), want);
    }
}

// Goal: other roles answer in a route's place, at once or later; what they only name gets its page here.
#[test]
fn other_roles_answer_for_routes() {
    let settings = Site { name: "roles".into(), ..site(vec![route_to("/now/*"), route_to("/later/*")]) };
    let house = House::of("http://test", vec![settings]);
    check(&house, "/now/x", 200, "/now/x");
    check(&house, "/later/x", 200, "/later/x");
    let page = "502 Bad Gateway: The program behind this page gave no usable answer.\n";
    check(&house, "/now/fail", 502, page);
    check(&house, "/later/fail", 502, page);

    #[track_caller]
    fn check(house: &House, target: &str, status: u16, want: &str) {
        let exchange = house.get(target);
        assert_eq!(exchange.response.status, status);
        assert!(body(&exchange).starts_with(want), "{}", body(&exchange));
        // Whoever sees an error can be helped by its id.
        assert_eq!(exchange.notes.request_id.is_some(), status >= 400);
    }
}

// Goal: a route's policy for its own pages does not blind the page that says what went wrong.
#[test]
fn an_error_page_keeps_its_own_policy() {
    let headers = vec![("content-security-policy".to_owned(), "default-src 'self'".to_owned())];
    let routes = vec![Route { headers, ..route_to("/now/*") }];
    let house = House::of("http://test", vec![Site { name: "roles".into(), ..site(routes) }]);
    let of = |target: &str| {
        let exchange = house.send("192.0.2.1:1", "a.example", ("GET", target), &[("Accept", "text/html")]);
        field(&exchange, "content-security-policy").to_owned()
    };
    assert_eq!(of("/now/x"), "default-src 'self'");
    assert!(of("/now/fail").contains("style-src 'sha256-"), "{}", of("/now/fail"));
}

// Goal: ids are made where the site wants them, kept from trusted proxies only, and are in answer, notes and request.
#[test]
fn requests_have_ids() {
    let settings = || vec![Site { request_id: true, ..site(vec![route()]) }];
    check(settings(), "192.0.2.1:1", "given", false);
    check(settings(), "10.0.0.1:1", "given", true);
    check(settings(), "10.0.0.1:1", "bad id!", false);

    #[track_caller]
    fn check(sites: Vec<Site>, peer: &str, sent: &str, kept: bool) {
        let exchange =
            House::of("http://test", sites).send(peer, "a.example", ("GET", "/"), &[("X-Request-Id", sent)]);
        let id = field(&exchange, "x-request-id");
        assert_eq!(id == sent, kept);
        assert!(kept || id.len() == 32, "{id}");
        assert_eq!(
            (exchange.notes.request_id.as_deref(), exchange.head.get_str("x-request-id")),
            (Some(id.as_bytes()), Some(&*id))
        );
        assert_eq!(exchange.head.get_all("x-request-id").count(), 1);
    }
}

// Goal: a body that announces too much is refused before it is read.
#[test]
fn bodies_are_bounded_by_the_route() {
    let house = House::of("http://test", vec![site(vec![Route { body_max: Some(10), ..route() }])]);
    let send =
        |length: &str| house.send("192.0.2.1:1", "a.example", ("POST", "/"), &[("Content-Length", length)]);
    assert_eq!(send("10").response.status, 200);
    let refused = send("11");
    assert_eq!((refused.response.status, refused.notes.limit), (413, Some("body_max")));
}

// Goal: a login is asked for, checked, noted, and not passed on; wrong ones are told no more than that.
#[test]
fn routes_with_users_ask_for_a_login() {
    let hash = crate::auth::cheap_hash("secret");
    let auth = Auth::Basic(Basic { realm: "court".to_owned(), users: vec![("ana".to_owned(), hash)] });
    let cors = Cors {
        origins: vec!["https://b.example".to_owned()],
        methods: Vec::new(),
        headers: vec!["authorization".to_owned()],
        expose: Vec::new(),
        credentials: true,
        max_age: std::time::Duration::from_secs(60),
    };
    let guarded = Route { auth: Some(auth), cors: Some(cors), ..route_to("/in/*") };
    let rewriting = Route { action: rewrite("/open"), ..guarded.clone() };
    let rewriting = Route { paths: route_to("/past/*").paths, ..rewriting };
    let house = House::of("http://test", vec![site(vec![guarded, rewriting, route_to("/open")])]);
    let right = ("Authorization", "Basic YW5hOnNlY3JldA==");
    let wrong = ("Authorization", "Basic YW5hOnNlY3JldHM=");
    for _ in 0..2 {
        check(&house, "/in/x", &[right], 200, Some("ana"));
        check(&house, "/in/x", &[wrong], 401, None);
        check(&house, "/in/x", &[], 401, None);
        check(&house, "/past/x", &[], 401, None);
        check(&house, "/past/x", &[right], 200, Some("ana"));
        check(&house, "/open", &[], 200, None);
    }
    let fields = [("Origin", "https://b.example"), ("Access-Control-Request-Method", "GET")];
    let preflight = house.send("192.0.2.1:1", "a.example", ("OPTIONS", "/in/x"), &fields);
    assert_eq!(
        (preflight.response.status, field(&preflight, "access-control-allow-credentials").as_str()),
        (204, "true")
    );

    #[track_caller]
    fn check(house: &House, target: &str, fields: &[(&str, &str)], status: u16, user: Option<&str>) {
        let exchange = house.send("192.0.2.1:1", "a.example", ("GET", target), fields);
        assert_eq!((exchange.response.status, exchange.notes.user.as_deref()), (status, user), "{target}");
        let challenge = if status == 401 { "Basic realm=\"court\", charset=\"UTF-8\"" } else { "" };
        assert_eq!(field(&exchange, "www-authenticate"), challenge);
        assert!(status != 200 || user.is_none() || exchange.head.get("authorization").is_none());
    }
}
