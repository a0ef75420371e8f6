//! Signed tokens as bytes: JSON Web Signature, compact form (RFC 7515), with the four algorithms we take.
//!
//! **Job.** Take a token apart strictly, check its signature against a key; sign our own. **Called by** `access`, `issuer`.
//! **Calls** aws-lc-rs for every signature, `claims` for reading an object. Pure.
//!
//! Invariants
//! 1. The key says which algorithm counts, never the token: a public key is never taken for a secret, `none` for nothing.
//! 2. Base64url without padding, exact; a JSON member twice is malformed; `crit` is refused.
//!
//! Not here: encrypted tokens (JWE), what claims mean (`claims`), which key it must be (`issuer`).

pub(crate) mod key;
pub(crate) mod key_set;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::claims;
use crate::refused::Refused;

/// The longest token, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// By what a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// HMAC with SHA-256 (RFC 7518 3.2).
    Hs256,
    /// ECDSA over P-256 with SHA-256 (RFC 7518 3.4).
    Es256,
    /// Ed25519 (RFC 8037 3.1).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 to 8192 bits (RFC 7518 3.3).
    Rs256,
}

impl Algorithm {
    /// By its name in `alg`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "ES256" => Some(Self::Es256),
            // RFC 9864 gives Ed25519 its own name.
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

/// A token taken apart; its signature is not looked at yet, and nothing in it may be believed.
pub(crate) struct Parts<'t> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// What is signed.
    pub(crate) message: &'t [u8],
}

/// Takes a token apart.
pub(crate) fn read(token: &str) -> Result<Parts<'_>, Refused> {
    let malformed = |what| Refused::TokenMalformed { what };
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refused::TokenTooLong { length: token.len() });
    }
    let mut parts = token.split('.');
    let (Some(head), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("it has not three parts"));
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part);
    let header = decode(head).map_err(|_| malformed("its head is not base64url"))?;
    // Members we do not know are passed over (RFC 7515 4), but read: each once, and text that is text.
    let no_head = || malformed("its head is not JSON of a JWS");
    let header = claims::read(&header).map_err(|_| no_head())?;
    let alg = header.get("alg").and_then(Value::as_str).ok_or_else(no_head)?;
    let kid = match header.get("kid") {
        None | Some(Value::Null) => None,
        Some(kid) => Some(kid.as_str().ok_or_else(no_head)?.to_owned()),
    };
    if alg.eq_ignore_ascii_case("none") {
        return Err(Refused::TokenUnsigned);
    }
    if header.get("crit").is_some_and(|crit| !crit.is_null()) {
        return Err(Refused::TokenCritical);
    }
    let algorithm = Algorithm::named(alg).ok_or(Refused::TokenAlgorithm)?;
    let message = &token.as_bytes()[..head.len() + 1 + payload.len()];
    let payload = decode(payload).map_err(|_| malformed("its claims are not base64url"))?;
    let signature = decode(signature).map_err(|_| malformed("its signature is not base64url"))?;
    Ok(Parts { algorithm, kid, payload, signature, message })
}

/// Text for a token.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The other way; `None`: it is not exact.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Goal: every way of being no token has its name. Method: heads and parts written by hand.
    #[test]
    fn what_is_no_token_is_refused_by_name() {
        let token = |head: &str| format!("{}.{}.{}", encode(head), encode("{}"), encode("x"));
        check("", "token-malformed");
        check("a.b", "token-malformed");
        check("a.b.c.d", "token-malformed");
        check("!.e30.eA", "token-malformed");
        check(&format!("{}==.e30.eA", encode("{}")), "token-malformed");
        check(&token("{}"), "token-malformed");
        check(&token("[]"), "token-malformed");
        check(&token(r#"{"alg":7}"#), "token-malformed");
        check(&token(r#"{"alg":"HS256","alg":"none"}"#), "token-malformed");
        // Found by fuzzing: members that are passed over were not read as text, and could come twice.
        check(&token(r#"{"alg":"HS256","x":"\ud800"}"#), "token-malformed");
        check(&token(r#"{"alg":"HS256","x":1,"x":2}"#), "token-malformed");
        check(&token(r#"{"alg":"HS256","kid":7}"#), "token-malformed");
        check(&token(r#"{"alg":"none"}"#), "token-unsigned");
        check(&token(r#"{"alg":"NoNe"}"#), "token-unsigned");
        check(&token(r#"{"alg":"HS512"}"#), "token-algorithm");
        check(&token(r#"{"alg":"hs256"}"#), "token-algorithm");
        check(&token(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#), "token-critical");
        check(&"a".repeat(TOKEN_BYTES_MAX + 1), "token-too-long");

        #[track_caller]
        fn check(token: &str, want: &str) {
            assert_eq!(read(token).err().map(|refused| refused.name()), Some(want), "{token}");
        }
    }

    proptest! {
        // Goal: no bytes make it panic, and what it takes it gives back to the byte.
        #[test]
        fn any_text_is_read_or_refused(token in "[A-Za-z0-9_.=-]{0,200}|\\PC{0,60}") {
            if let Ok(parts) = read(&token) {
                let message = String::from_utf8_lossy(parts.message).into_owned();
                prop_assert_eq!(format!("{message}.{}", encode(&parts.signature)), token);
            }
        }
    }
}
