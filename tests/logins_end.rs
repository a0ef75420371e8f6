//! Goal: a login that ends ends the chat connections that came by it, on every face and every machine; everybody else stays.
//! Method: one user on a websocket, IRC and server-sent events at once, a neighbour beside; sessions, users and keys taken back by HTTP
//! and by commands; the same over two machines that share PostgreSQL and NATS.

use serde_json::json;

use crate::support::client::Client;
use crate::support::house::House;
use crate::support::irc::Irc;
use crate::support::nats::Nats;
use crate::support::postgres;
use crate::support::talk::Talk;
use crate::support::users::{PASSWORD, ok, post, token_of};

const TOWN: &str = r#"
[server]
workers = 2
[identity]
hash_memory = "8MiB"
hash_passes = 1
[site.main]
listen = "http://127.0.0.1:0"
route = [{ path = "/auth/*", identity = true }, { path = "/chat/*", chat = "town" }]
[chat.town]
listen = "irc://127.0.0.1:0"
"#;

/// On a websocket by a token.
fn talking(house: &House, token: &str) -> Talk {
    let mut talk = Talk::open(house.address(0), "/chat/ws", "");
    talk.ask(json!({ "do": "hello", "token": token }));
    talk.ask(json!({ "do": "join", "room": "lobby" }));
    talk
}

/// On IRC by name and password.
fn on_irc(house: &House, name: &str) -> Irc {
    let mut irc = Irc::open(house.address(1));
    irc.say(&format!("PASS :{name}:{PASSWORD}"));
    irc.enter(name, "");
    irc
}

/// Reading events by a token.
fn following(house: &House, token: &str) -> Client {
    let mut client = house.client();
    client.send(format!(
        "GET /chat/rooms/lobby/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
    ));
    let mut heard = String::new();
    while !heard.contains("event: joined") {
        heard.push_str(&String::from_utf8(client.exactly(1)).unwrap());
    }
    client
}

/// The neighbour says something and hears it: so nobody else was waited for or ended.
#[track_caller]
fn is_well(neighbour: &mut Talk, what: &str) {
    neighbour.ask(json!({ "do": "send", "room": "lobby", "text": what, "nonce": what }));
    while neighbour.event("message")["text"] != what {}
}

const ENDED: &str = "ERROR :logged out: log in again";

#[track_caller]
fn all_end(mut talk: Talk, mut irc: Irc, mut events: Client) {
    assert_eq!(talk.ended(), Some(4002));
    assert_eq!(irc.until("ERROR").last().unwrap(), ENDED);
    assert_eq!(irc.line(), None);
    assert!(events.rest().ends_with(b"0\r\n\r\n"), "the answer ends whole");
}

#[test]
fn a_login_that_ends_ends_its_connections_and_no_others() {
    let house = House::start(TOWN, &[]);
    let settings = house.path("madang.toml");
    ok(&settings, &["user", "add", "mina"], PASSWORD);
    ok(&settings, &["user", "add", "kim"], PASSWORD);
    let mut kim = talking(&house, &token_of(&house, "kim"));
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");

    // One session of two: the other one, and IRC, which is none, stay.
    let (one, other) = (token_of(&house, "mina"), token_of(&house, "mina"));
    let (mut first, irc, mut events) =
        (talking(&house, &one), on_irc(&house, "mina"), following(&house, &one));
    let second = talking(&house, &other);
    assert_eq!(post(&house, "/auth/logout", &bearer(&one), &json!({})).0, 204);
    assert_eq!(first.ended(), Some(4002));
    assert!(events.rest().ends_with(b"0\r\n\r\n"));
    is_well(&mut kim, "one session");

    // All of them.
    let events = following(&house, &other);
    assert_eq!(post(&house, "/auth/logout", &bearer(&other), &json!({ "everywhere": true })).0, 204);
    all_end(second, irc, events);
    is_well(&mut kim, "logout by HTTP");
    let mut late = Talk::open(house.address(0), "/chat/ws", "");
    let refused = late.answered(json!({ "do": "hello", "token": other }));
    assert_eq!(refused["error"]["name"], "token-expired", "{refused}");

    // By an operator.
    let orders: [&[&str]; 4] = [
        &["user", "logout", "mina"],
        &["user", "roles", "mina", "moderator"],
        &["user", "disable", "mina"],
        &["user", "remove", "mina"],
    ];
    for order in orders {
        let token = token_of(&house, "mina");
        let all = (talking(&house, &token), on_irc(&house, "mina"), following(&house, &token));
        ok(&settings, order, "");
        all_end(all.0, all.1, all.2);
        is_well(&mut kim, order[1]);
        if order[1] == "disable" {
            ok(&settings, &["user", "enable", "mina"], "");
        }
    }
}

