//! What the tests of this crate share: pools in a line, a start of time, numbers from a seed.
#![allow(dead_code)] // each test binary uses its part
#![allow(missing_docs, unreachable_pub)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_balance::config::{Address, PoolSettings, ServerSettings};
use madang_balance::health::{Action, Event, Health};
use madang_balance::pick::{Ask, Chosen, Pick, Picker, Tried};
use madang_balance::pool::Pool;
use madang_balance::server::{SHARE_FULL, Standing, State};

/// The beginning of a test's time. It is only ever added to: no test waits or looks at a clock again.
#[allow(clippy::disallowed_methods)]
pub fn start() -> Instant {
    Instant::now()
}

pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Settings for servers `10.0.0.1:80` and so on, of these weights.
pub fn settings(weights: &[u16]) -> PoolSettings {
    let server = |(index, weight): (usize, &u16)| ServerSettings {
        weight: *weight,
        ..ServerSettings::plain(
            Address::parse(&format!("10.0.{}.{}:80", index / 200, index % 200 + 1)).unwrap(),
        )
    };
    PoolSettings::of("p", weights.iter().enumerate().map(server).collect())
}

/// A pool whose settings are changed before it is built.
pub fn pool(weights: &[u16], now: Instant, change: impl FnOnce(&mut PoolSettings)) -> Pool {
    let mut settings = settings(weights);
    change(&mut settings);
    Pool::new(Arc::new(settings), now)
}

/// Publishes a state with its full share.
pub fn set(pool: &Pool, index: usize, state: State) {
    stand(pool, index, Standing { state, silent: false, share: SHARE_FULL });
}

pub fn stand(pool: &Pool, index: usize, standing: Standing) {
    pool.publish(pool.members()[index].server.id(), standing);
}

/// SplitMix64, for what the world does.
#[derive(Debug, Clone)]
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// Picks with nothing special about the request.
pub fn pick(picker: &mut Picker, pool: &Pool, random: u64, now: Instant) -> Pick {
    pick_tried(picker, pool, &Tried::default(), random, now)
}

pub fn pick_tried(picker: &mut Picker, pool: &Pool, tried: &Tried, random: u64, now: Instant) -> Pick {
    picker.pick(pool, &Ask { key: None, sticky: None, tried, random }, now)
}

#[track_caller]
pub fn chosen(pick: Pick) -> Chosen {
    match pick {
        Pick::Server(chosen) => chosen,
        other => panic!("nobody was chosen: {other:?}"),
    }
}

/// Lets health act until it has nothing more to do now: publishes, gives the rest.
pub fn settle(health: &mut Health, pool: &Pool, now: Instant) -> Vec<Action> {
    let mut seen = Vec::new();
    while let Some(action) = health.poll(now) {
        match action {
            Action::Publish { server, standing } => pool.publish(server, standing),
            Action::Panic { on, .. } => pool.set_panic(on),
            _ => {}
        }
        seen.push(action);
        assert!(seen.len() < 10_000, "health never comes to rest");
    }
    seen
}

pub fn events(actions: &[Action]) -> Vec<Event> {
    actions
        .iter()
        .filter_map(|action| if let Action::Event(event) = action { Some(*event) } else { None })
        .collect()
}
