//! Caddy's matchers as conditions of routes.
//!
//! **Job.** Read them, put an outer and an inner one together, say whether one takes all that another does.
//! **Called by** `site`. Pure.
//!
//! Invariants
//! 1. Together means both: what two matchers take in common is never made larger.
//!
//! Not here: what is done with what matches.

use crate::draft::{Route, Value};
use crate::regex;

use super::lex::Line;

/// Conditions; empty lists are no condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Matcher {
    pub(super) paths: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) methods: Vec<String>,
    pub(super) from: Vec<String>,
    /// Kind (`header`, `query`), name, value.
    pub(super) fields: Vec<(&'static str, String, String)>,
}

/// A path of Caddy's as a pattern: `*` may stand for more than one segment only at an end.
pub(super) fn pattern(text: &str) -> Option<String> {
    let made = match text {
        "*" | "/*" => "/*".to_owned(),
        text if text.starts_with('*') => {
            let rest = &text[1..];
            if rest.contains(['*', '/']) {
                return None;
            }
            format!("/**/*{rest}")
        }
        text if text.ends_with("/*") => {
            let front = &text[..text.len() - 2];
            format!("{}/*", stars(front)?)
        }
        text if text.ends_with('*') => format!("{}*/*", stars(&text[..text.len() - 1])?),
        text => stars(text)?,
    };
    regex::is_pattern(&made).then_some(made)
}

