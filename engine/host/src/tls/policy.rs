//! Policies: which certificates, versions and client certificates hold for which names.
//!
//! **Job.** Build one rustls configuration per policy, build it anew when the files about client certificates change,
//! and find the policy of a name.
//! **Called by** `tls::accept`, `madang` (assemble). **Calls** rustls, `client`, `names`, `store`, `watch`.
//!
//! Invariants
//! 1. Each policy has its own tickets and session store (see `tls`): nothing agreed on under one is valid under another.
//! 2. Ticket keys rotate every six hours, open nothing after twelve, and are known to this process only.
//! 3. When authorities or the list of withdrawn certificates change, all earlier sessions end with them: a resumed
//!    session shows no certificate, so nobody could ask whether it was withdrawn.
//!
//! Not here: reading settings (`host::config`), checking client certificates (`client`).

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::aws_lc_rs;
use rustls::server::ServerSessionMemoryCache;
use rustls::{CipherSuite, ServerConfig};

pub use super::client::ClientAuth;
use super::names::{NameIndex, normal};
use super::store::CertificateStore;
use super::watch::Stamp;

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

/// What is spoken under TLS: which protocols are agreed on by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/2 and HTTP/1.1; clients that offer only others are refused.
    Http,
    /// Whatever the bytes are: nothing is chosen, whatever a client offers.
    Anything,
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
    /// The list of withdrawn client certificates.
    Crl {
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
            Self::Crl { path, why } => {
                write!(f, "cannot use {} as a list of withdrawn client certificates: {why}", path.display())
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
    version: VersionMin,
    client: ClientAuth,
    speaks: Speaks,
    now: RwLock<Built>,
}

/// What rustls runs with, and the files about clients it was made from.
struct Built {
    /// Our order of cipher suites (`place`).
    config: Arc<ServerConfig>,
    /// The same but for the order, which is the client's; sessions go on from one to the other.
    as_offered: Arc<ServerConfig>,
    stamps: [Option<Stamp>; 2],
}

impl Policy {
    /// Builds the configuration. `client` may name files, which are read here.
    pub fn new(
        name: &str,
        hosts: Vec<String>,
        store: Arc<CertificateStore>,
        version: VersionMin,
        client: &ClientAuth,
        speaks: Speaks,
    ) -> Result<Self, PolicyError> {
        let stamps = stamps(client);
        let now = RwLock::new(Built::new(build(&store, version, client, speaks)?, stamps));
        Ok(Self { name: name.into(), hosts, store, version, client: client.clone(), speaks, now })
    }

    /// What a new connection runs with, whose client offers these cipher suites.
    ///
    /// Ours is the order, unless the client's first choice is ChaCha20: then its processor has no AES and would pay several
    /// times for it. All suites are AEAD with forward secrecy, so nothing is lost either way.
    pub fn config(&self, offered: &[CipherSuite]) -> Arc<ServerConfig> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(if prefers_chacha20(offered) { &now.as_offered } else { &now.config })
    }

    /// Reads the authorities and the list of withdrawn client certificates again if they changed; `None` when they did
    /// not. What cannot be used leaves everything as it was and is told once per change. Open connections stay.
    pub fn reload_changed(&self) -> Option<Result<(), PolicyError>> {
        let stamps = stamps(&self.client);
        if self.now.read().unwrap_or_else(PoisonError::into_inner).stamps == stamps {
            return None;
        }
        let built = build(&self.store, self.version, &self.client, self.speaks);
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        now.stamps = stamps;
        Some(built.map(|config| *now = Built::new(config, stamps)))
    }
}

impl Built {
    fn new(config: ServerConfig, stamps: [Option<Stamp>; 2]) -> Self {
        let mut as_offered = config.clone();
        as_offered.ignore_client_order = false;
        Self { config: Arc::new(config), as_offered: Arc::new(as_offered), stamps }
    }
}

/// Whether the first suite that is meant (not GREASE, RFC 8701) is one with ChaCha20.
fn prefers_chacha20(offered: &[CipherSuite]) -> bool {
    let grease = |suite: u16| suite & 0x0f0f == 0x0a0a && suite >> 8 == suite & 0xff;
    offered.iter().find(|suite| !grease(u16::from(**suite))).is_some_and(|first| {
        matches!(
            first,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        )
    })
}

fn stamps(client: &ClientAuth) -> [Option<Stamp>; 2] {
    client.files().map(|path| path.map(Stamp::of))
}

/// Where a suite stands in our order: AES-128, AES-256, ChaCha20; within each as the provider has them.
///
/// Nobody breaks either key length, and the suites of AES-256 derive their keys by SHA-384, for which most machines have no
/// instructions: it took an eighth of a handshake. Mozilla's profiles and browsers begin with AES-128 as well.
fn place(suite: CipherSuite) -> u8 {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => 1,
        _ => 2,
    }
}

fn build(
    store: &Arc<CertificateStore>,
    version: VersionMin,
    client: &ClientAuth,
    speaks: Speaks,
) -> Result<ServerConfig, PolicyError> {
    let config_error = |error: rustls::Error| PolicyError::Config { why: error.to_string() };
    // The default provider prefers X25519MLKEM768, takes AEAD suites with forward secrecy only.
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| place(suite.suite()));
    let provider = Arc::new(provider);
    let versions: &[&rustls::SupportedProtocolVersion] = match version {
        VersionMin::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        VersionMin::Tls13 => &[&rustls::version::TLS13],
    };
    let verifier = client.verifier(&provider)?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(config_error)?;
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let resolver = Arc::clone(store) as Arc<dyn rustls::server::ResolvesServerCert>;
    let mut config = builder.with_cert_resolver(resolver);
    if speaks == Speaks::Http {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(config_error)?;
    // One ticket is what a browser uses; each costs an encryption and 200 bytes in every new connection.
    config.send_tls13_tickets = 1;
    // No early data (0-RTT): what it carries can be sent again by anybody who saw it (RFC 8446 8).
    config.max_early_data_size = 0;
    config.ignore_client_order = true;
    Ok(config)
}

/// The policies of one listener, in the settings' order.
#[derive(Clone)]
pub struct TlsPolicies {
    shared: Arc<Shared>,
}

struct Shared {
    /// At least one.
    policies: Vec<Policy>,
    index: NameIndex,
    /// For clients without a name and for unknown names: the one that takes any name, or the first.
    fallback: usize,
}

impl TlsPolicies {
    /// `None` for an empty list.
    pub fn new(policies: Vec<Policy>) -> Option<Self> {
        if policies.is_empty() {
            return None;
        }
        let mut index = NameIndex::default();
        for (number, policy) in policies.iter().enumerate() {
            for host in &policy.hosts {
                index.insert(host, number);
            }
        }
        let fallback = policies.iter().position(|policy| policy.hosts.is_empty()).unwrap_or(0);
        Some(Self { shared: Arc::new(Shared { policies, index, fallback }) })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.shared.policies.iter()
    }

    /// Exact name, then wildcard, then the one that takes any name, then the first.
    ///
    /// The same question asked with a request's host says whose policy the request needs: where that is not the policy
    /// of the connection, the request is misdirected (421, RFC 9110 7.4).
    pub fn for_name(&self, name: Option<&str>) -> &Policy {
        let Shared { policies, index, fallback } = &*self.shared;
        // Nothing to choose from: not worth a look, which every request over TLS would pay.
        if let [only] = &policies[..] {
            return only;
        }
        let named = name
            .map(normal)
            .and_then(|name| index.exact(&name).first().or_else(|| index.wildcard(&name).first()).copied());
        &policies[named.unwrap_or(*fallback)]
    }
}
