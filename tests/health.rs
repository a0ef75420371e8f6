//! Health over the running program: who is asked, who is taken out and why, and how they come back.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::client::Client;
use crate::support::house::House;
use crate::support::metrics::value;
use crate::support::tls::certificate;
use crate::support::upstream::{Seen, Then, Upstream, ok};

fn settings(servers: &[SocketAddr], pool: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ proxy = \"api\" }}]\n\
         [pool.api]\nservers = [{}]\n{pool}\n",
        servers.join(", ")
    )
}

fn house(servers: &[&Upstream], pool: &str) -> House {
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    House::start(&settings(&addresses, pool), &[])
}

/// A server of the pool as `madang status` shows it.
#[track_caller]
fn shown(house: &House, server: usize) -> Value {
    house.json("status")["pools"][0]["servers"][server].clone()
}

#[track_caller]
fn until_state(house: &House, server: usize, state: &str) {
    house.until(|| shown(house, server)["state"] == state);
}

/// Every transition that is remembered, as `from>to`.
fn transitions(house: &House) -> Vec<String> {
    let status = house.json("status");
    let events = status["pools"][0]["events"].as_array().unwrap();
    let states = events.iter().filter_map(|event| {
        let (from, to) = (event["from"].as_str()?, event["to"].as_str()?);
        Some(format!("{from}>{to}"))
    });
    states.collect()
}

/// What a server answers to health checks; to everything else its name.
fn checked(name: &'static str, health: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |seen: &Seen, stream| {
        if seen.line().contains("/healthz") {
            health(stream);
            return Then::Close;
        }
        ok(stream, name);
        Then::Keep
    })
}

fn say(stream: &mut TcpStream, answer: &str) {
    let _ = stream.write_all(answer.as_bytes());
}

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BAD: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno";
const CHECK: &str =
    "health = { path = \"/healthz\", every = \"100ms\", timeout = \"500ms\", rise = 2, fall = 2 }";

/// A client that asks without pause until it is dropped, and fails the test on any answer but 200.
struct Load {
    over: Arc<AtomicBool>,
    client: Option<std::thread::JoinHandle<Result<usize, String>>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let client = std::thread::spawn(move || {
            let (mut client, mut good) = (Client::plain(address), 0);
            while !seen.load(Ordering::SeqCst) {
                let answer = client.get("/");
                if answer.status != 200 {
                    return Err(format!("{}{}", answer.head, answer.text()));
                }
                good += 1;
            }
            Ok(good)
        });
        Self { over, client: Some(client) }
    }

    #[track_caller]
    fn end(mut self) {
        self.over.store(true, Ordering::SeqCst);
        let good = self.client.take().unwrap().join().unwrap().unwrap_or_else(|answer| panic!("{answer}"));
        assert!(good > 50, "{good} requests");
    }
}

// Goal: a killed server is out, and back within its health period once it runs again, with a share that grows.
// Method: under load; the new server counts the checks before its first request; status is asked for the share as it grows.
#[test]
fn a_restarted_server_is_back_within_the_health_period_and_starts_slowly() {
    let (stays, dies) = (Upstream::named("a"), Upstream::named("b"));
    let house = house(
        &[&stays, &dies],
        &format!("{CHECK}\nslow_start = \"2s\"\npassive = {{ failures = 0, success_rate = 0 }}"),
    );
    let load = Load::on(house.address(0));
    house.until(|| dies.seen().len() > 10);
    dies.die();
    until_state(&house, 1, "down");
    let why = shown(&house, 1)["why"].as_str().unwrap().to_owned();
    assert!(why.ends_with("health checks failed, last: no connection"), "{why}");
    let back = Upstream::at(dies.address, |_, stream| {
        ok(stream, "b");
        Then::Keep
    });
    let mut shares = vec![0];
    house.until(|| {
        let server = shown(&house, 1);
        if server["state"] == "up" {
            shares.push(server["share_permille"].as_u64().unwrap());
        }
        shares.last() == Some(&1000)
    });
    assert!(shares[1] < 700, "it begins with a part: {shares:?}");
    assert!(shares.windows(2).all(|two| two[0] <= two[1]), "it grows: {shares:?}");
    house.until(|| back.seen().iter().any(|seen| seen.line().starts_with("GET / ")));
    let checks = back.seen().iter().take_while(|seen| seen.line().contains("/healthz")).count();
    // `rise` of them, and one that may have been under way.
    assert!((2..=3).contains(&checks), "{checks} checks before the first request");
    load.end();
    assert_eq!(transitions(&house), ["up>down", "down>up"]);
}

