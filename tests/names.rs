//! Pools whose servers are names, before a name server that changes its mind, lies silent or dies.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::client::Client;
use crate::support::dns::{Mood, NameServer};
use crate::support::house::House;
use crate::support::upstream::{Then, Upstream, ok};

fn settings(names: &NameServer, servers: &str, pool: &str) -> String {
    format!(
        "[server]\nworkers = 2\nresolver = \"{}\"\n[site.main]\nlisten = \"http://127.0.0.1:0\"\n\
         route = [{{ proxy = \"api\" }}]\n[pool.api]\nservers = [{servers}]\n{pool}\n",
        names.address
    )
}

/// Servers that tell their names, at one port of different addresses of this machine.
fn servers_at_one_port<const N: usize>(names: [&'static str; N]) -> ([Upstream; N], u16) {
    let named = |address: SocketAddr, name: &'static str| {
        Upstream::at(address, move |_, stream| {
            ok(stream, name);
            Then::Keep
        })
    };
    let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = first.local_addr().unwrap().port();
    drop(first);
    let mut last = 0;
    let servers = names.map(|name| {
        last += 1;
        named(SocketAddr::from(([127, 0, 0, last], port)), name)
    });
    (servers, port)
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

// Goal: the addresses of a name come and go by its time to live, under load, and no request fails.
// Method: four clients ask without pause while the records change; the next change waits for the servers to be asked.
#[test]
fn addresses_come_and_go_and_no_request_fails() {
    let names = NameServer::start();
    let (servers, port) = servers_at_one_port(["a", "b", "c"]);
    names.set("api.test", 1, &[ip(1)]);
    let house = House::start(&settings(&names, &format!("\"api.test:{port}\""), ""), &[]);
    let (address, over, asked) =
        (house.address(0), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
            std::thread::spawn(move || {
                let mut client = Client::plain(address);
                while !over.load(Ordering::SeqCst) {
                    let answer = client.get("/");
                    if answer.status != 200 {
                        return Err(format!("{}{}", answer.head, answer.text()));
                    }
                    asked.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        })
        .collect();
    let seen = |of: usize| servers[of].seen().len();
    house.until(|| seen(0) > 10);
    names.set("api.test", 1, &[ip(1), ip(2)]);
    house.until(|| seen(1) > 10);
    names.set("api.test", 1, &[ip(2)]);
    house.until(|| !house.json("status")["pools"][0]["servers"].to_string().contains("127.0.0.1:"));
    // All at once elsewhere: nobody who stays could stand in.
    names.set("api.test", 1, &[ip(3)]);
    house.until(|| seen(2) > 10);
    over.store(true, Ordering::SeqCst);
    for client in clients {
        if let Err(answer) = client.join().unwrap() {
            panic!("a request failed: {answer}\n{}", house.said());
        }
    }
    assert!(asked.load(Ordering::SeqCst) > 30);
    let said = house.said();
    assert!(said.contains(&format!("came 127.0.0.3:{port}; left 127.0.0.2:{port}")), "{said}");
}

// Goal: a service's records give ports, weights and backups. Method: shares counted; then the primaries die.
#[test]
fn the_records_of_a_service_make_servers() {
    let names = NameServer::start();
    let servers = [Upstream::named("a"), Upstream::named("b"), Upstream::named("c")];
    let port = |of: usize| servers[of].address.port();
    names.set("host.test", 1, &[ip(1)]);
    names.set_service(
        "_http._tcp.api.test",
        1,
        &[(10, 30, port(0), "host.test"), (10, 10, port(1), "host.test"), (20, 5, port(2), "host.test")],
    );
    let house = House::start(
        &settings(&names, "\"srv://_http._tcp.api.test\"", "passive = { eject_max = 100 }")
            .replace("workers = 2", "workers = 1"),
        &[],
    );
    let mut client = house.client();
    let answers: String = (0..40).map(|_| client.get("/").text()).collect();
    // Three of four; where the round begins is drawn.
    let (a, b) = (answers.matches('a').count(), answers.matches('b').count());
    assert!((29..=31).contains(&a) && a + b == 40, "{answers}");
    servers[0].die();
    servers[1].die();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "c");
    }
    // The weights change, the server stays.
    names.set_service("_http._tcp.api.test", 1, &[(5, 1, port(2), "host.test")]);
    house.until(|| house.json("status")["pools"][0]["servers"].as_array().unwrap().len() == 1);
    let server = house.json("status")["pools"][0]["servers"][0].clone();
    assert_eq!((server["backup"].as_bool(), server["weight"].as_u64()), (Some(false), Some(1)));
    assert!(server["requests"].as_u64().unwrap() >= 20, "it kept its count: {server}");
}

// Goal: a name that nobody knows is refused with its reason, told once, and served as soon as it is known; one that is
// forgotten later keeps its addresses.
#[test]
fn an_unknown_name_is_told_once_and_a_forgotten_one_stays() {
    let names = NameServer::start();
    let (_servers, port) = servers_at_one_port(["a"]);
    let house = House::start(&settings(&names, &format!("\"api.test:{port}\""), ""), &[]);
    let mut client = house.client();
    let answer = client.get("/");
    assert_eq!(answer.status, 503);
    house.until_said("its names lead to no address");
    names.set("api.test", 1, &[ip(1)]);
    house.until(|| client.get("/").status == 200);
    names.forget("api.test");
    let before = names.asked();
    house.until(|| names.asked() > before + 8);
    assert_eq!(client.get("/").text(), "a");
    let said = house.said();
    assert_eq!(said.matches("cannot be looked up: there is no such name; the 1 known").count(), 1, "{said}");
    assert_eq!(said.matches("cannot be looked up: there is no such name").count(), 2, "{said}");
}

// Goal: requests wait for the first look-up; afterwards a name server that is silent, fails or is gone costs no request.
#[test]
fn a_silent_failing_or_dead_name_server_costs_no_request() {
    let names = NameServer::start();
    let (_servers, port) = servers_at_one_port(["a"]);
    names.set("api.test", 1, &[ip(1)]);
    names.set_mood(Mood::Silent);
    let text = settings(&names, &format!("\"api.test:{port}\""), "");
    let house = House::start(&text, &[]);
    let mut client = house.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    house.until(|| names.asked() >= 2);
    names.set_mood(Mood::Well);
    assert_eq!(client.answer("GET").status, 200, "{}", house.said());
    names.set_mood(Mood::Failing);
    house.until_said("cannot be looked up: the name server answered");
    assert_eq!(client.get("/").text(), "a");
    names.set_mood(Mood::Well);
    house.until_said("can be looked up again");
    names.die();
    house.until(|| house.said().matches("cannot be looked up").count() == 2);
    assert_eq!(client.get("/").text(), "a");
    // Another name server takes its place by a reload.
    let other = NameServer::start();
    other.set("api.test", 1, &[ip(1)]);
    house.reload(&text.replace(&names.address.to_string(), &other.address.to_string()));
    house.until(|| house.said().matches("can be looked up again").count() == 2);
    assert_eq!(client.get("/").text(), "a");
}

// Goal: what the hosts file knows needs no name server.
#[test]
fn the_hosts_file_goes_before_the_name_servers() {
    let names = NameServer::start();
    names.set_mood(Mood::Failing);
    let server = Upstream::named("a");
    let port = server.address.port();
    let house = House::start(&settings(&names, &format!("\"localhost:{port}\""), ""), &[]);
    assert_eq!(house.client().get("/").text(), "a");
}
