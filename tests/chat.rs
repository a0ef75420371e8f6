//! A chat of the running program: joined to a route, kept in the store, over reloads, upgrades and ends.

use std::io::Write as _;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::house::House;
use crate::support::talk::Talk;

const TOWN: &str = r#"
[server]
workers = 2
[site.main]
listen = "http://127.0.0.1:0"
route = [{ path = "/chat/*", chat = "town" }, { path = "/*", files = "public" }]
[chat.town]
"#;

fn send(talk: &mut Talk, text: &str) -> Value {
    talk.ask(json!({ "do": "send", "room": "lobby", "text": text, "nonce": text }))
}

// Goal: two people talk in a room, over whichever workers they came; what was said is there after a crash, once.
#[test]
fn people_talk_and_a_crash_loses_nothing() {
    let mut house = House::start(TOWN, &[]);
    let mut all: Vec<Talk> = (0..4).map(|n| Talk::guest(house.address(0), &format!("guest{n}"))).collect();
    for talk in &mut all {
        talk.ask(json!({ "do": "join", "room": "lobby" }));
    }
    let sent = send(&mut all[0], "안녕");
    for talk in &mut all {
        let heard = talk.event("message");
        assert_eq!((&heard["text"], &heard["offset"]), (&json!("안녕"), &sent["offset"]), "{heard}");
        assert_eq!(heard["by"]["name"], "guest0");
    }
    house.kill_and_start_again();
    let mut back = Talk::guest(house.address(0), "back");
    let since = json!({ "epoch": sent["epoch"], "offset": 0 });
    let joined = back.ask(json!({ "do": "join", "room": "lobby", "since": since }));
    assert_eq!((&joined["reset"], &joined["epoch"]), (&json!(false), &sent["epoch"]), "{joined}");
    assert_eq!(back.event("message")["text"], "안녕");
    let again = back.ask(json!({ "do": "history", "room": "lobby" }));
    let said: Vec<&Value> =
        again["events"].as_array().unwrap().iter().filter(|event| event["on"] == "message").collect();
    assert_eq!(said.len(), 1, "{again}");
}

