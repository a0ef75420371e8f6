//! Bench: choosing a server, the one part of balancing that every request pays for.
//!
//! Question: what does a pick with its end (place given back, result noted) cost by rule, and how does it grow with the
//! number of servers?
//! Budget: under 300 ns with 3 servers and under 2,500 ns with 64; hash pays 200 ns more for its key (SHA-256).
//! `cargo test` runs it once so that it cannot rot; `cargo bench -p madang-balance` measures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_balance::config::{Address, Balance, PoolSettings, ServerSettings};
use madang_balance::pick::{Ask, Pick, Picker, Tried, hash::key_of};
use madang_balance::pool::Pool;
use madang_balance::server::Outcome;

const RULES: [(Balance, &str); 5] = [
    (Balance::RoundRobin, "round-robin"),
    (Balance::LeastConnections, "least-connections"),
    (Balance::TwoChoices, "two-choices"),
    (Balance::LeastTime, "least-time"),
    (Balance::Hash, "hash"),
];

fn main() {
    let smoke = !std::env::args().any(|arg| arg == "--bench");
    let rounds: u32 = if smoke { 1 } else { 300_000 };
    for servers in [3_usize, 16, 64] {
        for (rule, name) in RULES {
            let address = |n: usize| Address::parse(&format!("10.0.0.{}:80", n + 1)).unwrap();
            let list = (0..servers).map(|n| ServerSettings::plain(address(n))).collect();
            let mut settings = PoolSettings::of("p", list);
            settings.balance = rule;
            let now = Instant::now();
            let pool = Pool::new(Arc::new(settings), now);
            let (mut picker, tried) = (Picker::new(1), Tried::default());
            let start = Instant::now();
            for round in 0..rounds {
                let key = (rule == Balance::Hash).then(|| key_of(&round.to_be_bytes()));
                let ask = Ask { key, sticky: None, tried: &tried, random: u64::from(round) };
                match picker.pick(&pool, black_box(&ask), now) {
                    Pick::Server(chosen) => {
                        black_box(pool.finish(chosen.place, Outcome::Good, Duration::from_millis(1), now));
                    }
                    other => panic!("the pool must be fit, or we time a refusal: {other:?}"),
                }
            }
            let ns = start.elapsed().as_nanos() / u128::from(rounds);
            println!("pick rule={name} servers={servers} ns_per_request={ns} smoke={smoke}");
        }
    }
}
