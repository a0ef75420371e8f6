//! Identity in the running house: one value that every role asks.
//!
//! **Job.** Hold what a check needs without asking anybody: secrets, issuers' keys, what is revoked; and the ways to what has to be
//! asked. **Made by** `madang`. **Called by** every role, from any thread. **Calls** the modules beside it.
//!
//! Invariants
//! 1. [`Identity::check`] does no I/O and waits for nobody.
//! 2. A reload swaps settings whole; what was revoked stays revoked.
//!
//! Not here: logins (`login`), sessions (`session`), users and keys (`manage`, `api_key`), keeping fresh (`keep`).

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use madang_host::{clock, random};
use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::kv::{Held, Put, When};
use tokio::sync::{mpsc, watch};

use crate::access::Signer;
use crate::api_key::{self, Keys};
use crate::config::{IdentitySettings, IssuerSettings};
use crate::desk::Desk;
use crate::guess::Guesses;
use crate::issuer::{self, Issuer};
use crate::metrics::Numbers;
use crate::refused::Refused;
use crate::revoked::{Revoked, What};
use crate::tries::TryNews;
use crate::users::Users;
use crate::who::Who;

/// Where the house's secret and what is revoked are.
const HOUSE: &str = "identity.house";
const SECRET: &str = "secret";
pub(crate) const REVOKED: &str = "identity.revoked";
/// Tokens may live so much longer on a machine whose clock is behind.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// Milliseconds since 1970, from wherever.
pub(crate) type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Identity(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) users: Users,
    pub(crate) signer: Signer,
    pub(crate) settings: RwLock<Arc<Settings>>,
    pub(crate) revoked: Revoked,
    pub(crate) keys: Keys,
    pub(crate) desk: Desk,
    pub(crate) numbers: Numbers,
    pub(crate) guesses: Mutex<Guesses>,
    pub(crate) tries: Mutex<Option<mpsc::Sender<TryNews>>>,
    clock: Clock,
}

/// What a reload swaps.
pub(crate) struct Settings {
    pub(crate) identity: IdentitySettings,
    pub(crate) issuers: Vec<Issuer>,
}

/// Why identity cannot be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The store did not give the house's secret.
    Store(StoreError),
    /// What is kept as the house's secret is none.
    Secret,
    /// No thread or no randomness.
    System(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Secret => f.write_str("the house's secret in the store cannot be read"),
            Self::System(error) => write!(f, "no thread or no randomness for logins: {error}"),
        }
    }
}
impl std::error::Error for OpenError {}

impl Identity {
    /// Opens it on a store. The first time, a secret is made there: every machine with this store takes the same tokens.
    ///
    /// Blocks while the store answers: at start, not on a worker.
    ///
    /// # Errors
    /// An [`OpenError`] that says what is missing.
    pub fn open(
        store: &Store,
        settings: &IdentitySettings,
        issuers: &[Arc<IssuerSettings>],
    ) -> Result<Self, OpenError> {
        Self::with_clock(store, settings, issuers, Box::new(wall_ms))
    }

    pub(crate) fn with_clock(
        store: &Store,
        settings: &IdentitySettings,
        issuers: &[Arc<IssuerSettings>],
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let secret = house_secret(store)?;
        let inner = Inner {
            users: Users::new(store.clone()),
            store: store.clone(),
            signer: Signer::new(&secret),
            settings: RwLock::new(Arc::new(Settings { identity: settings.clone(), issuers: Vec::new() })),
            revoked: Revoked::default(),
            keys: Keys::default(),
            desk: Desk::start(settings.hash_desk).map_err(OpenError::System)?,
            numbers: Numbers::default(),
            guesses: Mutex::default(),
            tries: Mutex::default(),
            clock,
        };
        let identity = Self(Arc::new(inner));
        identity.renew(settings, issuers);
        Ok(identity)
    }

