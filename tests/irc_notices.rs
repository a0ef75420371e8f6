//! Notices over every face of the running program: a NOTICE stays one for IRC, is a flag in JSON, and is both still after a restart.

use serde_json::{Value, json};

use crate::irc::TOWN;
use crate::support::house::{House, program};
use crate::support::irc::Irc;
use crate::support::spoken::Spoken;
use crate::support::talk::Talk;

const CAPS: &str = "batch message-tags draft/chathistory draft/no-implicit-names";

/// A line of `CHATHISTORY` or of a live message, without what goes before the command.
fn command(line: &str) -> &str {
    line.split_once("@town ").unwrap_or_else(|| panic!("{line} has no source")).1
}

/// What a page of history has of messages: text and flag.
fn said(page: &Value) -> Vec<(&str, bool)> {
    let events = page["events"].as_array().unwrap().iter();
    let messages = events.filter(|event| event["on"] == "message");
    messages.map(|event| (event["text"].as_str().unwrap(), event["notice"] == true)).collect()
}

// Goal: a NOTICE is a NOTICE to other clients of IRC, `notice` in JSON and `-name-` in lines, live, in every kind of history, over a
// crash of the server, and in what is exported; a PRIVMSG is none of it.
// Method: a bot over IRC says notices and one message; a client of each face hears; kill -9; the histories; `madang export`.
#[test]
fn a_notice_is_one_over_every_face_and_a_crash() {
    let mut house = House::start(TOWN, &[]);
    let mut mina = Irc::guest(house.address(1), "mina", CAPS);
    mina.answers("JOIN #lobby");
    let mut lines = Irc::open(house.address(2));
    lines.until("you are in lobby");
    let mut web = Talk::guest(house.address(0), "web");
    web.ask(json!({ "do": "join", "room": "lobby" }));
    let mut bot = Irc::guest(house.address(1), "bot", "");
    bot.answers("JOIN #lobby");

    bot.say("NOTICE #lobby :3 builds, @web");
    bot.say("PRIVMSG #lobby :and a word");
    let heard = mina.until(":and a word");
    let heard: Vec<&str> =
        heard.iter().filter(|line| line.contains("@town")).map(|line| command(line)).collect();
    assert_eq!(heard[heard.len() - 2..], ["NOTICE #lobby :3 builds, @web", "PRIVMSG #lobby :and a word"]);
    let event = web.event("message");
    assert_eq!((&event["notice"], &event["mentions"]), (&json!(true), &json!(["web"])), "{event}");
    assert!(web.event("message").get("notice").is_none(), "left out where it is false");
    lines.until("[lobby] -bot- 3 builds, @web");
    lines.until("[lobby] bot: and a word");

    // The other way, and what has another text later.
    let sent =
        web.ask(json!({ "do": "send", "room": "lobby", "text": "4 bulids", "notice": true, "nonce": "1" }));
    web.ask(
        json!({ "do": "edit", "room": "lobby", "offset": sent["offset"], "text": "4 builds", "nonce": "2" }),
    );
    let heard = mina.until(":* 4 builds");
    let heard: Vec<&str> = heard.iter().map(|line| command(line)).collect();
    assert_eq!(heard, ["NOTICE #lobby :4 bulids", "NOTICE #lobby :* 4 builds"]);
    let body = json!({ "name": "cron", "text": "5 builds", "nonce": "3", "notice": true }).to_string();
    let mut poster = house.client();
    poster.send(format!(
        "POST /chat/rooms/lobby/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(poster.answer("POST").status, 201);
    mina.until("NOTICE #lobby :5 builds");

    // What one client answers to another's question is carried as it is, and nothing answers a NOTICE.
    mina.say("NOTICE bot :\u{1}VERSION irssi\u{1}");
    assert_eq!(command(bot.until("NOTICE bot").last().unwrap()), "NOTICE bot :\u{1}VERSION irssi\u{1}");
    assert!(mina.answers("NOTICE nobody :x").is_empty());
    assert!(mina.answers("NOTICE #other :x").is_empty());

    let wanted = [("3 builds, @web", true), ("and a word", false), ("4 builds", true), ("5 builds", true)];
    house.kill_and_start_again();
    let mut web = Talk::guest(house.address(0), "later");
    web.ask(json!({ "do": "join", "room": "lobby" }));
    assert_eq!(said(&web.ask(json!({ "do": "history", "room": "lobby" }))), wanted);
    let page = house.client().get("/chat/rooms/lobby/messages?limit=10");
    assert_eq!(said(&serde_json::from_slice(&page.body).unwrap()), wanted);
    let mut events = house.client();
    let epoch = web.ask(json!({ "do": "history", "room": "lobby" }))["epoch"].clone();
    events.send(format!("GET /chat/rooms/lobby/events?since={epoch}:0 HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    let mut stream = String::new();
    while !stream.contains("5 builds") {
        stream.push_str(&String::from_utf8_lossy(&events.exactly(1)));
    }
    assert!(stream.contains(r#""text":"3 builds, @web","notice":true"#), "{stream}");
    let mut late = Irc::guest(house.address(1), "late", CAPS);
    late.answers("JOIN #lobby");
    let past = late.answers("CHATHISTORY LATEST #lobby * 10");
    let past: Vec<&str> = past[1..past.len() - 1].iter().map(|line| command(line)).collect();
    let as_irc: Vec<String> = wanted
        .iter()
        .map(|(text, notice)| format!("{} #lobby :{text}", if *notice { "NOTICE" } else { "PRIVMSG" }))
        .collect();
    assert_eq!(past, as_irc);
    house.signal(rustix::process::Signal::TERM);
    house.ended();
    let exported = house.ask(&["export"]);
    let exported = String::from_utf8_lossy(&exported.stdout).into_owned();
    let lines = |text: &str| exported.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned();
    assert!(lines("3 builds").contains("notice"), "{exported}");
    assert!(!lines("and a word").contains("notice"), "{exported}");
}

// Goal: the terminal client says notices with /notice, to a person and to a room, and shows them as such.
#[test]
fn notices_from_a_terminal() {
    let house = House::start(TOWN, &[]);
    let url = format!("http://{}/chat/", house.address(0));
    let state = tempfile::TempDir::new().unwrap();
    let chat = |who: &str| {
        let mut command = program();
        command.args(["chat", &url, "--name", who, "--follow", "--commands"]);
        command.env("XDG_STATE_HOME", state.path().join(who)).env_remove("MADANG_TOKEN").env_remove("TERM");
        command
    };
    let mut irc = Irc::guest(house.address(1), "irc", "");
    irc.answers("JOIN #lobby");
    let mut mina = Spoken::start(&mut chat("mina"));
    mina.says("here\n");
    irc.until(":here");
    mina.says("/notice #lobby 3 builds\n/notice irc psst\n");
    assert_eq!(command(irc.until("3 builds").last().unwrap()), "NOTICE #lobby :3 builds");
    assert_eq!(command(irc.until("psst").last().unwrap()), "NOTICE irc :psst");
    irc.say("NOTICE #lobby :4 builds");
    mina.until_wrote("[lobby] -irc- 4 builds");
}
