//! TLS clients and certificates for tests.
//!
//! **Job.** Make a throw-away certificate, connect trusting only it.
//! **Called by** tests. **Calls** rustls, rcgen.
//!
//! Not here: what the server offers (`engine/host/src/tls`).

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion,
};

use super::PATIENCE;
use super::client::Client;

/// A self-signed certificate and its key.
pub struct Made {
    /// PEM, for `cert = `.
    pub certificate: String,
    /// PEM, for `key = `.
    pub key: String,
    der: CertificateDer<'static>,
}

impl Made {
    /// Trust in this certificate alone.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        roots
    }

    /// The settings of a server that shows this certificate and offers these protocols.
    pub fn serving(&self, protocols: &[&[u8]]) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS12, &TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

/// A certificate for these names (ECDSA P-256).
pub fn certificate(names: &[&str]) -> Made {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let der = made.cert.der().clone();
    Made { certificate: made.cert.pem(), key: made.signing_key.serialize_pem(), der }
}

/// The same, and it ended years ago.
pub fn expired(names: &[&str]) -> Made {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let made = params.self_signed(&key).unwrap();
    Made { certificate: made.pem(), key: key.serialize_pem(), der: made.der().clone() }
}

/// A client's settings that trust this certificate alone and offer these protocols.
pub fn trusting(made: &Made, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    speaking(made, protocols, &[&TLS12, &TLS13])
}

/// The same with these TLS versions only.
pub fn speaking(
    made: &Made,
    protocols: &[&[u8]],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(made.roots())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Trusts this certificate alone and shows one of its own.
pub fn showing(
    made: &Made,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12, &TLS13])
        .unwrap()
        .with_root_certificates(made.roots())
        .with_client_auth_cert(chain, key);
    Arc::new(config.unwrap())
}

/// Connects with TLS and finishes the handshake.
#[track_caller]
pub fn connect(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Client {
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(config, name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap_or_else(|error| panic!("the handshake: {error}"));
    }
    Client::over(StreamOwned::new(connection, socket))
}
