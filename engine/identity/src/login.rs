//! Logins: by name and password, by SCRAM, as a guest.
//!
//! **Job.** From what somebody types to a [`Session`], without telling a guesser anything. **Called by** the HTTP face and roles.
//! **Calls** `guess`, `desk`, `password`, `scram`, `session`.
//!
//! Invariants
//! 1. A known and an unknown name, a disabled user, one without a password: the same steps, one hash each, the same words.
//! 2. Guessing is held up before anything is hashed.
//!
//! Not here: sessions after the login (`session`).

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use madang_host::random;
use serde_json::Map;

use crate::guess::Try;
use crate::identity::Identity;
use crate::metrics::Numbers;
use crate::name::Name;
use crate::password::{self, Password};
use crate::refused::Refused;
use crate::scram::{ClientFirst, Server, Verifier};
use crate::session::Session;
use crate::users::Record;
use crate::who::{UserId, Via, Who};

/// Random letters behind a guest's `guest-` who gave no name.
const GUEST_LETTERS: usize = 5;

impl Identity {
    /// Logs in by name and password; `from` is the client's address. Waits for a place on the hashing threads.
    ///
    /// # Errors
    /// [`Refused::Login`], [`Refused::LoginWait`], [`Refused::LoginBusy`], [`Refused::Store`].
    pub async fn login(&self, name: &str, password: &str, from: IpAddr) -> Result<Session, Refused> {
        let record = self.verify(name, password, from).await?;
        self.begin_session(&record).await
    }

    /// The same without a session: for connections that are one themselves (SASL PLAIN).
    ///
    /// # Errors
    /// As [`Identity::login`].
    pub async fn login_once(&self, name: &str, password: &str, from: IpAddr) -> Result<Who, Refused> {
        let record = self.verify(name, password, from).await?;
        Ok(self.who(&record, Via::Password))
    }

    async fn verify(&self, name: &str, password: &str, from: IpAddr) -> Result<Record, Refused> {
        let tried = self.begin_try(name, from)?;
        match self.right(name, password).await {
            Ok(Some(record)) => {
                self.try_right(tried);
                Numbers::one(&self.0.numbers.logins);
                Ok(record)
            }
            Ok(None) => {
                Numbers::one(&self.0.numbers.wrong);
                Err(Refused::Login)
            }
            Err(refused) => {
                self.try_unseen(tried);
                Err(refused)
            }
        }
    }

    fn begin_try(&self, name: &str, from: IpAddr) -> Result<Try, Refused> {
        let parsed = Name::parse(name);
        // What cannot be a name is counted all the same, by no more than a name's length of it.
        let key =
            parsed.as_ref().map_or_else(|_| name.chars().take(64).collect(), |name| name.key().to_owned());
        self.try_begun(&key, from).map_err(|wait| {
            Numbers::one(&self.0.numbers.held_up);
            Refused::LoginWait { wait }
        })
    }

    /// The user whose name and password these are. Every way through hashes once, with the parameters of a user.
    async fn right(&self, name: &str, written: &str) -> Result<Option<Record>, Refused> {
        let cost = self.settings().identity.hash_cost;
        let name = Name::parse(name).ok();
        let found = match &name {
            Some(name) => self.0.users.find(name.key()).await?,
            // Nobody has it; the store is asked for somebody all the same.
            None => self.0.users.find("").await?,
        };
        let hash = found.as_ref().filter(|user| !user.disabled).and_then(|user| user.password.clone());
        let typed = Password::typed(written);
        let checked = typed.clone();
        let (is_right, is_outdated) = self
            .0
            .desk
            .ask(move || match (hash, checked) {
                (Some(hash), Some(typed)) => {
                    (password::is_right(&hash, &typed), password::is_outdated(&hash, cost))
                }
                (_, typed) => {
                    // Nobody to check against: hashing takes what checking takes.
                    let typed = typed.or_else(|| Password::typed(""));
                    let _ = typed.and_then(|typed| password::hash(&typed, cost));
                    (false, false)
                }
            })
            .await?;
        let (Some(record), Some(name), true) = (found, name, is_right) else { return Ok(None) };
        if is_outdated && let Some(typed) = typed {
            self.hash_anew(&name, &record, typed, cost).await;
        }
        Ok(Some(record))
    }

    /// Hashes a right password at the cost of today. That it fails makes no login fail.
    async fn hash_anew(&self, name: &Name, record: &Record, typed: Password, cost: password::Cost) {
        let Ok(Some(hash)) = self.0.desk.ask(move || password::hash(&typed, cost)).await else { return };
        let old = record.password.clone();
        let _ = self
            .0
            .users
            .change(name, |user| {
                // A new password that came in between is newer than the one we know.
                if user.password == old {
                    user.password = Some(hash.clone());
                }
            })
            .await;
    }

