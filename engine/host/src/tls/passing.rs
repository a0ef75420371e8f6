//! A certificate for as long as one program runs.
//!
//! **Job.** Make a key and a certificate that signs itself, in memory alone, for a listener whose peers know it by its
//! fingerprint. **Called by** `clients/terminal` (`--listen tls://`). **Calls** rcgen.
//!
//! Invariants
//! 1. Nothing of it touches the disk: with the program the key is gone.
//!
//! Not here: certificates that are kept (`local_ca`), files of the operator (`pair`).

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

use super::pair::{CertificateError, Pair};

const DAY: Duration = Duration::from_secs(86_400);
/// Who pins does not look at dates; who looks has a year.
const DAYS: u32 = 365;
/// What messages call its file.
const NO_FILE: &str = "the certificate made in memory";

/// A certificate for these names and addresses, from a day ago for a year.
///
/// # Errors
/// The system gave no randomness, or a name is none.
pub fn certificate(hosts: Vec<String>, now: SystemTime) -> Result<Pair, CertificateError> {
    let path = Path::new(NO_FILE);
    let fail =
        |error: rcgen::Error| CertificateError::Malformed { path: path.into(), why: error.to_string() };
    let key = KeyPair::generate().map_err(fail)?;
    let mut params = CertificateParams::new(hosts).map_err(fail)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Madang, for as long as it runs");
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * DAYS).into();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let made = params.self_signed(&key).map_err(fail)?;
    Pair::from_pem(path, made.pem().as_bytes(), path, key.serialize_pem().as_bytes(), now)
}
