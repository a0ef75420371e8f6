//! Path patterns of routes.
//!
//! **Job.** Parse `/users/{id}/*` once, match canonical paths in linear time, give the captures.
//! **Called by** `config` (parse), `routes` (match). Not here: order of routes, targets filled with captures (`template`).
//!
//! Invariants
//! 1. Matching looks at each segment once and allocates nothing: captures are slices of the path.
//! 2. `/folder/*` matches `/folder` and all below it, never `/folderish`.
//! 3. `/**/*.php` looks at the last segment alone, however deep it lies.

use std::fmt;

/// The most captures a pattern may have.
pub const CAPTURES_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// One segment, by name.
    Capture(String),
    /// One segment with one `*` inside: what is before and behind it.
    Glob(String, String),
    /// Any number of segments, none too; only in front of the last one.
    Deep,
    /// Everything that is left; only at the end.
    Rest,
}

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
    /// Whether the pattern is one literal path.
    exact: bool,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternError {
    /// Does not begin with `/`.
    Slash,
    /// Braces that do not enclose a whole segment.
    Braces,
    /// The same capture twice, or `{rest}` beside `*`.
    Twice(String),
    /// More than [`CAPTURES_MAX`].
    TooMany,
    /// More than one `*` in a segment, or `**`.
    Stars,
    /// An encoded, empty or dot segment: paths are matched decoded and clean.
    NotCanonical,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slash => f.write_str("a path begins with /"),
            Self::Braces => f.write_str("a capture is a whole segment: /users/{id}"),
            Self::Twice(name) => write!(f, "the capture {{{name}}} is there twice"),
            Self::TooMany => write!(f, "more than {CAPTURES_MAX} captures"),
            Self::Stars => f.write_str("a segment may hold one *, a whole-segment * only at the end, ** only in front of a last segment: /**/*.php"),
            Self::NotCanonical => f.write_str("paths are matched decoded: no %, no //, no . or .. segments"),
        }
    }
}

/// What a match captured, in the pattern's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captures<'p> {
    values: [&'p str; CAPTURES_MAX],
    count: usize,
}

impl<'p> Captures<'p> {
    /// None yet.
    pub fn empty() -> Self {
        Self { values: [""; CAPTURES_MAX], count: 0 }
    }
    fn push(&mut self, value: &'p str) {
        if let Some(slot) = self.values.get_mut(self.count) {
            *slot = value;
            self.count += 1;
        }
    }
    /// In order.
    pub fn values(&self) -> &[&'p str] {
        &self.values[..self.count]
    }
}

impl PathPattern {
    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(rest) = text.strip_prefix('/') else { return Err(PatternError::Slash) };
        let parts: Vec<&str> = rest.split('/').collect();
        let mut segments = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            if part.contains(['%', '\\']) || *part == "." || *part == ".." || (part.is_empty() && !last) {
                return Err(PatternError::NotCanonical);
            }
            let deep =
                *part == "**" && index + 2 == parts.len() && !["", "*", "**"].contains(&parts[index + 1]);
            segments.push(if deep { Segment::Deep } else { segment(part, last)? });
        }
        let exact = segments.iter().all(|segment| matches!(segment, Segment::Literal(_)));
        let pattern = Self { text: text.to_owned(), segments, exact };
        let names: Vec<&str> = pattern.captures().collect();
        if names.len() > CAPTURES_MAX {
            return Err(PatternError::TooMany);
        }
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(PatternError::Twice((*twice.1).to_owned()));
        }
        Ok(pattern)
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Names of the captures, in order.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Capture(name) => Some(name.as_str()),
            Segment::Rest => Some("rest"),
            Segment::Literal(_) | Segment::Glob(..) | Segment::Deep => None,
        })
    }

    /// Of `/a/b/*`, `/a/b/`: what all of its paths begin with. `None` for a pattern that is no folder.
    pub fn folder(&self) -> Option<&str> {
        let (last, before) = self.segments.split_last()?;
        let plain = before.iter().all(|segment| matches!(segment, Segment::Literal(_)));
        if plain && *last == Segment::Rest { self.text.strip_suffix('*') } else { None }
    }

    /// Whether every path matches.
    pub fn takes_all(&self) -> bool {
        matches!(self.segments.as_slice(), [Segment::Rest])
    }

    /// Matches a canonical path.
    pub fn matches<'p>(&self, path: &'p str) -> Option<Captures<'p>> {
        let mut captures = Captures::empty();
        if self.exact {
            return (path == self.text).then_some(captures);
        }
        let mut rest = path.strip_prefix('/')?;
        let mut ended = false; // no segment is left, not even an empty one
        for segment in &self.segments {
            if *segment == Segment::Rest {
                captures.push(if ended { "" } else { rest });
                return Some(captures);
            }
            if ended {
                return None;
            }
            if *segment == Segment::Deep {
                rest = rest.rsplit_once('/').map_or(rest, |(_, last)| last);
                continue;
            }
            let (part, more) = match rest.split_once('/') {
                Some((part, more)) => (part, Some(more)),
                None => (rest, None),
            };
            match segment {
                Segment::Literal(text) if text == part => {}
                Segment::Capture(_) if !part.is_empty() => captures.push(part),
                Segment::Glob(before, behind)
                    if part.len() >= before.len() + behind.len()
                        && part.starts_with(before.as_str())
                        && part.ends_with(behind.as_str()) => {}
                _ => return None,
            }
            match more {
                Some(more) => rest = more,
                None => ended = true,
            }
        }
        ended.then_some(captures)
    }

    /// What every matching path begins with: lets a list of routes pass most of them over at a glance.
    pub fn literal_prefix(&self) -> String {
        let mut prefix = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => {
                    prefix.push('/');
                    prefix.push_str(text);
                }
                Segment::Capture(_) | Segment::Deep => return prefix + "/",
                Segment::Glob(before, _) => return format!("{prefix}/{before}"),
                // The folder itself matches, too: without the slash.
                Segment::Rest => return prefix,
            }
        }
        prefix
    }
}

