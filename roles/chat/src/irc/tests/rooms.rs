//! Rooms, people and what is said.

use super::*;
use crate::ask::{Join, Send, Set, Skipped, Who};
use crate::notice::{Arrived, Notice};
use crate::reply::{Done, Known, Open, People, Present, RoomList};

fn present(person: Person, role: Rank) -> Present {
    Present { person, role, here: true, away: None, about: None }
}

// Goal: joining tells topic and names, with an operator's sign; who is only a member and not here is not named.
#[test]
fn joining_a_room_tells_its_topic_and_names() {
    let mut talk = Talk::mina("");
    talk.says("JOIN #Lobby");
    let asked = talk.answers(Ok(Reply::Joined(Box::new(lobby()))));
    assert_eq!(ask(asked), Join { kind: Skipped, id: Skipped, room: "lobby".into(), since: None }.into());
    assert!(!talk.machine.ready());
    let away = Present { here: false, ..present(person("u:jin", "jin"), Rank::Member) };
    let people = vec![present(mina(), Rank::Owner), present(kim(), Rank::None), away];
    let asked = talk.answers(Ok(Reply::People(People { room: "lobby".into(), people, count: 2 })));
    assert_eq!(ask(asked), Who { kind: Skipped, id: Skipped, room: "lobby".into() }.into());
    assert_eq!(
        talk.heard(),
        [
            ":mina!mina@town JOIN #lobby",
            ":town.madang 332 mina #lobby :all of it",
            ":town.madang 353 mina = #lobby :@mina kim",
            ":town.madang 366 mina #lobby :End of names",
        ]
    );
    talk.check("JOIN #lobby", &[]);
    talk.check(
        "JOIN lobby",
        &[":town.madang 403 mina lobby :A room is # and 1 to 64 letters, digits, - _ or ."],
    );
    talk.says("JOIN #secret");
    talk.answers(Err(Refusal::Private));
    assert_eq!(
        talk.heard(),
        [":town.madang 473 mina #secret :this room is private: only its members are let in"]
    );
}

// Goal: a message of one's own is not told again without echo-message; a message of others is, with all tags.
#[test]
fn what_is_said_is_told_to_the_others() {
    let mut talk = Talk::in_lobby("");
    talk.says("PRIVMSG #lobby :hello, town");
    let sent = ask(talk.answers(Ok(kept(9))));
    let want = Send {
        kind: Skipped,
        id: Skipped,
        room: "lobby".into(),
        text: "hello, town".into(),
        nonce: "irc-0000000000000007-1".into(),
        reply: None,
        files: vec![],
        action: false,
        notice: false,
    };
    assert_eq!(sent, want.into());
    talk.published(9, mina(), said("hello, town"));
    assert!(talk.heard().is_empty(), "it knows what it said");
    talk.published(10, mina(), said("from my phone"));
    assert_eq!(talk.heard(), [":mina!mina@town PRIVMSG #lobby :from my phone"]);
    talk.published(11, kim(), said("hi"));
    assert_eq!(talk.heard(), [":kim!~1f@town PRIVMSG #lobby :hi"]);

    let mut talk = Talk::in_lobby("message-tags server-time account-tag echo-message");
    talk.published(
        11,
        mina(),
        What::Message {
            text: "waves".into(),
            reply: Some(9),
            files: vec![],
            action: true,
            notice: false,
            mentions: vec![],
            edits: 0,
        },
    );
    let room = super::super::stamp::msgid("lobby", 1, 11);
    let answers = super::super::stamp::msgid("lobby", 1, 9);
    assert_eq!(
        talk.heard(),
        [format!(
            "@time=2026-11-21T12:00:00.000Z;account=mina;msgid={room};+draft/reply={answers} :mina!mina@town PRIVMSG #lobby :\u{1}ACTION waves\u{1}"
        )]
    );
    talk.says(&format!("@+draft/reply={answers} PRIVMSG #lobby :\u{1}ACTION nods\u{1}"));
    match ask(talk.answers(Ok(kept(12)))) {
        Ask::Send(send) => assert_eq!((send.text.as_str(), send.action, send.reply), ("nods", true, Some(9))),
        other => panic!("{other:?}"),
    }
    talk.published(12, mina(), said("nods"));
    assert_eq!(talk.heard().len(), 1, "it comes back to whoever wants echoes");
}

