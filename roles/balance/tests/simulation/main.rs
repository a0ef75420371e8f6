//! Goal: whatever servers do, clients notice as little as the rules promise, and the laws of balancing hold at every step.
//! Method: a played world (`world`) with real pool, pickers, health and retries, in virtual time, from one seed each run.
//! A failure names its seed; `SEED=7 cargo test -p madang-balance --test simulation` plays only that one, `SEEDS=500` many.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_precision_loss, clippy::cast_possible_truncation)]

#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::Duration;

use madang_balance::config::{Balance, Check, HealthSettings, PoolSettings};
use madang_balance::health::{Why, Wish};
use madang_balance::server::State;
use support::{Seeded, ms};
use world::{Mode, Script, World};

/// Enough to see shares to a percent, few enough for a debug build.
const PER_SECOND: u64 = 120;
const RULES: [Balance; 5] =
    [Balance::RoundRobin, Balance::LeastConnections, Balance::TwoChoices, Balance::LeastTime, Balance::Hash];

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, more) => 0..more.unwrap_or(count),
    }
}

fn checks(settings: &mut PoolSettings) {
    settings.health = Some(HealthSettings {
        check: Check::Tcp,
        every: s(2),
        timeout: s(1),
        rise: 2,
        fall: 3,
        host: None,
        port: None,
        tls: None,
    });
}

fn script(servers: usize, rule: Balance, turns: Vec<(Duration, usize, Mode)>) -> Script {
    Script {
        servers,
        rule,
        per_second: PER_SECOND,
        service: ms(5),
        turns,
        wishes: Vec::new(),
        change: Box::new(checks),
    }
}

/// Attempts at a server in a span, and at all.
fn share(world: &World, server: usize, from: Duration, to: Duration) -> f64 {
    let all = world.sent.iter().filter(|sent| (from..to).contains(&sent.at));
    let (mut own, mut sum) = (0.0, 0.0);
    for sent in all {
        own += f64::from(u8::from(sent.server == server));
        sum += 1.0;
    }
    own / sum
}

fn failed(world: &World, idempotent: bool, from: Duration, to: Duration) -> usize {
    let bad = |end: &&world::End| !end.good && end.idempotent == idempotent && (from..to).contains(&end.at);
    world.ends.iter().filter(bad).count()
}

#[test]
fn one_of_three_is_killed_and_nobody_notices() {
    for rule in RULES {
        for seed in seeds(2) {
            for checked in [true, false] {
                let mut script = script(3, rule, vec![(s(10), 1, Mode::Dead), (s(25), 1, Mode::Fine)]);
                if !checked {
                    script.change = Box::new(|_| {});
                }
                let mut world = World::new(&script, seed);
                world.run(s(70));
                world.law(failed(&world, true, s(0), s(70)) == 0, "no idempotent request fails");
                // Those that were open there when it died, and no others.
                world.law(
                    failed(&world, false, s(0), s(70)) <= 4,
                    "others fail only when it had them already",
                );
                let attempts =
                    world.sent.iter().filter(|sent| sent.server == 1 && (s(10)..s(25)).contains(&sent.at));
                world.law(attempts.count() <= 20, "the dead one is left alone");
                let back =
                    world.events.iter().find(|(at, who, e)| *at > s(25) && *who == 1 && e.to == State::Up);
                // Checked: two good answers. Else: the rests of 10 and 20 s are over, and a trial.
                let soon = if checked { s(25) + ms(4400) } else { s(45) };
                // By time, a server that fails is avoided before it has failed often enough to be ejected.
                let left = world.events.iter().any(|(_, who, event)| *who == 1 && event.from == State::Up);
                world.law(left || rule == Balance::LeastTime, "its death is noticed");
                world.law(!left || back.is_some_and(|(at, ..)| *at <= soon), "it comes back in time");
                if matches!(rule, Balance::RoundRobin) {
                    let end = share(&world, 1, s(60), s(70));
                    world.law((end - 1.0 / 3.0).abs() < 0.01, "its share is whole again");
                    let up = back.unwrap().0;
                    let early = share(&world, 1, up, up + s(1));
                    world.law(early < 0.15, "slow start begins low");
                }
            }
        }
    }
}

