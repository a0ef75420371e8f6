//! Basic authentication (RFC 7617).
//!
//! **Job.** From the `authorization` field of a request to a user, or to a named refusal.
//! **Reads** a route's `auth`. **Called by** `phases` (authorise). **Calls** `password` for the slow part, `verified` for
//! the quick one.
//!
//! Invariants
//! 1. Checking a password that was checked lately takes a digest; only a new one takes argon2, off the worker.
//! 2. An unknown user costs what a known one does (where all hashes have the same parameters, as `madang hash` makes
//!    them): the time tells nobody which names exist.
//! 3. Where a password was checked the field is taken out: nobody behind this step sees it.
//!
//! Not here: logins of the house (`login`), limits on guessing (the route's `limit`).

pub mod login;
mod password;
mod verified;

use std::rc::Rc;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashMap;
use madang_http::response::Text;
use madang_wire::request::RequestHead;

use crate::config;
use crate::verdict::{Blame, Failure};

#[cfg(test)]
pub(crate) use password::tests::cheap_hash;
pub(crate) use password::{Busy, Desk};
pub use password::{HashError, check_hash, hash_password};
pub(crate) use verified::Verified;

/// The longest `user:password` that is looked at, in bytes. Longer is no login.
const CREDENTIALS_BYTES_MAX: usize = 512;

/// A route's users, made ready for one worker.
pub(crate) struct Auth {
    challenge: Text,
    /// Names to hashes.
    users: HashMap<Rc<str>, Arc<str>>,
    /// What is checked where the name is unknown.
    stand_in: Option<Arc<str>>,
}

/// What the quick look at a request says.
pub(crate) enum Looked {
    /// Checked lately: this user.
    Known(Rc<str>),
    /// No credentials, or none that can be read.
    Refused(Failure),
    /// Argon2 has to decide.
    Ask(Question),
}

/// A password that has to be checked.
pub(crate) struct Question {
    /// `None`: no such user; the check is made all the same, and fails.
    user: Option<Rc<str>>,
    hash: Arc<str>,
    password: Box<[u8]>,
    challenge: Text,
}

impl Auth {
    pub(crate) fn new(settings: &config::Basic) -> Self {
        let realm = settings.realm.replace('\\', "\\\\").replace('"', "\\\"");
        let user = |(name, hash): &(String, String)| (Rc::from(&**name), Arc::from(&**hash));
        Self {
            challenge: Text::from(format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")),
            users: settings.users.iter().map(user).collect(),
            stand_in: settings.users.first().map(|(_, hash)| Arc::from(&**hash)),
        }
    }

    /// The value of `www-authenticate`.
    pub(crate) fn challenge(&self) -> Text {
        self.challenge.clone()
    }

    /// Looks at a request without waiting.
    pub(crate) fn look(&self, head: &RequestHead, verified: &Verified, now: std::time::Instant) -> Looked {
        let mut buffer = [0; CREDENTIALS_BYTES_MAX];
        let Some((name, password)) = credentials(head, &mut buffer) else {
            return Looked::Refused(refused("login-required", "no basic credentials"));
        };
        let user = self.users.get_key_value(name);
        // With an unknown name some user's hash is taken, so that the work is the same.
        let Some(hash) = user.map(|(_, hash)| hash).or(self.stand_in.as_ref()) else {
            return Looked::Refused(refused("login-refused", "the route has no users"));
        };
        match user {
            Some((user, _)) if verified.knows(hash, password, now) => Looked::Known(Rc::clone(user)),
            _ => Looked::Ask(Question {
                user: user.map(|(user, _)| Rc::clone(user)),
                hash: Arc::clone(hash),
                password: password.into(),
                challenge: self.challenge(),
            }),
        }
    }
}

impl Question {
    /// The value of `www-authenticate` for the answer, should this fail.
    pub(crate) fn challenge(&self) -> Text {
        self.challenge.clone()
    }

