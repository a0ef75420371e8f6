//! Goal: IRC and plain lines against the running program: what each command is answered, and that all faces share the rooms.
//! Method: golden transcripts by a client of raw lines; a JSON client in the same room; a crash in between.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::PATIENCE;
use crate::support::house::{House, program};
use crate::support::irc::Irc;
use crate::support::talk::Talk;

pub(crate) const TOWN: &str = r#"
[server]
workers = 2
[site.main]
listen = "http://127.0.0.1:0"
route = [{ path = "/chat/*", chat = "town" }]
[chat.town]
listen = ["irc://127.0.0.1:0", "line://127.0.0.1:0"]
motd = "be kind"
"#;

#[track_caller]
fn check(irc: &mut Irc, line: &str, want: &[&str]) {
    assert_eq!(irc.answers(line), want, "{line}");
}

// Goal: each command has the answer that clients know.
#[test]
fn each_command_is_answered_as_clients_know_it() {
    let house = House::start(TOWN, &[]);
    let irc = &mut Irc::guest(house.address(1), "mina", "");
    let s = ":town.madang";
    check(
        irc,
        "JOIN #lobby",
        &[
            ":mina!~ID@town JOIN #lobby",
            &format!("{s} 353 mina = #lobby :mina"),
            &format!("{s} 366 mina #lobby :End of names"),
        ],
    );
    check(
        irc,
        "JOIN #a/b",
        &[&format!("{s} 403 mina #a/b :A room is # and 1 to 64 letters, digits, - _ or .")],
    );
    check(irc, "TOPIC #lobby", &[&format!("{s} 331 mina #lobby :There is no topic")]);
    // Nobody owns it: who may speak may name it.
    check(irc, "TOPIC #lobby :mine", &[":mina!~ID@town TOPIC #lobby :mine"]);
    check(irc, "TOPIC #lobby :", &[":mina!~ID@town TOPIC #lobby :"]);
    check(irc, "MODE #lobby", &[&format!("{s} 324 mina #lobby +nt")]);
    check(irc, "MODE #lobby +b", &[&format!("{s} 368 mina #lobby :End of the bans")]);
    check(irc, "MODE mina", &[&format!("{s} 221 mina +i")]);
    check(
        irc,
        "NAMES #lobby",
        &[&format!("{s} 353 mina = #lobby :mina"), &format!("{s} 366 mina #lobby :End of names")],
    );
    check(
        irc,
        "WHO #lobby",
        &[
            &format!("{s} 352 mina #lobby ~ID town town.madang mina H :0 mina"),
            &format!("{s} 315 mina #lobby :End of WHO"),
        ],
    );
    check(
        irc,
        "WHO mina %tcuhnfa,7",
        &[&format!("{s} 354 mina 7 * ~ID town mina H 0"), &format!("{s} 315 mina mina :End of WHO")],
    );
    check(
        irc,
        "WHOIS mina",
        &[
            &format!("{s} 311 mina mina ~ID town * :mina"),
            &format!("{s} 319 mina mina :#lobby"),
            &format!("{s} 312 mina mina town.madang :town"),
            &format!("{s} 318 mina mina :End of WHOIS"),
        ],
    );
    check(
        irc,
        "WHOIS nobody",
        &[
            &format!("{s} 401 mina nobody :There is nobody of this name"),
            &format!("{s} 318 mina nobody :End of WHOIS"),
        ],
    );
    check(
        irc,
        "LIST",
        &[
            &format!("{s} 321 mina Channel :Users  Name"),
            &format!("{s} 322 mina #lobby 1 :"),
            &format!("{s} 323 mina :End of list"),
        ],
    );
    check(irc, "AWAY :lunch", &[&format!("{s} 306 mina :You are marked as away")]);
    check(irc, "AWAY", &[&format!("{s} 305 mina :You are marked as here again")]);
    check(irc, "ISON mina nobody", &[&format!("{s} 303 mina :mina")]);
    check(
        irc,
        "MONITOR + mina,nobody",
        &[&format!("{s} 730 mina :mina!~ID@town"), &format!("{s} 731 mina :nobody")],
    );
    check(irc, "PRIVMSG nobody :x", &[&format!("{s} 401 mina nobody :there is nobody called nobody")]);
    check(irc, "PRIVMSG #other :x", &[&format!("{s} 403 mina #other :there is no room other")]);
    check(irc, "PART #lobby :off", &[":mina!~ID@town PART #lobby :off"]);
    check(irc, "PART #lobby", &[&format!("{s} 442 mina #lobby :You are not in that room")]);
    check(irc, "NICK mina", &[]);
    check(
        irc,
        "MOTD",
        &[
            &format!("{s} 375 mina :- town -"),
            &format!("{s} 372 mina :- be kind"),
            &format!("{s} 376 mina :End of the message of the day"),
        ],
    );
    irc.say("QUIT :good night");
    assert_eq!(irc.until("ERROR"), ["ERROR :Quit: good night"]);
    assert_eq!(irc.line(), None);
}

