//! Logins joined to the house: identity on the store, and what roles see of it.
//!
//! **Job.** Open identity when settings have to do with logins, renew it with them, keep it fresh on the control side; be the chat's
//! list of users. **Owned by** `house`. **Calls** `madang_identity`.
//!
//! Invariants
//! 1. Once open it stays so: a reload that takes all logins out of the settings leaves nobody in a connection that asks nobody.
//!
//! Not here: who somebody is (`engine/identity`), orders about users (`identity_orders`).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use madang_chat::here::Logins as KnowsTokens;
use madang_chat::hub::Directory;
use madang_chat::post::Claim;
use madang_chat::refusal::Refusal;
use madang_host::clock;
use madang_host::config::Level;
use madang_host::net::resolve::Resolver;
use madang_identity::http::access_cookie;
use madang_identity::{Identity, OpenError, Refused, Who};
use madang_store::Store;

use crate::config::Settings;
use crate::telemetry::Telemetry;

/// The role that may do everything in every chat.
const ADMIN: &str = "admin";

/// See the module.
#[derive(Default)]
pub struct Logins {
    identity: Option<Identity>,
}

impl Logins {
    /// Opens identity on this store, or renews it.
    pub async fn update(
        &mut self,
        store: &Store,
        settings: &Settings,
        telemetry: &Arc<Telemetry>,
    ) -> Result<(), OpenError> {
        if let Some(identity) = &self.identity {
            identity.renew(&settings.identity, &settings.issuers);
            return Ok(());
        }
        let (store, wanted, issuers) = (store.clone(), settings.identity.clone(), settings.issuers.clone());
        let opened = tokio::task::spawn_blocking(move || Identity::open(&store, &wanted, &issuers)).await;
        let broken = || OpenError::System(std::io::Error::other("opening broke off"));
        let identity = opened.unwrap_or_else(|_| Err(broken()))?;
        let telemetry = Arc::clone(telemetry);
        let tell = Box::new(move |bad: bool, sentence: &str| {
            let level = if bad { Level::Warn } else { Level::Info };
            telemetry.log.always(level, "identity", sentence);
        });
        let resolver = Resolver::new(settings.server.resolver.clone());
        tokio::task::spawn_local(identity.clone().keep(resolver, tell));
        self.identity = Some(identity);
        Ok(())
    }

    /// Who knows users; `None`: nothing here has to do with logins.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The same as chats have to know them.
    pub fn directory(&self) -> Option<Arc<dyn Directory>> {
        let identity = self.identity.clone()?;
        Some(Arc::new(Users(identity)))
    }
}

struct Users(Identity);

impl Directory for Users {
    fn find(&self, folded: &str) -> Pin<Box<dyn Future<Output = Option<Arc<str>>> + Send>> {
        let (identity, name) = (self.0.clone(), folded.to_owned());
        // A store that does not answer makes nobody a stranger: the chat asks it for the same room or guest next, and hears.
        Box::pin(async move { identity.user(&name).await.ok().map(|user| user.name.into()) })
    }
}

/// Tokens, as a chat on one worker has to know them.
pub struct ChatLogins(Identity);

impl ChatLogins {
    /// Those of this identity.
    pub fn of(identity: Option<&Identity>) -> Option<Rc<dyn KnowsTokens>> {
        identity.map(|identity| Rc::new(Self(identity.clone())) as Rc<dyn KnowsTokens>)
    }
}

impl KnowsTokens for ChatLogins {
    fn check(&self, token: &str) -> Result<Claim, Refusal> {
        let now = clock::unix_seconds(clock::wall());
        match self.0.check(token, now) {
            Ok(who) => Ok(claim(&who)),
            Err(Refused::TokenExpired { .. } | Refused::TokenRevoked) => Err(Refusal::TokenExpired),
            Err(_) => Err(Refusal::BadToken),
        }
    }

    fn cookie(&self, secure: bool) -> &'static str {
        access_cookie(secure)
    }
}

/// Somebody, as chats know people.
pub(crate) fn claim(who: &Who) -> Claim {
    if who.is_guest() {
        return Claim::Guest { name: who.name.to_string(), key: None, keeps: false };
    }
    Claim::User { name: who.handle(), admin: who.has_role(ADMIN) }
}
