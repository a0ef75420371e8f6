//! API keys: how programs come in.
//!
//! **Job.** Make a key that is shown once, find it by its beginning, check it, take it back. **Called by** `identity`, `manage`, the
//! commands `madang token`. **Calls** `store`.
//!
//! A key is `mdk_` + eight letters that find it + `_` + 32 letters nobody can guess (160 bits). A digest of it is kept, not the key; of
//! something that cannot be guessed SHA-256 is enough. It belongs to a user: whoever shows it is that user, with some or all roles.
//!
//! Invariants
//! 1. The key itself is in no store, log or `Debug`.
//! 2. A key that was revoked, or whose user is disabled or gone, is refused at once on this machine, within [`LATELY_S`] on others.
//! 3. At most [`LATELY_MAX`] answers are remembered, right ones only: made-up keys push nothing out.
//!
//! Not here: what a key may do (its roles, by the roles' rules).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use madang_store::kv::{Put, When};
use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::jose;
use crate::login::random_bytes;
use crate::name::Name;
use crate::refused::Refused;
use crate::revoked::What;
use crate::users::{self, Record, UserError};
use crate::who::{Via, Who};

/// What API keys begin with: secret scanners know them by it.
pub const PREFIX: &str = "mdk_";
/// Where keys are by their beginning, and the beginnings by user.
const KEYS: &str = "identity.key";
const OF_USER: &str = "identity.key-of";
/// Keys of one user.
pub const KEYS_MAX: usize = 50;
/// The longest label, in characters.
const LABEL_CHARS_MAX: usize = 64;
/// Letters that find a key, and letters that open it.
const FIND_LETTERS: usize = 8;
const OPEN_LETTERS: usize = 32;
/// Right answers that are remembered.
const LATELY_MAX: usize = 4096;
/// For how long, in seconds.
const LATELY_S: u64 = 30;
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A key as kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeyRecord {
    /// The user's number and name key.
    user: u64,
    name: String,
    label: String,
    digest: String,
    /// `None`: all of the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<String>>,
    /// Seconds since 1970.
    made: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

/// A key as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyView {
    /// What it begins with.
    pub prefix: String,
    /// Whose it is.
    pub user: String,
    /// What it is for.
    pub label: String,
    /// Which of the user's roles it has; `None`: all.
    pub roles: Option<Vec<String>>,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// When it ends.
    pub expires: Option<u64>,
}

/// A key that was just made: the only time it is seen.
pub struct NewKey {
    /// The key.
    pub key: String,
    /// What stays known of it.
    pub view: KeyView,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("view", &self.view).finish_non_exhaustive()
    }
}

/// What is wanted of a new key.
#[derive(Debug, Clone, Default)]
pub struct WantedKey {
    /// What it is for; shown in lists.
    pub label: String,
    /// Some of the user's roles; `None`: all, those that come later included.
    pub roles: Option<Vec<String>>,
    /// How long it lasts; `None`: until it is revoked.
    pub lasts: Option<Duration>,
}

/// Right answers of lately, by digest of the key.
#[derive(Default)]
pub(crate) struct Keys {
    lately: Mutex<HashMap<[u8; 32], (Who, u64)>>,
}

impl Keys {
    fn map(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Who, u64)>> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lately(&self, key: &str, now: u64) -> Option<Who> {
        let digest = sha256(key);
        let lately = self.map();
        let (who, until) = lately.get(&digest)?;
        (now < *until && now < who.until).then(|| who.clone())
    }

    fn remember(&self, key: &str, who: &Who, now: u64) {
        let mut lately = self.map();
        if lately.len() >= LATELY_MAX {
            lately.retain(|_, (_, until)| now < *until);
        }
        if lately.len() >= LATELY_MAX {
            lately.clear();
        }
        lately.insert(sha256(key), (who.clone(), now + LATELY_S));
    }

    /// A user changed: who it was is asked again.
    pub(crate) fn forget_all(&self) {
        self.map().clear();
    }
}

