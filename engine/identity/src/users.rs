//! Users as they are kept.
//!
//! **Job.** Find, make, change, remove users in the store's key-value. **Called by** `identity`. **Calls** `store`.
//!
//! Invariants
//! 1. A number is given once: a user made again after a removal is another one.
//! 2. Changes are compare-and-set: two at once are both done, or one is refused; none is lost.
//! 3. `Debug` of a record shows no hash.
//!
//! Not here: ending logins after a change (`identity`), hashing (`password`).

use std::fmt;

use bytes::Bytes;
use madang_host::blame::{Blame, Retry};
use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::kv::{Held, Put, When};
use serde::{Deserialize, Serialize};

use crate::name::{Name, NameError};
use crate::password::PasswordError;
use crate::refused::Refused;
use crate::scram::Verifier;
use crate::who::UserId;

/// Where users are.
const USERS: &str = "identity.user";
const NUMBERS: &str = "identity.number";
/// Attempts at one change while others change the same user.
const ATTEMPTS_MAX: usize = 8;
/// Roles of one user.
pub(crate) const ROLES_MAX: usize = 32;
/// The longest role, in bytes.
const ROLE_BYTES_MAX: usize = 64;

/// A user as kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) name: String,
    /// A PHC string. `None`: no password opens it; keys may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scram: Option<Verifier>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) roles: Vec<String>,
    #[serde(default)]
    pub(crate) disabled: bool,
    /// Grows whenever all logins end.
    #[serde(rename = "gen")]
    pub(crate) generation: u64,
    /// Seconds since 1970.
    pub(crate) made: u64,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} {:?})", self.number, self.name)
    }
}

/// A user as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserView {
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
    /// Roles, for rules.
    pub roles: Vec<String>,
    /// Whether a password opens it.
    pub password: bool,
    /// Whether SCRAM does.
    pub scram: bool,
    /// Whether nobody may log in as it.
    pub disabled: bool,
    /// When it was made, in seconds since 1970.
    pub made: u64,
}

impl From<&Record> for UserView {
    fn from(record: &Record) -> Self {
        Self {
            id: UserId::local(record.number).as_str().to_owned(),
            name: record.name.clone(),
            roles: record.roles.clone(),
            password: record.password.is_some(),
            scram: record.scram.is_some(),
            disabled: record.disabled,
            made: record.made,
        }
    }
}

/// Why users could not be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserError {
    /// No name.
    Name(NameError),
    /// No password.
    Password(PasswordError),
    /// No role.
    Role {
        /// As it was written.
        role: String,
    },
    /// Somebody has it.
    Taken {
        /// The name.
        name: String,
    },
    /// Nobody has it.
    NoSuchUser {
        /// The name.
        name: String,
    },
    /// No such key.
    NoSuchKey {
        /// The beginning that was given.
        prefix: String,
    },
    /// The user has as many keys as one may.
    TooManyKeys {
        /// As many.
        max: usize,
    },
    /// A key's time must be longer than nothing and have a bound.
    KeyTime,
    /// Others change the same user all the time.
    Contended,
    /// The hashing threads or the store refused.
    Refused(Refused),
}

impl UserError {
    /// A stable kebab-case name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Name(_) => "user-name",
            Self::Password(_) => "user-password",
            Self::Role { .. } => "user-role",
            Self::Taken { .. } => "user-taken",
            Self::NoSuchUser { .. } => "no-such-user",
            Self::NoSuchKey { .. } => "no-such-key",
            Self::TooManyKeys { .. } => "too-many-keys",
            Self::KeyTime => "key-time",
            Self::Contended => "user-contended",
            Self::Refused(refused) => refused.name(),
        }
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Contended => Blame::Load,
            Self::Refused(refused) => refused.blame(),
            _ => Blame::Client,
        }
    }

    /// Whether the very same attempt may succeed a little later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Contended => Retry::After(std::time::Duration::from_secs(1)),
            Self::Refused(refused) => refused.retry(),
            _ => Retry::Never,
        }
    }

    /// The HTTP status that says it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Taken { .. } | Self::TooManyKeys { .. } => 409,
            Self::NoSuchUser { .. } | Self::NoSuchKey { .. } => 404,
            Self::Contended => 503,
            Self::Refused(refused) => refused.status(),
            _ => 422,
        }
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::Password(error) => error.fmt(f),
            Self::Role { role } => write!(
                f,
                "{role:?} is no role: 1 to {ROLE_BYTES_MAX} small letters, digits, `-`, `_`, `.` or `:`; at most {ROLES_MAX} of them"
            ),
            Self::Taken { name } => write!(f, "there is a user {name} already"),
            Self::NoSuchUser { name } => write!(f, "there is no user {name:?}"),
            Self::NoSuchKey { prefix } => write!(f, "there is no key {prefix:?}"),
            Self::TooManyKeys { max } => {
                write!(f, "the user has {max} keys, which is as many as one may have")
            }
            Self::KeyTime => f.write_str("a key lasts from 1 minute to 10 years, or for ever"),
            Self::Contended => f.write_str("the user is being changed all the time"),
            // What the store says is for operators, and these are theirs.
            Self::Refused(Refused::Store(error)) => error.fmt(f),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}