// Goal: on another machine the same, at once by the bus, and by the database alone when the bus is away.
// Method: two machines over one PostgreSQL and one NATS, which is killed in between.
#[test]
fn a_login_that_ends_on_one_machine_ends_on_the_others() {
    let (database, mut nats) = (postgres::Server::start(), Nats::start(""));
    let shared = format!(
        "{TOWN}[store]\ndatabase = \"{}\"\n[bus]\nnats = \"nats://127.0.0.1:{}\"\n",
        database.database("town"),
        nats.port
    );
    let (here, there) = (House::start(&shared, &[]), House::start(&shared, &[]));
    let settings = here.path("madang.toml");
    ok(&settings, &["user", "add", "mina"], PASSWORD);
    ok(&settings, &["user", "add", "kim"], PASSWORD);
    for house in [&here, &there] {
        house.until(|| house.metrics().contains("madang_bus_nodes 1"));
    }

    // Guesses are counted together: five at one machine are none any more at the other.
    let guess = |house: &House| post(house, "/auth/login", "", &json!({ "name": "lee", "password": "?" })).0;
    assert_eq!([(); 5].map(|()| guess(&here)), [401; 5]);
    let mut looked_at = 0;
    there.until(|| {
        let status = guess(&there);
        looked_at += u32::from(status == 401);
        status == 429
    });
    assert!(looked_at < 5, "each machine counts for itself: {looked_at} more");

    let mut kim = talking(&there, &token_of(&here, "kim"));
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    for what in ["by the bus", "without it"] {
        let token = token_of(&here, "mina");
        let all = (talking(&there, &token), on_irc(&there, "mina"), following(&there, &token));
        assert_eq!(post(&here, "/auth/logout", &bearer(&token), &json!({ "everywhere": true })).0, 204);
        all_end(all.0, all.1, all.2);
        is_well(&mut kim, what);
        nats.crash();
    }
}

// Goal: a program comes in by an API key that nobody has shown before, on every face, and its connections end when the key is revoked while
// those by password stay.
#[test]
fn a_revoked_key_ends_what_came_by_it() {
    let house = House::start(TOWN, &[]);
    let settings = house.path("madang.toml");
    ok(&settings, &["user", "add", "bot"], PASSWORD);
    let key = || ok(&settings, &["token", "new", "bot"], "").trim().to_owned();
    let (first, second, third, fourth, fifth) = (key(), key(), key(), key(), key());
    let mut talk = talking(&house, &first);
    let mut by_head =
        Talk::open(house.address(0), "/chat/ws", &format!("authorization: Bearer {second}\r\n"));
    assert_eq!(by_head.ask(json!({ "do": "hello" }))["you"]["name"], "bot");
    let mut events = following(&house, &third);
    let mut irc = Irc::open(house.address(1));
    irc.say(&format!("PASS {fourth}"));
    irc.enter("bot", "");
    let said = json!({ "text": "by key", "nonce": "1" });
    let bearer = format!("authorization: Bearer {fifth}\r\n");
    assert_eq!(post(&house, "/chat/rooms/lobby/messages", &bearer, &said).0, 201);
    let mut stays = on_irc(&house, "bot");

    for key in [&first, &second, &third, &fourth] {
        ok(&settings, &["token", "revoke", &key[..12]], "");
    }
    assert_eq!((talk.ended(), by_head.ended()), (Some(4002), Some(4002)));
    assert!(events.rest().ends_with(b"0\r\n\r\n"));
    assert_eq!(irc.until("ERROR").last().unwrap(), ENDED);
    stays.say("PING still");
    stays.until("PONG town.madang :still");
    let mut late = Talk::open(house.address(0), "/chat/ws", "");
    assert_eq!(late.answered(json!({ "do": "hello", "token": first }))["error"]["name"], "token-expired");
    assert_eq!(late.answered(json!({ "do": "hello", "token": fifth }))["ok"]["you"]["name"], "bot");
}
