//! `[bus]`: how machines hear each other.
//!
//! **Job.** Its keys, as written and as checked. **Called by** `madang` (reading), [`crate::Bus::open`].
//!
//! Invariants
//! 1. An address's password is in no message, no `Debug` and no difference of settings.
//!
//! Not here: connecting (`nats::connect`).

use std::fmt;
use std::path::PathBuf;

use madang_settings::reader::Reader;
use madang_settings::schema::{Kind, Section, key};

/// `[bus]`.
pub const BUS: Section = Section {
    title: "[bus]",
    doc: "How several machines are one: what is said on one is heard on all. Left out: one machine on its own.",
    keys: &[
        key(
            "nats",
            Kind::List(&Kind::Text),
            "",
            "Address of a NATS server, or several of one cluster: `\"nats://user:${PASSWORD}@nats.example.org:4222\"`; `tls://` demands TLS with a verified certificate.",
        ),
        key(
            "credentials",
            Kind::Path,
            "",
            "File with a user's token and key as `nsc` writes it (`.creds`), in place of a user and password in the address.",
        ),
        key(
            "ca",
            Kind::Path,
            "",
            "PEM file of the authorities that NATS' certificate is checked against. Left out: the system's.",
        ),
        key("certificate", Kind::Path, "", "PEM file of a certificate to show to NATS, with `key`."),
        key("key", Kind::Path, "", "PEM file of its key."),
        key(
            "cluster",
            Kind::Text,
            "\"madang\"",
            "Machines with the same word hear each other: other words for other houses at one NATS. 1 to 30 letters, digits and `-`.",
        ),
    ],
};

/// `[bus]`, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BusSettings {
    /// One machine.
    #[default]
    Local,
    /// Several, by NATS.
    Nats(Box<NatsSettings>),
}

/// How to reach NATS, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// One or more servers of one cluster.
    pub servers: Vec<Address>,
    /// A `.creds` file.
    pub credentials: Option<PathBuf>,
    /// Authorities for its certificate.
    pub ca: Option<PathBuf>,
    /// Certificate and key to show.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The first word of every subject.
    pub cluster: String,
}

/// A server's address. It shows itself without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// An address as it was written.
    ///
    /// # Errors
    /// What is wrong with it, without a password.
    pub fn new(text: &str) -> Result<Self, String> {
        if !["nats://", "tls://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err("it must begin with nats:// or tls://".to_owned());
        }
        crate::nats::check_address(text)?;
        Ok(Self(text.to_owned()))
    }

    /// Who logs in: a user with a password, or a token alone.
    pub fn login(&self) -> Option<(String, Option<String>)> {
        let (who, _) = self.0.split_once("://")?.1.rsplit_once('@')?;
        Some(match who.split_once(':') {
            Some((user, password)) => (decoded(user), Some(decoded(password))),
            None => (decoded(who), None),
        })
    }

    /// The address without who logs in.
    pub(crate) fn place(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("nats", &self.0));
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        format!("{scheme}://{place}")
    }

    /// Whether TLS is demanded.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("tls://")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secret(&self.0))
    }
}

