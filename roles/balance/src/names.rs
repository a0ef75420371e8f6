//! The names of a pool: when to look them up, and which servers the answers make.
//!
//! **Job.** Schedule look-ups by the time answers are good for; turn answers into endpoints; keep what was known while nobody
//! answers. **Owned by** the keeper, one for each pool. **Fed by** [`Names::answered`], **asked by** [`Names::due`],
//! [`Names::endpoints`], [`Names::next_deadline`].
//!
//! Invariants
//! 1. At most one look-up of a name is out.
//! 2. An answer is asked for again after its time to live, [`TTL_MIN`] to [`TTL_MAX`], up to a tenth later.
//! 3. A failure takes no address away; it is told once, and once again when it is over.
//! 4. An answer that is not whole adds addresses and takes none away.
//!
//! Not here: asking (`keeper`, `host::net::resolve`), what becomes of servers that come and go (`pool`, `health`).

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use madang_host::net::resolve::{Found, LookupFailure, ServiceAddress};

use crate::config::{Address, Place, PoolSettings, SERVERS_MAX, ServerSettings};
use crate::pool::Endpoint;
use madang_host::draws::Draws;

/// A name is looked up again at most this often, whatever its time to live.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// And at least this often.
pub const TTL_MAX: Duration = Duration::from_secs(3600);
/// The first pause after a failure; each further one is twice as long.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest.
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// A weight of ours at most (`weight` of a server).
const WEIGHT_MAX: u64 = 256;

/// What is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Every address of this host; its port is known.
    Addresses(String, u16),
    /// Every server of this service.
    Services(String),
}

/// What came of a look-up, where it is worth a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The name leads elsewhere now.
    Changed {
        /// Where it did not lead before.
        came: Vec<SocketAddr>,
        /// Where it does not lead any more.
        left: Vec<SocketAddr>,
        /// Addresses beyond [`SERVERS_MAX`], which are not used.
        unused: usize,
    },
    /// It cannot be looked up.
    Failed {
        /// Why.
        why: LookupFailure,
        /// Addresses known from before, which stay.
        kept: usize,
    },
    /// It can be looked up again.
    Back,
}

impl News {
    /// Whether an operator should look.
    pub const fn is_bad(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { came, left, unused } => {
                f.write_str("leads elsewhere:")?;
                list(f, " came ", came)?;
                list(f, if came.is_empty() { " left " } else { "; left " }, left)?;
                if *unused > 0 {
                    write!(f, "; {unused} more than a pool can have are not used")?;
                }
                Ok(())
            }
            Self::Failed { why, kept: 0 } => write!(f, "cannot be looked up: {why}"),
            Self::Failed { why, kept } => {
                write!(f, "cannot be looked up: {why}; the {kept} known from before stay")
            }
            Self::Back => f.write_str("can be looked up again"),
        }
    }
}

/// Some of many.
fn list(f: &mut fmt::Formatter<'_>, before: &str, all: &[SocketAddr]) -> fmt::Result {
    const SHOWN: usize = 8;
    for (index, address) in all.iter().take(SHOWN).enumerate() {
        write!(f, "{}{address}", if index == 0 { before } else { ", " })?;
    }
    if all.len() > SHOWN {
        write!(f, " and {} more", all.len() - SHOWN)?;
    }
    Ok(())
}

/// One address of a name, as the pool uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    address: SocketAddr,
    weight: u16,
    backup: bool,
}

#[derive(Debug)]
struct Entry {
    address: Address,
    known: Vec<Target>,
    /// Whether a first look-up has ended, well or not.
    asked: bool,
    /// In a row.
    failures: u32,
    /// `None` while a look-up is out.
    next: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub struct Names {
    entries: Vec<Entry>,
    draws: Draws,
}

impl Names {
    /// The names of a pool; all are due at once.
    pub fn new(settings: &PoolSettings, seed: u64, now: Instant) -> Self {
        let mut names = Self { entries: Vec::new(), draws: Draws::new(seed) };
        names.update(settings, now);
        names
    }

    /// Other settings: names that stay keep what is known of them.
    pub fn update(&mut self, settings: &PoolSettings, now: Instant) {
        let mut before = std::mem::take(&mut self.entries);
        for server in settings.servers.iter().filter(|server| server.address.place.is_name()) {
            let entry = match before.iter().position(|entry| entry.address == server.address) {
                Some(at) => before.swap_remove(at),
                None => Entry {
                    address: server.address.clone(),
                    known: Vec::new(),
                    asked: false,
                    failures: 0,
                    next: Some(now),
                },
            };
            self.entries.push(entry);
        }
    }

    /// Everything is asked again at once: the name servers are others.
    pub fn hurry(&mut self, now: Instant) {
        for entry in &mut self.entries {
            entry.next = entry.next.map(|next| next.min(now));
        }
    }

    /// A name that is due; it is out then, until [`Names::answered`].
    pub fn due(&mut self, now: Instant) -> Option<(Address, Question)> {
        let entry = self.entries.iter_mut().find(|entry| entry.next.is_some_and(|next| next <= now))?;
        let question = match &entry.address.place {
            Place::Host(name, port) => Question::Addresses(name.clone(), *port),
            Place::Service(name) => Question::Services(name.clone()),
            // Only names are entries.
            Place::Ip(_) | Place::Unix(_) | Place::Program(_) => return None,
        };
        entry.next = None;
        Some((entry.address.clone(), question))
    }