    /// Has the password checked; a right one is remembered.
    pub(crate) async fn ask(
        self,
        desk: &Arc<Desk>,
        verified: &Verified,
        now: std::time::Instant,
    ) -> Result<Rc<str>, Failure> {
        let right = match Desk::check(desk, Arc::clone(&self.hash), self.password.clone()).await {
            Ok(right) => right,
            Err(Busy::Queue) => {
                let detail = "as many passwords wait to be checked as may";
                return Err(Failure::new(503, Blame::Load, "login-busy", detail));
            }
            Err(Busy::Failed) => {
                return Err(Failure::new(500, Blame::Us, "login-failed", "checking a password broke off"));
            }
        };
        match self.user.filter(|_| right) {
            Some(user) => {
                verified.remember(&self.hash, &self.password, now);
                Ok(user)
            }
            None => Err(refused("login-refused", "wrong name or password")),
        }
    }
}

fn refused(name: &'static str, detail: &'static str) -> Failure {
    Failure::new(401, Blame::Client, name, detail)
}

/// Name and password; the password may hold colons, the name may not (RFC 7617 2).
fn credentials<'b>(head: &RequestHead, buffer: &'b mut [u8]) -> Option<(&'b str, &'b [u8])> {
    let field = head.get("authorization")?;
    let (scheme, encoded) = field.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let length = STANDARD.decode_slice(encoded.trim_ascii(), buffer).ok()?;
    let decoded = buffer.get(..length)?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&decoded[..colon]).ok()?;
    (!name.is_empty() && !name.chars().any(char::is_control)).then_some((name, &decoded[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::head;
    use madang_host::clock;

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    // Goal: only well-formed credentials are read; the first colon parts them.
    #[test]
    fn credentials_are_read_strictly() {
        check(&basic("ana:secret"), Some(("ana", "secret")));
        check(&basic("ana:"), Some(("ana", "")));
        check(&basic("ana:a:b"), Some(("ana", "a:b")));
        check(&basic("한글:비밀"), Some(("한글", "비밀")));
        check(&basic("ana:secret").replace("Basic", "bASIC"), Some(("ana", "secret")));
        check(&basic("ana"), None);
        check(&basic(":secret"), None);
        check(&basic("a\nb:secret"), None);
        check("Basic", None);
        check("Basic !!!", None);
        check("Bearer abc", None);
        check(&basic(&format!("ana:{}", "x".repeat(CREDENTIALS_BYTES_MAX))), None);

        #[track_caller]
        fn check(field: &str, want: Option<(&str, &str)>) {
            let head = head("GET", "a.example", "/", &[("Authorization", field)]);
            let mut buffer = [0; CREDENTIALS_BYTES_MAX];
            let want = want.map(|(name, password)| (name, password.as_bytes()));
            assert_eq!(credentials(&head, &mut buffer), want, "{field}");
        }
    }

    // Goal: a right password is asked about once, a wrong one every time, an unknown name like a wrong password.
    #[test]
    fn right_passwords_are_asked_about_once() {
        let hash = cheap_hash("secret");
        let auth =
            Auth::new(&config::Basic { realm: "a \"b\"".to_owned(), users: vec![("ana".to_owned(), hash)] });
        assert_eq!(auth.challenge().as_str(), "Basic realm=\"a \\\"b\\\"\", charset=\"UTF-8\"");
        let (desk, verified, now) = (Arc::new(Desk::default()), Verified::new(), clock::now());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let look = |text: &str| {
            let head = head("GET", "a.example", "/", &[("Authorization", &basic(text))]);
            match auth.look(&head, &verified, now) {
                Looked::Known(user) => format!("known {user}"),
                Looked::Refused(failure) => failure.name.to_owned(),
                Looked::Ask(question) => match runtime.block_on(question.ask(&desk, &verified, now)) {
                    Ok(user) => format!("asked {user}"),
                    Err(failure) => format!("asked {}", failure.name),
                },
            }
        };
        assert_eq!(look("ana:wrong"), "asked login-refused");
        assert_eq!(look("ana:secret"), "asked ana");
        assert_eq!(look("ana:secret"), "known ana");
        assert_eq!(look("ana:wrong"), "asked login-refused");
        assert_eq!(look("eve:secret"), "asked login-refused");
        assert_eq!(look("nothing"), "login-required");
    }
}
