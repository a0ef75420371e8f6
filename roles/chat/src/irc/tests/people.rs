//! Names, what people say of themselves, who is watched, who was here, how far one has read.

use super::*;
use crate::ask::{About, Bans, MarkRead, Rename, Skipped, Watch, Whowas};
use crate::notice::{Arrived, Notice};
use crate::reply::{BanList, Done, Former, Gone, Marked, Past, Shut, Watched};

fn you(name: &str) -> Reply {
    Reply::You(You { id: PersonId("g:1f".into()), name: name.into(), guest: true, admin: false })
}

/// Kim, a guest, in the lobby.
fn kim_in_lobby(caps: &str) -> Talk {
    let mut talk = Talk::new(network());
    talk.says(&format!("CAP REQ :{caps} draft/no-implicit-names"));
    talk.says("CAP END");
    talk.says("NICK kim");
    talk.says("USER kim 0 * :kim");
    talk.answers(Ok(welcome("g:1f", "kim")));
    talk.says("JOIN #lobby");
    talk.answers(Ok(Reply::Joined(Box::new(lobby()))));
    talk.heard();
    talk
}

// Goal: a new name is said once, as the answer; those of others are told; what cannot be is refused by its number.
#[test]
fn a_guest_is_called_otherwise() {
    let mut talk = kim_in_lobby("labeled-response");
    talk.says("@label=7 NICK Lee");
    let renamed = Notice::Renamed { by: kim(), name: "Lee".into() };
    talk.machine.told(&renamed, NOON);
    assert!(talk.heard().is_empty(), "the answer is on its way");
    let asked = ask(talk.answers(Ok(you("Lee"))));
    assert_eq!(asked, Rename { kind: Skipped, id: Skipped, name: "Lee".into() }.into());
    assert_eq!(talk.heard(), ["@label=7 :kim!~1f@town NICK :Lee"]);
    talk.check("MOTD", &[":town.madang 422 Lee :There is no message of the day"]);
    talk.check("NICK Lee", &[]);
    talk.machine.told(&Notice::Renamed { by: person("g:1f", "Lee"), name: "jo".into() }, NOON);
    assert_eq!(talk.heard(), [":Lee!~1f@town NICK :jo"], "by another connection of the same guest");
    talk.machine.told(&Notice::Renamed { by: mina(), name: "minna".into() }, NOON);
    assert_eq!(talk.heard(), [":mina!mina@town NICK :minna"]);

    for (refusal, want) in [
        (Refusal::NameTaken { name: "x".into() }, ":town.madang 433 jo x :Somebody has this name"),
        (Refusal::BadName { must: "letters" }, ":town.madang 432 jo x :a name must be letters"),
        (
            Refusal::NotAllowed { who_may: "guests (a user is called as the account is)" },
            ":town.madang 484 jo :only guests (a user is called as the account is) may do this",
        ),
    ] {
        talk.says("NICK x");
        talk.answers(Err(refusal));
        assert_eq!(talk.heard(), [want]);
    }
    talk.check("NICK", &[":town.madang 431 jo :No nickname given"]);
}

// Goal: what USER and SETNAME say of a person is kept by the chat and told to clients that know of it.
#[test]
fn people_say_something_of_themselves() {
    let mut talk = Talk::new(network());
    talk.says("CAP REQ :setname extended-join");
    talk.says("CAP END");
    talk.says("NICK kim");
    talk.says("USER kim 0 * :Kim of the\u{7} hill");
    talk.answers(Ok(welcome("g:1f", "kim")));
    let introduced = ask(talk.answers(Ok(Reply::Done(Done {}))));
    let about = |text: &str| About { kind: Skipped, id: Skipped, text: Some(text.into()) };
    assert_eq!(introduced, about("Kim of the hill").into());
    talk.heard();
    talk.says("JOIN #lobby");
    talk.answers(Ok(Reply::Joined(Box::new(lobby()))));
    assert_eq!(talk.heard()[0], ":kim!~1f@town JOIN #lobby * :Kim of the hill");
    talk.answers(Err(Refusal::ShuttingDown));
    talk.heard();

    talk.says("SETNAME :Kim");
    talk.machine.told(&Notice::About { by: kim(), text: Some("Kim".into()) }, NOON);
    assert!(talk.heard().is_empty(), "the answer is on its way");
    assert_eq!(ask(talk.answers(Ok(Reply::Done(Done {})))), about("Kim").into());
    assert_eq!(talk.heard(), [":kim!~1f@town SETNAME :Kim"]);
    talk.machine.told(&Notice::About { by: mina(), text: None }, NOON);
    assert_eq!(talk.heard(), [":mina!mina@town SETNAME :mina"]);
    talk.says(&format!("SETNAME :{}", "x".repeat(300)));
    talk.answers(Err(Refusal::TooLong { what: "a line about oneself", bytes: 300, max: 200 }));
    assert!(talk.heard()[0].starts_with(":town.madang FAIL SETNAME INVALID_REALNAME :"));

    let mut plain = Talk::in_lobby("");
    plain.machine.told(&Notice::About { by: kim(), text: Some("x".into()) }, NOON);
    assert!(plain.heard().is_empty());
}

