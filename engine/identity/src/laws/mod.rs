//! What must hold of any text that somebody shows to be let in: tokens of outside issuers, our own, sets of keys, the first words of SCRAM.
//!
//! **Job.** State each law once. The tests below feed them generated values, the fuzz target `tokens` what libFuzzer finds. A law that
//! is broken panics. Only part of test and fuzzing builds: here are private keys, which no server has.
//!
//! 1. Nothing that was not signed opens, and nothing that was signed opens for more than it says.
//! 2. A token that was changed anywhere is refused.
//! 3. A set of keys holds what it may and nothing else; a key of somebody else's set opens nothing.
//! 4. What is refused has a name and a sentence.
//!
//! Not here: single tokens with their known refusals (the tests of `issuer`, `jose`, `access`, `family`).
#![allow(clippy::unwrap_used, clippy::panic)] // a broken law stops the run: that is how it is told

pub(crate) mod keys;

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::keys::{Keys, NOW, issuers};
use crate::access::Signer;
use crate::issuer::{self, Issuer};
use crate::jose::key_set::{KEYS_MAX, KeySet};
use crate::jose::{self, Algorithm};
use crate::refused::Refused;
use crate::scram::ClientFirst;
use crate::users::ROLES_MAX;
use crate::who::{UserId, Via, Who};
use crate::{api_key, family};

/// How a token is signed: a key that is the issuer's own (the first four), and what a forger can do.
const KINDS: [&str; 7] = ["ec", "ed", "rsa", "secret", "ec-as-secret", "set-as-secret", "none"];

/// What is made once: keys cost milliseconds.
struct World {
    keys: Keys,
    issuers: Vec<Issuer>,
    signer: Signer,
    /// Good tokens: of every kind of issuer, and one of ours.
    good: Vec<String>,
    refresh: String,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

impl World {
    fn new() -> Self {
        let keys = Keys::new();
        let (issuers, signer) = (issuers(&keys), Signer::new(&[7; 32]));
        let claims = json!({ "iss": "https://id.example", "aud": "town", "sub": "u-1", "exp": NOW + 600 });
        let app = json!({ "aud": "town", "sub": "u-1", "exp": NOW + 600 });
        let ours = Who {
            user: Some(UserId::local(7)),
            guest: None,
            name: "mina".into(),
            roles: vec!["moderator".to_owned()].into(),
            claims: Default::default(),
            via: Via::Session,
            session: Some("family".into()),
            until: NOW + 600,
            generation: 3,
        };
        let good = vec![
            keys.token("ec", &json!({ "alg": "ES256", "kid": "ec" }), &claims),
            keys.token("ed", &json!({ "alg": "EdDSA", "kid": "ed" }), &claims),
            keys.token("rsa", &json!({ "alg": "RS256", "kid": "rsa" }), &claims),
            keys.token("secret", &json!({ "alg": "HS256" }), &app),
            signer.write(&ours, NOW),
        ];
        let named = family::Named { family: family::id([9; 16]), user: 7, place: 2 };
        let refresh = family::write(signer.refresh(), &named).unwrap();
        let world = Self { keys, issuers, signer, good, refresh };
        for token in &world.good {
            world.check(token).unwrap();
        }
        world
    }

    /// As `Identity::check` does it, without what is revoked.
    fn check(&self, token: &str) -> Result<Who, Refused> {
        if self.signer.is_ours(token) {
            self.signer.check(token, NOW)
        } else {
            issuer::check(&self.issuers, token, NOW)
        }
    }

    /// Law 1, for a text that nobody signed.
    fn nobody_signed(&self, text: &str) {
        if !self.good.iter().any(|good| good == text) {
            is_refused(text, self.check(text));
        }
        if let Ok(parts) = jose::read(text) {
            let message = String::from_utf8_lossy(parts.message).into_owned();
            assert_eq!(
                format!("{message}.{}", jose::encode(&parts.signature)),
                text,
                "it reads as another token"
            );
        }
        if text != self.refresh {
            assert_eq!(
                family::read(self.signer.refresh(), text),
                None,
                "a refresh token nobody made: {text}"
            );
        }
        // What has the form of a key is looked up in the store by a part of it.
        if let Some(find) = api_key::parts(text) {
            assert!(find.len() == 8 && find.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text:?}");
        }
        if let Ok(first) = ClientFirst::read(text) {
            assert!(text.contains("n=") && text.len() >= first.name.len(), "{text:?}");
        }
    }

