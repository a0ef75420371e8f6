//! Which certificate, which policy, which session: what decides who is let in over TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection};

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::house::House;
use crate::support::tls::{Made, certificate, connect, showing, speaking, trusting};
use crate::tls::{SECURE, house};

/// An authority of clients, and certificates it signs.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// A client's settings: trusts `made`, shows a certificate of this authority.
    fn client(&self, made: &Made, name: &str) -> Arc<ClientConfig> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        showing(made, chain, key)
    }
}

/// Whether a request comes through: the server may say no in the handshake or, in TLS 1.3, right after it.
fn comes_through(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> bool {
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = ClientConnection::new(config, name.to_owned().try_into().unwrap()).unwrap();
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    let mut answer = Vec::new();
    let sent = stream
        .write_all(format!("GET /a.txt HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").as_bytes());
    sent.is_ok() && stream.read_to_end(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

// Goal: where client certificates are required nobody comes in without one of the right authority; where they are
// optional, nobody comes in with a wrong one.
#[test]
fn client_certificates_are_required_or_optional() {
    check("required", false);
    check("optional", true);

    #[track_caller]
    fn check(mode: &str, without: bool) {
        let made = certificate(&["localhost"]);
        let (ours, other) = (Authority::new(), Authority::new());
        let settings = SECURE
            .replace("route ", &format!("client_auth = {{ ca = \"ca.pem\", mode = \"{mode}\" }}\nroute "));
        let house = House::start(
            &settings,
            &[
                ("cert.pem", made.certificate.as_bytes()),
                ("key.pem", made.key.as_bytes()),
                ("ca.pem", ours.pem.as_bytes()),
                ("public/a.txt", b"alpha"),
            ],
        );
        let address = house.address(0);
        assert!(comes_through(address, "localhost", ours.client(&made, "alice")), "{mode}: the right one");
        assert!(!comes_through(address, "localhost", other.client(&made, "mallory")), "{mode}: a wrong one");
        assert_eq!(comes_through(address, "localhost", trusting(&made, &[])), without, "{mode}: none");
    }
}

const TWO_SITES: &str = r#"
[server]
workers = 1
[site.open]
listen = "https://127.0.0.1:0"
hosts  = ["open.test", "*.open.test"]
tls    = { cert = "open.pem", key = "open.key" }
route  = [{ respond = "open" }]
[site.closed]
listen = "https://127.0.0.1:0"
hosts  = ["closed.test", "secret.open.test"]
tls    = { cert = "closed.pem", key = "closed.key" }
client_auth = { ca = "ca.pem" }
route  = [{ respond = "closed" }]
"#;

struct TwoSites {
    house: House,
    open: Made,
    closed: Made,
    authority: Authority,
}

fn two_sites() -> TwoSites {
    let open = certificate(&["open.test", "*.open.test"]);
    let closed = certificate(&["closed.test", "secret.open.test"]);
    let authority = Authority::new();
    let house = House::start(
        TWO_SITES,
        &[
            ("open.pem", open.certificate.as_bytes()),
            ("open.key", open.key.as_bytes()),
            ("closed.pem", closed.certificate.as_bytes()),
            ("closed.key", closed.key.as_bytes()),
            ("ca.pem", authority.pem.as_bytes()),
        ],
    );
    TwoSites { house, open, closed, authority }
}

fn asked(client: &mut Client, host: &str) -> (u16, String) {
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let answer = client.answer("GET");
    (answer.status, answer.text())
}

// Goal: the name in the handshake picks the certificate: exact before wildcard, a wildcard for one label.
#[test]
fn the_name_picks_the_certificate() {
    let TwoSites { house, open, closed, authority } = two_sites();
    let address = house.address(0);
    assert_eq!(asked(&mut connect(address, "open.test", trusting(&open, &[])), "open.test").1, "open");
    assert_eq!(
        asked(&mut connect(address, "www.open.test", trusting(&open, &[])), "www.open.test").1,
        "open"
    );
    let shown = authority.client(&closed, "alice");
    assert_eq!(asked(&mut connect(address, "secret.open.test", shown), "secret.open.test").1, "closed");
}

// Goal: nobody reaches a site that wants client certificates through a connection made for another (TRAPS 7).
// Method: connect for the open site, then ask for the closed one by Host; and resume a session of one under the other.
#[test]
fn a_request_for_another_site_is_misdirected() {
    let TwoSites { house, open, closed, authority } = two_sites();
    let mut client = connect(house.address(0), "open.test", trusting(&open, &[]));
    assert_eq!(asked(&mut client, "open.test"), (200, "open".to_owned()));
    assert_eq!(asked(&mut client, "closed.test").0, 421);
    assert_eq!(asked(&mut client, "secret.open.test").0, 421);
    assert_eq!(asked(&mut client, "WWW.open.test."), (200, "open".to_owned()));
    // The other way about: a client that may enter the closed site is not taken for one of the open site's.
    let mut client = connect(house.address(0), "closed.test", authority.client(&closed, "alice"));
    assert_eq!(asked(&mut client, "closed.test"), (200, "closed".to_owned()));
    assert_eq!(asked(&mut client, "open.test").0, 421);
}

// Goal: a second connection resumes; the key exchange is the post-quantum one.
#[test]
fn sessions_are_resumed_and_the_exchange_is_post_quantum() {
    let made = certificate(&["localhost"]);
    let house = house(&made);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let config = speaking(&made, &[], &[version]);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut socket = TcpStream::connect_timeout(&house.address(0), PATIENCE).unwrap();
            let name = "localhost".try_into().unwrap();
            let mut connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
            let mut stream = rustls::Stream::new(&mut connection, &mut socket);
            stream.write_all(b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(answer.ends_with(b"alpha"));
            kinds.push(connection.handshake_kind().unwrap());
            if connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) {
                let group = connection.negotiated_key_exchange_group().unwrap().name();
                assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
            }
        }
        assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed], "{version:?}");
    }
}

