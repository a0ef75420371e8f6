//! Password hashes: argon2id (RFC 9106) as PHC strings.
//!
//! **Job.** Make a hash for `auth.users`. **Called by** `madang hash`. Not here: checking logins (`auth`).

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;

/// The hash of a password, with a random salt and the defaults of RFC 9106's second choice (19 MiB, 2 passes).
///
/// # Errors
/// A sentence, when the system gives no random bytes.
pub fn hash_password(password: &str) -> Result<String, String> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| format!("cannot make a hash: {error}"))
}