fn segment(part: &str, last: bool) -> Result<Segment, PatternError> {
    if part == "*" {
        return if last { Ok(Segment::Rest) } else { Err(PatternError::Stars) };
    }
    if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return if plain { Ok(Segment::Capture(name.to_owned())) } else { Err(PatternError::Braces) };
    }
    if part.contains(['{', '}']) {
        return Err(PatternError::Braces);
    }
    match part.split_once('*') {
        None => Ok(Segment::Literal(part.to_owned())),
        Some((_, behind)) if behind.contains('*') => Err(PatternError::Stars),
        Some((before, behind)) => Ok(Segment::Glob(before.to_owned(), behind.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_segments_and_capture_slices() {
        check("/*", "/", Some(&[""]));
        check("/*", "/a/b", Some(&["a/b"]));
        check("/exact", "/exact", Some(&[]));
        check("/exact", "/exact/", None);
        check("/folder/*", "/folder", Some(&[""]));
        check("/folder/*", "/folder/", Some(&[""]));
        check("/folder/*", "/folder/a/b", Some(&["a/b"]));
        check("/folder/*", "/folderish", None);
        check("/users/{id}/edit", "/users/7/edit", Some(&["7"]));
        check("/users/{id}/edit", "/users//edit", None);
        check("/users/{id}", "/users/7/edit", None);
        check("/users/{id}", "/users/", None);
        check("/a/*.php", "/a/x.php", Some(&[]));
        check("/a/*.php", "/a/x.php/y", None);
        check("/a/*.php", "/a/.ph", None);
        check("/**/*.php", "/x.php", Some(&[]));
        check("/**/*.php", "/a/b/x.php", Some(&[]));
        check("/**/*.php", "/x.php/b", None);
        check("/**/*.php", "/a/", None);
        check("/a/**/{name}", "/a/b/c/d", Some(&["d"]));
        check("/a/**/x", "/a/x", Some(&[]));
        check("/a/**/x", "/ab/x", None);
        check("/{a}/{b}/*", "/1/2/3/4", Some(&["1", "2", "3/4"]));
        check("/folder/", "/folder/", Some(&[]));
        check("/folder/", "/folder", None);

        #[track_caller]
        fn check(pattern: &str, path: &str, want: Option<&[&str]>) {
            let pattern = PathPattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(path).as_ref().map(Captures::values), want);
        }
    }

    #[test]
    fn wrong_patterns_say_why() {
        check("a", PatternError::Slash);
        check("/a{b}", PatternError::Braces);
        check("/{}", PatternError::Braces);
        check("/{a}/{a}", PatternError::Twice("a".to_owned()));
        check("/{rest}/*", PatternError::Twice("rest".to_owned()));
        check("/*/x", PatternError::Stars);
        check("/**", PatternError::Stars);
        check("/**/", PatternError::Stars);
        check("/**/*", PatternError::Stars);
        check("/**/a/b", PatternError::Stars);
        check("/**/**/b", PatternError::Stars);
        check("/a//b", PatternError::NotCanonical);
        check("/a%20b", PatternError::NotCanonical);
        check("/../b", PatternError::NotCanonical);

        #[track_caller]
        fn check(pattern: &str, want: PatternError) {
            assert_eq!(PathPattern::parse(pattern), Err(want));
        }
    }

    /// The slow and obvious reading: cut the path at its slashes and compare segment by segment, trying every cut of a `*`.
    fn naive(pattern: &str, path: &str) -> bool {
        let (pattern, path): (Vec<&str>, Vec<&str>) =
            (pattern.split('/').collect(), path.split('/').collect());
        let fits = |pattern: &str, part: &str| match (pattern.starts_with('{'), pattern.split_once('*')) {
            (true, _) => !part.is_empty(),
            (false, None) => part == pattern,
            (false, Some((before, behind))) => (0..=part.len())
                .flat_map(|from| (from..=part.len()).map(move |to| (from, to)))
                .any(|(from, to)| part[..from] == *before && part[to..] == *behind),
        };
        let each = |length: usize| (0..length).all(|at| fits(pattern[at], path[at]));
        if let [front @ .., "**", last] = pattern.as_slice() {
            let ends = path.split_last().is_some_and(|(end, _)| fits(last, end));
            let begins = path.len() > front.len()
                && front.iter().zip(&path).all(|(pattern, part)| fits(pattern, part));
            return begins && ends;
        }
        match pattern.split_last() {
            Some((&"*", front)) => path.len() >= front.len() && each(front.len()),
            _ => path.len() == pattern.len() && each(path.len()),
        }
    }

    proptest::proptest! {
        // Goal: the one-pass matcher agrees with trying every possibility.
        // Method: short patterns and paths over a tiny alphabet, so that near misses are common.
        #[test]
        fn the_matcher_agrees_with_the_naive_one(
            pattern in "/(a|b|/|\\{x\\}|\\{y\\}|\\*|\\*\\*/|\\.){0,6}",
            path in "/[ab/.]{0,8}",
        ) {
            if let Ok(parsed) = PathPattern::parse(&pattern) {
                proptest::prop_assert_eq!(parsed.matches(&path).is_some(), naive(&pattern, &path));
                if parsed.matches(&path).is_some() {
                    proptest::prop_assert!(path.starts_with(&parsed.literal_prefix()));
                }
            }
        }
    }
}
