//! Goal: datagrams of each client reach one server and its answers come back to that client alone, within bounds.
//! Method: the real binary; servers that answer with their name; servers that go away.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::house::House;
use crate::support::{PATIENCE, pattern};

/// Answers each datagram with its name and what it got.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn named(name: &'static str) -> Self {
        Self::answering(move |asked| Some([name.as_bytes(), asked].concat()))
    }

    fn answering(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Only so that it notices that it is to stop.
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (asked, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let address = socket.local_addr().unwrap();
        let (count, stop) = (Arc::clone(&asked), Arc::clone(&stopped));
        let thread = std::thread::spawn(move || {
            let mut room = vec![0; 65_536];
            while !stop.load(Ordering::SeqCst) {
                let Ok((length, from)) = socket.recv_from(&mut room) else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(back) = answer(&room[..length]) {
                    socket.send_to(&back, from).unwrap();
                }
            }
        });
        Self { address, asked, stopped, thread: Some(thread) }
    }

    fn die(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.die();
    }
}

fn settings(servers: &[&Server], options: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address)).collect();
    format!(
        "[server]\nworkers = 2\n[stream.s]\nlisten = \"udp://127.0.0.1:0\"\nproxy = \"p\"\n{options}\n\
         [pool.p]\nservers = [{}]\n",
        servers.join(", ")
    )
}

struct Client(UdpSocket);

