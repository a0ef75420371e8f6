//! A certificate authority for this machine: https while developing (`tls = "local"`).
//!
//! **Job.** Make a root once, keep it in the data folder, sign short-lived certificates for the names of a site, and
//! tell how to trust the root.
//! **Called by** `madang` (assemble, `trust`). **Calls** rcgen.
//!
//! Invariants
//! 1. The root's key never leaves `DATA/ca` (folder 0700, file 0600) and signs only certificates made here.
//! 2. A leaf lives 30 days and is renewed when 10 are left; the root lives 10 years.
//!
//! Not here: public certificates (ACME, to come).

use std::fmt;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use super::pair::{CertificateError, Pair};

const LEAF_DAYS: u64 = 30;
/// Leaves are renewed when fewer days than this are left.
pub const RENEW_DAYS: u64 = 10;
const ROOT_DAYS: u64 = 3650;
const DAY: Duration = Duration::from_secs(86_400);

/// Why the local CA cannot be used.
#[derive(Debug)]
pub enum LocalCaError {
    /// Its files.
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Making a key or certificate.
    Make(rcgen::Error),
    /// What was made could not be used.
    Use(CertificateError),
}

impl fmt::Display for LocalCaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => {
                write!(f, "the local certificate authority's file {}: {error}", path.display())
            }
            Self::Make(error) => {
                write!(f, "the local certificate authority could not make a certificate: {error}")
            }
            Self::Use(error) => error.fmt(f),
        }
    }
}
impl std::error::Error for LocalCaError {}

/// The machine's own authority.
pub struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
    /// The root certificate's file, to install.
    pub root_path: PathBuf,
}

impl LocalCa {
    /// Opens the authority in `data/ca`, or founds it.
    pub fn open(data: &Path, now: SystemTime) -> Result<Self, LocalCaError> {
        let folder = data.join("ca");
        let (root_path, key_path) = (folder.join("root.pem"), folder.join("root.key"));
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |error| LocalCaError::File { path, error }
        };
        match std::fs::read_to_string(&key_path) {
            Ok(key_pem) => {
                let root_pem = std::fs::read_to_string(&root_path).map_err(fail(&root_path))?;
                let key = KeyPair::from_pem(&key_pem).map_err(LocalCaError::Make)?;
                let issuer = Issuer::from_ca_cert_pem(&root_pem, key).map_err(LocalCaError::Make)?;
                Ok(Self { issuer, root_pem, root_path })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut builder = std::fs::DirBuilder::new();
                builder.recursive(true).mode(0o700).create(&folder).map_err(fail(&folder))?;
                let key = KeyPair::generate().map_err(LocalCaError::Make)?;
                let params = root_params(now);
                let root_pem = params.self_signed(&key).map_err(LocalCaError::Make)?.pem();
                write_new(&root_path, root_pem.as_bytes(), 0o644).map_err(fail(&root_path))?;
                // The key last: it is what says that the authority exists.
                write_new(&key_path, key.serialize_pem().as_bytes(), 0o600).map_err(fail(&key_path))?;
                Ok(Self { issuer: Issuer::new(params, key), root_pem, root_path })
            }
            Err(error) => Err(LocalCaError::File { path: key_path, error }),
        }
    }

    /// A certificate for these names and addresses. `localhost` and the loopback addresses are always among them.
    pub fn issue(&self, hosts: &[String], now: SystemTime) -> Result<Pair, LocalCaError> {
        let mut names: Vec<String> = hosts.to_vec();
        for always in ["localhost", "127.0.0.1", "::1"] {
            if !names.iter().any(|name| name == always) {
                names.push(always.to_owned());
            }
        }
        let key = KeyPair::generate().map_err(LocalCaError::Make)?;
        let mut params = CertificateParams::new(names).map_err(LocalCaError::Make)?;
        params.distinguished_name = named("Madang local certificate");
        params.not_before = (now - DAY).into();
        params.not_after = (now + DAY * u32::try_from(LEAF_DAYS).unwrap_or(1)).into();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &self.issuer).map_err(LocalCaError::Make)?;
        let chain = format!("{}{}", leaf.pem(), self.root_pem);
        let here = &self.root_path;
        Pair::from_pem(here, chain.as_bytes(), here, key.serialize_pem().as_bytes(), now)
            .map_err(LocalCaError::Use)
    }
}

fn root_params(now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Madang local authority (this machine only)");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * u32::try_from(ROOT_DAYS).unwrap_or(1)).into();
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// How to make this machine's programs trust the root.
pub fn trust_instructions(root: &Path) -> String {
    let root = root.display();
    format!(
        "The root certificate of this machine's own authority:\n  {root}\n\n\
         Trust it only on machines of yours: whoever holds its key can sign for any name.\n\n\
         Debian, Ubuntu   sudo cp {root} /usr/local/share/ca-certificates/madang.crt && sudo update-ca-certificates\n\
         Fedora, RHEL     sudo cp {root} /etc/pki/ca-trust/source/anchors/madang.pem && sudo update-ca-trust\n\
         Arch             sudo trust anchor --store {root}\n\
         macOS            sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {root}\n\
         Windows          certutil -addstore -f ROOT root.pem   (as administrator)\n\
         Firefox          Settings, Certificates, View Certificates, Authorities, Import\n\
         Chrome on Linux  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n madang -i {root}\n\
         Node             NODE_EXTRA_CA_CERTS={root} node app.js\n\
         Python requests  REQUESTS_CA_BUNDLE={root} python3 app.py\n\
         curl             curl --cacert {root} https://localhost:8443/\n"
    )
}
