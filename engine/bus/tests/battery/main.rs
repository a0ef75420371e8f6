//! Goal: topics and presence behave the same inside one machine and over NATS.
//! Method: one battery of behaviours over both: readers on one bus, and readers on buses of different machines.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at what it did not expect

mod presence;
mod reader;
#[path = "../support/mod.rs"]
mod support;
mod topics;
mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};

use madang_bus::Bus;

/// Two places of one bus: the same machine, or two of them.
pub struct Places {
    pub here: Bus,
    pub there: Bus,
}

type Behaviour = fn(&Places);

/// Everything the bus promises, by name.
const BATTERY: &[(&str, Behaviour)] = &[
    ("every reader gets what is published, in order", topics::in_order),
    ("readers get their topics alone", topics::their_topics_alone),
    ("what a handle publishes does not come back to it", topics::no_echo),
    ("a subscription that ended gets nothing", topics::nothing_after_the_end),
    ("a slow reader is told once and goes on behind the gap", topics::lagging),
    ("many writers at once keep each one's order", topics::many_writers),
    ("people are counted over all nodes", presence::merged),
    ("a node that comes later learns who is there", presence::a_newcomer_learns_everything),
    ("nodes that leave or die are out of the view", presence::who_leaves_is_gone),
    ("a job is done once, the oldest first, by whoever asks", work::once_and_in_order),
    ("a job comes again until it is done", work::again_until_done),
    ("a full line of jobs refuses", work::a_full_line_refuses),
    ("names and sizes beyond the limits are refused", topics::refusals),
];

/// Runs the whole battery and tells every behaviour that is not there. All places are made before the first behaviour.
fn run(kind: &str, places: impl Fn(usize) -> Places, ready: impl Fn(&Places)) {
    let made: Vec<Places> = (0..BATTERY.len()).map(places).collect();
    let mut failed = Vec::new();
    for ((name, behaviour), places) in BATTERY.iter().zip(&made) {
        ready(places);
        if catch_unwind(AssertUnwindSafe(|| behaviour(places))).is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{kind} does not do this: {failed:#?}");
}

#[test]
fn one_machine_does_it_all() {
    run(
        "one machine",
        |_| {
            let bus = Bus::local();
            Places { here: bus.clone(), there: bus }
        },
        |_| {},
    );
}

#[test]
fn two_machines_over_nats_do_it_all() {
    let server = support::Server::start();
    run(
        "NATS",
        |number| {
            let cluster = format!("b{number}");
            Places { here: server.bus(&cluster), there: server.bus(&cluster) }
        },
        |places| support::acquainted(&[&places.here, &places.there]),
    );
}
