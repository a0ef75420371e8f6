//! `auth` and `cors` of a route: as checked.
//!
//! **Job.** Read who may come in by name and password, and which other origins' pages may ask. **Called by** `config`.
//! **Calls** `settings`, `auth` (is this a hash?).
//!
//! Not here: asking for logins (`auth`), answering preflights (`cors`).

use std::time::Duration;

use madang_settings::reader::Reader;

use crate::auth::check_hash;

/// The largest `users_file`, in bytes: some ten thousand users.
const USERS_FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Basic authentication, checked. Hashes are PHC strings.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Auth {
    pub realm: String,
    pub users: Vec<(String, String)>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Auth({:?}, {} users)", self.realm, self.users.len())
    }
}

/// CORS, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Cors {
    /// Empty: every origin.
    pub origins: Vec<String>,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub expose: Vec<String>,
    pub credentials: bool,
    pub max_age: Duration,
}

impl Auth {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let realm = r.text_or_default("realm");
        let mut users = r.text_map("users");
        if let Some(path) = r.path_value("users_file") {
            match madang_host::file::read_text(&path, USERS_FILE_BYTES_MAX) {
                Ok(text) => {
                    let lines =
                        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                    users.extend(
                        lines
                            .filter_map(|line| line.split_once(':'))
                            .map(|(name, hash)| (name.to_owned(), hash.to_owned())),
                    );
                }
                Err(error) => r.error("users_file", format!("cannot read {}: {error}", path.display()), None),
            }
        }
        for (name, hash) in &users {
            if let Err(why) = check_hash(hash) {
                let help = Some("make one with `madang hash`".to_owned());
                r.error("users", format!("the value of {name:?} is no argon2 hash: {why}"), help);
            }
        }
        if users.is_empty() {
            r.error("users", "nobody could log in: `users` or `users_file` is needed", None);
            return None;
        }
        Some(Self { realm, users })
    }
}

impl Cors {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let mut origins = r.texts("origins");
        let credentials = r.bool("credentials");
        if origins.is_empty() {
            r.error(
                "origins",
                "`origins` is missing",
                Some("for example origins = [\"https://app.example.org\"], or \"*\"".to_owned()),
            );
            return None;
        }
        for origin in &origins {
            let fine = origin == "*"
                || origin.split_once("://").is_some_and(|(scheme, rest)| {
                    matches!(scheme, "http" | "https") && !rest.is_empty() && !rest.contains('/')
                });
            if !fine {
                r.error(
                    "origins",
                    format!("{origin:?} is not an origin"),
                    Some("scheme://host[:port] without a path".to_owned()),
                );
            }
        }
        if origins.iter().any(|origin| origin == "*") {
            if credentials {
                r.error("credentials", "browsers do not take credentials together with the origin *", None);
            }
            origins.clear();
        }
        let (methods, headers, expose) = (r.texts("methods"), r.texts("headers"), r.texts("expose"));
        Some(Self { origins, methods, headers, expose, credentials, max_age: r.duration("max_age") })
    }
}
