//! A route that leads to several pools, and copies for a shadow.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::house::House;
use crate::support::pattern;
use crate::support::proxied::{ask, counts, get, over_h2, pool, settings};
use crate::support::upstream::{Then, Upstream, ok};

fn split(arms: &str, pools: &[(&str, &Upstream)]) -> House {
    let pools: String = pools.iter().map(|(name, server)| pool(name, &[server], "")).collect();
    House::start(&settings(&format!("proxy = \"main\", {arms}"), &pools), &[])
}

// Goal: the first arm that takes a request has it, by field or cookie; the rest goes to `proxy`; each pool is counted.
#[test]
fn requests_go_to_the_first_pool_that_takes_them() {
    let [main, canary, beta] = [Upstream::named("main"), Upstream::named("canary"), Upstream::named("beta")];
    let arms = "split = [{ pool = \"canary\", header = \"X-Canary: yes\" }, { pool = \"beta\", cookie = \"beta=1\" }, \
                { pool = \"beta\", cookie = \"any\" }, { pool = \"canary\", percent = 0 }]";
    let house = split(arms, &[("main", &main), ("canary", &canary), ("beta", &beta)]);
    let mut client = house.client();
    let mut check = |fields: &str, want: &str| {
        assert_eq!(client.ask("GET", "/", fields).text(), want, "{fields}");
        over_h2(house.address(0), async |client| {
            let mut request = get("/");
            for line in fields.lines() {
                let (name, value) = line.split_once(": ").unwrap();
                request = request.header(name.to_ascii_lowercase(), value);
            }
            assert_eq!(ask(&client, request, &[]).await.text(), want, "{fields}");
        });
    };
    check("", "main");
    check("X-Canary: yes\r\n", "canary");
    check("X-Canary: no\r\n", "main");
    check("Cookie: a=b; beta=1\r\n", "beta");
    check("Cookie: beta=2\r\n", "main");
    check("Cookie: any=\r\n", "beta");
    check("X-Canary: yes\r\nCookie: beta=1\r\n", "canary");
    let count = |pool: &str| counts(&house, pool)["split"].as_u64().unwrap();
    assert_eq!((count("main"), count("canary"), count("beta")), (6, 4, 4));
}

// Goal: percents are shares of the key, the same key always goes the same way, also over a reload that lets the canary grow.
#[test]
fn percents_are_shares_of_clients_that_stay_where_they_are() {
    let [main, canary] = [Upstream::named("main"), Upstream::named("canary")];
    let arms = |percent: u8| {
        format!("split = [{{ pool = \"canary\", percent = {percent} }}], split_by = \"cookie:who\"")
    };
    let pools = [("main", &main), ("canary", &canary)];
    let house = split(&arms(25), &pools);
    let mut client = house.client();
    let mut all = || -> Vec<bool> {
        let ask = |who| client.ask("GET", "/", &format!("Cookie: who={who}\r\n")).text() == "canary";
        (0..400).map(ask).collect()
    };
    let first = all();
    let share = first.iter().filter(|is_in| **is_in).count();
    assert!((70..130).contains(&share), "{share} of 400 are a quarter");
    assert_eq!(all(), first, "who was there stays there");
    let rest: String = pools.iter().map(|(name, server)| pool(name, &[server], "")).collect();
    house.reload(&settings(&format!("proxy = \"main\", {}", arms(60)), &rest));
    let grown = all();
    assert!(grown.iter().zip(&first).all(|(now, before)| *now || !before), "nobody leaves a growing canary");
    assert!(grown.iter().filter(|is_in| **is_in).count() > share + 80);
    // Without the cookie the address counts: one client, one way.
    let ways: std::collections::BTreeSet<String> = (0..20).map(|_| client.get("/").text()).collect();
    assert_eq!(ways.len(), 1);
}

const MIRROR: &str = "mirror = { pool = \"shadow\" }";

