//! Where a server's redirects lead, seen from outside.
//!
//! **Job.** Rewrite a `location` that only makes sense inside: without the prefix that the route takes off, or with a name that
//! only the servers have. Pure. **Called by** `proxy` for answers that redirect.
//!
//! Invariants
//! 1. What leads to another house is never touched.
//! 2. A prefix is never written twice: a server that knows it (x-forwarded-prefix) is believed.
//!
//! Not here: links in bodies, cookie paths (the server's, by x-forwarded-prefix).

/// What is known about the two sides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sides<'a> {
    /// What the route took off the path, `/app`; empty: nothing.
    pub prefix: &'a str,
    /// The host that the client asked for.
    pub outside: &'a str,
    /// Hosts that only the servers know: the one they were told, and their own address.
    pub inside: [&'a str; 2],
}

/// The location for the client; `None`: as it is.
pub(crate) fn rewritten(location: &str, sides: &Sides<'_>) -> Option<String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return with_prefix(location, sides.prefix);
    }
    let (scheme, rest) = location.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if host.eq_ignore_ascii_case(sides.outside) {
        return Some(format!("{scheme}://{host}{}", with_prefix(path, sides.prefix)?));
    }
    if !host.is_empty() && sides.inside.iter().any(|inside| inside.eq_ignore_ascii_case(host)) {
        // Without scheme and host: as the client came, it stays.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        // `//` at the front would be a host.
        let path = format!("/{}", path.trim_start_matches('/'));
        return Some(with_prefix(&path, sides.prefix).unwrap_or(path));
    }
    None
}

/// `None`: it needs none, or has it.
fn with_prefix(path: &str, prefix: &str) -> Option<String> {
    let has = |rest: &str| rest.is_empty() || rest.starts_with(['/', '?', '#']);
    if prefix.is_empty() || path.strip_prefix(prefix).is_some_and(has) {
        return None;
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(format!("{prefix}{slash}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what only makes sense inside makes sense outside; everything else is left alone.
    #[test]
    fn redirects_lead_where_the_client_can_go() {
        check("/login", Some("/app/login"));
        check("/login?next=/x#top", Some("/app/login?next=/x#top"));
        check("/", Some("/app/"));
        check("/app/login", None);
        check("/app", None);
        check("/app?x", None);
        check("/apple", Some("/app/apple"));
        check("//elsewhere.example/x", None);
        check("login", None);
        check("../x", None);
        check("?page=2", None);
        check("", None);
        check("https://elsewhere.example/x", None);
        check("mailto:a@b", None);
        check("https://Shop.example/login", Some("https://Shop.example/app/login"));
        check("https://shop.example", Some("https://shop.example/app/"));
        check("https://shop.example/app/x", None);
        check("https://shop.example.evil/x", None);
        check("http://127.0.0.1:3001/x?y", Some("/app/x?y"));
        check("http://127.0.0.1:3001", Some("/app/"));
        check("http://127.0.0.1:3001//evil.example", Some("/app/evil.example"));
        check("http://internal/app/x", Some("/app/x"));
        check("http://internal?x", Some("/app/?x"));
        check("ftp://internal/x", None);
        check("http:///x", None);

        #[track_caller]
        fn check(location: &str, want: Option<&str>) {
            let sides =
                Sides { prefix: "/app", outside: "shop.example", inside: ["internal", "127.0.0.1:3001"] };
            assert_eq!(rewritten(location, &sides).as_deref(), want, "{location}");
        }
    }

    #[test]
    fn without_a_prefix_only_inner_names_are_taken_out() {
        let sides = Sides { prefix: "", outside: "shop.example", inside: ["", "127.0.0.1:3001"] };
        assert_eq!(rewritten("/login", &sides), None);
        assert_eq!(rewritten("https://shop.example/x", &sides), None);
        assert_eq!(rewritten("http://127.0.0.1:3001/x", &sides).as_deref(), Some("/x"));
    }
}
