//! Goal: pools are read as documented, every wrong value is named at its place, and no text breaks the reader.
//! Method: settings as text in, checked values or problems out; random values for random keys.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use madang_settings::report::Report;
use madang_settings::schema::{Key, Kind, Section};
use madang_settings::source::{self, Source};
use proptest::prelude::*;

use super::*;

static ROOT: Section = Section {
    title: "root",
    doc: "Pools only.",
    keys: &[Key { name: "pool", kind: Kind::Named(&POOL), default: "", doc: "Pools." }],
};

struct OneFile(String);

impl Source for OneFile {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.clone())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

fn read(text: &str) -> (Vec<PoolSettings>, Vec<String>) {
    let mut report = Report::default();
    let tree = source::load("a.toml".as_ref(), &BTreeMap::new(), &OneFile(text.to_owned()), &mut report);
    let pools = Reader::root(&tree, &ROOT, &mut report).named("pool", &POOL, PoolSettings::read);
    let json = report.to_json();
    let text = |problem: &serde_json::Value, key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let told = json["problems"].as_array().unwrap().iter();
    (pools, told.map(|problem| format!("{}: {}", text(problem, "key"), text(problem, "message"))).collect())
}

#[track_caller]
fn good(text: &str) -> PoolSettings {
    let (mut pools, problems) = read(text);
    assert_eq!(problems, Vec::<String>::new());
    pools.pop().unwrap()
}

#[test]
fn a_pool_of_one_line_has_every_default() {
    let pool = good("[pool.api]\nservers = \"127.0.0.1:3001\"");
    let server = ServerSettings::plain(Address::parse("127.0.0.1:3001").unwrap());
    assert_eq!(pool.servers, std::slice::from_ref(&server));
    assert_eq!((pool.balance, &pool.hash_by, &pool.sticky), (Balance::RoundRobin, &HashBy::Ip, &Sticky::Off));
    assert_eq!((pool.health.as_ref(), pool.breaker, pool.panic_below), (None, None, 50));
    assert_eq!(pool.slow_start, Duration::from_secs(10));
    assert_eq!((pool.retry.attempts, pool.retry.budget_percent, pool.retry.hedge_after), (3, 20, None));
    assert_eq!(pool.retry.on.len(), 7);
    assert_eq!((pool.passive.failures, pool.passive.eject_max), (5, 50));
    assert_eq!((pool.timeouts.whole, pool.keep_alive, pool.body_buffer), (None, 512, 65_536));
    assert!(pool.tls.verify);
    // What an app's instances get is the same.
    assert_eq!(PoolSettings::of("api", vec![server]), pool);
}

#[test]
fn every_key_is_read() {
    let pool = good(
        r#"
[pool.api]
servers = ["https://app.internal", { address = "unix:/run/app.sock", weight = 3, max_connections = 9 }, { address = "h2c://127.0.0.1:5", backup = true }]
balance = "hash"
hash_by = "header:X-User"
sticky = { cookie = "at", ttl = "1h" }
slow_start = "0s"
panic_below = 0
keep_alive = 0
body_buffer = "1MiB"
health = { path = "/healthz?full", every = "5s", timeout = "2s", rise = 1, fall = 4, status = [204, "3xx", "400-404"], body = "ok", header = { X-State = "ready", etag = "*" }, host = "app", port = 9000, tls = false }
passive = { failures = 0, window = "10s", eject_for = "1s", eject_max = 30, success_rate = 0 }
retry = { attempts = 2, budget_percent = 10, deadline = "2s", on = ["connect", "5xx", "429"], hedge_after = "50ms" }
queue = { length = 0, wait = "1s" }
breaker = { error_percent = 30, requests_min = 5, window = "30s", open_for = "1s", trials = 1 }
timeouts = { connect = "1s", first_byte = "2s", idle = "3s", whole = "4s" }
tls = { name = "other", ca = "ca.pem", cert = "c.pem", key = "k.pem" }
"#,
    );
    assert_eq!(
        pool.servers.iter().map(|server| server.address.key()).collect::<Vec<_>>(),
        ["https://app.internal:443", "unix:/run/app.sock", "h2c://127.0.0.1:5"]
    );
    assert_eq!(
        (pool.servers[1].weight, pool.servers[1].max_connections, pool.servers[2].backup),
        (3, 9, true)
    );
    assert_eq!(pool.hash_by, HashBy::Header("x-user".to_owned()));
    assert_eq!(pool.sticky, Sticky::Cookie { name: "at".to_owned(), ttl: Duration::from_secs(3600) });
    let health = pool.health.unwrap();
    let Check::Http { path, statuses, body, headers } = health.check else { panic!("not http") };
    assert_eq!((path.as_str(), body.as_deref()), ("/healthz?full", Some("ok")));
    let allowed: Vec<u16> = (100..600).filter(|s| statuses.iter().any(|range| range.holds(*s))).collect();
    assert_eq!(allowed.len(), 1 + 100 + 5);
    assert_eq!(headers, [("x-state".to_owned(), Some("ready".to_owned())), ("etag".to_owned(), None)]);
    assert_eq!((health.rise, health.fall, health.port, health.tls), (1, 4, Some(9000), Some(false)));
    assert_eq!(pool.retry.on[0], RetryOn::Connect);
    assert_eq!(pool.retry.on[1], RetryOn::Status(StatusRange { first: 500, last: 599 }));
    assert_eq!(pool.retry.hedge_after, Some(Duration::from_millis(50)));
    assert_eq!(pool.breaker.unwrap().trials, 1);
    assert_eq!(pool.timeouts.whole, Some(Duration::from_secs(4)));
    assert_eq!(pool.tls.identity, Some((PathBuf::from("c.pem"), PathBuf::from("k.pem"))));

    let grpc =
        |text: &str| good(&format!("[pool.a]\nservers = \"a:1\"\nhealth = {text}")).health.unwrap().check;
    assert_eq!(grpc("{ grpc = true }"), Check::Grpc { service: String::new() });
    assert_eq!(grpc("{ grpc = \"my.Service\" }"), Check::Grpc { service: "my.Service".to_owned() });
    assert_eq!(grpc("{ tcp = true }"), Check::Tcp);
}

