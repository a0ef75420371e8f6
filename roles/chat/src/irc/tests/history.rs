//! `CHATHISTORY` against a log that answers as the chat does.

use proptest::prelude::*;

use super::*;
use crate::ask::History;
use crate::reply::{Mine, Past, RoomList};

/// Messages with an offset each, `step` apart in time; every fourth entry is no message.
fn log(first: u64, next: u64) -> Vec<Event> {
    let what = |offset: u64| {
        if offset.is_multiple_of(4) { What::Topic { text: "t".into() } } else { said(&format!("m{offset}")) }
    };
    (first..next)
        .map(|offset| Event {
            what: what(offset),
            room: "lobby".into(),
            epoch: 1,
            offset,
            at_ms: time_of(offset),
            by: kim(),
        })
        .collect()
}

fn time_of(offset: u64) -> u64 {
    // Two entries share each moment.
    NOON + offset / 2 * 1000
}

/// A page as the chat gives it.
fn page(log: &[Event], ask: &History) -> Reply {
    let limit = ask.limit.unwrap_or(50);
    let (first, next) = (log.first().map_or(1, |e| e.offset), log.last().map_or(1, |e| e.offset + 1));
    let (events, more): (Vec<Event>, bool) = match ask.after {
        Some(after) => {
            let all: Vec<&Event> = log.iter().filter(|event| event.offset > after).collect();
            (all.iter().take(limit).map(|event| (*event).clone()).collect(), all.len() > limit)
        }
        None => {
            let all: Vec<&Event> =
                log.iter().filter(|event| ask.before.is_none_or(|before| event.offset < before)).collect();
            let skipped = all.len().saturating_sub(limit);
            (all.iter().skip(skipped).map(|event| (*event).clone()).collect(), skipped > 0)
        }
    };
    Reply::Past(Box::new(Past { room: "lobby".into(), epoch: 1, first, next, events, more }))
}

/// The offsets that a command gives, and how often the chat was asked.
fn asked(talk: &mut Talk, log: &[Event], line: &str) -> (Vec<u64>, usize) {
    talk.says(line);
    let mut asks = 0;
    while !talk.asked.is_empty() {
        let (tag, todo) = talk.next();
        let Ask::History(question) = ask(todo) else { panic!("asks for something else") };
        asks += 1;
        talk.machine.answered(tag, &Ok(page(log, &question)), NOON);
        talk.gather();
    }
    let lines = talk.heard();
    assert!(lines[0].contains(" BATCH +") && lines[0].ends_with(" chathistory #lobby"), "{lines:#?}");
    assert!(lines[lines.len() - 1].contains(" BATCH -"));
    let told =
        lines[1..lines.len() - 1].iter().map(|line| line.rsplit_once(":m").unwrap().1.parse().unwrap());
    (told.collect(), asks)
}

fn id(offset: u64) -> String {
    super::super::stamp::msgid("lobby", 1, offset)
}

fn at(ms: u64) -> String {
    super::super::stamp::time(ms)
}

// Goal: each form gives what its specification says, oldest first.
#[test]
fn each_form_gives_its_part_of_the_log() {
    let log = log(1, 40);
    let mut talk = Talk::in_lobby("batch");
    let mut check = |line: String, want: &[u64]| {
        assert_eq!(asked(&mut talk, &log, &format!("CHATHISTORY {line}")).0, want, "{line}");
    };
    check("LATEST #lobby * 3".into(), &[37, 38, 39]);
    check(format!("LATEST #lobby msgid={} 5", id(37)), &[38, 39]);
    check(format!("BEFORE #lobby msgid={} 3", id(9)), &[5, 6, 7]);
    check(format!("AFTER #lobby msgid={} 3", id(8)), &[9, 10, 11]);
    check(format!("AROUND #lobby msgid={} 4", id(10)), &[7, 9, 10, 11]);
    check(format!("BETWEEN #lobby msgid={} msgid={} 9", id(9), id(13)), &[10, 11]);
    check(format!("BETWEEN #lobby msgid={} msgid={} 2", id(9), id(20)), &[10, 11]);
    check(format!("BETWEEN #lobby msgid={} msgid={} 2", id(20), id(9)), &[18, 19]);
    check(format!("BEFORE #lobby timestamp={} 2", at(time_of(10))), &[7, 9]);
    check(format!("AFTER #lobby timestamp={} 2", at(time_of(10))), &[13, 14]);
    check(
        format!("BETWEEN #lobby timestamp={} timestamp={} 9", at(time_of(9)), at(time_of(14))),
        &[10, 11, 13],
    );
    check(format!("BETWEEN #lobby timestamp={} timestamp={} 2", at(time_of(14)), at(time_of(9))), &[11, 13]);
    check("BEFORE #lobby timestamp=1999-01-01T00:00:00.000Z 2".into(), &[]);
    check("AFTER #lobby timestamp=2199-01-01T00:00:00.000Z 2".into(), &[]);
}

