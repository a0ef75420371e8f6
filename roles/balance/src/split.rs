//! A split of requests over pools: a canary, an A/B test.
//!
//! **Job.** Choose the pool of a request: the first arm that takes it, by what the request says itself (a field or a cookie) or
//! by percent of a key. Pure. **Called by** `ways`.
//!
//! Invariants
//! 1. The same key goes to the same pool as long as the percents stay.
//! 2. When the percent of the first arm grows, nobody leaves it: whoever saw the canary keeps seeing it.
//! 3. Nothing is allocated.
//!
//! Not here: what the key is (`ways`: the client's address, a field or a cookie), reading fields.

use std::fmt;

use crate::pick::hash::key_of;
use madang_host::draws::Draws;

/// Whole percents are the finest share.
const PERCENT: u8 = 100;

/// Whom an arm takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// So many percent of all keys, 0 to 100.
    Percent(u8),
    /// Who sends this field, lower-case name; with this value, where there is one.
    Header(String, Option<String>),
    /// Who has this cookie; with this value, where there is one.
    Cookie(String, Option<String>),
}

/// What a split reads of a request.
pub trait Marked {
    /// A field's first value, by lower-case name.
    fn header(&self, name: &str) -> Option<&[u8]>;
    /// A cookie's value.
    fn cookie(&self, name: &str) -> Option<&[u8]>;
}

/// The percents make more than 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch {
    /// So much.
    pub sum: u32,
}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the percents make {}, at most 100 can be given away", self.sum)
    }
}

/// A split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    salt: u64,
    rules: Vec<Rule>,
}

impl Split {
    /// A split of this name: two splits with different names do not divide clients at the same place. The arm that grows
    /// (the canary) comes first.
    ///
    /// # Errors
    /// [`TooMuch`]: the operator gives more than everything away.
    pub fn new(name: &str, rules: Vec<Rule>) -> Result<Self, TooMuch> {
        let percent = |rule: &Rule| if let Rule::Percent(percent) = rule { u32::from(*percent) } else { 0 };
        let sum = rules.iter().map(percent).sum();
        if sum > u32::from(PERCENT) {
            return Err(TooMuch { sum });
        }
        Ok(Self { salt: key_of(name.as_bytes()), rules })
    }

    /// The place of the arm that takes a request; `None`: the rest. `key` is what stays the same for a client.
    pub fn choose(&self, request: &impl Marked, key: &[u8]) -> Option<usize> {
        let says = |want: &Option<String>, found: Option<&[u8]>| match want {
            None => found.is_some(),
            Some(want) => found == Some(want.as_bytes()),
        };
        // Hashed once, and only where a percent is asked.
        let (mut at, mut begin) = (None, 0);
        self.rules.iter().position(|rule| match rule {
            Rule::Header(name, value) => says(value, request.header(name)),
            Rule::Cookie(name, value) => says(value, request.cookie(name)),
            Rule::Percent(percent) => {
                let at = *at.get_or_insert_with(|| self.place(key));
                let from = begin;
                begin += percent;
                from <= at && at < begin
            }
        })
    }

    /// Where a key lies, from 0 to 99.
    #[allow(clippy::cast_possible_truncation)] // below 100
    fn place(&self, key: &[u8]) -> u8 {
        Draws::new(self.salt ^ key_of(key)).below(u64::from(PERCENT)) as u8
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
        fn header(&self, name: &str) -> Option<&[u8]> {
            self.header.filter(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
        }
        fn cookie(&self, name: &str) -> Option<&[u8]> {
            self.cookie.filter(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
        }
    }

    // Goal: shares are as written, stable, and growing the canary takes nobody out of it. Method: 20,000 keys, a canary that
    // grows beside an arm of 20 percent.
    #[test]
    fn shares_are_as_written_and_growing_keeps_who_was_in() {
        let keys: Vec<[u8; 4]> = (0_u32..20_000).map(u32::to_be_bytes).collect();
        let mut before = vec![false; keys.len()];
        for percent in [0, 1, 5, 20, 50, 80] {
            let split = Split::new("s", vec![Rule::Percent(percent), Rule::Percent(20)]).unwrap();
            let arms: Vec<Option<usize>> =
                keys.iter().map(|key| split.choose(&Request::default(), key)).collect();
            let share = |arm: Option<usize>| {
                arms.iter().filter(|have| **have == arm).count() as f64 / keys.len() as f64 * 100.0
            };
            let (percent, rest) = (f64::from(percent), f64::from(80 - percent));
            for (arm, want) in [(Some(0), percent), (Some(1), 20.0), (None, rest)] {
                assert!((share(arm) - want).abs() < 1.0, "{percent} {arm:?}: {}", share(arm));
            }
            let now: Vec<bool> = arms.iter().map(|arm| *arm == Some(0)).collect();
            assert!(before.iter().zip(&now).all(|(was, is)| !was || *is), "{percent}: somebody left");
            before = now;
        }
    }

    // Goal: two splits of 10 percent are not about the same tenth of all clients.
    #[test]
    fn splits_of_different_names_divide_elsewhere() {
        let split = |name: &str| Split::new(name, vec![Rule::Percent(10)]).unwrap();
        let (one, other) = (split("one"), split("other"));
        let both = (0_u32..20_000)
            .filter(|key| {
                let key = key.to_be_bytes();
                [&one, &other].iter().all(|split| split.choose(&Request::default(), &key).is_some())
            })
            .count();
        assert!((100..300).contains(&both), "one in a hundred is in both, not {both} of 20000");
    }

    // Goal: the first arm that takes a request has it; nobody is taken by an arm of 0 percent.
    #[test]
    fn the_first_arm_that_takes_it_wins() {
        let header = Rule::Header("x-canary".to_owned(), Some("yes".to_owned()));
        let cookie = Rule::Cookie("beta".to_owned(), None);
        let rules = [Rule::Percent(0), header.clone(), cookie.clone()];
        check(&rules, Request::default(), None);
        check(&rules, Request { header: Some(("x-canary", "yes")), cookie: None }, Some(1));
        check(&rules, Request { header: Some(("x-canary", "no")), cookie: None }, None);
        check(&rules, Request { header: None, cookie: Some(("beta", "")) }, Some(2));
        let both = || Request { header: Some(("x-canary", "yes")), cookie: Some(("beta", "1")) };
        check(&rules, both(), Some(1));
        check(&[cookie, header.clone()], both(), Some(0));
        check(&[Rule::Percent(100), header], both(), Some(0));
        check(&[], both(), None);

        #[track_caller]
        fn check(rules: &[Rule], request: Request, want: Option<usize>) {
            assert_eq!(Split::new("s", rules.to_vec()).unwrap().choose(&request, b"key"), want);
        }
    }

    #[test]
    fn more_than_everything_cannot_be_given_away() {
        let split = |percents: &[u8]| Split::new("s", percents.iter().copied().map(Rule::Percent).collect());
        assert!(split(&[]).is_ok() && split(&[50, 50]).is_ok());
        assert_eq!(split(&[50, 51]), Err(TooMuch { sum: 101 }));
    }
}
