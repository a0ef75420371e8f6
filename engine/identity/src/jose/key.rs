//! One key and the one algorithm it is for.
//!
//! **Job.** Check a signature; sign with a secret of ours. **Called by** `access`, `issuer`. **Calls** aws-lc-rs.
//!
//! Invariants
//! 1. A key verifies by its own algorithm only.
//! 2. `Debug` shows the algorithm, nothing of the key.
//!
//! Not here: sets of keys as JSON (`key_set`).

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};

use super::{Algorithm, Parts};
use crate::refused::Refused;

/// The shortest secret for HS256, in bytes: as long as its digest (RFC 7518 3.2).
pub(crate) const SECRET_BYTES_MIN: usize = 32;

/// A key that signatures are checked against.
pub(crate) enum Key {
    Secret(Box<hmac::Key>),
    Ec(ParsedPublicKey),
    Ed(ParsedPublicKey),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

impl Key {
    /// A shared secret, at least [`SECRET_BYTES_MIN`] long.
    pub(crate) fn secret(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= SECRET_BYTES_MIN)
            .then(|| Self::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes))))
    }

    /// A point of P-256. `None`: it is none.
    pub(crate) fn p256(x: &[u8], y: &[u8]) -> Option<Self> {
        if x.len() != 32 || y.len() != 32 {
            return None;
        }
        // Uncompressed form (SEC 1, 2.3.3).
        let point = [&[4], x, y].concat();
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok().map(Self::Ec)
    }

    /// A key of Ed25519. `None`: it is none.
    pub(crate) fn ed25519(x: &[u8]) -> Option<Self> {
        if x.len() != 32 {
            return None;
        }
        ParsedPublicKey::new(&ED25519, x).ok().map(Self::Ed)
    }

    /// Modulus and exponent. `None`: shorter than 2048 bits, longer than 8192, or an exponent that is none.
    pub(crate) fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<Self> {
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        let fits = (2048..=8192).contains(&bits) && (1..=8).contains(&e.len()) && e.last()? % 2 == 1;
        fits.then_some(Self::Rsa(RsaPublicKeyComponents { n, e }))
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Secret(_) => Algorithm::Hs256,
            Self::Ec(_) => Algorithm::Es256,
            Self::Ed(_) => Algorithm::EdDsa,
            Self::Rsa(_) => Algorithm::Rs256,
        }
    }

    /// Whether this key signed the token.
    ///
    /// # Errors
    /// [`Refused::TokenAlgorithm`]: it says another algorithm. [`Refused::TokenSignature`].
    pub(crate) fn verify(&self, parts: &Parts<'_>) -> Result<(), Refused> {
        if parts.algorithm != self.algorithm() {
            return Err(Refused::TokenAlgorithm);
        }
        let (message, signature) = (parts.message, &parts.signature[..]);
        let right = match self {
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Ec(key) | Self::Ed(key) => key.verify_sig(message, signature).is_ok(),
            Self::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
        };
        if right { Ok(()) } else { Err(Refused::TokenSignature) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.algorithm())
    }
}
