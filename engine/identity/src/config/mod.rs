//! `[identity]` and `[issuer.NAME]`: as checked.
//!
//! **Job.** Read them. An [`IdentitySettings`] or [`IssuerSettings`] in hand is the proof that every bound in `keys` holds and that
//! files of keys could be read. **Called by** `madang` (config). **Calls** `settings`, `jose`.
//!
//! Invariants
//! 1. A secret is in no message, no `Debug` and no difference of settings.
//!
//! Not here: what the values do (the modules named in each field).

mod keys;

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use madang_host::file;
use madang_http::url::Url;
use madang_settings::reader::Reader;

pub use self::keys::{IDENTITY, ISSUER};
use crate::claims::Rules;
use crate::desk::DeskLimits;
use crate::jose::key::{Key, SECRET_BYTES_MIN};
use crate::jose::key_set::{KeySet, SET_BYTES_MAX};
use crate::password::Cost;

/// `[identity]`, checked; `keys` documents each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct IdentitySettings {
    pub guests: bool,
    pub guest_lifetime: Duration,
    pub access_lifetime: Duration,
    pub refresh_lifetime: Duration,
    pub session_lifetime: Duration,
    pub refresh_leeway: Duration,
    pub password_chars_min: usize,
    pub hash_cost: Cost,
    pub hash_desk: DeskLimits,
    /// `None`: no verifiers are kept.
    pub scram_iterations: Option<NonZeroU32>,
}

impl Default for IdentitySettings {
    fn default() -> Self {
        Self {
            guests: false,
            guest_lifetime: Duration::from_secs(86_400),
            access_lifetime: Duration::from_secs(600),
            refresh_lifetime: Duration::from_secs(30 * 86_400),
            session_lifetime: Duration::from_secs(180 * 86_400),
            refresh_leeway: Duration::from_secs(10),
            password_chars_min: 8,
            hash_cost: Cost { memory_kib: 19 * 1024, passes: 2 },
            hash_desk: DeskLimits { at_once: 2, waiting_max: 64 },
            scram_iterations: None,
        }
    }
}

impl IdentitySettings {
    /// Reads the section.
    pub fn read(r: &mut Reader<'_>) -> Self {
        let count = |r: &mut Reader<'_>, key| usize::try_from(r.count_u32(key)).unwrap_or(usize::MAX);
        let memory_kib = u32::try_from(r.size("hash_memory") / 1024).unwrap_or(u32::MAX);
        let iterations = NonZeroU32::new(r.count_u32("scram_iterations"));
        let scram = r.bool("scram");
        if !scram && r.has("scram_iterations") {
            r.error("scram_iterations", "`scram_iterations` says something only beside `scram = true`", None);
        }
        let settings = Self {
            guests: r.bool("guests"),
            guest_lifetime: r.duration("guest_lifetime"),
            access_lifetime: r.duration("access_lifetime"),
            refresh_lifetime: r.duration("refresh_lifetime"),
            session_lifetime: r.duration("session_lifetime"),
            refresh_leeway: r.duration("refresh_leeway"),
            password_chars_min: count(r, "password_min"),
            hash_cost: Cost { memory_kib, passes: r.count_u32("hash_passes") },
            hash_desk: DeskLimits {
                at_once: count(r, "hash_at_once"),
                waiting_max: count(r, "hash_waiting"),
            },
            scram_iterations: iterations.filter(|_| scram),
        };
        if settings.access_lifetime > settings.refresh_lifetime {
            r.error("access_lifetime", "`access_lifetime` is longer than `refresh_lifetime`", None);
        }
        settings
    }
}

/// Where an issuer's keys come from.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Asked for.
    Url {
        /// Where.
        url: Url,
        /// How often.
        every: Duration,
    },
    /// A file.
    File(PathBuf),
    /// One shared secret.
    Secret(Arc<[u8]>),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url, every } => f.debug_tuple("Url").field(url).field(every).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Secret(_) => f.write_str("Secret(…)"),
        }
    }
}

/// `[issuer.NAME]`, checked; `keys` documents each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct IssuerSettings {
    pub name: Arc<str>,
    /// `None`: its tokens have no `iss`.
    pub issuer: Option<String>,
    pub source: KeySource,
    pub(crate) rules: Rules,
    pub name_claim: String,
    pub roles_claim: Option<String>,
    /// Whether names are shown without the issuer's.
    pub plain_names: bool,
}

