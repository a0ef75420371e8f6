//! Logins by HTTP, below a folder of a site: JSON in, JSON out.
//!
//! **Job.** Answer the requests of the table; set and take back cookies. **Called by** `roles/web`, through the engine's `Service`.
//! **Calls** `identity`. docs/identity.md shows each request and answer.
//!
//! | request | body | what |
//! |---|---|---|
//! | `POST login` | name, password, cookies? | a session |
//! | `POST guest` | name?, cookies? | a guest's token |
//! | `POST refresh` | refresh? | the next tokens; without `refresh` those of the cookie |
//! | `POST logout` | everywhere?, refresh? | ends the session, or all of the user's |
//! | `POST password` | old, new | one's own new password; every login ends |
//! | `GET me` | | who one is |
//!
//! Invariants
//! 1. A body is `application/json`: no form of another site's page can send it, and a script of one asks first (CORS).
//! 2. Cookies are set and read only on the site's own requests (`http::credential`); tokens are in the body or in cookies, never both.
//! 3. No answer is kept by any cache.
//!
//! Not here: who may log in and when (`login`), the rate of requests (the route's `limit`).

mod cookies;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use madang_host::blame::Retry;
use madang_host::connection::Connection;
use madang_http::body::{Body, RequestBody};
use madang_http::credential::{self, Shown};
use madang_http::exchange::{Exchange, Outcome, Reply, Service};
use madang_wire::request::{Method, RequestHead, Scheme};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::cookies::access_cookie;
use crate::identity::Identity;
use crate::refused::{Refused, whole_seconds};
use crate::session::Session;
use crate::users::UserError;
use crate::who::{Via, Who};

/// The largest body, in bytes.
const BODY_BYTES_MAX: u64 = 4096;

/// Logins below folders of a site.
pub struct IdentityService {
    identity: Identity,
    /// With a slash at the end.
    folders: Rc<[String]>,
}

impl IdentityService {
    /// For a route with these folders.
    pub fn new(identity: &Identity, folders: Vec<String>) -> Rc<Self> {
        Rc::new(Self { identity: identity.clone(), folders: folders.into() })
    }
}

impl Service for IdentityService {
    fn call(&self, exchange: Box<Exchange>) -> Reply {
        let (identity, folders) = (self.identity.clone(), Rc::clone(&self.folders));
        Reply::Later(Box::pin(async move { answered(identity, folders, exchange).await }))
    }

    fn record(&self, _: &Exchange, _: Outcome) {}

