//! A certificate chain and its key: read, checked, described.
//!
//! **Job.** Turn two PEM files into something a handshake can use, or into one sentence with the remedy; tell what
//! will work but should be better.
//! **Called by** `store`, `local_ca`, `madang check`. **Calls** rustls-pki-types, x509-parser.
//!
//! Invariants
//! 1. A [`Pair`] exists only when key and certificate belong together and the certificate is valid now.
//! 2. A private key never reaches a message, a log or `Debug`.
//!
//! Not here: which pair a client gets (`store`), names of sites (`policy`).

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::names::name_matches;
use super::pin::Fingerprint;
use crate::clock::unix_seconds;

/// Fewer bits in an RSA key and every browser turns away.
const RSA_BITS_MIN: usize = 2048;
/// From here on an RSA signature costs several times what it has to.
const RSA_BITS_SLOW: usize = 4096;
/// A file of certificates larger than this is none. Bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a pair cannot be used. Each display is one sentence with the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are the path and what was found
pub enum CertificateError {
    Unreadable { path: PathBuf, why: String },
    NoCertificate { path: PathBuf },
    NoKey { path: PathBuf },
    KeyEncrypted { path: PathBuf },
    KeyUnsupported { path: PathBuf, why: String },
    KeyWeak { path: PathBuf, bits: usize },
    Malformed { path: PathBuf, why: String },
    Mismatch { certificate: PathBuf, key: PathBuf },
    Expired { path: PathBuf, on: String },
    NotYetValid { path: PathBuf, from: String },
    IsAuthority { path: PathBuf },
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } => write!(f, "cannot read {}: {why}", path.display()),
            Self::NoCertificate { path } => write!(
                f,
                "{} holds no certificate; a PEM file with `-----BEGIN CERTIFICATE-----` is needed",
                path.display()
            ),
            Self::NoKey { path } => write!(
                f,
                "{} holds no private key; a PEM file with `-----BEGIN PRIVATE KEY-----` is needed",
                path.display()
            ),
            Self::KeyEncrypted { path } => write!(
                f,
                "the key in {} is encrypted; store it without a passphrase (`openssl pkey -in OLD -out NEW`), readable only by the server",
                path.display()
            ),
            Self::KeyUnsupported { path, why } => {
                write!(f, "the key in {} cannot be used: {why}", path.display())
            }
            Self::KeyWeak { path, bits } => write!(
                f,
                "the RSA key of {} has {bits} bits, which clients refuse; order the certificate with a P-256 key (or RSA of {RSA_BITS_MIN} bits)",
                path.display()
            ),
            Self::Malformed { path, why } => {
                write!(f, "the certificate in {} cannot be read: {why}", path.display())
            }
            Self::Mismatch { certificate, key } => write!(
                f,
                "the key in {} does not belong to the certificate in {}; both must come from the same order",
                key.display(),
                certificate.display()
            ),
            Self::Expired { path, on } => {
                write!(f, "the certificate in {} expired on {on}; renew it", path.display())
            }
            Self::NotYetValid { path, from } => write!(
                f,
                "the certificate in {} is valid only from {from}; is this machine's clock right?",
                path.display()
            ),
            Self::IsAuthority { path } => write!(
                f,
                "the first certificate in {} is an authority's, not a server's; the server's own comes first in the file",
                path.display()
            ),
        }
    }
}
impl std::error::Error for CertificateError {}

