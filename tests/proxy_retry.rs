//! Retries, hedging, budgets and circuits in the running program: what the pure tests decide has its effect.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::proxied::{ask, counts, get, house, over_h2, post, until_recorded};
use crate::support::upstream::{Then, Upstream, ok};

/// Only what is asked about decides: no rests, no doubts.
const PLAIN: &str = "passive = { failures = 0, success_rate = 0 }\npanic_below = 0\n";

/// Two servers of which the first request, wherever it comes, hangs until its connection ends; `ended` counts those.
fn first_one_hangs(ended: &Arc<AtomicUsize>) -> [Upstream; 2] {
    let asked = Arc::new(AtomicUsize::new(0));
    ["a", "b"].map(|name| {
        let (asked, ended) = (Arc::clone(&asked), Arc::clone(ended));
        Upstream::start(move |_, stream| {
            if asked.fetch_add(1, Ordering::SeqCst) > 0 {
                ok(stream, name);
                return Then::Keep;
            }
            let _ = stream.read(&mut [0; 1]);
            ended.fetch_add(1, Ordering::SeqCst);
            Then::Close
        })
    })
}

// Goal: a GET that gets no answer in time is asked of a second server, the first attempt is given up at once, and nothing is
// held against the slow server. The same over HTTP/2.
#[test]
fn a_slow_server_is_hedged() {
    for over_http2 in [false, true] {
        let ended = Arc::new(AtomicUsize::new(0));
        let servers = first_one_hangs(&ended);
        let keys =
            format!("{PLAIN}retry = {{ hedge_after = \"50ms\" }}\ntimeouts = {{ first_byte = \"1m\" }}");
        let house = house(&[&servers[0], &servers[1]], &keys);
        if over_http2 {
            over_h2(house.address(0), async |client| {
                assert_eq!(ask(&client, get("/"), &[]).await.status, 200);
            });
        } else {
            assert_eq!(house.client().get("/").status, 200);
        }
        house.until(|| ended.load(Ordering::SeqCst) == 1);
        let told = counts(&house, "api");
        assert_eq!((told["hedged"].as_u64(), told["hedge_won"].as_u64()), (Some(1), Some(1)), "{told}");
        let status = house.json("status");
        for server in status["pools"][0]["servers"].as_array().unwrap() {
            let (failed, in_flight) = (server["failed"].as_u64(), server["in_flight"].as_u64());
            assert_eq!((failed, in_flight), (Some(0), Some(0)), "{server}");
        }
        // Quick answers are not hedged.
        let mut client = house.client();
        (0..20).for_each(|_| assert_eq!(client.get("/").status, 200));
        assert_eq!(counts(&house, "api")["hedged"], 1);
    }
}

// Goal: what may do harm twice is never hedged, nor what the budget has no room for.
#[test]
fn hedging_keeps_to_what_is_harmless_and_to_the_budget() {
    for (budget, method, body) in [(20, "POST", "x"), (20, "GET", "x"), (20, "DELETE", ""), (0, "GET", "")] {
        let ended = Arc::new(AtomicUsize::new(0));
        let servers = first_one_hangs(&ended);
        let keys = format!(
            "{PLAIN}retry = {{ hedge_after = \"10ms\", attempts = 2, on = [\"503\"], budget_percent = {budget} }}\n\
             timeouts = {{ first_byte = \"300ms\" }}"
        );
        let house = house(&[&servers[0], &servers[1]], &keys);
        let mut client = house.client();
        let length = body.len();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(client.answer(method).status, 504, "{method} {budget}");
        assert_eq!(servers[0].seen().len() + servers[1].seen().len(), 1, "{method} {budget}");
        assert_eq!(counts(&house, "api")["hedged"], 0);
    }
}

// Goal: when both of a hedged pair fail, the request is judged once more: another attempt, or an error of the first.
#[test]
fn a_hedged_pair_that_fails_is_one_failure() {
    let hang = |_: &crate::support::upstream::Seen, stream: &mut std::net::TcpStream| {
        let _ = stream.read(&mut [0; 1]);
        Then::Close
    };
    let servers = [Upstream::start(hang), Upstream::start(hang)];
    let keys = format!(
        "{PLAIN}retry = {{ hedge_after = \"10ms\", on = [\"503\"] }}\ntimeouts = {{ first_byte = \"300ms\" }}"
    );
    let house = house(&[&servers[0], &servers[1]], &keys);
    assert_eq!(house.client().get("/").status, 504);
    house.until_said("upstream-first-byte-timeout");
    let told = counts(&house, "api");
    assert_eq!((told["hedged"].as_u64(), told["hedge_won"].as_u64()), (Some(1), Some(0)));
}