// Goal: direct messages, long ones and those of several lines arrive whole.
#[test]
fn long_and_direct_messages_arrive_whole() {
    let mut talk = Talk::mina("");
    let direct = |by: Person, text: &str| Event {
        what: said(text),
        room: "@kim".into(),
        epoch: 1,
        offset: 1,
        at_ms: NOON,
        by,
    };
    talk.machine.published(&direct(kim(), "psst"), NOON);
    talk.machine.published(&direct(mina(), "from my phone"), NOON);
    assert_eq!(
        talk.heard(),
        [":kim!~1f@town PRIVMSG mina :psst", ":mina!mina@town PRIVMSG kim :from my phone"]
    );
    talk.says("PRIVMSG kim :hello");
    assert!(matches!(ask(talk.answers(Ok(kept(2)))), Ask::Send(send) if send.room == "@kim"));

    let mut talk = Talk::in_lobby("message-tags");
    let long = "가나다 라마바 ".repeat(60);
    talk.published(9, kim(), said(&format!("first\n\n{long}")));
    let lines = talk.heard();
    assert!(
        lines.len() > 3 && lines.iter().all(|line| line.split_once(' ').unwrap().1.len() <= 510),
        "{lines:#?}"
    );
    let texts: Vec<&str> = lines.iter().map(|line| line.split_once("#lobby :").unwrap().1).collect();
    assert_eq!(texts[0], "first");
    assert_eq!(texts[1..].concat(), long);
    assert!(lines[0].starts_with("@msgid=") && !lines[1].contains("msgid"), "a msgid is there once");

    let mut talk = Talk::in_lobby("batch draft/multiline");
    talk.published(9, kim(), said(&format!("a\n\nb {}", "x".repeat(600))));
    let lines = talk.heard();
    assert_eq!(
        lines[..4],
        [
            ":kim!~1f@town BATCH +b1 draft/multiline #lobby",
            "@batch=b1 :kim!~1f@town PRIVMSG #lobby :a",
            "@batch=b1 :kim!~1f@town PRIVMSG #lobby :",
            &*format!("@batch=b1 :kim!~1f@town PRIVMSG #lobby :b {}", &lines[3].split_once(":b ").unwrap().1),
        ]
    );
    assert!(lines[4].starts_with("@batch=b1;draft/multiline-concat :kim"), "{}", lines[4]);
    assert_eq!(lines[5..], [":town.madang BATCH -b1"]);
}

// Goal: a client sends several lines as one message, and what is too much is refused as a whole.
#[test]
fn several_lines_are_sent_as_one_message() {
    let mut talk = Talk::in_lobby("batch draft/multiline");
    talk.check("BATCH +x draft/multiline #lobby", &[]);
    talk.check("@batch=x PRIVMSG #lobby :one", &[]);
    talk.check("@batch=x PRIVMSG #lobby :two", &[]);
    talk.check("@batch=x;draft/multiline-concat PRIVMSG #lobby : and a half", &[]);
    talk.says("BATCH -x");
    assert!(matches!(ask(talk.answers(Ok(kept(9)))), Ask::Send(send) if send.text == "one\ntwo and a half"));

    talk.check("BATCH +y draft/multiline #lobby", &[]);
    talk.check("@batch=y PRIVMSG #other :one", &[]);
    talk.check("BATCH -y", &[
        ":town.madang FAIL BATCH MULTILINE_INVALID_TARGET :a message has at most 8192 bytes in 100 lines, all to one target and all PRIVMSG or all NOTICE",
    ]);
    talk.check("BATCH -z", &[":town.madang FAIL BATCH MULTILINE_INVALID :no such batch was begun"]);
    talk.check("BATCH +z netsplit a", &[
        ":town.madang FAIL BATCH UNKNOWN_TYPE netsplit :a client begins batches of draft/multiline, with a target",
    ]);
}

