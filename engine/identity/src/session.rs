//! Sessions: what a login gives, and how it goes on and ends.
//!
//! **Job.** Begin a session, turn its refresh token, end one or all. **Called by** `login`, the HTTP face. **Calls** `family`, `store`.
//!
//! Invariants
//! 1. A session that is over gives no token any more, and its access tokens are revoked at once.
//! 2. A user has at most [`SESSIONS_MAX`] sessions; one more ends the one that was used least lately.
//!
//! Not here: what presenting a token means (`family`).

use std::fmt;
use std::time::Duration;

use madang_store::kv::{Put, When};

use crate::api_key;
use crate::config::IdentitySettings;
use crate::family::{self, Family, Lasts, Named, Presented};
use crate::identity::Identity;
use crate::login::random_bytes;
use crate::metrics::Numbers;
use crate::name::Name;
use crate::refused::Refused;
use crate::revoked::What;
use crate::users::{self, Record, UserError};
use crate::who::{Via, Who};

/// Where sessions are, by `user/family`.
const SESSIONS: &str = "identity.session";
/// Sessions of one user.
pub const SESSIONS_MAX: usize = 100;
/// Attempts at turning one family while others turn it.
const ATTEMPTS_MAX: usize = 4;

/// What a login gives.
#[derive(Clone)]
pub struct Session {
    /// The access token, good until [`Who::until`].
    pub access: String,
    /// The refresh token, good once. `None` for guests.
    pub refresh: Option<String>,
    /// When the session is over if nobody refreshes it, in seconds since 1970.
    pub refresh_until: u64,
    /// Whose it is.
    pub who: Who,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("who", &self.who).finish_non_exhaustive()
    }
}

impl Identity {
    /// A session for somebody whose password was right.
    pub(crate) async fn begin_session(&self, record: &Record) -> Result<Session, Refused> {
        self.make_room(record.number).await?;
        let now = self.now();
        let id = family::id(random_bytes()?);
        let family = Family {
            name: Name::parse(&record.name)
                .map_or_else(|_| record.name.clone(), |name| name.key().to_owned()),
            generation: record.generation,
            place: 1,
            turned: now,
            made: now,
        };
        let key = format!("{}/{id}", record.number);
        self.keep_family(&key, &family, When::Absent).await?;
        self.session_of(record, &id, &family)
    }

    fn session_of(&self, record: &Record, id: &str, family: &Family) -> Result<Session, Refused> {
        let who = Who { session: Some(id.into()), ..self.who(record, Via::Session) };
        let named = Named { family: id.to_owned(), user: record.number, place: family.place };
        let refresh = family::write(self.0.signer.refresh(), &named).ok_or(Refused::RefreshUnknown)?;
        Ok(Session {
            access: self.0.signer.write(&who, self.now()),
            refresh: Some(refresh),
            refresh_until: family.ends(lasts(&self.settings().identity)),
            who,
        })
    }

    async fn keep_family(&self, key: &str, family: &Family, when: When) -> Result<bool, Refused> {
        let left = family.ends(lasts(&self.settings().identity)).saturating_sub(self.now());
        let kept = Some(Duration::from_secs(left.max(1)));
        let put = self.0.store.kv().put(SESSIONS, key, users::text(family), when, kept).await?;
        Ok(matches!(put, Put::Done(_)))
    }

    /// The next tokens of a session.
    ///
    /// # Errors
    /// [`Refused::RefreshUnknown`], [`Refused::RefreshReused`] (the session is ended), [`Refused::SessionOver`], [`Refused::Store`].
    pub async fn refresh(&self, token: &str) -> Result<Session, Refused> {
        let named = family::read(self.0.signer.refresh(), token).ok_or(Refused::RefreshUnknown)?;
        let key = format!("{}/{}", named.user, named.family);
        for _ in 0..ATTEMPTS_MAX {
            let Some(held) = self.0.store.kv().get(SESSIONS, &key).await? else {
                return Err(Refused::SessionOver);
            };
            let family: Family =
                serde_json::from_slice(&held.value).map_err(|_| users::broken("a session"))?;
            let record = self.0.users.find(&family.name).await?;
            let same = |user: &Record| {
                user.number == named.user && user.generation == family.generation && !user.disabled
            };
            let Some(record) = record.filter(same) else {
                self.end_session(named.user, &named.family).await?;
                return Err(Refused::SessionOver);
            };
            match family.presented(named.place, lasts(&self.settings().identity), self.now()) {
                Presented::Over => {
                    self.end_session(named.user, &named.family).await?;
                    return Err(Refused::SessionOver);
                }
                Presented::Reused => {
                    Numbers::one(&self.0.numbers.reused);
                    self.end_session(named.user, &named.family).await?;
                    return Err(Refused::RefreshReused);
                }
                Presented::JustBefore => return self.session_of(&record, &named.family, &family),
                Presented::Newest => {
                    let next = family.turn(self.now());
                    if self.keep_family(&key, &next, When::Version(held.version)).await? {
                        return self.session_of(&record, &named.family, &next);
                    }
                    // Somebody else turned it: this token is the one just before now.
                }
            }
        }
        Err(Refused::SessionOver)
    }

