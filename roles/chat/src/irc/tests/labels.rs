//! Commands with a label.

use super::*;
use crate::reply::{Done, People, Present};

const CAPS: &str = "batch labeled-response echo-message message-tags";

// Goal: each command has one answer with its label, whatever comes from others meanwhile.
#[test]
fn every_command_has_one_answer() {
    let mut talk = Talk::in_lobby(CAPS);
    talk.check("@label=1 PING x", &["@label=1 :town.madang PONG town.madang :x"]);
    talk.check("@label=2 PONG x", &["@label=2 :town.madang ACK"]);
    talk.says("@label=3 WHO #lobby");
    talk.published(8, kim(), said("meanwhile"));
    assert!(talk.heard()[0].ends_with(":meanwhile"), "news is no part of the answer");
    let people = vec![Present { person: kim(), role: Rank::None, here: true, away: None, about: None }];
    talk.answers(Ok(Reply::People(People { room: "lobby".into(), people, count: 1 })));
    assert_eq!(
        talk.heard(),
        [
            "@label=3 :town.madang BATCH +b1 labeled-response",
            "@batch=b1 :town.madang 352 mina #lobby ~1f town town.madang kim H :0 kim",
            "@batch=b1 :town.madang 315 mina #lobby :End of WHO",
            ":town.madang BATCH -b1",
        ]
    );
    talk.says("@label=4;+typing=active TAGMSG #lobby");
    talk.answers(Ok(Reply::Done(Done {})));
    assert_eq!(talk.heard(), ["@label=4 :town.madang ACK"]);
}

// Goal: the echo of a message is the answer to it, in its place among the others.
#[test]
fn an_echo_bears_its_label() {
    let mut talk = Talk::in_lobby(CAPS);
    talk.says("@label=a PRIVMSG #lobby :hello");
    talk.answers(Ok(kept(10)));
    assert!(talk.heard().is_empty(), "the answer is the message itself");
    assert!(talk.machine.ready());
    talk.published(9, kim(), said("before it"));
    talk.published(10, mina(), said("hello"));
    let lines = talk.heard();
    assert!(lines[0].ends_with("PRIVMSG #lobby :before it") && !lines[0].contains("label="));
    assert!(
        lines[1].starts_with("@label=a;msgid=")
            && lines[1].ends_with(":mina!mina@town PRIVMSG #lobby :hello")
    );
    talk.says("@label=b TOPIC #lobby :new");
    talk.answers(Ok(kept(11)));
    talk.published(11, mina(), What::Topic { text: "new".into() });
    assert_eq!(talk.heard(), ["@label=b :mina!mina@town TOPIC #lobby :new"]);
    talk.says("@label=c PRIVMSG #lobby :x");
    talk.answers(Err(Refusal::Muted { until_ms: None }));
    assert_eq!(talk.heard(), ["@label=c :town.madang 404 mina #lobby :you are muted in this room"]);

    let mut silent = Talk::in_lobby("batch labeled-response");
    silent.says("@label=a PRIVMSG #lobby :hello");
    silent.answers(Ok(kept(9)));
    assert_eq!(silent.heard(), ["@label=a :town.madang ACK"]);
    silent.published(9, mina(), said("hello"));
    assert!(silent.heard().is_empty());
}

#[test]
fn a_message_of_several_lines_is_answered_at_its_end() {
    let mut talk = Talk::in_lobby("batch labeled-response draft/multiline message-tags");
    talk.check("@label=a BATCH +x draft/multiline #lobby", &[]);
    talk.check("@batch=x PRIVMSG #lobby :one", &[]);
    talk.says("BATCH -x");
    talk.answers(Ok(kept(9)));
    assert_eq!(talk.heard(), ["@label=a :town.madang ACK"]);
}