// Goal: whoever pastes is slowed down and told once, loses nothing, and keeps the order.
#[test]
fn what_is_pasted_waits_its_turn() {
    let mut talk = Talk::in_lobby("standard-replies");
    talk.says("PRIVMSG #lobby :one too many");
    let first = ask(talk.answers(Err(Refusal::TooFast { again_ms: 300 })));
    assert_eq!(
        talk.heard(),
        [":town.madang WARN * RATE_LIMITED :too fast: wait 300 ms; what you send waits its turn",]
    );
    assert!(!talk.machine.ready(), "the next line waits");
    assert_eq!(talk.next().1, Todo::Hold(300));
    talk.machine.go_on(NOON + 300);
    talk.gather();
    assert_eq!(
        ask(talk.answers(Err(Refusal::TooFast { again_ms: 100 }))),
        first,
        "the same one, with its nonce"
    );
    assert!(talk.heard().is_empty(), "told once");
    talk.next();
    talk.machine.go_on(NOON + 400);
    talk.gather();
    talk.answers(Ok(kept(9)));
    assert!(talk.machine.ready());
    talk.says("PRIVMSG #lobby :slow");
    talk.answers(Err(Refusal::SlowMode { again_ms: 30_000 }));
    assert_eq!(talk.heard(), [":town.madang 404 mina #lobby :this room is in slow mode: wait 30000 ms"]);
    assert!(talk.machine.ready(), "a room's own rule is told, not waited for");
}

// Goal: what is said wrongly is refused by the number of the field.
#[test]
fn what_cannot_be_said_has_its_number() {
    let mut talk = Talk::in_lobby("");
    talk.check("PRIVMSG", &[":town.madang 411 mina :No recipient given (PRIVMSG)"]);
    talk.check("PRIVMSG #lobby", &[":town.madang 412 mina :No text to send"]);
    talk.check("PRIVMSG #lobby :", &[":town.madang 412 mina :No text to send"]);
    talk.check("PRIVMSG a!b :x", &[":town.madang 401 mina a!b :There is nobody and no room of this name"]);
    talk.check("PRIVMSG kim :\u{1}VERSION\u{1}", &[
        ":town.madang FAIL PRIVMSG CTCP_NOT_CARRIED kim :of requests from client to client only ACTION is carried",
    ]);
    talk.says("PRIVMSG #other :x");
    talk.answers(Err(Refusal::NotThere { room: "other".into() }));
    assert_eq!(talk.heard(), [":town.madang 404 mina #other :you are not in other: join it first"]);
    talk.says("PRIVMSG nobody :x");
    talk.answers(Err(Refusal::NoSuchUser { name: "nobody".into() }));
    assert_eq!(talk.heard(), [":town.madang 401 mina nobody :there is nobody called nobody"]);
    talk.check("PART #other", &[":town.madang 442 mina #other :You are not in that room"]);
    talk.check("MODE #lobby +x", &[":town.madang 472 mina x :There is no such mode of a room here"]);
    talk.check("MODE #lobby +b *!*@*.example", &[
        ":town.madang FAIL MODE INVALID_MASK #lobby *!*@*.example :a ban is of one person: give a name, or name!*@*",
    ]);
    talk.check("MODE kim +i", &[":town.madang 502 mina :These are somebody else's modes"]);
    talk.check("MODE mina", &[":town.madang 221 mina +i"]);
}

