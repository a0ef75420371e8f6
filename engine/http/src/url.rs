//! A URL that somebody wrote for us to ask.
//!
//! **Job.** Text to the parts a request needs. **Called by** the settings of alerts, hooks and issuers. Pure.
//!
//! Invariants
//! 1. Path and query are in no `Debug`: with many services they are the password.
//!
//! Not here: asking (`upstream::ask`), the targets of requests that come in (`wire`).

use std::fmt;

/// The longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// A URL taken apart.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    /// By TLS.
    pub secure: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// As the Host field says it.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Url").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Url {
    /// `https://host[:port]/path?query`.
    ///
    /// # Errors
    /// What is wrong, without the URL.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        if url.len() > URL_BYTES_MAX || url.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
            return Err("a URL has no spaces, no other letters than ASCII, and at most 2048 bytes");
        }
        let uri: http::Uri = url.parse().map_err(|_| "it cannot be read as a URL")?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("it begins with https:// or http://"),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("user and password in a URL are sent nowhere; put a token into the path");
        }
        let port = match authority.port_u16() {
            Some(0) => return Err("port 0 cannot be reached"),
            Some(port) => port,
            None if authority.as_str() != authority.host() => return Err("its port is no port"),
            None if secure => 443,
            None => 80,
        };
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if bare.is_empty() {
            return Err("it has no host");
        }
        Ok(Self {
            secure,
            host: bare.to_ascii_lowercase(),
            port,
            authority: authority.as_str().to_ascii_lowercase(),
            path: uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned(),
        })
    }

    /// Whether what is sent stays on this machine.
    pub fn is_near(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a URL is read as others read URLs, and what cannot be meant is refused in words without it.
    #[test]
    fn urls_are_taken_apart() {
        let parse =
            |url: &str| Url::parse(url).map(|url| (url.secure, url.host, url.port, url.authority, url.path));
        let good = |secure, host: &str, port, authority: &str, path: &str| {
            Ok((secure, host.to_owned(), port, authority.to_owned(), path.to_owned()))
        };
        let check = |url: &str, want| assert_eq!(parse(url), want, "{url}");
        check(
            "https://Hooks.example.org/a?b=c#d",
            good(true, "hooks.example.org", 443, "hooks.example.org", "/a?b=c"),
        );
        check("http://127.0.0.1:9/", good(false, "127.0.0.1", 9, "127.0.0.1:9", "/"));
        check("http://[::1]:9", good(false, "::1", 9, "[::1]:9", "/"));
        for wrong in [
            "hooks.example.org/a",
            "ftp://hooks.example.org/",
            "https://",
            "https:///path",
            "https://user:password@hooks.example.org/",
            "https://hooks.example.org:0/",
            "https://hooks.example.org:99999/",
            "https://hooks.example.org/한글",
            "https://hooks.example.org/a b",
        ] {
            let why = parse(wrong).unwrap_err();
            assert!(!why.contains("password@"), "{wrong}: {why}");
        }
        assert!(!format!("{:?}", Url::parse("https://h/very-secret").unwrap()).contains("very-secret"));
    }

    #[test]
    fn near_is_this_machine() {
        check("http://localhost/", true);
        check("http://127.0.0.1:9/", true);
        check("http://[::1]/", true);
        check("http://192.0.2.1/", false);
        check("http://localhost.example.org/", false);

        #[track_caller]
        fn check(url: &str, want: bool) {
            assert_eq!(Url::parse(url).unwrap().is_near(), want, "{url}");
        }
    }
}