    fn refused(&self, _: &Connection, _: u16, _: &'static str) {}
}

/// Why there is another answer than the one that was wanted.
enum Not {
    Refused(Refused),
    User(UserError),
    /// Status, name, sentence.
    Plain(u16, &'static str, &'static str),
    /// There are other methods for it.
    Method(&'static str),
}

impl From<Refused> for Not {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<UserError> for Not {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Refused(refused) => Self::Refused(refused),
            error => Self::User(error),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    name: String,
    password: String,
    #[serde(default)]
    cookies: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Guest {
    name: Option<String>,
    cookies: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Refresh {
    refresh: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Logout {
    refresh: Option<String>,
    everywhere: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    old: String,
    new: String,
}

/// Somebody, as it is told.
#[derive(Serialize)]
struct Told<'w> {
    id: &'w str,
    name: &'w str,
    roles: &'w [String],
    guest: bool,
    via: &'static str,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

impl<'w> Told<'w> {
    fn of(who: &'w Who) -> Self {
        let via = match &who.via {
            Via::Session => "session",
            Via::Password => "password",
            Via::Guest => "guest",
            Via::Key(_) => "key",
            Via::Outside(_) => "issuer",
        };
        let until = Some(who.until).filter(|until| *until != u64::MAX);
        Self { id: who.id(), name: &who.name, roles: &who.roles, guest: who.is_guest(), via, until }
    }
}

/// What a login answers.
#[derive(Serialize)]
struct Given<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<&'s str>,
    /// Seconds the access token is good.
    expires_in: u64,
    user: Told<'s>,
}

async fn answered(identity: Identity, folders: Rc<[String]>, mut exchange: Box<Exchange>) -> Box<Exchange> {
    let path = exchange.head.path().to_owned();
    let found =
        folders.iter().find_map(|folder| Some((folder.as_str(), path.strip_prefix(folder.as_str())?)));
    let (folder, below) = found.unwrap_or(("/", ""));
    if let Err(not) = answer(&identity, folder, below, &mut exchange).await {
        refuse(&mut exchange, not);
    }
    exchange.response.fields.set("cache-control", "no-store");
    exchange.response.fields.set("x-content-type-options", "nosniff");
    exchange
}

async fn answer(identity: &Identity, folder: &str, below: &str, exchange: &mut Exchange) -> Result<(), Not> {
    let method = exchange.head.method();
    let wanted = match below {
        "me" => "GET, HEAD",
        "login" | "guest" | "refresh" | "logout" | "password" => "POST",
        _ => {
            let here = "here are login, guest, refresh, logout, password (POST) and me (GET)";
            return Err(Not::Plain(404, "no-such-page", here));
        }
    };
    let fits =
        if wanted == "POST" { method == Method::Post } else { matches!(method, Method::Get | Method::Head) };
    if !fits {
        return Err(Not::Method(wanted));
    }
    match below {
        "login" => {
            let asked: Login = read(exchange).await?;
            own_for_cookies(exchange, asked.cookies)?;
            let session = identity.login(&asked.name, &asked.password, exchange.client()).await?;
            give(identity, exchange, folder, &session, asked.cookies);
        }
        "guest" => {
            let asked: Guest = read_or_default(exchange).await?;
            own_for_cookies(exchange, asked.cookies)?;
            let session = identity.guest(asked.name.as_deref())?;
            give(identity, exchange, folder, &session, asked.cookies);
        }
        "refresh" => {
            let asked: Refresh = read_or_default(exchange).await?;
            let by_cookie = asked.refresh.is_none();
            let token = asked.refresh.or_else(|| cookies::refresh(&exchange.head)).ok_or(Refused::Nobody)?;
            match identity.refresh(&token).await {
                Ok(session) => give(identity, exchange, folder, &session, by_cookie),
                Err(refused) => {
                    // A browser is not to try the same again with every page.
                    if by_cookie && !matches!(refused, Refused::Store(_)) {
                        cookies::take_back(exchange, folder);
                    }
                    return Err(refused.into());
                }
            }
        }
        "logout" => logout(identity, folder, exchange).await?,
        "password" => {
            let asked: Password = read(exchange).await?;
            let who = who(identity, &exchange.head).await?;
            // Whoever found an open window knows the old password as little as a guesser does.
            if who.is_guest() || matches!(who.via, Via::Outside(_) | Via::Key(_)) {
                return Err(Not::Plain(403, "not-your-password", "only who logged in by a password has one"));
            }
            let from = exchange.client();
            identity.change_password(&who.name, &asked.old, &asked.new, from).await?;
            cookies::take_back(exchange, folder);
            exchange.response.status = 204;
        }
        _ => {
            let who = who(identity, &exchange.head).await?;
            exchange.notes.user = Some(Rc::from(&*who.name));
            write(exchange, 200, &Told::of(&who));
        }
    }
    Ok(())
}

async fn logout(identity: &Identity, folder: &str, exchange: &mut Exchange) -> Result<(), Not> {
    let asked: Logout = read_or_default(exchange).await?;
    let shown = who(identity, &exchange.head).await;
    let refresh = asked.refresh.or_else(|| cookies::refresh(&exchange.head));
    match (shown, refresh) {
        (Ok(who), _) if asked.everywhere && who.user.is_some() && who.session.is_some() => {
            identity.logout_everywhere(&who.name).await?;
        }
        (_, _) if asked.everywhere => {
            let why = "log in first: an access token of a session is needed to end all";
            return Err(Not::Plain(401, Refused::Nobody.name(), why));
        }
        // The access token may be over; the refresh token names the session as well.
        (_, Some(refresh)) => identity.logout_by_refresh(&refresh).await?,
        (Ok(who), None) => identity.logout(&who).await?,
        (Err(refused), None) => {
            cookies::take_back(exchange, folder);
            return Err(refused.into());
        }
    }
    cookies::take_back(exchange, folder);
    exchange.response.status = 204;
    Ok(())
}

/// Who shows what on a request.
async fn who(identity: &Identity, head: &RequestHead) -> Result<Who, Refused> {
    let secure = head.scheme() == Scheme::Https;
    match credential::shown(head, access_cookie(secure)) {
        Shown::Nothing => Err(Refused::Nobody),
        Shown::Bearer(token) | Shown::Cookie(token) => identity.identify(token, identity.now()).await,
    }
}

/// Cookies are set for pages of the site itself, not for one that made its reader log in as somebody else.
fn own_for_cookies(exchange: &Exchange, cookies: bool) -> Result<(), Not> {
    if cookies && !credential::is_own(&exchange.head) {
        let why =
            "cookies are given to the site's own pages only (Sec-Fetch-Site, Origin); leave `cookies` out";
        return Err(Not::Plain(403, "cross-site", why));
    }
    Ok(())
}

fn give(identity: &Identity, exchange: &mut Exchange, folder: &str, session: &Session, by_cookie: bool) {
    let now = identity.now();
    exchange.notes.user = Some(Rc::from(&*session.who.name));
    if by_cookie {
        cookies::give(exchange, folder, session, now);
    }
    let shown = |token: &'_ str| -> Option<String> { (!by_cookie).then(|| token.to_owned()) };
    let (access, refresh) = (shown(&session.access), session.refresh.as_deref().and_then(shown));
    let given = Given {
        access: access.as_deref(),
        refresh: refresh.as_deref(),
        expires_in: session.who.until.saturating_sub(now),
        user: Told::of(&session.who),
    };
    write(exchange, 200, &given);
}

async fn read<T: DeserializeOwned>(exchange: &mut Exchange) -> Result<T, Not> {
    let body = body(exchange).await?;
    parse(&body)
}

/// The same where everything may be left out.
async fn read_or_default<T: DeserializeOwned + Default>(exchange: &mut Exchange) -> Result<T, Not> {
    let body = body(exchange).await?;
    if body.is_empty() { Ok(T::default()) } else { parse(&body) }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Not> {
    let why = "the body is not the JSON object that is wanted here; docs/identity.md shows it";
    serde_json::from_slice(body).map_err(|_| Not::Plain(422, "malformed", why))
}

async fn body(exchange: &mut Exchange) -> Result<Bytes, Not> {
    let media_type = exchange.head.get_str("content-type").unwrap_or("");
    let essence = media_type.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let why = "the body must be application/json, said so in content-type, an empty one as well";
        return Err(Not::Plain(415, "not-json", why));
    }
    let mut body: RequestBody = std::mem::take(&mut exchange.body);
    let bytes = body.collect(BODY_BYTES_MAX).await;
    exchange.body = body;
    bytes.map_err(|fault| {
        Not::Plain(fault.status(), "body", "the body could not be read; it has 4 KiB at most")
    })
}

fn write<T: Serialize>(exchange: &mut Exchange, status: u16, value: &T) {
    exchange.response.status = status;
    exchange.response.fields.set("content-type", "application/json");
    let text = serde_json::to_vec(value).unwrap_or_default();
    exchange.response.body = Body::Bytes(text.into());
}

/// How a refusal is told.
#[derive(Serialize)]
struct Why<'w> {
    error: Error<'w>,
}

#[derive(Serialize)]
struct Error<'w> {
    name: &'static str,
    text: &'w str,
    #[serde(skip_serializing_if = "Option::is_none")]
    again_ms: Option<u128>,
}

fn refuse(exchange: &mut Exchange, not: Not) {
    let (status, name, text, retry) = match not {
        Not::Refused(refused) => {
            if let Refused::Store(error) = &refused {
                // For the log; the client learns that it may come again.
                exchange.notes.error_detail = Some(error.to_string());
            }
            (refused.status(), refused.name(), refused.to_string(), refused.retry())
        }
        Not::User(error) => (error.status(), error.name(), error.to_string(), error.retry()),
        Not::Plain(status, name, text) => (status, name, text.to_owned(), Retry::Never),
        Not::Method(allow) => {
            exchange.response.fields.set("allow", allow);
            (405, "method-not-allowed", format!("this takes {allow}"), Retry::Never)
        }
    };
    let again: Option<Duration> = match retry {
        Retry::After(wait) => Some(wait),
        Retry::Never => None,
    };
    if let Some(wait) = again {
        exchange.response.fields.set("retry-after", whole_seconds(wait).max(1).to_string());
    }
    if status == 401 {
        exchange.response.fields.set("www-authenticate", "Bearer");
    }
    exchange.notes.error = Some(name);
    let again_ms = again.map(|wait| wait.as_millis());
    write(exchange, status, &Why { error: Error { name, text: &text, again_ms } });
}
