//! Tokens of others: JSON Web Tokens that an outside issuer signed.
//!
//! **Job.** From a token to somebody, by the issuer's rules and keys as they are now. **Called by** `identity`. **Calls** `jose`,
//! `claims`. No I/O: keys are put in by `keep`.
//!
//! Invariants
//! 1. Which issuer a token belongs to is read from it before its signature is checked, and decides nothing but whose keys it is
//!    checked by: only one issuer's, and only by the algorithm of the key.
//! 2. Keys that were read stay in use until newer ones are read: an issuer that is down locks nobody out.
//!
//! Not here: reading keys (`keep`), our own tokens (`access`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde_json::{Map, Value};

use crate::again::Again;
use crate::claims;
use crate::config::{IssuerSettings, KeySource};
use crate::jose::key::Key;
use crate::jose::key_set::KeySet;
use crate::jose::{self, Parts};
use crate::refused::Refused;
use crate::users::ROLES_MAX;
use crate::who::{UserId, Via, Who};

/// The longest name that is shown, in characters.
const NAME_CHARS_MAX: usize = 64;

/// An issuer with its keys.
pub(crate) struct Issuer {
    pub(crate) settings: Arc<IssuerSettings>,
    keys: RwLock<Option<Arc<KeySet>>>,
    /// Tokens that named a key we do not have: each is a reason to read keys anew.
    pub(crate) misses: AtomicU64,
    /// Whether the last reading failed.
    pub(crate) failing: AtomicBool,
    again: Mutex<Again>,
}

impl Issuer {
    pub(crate) fn new(settings: Arc<IssuerSettings>) -> Self {
        let keys = match &settings.source {
            KeySource::Secret(secret) => Key::secret(secret).map(KeySet::of_secret),
            KeySource::Url { .. } | KeySource::File(_) => None,
        };
        Self {
            settings,
            keys: RwLock::new(keys.map(Arc::new)),
            misses: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            again: Mutex::default(),
        }
    }

    /// The same issuer under new settings: keys from the same source stay.
    pub(crate) fn renewed(settings: Arc<IssuerSettings>, before: Option<&Self>) -> Self {
        let new = Self::new(settings);
        if let Some(before) = before {
            let kept = before.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
            *new.keys.write().unwrap_or_else(PoisonError::into_inner) = kept;
        }
        new
    }

    /// When keys are read the next time.
    pub(crate) fn again(&self) -> MutexGuard<'_, Again> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keys that were read just now.
    pub(crate) fn set_keys(&self, keys: KeySet) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
    }

    /// How many keys there are; for metrics.
    pub(crate) fn keys(&self) -> usize {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |keys| keys.len())
    }

    fn check(&self, parts: &Parts<'_>, said: Map<String, Value>, now: u64) -> Result<Who, Refused> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let keys = keys.ok_or(Refused::TokenNoKeys)?;
        let key = keys.find(parts.kid.as_deref(), parts.algorithm).inspect_err(|refused| {
            if *refused == Refused::TokenUnknownKey {
                self.misses.fetch_add(1, Ordering::Relaxed);
            }
        })?;
        key.verify(parts)?;
        let claims = claims::check(said, &self.settings.rules, now)?;
        let settings = &*self.settings;
        let name = shown(&claims.all, &settings.name_claim, &claims.subject);
        Ok(Who {
            user: Some(UserId::outside(&settings.name, &claims.subject)),
            guest: None,
            name: if settings.plain_names { name.into() } else { format!("{name}@{}", settings.name).into() },
            roles: roles(&claims.all, settings.roles_claim.as_deref()).into(),
            claims: Arc::new(claims.all),
            via: Via::Outside(Arc::clone(&settings.name)),
            session: None,
            until: claims.expires.saturating_add(settings.rules.skew_s),
            generation: 0,
        })
    }
}

/// Whom a token of one of these issuers is of. Ed25519 and ES256 take some 50 µs, RS256 about 20, HS256 2.
pub(crate) fn check(issuers: &[Issuer], token: &str, now: u64) -> Result<Who, Refused> {
    let parts = jose::read(token)?;
    let said = claims::read(&parts.payload)?;
    let iss = match said.get("iss") {
        None => None,
        Some(Value::String(iss)) => Some(iss.as_str()),
        Some(_) => return Err(Refused::TokenClaim { claim: "iss" }),
    };
    let issuer = issuers.iter().find(|issuer| issuer.settings.issuer.as_deref() == iss);
    issuer.ok_or(Refused::TokenUnknownIssuer)?.check(&parts, said, now)
}

/// A name without anything that could move the cursor, end a line or look like markup of a protocol.
fn shown(all: &Map<String, Value>, claim: &str, subject: &str) -> String {
    let text = |claim: &str| all.get(claim).and_then(Value::as_str);
    let found = [text(claim), text("preferred_username"), Some(subject)].into_iter().flatten();
    let clean = |name: &str| -> String {
        let plain = |letter: char| match letter {
            letter if letter.is_whitespace() => Some('_'),
            letter if letter.is_alphanumeric() || "-_.'".contains(letter) => Some(letter),
            _ => None,
        };
        name.trim().chars().filter_map(plain).take(NAME_CHARS_MAX).collect()
    };
    let name = found.map(clean).find(|name| !name.is_empty());
    match name {
        // Not even an issuer makes somebody look like a guest.
        Some(name) if !name.to_lowercase().starts_with(crate::name::GUEST) => name,
        _ => "user".to_owned(),
    }
}

fn roles(all: &Map<String, Value>, claim: Option<&str>) -> Vec<String> {
    let Some(value) = claim.and_then(|claim| all.get(claim)) else { return Vec::new() };
    let mut roles: Vec<String> = match value {
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    roles.truncate(ROLES_MAX);
    roles
}

#[cfg(test)]
mod tests;