// Goal: a name is had once; a second one of it is told, and comes in under another.
#[test]
fn a_name_is_had_once() {
    let house = House::start(TOWN, &[]);
    let _mina = Irc::guest(house.address(1), "mina", "");
    let mut second = Irc::open(house.address(1));
    second.say("NICK MINA");
    second.say("USER m 0 * :m");
    assert_eq!(second.until(" 433 "), [":town.madang 433 * MINA :Somebody has this name"]);
    second.say("NICK mina2");
    second.until(" 376 ");
}

// Goal: a browser and a client of IRC are in one room: what one says the other hears, with its marks.
#[test]
fn browsers_and_irc_share_the_rooms() {
    let house = House::start(TOWN, &[]);
    let mut web = Talk::guest(house.address(0), "web");
    web.ask(json!({ "do": "create", "room": "lobby", "topic": "all of it" }));
    let mut irc = Irc::guest(
        house.address(1),
        "mina",
        "message-tags server-time draft/message-redaction draft/no-implicit-names",
    );
    check(
        &mut irc,
        "JOIN #lobby",
        &["@time=TIME :mina!~ID@town JOIN #lobby", "@time=TIME :town.madang 332 mina #lobby :all of it"],
    );
    let sent = web.ask(json!({ "do": "send", "room": "lobby", "text": "안녕", "nonce": "1" }));
    assert_eq!(
        irc.until("PRIVMSG").last().unwrap(),
        "@time=TIME;msgid=MSGID :web!~ID@town PRIVMSG #lobby :안녕"
    );
    let of = &sent["offset"];
    web.ask(
        json!({ "do": "react", "room": "lobby", "offset": of, "emoji": "🙂", "add": true, "nonce": "2" }),
    );
    web.ask(json!({ "do": "edit", "room": "lobby", "offset": of, "text": "안녕!", "nonce": "3" }));
    web.ask(json!({ "do": "delete", "room": "lobby", "offset": of, "nonce": "4" }));
    web.ask(json!({ "do": "typing", "room": "lobby" }));
    let heard = irc.until("+typing=active");
    assert_eq!(
        heard[0],
        "@time=TIME;msgid=MSGID;+draft/reply=MSGID;+draft/react=🙂 :web!~ID@town TAGMSG #lobby"
    );
    assert_eq!(heard[1], "@time=TIME;msgid=MSGID;+draft/reply=MSGID :web!~ID@town PRIVMSG #lobby :* 안녕!");
    assert!(heard[2].contains(" REDACT #lobby "), "{heard:#?}");
    assert_eq!(heard[3], "@time=TIME;+typing=active :web!~ID@town TAGMSG #lobby");

    irc.say("PRIVMSG #lobby :\u{1}ACTION waves to \u{2}all\u{2}\u{1}");
    let heard = loop {
        let heard = web.event("message");
        if heard["by"]["name"] == "mina" {
            break heard;
        }
    };
    assert_eq!((&heard["text"], &heard["action"]), (&json!("waves to all"), &json!(true)), "{heard}");
    irc.say("PRIVMSG web :psst");
    assert_eq!(web.event("joined")["room"], "@mina");
    assert_eq!(web.event("message")["text"], "psst");
    web.ask(json!({ "do": "send", "room": "@mina", "text": "yes?", "nonce": "5" }));
    assert!(irc.until(":yes?").last().unwrap().ends_with(":web!~ID@town PRIVMSG mina :yes?"));
}

