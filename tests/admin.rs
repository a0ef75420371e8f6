//! The admin address: what it shows, and to whom.

use crate::support::client::Client;
use crate::support::house::{House, PLAIN};

fn house() -> (House, Client) {
    // A port of 0 would not be told: one that was free a moment ago will do.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
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
    let value = |text: &str, wanted: &[&str]| -> f64 {
        let line = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .find(|line| wanted.iter().all(|part| line.contains(part)));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(-1.0)
    };
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
    let mut typed = std::collections::BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(typed.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} has two types");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|base| typed.contains_key(*base)))
                .unwrap_or(name);
            assert!(typed.contains_key(family), "{line} has no type");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
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