    /// Law 1, for what a key signed.
    fn somebody_signed(&self, kind: &str, head: &[u8], claims: &[u8]) {
        let token = self.keys.signed(kind, head, claims);
        let Ok(who) = self.check(&token) else { return };
        let (head, said): (Value, Value) =
            (serde_json::from_slice(head).unwrap(), serde_json::from_slice(claims).unwrap());
        let own = match kind {
            "ec" => ["ES256"].contains(&text(&head, "alg")),
            "ed" => ["EdDSA", "Ed25519"].contains(&text(&head, "alg")),
            "rsa" => text(&head, "alg") == "RS256",
            "secret" => text(&head, "alg") == "HS256" && said.get("iss").is_none(),
            _ => false,
        };
        assert!(own, "{kind} opened for {head} {said}");
        assert!(head.get("crit").is_none() || head["crit"].is_null(), "{head}");
        let ends = said["exp"].as_f64().unwrap();
        assert!(ends + 60.0 > NOW as f64 - 1.0, "it is over: {said}");
        for begins in ["nbf", "iat"] {
            assert!(said[begins].as_f64().is_none_or(|from| from <= NOW as f64 + 61.0), "not yet: {said}");
        }
        let audience = match &said["aud"] {
            Value::Array(several) => several.iter().any(|one| one == "town"),
            one => one == "town",
        };
        assert!(audience, "it is for somebody else: {said}");
        let issuer = if kind == "secret" { "app" } else { "idp" };
        assert_eq!(who.id(), format!("{issuer}/{}", text(&said, "sub")), "{said}");
        assert!(who.via == Via::Outside(issuer.into()) && !who.is_guest() && who.session.is_none());
        assert!(who.roles.len() <= ROLES_MAX && !who.name.chars().any(char::is_control), "{:?}", who.name);
        assert!(
            who.name.chars().count() <= 64 + 4 && who.name.ends_with(&format!("@{issuer}")),
            "{:?}",
            who.name
        );
        assert!(!who.name.to_lowercase().starts_with(crate::name::GUEST), "{:?}", who.name);
    }

    /// Law 2.
    fn changed(&self, which: u8, at: usize, put: &str) {
        let good = &self.good[usize::from(which) % self.good.len()];
        let at = at % good.len();
        let mut changed = good.clone();
        changed.replace_range(at..(at + put.chars().count()).min(good.len()), put);
        if changed != *good {
            is_refused(&changed, self.check(&changed));
        }
        let mut cut = good.clone();
        cut.truncate(at);
        is_refused(&cut, self.check(&cut));
    }

    /// Law 3.
    fn key_set(&self, text: &[u8]) {
        let set = match KeySet::parse(text) {
            Ok(set) => set,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        // What is passed over in a set is not read; nobody signed the set's text, so nothing hangs on it.
        let Ok(written) = serde_json::from_slice::<Value>(text) else { return };
        let written = written["keys"].as_array().unwrap();
        assert!((1..=KEYS_MAX).contains(&set.len()) && set.len() + set.passed_over == written.len());
        let shown = format!("{set:?}");
        let names: BTreeSet<&str> = written.iter().filter_map(|key| key["kid"].as_str()).collect();
        let ours: Value = serde_json::from_str(&self.keys.set()).unwrap();
        let knows =
            |part: &str| ours["keys"].as_array().unwrap().iter().any(|key| part_of(key, part, written));
        for algorithm in [Algorithm::Hs256, Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
            for kid in names.iter().copied().map(Some).chain([None, Some("nobody's")]) {
                let Ok(key) = set.find(kid, algorithm) else { continue };
                assert!(key.algorithm() == algorithm && algorithm != Algorithm::Hs256, "{shown}");
                for token in &self.good {
                    let opens = jose::read(token).is_ok_and(|parts| key.verify(&parts).is_ok());
                    assert!(!opens || knows("x") || knows("n"), "somebody else's key opens: {shown}");
                }
            }
        }
    }
}

/// Whether a part of this key of ours stands in a set.
fn part_of(ours: &Value, part: &str, written: &[Value]) -> bool {
    ours[part].is_string() && written.iter().any(|key| key[part] == ours[part])
}

fn text<'v>(object: &'v Value, member: &str) -> &'v str {
    object[member].as_str().unwrap_or_default()
}

/// Laws 1 and 4.
fn is_refused(token: &str, got: Result<Who, Refused>) {
    match got {
        Ok(who) => panic!("{token:?} opens for {who:?}"),
        Err(refused) => assert!(!refused.name().is_empty() && !refused.to_string().is_empty()),
    }
}