/// What works but will trouble somebody. Each display is one sentence with the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weakness {
    /// No subject alternative name: clients compare nothing else (RFC 9525 2).
    NoNames,
    /// Signed with SHA-1 or MD5.
    OldSignature {
        /// The algorithm's object identifier.
        algorithm: String,
    },
    /// An RSA key so long that every new connection pays for it.
    SlowKey {
        /// Its length.
        bits: usize,
    },
    /// Not made for servers: extended key usage without serverAuth.
    NotForServers,
    /// A certificate of the chain did not sign the one before it.
    ChainBroken {
        /// Which, counted from 1; the server's own is 1.
        at: usize,
    },
    /// Only the server's own certificate, signed by somebody else.
    ChainShort {
        /// Who signed it.
        issuer: String,
    },
    /// Everybody on this machine may read the key.
    KeyOpen {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNames => f.write_str("no subject alternative name: every client will refuse it"),
            Self::OldSignature { algorithm } => {
                write!(f, "signed with SHA-1 or MD5 ({algorithm}): clients will refuse it")
            }
            Self::SlowKey { bits } => {
                write!(f, "an RSA key of {bits} bits makes every new connection slow; a P-256 key does not")
            }
            Self::NotForServers => {
                f.write_str("not made for servers (no serverAuth in its extended key usage)")
            }
            Self::ChainBroken { at } => write!(
                f,
                "certificate {at} of the file did not sign the one before it; the order is: own, intermediate, intermediate's"
            ),
            Self::ChainShort { issuer } => write!(
                f,
                "only the server's own certificate; if {issuer} is an intermediate, clients need its certificate in the file too (certbot: fullchain.pem)"
            ),
            Self::KeyOpen { path, mode } => write!(
                f,
                "everybody on this machine may read the key ({} has mode {mode:03o}); `chmod 600` it",
                path.display()
            ),
        }
    }
}

/// A certificate chain and its key, checked.
#[derive(Debug, Clone)]
pub struct Pair {
    /// What rustls signs with.
    pub key: Arc<CertifiedKey>,
    /// Names it is valid for, lower case, wildcards as written.
    pub names: Vec<String>,
    /// Seconds since 1970 when it ends.
    pub expires: u64,
    /// What works but should be better.
    pub weaknesses: Vec<Weakness>,
}

impl Pair {
    /// Reads and checks a pair of PEM files.
    pub fn load(certificate: &Path, key: &Path, now: SystemTime) -> Result<Self, CertificateError> {
        let certificate_pem = read(certificate)?;
        let key_pem = if key == certificate { certificate_pem.clone() } else { read(key)? };
        let mut pair = Self::from_pem(certificate, &certificate_pem, key, &key_pem, now)?;
        if let Ok(meta) = std::fs::metadata(key) {
            let mode = meta.permissions().mode() & 0o777;
            if mode & 0o004 != 0 {
                pair.weaknesses.push(Weakness::KeyOpen { path: key.into(), mode });
            }
        }
        Ok(pair)
    }

