//! Names of servers: one spelling, one rule for wildcards, one order of search.
//!
//! **Job.** Say which of many things (certificates, policies) stand for a name a client asked for.
//! **Called by** `policy`, `store`. **Calls** nothing of ours.
//!
//! Invariants
//! 1. A wildcard stands for exactly one label (RFC 6125 6.4.3); an exact name always goes before it.
//! 2. Finding costs the same for ten names and ten thousand: clients choose the name, not the time it takes.
//!
//! Not here: what is found.

use std::borrow::Cow;

use hashbrown::HashMap;

/// A name as it is compared: lower case, without the dot of the root. Borrowed when it is already so.
pub fn normal(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether `pattern` (exact or `*.rest`) stands for `name`; both lower case.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match pattern.strip_prefix("*.") {
        None => pattern == name,
        Some(rest) => behind_one_label(name) == Some(rest),
    }
}

fn behind_one_label(name: &str) -> Option<&str> {
    name.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, rest)| rest)
}

/// Numbers of things by the names and wildcards they stand for.
#[derive(Debug, Default)]
pub struct NameIndex {
    exact: HashMap<String, Vec<usize>>,
    /// `*.rest` under `rest`.
    wildcard: HashMap<String, Vec<usize>>,
}

impl NameIndex {
    /// Files `number` under `pattern` (exact or `*.rest`, any case).
    pub fn insert(&mut self, pattern: &str, number: usize) {
        let pattern = normal(pattern);
        let (map, key) = match pattern.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcard, rest),
            None => (&mut self.exact, &*pattern),
        };
        map.entry_ref(key).or_default().push(number);
    }

    /// What stands for `name` (as [`normal`] gives it) itself, in the order it was filed.
    pub fn exact(&self, name: &str) -> &[usize] {
        self.exact.get(name).map_or(&[], Vec::as_slice)
    }

    /// What stands for it by wildcard.
    pub fn wildcard(&self, name: &str) -> &[usize] {
        behind_one_label(name).and_then(|rest| self.wildcard.get(rest)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::{NameIndex, name_matches, normal};

    // Goal: one rule for wildcards, in the function and in the index alike.
    // Method: one table of patterns and names through both.
    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        check("example.com", "example.com", true);
        check("example.com", "example.com.", true);
        check("*.example.com", "www.example.com", true);
        check("*.example.com", "www.example.com.", true);
        check("*.example.com", "example.com", false);
        check("*.example.com", "a.b.example.com", false);
        check("*.example.com", ".example.com", false);
        check("*.example.com", "wwwexample.com", false);
        check("*.example.com", "*.example.com", true);
        check("example.com", "www.example.com", false);
        check("example.com", "", false);
        check("*.com", "com", false);

        #[track_caller]
        fn check(pattern: &str, name: &str, want: bool) {
            assert_eq!(name_matches(pattern, name), want, "{pattern} for {name}");
            let mut index = NameIndex::default();
            index.insert(&pattern.to_ascii_uppercase(), 7);
            let name = normal(name);
            let found = [index.exact(&name), index.wildcard(&name)].concat();
            assert_eq!(found, if want { vec![7] } else { vec![] }, "{pattern} for {name}, by index");
        }
    }

    #[test]
    fn a_name_has_one_spelling() {
        assert_eq!(normal("WWW.Example.COM."), "www.example.com");
        assert_eq!(normal("a.b"), "a.b");
        assert_eq!(normal("."), "");
    }
}
