//! Passwords: their one form, argon2id hashes of them, and checking.
//!
//! **Job.** The slow and memory-hungry part of a login, as plain functions. **Called by** `sessions`, `users` on the hashing
//! threads (`desk`). **Calls** argon2.
//!
//! Invariants
//! 1. A password is compared in the form of SASLprep (RFC 4013) where it has one, so that the keyboard it was typed on makes no
//!    difference; else byte by byte.
//! 2. No password is in an error, a `Debug` or a log.
//!
//! Not here: how many at once (`desk`), whose it is (`users`).

use std::borrow::Cow;
use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

/// The longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// What one check costs (RFC 9106; one lane).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB. 8 MiB to 1 GiB by the settings, default 19 MiB.
    pub memory_kib: u32,
    /// Passes over it. 1 to 64, default 2.
    pub passes: u32,
}

/// Why a text cannot be a password here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordError {
    /// Fewer characters than the settings ask for.
    TooShort {
        /// As many are needed.
        chars_min: usize,
    },
    /// More than [`PASSWORD_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { chars_min } => write!(f, "a password has at least {chars_min} characters"),
            Self::TooLong => write!(f, "a password has at most {PASSWORD_BYTES_MAX} bytes"),
        }
    }
}
impl std::error::Error for PasswordError {}

/// A password in its one form; shows itself nowhere.
#[derive(Clone)]
pub(crate) struct Password(Box<str>);

impl Password {
    /// As it was typed. `None`: longer than any password is.
    pub(crate) fn typed(written: &str) -> Option<Self> {
        if written.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        // What SASLprep refuses (a new emoji, say) is a password all the same: as PostgreSQL and others have it.
        let form = stringprep::saslprep(written).unwrap_or(Cow::Borrowed(written));
        Some(Self(form.into()))
    }

    /// One that a user may have from now on.
    pub(crate) fn chosen(written: &str, chars_min: usize) -> Result<Self, PasswordError> {
        let password = Self::typed(written).ok_or(PasswordError::TooLong)?;
        if password.0.chars().count() < chars_min {
            return Err(PasswordError::TooShort { chars_min });
        }
        Ok(password)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

fn argon2(cost: Cost) -> Option<Argon2<'static>> {
    let params = Params::new(cost.memory_kib, cost.passes, 1, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// An argon2id hash as a PHC string. `None`: no randomness or no memory.
pub(crate) fn hash(password: &Password, cost: Cost) -> Option<String> {
    let hash: PasswordHash = argon2(cost)?.hash_password(password.bytes()).ok()?;
    Some(hash.to_string())
}

/// Whether it is the password of this hash, whose own parameters count.
pub(crate) fn is_right(hash: &str, password: &Password) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.bytes(), &hash).is_ok())
}

/// Whether the hash was made at another cost than is wanted now.
pub(crate) fn is_outdated(hash: &str, cost: Cost) -> bool {
    let made = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok());
    made.is_none_or(|made| made.m_cost() != cost.memory_kib || made.t_cost() != cost.passes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What keeps tests quick.
    pub(crate) const CHEAP: Cost = Cost { memory_kib: 8, passes: 1 };

    // Goal: a hash knows its password however it was typed, and no other; twice the same password gives two hashes.
    #[test]
    fn a_hash_knows_its_password() {
        let typed = |written: &str| Password::typed(written).unwrap();
        let (one, two) =
            (hash(&typed("caf\u{e9} 123"), CHEAP).unwrap(), hash(&typed("caf\u{e9} 123"), CHEAP).unwrap());
        assert_ne!(one, two);
        assert!(one.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{one}");
        check(&one, "caf\u{e9} 123", true);
        check(&two, "cafe\u{301} 123", true);
        check(&one, "caf\u{e9}\u{a0}123", true);
        check(&one, "cafe 123", false);
        check(&one, "", false);
        check("no hash", "caf\u{e9} 123", false);
        let new = "🫨 is newer than SASLprep";
        check(&hash(&typed(new), CHEAP).unwrap(), new, true);

        #[track_caller]
        fn check(hash: &str, written: &str, want: bool) {
            assert_eq!(is_right(hash, &Password::typed(written).unwrap()), want, "{written}");
        }
    }

    #[test]
    fn a_hash_of_another_cost_is_outdated() {
        let made = hash(&Password::typed("secret").unwrap(), CHEAP).unwrap();
        assert!(!is_outdated(&made, CHEAP));
        assert!(is_outdated(&made, Cost { passes: 2, ..CHEAP }));
        assert!(is_outdated(&made, Cost { memory_kib: 16, ..CHEAP }));
        assert!(is_outdated("no hash", CHEAP));
    }

    #[test]
    fn lengths_are_told_with_their_bound_and_nothing_shows_the_password() {
        check("1234567", Err("a password has at least 8 characters"));
        check("비밀번호는길다네", Ok(()));
        check(&"x".repeat(257), Err("a password has at most 256 bytes"));
        check(&"x".repeat(256), Ok(()));
        assert_eq!(format!("{:?}", Password::typed("secret")), "Some(Password(…))");

        #[track_caller]
        fn check(written: &str, want: Result<(), &str>) {
            let got = Password::chosen(written, 8).map(|_| ()).map_err(|error| error.to_string());
            assert_eq!(got, want.map_err(str::to_owned));
        }
    }
}
