//! Guessing passwords: how long the next try has to wait.
//!
//! **Job.** Count failed logins per name and address and let each further one wait longer; say what other machines have to count, and
//! count what they say. **Called by** `login`, before a password is looked at. Pure: time comes in.
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
//! 4. What is kept and told of a name or an address is a keyed digest of it: people type passwords where names belong.
//! 5. Machines that hear each other's news count what one machine would count that saw all tries.
//!
//! Not here: how news travel (`tries`), the rate of a route (`limit`).

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::hmac;
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

/// A name or an address, as it is counted.
type Mark = [u8; MARK_BYTES];
const MARK_BYTES: usize = 16;

/// Who is tried from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    name: Mark,
    address: Mark,
}

impl Pair {
    /// Of a name in the form it is found by, and a client's address. One house has a whole /64 of IPv6.
    pub(crate) fn of(key: &hmac::Key, name_key: &str, from: IpAddr) -> Self {
        let mark = |kind: u8, bytes: &[u8]| {
            let mut context = hmac::Context::with_key(key);
            context.update(&[kind]);
            context.update(bytes);
            let mut mark = [0; MARK_BYTES];
            mark.copy_from_slice(&context.sign().as_ref()[..MARK_BYTES]);
            mark
        };
        let address = match address_key(from) {
            IpAddr::V4(address) => mark(4, &address.octets()),
            IpAddr::V6(address) => mark(6, &address.octets()),
        };
        Self { name: mark(0, name_key.as_bytes()), address }
    }
}

/// What other machines have to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// A try was begun.
    Begun(Pair),
    /// It was right.
    Right(Pair),
    /// It was not looked at.
    Unseen(Pair),
}

/// Bytes of one of them.
pub(crate) const NEWS_BYTES: usize = 1 + 2 * MARK_BYTES;

impl News {
    pub(crate) fn to_bytes(self) -> [u8; NEWS_BYTES] {
        let (kind, pair) = match self {
            Self::Begun(pair) => (b'b', pair),
            Self::Right(pair) => (b'r', pair),
            Self::Unseen(pair) => (b'u', pair),
        };
        let mut bytes = [kind; NEWS_BYTES];
        bytes[1..=MARK_BYTES].copy_from_slice(&pair.name);
        bytes[1 + MARK_BYTES..].copy_from_slice(&pair.address);
        bytes
    }

    /// `None`: of a newer program.
    pub(crate) fn from_bytes(bytes: &[u8; NEWS_BYTES]) -> Option<Self> {
        let (mut name, mut address) = ([0; MARK_BYTES], [0; MARK_BYTES]);
        name.copy_from_slice(&bytes[1..=MARK_BYTES]);
        address.copy_from_slice(&bytes[1 + MARK_BYTES..]);
        let pair = Pair { name, address };
        match bytes[0] {
            b'b' => Some(Self::Begun(pair)),
            b'r' => Some(Self::Right(pair)),
            b'u' => Some(Self::Unseen(pair)),
            _ => None,
        }
    }
}

/// Failed logins, counted.
pub(crate) struct Guesses {
    pairs: Lately<Pair, Tries>,
    addresses: Lately<Mark, Tries>,
    names: Lately<Mark, Tries>,
    /// Where users have logged in from.
    at_home: Lately<Pair, ()>,
}

/// A try that was begun. Not taken back it stays counted.
#[derive(Debug)]
pub(crate) struct Try {
    pair: Pair,
}

impl Try {
    /// What others have to count.
    pub(crate) fn begun(&self) -> News {
        News::Begun(self.pair)
    }
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
    pub(crate) fn begin(&mut self, pair: Pair, now_ms: u64) -> Result<Try, Duration> {
        let of_pair = self.pairs.get(&pair).unwrap_or_default();
        let of_address = self.addresses.get(&pair.address).unwrap_or_default();
        let of_name = self.names.get(&pair.name).unwrap_or_default();
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
        self.heard(News::Begun(pair), now_ms);
        Ok(Try { pair })
    }