// Goal: the chat watches what the client's list says, and the client is told at once, of nobody else.
#[test]
fn whoever_is_watched_is_told_of_at_once() {
    let mut talk = Talk::in_lobby("");
    talk.says("MONITOR + kim,lee");
    let watch = |who: &[&str]| -> Ask {
        Watch { kind: Skipped, id: Skipped, who: who.iter().map(|name| (*name).to_owned()).collect() }.into()
    };
    let asked = ask(talk.answers(Ok(Reply::Watched(Watched { here: vec![kim()] }))));
    assert_eq!(asked, watch(&["kim", "lee"]));
    assert_eq!(talk.heard(), [":town.madang 730 mina :kim!~1f@town", ":town.madang 731 mina :lee"]);
    talk.machine.told(&Notice::Watched { who: kim(), here: false }, NOON);
    talk.machine.told(&Notice::Watched { who: person("u:lee", "Lee"), here: true }, NOON);
    talk.machine.told(&Notice::Watched { who: person("u:jin", "jin"), here: true }, NOON);
    assert_eq!(talk.heard(), [":town.madang 731 mina :kim", ":town.madang 730 mina :Lee!lee@town"]);
    talk.check("MONITOR L", &[":town.madang 732 mina :kim,lee", ":town.madang 733 mina :End of the list"]);
    talk.says("MONITOR - lee,nobody");
    assert_eq!(ask(talk.answers(Ok(Reply::Watched(Watched { here: vec![] })))), watch(&["kim"]));
    talk.says("MONITOR S");
    talk.answers(Ok(Reply::Watched(Watched { here: vec![] })));
    assert_eq!(talk.heard(), [":town.madang 731 mina :kim"]);
    talk.says("MONITOR C");
    assert_eq!(ask(talk.answers(Ok(Reply::Watched(Watched { here: vec![] })))), watch(&[]));
    talk.check("MONITOR C", &[]);
    let many: Vec<String> = (0..102).map(|n| format!("n{n}")).collect();
    for some in many.chunks(51) {
        talk.says(&format!("MONITOR + {}", some.join(",")));
        talk.answers(Ok(Reply::Watched(Watched { here: vec![] })));
    }
    let heard = talk.heard();
    assert!(heard.iter().any(|line| line.contains(" 734 mina 100 n100,n101 :")), "{heard:#?}");
    assert!(heard.iter().all(|line| line.len() <= 510));
}

// Goal: who had a name is told with when they went; a room's bans are listed; who comes back as an operator is one.
#[test]
fn who_was_here_and_who_may_not_be() {
    let mut talk = Talk::in_lobby("extended-join away-notify");
    talk.says("WHOWAS kim 1");
    let former = |until_ms| Former { person: kim(), about: Some("Kim".into()), until_ms };
    let asked = ask(talk.answers(Ok(Reply::Gone(Gone { people: vec![former(NOON), former(1)] }))));
    assert_eq!(asked, Whowas { kind: Skipped, id: Skipped, who: "kim".into() }.into());
    assert_eq!(
        talk.heard(),
        [
            ":town.madang 314 mina kim ~1f town * :Kim",
            ":town.madang 312 mina kim town.madang :until 2026-11-21T12:00:00.000Z",
            ":town.madang 369 mina kim :End of WHOWAS",
        ]
    );
    talk.says("WHOWAS x");
    talk.answers(Ok(Reply::Gone(Gone { people: vec![] })));
    assert_eq!(
        talk.heard(),
        [
            ":town.madang 406 mina x :Nobody of this name was here lately",
            ":town.madang 369 mina x :End of WHOWAS",
        ]
    );
    talk.says("MODE #lobby b");
    let bans = BanList {
        room: "lobby".into(),
        bans: vec![Shut { person: kim(), until_ms: None }],
        mutes: vec![Shut { person: mina(), until_ms: None }],
    };
    let asked = ask(talk.answers(Ok(Reply::Bans(Box::new(bans)))));
    assert_eq!(asked, Bans { kind: Skipped, id: Skipped, room: "lobby".into() }.into());
    assert_eq!(
        talk.heard(),
        [":town.madang 367 mina #lobby kim!*@*", ":town.madang 368 mina #lobby :End of the bans"]
    );

    let arrived = Arrived {
        role: Rank::Moderator,
        about: Some("Kim".into()),
        away: Some("lunch".into()),
        ..Arrived::of(kim())
    };
    let came =
        Notice::Presence { room: "lobby".into(), joined: [arrived].into(), left: [].into(), people: 2 };
    talk.machine.told(&came, NOON);
    assert_eq!(
        talk.heard(),
        [":kim!~1f@town JOIN #lobby * :Kim", ":town.madang MODE #lobby +o kim", ":kim!~1f@town AWAY :lunch",]
    );
    // Told for each room one shares with them; said once.
    for room in ["lobby", "other"] {
        talk.machine.told(&Notice::Away { room: room.into(), by: kim(), text: None }, NOON);
    }
    assert_eq!(talk.heard(), [":kim!~1f@town AWAY"]);
}