impl std::error::Error for UserError {}

impl From<NameError> for UserError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}
impl From<PasswordError> for UserError {
    fn from(error: PasswordError) -> Self {
        Self::Password(error)
    }
}
impl From<Refused> for UserError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}
impl From<StoreError> for UserError {
    fn from(error: StoreError) -> Self {
        Self::Refused(Refused::Store(error))
    }
}

/// Roles in order, each once.
pub(crate) fn roles(written: &[String]) -> Result<Vec<String>, UserError> {
    let mut roles = written.to_vec();
    roles.sort();
    roles.dedup();
    let fits = |role: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.:".contains(&byte);
        (1..=ROLE_BYTES_MAX).contains(&role.len()) && role.bytes().all(plain)
    };
    let wrong = roles.iter().find(|role| !fits(role)).or_else(|| roles.get(ROLES_MAX));
    match wrong {
        Some(role) => Err(UserError::Role { role: role.clone() }),
        None => Ok(roles),
    }
}

/// The users of a store.
#[derive(Clone)]
pub(crate) struct Users {
    store: Store,
}

impl Users {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// The user who has this name.
    pub(crate) async fn find(&self, name_key: &str) -> Result<Option<Record>, Refused> {
        let held = self.store.kv().get(USERS, name_key).await?;
        held.map(|held| record(&held)).transpose()
    }

    /// A new user; its number is given here.
    pub(crate) async fn make(&self, name: &Name, record: Record) -> Result<Record, UserError> {
        let taken = || UserError::Taken { name: name.shown().to_owned() };
        if self.find(name.key()).await?.is_some() {
            return Err(taken());
        }
        let number = self.store.kv().add(NUMBERS, "user", 1, None).await?.value;
        let number = u64::try_from(number).map_err(|_| broken("a user's number"))?;
        let record = Record { number, ..record };
        match self.store.kv().put(USERS, name.key(), text(&record), When::Absent, None).await? {
            Put::Done(_) => Ok(record),
            Put::Held(_) => Err(taken()),
        }
    }

    /// Changes a user. `change` may be called again if others changed it meanwhile.
    pub(crate) async fn change(
        &self,
        name: &Name,
        mut change: impl FnMut(&mut Record),
    ) -> Result<Record, UserError> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(held) = self.store.kv().get(USERS, name.key()).await? else {
                return Err(UserError::NoSuchUser { name: name.shown().to_owned() });
            };
            let mut user = record(&held)?;
            change(&mut user);
            let when = When::Version(held.version);
            if let Put::Done(_) = self.store.kv().put(USERS, name.key(), text(&user), when, None).await? {
                return Ok(user);
            }
        }
        Err(UserError::Contended)
    }

    /// Removes a user; gives who it was.
    pub(crate) async fn remove(&self, name: &Name) -> Result<Record, UserError> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(held) = self.store.kv().get(USERS, name.key()).await? else {
                return Err(UserError::NoSuchUser { name: name.shown().to_owned() });
            };
            let user = record(&held)?;
            if let Put::Done(_) =
                self.store.kv().delete(USERS, name.key(), When::Version(held.version)).await?
            {
                return Ok(user);
            }
        }
        Err(UserError::Contended)
    }

    /// Users in the order of their names, after one.
    pub(crate) async fn list(
        &self,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, Record)>, Refused> {
        let found = self.store.kv().scan(USERS, "", after, most).await?;
        found.into_iter().map(|(key, held)| record(&held).map(|record| (key, record))).collect()
    }
}

fn record(held: &Held) -> Result<Record, Refused> {
    serde_json::from_slice(&held.value).map_err(|_| broken("a user's record"))
}

/// What is kept cannot be read: by a newer program, or damaged.
pub(crate) fn broken(what: &str) -> Refused {
    Refused::Store(StoreError::Failed { why: format!("{what} cannot be read") })
}

pub(crate) fn text<T: Serialize>(value: &T) -> Bytes {
    // Values of ours have text keys and no numbers that JSON lacks.
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_plain_and_few() {
        let roles =
            |written: &[&str]| roles(&written.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>());
        assert_eq!(roles(&["b", "a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(roles(&["chat:moderator", "x-1_2.3"]).unwrap().len(), 2);
        for wrong in ["", "Admin", "a b", "a,b", &"x".repeat(65), "관리자"] {
            assert!(matches!(roles(&[wrong]), Err(UserError::Role { .. })), "{wrong:?}");
        }
        let many: Vec<String> = (0..=ROLES_MAX).map(|number| format!("r{number}")).collect();
        assert!(super::roles(&many).is_err() && super::roles(&many[1..]).is_ok());
    }
}