// Goal: the shadow gets the same requests, marked; the client gets the main pool's answers only.
#[test]
fn copies_go_to_the_shadow_and_their_answers_nowhere() {
    let [main, shadow] = [Upstream::named("main"), Upstream::named("shadow")];
    let house = split(MIRROR, &[("main", &main), ("shadow", &shadow)]);
    let mut client = house.client();
    assert_eq!(client.ask("GET", "/a?b=c", "X-Own: 1\r\nX-Madang-Mirror: 0\r\n").text(), "main");
    client.send("POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.answer("POST").text(), "main");
    client.send(
        "POST /c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    assert_eq!(client.answer("POST").text(), "main");
    over_h2(house.address(0), async |client| {
        assert_eq!(ask(&client, get("/h2"), &[]).await.text(), "main");
    });
    house.until(|| shadow.seen().len() == 4);
    let mut copies = shadow.seen();
    copies.sort_by(|a, b| a.head.cmp(&b.head));
    let lines: Vec<&str> = copies.iter().map(|seen| seen.line()).collect();
    assert_eq!(lines, ["GET /a?b=c HTTP/1.1", "GET /h2 HTTP/1.1", "POST /c HTTP/1.1", "POST /p HTTP/1.1"]);
    assert_eq!((&copies[2].body[..], &copies[3].body[..]), (&b"hello"[..], &b"hello"[..]));
    assert_eq!(copies[0].field("x-own"), Some("1"));
    for copy in &copies {
        assert_eq!(copy.field("x-madang-mirror"), Some("1"));
        assert_eq!(copy.field("x-forwarded-for"), Some("127.0.0.1"), "the client, not us");
    }
    assert!(main.seen().iter().all(|seen| seen.field("x-madang-mirror").is_none()));
    assert!(shadow.connections() <= 4, "connections to the shadow are kept");
}

// Goal: a shadow that is down, or never answers, costs the client nothing; what is under way is bounded; all is counted.
// Method: the shadow answers nobody; 100 requests while none of their copies can end.
#[test]
fn a_broken_shadow_costs_the_client_nothing() {
    let main = Upstream::named("main");
    let gone = Upstream::named("gone");
    gone.die();
    let house = split(MIRROR, &[("main", &main), ("shadow", &gone)]);
    let mut client = house.client();
    (0..20).for_each(|_| assert_eq!(client.get("/").text(), "main"));
    drop(house);

    let silent = Upstream::start(|_, stream| {
        let _ = stream.read(&mut [0; 1]);
        Then::Close
    });
    let house = split(MIRROR, &[("main", &main), ("shadow", &silent)]);
    let mut client = house.client();
    (0..100).for_each(|_| assert_eq!(client.get("/").text(), "main"));
    let told = counts(&house, "shadow");
    assert_eq!((told["mirrored"].as_u64(), told["mirror_skipped"].as_u64()), (Some(64), Some(36)), "{told}");
    // A client that has gone is gone, whatever its copies do.
    drop(client);
    house.until(|| house.json("connections").as_array().unwrap().is_empty());
}

// Goal: a copy that takes too long is given up, and its place is free again.
#[test]
fn a_copy_has_a_time_limit() {
    let main = Upstream::named("main");
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ended);
    let silent = Upstream::start(move |_, stream| {
        let _ = stream.read(&mut [0; 1]);
        counted.fetch_add(1, Ordering::SeqCst);
        Then::Close
    });
    let mirror = "mirror = { pool = \"shadow\", timeout = \"50ms\" }";
    let house = split(mirror, &[("main", &main), ("shadow", &silent)]);
    let mut client = house.client();
    assert_eq!(client.get("/").text(), "main");
    house.until(|| ended.load(Ordering::SeqCst) == 1);
}

// Goal: a body that was not kept is not copied, and that is counted; the client's upload is whole all the same.
#[test]
fn a_body_that_is_not_kept_is_not_copied() {
    let large = pattern(300_000);
    let length = large.len();
    let main = Upstream::start(move |seen, stream| {
        ok(stream, if seen.body.len() == length { "whole" } else { "cut" });
        Then::Keep
    });
    let shadow = Upstream::named("shadow");
    let house = split(MIRROR, &[("main", &main), ("shadow", &shadow)]);
    let mut client = house.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"));
    client.send(&large);
    assert_eq!(client.answer("POST").text(), "whole");
    let told = counts(&house, "shadow");
    assert_eq!((told["mirrored"].as_u64(), told["mirror_skipped"].as_u64()), (Some(0), Some(1)));
    assert_eq!(shadow.seen().len(), 0);
}

// Goal: a percent of none copies none; upgrades are not copied.
#[test]
fn upgrades_and_nothing_of_zero_percent_are_copied() {
    let main = Upstream::start(|seen, stream| {
        if seen.field("upgrade").is_none() {
            ok(stream, "main");
            return Then::Keep;
        }
        let head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhi";
        stream.write_all(head).unwrap();
        Then::Close
    });
    let shadow = Upstream::named("shadow");
    let house = split(MIRROR, &[("main", &main), ("shadow", &shadow)]);
    let mut client = house.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(client.answer("GET").status, 101);
    assert_eq!(client.exactly(2), b"hi");
    assert_eq!(counts(&house, "shadow")["mirrored"], 0);
    let mirror = "mirror = { pool = \"shadow\", percent = 0 }";
    let none = split(mirror, &[("main", &main), ("shadow", &shadow)]);
    let mut client = none.client();
    (0..20).for_each(|_| assert_eq!(client.get("/").text(), "main"));
    assert_eq!((counts(&none, "shadow")["mirrored"].as_u64(), shadow.seen().len()), (Some(0), 0));
}
