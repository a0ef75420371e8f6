//! One message to a webhook, once.
//!
//! **Job.** Find the receiver's addresses, connect, POST a body with its signature, read the answer's head. **Called by** the
//! roles that tell other servers something: alerts (`roles/console`), hooks of chats (`roles/chat`). **Calls** `ask`,
//! `host::net`.
//!
//! It is signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, and `webhook-signature: v1,` with the base64 of
//! HMAC-SHA256 over `id.timestamp.body`.
//!
//! Invariants
//! 1. Redirects are not followed: what is told was to go where the settings say.
//! 2. Addresses are judged after the name was looked up, and the connection goes to those that were judged.
//! 3. The answer's content is not read.
//!
//! Not here: how long it may take (the caller drops it), what an answer means, trying again.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use madang_host::clock;
use madang_host::net::connect::connect;
use madang_host::net::listen::Address;
use madang_host::net::resolve::Resolver;
use madang_host::tls::connect::{ClientTls, ClientTlsSettings};

use super::ask::ask;
use super::http2::ask::{Answer, Asked};
use crate::url::Url;

/// The largest head of an answer. Bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// The shortest secret that is worth signing with. Bytes.
pub const SECRET_BYTES_MIN: usize = 16;

/// What signs webhooks. In no `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// From what was written: its bytes, or base64 behind `whsec_`, as the makers of webhook libraries write keys. `None`: it
    /// is shorter than [`SECRET_BYTES_MIN`], or no base64.
    pub fn parse(text: &str) -> Option<Self> {
        let key = match text.strip_prefix("whsec_") {
            None => Some(text.as_bytes().to_vec()),
            Some(coded) => base64::engine::general_purpose::STANDARD.decode(coded).ok(),
        };
        key.filter(|key| key.len() >= SECRET_BYTES_MIN).map(|key| Self(key.into()))
    }

    /// The field that proves who sent it.
    fn sign(&self, id: &str, time: &str, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        for part in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
            context.update(part);
        }
        format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(context.sign()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is sent.
#[derive(Debug)]
pub struct Message<'a> {
    /// Where to.
    pub url: &'a Url,
    /// What signs it; none: it is not signed.
    pub secret: Option<&'a Secret>,
    /// The same whenever the same is sent again.
    pub id: &'a str,
    /// Who sends it, for the receiver's log.
    pub agent: &'a str,
    /// JSON.
    pub body: Vec<u8>,
    /// Also to addresses that only this machine or its networks reach ([`is_private`]).
    pub allow_private: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotSent {
    /// Every address of the name is one that only this machine or its networks reach.
    Private {
        /// The name.
        host: String,
        /// The last of them.
        address: IpAddr,
    },
    /// Anything else: it may go better later.
    Failed {
        /// For people.
        why: String,
    },
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private { host, address } => {
                write!(f, "{host} is {address}, an address of this machine or of a private network")
            }
            Self::Failed { why } => f.write_str(why),
        }
    }
}
impl std::error::Error for NotSent {}

/// Posts it, over a connection of its own.
///
/// # Errors
/// [`NotSent`].
pub async fn post(message: Message<'_>, resolver: &Resolver) -> Result<Answer, NotSent> {
    let Message { url, secret, id, agent, body, allow_private } = message;
    let failed = |why: String| NotSent::Failed { why };
    let tls = if url.secure {
        let made = ClientTls::new(&ClientTlsSettings::default(), &url.host);
        Some(made.map_err(|error| failed(error.to_string()))?)
    } else {
        None
    };
    let mut addresses: Vec<IpAddr> = match url.host.parse() {
        Ok(address) => vec![address],
        Err(_) => resolver.addresses(&url.host).await.map_err(|error| failed(error.to_string()))?.all,
    };
    if !allow_private && let Some(address) = addresses.last().copied().filter(|last| is_private(*last)) {
        addresses.retain(|one| !is_private(*one));
        if addresses.is_empty() {
            return Err(NotSent::Private { host: url.host.clone(), address });
        }
    }
    addresses.retain(|one| allow_private || !is_private(*one));
    let time = clock::unix_seconds(clock::wall()).to_string();
    let signature = secret.map(|secret| secret.sign(id, &time, &body));
    let mut fields = vec![
        ("user-agent", agent),
        ("content-type", "application/json"),
        ("idempotency-key", id),
        ("webhook-id", id),
        ("webhook-timestamp", time.as_str()),
    ];
    fields.extend(signature.as_deref().map(|signature| ("webhook-signature", signature)));
    let mut last = format!("{} has no address", url.host);
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let address = Address::Tcp(SocketAddr::new(address, url.port));
        match connect(&address, tls.as_ref()).await {
            Ok(stream) => {
                let asked = Asked { method: "POST", path: &url.path, fields: &fields, body };
                let answer = ask(stream, &url.authority, asked, HEAD_BYTES_MAX, 0).await;
                return answer.map_err(|no_answer| failed(format!("no answer: {}", no_answer.what())));
            }
            Err(error) => last = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(failed(last))
}

/// Whether only this machine, its link or its own networks reach an address: loopback, link-local, private (RFC 1918), shared
/// (RFC 6598), unique local (RFC 4193), and what is no address of one machine.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            v6 == Ipv6Addr::UNSPECIFIED
                || v6.is_loopback()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
                // Translated (RFC 6052, 6to4): they carry an IPv4 address that may be any of the above.
                || (first == 0x64 && second == 0xff9b)
                || first == 0x2002
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: others' libraries verify the signature. Method: the example of the Standard Webhooks specification's own tests.
    #[test]
    fn a_signature_is_as_standard_webhooks_has_it() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    // Goal: a secret is long enough to be one.
    #[test]
    fn short_secrets_are_none() {
        assert!(Secret::parse("0123456789abcdef").is_some());
        for short in
            ["0123456789abcde", "", "whsec_", "whsec_AAAA", "whsec_not base64 at all, but long enough"]
        {
            assert!(Secret::parse(short).is_none(), "{short}");
        }
    }

    // Goal: whatever is not reached over the open network is known, however it is written.
    #[test]
    fn private_addresses_are_known() {
        for private in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            check(private, true);
        }
        for open in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.2.1", "2606:4700::1111", "::ffff:8.8.8.8"]
        {
            check(open, false);
        }

        #[track_caller]
        fn check(address: &str, want: bool) {
            assert_eq!(is_private(address.parse().unwrap()), want, "{address}");
        }
    }
}
