//! Who somebody is: users, guests, passwords, tokens and keys; one login for every role.
//!
//! **Job.** From a password, a token or a key to a [`Who`], or to a refusal with a name. **Called by** the roles and `madang`.
//! **Calls** `store` for what is kept, `host` for threads, clock and randomness, aws-lc and argon2 for cryptography.
//!
//! ```no_run
//! # async fn shown(store: madang_store::Store, now: u64) -> Result<(), Box<dyn std::error::Error>> {
//! use madang_identity::Identity;
//! use madang_identity::config::IdentitySettings;
//!
//! let identity = Identity::open(&store, &IdentitySettings::default(), &[])?; // cheap to clone, from any thread
//! identity.add_user("민아", Some("correct horse"), &["moderator".to_owned()]).await?;
//!
//! let session = identity.login("민아", "correct horse", [192, 0, 2, 7].into()).await?;
//! let who = identity.check(&session.access, now)?; // no I/O: about 2 µs
//! assert!(who.has_role("moderator"));
//! # Ok(()) }
//! ```
//!
//! - [`Identity::check`], [`Identity::identify`]: who shows this token or key. [`Identity::still`]: may they stay.
//! - [`Identity::login`], [`Identity::login_once`], [`Identity::scram`], [`Identity::guest`]: coming in.
//! - [`Identity::refresh`], [`Identity::logout`], [`Identity::logout_everywhere`]: going on, and out.
//! - [`Identity::add_user`] and its neighbours, [`Identity::new_key`] and its: what an operator does.
//!
//! Decisions that can be pure are: how long a guesser waits (`guess`), what a refresh token means (`family`), claims (`claims`), SCRAM
//! (`scram`), signatures (`jose`).
//!
//! Not here: who may do what (roles), basic authentication of a route (`roles/web/src/auth`).
#![forbid(unsafe_code)]

mod access;
mod again;
mod api_key;
#[cfg(test)]
mod battery;
mod claims;
pub mod config;
mod desk;
mod family;
mod guess;
pub mod http;
mod identity;
mod issuer;
mod jose;
mod keep;
mod login;
mod manage;
mod metrics;
pub mod name;
mod password;
mod refused;
mod revoked;
mod scram;
mod session;
mod tries;
mod users;
mod who;

pub use self::api_key::{KEYS_MAX, KeyView, NewKey, PREFIX as KEY_PREFIX, WantedKey};
pub use self::identity::{Identity, OpenError};
pub use self::keep::{LOOK_EVERY, Tell};
pub use self::login::Scram;
pub use self::manage::PAGE_MAX;
pub use self::password::{PASSWORD_BYTES_MAX, PasswordError};
pub use self::refused::Refused;
pub use self::session::{SESSIONS_MAX, Session};
pub use self::tries::TryNews;
pub use self::users::{UserError, UserView};
pub use self::who::{UserId, Via, Who};
