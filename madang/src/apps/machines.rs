//! Servers beyond this machine joined to pools: members that a scaler gave, beside those of the settings.
//!
//! **Job.** Keep who was given to which pool, make pools of them, tell scalers how a pool does. **Called by** `apps`,
//! `supervise::scaler`. **Calls** `balance::keeper`.
//!
//! Invariants
//! 1. Whoever was given is in every snapshot of its pool, by a reload or an instance's coming too, until it was drained.
//! 2. A server that the operator drained stays drained: only what a scaler drained is taken back by it.
//!
//! Not here: deciding who is given (`supervise::scaler`), health (`roles/balance`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use madang_balance::config::{Address, Place, PoolSettings, Protocol, ServerSettings};
use madang_balance::health::Wish;
use madang_balance::pool::Pool;
use madang_host::clock;
use madang_supervise::app::Tone;
use madang_supervise::around::Around;
use madang_supervise::scaler::keeper::Grounds;
use madang_supervise::scaler::{Facts, Member, Server};

use super::Joint;

/// Of a server that was never asked the time is not known; none is told as longer than this.
const LATENCY_MAX: Duration = Duration::from_secs(60);

/// Of a server in a pool.
const WEIGHT_MAX: u16 = 256;

/// Who was given.
#[derive(Debug, Default)]
pub(super) struct Machines {
    given: BTreeMap<String, Vec<Member>>,
    /// The pools as written.
    written: BTreeMap<String, Arc<PoolSettings>>,
}

impl Machines {
    /// The pools as written from now on.
    pub(super) fn know(&mut self, written: &[Arc<PoolSettings>]) {
        self.written = written.iter().map(|pool| (pool.name.to_string(), Arc::clone(pool))).collect();
    }

    /// A pool with its given servers. They may be as full as the first written one.
    pub(super) fn beside(&self, mut pool: PoolSettings) -> Arc<PoolSettings> {
        if let Some(given) = self.given.get(&*pool.name) {
            let max_connections = pool.servers.first().map_or(0, |server| server.max_connections);
            // While versions change, an app's instances weigh in hundredths: whoever was given as much as the heaviest of them.
            let heaviest = pool.servers.iter().map(|server| server.weight).max().unwrap_or(1);
            let unit = if self.written.contains_key(&*pool.name) { 1 } else { heaviest.max(1) };
            let server = |member: &Member| {
                let address = Address::parse(&member.given.address)?;
                let weight = member.given.weight.saturating_mul(unit).min(WEIGHT_MAX);
                Some(ServerSettings { weight, max_connections, ..ServerSettings::plain(address) })
            };
            pool.servers.extend(given.iter().filter_map(server));
            // Somebody who has just come and is not well yet is no reason to doubt the checks.
            pool.panic_below = 0;
        }
        Arc::new(pool)
    }
}

impl Grounds for Joint {
    fn facts(&self, name: &str) -> Option<Facts> {
        let pool = self.pools.get()?.pool(name)?;
        let apps = self.apps.borrow();
        let app = apps.get(name).map(|known| &known.settings);
        let (own, places) = match app {
            Some(app) => (app.instances_max, app.max_connections),
            None => {
                let machines = self.machines.borrow();
                let servers = machines.written.get(name).map_or(&[][..], |pool| &pool.servers);
                let own = servers.iter().filter(|server| !server.backup).count();
                (u32::try_from(own).unwrap_or(u32::MAX), same_places(&pool))
            }
        };
        let keeper = self.keeper.get().and_then(std::rc::Weak::upgrade);
        let cpu = app.and_then(|_| Some(keeper?.cpu_of(name))).unwrap_or_default();
        let mut facts = Facts { own: own.max(1), queued: pool.waiting(), places, ..Facts::default() };
        let now = clock::now();
        for member in pool.members() {
            let address = member.server.address().key();
            let latency = member.server.latency(now).min(LATENCY_MAX);
            let (state, in_flight) = (member.server.standing().state.name(), member.server.in_flight());
            facts.requests += member.server.picked();
            // A name with several addresses is one server to whoever gave it.
            if let Some(known) = facts.servers.iter_mut().find(|known| known.address == address) {
                known.in_flight += in_flight;
                known.latency = known.latency.max(latency);
                if state == "up" {
                    known.state = state;
                }
                continue;
            }
            let cpu_percent = cpu.iter().find(|(of, _)| *of == address).map(|(_, percent)| *percent);
            facts.servers.push(Server { address, state, in_flight, latency, cpu_percent });
        }
        Some(facts)
    }

