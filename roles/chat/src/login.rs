//! By what a user is here, as far as a chat has to know it: whether it still holds.
//!
//! **Job.** Carry a login from whoever checked it to the hub, and ask it again later. **Made by** `madang` (logins), with every
//! [`crate::post::Claim::User`]. **Called by** `hub`.
//!
//! Invariants
//! 1. Nothing of a token or password is in it.
//!
//! Not here: when it is asked (`hub/logins`), tokens and passwords (`engine/identity`).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The answer of whoever keeps users, when it comes.
pub type Asked = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A login that was found good once.
pub trait Login: Send + Sync {
    /// Whether it was not taken back, as far as this machine has heard. Waits for nobody.
    fn holds(&self) -> bool;
    /// The same, asked of the store: for the time in which this machine could hear nothing. Whoever cannot be asked takes nothing
    /// back.
    fn asked(&self) -> Asked;
}

/// A login, shared by a claim and the connection that came by it.
#[derive(Clone)]
pub struct Held(Arc<dyn Login>);

impl Held {
    /// This one.
    pub fn new(login: impl Login + 'static) -> Self {
        Self(Arc::new(login))
    }

    /// As [`Login::holds`].
    pub fn holds(&self) -> bool {
        self.0.holds()
    }

    /// As [`Login::asked`].
    pub fn asked(&self) -> Asked {
        self.0.asked()
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl Eq for Held {}
impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}