#[test]
fn a_server_that_flaps_is_trusted_less_each_time() {
    for seed in seeds(8) {
        // Up and down every 700 ms: quicker than checks can follow.
        let turns = (0..200)
            .map(|n| (ms(5000 + n * 700), 0, if n % 2 == 0 { Mode::Dead } else { Mode::Fine }))
            .collect();
        let mut world =
            World::new(&Script { change: Box::new(|_| {}), ..script(4, Balance::RoundRobin, turns) }, seed);
        world.run(s(145));
        world.law(failed(&world, true, s(0), s(145)) == 0, "no idempotent request fails");
        let rest = |why: &Why| match why {
            Why::FailuresInARow { rest, .. } | Why::TrialFailed { rest } => Some(*rest),
            _ => None,
        };
        let rests: Vec<Duration> = world.events.iter().filter_map(|(_, _, event)| rest(&event.why)).collect();
        world.law((2..=8).contains(&rests.len()), "it is not tried all the time");
        world.law(rests.last() >= Some(&s(20)), "rests grow");
        world.law(share(&world, 0, s(60), s(145)) < 0.125, "a flapping server has less than half its share");
    }
}

#[test]
fn a_hung_server_is_ejected_and_the_others_carry_on() {
    for rule in RULES {
        for seed in seeds(4) {
            let mut world = World::new(&script(3, rule, vec![(s(10), 2, Mode::Hung)]), seed);
            world.run(s(40));
            let bad = failed(&world, true, s(0), s(40));
            world.law(bad == 0, "no idempotent request fails");
            world.law(world.state(2) == State::Down, "checks see that it is silent");
            let late = world.sent.iter().filter(|sent| sent.server == 2 && sent.at > s(20)).count();
            world.law(late == 0, "nobody is sent there any more");
        }
    }
}

#[test]
fn a_slow_server_gets_less_where_the_rule_looks_at_load_or_time() {
    for (rule, most) in
        [(Balance::LeastConnections, 0.15), (Balance::TwoChoices, 0.2), (Balance::LeastTime, 0.1)]
    {
        for seed in seeds(6) {
            let mut world = World::new(&script(4, rule, vec![(s(5), 3, Mode::Slow(10))]), seed);
            world.run(s(70));
            let share = share(&world, 3, s(10), s(70));
            world.law(share < most, "the slow one gets less than the others");
            // By time it is asked again once its last sample has faded, after some 25 s.
            world.law(share * PER_SECOND as f64 * 60.0 > 1.5, "it is not starved either");
        }
    }
}

#[test]
fn a_server_that_fails_half_of_its_answers_is_taken_out() {
    for seed in seeds(6) {
        let turns = vec![(s(10), 0, Mode::Errors(60))];
        let mut world =
            World::new(&Script { change: Box::new(|_| {}), ..script(4, Balance::RoundRobin, turns) }, seed);
        world.run(s(30));
        let out = world.events.iter().find(|(_, who, event)| *who == 0 && event.to == State::Ejected);
        world.law(out.is_some_and(|(at, ..)| *at < s(20)), "it is noticed in seconds");
        world.law(failed(&world, true, s(0), s(30)) == 0, "retries hide it meanwhile");
        let others =
            world.events.iter().filter(|(_, who, event)| *who != 0 && event.to == State::Ejected).count();
        world.law(others == 0, "nobody else suffers");
    }
}

#[test]
fn when_all_are_down_the_answer_is_quick_and_when_they_come_back_all_is_well() {
    for rule in RULES {
        for seed in seeds(4) {
            let mut turns: Vec<_> = (0..3).map(|server| (s(10), server, Mode::Dead)).collect();
            turns.extend((0..3).map(|server| (s(20), server, Mode::Fine)));
            let mut world = World::new(&script(3, rule, turns), seed);
            world.run(s(19));
            world.law(world.pool.is_in_panic(), "health is doubted");
            let slowest = world.ends.iter().map(|end| end.took).max();
            world.law(slowest < Some(ms(500)), "a failure is told at once");
            world.run(s(60));
            world.law(!world.pool.is_in_panic(), "the panic is over");
            world.law((0..3).all(|server| world.state(server) == State::Up), "all are up");
            world.law(failed(&world, true, s(20), s(60)) == 0, "from the first moment on");
        }
    }
}

#[test]
fn when_all_are_sick_the_load_on_them_hardly_grows() {
    for seed in seeds(6) {
        let turns = (0..3).map(|server| (s(5), server, Mode::Sick)).collect();
        let mut world = World::new(&script(3, Balance::RoundRobin, turns), seed);
        world.run(s(45));
        let asked = world.ends.iter().filter(|end| end.at > s(15)).count() as f64;
        let sent = world.sent.iter().filter(|sent| sent.at > s(15)).count() as f64;
        world.law(sent / asked <= 1.21, "retries add a fifth at most");
    }
}