    /// Ends the session that somebody came by. Nothing for guests and keys.
    ///
    /// # Errors
    /// [`Refused::Store`]: it is ended here, but other machines may not know.
    pub async fn logout(&self, who: &Who) -> Result<(), Refused> {
        match (&who.user, &who.session) {
            (Some(user), Some(session)) => {
                let Ok(number) = user.as_str().parse() else { return Ok(()) };
                self.end_session(number, session).await
            }
            _ => Ok(()),
        }
    }

    /// Ends the session of a refresh token, whether it is the newest or not.
    ///
    /// # Errors
    /// [`Refused::RefreshUnknown`], [`Refused::Store`].
    pub async fn logout_by_refresh(&self, token: &str) -> Result<(), Refused> {
        let named = family::read(self.0.signer.refresh(), token).ok_or(Refused::RefreshUnknown)?;
        self.end_session(named.user, &named.family).await
    }

    /// As [`Identity::still`], asked of the store: for who may not have heard of a revocation while it was there.
    ///
    /// # Errors
    /// [`Refused::TokenRevoked`]; [`Refused::Store`]: it could not be asked.
    pub async fn still_by_store(&self, who: &Who) -> Result<(), Refused> {
        self.still(who)?;
        let Some(number) = who.user.as_ref().and_then(|user| user.as_str().parse::<u64>().ok()) else {
            // Guests and users of others are revoked nowhere.
            return Ok(());
        };
        let name = Name::parse(&who.name).map_err(|_| Refused::TokenRevoked)?;
        let record = self.0.users.find(name.key()).await?;
        let same =
            |user: &Record| user.number == number && user.generation == who.generation && !user.disabled;
        let mut is_good = record.as_ref().is_some_and(same);
        if let Some(family) = &who.session {
            is_good &= self.0.store.kv().get(SESSIONS, &format!("{number}/{family}")).await?.is_some();
        }
        if let Via::Key(find) = &who.via {
            is_good &= api_key::is_kept(self, find).await?;
        }
        if is_good { Ok(()) } else { Err(Refused::TokenRevoked) }
    }

    /// Ends every session of a user, everywhere.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`], the store's.
    pub async fn logout_everywhere(&self, name: &str) -> Result<(), UserError> {
        let name = Name::parse(name)?;
        let record = self.0.users.change(&name, |user| user.generation += 1).await?;
        self.end_all(&record).await
    }

    /// Access tokens of generations before this record's, and all sessions, are over.
    pub(crate) async fn end_all(&self, record: &Record) -> Result<(), UserError> {
        self.revoke(What::User(record.number.to_string()), record.generation).await?;
        for (key, _) in self.sessions(record.number).await? {
            self.0.store.kv().delete(SESSIONS, &key, When::Always).await?;
        }
        Ok(())
    }

    async fn end_session(&self, user: u64, family: &str) -> Result<(), Refused> {
        let revoked = self.revoke(What::Session(family.to_owned()), 0).await;
        self.0.store.kv().delete(SESSIONS, &format!("{user}/{family}"), When::Always).await?;
        revoked
    }

    async fn make_room(&self, user: u64) -> Result<(), Refused> {
        let mut sessions = self.sessions(user).await?;
        while sessions.len() >= SESSIONS_MAX {
            let oldest = sessions.iter().enumerate().min_by_key(|(_, (_, family))| family.turned);
            let Some(place) = oldest.map(|(place, _)| place) else { break };
            let (key, _) = sessions.swap_remove(place);
            let family = key.split_once('/').map_or("", |(_, family)| family);
            self.end_session(user, family).await?;
        }
        Ok(())
    }

    async fn sessions(&self, user: u64) -> Result<Vec<(String, Family)>, Refused> {
        let found = self.0.store.kv().scan(SESSIONS, &format!("{user}/"), None, SESSIONS_MAX * 2).await?;
        let read = |held: &[u8]| serde_json::from_slice::<Family>(held).ok();
        Ok(found.into_iter().filter_map(|(key, held)| Some((key, read(&held.value)?))).collect())
    }
}

fn lasts(settings: &IdentitySettings) -> Lasts {
    Lasts {
        idle_s: settings.refresh_lifetime.as_secs(),
        whole_s: settings.session_lifetime.as_secs(),
        leeway_s: settings.refresh_leeway.as_secs(),
    }
}