// Goal: what was missed while away is read again, exactly, over a crash of the server.
#[test]
fn what_was_missed_is_read_again_after_a_crash() {
    const CAPS: &str = "batch message-tags echo-message draft/chathistory draft/no-implicit-names";
    let mut house = House::start(TOWN, &[]);
    let mut mina = Irc::guest(house.address(1), "mina", CAPS);
    mina.answers("JOIN #lobby");
    mina.say("PRIVMSG #lobby :before");
    let echo = loop {
        let line = mina.line().unwrap();
        if line.contains(":before") {
            break line;
        }
    };
    let id = echo.strip_prefix("@msgid=").unwrap().split([' ', ';']).next().unwrap().to_owned();
    let mut kim = Irc::guest(house.address(1), "kim", CAPS);
    kim.answers("JOIN #lobby");
    for n in 0..30 {
        kim.say(&format!("PRIVMSG #lobby :missed {n}"));
    }
    kim.until(":missed 29");
    house.kill_and_start_again();
    let mut back = Irc::guest(house.address(1), "mina", CAPS);
    back.answers("JOIN #lobby");
    let missed = back.answers(&format!("CHATHISTORY AFTER #lobby msgid={id} 100"));
    let texts: Vec<&str> =
        missed.iter().filter_map(|line| line.split_once(" PRIVMSG #lobby :")).map(|(_, text)| text).collect();
    assert_eq!(texts, (0..30).map(|n| format!("missed {n}")).collect::<Vec<_>>(), "{missed:#?}");
    assert!(missed[0].ends_with(" chathistory #lobby") && missed[31].contains("BATCH -"), "{missed:#?}");
}

