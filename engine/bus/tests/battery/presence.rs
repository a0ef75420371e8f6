//! What presence promises.
//!
//! **Job.** The behaviours of presence, each over two places. **Called by** the battery.

use std::collections::BTreeMap;
use std::time::Duration;

use madang_bus::Bus;
use madang_bus::presence::{Presence, Times};

use super::Places;
use super::reader::PATIENCE;

/// A node that believes what changes tell it.
struct Watcher {
    presence: Presence,
    seen: BTreeMap<(String, String), u32>,
}

impl Watcher {
    fn new(bus: &Bus, name: &str) -> Self {
        let times = Times {
            batch: Duration::from_millis(50),
            beat: Duration::from_millis(200),
            expire: Duration::from_secs(2),
        };
        Self { presence: Presence::new(bus, name, times).unwrap(), seen: BTreeMap::new() }
    }

    async fn work(&mut self) {
        let mut changes = Vec::new();
        loop {
            self.presence.next(&mut changes).await;
            for change in &changes {
                let place = (change.room.to_string(), change.user.to_string());
                let before = match change.now {
                    0 => self.seen.remove(&place),
                    now => self.seen.insert(place, now),
                };
                assert_eq!(before.unwrap_or(0), change.before, "changes follow on each other");
            }
            if !changes.is_empty() {
                return;
            }
        }
    }

    fn of(&self, user: &str) -> u32 {
        let told = self.seen.get(&("lobby".to_owned(), user.to_owned())).copied().unwrap_or(0);
        let viewed = self.presence.connections("lobby", user);
        // Between two batches the view is ahead.
        if told == viewed { told } else { u32::MAX }
    }

    fn people(&self) -> usize {
        self.seen.len()
    }
}

/// Lets both do their work until it is so.
#[track_caller]
fn until(one: &mut Watcher, other: &mut Watcher, is_so: impl Fn(&Watcher, &Watcher) -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let work = async {
        while !is_so(one, other) {
            tokio::select! {
                () = one.work() => {}
                () = other.work() => {}
                // A condition that no change tells of, such as a node that came.
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await }).expect("it never came to be");
}

pub fn merged(places: &Places) {
    let (mut here, mut there) = (Watcher::new(&places.here, "town"), Watcher::new(&places.there, "town"));
    here.presence.set("lobby", "mina", 2);
    until(&mut here, &mut there, |here, there| here.of("mina") == 2 && there.of("mina") == 2);
    there.presence.set("lobby", "mina", 1);
    there.presence.set("lobby", "jun", 1);
    until(&mut here, &mut there, |here, there| {
        [here, there].iter().all(|place| place.of("mina") == 3 && place.of("jun") == 1)
    });
    here.presence.set("lobby", "mina", 0);
    until(&mut here, &mut there, |here, there| here.of("mina") == 1 && there.of("mina") == 1);
    let mut people: Vec<_> = here.presence.people("lobby").map(|(user, n)| (user.to_string(), n)).collect();
    people.sort();
    assert_eq!(people, [("jun".to_owned(), 1), ("mina".to_owned(), 1)]);
    // Another name is another world.
    let mut apart = Watcher::new(&places.here, "village");
    until(&mut apart, &mut there, |_, there| there.presence.nodes() == 1);
    assert_eq!(apart.presence.count("lobby"), 0);
}

pub fn a_newcomer_learns_everything(places: &Places) {
    let mut here = Watcher::new(&places.here, "town");
    for user in 0..500 {
        here.presence.set("lobby", &format!("user {user}"), 1);
    }
    let mut nobody = Watcher::new(&places.here, "elsewhere");
    until(&mut here, &mut nobody, |here, _| here.people() == 500);
    let mut there = Watcher::new(&places.there, "town");
    until(&mut here, &mut there, |_, there| there.people() == 500);
    assert_eq!(there.presence.count("lobby"), 500);
}

pub fn who_leaves_is_gone(places: &Places) {
    let mut here = Watcher::new(&places.here, "town");
    let (mut there, mut third) = (Watcher::new(&places.there, "town"), Watcher::new(&places.there, "town"));
    there.presence.set("lobby", "mina", 1);
    third.presence.set("lobby", "jun", 1);
    until(&mut here, &mut there, |here, _| here.of("mina") == 1);
    until(&mut here, &mut third, |here, _| here.of("jun") == 1);
    // One says goodbye, the other is not heard any more.
    drop(third);
    until(&mut here, &mut there, |here, _| here.of("jun") == 0);
    assert_eq!(here.of("mina"), 1);
    let mut nobody = Watcher::new(&places.there, "elsewhere");
    until(&mut here, &mut nobody, |here, _| here.people() == 0 && here.presence.nodes() == 0);
}