#[test]
fn what_is_wrong_is_named_at_its_place() {
    check("", &["pool.p.servers: a pool needs `servers`"]);
    check("servers = \"nowhere\"", &["pool.p.servers[0]: \"nowhere\" is not the address of a server"]);
    check("servers = 3001", &["pool.p.servers[0]: 3001 is not the address of a server"]);
    check("servers = [{ weight = 2 }]", &["pool.p.servers[0].address: `address` is missing"]);
    check(
        "servers = [\"A:80\", { address = \"http://a\" }]",
        &["pool.p.servers[1]: a:80 is in this pool already"],
    );
    check(
        "servers = [{ address = \"a:1\", backup = true }]",
        &["pool.p.servers: every server is a backup: at least one must not be"],
    );
    check(
        "servers = [{ address = \"a:1\", weight = 0 }]",
        &["pool.p.servers: every server has weight 0: nobody would get a request"],
    );
    check(
        "servers = [{ address = \"a:1\", weight = 257 }]",
        &["pool.p.servers[0].weight: 257 is outside the range: 0 to 256"],
    );
    with("hash_by = \"moon\"\nbalance = \"hash\"", &["pool.p.hash_by: \"moon\" is nothing to hash by"]);
    with("hash_by = \"path\"", &["pool.p.hash_by: without balance = \"hash\" this has no effect"]);
    with("sticky = \"yes\"", &["pool.p.sticky: \"yes\" is no way to stick"]);
    with("sticky = { cookie = \"a b\" }", &["pool.p.sticky.cookie: \"a b\" cannot be the name of a cookie"]);
    with(
        "sticky = \"ip\"\nbalance = \"hash\"",
        &["pool.p.sticky: balance = \"hash\" already says where a client goes"],
    );
    with("health = {}", &["pool.p.health: `health` needs one of path, tcp, grpc"]);
    with("health = { path = \"/\", tcp = true }", &["pool.p.health: `health` takes one of path, tcp, grpc"]);
    with("health = { path = \"healthz\" }", &["pool.p.health.path: \"healthz\" is not a path"]);
    with("health = { tcp = true, body = \"x\" }", &["pool.p.health.body: `body` goes with `path` only"]);
    with("health = { path = \"/\", status = \"2x\" }", &["pool.p.health.status: \"2x\" is no status"]);
    with(
        "health = { grpc = 1 }",
        &[
            "pool.p.health: `health` needs one of path, tcp, grpc",
            "pool.p.health.grpc: `grpc` is true or the name of a service",
        ],
    );
    with(
        "retry = { on = [\"rain\", \"200\"] }",
        &[
            "pool.p.retry.on: \"rain\" is nothing to retry on",
            "pool.p.retry.on: \"200\" is nothing to retry on",
        ],
    );
    with("tls = { cert = \"c.pem\" }", &["pool.p.tls.cert: both `cert` and `key` are needed"]);
    with(
        "tls = { verify = false }",
        &["pool.p.tls.verify: anybody between here and the servers can read and change what passes"],
    );
    with("balence = \"hash\"", &["pool.p.balence: unknown key `balence`"]);

    #[track_caller]
    fn check(text: &str, want: &[&str]) {
        assert_eq!(read(&format!("[pool.p]\n{text}\n")).1, want);
    }
    #[track_caller]
    fn with(text: &str, want: &[&str]) {
        check(&format!("servers = \"a:1\"\n{text}"), want);
    }
}

#[test]
fn statuses_are_read_in_three_forms() {
    check("204", Some((204, 204)));
    check("2xx", Some((200, 299)));
    check("200-399", Some((200, 399)));
    for wrong in ["", "20", "2004", "0xx", "6xx", "xx", "399-200", "200-", "-200", "099", "600", "+20", "2 0"]
    {
        check(wrong, None);
    }

    #[track_caller]
    fn check(text: &str, want: Option<(u16, u16)>) {
        assert_eq!(StatusRange::parse(text).map(|range| (range.first, range.last)), want, "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_value_breaks_the_reader_and_what_is_checked_is_in_range(
        key in prop::sample::select(POOL.keys.iter().map(|key| key.name).collect::<Vec<_>>()),
        value in r#"-?[0-9]{1,6}|"[a-z0-9:/.-]{0,12}"|true|\[\]|\{ ?\}|\{ [a-z_]{2,8} = ("[a-z0-9]{0,6}"|[0-9]{1,4}) \}"#,
    ) {
        let (pools, _) = read(&format!("[pool.p]\n{key} = {value}\n"));
        for pool in pools {
            prop_assert!(pool.panic_below <= 100 && (1..=8).contains(&pool.retry.attempts));
            prop_assert!(pool.servers.iter().all(|server| server.weight <= 256));
            prop_assert!(pool.timeouts.connect >= Duration::from_millis(10));
        }
    }
}
