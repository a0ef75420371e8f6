//! A chat among people who mean no good: bad frames, floods, what is too long, other people's names, keys and rooms, sockets that
//! say nothing. Goal: each is refused by a name that says what was wrong, and a neighbour who just talks notices nothing.
//! Method: the neighbour says something again and again and hears it; no answer may be missing or come out of order, and the slowest
//! may not take longer than a wait that nobody would call being unharmed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::house::House;
use crate::support::talk::Talk;

/// However busy the machine that tests: longer than this is no unharmed neighbour.
const UNHARMED: Duration = Duration::from_secs(5);

fn town(keys: &str) -> House {
    let settings = format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\n\
         route = [{{ path = \"/chat/*\", chat = \"town\" }}, {{ path = \"/*\", files = \"public\" }}]\n[chat.town]\n{keys}\n"
    );
    House::start(&settings, &[])
}

/// Somebody who just talks.
struct Neighbour {
    over: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Duration)>,
}

impl Neighbour {
    fn of(house: &House) -> Self {
        let (over, address) = (Arc::new(AtomicBool::new(false)), house.address(0));
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut talk = Talk::guest(address, "neighbour");
            talk.ask(json!({ "do": "join", "room": "garden" }));
            let (mut last, mut count, mut slowest) = (0, 0, Duration::ZERO);
            while !told.load(Ordering::Relaxed) || count < 3 {
                let began = Instant::now();
                let text = format!("it is {count}");
                let said = json!({ "do": "send", "room": "garden", "text": text, "nonce": text });
                match talk.answered(said) {
                    answer if answer["error"]["name"] == "too-fast" => {
                        // One who talks keeps to the pace that is asked for.
                        let wait = Duration::from_millis(answer["error"]["again_ms"].as_u64().unwrap());
                        std::thread::park_timeout(wait);
                        continue;
                    }
                    answer => assert!(answer["ok"].is_object(), "{answer}"),
                }
                let heard = talk.event("message");
                let offset = heard["offset"].as_u64().unwrap();
                assert_eq!(heard["text"], json!(text));
                assert!(offset > last, "{offset} after {last}");
                last = offset;
                count += 1;
                slowest = slowest.max(began.elapsed());
            }
            (count, slowest)
        });
        Self { over, thread }
    }

    /// It was not harmed.
    #[track_caller]
    fn stayed_well(self) {
        self.over.store(true, Ordering::Relaxed);
        let (count, slowest) = self.thread.join().unwrap();
        assert!(slowest < UNHARMED, "of {count} one took {slowest:?}");
    }
}

fn name_of(answer: &Value) -> &str {
    answer["error"]["name"].as_str().unwrap_or_else(|| panic!("no refusal: {answer}"))
}

#[test]
fn bad_frames_end_their_connection_by_the_right_code() {
    let house = town("");
    let neighbour = Neighbour::of(&house);
    let key = [7, 1, 3, 9];
    check("unmasked", &house, &[0x81, 2, b'h', b'i'], 1002);
    check("a reserved bit", &house, &[0xc1, 0x80, 7, 1, 3, 9], 1002);
    check("an opcode of nobody", &house, &[0x83, 0x80, 7, 1, 3, 9], 1002);
    check("a control frame in pieces", &house, &[0x09, 0x80, 7, 1, 3, 9], 1002);
    check("a long control frame", &house, &[0x89, 0xfe, 0, 126, 7, 1, 3, 9], 1002);
    check("a piece of nothing", &house, &[0x80, 0x80, 7, 1, 3, 9], 1002);
    check("a length in a longer form", &house, &[0x81, 0xfe, 0, 5, 7, 1, 3, 9], 1002);
    check(
        "a close code that is never sent",
        &house,
        &[&[0x88, 0x82][..], &key, &[3 ^ 7, 0xed ^ 1]].concat(),
        1002,
    );
    check("no UTF-8", &house, &[&[0x81, 0x82][..], &key, &[0xc3 ^ 7, 0x28 ^ 1]].concat(), 1007);
    check("a message above the limit", &house, &[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 7, 1, 3, 9], 1009);
    check("a length without end", &house, &[0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255], 1009);
    neighbour.stayed_well();

    #[track_caller]
    fn check(what: &str, house: &House, bytes: &[u8], code: u16) {
        // A guest's name stays its own for a while.
        let mut talk = Talk::guest(house.address(0), &what.replace(' ', "-").to_lowercase());
        talk.bytes(bytes);
        assert_eq!(talk.ended(), Some(code), "{what}");
    }
}