// Goal: every kind of check takes a server out by its own reason and lets it in again.
// Method: two answers that a flag chooses between; the other server is always well, so that nobody panics.
#[test]
fn each_check_has_its_reason() {
    check("", GOOD, BAD, "status 500");
    check("status = [204]", "HTTP/1.1 204 No\r\n\r\n", GOOD, "status 200");
    check("body = \"ready\"", &with("", "all ready"), GOOD, "text missing in body");
    check(
        "header = { x-role = \"main\" }",
        &with("x-role: main\r\n", "ok"),
        &with("x-role: spare\r\n", "ok"),
        "field missing or wrong",
    );
    check("", GOOD, "SSH-2.0-x\r\n\r\n", "no valid answer");
    check("", GOOD, "", "connection broke");

    fn with(fields: &str, body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
    }
    #[track_caller]
    fn check(options: &str, good: &str, bad: &str, why: &str) {
        let well = Arc::new(AtomicBool::new(true));
        let (is_well, good, bad) = (Arc::clone(&well), good.to_owned(), bad.to_owned());
        let always = good.clone();
        let server = checked("a", move |stream| {
            say(stream, if is_well.load(Ordering::SeqCst) { &good } else { &bad })
        });
        let other = checked("b", move |stream| say(stream, &always));
        let comma = if options.is_empty() { "" } else { ", " };
        let pool = CHECK.replace(" }", &format!("{comma}{options} }}"));
        let house = house(&[&server, &other], &pool);
        house.until(|| value(&house.metrics(), &["madang_pool_probes_total", "result=\"good\""]) > 3.0);
        assert_eq!(shown(&house, 0)["state"], "up", "{options}");
        well.store(false, Ordering::SeqCst);
        until_state(&house, 0, "down");
        let told = shown(&house, 0)["why"].as_str().unwrap().to_owned();
        assert_eq!(told, format!("2 health checks failed, last: {why}"));
        assert_eq!(house.client().get("/").text(), "b");
        well.store(true, Ordering::SeqCst);
        until_state(&house, 0, "up");
        assert_eq!(shown(&house, 0)["why"], "2 health checks passed");
    }
}

// Goal: a check by TCP, at another port, and by TLS say what they are for.
#[test]
fn checks_by_tcp_by_tls_and_at_another_port() {
    // At another port, where first nobody listens.
    let free = madang_host::process::port::free(|_| false).unwrap();
    let (server, other) = (Upstream::named("a"), Upstream::named("b"));
    let tcp = format!(
        "health = {{ tcp = true, every = \"100ms\", rise = 1, fall = 1, port = {} }}\npanic_below = 0",
        free
    );
    let first = house(&[&server, &other], &tcp);
    until_state(&first, 0, "down");
    until_state(&first, 1, "down");
    let answer = first.client().get("/");
    assert_eq!(answer.status, 503, "no panic, nobody up");
    let _listener = TcpListener::bind(("127.0.0.1", free)).unwrap();
    until_state(&first, 0, "up");
    assert_eq!(first.client().get("/").status, 200);

    // By TLS: a server that does not speak it is down for that reason, and requests still go as their address says.
    let plain = Upstream::raw(|mut stream| say(&mut stream, "no hello\r\n"));
    let made = certificate(&["127.0.0.1"]);
    let tls = "health = { tcp = true, tls = true, every = \"100ms\", fall = 1 }\npanic_below = 0\ntls = { ca = \"ca.pem\" }";
    let second = House::start(&settings(&[plain.address], tls), &[("ca.pem", made.certificate.as_bytes())]);
    until_state(&second, 0, "down");
    let why = shown(&second, 0)["why"].as_str().unwrap().to_owned();
    assert!(why.ends_with("last: TLS failed"), "{why}");
    assert!(value(&second.metrics(), &["madang_pool_probes_total", "result=\"tls\""]) >= 1.0);
}

// Goal: a server whose checks come out one way and the other stays what it is; `fall` in a row are needed.
// Method: every second check fails; then all do.
#[test]
fn a_flapping_check_changes_nothing() {
    let (asked, sick) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, is_sick) = (Arc::clone(&asked), Arc::clone(&sick));
    let server = checked("a", move |stream| {
        let odd = count.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        say(stream, if odd || is_sick.load(Ordering::SeqCst) { BAD } else { GOOD });
    });
    let other = checked("b", |stream| say(stream, GOOD));
    let house = house(&[&server, &other], CHECK);
    house.until(|| asked.load(Ordering::SeqCst) > 12);
    assert_eq!((shown(&house, 0)["state"].as_str(), transitions(&house).len()), (Some("up"), 0));
    sick.store(true, Ordering::SeqCst);
    until_state(&house, 0, "down");
    assert_eq!(transitions(&house), ["up>down"]);
}

