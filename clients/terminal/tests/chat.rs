//! Goal: the client keeps its promises whatever a server and a connection do: what was typed is said once and in order, what
//! was missed is asked for, and the screen shows it.
//! Method: the pure client is fed by hand, frame by frame, on a clock of the test's own; the screen is drawn into memory.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at what it did not expect

use madang_chat_client::client::{Client, Out, Phase, Settings, Tell};
use madang_chat_client::screen::{View, draw};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Modifier;
use serde_json::{Value, json};

/// A client, the clock, and what it wanted outside.
struct Played {
    client: Client,
    now: u64,
    told: Vec<Tell>,
    connects: u32,
    quit: Option<Option<String>>,
    /// Frames that were sent and not looked at yet.
    sent: Vec<Value>,
}

impl Played {
    fn new(settings: Settings) -> Self {
        let mut played = Self {
            client: Client::new(settings),
            now: 0,
            told: vec![],
            connects: 0,
            quit: None,
            sent: vec![],
        };
        played.drains();
        assert_eq!((played.connects, played.sent.len()), (1, 0));
        played
    }

    /// In lobby (epoch 7, nothing said yet) as mina; the screen's kind of client.
    fn here() -> Self {
        let mut played = Self::new(settings(true));
        played.comes_in();
        let join = played.asks_one("join");
        played.ok(&join, joined("lobby", 1));
        let rooms = played.asks_one("rooms");
        played.ok(&rooms, json!({ "mine": [], "open": [], "more": false }));
        let who = played.asks_one("who");
        let people = json!([
            { "id": "u:mina", "name": "mina", "role": "owner", "here": true },
            { "id": "g:2", "name": "준", "role": "none", "here": true, "away": "lunch" },
        ]);
        played.ok(&who, json!({ "room": "lobby", "people": people, "count": 2 }));
        played.drains();
        played
    }

    fn comes_in(&mut self) {
        self.client.opened(self.now);
        let hello = self.asks_one("hello");
        assert_eq!(hello["name"], "mina");
        let you = json!({ "id": "g:1", "name": "mina", "guest": true, "admin": false });
        self.ok(&hello, json!({ "chat": "town", "you": you, "key": "k1", "limits": {}, "now_ms": 1 }));
    }

    /// Takes what it wants outside.
    fn drains(&mut self) {
        while let Some(out) = self.client.poll() {
            match out {
                Out::Connect => self.connects += 1,
                Out::Frame(frame) => self.sent.push(serde_json::from_str(&frame).unwrap()),
                Out::Drop => {}
                Out::Tell(tell) => self.told.push(tell),
                Out::Quit(why) => self.quit = Some(why),
            }
        }
    }

    /// The next frame of this kind.
    #[track_caller]
    fn asks_one(&mut self, kind: &str) -> Value {
        self.drains();
        let at = self.sent.iter().position(|frame| frame["do"] == kind);
        let at = at.unwrap_or_else(|| panic!("no {kind} in {:?}", self.sent));
        self.sent.remove(at)
    }

    #[track_caller]
    fn asks_nothing(&mut self) {
        self.drains();
        // How far one has read may be told at any time.
        self.sent.retain(|frame| frame["do"] != "read");
        assert!(self.sent.is_empty(), "{:?}", self.sent);
    }

    fn gets(&mut self, frame: &Value) {
        self.client.received(&frame.to_string(), self.now);
        self.drains();
    }

    fn ok(&mut self, asked: &Value, ok: Value) {
        self.gets(&json!({ "id": asked["id"], "ok": ok }));
    }

    fn refuses(&mut self, asked: &Value, error: Value) {
        self.gets(&json!({ "id": asked["id"], "error": error }));
    }

    fn kept(&mut self, asked: &Value, offset: u64) {
        self.ok(
            asked,
            json!({ "room": asked["room"], "epoch": 7, "offset": offset, "at_ms": 9, "duplicate": false }),
        );
    }

    fn types(&mut self, line: &str) {
        self.client.typed(line, self.now);
        self.drains();
    }

    fn passes(&mut self, ms: u64) {
        self.now += ms;
        self.client.tick(self.now);
        self.drains();
    }

    fn words(&self) -> Vec<&str> {
        self.told
            .iter()
            .filter_map(|tell| if let Tell::Word(text) = tell { Some(text.as_str()) } else { None })
            .collect()
    }

