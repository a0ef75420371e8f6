//! SCRAM-SHA-256 (RFC 5802, RFC 7677): a login in which the password never travels.
//!
//! **Job.** Make verifiers, and the server's side of the exchange as a machine of two steps. **Called by** `identity` (verifiers at a
//! change of password, exchanges for SASL of IRC and others). Pure: random bytes come in.
//!
//! Invariants
//! 1. A client without the password learns nothing: neither whether the user is there nor anything to guess offline with but what the
//!    verifier itself would be.
//! 2. Every refusal after the client's first message is the same one.
//! 3. A message longer than [`MESSAGE_BYTES_MAX`] is not looked into.
//!
//! Not here: channel binding (`-PLUS` is not offered), carrying the messages (the roles' protocols).

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::password::Password;
use crate::refused::Refused;

/// The longest message, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024;
const SALT_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;

/// What is kept of a password for SCRAM. Who has it can pretend to be the server, and guess passwords at the speed of PBKDF2.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verifier {
    iterations: u32,
    salt: String,
    stored: String,
    server: String,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

impl Verifier {
    /// Of a password. Slow: about 1 ms per 10,000 iterations.
    pub(crate) fn of(password: &Password, salt: [u8; SALT_BYTES], iterations: NonZeroU32) -> Self {
        let mut salted = [0; DIGEST_BYTES];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.bytes(), &mut salted);
        let client = mac(&salted, b"Client Key");
        Self {
            iterations: iterations.get(),
            salt: STANDARD.encode(salt),
            stored: STANDARD.encode(digest::digest(&digest::SHA256, &client)),
            server: STANDARD.encode(mac(&salted, b"Server Key")),
        }
    }

    /// What is shown for a user that is not there: the same each time, and of nobody's password.
    pub(crate) fn stand_in(key: &hmac::Key, name_key: &str, iterations: NonZeroU32) -> Self {
        let part = |what: &str| hmac::sign(key, format!("{what}\0{name_key}").as_bytes());
        Self {
            iterations: iterations.get(),
            salt: STANDARD.encode(&part("salt").as_ref()[..SALT_BYTES]),
            stored: STANDARD.encode(part("stored")),
            server: STANDARD.encode(part("server")),
        }
    }
}

fn mac(key: &[u8], message: &[u8]) -> [u8; DIGEST_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut out = [0; DIGEST_BYTES];
    out.copy_from_slice(tag.as_ref());
    out
}

/// The client's first message, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientFirst {
    /// Who wants to log in, as typed.
    pub(crate) name: String,
    /// The header that the last message repeats.
    header: String,
    bare: String,
    nonce: String,
}

impl ClientFirst {
    /// Reads `n,,n=user,r=nonce`.
    pub(crate) fn read(message: &str) -> Result<Self, Refused> {
        let malformed = |what| Refused::ScramMalformed { what };
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let mut parts = message.splitn(3, ',');
        let (binding, authzid, bare) = (parts.next(), parts.next(), parts.next());
        match binding {
            // `y`: the client could bind and believes we cannot; we offered no -PLUS, so that is the truth.
            Some("n" | "y") => {}
            Some(text) if text.starts_with("p=") => {
                return Err(malformed("it binds a channel, which was not offered"));
            }
            _ => return Err(malformed("its header is none")),
        }
        let (authzid, bare) = (authzid.ok_or(malformed("it is cut"))?, bare.ok_or(malformed("it is cut"))?);
        let mut fields = bare.split(',');
        // A mandatory extension (`m=`) would stand first.
        let name =
            fields.next().and_then(|field| field.strip_prefix("n=")).ok_or(malformed("it has no name"))?;
        let nonce =
            fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(malformed("it has no nonce"))?;
        let name = unescape(name).ok_or(malformed("its name is not escaped"))?;
        if !authzid.is_empty() && authzid.strip_prefix("a=").and_then(unescape).as_ref() != Some(&name) {
            return Err(malformed("it wants to act for somebody else"));
        }
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
            return Err(malformed("its nonce is none"));
        }
        let header = message[..message.len() - bare.len()].to_owned();
        Ok(Self { name, header, bare: bare.to_owned(), nonce: nonce.to_owned() })
    }
}

