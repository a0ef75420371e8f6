//! Goal: the invariants of a crew, whatever happens in whatever order.
//! Method: the pure machine; first by hand, then by invented histories from a seed.

use super::*;
use crate::config::tests::good;
use proptest::prelude::*;

const SERVICE: &str = "mode = \"per-connection\"\nstop = { drain = \"2s\", grace = \"1s\" }\n";

fn crew(keys: &str) -> Crew {
    Crew::new(good(&format!("[app.hello]\nrun = [\"true\"]\n{SERVICE}{keys}")), 7)
}

fn ends() -> Ends {
    Ends { peer: "10.0.0.1:7".parse().unwrap(), local: "10.0.0.2:79".parse().unwrap() }
}

fn all(crew: &mut Crew, now: Instant) -> Vec<Action> {
    std::iter::from_fn(|| crew.poll(now)).collect()
}

// Goal: without ready ones a connection gets a fresh program that is told its client; its end is served.
#[test]
fn a_connection_gets_a_fresh_program() {
    let (mut crew, now) = (crew(""), madang_host::clock::now());
    assert_eq!(all(&mut crew, now), []);
    crew.call(1, ends());
    let [Action::Start { program: 1, ends: Some(_), .. }] = all(&mut crew, now)[..] else { panic!() };
    crew.started(1);
    assert_eq!(all(&mut crew, now), [Action::Hand { call: 1, program: 1 }]);
    crew.ended(1, &Exit::Code(0), &[], now);
    assert_eq!(all(&mut crew, now), []);
    let view = crew.view(now).connections.unwrap();
    assert_eq!((view.served, view.failed, view.running), (1, 0, 0));
}

// Goal: ready ones are given away, oldest first, and made up for; with them nobody is told its client.
#[test]
fn ready_programs_are_given_away_and_made_up_for() {
    let (mut crew, now) = (crew("workers = 2"), madang_host::clock::now());
    assert_eq!(all(&mut crew, now).len(), 2);
    crew.started(1);
    crew.started(2);
    crew.call(1, ends());
    let Some(Action::Hand { call: 1, program: 1 }) = crew.poll(now) else { panic!() };
    let [Action::Start { program: 3, ends: None, .. }] = all(&mut crew, now)[..] else { panic!() };
    // One that is only being started is given away too, rather than a third one made.
    crew.call(2, ends());
    crew.call(3, ends());
    let acts = all(&mut crew, now);
    assert!(
        matches!(
            acts[..],
            [Action::Hand { call: 2, program: 2 }, Action::Start { .. }, Action::Start { .. }]
        ),
        "{acts:?}"
    );
    crew.started(3);
    assert_eq!(all(&mut crew, now), [Action::Hand { call: 3, program: 3 }]);
}

// Goal: a ready one that ends by itself is a failure that is told, and the next one waits; connections do not.
#[test]
fn programs_that_end_while_they_wait_do_not_spin() {
    let (mut crew, mut now) = (crew("workers = 1\nrestart = { after = \"1s\" }"), madang_host::clock::now());
    all(&mut crew, now);
    crew.started(1);
    crew.ended(1, &Exit::Code(3), &["it is broken".to_owned()], now);
    let acts = all(&mut crew, now);
    let told =
        Action::Tell(Tone::Bad, "program 1, which waited for a connection, ended with code 3".to_owned());
    assert_eq!(acts, [told, Action::Tell(Tone::Bad, "it wrote: it is broken".to_owned())]);
    crew.call(1, ends());
    assert!(matches!(all(&mut crew, now)[..], [Action::Start { program: 2, .. }]));
    now = crew.next_deadline().unwrap();
    assert!(matches!(all(&mut crew, now)[..], [Action::Start { program: 3, .. }]));
}

