//! Goal: requests go where the rules say: by share, by load, by key, and to nobody who is not fit.
//! Method: pools whose states are set by hand; thousands of picks; where a law is claimed, random pools.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_precision_loss)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use madang_balance::config::{Balance, BreakerSettings, HashBy, Sticky};
use madang_balance::pick::hash::key_of;
use madang_balance::pick::{Ask, NoneUp, Pick, Picker, Rule, Tier, Tried};
use madang_balance::pool::{Endpoint, Pool};
use madang_balance::server::{Outcome, Standing, State};
use proptest::prelude::*;
use support::{Seeded, chosen, ms, pick, pick_tried, pool, set, stand, start};

const ALL: [Balance; 5] =
    [Balance::RoundRobin, Balance::LeastConnections, Balance::TwoChoices, Balance::LeastTime, Balance::Hash];

/// Picks so often, each request over at once; how often each server was chosen.
fn tally(pool: &Pool, times: usize) -> Vec<usize> {
    let (mut picker, mut seeded) = (Picker::new(1), Seeded(2));
    let mut counts = vec![0; pool.members().len()];
    for _ in 0..times {
        counts[chosen(pick(&mut picker, pool, seeded.next(), start())).index] += 1;
    }
    counts
}

fn keyed(picker: &mut Picker, pool: &Pool, key: u64) -> Pick {
    picker.pick(pool, &Ask { key: Some(key), sticky: None, tried: &Tried::default(), random: key }, start())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn round_robin_shares_are_the_weights_within_one_percent(
        weights in prop::collection::vec(0_u16..=256, 1..12).prop_filter("somebody", |w| w.iter().any(|w| *w > 0)),
    ) {
        let now = start();
        let pool = pool(&weights, now, |_| {});
        let counts = tally(&pool, 20_000);
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for (weight, count) in weights.iter().zip(&counts) {
            let (share, want) = (*count as f64 / 20_000.0, f64::from(*weight) / sum);
            prop_assert!((share - want).abs() <= 0.01, "{share} for {want}");
        }
    }

    // Whatever the states, limits, tries and rule: the law of who may be chosen.
    #[test]
    fn nobody_unfit_is_chosen_and_limits_hold(
        servers in prop::collection::vec((0_u8..6, any::<bool>(), any::<bool>(), 0_u16..3, 0_u32..4), 1..8),
        rule in prop::sample::select(ALL.to_vec()),
        panic: bool,
        checks: bool,
        seed: u64,
    ) {
        let now = start();
        let weights: Vec<u16> = servers.iter().map(|server| server.3).collect();
        let pool = pool(&weights, now, |settings| {
            settings.balance = rule;
            for (one, server) in settings.servers.iter_mut().zip(&servers) {
                (one.backup, one.max_connections) = (server.1, server.4);
            }
            if checks {
                settings.health = Some(madang_balance::config::HealthSettings {
                    check: madang_balance::config::Check::Tcp,
                    every: ms(1000), timeout: ms(100), rise: 1, fall: 1, host: None, port: None, tls: None,
                });
            }
        });
        for (index, server) in servers.iter().enumerate() {
            stand(&pool, index, Standing { state: State::ALL[usize::from(server.0)], silent: server.2, share: 1000 });
        }
        pool.set_panic(panic);
        let (mut picker, mut seeded) = (Picker::new(seed), Seeded(seed));
        let (mut held, mut tried) = (Vec::new(), Tried::default());
        for round in 0..12 {
            let before: Vec<u32> = pool.members().iter().map(|member| member.server.in_flight()).collect();
            let ask = Ask { key: Some(seeded.next()), sticky: None, tried: &tried, random: seeded.next() };
            match picker.pick(&pool, &ask, now) {
                Pick::Server(it) => {
                    let (member, server) = (&pool.members()[it.index], &servers[it.index]);
                    let state = State::ALL[usize::from(server.0)];
                    prop_assert!(!state.is_taken_out() && member.weight > 0);
                    if !panic {
                        prop_assert!(state == State::Up || (state == State::Probing && !checks), "{state}");
                        if state == State::Probing {
                            prop_assert_eq!(before[it.index], 0);
                        }
                    }
                    let max = member.max_connections;
                    prop_assert!(max == 0 || member.server.in_flight() <= max);
                    prop_assert_eq!(it.why.tier == Tier::Again, tried.holds(member.server.id()));
                    if round % 2 == 0 {
                        tried.add(member.server.id());
                    }
                    held.push(it);
                }
                Pick::Wait => {
                    let full = pool.members().iter().any(|member| {
                        let (open, state) = (member.server.in_flight(), member.server.standing().state);
                        open > 0 && (open == member.max_connections || state == State::Probing)
                    });
                    prop_assert!(full, "told to wait though nobody is full");
                }
                Pick::NoneUp(NoneUp::Empty) => {
                    prop_assert!(servers.iter().all(|s| State::ALL[usize::from(s.0)].is_taken_out() || s.3 == 0));
                }
                Pick::NoneUp(_) => prop_assert!(!panic),
            }
        }
        drop(held);
        prop_assert!(pool.members().iter().all(|member| member.server.in_flight() == 0));
    }
}