/// `=2C` and `=3D` (RFC 5802 5.1).
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        out.push_str(&rest[..at]);
        out.push(match rest.get(at + 1..at + 3)? {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    Some(out)
}

/// The server between its two messages.
pub(crate) struct Server {
    first: ClientFirst,
    verifier: Verifier,
    /// Both halves.
    nonce: String,
    message: String,
}

impl Server {
    /// Takes the client's first message. `random`: 18 bytes of ours for the nonce.
    pub(crate) fn new(first: ClientFirst, verifier: Verifier, random: [u8; 18]) -> Self {
        let nonce = format!("{}{}", first.nonce, STANDARD.encode(random));
        let message = format!("r={nonce},s={},i={}", verifier.salt, verifier.iterations);
        Self { first, verifier, nonce, message }
    }

    /// Our first message.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Takes the client's last message; gives ours. `None`: it has not the password.
    pub(crate) fn finish(self, message: &str) -> Option<String> {
        if message.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut fields = without_proof.split(',');
        let binding = fields.next()?.strip_prefix("c=")?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        // A client that was told we cannot bind, and said so, says it again under its proof: nobody in between took -PLUS away.
        if binding != STANDARD.encode(&self.first.header) || nonce != self.nonce {
            return None;
        }
        let proof = STANDARD.decode(proof).ok().filter(|proof| proof.len() == DIGEST_BYTES)?;
        let stored = STANDARD.decode(&self.verifier.stored).ok()?;
        let server = STANDARD.decode(&self.verifier.server).ok()?;
        let signed = format!("{},{},{without_proof}", self.first.bare, self.message);
        let signature = mac(&stored, signed.as_bytes());
        let client: Vec<u8> =
            proof.iter().zip(signature).map(|(proof, signature)| proof ^ signature).collect();
        let right =
            verify_slices_are_equal(digest::digest(&digest::SHA256, &client).as_ref(), &stored).is_ok();
        right.then(|| format!("v={}", STANDARD.encode(mac(&server, signed.as_bytes()))))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server(…)")
    }
}

/// The client's side.
#[cfg(test)]
pub(crate) mod client {
    use super::*;

    pub(crate) fn first(name: &str, nonce: &str) -> String {
        format!("n,,n={name},r={nonce}")
    }

    /// The last message and what the server must answer.
    pub(crate) fn last(first: &str, server: &str, password: &str) -> (String, String) {
        let fields: Vec<&str> = server.split(',').map(|field| &field[2..]).collect();
        let mut salted = [0; DIGEST_BYTES];
        let salt = STANDARD.decode(fields[1]).unwrap();
        let rounds = fields[2].parse().unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
        let (client, server_key) = (mac(&salted, b"Client Key"), mac(&salted, b"Server Key"));
        let stored = digest::digest(&digest::SHA256, &client);
        let without_proof = format!("c={},r={}", STANDARD.encode("n,,"), fields[0]);
        let signed = format!("{},{server},{without_proof}", &first[3..]);
        let signature = mac(stored.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
        let last = format!("{without_proof},p={}", STANDARD.encode(proof));
        (last, format!("v={}", STANDARD.encode(mac(&server_key, signed.as_bytes()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROUNDS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

    // Goal: byte for byte the exchange of RFC 7677 3. Method: its salt and nonces; the server's half of the nonce is set by hand,
    // because there it is not base64 of 18 bytes.
    #[test]
    fn the_exchange_of_the_standard() {
        let salt: [u8; 16] = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let verifier = Verifier::of(&Password::typed("pencil").unwrap(), salt, ROUNDS);
        let first = ClientFirst::read("n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        let mut server = Server::new(first, verifier, [0; 18]);
        server.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
        server.message = format!("r={},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", server.nonce);
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(server.finish(last).unwrap(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    // Goal: the right password opens, however it was typed; nothing else does, and a stand-in looks like a user and opens for nothing.
    #[test]
    fn only_the_password_opens() {
        let typed = Password::typed("비밀 번호").unwrap();
        let verifier = Verifier::of(&typed, [7; 16], ROUNDS);
        let stand_in = Verifier::stand_in(&hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]), "nobody", ROUNDS);
        check(&verifier, "비밀 번호", true);
        check(&verifier, "비밀번호", false);
        check(&stand_in, "비밀 번호", false);
        check(&stand_in, "", false);
        assert_eq!(stand_in.salt.len(), verifier.salt.len());

        #[track_caller]
        fn check(verifier: &Verifier, password: &str, opens: bool) {
            let first = client::first("mina", "abc");
            let server = Server::new(ClientFirst::read(&first).unwrap(), verifier.clone(), [3; 18]);
            let (last, want) = client::last(&first, server.message(), password);
            assert_eq!(server.finish(&last), opens.then_some(want), "{password}");
        }
    }

    // Negative space: a right proof with anything around it changed.
    #[test]
    fn a_changed_last_message_opens_nothing() {
        let verifier = Verifier::of(&Password::typed("pencil").unwrap(), [7; 16], ROUNDS);
        let first = client::first("mina", "abc");
        let server = || Server::new(ClientFirst::read(&first).unwrap(), verifier.clone(), [3; 18]);
        let (last, want) = client::last(&first, server().message(), "pencil");
        assert_eq!(server().finish(&last), Some(want));
        for changed in [
            last.replace("c=biws", "c=eSws"),
            last.replace("r=abc", "r=abd"),
            last.replace(",p=", ",x=1,p="),
            last.replace(",p=", ",p=A"),
            last.split(",p=").next().unwrap().to_owned(),
            "x".repeat(2000),
            String::new(),
        ] {
            assert_eq!(server().finish(&changed), None, "{changed}");
        }
    }

    #[test]
    fn first_messages_are_read_strictly() {
        let name = |message: &str| ClientFirst::read(message).map(|first| first.name);
        assert_eq!(name("n,,n=mi=2Cna=3D,r=x").unwrap(), "mi,na=");
        assert_eq!(name("y,a=mina,n=mina,r=x").unwrap(), "mina");
        for wrong in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,r=x,n=mina",
            "p=tls-unique,,n=mina,r=x",
            "n,a=root,n=mina,r=x",
            "n,,n=mina,r=",
            "n,,n=mi=na,r=x",
            "n,,m=ext,n=mina,r=x",
            "n,,n=mina,r=\u{7f}",
            "n,,n=mina,r=a b",
        ] {
            assert_eq!(name(wrong).unwrap_err().name(), "scram-malformed", "{wrong}");
        }
    }

    proptest! {
        // Goal: no text makes it panic, in either message.
        #[test]
        fn any_text_is_read_or_refused(first in "[npy=,ar2CD]{0,30}|\\PC{0,30}", last in "[cr=,pA]{0,40}|\\PC{0,40}") {
            if let Ok(first) = ClientFirst::read(&first) {
                let verifier = Verifier::stand_in(&hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]), "x", ROUNDS);
                prop_assert_eq!(Server::new(first, verifier, [3; 18]).finish(&last), None);
            }
        }
    }
}