    /// The screen, without the space behind lines.
    fn screen(&self, columns: u16, rows: u16, view: &mut View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        let time = |_: u64| "14:02".to_owned();
        terminal.draw(|frame| draw(frame, &self.client, view, self.now, &time)).unwrap();
        let buffer = terminal.backend().buffer();
        let mut lines = Vec::new();
        for y in 0..rows {
            let mut line = String::new();
            let mut skip = 0;
            for x in 0..columns {
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                let symbol = buffer[(x, y)].symbol();
                line.push_str(symbol);
                skip = unicode_width::UnicodeWidthStr::width(symbol).saturating_sub(1);
            }
            lines.push(line.trim_end().to_owned());
        }
        lines.join("\n")
    }
}

fn settings(everything: bool) -> Settings {
    Settings {
        name: "mina".into(),
        room: "lobby".into(),
        history: 0,
        everything,
        seed: 3,
        ..Settings::default()
    }
}

fn joined(room: &str, next: u64) -> Value {
    json!({
        "room": room, "epoch": 7, "first": 1, "next": next, "end": next, "reset": false, "topic": "", "private": false,
        "invite_only": false, "slow_ms": 0, "role": "none", "people": 2,
    })
}

fn said(room: &str, offset: u64, name: &str, text: &str) -> Value {
    json!({
        "on": "message", "text": text, "room": room, "epoch": 7, "offset": offset, "at_ms": 1000 * offset,
        "by": { "id": format!("g:{name}"), "name": name },
    })
}

// Goal: a cut loses nothing that was typed and nothing that was said; the same nonce goes out again.
#[test]
fn after_a_cut_it_asks_for_what_it_missed_and_sends_what_is_not_kept() {
    let mut played = Played::here();
    played.gets(&said("lobby", 1, "준", "hello"));
    played.types("one");
    let first = played.asks_one("send");
    // It was on the screen.
    assert_eq!(played.asks_one("read")["offset"], 1);
    played.types("two");
    played.asks_nothing();
    played.client.closed(None, "cut", played.now);
    played.drains();
    played.types("three");
    played.asks_nothing();
    assert_eq!((played.connects, played.client.outbox.len()), (1, 3));
    played.passes(1000);
    assert_eq!(played.connects, 2);

    played.comes_in();
    let join = played.asks_one("join");
    assert_eq!(join["since"], json!({ "epoch": 7, "offset": 1 }));
    let again = played.asks_one("send");
    assert_eq!((again["nonce"].clone(), again["text"].clone()), (first["nonce"].clone(), json!("one")));
    assert!(
        again["id"].as_u64().unwrap() > join["id"].as_u64().unwrap(),
        "sent before it asked for what it missed"
    );
    let mut back = joined("lobby", 2);
    back["end"] = json!(4);
    played.ok(&join, back);
    played.gets(&said("lobby", 2, "준", "missed"));
    played.gets(&said("lobby", 1, "준", "told a second time"));
    played.kept(&again, 3);
    assert_eq!(played.asks_one("send")["text"], "two");
    let room = &played.client.rooms["lobby"];
    let texts: Vec<_> = [1, 2].iter().map(|at| room.message(*at).unwrap().text.clone()).collect();
    assert_eq!(texts, ["hello", "missed"]);
}

// Goal: what the server takes only later is sent later, in order; what it never takes is told and out of the way.
#[test]
fn a_refusal_for_now_is_a_pause_and_one_for_good_is_told() {
    let mut played = Played::here();
    played.types("one");
    played.types("two");
    let one = played.asks_one("send");
    played.refuses(&one, json!({ "name": "too-fast", "text": "too fast: wait 600 ms", "again_ms": 600 }));
    played.asks_nothing();
    assert_eq!(played.client.due(played.now), Some(600));
    played.passes(600);
    let again = played.asks_one("send");
    assert_eq!(again["nonce"], one["nonce"]);
    played.refuses(&again, json!({ "name": "muted", "text": "you are muted in this room" }));
    assert_eq!(played.asks_one("send")["text"], "two");
    let refused =
        played.told.iter().any(|tell| matches!(tell, Tell::Refused(draft, _) if draft.text == "one"));
    assert!(refused);
}

// Goal: pauses grow, differ between clients, and end at the bound.
#[test]
fn it_comes_back_ever_more_slowly_and_not_with_all_the_others() {
    let pauses = |seed: u64| {
        let mut played = Played::new(Settings { seed, ..settings(true) });
        let mut pauses = Vec::new();
        for _ in 0..12 {
            played.client.closed(None, "refused", played.now);
            let Phase::Away(at) = played.client.phase else { panic!("not away") };
            pauses.push(at - played.now);
            played.passes(at - played.now);
        }
        pauses
    };
    let (a, b) = (pauses(1), pauses(2));
    assert_ne!(a, b);
    assert!(a[0] <= 600 && a.iter().chain(&b).all(|pause| (100..=30_100).contains(pause)), "{a:?} {b:?}");
}