// Goal: what is done to a room looks as it does on any IRC server.
#[test]
fn changes_of_a_room_are_told() {
    let mut talk = Talk::in_lobby("draft/message-redaction invite-notify");
    talk.says("TOPIC #lobby :new");
    let set = Set {
        kind: Skipped,
        id: Skipped,
        room: "lobby".into(),
        topic: Some("new".into()),
        private: None,
        invite_only: None,
        slow_ms: None,
    };
    assert_eq!(ask(talk.answers(Ok(kept(9)))), set.into());
    talk.published(9, mina(), What::Topic { text: "new".into() });
    talk.published(10, kim(), What::Role { who: mina(), role: Rank::Moderator });
    talk.published(11, kim(), What::Settings { private: true, invite_only: true, slow_ms: 0 });
    talk.published(12, kim(), What::Settings { private: true, invite_only: true, slow_ms: 2500 });
    talk.published(13, kim(), What::Banned { who: person("g:2", "spam"), why: None, until_ms: None });
    talk.published(14, kim(), What::Unbanned { who: person("g:2", "spam") });
    talk.published(15, kim(), What::Invited { who: person("u:jin", "jin") });
    talk.published(16, kim(), What::Deleted { of: 9 });
    talk.published(17, kim(), What::Edited { of: 9, text: "better".into(), notice: false });
    talk.published(
        18,
        kim(),
        What::Muted { who: person("u:jin", "jin"), why: Some("rest".into()), until_ms: None },
    );
    talk.published(19, kim(), What::Removed);
    talk.published(20, kim(), What::Kicked { who: person("u:jin", "jin"), why: None });
    let gone = super::super::stamp::msgid("lobby", 1, 9);
    assert_eq!(
        talk.heard(),
        [
            ":mina!mina@town TOPIC #lobby :new",
            ":kim!~1f@town MODE #lobby +o mina",
            ":kim!~1f@town MODE #lobby +i+s",
            ":town.madang NOTICE #lobby :slow mode is one message every 3 s",
            ":kim!~1f@town MODE #lobby +b spam!*@*",
            ":kim!~1f@town MODE #lobby -b spam!*@*",
            ":kim!~1f@town INVITE jin #lobby",
            &*format!(":kim!~1f@town REDACT #lobby {gone}"),
            ":kim!~1f@town PRIVMSG #lobby :* better",
            ":town.madang NOTICE #lobby :jin may not speak here for now: rest",
            ":kim!~1f@town KICK #lobby jin :kim",
        ]
    );
    talk.check("TOPIC #lobby", &[":town.madang 332 mina #lobby :new"]);
    talk.check("MODE #lobby", &[":town.madang 324 mina #lobby +ntis"]);
    let presence = |joined: &[Person], left: &[Person]| Notice::Presence {
        room: "lobby".into(),
        joined: joined.iter().cloned().map(Arrived::of).collect(),
        left: left.into(),
        people: 2,
    };
    talk.machine.told(&presence(&[person("u:lee", "lee"), mina()], &[person("u:jin", "jin"), kim()]), NOON);
    assert_eq!(
        talk.heard(),
        [":kim!~1f@town PART #lobby", ":lee!lee@town JOIN #lobby"],
        "jin's going was told as KICK"
    );
    talk.published(21, kim(), What::Kicked { who: mina(), why: Some("enough".into()) });
    talk.machine.told(&Notice::Left { room: "lobby".into(), why: Some("kicked".into()) }, NOON);
    assert_eq!(talk.heard(), [":kim!~1f@town KICK #lobby mina :enough"]);
    talk.check("TOPIC #lobby", &[":town.madang 442 mina #lobby :You are not in that room"]);
}

// Goal: typing and reactions go both ways, for clients that have tags.
#[test]
fn typing_and_reactions_go_both_ways() {
    let mut talk = Talk::in_lobby("message-tags");
    let id = super::super::stamp::msgid("lobby", 1, 5);
    talk.says("@+typing=active TAGMSG #lobby");
    assert!(matches!(ask(talk.answers(Ok(Reply::Done(Done {})))), Ask::Typing(_)));
    talk.check("@+typing=done TAGMSG #lobby", &[]);
    talk.says(&format!("@+draft/react=🙂;+draft/reply={id} TAGMSG #lobby"));
    assert!(
        matches!(ask(talk.answers(Ok(kept(9)))), Ask::React(react) if react.offset == 5 && react.add && react.emoji == "🙂")
    );
    talk.says("@+draft/react=🙂 TAGMSG #lobby");
    assert!(talk.heard()[0].contains("FAIL TAGMSG UNKNOWN_MSGID"));
    talk.says(&format!("REDACT #lobby {id} :oops"));
    assert!(matches!(ask(talk.answers(Err(Refusal::NotYours))), Ask::Delete(delete) if delete.offset == 5));
    assert_eq!(
        talk.heard(),
        [format!(":town.madang FAIL REDACT REDACT_FORBIDDEN #lobby {id} :somebody else wrote this message")]
    );

    talk.machine.told(&Notice::Typing { room: "lobby".into(), by: kim() }, NOON);
    talk.machine.told(&Notice::Typing { room: "@kim".into(), by: kim() }, NOON);
    talk.published(10, kim(), What::Reaction { of: 5, emoji: "🙂".into(), add: false });
    let own = super::super::stamp::msgid("lobby", 1, 10);
    assert_eq!(
        talk.heard(),
        [
            "@+typing=active :kim!~1f@town TAGMSG #lobby",
            "@+typing=active :kim!~1f@town TAGMSG mina",
            &*format!("@msgid={own};+draft/reply={id};+draft/unreact=🙂 :kim!~1f@town TAGMSG #lobby"),
        ]
    );
    let mut plain = Talk::in_lobby("");
    plain.machine.told(&Notice::Typing { room: "lobby".into(), by: kim() }, NOON);
    plain.published(10, kim(), What::Reaction { of: 5, emoji: "🙂".into(), add: true });
    assert!(plain.heard().is_empty());
}

