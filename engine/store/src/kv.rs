//! Key-value: small values by name, with versions, expiry and counters.
//!
//! **Job.** Say what it does; check keys and values before a database sees them. **Done by** `sqlite`, `postgres`.
//! **Called by** roles: sessions, limits, read markers, settings of users.
//!
//! Invariants
//! 1. A version is given once in a store's life: a value that was deleted and made again never has an old version.
//! 2. An expired value is never given back, whether it is swept yet or not.
//!
//! Not here: data with relations (`tables`), history (`log`).

use std::time::Duration;

use bytes::Bytes;

use crate::answer::Answer;
use crate::error::StoreError;
use crate::log::{no_nul, within};

/// A namespace is at most this long, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 64;
/// A key is at most this long, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// A value is at most this long, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// One scan gives at most so many.
pub const SCAN_MAX: usize = 1000;

/// A value that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// As it was put; a counter is its decimal digits.
    pub value: Bytes,
    /// Changes with every write.
    pub version: u64,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

/// On which condition to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// On none.
    #[default]
    Always,
    /// There is no value.
    Absent,
    /// The value still has this version.
    Version(u64),
}

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// Written; this is its version. For a deletion 0.
    Done(u64),
    /// The condition did not hold: this is there. Nothing was written.
    Held(Option<Held>),
}

/// What a counter stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// After the addition.
    pub value: i64,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

/// Values by namespace and key.
pub trait KeyValue: Send + Sync {
    /// The value, if there is one.
    fn get(&self, namespace: &str, key: &str) -> Answer<Option<Held>>;
    /// Writes a value that ends after `lasts`, or never. Compare-and-set by [`When`].
    fn put(
        &self,
        namespace: &str,
        key: &str,
        value: Bytes,
        when: When,
        lasts: Option<Duration>,
    ) -> Answer<Put>;
    /// Deletes a value. Deleting what is not there is done, unless a version was asked for.
    fn delete(&self, namespace: &str, key: &str, when: When) -> Answer<Put>;
    /// Values whose keys begin with `prefix` and come after `after`, in the order of bytes.
    fn scan(
        &self,
        namespace: &str,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Answer<Vec<(String, Held)>>;
    /// Adds to a counter; one that is not there begins at 0 and ends after `lasts`.
    ///
    /// # Errors
    /// [`StoreError::NoCounter`]
    fn add(&self, namespace: &str, key: &str, more: i64, lasts: Option<Duration>) -> Answer<Count>;
}

/// Both have a form that every database keeps.
pub(crate) fn check(namespace: &str, key: &str) -> Result<(), StoreError> {
    if namespace.is_empty() {
        return Err(StoreError::Invalid { what: "a namespace", must: "1 to 64 bytes long" });
    }
    within("a namespace's bytes", namespace.len(), NAMESPACE_BYTES_MAX)?;
    within("a key's bytes", key.len(), KEY_BYTES_MAX)?;
    no_nul(namespace)?;
    no_nul(key)
}

pub(crate) fn check_value(value: &Bytes) -> Result<(), StoreError> {
    within("a value's bytes", value.len(), VALUE_BYTES_MAX)
}

/// The sum a counter has after an addition; its value must be a number.
pub(crate) fn sum(value: &[u8], more: i64) -> Result<i64, StoreError> {
    let now: Option<i64> = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    now.and_then(|now| now.checked_add(more)).ok_or(StoreError::NoCounter)
}

/// When something that lasts so long from `now_ms` ends.
pub(crate) fn end(now_ms: u64, lasts: Option<Duration>) -> Option<u64> {
    lasts.map(|lasts| now_ms.saturating_add(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX)).min(MS_MAX))
}

/// The latest moment a database keeps: its integers are signed.
const MS_MAX: u64 = i64::MAX as u64;