// Goal: what is not understood is refused by name.
#[test]
fn what_is_not_understood_is_refused_by_name() {
    let mut talk = Talk::in_lobby("batch");
    let mut check = |line: &str, want: &str| {
        talk.says(&format!("CHATHISTORY {line}"));
        let heard = talk.heard();
        assert!(
            heard.len() == 1 && heard[0].starts_with(&format!(":town.madang FAIL CHATHISTORY {want} ")),
            "{heard:?}"
        );
    };
    check("EVER", "INVALID_PARAMS EVER");
    check("LATEST", "INVALID_PARAMS LATEST");
    check("LATEST #lobby *", "INVALID_PARAMS LATEST");
    check("LATEST #lobby * 0", "INVALID_PARAMS LATEST");
    check("LATEST #lobby * x", "INVALID_PARAMS LATEST");
    check("LATEST ## * 5", "INVALID_TARGET LATEST ##");
    check("BEFORE #lobby * 5", "INVALID_PARAMS BEFORE *");
    check("BEFORE #lobby msgid=x 5", "INVALID_PARAMS BEFORE msgid=x");
    check("BETWEEN #lobby * 5", "INVALID_PARAMS BETWEEN");
    check("TARGETS a b 5", "INVALID_PARAMS TARGETS");
    talk.says("CHATHISTORY LATEST #secret * 5");
    talk.answers(Err(Refusal::Private));
    assert!(talk.heard()[0].starts_with(":town.madang FAIL CHATHISTORY INVALID_TARGET LATEST #secret :"));
}

#[test]
fn conversations_with_news_are_listed() {
    let mine = |room: &str, at_ms: u64| Mine {
        room: room.into(),
        topic: "".into(),
        private: false,
        role: Rank::None,
        epoch: 1,
        next: 2,
        read: 0,
        unread: 1,
        mentions: 0,
        last: Some(Event { at_ms, ..log(1, 2).remove(0) }),
    };
    let mut talk = Talk::mina("batch");
    talk.says(&format!("CHATHISTORY TARGETS timestamp={} timestamp={} 10", at(NOON), at(NOON + 9000)));
    let mine = vec![
        mine("lobby", NOON + 5000),
        mine("@kim", NOON + 1000),
        mine("old", NOON - 1),
        mine("*", NOON + 1),
    ];
    talk.answers(Ok(Reply::Rooms(Box::new(RoomList { mine, open: vec![], more: false }))));
    assert_eq!(
        talk.heard(),
        [
            ":town.madang BATCH +b1 draft/chathistory-targets",
            "@batch=b1 :town.madang CHATHISTORY TARGETS kim 2026-11-21T12:00:01.000Z",
            "@batch=b1 :town.madang CHATHISTORY TARGETS #lobby 2026-11-21T12:00:05.000Z",
            ":town.madang BATCH -b1",
        ]
    );
}

proptest! {
    // Goal: whatever part of whatever log is asked for, it is what a plain search of the whole log gives, in few questions.
    #[test]
    fn any_part_of_any_log_is_found(
        (first, length) in (1_u64..30, 0_u64..900),
        (a, b) in (0_u64..500, 0_u64..500),
        limit in 1_usize..30,
        form in 0..7_usize,
    ) {
        let log = log(first, first + length);
        let mut talk = Talk::in_lobby("batch");
        let (ta, tb) = (NOON + a * 1000, NOON + b * 1000);
        let messages: Vec<(u64, u64)> = log
            .iter()
            .filter(|event| matches!(event.what, What::Message { .. }))
            .map(|event| (event.offset, event.at_ms))
            .collect();
        let part = |inside: &dyn Fn(u64, u64) -> bool| -> Vec<u64> {
            messages.iter().filter(|(offset, at)| inside(*offset, *at)).map(|(offset, _)| *offset).collect()
        };
        let newest = |all: Vec<u64>| all[all.len().saturating_sub(limit)..].to_vec();
        let oldest = |all: Vec<u64>| all[..all.len().min(limit)].to_vec();
        let (line, want) = match form {
            0 => ("LATEST #lobby *".to_owned(), newest(part(&|_, _| true))),
            1 => (format!("LATEST #lobby timestamp={}", at(ta)), newest(part(&|_, t| t > ta))),
            2 => (format!("BEFORE #lobby timestamp={}", at(ta)), newest(part(&|_, t| t < ta))),
            3 => (format!("AFTER #lobby timestamp={}", at(ta)), oldest(part(&|_, t| t > ta))),
            4 => (format!("BEFORE #lobby msgid={}", id(a)), newest(part(&|o, _| o < a))),
            5 if ta <= tb => (format!("BETWEEN #lobby timestamp={} timestamp={}", at(ta), at(tb)), oldest(part(&|_, t| t > ta && t < tb))),
            5 => (format!("BETWEEN #lobby timestamp={} timestamp={}", at(ta), at(tb)), newest(part(&|_, t| t > tb && t < ta))),
            _ => {
                let before = part(&|o, _| o < a);
                let mut want = before[before.len().saturating_sub(limit / 2)..].to_vec();
                let behind = part(&|o, _| o >= a);
                want.extend(behind.iter().take(limit - want.len()));
                (format!("AROUND #lobby msgid={}", id(a)), want)
            }
        };
        let (have, asks) = asked(&mut talk, &log, &format!("CHATHISTORY {line} {limit}"));
        prop_assert_eq!(have, want, "{}", line);
        prop_assert!(asks <= 40, "{} questions", asks);
    }
}