// Goal: sixty lines pasted at once arrive, all of them and in order, and the client is told once why it takes a while.
#[test]
fn what_is_pasted_arrives_in_order() {
    let house = House::start(&TOWN.replace("motd", "rate = \"50/s\"\nburst = 10\nmotd"), &[]);
    let mut kim = Irc::guest(house.address(1), "kim", "");
    kim.answers("JOIN #lobby");
    let mut mina = Irc::guest(house.address(1), "mina", "");
    mina.answers("JOIN #lobby");
    let pasted: String = (0..60).map(|n| format!("PRIVMSG #lobby :line {n}\r\n")).collect();
    mina.bytes(pasted.as_bytes());
    let heard = kim.until(":line 59");
    let texts: Vec<&str> =
        heard.iter().filter_map(|line| line.split_once(":line ")).map(|(_, n)| n).collect();
    assert_eq!(texts, (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
    let told = mina.answers("PING x");
    assert_eq!(told.iter().filter(|line| line.contains("waits its turn")).count(), 1, "{told:#?}");
}

// Goal: whatever a client sends, it is refused by name, and its neighbours notice nothing.
#[test]
fn what_is_no_irc_is_refused_and_harms_nobody() {
    let house = House::start(TOWN, &[]);
    let mut neighbour = Irc::guest(house.address(1), "neighbour", "");
    let mut bad = Irc::open(house.address(1));
    bad.bytes(b"PRIVMSG \xff\r\n");
    assert_eq!(bad.until("FAIL"), [":town.madang FAIL * INVALID_UTF8 :a line is UTF-8"]);
    bad.bytes(b"PING a\0b\r\n");
    bad.until("INVALID_MESSAGE");
    bad.bytes(&[&[b'x'; 9000][..], b"\r\nPING still-here\r\n"].concat());
    assert_eq!(bad.until("PONG").first().unwrap(), ":town.madang 417 * :a line has at most 512 bytes");
    bad.bytes("PONG x\r\n".repeat(100).as_bytes());
    bad.until("ERROR :too many lines before");
    while bad.line().is_some() {}

    let mut web = Irc::open(house.address(1));
    web.bytes(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(web.until(" 451 ")[0].contains("You have not registered"));
    check(&mut neighbour, "VERSION x", &neighbour_version());

    fn neighbour_version() -> [&'static str; 3] {
        [
            concat!(":town.madang 351 neighbour madang-", env!("CARGO_PKG_VERSION"), " town.madang :IRCv3"),
            ":town.madang 005 neighbour AWAYLEN=200 CASEMAPPING=ascii CHANLIMIT=#:200 CHANMODES=b,,,inst CHANNELLEN=65 CHANTYPES=# CHATHISTORY=100 ELIST= KICKLEN=300 MODES=4 MONITOR=100 MSGREFTYPES=msgid,timestamp NAMELEN=200 :are understood here",
            ":town.madang 005 neighbour NETWORK=town NICKLEN=32 PREFIX=(o)@ TARGMAX=JOIN:10,KICK:4,LIST:10,NAMES:4,NOTICE:1,PART:10,PRIVMSG:1,TAGMSG:1,WHOIS:1 TOPICLEN=300 UTF8ONLY WHOX :are understood here",
        ]
    }
}

// Goal: who never says who they are is ended; who is there hears that the server ends.
#[test]
fn silent_ones_end_and_the_end_is_told() {
    let house = House::start(TOWN, &[]);
    let mut silent = Irc::open(house.address(1));
    assert_eq!(silent.until("ERROR"), ["ERROR :no hello in time"]);
    assert_eq!(silent.line(), None);
    let mut there = Irc::guest(house.address(1), "mina", "");
    house.signal(rustix::process::Signal::TERM);
    assert_eq!(there.until("ERROR"), ["ERROR :the server is ending: come back in a moment"]);
    assert_eq!(there.line(), None);
}

// Goal: IRC over a websocket, for clients in browsers: one line, one message.
#[test]
fn irc_is_spoken_over_a_websocket() {
    let house = House::start(TOWN, &[]);
    let mut web = Talk::open(house.address(0), "/chat/ws", "sec-websocket-protocol: text.ircv3.net\r\n");
    for line in ["NICK mina", "USER mina 0 * :mina", "JOIN #lobby", "QUIT"] {
        web.frame(0x81, line.as_bytes());
    }
    let mut heard = Vec::new();
    while let Some((first, payload)) = web.raw() {
        if first == 0x81 {
            heard.push(String::from_utf8(payload).unwrap());
        }
    }
    assert!(heard[0].starts_with(":town.madang 001 mina ") && !heard[0].contains('\n'), "{heard:#?}");
    assert!(heard.iter().any(|line| line.contains(" JOIN #lobby")), "{heard:#?}");
    assert_eq!(heard.last().unwrap(), "ERROR :Quit: bye");
}

/// Makes a user, as the one who runs the house does.
#[track_caller]
pub fn add_user(house: &House, name: &str, password: &str) {
    let mut add = program();
    add.args(["user", "add", name, "-c"]).arg(house.path("madang.toml")).stdin(Stdio::piped());
    let mut adding = add.stdout(Stdio::null()).spawn().unwrap();
    adding.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    assert!(adding.wait().unwrap().success());
}

// Goal: a user of the house comes in by name and password, under that name, by SASL and by PASS; a wrong password does not.
#[test]
fn users_log_in() {
    let house = House::start(&format!("{TOWN}[identity]\n"), &[]);
    add_user(&house, "민아", "correct horse");

    let plain = |password: &str| STANDARD.encode(format!("\0민아\0{password}"));
    let mut irc = Irc::open(house.address(1));
    irc.say("CAP LS 302");
    assert!(irc.until(" LS ")[0].contains(" sasl=PLAIN "));
    irc.say("CAP REQ sasl");
    irc.say("NICK somebody");
    irc.say("USER m 0 * :m");
    irc.say("AUTHENTICATE PLAIN");
    irc.until("AUTHENTICATE +");
    irc.say(&format!("AUTHENTICATE {}", plain("wrong")));
    irc.until(" 904 ");
    irc.say("AUTHENTICATE PLAIN");
    irc.until("AUTHENTICATE +");
    irc.say(&format!("AUTHENTICATE {}", plain("correct horse")));
    irc.until(" 903 ");
    irc.say("CAP END");
    assert!(irc.until(" 001 ").last().unwrap().starts_with(":town.madang 001 민아 "));
    irc.until(" 376 ");
    check(
        &mut irc,
        "JOIN #town",
        &[
            ":민아!민아@town JOIN #town",
            ":town.madang 353 민아 = #town :@민아",
            ":town.madang 366 민아 #town :End of names",
        ],
    );
    let mut by_pass = Irc::open(house.address(1));
    by_pass.say("PASS :민아:correct horse");
    by_pass.say("NICK x");
    by_pass.say("USER x 0 * :x");
    assert!(by_pass.until(" 001 ").last().unwrap().starts_with(":town.madang 001 민아 "));
}

/// What `nc` does.
struct Nc(TcpStream, Vec<u8>);

impl Nc {
    fn open(house: &House) -> Self {
        let stream = TcpStream::connect(house.address(2)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream, Vec::new())
    }

    /// Everything up to and with this.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        loop {
            let have = String::from_utf8_lossy(&self.1).into_owned();
            if let Some(at) = have.find(text) {
                self.1.drain(..at + text.len());
                return have[..at + text.len()].to_owned();
            }
            let mut room = [0; 4096];
            let count = self
                .0
                .read(&mut room)
                .unwrap_or_else(|error| panic!("{error}: waited for {text:?}, have {have:?}"));
            assert!(count > 0, "closed before {text:?}; have {have:?}");
            self.1.extend_from_slice(&room[..count]);
        }
    }
}

// Goal: whoever has only nc is in the same rooms: says, hears, takes a name, sees no control character.
#[test]
fn nc_is_enough_to_talk() {
    let house = House::start(TOWN, &[]);
    let mut nc = Nc::open(&house);
    let welcome = nc.until("you are in lobby with 1 here\n");
    assert!(
        welcome.starts_with("* welcome to town: you are guest-") && welcome.contains("* be kind\n"),
        "{welcome}"
    );
    nc.0.write_all(b"/nick kim\n").unwrap();
    nc.until("* you are kim\n");
    let mut irc = Irc::guest(house.address(1), "mina", "");
    irc.answers("JOIN #lobby");
    nc.0.write_all("hello \x1b[31mtown\r\n".as_bytes()).unwrap();
    assert_eq!(irc.until("hello").last().unwrap(), ":kim!~ID@town PRIVMSG #lobby :hello [31mtown");
    irc.say("PRIVMSG #lobby :hi");
    nc.until("[lobby] mina: hi\n");
    irc.say("PRIVMSG kim :psst");
    nc.until("[@mina] mina: psst\n");
    nc.0.write_all(b"/msg mina yes?\n/who\n/history 2\n").unwrap();
    irc.until("PRIVMSG mina :yes?");
    let told = nc.until("* that was lobby\n");
    assert!(told.contains("2 here: ") && told.contains("[lobby] mina: hi\n"), "{told}");
    nc.0.write_all(&[&[b'x'; 20_000][..], b"\n\xff\xfb\x01/fly\n\xc3\n/quit\n"].concat()).unwrap();
    let told = nc.until("* bye\n");
    assert!(
        told.contains("! that line is too long")
            && told.contains("! /fly is no command")
            && told.contains("! that line is not UTF-8"),
        "{told}"
    );
    assert_eq!(nc.0.read(&mut [0; 9]).unwrap(), 0, "it is closed");
}

// Goal: `/nick` gives the same person another name: they stay in their rooms, hear what they heard, and others see who it was.
// Method: somebody in two rooms takes another name; IRC sees it as NICK, not as one who goes and another who comes.
#[test]
fn another_name_by_nc_is_the_same_person() {
    let house = House::start(TOWN, &[]);
    let mut nc = Nc::open(&house);
    let welcome = nc.until("you are in lobby with 1 here\n");
    let first = welcome.split("you are ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let mut irc = Irc::guest(house.address(1), "mina", "");
    irc.answers("JOIN #lobby");
    nc.until("[lobby] * mina came in\n");
    nc.0.write_all(b"/join den\n").unwrap();
    nc.until("* you are in den with 1 here\n");
    nc.0.write_all(b"before\n/nick kim\n").unwrap();
    nc.until("* you are kim\n");
    assert_eq!(irc.until("NICK").last().unwrap(), &format!(":{first}!~ID@town NICK :kim"));
    irc.say("PRIVMSG #lobby :still there?");
    nc.until("[lobby] mina: still there?\n");
    nc.0.write_all(b"after\n/history\n/nick mina\n/nick Kim\n/who\n").unwrap();
    let told = nc.until("* 1 here: Kim\n");
    let want = format!(
        "[den] {first}: before\n[den] kim: after\n* that was den\n! somebody is called mina already\n* you are Kim\n"
    );
    assert!(told.contains(&want), "{told}");
    assert!(!told.contains("went") && !told.contains("came in"), "{told}");
    irc.say("WHOIS kim");
    assert!(
        irc.until(" 318 ").iter().any(|line| line.contains(" 311 mina Kim ")),
        "they are known by the new name"
    );
}
