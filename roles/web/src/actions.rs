//! What routes do, made ready for one worker.
//!
//! **Job.** Hold a route's action in the form the pipeline runs, and run it.
//! **Reads** `config::Action`. **Called by** `phases` (route: rewrites; answer: everything else). **Calls** `files`,
//! `template`, other roles through their [`Service`].
//!
//! Invariants
//! 1. An action says what it did in the closed vocabulary of [`Verdict`]; it never writes an error page itself.
//! 2. Running files, fixed answers and roles allocates nothing here.
//!
//! Not here: which route is taken (`routes`), how answers are dressed (`shape`).

use std::rc::Rc;

use bytes::Bytes;
use madang_http::body::Body;
use madang_http::exchange::{Exchange, Service};
use madang_http::response::Text;
use madang_wire::request::Method;

use crate::config::{self, Route};
use crate::files::{Files, FilesOptions};
use crate::template::{Caught, Template};
use crate::verdict::{Blame, Failure, Verdict};
use crate::web::Making;

/// A route's action on one worker.
pub(crate) enum Action {
    /// A folder, and the whole segments of the path that are not part of the file's name.
    Files { files: Files, strip: Option<Box<str>> },
    /// Elsewhere.
    Redirect { to: Template, status: u16, keep_query: bool },
    /// The same request by another path, from the next route on.
    Rewrite(Rewrite),
    /// A fixed answer.
    Respond { status: u16, body: Bytes, media_type: Text },
    /// Another role, by this path where there is one.
    Role { service: Rc<dyn Service>, rewrite: Option<Rewrite> },
    /// What could not be made ready.
    Broken(Failure),
}

impl Action {
    /// Makes a route's action ready. What cannot be is told once here and fails on every request.
    pub(crate) fn new(route: &Route, site: &str, place: usize, making: &Making<'_>) -> Self {
        if let Some(service) = making.role(site, place) {
            let rewrite = match &route.action {
                config::Action::Proxy(settings) => settings.rewrite.as_ref(),
                _ => None,
            };
            // Checked with the settings: it can be made again.
            let rewrite = rewrite.and_then(|(to, keep_query)| {
                let to = Template::for_rewrite(to, &route.paths).ok()?;
                Some(Rewrite { to, keep_query: *keep_query })
            });
            return Self::Role { service, rewrite };
        }
        let broken = |name: &'static str, why: String| {
            making.trouble(name, &format!("site {site}, route {place}: {why}"));
            Self::Broken(Failure::new(500, Blame::Operator, name, why))
        };
        match &route.action {
            config::Action::Files(settings) => {
                match Files::new(FilesOptions::from(settings), making.caches) {
                    Ok(files) => {
                        let strip = settings.strip.as_deref().map(|strip| strip.trim_end_matches('/').into());
                        Self::Files { files, strip }
                    }
                    Err(error) => broken("folder-unavailable", error.to_string()),
                }
            }
            config::Action::Redirect { to, status, keep_query } => match Template::new(to, &route.paths) {
                Ok(to) => Self::Redirect { to, status: *status, keep_query: *keep_query },
                Err(error) => broken("bad-redirect", error.to_string()),
            },
            config::Action::Rewrite { to, keep_query } => match Template::for_rewrite(to, &route.paths) {
                Ok(to) => Self::Rewrite(Rewrite { to, keep_query: *keep_query }),
                Err(error) => broken("bad-rewrite-target", error.to_string()),
            },
            config::Action::Proxy(settings) => {
                broken("no-such-pool", format!("there is no pool {:?}", settings.pool))
            }
            config::Action::Identity => broken("no-logins", "there are no logins".to_owned()),
            config::Action::Chat { chat } => broken("no-such-chat", format!("there is no chat {chat:?}")),
            config::Action::Respond { status, body, media_type } => Self::Respond {
                status: *status,
                body: Bytes::from(body.clone()),
                media_type: media_type.clone().into(),
            },
        }
    }

    /// Answers. Rewrites were followed before and have nothing to say here.
    pub(crate) fn answer(&self, route: &Route, exchange: &mut Exchange) -> Verdict {
        match self {
            Self::Files { files, strip } => {
                let from = stripped(exchange.head.path(), strip.as_deref());
                files.answer_from(exchange, from)
            }
            Self::Redirect { to, status, keep_query } => {
                let Some(caught) = Caught::by(&route.paths, exchange.head.path()) else {
                    return Verdict::Next;
                };
                let location = to.location(&caught, &exchange.head, *keep_query);
                exchange.response.status = *status;
                exchange.response.fields.set("location", location);
                Verdict::Answer
            }
            Self::Rewrite(_) => Verdict::Next,
            Self::Respond { status, body, .. } if body.is_empty() && *status >= 400 => {
                Failure::new(*status, Blame::Operator, "refused-by-route", "the route answers so").into()
            }
            Self::Respond { status, body, media_type } => {
                exchange.response.status = *status;
                if !matches!(status, 204 | 205 | 304) {
                    exchange.response.fields.set("content-type", media_type.clone());
                    exchange.response.body = Body::Bytes(body.clone());
                }
                Verdict::Answer
            }
            Self::Role { service, rewrite } => match rewrite.as_ref().map(|to| to.follow(route, exchange)) {
                Some(Some(Err(failure))) => failure.into(),
                _ => Verdict::Hand(Rc::clone(service)),
            },
            Self::Broken(failure) => failure.clone().into(),
        }
    }

    /// Follows a rewrite. `None`: this action is none.
    pub(crate) fn rewrite(&self, route: &Route, exchange: &mut Exchange) -> Option<Result<(), Failure>> {
        let Self::Rewrite(rewrite) = self else { return None };
        rewrite.follow(route, exchange)
    }
}

