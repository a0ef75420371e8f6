//! Goal: what somebody at a terminal types, what is asked of the chat, what they read.
//! Method: lines in, answers in; what is asked and what is written are compared.

use std::sync::Arc;

use super::talk::{Talk, Todo};
use crate::ask::Ask;
use crate::event::{Event, Person, PersonId, Rank, What};
use crate::notice::{Arrived, Notice};
use crate::refusal::Refusal;
use crate::reply::{Joined, Kept, Limits, Reply, Welcome, You};

fn person(name: &str) -> Person {
    Person { id: PersonId(format!("g:{name}").into()), name: name.into() }
}

fn welcome(name: &str) -> Reply {
    let you = You { id: person(name).id, name: name.into(), guest: true, admin: false };
    let limits = Limits { message_bytes: 100, rooms: 5, burst: 20, per_second: 5, file_bytes: 0 };
    Reply::Welcome(Box::new(Welcome { chat: "town".into(), you, key: None, limits, now_ms: 0 }))
}

fn joined(room: &str) -> Reply {
    Reply::Joined(Box::new(Joined {
        room: room.into(),
        epoch: 1,
        first: 1,
        next: 1,
        end: 1,
        reset: false,
        topic: "all of it".into(),
        private: false,
        invite_only: false,
        slow_ms: 0,
        role: Rank::None,
        people: 2,
    }))
}

fn said(by: &str, text: &str) -> Event {
    let what = What::Message {
        text: text.into(),
        reply: None,
        files: vec![],
        action: false,
        notice: false,
        mentions: vec![],
        edits: 0,
    };
    Event { what, room: "lobby".into(), epoch: 1, offset: 1, at_ms: 0, by: person(by) }
}

fn notice(by: &str, text: &str) -> Event {
    let mut event = said(by, text);
    if let What::Message { notice, .. } = &mut event.what {
        *notice = true;
    }
    event
}

fn heard(talk: &mut Talk) -> String {
    String::from_utf8(std::mem::take(talk.out())).unwrap()
}

/// Answers the one question that is open, and gives it.
#[track_caller]
fn answer(talk: &mut Talk, outcome: Result<Reply, Refusal>) -> Todo {
    let todo = talk.todo().remove(0);
    let (Todo::Ask(tag, _) | Todo::Hello(tag, _)) = &todo else { panic!("{todo:?}") };
    talk.answered(*tag, &outcome);
    todo
}

fn in_lobby() -> Talk {
    let mut talk = Talk::new("town".into(), Some("be kind".into()), 7);
    assert!(
        matches!(answer(&mut talk, Ok(welcome("guest-00007"))), Todo::Hello(_, name) if name == "guest-00007")
    );
    assert!(
        matches!(answer(&mut talk, Ok(joined("lobby"))), Todo::Ask(_, Ask::Join(join)) if join.room == "lobby")
    );
    talk
}

// Goal: whoever comes is somebody and somewhere, and is told how to go on.
#[test]
fn whoever_comes_is_greeted_and_in_the_lobby() {
    let mut talk = in_lobby();
    assert_eq!(
        heard(&mut talk),
        "* welcome to town: you are guest-00007, /nick NAME gives you another name, /help tells more\n\
         * be kind\n* you are in lobby with 2 here: all of it\n"
    );
}

// Goal: another name is for the same person, in the same room.
#[test]
fn another_name_changes_nothing_else() {
    let mut talk = in_lobby();
    heard(&mut talk);
    talk.line(Ok("/nick kim"));
    assert!(!talk.ready());
    let me = person("guest-00007");
    talk.told(&Notice::Renamed { by: me.clone(), name: "kim".into() });
    let you = You { id: me.id.clone(), name: "kim".into(), guest: true, admin: false };
    let asked = answer(&mut talk, Ok(Reply::You(you)));
    assert!(matches!(asked, Todo::Ask(_, Ask::Rename(rename)) if rename.name == "kim"));
    assert_eq!((heard(&mut talk).as_str(), talk.todo()), ("* you are kim\n", vec![]));
    let mine = Event { by: Person { id: me.id, name: "kim".into() }, ..said("kim", "still me") };
    talk.published(&mine);
    assert_eq!(heard(&mut talk), "", "it stands there already");
    talk.line(Ok("hello"));
    let kept = Kept { room: "lobby".into(), epoch: 1, offset: 1, at_ms: 0, duplicate: false };
    let sent = answer(&mut talk, Ok(Reply::Kept(kept)));
    assert!(matches!(sent, Todo::Ask(_, Ask::Send(send)) if send.room == "lobby"));
    talk.line(Ok("/nick mina"));
    answer(&mut talk, Err(Refusal::NameTaken { name: "mina".into() }));
    assert_eq!(heard(&mut talk), "! somebody is called mina already\n");
    assert!(talk.ready());
}

