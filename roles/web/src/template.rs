//! Targets of redirects and rewrites: `/new/{rest}`, `https://{host}/app{path}?from={id}`.
//!
//! **Job.** Check a target against the captures of its patterns once, then write it for a request.
//! **Reads** what a [`PathPattern`] caught and the canonical request. **Called by** `actions`, and by `config` to check.
//!
//! Beside the pattern's captures a target may use `{path}`, `{query}` and `{host}`.
//!
//! Invariants
//! 1. A target without a scheme leads to this host: no capture can turn it into `//elsewhere` (open redirect).
//! 2. In an absolute target only `{host}` may stand before the first slash: a capture never names the host.
//! 3. What is inserted is percent-encoded for its place; a rewritten path is canonical again or refused.
//!
//! Not here: status codes (`site`), which route does this (`routes`).

use std::fmt;

use madang_wire::path::{PathError, canonicalise, percent_encode_path};
use madang_wire::request::RequestHead;

use crate::pattern::{Captures, PathPattern};

/// What one request's path caught: the pattern that matched, and its captures.
#[derive(Debug, Clone, Copy)]
pub struct Caught<'a> {
    pattern: &'a PathPattern,
    captures: Captures<'a>,
}

impl<'a> Caught<'a> {
    /// By the first of a route's patterns that matches.
    pub fn by(patterns: &'a [PathPattern], path: &'a str) -> Option<Self> {
        patterns.iter().find_map(|pattern| Some(Self { pattern, captures: pattern.matches(path)? }))
    }

    fn get(&self, name: &str) -> &'a str {
        let place = self.pattern.captures().position(|known| known == name);
        place.and_then(|place| self.captures.values().get(place)).copied().unwrap_or("")
    }
}

/// A checked target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    absolute: bool,
    has_query: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Capture { name: Box<str>, in_query: bool },
    Path { in_query: bool },
    Query,
    Host,
}

/// Why a target cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// It begins neither with `/` nor with `http://` or `https://`.
    Start,
    /// `{` without `}`, or the other way round.
    Braces,
    /// Neither a capture of the pattern nor one of the fixed names.
    Unknown {
        /// The name between the braces.
        name: String,
        /// What may stand there.
        known: Vec<String>,
    },
    /// Something other than `{host}` in the place of the host.
    CaptureInHost {
        /// The name between the braces.
        name: String,
    },
    /// A control character, a space, `#` or a backslash.
    Byte {
        /// Which.
        found: char,
    },
    /// A rewrite leads to a path of this site.
    Absolute,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("a target begins with one /, or with http:// or https:// and a host"),
            Self::Braces => f.write_str("a { or } has no partner"),
            Self::Unknown { name, known } => {
                write!(f, "{{{name}}} is not caught by the path; known here: {}", known.join(", "))
            }
            Self::CaptureInHost { name } => {
                write!(
                    f,
                    "{{{name}}} may not stand in the host: whoever writes the request would choose where it leads"
                )
            }
            Self::Byte { found } => write!(f, "{found:?} may not stand in a target"),
            Self::Absolute => f.write_str("a rewrite leads to a path of this site: it begins with /"),
        }
    }
}
impl std::error::Error for TemplateError {}

impl Template {
    /// Checks a target against the patterns of its route: all of them must catch what it uses.
    ///
    /// # Errors
    /// A [`TemplateError`] with what was found and what is known.
    pub fn new(text: &str, patterns: &[PathPattern]) -> Result<Self, TemplateError> {
        let after_scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let absolute = after_scheme.is_some();
        if after_scheme.is_some_and(|rest| rest.starts_with('/') || rest.is_empty())
            || (!absolute && (!text.starts_with('/') || text.starts_with("//")))
        {
            return Err(TemplateError::Start);
        }
        if let Some(found) = text.chars().find(|c| c.is_control() || matches!(c, ' ' | '#' | '\\')) {
            return Err(TemplateError::Byte { found });
        }
        let mut this = Self { pieces: Vec::new(), absolute, has_query: false };
        // Slashes seen: the host of an absolute target ends at the third.
        let (mut slashes, mut rest) = (0, text);
        loop {
            let (literal, more) =
                rest.split_once('{').map_or((rest, None), |(before, after)| (before, Some(after)));
            if literal.contains('}') {
                return Err(TemplateError::Braces);
            }
            slashes += literal.matches('/').count();
            this.has_query |= literal.contains('?');
            if !literal.is_empty() {
                this.pieces.push(Piece::Literal(encode_literal(literal)));
            }
            let Some(more) = more else { return Ok(this) };
            let (name, after) = more.split_once('}').ok_or(TemplateError::Braces)?;
            if absolute && slashes < 3 && !this.has_query && name != "host" {
                return Err(TemplateError::CaptureInHost { name: name.to_owned() });
            }
            this.pieces.push(piece(name, patterns, this.has_query)?);
            rest = after;
        }
    }

