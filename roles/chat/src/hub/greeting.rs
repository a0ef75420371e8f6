//! Who comes in: guests with a name and a key, users.
//!
//! **Job.** Say who somebody is, once a connection. **Called by** `hub`. **Calls** the store, the directory of users.
//!
//! Invariants
//! 1. A name belongs to one person at a time: a user, a guest who is here, or a guest who may come back.
//! 2. A key is kept as its hash only.
//!
//! Not here: passwords and tokens (`engine/identity`); whoever makes a [`Claim::User`] has checked them.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use madang_host::{clock, random};
use madang_store::error::StoreError;
use madang_store::kv::{Put, When};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::presence::ANYWHERE;
use super::renaming::CHANGES;
use super::state::{Asker, Human, Session};
use super::{Back, Hub};
use crate::event::{Person, PersonId};
use crate::login::Held;
use crate::names;
use crate::pace::Pace;
use crate::post::{Claim, SessionId};
use crate::refusal::Refusal;
use crate::reply::{Limits, Reply, Welcome, You};

/// How long a guest who left keeps name and key.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// Users, as a chat has to know them.
pub trait Directory: Send + Sync {
    /// The user whose folded name this is: the name as it is shown.
    fn find(&self, folded: &str) -> Pin<Box<dyn Future<Output = Option<Arc<str>>> + Send>>;
    /// Changes whenever a login was taken back: each one is asked then whether it holds.
    fn revoked(&self) -> watch::Receiver<u64>;
    /// Changes when it was not heard for too long what was taken back: the store is asked of each login then.
    fn doubted(&self) -> watch::Receiver<u64>;
}

/// What is kept of a guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GuestRecord {
    pub(super) id: PersonId,
    pub(super) name: Arc<str>,
    key_hash: String,
}

/// Somebody whose claim was found good.
struct Greeted {
    person: Person,
    admin: bool,
    /// Told once, when it was made.
    key: Option<String>,
    /// The record of a guest who may come back.
    kept: Option<Bytes>,
    /// By what, where that can be taken back.
    login: Option<Held>,
}

