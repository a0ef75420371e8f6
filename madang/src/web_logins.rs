//! Logins of the house, as routes of sites have to know them.
//!
//! **Job.** From what a request shows to a user and the user's roles. **Made by** `room`. **Called by** `roles/web` (sign-in).
//! **Calls** `madang_identity`.
//!
//! Not here: which roles a route wants (`roles/web/src/auth/login.rs`), whether a login is good (`engine/identity`).

use std::rc::Rc;

use madang_host::clock;
use madang_http::credential::{self, Shown as Credential};
use madang_identity::http::access_cookie;
use madang_identity::{Identity, Refused, Who};
use madang_web::login::{Logins, NotSignedIn, Shown, SignedIn};
use madang_wire::request::{RequestHead, Scheme};

/// Those of one worker.
pub struct WebLogins(Identity);

impl WebLogins {
    /// Those of this identity.
    pub fn of(identity: Option<&Identity>) -> Option<Rc<dyn Logins>> {
        identity.map(|identity| Rc::new(Self(identity.clone())) as Rc<dyn Logins>)
    }
}

impl Logins for WebLogins {
    fn look(&self, head: &RequestHead) -> Shown {
        let secure = head.scheme() == Scheme::Https;
        let token = match credential::shown(head, access_cookie(secure)) {
            Credential::Bearer(token) | Credential::Cookie(token) => token,
            Credential::Nothing => {
                let why = "no token, API key or cookie of a login".to_owned();
                return Shown::Nobody(NotSignedIn { status: 401, name: "sign-in-required", why });
            }
        };
        let now = clock::unix_seconds(clock::wall());
        match self.0.check(token, now) {
            Ok(who) => Shown::Known(known(&who)),
            // A key that was not shown lately: the store knows.
            Err(Refused::KeyUnknown) => {
                let (identity, key) = (self.0.clone(), token.to_owned());
                Shown::Ask(Box::pin(async move {
                    identity.identify(&key, now).await.map(|who| known(&who)).map_err(not)
                }))
            }
            Err(refused) => Shown::Nobody(not(refused)),
        }
    }
}

fn known(who: &Who) -> SignedIn {
    SignedIn { name: Rc::from(&*who.name), roles: who.roles.clone(), guest: who.is_guest() }
}

fn not(refused: Refused) -> NotSignedIn {
    NotSignedIn { status: refused.status(), name: refused.name(), why: refused.to_string() }
}
