//! Requests that wait for servers: the operator's hold, and an app that restarts.

use std::thread::{JoinHandle, spawn};

use crate::support::client::{Answer, Client};
use crate::support::house::House;
use crate::support::proxied::{ask, counts, get, house, over_h2, pool, settings, until_recorded};
use crate::support::upstream::Upstream;

/// A request that somebody waits for on another thread.
fn asking(house: &House, body: Option<&'static str>) -> JoinHandle<Answer> {
    let address = house.address(0);
    spawn(move || {
        let mut client = Client::plain(address);
        let (method, body) = body.map_or(("GET", ""), |body| ("POST", body));
        let length = body.len();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        client.answer(method)
    })
}

fn waiting(house: &House) -> u64 {
    counts(house, "api")["waiting"].as_u64().unwrap()
}

#[track_caller]
fn order(house: &House, wish: &str) -> String {
    let output = house.ask(&["pool", wish, "api"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

// Goal: while a pool is held nothing reaches it and nothing fails; over a reload too; released, everybody is answered.
#[test]
fn requests_wait_while_the_operator_holds_a_pool() {
    let server = Upstream::named("a");
    let house = house(&[&server], "");
    assert_eq!(house.client().get("/").text(), "a");
    assert!(order(&house, "hold").contains("each up to 30"), "the default is told");
    let asked: Vec<_> = (0..3).map(|_| asking(&house, Some("hello"))).collect();
    house.until(|| waiting(&house) == 3);
    // Another setting of the pool: the hold stays, and so does who waits.
    house.reload(&settings("proxy = \"api\"", &pool("api", &[&server], "keep_alive = 3")));
    let status = house.ask(&["status"]);
    let shown = String::from_utf8(status.stdout).unwrap();
    assert!(shown.contains("held: 3 requests wait"), "{shown}");
    assert_eq!((house.json("status")["pools"][0]["held"].as_bool(), server.seen().len()), (Some(true), 1));
    let address = house.address(0);
    let over_http2 = spawn(move || {
        over_h2(address, async |client| {
            assert_eq!(ask(&client, get("/"), &[]).await.text(), "a");
        });
    });
    house.until(|| waiting(&house) == 4);
    order(&house, "release");
    over_http2.join().unwrap();
    for one in asked {
        assert_eq!(one.join().unwrap().text(), "a");
    }
    assert_eq!(
        (server.seen().len(), waiting(&house), counts(&house, "api")["held"].as_u64()),
        (5, 0, Some(4))
    );
    assert_eq!(counts(&house, "api")["hold_refused"], 0);
}

// Goal: the wait has an end in time and in number; both are named errors that say when to come again.
#[test]
fn a_hold_ends_in_time_and_in_number() {
    let server = Upstream::named("a");
    let house = house(&[&server], "hold = \"500ms\"\nqueue = { length = 1 }");
    order(&house, "hold");
    let first = asking(&house, None);
    house.until(|| waiting(&house) == 1);
    let second = house.client().get("/");
    assert_eq!((second.status, second.field("retry-after").as_deref()), (503, Some("1")));
    until_recorded(&house, "pool-hold-full", 1);
    let first = first.join().unwrap();
    assert_eq!((first.status, first.field("retry-after").as_deref()), (503, Some("1")));
    until_recorded(&house, "pool-hold-timeout", 1);
    assert_eq!((waiting(&house), server.seen().len()), (0, 0));
    // A client that leaves makes room.
    let mut gone = house.client();
    gone.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    house.until(|| waiting(&house) == 1);
    drop(gone);
    house.until(|| waiting(&house) == 0);
}

// Goal: an app that restarts costs nobody an error: requests wait until it listens again, and reach it once.
// Method: one server without health checks, so that only the refused connection tells; then with them, so that it is down.
#[test]
fn requests_wait_while_an_app_restarts() {
    for health in
        ["", "health = { path = \"/healthz\", every = \"100ms\", rise = 1, fall = 1 }\nslow_start = \"0s\""]
    {
        let server = Upstream::named("before");
        let house = house(&[&server], &format!("hold = \"15s\"\n{health}"));
        assert_eq!(house.client().get("/").text(), "before");
        server.die();
        if !health.is_empty() {
            house.until(|| house.json("status")["pools"][0]["servers"][0]["state"] == "down");
        }
        let asked = [asking(&house, None), asking(&house, Some("hello")), asking(&house, Some("again"))];
        house.until(|| waiting(&house) == 3);
        let again = Upstream::at(server.address, |_, stream| {
            crate::support::upstream::ok(stream, "after");
            crate::support::upstream::Then::Keep
        });
        for one in asked {
            assert_eq!(one.join().unwrap().text(), "after");
        }
        let bodies = again.seen().into_iter().filter(|seen| seen.line().starts_with("POST")).count();
        assert_eq!(bodies, 2, "each once");
    }
}

// Goal: without `hold` nobody waits, and with it an app that does not come back is an error in the end.
#[test]
fn without_hold_nobody_waits() {
    let server = Upstream::named("a");
    server.die();
    let quick = house(&[&server], "");
    assert_eq!(quick.client().get("/").status, 502);
    assert_eq!(counts(&quick, "api")["held"], 0);
    let patient = house(&[&server], "hold = \"300ms\"");
    assert_eq!(patient.client().get("/").status, 503);
    until_recorded(&patient, "pool-hold-timeout", 1);
}

// Goal: wrong orders say what is right.
#[test]
fn orders_to_pools_that_are_not_there_say_which_are() {
    let server = Upstream::named("a");
    let house = house(&[&server], "");
    check(&house, &["pool", "hold", "nope"], 1, "pools here: api");
    check(&house, &["pool", "hold", "api", "127.0.0.1:1"], 2, "madang pool hold api");
    check(&house, &["pool", "drain", "api"], 2, "<SERVER>");
    check(&house, &["pool", "release", "nope"], 1, "pools here: api");

    #[track_caller]
    fn check(house: &House, arguments: &[&str], code: i32, said: &str) {
        let output = house.ask(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && text.contains(said), "{arguments:?}: {text}");
    }
}
