//! Numbers as databases keep them.
//!
//! **Job.** Between our unsigned numbers and the signed ones of SQLite and PostgreSQL; new epochs.
//! **Called by** `sqlite`, `postgres`. Not here: limits (`log`, `kv`).

use madang_host::random;

/// Nothing here comes near the difference.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A negative number is none of ours.
pub(crate) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// An epoch that no other life of the stream had: 1..2^53, so that every JSON reader keeps it whole.
pub(crate) fn new_epoch() -> u64 {
    (random::seed() >> 11).max(1)
}