impl Client {
    fn to(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    #[track_caller]
    fn ask(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.0.send(bytes.as_ref()).unwrap();
        self.heard()
    }

    #[track_caller]
    fn heard(&self) -> Vec<u8> {
        let mut room = vec![0; 65_536];
        let length = self.0.recv(&mut room).unwrap();
        room.truncate(length);
        room
    }
}

// Goal: each client keeps its server and gets its own answers; the largest datagrams pass whole.
#[test]
fn each_client_has_a_server_and_its_own_answers() {
    let (a, b) = (Server::named("a:"), Server::named("b:"));
    let house = House::start(&settings(&[&a, &b], ""), &[]);
    assert!(house.addresses[0].starts_with("udp://"), "{:?}", house.addresses);
    let clients: Vec<Client> = (0..20).map(|_| Client::to(house.address(0))).collect();
    let firsts: Vec<Vec<u8>> = clients.iter().map(|client| client.ask("one")).collect();
    for (number, (client, first)) in clients.iter().zip(&firsts).enumerate() {
        let text = format!("two {number}");
        assert_eq!(client.ask(&text), [&first[..2], text.as_bytes()].concat());
    }
    assert!(firsts.contains(&b"a:one".to_vec()) && firsts.contains(&b"b:one".to_vec()));
    for length in [0, 1, 1472, 1473, 65_505] {
        let sent = pattern(length);
        assert!(clients[0].ask(&sent)[2..] == sent, "{length} bytes");
    }
    let views = house.json("connections");
    assert_eq!(views.as_array().unwrap().iter().filter(|view| view["role"] == "stream").count(), 20);
    let stream = &house.json("status")["streams"][0];
    assert_eq!((&stream["open"], &stream["total"], &stream["dropped"]), (&20.into(), &20.into(), &0.into()));
}

// Goal: a server that goes away loses nobody's datagram: the kernel says that nobody listens there, another gets it.
#[test]
fn a_server_that_is_gone_costs_no_datagram() {
    let (mut gone, here) = (Server::named("gone:"), Server::named("here:"));
    let house = House::start(&settings(&[&gone, &here], ""), &[]);
    let clients: Vec<Client> = (0..10).map(|_| Client::to(house.address(0))).collect();
    clients.iter().for_each(|client| drop(client.ask("one")));
    assert!(gone.asked.load(Ordering::SeqCst) > 0, "both servers are used");
    gone.die();
    for _ in 0..20 {
        assert_eq!(Client::to(house.address(0)).ask("two"), b"here:two");
    }
    // Sessions that had it: what they lose is known to be lost, the next goes elsewhere.
    for client in &clients {
        client.0.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut answers = (0..10).filter_map(|_| {
            client.0.send(b"three").unwrap();
            client.0.recv(&mut [0; 100]).ok()
        });
        assert!(answers.next().is_some());
    }
    house.until(|| house.json("status")["pools"][0]["servers"][0]["failed"].as_u64().unwrap() > 0);
}

// Goal: the table is bounded: a newcomer takes the place of the one quiet longest, of its own address first.
#[test]
fn the_table_is_bounded() {
    check("udp = { sessions_max = 8 }");
    check("udp = { sessions_per_address_max = 4 }");

    #[track_caller]
    fn check(options: &str) {
        let server = Server::named("s:");
        let house = House::start(&settings(&[&server], options).replace("workers = 2", "workers = 1"), &[]);
        let clients: Vec<Client> = (0..50).map(|_| Client::to(house.address(0))).collect();
        for client in &clients {
            assert_eq!(client.ask("hello"), b"s:hello");
        }
        let open = || house.json("status")["streams"][0]["open"].as_u64().unwrap();
        house.until(|| open() <= 8);
        // The first was pushed out long ago, and begins anew.
        assert_eq!(clients[0].ask("again"), b"s:again");
        assert_eq!(house.json("status")["streams"][0]["total"], 51);
    }
}

// Goal: sessions end: after `idle`, or with their last answer; a server that owes one and gives none has failed.
#[test]
fn sessions_end_when_there_is_nothing_to_wait_for() {
    check(|asked| Some(asked.to_vec()), "udp = { replies = 1 }", "done");
    check(|asked| Some(asked.to_vec()), "udp = { idle = \"1s\" }", "idle");
    check(|_| None, "udp = { idle = \"1s\" }", "idle");
    check(|_| None, "udp = { idle = \"1s\", replies = 1 }", "server-no-answer");

    #[track_caller]
    fn check(answer: fn(&[u8]) -> Option<Vec<u8>>, options: &str, end: &str) {
        let server = Server::answering(answer);
        let settings =
            settings(&[&server], options).replace("[server]", "[log]\naccess = \"json\"\n[server]");
        let house = House::start(&settings, &[]);
        let client = Client::to(house.address(0));
        client.0.send(b"hello").unwrap();
        if answer(b"hello").is_some() {
            assert_eq!(client.heard(), b"hello");
        }
        let log = || std::fs::read_to_string(house.path("data/logs/access.log")).unwrap_or_default();
        house.until(|| log().contains('\n'));
        let line: serde_json::Value = serde_json::from_str(log().lines().next().unwrap()).unwrap();
        assert_eq!((&line["end"], &line["protocol"]), (&end.into(), &"UDP".into()));
        assert_eq!(house.json("status")["streams"][0]["open"], 0);
    }
}

// Goal: reloads keep sockets and sessions; an upgrade hands the sockets over and what was asked is still answered.
#[test]
fn sessions_live_through_reloads_and_sockets_through_an_upgrade() {
    let server = Server::named("s:");
    let text = settings(&[&server], "");
    let mut house = House::start(&text, &[]);
    let client = Client::to(house.address(0));
    assert_eq!(client.ask("one"), b"s:one");
    for index in 0..10 {
        let idle = format!("[stream.s]\nudp = {{ idle = \"{}s\" }}", 30 + index);
        house.reload(&text.replace("[stream.s]", &idle));
        assert_eq!(client.ask("two"), b"s:two");
    }
    assert_eq!(house.json("status")["streams"][0]["total"], 1);
    house.write("madang.toml", &text);
    house.upgrade();
    for _ in 0..5 {
        assert_eq!(client.ask("three"), b"s:three");
        assert_eq!(Client::to(house.address(0)).ask("four"), b"s:four");
    }
    assert!(house.ended().success());
    assert_eq!(client.ask("five"), b"s:five");
}

// Goal: who may not come is not answered, and nothing is opened for it. Method: `deny` for the client's address.
#[test]
fn who_may_not_come_gets_nothing() {
    let server = Server::named("s:");
    let house = House::start(&settings(&[&server], "deny = \"127.0.0.0/8\""), &[]);
    let client = Client::to(house.address(0));
    client.0.send(b"hello").unwrap();
    house.until_said("the address is not allowed on this listener");
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
    assert_eq!(house.json("status")["streams"][0]["dropped"], 1);
}
