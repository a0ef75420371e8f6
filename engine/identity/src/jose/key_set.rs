//! A set of keys as issuers publish it (JWK Set, RFC 7517).
//!
//! **Job.** Text to keys, and the one key a token means. **Called by** `issuer`. Pure.
//!
//! Keys that we cannot use (other curves, for encryption, private) are passed over and counted: issuers publish for everybody.
//!
//! Invariants
//! 1. A set has at most [`KEYS_MAX`] keys; no secret (`oct`) is taken from a set, which is something public.
//! 2. Without a `kid` a token means a key only where there is exactly one for its algorithm.
//!
//! Not here: where sets come from (`issuer`, `fetch`).

use std::fmt;

use serde::Deserialize;

use super::key::Key;
use super::{Algorithm, decode};
use crate::refused::Refused;

/// Keys of one set.
pub(crate) const KEYS_MAX: usize = 64;
/// The longest text of a set, in bytes.
pub(crate) const SET_BYTES_MAX: u64 = 256 * 1024;

/// Keys by name.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<(Option<String>, Key)>,
    /// Keys that cannot be used.
    pub(crate) passed_over: usize,
}

/// Why a text is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySetError {
    Malformed,
    TooMany { keys: usize },
    NoneOfUse { passed_over: usize },
}

impl fmt::Display for KeySetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("not a JWK Set ({\"keys\": [...]}, RFC 7517)"),
            Self::TooMany { keys } => write!(f, "{keys} keys; at most {KEYS_MAX} are taken"),
            Self::NoneOfUse { passed_over } => {
                write!(f, "none of its {passed_over} keys is for RS256 (2048 bits or more), ES256 or EdDSA")
            }
        }
    }
}

#[derive(Deserialize)]
struct Written {
    keys: Vec<WrittenKey>,
}

#[derive(Deserialize)]
struct WrittenKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl WrittenKey {
    fn key(&self) -> Option<Key> {
        let for_checking = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_checking {
            return None;
        }
        let part = |text: &Option<String>| text.as_deref().and_then(decode);
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Key::rsa(part(&self.n)?, part(&self.e)?),
            ("EC", Some("P-256")) => Key::p256(&part(&self.x)?, &part(&self.y)?),
            ("OKP", Some("Ed25519")) => Key::ed25519(&part(&self.x)?),
            _ => None,
        }?;
        let meant = self.alg.as_deref().is_none_or(|alg| Algorithm::named(alg) == Some(key.algorithm()));
        meant.then_some(key)
    }
}

impl KeySet {
    /// One secret.
    pub(crate) fn of_secret(key: Key) -> Self {
        Self { keys: vec![(None, key)], passed_over: 0 }
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let written: Written = serde_json::from_slice(text).map_err(|_| KeySetError::Malformed)?;
        if written.keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany { keys: written.keys.len() });
        }
        let mut set = Self::default();
        for one in written.keys {
            match one.key() {
                Some(key) => set.keys.push((one.kid, key)),
                None => set.passed_over += 1,
            }
        }
        if set.keys.is_empty() {
            return Err(KeySetError::NoneOfUse { passed_over: set.passed_over });
        }
        Ok(set)
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key that a token means.
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, Refused> {
        // A secret from the settings has no name; whatever the token calls it, there is only this one.
        if let [(None, key)] = &self.keys[..] {
            return if key.algorithm() == algorithm { Ok(key) } else { Err(Refused::TokenAlgorithm) };
        }
        let mut named = self
            .keys
            .iter()
            .filter(|(have, _)| kid.is_none_or(|kid| have.as_deref() == Some(kid)))
            .map(|(_, key)| key)
            .peekable();
        if named.peek().is_none() {
            return Err(Refused::TokenUnknownKey);
        }
        let mut fitting = named.filter(|key| key.algorithm() == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(Refused::TokenUnknownKey),
            (None, _) => Err(Refused::TokenAlgorithm),
        }
    }
}