/// `%40` to `@`, as in any address; what is no such code stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = match rest {
            [b'%', high, low, ..] => char::from(*high).to_digit(16).zip(char::from(*low).to_digit(16)),
            _ => None,
        };
        rest = match code.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(byte) => {
                bytes.push(byte);
                after.get(2..).unwrap_or_default()
            }
            None => {
                bytes.push(*first);
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An address as it may be shown: the password after the user is left out, and a token, which stands where a user would.
pub fn without_secret(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let shown = match rest.rsplit_once('@') {
        Some((who, place)) => match who.split_once(':') {
            Some((user, _)) => format!("{user}:…@{place}"),
            None => format!("…@{place}"),
        },
        None => rest.to_owned(),
    };
    if scheme.is_empty() { shown } else { format!("{scheme}://{shown}") }
}

impl BusSettings {
    /// Reads the section.
    pub fn read(r: &mut Reader<'_>) -> Self {
        let written = r.texts("nats");
        let (credentials, ca) = (r.path_value("credentials"), r.path_value("ca"));
        let (certificate, private) = (r.path_value("certificate"), r.path_value("key"));
        let cluster = r.text_or_default("cluster");
        for address in &written {
            // Before any message can hold it.
            r.report.hide(address, &without_secret(address));
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if cluster.is_empty() || cluster.len() > 30 || !cluster.chars().all(word) {
            let help = Some("cluster = \"madang\"".to_owned());
            r.error("cluster", format!("{cluster:?} is not 1 to 30 letters, digits and `-`"), help);
        }
        if written.is_empty() {
            for key in ["credentials", "ca", "certificate", "key", "cluster"] {
                if r.has(key) {
                    let help = Some("nats = \"nats://nats.example.org:4222\"".to_owned());
                    r.error(key, format!("`{key}` says something only beside `nats`"), help);
                }
            }
            return Self::Local;
        }
        let mut servers = Vec::new();
        for address in written {
            match Address::new(&address) {
                Ok(address) => servers.push(address),
                Err(why) => {
                    let shown = without_secret(&address);
                    let help = Some("nats = \"nats://user:${PASSWORD}@nats.example.org:4222\"".to_owned());
                    r.error("nats", format!("{shown:?} is not the address of a NATS server: {why}"), help);
                }
            }
        }
        let logins: Vec<_> = servers.iter().filter_map(Address::login).collect();
        if logins.windows(2).any(|two| two[0] != two[1]) {
            r.error("nats", "the addresses have different logins: one NATS cluster knows one for us", None);
        }
        let pair = match (certificate, private) {
            (Some(certificate), Some(private)) => Some((certificate, private)),
            (None, None) => None,
            (have, _) => {
                let (has, lacks) =
                    if have.is_some() { ("certificate", "key") } else { ("key", "certificate") };
                r.error(has, format!("`{has}` needs `{lacks}` beside it"), None);
                None
            }
        };
        if credentials.is_some() && servers.iter().any(|server| server.login().is_some()) {
            let message = "both `credentials` and a user in the address: which of them logs in is not clear";
            r.error("credentials", message, Some("leave one of them out".to_owned()));
        }
        Self::Nats(Box::new(NatsSettings { servers, credentials, ca, certificate: pair, cluster }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_itself_without_its_secret() {
        check("nats://bus:4222", "nats://bus:4222");
        check("nats://me:secret@bus:4222", "nats://me:…@bus:4222");
        check("tls://me:secr@t@bus", "tls://me:…@bus");
        check("nats://secrettoken@bus", "nats://…@bus");

        #[track_caller]
        fn check(address: &str, want: &str) {
            assert_eq!(Address(address.to_owned()).to_string(), want);
            assert!(!format!("{:?}", Address(address.to_owned())).contains("secr"));
        }
    }

    #[test]
    fn a_login_is_read_from_the_address() {
        check("nats://bus", None, "nats://bus");
        check("nats://token@bus:1", Some(("token", None)), "nats://bus:1");
        check("tls://me:s%40%3A%zz@bus", Some(("me", Some("s@:%zz"))), "tls://bus");

        #[track_caller]
        fn check(address: &str, login: Option<(&str, Option<&str>)>, place: &str) {
            let address = Address(address.to_owned());
            let want = login.map(|(user, password)| (user.to_owned(), password.map(str::to_owned)));
            assert_eq!((address.login(), address.place().as_str()), (want, place));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        check("nats://bus", true);
        check("tls://bus:4222", true);
        check("nats://[::1]:4222", true);
        check("bus:4222", false);
        check("http://bus", false);
        check("nats://", false);
        check("nats://bus:70000", false);

        #[track_caller]
        fn check(address: &str, fine: bool) {
            assert_eq!(Address::new(address).is_ok(), fine, "{address}");
        }
    }
}
