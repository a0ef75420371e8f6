//! Keys of an issuer with their private halves, and the tokens they sign: what a test or a fuzzer must have that no server has.
//!
//! **Job.** Make keys of all four kinds, the set an issuer would publish of them, and tokens, honest and forged. **Used by** `super`
//! and the tests of `issuer`.
//!
//! Not here: what must become of a token (`super`).

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use serde_json::{Value, json};

use crate::claims::Rules;
use crate::config::{IssuerSettings, KeySource};
use crate::issuer::Issuer;
use crate::jose::encode;
use crate::jose::key_set::KeySet;

/// When everything here happens, in seconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000;
/// What the issuer that shares a secret signs with.
pub(crate) const SECRET: &[u8] = b"a secret that is long enough to sign";

/// Keys of an issuer, with their private halves.
pub(crate) struct Keys {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    /// As the issuer publishes them, and some that are of no use here.
    pub(crate) fn set(&self) -> String {
        let point = self.ec.public_key().as_ref();
        let (n, e) = rsa_parts(&self.rsa);
        json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "alg": "ES256", "x": encode(&point[1..33]), "y": encode(&point[33..]) },
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(self.ed.public_key()) },
            { "kty": "RSA", "kid": "rsa", "key_ops": ["verify"], "n": n, "e": e },
            { "kty": "RSA", "kid": "for-encryption", "use": "enc", "n": n, "e": e },
            { "kty": "oct", "kid": "public-secret", "k": encode([7; 32]) },
            { "kty": "EC", "crv": "P-521", "kid": "other", "x": "AA", "y": "AA" },
        ]})
        .to_string()
    }

    /// The modulus of the RSA key as it is published.
    #[cfg(test)]
    pub(crate) fn modulus(&self) -> String {
        rsa_parts(&self.rsa).0
    }

    /// A token with this head and these claims, signed as `kind` says.
    pub(crate) fn token(&self, kind: &str, head: &Value, claims: &Value) -> String {
        self.signed(kind, head.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// The same of any bytes.
    pub(crate) fn signed(&self, kind: &str, head: &[u8], claims: &[u8]) -> String {
        let message = format!("{}.{}", encode(head), encode(claims));
        let bytes = message.as_bytes();
        let signature = match kind {
            "ec" => self.ec.sign(&SystemRandom::new(), bytes).unwrap().as_ref().to_vec(),
            "ed" => self.ed.sign(bytes).as_ref().to_vec(),
            "rsa" => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), bytes, &mut signature).unwrap();
                signature
            }
            "secret" => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), bytes).as_ref().to_vec(),
            // What a forger does who has the public keys only.
            "ec-as-secret" => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.ec.public_key().as_ref());
                hmac::sign(&key, bytes).as_ref().to_vec()
            }
            "set-as-secret" => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.set().as_bytes());
                hmac::sign(&key, bytes).as_ref().to_vec()
            }
            _ => Vec::new(),
        };
        format!("{message}.{}", encode(signature))
    }
}

fn rsa_parts(key: &RsaKeyPair) -> (String, String) {
    let public: &rsa::PublicKey = key.public_key();
    let big = |bytes: &[u8]| {
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
        encode(&bytes[first..])
    };
    (
        big(public.modulus().big_endian_without_leading_zero()),
        big(public.exponent().big_endian_without_leading_zero()),
    )
}

/// An issuer's settings.
pub(crate) fn settings(name: &str, issuer: Option<&str>, source: KeySource) -> Arc<IssuerSettings> {
    Arc::new(IssuerSettings {
        name: name.into(),
        issuer: issuer.map(str::to_owned),
        source,
        rules: Rules { audience: vec!["town".to_owned()], skew_s: 60 },
        name_claim: "name".to_owned(),
        roles_claim: Some("roles".to_owned()),
        plain_names: false,
    })
}

/// Three issuers: keys of all kinds in a file, a shared secret, and one whose keys were not read yet.
pub(crate) fn issuers(keys: &Keys) -> Vec<Issuer> {
    let file = KeySource::File("keys.json".into());
    let idp = Issuer::new(settings("idp", Some("https://id.example"), file.clone()));
    idp.set_keys(KeySet::parse(keys.set().as_bytes()).unwrap());
    let app = Issuer::new(settings("app", None, KeySource::Secret(SECRET.into())));
    let waiting = Issuer::new(settings("late", Some("https://late.example"), file));
    vec![idp, app, waiting]
}
