//! Who somebody is, once it is known.
//!
//! **Job.** What every role gets of a login: an id that stays, a name to show, roles and claims for rules.
//! **Made by** `access`, `issuer`, `sessions`, `api_key`. **Read by** every role.
//!
//! Invariants
//! 1. No secret is in it: it may be logged and kept.
//!
//! Not here: whether somebody may do something (the roles' own rules).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use serde_json::{Map, Value};

use crate::name::NAME_CHARS_MAX;

/// Letters that tell outside users of one name apart.
const HANDLE_LETTERS: usize = 10;

/// A user's id: the same for as long as the user is there, and never given again.
///
/// Users of this house have decimal numbers, users of an outside issuer `issuer/subject`: the two never meet.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// A user of this house.
    pub fn local(number: u64) -> Self {
        Self(number.to_string().into())
    }

    /// Somebody an outside issuer vouches for.
    pub(crate) fn outside(issuer: &str, subject: &str) -> Self {
        Self(format!("{issuer}/{subject}").into())
    }

    /// From what [`UserId::as_str`] gave, for example out of a database.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// As it is written down, at most 192 bytes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({})", self.0)
    }
}

/// By what somebody showed who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// An access token of ours: name and password stood at its beginning.
    Session,
    /// A name and a password, just now.
    Password,
    /// No login at all: a name that nobody vouches for.
    Guest,
    /// An API key, by the beginning that may be shown.
    Key(Arc<str>),
    /// A token of an outside issuer, by the issuer's name in the settings.
    Outside(Arc<str>),
}

/// Somebody, known.
#[derive(Debug, Clone)]
pub struct Who {
    /// `None`: a guest.
    pub user: Option<UserId>,
    /// A guest's id, which stays as long as the guest's token does. `None`: no guest.
    pub guest: Option<Arc<str>>,
    /// To be shown. Users have names of their own; guests' begin with `guest-`, which no user's does. Two guests may have the
    /// same one: [`Who::id`] tells them apart.
    pub name: Arc<str>,
    /// For rules.
    pub roles: Arc<[String]>,
    /// What an outside issuer says beyond that; empty for users of this house.
    pub claims: Arc<Map<String, Value>>,
    /// By what.
    pub via: Via,
    /// The session it belongs to, where there is one.
    pub session: Option<Arc<str>>,
    /// Until when what was shown is good, in seconds since 1970.
    pub until: u64,
    /// Which generation of the user's logins it is of.
    pub(crate) generation: u64,
}

impl Who {
    /// One text for everybody, guests as well: what things that somebody owns are kept by.
    pub fn id(&self) -> &str {
        match (&self.user, &self.guest) {
            (Some(user), _) => user.as_str(),
            (None, Some(guest)) => guest,
            (None, None) => "",
        }
    }

    /// A plain name that nobody else has: 1 to 32 letters, digits, `-`, `_` and `.`, for protocols in which a name is who one is.
    /// Of a user of this house its name; of an outside user its name and letters that follow from its id, unless the settings say
    /// that the issuer's names are unique (`names = "plain"`).
    pub fn handle(&self) -> Arc<str> {
        if !matches!(self.via, Via::Outside(_)) {
            return Arc::clone(&self.name);
        }
        let (name, marked) = match self.name.rsplit_once('@') {
            Some((name, _)) => (name, true),
            None => (&*self.name, false),
        };
        let plain = |letter: &char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
        let begin: String =
            name.chars().filter(plain).skip_while(|letter| !letter.is_alphanumeric()).collect();
        let begin = if begin.is_empty() { "user".to_owned() } else { begin };
        if !marked {
            return begin.chars().take(NAME_CHARS_MAX).collect::<String>().into();
        }
        let digest = digest::digest(&digest::SHA256, self.id().as_bytes());
        let end: String =
            digest.as_ref().iter().take(HANDLE_LETTERS).map(|byte| char::from(b'a' + byte % 26)).collect();
        let begin: String = begin.chars().take(NAME_CHARS_MAX - HANDLE_LETTERS - 1).collect();
        format!("{begin}-{end}").into()
    }

    /// Whether nobody vouches for the name.
    pub fn is_guest(&self) -> bool {
        self.user.is_none()
    }

    /// Whether rules for this role hold.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|have| have == role)
    }
}
