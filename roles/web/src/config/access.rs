//! `auth` and `cors` of a route: as checked.
//!
//! **Job.** Read who may come in by name and password or by a login, and which other origins' pages may ask. **Called by** `config`.
//! **Calls** `settings`, `auth` (is this a hash?).
//!
//! Not here: asking for logins (`auth`), answering preflights (`cors`).

use std::time::Duration;

use madang_settings::reader::Reader;

use crate::auth::check_hash;

/// The largest `users_file`, in bytes: some ten thousand users.
const USERS_FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// The longest role, in bytes.
const ROLE_BYTES_MAX: usize = 64;

/// Who may use a route, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Who knows a name and password of the route's own.
    Basic(Basic),
    /// Who has a login of this house.
    Login(LoginRule),
}

/// Which logins, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRule {
    /// One of them is needed; empty: every user.
    pub roles: Vec<String>,
}

/// Basic authentication, checked. Hashes are PHC strings.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Basic {
    pub realm: String,
    pub users: Vec<(String, String)>,
}

impl std::fmt::Debug for Basic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Basic({:?}, {} users)", self.realm, self.users.len())
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
        let by_login = r.has("login") || r.has("roles");
        let own = ["users", "users_file", "realm"].into_iter().find(|key| r.has(key));
        match own {
            Some(own) if by_login => {
                let message = format!(
                    "`{own}` is of names and passwords of the route's own, `login` and `roles` of users of this house: one of the two"
                );
                r.error(own, message, Some("a route for each, or leave one out".to_owned()));
                None
            }
            _ if by_login => LoginRule::read(r).map(Self::Login),
            _ => Basic::read(r).map(Self::Basic),
        }
    }
}

impl LoginRule {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        if r.has("login") && !r.bool("login") {
            let help = Some("without `auth` nobody is asked for anything".to_owned());
            r.error("login", "`login` can only be true", help);
            return None;
        }
        let roles = r.texts("roles");
        if r.has("roles") && roles.is_empty() {
            r.error("roles", "no role is named", Some("for every user: auth = { login = true }".to_owned()));
        }
        for role in &roles {
            let fits = |letter: char| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_.:".contains(letter)
            };
            if role.is_empty() || role.len() > ROLE_BYTES_MAX || !role.chars().all(fits) {
                let help = Some("1 to 64 small letters, digits, `-`, `_`, `.` or `:`".to_owned());
                r.error("roles", format!("{role:?} is no role that a user could have"), help);
            }
        }
        Some(Self { roles })
    }
}

impl Basic {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
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
            let help = Some(
                "or for users of this house: auth = { login = true }, auth = { roles = [\"admin\"] }"
                    .to_owned(),
            );
            r.error("users", "nobody could log in: `users` or `users_file` is needed", help);
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