#[test]
fn three_servers_carry_nearly_three_times_the_load_of_one() {
    let served = |servers: usize, per_second: u64| {
        let mut script = script(servers, Balance::LeastConnections, Vec::new());
        (script.per_second, script.service) = (per_second, ms(10));
        let mut world = World::new(&script, 5);
        world.run(s(20));
        let fine = |end: &&world::End| end.good && end.took < ms(500);
        world.ends.iter().filter(fine).count() as f64 / (per_second * 20) as f64
    };
    // One server does 100 a second: 97 it can carry, 291 it cannot; three can.
    assert!(served(1, 97) > 0.99);
    assert!(served(1, 291) < 0.4);
    assert!(served(3, 291) > 0.99);
}

#[test]
fn a_rolling_replacement_by_drain_fails_nothing() {
    for rule in RULES {
        for seed in seeds(4) {
            let (mut turns, mut wishes) = (Vec::new(), Vec::new());
            for (server, at) in [(0, s(10)), (1, s(25)), (2, s(40))] {
                wishes.push((at, server, Wish::Drained));
                turns.push((at + s(2), server, Mode::Dead));
                turns.push((at + s(4), server, Mode::Fine));
                wishes.push((at + s(9), server, Wish::Enabled));
            }
            let mut world = World::new(&Script { wishes, ..script(3, rule, turns) }, seed);
            world.run(s(70));
            let bad = world.ends.iter().filter(|end| !end.good).count();
            world.law(bad == 0, "no request of any kind fails");
            world.law(world.ends.iter().all(|end| end.attempts == 1), "none had to be tried twice");
        }
    }
}

// Everything at once: faults, wishes, rules, limits by chance; the laws are checked at every step, and at the end peace
// must bring everybody back.
#[test]
fn after_any_storm_everybody_is_back_and_gets_requests() {
    for seed in seeds(16) {
        let mut seeded = Seeded(seed ^ 0xA5A5);
        let servers = usize::try_from(1 + seeded.below(7)).unwrap();
        let modes = [Mode::Dead, Mode::Hung, Mode::Slow(20), Mode::Errors(50), Mode::Sick, Mode::Fine];
        let (mut turns, mut wishes) = (Vec::new(), Vec::new());
        for _ in 0..seeded.below(30) {
            let (at, who) =
                (ms(seeded.below(60_000)), usize::try_from(seeded.below(servers as u64)).unwrap());
            if seeded.percent(85) {
                turns.push((at, who, modes[usize::try_from(seeded.below(6)).unwrap()]));
            } else {
                wishes.push((
                    at,
                    who,
                    [Wish::Drained, Wish::Disabled, Wish::Enabled][usize::try_from(seeded.below(3)).unwrap()],
                ));
            }
        }
        for server in 0..servers {
            turns.push((s(60), server, Mode::Fine));
            wishes.push((s(60), server, Wish::Enabled));
        }
        let (checked, limit) = (seeded.percent(50), [0, 0, 3][usize::try_from(seeded.below(3)).unwrap()]);
        let backup = servers > 2 && seeded.percent(30);
        let rule = RULES[usize::try_from(seeded.below(5)).unwrap()];
        let change = move |settings: &mut PoolSettings| {
            if checked {
                checks(settings);
            }
            settings.passive.eject_for = s(2);
            settings.servers.iter_mut().for_each(|server| server.max_connections = limit);
            settings.servers[servers - 1].backup = backup;
        };
        let script = Script {
            per_second: 50,
            turns,
            wishes,
            change: Box::new(change),
            ..script(servers, rule, Vec::new())
        };
        let mut world = World::new(&script, seed);
        // The longest rest is 64 s.
        world.run(s(180));
        world.law(!world.pool.is_in_panic(), "the panic is over");
        for server in 0..servers - usize::from(backup) {
            world.law(world.state(server) == State::Up, "everybody is up again");
            world
                .law(share(&world, server, s(165), s(180)) > 0.2 / servers as f64, "everybody gets requests");
        }
        world.law(failed(&world, true, s(170), s(180)) == 0, "and nothing fails");
        let open: u32 = world.pool.members().iter().map(|member| member.server.in_flight()).sum();
        world.law(open <= 3 * servers as u32 + 5, "nothing is left over");
    }
}
