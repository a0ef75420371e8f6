//! Admission of new connections: who gets in and how many at once.
//!
//! **Job.** Turn "a socket was accepted" into a [`Permit`] or a named [`Refusal`].
//! **Reads** [`GateLimits`] and the listener's address lists. **Writes** its own counters.
//! **Called by** `worker` (accept loop). **Calls** nothing of ours.
//!
//! Invariants
//! 1. Every permit is returned exactly once, by `Drop`.
//! 2. A full gate refuses at once: there is no waiting line but the kernel's accept queue.
//! 3. The per-address table holds only addresses with open connections: it is bounded by `connections_max`.
//!
//! Not here: request rate limits (`roles/web`), time limits (`connection`).

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use hashbrown::HashMap;
use ipnet::IpNet;

const SHARDS: usize = 16;

/// How many connections may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateLimits {
    /// On all listeners together.
    pub connections_max: u32,
    /// From one address (IPv6: one /64); 0 is off.
    pub per_address_max: u32,
}

/// Counts what is open; shared by all workers.
pub struct Gate {
    open: AtomicU32,
    max: AtomicU32,
    /// What the limit of open files leaves for connections, whatever the settings say.
    descriptors: AtomicU32,
    per_address_max: AtomicU32,
    addresses: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
    hasher: RandomState,
}

/// One listener's own part of the gate.
#[derive(Debug, Default)]
pub struct ListenerGate {
    open: AtomicU32,
    rules: RwLock<ListenerRules>,
}

/// Who may come to a listener and how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerRules {
    /// Who may come: empty is everybody.
    pub allow: Vec<IpNet>,
    /// Who may not; wins over `allow`.
    pub deny: Vec<IpNet>,
    /// Connections on this listener; 0 is no limit of its own.
    pub connections_max: u32,
}

impl ListenerGate {
    /// A gate with these rules.
    pub fn new(rules: ListenerRules) -> Self {
        Self { open: AtomicU32::new(0), rules: RwLock::new(rules) }
    }
    /// New rules from a reload; they hold for new connections.
    pub fn set_rules(&self, rules: ListenerRules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }
    fn rules(&self) -> RwLockReadGuard<'_, ListenerRules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }
    /// How many of this listener's connections are open.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }
}

/// A place inside; dropping it gives the place back.
pub struct Permit {
    gate: Arc<Gate>,
    listener: Arc<ListenerGate>,
    address: Option<IpAddr>,
}

/// Why a connection was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// `connections_max` of the server.
    Full {
        /// The limit.
        max: u32,
    },
    /// `connections_max` of the listener.
    ListenerFull {
        /// The limit.
        max: u32,
    },
    /// `connections_per_address_max`.
    AddressFull {
        /// The limit.
        max: u32,
    },
    /// The listener's `deny`, or not in its `allow`.
    Denied,
}

impl Refusal {
    /// The limit's name in settings, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full { .. } => "connections_max",
            Self::ListenerFull { .. } => "listener_connections_max",
            Self::AddressFull { .. } => "connections_per_address_max",
            Self::Denied => "address_denied",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { max } => write!(f, "all {max} connections are in use"),
            Self::ListenerFull { max } => write!(f, "all {max} connections of the listener are in use"),
            Self::AddressFull { max } => write!(f, "the address already holds {max} connections"),
            Self::Denied => f.write_str("the address is not allowed on this listener"),
        }
    }
}