    /// New settings. Issuers that did not change keep the keys that were read.
    pub fn renew(&self, settings: &IdentitySettings, issuers: &[Arc<IssuerSettings>]) {
        let before = self.settings();
        let issuers: Vec<Issuer> = issuers
            .iter()
            .map(|wanted| {
                let same = before.issuers.iter().find(|have| have.settings.source == wanted.source);
                Issuer::renewed(Arc::clone(wanted), same)
            })
            .collect();
        self.0.desk.set_waiting_max(settings.hash_desk.waiting_max);
        let new = Arc::new(Settings { identity: settings.clone(), issuers });
        crate::keep::read_files(&new, None);
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// Who shows this access token, or this token of an outside issuer, at `now` (seconds since 1970).
    ///
    /// Does no I/O. About 2 µs for a token of ours; see `issuer` for others. API keys that were checked lately are taken, too.
    ///
    /// # Errors
    /// A [`Refused`] with a name of its own for each way of being wrong. [`Refused::KeyUnknown`] for an API key that was not
    /// checked lately: [`Identity::identify`] asks for it.
    pub fn check(&self, credential: &str, now: u64) -> Result<Who, Refused> {
        let who = if api_key::is_one(credential) {
            self.0.keys.lately(credential, now).ok_or(Refused::KeyUnknown)?
        } else if self.0.signer.is_ours(credential) {
            self.0.signer.check(credential, now)?
        } else {
            issuer::check(&self.settings().issuers, credential, now)?
        };
        self.0.revoked.check(&who)?;
        Ok(who)
    }

    /// The same, and API keys are asked for.
    ///
    /// # Errors
    /// As [`Identity::check`]; [`Refused::Store`].
    pub async fn identify(&self, credential: &str, now: u64) -> Result<Who, Refused> {
        match self.check(credential, now) {
            Err(Refused::KeyUnknown) => self.check_key(credential, now).await,
            checked => checked,
        }
    }

    /// Whether somebody who was let in earlier may stay: for connections that outlive their token.
    ///
    /// # Errors
    /// [`Refused::TokenRevoked`]: logged out, disabled, removed, or the password changed.
    pub fn still(&self, who: &Who) -> Result<(), Refused> {
        self.0.revoked.check(who)
    }

    /// Changes its number with every revocation: who holds connections open asks [`Identity::still`] for each of them then, at
    /// once, because revocations are forgotten when no token is left that they are about.
    pub fn revocations(&self) -> watch::Receiver<u64> {
        self.0.revoked.changes()
    }

    /// Changes its number when revocations of other machines may have been missed, because the store was away for longer than they
    /// are kept: who holds connections open asks [`Identity::still_by_store`] for each of them then.
    pub fn doubts(&self) -> watch::Receiver<u64> {
        self.0.revoked.doubts.subscribe()
    }

    /// Changes its number when this machine has written a revocation to the store: whoever can tell other machines to
    /// [`Identity::look`] does it then. They look every [`crate::LOOK_EVERY`] anyway.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.0.revoked.written.subscribe()
    }

    /// Whether guests are let in.
    pub fn takes_guests(&self) -> bool {
        self.settings().identity.guests
    }

    /// Whether SCRAM is offered.
    pub fn takes_scram(&self) -> bool {
        self.settings().identity.scram_iterations.is_some()
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.0.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.0.clock)()
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.now_ms() / 1000
    }

    /// Revokes here at once, then where other machines look.
    pub(crate) async fn revoke(&self, what: What, before: u64) -> Result<(), Refused> {
        let lasts = self.settings().identity.access_lifetime + CLOCKS_APART;
        let until_ms = self.now_ms().saturating_add(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        let key = what.key();
        self.0.revoked.add(what, before, until_ms);
        let value = Bytes::from(before.to_string());
        self.0.store.kv().put(REVOKED, &key, value, When::Always, Some(lasts)).await?;
        self.0.revoked.written.send_modify(|number| *number += 1);
        Ok(())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

fn wall_ms() -> u64 {
    let since = clock::wall().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The secret of this store; made where there is none.
fn house_secret(store: &Store) -> Result<[u8; 32], OpenError> {
    let read = |held: &Held| <[u8; 32]>::try_from(&held.value[..]).map_err(|_| OpenError::Secret);
    if let Some(held) = store.kv().get(HOUSE, SECRET).wait().map_err(OpenError::Store)? {
        return read(&held);
    }
    let made = random::secret().map_err(OpenError::System)?;
    let put = store.kv().put(HOUSE, SECRET, Bytes::copy_from_slice(&made), When::Absent, None);
    match put.wait().map_err(OpenError::Store)? {
        Put::Done(_) => Ok(made),
        // Another machine was quicker.
        Put::Held(held) => held.as_ref().map_or(Err(OpenError::Secret), read),
    }
}