impl IssuerSettings {
    /// Reads one issuer. `None`: nothing could be checked against it.
    pub fn read(r: &mut Reader<'_>, name: &str) -> Option<Self> {
        let audience = r.texts("audience");
        let source = read_source(r);
        if audience.is_empty() && matches!(source, Some(KeySource::Url { .. } | KeySource::File(_))) {
            let help =
                Some("what the issuer calls this service, for example audience = \"madang\"".to_owned());
            r.error("audience", "`audience` is missing: tokens made for other services would be taken", help);
        }
        if r.has("jwks_every") && !matches!(source, Some(KeySource::Url { .. })) {
            r.error("jwks_every", "`jwks_every` says something only beside `jwks`", None);
        }
        let plain =
            |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"-_.".contains(&letter);
        if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) {
            r.report.error(
                r.mark(),
                r.path().to_owned().as_str(),
                "an issuer's name stands in its users' ids: 1 to 32 small letters, digits, `-`, `_` or `.`",
                None,
            );
        }
        Some(Self {
            name: name.into(),
            issuer: r.text("issuer"),
            source: source?,
            rules: Rules { audience, skew_s: r.duration("skew").as_secs() },
            name_claim: r.text_or_default("name_claim"),
            roles_claim: r.text("roles_claim"),
            plain_names: r.choice("names") == "plain",
        })
    }
}

fn read_source(r: &mut Reader<'_>) -> Option<KeySource> {
    let written: Vec<&str> = ["jwks", "jwks_file", "secret"].into_iter().filter(|key| r.has(key)).collect();
    match written[..] {
        ["jwks"] => read_url(r),
        ["jwks_file"] => {
            let path = r.path_value("jwks_file")?;
            let keys = file::read(&path, SET_BYTES_MAX).map_err(|error| error.to_string());
            let keys = keys.and_then(|text| KeySet::parse(&text).map_err(|error| error.to_string()));
            if let Err(why) = keys {
                r.error("jwks_file", format!("cannot read keys from {}: {why}", path.display()), None);
            }
            Some(KeySource::File(path))
        }
        ["secret"] => {
            let secret = r.text("secret")?;
            r.report.hide(&secret, "…");
            if Key::secret(secret.as_bytes()).is_none() {
                let help = Some("for example from: openssl rand -hex 32".to_owned());
                let message = format!("a secret for HS256 has at least {SECRET_BYTES_MIN} bytes");
                r.error("secret", message, help);
            }
            Some(KeySource::Secret(secret.into_bytes().into()))
        }
        [] => {
            let mark = r.mark();
            let path = r.path().to_owned();
            let help = Some(
                "jwks = \"https://…\", jwks_file = \"keys.json\" or secret = \"${TOKEN_SECRET}\"".to_owned(),
            );
            r.report.error(mark, &path, "it has no keys that its tokens are checked by", help);
            None
        }
        _ => {
            r.error(written[1], format!("one of {} is enough", written.join(", ")), None);
            None
        }
    }
}

fn read_url(r: &mut Reader<'_>) -> Option<KeySource> {
    let text = r.text("jwks")?;
    let every = r.duration("jwks_every");
    match Url::parse(&text) {
        Ok(url) => {
            if !url.secure && !url.is_near() {
                let help =
                    Some("whoever sits in between could put in keys of their own: use https://".to_owned());
                r.error("jwks", format!("keys from {} would be read in the clear", url.authority), help);
            }
            Some(KeySource::Url { url, every })
        }
        Err(why) => {
            r.error("jwks", format!("the URL of the keys: {why}"), None);
            None
        }
    }
}

/// What holds between issuers: no two answer for the same tokens.
pub fn check_issuers(r: &mut Reader<'_>, issuers: &[Arc<IssuerSettings>]) {
    for (place, one) in issuers.iter().enumerate() {
        let Some(other) = issuers[..place].iter().find(|other| other.issuer == one.issuer) else { continue };
        let mark = r.mark_below(&["issuer", &one.name, "issuer"]);
        let message = match &one.issuer {
            Some(issuer) => format!("issuer.{} answers for {issuer:?} already", other.name),
            None => format!("only one issuer can have no `issuer`, and issuer.{} has none", other.name),
        };
        r.report.error(mark, &format!("issuer.{}.issuer", one.name), message, None);
    }
}
