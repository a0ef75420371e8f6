//! Goal: the way to NATS is safe or not taken, whatever proves who we are; why it is not taken is told, and no secret is.
//! Method: Debian's nats-server with TLS, users, a token, certificates of clients, and accounts by signed credentials (an operator, an account
//! and a user made here); buses with right and with wrong ways in.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)] // a test may stop at what it did not expect

mod support;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use madang_bus::config::{Address, BusSettings, NatsSettings};
use madang_bus::mailbox::{Limits, What};
use madang_bus::{Bus, Reach, Told};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair as CertificateKey};

/// A bus, and everything it told.
struct Heard {
    bus: Bus,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Heard {
    fn start(settings: NatsSettings) -> Self {
        let told = Arc::<Mutex<Vec<Told>>>::default();
        let kept = Arc::clone(&told);
        let settings = BusSettings::Nats(Box::new(settings));
        let bus = Bus::start(&settings, move |one| kept.lock().unwrap().push(one)).unwrap();
        Self { bus, told }
    }

    fn told(&self) -> String {
        format!("{:?}", self.told.lock().unwrap())
    }
}

/// What goes in at one bus comes out at another.
#[track_caller]
fn they_hear_each_other(settings: &NatsSettings) {
    let (here, there) = (Heard::start(settings.clone()), Heard::start(settings.clone()));
    support::acquainted(&[&here.bus, &there.bus]);
    let ((writer, _), (reader, mut mailbox)) =
        (here.bus.open(Limits::default()), there.bus.open(Limits::default()));
    let _reading = reader.subscribe(&reader.topic("room").unwrap(), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let heard = runtime.block_on(async {
        let mut events = Vec::new();
        loop {
            mailbox.next(&mut events).await;
            for event in events.drain(..) {
                match event.what {
                    What::Live => writer.publish(&writer.topic("room").unwrap(), "hello".into()).unwrap(),
                    What::Message(bytes) => return bytes,
                    What::Gap(_) => {}
                }
            }
        }
    });
    assert_eq!(heard, "hello");
    assert!(here.told().contains("Connected"), "{}", here.told());
}

/// It never connects, and says why in these words.
#[track_caller]
fn refused(settings: NatsSettings, why: &str) {
    let secrets = ["hunter2", "s3cr3t", "SUA"];
    assert!(!secrets.iter().any(|secret| format!("{settings:?}").contains(secret)), "{settings:?}");
    let heard = Heard::start(settings);
    support::until(why, || heard.told().contains(why));
    assert_eq!(
        (heard.bus.reach(), heard.told().contains("Connected")),
        (Reach::Away, false),
        "{}",
        heard.told()
    );
    assert!(!secrets.iter().any(|secret| heard.told().contains(secret)), "{}", heard.told());
}

fn settings(address: &str) -> NatsSettings {
    NatsSettings {
        servers: vec![Address::new(address).unwrap()],
        credentials: None,
        ca: None,
        certificate: None,
        cluster: "town".to_owned(),
    }
}

struct Files(tempfile::TempDir);

impl Files {
    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// An authority and what it signed: for a server and for a client.
struct Authority {
    ca: PathBuf,
    server: (PathBuf, PathBuf),
    client: (PathBuf, PathBuf),
}

fn authority(files: &Files, name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, CertificateKey::generate().unwrap()).unwrap();
    let ca = files.put(&format!("{name}-ca.pem"), &issuer.pem());
    let pair = |who: &str, usage| {
        let key = CertificateKey::generate().unwrap();
        let mut params =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (
            files.put(&format!("{name}-{who}.pem"), &certificate.pem()),
            files.put(&format!("{name}-{who}.key"), &key.serialize_pem()),
        )
    };
    Authority {
        server: pair("server", ExtendedKeyUsagePurpose::ServerAuth),
        client: pair("client", ExtendedKeyUsagePurpose::ClientAuth),
        ca,
    }
}

fn tls((certificate, key): &(PathBuf, PathBuf), more: &str) -> String {
    format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} {more} }}")
}

#[test]
fn a_certificate_nobody_vouches_for_is_not_spoken_to() {
    let files = Files(tempfile::tempdir().unwrap());
    let (good, other) = (authority(&files, "good"), authority(&files, "other"));
    let server = support::Server::with(&tls(&good.server, ""));
    let at = |scheme: &str| format!("{scheme}://127.0.0.1:{}", server.port);
    they_hear_each_other(&NatsSettings { ca: Some(good.ca.clone()), ..settings(&at("tls")) });
    refused(NatsSettings { ca: Some(other.ca), ..settings(&at("tls")) }, "`ca`");
    refused(settings(&at("tls")), "`ca`");

    // A server without TLS is no server for who demands it.
    let plain = support::Server::start();
    let demands =
        NatsSettings { ca: Some(good.ca.clone()), ..settings(&format!("tls://127.0.0.1:{}", plain.port)) };
    refused(demands, "Trouble");
}