    /// For a rewrite: the same, and it must stay on this site.
    ///
    /// # Errors
    /// As [`Template::new`], and [`TemplateError::Absolute`].
    pub fn for_rewrite(text: &str, patterns: &[PathPattern]) -> Result<Self, TemplateError> {
        let template = Self::new(text, patterns)?;
        if template.absolute { Err(TemplateError::Absolute) } else { Ok(template) }
    }

    /// Whether the target has a query of its own.
    pub fn has_query(&self) -> bool {
        self.has_query
    }

    /// The value of `location` for this request. With `keep_query` the request's query follows.
    pub fn location(&self, caught: &Caught<'_>, head: &RequestHead, keep_query: bool) -> String {
        let mut out = self.expand(caught, head);
        if !self.absolute {
            let slashes = out.iter().take_while(|byte| **byte == b'/').count();
            out.drain(..slashes.saturating_sub(1));
        }
        if let (true, Some(query)) = (keep_query, head.query()) {
            out.push(if self.has_query { b'&' } else { b'?' });
            out.extend_from_slice(query.as_bytes());
        }
        String::from_utf8(out).unwrap_or_default()
    }

    /// The rewritten path in canonical form, and the query where the target has one.
    ///
    /// # Errors
    /// A [`PathError`] when the pieces do not make a path that can be read in one way only.
    pub fn path_and_query(
        &self,
        caught: &Caught<'_>,
        head: &RequestHead,
    ) -> Result<(String, Option<String>), PathError> {
        let mut out = self.expand(caught, head);
        let query = out.iter().position(|byte| *byte == b'?').map(|at| {
            let query = String::from_utf8_lossy(&out[at + 1..]).into_owned();
            out.truncate(at);
            query
        });
        let mut path = Vec::with_capacity(out.len());
        canonicalise(&out, &mut path)?;
        Ok((String::from_utf8(path).map_err(|_| PathError::NotUtf8)?, query))
    }

    /// Everything percent-encoded for its place.
    fn expand(&self, caught: &Caught<'_>, head: &RequestHead) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Capture { name, in_query: false } => percent_encode_path(caught.get(name), &mut out),
                Piece::Capture { name, in_query: true } => encode_query(caught.get(name), &mut out),
                Piece::Path { in_query: false } => percent_encode_path(head.path(), &mut out),
                Piece::Path { in_query: true } => encode_query(head.path(), &mut out),
                Piece::Query => out.extend_from_slice(head.query().unwrap_or("").as_bytes()),
                Piece::Host => out.extend_from_slice(head.host().as_bytes()),
            }
        }
        out
    }
}

fn piece(name: &str, patterns: &[PathPattern], in_query: bool) -> Result<Piece, TemplateError> {
    let caught = |pattern: &PathPattern, name: &str| pattern.captures().any(|known| known == name);
    if !patterns.is_empty() && patterns.iter().all(|pattern| caught(pattern, name)) {
        return Ok(Piece::Capture { name: name.into(), in_query });
    }
    match name {
        "path" => Ok(Piece::Path { in_query }),
        // Outside the query it would be read as a part of the path.
        "query" if in_query => Ok(Piece::Query),
        "host" => Ok(Piece::Host),
        _ => {
            let (first, others) =
                patterns.split_first().map_or((None, &[][..]), |(first, others)| (Some(first), others));
            let names = first.into_iter().flat_map(PathPattern::captures);
            let names = names.filter(|name| others.iter().all(|pattern| caught(pattern, name)));
            let known = names.chain(["path", "query", "host"]).map(|known| format!("{{{known}}}")).collect();
            Err(TemplateError::Unknown { name: name.to_owned(), known })
        }
    }
}

/// A literal as a field's value can carry it: non-ASCII letters percent-encoded, `%` left as written.
fn encode_literal(text: &str) -> Box<str> {
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c as u8);
        } else {
            percent_encode_path(c.encode_utf8(&mut [0; 4]), &mut out);
        }
    }
    String::from_utf8(out).unwrap_or_default().into()
}

