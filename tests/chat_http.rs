//! A chat by plain HTTP: saying and reading without a websocket, server-sent events, files, the page.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::house::House;
use crate::support::talk::Talk;

const TOWN: &str = r#"
[server]
workers = 2
[site.main]
listen = "http://127.0.0.1:0"
route = [{ path = "/chat/*", chat = "town" }]
[chat.town]
files = { size = "64KiB", total = "1MiB" }
"#;

fn post(house: &House, target: &str, fields: &str, body: impl AsRef<[u8]>) -> Answer {
    let mut client = house.client();
    let length = body.as_ref().len();
    client.send(format!(
        "POST {target} HTTP/1.1\r\nhost: localhost\r\n{fields}content-length: {length}\r\n\r\n"
    ));
    client.send(body);
    client.answer("POST")
}

fn read(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error} in {answer:?}"))
}

/// A guest in the lobby, and its key.
fn guest(house: &House, name: &str) -> (Talk, String) {
    let mut talk = Talk::open(house.address(0), "/chat/ws", "");
    let hello = talk.ask(json!({ "do": "hello", "name": name }));
    talk.ask(json!({ "do": "join", "room": "lobby" }));
    (talk, hello["key"].as_str().unwrap().to_owned())
}

fn now_ms() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

// Goal: what is posted is heard live and read back; the same nonce again is the same message; refusals have a name and a status.
#[test]
fn a_message_is_posted_once_and_read_back() {
    let house = House::start(TOWN, &[]);
    let (mut mina, _) = guest(&house, "mina");
    let say = |nonce: &str| json!({ "text": "by post", "nonce": nonce, "name": "bot" }).to_string();
    let first = post(&house, "/chat/rooms/lobby/messages", "", say("1"));
    assert_eq!(first.status, 201, "{first:?}");
    let again = post(&house, "/chat/rooms/lobby/messages", "", say("1"));
    assert_eq!(again.status, 200, "{again:?}");
    let told = mina.event("message");
    assert_eq!(told["text"], "by post");
    // Later, by a clock that has gone on: in the time of the first one.
    while now_ms() <= told["at_ms"].as_u64().unwrap() {}
    let later = post(&house, "/chat/rooms/lobby/messages", "", say("1"));
    for again in [again, later] {
        let mut want = read(&first);
        want["duplicate"] = json!(true);
        assert_eq!(read(&again), want);
        assert_eq!(want["at_ms"], told["at_ms"]);
    }
    let past = house.client().get("/chat/rooms/lobby/messages?limit=10");
    assert_eq!(past.status, 200, "{past:?}");
    let past = read(&past);
    let said: Vec<&Value> =
        past["events"].as_array().unwrap().iter().filter(|event| event["on"] == "message").collect();
    assert_eq!((said.len(), &said[0]["by"]["name"]), (1, &json!("bot")), "{past}");
    let rooms = read(&house.client().get("/chat/rooms"));
    assert_eq!(rooms["open"][0]["room"], "lobby", "{rooms}");

    check(post(&house, "/chat/rooms/lobby/messages", "", "{"), 400, "malformed");
    check(post(&house, "/chat/rooms/lobby/messages", "", r#"{"text":"x","nonce":"2"}"#), 401, "users-only");
    check(post(&house, "/chat/rooms/none/messages", "", say("3")), 404, "no-such-room");
    check(
        post(&house, "/chat/rooms/lobby/messages", "", r#"{"text":"x","nonce":"4","name":"mina"}"#),
        409,
        "name-taken",
    );
    check(post(&house, "/chat/rooms/lobby/messages", "", "x".repeat(70_000)), 413, "too-long");
    check(house.client().get("/chat/rooms/lobby/messages?limit=x"), 400, "malformed");
    assert_eq!(house.client().ask("DELETE", "/chat/rooms", "").status, 405);

    #[track_caller]
    fn check(answer: Answer, status: u16, name: &str) {
        assert_eq!((answer.status, &read(&answer)["error"]["name"]), (status, &json!(name)), "{answer:?}");
    }
}

/// Reads a stream of events until it has heard this; everything so far.
#[track_caller]
fn until(client: &mut Client, what: &str) -> String {
    let mut all = String::new();
    while !all.contains(what) || !all.ends_with("\n\n") {
        all.push_str(&String::from_utf8(client.exactly(1)).unwrap());
    }
    all
}

// Goal: a browser's EventSource follows a room and resumes by the id it has, without loss or duplicate.
#[test]
fn server_sent_events_resume_where_they_were() {
    let house = House::start(TOWN, &[]);
    let (mut mina, _) = guest(&house, "mina");
    let say = |mina: &mut Talk, text: &str| {
        mina.ask(json!({ "do": "send", "room": "lobby", "text": text, "nonce": text }))
    };
    let mut client = house.client();
    client.send("GET /chat/rooms/lobby/events HTTP/1.1\r\nhost: localhost\r\n\r\n");
    until(&mut client, "event: joined");
    say(&mut mina, "one");
    let heard = until(&mut client, "\"text\":\"one\"");
    let id = heard.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap().to_owned();
    drop(client);
    say(&mut mina, "two");
    say(&mut mina, "three");
    let mut client = house.client();
    client.send(format!(
        "GET /chat/rooms/lobby/events HTTP/1.1\r\nhost: localhost\r\nlast-event-id: {id}\r\n\r\n"
    ));
    let heard = until(&mut client, "\"text\":\"three\"");
    assert!(heard.contains("\"text\":\"two\"") && !heard.contains("\"text\":\"one\""), "{heard}");
    let wrong = house.client().get("/chat/rooms/lobby/events?since=x");
    assert_eq!((wrong.status, &read(&wrong)["error"]["name"]), (400, &json!("malformed")));
}

// Goal: a guest that is here attaches a file, everybody reads it, and nothing of it can run in a browser.
#[test]
fn a_file_is_attached_and_read() {
    let house = House::start(TOWN, &[]);
    let (mut mina, key) = guest(&house, "mina");
    let send = |name: &str, kind: &str, key: &str, body: &[u8]| {
        let fields = format!("content-type: {kind}\r\nmadang-key: {key}\r\n");
        post(&house, &format!("/chat/files?name={name}"), &fields, body)
    };
    let image: Vec<u8> = (0..40_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let taken = send("%EB%A7%88%EB%8B%B9.png", "image/png", &key, &image);
    assert_eq!(taken.status, 201, "{taken:?}");
    let file = read(&taken);
    assert_eq!((&file["name"], &file["bytes"]), (&json!("마당.png"), &json!(40_000)));
    mina.ask(json!({ "do": "send", "room": "lobby", "nonce": "f", "files": [file] }));
    let url = mina.event("message")["files"][0]["url"].as_str().unwrap().to_owned();
    let given = house.client().get(&format!("/chat/{url}"));
    assert_eq!((given.status, given.body == image), (200, true));
    assert_eq!(given.field("x-content-type-options").as_deref(), Some("nosniff"));
    assert!(given.field("content-security-policy").unwrap().starts_with("sandbox"), "{given:?}");
    let part = house.client().ask("GET", &format!("/chat/{url}"), "range: bytes=10-19\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &image[10..20]));
    assert_eq!(
        house.client().ask("HEAD", &format!("/chat/{url}"), "").field("content-length").as_deref(),
        Some("40000")
    );

    check(send("a.html", "text/html", &key, b"<script>"), 400, "bad-file");
    check(send("..", "image/png", &key, b"x"), 400, "bad-file");
    check(send("a%2Fb", "image/png", &key, b"x"), 400, "bad-file");
    check(send("a.png", "image/png", "ffff", b"x"), 401, "bad-key");
    check(post(&house, "/chat/files?name=a", "content-type: image/png\r\n", "x"), 401, "users-only");
    check(send("a.png", "image/png", &key, &[0; 70_000]), 413, "too-long");
    assert_eq!(house.client().get("/chat/files/0123456789abcdef0123456789abcdef/x").status, 404);
    assert_eq!(house.client().get("/chat/files/..%2Fx/y").status, 400);
    drop(mina);
    house.until(|| send("a.png", "image/png", &key, b"x").status == 401);

    #[track_caller]
    fn check(answer: Answer, status: u16, name: &str) {
        assert_eq!((answer.status, &read(&answer)["error"]["name"]), (status, &json!(name)), "{answer:?}");
    }
}

// Goal: a file goes with the last message that has it, and its room is free again.
#[test]
fn a_file_goes_with_the_last_message_that_has_it() {
    let house = House::start(TOWN, &[]);
    let (mut mina, key) = guest(&house, "mina");
    let fields = format!("content-type: image/png\r\nmadang-key: {key}\r\n");
    let file = read(&post(&house, "/chat/files?name=a.png", &fields, [7; 60_000]));
    let target = format!("/chat/{}", file["url"].as_str().unwrap());
    let send = |mina: &mut Talk, nonce: &str| {
        mina.ask(json!({ "do": "send", "room": "lobby", "nonce": nonce, "files": [file] }))["offset"].clone()
    };
    // The second one twice: it is one message all the same.
    let (first, second) = (send(&mut mina, "1"), send(&mut mina, "2"));
    assert_eq!(send(&mut mina, "2"), second);
    let mut delete = |offset: &Value| {
        let nonce = format!("delete {offset}");
        mina.ask(json!({ "do": "delete", "room": "lobby", "offset": offset, "nonce": nonce }));
        // The one after it is done after it.
        mina.ask(json!({ "do": "who", "room": "lobby" }));
    };
    delete(&first);
    assert_eq!(house.client().get(&target).status, 200, "another message has it");
    delete(&second);
    house.until(|| house.client().get(&target).status == 404);
    let stored = || std::fs::read_dir(house.path("data/chat/town/files")).unwrap().flatten();
    house.until(|| stored().all(|below| std::fs::read_dir(below.path()).unwrap().next().is_none()));
}

// Goal: all files together never take more than `total`.
#[test]
fn files_have_a_limit_together() {
    let house = House::start(TOWN, &[]);
    let (_mina, key) = guest(&house, "mina");
    let fields = format!("content-type: image/png\r\nmadang-key: {key}\r\n");
    let mut taken = 0;
    let last = loop {
        let answer = post(&house, "/chat/files?name=a.png", &fields, [7; 60_000]);
        if answer.status != 201 {
            break answer;
        }
        taken += 1;
        assert!(taken < 18, "more than 1 MiB");
    };
    assert_eq!((taken, last.status, &read(&last)["error"]["name"]), (17, 503, &json!("full")), "{last:?}");
}

// Goal: programs find the protocol beside the page, as `madang schema` prints it; what its bounds forbid is refused.
#[test]
fn the_protocol_is_served_and_kept() {
    let house = House::start(TOWN, &[]);
    for (name, first) in [("protocol.json", "asyncapi"), ("openapi.json", "openapi")] {
        let answer = house.client().get(&format!("/chat/{name}"));
        assert_eq!(
            (answer.status, answer.field("content-type").as_deref()),
            (200, Some("application/json")),
            "{name}"
        );
        assert!(read(&answer)[first].is_string(), "{name}");
        assert_eq!(house.client().ask("DELETE", &format!("/chat/{name}"), "").status, 405);
    }
    let (mut mina, _) = guest(&house, "mina");
    check(&mut mina, json!({ "do": "history", "room": "lobby", "limit": 201 }), "limit: 1 to 200");
    check(
        &mut mina,
        json!({ "do": "read", "room": "lobby", "offset": 1_u64 << 53 }),
        "offset: 0 to 9007199254740991",
    );
    check(&mut mina, json!({ "do": "join", "room": "lobby", "since": [1, 2] }), "expected an object");
    check(
        &mut mina,
        json!({ "do": "search", "words": "x", "before": "x" }),
        "before: what the last search gave",
    );
    let list = post(&house, "/chat/rooms/lobby/messages", "", r#"["x","n","bot"]"#);
    assert_eq!((list.status, &read(&list)["error"]["name"]), (400, &json!("malformed")));

    #[track_caller]
    fn check(talk: &mut Talk, request: Value, why: &str) {
        let error = &talk.answered(request)["error"];
        assert!(error["name"] == "malformed" && error["text"].as_str().unwrap().contains(why), "{error}");
    }
}

// Goal: the page is there, asks nobody else for anything, and is sent once per version.
#[test]
fn the_page_is_served() {
    let house = House::start(TOWN, &[]);
    let page = house.client().get("/chat/");
    assert_eq!((page.status, page.field("content-type").as_deref()), (200, Some("text/html; charset=utf-8")));
    assert!(page.field("content-security-policy").unwrap().contains("default-src 'none'"));
    let etag = page.field("etag").unwrap();
    let again = house.client().ask("GET", "/chat/", &format!("if-none-match: {etag}\r\n"));
    assert_eq!((again.status, again.body.len()), (304, 0));
    let plain = house.client().get("/chat/chat.js");
    let packed = house.client().ask("GET", "/chat/chat.js", "accept-encoding: gzip\r\n");
    assert_eq!(packed.field("content-encoding").as_deref(), Some("gzip"));
    assert!(packed.body.len() * 2 < plain.body.len(), "{} of {}", packed.body.len(), plain.body.len());
}