    /// The password was right. What others have to count.
    pub(crate) fn right(&mut self, tried: Try, now_ms: u64) -> News {
        let news = News::Right(tried.pair);
        self.heard(news, now_ms);
        news
    }

    /// The password was not looked at: the try does not count. What others have to count.
    pub(crate) fn unseen(&mut self, tried: Try, now_ms: u64) -> News {
        let news = News::Unseen(tried.pair);
        self.heard(news, now_ms);
        news
    }

    /// Counts what happened here or on another machine.
    pub(crate) fn heard(&mut self, news: News, now_ms: u64) {
        match news {
            News::Begun(pair) => {
                let more = |tries: Option<Tries>| Tries {
                    failed: tries.unwrap_or_default().failed.saturating_add(1),
                    last_ms: now_ms,
                };
                self.pairs.set(pair, more(self.pairs.get(&pair)), now_ms);
                self.addresses.set(pair.address, more(self.addresses.get(&pair.address)), now_ms);
                self.names.set(pair.name, more(self.names.get(&pair.name)), now_ms);
            }
            News::Right(pair) => {
                self.not_counted(pair, now_ms);
                // Only this pair begins anew: an account of one's own does not clean an address that tries others'.
                self.pairs.forget(&pair);
                self.at_home.set(pair, (), now_ms);
            }
            News::Unseen(pair) => {
                self.not_counted(pair, now_ms);
                if let Some(tries) = self.pairs.get(&pair) {
                    self.pairs.set(pair, less(tries), now_ms);
                }
            }
        }
    }

    fn not_counted(&mut self, pair: Pair, now_ms: u64) {
        if let Some(tries) = self.addresses.get(&pair.address) {
            self.addresses.set(pair.address, less(tries), now_ms);
        }
        if let Some(tries) = self.names.get(&pair.name) {
            self.names.set(pair.name, less(tries), now_ms);
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

    fn pair(name: &str, from: IpAddr) -> Pair {
        Pair::of(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), name, from)
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
            while let Err(wait) = guesses.begin(pair("mina", at(1)), now) {
                assert!(guesses.begin(pair("mina", at(1)), now).is_err_and(|again| again == wait));
                waited += wait.as_millis();
                now += u64::try_from(wait.as_millis()).unwrap();
            }
            waits.push(waited / 1000);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        now += 900_000;
        let tried = guesses.begin(pair("mina", at(1)), now).unwrap();
        guesses.right(tried, now);
        for _ in 0..3 {
            guesses.begin(pair("mina", at(1)), now).unwrap();
        }
        assert!(
            guesses.begin(pair("mina", at(1)), now).is_err(),
            "the address has failed twenty times by now"
        );
    }

    // Goal: a hundred tries at once are not a hundred guesses. Method: begin without ending any.
    #[test]
    fn many_at_once_are_counted_at_once() {
        let mut guesses = Guesses::default();
        let begun = (0..100).filter(|_| guesses.begin(pair("mina", at(1)), 7).is_ok()).count();
        assert_eq!(begun, 5);
    }

    // Goal: one address that tries many names is held up, and its own right logins do not clean it.
    #[test]
    fn one_password_on_many_names_is_held_up() {
        let mut guesses = Guesses::default();
        let mut begun = 0;
        for number in 0..60 {
            if let Ok(own) = guesses.begin(pair("mallory", at(9)), 7) {
                guesses.right(own, 7);
            }
            begun += usize::from(guesses.begin(pair(&format!("user{number}"), at(9)), 7).is_ok());
        }
        assert_eq!(begun, 20);
        assert!(guesses.begin(pair("mina", at(1)), 7).is_ok(), "others are not");
    }

    // Goal: many machines that try one name wait, at most half a minute, and its user at home does not.
    #[test]
    fn a_name_tried_from_everywhere_does_not_keep_its_user_out() {
        let mut guesses = Guesses::default();
        let home = guesses.begin(pair("mina", at(1)), 7).unwrap();
        guesses.right(home, 7);
        let mut now = 10_000;
        for number in 0..2_000_u16 {
            let [high, low] = number.to_be_bytes();
            let _ = guesses.begin(pair("mina", IpAddr::from([10, 0, high, low])), now);
            now += 10;
        }
        let wait = guesses.begin(pair("mina", at(2)), now).unwrap_err();
        assert!(wait <= Duration::from_secs(30), "{wait:?}");
        assert!(guesses.begin(pair("mina", at(1)), now).is_ok(), "at home");
    }

    // Goal: all of an IPv6 /64 is one address.
    #[test]
    fn a_house_of_ipv6_is_one_address() {
        let mut guesses = Guesses::default();
        let from = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        let begun = (0..40).filter(|number| guesses.begin(pair("mina", from(*number)), 7).is_ok()).count();
        assert_eq!(begun, 5);
    }

    // Goal: a try that was not looked at (the line was full) leaves no trace.
    #[test]
    fn a_try_that_was_not_looked_at_does_not_count() {
        let mut guesses = Guesses::default();
        for _ in 0..100 {
            let tried = guesses.begin(pair("mina", at(1)), 7).unwrap();
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
                match guesses.begin(pair(&name, from), now) {
                    Err(wait) => assert!(wait <= Duration::from_secs(900), "seed {seed}: {wait:?}"),
                    Ok(tried) => match draws.below(3) {
                        0 => {
                            guesses.right(tried, now);
                        }
                        1 => {
                            guesses.unseen(tried, now);
                        }
                        _ => {}
                    },
                }
                let held = guesses.pairs.new.len() + guesses.pairs.old.len();
                assert!(held <= 64 + 1, "seed {seed}: {held}");
            }
        }
    }

