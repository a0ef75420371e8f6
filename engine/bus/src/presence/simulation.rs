//! Goal: whatever is lost, whoever dies, however the nodes are parted: once notes arrive again, all nodes see the same, which
//! is what is; nobody dead is seen for long; and the traffic stays bounded.
//! Method: a few nodes, a way that loses, delays and parts by a seed, people who come and go, nodes that die and come back
//! as another life; then a quiet time, and a comparison with the truth.

use std::collections::BTreeMap;

use madang_host::clock;
use madang_host::draws::Draws;

use super::*;

const NODES: usize = 4;

struct Node {
    state: State,
    life: u64,
    truth: BTreeMap<(String, String), u32>,
    seen: BTreeMap<(String, String), u32>,
}

struct World {
    draws: Draws,
    now: Instant,
    nodes: Vec<Option<Node>>,
    /// Notes on their way: when, to whom, what.
    way: Vec<(Instant, usize, Bytes)>,
    /// Who hears whom.
    parted: [usize; NODES],
    lossy: bool,
    lives: u64,
    sent: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            draws: Draws::new(seed),
            now: clock::now(),
            nodes: Vec::new(),
            way: Vec::new(),
            parted: [0; NODES],
            lossy: true,
            lives: 0,
            sent: 0,
        };
        for _ in 0..NODES {
            let node = world.born();
            world.nodes.push(Some(node));
        }
        world
    }

    fn born(&mut self) -> Node {
        self.lives += 1;
        let state = State::new(self.lives, Times::default());
        Node { state, life: self.lives, truth: BTreeMap::new(), seen: BTreeMap::new() }
    }

    fn draw(&mut self, below: usize) -> usize {
        usize::try_from(self.draws.below(below as u64)).unwrap()
    }

    fn step(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        let now = self.now;
        let mut arriving = Vec::new();
        self.way.retain(|(at, to, note)| {
            if *at <= now {
                arriving.push((*at, *to, note.clone()));
            }
            *at > now
        });
        // Of one writer in order: all notes take the same time.
        arriving.sort_by_key(|(at, _, _)| *at);
        for (_, to, note) in arriving {
            if let Some(node) = &mut self.nodes[to] {
                node.state.handle(&note, now);
            }
        }
        for from in 0..NODES {
            let Some(mut node) = self.nodes[from].take() else { continue };
            while let Some(note) = node.state.poll(now) {
                self.sent += 1;
                for to in (0..NODES).filter(|to| *to != from) {
                    let heard = self.parted[from] == self.parted[to];
                    if heard && !(self.lossy && self.draw(10) == 0) {
                        self.way.push((now + Duration::from_millis(5), to, note.clone()));
                    }
                }
            }
            let mut changes = Vec::new();
            node.state.changes(now, &mut changes);
            for change in changes {
                let place = (change.room.to_string(), change.user.to_string());
                let before = if change.now == 0 {
                    node.seen.remove(&place)
                } else {
                    node.seen.insert(place, change.now)
                };
                assert_eq!(before.unwrap_or(0), change.before, "changes follow on each other");
            }
            assert!(node.state.due(now) > now, "nothing is left to do at once");
            self.nodes[from] = Some(node);
        }
    }

    fn somebody_comes_or_goes(&mut self) {
        let (at, room, user, count) = (self.draw(NODES), self.draw(3), self.draw(5), self.draw(3));
        if let Some(node) = &mut self.nodes[at] {
            let (room, user) = (format!("room{room}"), format!("user{user}"));
            let count = u32::try_from(count).unwrap();
            node.state.set(&room, &user, count);
            if count == 0 {
                node.truth.remove(&(room, user))
            } else {
                node.truth.insert((room, user), count)
            };
        }
    }

    fn truth(&self) -> BTreeMap<(String, String), u32> {
        let mut sum = BTreeMap::new();
        for (place, count) in self.nodes.iter().flatten().flat_map(|node| &node.truth) {
            *sum.entry(place.clone()).or_insert(0) += count;
        }
        sum
    }

    fn check(&self, seed: u64) {
        for node in self.nodes.iter().flatten() {
            assert_eq!(node.seen, self.truth(), "seed {seed}: what node {} was told", node.life);
            let view: BTreeMap<_, _> = ["room0", "room1", "room2"]
                .iter()
                .flat_map(|room| {
                    node.state.people(room).map(|(user, n)| (((*room).to_owned(), user.to_string()), n))
                })
                .collect();
            assert_eq!(view, self.truth(), "seed {seed}: the view of node {}", node.life);
        }
    }
}