// Goal: what is no request of the protocol is refused by its number where it has one; who sends nothing else is ended.
#[test]
fn nonsense_is_named_and_ends() {
    let house = town("");
    let neighbour = Neighbour::of(&house);
    let mut talk = Talk::open(house.address(0), "/chat/ws", "");
    check(&mut talk, "", json!(0), "malformed");
    check(&mut talk, "[[[[[[[[", json!(0), "malformed");
    check(&mut talk, "{\"do\":\"hello\"}", json!(0), "malformed");
    check(&mut talk, "{\"id\":7,\"do\":\"join\",\"room\":\"lobby\"}", json!(7), "hello-first");
    check(&mut talk, "{\"id\":8,\"do\":\"hello\",\"name\":\"a b\"}", json!(8), "bad-name");
    check(&mut talk, "{\"id\":9,\"do\":\"hello\",\"nmae\":\"mallory\"}", json!(9), "malformed");
    talk.ask(json!({ "do": "hello", "name": "mallory" }));
    check(&mut talk, "{\"id\":20,\"do\":\"hello\",\"name\":\"other\"}", json!(20), "hello-twice");
    check(&mut talk, "{\"id\":21,\"do\":\"shout\"}", json!(21), "malformed");
    check(&mut talk, "{\"id\":22,\"do\":\"join\",\"room\":\"a b\"}", json!(22), "bad-room");
    check(&mut talk, "{\"id\":23,\"do\":\"join\",\"room\":\"../etc\"}", json!(23), "bad-room");
    check(&mut talk, &deep(2_000), json!(0), "malformed");
    for _ in 0..200 {
        talk.frame(0x81, b"{}");
    }
    assert_eq!(talk.ended(), Some(4003));
    neighbour.stayed_well();

    fn deep(levels: usize) -> String {
        format!("{{\"id\":1,\"do\":\"send\",\"room\":{}", "[".repeat(levels))
    }

    #[track_caller]
    fn check(talk: &mut Talk, text: &str, id: Value, name: &str) {
        talk.frame(0x81, text.as_bytes());
        let answer = talk.next().unwrap();
        assert_eq!((&answer["id"], name_of(&answer)), (&id, name), "{text}: {answer}");
    }
}

// Goal: whoever sends more than the rate is told when to go on, loses nothing that was taken, and is ended if it does not listen.
#[test]
fn a_flood_is_slowed_down_by_name() {
    let house = town("rate = \"5/s\"\nburst = 20");
    let neighbour = Neighbour::of(&house);
    let mut talk = Talk::guest(house.address(0), "mallory");
    talk.ask(json!({ "do": "join", "room": "lobby" }));
    let (mut taken, mut refused) = (0, 0);
    for n in 0..60 {
        let answer =
            talk.answered(json!({ "do": "send", "room": "lobby", "text": "x", "nonce": n.to_string() }));
        if answer["ok"].is_object() {
            taken += 1;
        } else {
            assert_eq!(name_of(&answer), "too-fast", "{answer}");
            assert!((1..=10_000).contains(&answer["error"]["again_ms"].as_u64().unwrap()), "{answer}");
            refused += 1;
        }
    }
    assert!((20..=40).contains(&taken) && refused >= 20, "{taken} taken, {refused} refused");
    // All at once, without reading: the answers are bounded, and the end has its name.
    for n in 0..2_000 {
        talk.say(json!({ "do": "send", "room": "lobby", "text": "y", "nonce": format!("y{n}") }));
    }
    assert_eq!(talk.ended(), Some(4003));
    neighbour.stayed_well();
}