/// A star for a whole segment becomes a capture.
fn stars(text: &str) -> Option<String> {
    let parts = text.split('/').enumerate().map(|(at, part)| match part {
        "*" => Some(format!("{{c{at}}}")),
        part if part.contains('{') => None,
        part => Some(part.to_owned()),
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}

impl Matcher {
    /// For one path.
    pub(super) fn path(path: &str) -> Self {
        Self { paths: vec![path.to_owned()], ..Self::default() }
    }

    /// `@name …` or `@name { … }`.
    ///
    /// # Errors
    /// The words that have no counterpart.
    pub(super) fn read(definition: &Line) -> Result<Self, String> {
        let mut all = Self::default();
        let single;
        let lines = if definition.words.len() > 1 {
            single = vec![Line {
                words: definition.words[1..].to_vec(),
                block: definition.block.clone(),
                at: definition.at.clone(),
            }];
            &single[..]
        } else {
            definition.inside()
        };
        for line in lines {
            let words = &line.words[1..];
            let told = || line.words.join(" ");
            match line.name() {
                "path" => {
                    for word in words {
                        all.paths.push(pattern(word).ok_or_else(told)?);
                    }
                }
                "path_regexp" => {
                    let expression = words.last().ok_or_else(told)?;
                    let made = regex::patterns(expression).filter(|made| !made.wider).ok_or_else(told)?;
                    all.paths.extend(made.paths);
                }
                "host" => all.hosts.extend(words.iter().cloned()),
                "method" => all.methods.extend(words.iter().map(|word| word.to_uppercase())),
                "remote_ip" | "client_ip" => {
                    for word in words {
                        match word.as_str() {
                            "private_ranges" => all.from.push("private".to_owned()),
                            "forwarded" => return Err(told()),
                            word => all.from.push(word.to_owned()),
                        }
                    }
                }
                "header"
                    if words.len() == 2 && !words[0].starts_with('!') && !words[1].contains('*')
                        || line.name() == "header" && words.len() == 2 && words[1] == "*" =>
                {
                    all.fields.push(("header", words[0].to_lowercase(), words[1].clone()));
                }
                "query" if words.len() == 1 => {
                    let (name, value) = words[0].split_once('=').ok_or_else(told)?;
                    all.fields.push(("query", name.to_owned(), value.to_owned()));
                }
                _ => return Err(told()),
            }
        }
        let placeholder = all.paths.iter().chain(&all.hosts).chain(&all.from).any(|word| word.contains("{$"));
        if placeholder || all == Self::default() { Err(definition.words.join(" ")) } else { Ok(all) }
    }

    /// Whether everything is taken.
    pub(super) fn is_any(&self) -> bool {
        *self == Self::default()
    }

    /// How much is written: Caddy asks the longest path first, and those without one last.
    pub(super) fn weight(&self) -> (usize, usize) {
        let longest = self.paths.iter().map(|path| path.trim_end_matches('*').len()).max().unwrap_or(0);
        let others = usize::from(!self.hosts.is_empty() || !self.methods.is_empty() || !self.from.is_empty())
            + self.fields.len();
        (longest, others)
    }

    /// What both take; `None`: nothing, or it cannot be said.
    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        let both = |a: &[String], b: &[String]| -> Option<Vec<String>> {
            match (a.is_empty(), b.is_empty()) {
                (true, _) => Some(b.to_vec()),
                (_, true) => Some(a.to_vec()),
                _ => {
                    let common: Vec<String> = a.iter().filter(|one| b.contains(one)).cloned().collect();
                    (!common.is_empty()).then_some(common)
                }
            }
        };
        let paths = match (self.paths.is_empty(), other.paths.is_empty()) {
            (true, _) => other.paths.clone(),
            (_, true) => self.paths.clone(),
            _ => {
                let mut common: Vec<String> = Vec::new();
                for path in
                    self.paths.iter().flat_map(|one| other.paths.iter().filter_map(|two| path_and(one, two)))
                {
                    if !common.contains(&path) {
                        common.push(path);
                    }
                }
                if common.is_empty() {
                    return None;
                }
                common
            }
        };
        let mut fields = self.fields.clone();
        for field in &other.fields {
            match fields.iter().find(|(kind, name, _)| (*kind, name) == (field.0, &field.1)) {
                Some(same) if same == field => {}
                Some(_) => return None,
                None => fields.push(field.clone()),
            }
        }
        let from = if self.from.is_empty() || other.from.is_empty() || self.from == other.from {
            if self.from.is_empty() { other.from.clone() } else { self.from.clone() }
        } else {
            return None;
        };
        Some(Self {
            paths,
            hosts: both(&self.hosts, &other.hosts)?,
            methods: both(&self.methods, &other.methods)?,
            from,
            fields,
        })
    }

    /// Gives a route its conditions.
    pub(super) fn route(&self) -> Route {
        let paths = if self.paths.is_empty() { vec!["/*".to_owned()] } else { self.paths.clone() };
        let mut route = Route::default().with("path", Value::one_or_many(paths));
        for (key, list) in [("from", &self.from), ("method", &self.methods), ("host", &self.hosts)] {
            if !list.is_empty() {
                route.set(key, Value::one_or_many(list.clone()));
            }
        }
        for (kind, name, value) in &self.fields {
            route.add_to_map(kind, name, value);
        }
        route
    }
}

/// A path that both patterns take.
fn path_and(one: &str, two: &str) -> Option<String> {
    let covers = |wide: &str, narrow: &str| {
        wide == narrow
            || wide == "/*"
            || wide
                .strip_suffix("*/*")
                .filter(|front| !front.ends_with('/'))
                .is_some_and(|front| narrow.starts_with(front) && !narrow.contains("**"))
            || wide
                .strip_suffix("/*")
                .filter(|front| !front.contains('*'))
                .is_some_and(|front| narrow == front || narrow.starts_with(&format!("{front}/")))
            || wide.strip_prefix("/**/*").is_some_and(|end| !narrow.contains('*') && narrow.ends_with(end))
    };
    if covers(one, two) {
        return Some(two.to_owned());
    }
    if covers(two, one) {
        return Some(one.to_owned());
    }
    // `/a/*` and `*.css`: files with that ending below /a.
    let deep = |folder: &str, ending: &str| {
        let front = folder.strip_suffix("/*").filter(|front| !front.contains('*'))?;
        ending.strip_prefix("/**/*").map(|end| format!("{front}/**/*{end}"))
    };
    deep(one, two).or_else(|| deep(two, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_caddy_become_patterns() {
        check("/a", Some("/a"));
        check("/a/*", Some("/a/*"));
        check("/a*", Some("/a*/*"));
        check("*.php", Some("/**/*.php"));
        check("*", Some("/*"));
        check("/a/*/b", Some("/a/{c2}/b"));
        check("*/a/*", None);
        check("a", None);

        #[track_caller]
        fn check(text: &str, want: Option<&str>) {
            assert_eq!(pattern(text).as_deref(), want);
        }
    }

    #[test]
    fn two_matchers_take_what_both_take() {
        check("/*", "/a/*", Some("/a/*"));
        check("/a/*", "/a/b", Some("/a/b"));
        check("/a/*", "/b/*", None);
        check("/a/*", "/**/*.css", Some("/a/**/*.css"));
        check("/a*/*", "/abc", Some("/abc"));
        check("/a.css", "/**/*.css", Some("/a.css"));

        #[track_caller]
        fn check(one: &str, two: &str, want: Option<&str>) {
            for (one, two) in [(one, two), (two, one)] {
                let both = Matcher::path(one).and(&Matcher::path(two));
                assert_eq!(both.map(|both| both.paths.join(" ")).as_deref(), want);
            }
        }
    }
}