#[test]
fn workers_do_not_march_in_step() {
    let now = start();
    let pool = pool(&[1; 10], now, |_| {});
    let first = |seed| chosen(pick(&mut Picker::new(seed), &pool, 0, now)).index;
    let firsts: std::collections::BTreeSet<usize> = (0..40).map(first).collect();
    assert!(firsts.len() >= 8, "{firsts:?}");
}

#[test]
fn round_robin_is_smooth() {
    let now = start();
    let pool = pool(&[5, 1, 1], now, |_| {});
    let (mut picker, mut longest, mut run) = (Picker::new(3), 0, 0);
    for _ in 0..700 {
        run = if chosen(pick(&mut picker, &pool, 0, now)).index == 0 { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    assert!(longest <= 4, "{longest} in a row, although the others are due in between");
}

#[test]
fn least_connections_fills_by_weight_and_draws_among_equals() {
    let now = start();
    let pool = pool(&[1, 2, 4], now, |settings| settings.balance = Balance::LeastConnections);
    let (mut picker, mut seeded) = (Picker::new(1), Seeded(9));
    let held: Vec<_> = (0..70).map(|_| chosen(pick(&mut picker, &pool, seeded.next(), now))).collect();
    let open: Vec<u32> = pool.members().iter().map(|member| member.server.in_flight()).collect();
    assert_eq!(open, [10, 20, 40]);
    drop(held);

    let equal = support::pool(&[1; 4], now, |settings| settings.balance = Balance::LeastConnections);
    for count in tally(&equal, 8000) {
        assert!((1800..2200).contains(&count), "{count}: the first of equals must not get all");
    }
}

// Mitzenmacher: with n requests over n servers the fullest has about log log n, where blind chance gives log n / log log n.
#[test]
fn two_choices_keep_the_longest_line_short() {
    let now = start();
    for seed in 0..20 {
        let pool = pool(&[1; 100], now, |settings| settings.balance = Balance::TwoChoices);
        let (mut picker, mut seeded) = (Picker::new(seed), Seeded(seed));
        let _held: Vec<_> = (0..1000).map(|_| chosen(pick(&mut picker, &pool, seeded.next(), now))).collect();
        let most = pool.members().iter().map(|member| member.server.in_flight()).max().unwrap();
        assert!(most <= 13, "seed {seed}: {most} where 10 is the average");
    }
}

#[test]
fn two_choices_follow_the_weights() {
    let pool = pool(&[1, 3], start(), |settings| settings.balance = Balance::TwoChoices);
    let counts = tally(&pool, 8000);
    // With two servers both are always drawn; idle, the heavier is always better.
    assert_eq!(counts, [0, 8000]);
    let three = support::pool(&[1, 1, 2], start(), |settings| settings.balance = Balance::TwoChoices);
    let counts = tally(&three, 8000);
    assert!(counts[2] > counts[0] && counts[0] > 0, "{counts:?}");
}

#[test]
fn least_time_prefers_the_quick_tries_the_unknown_once_and_forgives_the_slow() {
    let now = start();
    let pool = pool(&[1; 3], now, |settings| settings.balance = Balance::LeastTime);
    let mut picker = Picker::new(1);
    let mut at = |after, seed| chosen(picker_pick(&mut picker, &pool, seed, now + ms(after)));
    // Three unknown ones: each is asked once while no answer is there.
    let held: Vec<_> = (0..3).map(|seed| at(0, seed)).collect();
    assert!(pool.members().iter().all(|member| member.server.in_flight() == 1));
    for it in held {
        let took = ms([1, 5, 500][it.index]);
        pool.finish(it.place, Outcome::Good, took, now + ms(500));
    }
    for seed in 0..50 {
        assert_eq!(at(600, seed).index, 0);
    }
    // The quick one fails quickly: that must not attract more.
    let it = at(700, 0);
    pool.finish(it.place, Outcome::Error, ms(0), now + ms(700));
    for seed in 0..50 {
        assert_eq!(at(800, seed).index, 1);
    }
    // After a long time without samples everybody is worth a try again.
    let late: std::collections::BTreeSet<usize> = (0..60).map(|seed| at(3_600_000, seed).index).collect();
    assert_eq!(late.len(), 3);

    fn picker_pick(picker: &mut Picker, pool: &Pool, seed: u64, now: std::time::Instant) -> Pick {
        pick(picker, pool, Seeded(seed).next(), now)
    }
}

#[test]
fn when_a_server_leaves_or_dies_only_its_own_keys_move() {
    let now = start();
    let full = pool(&[1; 10], now, |settings| settings.balance = Balance::Hash);
    let keys: Vec<u64> = (0_u32..20_000).map(|key| key_of(&key.to_be_bytes())).collect();
    let owner = |pool: &Pool| -> Vec<String> {
        let mut picker = Picker::new(1);
        let of = |key: &u64| chosen(keyed(&mut picker, pool, *key)).place.server().name().to_owned();
        keys.iter().map(of).collect()
    };
    let before = owner(&full);
    for count in (0..10).map(|i| before.iter().filter(|o| **o == full.members()[i].server.name()).count()) {
        assert!((1400..2700).contains(&count), "{count} of 2000 expected");
    }
    // It leaves the settings.
    let gone = full.members()[3].server.name().to_owned();
    let mut fewer = (**full.settings()).clone();
    fewer.servers.remove(3);
    let endpoints = fewer.servers.iter().cloned().map(Endpoint::from).collect();
    let after = owner(&full.next(Arc::new(fewer), endpoints, now));
    check(&before, &after, &gone);
    // It is only down: the very same keys move to the very same places.
    set(&full, 3, State::Down);
    assert_eq!(owner(&full), after);

    #[track_caller]
    fn check(before: &[String], after: &[String], gone: &str) {
        let moved: Vec<_> = before.iter().zip(after).filter(|(was, is)| was != is).collect();
        assert!(moved.iter().all(|(was, _)| *was == gone), "keys of servers that stayed moved");
        assert!(moved.len() * 100 <= before.len() * (100 / 10 + 4), "{} moved", moved.len());
        let heirs: std::collections::BTreeSet<_> = moved.iter().map(|(_, is)| is).collect();
        assert!(heirs.len() >= 8, "only {} servers share what it had", heirs.len());
    }
}

#[test]
fn hash_shares_follow_the_weights_even_when_points_are_scarce() {
    check(&[1, 2, 3], 0.15);
    check(&[256; 12], 0.1);
    check(&[256, 128, 1, 256, 256, 256, 256, 256, 256, 256], 0.15);

    #[track_caller]
    fn check(weights: &[u16], slack: f64) {
        let pool = pool(weights, start(), |settings| settings.balance = Balance::Hash);
        let (mut picker, mut counts) = (Picker::new(1), vec![0; weights.len()]);
        for key in 0_u32..20_000 {
            counts[chosen(keyed(&mut picker, &pool, key_of(&key.to_be_bytes()))).index] += 1;
        }
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for (weight, count) in weights.iter().zip(counts).filter(|(weight, _)| **weight > 1 || sum < 100.0) {
            let (share, want) = (f64::from(count) / 20_000.0, f64::from(*weight) / sum);
            assert!((share / want - 1.0).abs() < slack, "{weights:?}: {share} for {want}");
        }
    }
}

#[test]
fn one_hot_key_does_not_drown_its_server() {
    let pool = pool(&[1; 5], start(), |settings| settings.balance = Balance::Hash);
    let mut picker = Picker::new(1);
    let held: Vec<_> = (0..500).map(|_| chosen(keyed(&mut picker, &pool, 42))).collect();
    let most = pool.members().iter().map(|member| member.server.in_flight()).max().unwrap();
    assert!(most <= 126, "{most}: more than 1.25 times the average of 100");
    assert_eq!(held[0].why.rule, Rule::Hash);
    assert!(held.iter().any(|it| it.why.rule == Rule::HashNext));
}

#[test]
fn a_request_without_a_key_is_still_balanced() {
    let pool = pool(&[1; 4], start(), |settings| {
        settings.balance = Balance::Hash;
        settings.hash_by = HashBy::Header("x-user".to_owned());
    });
    for count in tally(&pool, 4000) {
        assert!((800..1200).contains(&count), "{count}");
    }
}

#[test]
fn a_client_sticks_while_its_server_is_fit() {
    let now = start();
    let pool = pool(&[1, 1, 0], now, |_| {});
    let id = |index: usize| pool.members()[index].server.id();
    let mut picker = Picker::new(1);
    let mut ask = |server, tried: Tried| {
        chosen(picker.pick(
            &pool,
            &Ask { key: None, sticky: Some(id(server)), tried: &tried, random: 1 },
            now,
        ))
    };
    for server in [0, 1, 2] {
        let it = ask(server, Tried::default());
        assert_eq!((it.index, it.why.rule), (server, Rule::Sticky), "weight 0 keeps those who stick");
    }
    let mut tried = Tried::default();
    tried.add(id(1));
    assert_eq!(ask(1, tried).index, 0);
    set(&pool, 1, State::Draining);
    let it = ask(1, Tried::default());
    assert_eq!((it.index, it.why.rule), (0, Rule::RoundRobin));
}

#[test]
fn sticking_by_address_goes_by_key_whatever_the_rule() {
    let pool = pool(&[1; 5], start(), |settings| settings.sticky = Sticky::Ip);
    let mut picker = Picker::new(1);
    let homes: std::collections::BTreeSet<usize> =
        (0..50).map(|_| chosen(keyed(&mut picker, &pool, key_of(b"192.0.2.7"))).index).collect();
    assert_eq!(homes.len(), 1);
    assert_eq!(chosen(pick(&mut picker, &pool, 0, start())).why.rule, Rule::RoundRobin);
}

#[test]
fn backups_come_only_when_no_primary_can() {
    let now = start();
    let pool = pool(&[1, 1, 1], now, |settings| {
        settings.servers[2].backup = true;
        settings.servers[1].max_connections = 1;
    });
    assert_eq!(tally(&pool, 100)[2], 0);
    set(&pool, 0, State::Down);
    let mut picker = Picker::new(1);
    let first = chosen(pick(&mut picker, &pool, 0, now));
    assert_eq!((first.index, first.why.tier), (1, Tier::Primary));
    // The last primary is full: the backup can.
    let second = chosen(pick(&mut picker, &pool, 0, now));
    assert_eq!((second.index, second.why.tier), (2, Tier::Backup));
    drop(first);
    // A primary that was tried and no other: the backup first, then again.
    let mut tried = Tried::default();
    tried.add(pool.members()[1].server.id());
    assert_eq!(chosen(pick_tried(&mut picker, &pool, &tried, 0, now)).index, 2);
    tried.add(pool.members()[2].server.id());
    let again = chosen(pick_tried(&mut picker, &pool, &tried, 0, now));
    assert_eq!((again.index, again.why.tier), (1, Tier::Again));
}

#[test]
fn a_panic_takes_the_doubtful_but_the_silent_last() {
    let now = start();
    let pool = pool(&[1; 4], now, |_| {});
    set(&pool, 1, State::Down);
    stand(&pool, 2, Standing { state: State::Down, silent: true, share: 1000 });
    set(&pool, 3, State::Disabled);
    assert_eq!(tally(&pool, 300), [300, 0, 0, 0]);
    pool.set_panic(true);
    assert_eq!(tally(&pool, 300), [150, 150, 0, 0]);
    for index in [0, 1] {
        stand(&pool, index, Standing { state: State::Down, silent: true, share: 1000 });
    }
    let counts = tally(&pool, 300);
    assert!(counts[..3].iter().all(|count| count.abs_diff(100) <= 1) && counts[3] == 0, "{counts:?}");
}

#[test]
fn nobody_is_told_apart_by_why() {
    let now = start();
    let pool = pool(&[1, 1], now, |_| {});
    check(&pool, Some(NoneUp::Sick), [State::Down, State::Ejected]);
    check(&pool, Some(NoneUp::Empty), [State::Draining, State::Disabled]);
    check(&pool, Some(NoneUp::Sick), [State::Down, State::Disabled]);
    check(&pool, None, [State::Down, State::Up]);

    #[track_caller]
    fn check(pool: &Pool, want: Option<NoneUp>, states: [State; 2]) {
        for (index, state) in states.into_iter().enumerate() {
            set(pool, index, state);
        }
        match pick(&mut Picker::new(1), pool, 0, start()) {
            Pick::NoneUp(why) => assert_eq!(Some(why), want),
            other => assert!(want.is_none(), "{other:?}"),
        }
    }
}

#[test]
fn a_server_in_slow_start_gets_its_part_of_the_share() {
    let pool = pool(&[1, 1], start(), |_| {});
    for (share, want) in [(100, 91), (500, 333), (1000, 500)] {
        stand(&pool, 1, Standing { state: State::Up, silent: false, share });
        let counts = tally(&pool, 1000);
        assert!(counts[1].abs_diff(want) <= 5, "{share} permille: {counts:?}");
    }
}

#[test]
fn an_open_circuit_is_obeyed_in_a_panic_too_and_half_open_lets_one_through() {
    let now = start();
    let pool = pool(&[1, 1], now, |settings| {
        settings.breaker = Some(BreakerSettings {
            error_percent: 50,
            requests_min: 4,
            window: ms(10_000),
            open_for: ms(5_000),
            trials: 1,
        });
    });
    let mut picker = Picker::new(1);
    for _ in 0..8 {
        let it = chosen(pick(&mut picker, &pool, 0, now));
        pool.finish(it.place, Outcome::Error, ms(1), now);
    }
    assert!(matches!(pick(&mut picker, &pool, 0, now), Pick::NoneUp(NoneUp::CircuitsOpen)));
    pool.set_panic(true);
    assert!(matches!(pick(&mut picker, &pool, 0, now), Pick::NoneUp(NoneUp::CircuitsOpen)));
    pool.set_panic(false);
    let later = now + ms(5_001);
    let (one, two) = (pick(&mut picker, &pool, 0, later), pick(&mut picker, &pool, 0, later));
    assert!(matches!((&one, &two), (Pick::Server(a), Pick::Server(b)) if a.index != b.index));
    assert!(matches!(pick(&mut picker, &pool, 0, later), Pick::Wait), "one trial at a time");
    let one = chosen(one);
    let index = one.index;
    pool.finish(one.place, Outcome::Good, ms(1), later);
    assert_eq!(chosen(pick(&mut picker, &pool, 0, later)).index, index);
}

// Goal: the limit holds when workers race. Method: four threads pick and drop, each counts what is open.
#[test]
fn workers_that_race_never_exceed_a_limit() {
    let now = start();
    let pool = pool(&[1, 1], now, |settings| {
        settings.balance = Balance::LeastConnections;
        settings.servers.iter_mut().for_each(|server| server.max_connections = 2);
    });
    let (most, served) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (pool, most, served) = (&pool, &most, &served);
            scope.spawn(move || {
                let (mut picker, mut seeded) = (Picker::new(worker), Seeded(worker));
                for _ in 0..3000 {
                    if let Pick::Server(it) = pick(&mut picker, pool, seeded.next(), now) {
                        most.fetch_max(it.place.server().in_flight(), Ordering::Relaxed);
                        served.fetch_add(1, Ordering::Relaxed);
                        if seeded.percent(10) {
                            std::thread::yield_now();
                        }
                    }
                }
            });
        }
    });
    assert!((1..=2).contains(&most.load(Ordering::Relaxed)));
    let picked: u64 = pool.members().iter().map(|member| member.server.picked()).sum();
    assert_eq!(picked, u64::from(served.load(Ordering::Relaxed)));
    assert!(pool.members().iter().all(|member| member.server.in_flight() == 0));
}

#[test]
fn the_next_snapshot_keeps_who_stays_and_what_is_open_there() {
    let now = start();
    let first = pool(&[1, 1], now, |_| {});
    let open = first.members()[1].server.begin(0).unwrap();
    set(&first, 1, State::Down);
    let mut settings = (**first.settings()).clone();
    settings.servers.remove(0);
    settings.servers[0].weight = 7;
    let endpoints = settings.servers.iter().cloned().map(Endpoint::from).collect();
    let second = first.next(Arc::new(settings), endpoints, now);
    assert_eq!(second.members().len(), 1);
    let kept = &second.members()[0];
    assert_eq!((kept.weight, kept.server.in_flight(), kept.server.standing().state), (7, 1, State::Down));
    drop(open);
    assert_eq!(kept.server.in_flight(), 0);
    assert_eq!(second.find("10.0.0.2:80").len(), 1);
    assert!(second.find("10.0.0.1:80").is_empty());
}