fn answering(status: &'static str) -> Upstream {
    Upstream::start(move |_, stream| {
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 1\r\n\r\nx").unwrap();
        Then::Keep
    })
}

// Goal: the budget bounds what a sick pool gets: ten free retries in ten seconds, 20 percent beyond.
// Method: 40 requests, each worth one retry: 40 and 10 arrive, and the client gets the servers' own answers.
#[test]
fn the_budget_bounds_retries() {
    let servers = [answering("503 Own"), answering("503 Own")];
    let house =
        house(&[&servers[0], &servers[1]], &format!("{PLAIN}retry = {{ attempts = 2, on = [\"5xx\"] }}"));
    let mut client = house.client();
    for _ in 0..40 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.text()), (503, "x".to_owned()));
    }
    assert_eq!(servers[0].seen().len() + servers[1].seen().len(), 50);
}

// Goal: a retry goes to another server, and only where it is safe.
#[test]
fn a_retry_goes_to_another_server_where_it_is_safe() {
    let (sick, well) = (answering("503 Own"), Upstream::named("well"));
    let house = house(&[&sick, &well], &format!("{PLAIN}retry = {{ on = [\"503\"] }}"));
    let mut client = house.client();
    (0..8).for_each(|_| assert_eq!(client.get("/").text(), "well"));
    let mut statuses = [client.ask("POST", "/", "").status, client.ask("POST", "/", "").status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503], "a POST that a server had is not sent again");
    over_h2(house.address(0), async |client| {
        assert_eq!(ask(&client, get("/"), &[]).await.text(), "well");
        let first = ask(&client, post("/"), &[b"x"]).await.status;
        let second = ask(&client, post("/"), &[b"x"]).await.status;
        assert_eq!(first.min(second), 200);
        assert_eq!(first.max(second), 503);
    });
}

// Goal: the only server's Retry-After is waited for when it is short, and passed on when it is long.
#[test]
fn retry_after_is_waited_for_or_passed_on() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let server = Upstream::start(move |seen, stream| {
        let after = if seen.line().contains("/long") { 60 } else { 1 };
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            write!(stream, "HTTP/1.1 503 Own\r\nretry-after: {after}\r\ncontent-length: 0\r\n\r\n").unwrap();
        } else {
            ok(stream, "fine");
        }
        Then::Keep
    });
    let house = house(&[&server], &format!("{PLAIN}retry = {{ on = [\"503\"] }}"));
    let begun = Instant::now();
    assert_eq!(house.client().get("/short").text(), "fine");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    told.store(0, Ordering::SeqCst);
    let answer = house.client().get("/long");
    assert_eq!((answer.status, answer.field("retry-after").as_deref()), (503, Some("60")));
}

// Goal: a circuit opens after enough failures, then nobody is asked; after its time a few try, and good answers close it.
#[test]
fn a_circuit_opens_and_closes_again() {
    let sick = Arc::new(AtomicBool::new(true));
    let is_sick = Arc::clone(&sick);
    let server = Upstream::start(move |_, stream| {
        if is_sick.load(Ordering::SeqCst) {
            stream.write_all(b"HTTP/1.1 500 Own\r\ncontent-length: 0\r\n\r\n").unwrap();
        } else {
            ok(stream, "fine");
        }
        Then::Keep
    });
    let breaker = "breaker = { error_percent = 50, requests_min = 5, open_for = \"700ms\", trials = 2 }";
    let house = house(&[&server], &format!("{PLAIN}{breaker}"));
    let mut client = house.client();
    let statuses: Vec<u16> = (0..8).map(|_| client.get("/").status).collect();
    assert_eq!(statuses, [500, 500, 500, 500, 500, 503, 503, 503]);
    assert_eq!(server.seen().len(), 5, "nobody is asked while it is open");
    until_recorded(&house, "pool-nobody-up", 3);
    sick.store(false, Ordering::SeqCst);
    house.until(|| client.get("/").status == 200);
    (0..10).for_each(|_| assert_eq!(client.get("/").text(), "fine", "closed for good"));
}
