//! What nothing may answer by itself: a NOTICE is a notice to the chat, and a notice of the chat is a NOTICE.

use super::*;
use crate::ask::Send;

fn notice(text: &str) -> What {
    let mut what = said(text);
    if let What::Message { notice, .. } = &mut what {
        *notice = true;
    }
    what
}

/// What is sent for this line.
#[track_caller]
fn sent(talk: &mut Talk, line: &str) -> Send {
    talk.says(line);
    match ask(talk.answers(Ok(kept(9)))) {
        Ask::Send(send) => send,
        other => panic!("{line}: {other:?}"),
    }
}

// Goal: the flag goes both ways, and PRIVMSG has none.
// Method: lines of a client and what is asked of the chat; events of the chat and what a client hears.
#[test]
fn a_notice_is_a_notice_both_ways() {
    let mut talk = Talk::in_lobby("");
    check(&mut talk, "NOTICE #lobby :3 builds", ("lobby", "3 builds", true, false));
    check(&mut talk, "NOTICE kim :psst", ("@kim", "psst", true, false));
    check(&mut talk, "PRIVMSG #lobby :3 builds", ("lobby", "3 builds", false, false));
    check(&mut talk, "NOTICE #lobby :\u{1}ACTION builds\u{1}", ("lobby", "builds", true, true));
    // What answers a client's request is carried as it is.
    check(&mut talk, "NOTICE kim :\u{1}VERSION irssi\u{1}", ("@kim", "\u{1}VERSION irssi\u{1}", true, false));
    check(&mut talk, "NOTICE kim :\u{1}PING 17", ("@kim", "\u{1}PING 17\u{1}", true, false));

    let mut talk = Talk::in_lobby("");
    talk.published(10, kim(), notice("3 builds"));
    talk.published(11, kim(), notice("\u{1}VERSION irssi\u{1}"));
    talk.published(12, kim(), said("hi"));
    talk.published(13, kim(), What::Edited { of: 10, text: "4 builds".into(), notice: true });
    talk.published(14, kim(), What::Edited { of: 12, text: "hi!".into(), notice: false });
    assert_eq!(
        talk.heard(),
        [
            ":kim!~1f@town NOTICE #lobby :3 builds",
            ":kim!~1f@town NOTICE #lobby :\u{1}VERSION irssi\u{1}",
            ":kim!~1f@town PRIVMSG #lobby :hi",
            ":kim!~1f@town NOTICE #lobby :* 4 builds",
            ":kim!~1f@town PRIVMSG #lobby :* hi!",
        ]
    );

    #[track_caller]
    fn check(talk: &mut Talk, line: &str, want: (&str, &str, bool, bool)) {
        let send = sent(talk, line);
        assert_eq!((&*send.room, &*send.text, send.notice, send.action), want, "{line}");
        assert!(talk.heard().is_empty(), "{line}");
    }
}

// Goal: whatever is wrong with a NOTICE, nothing is answered.
#[test]
fn a_notice_that_cannot_be_said_is_answered_by_nothing() {
    let mut talk = Talk::in_lobby("standard-replies");
    talk.check("NOTICE", &[]);
    talk.check("NOTICE #lobby", &[]);
    talk.check("NOTICE #lobby :", &[]);
    talk.check("NOTICE a!b :x", &[]);
    talk.says("NOTICE #other :x");
    talk.answers(Err(Refusal::NotThere { room: "other".into() }));
    assert!(talk.heard().is_empty());
}

// Goal: notices of several lines are one, and lines of both kinds do not mix.
#[test]
fn notices_of_several_lines_are_one_notice() {
    let mut talk = Talk::in_lobby("batch draft/multiline");
    talk.check("BATCH +x draft/multiline #lobby", &[]);
    talk.check("@batch=x NOTICE #lobby :one", &[]);
    talk.check("@batch=x NOTICE #lobby :two", &[]);
    let send = sent(&mut talk, "BATCH -x");
    assert_eq!((&*send.text, send.notice), ("one\ntwo", true));

    talk.check("BATCH +y draft/multiline #lobby", &[]);
    talk.check("@batch=y NOTICE #lobby :one", &[]);
    talk.check("@batch=y PRIVMSG #lobby :two", &[]);
    talk.says("BATCH -y");
    let heard = talk.heard();
    assert!(heard[0].starts_with(":town.madang FAIL BATCH MULTILINE_INVALID "), "{heard:?}");

    talk.published(10, kim(), notice("one\ntwo"));
    assert_eq!(
        talk.heard(),
        [
            ":kim!~1f@town BATCH +b1 draft/multiline #lobby",
            "@batch=b1 :kim!~1f@town NOTICE #lobby :one",
            "@batch=b1 :kim!~1f@town NOTICE #lobby :two",
            ":town.madang BATCH -b1",
        ]
    );
}

// Goal: a notice that was sent before is told of as a notice.
#[test]
fn a_notice_that_was_sent_before_is_said_once() {
    let mut talk = Talk::in_lobby("message-tags standard-replies");
    talk.says("@+madang/nonce=n1 NOTICE #lobby :once");
    let again = Reply::Kept(Kept { room: "lobby".into(), epoch: 1, offset: 9, at_ms: NOON, duplicate: true });
    talk.answers(Ok(again));
    let heard = talk.heard();
    assert!(heard[0].starts_with(":town.madang NOTE NOTICE SAID_BEFORE #lobby "), "{heard:?}");
}
