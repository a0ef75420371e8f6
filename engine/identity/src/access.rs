//! Access tokens of ours: short, signed, checked without asking anybody.
//!
//! **Job.** Write and check the token that a login gives. **Called by** `identity`, `session`. **Calls** `jose`. Pure.
//!
//! It is a JSON Web Token signed by HS256 with the house's secret, so that every machine of the house takes it. Its head is always
//! the same text: a token that begins otherwise is none of ours, and no other algorithm is ever tried on one of ours.
//!
//! Invariants
//! 1. Whatever a token says was written here: only who has the secret can sign.
//! 2. Keys for different ends are derived apart: a signature of one kind is never one of another.
//!
//! Not here: refresh tokens (`family`), revocation (`revoked`), outside tokens (`issuer`).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::jose;
use crate::refused::Refused;
use crate::who::{UserId, Via, Who};

/// The head of every access token (RFC 9068's type).
const HEAD: &str = r#"{"alg":"HS256","typ":"at+jwt","kid":"madang"}"#;
/// Who says so.
const ISSUER: &str = "madang";

/// Keys derived from the house's secret.
pub(crate) struct Signer {
    access: hmac::Key,
    refresh: hmac::Key,
    stand_in: hmac::Key,
    tries: hmac::Key,
    head: String,
}

/// What a token of ours says.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    iss: String,
    /// A user's number, or a guest's id behind `g`.
    sub: String,
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    /// The generation of the user's logins.
    #[serde(rename = "gen")]
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    iat: u64,
    exp: u64,
}