    // Goal: machines that tell each other count as one that sees all: three of them give no more guesses.
    // Method: seeded tries at one of three machines each time, whose news the others hear; a fourth one sees all tries itself.
    #[test]
    fn machines_that_hear_each_other_count_as_one() {
        for seed in 0..30 {
            let (mut draws, mut now) = (Draws::new(seed), 1_000_u64);
            let mut machines = [Guesses::default(), Guesses::default(), Guesses::default()];
            let mut one = Guesses::default();
            for _ in 0..500 {
                now += draws.below(3_000);
                let at = usize::try_from(draws.below(3)).unwrap();
                let from = IpAddr::from([10, 0, 0, u8::try_from(draws.below(3)).unwrap()]);
                let tried = pair(&format!("user{}", draws.below(3)), from);
                let (here, wanted) = (machines[at].begin(tried, now), one.begin(tried, now));
                assert_eq!(here.as_ref().err(), wanted.as_ref().err(), "seed {seed}");
                let (Ok(here), Ok(wanted)) = (here, wanted) else { continue };
                let mut told = vec![here.begun()];
                match draws.below(4) {
                    0 => {
                        told.push(machines[at].right(here, now));
                        one.right(wanted, now);
                    }
                    1 => {
                        told.push(machines[at].unseen(here, now));
                        one.unseen(wanted, now);
                    }
                    _ => {}
                }
                for news in told {
                    let news = News::from_bytes(&news.to_bytes()).unwrap();
                    for (other, machine) in machines.iter_mut().enumerate() {
                        if other != at {
                            machine.heard(news, now);
                        }
                    }
                }
            }
        }
    }

    // Goal: news tell neither a name nor an address, and what is none is passed over.
    #[test]
    fn news_tell_no_names() {
        let news = News::Begun(pair("correct horse", at(7)));
        let bytes = news.to_bytes();
        assert!(!bytes.windows(7).any(|part| part == b"correct"));
        assert!(!bytes.windows(4).any(|part| part == [192, 0, 2, 7]));
        assert_eq!(News::from_bytes(&[b'x'; NEWS_BYTES]), None);
        assert_ne!(news, News::Begun(pair("correct horse", at(8))));
    }
}
