//! TLS: certificates, policies, handshakes (rustls with aws-lc-rs).
//!
//! **Job.** Turn a plain stream into a TLS one under the policy of the name the client asked for.
//! **Called by** `http::accept`; built by `madang` (assemble). **Calls** rustls.
//!
//! Invariants
//! 1. One [`Policy`] has its own configuration, session store and ticket keys: a session made under a policy without
//!    client certificates opens none with (TRAPS 7).
//! 2. The policy is chosen by the name in the ClientHello before a single byte of it is answered.
//! 3. A certificate and its key are swapped together or not at all.
//!
//! Not here: which names a site has (`roles/web`), ACME (to come: its TLS-ALPN-01 certificate enters through
//! [`store::CertificateStore`], chosen when the only ALPN offered is `acme-tls/1`).

pub mod client;
pub mod connect;
pub mod local_ca;
pub mod names;
pub mod pair;
pub mod passing;
pub mod pin;
pub mod policy;
pub mod store;
mod watch;

use std::fmt;
use std::sync::Arc;

use rustls::server::Acceptor as HelloReader;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::net::stream::Prefixed;
pub use client::{ClientAuth, ClientCertificate};
pub use policy::{Policy, PolicyError, Speaks, TlsPolicies, VersionMin};

/// What a handshake agreed on.
#[derive(Debug, Clone)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// Cipher suite by its IANA name.
    pub cipher: &'static str,
    /// Key exchange group by its IANA name.
    pub group: &'static str,
    /// The name the client asked for, lower case, without a dot at its end.
    pub sni: Option<String>,
    /// The protocol chosen by ALPN.
    pub alpn: Option<&'static str>,
    /// Whether an earlier session went on.
    pub resumed: bool,
    /// Whose policy decided (the site group's name).
    pub policy: Arc<str>,
    /// The certificate the client proved to hold, where it showed one (also when a session went on that began with one).
    pub client: Option<Box<ClientCertificate>>,
}

/// A handshake that did not become a connection.
pub struct HandshakeFailure {
    kind: Kind,
    stream: Option<Prefixed>,
}

enum Kind {
    PlainHttp,
    Rejected(std::io::Error),
}

impl HandshakeFailure {
    /// A stable name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match &self.kind {
            Kind::PlainHttp => "plain-http-on-tls-port",
            Kind::Rejected(error) => rustls_error(error).map_or("closed-in-handshake", name_of),
        }
    }

    /// What may still be said in plain text to a client that speaks plain HTTP to a TLS port.
    pub fn into_answer(self) -> Option<(Prefixed, &'static [u8])> {
        const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
            content-length: 63\r\nconnection: close\r\n\r\nThis port speaks https. Write https:// in front of the address\n";
        match (self.kind, self.stream) {
            (Kind::PlainHttp, Some(stream)) => Some((stream, ANSWER)),
            _ => None,
        }
    }
}

fn rustls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn name_of(error: &rustls::Error) -> &'static str {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error, PeerIncompatible};
    match error {
        Error::NoCertificatesPresented => "client-certificate-missing",
        Error::InvalidCertificate(Certificate::Revoked) => "client-certificate-withdrawn",
        Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "client-certificate-expired"
        }
        Error::InvalidCertificate(
            Certificate::ExpiredRevocationList | Certificate::ExpiredRevocationListContext { .. },
        ) => "client-crl-expired",
        Error::InvalidCertificate(_) => "client-certificate-invalid",
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "tls-version-too-old",
        Error::PeerIncompatible(_) => "tls-nothing-in-common",
        Error::NoApplicationProtocol => "tls-no-common-protocol",
        // The operator's matter, not the client's: our certificate is not trusted where it is shown.
        Error::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate,
        ) => "tls-client-distrusts-us",
        Error::AlertReceived(_) => "tls-alert-received",
        Error::InvalidMessage(_) => "not-tls",
        _ => "tls-error",
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::PlainHttp => f.write_str("plain HTTP on a TLS port"),
            Kind::Rejected(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.name())
    }
}

/// Shakes hands. The caller bounds the time.
///
/// Reads at most 64 KiB of a ClientHello, in as many pieces as it comes in.
pub async fn accept(
    stream: Prefixed,
    policies: &TlsPolicies,
) -> Result<(TlsStream<Prefixed>, TlsFacts), HandshakeFailure> {
    let mut stream = stream;
    // Somebody who speaks HTTP here deserves a sentence instead of garbage: a ClientHello begins with 0x16.
    match stream.peek_first().await {
        Ok(Some(first)) if first.is_ascii_uppercase() => {
            return Err(HandshakeFailure { kind: Kind::PlainHttp, stream: Some(stream) });
        }
        Ok(_) => {}
        Err(error) => return Err(HandshakeFailure { kind: Kind::Rejected(error), stream: None }),
    }
    let rejected = |error| HandshakeFailure { kind: Kind::Rejected(error), stream: None };
    let start = LazyConfigAcceptor::new(HelloReader::default(), stream).await.map_err(rejected)?;
    let sni = start.client_hello().server_name().map(|name| names::normal(name).into_owned());
    let policy = policies.for_name(sni.as_deref());
    let config = policy.config(start.client_hello().cipher_suites());
    let stream = start.into_stream(config).await.map_err(rejected)?;
    let facts = facts(&stream, sni, policy);
    Ok((stream, facts))
}

fn facts(stream: &TlsStream<Prefixed>, sni: Option<String>, policy: &Policy) -> TlsFacts {
    let (_, session) = stream.get_ref();
    TlsFacts {
        version: match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: session.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite())),
        group: session.negotiated_key_exchange_group().map_or("", |group| group_name(group.name())),
        sni,
        alpn: match session.alpn_protocol() {
            Some(b"h2") => Some("h2"),
            Some(b"http/1.1") => Some("http/1.1"),
            // The configuration offers nothing else.
            _ => None,
        },
        resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        policy: Arc::clone(&policy.name),
        client: session
            .peer_certificates()
            .and_then(|chain| ClientCertificate::of(chain.first()?))
            .map(Box::new),
    }
}

/// rustls writes `TLS13_…` where the registry of IANA has `TLS_…`.
fn cipher_name(suite: rustls::CipherSuite) -> &'static str {
    use rustls::CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

fn group_name(group: rustls::NamedGroup) -> &'static str {
    use rustls::NamedGroup as Group;
    match group {
        Group::X25519 => "x25519",
        Group::X25519MLKEM768 => "X25519MLKEM768",
        other => other.as_str().unwrap_or("unknown"),
    }
}