/// Everything but unreserved characters (RFC 3986 2.3) encoded.
fn encode_query(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(byte);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::head;

    // Goal: what is caught lands where it should, encoded for its place, and never leads to another host.
    // Method: a table of pattern, target, request and the location.
    #[test]
    fn targets_are_written_for_their_place() {
        check("/old/*", "/new/{rest}", "/old/a/b", false, "/new/a/b");
        check("/old/*", "/new/{rest}", "/old", false, "/new/");
        check("/old/*", "/new/{rest}", "/old/a?x=1", true, "/new/a?x=1");
        check("/old/*", "/new/{rest}", "/old/a?x=1", false, "/new/a");
        check("/old/*", "/new?p={rest}", "/old/a%26b=c?x=1", true, "/new?p=a%26b%3Dc&x=1");
        check("/old/*", "/new/{rest}", "/old/a%20%ED%95%9C%3F", false, "/new/a%20%ED%95%9C%3F");
        check("/u/{id}", "https://{host}/users/{id}", "/u/7", false, "https://a.example/users/7");
        check("/*", "https://b.example/{rest}", "/x/y", false, "https://b.example/x/y");
        check("/*", "/한/{rest}", "/x", false, "/%ED%95%9C/x");
        check("/*", "/login?to={path}", "/a/b?c", false, "/login?to=/a/b");
        check("/*", "/s?{query}", "/a?b=c", false, "/s?b=c");
        // Open redirects: whatever is caught, one slash stays at the front.
        check("/{a}/*", "/{rest}", "/a//evil.example", false, "/evil.example");
        check("/a/*", "/{path}", "/a/evil.example", false, "/a/evil.example");
        check("/a/*", "/{rest}/{rest}", "/a", false, "/");
        check("/a/*", "/{rest}", "/a/%2509//evil.example", false, "/%2509/evil.example");

        #[track_caller]
        fn check(pattern: &str, target: &str, request: &str, keep_query: bool, want: &str) {
            let patterns = [PathPattern::parse(pattern).unwrap()];
            let head = head("GET", "a.example", request, &[]);
            let template = Template::new(target, &patterns).unwrap();
            let caught = Caught::by(&patterns, head.path()).unwrap();
            assert_eq!(template.location(&caught, &head, keep_query), want);
        }
    }

    // Goal: a rewritten path is canonical, whatever the pieces.
    #[test]
    fn rewritten_paths_are_canonical() {
        check("/a/*", "/b/{rest}", "/a/x", Ok(("/b/x", None)));
        check("/a/*", "/b/{rest}/", "/a/", Ok(("/b/", None)));
        check("/a/{name}", "/i/.{name}", "/a/.b", Ok(("/i/..b", None)));
        check("/a/*", "/b/{rest}{rest}", "/a", Ok(("/b/", None)));
        check("/a/*", "/b/.{rest}.", "/a", Ok(("/", None)));
        check("/u/{id}", "/user.php?id={id}", "/u/a&b=c", Ok(("/user.php", Some("id=a%26b%3Dc"))));
        check("/a/*", "/.{rest}.", "/a", Err(PathError::AboveRoot));

        #[track_caller]
        fn check(pattern: &str, target: &str, request: &str, want: Result<(&str, Option<&str>), PathError>) {
            let patterns = [PathPattern::parse(pattern).unwrap()];
            let head = head("GET", "a.example", request, &[]);
            let template = Template::for_rewrite(target, &patterns).unwrap();
            let got = template.path_and_query(&Caught::by(&patterns, head.path()).unwrap(), &head);
            let want = want.map(|(path, query)| (path.to_owned(), query.map(str::to_owned)));
            assert_eq!(got, want);
        }
    }

    // Goal: targets that could lead elsewhere or name what was not caught are refused when the settings are read.
    #[test]
    fn unsafe_targets_are_refused() {
        check("new", "a target begins with one /, or with http:// or https:// and a host");
        check("//evil.example/", "a target begins with one /, or with http:// or https:// and a host");
        check("javascript:alert(1)", "a target begins with one /, or with http:// or https:// and a host");
        check("https:///x", "a target begins with one /, or with http:// or https:// and a host");
        check("/{id", "a { or } has no partner");
        check("/id}", "a { or } has no partner");
        check("/a\r\nb", "'\\r' may not stand in a target");
        check("/{nope}", "{nope} is not caught by the path; known here: {id}, {path}, {query}, {host}");
        check("/{query}", "{query} is not caught by the path; known here: {id}, {path}, {query}, {host}");
        let why = "may not stand in the host: whoever writes the request would choose where it leads";
        check("https://{id}.example/", &format!("{{id}} {why}"));
        check("https://a.example:{id}/", &format!("{{id}} {why}"));

        #[track_caller]
        fn check(target: &str, want: &str) {
            let patterns = [PathPattern::parse("/u/{id}").unwrap()];
            assert_eq!(Template::new(target, &patterns).unwrap_err().to_string(), want);
        }
    }
}