    fn address(&self, text: &str) -> Option<String> {
        let address = Address::parse(text)?;
        let fine = !matches!(address.place, Place::Service(_)) && address.protocol != Protocol::Tls;
        fine.then(|| address.key())
    }

    fn members(&self, name: &str, members: &[Member]) {
        let before = match members {
            [] => self.machines.borrow_mut().given.remove(name),
            members => self.machines.borrow_mut().given.insert(name.to_owned(), members.to_vec()),
        };
        let Some(pools) = self.pools.get() else { return };
        let drained = |members: &[Member], one: &Member| {
            members.iter().any(|other| other.given.address == one.given.address && other.draining)
        };
        let before = before.unwrap_or_default();
        for member in members {
            match (drained(&before, member), member.draining) {
                (false, true) => pools.wish(name, &member.given.address, Wish::Drained),
                // Invariant 2.
                (true, false) => pools.wish(name, &member.given.address, Wish::Enabled),
                _ => None,
            };
        }
        let app = self.apps.borrow().get(name).map(|known| known.pool(name));
        let machines = self.machines.borrow();
        let written = || machines.written.get(name).map(|pool| PoolSettings::clone(pool));
        if let Some(pool) = app.or_else(written) {
            pools.renew(&machines.beside(pool));
        }
    }

    fn is_frozen(&self) -> bool {
        let keeper = self.keeper.get().and_then(std::rc::Weak::upgrade);
        keeper.is_some_and(|keeper| keeper.is_frozen())
    }

    fn told(&self, pool: &str, tone: Tone, sentence: &str) {
        Around::told(self, &format!("{pool}: its scaler"), tone, sentence);
    }
}

/// Requests that each takes at once, where all take the same.
fn same_places(pool: &Pool) -> u32 {
    let mut all = pool.members().iter().map(|member| member.max_connections);
    let first = all.next().unwrap_or(0);
    if all.all(|one| one == first) { first } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use madang_supervise::scaler::answer::Given;

    // Goal: whoever was given stands beside the written servers, as heavy as they are meant to be, in a pool that is not doubted.
    #[test]
    fn given_servers_stand_beside_the_written_ones() {
        let server = |address: &str, weight| ServerSettings {
            weight,
            max_connections: 8,
            ..ServerSettings::plain(Address::parse(address).unwrap())
        };
        let given = |address: &str, weight| Member {
            given: Given { address: address.to_owned(), weight },
            draining: false,
        };
        let members = vec![given("10.0.0.5:3000", 1), given("10.0.0.6:3000", 3)];
        let of = |name: &str| (name.to_owned(), members.clone());
        let mut machines = Machines { given: BTreeMap::from([of("app"), of("pool")]), ..Machines::default() };
        // 100 and 12: the middle of a deploy.
        let pool = |name: &str| PoolSettings::of(name, vec![server("a:1", 100), server("b:1", 12)]);
        machines.know(&[Arc::new(pool("pool"))]);

        let weights =
            |pool: &PoolSettings| pool.servers.iter().map(|server| server.weight).collect::<Vec<_>>();
        let app = machines.beside(pool("app"));
        assert_eq!(weights(&app), [100, 12, 100, 256], "never more than a server may have");
        assert!(app.servers.iter().all(|server| server.max_connections == 8));
        assert_eq!((weights(&machines.beside(pool("pool"))), app.panic_below), (vec![100, 12, 1, 3], 0));
        assert_eq!(
            *machines.beside(pool("other")),
            pool("other"),
            "a pool without a scaler is as it is written"
        );
    }
}
