//! A weighted split of requests over pools: a canary, an A/B test.
//!
//! **Job.** Choose the pool of a request: by what it says itself (a field or a cookie), else by percent. **Called by** the
//! proxy, before `pick`.
//!
//! Invariants
//! 1. The same key goes to the same pool as long as the percents stay.
//! 2. When the percent of an earlier arm grows, nobody leaves it: whoever saw the canary keeps seeing it.
//!
//! Not here: what the key is (the proxy: the client's address or a cookie), reading fields.

use std::fmt;

use crate::pick::hash::key_of;

/// Whole percents are the finest share.
const PERCENT: u8 = 100;

/// What a request must have to go to an arm whatever its percent: name, and value (`None`: any).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// A field, lower-case name.
    Header(String, Option<String>),
    /// A cookie.
    Cookie(String, Option<String>),
}

/// One way of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    /// The pool's name.
    pub pool: String,
    /// 0 to 100; all together 100.
    pub percent: u8,
    /// Who goes here in any case.
    pub marks: Vec<Mark>,
}

/// What a split reads of a request.
pub trait Marked {
    /// A field's first value, by lower-case name.
    fn header(&self, name: &str) -> Option<&str>;
    /// A cookie's value.
    fn cookie(&self, name: &str) -> Option<&str>;
}

/// Why there is no such split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitError {
    /// No arms.
    Empty,
    /// The percents do not make 100.
    Sum {
        /// But this.
        sum: u32,
    },
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a split needs pools"),
            Self::Sum { sum } => write!(f, "the percents make {sum}, not 100"),
        }
    }
}

/// A split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    name: String,
    arms: Vec<Arm>,
}

impl Split {
    /// A split of this name: two splits with different names do not divide clients at the same place. The arm that grows
    /// (the canary) comes first.
    ///
    /// # Errors
    /// [`SplitError`]: the operator's percents do not make 100.
    pub fn new(name: &str, arms: Vec<Arm>) -> Result<Self, SplitError> {
        let sum = arms.iter().map(|arm| u32::from(arm.percent)).sum();
        if arms.is_empty() {
            return Err(SplitError::Empty);
        }
        if sum != u32::from(PERCENT) {
            return Err(SplitError::Sum { sum });
        }
        Ok(Self { name: name.to_owned(), arms })
    }

    /// Its arms.
    pub fn arms(&self) -> &[Arm] {
        &self.arms
    }

    /// The arm of a request. `key` is what stays the same for a client.
    pub fn choose(&self, request: &impl Marked, key: &[u8]) -> &Arm {
        let says = |want: &Option<String>, found: Option<&str>| match want {
            None => found.is_some(),
            Some(want) => found == Some(want),
        };
        let holds = |mark: &Mark| match mark {
            Mark::Header(name, value) => says(value, request.header(name)),
            Mark::Cookie(name, value) => says(value, request.cookie(name)),
        };
        if let Some(arm) = self.arms.iter().find(|arm| arm.marks.iter().any(holds)) {
            return arm;
        }
        let mut at = self.place(key);
        let by_percent = self.arms.iter().find(|arm| match at.checked_sub(arm.percent) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        });
        // The percents make 100 and `at` is below: somebody was found.
        by_percent.unwrap_or(&self.arms[0])
    }

    /// Where a key lies, from 0 to 99.
    #[allow(clippy::cast_possible_truncation)] // below 100
    fn place(&self, key: &[u8]) -> u8 {
        let mut named = Vec::with_capacity(self.name.len() + 1 + key.len());
        named.extend_from_slice(self.name.as_bytes());
        named.push(0);
        named.extend_from_slice(key);
        ((u128::from(key_of(&named)) * u128::from(PERCENT)) >> 64) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Request {
        header: Option<(&'static str, &'static str)>,
        cookie: Option<(&'static str, &'static str)>,
    }

    impl Marked for Request {
        fn header(&self, name: &str) -> Option<&str> {
            self.header.filter(|(known, _)| *known == name).map(|(_, value)| value)
        }
        fn cookie(&self, name: &str) -> Option<&str> {
            self.cookie.filter(|(known, _)| *known == name).map(|(_, value)| value)
        }
    }

    fn split(canary: u8) -> Split {
        let marks = vec![
            Mark::Header("x-canary".to_owned(), Some("yes".to_owned())),
            Mark::Cookie("beta".to_owned(), None),
        ];
        let arm = |pool: &str, percent, marks| Arm { pool: pool.to_owned(), percent, marks };
        Split::new("s", vec![arm("new", canary, marks), arm("old", 100 - canary, Vec::new())]).unwrap()
    }

    // Goal: shares are as written, stable, and growing the canary takes nobody out of it. Method: 20,000 keys.
    #[test]
    fn shares_are_as_written_and_growing_keeps_who_was_in() {
        let keys: Vec<[u8; 4]> = (0_u32..20_000).map(u32::to_be_bytes).collect();
        let mut before = vec![false; keys.len()];
        for percent in [0, 1, 5, 20, 50, 99, 100] {
            let split = split(percent);
            let now: Vec<bool> =
                keys.iter().map(|key| split.choose(&Request::default(), key).pool == "new").collect();
            let share = now.iter().filter(|is_in| **is_in).count() as f64 / keys.len() as f64 * 100.0;
            assert!((share - f64::from(percent)).abs() < 1.0, "{percent}: {share}");
            assert!(before.iter().zip(&now).all(|(was, is)| !was || *is), "{percent}: somebody left");
            before = now;
        }
    }

    #[test]
    fn marks_win_over_percent() {
        check(Request::default(), "old");
        check(Request { header: Some(("x-canary", "yes")), cookie: None }, "new");
        check(Request { header: Some(("x-canary", "no")), cookie: None }, "old");
        check(Request { header: None, cookie: Some(("beta", "")) }, "new");

        #[track_caller]
        fn check(request: Request, want: &str) {
            assert_eq!(split(0).choose(&request, b"key").pool, want);
        }
    }

    #[test]
    fn percents_that_do_not_make_a_hundred_are_refused() {
        let arm = |percent| Arm { pool: "p".to_owned(), percent, marks: Vec::new() };
        assert_eq!(Split::new("s", Vec::new()), Err(SplitError::Empty));
        assert_eq!(Split::new("s", vec![arm(50), arm(49)]), Err(SplitError::Sum { sum: 99 }));
        assert_eq!(
            Split::new("s", vec![arm(50), arm(51)]).unwrap_err().to_string(),
            "the percents make 101, not 100"
        );
    }
}
