//! Goal: identity does the same over both databases.
//! Method: one table of behaviours, each run on a fresh store of every kind, with a clock that is moved by hand.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, unreachable_pub)] // a test may stop at what it did not expect

mod keys;
mod logins;
#[path = "../../../store/tests/support/mod.rs"]
mod postgres;
mod sessions;
mod tokens;
mod users;

use std::future::Future;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use madang_host::clock;
use madang_store::Store;

use crate::Identity;
use crate::config::{IdentitySettings, IssuerSettings};
use crate::desk::DeskLimits;
use crate::password::tests::CHEAP;

type Behaviour = fn(&House);

/// Every behaviour, by name.
const BATTERY: &[(&str, Behaviour)] = &[
    ("the right password opens, and only it", logins::passwords),
    ("known and unknown names take the same steps", logins::nothing_is_told),
    ("guessing is held up, whoever exists", logins::guessing),
    ("several machines count guesses together", logins::guessing_everywhere),
    ("a full line is told with a time and does not count as a guess", logins::a_full_line),
    ("hashes of another cost are made anew at the next login", logins::hashing_anew),
    ("guests come in where they may, and look like guests", logins::guests),
    ("SCRAM opens for the password and tells nothing else", logins::scram),
    ("users are made, listed, changed, removed", users::life),
    ("what is no name, password or role is refused by name", users::refusals),
    ("changes at once are all done", users::changes_at_once),
    ("a change that takes something away ends every login", users::changes_end_logins),
    ("a removed user's name given again is somebody else", users::a_name_given_again),
    ("a session goes on by its refresh tokens", sessions::going_on),
    ("a refresh token used twice ends its session", sessions::reuse),
    ("two windows that refresh at once stay in one session", sessions::two_windows),
    ("sessions end by time, by logout, and everywhere", sessions::ends),
    ("a user's sessions are bounded", sessions::bounded),
    ("another machine hears what was revoked", sessions::other_machines),
    ("who could not hear of a revocation asks the store", sessions::asked_later),
    ("keys open until they are revoked", keys::life),
    ("keys have no more roles than their user", keys::roles),
    ("two houses with one store take each other's tokens", tokens::one_store),
];

/// A house: a store, an identity, a clock.
pub struct House {
    pub store: Store,
    pub identity: Identity,
    pub clock: Arc<AtomicU64>,
    runtime: tokio::runtime::Runtime,
}

pub const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

pub fn settings() -> IdentitySettings {
    IdentitySettings {
        guests: true,
        hash_cost: CHEAP,
        hash_desk: DeskLimits { at_once: 2, waiting_max: 64 },
        scram_iterations: NonZeroU32::new(4096),
        ..IdentitySettings::default()
    }
}

impl House {
    pub fn new(store: Store) -> Self {
        // The store sweeps by the clock of the machine: begin there.
        let begin = clock::unix_seconds(clock::wall()) * 1000;
        Self::with(store, &settings(), &[], &Arc::new(AtomicU64::new(begin)))
    }

    pub fn with(
        store: Store,
        settings: &IdentitySettings,
        issuers: &[Arc<IssuerSettings>],
        clock: &Arc<AtomicU64>,
    ) -> Self {
        let read = Arc::clone(clock);
        let tell = Box::new(move || read.load(Ordering::Relaxed));
        let identity = Identity::with_clock(&store, settings, issuers, tell).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { store, identity, clock: Arc::clone(clock), runtime }
    }

    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed) / 1000
    }

    pub fn later(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    /// A user `mina` whose password is `correct horse`, a moderator.
    pub fn mina(&self) {
        self.run(self.identity.add_user("Mina", Some("correct horse"), &["moderator".to_owned()])).unwrap();
    }

    pub fn login(&self, name: &str, password: &str) -> Result<crate::Session, crate::Refused> {
        self.run(self.identity.login(name, password, HERE))
    }

    pub fn check(&self, token: &str) -> Result<crate::Who, crate::Refused> {
        self.identity.check(token, self.now())
    }

    /// How many pieces of work the hashing threads have done.
    pub fn hashes(&self) -> u64 {
        self.identity.0.desk.counts().1
    }
}

/// Runs the whole battery and tells every behaviour that is not there.
fn run(kind: &str, fresh: impl Fn(usize) -> Store) {
    let mut failed = Vec::new();
    for (number, (name, behaviour)) in BATTERY.iter().enumerate() {
        let store = fresh(number);
        let house = House::new(store.clone());
        if catch_unwind(AssertUnwindSafe(|| behaviour(&house))).is_err() {
            failed.push(*name);
        }
        store.close();
    }
    assert!(failed.is_empty(), "{kind} does not do this: {failed:#?}");
}

#[test]
fn sqlite_does_it_all() {
    let folder = tempfile::tempdir().unwrap();
    run("SQLite", |number| Store::sqlite(&folder.path().join(format!("{number}.db")), None).unwrap());
}

#[test]
fn postgresql_does_it_all() {
    let server = postgres::Server::start();
    run("PostgreSQL", |number| Store::postgres(&server.database(&format!("i{number}")), None, 4).unwrap());
}
