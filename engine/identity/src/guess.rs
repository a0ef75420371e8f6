//! Guessing passwords: how long the next try has to wait.
//!
//! **Job.** Count failed logins per name and address and let each further one wait longer. **Called by** `sessions`, before a
//! password is looked at. Pure: time comes in.
//!
//! Three counts, the longest wait wins:
//! - of a *name from an address*: 5 tries are free, then 1 s, 2 s, 4 s … up to 15 min;
//! - of an *address*, whatever the name: 20 are free, then the same (one password tried on many names);
//! - of a *name*, whatever the address: 50 are free, then 1 s … up to 30 s (many machines that try one name). Short, so that a
//!   stranger cannot keep a user out for long; addresses from which the user has logged in lately are not held up by it.
//!
//! Invariants
//! 1. A try is counted when it begins and taken back when it was right: many at once are no way round.
//! 2. A name is counted whether a user has it or not: waiting tells nothing about who exists.
//! 3. At most [`COUNTS_MAX`] of each kind are kept, the oldest forgotten first; none is kept longer than [`KEPT_MS`] twice.
//!
//! Not here: counting over several machines (each counts for itself), the rate of a route (`limit`).

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use madang_host::gate::address_key;

/// Counts of each kind.
pub(crate) const COUNTS_MAX: usize = 65_536;
/// After so long without a try a count may be forgotten, after twice as long it is. Milliseconds.
const KEPT_MS: u64 = 6 * 3600 * 1000;

/// How waiting grows.
#[derive(Debug, Clone, Copy)]
struct Growth {
    free: u32,
    max_ms: u64,
}

const FIRST_MS: u64 = 1000;
const PAIR: Growth = Growth { free: 5, max_ms: 15 * 60_000 };
const ADDRESS: Growth = Growth { free: 20, max_ms: 15 * 60_000 };
const NAME: Growth = Growth { free: 50, max_ms: 30_000 };

