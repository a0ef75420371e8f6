//! Believing one certificate instead of authorities.
//!
//! **Job.** Tell certificates apart by their SHA-256; verify a server by it, or by nothing where the settings say so.
//! **Called by** `connect`, `client`, `pair`. **Calls** rustls, aws-lc-rs.
//!
//! Invariants
//! 1. Whoever is believed has proved to hold the certificate's key.
//! 2. With a pin, names, dates and issuers count for nothing: the certificate is that one or the connection is not made.
//!
//! Not here: authorities (`connect`).

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// SHA-256 of a whole certificate, as `openssl x509 -fingerprint -sha256` has it; written in 64 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of this certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAFingerprint {
    /// Its hex digits; 64 are needed.
    pub digits: usize,
}

impl fmt::Display for NotAFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a SHA-256 fingerprint is 64 hex digits, with or without colons; this has {}", self.digits)
    }
}
impl StdError for NotAFingerprint {}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    /// Large and small digits, with colons between them (as openssl writes it) or not.
    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let digits: Vec<char> = text.trim().chars().filter(|c| *c != ':').collect();
        let known = digits.iter().filter(|c| c.is_ascii_hexdigit()).count();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() || known != digits.len() {
            return Err(NotAFingerprint { digits: known });
        }
        let value = |c: char| c.to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or(0);
        for (byte, two) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(two[0]) << 4 | value(two[1]);
        }
        Ok(Self(bytes))
    }
}

/// The server showed another certificate than the pinned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongPin {
    /// What was pinned.
    pub wanted: Fingerprint,
    /// What was shown.
    pub shown: Fingerprint,
}

impl fmt::Display for WrongPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its certificate's SHA-256 is {}, not {} as pinned", self.shown, self.wanted)
    }
}
impl StdError for WrongPin {}

/// Why a handshake ended at the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// It is another one than the pinned one.
    Pin(WrongPin),
    /// No authority that is believed stands for it, its name is another one, or its time is over.
    Authority,
}

impl Distrust {
    /// What a handshake's error says about it; `None`: it failed for another reason.
    pub fn of(error: &io::Error) -> Option<Self> {
        match super::rustls_error(error)? {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                Some(inner.downcast_ref().map_or(Self::Authority, |wrong| Self::Pin(*wrong)))
            }
            rustls::Error::InvalidCertificate(_) => Some(Self::Authority),
            _ => None,
        }
    }
}

/// Asks no authority: believes the certificate with this fingerprint; `None`: any.
#[derive(Debug)]
pub(super) struct NoAuthority {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) pin: Option<Fingerprint>,
}

impl ServerCertVerifier for NoAuthority {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Fingerprint::of(certificate);
        match self.pin {
            Some(wanted) if wanted != shown => {
                let wrong = OtherError(Arc::new(WrongPin { wanted, shown }));
                Err(rustls::Error::InvalidCertificate(CertificateError::Other(wrong)))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a fingerprint is read as people copy it, and half of one never passes for a whole one.
    #[test]
    fn a_fingerprint_is_read_as_it_is_copied() {
        let small = "00ff".repeat(16);
        let colons = ["00", "FF"].repeat(16).join(":");
        check(&small, Ok(&small));
        check(&colons, Ok(&small));
        check(&format!(" {small}\n"), Ok(&small));
        check(&small[1..], Err(63));
        check(&format!("{small}0"), Err(65));
        check(&format!("{}g", &small[1..]), Err(63));
        check(&format!("{}é", &small[1..]), Err(63));
        check("", Err(0));

        #[track_caller]
        fn check(text: &str, want: Result<&str, usize>) {
            let read = text.parse::<Fingerprint>();
            assert_eq!(
                read.map(|read| read.to_string()),
                want.map(str::to_owned).map_err(|digits| NotAFingerprint { digits })
            );
        }
    }
}
