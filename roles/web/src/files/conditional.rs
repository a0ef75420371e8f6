//! Conditional requests, in the order of RFC 9110 13.2.2.
//!
//! **Job.** From a request's fields and a file's validators: go on (with or without the range), 304 or 412.
//! **Called by** `answer`. Pure.
//!
//! Invariants
//! 1. What cannot be read is as if it were not there, except in a condition that guards a change or a range: there an
//!    unreadable validator never matches.
//!
//! Not here: ranges themselves (`range`), what a 304 carries (`answer`).

use madang_wire::date;
use madang_wire::request::RequestHead;

/// Which fields of interest a request has: found in one pass, so that a plain request pays for one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Present {
    pub(super) accept_encoding: bool,
    pub(super) if_match: bool,
    pub(super) if_unmodified_since: bool,
    pub(super) if_none_match: bool,
    pub(super) if_modified_since: bool,
    pub(super) if_range: bool,
    pub(super) range: bool,
}

impl Present {
    /// Looks once over all fields.
    pub(super) fn of(head: &RequestHead) -> Self {
        let mut present = Self::default();
        for (name, _) in head.fields() {
            match name {
                "accept-encoding" => present.accept_encoding = true,
                "if-match" => present.if_match = true,
                "if-unmodified-since" => present.if_unmodified_since = true,
                "if-none-match" => present.if_none_match = true,
                "if-modified-since" => present.if_modified_since = true,
                "if-range" => present.if_range = true,
                "range" => present.range = true,
                _ => {}
            }
        }
        present
    }

    fn any_condition(self) -> bool {
        self.if_match
            || self.if_unmodified_since
            || self.if_none_match
            || self.if_modified_since
            || self.if_range
    }
}

/// What the conditions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answer, and honour `range` if there is one.
    Proceed,
    /// Answer with the whole file: the client's part is of another state.
    ProceedWhole,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Judges a GET or HEAD of what has this `etag` and was modified at `modified_s`. Times: seconds since 1970.
pub(super) fn evaluate(
    head: &RequestHead,
    present: Present,
    etag: &[u8],
    modified_s: Option<u64>,
    now_s: impl FnOnce() -> u64,
) -> Outcome {
    if !present.any_condition() {
        return Outcome::Proceed;
    }
    if present.if_match {
        if !head.get_all("if-match").any(|list| list_has(list, etag, Comparison::Strong)) {
            return Outcome::Failed;
        }
    } else if present.if_unmodified_since
        && let (Some(since), Some(modified)) = (the_date(head, "if-unmodified-since"), modified_s)
        && modified > since
    {
        return Outcome::Failed;
    }
    if present.if_none_match {
        if head.get_all("if-none-match").any(|list| list_has(list, etag, Comparison::Weak)) {
            return Outcome::NotModified;
        }
    } else if present.if_modified_since
        && let (Some(since), Some(modified)) = (the_date(head, "if-modified-since"), modified_s)
        && modified <= since
    {
        return Outcome::NotModified;
    }
    if present.range && present.if_range && !if_range_holds(head, etag, modified_s, now_s) {
        return Outcome::ProceedWhole;
    }
    Outcome::Proceed
}

/// The only value of a date field; several lines or nonsense are no date.
fn the_date(head: &RequestHead, name: &str) -> Option<u64> {
    let mut values = head.get_all(name);
    let (value, None) = (values.next()?, values.next()) else { return None };
    date::parse(std::str::from_utf8(value).ok()?)
}

