//! A chat and those who read slowly or come back after long: they get everything they missed, in order, and cost the others nothing.
//! Method: more is said than the kernel and the outbox hold for one connection; what a client is told is compared with what was said.

use serde_json::{Value, json};

use crate::support::house::House;
use crate::support::talk::Talk;

/// More than a client's window, what the kernel keeps for it and its outbox together.
const SAID: u64 = 250;

fn town(keys: &str) -> House {
    let settings = format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\n\
         route = [{{ path = \"/chat/*\", chat = \"town\" }}]\n[chat.town]\nrate = \"1000/s\"\nburst = 1000\n{keys}\n"
    );
    House::start(&settings, &[])
}

/// Says messages of 2,000 bytes that begin with these numbers; gives the acknowledgement of the last one.
#[track_caller]
fn say(talk: &mut Talk, room: &str, numbers: std::ops::Range<u64>) -> Value {
    let mut last = Value::Null;
    for number in numbers {
        let text = format!("{number} {}", "x".repeat(1_990));
        last = talk
            .ask(json!({ "do": "send", "room": room, "text": text, "nonce": format!("{room}-{number}") }));
    }
    last
}

/// The number with which the next message of a room begins.
#[track_caller]
fn hears(talk: &mut Talk) -> (String, u64) {
    let event = talk.event("message");
    let number = event["text"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
    (event["room"].as_str().unwrap().to_owned(), number)
}

// Goal: who takes nothing for a while is fed from the log when it reads again: everything, in order. Meanwhile no more is read for it
// than the kernel takes, whose buffers may grow once or twice: far from the 60 pages that all of it is.
#[test]
fn who_reads_late_is_fed_from_the_log() {
    let house = town("outbox = \"16KiB\"");
    let (mut speaker, mut late) =
        (Talk::guest(house.address(0), "speaker"), Talk::guest(house.address(0), "late"));
    for talk in [&mut speaker, &mut late] {
        talk.ask(json!({ "do": "join", "room": "hall" }));
    }
    say(&mut speaker, "hall", 0..SAID);
    let before = house.json("status")["chats"][0].clone();
    let (behind, pages) = (before["behind"].as_u64().unwrap(), before["pages"].as_u64().unwrap());
    assert!(behind >= 1 && pages < 15, "{before}");

    for number in 0..SAID {
        assert_eq!(hears(&mut late), ("hall".to_owned(), number));
    }
    let after = house.json("status")["chats"][0].clone();
    assert!(after["pages"].as_u64().unwrap() >= pages + 2, "{after}");
    assert!(house.metrics().contains("madang_chat_pages_total{chat=\"town\"}"), "{}", house.metrics());
    // It is live again.
    say(&mut speaker, "hall", SAID..SAID + 1);
    assert_eq!(hears(&mut late), ("hall".to_owned(), SAID));
}

// Goal: who comes back to many rooms, each with more than its outbox holds, gets all of it: it is not taken for one who does not read.
#[test]
fn who_comes_back_to_many_rooms_is_not_cut() {
    let house = town("outbox = \"32KiB\"");
    let mut speaker = Talk::guest(house.address(0), "speaker");
    let rooms: Vec<String> = (0..10).map(|number| format!("room-{number}")).collect();
    let mut epochs = Vec::new();
    for room in &rooms {
        speaker.ask(json!({ "do": "join", "room": room }));
        epochs.push(say(&mut speaker, room, 0..20)["epoch"].clone());
    }
    let mut back = Talk::guest(house.address(0), "back");
    for (room, epoch) in rooms.iter().zip(&epochs) {
        back.say(json!({ "do": "join", "room": room, "since": { "epoch": epoch, "offset": 0 } }));
    }
    let mut next = vec![0; rooms.len()];
    for _ in 0..20 * rooms.len() {
        let (room, number) = hears(&mut back);
        let at = rooms.iter().position(|have| *have == room).unwrap();
        assert_eq!(number, next[at], "{room}");
        next[at] += 1;
    }
    assert_eq!(house.json("status")["chats"][0]["ended"], json!({}));
}