impl Hub {
    pub(super) fn hello(self: &Rc<Self>, id: SessionId, tag: u64, claim: Claim) {
        let back = Back::Session { session: id, tag };
        {
            let mut state = self.state.borrow_mut();
            if state.ending {
                drop(state);
                return self.answer(back, Err(Refusal::ShuttingDown));
            }
            if state.sessions.contains_key(&id) {
                drop(state);
                return self.answer(back, Err(Refusal::HelloTwice));
            }
            let pace = Pace::new(state.asks(), clock::now());
            // What it asks before it is known waits.
            let session = Session {
                person: None,
                places: Vec::new(),
                pace,
                busy: true,
                queue: VecDeque::new(),
                watches: Vec::new(),
                login: None,
                over: false,
            };
            state.sessions.insert(id, session);
        }
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let greeted = match this.greet(claim).await {
                Ok(greeted) => this.seat(id, greeted).await,
                Err(refusal) => Err(refusal),
            };
            let unheard = if greeted.is_err() {
                // It may try another name; what it asked already is not asked by anybody.
                let session = this.state.borrow_mut().sessions.remove(&id);
                session.map(|session| session.queue).unwrap_or_default()
            } else {
                VecDeque::new()
            };
            this.answer(back, greeted);
            for (tag, _) in unheard {
                this.answer(Back::Session { session: id, tag }, Err(Refusal::HelloFirst));
            }
            this.go_on(id);
            this.flush();
        });
    }

    /// Who asks without a connection.
    pub(super) async fn asker_once(&self, claim: Claim) -> Result<Asker, Refusal> {
        let Greeted { person, admin, .. } = match claim {
            // Without a key it is whoever has this name now: the same nonce under it is the same message.
            Claim::Guest { name, key: None, .. } => {
                self.guests_allowed()?;
                let name = names::person(&name)?;
                let folded = names::fold(&name);
                self.name_is_free(&name, &folded).await?;
                if self.guest(&folded).await?.is_some() {
                    return Err(Refusal::NameTaken { name });
                }
                let id =
                    format!("g:{}", hex(&digest::digest(&digest::SHA256, folded.as_bytes()).as_ref()[..8]));
                Greeted {
                    person: Person { id: PersonId(id.into()), name },
                    admin: false,
                    key: None,
                    kept: None,
                    login: None,
                }
            }
            claim => self.greet(claim).await?,
        };
        Ok(Asker { person, admin, session: None })
    }

    fn guests_allowed(&self) -> Result<(), Refusal> {
        if self.state.borrow().rules.guests { Ok(()) } else { Err(Refusal::UsersOnly) }
    }

    async fn greet(&self, claim: Claim) -> Result<Greeted, Refusal> {
        let (name, key, keeps) = match claim {
            Claim::User { name, admin, login } => {
                let person = Person { id: user_id(&name), name };
                return Ok(Greeted { person, admin, key: None, kept: None, login });
            }
            Claim::Guest { name, key, keeps } => (names::person(&name)?, key, keeps),
            // Those never say hello.
            Claim::Post { .. } => return Err(Refusal::BadToken),
        };
        self.guests_allowed()?;
        let folded = names::fold(&name);
        if let Some((record, bytes)) = self.guest(&folded).await? {
            return match key {
                Some(key) if hash(&key) == record.key_hash => {
                    let person = Person { id: record.id, name: record.name };
                    Ok(Greeted { person, admin: false, key: Some(key), kept: Some(bytes), login: None })
                }
                Some(_) => Err(Refusal::BadKey),
                None => Err(Refusal::NameTaken { name }),
            };
        }
        self.name_is_free(&name, &folded).await?;
        let secret = random::secret().map_err(|error| {
            Refusal::Store(StoreError::Failed { why: format!("no random bytes: {error}") })
        })?;
        let id = PersonId(format!("g:{}", hex(&secret[..8])).into());
        let person = Person { id, name };
        if !keeps {
            return Ok(Greeted { person, admin: false, key: None, kept: None, login: None });
        }
        let key = key.unwrap_or_else(|| hex(&secret[8..24]));
        let record =
            GuestRecord { id: person.id.clone(), name: Arc::clone(&person.name), key_hash: hash(&key) };
        let bytes = Bytes::from(serde_json::to_vec(&record).unwrap_or_default());
        let put =
            self.store.kv().put(&self.space("guest"), &folded, bytes.clone(), When::Absent, Some(KEPT_FOR));
        match put.await? {
            Put::Done(_) => {
                Ok(Greeted { person, admin: false, key: Some(key), kept: Some(bytes), login: None })
            }
            Put::Held(_) => Err(Refusal::NameTaken { name: person.name }),
        }
    }

    /// The record of a guest under another name.
    pub(super) fn renamed(record: &Bytes, name: &Arc<str>) -> Option<Bytes> {
        let record: GuestRecord = serde_json::from_slice(record).ok()?;
        serde_json::to_vec(&GuestRecord { name: Arc::clone(name), ..record }).ok().map(Bytes::from)
    }

    /// What is kept of a guest of this folded name.
    pub(super) async fn guest(&self, folded: &str) -> Result<Option<(GuestRecord, Bytes)>, Refusal> {
        let held = self.store.kv().get(&self.space("guest"), folded).await?;
        Ok(held.and_then(|held| Some((serde_json::from_slice(&held.value).ok()?, held.value))))
    }

    pub(super) async fn name_is_free(&self, name: &Arc<str>, folded: &str) -> Result<(), Refusal> {
        let is_here = {
            let state = self.state.borrow();
            state.names.contains_key(folded) || state.elsewhere.named(folded).is_some()
        };
        let is_user = match &self.directory {
            Some(directory) => directory.find(folded).await.is_some(),
            None => false,
        };
        let is_taken = is_here || is_user || self.is_posters(folded);
        if is_taken { Err(Refusal::NameTaken { name: Arc::clone(name) }) } else { Ok(()) }
    }

    /// The connection is this person's from now on.
    async fn seat(self: &Rc<Self>, id: SessionId, greeted: Greeted) -> Result<Reply, Refusal> {
        let Greeted { person, admin, key, kept, login } = greeted;
        let mine = if person.id.is_guest() { BTreeMap::new() } else { self.memberships(&person.id).await? };
        let everyone = self.everyone().await?;
        let now = clock::now();
        if login.as_ref().is_some_and(|login| !login.holds()) {
            // Taken back on the way: nobody looks for it before it has a place.
            return Err(Refusal::TokenExpired);
        }
        let mut state = self.state.borrow_mut();
        let max = state.rules.sessions_per_person_max;
        let folded = names::fold(&person.name);
        if state.names.get(&folded).is_some_and(|have| *have != person.id) {
            // Two came with it at the same moment.
            return Err(Refusal::NameTaken { name: person.name });
        }
        let rate = state.rules.rate;
        let now_ms = now_ms();
        if !state.sessions.contains_key(&id) {
            return Err(Refusal::ShuttingDown);
        }
        let was_here = state.is_connected(&person.id);
        let human = state.humans.entry(person.id.clone()).or_insert_with(|| Human {
            person: person.clone(),
            admin,
            kept: None,
            sessions: Vec::new(),
            pace: Pace::new(rate, now),
            away: None,
            about: None,
            since_ms: now_ms,
            mine,
            typed: None,
            changes: Pace::new(CHANGES, now),
        });
        if human.sessions.len() >= max {
            return Err(Refusal::Full { what: "connections of one person", max });
        }
        human.admin = admin;
        human.kept = kept.or_else(|| human.kept.take());
        human.sessions.push(id);
        let sessions = u32::try_from(human.sessions.len()).unwrap_or(u32::MAX);
        state.names.insert(folded, person.id.clone());
        state.elsewhere.here(&ANYWHERE.into(), &person, sessions);
        if !was_here {
            state.watched(&person, true);
        }
        self.moved.notify_one();
        if let Some(session) = state.sessions.get_mut(&id) {
            session.person = Some(person.id.clone());
            session.login = login;
        }
        state.enter(id, everyone, 0, None, None)?;
        let rules = &state.rules;
        let limits = Limits {
            message_bytes: rules.message_bytes_max,
            rooms: rules.rooms_per_session_max,
            burst: rules.rate.burst,
            per_second: u32::try_from(Duration::from_secs(1).as_nanos() / rules.rate.every.as_nanos().max(1))
                .unwrap_or(u32::MAX),
            file_bytes: rules.file_bytes_max,
        };
        let guest = person.id.is_guest();
        let you = You { id: person.id, name: person.name, guest, admin };
        Ok(Reply::Welcome(Box::new(Welcome { chat: Arc::clone(&self.name), you, key, limits, now_ms })))
    }

    /// A connection ended.
    pub(super) fn gone(self: &Rc<Self>, id: SessionId) {
        let kept = self.state.borrow_mut().gone(id, now_ms());
        self.presence_later();
        self.moved.notify_one();
        self.flush();
        if let Some((person, record)) = kept {
            // From now on it is counted how long they are away.
            let folded = names::fold(&person.name);
            let put =
                self.store.kv().put(&self.space("guest"), &folded, record, When::Always, Some(KEPT_FOR));
            let this = Rc::clone(self);
            tokio::task::spawn_local(async move {
                if put.await.is_err() {
                    this.counts.refused_by_store();
                }
            });
        }
    }

    /// A namespace of the store's key-value, of this chat only.
    pub(super) fn space(&self, what: &str) -> String {
        format!("chat/{}/{what}", self.name)
    }
}

/// The id of a user of this name.
pub(super) fn user_id(name: &str) -> PersonId {
    PersonId(format!("u:{}", names::fold(name)).into())
}

pub(crate) fn now_ms() -> u64 {
    let since = clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn hash(key: &str) -> String {
    hex(digest::digest(&digest::SHA256, key.as_bytes()).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