#[test]
fn all_nodes_see_what_is_once_they_hear_each_other() {
    for seed in 0..150 {
        let mut world = World::new(seed);
        for _ in 0..600 {
            world.step(100);
            match world.draw(40) {
                0 => world.parted = std::array::from_fn(|_| usize::try_from(world.draws.below(2)).unwrap()),
                1 => world.parted = [0; NODES],
                2 => {
                    // A crash: no farewell.
                    let at = world.draw(NODES);
                    world.nodes[at] = None;
                }
                3 | 4 => {
                    let at = world.draw(NODES);
                    if world.nodes[at].is_none() {
                        let node = world.born();
                        world.nodes[at] = Some(node);
                    }
                }
                5 => {
                    let at = world.draw(NODES);
                    if let Some(node) = &mut world.nodes[at] {
                        node.state.missed();
                    }
                }
                _ => world.somebody_comes_or_goes(),
            }
        }
        (world.parted, world.lossy) = ([0; NODES], false);
        (0..200).for_each(|_| world.step(100));
        world.check(seed);
        // 80 s of 4 nodes: at most a difference and an answer in 250 ms each, and the questions.
        assert!(world.sent < 4 * 80 * 12, "seed {seed}: {} notes", world.sent);
    }
}

#[test]
fn a_house_at_rest_says_little() {
    let mut world = World::new(1);
    world.lossy = false;
    (0..50).for_each(|_| world.somebody_comes_or_goes());
    (0..50).for_each(|_| world.step(100));
    let before = world.sent;
    (0..600).for_each(|_| world.step(100));
    world.check(1);
    assert_eq!(world.sent - before, NODES * 12, "a beat of each node in 5 s, for a minute");
}

#[test]
fn a_dead_node_is_gone_after_its_time_and_a_node_that_leaves_at_once() {
    let mut world = World::new(2);
    world.lossy = false;
    (0..200).for_each(|_| world.somebody_comes_or_goes());
    (0..20).for_each(|_| world.step(100));
    world.check(2);
    let bye = world.nodes[0].take().unwrap().state.bye();
    (1..NODES).for_each(|to| world.way.push((world.now, to, bye.clone())));
    (0..4).for_each(|_| world.step(100));
    world.check(2);
    world.nodes[1] = None;
    (0..90).for_each(|_| world.step(100));
    assert_eq!(world.nodes[2].as_ref().unwrap().state.nodes(), 2, "not before its time");
    (0..70).for_each(|_| world.step(100));
    world.check(2);
    assert_eq!(world.nodes[2].as_ref().unwrap().state.nodes(), 1);
}

// Goal: lists larger than one note arrive whole.
#[test]
fn a_large_list_goes_out_in_parts() {
    let now = clock::now();
    let (mut one, mut other) = (State::new(1, Times::default()), State::new(2, Times::default()));
    (0..20_000).for_each(|user| one.set("room", &format!("somebody with a name number {user}"), 1));
    while one.poll(now).is_some() {} // nobody hears
    other.handle(&Note { node: 1, says: Says::Beat { version: one.version } }.bytes(), now);
    while let Some(note) = other.poll(now) {
        one.handle(&note, now);
    }
    let mut notes = 0;
    while let Some(note) = one.poll(now) {
        assert!(note.len() < 300 << 10);
        notes += 1;
        other.handle(&note, now);
    }
    assert!(notes >= 3, "{notes}");
    assert_eq!(other.count("room"), 20_000);
}