// Goal: people are found by name and by room, and nobody's address is told.
#[test]
fn people_are_found() {
    let known = |name: &str, here: bool| {
        Ok(Reply::Known(Box::new(Known {
            person: person(&format!("u:{name}"), name),
            guest: false,
            here,
            away: Some("lunch".into()),
            about: None,
            since_ms: None,
            rooms: vec!["lobby".into()],
        })))
    };
    let mut talk = Talk::in_lobby("");
    talk.says("WHOIS jin");
    talk.answers(known("jin", true));
    assert_eq!(
        talk.heard(),
        [
            ":town.madang 311 mina jin jin town * :jin",
            ":town.madang 319 mina jin :#lobby",
            ":town.madang 312 mina jin town.madang :town",
            ":town.madang 330 mina jin jin :is logged in as",
            ":town.madang 301 mina jin :lunch",
            ":town.madang 318 mina jin :End of WHOIS",
        ]
    );
    talk.says("WHO #lobby");
    let people =
        vec![present(mina(), Rank::Owner), Present { away: Some("x".into()), ..present(kim(), Rank::None) }];
    talk.answers(Ok(Reply::People(People { room: "lobby".into(), people: people.clone(), count: 2 })));
    assert_eq!(
        talk.heard(),
        [
            ":town.madang 352 mina #lobby mina town town.madang mina H@ :0 mina",
            ":town.madang 352 mina #lobby ~1f town town.madang kim G :0 kim",
            ":town.madang 315 mina #lobby :End of WHO",
        ]
    );
    talk.says("WHO #lobby %tnuhiraf,42");
    talk.answers(Ok(Reply::People(People { room: "lobby".into(), people, count: 2 })));
    assert_eq!(
        talk.heard(),
        [
            ":town.madang 354 mina 42 mina 255.255.255.255 town mina H@ mina :mina",
            ":town.madang 354 mina 42 ~1f 255.255.255.255 town kim G 0 :kim",
            ":town.madang 315 mina #lobby :End of WHO",
        ]
    );
    talk.says("ISON jin nobody");
    talk.answers(known("jin", true));
    talk.answers(Err(Refusal::NoSuchUser { name: "nobody".into() }));
    assert_eq!(talk.heard(), [":town.madang 303 mina :jin"]);
    talk.says("USERHOST jin");
    talk.answers(known("jin", true));
    assert_eq!(talk.heard(), [":town.madang 302 mina :jin=-jin@town"]);

    talk.says("LIST");
    let open = vec![Open { room: "lobby".into(), topic: "all of it".into(), people: 2 }];
    talk.answers(Ok(Reply::Rooms(Box::new(RoomList { mine: vec![], open, more: false }))));
    assert_eq!(
        talk.heard(),
        [
            ":town.madang 321 mina Channel :Users  Name",
            ":town.madang 322 mina #lobby 2 :all of it",
            ":town.madang 323 mina :End of list",
        ]
    );
}

// Goal: the server may tell a message before or after it says that it was kept: the client hears the same.
#[test]
fn ones_own_message_is_known_in_either_order() {
    for caps in ["", "echo-message"] {
        let mut talk = Talk::in_lobby(caps);
        talk.says("PRIVMSG #lobby :hello");
        talk.published(9, mina(), said("from my phone"));
        talk.published(10, mina(), said("hello"));
        talk.published(11, kim(), said("hi"));
        assert!(talk.heard().is_empty(), "which of them is its own is not known yet");
        talk.answers(Ok(kept(10)));
        let mut want = vec![
            ":mina!mina@town PRIVMSG #lobby :from my phone",
            ":mina!mina@town PRIVMSG #lobby :hello",
            ":kim!~1f@town PRIVMSG #lobby :hi",
        ];
        if caps.is_empty() {
            want.remove(1);
        }
        assert_eq!(talk.heard(), want);
    }
}