// Goal: the server's order of cipher suites holds, but for a client whose first choice is ChaCha20.
// Method: the same suites offered forwards, backwards and with ChaCha20 in front, in both versions.
#[test]
fn the_servers_order_of_ciphers_holds_unless_chacha20_is_wanted() {
    use rustls::crypto::aws_lc_rs::cipher_suite as suite;
    let made = certificate(&["localhost"]);
    let house = house(&made);
    let (strong, quick, chacha) = (
        [suite::TLS13_AES_256_GCM_SHA384, suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384],
        [suite::TLS13_AES_128_GCM_SHA256, suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256],
        [suite::TLS13_CHACHA20_POLY1305_SHA256, suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256],
    );
    for (number, version) in [&rustls::version::TLS13, &rustls::version::TLS12].into_iter().enumerate() {
        let (strong, quick, chacha) = (strong[number], quick[number], chacha[number]);
        let check = |offered: [rustls::SupportedCipherSuite; 3], want: rustls::SupportedCipherSuite| {
            let mut provider = rustls::crypto::aws_lc_rs::default_provider();
            provider.cipher_suites = offered.to_vec();
            let config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(made.roots())
                .with_no_client_auth();
            let mut socket = TcpStream::connect_timeout(&house.address(0), PATIENCE).unwrap();
            let mut connection =
                ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
            while connection.is_handshaking() {
                connection.complete_io(&mut socket).unwrap();
            }
            assert_eq!(connection.negotiated_cipher_suite().unwrap(), want, "offered {offered:?}");
        };
        check([strong, quick, chacha], quick);
        check([quick, chacha, strong], quick);
        check([chacha, quick, strong], chacha);
    }
}

// Goal: a certificate that was renewed on disk is used without anybody saying so; a broken one changes nothing.
#[test]
fn a_certificate_replaced_on_disk_is_used_by_itself() {
    let (old, new) = (certificate(&["localhost"]), certificate(&["localhost"]));
    let house = house(&old);
    let mut before = connect(house.address(0), "localhost", trusting(&old, &[]));
    assert_eq!(before.get("/a.txt").text(), "alpha");
    house.write("cert.pem", "not a certificate");
    house.until_said("certificate-kept");
    assert!(comes_through(house.address(0), "localhost", trusting(&old, &[])));
    house.write("key.pem", &new.key);
    house.write("cert.pem", &new.certificate);
    house.until_said("certificate-reloaded");
    assert!(comes_through(house.address(0), "localhost", trusting(&new, &[])));
    assert!(!comes_through(house.address(0), "localhost", trusting(&old, &[])));
    assert_eq!(before.get("/a.txt").text(), "alpha", "the open connection goes on");
}

// Goal: a ClientHello that comes in many pieces, as post-quantum ones do, is understood.
#[test]
fn a_hello_in_pieces_is_understood() {
    let made = certificate(&["localhost"]);
    let house = house(&made);
    let mut socket = TcpStream::connect_timeout(&house.address(0), PATIENCE).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = "localhost".try_into().unwrap();
    let mut connection = ClientConnection::new(trusting(&made, &[]), name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    assert!(hello.len() > 1200, "a post-quantum hello has more than a packet: {}", hello.len());
    for piece in hello.chunks(97) {
        socket.write_all(piece).unwrap();
    }
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).unwrap();
    }
    let mut client = Client::over(rustls::StreamOwned::new(connection, socket));
    assert_eq!(client.get("/a.txt").text(), "alpha");
}

// Goal: plain requests are sent to https by 308, with path and query; https answers tell browsers to stay there.
#[test]
fn plain_requests_are_sent_to_https_and_told_to_stay() {
    let made = certificate(&["localhost"]);
    // The redirect names the https port: it has to be known.
    let port = madang_host::process::port::free(|_| false).unwrap();
    let secure = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let settings = format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = [\"http://127.0.0.1:0\", \"https://{secure}\"]\n\
         hosts = \"localhost\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\nhttps_redirect = true\n\
         hsts = \"365d\"\nroute = [{{ path = \"/*\", files = \"public\" }}]\n"
    );
    let files: &[(&str, &[u8])] = &[
        ("cert.pem", made.certificate.as_bytes()),
        ("key.pem", made.key.as_bytes()),
        ("public/a.txt", b"alpha"),
    ];
    let house = House::start(&settings, files);
    let plain = house.addresses.iter().position(|address| address.starts_with("http://")).unwrap();
    let mut client = Client::plain(house.address(plain));
    let answer = client.get("/a.txt?x=1");
    let wanted = format!("https://localhost:{}/a.txt?x=1", secure.port());
    assert_eq!((answer.status, answer.field("location")), (308, Some(wanted)));
    assert_eq!(answer.field("strict-transport-security"), None, "RFC 6797 7.2: not over plain http");
    let answer = connect(secure, "localhost", trusting(&made, &[])).get("/a.txt");
    assert_eq!(answer.field("strict-transport-security").as_deref(), Some("max-age=31536000"));
}
