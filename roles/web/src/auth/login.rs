//! Routes for people with a login of this house, some of them by role.
//!
//! **Job.** From what a request shows (a token, a key, a cookie) to a user with the roles that the route wants, or to a named refusal.
//! **Reads** a route's `auth`. **Called by** `phases` (authorise). **Calls** whoever knows logins ([`Logins`], joined by `madang`).
//!
//! Invariants
//! 1. Nobody signed in is 401, somebody who may not is 403: a browser asks for a login at the first, and at the second it would not help.
//! 2. A token or key that was shown is taken out before another server sees the request: it would be that user there.
//!
//! Not here: whether a login is good (`engine/identity`), names and passwords of a route's own (`auth`).

use std::rc::Rc;
use std::sync::Arc;

use madang_http::body::LocalFuture;
use madang_wire::request::RequestHead;

use crate::config;
use crate::verdict::{Blame, Failure};

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// As shown.
    pub name: Rc<str>,
    /// What the user may be taken for.
    pub roles: Arc<[String]>,
    /// Nobody vouches for the name.
    pub guest: bool,
}

/// Why nobody is signed in.
#[derive(Debug, Clone)]
pub struct NotSignedIn {
    /// The status to answer with: 401, or 503 where it could not be found out.
    pub status: u16,
    /// A stable kebab-case name.
    pub name: &'static str,
    /// One sentence for the log.
    pub why: String,
}

/// What the quick look at a request says.
pub enum Shown {
    /// This one.
    Known(SignedIn),
    /// Nobody.
    Nobody(NotSignedIn),
    /// The store has to be asked: an API key that was not shown lately.
    Ask(LocalFuture<Result<SignedIn, NotSignedIn>>),
}

/// Who knows the logins of this house.
pub trait Logins {
    /// Who a request shows to be. Waits for nobody.
    fn look(&self, head: &RequestHead) -> Shown;
}

/// What `www-authenticate` says of a route that wants a login (RFC 6750 3).
pub(crate) const CHALLENGE: &str = "Bearer";

/// Whether somebody who is signed in may use a route of this rule.
///
/// # Errors
/// 403, with a name of its own for guests.
pub(crate) fn admit(rule: &config::LoginRule, who: &SignedIn) -> Result<(), Failure> {
    if who.guest {
        let why = "a guest, and the route is for users";
        return Err(Failure::new(403, Blame::Client, "users-only", why));
    }
    if rule.roles.is_empty() || rule.roles.iter().any(|role| who.roles.contains(role)) {
        return Ok(());
    }
    let why = format!("{} has none of the roles {}", who.name, rule.roles.join(", "));
    Err(Failure::new(403, Blame::Client, "role-missing", why))
}

/// Nobody is signed in.
pub(crate) fn refused(not: NotSignedIn) -> Failure {
    let blame = if not.status == 401 { Blame::Client } else { Blame::Us };
    Failure::new(not.status, blame, not.name, not.why)
}

/// There are no logins at all: settings see to it that this does not happen.
pub(crate) fn nobody_knows() -> Failure {
    Failure::new(503, Blame::Us, "users-unavailable", "logins are not open")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: one of the roles is enough, none of them is not, without roles every user may, and a guest never.
    #[test]
    fn one_of_the_roles_is_enough() {
        check(&[], &[], false, Ok(()));
        check(&[], &["x"], false, Ok(()));
        check(&["admin"], &["moderator", "admin"], false, Ok(()));
        check(&["admin", "staff"], &["staff"], false, Ok(()));
        check(&["admin"], &["administrator"], false, Err("role-missing"));
        check(&["admin"], &[], false, Err("role-missing"));
        check(&[], &[], true, Err("users-only"));
        check(&["admin"], &["admin"], true, Err("users-only"));

        #[track_caller]
        fn check(wanted: &[&str], has: &[&str], guest: bool, want: Result<(), &str>) {
            let list = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>();
            let who = SignedIn { name: "mina".into(), roles: list(has).into(), guest };
            let got = admit(&config::LoginRule { roles: list(wanted) }, &who);
            assert_eq!(got.as_ref().map_err(|failure| failure.name), want.as_ref().map_err(|name| *name));
        }
    }
}