fn if_range_holds(
    head: &RequestHead,
    etag: &[u8],
    modified_s: Option<u64>,
    now_s: impl FnOnce() -> u64,
) -> bool {
    let mut values = head.get_all("if-range");
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    if value.contains(&b'"') {
        return value.trim_ascii() == etag && !value.starts_with(b"W/");
    }
    // A date is only as good as a strong tag when the file has rested since (RFC 9110 8.8.2.2, 13.1.5).
    match (the_date(head, "if-range"), modified_s) {
        (Some(since), Some(modified)) => since == modified && modified < now_s(),
        _ => false,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether `*` or a member of a list of entity tags matches (RFC 9110 8.8.3.2).
fn list_has(list: &[u8], etag: &[u8], comparison: Comparison) -> bool {
    let list = list.trim_ascii();
    if list == b"*" {
        return true;
    }
    let (weak, opaque) = split_weak(etag);
    if weak && comparison == Comparison::Strong {
        return false;
    }
    // Commas may stand inside quotes: tags are walked quote by quote.
    let mut rest = list;
    while let Some(open) = rest.iter().position(|b| *b == b'"') {
        let (before, quoted) = rest.split_at(open);
        let Some(close) = quoted[1..].iter().position(|b| *b == b'"') else { return false };
        let (tag, after) = quoted.split_at(close + 2);
        let weak = before.ends_with(b"W/");
        if tag == opaque && !(weak && comparison == Comparison::Strong) {
            return true;
        }
        rest = after;
    }
    false
}

fn split_weak(etag: &[u8]) -> (bool, &[u8]) {
    etag.strip_prefix(b"W/").map_or((false, etag), |opaque| (true, opaque))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: u64 = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[track_caller]
    fn check_of(etag: &'static str, now_s: u64, fields: &[(&str, &str)], want: Outcome) {
        let mut head = RequestHead::new();
        for (name, value) in fields {
            head.push_field(name, value.as_bytes());
        }
        let got = evaluate(&head, Present::of(&head), etag.as_bytes(), Some(MODIFIED), || now_s);
        assert_eq!(got, want, "{fields:?}");
    }

    // Goal: each condition alone, at and beside its border.
    #[test]
    fn each_condition_decides_as_the_rfc_says() {
        use Outcome::*;
        check(&[], Proceed);
        check(&[("if-match", "\"a\"")], Proceed);
        check(&[("if-match", "\"b\", \"a\"")], Proceed);
        check(&[("if-match", "\"b\""), ("if-match", "\"a\"")], Proceed);
        check(&[("if-match", "*")], Proceed);
        check(&[("if-match", "W/\"a\"")], Failed);
        check(&[("if-match", "\"b\"")], Failed);
        check(&[("if-match", "\"a")], Failed);
        check(&[("if-match", "a")], Failed);
        check(&[("if-match", "")], Failed);
        check(&[("if-match", "\"x,\"a\",y\"")], Failed);
        check(&[("if-unmodified-since", SAME)], Proceed);
        check(&[("if-unmodified-since", LATER)], Proceed);
        check(&[("if-unmodified-since", EARLIER)], Failed);
        check(&[("if-unmodified-since", "yesterday")], Proceed);
        check(&[("if-none-match", "\"a\"")], NotModified);
        check(&[("if-none-match", "W/\"a\"")], NotModified);
        check(&[("if-none-match", "*")], NotModified);
        check(&[("if-none-match", "\"b\" , W/\"a\"")], NotModified);
        check(&[("if-none-match", "\"b\"")], Proceed);
        check(&[("if-none-match", "a")], Proceed);
        check(&[("if-modified-since", SAME)], NotModified);
        check(&[("if-modified-since", LATER)], NotModified);
        check(&[("if-modified-since", EARLIER)], Proceed);
        check(&[("if-modified-since", "never")], Proceed);
        check(&[("if-modified-since", SAME), ("if-modified-since", SAME)], Proceed);

        #[track_caller]
        fn check(fields: &[(&str, &str)], want: Outcome) {
            check_of("\"a\"", MODIFIED + 100, fields, want);
        }
    }

    // Goal: where several conditions meet, RFC 9110 13.2.2 says which one speaks.
    #[test]
    fn conditions_are_judged_in_the_order_of_the_rfc() {
        use Outcome::*;
        // A tag silences the date beside it.
        check(&[("if-match", "\"a\""), ("if-unmodified-since", EARLIER)], Proceed);
        check(&[("if-none-match", "\"b\""), ("if-modified-since", LATER)], Proceed);
        // 412 comes before 304.
        check(&[("if-match", "\"b\""), ("if-none-match", "\"a\"")], Failed);
        check(&[("if-unmodified-since", EARLIER), ("if-none-match", "\"a\"")], Failed);
        check(&[("if-match", "\"a\""), ("if-none-match", "\"a\"")], NotModified);
        check(&[("if-match", "\"a\""), ("if-modified-since", SAME)], NotModified);
        // 304 comes before the range.
        check(&[("if-none-match", "\"a\""), ("range", "bytes=0-1"), ("if-range", "\"b\"")], NotModified);
        check(&[("range", "bytes=0-1"), ("if-range", "\"a\"")], Proceed);
        check(&[("range", "bytes=0-1"), ("if-range", "\"b\"")], ProceedWhole);
        check(&[("range", "bytes=0-1"), ("if-range", "W/\"a\"")], ProceedWhole);
        check(&[("range", "bytes=0-1"), ("if-range", SAME)], Proceed);
        check(&[("range", "bytes=0-1"), ("if-range", LATER)], ProceedWhole);
        check(&[("range", "bytes=0-1"), ("if-range", EARLIER)], ProceedWhole);
        check(&[("range", "bytes=0-1"), ("if-range", "nonsense")], ProceedWhole);
        check(&[("range", "bytes=0-1"), ("if-range", "\"a\""), ("if-range", "\"a\"")], ProceedWhole);
        check(&[("if-range", "\"b\"")], Proceed);

        #[track_caller]
        fn check(fields: &[(&str, &str)], want: Outcome) {
            check_of("\"a\"", MODIFIED + 100, fields, want);
        }
    }

    // Goal: a weak tag of ours is good for 304 only; a date is no range validator in the second it names.
    #[test]
    fn weak_validators_never_vouch_for_bytes() {
        use Outcome::*;
        check_of("W/\"a\"", MODIFIED + 9, &[("if-none-match", "\"a\"")], NotModified);
        check_of("W/\"a\"", MODIFIED + 9, &[("if-match", "\"a\"")], Failed);
        check_of("W/\"a\"", MODIFIED + 9, &[("if-match", "W/\"a\"")], Failed);
        check_of("W/\"a\"", MODIFIED + 9, &[("range", "bytes=0-"), ("if-range", "W/\"a\"")], ProceedWhole);
        check_of("\"a\"", MODIFIED, &[("range", "bytes=0-"), ("if-range", SAME)], ProceedWhole);
        check_of("\"a\"", MODIFIED + 1, &[("range", "bytes=0-"), ("if-range", SAME)], Proceed);
    }
}