#[test]
fn a_client_shows_its_certificate() {
    let files = Files(tempfile::tempdir().unwrap());
    let (good, other) = (authority(&files, "good"), authority(&files, "other"));
    let verify = format!(", ca_file: {:?}, verify: true", good.ca);
    let server = support::Server::with(&tls(&good.server, &verify));
    let with = |certificate| NatsSettings {
        ca: Some(good.ca.clone()),
        certificate,
        ..settings(&format!("tls://127.0.0.1:{}", server.port))
    };
    they_hear_each_other(&with(Some(good.client.clone())));
    refused(with(None), "Trouble");
    refused(with(Some(other.client)), "Trouble");
}

#[test]
fn users_passwords_and_tokens_open_and_are_told_nowhere() {
    let server = support::Server::with("authorization { user: mina, password: \"hunter2:@x\" }");
    let at = |who: &str| settings(&format!("nats://{who}127.0.0.1:{}", server.port));
    they_hear_each_other(&at("mina:hunter2%3A%40x@"));
    refused(at("mina:hunter2@"), "does not know this user");
    refused(at(""), "does not know this user");

    let server = support::Server::with("authorization { token: \"s3cr3t-token\" }");
    let at = |who: &str| settings(&format!("nats://{who}127.0.0.1:{}", server.port));
    they_hear_each_other(&at("s3cr3t-token@"));
    refused(at("s3cr3t-other@"), "does not know this user");
}

// Goal: a file of credentials as `nsc` writes it opens, and one of a user whom the operator does not know does not.
#[test]
fn credentials_open() {
    let files = Files(tempfile::tempdir().unwrap());
    let (operator, account) = (Nkey::new(OPERATOR), Nkey::new(ACCOUNT));
    let trusted = files.put("op.jwt", &operator.vouches(&operator, "operator", "{}"));
    let account_word = operator.vouches(&account, "account", "{\"limits\":{\"subs\":-1,\"data\":-1,\"payload\":-1,\"imports\":-1,\"exports\":-1,\"wildcards\":true,\"conn\":-1,\"leaf\":-1}}");
    let of_server = format!(
        "operator: {trusted:?}\nresolver: MEMORY\nresolver_preload: {{ {}: {account_word:?} }}",
        account.public()
    );
    let server = support::Server::with_only(&of_server);
    let with = |credentials: &Path| NatsSettings {
        credentials: Some(credentials.to_owned()),
        ..settings(&format!("nats://127.0.0.1:{}", server.port))
    };
    let user = Nkey::new(USER);
    let word = account.vouches(&user, "user", "{\"subs\":-1,\"data\":-1,\"payload\":-1}");
    they_hear_each_other(&with(&files.put("good.creds", &credentials(&word, &user))));
    let stranger = Nkey::new(ACCOUNT).vouches(&user, "user", "{\"subs\":-1,\"data\":-1,\"payload\":-1}");
    refused(with(&files.put("bad.creds", &credentials(&stranger, &user))), "does not know this user");
    let error =
        Bus::start(&BusSettings::Nats(Box::new(with(&files.put("none.creds", "SUA")))), |_| {}).unwrap_err();
    assert!(error.to_string().contains("is not a file of credentials"), "{error}");
}

const OPERATOR: u8 = 14 << 3;
const ACCOUNT: u8 = 0;
const USER: u8 = 20 << 3;
const SEED: u8 = 18 << 3;

/// A key as NATS writes it: a kind, 32 bytes and a checksum in base32.
struct Nkey {
    kind: u8,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl Nkey {
    fn new(kind: u8) -> Self {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).unwrap();
        Self { kind, seed, pair: Ed25519KeyPair::from_seed_unchecked(&seed).unwrap() }
    }

    fn public(&self) -> String {
        written(&[&[self.kind], self.pair.public_key().as_ref()].concat())
    }

    fn secret(&self) -> String {
        written(&[&[SEED | (self.kind >> 5), (self.kind & 31) << 3][..], &self.seed].concat())
    }

    /// A token of NATS about another key, signed by this one.
    fn vouches(&self, whom: &Self, kind: &str, limits: &str) -> String {
        let limits = limits.strip_prefix('{').and_then(|limits| limits.strip_suffix('}')).unwrap();
        let comma = if limits.is_empty() { "" } else { "," };
        let head = URL_SAFE_NO_PAD.encode("{\"typ\":\"JWT\",\"alg\":\"ed25519-nkey\"}");
        let claims = format!(
            "{{\"jti\":\"1\",\"iat\":1700000000,\"iss\":\"{}\",\"name\":\"{kind}\",\"sub\":\"{}\",\"nats\":{{{limits}{comma}\"type\":\"{kind}\",\"version\":2}}}}",
            self.public(),
            whom.public()
        );
        let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn credentials(word: &str, user: &Nkey) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{word}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.secret()
    )
}

/// With CRC-16/XMODEM behind it, in base32 (RFC 4648) without padding.
fn written(bytes: &[u8]) -> String {
    let crc = bytes.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    let mut out = String::new();
    let (mut gathered, mut bits) = (0_u32, 0);
    for byte in bytes.iter().chain(&crc.to_le_bytes()) {
        gathered = (gathered << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[(gathered >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        out.push(char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[(gathered << (5 - bits)) as usize & 31]));
    }
    out
}