#[test]
fn what_is_too_long_or_no_text_is_refused_by_name() {
    let house = town("message_size = \"1KiB\"");
    let neighbour = Neighbour::of(&house);
    let mut talk = Talk::guest(house.address(0), "mallory");
    talk.ask(json!({ "do": "join", "room": "lobby" }));
    let mut nonce = 0;
    let mut say = |text: &str| {
        nonce += 1;
        talk.answered(json!({ "do": "send", "room": "lobby", "text": text, "nonce": nonce.to_string() }))
    };
    assert!(say(&"x".repeat(1_024))["ok"].is_object());
    assert_eq!(name_of(&say(&"x".repeat(1_025))), "too-long");
    assert_eq!(name_of(&say(&"마".repeat(342))), "too-long");
    assert_eq!(name_of(&say("")), "bad-text");
    assert_eq!(name_of(&say("a\u{0}b")), "bad-text");
    assert_eq!(name_of(&say("\u{1b}[2J")), "bad-text");
    let long = talk.answered(json!({ "do": "send", "room": "lobby", "text": "x", "nonce": "n".repeat(65) }));
    assert!(matches!(name_of(&long), "too-long" | "malformed"), "{long}");
    let none = talk.answered(json!({ "do": "send", "room": "lobby", "text": "x", "nonce": "" }));
    assert!(matches!(name_of(&none), "too-long" | "malformed"), "{none}");
    neighbour.stayed_well();
}

// Goal: nobody takes another's name, however it is written; a key opens its own guest and no other; a forged token nothing.
#[test]
fn other_peoples_names_keys_and_tokens_open_nothing() {
    let house = town("");
    let neighbour = Neighbour::of(&house);
    let address = house.address(0);
    let mut mina = Talk::open(address, "/chat/ws", "");
    let key = mina.ask(json!({ "do": "hello", "name": "Mina" }))["key"].as_str().unwrap().to_owned();
    check(address, json!({ "name": "Mina" }), "name-taken");
    check(address, json!({ "name": "mINA" }), "name-taken");
    check(address, json!({ "name": "Ｍｉｎａ" }), "name-taken");
    check(address, json!({ "name": "Mina", "key": "" }), "bad-key");
    check(address, json!({ "name": "Mina", "key": format!("{key}x") }), "bad-key");
    check(address, json!({ "name": "Mina", "key": &key[..key.len() - 1] }), "bad-key");
    check(address, json!({ "name": "x".repeat(33) }), "bad-name");
    check(address, json!({ "name": "mi\u{200b}na" }), "bad-name");
    check(address, json!({ "name": "mina\u{202e}" }), "bad-name");
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1Om1pbmEiLCJyb2xlIjoiYWRtaW4ifQ.";
    check(address, json!({ "token": none }), "bad-token");
    check(address, json!({ "token": format!("{none}AAAA"), "name": "other" }), "bad-token");
    check(address, json!({ "token": "" }), "bad-token");
    // Guessing goes on for as long as a connection lives, and that ends.
    let mut guessing = Talk::open(address, "/chat/ws", "");
    for n in 0..300 {
        guessing.say(json!({ "do": "hello", "name": "Mina", "key": format!("{n:032x}") }));
    }
    assert_eq!(guessing.ended(), Some(4003));
    mina.ask(json!({ "do": "ping" }));
    neighbour.stayed_well();

    #[track_caller]
    fn check(address: SocketAddr, mut hello: Value, want: &str) {
        hello["do"] = "hello".into();
        let mut talk = Talk::open(address, "/chat/ws", "");
        let answer = talk.answered(hello.clone());
        assert_eq!(name_of(&answer), want, "{hello}");
    }
}

