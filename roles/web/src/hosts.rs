//! Which site a host name belongs to.
//!
//! **Job.** Exact names first, then the wildcard (one label, as certificates have it), then the site for any host.
//! **Reads** the `hosts` of sites. **Called by** `web` for the request's host and for the TLS name.
//!
//! Invariants
//! 1. Case, a port and one closing dot make no difference to the answer.
//! 2. A lookup costs at most two hashes and allocates nothing for names already in lower case.
//! 3. Names are answered the same whatever the order in which they were added.
//!
//! Not here: which certificate goes with a name (`host::tls`).

use hashbrown::HashMap;

/// A table from host names to `T`.
#[derive(Debug, Clone)]
pub(crate) struct Hosts<T> {
    exact: HashMap<Box<str>, T>,
    /// By what follows the star, the dot included: `.example.com`.
    wildcards: HashMap<Box<str>, T>,
    any: Option<T>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcards: HashMap::new(), any: None }
    }
}

impl<T: Copy> Hosts<T> {
    /// Adds a name: `a.example`, `*.example` or, for any host, `*`. Gives back what had this name before.
    pub(crate) fn add(&mut self, name: &str, value: T) -> Option<T> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match name.strip_prefix('*') {
            Some("") => self.any.replace(value),
            Some(suffix) if suffix.starts_with('.') => self.wildcards.insert(suffix.into(), value),
            Some(_) | None => self.exact.insert(name.into(), value),
        }
    }

    /// What belongs to `host`, which may carry a port.
    pub(crate) fn find(&self, host: &str) -> Option<T> {
        if self.exact.is_empty() && self.wildcards.is_empty() {
            return self.any; // the usual single site
        }
        let host = without_port(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.find_lower(&host.to_ascii_lowercase());
        }
        self.find_lower(host)
    }

    fn find_lower(&self, host: &str) -> Option<T> {
        if let Some(value) = self.exact.get(host) {
            return Some(*value);
        }
        if let Some(at) = host.find('.').filter(|at| *at > 0 && !self.wildcards.is_empty())
            && let Some(value) = self.wildcards.get(&host[at..])
        {
            return Some(*value);
        }
        self.any
    }
}

/// The host without its port; IPv6 stays in brackets.
fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').map_or(host, |end| &host[..=end]);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: exact beats wildcard, a wildcard is one label, any host comes last; spelling makes no difference.
    // Method: one table with all kinds, asked with every spelling.
    #[test]
    fn names_are_found_by_how_precisely_they_are_known() {
        let full = [
            ("a.example", 1),
            ("*.example", 2),
            ("*.b.example", 3),
            ("[::1]", 4),
            ("127.0.0.1", 5),
            ("*", 9),
        ];
        check(&full, "a.example", Some(1));
        check(&full, "A.Example.", Some(1));
        check(&full, "a.example:8080", Some(1));
        check(&full, "x.example", Some(2));
        check(&full, "a.x.example", Some(9));
        check(&full, "x.b.example", Some(3));
        check(&full, "b.example", Some(2));
        check(&full, ".example", Some(9));
        check(&full, "example", Some(9));
        check(&full, "[::1]:8443", Some(4));
        check(&full, "127.0.0.1", Some(5));
        check(&full, "", Some(9));
        check(&full[..2], "other.test", None);
        check(&full[..2], "example", None);
        check(&[("*", 9)], "whatever", Some(9));
        check(&[], "whatever", None);

        #[track_caller]
        fn check(names: &[(&str, u32)], host: &str, want: Option<u32>) {
            let (mut forward, mut backward) = (Hosts::default(), Hosts::default());
            names.iter().for_each(|(name, value)| _ = forward.add(name, *value));
            names.iter().rev().for_each(|(name, value)| _ = backward.add(name, *value));
            assert_eq!((forward.find(host), backward.find(host)), (want, want), "{host}");
        }
    }
}