// Goal: however many fail, half of them stay: an ejection too many is refused and counted.
// Method: four servers that answer 500 to everything, asked until two rest and a third should.
#[test]
fn never_more_than_half_are_ejected() {
    let failing = || {
        Upstream::start(|_, stream| {
            say(stream, BAD);
            Then::Keep
        })
    };
    let servers = [failing(), failing(), failing(), failing()];
    let all = [&servers[0], &servers[1], &servers[2], &servers[3]];
    let house = house(
        &all,
        "passive = { failures = 3, success_rate = 0, eject_for = \"1h\" }\npanic_below = 0\nretry = { attempts = 1 }",
    );
    let mut client = house.client();
    let mut most = 0;
    house.until(|| {
        for _ in 0..8 {
            assert_eq!(client.get("/").status, 500);
        }
        let status = house.json("status");
        let servers = status["pools"][0]["servers"].as_array().unwrap();
        most = most.max(servers.iter().filter(|server| server["state"] == "ejected").count());
        value(&house.metrics(), &["madang_pool_ejections_refused_total"]) >= 1.0
    });
    assert_eq!(most, 2);
    let text = house.metrics();
    assert_eq!(value(&text, &["madang_pool_ejections_total", "why=\"failures\""]), 2.0, "{text}");
    assert_eq!(value(&text, &["madang_pool_server_state", "state=\"ejected\""]), 2.0, "{text}");
    // Three, or more where several were on their way.
    house.until_said(" requests failed in a row; rests 3600s");
}

// Goal: when checks say that nobody is well, they are doubted, and requests are answered by those that answer.
#[test]
fn when_all_checks_fail_requests_go_on() {
    let servers = [checked("a", |stream| say(stream, BAD)), checked("b", |stream| say(stream, BAD))];
    let house = house(&[&servers[0], &servers[1]], CHECK);
    until_state(&house, 0, "down");
    until_state(&house, 1, "down");
    let mut client = house.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    let text = house.metrics();
    assert_eq!(value(&text, &["madang_pool_panic{"]), 1.0, "{text}");
    assert!(value(&text, &["madang_pool_picks_total", "tier=\"panic\""]) >= 20.0, "{text}");
    house.until_said("panic: only 0 of 2 servers are up");
    assert_eq!(house.json("status")["pools"][0]["panic"], true);
}

// Goal: a server whose host drops packets costs no request: the connection is given up, the server found out.
// Method: a listener whose queue is full and that never accepts: the kernel drops what comes.
#[test]
fn a_host_that_drops_packets_costs_no_request() {
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let address = silent.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        filling.push(stream);
        assert!(filling.len() < 64, "the queue never fills");
    }
    let good = Upstream::named("a");
    let pool = format!("{CHECK}\ntimeouts = {{ connect = \"500ms\" }}");
    let house = House::start(&settings(&[address, good.address], &pool), &[]);
    let mut client = house.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "a", "{}", house.said());
    }
    until_state(&house, 0, "down");
    let why = shown(&house, 0)["why"].as_str().unwrap().to_owned();
    assert!(why.ends_with("last: no answer in time"), "{why}");
    let load = Load::on(house.address(0));
    house.until(|| good.seen().len() > 200);
    load.end();
}

// Goal: a server that answers its check too late is out for that reason.
#[test]
fn a_slow_server_is_out() {
    let slow = checked("a", |stream| {
        std::thread::park_timeout(Duration::from_millis(1500));
        say(stream, GOOD);
    });
    let quick = checked("b", |stream| say(stream, GOOD));
    let house = house(&[&slow, &quick], CHECK);
    until_state(&house, 0, "down");
    assert_eq!(house.client().get("/").text(), "b");
    // The first answer decides; later ones need `fall` in a row.
    assert!(value(&house.metrics(), &["madang_pool_probes_total", "result=\"late\""]) >= 1.0);
}