/// All laws for one input. The first byte chooses what the rest is: 0 a text that is shown; 1 a set of keys; 2 a place and what is put
/// there in a good token, which the second byte chooses; 3 to 9 a head and claims with a NUL between them, signed as `KINDS` says.
pub fn from_fuzz(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    WORLD.with_borrow_mut(|world| {
        let world = world.get_or_insert_with(World::new);
        let shown = std::str::from_utf8(rest);
        match first % 10 {
            0 => shown.into_iter().for_each(|text| world.nobody_signed(text)),
            1 => world.key_set(rest),
            2 => {
                if let [which, high, low, put @ ..] = rest
                    && let Ok(put) = std::str::from_utf8(put)
                {
                    world.changed(*which, usize::from(u16::from_be_bytes([*high, *low])), put);
                }
            }
            kind => {
                let at = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
                let (head, claims) = rest.split_at(at);
                let claims = claims.get(1..).unwrap_or_default();
                world.somebody_signed(KINDS[usize::from(kind - 3)], head, claims);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Heads, most of them fine.
    fn head() -> impl Strategy<Value = String> {
        let alg = prop_oneof![
            6 => "ES256|EdDSA|Ed25519|RS256|HS256",
            1 => "none|HS512|es256|",
        ];
        let kid =
            prop_oneof![4 => "(ec|ed|rsa)", 1 => "[a-z-]{0,9}"].prop_map(|kid| format!(r#","kid":"{kid}""#));
        let more = prop_oneof![6 => Just(""), 1 => Just(r#","crit":["exp"]"#), 1 => Just(r#","crit":null"#), 1 => Just(r#","alg":"none""#)];
        (alg, prop_oneof![3 => kid, 1 => Just(String::new())], more)
            .prop_map(|(alg, kid, more)| format!(r#"{{"alg":"{alg}"{kid}{more}}}"#))
    }

    /// Claims, most of them fine.
    fn claims() -> impl Strategy<Value = String> {
        let iss = prop_oneof![4 => Just(r#""iss":"https://id.example","#), 3 => Just(""), 1 => Just(r#""iss":7,"#), 1 => Just(r#""iss":"https://late.example","#)];
        let aud = prop_oneof![6 => Just(r#""town""#), 2 => Just(r#"["a","town"]"#), 1 => Just("[]"), 1 => Just("7")];
        let sub = prop_oneof![6 => r#""[a-z0-9|-]{0,9}""#, 1 => r#""\\\\u00[01][0-9]""#, 1 => "null|7"];
        let exp = prop_oneof![4 => (NOW - 70..NOW + 70).prop_map(|at| at.to_string()), 1 => "-1|1e300|9e15|\"1\"|18000000[0-9][0-9]\\.5"];
        let more = prop_oneof![
            3 => Just(String::new()),
            1 => (NOW - 70..NOW + 70).prop_map(|at| format!(r#","nbf":{at}"#)),
            2 => r#","name":"(guest-1|GUEST|[ -!#-\[\]-~]{0,80}|\\PC{0,9})""#,
            1 => r#","roles":("[a-z ]{0,20}"|\["a",7\]|7)"#,
        ];
        (iss, aud, sub, exp, more).prop_map(|(iss, aud, sub, exp, more)| {
            format!(r#"{{{iss}"aud":{aud},"sub":{sub},"exp":{exp}{more}}}"#)
        })
    }

    /// Sets of keys, some of them with a key that is none.
    fn key_set() -> impl Strategy<Value = String> {
        let part = prop_oneof![3 => "[A-Za-z0-9_-]{43}", 1 => "[A-Za-z0-9_=-]{0,44}", 1 => Just(jose::encode([255; 256]))];
        let key = (
            "RSA|EC|OKP|oct",
            "P-256|Ed25519|P-384",
            part.clone(),
            part,
            prop_oneof![3 => Just(""), 1 => Just(r#","use":"enc""#), 1 => Just(r#","key_ops":["sign"]"#), 1 => Just(r#","alg":"ES256""#)],
        );
        let key = key.prop_map(|(kty, crv, x, y, more)| {
            format!(r#"{{"kty":"{kty}","kid":"{}","crv":"{crv}","x":"{x}","y":"{y}","n":"{x}","e":"AQAB"{more}}}"#, &kty[..1])
        });
        proptest::collection::vec(key, 0..4).prop_map(|keys| format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
    }

    fn fuzzed(first: u8, rest: &[u8]) {
        from_fuzz(&[&[first][..], rest].concat());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_nobody_signed_opens_nothing(text in "(mdr_|mdk_|n,,n=|)[A-Za-z0-9_.=,-]{0,120}|\\PC{0,60}") {
            fuzzed(0, text.as_bytes());
        }

        #[test]
        fn what_was_signed_opens_for_what_it_says(kind in 0..7_u8, head in head(), claims in claims()) {
            fuzzed(3 + kind, format!("{head}\0{claims}").as_bytes());
        }

        #[test]
        fn what_was_changed_opens_nothing(which in 0..5_u8, at in any::<[u8; 2]>(), put in "[A-Za-z0-9_.=-]{0,3}|\\PC") {
            fuzzed(2, &[&[which, at[0] % 4, at[1]], put.as_bytes()].concat());
        }

        #[test]
        fn a_set_of_keys_holds_what_it_may(set in key_set()) {
            fuzzed(1, set.as_bytes());
        }
    }

    // Goal: what fuzzing found once is found again without a fuzzer. Method: every kept file through the laws.
    #[test]
    fn the_kept_corpus_holds() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/tokens");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert!(files.len() > 20, "{} files", files.len());
        files.into_iter().for_each(|file| from_fuzz(&std::fs::read(file.unwrap().path()).unwrap()));
    }

    // Goal: the laws look at something. Method: of what is generated, honest tokens of each kind do open.
    #[test]
    fn honest_tokens_open_under_the_laws() {
        let world = World::new();
        assert_eq!(world.good.iter().filter(|good| world.check(good).is_ok()).count(), 5);
        assert!(family::read(world.signer.refresh(), &world.refresh).is_some());
        world.key_set(world.keys.set().as_bytes());
    }
}
