//! Goal: what is needed beyond this machine is asked for, good answers become members, bad ones change nothing, and whoever
//! leaves is drained. Method: a pool as a list of servers, time as numbers.

use super::*;
use crate::config::{Environment, ScaleSettings, Target};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> ScalerSettings {
    ScalerSettings {
        name: "api".into(),
        run: vec!["./buy".to_owned()],
        dir: ".".into(),
        environment: Environment::default(),
        every: 10 * SECOND,
        timeout: 30 * SECOND,
        min: 0,
        max: 4,
        drain: 20 * SECOND,
        scale: ScaleSettings {
            targets: vec![Target { by: ScaleBy::InFlight, each: 10.0 }],
            up: SECOND,
            down: 60 * SECOND,
            idle: Duration::MAX,
        },
    }
}

fn begin() -> Instant {
    madang_host::clock::now()
}

fn fleet(known: &[&str], now: Instant) -> Fleet {
    Fleet::new(Arc::new(settings()), 2, known.iter().map(|address| given(address)).collect(), now)
}

fn given(address: &str) -> Given {
    Given { address: address.to_owned(), weight: 1 }
}

fn facts(servers: &[(&str, u32)]) -> Facts {
    let server = |(address, in_flight): &(&str, u32)| Server {
        address: (*address).to_owned(),
        state: "up",
        in_flight: *in_flight,
        ..Server::default()
    };
    Facts { servers: servers.iter().map(server).collect(), own: 2, ..Facts::default() }
}

fn good(addresses: &[&str]) -> Result<Answer, Fault> {
    Ok(Answer { servers: addresses.iter().map(|address| given(address)).collect(), note: None })
}

/// The members, those that drain with a minus.
fn members(fleet: &Fleet) -> Vec<String> {
    let shown = |one: Member| format!("{}{}", if one.draining { "-" } else { "" }, one.given.address);
    fleet.members().into_iter().map(shown).collect()
}

fn told(fleet: &mut Fleet) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(action) = fleet.poll() {
        if let Action::Tell(_, sentence) = action {
            all.push(sentence);
        }
    }
    all
}

#[test]
fn only_what_is_needed_beyond_the_settings_is_asked_for() {
    let now = begin();
    let mut fleet = fleet(&[], now);
    let busy = |in_flight| facts(&[("own:1", in_flight), ("own:2", 0)]);
    fleet.see(&busy(20), now);
    assert_eq!(fleet.wanted(), 0, "two of the settings are enough for 20 at 10 each");
    fleet.see(&busy(35), now + 2 * SECOND);
    let question = fleet.question(&busy(35), now + 2 * SECOND);
    assert_eq!((question.wanted, question.min, question.max, question.in_flight), (2, 0, 4, 35));
    assert_eq!(question.why, "by in-flight 3.5 are needed; the settings have 2");
    // Twice as many in all at each step, and never more than the settings let.
    fleet.see(&busy(900), now + 4 * SECOND);
    assert_eq!(fleet.wanted(), 4);
}

#[test]
fn it_is_asked_every_so_often_and_never_twice_at_once() {
    let now = begin();
    let mut fleet = fleet(&[], now);
    assert!(fleet.is_due(now));
    fleet.question(&facts(&[]), now);
    assert!(!fleet.is_due(now + 100 * SECOND), "the first question is still open");
    fleet.answered(good(&[]), now + 3 * SECOND);
    assert!(!fleet.is_due(now + 9 * SECOND));
    assert!(fleet.is_due(now + 10 * SECOND));
    fleet.question(&facts(&[]), now + 10 * SECOND);
    fleet.answered(Err(Fault::TooLong), now + 40 * SECOND);
    assert!(fleet.is_due(now + 40 * SECOND), "it took longer than `every`: at once, and never behind");
}

#[test]
fn a_bad_answer_changes_nothing_and_is_told_once() {
    let now = begin();
    let mut fleet = fleet(&["a:1"], now);
    told(&mut fleet);
    let late = || Err(Fault::Late { timeout: 30 * SECOND });
    for _ in 0..3 {
        fleet.answered(late(), now);
        assert_eq!(members(&fleet), ["a:1"]);
    }
    assert_eq!(told(&mut fleet), ["./buy: it took longer than 30s and was killed; nothing changes"]);
    fleet.answered(Err(Fault::TooMany { count: 5, max: 4 }), now);
    assert_eq!(told(&mut fleet), ["./buy: 5 servers, at most 4 are taken (max); nothing changes"]);
    fleet.answered(good(&["a:1"]), now);
    assert_eq!(told(&mut fleet), ["its answers are good again"]);
    assert_eq!(fleet.poll(), None, "nobody came, nobody left");
    fleet.answered(late(), now);
    assert_eq!(told(&mut fleet).len(), 1, "after a good answer the same fault is news");
}

