//! The admin address: what it shows, and to whom.

use crate::support::client::Client;
use crate::support::house::{House, PLAIN};
use crate::support::metrics::{check_format, value};
use crate::support::upstream::Upstream;

fn house() -> (House, Client) {
    // A port of 0 would not be told: one that was free a moment ago will do.
    let port = madang_host::process::port::free(|_| false).unwrap();
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let settings = PLAIN.replace("workers = 1", &format!("workers = 2\nadmin = \"{free}\""));
    let house = House::start(&settings, &[("public/a.txt", b"alpha")]);
    let client = Client::plain(free);
    (house, client)
}

// Goal: metrics are what Prometheus reads, and count what happened.
// Method: known requests, then every line is parsed by the rules of the text format 0.0.4.
#[test]
fn metrics_count_what_happened() {
    let (house, mut admin) = house();
    let mut client = house.client();
    for _ in 0..7 {
        assert_eq!(client.get("/a.txt").status, 200);
    }
    assert_eq!(client.get("/none").status, 404);
    assert_eq!(house.client().ask("GET", "/../x", "").status, 400);
    let mut text = String::new();
    house.until(|| {
        let answer = admin.get("/metrics");
        assert_eq!(answer.field("content-type").unwrap(), "text/plain; version=0.0.4; charset=utf-8");
        text = answer.text();
        // Two workers have counted: their sums may come one after the other.
        value(&text, &["madang_requests_total", "site=\"main\"", "class=\"2xx\""]) >= 7.0
            && value(&text, &["madang_requests_total", "site=\"main\"", "class=\"4xx\""]) >= 1.0
    });
    assert_eq!(value(&text, &["madang_requests_total", "site=\"main\"", "class=\"2xx\""]), 7.0, "{text}");
    assert_eq!(value(&text, &["madang_requests_total", "site=\"main\"", "class=\"4xx\""]), 1.0, "{text}");
    assert!(value(&text, &["madang_request_duration_seconds_count", "site=\"main\""]) >= 8.0, "{text}");
    assert!(value(&text, &["process_resident_memory_bytes"]) > 1e6, "{text}");
    assert!(value(&text, &["process_open_fds"]) > 3.0, "{text}");
    check_format(&text);
}

// Goal: what pools count is in the form that Prometheus reads, whatever a server's name is.
// Method: pools of every kind of address, a request, every line parsed.
#[test]
fn the_metrics_of_pools_are_in_form() {
    let server = Upstream::named("a");
    let settings = format!(
        "[server]\nworkers = 2\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ proxy = \"api\" }}]\n\
         [pool.api]\nservers = [\"{}\", \"unix:/a \\\"b\", {{ address = \"[::1]:1\", backup = true }}]\nbreaker = {{}}\n\
         health = {{ tcp = true, every = \"100ms\" }}\n[pool.other]\nservers = [\"localhost:1\"]\n",
        server.address
    );
    let house = House::start(&settings, &[]);
    assert_eq!(house.client().get("/").text(), "a");
    house.until(|| value(&house.metrics(), &["madang_pool_probes_total", "pool=\"api\""]) >= 3.0);
    let text = house.metrics();
    check_format(&text);
    let server = format!("server=\"{}\"", server.address);
    assert_eq!(value(&text, &["madang_pool_picks_total", "pool=\"api\"", &server]), 1.0, "{text}");
}

// Goal: the address is for looking: nothing can be changed there, and no page of another site can look.
#[test]
fn the_admin_address_is_for_looking_only() {
    let (house, mut admin) = house();
    assert_eq!(admin.get("/healthz").text(), "ok\n");
    assert_eq!(admin.get("/readyz").text(), "ready\n");
    for path in ["/api/v1/reload", "/api/v1/stop", "/api/v1/upgrade", "/api/v1/status"] {
        assert_eq!(admin.ask("POST", path, "Content-Length: 0\r\n").status, 404, "{path}");
    }
    // A name that another site's page could point at us (DNS rebinding).
    admin.send("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(admin.answer("GET").status, 403);
    assert_eq!(house.client().get("/a.txt").text(), "alpha");
}
