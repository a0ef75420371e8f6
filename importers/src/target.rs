//! Other servers' texts with variables (written as nginx does) as targets of redirects and rewrites.
//!
//! **Job.** `https://$host$request_uri` to `https://{host}/{rest}`. **Called by** `nginx`, `caddy`. Pure.
//!
//! Invariants
//! 1. A variable that has no counterpart gives `None`, never its name.
//!
//! Not here: which patterns catch what (`regex`).

/// A target, and whether the request's query follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) to: String,
    pub(crate) keep_query: bool,
}

/// What a text may name.
pub(crate) struct Known<'k> {
    /// `http` or `https`, where the site has one of them.
    pub(crate) scheme: Option<&'k str>,
    /// The site's first name.
    pub(crate) server_name: Option<&'k str>,
    /// The one pattern that the route takes.
    pub(crate) path: &'k str,
    /// `$1`, `$2`, …
    pub(crate) captures: &'k [Option<String>],
}

/// The whole path again, by what a pattern caught; `None`: it caught too little.
pub(crate) fn path_again(pattern: &str) -> Option<String> {
    if pattern.contains("**") {
        return None;
    }
    let rest = pattern.strip_suffix('*').filter(|front| front.ends_with('/'));
    let again = match rest {
        Some(front) => format!("{front}{{rest}}"),
        None => pattern.to_owned(),
    };
    (!again.contains('*')).then_some(again)
}

/// Reads a text.
pub(crate) fn target(text: &str, known: &Known<'_>) -> Option<Target> {
    let mut out = String::new();
    let mut keep_query = false;
    let mut rest = text;
    if let Some(behind) = rest.strip_prefix("$scheme://") {
        match known.scheme {
            Some(scheme) => out.push_str(&format!("{scheme}://")),
            // The same scheme and the same host: a path is enough.
            None if behind.starts_with("$host") || behind.starts_with("$http_host") => {
                let behind = behind.strip_prefix("$http_host").or_else(|| behind.strip_prefix("$host"))?;
                rest = behind;
                return finish(out, rest, keep_query, known);
            }
            None => out.push_str("https://"),
        }
        rest = behind;
    }
    for tail in ["$is_args$args", "$is_args$query_string", "?$args", "?$query_string"] {
        if let Some(front) = rest.strip_suffix(tail) {
            rest = front;
            keep_query = true;
        }
    }
    finish(std::mem::take(&mut out), rest, keep_query, known)
}

fn finish(mut out: String, mut rest: &str, mut keep_query: bool, known: &Known<'_>) -> Option<Target> {
    while let Some(c) = rest.chars().next() {
        if c != '$' {
            if matches!(c, '{' | '}' | '#' | '\\' | ' ') || c.is_control() {
                return None;
            }
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let name_end =
            rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(rest.len(), |at| at + 1);
        let name = &rest[1..name_end];
        rest = &rest[name_end..];
        match name {
            "host" | "http_host" | "hostname" => out.push_str("{host}"),
            "server_name" => out.push_str(known.server_name.unwrap_or("{host}")),
            "request_uri" | "uri" | "document_uri" => {
                keep_query |= name == "request_uri";
                let again = path_again(known.path)?;
                // One slash between the two.
                let again = if out.ends_with('/') && out.len() > "https://".len() {
                    again[1..].to_owned()
                } else {
                    again
                };
                out.push_str(&again);
            }
            _ => {
                // `$1x` is group 1, then text.
                let digit = name.chars().next().filter(char::is_ascii_digit)?;
                let index = usize::try_from(digit.to_digit(10)?).ok()?.checked_sub(1)?;
                let caught = known.captures.get(index)?.as_ref()?;
                let caught =
                    if out.ends_with('/') { caught.trim_start_matches('/') } else { caught.as_str() };
                out.push_str(caught);
                out.push_str(&name[1..]);
            }
        }
    }
    let fine = (out.starts_with('/') && !out.starts_with("//"))
        || out.starts_with("http://")
        || out.starts_with("https://");
    if let Some((_, behind)) = out.split_once("://") {
        let host = behind.split('/').next().unwrap_or_default();
        // What is caught may not name the host.
        if host.is_empty() || host.replace("{host}", "").contains('{') {
            return None;
        }
    }
    fine.then_some(Target { to: out, keep_query })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_what_was_caught() {
        let caught = [Some("{rest}".to_owned()), None];
        let known =
            Known { scheme: Some("http"), server_name: Some("a.example"), path: "/*", captures: &caught };
        check(&known, "https://$host$request_uri", Some(("https://{host}/{rest}", true)));
        check(&known, "$scheme://www.a.example$uri", Some(("http://www.a.example/{rest}", false)));
        check(&known, "/new/$1$is_args$args", Some(("/new/{rest}", true)));
        check(&known, "https://$server_name/", Some(("https://a.example/", false)));
        check(&known, "/new/$2", None);
        check(&known, "/$cookie_a", None);
        check(&known, "https://$1/x", None);
        check(&known, "/{x}", None);
        let both = Known { scheme: None, ..known };
        check(&both, "$scheme://$host/new", Some(("/new", false)));

        #[track_caller]
        fn check(known: &Known<'_>, text: &str, want: Option<(&str, bool)>) {
            let have = target(text, known).map(|target| (target.to, target.keep_query));
            assert_eq!(have, want.map(|(to, keep)| (to.to_owned(), keep)));
        }
    }
}
