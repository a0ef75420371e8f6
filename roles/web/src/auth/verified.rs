//! Passwords that were checked lately.
//!
//! **Job.** Spare a client that stays the cost of argon2 on every request. **Called by** `auth`.
//!
//! Invariants
//! 1. No password is kept: only a digest of hash and password under a key that this worker made for itself and that
//!    leaves it never. The digest is what is looked up, so how long a look takes tells nothing about a password.
//! 2. At most [`KEPT_MAX`] digests; none older than [`KEPT_FOR`]. A changed hash makes a new digest: the old password
//!    stops working with the reload.
//!
//! Not here: checking (`password`).

use std::cell::RefCell;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use hashbrown::HashMap;

/// Digests kept by one worker.
const KEPT_MAX: usize = 1024;
/// How long one is trusted.
const KEPT_FOR: Duration = Duration::from_secs(300);

type Digest = [u8; 32];

/// Digests of right passwords.
pub(crate) struct Verified {
    /// `None`: there was no randomness for a key. Then nothing is remembered and every request is checked.
    key: Option<hmac::Key>,
    until: RefCell<HashMap<Digest, Instant>>,
}

impl Verified {
    pub(crate) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self { key, until: RefCell::default() }
    }

    /// Whether this password was found right for this hash lately. A digest of a few hundred bytes: about 1 µs.
    pub(crate) fn knows(&self, hash: &str, password: &[u8], now: Instant) -> bool {
        let Some(digest) = self.digest(hash, password) else { return false };
        self.until.borrow().get(&digest).is_some_and(|until| now < *until)
    }

    /// Remembers a right password.
    pub(crate) fn remember(&self, hash: &str, password: &[u8], now: Instant) {
        let Some(digest) = self.digest(hash, password) else { return };
        let mut kept = self.until.borrow_mut();
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, until| now < *until);
        }
        if kept.len() >= KEPT_MAX {
            // More users at once than there is room for: begin anew rather than choose whom to forget.
            kept.clear();
        }
        kept.insert(digest, now + KEPT_FOR);
    }

    fn digest(&self, hash: &str, password: &[u8]) -> Option<Digest> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        context.update(hash.as_bytes());
        // No hash holds a NUL: where it ends and the password begins is certain.
        context.update(&[0]);
        context.update(password);
        context.sign().as_ref().try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use madang_host::clock;

    // Goal: exactly the pair that was remembered is known, and only for its time.
    #[test]
    fn only_what_was_remembered_is_known() {
        let (verified, now) = (Verified::new(), clock::now());
        verified.remember("hash", b"secret", now);
        check(&verified, "hash", b"secret", now, true);
        check(&verified, "hash", b"secret", now + KEPT_FOR - Duration::from_secs(1), true);
        check(&verified, "hash", b"secret", now + KEPT_FOR, false);
        check(&verified, "hash", b"secrets", now, false);
        check(&verified, "hashs", b"ecret", now, false);
        check(&verified, "other", b"secret", now, false);

        #[track_caller]
        fn check(verified: &Verified, hash: &str, password: &[u8], now: Instant, want: bool) {
            assert_eq!(verified.knows(hash, password, now), want);
        }
    }

    // Goal: any number of users leaves a bounded number of digests, and the newest is among them.
    #[test]
    fn the_number_of_digests_is_bounded() {
        let (verified, now) = (Verified::new(), clock::now());
        for user in 0..KEPT_MAX * 2 + 10 {
            verified.remember(&user.to_string(), b"secret", now);
        }
        assert!(verified.until.borrow().len() <= KEPT_MAX);
        assert!(verified.knows(&(KEPT_MAX * 2 + 9).to_string(), b"secret", now));
    }
}