impl Growth {
    /// How long after the last of so many failed tries the next one is looked at. Milliseconds.
    fn wait_ms(self, failed: u32) -> u64 {
        match failed.checked_sub(self.free) {
            None => 0,
            Some(over) => FIRST_MS.checked_shl(over.min(40)).unwrap_or(u64::MAX).min(self.max_ms),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    failed: u32,
    last_ms: u64,
}

/// A map that forgets: two halves, of which the older one is thrown away when the newer one is full or old.
struct Lately<K, V> {
    new: HashMap<K, V>,
    old: HashMap<K, V>,
    since_ms: u64,
    half: usize,
}

impl<K: Hash + Eq + Clone, V: Copy> Lately<K, V> {
    fn new(most: usize) -> Self {
        Self { new: HashMap::new(), old: HashMap::new(), since_ms: 0, half: most / 2 }
    }

    fn get(&self, key: &K) -> Option<V> {
        self.new.get(key).or_else(|| self.old.get(key)).copied()
    }

    fn set(&mut self, key: K, value: V, now_ms: u64) {
        self.old.remove(&key);
        if (self.new.len() >= self.half && !self.new.contains_key(&key)) || now_ms > self.since_ms + KEPT_MS {
            self.old = std::mem::take(&mut self.new);
            self.old.remove(&key);
            self.since_ms = now_ms;
        }
        self.new.insert(key, value);
    }

    fn forget(&mut self, key: &K) {
        self.new.remove(key);
        self.old.remove(key);
    }
}

type Pair = (Box<str>, IpAddr);

/// Failed logins, counted.
pub(crate) struct Guesses {
    pairs: Lately<Pair, Tries>,
    addresses: Lately<IpAddr, Tries>,
    names: Lately<Box<str>, Tries>,
    /// Where users have logged in from.
    at_home: Lately<Pair, ()>,
}

/// A try that was begun. Not taken back it stays counted.
#[derive(Debug)]
pub(crate) struct Try {
    pair: Pair,
}

impl Default for Guesses {
    fn default() -> Self {
        Self::bounded(COUNTS_MAX)
    }
}

impl Guesses {
    fn bounded(most: usize) -> Self {
        Self {
            pairs: Lately::new(most),
            addresses: Lately::new(most),
            names: Lately::new(most),
            at_home: Lately::new(most),
        }
    }

    /// Begins a try, which counts as failed until it is taken back.
    ///
    /// # Errors
    /// How long to wait. Who asks too early is not made to wait longer.
    pub(crate) fn begin(&mut self, name_key: &str, from: IpAddr, now_ms: u64) -> Result<Try, Duration> {
        // One house has a whole /64 of IPv6.
        let from = address_key(from);
        let pair: Pair = (name_key.into(), from);
        let of_pair = self.pairs.get(&pair).unwrap_or_default();
        let of_address = self.addresses.get(&from).unwrap_or_default();
        let of_name = self.names.get(&pair.0).unwrap_or_default();
        let at_home = self.at_home.get(&pair).is_some();
        let left = |growth: Growth, tries: Tries| {
            tries.last_ms.saturating_add(growth.wait_ms(tries.failed)).saturating_sub(now_ms)
        };
        let wait = left(PAIR, of_pair).max(left(ADDRESS, of_address)).max(if at_home {
            0
        } else {
            left(NAME, of_name)
        });
        if wait > 0 {
            return Err(Duration::from_millis(wait));
        }
        let more = |tries: Tries| Tries { failed: tries.failed.saturating_add(1), last_ms: now_ms };
        self.pairs.set(pair.clone(), more(of_pair), now_ms);
        self.addresses.set(from, more(of_address), now_ms);
        self.names.set(pair.0.clone(), more(of_name), now_ms);
        Ok(Try { pair })
    }

    /// The password was right.
    pub(crate) fn right(&mut self, tried: Try, now_ms: u64) {
        self.not_counted(&tried, now_ms);
        // Only this pair begins anew: an account of one's own does not clean an address that tries others'.
        self.pairs.forget(&tried.pair);
        self.at_home.set(tried.pair, (), now_ms);
    }

    /// The password was not looked at: the try does not count.
    pub(crate) fn unseen(&mut self, tried: Try, now_ms: u64) {
        self.not_counted(&tried, now_ms);
        if let Some(tries) = self.pairs.get(&tried.pair) {
            self.pairs.set(tried.pair, less(tries), now_ms);
        }
    }

    fn not_counted(&mut self, tried: &Try, now_ms: u64) {
        let (name, from) = &tried.pair;
        if let Some(tries) = self.addresses.get(from) {
            self.addresses.set(*from, less(tries), now_ms);
        }
        if let Some(tries) = self.names.get(name) {
            self.names.set(name.clone(), less(tries), now_ms);
        }
    }
}

fn less(tries: Tries) -> Tries {
    Tries { failed: tries.failed.saturating_sub(1), ..tries }
}

#[cfg(test)]
mod tests {
    use super::*;
    use madang_host::draws::Draws;

    fn at(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    // Goal: waiting for one name from one address begins after five failures and doubles up to its bound; a right password
    // begins anew; whoever asks too early waits no longer for it.
    #[test]
    fn waiting_grows_and_a_right_password_ends_it() {
        let mut guesses = Guesses::default();
        let mut now = 1_000_000;
        let mut waits = Vec::new();
        for _ in 0..17 {
            let mut waited = 0;
            while let Err(wait) = guesses.begin("mina", at(1), now) {
                assert!(guesses.begin("mina", at(1), now).is_err_and(|again| again == wait));
                waited += wait.as_millis();
                now += u64::try_from(wait.as_millis()).unwrap();
            }
            waits.push(waited / 1000);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        now += 900_000;
        let tried = guesses.begin("mina", at(1), now).unwrap();
        guesses.right(tried, now);
        for _ in 0..3 {
            guesses.begin("mina", at(1), now).unwrap();
        }
        assert!(guesses.begin("mina", at(1), now).is_err(), "the address has failed twenty times by now");
    }

    // Goal: a hundred tries at once are not a hundred guesses. Method: begin without ending any.
    #[test]
    fn many_at_once_are_counted_at_once() {
        let mut guesses = Guesses::default();
        let begun = (0..100).filter(|_| guesses.begin("mina", at(1), 7).is_ok()).count();
        assert_eq!(begun, 5);
    }

    // Goal: one address that tries many names is held up, and its own right logins do not clean it.
    #[test]
    fn one_password_on_many_names_is_held_up() {
        let mut guesses = Guesses::default();
        let mut begun = 0;
        for number in 0..60 {
            if let Ok(own) = guesses.begin("mallory", at(9), 7) {
                guesses.right(own, 7);
            }
            begun += usize::from(guesses.begin(&format!("user{number}"), at(9), 7).is_ok());
        }
        assert_eq!(begun, 20);
        assert!(guesses.begin("mina", at(1), 7).is_ok(), "others are not");
    }

    // Goal: many machines that try one name wait, at most half a minute, and its user at home does not.
    #[test]
    fn a_name_tried_from_everywhere_does_not_keep_its_user_out() {
        let mut guesses = Guesses::default();
        let home = guesses.begin("mina", at(1), 7).unwrap();
        guesses.right(home, 7);
        let mut now = 10_000;
        for number in 0..2_000_u16 {
            let [high, low] = number.to_be_bytes();
            let _ = guesses.begin("mina", IpAddr::from([10, 0, high, low]), now);
            now += 10;
        }
        let wait = guesses.begin("mina", at(2), now).unwrap_err();
        assert!(wait <= Duration::from_secs(30), "{wait:?}");
        assert!(guesses.begin("mina", at(1), now).is_ok(), "at home");
    }

    // Goal: all of an IPv6 /64 is one address.
    #[test]
    fn a_house_of_ipv6_is_one_address() {
        let mut guesses = Guesses::default();
        let from = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        let begun = (0..40).filter(|number| guesses.begin("mina", from(*number), 7).is_ok()).count();
        assert_eq!(begun, 5);
    }

    // Goal: a try that was not looked at (the line was full) leaves no trace.
    #[test]
    fn a_try_that_was_not_looked_at_does_not_count() {
        let mut guesses = Guesses::default();
        for _ in 0..100 {
            let tried = guesses.begin("mina", at(1), 7).unwrap();
            guesses.unseen(tried, 7);
        }
    }

    // Goal: whatever comes, memory is bounded and nobody waits longer than the longest wait.
    // Method: a seeded storm of names, addresses, right and wrong passwords and jumps of time over a table of 64.
    #[test]
    fn a_storm_is_bounded() {
        for seed in 0..20 {
            let (mut draws, mut guesses, mut now) = (Draws::new(seed), Guesses::bounded(64), 0_u64);
            for _ in 0..3_000 {
                now += draws.below(2_000);
                if draws.below(500) == 0 {
                    now += draws.below(KEPT_MS * 3);
                }
                let name = format!("user{}", draws.below(200));
                let from = IpAddr::from([10, 0, 0, u8::try_from(draws.below(200)).unwrap()]);
                match guesses.begin(&name, from, now) {
                    Err(wait) => assert!(wait <= Duration::from_secs(900), "seed {seed}: {wait:?}"),
                    Ok(tried) => match draws.below(3) {
                        0 => guesses.right(tried, now),
                        1 => guesses.unseen(tried, now),
                        _ => {}
                    },
                }
                let held = guesses.pairs.new.len() + guesses.pairs.old.len();
                assert!(held <= 64 + 1, "seed {seed}: {held}");
            }
        }
    }
}
