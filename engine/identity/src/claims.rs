//! What a token says, and whether it holds now.
//!
//! **Job.** Claims of a JSON Web Token (RFC 7519) to checked values. **Called by** `issuer`, after the signature was checked.
//! Pure: time comes in.
//!
//! Invariants
//! 1. A token without an end (`exp`) or without a subject (`sub`) is refused.
//! 2. A token that names audiences is taken only by one of them (RFC 7519 4.1.3); where the settings name one, it must.
//!
//! Not here: signatures (`jose`), our own access tokens (`access`).

use serde_json::{Map, Value};

use crate::refused::Refused;

/// The longest subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 128;

/// What an issuer's tokens must say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rules {
    /// Whom they must be made for: one of these. Empty: for nobody in particular.
    pub(crate) audience: Vec<String>,
    /// How far clocks may be apart, in seconds.
    pub(crate) skew_s: u64,
}

/// Claims that hold.
#[derive(Debug, PartialEq)]
pub(crate) struct Claims {
    pub(crate) subject: String,
    pub(crate) expires: u64,
    /// Everything it says.
    pub(crate) all: Map<String, Value>,
}

/// The claims of a token as JSON; nothing of it is checked.
pub(crate) fn read(payload: &[u8]) -> Result<Map<String, Value>, Refused> {
    let members: Once = serde_json::from_slice(payload).map_err(|_| Refused::TokenMalformed {
        what: "its claims are not a JSON object with each member once",
    })?;
    Ok(members.0)
}

/// Whether they hold now.
pub(crate) fn check(all: Map<String, Value>, rules: &Rules, now: u64) -> Result<Claims, Refused> {
    let expires = seconds(&all, "exp")?.ok_or(Refused::TokenClaimMissing { claim: "exp" })?;
    if expires.saturating_add(rules.skew_s) <= now {
        return Err(Refused::TokenExpired { since_s: now - expires });
    }
    for claim in ["nbf", "iat"] {
        if let Some(from) = seconds(&all, claim)?
            && from > now.saturating_add(rules.skew_s)
        {
            return Err(Refused::TokenNotYet { in_s: from - now });
        }
    }
    audience(&all, rules)?;
    let subject = match all.get("sub") {
        None => return Err(Refused::TokenClaimMissing { claim: "sub" }),
        Some(Value::String(subject)) if !subject.is_empty() && subject.len() <= SUBJECT_BYTES_MAX => {
            subject.clone()
        }
        Some(_) => return Err(Refused::TokenClaim { claim: "sub" }),
    };
    if subject.chars().any(char::is_control) {
        return Err(Refused::TokenClaim { claim: "sub" });
    }
    Ok(Claims { subject, expires, all })
}

fn audience(all: &Map<String, Value>, rules: &Rules) -> Result<(), Refused> {
    let ours = |audience: &str| rules.audience.iter().any(|ours| ours == audience);
    match all.get("aud") {
        None if rules.audience.is_empty() => Ok(()),
        None => Err(Refused::TokenClaimMissing { claim: "aud" }),
        Some(Value::String(one)) if ours(one) => Ok(()),
        Some(Value::Array(several)) if several.iter().any(|one| one.as_str().is_some_and(ours)) => Ok(()),
        Some(Value::String(_) | Value::Array(_)) => Err(Refused::TokenAudience),
        Some(_) => Err(Refused::TokenClaim { claim: "aud" }),
    }
}

/// A NumericDate (RFC 7519 2): seconds since 1970, fractions cut off.
fn seconds(all: &Map<String, Value>, claim: &'static str) -> Result<Option<u64>, Refused> {
    let Some(value) = all.get(claim) else { return Ok(None) };
    let wrong = Refused::TokenClaim { claim };
    if let Some(whole) = value.as_u64() {
        return Ok(Some(whole));
    }
    match value.as_f64() {
        // Exact up to 2^53, which is far beyond any date.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(seconds) if (0.0..9.0e15).contains(&seconds) => Ok(Some(seconds as u64)),
        _ => Err(wrong),
    }
}

/// A JSON object whose members come once: two readers that choose differently are how tokens were forged.
struct Once(Map<String, Value>);