// Goal: a server that says nothing any more is noticed without the kernel's help.
#[test]
fn a_silent_server_is_asked_and_then_left() {
    let mut played = Played::here();
    played.passes(30_000);
    let ping = played.asks_one("ping");
    played.ok(&ping, json!({}));
    played.passes(30_000);
    let _ = played.asks_one("ping");
    played.passes(20_000);
    assert!(matches!(played.client.phase, Phase::Away(_)), "{:?}", played.client.phase);
}

// Goal: who is let in how: a key of another day, a name that was only a guess, a name that was meant.
#[test]
fn names_and_keys_that_do_not_fit_are_dealt_with() {
    let mut played = Played::new(Settings { key: Some("old".into()), may_rename: true, ..settings(true) });
    played.client.opened(0);
    let hello = played.asks_one("hello");
    assert_eq!(hello["key"], "old");
    played.refuses(&hello, json!({ "name": "bad-key", "text": "no" }));
    let hello = played.asks_one("hello");
    assert!(hello.get("key").is_none());
    played.refuses(&hello, json!({ "name": "name-taken", "text": "somebody is called mina already" }));
    assert!(played.asks_one("hello")["name"].as_str().unwrap().starts_with("mina-"));

    let mut played = Played::new(settings(true));
    played.client.opened(0);
    let hello = played.asks_one("hello");
    played.refuses(&hello, json!({ "name": "name-taken", "text": "somebody is called mina already" }));
    let why = "somebody is called mina already; choose another one with --name".to_owned();
    assert_eq!(played.quit, Some(Some(why)));
}

// Goal: what happens elsewhere is counted, and told as read when it is brought to the front.
#[test]
fn unread_messages_are_counted_until_they_are_in_front() {
    let mut played = Played::here();
    let mut direct = joined("@준", 1);
    direct["on"] = json!("joined");
    played.gets(&direct);
    played.gets(&said("@준", 1, "준", "psst"));
    played.gets(&said("@준", 2, "mina", "from my phone"));
    let room = &played.client.rooms["@준"];
    assert_eq!((room.unread, room.mentions), (1, 1));
    played.passes(5000);
    played.types("/to @준");
    assert_eq!(played.client.rooms["@준"].unread, 0);
    assert_eq!(played.asks_one("read")["offset"], 2);
}

