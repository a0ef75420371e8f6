//! Goal: whatever happens, each thing that goes wrong is told once and its end once, in bounded messages; a way out delivers in
//! order, once, and never holds more than it may. Method: invented histories from seeds, an operator who remembers everything
//! he was told; a thousand servers at once; a way that fails as the seed says.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_console::alert::condition::Condition;
use madang_console::alert::delivery::{Attempt, Delivery, WAITING_MAX};
use madang_console::alert::fact::{AppFact, Fact};
use madang_console::alert::message::{ITEMS_MAX, Message, Status};
use madang_console::alert::rules::{Rules, SUBJECTS_MAX};
use madang_console::config::{AlertSettings, Way};
use proptest::prelude::*;

const GROUP: Duration = Duration::from_secs(30);

fn alert(when: &str) -> AlertSettings {
    AlertSettings {
        name: "it".into(),
        when: Condition::parse(when).unwrap(),
        of: Vec::new(),
        ways: vec![Way::Log],
        dir: "/".into(),
        repeat: Some(Duration::from_secs(3600)),
        group: GROUP,
        resolved: true,
        timeout: Duration::from_secs(10),
    }
}

fn rules(settings: AlertSettings) -> Rules {
    let mut rules = Rules::new(1);
    rules.update(&[Arc::new(settings)]);
    rules
}

fn server(number: usize, down: Option<bool>) -> Fact {
    let state = if down == Some(true) { "down" } else { "up" };
    let (pool, server) = ("api".to_owned(), format!("127.0.0.1:{number}"));
    Fact::Server { pool, server, state, why: String::new(), down }
}

fn subjects(message: &Message) -> [Vec<String>; 2] {
    [&message.firing, &message.resolved].map(|items| items.iter().map(|item| item.subject.clone()).collect())
}

proptest! {
    // Goal: an operator who only reads messages always knows, at most one group late, what is down, and is told nothing that he
    // knows. Method: up to six servers, each second up, down, or not known.
    #[test]
    fn who_reads_the_messages_knows_what_is_down(
        history in prop::collection::vec(prop::collection::vec(prop::option::of(any::<bool>()), 6), 1..200),
    ) {
        let mut rules = rules(alert("server down"));
        let (mut known, mut last, mut truth) = (BTreeSet::new(), None::<Instant>, [false; 6]);
        let mut at = Instant::now();
        for seen in &history {
            at += Duration::from_secs(1);
            let facts: Vec<Fact> = seen.iter().enumerate().map(|(number, down)| server(number, *down)).collect();
            for (number, down) in seen.iter().enumerate() {
                truth[number] = down.unwrap_or(truth[number]);
            }
            let messages = rules.see(&facts, at, 0);
            prop_assert!(messages.len() <= 1);
            for message in &messages {
                prop_assert!(last.is_none_or(|last| at >= last + GROUP), "two messages within a group");
                last = Some(at);
                let [firing, resolved] = subjects(message);
                for subject in firing {
                    prop_assert!(known.insert(subject.clone()), "{subject} is told twice");
                }
                for subject in resolved {
                    prop_assert!(known.remove(&subject), "the end of {subject} without its beginning");
                }
            }
        }
        // Quiet for a group: then he knows all of it.
        let facts: Vec<Fact> = truth.iter().enumerate().map(|(number, down)| server(number, Some(*down))).collect();
        for message in rules.see(&facts, at + GROUP, 0) {
            let [firing, resolved] = subjects(&message);
            known.extend(firing);
            known.retain(|subject| !resolved.contains(subject));
        }
        let down = facts.iter().zip(truth).filter(|(_, down)| *down).map(|(fact, _)| fact.subject());
        prop_assert_eq!(known, down.collect::<BTreeSet<_>>());
    }

    // Goal: every message that a way takes was given to it, in order, once; what it does not take is given up and counted.
    // Method: messages and answers as the seed says.
    #[test]
    fn a_way_delivers_in_order_and_once(steps in prop::collection::vec((0..4_u8, 0..400_u64), 1..300)) {
        let mut rules = rules(alert("pool down"));
        let (mut delivery, mut now) = (Delivery::new(7), Instant::now());
        let (mut given, mut taken, mut dead, mut out) = (Vec::new(), Vec::new(), 0_u64, None::<Message>);
        for (what, seconds) in steps {
            now += Duration::from_secs(seconds);
            match what {
                0 => {
                    let message = Message { status: Status::Firing, ..rules.test("it", 0).unwrap() };
                    given.push(message.id.clone());
                    dead += u64::from(delivery.add(message, now).is_some());
                }
                1 => if let Some(message) = delivery.due(now) {
                    prop_assert!(out.replace(message).is_none(), "two are out");
                },
                attempt => if let Some(message) = out.take() {
                    let went = if attempt == 2 {
                        taken.push(message.id);
                        Attempt::Taken(String::new())
                    } else if seconds % 5 == 0 {
                        Attempt::Refused(String::new())
                    } else {
                        Attempt::Failed(String::new())
                    };
                    dead += u64::from(delivery.done(went, now, 0).is_some());
                },
            }
            prop_assert!(delivery.waiting().count() <= WAITING_MAX);
        }
        let mut rest = given.iter();
        prop_assert!(taken.iter().all(|id| rest.any(|given| given == id)), "out of order or twice");
        prop_assert_eq!((delivery.taken, delivery.dead), (taken.len() as u64, dead));
        prop_assert_eq!(given.len() as u64, taken.len() as u64 + dead + delivery.waiting().count() as u64);
    }
}