/// Whether a text claims to be an API key.
pub(crate) fn is_one(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

impl Identity {
    /// Who shows this API key. Asks the store unless it was checked within 30 s.
    ///
    /// # Errors
    /// [`Refused::KeyUnknown`], [`Refused::KeyExpired`], [`Refused::TokenRevoked`], [`Refused::Store`].
    pub async fn check_key(&self, key: &str, now: u64) -> Result<Who, Refused> {
        let who = match self.0.keys.lately(key, now) {
            Some(who) => who,
            None => {
                let who = self.look_key_up(key, now).await?;
                self.0.keys.remember(key, &who, now);
                who
            }
        };
        self.0.revoked.check(&who)?;
        Ok(who)
    }

    async fn look_key_up(&self, key: &str, now: u64) -> Result<Who, Refused> {
        let find = parts(key).ok_or(Refused::KeyUnknown)?;
        let kept = self.0.store.kv().get(KEYS, find).await?.ok_or(Refused::KeyUnknown)?;
        let kept: KeyRecord = serde_json::from_slice(&kept.value).map_err(|_| users::broken("an API key"))?;
        let digest = jose::decode(&kept.digest).unwrap_or_default();
        verify_slices_are_equal(&digest, &sha256(key)).map_err(|_| Refused::KeyUnknown)?;
        if kept.expires.is_some_and(|expires| expires <= now) {
            return Err(Refused::KeyExpired);
        }
        let user = self.0.users.find(&kept.name).await?;
        let user =
            user.filter(|user| user.number == kept.user && !user.disabled).ok_or(Refused::TokenRevoked)?;
        let who = self.who(&user, Via::Key(find.into()));
        let roles = match kept.roles {
            None => who.roles,
            Some(some) => {
                user.roles.iter().filter(|role| some.contains(role)).cloned().collect::<Vec<_>>().into()
            }
        };
        Ok(Who { roles, until: kept.expires.unwrap_or(u64::MAX), ..who })
    }

    /// Makes a key for a user.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`], [`UserError::TooManyKeys`], [`UserError::Role`]: one the user has not; [`UserError::KeyTime`]; the
    /// store's.
    pub async fn new_key(&self, name: &str, wanted: WantedKey) -> Result<NewKey, UserError> {
        let name = Name::parse(name)?;
        let user = self.0.users.find(name.key()).await?;
        let user = user.ok_or_else(|| UserError::NoSuchUser { name: name.shown().to_owned() })?;
        if self.keys_of(user.number).await?.len() >= KEYS_MAX {
            return Err(UserError::TooManyKeys { max: KEYS_MAX });
        }
        let bounds = Duration::from_secs(60)..=Duration::from_secs(3653 * 86_400);
        if wanted.lasts.is_some_and(|lasts| !bounds.contains(&lasts)) {
            return Err(UserError::KeyTime);
        }
        let roles = wanted.roles.map(|roles| users::roles(&roles)).transpose()?;
        if let Some(role) = roles.iter().flatten().find(|role| !user.roles.contains(role)) {
            return Err(UserError::Role { role: role.clone() });
        }
        let now = self.now();
        let label: String =
            wanted.label.chars().filter(|letter| !letter.is_control()).take(LABEL_CHARS_MAX).collect();
        let lasts = wanted.lasts;
        loop {
            let (find, open) = (letters::<FIND_LETTERS>()?, letters::<OPEN_LETTERS>()?);
            let key = format!("{PREFIX}{find}_{open}");
            let record = KeyRecord {
                user: user.number,
                name: name.key().to_owned(),
                label: label.clone(),
                digest: jose::encode(sha256(&key)),
                roles: roles.clone(),
                made: now,
                expires: lasts.map(|lasts| now.saturating_add(lasts.as_secs())),
            };
            let kv = self.0.store.kv();
            // The user's list first: a key that is in it but is none opens nothing, one that is not in it could not be taken back.
            kv.put(OF_USER, &of_user(user.number, &find), "".into(), When::Always, lasts).await?;
            let put = kv.put(KEYS, &find, users::text(&record), When::Absent, lasts).await?;
            if let Put::Done(_) = put {
                return Ok(NewKey { key, view: view(&find, &record, &user) });
            }
            // These eight letters are somebody's (once in a trillion).
            kv.delete(OF_USER, &of_user(user.number, &find), When::Always).await?;
        }
    }

    /// Keys of a user.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`], the store's.
    pub async fn keys(&self, name: &str) -> Result<Vec<KeyView>, UserError> {
        let name = Name::parse(name)?;
        let user = self.0.users.find(name.key()).await?;
        let user = user.ok_or_else(|| UserError::NoSuchUser { name: name.shown().to_owned() })?;
        let mut views = Vec::new();
        for find in self.keys_of(user.number).await? {
            let Some(held) = self.0.store.kv().get(KEYS, &find).await? else { continue };
            if let Ok(record) = serde_json::from_slice::<KeyRecord>(&held.value) {
                views.push(view(&find, &record, &user));
            }
        }
        Ok(views)
    }

    /// Takes a key back, by its beginning (`mdk_abcdefgh` or `abcdefgh`).
    ///
    /// # Errors
    /// [`UserError::NoSuchKey`], the store's.
    pub async fn revoke_key(&self, prefix: &str) -> Result<(), UserError> {
        let find = prefix.strip_prefix(PREFIX).unwrap_or(prefix);
        // A whole key may have been pasted.
        let find = find.split('_').next().unwrap_or(find);
        if find.len() != FIND_LETTERS || self.0.store.kv().get(KEYS, find).await?.is_none() {
            return Err(UserError::NoSuchKey { prefix: find.chars().take(FIND_LETTERS).collect() });
        }
        forget(self, find).await
    }

    pub(crate) async fn keys_of(&self, user: u64) -> Result<Vec<String>, UserError> {
        let prefix = format!("{user}/");
        let found = self.0.store.kv().scan(OF_USER, &prefix, None, KEYS_MAX * 2).await?;
        Ok(found.into_iter().map(|(key, _)| key[prefix.len()..].to_owned()).collect())
    }
}

/// Whether a key is there, by the letters that find it.
pub(crate) async fn is_kept(identity: &Identity, find: &str) -> Result<bool, Refused> {
    Ok(identity.0.store.kv().get(KEYS, find).await?.is_some())
}

/// Removes a key that is there.
pub(crate) async fn forget(identity: &Identity, find: &str) -> Result<(), UserError> {
    let kv = identity.0.store.kv();
    let user =
        kv.get(KEYS, find).await?.and_then(|held| serde_json::from_slice::<KeyRecord>(&held.value).ok());
    kv.delete(KEYS, find, When::Always).await?;
    identity.revoke(What::Key(find.to_owned()), 0).await?;
    if let Some(record) = user {
        kv.delete(OF_USER, &of_user(record.user, find), When::Always).await?;
    }
    Ok(())
}

fn of_user(user: u64, find: &str) -> String {
    format!("{user}/{find}")
}

fn view(find: &str, record: &KeyRecord, user: &Record) -> KeyView {
    KeyView {
        prefix: format!("{PREFIX}{find}"),
        user: user.name.clone(),
        label: record.label.clone(),
        roles: record.roles.clone(),
        made: record.made,
        expires: record.expires,
    }
}

/// The letters that find a key. `None`: this is not the form of one.
fn parts(key: &str) -> Option<&str> {
    let (find, open) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let plain = |text: &str| text.bytes().all(|byte| DIGITS.contains(&byte));
    (find.len() == FIND_LETTERS && open.len() == OPEN_LETTERS && plain(find) && plain(open)).then_some(find)
}

fn sha256(key: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    out
}

/// Letters of five random bits each.
fn letters<const N: usize>() -> Result<String, Refused> {
    let random: [u8; N] = random_bytes()?;
    Ok(random.iter().map(|byte| char::from(DIGITS[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_of_a_key_is_looked_up() {
        let find = letters::<FIND_LETTERS>().unwrap();
        let open = letters::<OPEN_LETTERS>().unwrap();
        assert_eq!(parts(&format!("mdk_{find}_{open}")), Some(&*find));
        for wrong in [
            String::new(),
            "mdk_".to_owned(),
            format!("mdk_{find}"),
            format!("mdk_{find}_{open}x"),
            format!("mdk_{open}_{find}"),
            format!("{find}_{open}"),
            format!("mdk_{}_{open}", "ABCDEFGH"),
            format!("mdk_{}_{open}", "../../.."),
        ] {
            assert_eq!(parts(&wrong), None, "{wrong}");
        }
    }
}