// Goal: a program whose client left has `drain`, then the signal, then SIGKILL; only the last is its failure.
#[test]
fn whoever_does_not_end_is_made_to() {
    let (mut crew, begun) = (crew(""), madang_host::clock::now());
    crew.call(1, ends());
    all(&mut crew, begun);
    crew.started(1);
    all(&mut crew, begun);
    crew.over(1, true, begun);
    assert_eq!(all(&mut crew, begun), []);
    let signal = crew.next_deadline().unwrap();
    assert_eq!(signal, begun + Duration::from_secs(2));
    assert_eq!(all(&mut crew, signal), [Action::HangUp(1), Action::Stop(1)]);
    let kill = crew.next_deadline().unwrap();
    assert_eq!(kill, signal + Duration::from_secs(1));
    assert_eq!(all(&mut crew, kill), [Action::Kill(1)]);
    crew.ended(1, &Exit::Signal { number: 9, core: false }, &[], kill);
    let told = "program 1 of 10.0.0.1:7 did not end by itself and was killed by signal 9 (KILL)";
    assert_eq!(all(&mut crew, kill), [Action::Tell(Tone::Bad, told.to_owned())]);
}

// Goal: another version is for those who come after; the old one is retired once its last program has ended.
#[test]
fn a_new_version_is_for_new_connections() {
    let (mut crew, now) = (crew(""), madang_host::clock::now());
    crew.call(1, ends());
    all(&mut crew, now);
    crew.started(1);
    all(&mut crew, now);
    crew.update(good(&format!("[app.hello]\nrun = [\"cat\"]\n{SERVICE}")));
    let [Action::Tell(Tone::Good, _)] = &all(&mut crew, now)[..] else { panic!() };
    crew.call(2, ends());
    let [Action::Start { program: 2, release, .. }] = &all(&mut crew, now)[..] else { panic!() };
    assert_eq!((release.number, &release.program.run[..]), (2, &["cat".to_owned()][..]));
    crew.ended(1, &Exit::Code(0), &[], now);
    assert_eq!(all(&mut crew, now), [Action::Retire(1)]);
    assert_eq!(crew.roll_back(), Some(3));
    assert_eq!(crew.roll_back(), None);
}

proptest! {
    // Goal: invariants 1 to 3 over any history, and that everything is over in the end.
    #[test]
    fn every_call_is_answered_once_and_every_program_ends(
        workers in 0_u32..4,
        steps in prop::collection::vec((0_u8..8, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut crew = crew(&format!("workers = {workers}"));
        let mut now = madang_host::clock::now();
        let (mut calls, mut answered) = (0_u64, BTreeMap::<u64, u32>::new());
        let (mut starting, mut running, mut given) = (Vec::new(), Vec::new(), Vec::<u32>::new());
        for (what, which) in steps {
            now += Duration::from_millis(300);
            match what {
                0..=2 => {
                    calls += 1;
                    crew.call(calls, ends());
                }
                3 if !starting.is_empty() => {
                    let number = starting.swap_remove(which.index(starting.len()));
                    crew.started(number);
                    running.push(number);
                }
                4 if !starting.is_empty() => {
                    crew.not_started(starting.swap_remove(which.index(starting.len())), "no", now);
                }
                5 if !running.is_empty() => {
                    crew.ended(running.swap_remove(which.index(running.len())), &Exit::Code(1), &[], now);
                }
                6 if !given.is_empty() => crew.over(given[which.index(given.len())], false, now),
                7 => drop(crew.restart()),
                _ => {}
            }
            for action in std::iter::from_fn(|| crew.poll(now)) {
                match action {
                    Action::Start { program, .. } => starting.push(program),
                    Action::Hand { call, program } => {
                        prop_assert!(!given.contains(&program), "given twice");
                        prop_assert!(running.contains(&program), "given before it ran");
                        given.push(program);
                        *answered.entry(call).or_default() += 1;
                    }
                    Action::Refuse { call, .. } => *answered.entry(call).or_default() += 1,
                    _ => {}
                }
            }
        }
        crew.end(now);
        for number in starting {
            crew.started(number);
            running.push(number);
        }
        for _ in 0..3 {
            for action in std::iter::from_fn(|| crew.poll(now)) {
                match action {
                    Action::Hand { call, .. } | Action::Refuse { call, .. } => *answered.entry(call).or_default() += 1,
                    _ => {}
                }
            }
            now += Duration::from_secs(5);
        }
        for number in running {
            crew.ended(number, &Exit::Code(0), &[], now);
        }
        while let Some(action) = crew.poll(now) {
            if let Action::Refuse { call, .. } = action {
                *answered.entry(call).or_default() += 1;
            }
        }
        prop_assert!(crew.is_empty());
        prop_assert!(answered.values().all(|times| *times == 1));
        prop_assert_eq!(answered.len() as u64, calls);
    }
}