// Goal: a flood is one message that says how much it is, and one when it is over; nothing grows with it.
#[test]
fn a_thousand_things_at_once_are_one_message() {
    let mut rules = rules(alert("server down"));
    let start = Instant::now();
    let flood: Vec<Fact> = (0..1000).map(|number| server(number, Some(true))).collect();
    let mut messages = Vec::new();
    for second in 0..120 {
        messages.extend(rules.see(&flood, start + Duration::from_secs(second), second));
    }
    let [message] = &messages[..] else { panic!("{} messages", messages.len()) };
    assert_eq!((message.firing.len(), message.more), (ITEMS_MAX, 1000 - ITEMS_MAX));
    assert!(message.json("host").len() < 16 << 10);
    assert_eq!(rules.views(start)[0].count, 1000);

    let calm: Vec<Fact> = (0..1000).map(|number| server(number, Some(false))).collect();
    let over = rules.see(&calm, start + Duration::from_secs(200), 200);
    assert_eq!(over[0].status, Status::Resolved);
    assert_eq!((over[0].resolved.len(), over[0].more), (ITEMS_MAX, SUBJECTS_MAX - ITEMS_MAX));
}

// Goal: what goes on is repeated, what is short is not told, a second failed deploy is told although nothing was good between.
#[test]
fn what_goes_on_is_repeated_and_what_is_short_is_not_told() {
    let start = Instant::now();
    let app = |ready, version: u32| {
        vec![Fact::App(AppFact {
            name: "hello".to_owned(),
            ready,
            last_deploy: Some((version, Some("it ended with code 1".to_owned()))),
            ..AppFact::default()
        })]
    };
    let told = |rules: &mut Rules, second, facts: &[Fact]| {
        rules.see(facts, start + Duration::from_secs(second), second).pop().map(|message| message.status)
    };
    let mut slow = rules(alert("app not ready for 30s"));
    assert_eq!(told(&mut slow, 0, &app(false, 1)), None);
    assert_eq!(told(&mut slow, 29, &app(false, 1)), None);
    assert_eq!(told(&mut slow, 29, &app(true, 1)), None, "29 s are not 30");
    assert_eq!(told(&mut slow, 40, &app(false, 1)), None);
    assert_eq!(told(&mut slow, 69, &app(false, 1)), None, "counted anew");
    assert_eq!(told(&mut slow, 70, &app(false, 1)), Some(Status::Firing));
    assert_eq!(told(&mut slow, 3669, &app(false, 1)), None);
    assert_eq!(told(&mut slow, 3670, &app(false, 1)), Some(Status::Still));
    assert_eq!(told(&mut slow, 3700, &[]), Some(Status::Resolved), "it was taken out of the settings");

    let mut deploys = rules(alert("deploy taken back"));
    assert_eq!(told(&mut deploys, 0, &app(true, 2)), Some(Status::Firing));
    assert_eq!(told(&mut deploys, 100, &app(true, 2)), None);
    assert_eq!(told(&mut deploys, 200, &app(true, 3)), Some(Status::Firing), "another one");
}

// Goal: restarts are counted in their window, from when they are watched. Method: a counter that grows, and begins anew.
#[test]
fn restarts_are_counted_in_their_window() {
    let start = Instant::now();
    let mut rules = rules(alert("app restarts over 3 in 1m"));
    let mut see = |second, restarts| {
        let facts = [Fact::App(AppFact { name: "hello".to_owned(), restarts, ..AppFact::default() })];
        rules.see(&facts, start + Duration::from_secs(second), second).pop().map(|message| message.status)
    };
    assert_eq!(see(0, 100), None, "before it was watched");
    assert_eq!(see(1, 103), None);
    assert_eq!(see(50, 104), Some(Status::Firing));
    assert_eq!(see(85, 104), Some(Status::Resolved));
    assert_eq!(see(100, 4), None, "the counter began anew: four and one, but within the group");
    assert_eq!(see(115, 4), Some(Status::Firing));
}

// Goal: new settings of an alert that watches the same thing tell nothing again; another condition begins anew.
#[test]
fn a_reload_tells_nothing_twice() {
    let start = Instant::now();
    let mut rules = rules(alert("server down"));
    let facts = [server(1, Some(true))];
    assert_eq!(rules.see(&facts, start, 0).len(), 1);
    let later = start + 3 * GROUP;
    rules.update(&[Arc::new(AlertSettings { group: Duration::from_secs(1), ..alert("server down") })]);
    assert_eq!(rules.see(&facts, later, 0).len(), 0);
    rules.update(&[Arc::new(alert("server down for 1s"))]);
    assert_eq!(rules.see(&facts, later, 0).len(), 0);
    assert_eq!(rules.see(&facts, later + GROUP, 0).len(), 1);
}
