//! Policies: which certificates, versions and client certificates hold for which names.
//!
//! **Job.** Build one rustls configuration per policy and find the policy of a name.
//! **Called by** `tls::accept`, `madang` (assemble). **Calls** rustls, `store`.
//!
//! Invariants
//! 1. Each policy has its own tickets and session store (see `tls`).
//! 2. Ticket keys rotate every six hours and are known to this process only.
//!
//! Not here: reading settings (`host::config`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::store::{CertificateStore, name_matches};

/// TLS 1.2 sessions remembered per policy; 1.3 uses tickets, which cost us no memory.
const SESSIONS_MAX: usize = 256;

/// The oldest version taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VersionMin {
    /// TLS 1.2, with forward secrecy and AEAD only.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

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
    },
    /// No connection without.
    Required {
        /// PEM file of the authorities that sign them.
        ca: PathBuf,
    },
}

/// Why a policy cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// The CA file for client certificates.
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// rustls refused the combination.
    Config {
        /// What it said.
        why: String,
    },
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientCa { path, why } => {
                write!(f, "cannot use {} to check client certificates: {why}", path.display())
            }
            Self::Config { why } => write!(f, "TLS cannot be set up: {why}"),
        }
    }
}
impl std::error::Error for PolicyError {}

/// One policy.
pub struct Policy {
    /// The site group's name.
    pub name: Arc<str>,
    /// Names it holds for, exact or `*.rest`; empty: any.
    pub hosts: Vec<String>,
    /// Its certificates.
    pub store: Arc<CertificateStore>,
    /// What rustls runs with.
    pub config: Arc<ServerConfig>,
}

impl Policy {
    /// Builds the configuration.
    pub fn new(
        name: &str,
        hosts: Vec<String>,
        store: Arc<CertificateStore>,
        version: VersionMin,
        client: &ClientAuth,
    ) -> Result<Self, PolicyError> {
        let config_error = |error: rustls::Error| PolicyError::Config { why: error.to_string() };
        // The default provider prefers X25519MLKEM768, takes AEAD suites with forward secrecy only.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions: &[&rustls::SupportedProtocolVersion] = match version {
            VersionMin::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            VersionMin::Tls13 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(config_error)?;
        let verifier = |ca: &Path, optional: bool| {
            let fail = |why: String| PolicyError::ClientCa { path: ca.into(), why };
            let pem = std::fs::read(ca).map_err(|error| fail(error.to_string()))?;
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| fail(error.to_string()))?;
                roots.add(certificate).map_err(|error| fail(error.to_string()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = if optional { verifier.allow_unauthenticated() } else { verifier };
            verifier.build().map_err(|error| fail(error.to_string()))
        };
        let builder = match client {
            ClientAuth::Off => builder.with_no_client_auth(),
            ClientAuth::Optional { ca } => builder.with_client_cert_verifier(verifier(ca, true)?),
            ClientAuth::Required { ca } => builder.with_client_cert_verifier(verifier(ca, false)?),
        };
        let mut config =
            builder.with_cert_resolver(Arc::clone(&store) as Arc<dyn rustls::server::ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(config_error)?;
        // One ticket is what a browser uses; each costs an encryption and 200 bytes in every new connection.
        config.send_tls13_tickets = 1;
        Ok(Self { name: name.into(), hosts, store, config: Arc::new(config) })
    }

    fn matches(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| name_matches(host, name))
    }
}

/// The policies of one listener, in the settings' order.
#[derive(Clone)]
pub struct TlsPolicies {
    /// At least one; the first is used for clients without a name and for unknown names.
    policies: Arc<Vec<Policy>>,
}

impl TlsPolicies {
    /// `None` for an empty list.
    pub fn new(policies: Vec<Policy>) -> Option<Self> {
        (!policies.is_empty()).then(|| Self { policies: Arc::new(policies) })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter()
    }

    /// Exact name, then wildcard, then the one that takes any name, then the first.
    pub fn for_name(&self, name: Option<&str>) -> &Policy {
        let find = |wanted: &dyn Fn(&Policy) -> bool| self.policies.iter().find(|policy| wanted(policy));
        name.and_then(|name| {
            find(&|policy| policy.hosts.iter().any(|host| host == name))
                .or_else(|| find(&|policy| policy.matches(name)))
        })
        .or_else(|| find(&|policy| policy.hosts.is_empty()))
        .unwrap_or(&self.policies[0])
    }
}