// Goal: a room that is private, by invitation or closed to somebody gives nothing away: no entry, no history, no word, no list.
#[test]
fn closed_rooms_stay_closed() {
    let house = town("");
    let neighbour = Neighbour::of(&house);
    let address = house.address(0);
    let (mut owner, mut mallory) = (Talk::guest(address, "owner"), Talk::guest(address, "mallory"));
    let owned = owner.answered(json!({ "do": "create", "room": "secret", "private": true }));
    assert!(owned["ok"].is_object(), "{owned}");
    owner.ask(json!({ "do": "send", "room": "secret", "text": "the word is courtyard", "nonce": "1" }));
    for ask in [
        json!({ "do": "join", "room": "secret" }),
        json!({ "do": "join", "room": "secret", "since": { "epoch": 1, "offset": 0 } }),
        json!({ "do": "history", "room": "secret" }),
        json!({ "do": "send", "room": "secret", "text": "hi", "nonce": "2" }),
        json!({ "do": "who", "room": "secret" }),
        json!({ "do": "search", "words": "courtyard", "room": "secret" }),
        json!({ "do": "react", "room": "secret", "offset": 1, "emoji": "+", "add": true, "nonce": "3" }),
        json!({ "do": "set", "room": "secret", "private": false }),
        json!({ "do": "kick", "room": "secret", "who": "owner" }),
        json!({ "do": "role", "room": "secret", "who": "mallory", "role": "owner" }),
        json!({ "do": "read", "room": "secret", "offset": 1 }),
        json!({ "do": "typing", "room": "secret" }),
    ] {
        let answer = mallory.answered(ask.clone());
        let named = ["private", "no-such-room", "not-there", "invite-only", "not-allowed"];
        assert!(named.contains(&name_of(&answer)), "{ask}: {answer}");
        assert!(!answer.to_string().contains("courtyard"), "{ask}: {answer}");
    }
    let found = mallory.ask(json!({ "do": "search", "words": "courtyard" }));
    let rooms = mallory.ask(json!({ "do": "rooms" }));
    assert!(found["found"].as_array().unwrap().is_empty(), "{found}");
    assert!(!rooms.to_string().contains("secret"), "{rooms}");
    let said = mallory.answered(json!({ "do": "announce", "text": "all your rooms", "nonce": "4" }));
    assert_eq!(name_of(&said), "not-allowed", "{said}");
    neighbour.stayed_well();
}

// Goal: the last words of a connection arrive, though its client goes on sending without looking: it is not reset, which takes
// back what a client has not read. Method: leave, send more behind it than is read at once, and ask the socket for its error.
#[test]
fn last_words_reach_who_still_sends() {
    let house = town("listen = [\"irc://127.0.0.1:0\", \"line://127.0.0.1:0\"]");
    check(&house, 1, "NICK mallory\r\nUSER m 0 * :m\r\nQUIT :enough\r\n", "ERROR :");
    check(&house, 2, "molly\n/quit\n", "bye");

    #[track_caller]
    fn check(house: &House, at: usize, leaving: &str, want: &str) {
        let mut socket = TcpStream::connect(house.address(at)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let all = [leaving.as_bytes(), &[b'\n'; 200_000]].concat();
        socket.write_all(&all).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).unwrap();
        assert!(said.lines().last().is_some_and(|last| last.contains(want)), "{said}");
        house.until(|| house.json("status")["connections"] == 0);
        assert!(socket.take_error().unwrap().is_none(), "reset");
    }
}

// Goal: sockets that say nothing are ended: before the upgrade, before hello, and when they answer no ping.
#[test]
fn silent_sockets_are_ended() {
    let house = town("ping = \"1s\"");
    let neighbour = Neighbour::of(&house);
    let mut asleep = Talk::guest(house.address(0), "asleep");
    let mut nobody = Talk::open(house.address(0), "/chat/ws", "");
    let mut half = TcpStream::connect(house.address(0)).unwrap();
    half.write_all(b"GET /chat/ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n").unwrap();
    // At the same time: who waits for its turn answers no ping either.
    let ends = std::thread::scope(|scope| {
        let nobody = scope.spawn(|| nobody.ended());
        (asleep.ended_unanswered(), nobody.join().unwrap())
    });
    assert_eq!(ends, (Some(4004), Some(4001)));
    half.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut said = String::new();
    half.read_to_string(&mut said).unwrap();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    neighbour.stayed_well();
}