// Goal: a line is said, what others say is read, and nothing of theirs moves a terminal's cursor.
#[test]
fn lines_are_said_and_read() {
    let mut talk = in_lobby();
    heard(&mut talk);
    talk.line(Ok("hello, town"));
    let kept = Kept { room: "lobby".into(), epoch: 1, offset: 1, at_ms: 0, duplicate: false };
    let sent = answer(&mut talk, Ok(Reply::Kept(kept)));
    assert!(
        matches!(sent, Todo::Ask(_, Ask::Send(send)) if send.text == "hello, town" && send.room == "lobby")
    );
    talk.published(&said("guest-00007", "hello, town"));
    assert_eq!(heard(&mut talk), "", "it stands there already");
    talk.published(&said("mina", "hi\u{1b}[2J\nthere"));
    talk.told(&Notice::Presence {
        room: "lobby".into(),
        joined: [person("kim"), person("guest-00007")].map(Arrived::of).into(),
        left: Arc::new([person("lee")]),
        people: 3,
    });
    assert_eq!(heard(&mut talk), "[lobby] mina: hi[2J / there\n[lobby] * kim came in\n[lobby] * lee went\n");
    talk.published(&notice("bot", "\u{1}3 builds\u{1}"));
    let edited = What::Edited { of: 1, text: "4 builds".into(), notice: true };
    talk.published(&Event { what: edited, ..said("bot", "") });
    assert_eq!(heard(&mut talk), "[lobby] -bot- 3 builds\n[lobby] -bot- * 4 builds\n");
    talk.line(Ok("//etc"));
    assert!(matches!(talk.todo().remove(0), Todo::Ask(_, Ask::Send(send)) if send.text == "/etc"));
}

#[test]
fn what_is_too_fast_is_sent_later() {
    let mut talk = in_lobby();
    talk.line(Ok("one too many"));
    answer(&mut talk, Err(Refusal::TooFast { again_ms: 300 }));
    assert!(!talk.ready());
    assert_eq!(talk.todo(), [Todo::Hold(300)]);
    talk.go_on();
    assert!(matches!(talk.todo().remove(0), Todo::Ask(_, Ask::Send(send)) if send.text == "one too many"));
}

// Goal: what is typed wrongly is explained.
#[test]
fn what_is_typed_wrongly_is_explained() {
    let mut talk = in_lobby();
    heard(&mut talk);
    let mut check = |line: &str, want: &str| {
        talk.line(Ok(line));
        assert_eq!(heard(&mut talk), format!("{want}\n"), "{line}");
        assert!(talk.ready(), "{line}");
    };
    check("/fly", "! /fly is no command; /help tells which there are");
    check("/nick", "! /nick NAME: which name?");
    check("/join", "! /join ROOM: which room?");
    check("/msg kim", "! /msg NAME text: to whom, and what?");
    check("/history x", "! /history N: a number from 1 to 200");
    check("/history 201", "! /history N: a number from 1 to 200");
    check("/topic", "* topic: all of it");
    talk.line(Err(super::bytes::BadLine::TooLong));
    assert_eq!(heard(&mut talk), "! that line is too long: it was not sent\n");
    talk.line(Ok("/quit"));
    assert_eq!((heard(&mut talk).as_str(), talk.todo()), ("* bye\n", vec![Todo::End]));
    assert!(!talk.ready());
}