/// The same request by another path.
pub(crate) struct Rewrite {
    to: Template,
    keep_query: bool,
}

impl Rewrite {
    /// `None`: the route's patterns do not match any more.
    fn follow(&self, route: &Route, exchange: &mut Exchange) -> Option<Result<(), Failure>> {
        let caught = Caught::by(&route.paths, exchange.head.path())?;
        let written = match self.to.path_and_query(&caught, &exchange.head) {
            Ok(written) => written,
            Err(error) => {
                return Some(Err(Failure::new(400, Blame::Client, "bad-rewrite", error.to_string())));
            }
        };
        let (path, query) = written;
        exchange.head.set_path(&path);
        match (query, exchange.head.query(), self.keep_query) {
            (Some(own), Some(sent), true) => {
                let both = format!("{own}&{sent}");
                exchange.head.set_query(Some(&both));
            }
            (Some(own), ..) => exchange.head.set_query(Some(&own)),
            (None, Some(_), false) => exchange.head.set_query(None),
            (None, ..) => {}
        }
        Some(Ok(()))
    }
}

/// Where the path goes on behind a prefix of whole segments; 0 where it does not begin so.
fn stripped(path: &str, strip: Option<&str>) -> usize {
    match strip.and_then(|strip| path.strip_prefix(strip)) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => path.len() - rest.len(),
        _ => 0,
    }
}

/// `OPTIONS *` concerns the server, not a resource (RFC 9110 9.3.7).
pub(crate) fn server_options(exchange: &mut Exchange) -> bool {
    if !(exchange.head.is_asterisk() && exchange.head.method() == Method::Options) {
        return false;
    }
    exchange.response.status = 204;
    exchange.response.fields.set("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: only whole segments are stripped, and what is left is a path.
    #[test]
    fn whole_segments_are_stripped() {
        check("/app/x", Some("/app"), "/x");
        check("/app", Some("/app"), "");
        check("/app/", Some("/app"), "/");
        check("/apple", Some("/app"), "/apple");
        check("/x", Some("/app"), "/x");
        check("/x", None, "/x");
        check("/x", Some(""), "/x");

        #[track_caller]
        fn check(path: &str, strip: Option<&str>, want: &str) {
            assert_eq!(&path[stripped(path, strip)..], want);
        }
    }
}
