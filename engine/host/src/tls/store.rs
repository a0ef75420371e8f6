//! Certificates and their keys: read, checked, chosen by name, swapped when the files change.
//!
//! **Job.** Load pairs from PEM files with an error that names what is wrong and what to do, keep them behind a
//! resolver that rustls asks during a handshake.
//! **Called by** `policy`, `madang check`, the control side's watch. **Calls** rustls-pki-types, x509-parser.
//!
//! Invariants
//! 1. A [`Pair`] exists only when key and certificate belong together and the certificate is valid now.
//! 2. A failed reload keeps the old pair.
//!
//! Not here: names to sites (`policy`), the local CA (`local_ca`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::unix_seconds;

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
    Malformed { path: PathBuf, why: String },
    Mismatch { certificate: PathBuf, key: PathBuf },
    Expired { path: PathBuf, on: String },
    NotYetValid { path: PathBuf, from: String },
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } => write!(f, "cannot read {}: {why}", path.display()),
            Self::NoCertificate { path } => {
                write!(
                    f,
                    "{} holds no certificate; a PEM file with `-----BEGIN CERTIFICATE-----` is needed",
                    path.display()
                )
            }
            Self::NoKey { path } => {
                write!(
                    f,
                    "{} holds no private key; a PEM file with `-----BEGIN PRIVATE KEY-----` is needed",
                    path.display()
                )
            }
            Self::KeyEncrypted { path } => write!(
                f,
                "the key in {} is encrypted; store it without a passphrase (`openssl pkey -in OLD -out NEW`), readable only by the server",
                path.display()
            ),
            Self::KeyUnsupported { path, why } => {
                write!(f, "the key in {} cannot be used: {why}", path.display())
            }
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
            Self::NotYetValid { path, from } => {
                write!(
                    f,
                    "the certificate in {} is valid only from {from}; is this machine's clock right?",
                    path.display()
                )
            }
        }
    }
}
impl std::error::Error for CertificateError {}

/// A certificate chain and its key, checked.
#[derive(Debug, Clone)]
pub struct Pair {
    /// What rustls signs with.
    pub key: Arc<CertifiedKey>,
    /// Names it is valid for, lower case, wildcards as written.
    pub names: Vec<String>,
    /// Seconds since 1970 when it ends.
    pub expires: u64,
}

impl Pair {
    /// Reads and checks a pair of PEM files.
    pub fn load(certificate: &Path, key: &Path, now: SystemTime) -> Result<Self, CertificateError> {
        let certificate_pem = read(certificate)?;
        let key_pem = if key == certificate { certificate_pem.clone() } else { read(key)? };
        Self::from_pem(certificate, &certificate_pem, key, &key_pem, now)
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
        let Some(leaf) = chain.first() else {
            return Err(CertificateError::NoCertificate { path: certificate.into() });
        };
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| malformed(error.to_string()))?;
        let (names, expires) = (names_of(&parsed), check_time(&parsed, certificate, now)?);
        if memchr_find(key_pem, b"ENCRYPTED") {
            return Err(CertificateError::KeyEncrypted { path: key.into() });
        }
        let private = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|_| CertificateError::NoKey { path: key.into() })?;
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private)
            .map_err(|error| CertificateError::KeyUnsupported { path: key.into(), why: error.to_string() })?;
        let certified = CertifiedKey::new(chain, signing);
        certified
            .keys_match()
            .map_err(|_| CertificateError::Mismatch { certificate: certificate.into(), key: key.into() })?;
        Ok(Self { key: Arc::new(certified), names, expires })
    }

    /// Whole days until it ends; 0 when it has.
    pub fn days_left(&self, now: SystemTime) -> u64 {
        self.expires.saturating_sub(unix_seconds(now)) / 86_400
    }

    /// Whether it is valid for a name (RFC 6125: a wildcard stands for exactly one label).
    pub fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| name_matches(pattern, name))
    }
}

/// Whether `pattern` (exact or `*.rest`) stands for `name`; both lower case.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match pattern.strip_prefix("*.") {
        None => pattern == name,
        Some(rest) => name.split_once('.').is_some_and(|(label, tail)| !label.is_empty() && tail == rest),
    }
}

fn memchr_find(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path)
        .map_err(|error| CertificateError::Unreadable { path: path.into(), why: error.to_string() })
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

/// Where a pair comes from, to notice when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

type Stamp = Option<(SystemTime, u64)>;

impl Source {
    fn stamp(&self) -> [Stamp; 2] {
        let of = |path: &Path| {
            std::fs::metadata(path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())))
        };
        [of(&self.certificate), of(&self.key)]
    }
}

struct Entry {
    source: Option<Source>,
    stamp: [Stamp; 2],
    pair: Pair,
}

/// The certificates of one policy. Handshakes read it; the control side swaps pairs in it.
pub struct CertificateStore {
    entries: RwLock<Vec<Entry>>,
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateStore")
    }
}

impl CertificateStore {
    /// From files; all errors at once.
    pub fn from_files(sources: &[Source], now: SystemTime) -> Result<Arc<Self>, Vec<CertificateError>> {
        let (mut entries, mut errors) = (Vec::new(), Vec::new());
        for source in sources {
            let stamp = source.stamp();
            match Pair::load(&source.certificate, &source.key, now) {
                Ok(pair) => entries.push(Entry { source: Some(source.clone()), stamp, pair }),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Arc::new(Self { entries: RwLock::new(entries) })) } else { Err(errors) }
    }

    /// From a pair made here (the local CA's).
    pub fn from_pair(pair: Pair) -> Arc<Self> {
        Arc::new(Self { entries: RwLock::new(vec![Entry { source: None, stamp: [None, None], pair }]) })
    }

    /// Replaces the pair made here by a newer one.
    pub fn replace_made(&self, pair: Pair) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.iter_mut().find(|entry| entry.source.is_none()) {
            entry.pair = pair;
        }
    }

    /// Reads again whatever changed on disk. A pair that cannot be used keeps its predecessor and is told once per change.
    pub fn reload_changed(&self, now: SystemTime) -> Vec<Result<Source, CertificateError>> {
        let mut told = Vec::new();
        let changed: Vec<(usize, Source, [Stamp; 2])> = {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            let stamped = entries.iter().enumerate().filter_map(|(index, entry)| {
                let source = entry.source.as_ref()?;
                let stamp = source.stamp();
                (stamp != entry.stamp).then(|| (index, source.clone(), stamp))
            });
            stamped.collect()
        };
        for (index, source, stamp) in changed {
            let loaded = Pair::load(&source.certificate, &source.key, now);
            let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = entries.get_mut(index) else { continue };
            entry.stamp = stamp;
            told.push(loaded.map(|pair| {
                entry.pair = pair;
                source
            }));
        }
        told
    }

    /// Every pair's names and end, for `status` and metrics.
    pub fn pairs(&self) -> Vec<Pair> {
        self.entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|entry| entry.pair.clone())
            .collect()
    }

    fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let exact =
            |entry: &&Entry| name.is_some_and(|name| entry.pair.names.iter().any(|have| have == name));
        let covering = |entry: &&Entry| name.is_some_and(|name| entry.pair.covers(name));
        let chosen =
            entries.iter().find(exact).or_else(|| entries.iter().find(covering)).or_else(|| entries.first());
        chosen.map(|entry| Arc::clone(&entry.pair.key))
    }
}

impl ResolvesServerCert for CertificateStore {
    /// Exact name, then wildcard, then the first certificate of the settings: a client with an unknown name sees a
    /// certificate it can complain about instead of a broken handshake.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        self.choose(name.as_deref())
    }
}
