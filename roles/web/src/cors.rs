//! Cross-origin requests (Fetch standard, CORS protocol).
//!
//! **Job.** Answer preflights, and add to other answers what lets pages of allowed origins read them.
//! **Reads** a route's `cors`. **Called by** `phases` (preflight, shape).
//!
//! Invariants
//! 1. With credentials the origin is echoed only when it is on the list, never `*` (the settings refuse that pair).
//! 2. Where the answer depends on the origin it says so (`vary: origin`), also when there is none.
//! 3. A handler's own CORS fields are replaced: the route's setting is the only word on it.
//!
//! Not here: who may make the request at all (`auth`, `allow`): CORS only rules what browsers let pages read.

use madang_http::exchange::Exchange;
use madang_http::response::{Response, Text};
use madang_wire::request::{Method, RequestHead};

use crate::config;

/// A route's CORS fields, made once per worker.
pub(crate) struct Cors {
    /// Empty: every origin.
    origins: Vec<Text>,
    credentials: bool,
    methods: Text,
    headers: Option<Text>,
    expose: Option<Text>,
    max_age: Text,
}

impl Cors {
    pub(crate) fn new(settings: &config::Cors) -> Self {
        let list = |items: &[String]| (!items.is_empty()).then(|| Text::from(items.join(", ")));
        let mut methods = vec!["GET".to_owned(), "HEAD".to_owned(), "POST".to_owned()];
        methods.extend(settings.methods.iter().map(|method| method.to_ascii_uppercase()));
        methods.dedup();
        Self {
            origins: settings.origins.iter().map(|origin| origin.to_ascii_lowercase().into()).collect(),
            credentials: settings.credentials && !settings.origins.is_empty(),
            methods: Text::from(methods.join(", ")),
            headers: list(&settings.headers),
            expose: list(&settings.expose),
            max_age: Text::from(settings.max_age.as_secs().to_string()),
        }
    }

    /// Answers a preflight. False: the request is none.
    pub(crate) fn preflight(&self, exchange: &mut Exchange) -> bool {
        let Exchange { head, response, .. } = exchange;
        let asks = head.method() == Method::Options
            && head.get("origin").is_some()
            && head.get("access-control-request-method").is_some();
        if !asks {
            return false;
        }
        response.status = 204;
        // An origin that is not allowed gets no permission, and the browser tells its page so.
        if self.allowed(head).is_some() {
            response.fields.set("access-control-allow-methods", self.methods.clone());
            if let Some(headers) = &self.headers {
                response.fields.set("access-control-allow-headers", headers.clone());
            }
            response.fields.set("access-control-max-age", self.max_age.clone());
        }
        true
    }

    /// Adds the permission to read to an answer, preflight or not.
    pub(crate) fn apply(&self, head: &RequestHead, response: &mut Response) {
        let allowed = self.allowed(head);
        for theirs in ["access-control-allow-origin", "access-control-allow-credentials"] {
            response.fields.remove(theirs);
        }
        if !self.origins.is_empty() {
            response.fields.add_to_list("vary", "origin");
        }
        let Some(origin) = allowed else { return };
        response.fields.add("access-control-allow-origin", origin);
        if self.credentials {
            response.fields.add("access-control-allow-credentials", "true");
        }
        if let Some(expose) = self.expose.as_ref().filter(|_| head.method() != Method::Options) {
            response.fields.set("access-control-expose-headers", expose.clone());
        }
    }

    /// What `access-control-allow-origin` says, or nothing.
    fn allowed(&self, head: &RequestHead) -> Option<Text> {
        if self.origins.is_empty() {
            return Some("*".into());
        }
        let origin = head.get("origin")?;
        self.origins.iter().find(|have| have.as_bytes().eq_ignore_ascii_case(origin)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::exchange;
    use std::time::Duration;

    fn settings(origins: &[&str], credentials: bool) -> config::Cors {
        config::Cors {
            origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            methods: vec!["PUT".to_owned()],
            headers: vec!["x-a".to_owned()],
            expose: vec!["x-b".to_owned()],
            credentials,
            max_age: Duration::from_secs(600),
        }
    }

    // Goal: every kind of request gets exactly the fields it should; strangers get none.
    // Method: two policies, requests from allowed and other origins, plain and preflight.
    #[test]
    fn pages_of_allowed_origins_may_read() {
        let list = Cors::new(&settings(&["https://a.example"], true));
        let any = Cors::new(&settings(&[], true));
        let preflight = "access-control-allow-methods: GET, HEAD, POST, PUT|access-control-allow-headers: x-a|\
            access-control-max-age: 600|";
        check(&list, "GET", None, false, "vary: origin");
        let reads = "vary: origin|access-control-allow-origin: https://a.example|access-control-allow-credentials: true";
        check(
            &list,
            "GET",
            Some("https://a.example"),
            false,
            &format!("{reads}|access-control-expose-headers: x-b"),
        );
        check(&list, "GET", Some("https://a.example.evil"), false, "vary: origin");
        check(&list, "GET", Some("null"), false, "vary: origin");
        check(&list, "OPTIONS", Some("https://a.example"), true, &format!("{preflight}{reads}"));
        check(&list, "OPTIONS", Some("https://b.example"), true, "vary: origin");
        let reads = "access-control-allow-origin: *";
        check(
            &any,
            "GET",
            Some("https://b.example"),
            false,
            &format!("{reads}|access-control-expose-headers: x-b"),
        );
        check(&any, "OPTIONS", Some("https://b.example"), true, &format!("{preflight}{reads}"));

        #[track_caller]
        fn check(cors: &Cors, method: &str, origin: Option<&str>, preflight: bool, want: &str) {
            let mut fields: Vec<_> = origin.map(|origin| ("Origin", origin)).into_iter().collect();
            if preflight {
                fields.push(("Access-Control-Request-Method", "PUT"));
            }
            let mut exchange = exchange(method, "/", &fields);
            assert_eq!(cors.preflight(&mut exchange), preflight);
            cors.apply(&exchange.head, &mut exchange.response);
            let got = exchange.response.fields.iter();
            let text = |bytes| String::from_utf8_lossy(bytes);
            let got: Vec<_> = got.map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
            assert_eq!(got.join("|"), want);
        }
    }

    // Goal: an OPTIONS that is no preflight is left to the route.
    #[test]
    fn only_preflights_are_answered() {
        let cors = Cors::new(&settings(&[], false));
        assert!(!cors.preflight(&mut exchange("OPTIONS", "/", &[])));
        assert!(!cors.preflight(&mut exchange("OPTIONS", "/", &[("Origin", "https://a.example")])));
        assert!(!cors.preflight(&mut exchange(
            "GET",
            "/",
            &[("Access-Control-Request-Method", "GET"), ("Origin", "x")]
        )));
    }
}
