//! TLS as a client: towards upstreams.
//!
//! **Job.** Verify the server by name against the system's or the operator's authorities, show a certificate where one is
//! asked for. **Called by** `net::connect`. **Calls** rustls, tokio-rustls.
//!
//! Invariants
//! 1. Verification is on unless the settings say in words that it is off for this pool. A pin is verification, and stricter.
//!
//! Not here: one certificate instead of authorities (`pin`), TLS towards clients (`policy`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::pin::{Fingerprint, NoAuthority};
use crate::net::stream::Plain;

/// Where Debian, Ubuntu, Arch, Fedora and Alpine keep the system's authorities.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What a pool says about TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientTlsSettings {
    /// The name the server must prove; left out: the host of the address.
    pub name: Option<String>,
    /// PEM file of authorities; left out: the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of a certificate and its key to show.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Take whatever certificate comes.
    pub insecure: bool,
    /// Take this certificate and no other, whoever signed it and for whatever name; no authority is asked.
    pub pin: Option<Fingerprint>,
    /// Offer HTTP/2 before HTTP/1.1; else HTTP/1.1 alone.
    pub http2: bool,
    /// Offer no protocol at all: what is spoken is not HTTP.
    pub raw: bool,
}

/// Why TLS towards an upstream cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTlsError {
    /// The file or name it is about.
    pub about: String,
    /// What was wrong.
    pub why: String,
}

impl fmt::Display for ClientTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS to the upstream: {}: {}", self.about, self.why)
    }
}
impl std::error::Error for ClientTlsError {}

/// TLS towards one server.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Reads the files. `host`: of the address, where the settings name no other.
    pub fn new(settings: &ClientTlsSettings, host: &str) -> Result<Self, ClientTlsError> {
        let fail = |about: &str, why: String| ClientTlsError { about: about.to_owned(), why };
        let name = settings.name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned()).map_err(|error| fail(name, error.to_string()))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| fail(name, error.to_string()))?;
        let builder = if settings.insecure || settings.pin.is_some() {
            let verifier = NoAuthority { provider, pin: settings.pin };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        } else {
            builder.with_root_certificates(roots(settings.ca.as_deref())?)
        };
        let mut config = match &settings.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let shown = |path: &Path, why: String| fail(&path.display().to_string(), why);
                let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
                    .and_then(Iterator::collect)
                    .map_err(|error| shown(certificate, error.to_string()))?;
                let private =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| shown(key, error.to_string()))?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| shown(certificate, error.to_string()))?
            }
        };
        config.alpn_protocols = match (settings.raw, settings.http2) {
            (true, _) => Vec::new(),
            (false, true) => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            (false, false) => vec![b"http/1.1".to_vec()],
        };
        Ok(Self { config: Arc::new(config), name: server })
    }

    /// The same, but HTTP/1.1 alone is offered.
    pub fn only_http1(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { config: Arc::new(config), name: self.name.clone() }
    }

    /// As rustls has it, for libraries that make the handshake themselves.
    pub fn rustls(&self) -> &ClientConfig {
        &self.config
    }

    pub(crate) async fn handshake(&self, stream: Plain) -> io::Result<TlsStream<Plain>> {
        self.over(stream).await
    }

    /// The handshake over any stream.
    ///
    /// # Errors
    /// The stream's, and rustls' about the certificate.
    pub async fn over<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await
    }
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, ClientTlsError> {
    let mut roots = RootCertStore::empty();
    let files: Vec<&Path> =
        file.map_or_else(|| SYSTEM_ROOTS.iter().map(Path::new).collect(), |file| vec![file]);
    for path in files {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(found) => {
                roots.add_parsable_certificates(found);
                if !roots.is_empty() {
                    return Ok(roots);
                }
            }
            // Only the operator's own file must be there.
            Err(error) if file.is_some() => {
                return Err(ClientTlsError { about: path.display().to_string(), why: error.to_string() });
            }
            Err(_) => {}
        }
    }
    let about = file.map_or_else(|| "the system's authorities".to_owned(), |file| file.display().to_string());
    let why =
        "no certificate found; set `ca` to a PEM file, or install the package ca-certificates".to_owned();
    Err(ClientTlsError { about, why })
}