// Goal: what an operator asks of a chat: status, connections, metrics.
#[test]
fn a_chat_is_seen_from_outside() {
    let house = House::start(TOWN, &[]);
    let mut talk = Talk::guest(house.address(0), "mina");
    talk.ask(json!({ "do": "join", "room": "lobby" }));
    send(&mut talk, "hello");
    talk.event("message");
    let status = house.json("status");
    let chat = &status["chats"][0];
    assert_eq!(
        (&chat["chat"], &chat["connections"], &chat["people"]),
        (&json!("town"), &json!(1), &json!(1)),
        "{chat}"
    );
    assert!(chat["messages"].as_u64() >= Some(1) && chat["deliveries"].as_u64() >= Some(1), "{chat}");
    let connections = house.json("connections");
    let one = connections.as_array().unwrap().iter().find(|one| one["role"] == "chat").expect("a connection");
    assert_eq!((&one["user"], &one["state"]), (&json!("mina"), &json!("tunnel")), "{one}");
    let metrics = house.metrics();
    assert!(metrics.contains("madang_chat_connections{chat=\"town\"} 1"), "{metrics}");
    assert!(metrics.contains("madang_store_commits_total"), "{metrics}");
    let shown = house.ask(&["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("CHAT") && shown.contains("town"), "{shown}");
    talk.frame(0x88, &1000_u16.to_be_bytes());
    assert_eq!(talk.ended(), Some(1000));
    house.until(|| house.json("status")["chats"][0]["ended"]["closed"] == 1);
}

// Goal: a reload leaves talks alone, gives them new limits, and brings and takes away chats.
#[test]
fn a_reload_leaves_talks_alone() {
    let house = House::start(TOWN, &[]);
    let mut talk = Talk::guest(house.address(0), "mina");
    talk.ask(json!({ "do": "join", "room": "lobby" }));
    let port = house.address(0);
    let changed = format!("{TOWN}message_size = \"64B\"\n[chat.other]\n")
        .replace("{ path = \"/*\"", "{ path = \"/other/*\", chat = \"other\" }, { path = \"/*\"");
    house.reload(&changed);
    let refused =
        talk.answered(json!({ "do": "send", "room": "lobby", "text": "x".repeat(65), "nonce": "1" }));
    assert_eq!(refused["error"]["name"], "too-long", "{refused}");
    send(&mut talk, "still here");
    let mut other = Talk::open(port, "/other/ws", "");
    other.ask(json!({ "do": "hello", "name": "mina" }));
    house.reload(TOWN);
    assert_eq!(other.ended(), Some(1001));
    send(&mut talk, "and still");
    assert_eq!(house.client().get("/other/ws").status, 404);
}

// Goal: an upgrade closes talks with the code that says come back; whoever comes back finds everything.
#[test]
fn an_upgrade_asks_everybody_to_come_back() {
    let mut house = House::start(TOWN, &[]);
    let mut talk = Talk::guest(house.address(0), "mina");
    talk.ask(json!({ "do": "join", "room": "lobby" }));
    let before = send(&mut talk, "before");
    house.upgrade();
    assert_eq!(talk.ended(), Some(1001));
    let mut back = Talk::guest(house.address(0), "back");
    let since = json!({ "epoch": before["epoch"], "offset": 0 });
    back.ask(json!({ "do": "join", "room": "lobby", "since": since }));
    assert_eq!(back.event("message")["text"], "before");
}

// Goal: the end of the server is said, what was acknowledged is kept, and the process ends in time.
#[test]
fn the_end_is_said() {
    let mut house = House::start(TOWN, &[]);
    let mut talk = Talk::guest(house.address(0), "mina");
    talk.ask(json!({ "do": "join", "room": "lobby" }));
    send(&mut talk, "last");
    house.signal(Signal::TERM);
    assert_eq!(talk.ended(), Some(1001));
    assert!(house.ended().success(), "{}", house.said());
}

// Goal: what goes wrong at the door is told: a foreign page, a usual request, a path without a slash, a page that is not there.
#[test]
fn the_door_says_why_not() {
    let house = House::start(TOWN, &[]);
    let mut client = house.client();
    let answer = client.get("/chat/ws");
    assert_eq!((answer.status, answer.field("sec-websocket-version").as_deref()), (426, Some("13")));
    let answer = house.client().get("/chat");
    assert_eq!((answer.status, answer.field("location").as_deref()), (308, Some("/chat/")));
    assert_eq!(house.client().get("/chat/nothing").status, 404);
    let foreign = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\norigin: http://evil.test\r\n";
    assert_eq!(house.client().ask("GET", "/chat/ws", foreign).status, 403);
    let own = "origin: http://localhost\r\nsec-websocket-protocol: x, madang.chat.v1\r\n";
    let mut talk = Talk::open(house.address(0), "/chat/ws", own);
    let early = talk.answered(json!({ "do": "join", "room": "lobby" }));
    assert_eq!(early["error"]["name"], "hello-first", "{early}");
    talk.frame(0x81, b"{not json");
    let wrong = talk.next().unwrap();
    assert_eq!((&wrong["id"], &wrong["error"]["name"]), (&json!(0), &json!("malformed")), "{wrong}");
    talk.frame(0x81, b"\xff\xff");
    assert_eq!(talk.ended(), Some(1007));
}

// Goal: a store that cannot be had is said before anything is served, and a reload that needs it changes nothing.
#[test]
fn a_store_that_cannot_be_had_is_said() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("public")).unwrap();
    let settings = format!("{TOWN}[store]\ndatabase = \"postgres://nobody@127.0.0.1:1/none\"\n");
    std::fs::File::create(folder.path().join("madang.toml")).unwrap().write_all(settings.as_bytes()).unwrap();
    let mut command = crate::support::house::program();
    let output = command.args(["run", "-c"]).arg(folder.path().join("madang.toml")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot be opened (postgres://nobody@127.0.0.1:1/none)"), "{said}");
}