// Goal: an edit, a deletion and reactions change the message they are about; a gap is told.
#[test]
fn what_is_changed_later_is_changed_where_it_stands() {
    let mut played = Played::here();
    played.gets(&said("lobby", 1, "준", "teh"));
    let event = |offset: u64, more: Value| {
        let mut event = said("lobby", offset, "준", "");
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    played.gets(&event(2, json!({ "on": "edited", "of": 1, "text": "the" })));
    played.gets(&event(3, json!({ "on": "reaction", "of": 1, "emoji": "🙂", "add": true })));
    let message = played.client.rooms["lobby"].message(1).unwrap().clone();
    assert_eq!((message.text.as_str(), message.edited, message.reactions["🙂"].len()), ("the", true, 1));
    played.gets(&event(4, json!({ "on": "deleted", "of": 1, "text": "" })));
    assert!(played.client.rooms["lobby"].message(1).is_none());
    played.gets(&json!({ "on": "gap", "room": "lobby", "from": 5, "to": 9 }));
    played.gets(&said("lobby", 9, "준", "later"));
    assert!(played.client.rooms["lobby"].message(9).is_some());
    assert!(played.words().iter().any(|word| word.contains("5 to 8 are not kept")));
}

// Goal: a notice is shown quieter, and can be read; an ordinary message is not quieter.
#[test]
fn a_notice_is_dim() {
    let mut played = Played::here();
    let mut notice = said("lobby", 1, "bot", "built");
    notice["notice"] = json!(true);
    played.gets(&notice);
    played.gets(&said("lobby", 2, "jun", "fine"));
    let mut terminal = Terminal::new(TestBackend::new(80, 10)).unwrap();
    let time = |_: u64| "14:02".to_owned();
    let mut view = View::default();
    terminal.draw(|frame| draw(frame, &played.client, &mut view, played.now, &time)).unwrap();
    check(terminal.backend(), "built", true);
    check(terminal.backend(), "fine", false);

    #[track_caller]
    fn check(screen: &TestBackend, word: &str, dim: bool) {
        let cells = screen.buffer().content();
        let letters: Vec<char> =
            cells.iter().map(|cell| cell.symbol().chars().next().unwrap_or(' ')).collect();
        let word: Vec<char> = word.chars().collect();
        let at = letters.windows(word.len()).position(|letters| letters == word).unwrap();
        assert_eq!(cells[at].modifier.contains(Modifier::DIM), dim, "{word:?}");
    }
}

// Goal: commands become the protocol's requests.
#[test]
fn commands_are_requests() {
    let mut played = Played::here();
    played.gets(&said("lobby", 1, "준", "who?"));
    check("/reply me", &json!({ "do": "send", "room": "lobby", "text": "me", "reply": 1 }));
    check("/notice 준 built", &json!({ "do": "send", "room": "@준", "text": "built", "notice": true }));
    check("/me waves", &json!({ "do": "send", "room": "lobby", "text": "waves", "action": true }));
    check("/react 1 🙂", &json!({ "do": "react", "room": "lobby", "offset": 1, "emoji": "🙂", "add": true }));
    check("/kick 준 too loud", &json!({ "do": "kick", "room": "lobby", "who": "준", "why": "too loud" }));
    check("/ban 준 10", &json!({ "do": "ban", "room": "lobby", "who": "준", "minutes": 10 }));
    check("/topic 마당", &json!({ "do": "set", "room": "lobby", "topic": "마당" }));
    check("/slow 5", &json!({ "do": "set", "room": "lobby", "slow_ms": 5000 }));
    check("/msg 준 psst", &json!({ "do": "send", "room": "@준", "text": "psst" }));
    check("/search 마당 안녕", &json!({ "do": "search", "words": "마당 안녕" }));
    check("/announce all", &json!({ "do": "announce", "text": "all" }));
    check("/away lunch", &json!({ "do": "away", "text": "lunch" }));

    #[track_caller]
    fn check(line: &str, want: &Value) {
        let mut played = Played::here();
        played.gets(&said("lobby", 1, "준", "who?"));
        played.types(line);
        let mut asked = played.asks_one(want["do"].as_str().unwrap());
        let fields = asked.as_object_mut().unwrap();
        fields.remove("id");
        let nonce = fields.remove("nonce");
        assert_eq!(
            nonce.is_some(),
            matches!(want["do"].as_str(), Some("send" | "react" | "announce")),
            "{line}"
        );
        assert_eq!(asked, *want, "{line}");
    }
}

// Goal: what is drawn, at three widths, with Korean names and words; and that what is typed is always in sight.
#[test]
fn the_screen_fits_narrow_and_wide_terminals() {
    let mut played = Played::here();
    played.gets(&said("lobby", 1, "준", "안녕하세요, 여기는 마당입니다. 오늘도 잘 부탁드립니다."));
    played.gets(&said("lobby", 2, "mina", "hello everybody"));
    let mut direct = joined("@준", 1);
    direct["on"] = json!("joined");
    played.gets(&direct);
    played.gets(&said("@준", 1, "준", "psst"));
    let mut view = View::default();
    view.input.insert("쓰는 중");
    let check = |view: &mut View, columns, rows, want: &str| {
        let screen = played.screen(columns, rows, view);
        assert_eq!(screen, want, "{columns} columns:\n{screen}");
    };
    check(
        &mut view,
        40,
        5,
        "\
14:02 준 안녕하세요, 여기는 마당입니다.
         오늘도 잘 부탁드립니다.
14:02 mina hello everybody
 lobby · 1 unread · 2 here         mina
> 쓰는 중",
    );
    check(
        &mut view,
        71,
        6,
        "\
@준             1! │
lobby              │14:02 준 안녕하세요, 여기는 마당입니다. 오늘도 잘
                   │         부탁드립니다.
                   │14:02 mina hello everybody
 lobby · 2 here                                                   mina
> 쓰는 중",
    );
    check(
        &mut view,
        100,
        5,
        "\
@준             1! │14:02 #1 준 안녕하세요, 여기는 마당입니다. 오늘도 잘        │ 2 here
lobby              │            부탁드립니다.                                   │ @mina
                   │14:02 #2 mina hello everybody                               │ 준
 lobby                                                                                         mina
> 쓰는 중",
    );
    // What is typed is in sight however little there is, and nothing panics.
    for (columns, rows) in [(1, 1), (3, 2), (4, 3), (5, 4), (20, 3), (59, 4), (60, 4), (200, 60)] {
        let screen = played.screen(columns, rows, &mut view);
        assert!(columns < 12 || screen.contains("> 쓰는 중"), "{columns} x {rows}:\n{screen}");
    }
}