impl Gate {
    /// An empty gate.
    pub fn new(limits: GateLimits) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicU32::new(0),
            max: AtomicU32::new(limits.connections_max),
            descriptors: AtomicU32::new(u32::MAX),
            per_address_max: AtomicU32::new(limits.per_address_max),
            addresses: Default::default(),
            hasher: RandomState::new(),
        })
    }

    /// New limits from a reload. Connections over a lowered limit stay.
    pub fn set_limits(&self, limits: GateLimits) {
        let room = self.descriptors.load(Ordering::Relaxed);
        self.max.store(limits.connections_max.min(room), Ordering::Relaxed);
        self.per_address_max.store(limits.per_address_max, Ordering::Relaxed);
    }

    /// Descriptors that are left for connections: a full house refuses at once instead of failing at every accept and
    /// every file it cannot open.
    pub fn set_descriptors(&self, room: u32) {
        self.descriptors.store(room, Ordering::Relaxed);
        self.max.fetch_min(room, Ordering::Relaxed);
    }

    /// Connections open now.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Admits one connection from `peer` (`None`: a unix socket), or says why not.
    ///
    /// Never waits. Costs two atomic operations, and one short lock of a sixteenth of the address table when
    /// `per_address_max` is on.
    pub fn admit(
        self: &Arc<Self>,
        listener: &Arc<ListenerGate>,
        peer: Option<IpAddr>,
    ) -> Result<Permit, Refusal> {
        let rules = listener.rules();
        if let Some(peer) = peer
            && !allowed(peer, &rules.allow, &rules.deny)
        {
            return Err(Refusal::Denied);
        }
        let max = self.max.load(Ordering::Relaxed);
        if !take(&self.open, max) {
            return Err(Refusal::Full { max });
        }
        let listener_max = if rules.connections_max == 0 { u32::MAX } else { rules.connections_max };
        drop(rules);
        if !take(&listener.open, listener_max) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::ListenerFull { max: listener_max });
        }
        // From here on the permit's Drop gives everything back.
        let mut permit = Permit { gate: Arc::clone(self), listener: Arc::clone(listener), address: None };
        let per_address = self.per_address_max.load(Ordering::Relaxed);
        if let Some(peer) = peer
            && per_address > 0
        {
            let key = address_key(peer);
            let mut shard = self.shard(key);
            let count = shard.entry(key).or_insert(0);
            if *count >= per_address {
                drop(shard);
                return Err(Refusal::AddressFull { max: per_address });
            }
            *count += 1;
            drop(shard);
            permit.address = Some(key);
        }
        Ok(permit)
    }

    fn shard(&self, key: IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, u32>> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        // A panic under this lock cannot leave a half-made count: go on with what is there.
        self.addresses[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// A PROXY header named the real client: count that address instead of the proxy's.
    pub fn readdress(mut self, peer: IpAddr) -> Result<Self, Refusal> {
        let (gate, listener) = (Arc::clone(&self.gate), Arc::clone(&self.listener));
        let rules = listener.rules();
        if !allowed(peer, &rules.allow, &rules.deny) {
            return Err(Refusal::Denied);
        }
        drop(rules);
        let old = self.address.take();
        if let Some(old) = old {
            gate.leave(old);
        }
        let max = gate.per_address_max.load(Ordering::Relaxed);
        if max > 0 {
            let key = address_key(peer);
            let mut shard = gate.shard(key);
            let count = shard.entry(key).or_insert(0);
            if *count >= max {
                return Err(Refusal::AddressFull { max });
            }
            *count += 1;
            drop(shard);
            self.address = Some(key);
        }
        Ok(self)
    }
}

impl Gate {
    fn leave(&self, key: IpAddr) {
        let mut shard = self.shard(key);
        if let Some(count) = shard.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&key);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.gate.leave(address);
        }
        self.listener.open.fetch_sub(1, Ordering::Relaxed);
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Deny wins; an empty allow list is everybody. IPv4 in IPv6 clothes counts as IPv4.
pub fn allowed(peer: IpAddr, allow: &[IpNet], deny: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    !deny.iter().any(|net| net.contains(&peer))
        && (allow.is_empty() || allow.iter().any(|net| net.contains(&peer)))
}

/// One customer holds a whole IPv6 /64, so that is what counts as one address.
pub fn address_key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(bits.into())
        }
        v4 => v4,
    }
}

fn take(count: &AtomicU32, max: u32) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    // Goal: a place freed by one peer is the place the next peer gets.
    // Method: fill a gate of two, watch the third refused, drop one, watch it admitted.
    #[test]
    fn a_full_gate_refuses_until_someone_leaves() {
        let gate = Gate::new(GateLimits { connections_max: 2, per_address_max: 0 });
        let listener = Arc::new(ListenerGate::default());
        let first = gate.admit(&listener, Some(ip("10.0.0.1"))).unwrap();
        let _second = gate.admit(&listener, Some(ip("10.0.0.2"))).unwrap();
        assert_eq!(gate.admit(&listener, Some(ip("10.0.0.3"))).err(), Some(Refusal::Full { max: 2 }));
        drop(first);
        gate.admit(&listener, Some(ip("10.0.0.3"))).unwrap();
        assert_eq!((gate.open(), listener.open()), (1, 1));
    }

    // Goal: one address cannot take all places, and an IPv6 customer is one address.
    // Method: two from the same /64 (and the same IPv4 in both spellings), the third refused, nothing leaks.
    #[test]
    fn one_address_gets_no_more_than_its_share() {
        check(["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"]);
        check(["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"]);

        #[track_caller]
        fn check(peers: [&str; 3]) {
            let gate = Gate::new(GateLimits { connections_max: 100, per_address_max: 2 });
            let listener = Arc::new(ListenerGate::default());
            let held: Vec<_> = peers.iter().map(|peer| gate.admit(&listener, Some(ip(peer)))).collect();
            assert!(held[0].is_ok() && held[1].is_ok());
            assert_eq!(held[2].as_ref().err(), Some(&Refusal::AddressFull { max: 2 }));
            drop(held);
            assert_eq!((gate.open(), listener.open()), (0, 0));
            assert!(gate.addresses.iter().all(|shard| shard.lock().unwrap().is_empty()));
        }
    }

    // Goal: deny wins over allow, an empty allow list is everybody.
    #[test]
    fn address_lists_are_read_deny_first() {
        check("10.1.2.3", &["10.0.0.0/8"], &[], true);
        check("10.1.2.3", &["10.0.0.0/8"], &["10.1.0.0/16"], false);
        check("192.0.2.1", &["10.0.0.0/8"], &[], false);
        check("::ffff:10.1.2.3", &["10.0.0.0/8"], &[], true);
        check("2001:db8::1", &[], &["2001:db8::/32"], false);
        check("2001:db9::1", &[], &["2001:db8::/32"], true);

        #[track_caller]
        fn check(peer: &str, allow: &[&str], deny: &[&str], want: bool) {
            let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect::<Vec<IpNet>>();
            assert_eq!(allowed(ip(peer), &nets(allow), &nets(deny)), want);
        }
    }
}