    /// Whether [`Identity::scram`] may be begun.
    pub fn has_scram(&self) -> bool {
        self.settings().identity.scram_iterations.is_some()
    }

    /// Begins a login by SCRAM-SHA-256 with the client's first message.
    ///
    /// # Errors
    /// [`Refused::ScramOff`], [`Refused::ScramMalformed`], [`Refused::LoginWait`], [`Refused::Store`].
    pub async fn scram(&self, message: &str, from: IpAddr) -> Result<Scram, Refused> {
        let iterations = self.settings().identity.scram_iterations.ok_or(Refused::ScramOff)?;
        let first = ClientFirst::read(message)?;
        let tried = self.begin_try(&first.name, from)?;
        let begun = self.scram_begun(first, iterations).await;
        match begun {
            Ok((server, user)) => Ok(Scram { identity: self.clone(), server, user, tried }),
            Err(refused) => {
                self.try_unseen(tried);
                Err(refused)
            }
        }
    }

    async fn scram_begun(
        &self,
        first: ClientFirst,
        iterations: NonZeroU32,
    ) -> Result<(Server, Option<Record>), Refused> {
        let name = Name::parse(&first.name).ok();
        let key = name.as_ref().map_or("", Name::key);
        let found = self.0.users.find(key).await?;
        let user = found.filter(|user| !user.disabled && user.scram.is_some());
        let stand_in = Verifier::stand_in(self.0.signer.stand_in(), key, iterations);
        let verifier = user.as_ref().and_then(|user| user.scram.clone()).unwrap_or(stand_in);
        Ok((Server::new(first, verifier, random_bytes()?), user))
    }

    /// Lets a guest in. `wanted`: what it wants to be called, without the `guest-` that stands before it.
    ///
    /// # Errors
    /// [`Refused::GuestsOff`], [`Refused::GuestName`].
    pub fn guest(&self, wanted: Option<&str>) -> Result<Session, Refused> {
        let settings = self.settings();
        if !settings.identity.guests {
            return Err(Refused::GuestsOff);
        }
        let random: [u8; 16] = random_bytes()?;
        let name = match wanted {
            Some(wanted) => Name::guest(wanted).map_err(|_| Refused::GuestName)?,
            None => {
                let letters = random.iter().map(|byte| char::from(b'a' + byte % 26)).take(GUEST_LETTERS);
                format!("{}{}", crate::name::GUEST, letters.collect::<String>())
            }
        };
        let now = self.now();
        let who = Who {
            user: None,
            guest: Some(format!("guest/{}", crate::family::id(random)).into()),
            name: name.into(),
            roles: Arc::new([]),
            claims: Arc::new(Map::new()),
            via: Via::Guest,
            session: None,
            until: now.saturating_add(settings.identity.guest_lifetime.as_secs()),
            generation: 0,
        };
        Ok(Session { access: self.0.signer.write(&who, now), refresh: None, refresh_until: 0, who })
    }

    /// Somebody by a user's record, for as long as an access token lasts.
    pub(crate) fn who(&self, record: &Record, via: Via) -> Who {
        let lasts = self.settings().identity.access_lifetime.as_secs();
        Who {
            user: Some(UserId::local(record.number)),
            guest: None,
            name: record.name.as_str().into(),
            roles: record.roles.clone().into(),
            claims: Arc::new(Map::new()),
            via,
            session: None,
            until: self.now().saturating_add(lasts),
            generation: record.generation,
        }
    }
}

/// A login by SCRAM between the server's two messages. Dropped, it counts as failed.
pub struct Scram {
    identity: Identity,
    server: Server,
    user: Option<Record>,
    tried: Try,
}

impl Scram {
    /// The server's first message.
    pub fn message(&self) -> &str {
        self.server.message()
    }

    /// Takes the client's last message; gives the server's, and who it is.
    ///
    /// # Errors
    /// [`Refused::Login`], whatever is wrong.
    pub fn finish(self, message: &str) -> Result<(String, Who), Refused> {
        // A stand-in's proof is computed as well.
        let answer = self.server.finish(message);
        match (answer, self.user) {
            (Some(answer), Some(user)) => {
                let identity = self.identity;
                identity.try_right(self.tried);
                Numbers::one(&identity.0.numbers.logins);
                Ok((answer, identity.who(&user, Via::Password)))
            }
            _ => {
                Numbers::one(&self.identity.0.numbers.wrong);
                Err(Refused::Login)
            }
        }
    }
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scram(…)")
    }
}

/// Bytes nobody can guess, at most 32.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], Refused> {
    let secret = random::secret().map_err(|_| Refused::Failed { what: "randomness" })?;
    let mut bytes = [0; N];
    bytes.copy_from_slice(&secret[..N]);
    Ok(bytes)
}
