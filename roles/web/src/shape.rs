//! The fields around an answer: security, caching, the operator's own.
//!
//! **Job.** Dress every answer of a site, errors included, the same way whatever made it.
//! **Reads** the site's and the route's settings. **Called by** `phases` (shape).
//!
//! Invariants
//! 1. The preset fills gaps only: a handler's own choice stays. What the operator writes in `headers` wins over everything.
//! 2. All values are made once per worker: dressing an answer allocates nothing.
//!
//! Not here: error pages (`error_page`), CORS (`cors`), framing and date (`http`).

use madang_http::response::{Response, Text};

use crate::config::{Route, Site};

/// The preset of `security_headers`: what does no harm to an ordinary site.
const PRESET: [(&str, &str); 5] = [
    // Browsers take the declared type and do not guess a script out of a picture.
    ("x-content-type-options", "nosniff"),
    // Not to be framed by other sites (clickjacking): for old browsers, and for those that know CSP.
    ("x-frame-options", "SAMEORIGIN"),
    ("content-security-policy", "frame-ancestors 'self'"),
    // Other sites learn which site sent the visitor, not which page.
    ("referrer-policy", "strict-origin-when-cross-origin"),
    // Sensors that a site must ask for on purpose.
    ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
];

/// What a site does to every answer.
pub(crate) struct SiteShape {
    preset: bool,
    hsts: Option<Text>,
    changes: Changes,
}

impl SiteShape {
    pub(crate) fn new(site: &Site) -> Self {
        Self {
            preset: site.security_headers,
            hsts: site.hsts.map(|age| format!("max-age={}", age.as_secs()).into()),
            changes: Changes::new(&site.headers),
        }
    }

    /// Before the route: `secure` says whether the client came by https.
    pub(crate) fn apply(&self, response: &mut Response, secure: bool) {
        if self.preset {
            for (name, value) in PRESET {
                response.fields.set_default(name, value);
            }
        }
        // Over plain http the field would be ignored (RFC 6797 7.2), so it is not sent.
        if let Some(hsts) = self.hsts.as_ref().filter(|_| secure) {
            response.fields.set("strict-transport-security", hsts.clone());
        }
        self.changes.apply(response);
    }
}

/// What a route does to its answers.
pub(crate) struct RouteShape {
    cache_control: Option<Text>,
    changes: Changes,
}

impl RouteShape {
    pub(crate) fn new(route: &Route) -> Self {
        Self {
            cache_control: route.cache_control.clone().map(Text::from),
            changes: Changes::new(&route.headers),
        }
    }

    pub(crate) fn apply(&self, response: &mut Response) {
        if let Some(value) = self.cache_control.as_ref().filter(|_| response.status < 400) {
            response.fields.set("cache-control", value.clone());
        }
        self.changes.apply(response);
    }
}

/// `headers`: set, or with an empty value removed.
struct Changes(Vec<(Text, Option<Text>)>);

impl Changes {
    fn new(headers: &[(String, String)]) -> Self {
        let value =
            |value: &String| Some(value).filter(|value| !value.is_empty()).map(|value| value.clone().into());
        Self(headers.iter().map(|(name, text)| (name.clone().into(), value(text))).collect())
    }

    fn apply(&self, response: &mut Response) {
        for (name, value) in &self.0 {
            match value {
                Some(value) => response.fields.set(name.clone(), value.clone()),
                None => response.fields.remove(name.as_str()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{route, site};
    use std::time::Duration;

    fn shown(response: &Response) -> String {
        let text = |bytes| String::from_utf8_lossy(bytes);
        let lines = response.fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value)));
        lines.collect::<Vec<_>>().join("\n")
    }

    // Goal: the preset fills gaps, HSTS goes by https only, the operator's own fields win.
    #[test]
    fn answers_are_dressed_in_order() {
        let mut settings = site(vec![route()]);
        settings.security_headers = true;
        settings.hsts = Some(Duration::from_secs(300));
        settings.headers = vec![("x-frame-options".into(), String::new()), ("server".into(), "house".into())];
        let shape = SiteShape::new(&settings);
        let mut response = Response::new();
        response.fields.set("referrer-policy", "no-referrer");
        response.fields.set("server", "app");
        shape.apply(&mut response, true);
        let want = "referrer-policy: no-referrer\nx-content-type-options: nosniff\n\
            content-security-policy: frame-ancestors 'self'\n\
            permissions-policy: camera=(), microphone=(), geolocation=(), payment=(), usb=()\n\
            strict-transport-security: max-age=300\nserver: house";
        assert_eq!(shown(&response), want);

        let mut plain = Response::new();
        shape.apply(&mut plain, false);
        assert_eq!(plain.fields.get("strict-transport-security"), None);
    }

    // Goal: a route's cache-control is for answers that went well.
    #[test]
    fn cache_control_is_for_successful_answers() {
        check(200, "cache-control: max-age=60\nx-a: 1");
        check(304, "cache-control: max-age=60\nx-a: 1");
        check(404, "cache-control: no-store\nx-a: 1");

        #[track_caller]
        fn check(status: u16, want: &str) {
            let mut settings = route();
            settings.cache_control = Some("max-age=60".to_owned());
            settings.headers = vec![("x-a".into(), "1".into())];
            let mut response = Response::new();
            response.status = status;
            response.fields.set("cache-control", "no-store");
            RouteShape::new(&settings).apply(&mut response);
            assert_eq!(shown(&response), want);
        }
    }
}
