//! Certificates that clients show: who they are, and how they are checked.
//!
//! **Job.** Build the verifier of a policy from the operator's files (authorities, list of withdrawn certificates), and
//! describe the certificate of a connection.
//! **Called by** `policy`, `tls::accept`. **Calls** rustls (webpki), x509-parser.
//!
//! Invariants
//! 1. A description holds no byte that could end a header line or a log line (RFC 4514 2.4, control bytes escaped).
//! 2. With a list of withdrawn certificates, a client whose status the list cannot tell is refused, and so is
//!    everybody once the list is out of date: a list nobody renews must not quietly let the withdrawn in.
//!
//! Not here: which route a client may use (`roles/web`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::pin::Fingerprint;
use super::policy::PolicyError;

/// The largest file of authorities or of withdrawn certificates, in bytes: public lists have some MiB.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Whether clients show certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// Asked; without one the connection goes on, with a wrong one it does not.
    Optional {
        /// PEM file of the authorities that sign them.
        ca: PathBuf,
        /// PEM file of the certificates they withdrew (RFC 5280 5).
        crl: Option<PathBuf>,
    },
    /// No connection without.
    Required {
        /// PEM file of the authorities that sign them.
        ca: PathBuf,
        /// PEM file of the certificates they withdrew (RFC 5280 5).
        crl: Option<PathBuf>,
    },
}

impl ClientAuth {
    /// The files it is made from: authorities, withdrawn certificates.
    pub fn files(&self) -> [Option<&Path>; 2] {
        match self {
            Self::Off => [None, None],
            Self::Optional { ca, crl } | Self::Required { ca, crl } => [Some(ca), crl.as_deref()],
        }
    }

    /// Whether its files can be used.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.verifier(&Arc::new(rustls::crypto::aws_lc_rs::default_provider())).map(drop)
    }

    /// What checks the certificates; `None` when none are asked for.
    pub(super) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, PolicyError> {
        let (ca, crl, optional) = match self {
            Self::Off => return Ok(None),
            Self::Optional { ca, crl } => (ca, crl, true),
            Self::Required { ca, crl } => (ca, crl, false),
        };
        let fail = |why: String| PolicyError::ClientCa { path: ca.clone(), why };
        let pem = crate::file::read(ca, FILE_BYTES_MAX).map_err(|error| fail(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| fail(error.to_string()))?;
            roots.add(certificate).map_err(|error| fail(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(fail(
                "it holds no certificate; a PEM file with `-----BEGIN CERTIFICATE-----` is needed".into(),
            ));
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        if let Some(path) = crl {
            builder = builder
                .with_crls(withdrawn(path)?)
                .only_check_end_entity_revocation()
                .enforce_revocation_expiration();
        }
        if optional {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map(Some).map_err(|error| fail(error.to_string()))
    }
}

fn withdrawn(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, PolicyError> {
    let fail = |why: String| PolicyError::Crl { path: path.into(), why };
    let pem = crate::file::read(path, FILE_BYTES_MAX).map_err(|error| fail(error.to_string()))?;
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| fail(error.to_string()))?;
    if lists.is_empty() {
        return Err(fail("it holds no list; a PEM file with `-----BEGIN X509 CRL-----` is needed".into()));
    }
    Ok(lists)
}

/// The certificate a client proved to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject as RFC 4514 writes it (`CN=alice,O=Example`), at most 1 KiB.
    pub subject: String,
    /// The subject's common name, where it has one; escaped like the subject.
    pub common_name: Option<String>,
    /// Its serial number, in hex.
    pub serial: String,
    /// SHA-256 of the whole certificate, in hex.
    pub fingerprint: String,
    /// Seconds since 1970 when it ends.
    pub expires: u64,
}

impl ClientCertificate {
    /// Longest subject told. Bytes.
    const SUBJECT_BYTES_MAX: usize = 1024;

    /// Describes a certificate; `None` for one that cannot be read (which the verifier has refused before).
    pub fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let common_name = parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .map(|name| bounded(escaped(name)));
        Some(Self {
            subject: bounded(distinguished_name(parsed.subject())),
            common_name,
            serial: hex(parsed.raw_serial()),
            fingerprint: Fingerprint::of(der).to_string(),
            expires: u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0),
        })
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > ClientCertificate::SUBJECT_BYTES_MAX {
        let mut at = ClientCertificate::SUBJECT_BYTES_MAX - "…".len();
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.truncate(at);
        text.push('…');
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A name in the order and the escapes of RFC 4514: last part first.
fn distinguished_name(name: &X509Name<'_>) -> String {
    /// Short names of RFC 4514 3, and the two that people write into client certificates besides.
    const SHORT: [(&str, &str); 11] = [
        ("2.5.4.3", "CN"),
        ("2.5.4.7", "L"),
        ("2.5.4.8", "ST"),
        ("2.5.4.10", "O"),
        ("2.5.4.11", "OU"),
        ("2.5.4.6", "C"),
        ("2.5.4.9", "STREET"),
        ("0.9.2342.19200300.100.1.25", "DC"),
        ("0.9.2342.19200300.100.1.1", "UID"),
        ("2.5.4.5", "serialNumber"),
        ("1.2.840.113549.1.9.1", "emailAddress"),
    ];
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, part) in parts.iter().rev().enumerate() {
        for (more, attribute) in part.iter().enumerate() {
            if more > 0 {
                text.push('+');
            } else if index > 0 {
                text.push(',');
            }
            let id = attribute.attr_type().to_id_string();
            let short = SHORT.iter().find(|(have, _)| *have == id).map(|(_, short)| *short);
            text.push_str(short.unwrap_or(&id));
            text.push('=');
            match (short, attribute.as_str()) {
                (Some(_), Ok(value)) => text.push_str(&escaped(value)),
                // RFC 4514 2.4: what has no text form is written as the hex of its encoding.
                _ => {
                    text.push('#');
                    text.push_str(&hex(attribute.as_slice()));
                }
            }
        }
    }
    text
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => {
                text.push('\\');
                text.push(character);
            }
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            // Both ASCII and the second control block: a log line or header line must stay one line.
            control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}') => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{ClientCertificate, bounded, escaped};

    // Goal: no name a client chose can pretend to be two attributes, or two lines.
    // Method: each special character of RFC 4514 2.4 and each kind of line end.
    #[test]
    fn values_are_escaped_as_rfc_4514_says() {
        check("alice", "alice");
        check("alice,O=root", "alice\\,O\\=root");
        check(" alice ", "\\ alice\\ ");
        check("#1", "\\#1");
        check("a#1", "a#1");
        check("a\r\nx: y", "a\\0D\\0Ax: y");
        check("\0", "\\00");
        check("a\u{2028}b\u{85}c", "a\\E2\\80\\A8b\\C2\\85c");
        check("김철수", "김철수");
        check("a\"+;<>\\b", "a\\\"\\+\\;\\<\\>\\\\b");
        check(" ", "\\ ");
        check("", "");

        #[track_caller]
        fn check(value: &str, want: &str) {
            assert_eq!(escaped(value), want);
        }
    }

    #[test]
    fn a_subject_longer_than_the_limit_is_cut_between_characters() {
        let cut = bounded("각".repeat(1000));
        assert!(cut.len() <= ClientCertificate::SUBJECT_BYTES_MAX);
        assert!(cut.ends_with("각…"));
    }
}