impl<'de> serde::Deserialize<'de> for Once {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Once;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Once, A::Error> {
                let mut all = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if all.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a member twice"));
                    }
                }
                Ok(Once(all))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn checked(payload: &str) -> Result<Claims, Refused> {
        let rules = Rules { audience: vec!["town".to_owned(), "board".to_owned()], skew_s: 60 };
        check(read(payload.as_bytes())?, &rules, NOW)
    }

    // Goal: what holds is taken, at the very edge of each time as well.
    #[test]
    fn what_holds_is_taken() {
        for payload in [
            r#"{"sub":"7","exp":1800000001,"aud":"town"}"#,
            r#"{"sub":"7","exp":1799999941,"aud":["x","board"]}"#,
            r#"{"sub":"7","exp":1800000001.5,"aud":"town","nbf":1800000060,"iat":1800000060}"#,
            r#"{"sub":"민아|7","exp":9000000000,"aud":"town","unknown":{"deep":[1]}}"#,
        ] {
            assert!(checked(payload).is_ok(), "{payload}: {:?}", checked(payload));
        }
    }

    // Negative space: each claim just outside what it may be.
    #[test]
    fn what_does_not_hold_is_refused_by_name() {
        check(r#"{"sub":"7","aud":"town"}"#, Refused::TokenClaimMissing { claim: "exp" });
        check(r#"{"sub":"7","exp":1799999940,"aud":"town"}"#, Refused::TokenExpired { since_s: 60 });
        check(r#"{"sub":"7","exp":"1800000001","aud":"town"}"#, Refused::TokenClaim { claim: "exp" });
        check(r#"{"sub":"7","exp":-1,"aud":"town"}"#, Refused::TokenClaim { claim: "exp" });
        check(r#"{"sub":"7","exp":1e300,"aud":"town"}"#, Refused::TokenClaim { claim: "exp" });
        check(
            r#"{"sub":"7","exp":1800000001,"nbf":1800000061,"aud":"town"}"#,
            Refused::TokenNotYet { in_s: 61 },
        );
        check(
            r#"{"sub":"7","exp":1800000001,"iat":1900000000,"aud":"town"}"#,
            Refused::TokenNotYet { in_s: 100_000_000 },
        );
        check(r#"{"sub":"7","exp":1800000001}"#, Refused::TokenClaimMissing { claim: "aud" });
        check(r#"{"sub":"7","exp":1800000001,"aud":"Town"}"#, Refused::TokenAudience);
        check(r#"{"sub":"7","exp":1800000001,"aud":[]}"#, Refused::TokenAudience);
        check(r#"{"sub":"7","exp":1800000001,"aud":7}"#, Refused::TokenClaim { claim: "aud" });
        check(r#"{"exp":1800000001,"aud":"town"}"#, Refused::TokenClaimMissing { claim: "sub" });
        check(r#"{"sub":"","exp":1800000001,"aud":"town"}"#, Refused::TokenClaim { claim: "sub" });
        check(r#"{"sub":7,"exp":1800000001,"aud":"town"}"#, Refused::TokenClaim { claim: "sub" });
        check(r#"{"sub":"a\nb","exp":1800000001,"aud":"town"}"#, Refused::TokenClaim { claim: "sub" });
        assert_eq!(checked(r#"{"sub":"7","sub":"1"}"#).unwrap_err().name(), "token-malformed");
        assert_eq!(checked("[]").unwrap_err().name(), "token-malformed");
        assert_eq!(checked(&"[".repeat(4000)).unwrap_err().name(), "token-malformed");

        #[track_caller]
        fn check(payload: &str, want: Refused) {
            assert_eq!(checked(payload), Err(want), "{payload}");
        }
    }

    // Goal: where the settings name no audience, a token made for somebody is not for us.
    #[test]
    fn a_token_for_somebody_is_not_for_nobody() {
        let rules = Rules::default();
        let claims = |payload: &str| check(read(payload.as_bytes()).unwrap(), &rules, NOW);
        assert!(claims(r#"{"sub":"7","exp":1800000001}"#).is_ok());
        assert_eq!(claims(r#"{"sub":"7","exp":1800000001,"aud":"other"}"#), Err(Refused::TokenAudience));
    }
}