// Goal: all gone is told at once and clearly; all back is back, and the events tell the story in text, JSON and the log.
#[test]
fn all_down_and_up_again() {
    let servers = [Upstream::named("a"), Upstream::named("b")];
    let addresses = [servers[0].address, servers[1].address];
    let house = House::start(
        &format!(
            "{}[log]\nerrors = \"json\"\n",
            settings(&addresses, &format!("{CHECK}\nslow_start = \"0s\""))
        ),
        &[],
    );
    let mut client = house.client();
    assert_eq!(client.get("/").status, 200);
    // The first check would decide alone: both have passed one.
    let passed = |address: &SocketAddr| {
        let server = format!("server=\"{address}\"");
        value(&house.metrics(), &["madang_pool_probes_total", "result=\"good\"", &server]) >= 1.0
    };
    house.until(|| addresses.iter().all(passed));
    servers.iter().for_each(Upstream::die);
    until_state(&house, 0, "down");
    until_state(&house, 1, "down");
    let answer = client.get("/");
    assert!(matches!(answer.status, 502 | 503), "{}", answer.head);
    let answering = |_: &Seen, stream: &mut TcpStream| {
        ok(stream, "back");
        Then::Keep
    };
    let _back = addresses.map(|address| Upstream::at(address, answering));
    until_state(&house, 0, "up");
    until_state(&house, 1, "up");
    assert_eq!(client.get("/").text(), "back");
    let mut told = transitions(&house);
    told.sort();
    assert_eq!(told, ["down>up", "down>up", "up>down", "up>down"]);
    // One line for each, with its facts.
    let said = house.said();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |server: SocketAddr, to: &str| {
        let server = server.to_string();
        let is =
            |line: &&Value| line["event"] == "pool" && line["server"] == server.as_str() && line["to"] == to;
        lines.iter().filter(is).collect::<Vec<_>>()
    };
    for address in addresses {
        let (down, up) = (of(address, "down"), of(address, "up"));
        assert_eq!((down.len(), up.len()), (1, 1), "{said}");
        assert_eq!((down[0]["from"].as_str(), down[0]["level"].as_str()), (Some("up"), Some("warn")));
        assert_eq!(down[0]["why"], "2 health checks failed, last: no connection");
        assert_eq!((up[0]["pool"].as_str(), up[0]["level"].as_str()), (Some("api"), Some("info")));
    }
    let output = house.ask(&["status", "api"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("was up, is down: 2 health checks failed"), "{text}");
    assert!(!text.contains('\x1b'), "no colours into a pipe");
    assert_eq!(house.ask(&["status", "nobody"]).status.code(), Some(1));
}

// Goal: what a pool does is counted where it can be looked up, and `madang status` has the same numbers.
#[test]
fn every_decision_is_counted() {
    let gone = Upstream::named("gone");
    gone.die();
    let server = Upstream::named("a");
    let house = house(&[&server, &gone], "retry = { attempts = 2 }\nbreaker = {}");
    let mut client = house.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "a");
    }
    let text = house.metrics();
    let (up, down) = (format!("server=\"{}\"", server.address), format!("server=\"{}\"", gone.address));
    let good = value(&text, &["madang_pool_attempts_total", &up, "outcome=\"good\""]);
    let failed = value(&text, &["madang_pool_attempts_total", &down, "outcome=\"not-connected\""]);
    assert!(good == 20.0 && failed >= 5.0, "{text}");
    assert_eq!(value(&text, &["madang_pool_retries_total", "reason=\"connect\""]), failed, "{text}");
    let picks = value(&text, &["madang_pool_picks_total", "rule=\"round-robin\"", "tier=\"primary\""]);
    assert!(picks >= 20.0, "{text}");
    assert_eq!(value(&text, &["madang_pool_connections_total", &up, "how=\"opened\""]), 1.0, "{text}");
    assert_eq!(value(&text, &["madang_pool_connections_total", &up, "how=\"reused\""]), 19.0, "{text}");
    assert_eq!(value(&text, &["madang_pool_first_byte_seconds_count", &up]), 20.0, "{text}");
    assert_eq!(value(&text, &["madang_pool_server_in_flight", &up]), 0.0, "{text}");
    assert_eq!(value(&text, &["madang_pool_circuit_state", &up, "state=\"closed\""]), 1.0, "{text}");
    let pool = &house.json("status")["pools"][0];
    assert_eq!(pool["retries"].as_f64(), Some(failed));
    assert!(pool["p99_ms"].as_f64().is_some(), "{pool}");
    // Counters outlive a reload that changes the pool.
    house.reload(&settings(&[server.address, gone.address], "retry = { attempts = 2 }\nkeep_alive = 3"));
    assert_eq!(client.get("/").text(), "a");
    house.until(|| value(&house.metrics(), &["madang_pool_attempts_total", &up, "outcome=\"good\""]) == 21.0);
}