#[test]
fn whoever_is_left_out_drains_and_leaves_when_nothing_is_open_there() {
    let now = begin();
    let mut fleet = fleet(&[], now);
    fleet.answered(good(&["a:1", "b:1", "c:1"]), now);
    assert_eq!(members(&fleet), ["a:1", "b:1", "c:1"]);
    fleet.answered(good(&["a:1"]), now);
    assert_eq!(members(&fleet), ["a:1", "-b:1", "-c:1"]);
    let open = facts(&[("own:1", 0), ("a:1", 1), ("b:1", 0), ("c:1", 2)]);
    let question = fleet.question(&open, now);
    let states: Vec<(bool, &str)> = question.servers.iter().map(|one| (one.given, one.state)).collect();
    assert_eq!(states, [(false, "up"), (true, "up"), (true, "draining"), (true, "draining")]);
    fleet.see(&open, now + SECOND / 10);
    assert_eq!(members(&fleet), ["a:1", "-b:1", "-c:1"], "what was on its way there may still arrive");
    fleet.see(&open, now + SECOND);
    assert_eq!(members(&fleet), ["a:1", "-c:1"]);
    fleet.see(&open, now + 19 * SECOND);
    assert_eq!(members(&fleet), ["a:1", "-c:1"]);
    fleet.see(&open, now + 20 * SECOND);
    assert_eq!(members(&fleet), ["a:1"], "not longer than `drain`");
}

#[test]
fn whoever_is_named_again_before_it_has_left_stays() {
    let now = begin();
    let mut fleet = fleet(&["a:1"], now);
    fleet.answered(good(&[]), now);
    assert_eq!(members(&fleet), ["-a:1"]);
    let heavier = Given { weight: 3, ..given("a:1") };
    fleet.answered(Ok(Answer { servers: vec![heavier.clone()], note: None }), now);
    assert_eq!(fleet.members(), [Member { given: heavier, draining: false }]);
    fleet.dismiss(now);
    assert_eq!(members(&fleet), ["-a:1"]);
}

#[test]
fn a_note_is_told_when_it_changes() {
    let now = begin();
    let mut fleet = fleet(&[], now);
    let say = |note: Option<&str>| Ok(Answer { servers: Vec::new(), note: note.map(str::to_owned) });
    for note in [Some("1 boots"), Some("1 boots"), None, Some("1 boots")] {
        fleet.answered(say(note), now);
    }
    assert_eq!(told(&mut fleet), ["says: 1 boots", "says: 1 boots"]);
}

#[test]
fn the_cpu_of_those_here_stands_for_all() {
    let mut facts = facts(&[("own:1", 0), ("own:2", 0), ("far:1", 0), ("far:2", 0)]);
    facts.servers[0].cpu_percent = Some(80.0);
    facts.servers[1].cpu_percent = Some(60.0);
    facts.servers[3].state = "probing";
    let load = load_of(&facts);
    assert_eq!((load.ready, load.cpu_percent), (3, Some(210.0)));
}

#[test]
fn new_settings_keep_who_is_there() {
    let now = begin();
    let mut fleet = fleet(&["a:1", "b:1"], now);
    fleet.update(Arc::new(ScalerSettings { max: 1, min: 1, ..settings() }), now);
    assert_eq!((members(&fleet).len(), fleet.wanted()), (2, 1));
    assert!(fleet.is_due(now), "the program is asked at once");
}

proptest! {
    // Goal: whatever is seen and answered, in whatever order: bounds hold, no address is twice, who drains has been left out
    // by the last good answer.
    #[test]
    fn nothing_that_is_answered_breaks_the_promises(
        steps in prop::collection::vec(
            (0_u32..200, 0_u64..30_000, prop::option::of(prop::collection::btree_set(0_u8..6, 0..5))), 1..60),
    ) {
        let mut now = begin();
        let mut fleet = fleet(&[], now);
        let mut last: Vec<String> = Vec::new();
        for (in_flight, ms, answer) in steps {
            now += Duration::from_millis(ms);
            let all = members(&fleet);
            let mut servers = vec![("own:1", in_flight), ("own:2", 0)];
            servers.extend(all.iter().map(|address| (address.trim_start_matches('-'), in_flight % 2)));
            fleet.see(&facts(&servers), now);
            if fleet.is_due(now) {
                let question = fleet.question(&facts(&servers), now);
                prop_assert!(question.wanted <= 4 && question.why.contains("are needed"));
                match answer {
                    Some(set) => {
                        last = set.iter().map(|number| format!("s{number}:1")).collect();
                        let servers = last.iter().map(|address| given(address)).collect();
                        fleet.answered(Ok(Answer { servers, note: None }), now);
                    }
                    None => fleet.answered(Err(Fault::TooLong), now),
                }
            }
            let staying: Vec<String> =
                members(&fleet).into_iter().filter(|address| !address.starts_with('-')).collect();
            let mut want = last.clone();
            want.sort();
            let mut have = staying.clone();
            have.sort();
            prop_assert_eq!(have, want);
            let mut all: Vec<String> = members(&fleet).iter().map(|one| one.trim_start_matches('-').to_owned()).collect();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), fleet.members().len());
            while fleet.poll().is_some() {}
        }
    }
}