fn page(offset: u64, at_ms: u64) -> Reply {
    let event = Event { what: said("x"), room: "lobby".into(), epoch: 1, offset, at_ms, by: kim() };
    Reply::Past(Box::new(Past {
        room: "lobby".into(),
        epoch: 1,
        first: 1,
        next: 9,
        events: vec![event],
        more: true,
    }))
}

fn marked(offset: u64) -> Reply {
    Reply::Marked(Marked { room: "lobby".into(), offset })
}

// Goal: how far one has read is told as a moment and set by one; it comes between JOIN and the names.
#[test]
fn how_far_one_has_read_is_a_moment() {
    let mut talk = Talk::mina("draft/read-marker");
    talk.says("JOIN #lobby");
    talk.answers(Ok(Reply::Joined(Box::new(lobby()))));
    let mark =
        |offset| -> Ask { MarkRead { kind: Skipped, id: Skipped, room: "lobby".into(), offset }.into() };
    assert_eq!(ask(talk.answers(Ok(marked(4)))), mark(None));
    assert!(matches!(ask(talk.answers(Ok(page(4, NOON)))), Ask::History(page) if page.before == Some(5)));
    talk.answers(Err(Refusal::ShuttingDown));
    let heard = talk.heard();
    assert_eq!(heard[2], ":town.madang MARKREAD #lobby timestamp=2026-11-21T12:00:00.000Z");
    assert!(heard[3].contains(" 366 "), "{heard:#?}");

    // Entries 1 to 8, one a second, the first at noon: what is not behind 12:00:02.500 ends with the third.
    talk.says("MARKREAD #lobby timestamp=2026-11-21T12:00:02.500Z");
    let mut looks = 0;
    loop {
        let (tag, todo) = talk.next();
        let reply = match ask(todo) {
            Ask::History(read) if read.before.is_none() => {
                looks += 1;
                let offset = read.after.map_or(8, |after| after + 1);
                page(offset, NOON + (offset - 1) * 1000)
            }
            Ask::MarkRead(read) => {
                assert_eq!(Ask::from(read), mark(Some(3)));
                // It stands further on: it does not go back.
                marked(7)
            }
            Ask::History(read) => {
                assert_eq!(read.before, Some(8));
                page(7, NOON + 6000)
            }
            other => panic!("{other:?}"),
        };
        talk.machine.answered(tag, &Ok(reply), NOON);
        talk.gather();
        if talk.machine.ready() {
            break;
        }
    }
    assert!(looks <= 5, "{looks}");
    assert_eq!(talk.heard(), [":town.madang MARKREAD #lobby timestamp=2026-11-21T12:00:06.000Z"]);

    talk.says("MARKREAD kim");
    talk.answers(Ok(marked(0)));
    assert_eq!(talk.heard(), [":town.madang MARKREAD kim *"]);
    talk.machine.told(&Notice::Read { room: "@kim".into(), offset: 5 }, NOON);
    talk.gather();
    assert!(talk.machine.ready(), "no command waits for it");
    talk.answers(Ok(page(5, NOON)));
    assert_eq!(talk.heard(), [":town.madang MARKREAD kim timestamp=2026-11-21T12:00:00.000Z"]);
    talk.check(
        "MARKREAD #lobby yesterday",
        &[":town.madang FAIL MARKREAD INVALID_PARAMS #lobby yesterday :a place is timestamp=2026-11-21T12:00:00.000Z"],
    );
}

// Goal: a message that was sent before is not said twice, and its sender is told where it stands.
#[test]
fn a_message_with_a_name_of_its_own_is_said_once() {
    let mut talk = Talk::in_lobby("message-tags standard-replies echo-message");
    talk.says("@+madang/nonce=n1 PRIVMSG #lobby :once");
    let again = Reply::Kept(Kept { room: "lobby".into(), epoch: 1, offset: 9, at_ms: NOON, duplicate: true });
    assert!(matches!(ask(talk.answers(Ok(again))), Ask::Send(send) if send.nonce == "n1"));
    let id = super::super::stamp::msgid("lobby", 1, 9);
    assert_eq!(
        talk.heard(),
        [format!(":town.madang NOTE PRIVMSG SAID_BEFORE #lobby {id} :this was kept when it was sent before")]
    );
}