impl Signer {
    /// From the house's secret.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |label: &str| {
            let bytes = hmac::sign(&master, label.as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref())
        };
        Self {
            access: derived("madang access token"),
            refresh: derived("madang refresh token"),
            stand_in: derived("madang scram stand-in"),
            tries: derived("madang login tries"),
            head: format!("{}.", jose::encode(HEAD)),
        }
    }

    /// Signs refresh tokens.
    pub(crate) fn refresh(&self) -> &hmac::Key {
        &self.refresh
    }

    /// Makes what is shown for users that are not there.
    pub(crate) fn stand_in(&self) -> &hmac::Key {
        &self.stand_in
    }

    /// Marks names and addresses that are counted.
    pub(crate) fn tries(&self) -> &hmac::Key {
        &self.tries
    }

    /// Whether a text claims to be one of ours.
    pub(crate) fn is_ours(&self, token: &str) -> bool {
        token.starts_with(&self.head)
    }

    /// A token for somebody, good from `now` to `until` (seconds since 1970).
    pub(crate) fn write(&self, who: &Who, now: u64) -> String {
        let sub = match (&who.user, &who.guest) {
            (Some(user), _) => user.as_str().to_owned(),
            (None, guest) => format!("g{}", guest.as_deref().unwrap_or_default()),
        };
        let said = Said {
            iss: ISSUER.to_owned(),
            sub,
            name: who.name.to_string(),
            roles: who.roles.to_vec(),
            generation: who.generation,
            sid: who.session.as_deref().map(str::to_owned),
            iat: now,
            exp: who.until,
        };
        let said = serde_json::to_vec(&said).unwrap_or_default();
        let message = format!("{}{}", self.head, jose::encode(said));
        let signature = hmac::sign(&self.access, message.as_bytes());
        format!("{message}.{}", jose::encode(signature))
    }

    /// Whom a token of ours is of. About 2 µs.
    pub(crate) fn check(&self, token: &str, now: u64) -> Result<Who, Refused> {
        if token.len() > jose::TOKEN_BYTES_MAX {
            return Err(Refused::TokenTooLong { length: token.len() });
        }
        let malformed = |what| Refused::TokenMalformed { what };
        let rest = token.strip_prefix(&self.head).ok_or(malformed("it is none of ours"))?;
        let (payload, signature) = rest.split_once('.').ok_or(malformed("it has not three parts"))?;
        let message = &token.as_bytes()[..self.head.len() + payload.len()];
        let signature = jose::decode(signature).ok_or(malformed("its signature is not base64url"))?;
        hmac::verify(&self.access, message, &signature).map_err(|_| Refused::TokenSignature)?;
        // From here on it is what we wrote.
        let payload = jose::decode(payload).ok_or(malformed("its claims are not base64url"))?;
        let said: Said =
            serde_json::from_slice(&payload).map_err(|_| malformed("its claims are not ours"))?;
        if said.exp <= now {
            return Err(Refused::TokenExpired { since_s: now - said.exp });
        }
        let (user, guest): (_, Option<Arc<str>>) = match said.sub.strip_prefix('g') {
            Some(guest) => (None, Some(guest.into())),
            None => (Some(UserId::from_text(&said.sub)), None),
        };
        Ok(Who {
            via: if user.is_some() { Via::Session } else { Via::Guest },
            user,
            guest,
            name: said.name.into(),
            roles: said.roles.into(),
            claims: Arc::new(Map::new()),
            session: said.sid.map(Into::into),
            until: said.exp,
            generation: said.generation,
        })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const NOW: u64 = 1_800_000_000;

    pub(crate) fn mina() -> Who {
        Who {
            user: Some(UserId::local(7)),
            guest: None,
            name: "민아".into(),
            roles: vec!["moderator".to_owned()].into(),
            claims: Arc::default(),
            via: Via::Session,
            session: Some("family".into()),
            until: NOW + 600,
            generation: 3,
        }
    }

    // Goal: what was written is read, for users and guests, until its end and not a second longer.
    #[test]
    fn what_is_written_is_read_until_its_end() {
        let signer = Signer::new(&[7; 32]);
        let token = signer.write(&mina(), NOW);
        let who = signer.check(&token, NOW + 599).unwrap();
        assert_eq!(format!("{who:?}"), format!("{:?}", mina()));
        assert_eq!(signer.check(&token, NOW + 600).unwrap_err(), Refused::TokenExpired { since_s: 0 });

        let guest = Who { user: None, guest: Some("abc".into()), session: None, via: Via::Guest, ..mina() };
        let who = signer.check(&signer.write(&guest, NOW), NOW).unwrap();
        assert!(who.is_guest() && who.id() == "abc");
    }

    // Goal: nobody else's token is ours: another secret, another end of the same secret, a changed letter, another head.
    #[test]
    fn forged_tokens_are_refused_by_name() {
        let signer = Signer::new(&[7; 32]);
        let token = signer.write(&mina(), NOW);
        check(&Signer::new(&[8; 32]).write(&mina(), NOW), "token-signature");
        let (message, signature) = token.rsplit_once('.').unwrap();
        let refresh = jose::encode(hmac::sign(signer.refresh(), message.as_bytes()));
        check(&format!("{message}.{refresh}"), "token-signature");
        check(&format!("{message}."), "token-signature");
        check(&format!("{message}.{signature}="), "token-malformed");
        check(message, "token-malformed");
        let payload = message.split('.').nth(1).unwrap();
        let none = jose::encode(r#"{"alg":"none","typ":"at+jwt","kid":"madang"}"#);
        check(&format!("{none}.{payload}."), "token-malformed");
        check(&format!("{token}.{token}"), "token-malformed");
        check(&"x".repeat(9000), "token-too-long");

        #[track_caller]
        fn check(token: &str, want: &str) {
            let got = Signer::new(&[7; 32]).check(token, NOW);
            assert_eq!(got.unwrap_err().name(), want, "{token}");
        }
    }

    proptest! {
        // Goal: no change of any letter goes through.
        #[test]
        fn a_changed_letter_is_refused(place in 0_usize..1000, letter in "[A-Za-z0-9_.-]") {
            let signer = Signer::new(&[7; 32]);
            let token = signer.write(&mina(), NOW);
            let place = place % token.len();
            let mut changed = token.clone();
            changed.replace_range(place..=place, &letter);
            prop_assert!(changed == token || signer.check(&changed, NOW).is_err());
        }
    }
}