    /// When [`Names::due`] will have one.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.next).min()
    }

    /// Whether a name has never been answered for, well or not.
    pub fn is_waiting(&self) -> bool {
        self.entries.iter().any(|entry| !entry.asked)
    }

    /// What came back. `None`: nothing worth a word.
    pub fn answered(
        &mut self,
        address: &Address,
        answer: Result<Found<ServiceAddress>, LookupFailure>,
        now: Instant,
    ) -> Option<News> {
        let entry = self.entries.iter_mut().find(|entry| entry.address == *address)?;
        entry.asked = true;
        let (wait, news) = match answer {
            Ok(found) => {
                let wait = if found.whole { found.ttl } else { found.ttl.min(RETRY_MAX) };
                let was_failing = std::mem::take(&mut entry.failures) > 0;
                let changed = entry.adopt(found);
                (wait.clamp(TTL_MIN, TTL_MAX), changed.or_else(|| was_failing.then_some(News::Back)))
            }
            Err(why) => {
                let doublings = entry.failures.min(RETRY_MAX.as_secs().ilog2() + 1);
                entry.failures = entry.failures.saturating_add(1);
                let wait = match why {
                    // The zone says how long that holds; a name that is being made should not have to wait for it.
                    LookupFailure::Nothing { ttl, .. } if !ttl.is_zero() => ttl.max(TTL_MIN),
                    _ => RETRY_FIRST.saturating_mul(1 << doublings),
                };
                let first = entry.failures == 1;
                let news = first.then_some(News::Failed { why, kept: entry.known.len() });
                (wait.min(RETRY_MAX), news)
            }
        };
        entry.next = Some(now + wait + self.draws.up_to(wait / 10));
        news
    }

    /// The servers of the pool, in the order of its settings.
    pub fn endpoints(&self, settings: &PoolSettings) -> Vec<Endpoint> {
        let mut all = Vec::with_capacity(settings.servers.len());
        for server in &settings.servers {
            let Some(entry) = self.entries.iter().find(|entry| entry.address == server.address) else {
                all.push(Endpoint::from(server.clone()));
                continue;
            };
            let by_record = matches!(server.address.place, Place::Service(_));
            all.extend(entry.known.iter().map(|target| Endpoint {
                settings: ServerSettings {
                    weight: if by_record { target.weight } else { server.weight },
                    backup: server.backup || target.backup,
                    ..server.clone()
                },
                place: Place::Ip(target.address),
            }));
        }
        all
    }
}

impl Entry {
    /// Takes an answer over; tells what is different.
    fn adopt(&mut self, found: Found<ServiceAddress>) -> Option<News> {
        // Sorted by priority: what is cut off is the last resort.
        let used = found.all.len().min(SERVERS_MAX);
        let (mut new, unused) = (targets(&found.all[..used]), found.all.len() - used);
        let has = |all: &[Target], wanted: &Target| all.iter().any(|one| one.address == wanted.address);
        if !found.whole {
            let missing = self.known.iter().filter(|known| !has(&new, known)).cloned().collect::<Vec<_>>();
            new.extend(missing);
            new.truncate(SERVERS_MAX);
        }
        let only = |these: &[Target], those: &[Target]| -> Vec<SocketAddr> {
            these.iter().filter(|one| !has(those, one)).map(|one| one.address).collect()
        };
        let (came, left) = (only(&new, &self.known), only(&self.known, &new));
        self.known = new;
        (!came.is_empty() || !left.is_empty()).then_some(News::Changed { came, left, unused })
    }
}

/// Records as servers: those of the lowest priority are primaries, all others backups; weights count among the primaries and
/// among the backups, and the addresses of one target share its weight (RFC 2782).
fn targets(records: &[ServiceAddress]) -> Vec<Target> {
    let lowest = records.iter().map(|record| record.priority).min().unwrap_or(0);
    let is_backup = |record: &ServiceAddress| record.priority > lowest;
    let mut targets: Vec<Target> = Vec::with_capacity(records.len());
    for record in records {
        let backup = is_backup(record);
        // Two targets may lead to one address.
        if targets.iter().any(|target| target.address == record.address) {
            continue;
        }
        let kind = || records.iter().filter(|other| is_backup(other) == backup);
        targets.push(Target { address: record.address, weight: weight(record, kind), backup });
    }
    targets
}

fn weight<'a, I: Iterator<Item = &'a ServiceAddress>>(record: &ServiceAddress, kind: impl Fn() -> I) -> u16 {
    /// Divided without rest by every number of addresses up to ten.
    const WHOLE: u64 = 2520;
    let none = kind().all(|other| other.weight == 0);
    let raw = |of: &ServiceAddress| {
        let weight = if none { 1 } else { u64::from(of.weight) };
        weight * WHOLE / u64::from(of.of.max(1))
    };
    let plain = kind().all(|other| other.of <= 1 && u64::from(other.weight) <= WEIGHT_MAX);
    let own = if plain {
        if none { 1 } else { u64::from(record.weight) }
    } else {
        raw(record) * WEIGHT_MAX / kind().map(raw).max().unwrap_or(WHOLE).max(1)
    };
    // A weight of 0 means a small chance there, and none here.
    u16::try_from(own.clamp(1, WEIGHT_MAX)).unwrap_or(1)
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