    /// Checks a pair of PEM texts; the paths are for messages.
    pub fn from_pem(
        certificate: &Path,
        certificate_pem: &[u8],
        key: &Path,
        key_pem: &[u8],
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let malformed = |why: String| CertificateError::Malformed { path: certificate.into(), why };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate_pem)
            .collect::<Result<_, _>>()
            .map_err(|error| malformed(error.to_string()))?;
        if chain.is_empty() {
            return Err(CertificateError::NoCertificate { path: certificate.into() });
        }
        let parsed = chain
            .iter()
            .map(|der| X509Certificate::from_der(der).map(|(_, parsed)| parsed))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| malformed(error.to_string()))?;
        let leaf = &parsed[0]; // not empty, as checked above
        let expires = check_time(leaf, certificate, now)?;
        if leaf.is_ca() && parsed.len() > 1 {
            return Err(CertificateError::IsAuthority { path: certificate.into() });
        }
        if let Some(bits) = rsa_bits(leaf).filter(|bits| *bits < RSA_BITS_MIN) {
            return Err(CertificateError::KeyWeak { path: certificate.into(), bits });
        }
        let names = names_of(leaf);
        let weaknesses = weaknesses(&parsed, &names);
        let private = private_key(key, key_pem)?;
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private)
            .map_err(|error| CertificateError::KeyUnsupported { path: key.into(), why: error.to_string() })?;
        let certified = CertifiedKey::new(chain, signing);
        certified
            .keys_match()
            .map_err(|_| CertificateError::Mismatch { certificate: certificate.into(), key: key.into() })?;
        Ok(Self { key: Arc::new(certified), names, expires, weaknesses })
    }

    /// Of the certificate that is shown first.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.key.cert.first().map(Fingerprint::of)
    }

    /// Whole days until it ends; 0 when it has.
    pub fn days_left(&self, now: SystemTime) -> u64 {
        self.expires.saturating_sub(unix_seconds(now)) / 86_400
    }

    /// Whether it is valid for a name (RFC 6125: a wildcard stands for exactly one label).
    pub fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| name_matches(pattern, name))
    }

    /// Whether a client that takes these signatures can use it.
    pub fn usable_with(&self, schemes: &[SignatureScheme]) -> bool {
        self.key.key.choose_scheme(schemes).is_some()
    }

    /// Whether its signatures are the cheap and short kind.
    pub fn is_elliptic(&self) -> bool {
        self.key.key.algorithm() != rustls::SignatureAlgorithm::RSA
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |why: String| CertificateError::Unreadable { path: path.into(), why };
    crate::file::read(path, FILE_BYTES_MAX).map_err(|error| unreadable(error.to_string()))
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    // `ENCRYPTED PRIVATE KEY` (PKCS #8) and `Proc-Type: 4,ENCRYPTED` (what OpenSSL wrote before).
    let encrypted = ["BEGIN ENCRYPTED", "4,ENCRYPTED"]
        .iter()
        .any(|sign| pem.windows(sign.len()).any(|window| window == sign.as_bytes()));
    if encrypted {
        return Err(CertificateError::KeyEncrypted { path: path.into() });
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => CertificateError::NoKey { path: path.into() },
        other => CertificateError::KeyUnsupported { path: path.into(), why: other.to_string() },
    })
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    use x509_parser::extensions::GeneralName;
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|v4| std::net::Ipv4Addr::from(v4).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string()),
            _ => None,
        },
        _ => None,
    });
    names.collect()
}

fn check_time(
    certificate: &X509Certificate<'_>,
    path: &Path,
    now: SystemTime,
) -> Result<u64, CertificateError> {
    let (from, until) =
        (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    let now = i64::try_from(unix_seconds(now)).unwrap_or(i64::MAX);
    let date = |at: i64| madang_wire::date::imf_fixdate(u64::try_from(at).unwrap_or(0));
    if until < now {
        return Err(CertificateError::Expired { path: path.into(), on: date(until) });
    }
    if from > now {
        return Err(CertificateError::NotYetValid { path: path.into(), from: date(from) });
    }
    Ok(u64::try_from(until).unwrap_or(0))
}

fn rsa_bits(certificate: &X509Certificate<'_>) -> Option<usize> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.key_size()),
        _ => None,
    }
}

fn weaknesses(chain: &[X509Certificate<'_>], names: &[String]) -> Vec<Weakness> {
    /// sha1WithRSA, md5WithRSA, ecdsa-with-SHA1 (RFC 3279 2.2).
    const OLD: [&str; 3] = ["1.2.840.113549.1.1.5", "1.2.840.113549.1.1.4", "1.2.840.10045.4.1"];
    let mut found = Vec::new();
    let leaf = &chain[0]; // callers check that there is one
    let self_signed = leaf.subject() == leaf.issuer();
    if names.is_empty() {
        found.push(Weakness::NoNames);
    }
    let algorithm = leaf.signature_algorithm.algorithm.to_id_string();
    if OLD.contains(&algorithm.as_str()) && !self_signed {
        found.push(Weakness::OldSignature { algorithm });
    }
    if let Some(bits) = rsa_bits(leaf).filter(|bits| *bits >= RSA_BITS_SLOW) {
        found.push(Weakness::SlowKey { bits });
    }
    if let Ok(Some(usage)) = leaf.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        found.push(Weakness::NotForServers);
    }
    for (index, two) in chain.windows(2).enumerate() {
        if two[0].issuer() != two[1].subject() {
            found.push(Weakness::ChainBroken { at: index + 2 });
        }
    }
    if chain.len() == 1 && !self_signed {
        found.push(Weakness::ChainShort { issuer: leaf.issuer().to_string() });
    }
    found
}
