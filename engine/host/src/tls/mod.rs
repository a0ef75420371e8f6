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

pub mod local_ca;
pub mod policy;
pub mod store;

use std::fmt;
use std::sync::Arc;

use rustls::server::Acceptor as HelloReader;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::net::stream::Prefixed;
pub use policy::{ClientAuth, Policy, PolicyError, TlsPolicies, VersionMin};

/// What a handshake agreed on.
#[derive(Debug, Clone)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// Cipher suite by its IANA name.
    pub cipher: String,
    /// Key exchange group by name.
    pub group: String,
    /// The name the client asked for, lower case.
    pub sni: Option<String>,
    /// The protocol chosen by ALPN.
    pub alpn: Option<String>,
    /// Whether an earlier session went on.
    pub resumed: bool,
    /// Whose policy decided (the site group's name).
    pub policy: Arc<str>,
    /// SHA-256 of the client's certificate, in hex, where it showed one.
    pub client_fingerprint: Option<String>,
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
            Kind::Rejected(error) => {
                match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    Some(rustls::Error::NoCertificatesPresented) => "client-certificate-missing",
                    Some(rustls::Error::InvalidCertificate(_)) => "client-certificate-invalid",
                    Some(rustls::Error::PeerIncompatible(_)) => "tls-incompatible",
                    Some(rustls::Error::AlertReceived(_)) => "tls-alert-received",
                    Some(rustls::Error::InvalidMessage(_)) => "not-tls",
                    Some(_) => "tls-error",
                    None => "closed-in-handshake",
                }
            }
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

impl fmt::Debug for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Shakes hands. The caller bounds the time.
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
    let sni = start.client_hello().server_name().map(str::to_ascii_lowercase);
    let policy = policies.for_name(sni.as_deref());
    let stream = start.into_stream(Arc::clone(&policy.config)).await.map_err(rejected)?;
    let facts = facts(&stream, sni, policy);
    Ok((stream, facts))
}

fn facts(stream: &TlsStream<Prefixed>, sni: Option<String>, policy: &Policy) -> TlsFacts {
    let (_, session) = stream.get_ref();
    let fingerprint = |certificate: &rustls_pki_types::CertificateDer<'_>| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    TlsFacts {
        version: match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: session
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()))
            .unwrap_or_default(),
        group: session
            .negotiated_key_exchange_group()
            .map(|group| format!("{:?}", group.name()))
            .unwrap_or_default(),
        sni,
        alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        policy: Arc::clone(&policy.name),
        client_fingerprint: session.peer_certificates().and_then(|chain| chain.first()).map(fingerprint),
    }
}
