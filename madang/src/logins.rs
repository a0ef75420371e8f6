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

use madang_bus::Bus;
use madang_chat::here::Logins as KnowsTokens;
use madang_chat::hub::Directory;
use madang_chat::login::{Asked, Held, Login};
use madang_chat::post::Claim;
use madang_chat::refusal::Refusal;
use madang_host::clock;
use madang_host::config::Level;
use madang_host::net::resolve::Resolver;
use madang_http::body::LocalFuture;
use madang_identity::http::access_cookie;
use madang_identity::{Identity, OpenError, Refused, Who};
use madang_store::Store;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::logins_across;
use crate::telemetry::Telemetry;

/// The role that may do everything in every chat.
const ADMIN: &str = "admin";

/// See the module.
#[derive(Default)]
pub struct Logins {
    identity: Option<Identity>,
    /// What is told to other machines, while there is a way to them.
    across: Option<JoinHandle<()>>,
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

    /// The way to other machines, from now on; `None`: it ends.
    pub fn share(&mut self, bus: Option<&Bus>) {
        match (bus, &self.identity) {
            (Some(bus), Some(identity)) if self.across.is_none() => {
                let sharing = logins_across::share(identity.clone(), bus.clone());
                self.across = Some(tokio::task::spawn_local(sharing));
            }
            (Some(_), _) => {}
            (None, _) => self.across.take().iter().for_each(JoinHandle::abort),
        }
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

    fn revoked(&self) -> watch::Receiver<u64> {
        self.0.revocations()
    }

    fn doubted(&self) -> watch::Receiver<u64> {
        self.0.doubts()
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
        told(&self.0, self.0.check(token, clock::unix_seconds(clock::wall())))
    }

    fn ask(&self, token: &str) -> LocalFuture<Result<Claim, Refusal>> {
        let (identity, token) = (self.0.clone(), token.to_owned());
        Box::pin(async move {
            let found = identity.identify(&token, clock::unix_seconds(clock::wall())).await;
            told(&identity, found)
        })
    }

    fn cookie(&self, secure: bool) -> &'static str {
        access_cookie(secure)
    }
}

/// What comes of a token, as chats tell it.
fn told(identity: &Identity, found: Result<Who, Refused>) -> Result<Claim, Refusal> {
    match found {
        Ok(who) => Ok(claim(identity, who)),
        Err(Refused::TokenExpired { .. } | Refused::TokenRevoked | Refused::KeyExpired) => {
            Err(Refusal::TokenExpired)
        }
        Err(Refused::Store(error)) => Err(Refusal::Store(error)),
        Err(_) => Err(Refusal::BadToken),
    }
}

/// Somebody, as chats know people.
pub(crate) fn claim(identity: &Identity, who: Who) -> Claim {
    if who.is_guest() {
        return Claim::Guest { name: who.name.to_string(), key: None, keeps: false };
    }
    let (name, admin) = (who.handle(), who.has_role(ADMIN));
    Claim::User { name, admin, login: Some(Held::new(StillIn { identity: identity.clone(), who })) }
}

/// Somebody who came in, to be asked for again.
struct StillIn {
    identity: Identity,
    who: Who,
}

impl Login for StillIn {
    fn holds(&self) -> bool {
        self.identity.still(&self.who).is_ok()
    }

    fn asked(&self) -> Asked {
        let (identity, who) = (self.identity.clone(), self.who.clone());
        Box::pin(async move { !matches!(identity.still_by_store(&who).await, Err(Refused::TokenRevoked)) })
    }
}
