//! Byte ranges (RFC 9110 14).
//!
//! **Job.** Read a `range` value against a length: the parts to send, or nothing to satisfy, or not for us.
//! **Called by** `answer`. Pure.
//!
//! Invariants
//! 1. Parts lie inside the file, none overlaps or touches another, and together they are never more than the file.
//! 2. At most [`RANGES_MAX`] ranges are looked at: more is an attack or a mistake, and gets the whole file.
//!
//! Not here: writing parts (`multipart`).

/// Ranges one request may ask for.
pub(super) const RANGES_MAX: usize = 16;

/// A part of a file: `first..=last`, both inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Part {
    /// Bytes.
    pub(super) fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What a `range` value asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The whole file: the value is of another unit, malformed or excessive (RFC 9110 14.2).
    Whole,
    /// 416: well written, but nothing of it is there.
    Nothing,
    /// One part.
    One(Part),
    /// Several, in the order asked for unless they had to be merged.
    Many(Vec<Part>),
}

/// Reads a `range` value against a file of `length` bytes.
pub(super) fn parse(value: &[u8], length: u64) -> Wanted {
    let Some(set) = value
        .trim_ascii()
        .split_at_checked(6)
        .and_then(|(unit, set)| unit.eq_ignore_ascii_case(b"bytes=").then_some(set))
    else {
        return Wanted::Whole;
    };
    let mut parts: [Part; RANGES_MAX] = [Part { first: 0, last: 0 }; RANGES_MAX];
    let (mut asked, mut kept) = (0, 0);
    for range in set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|range| !range.is_empty()) {
        asked += 1;
        if asked > RANGES_MAX {
            return Wanted::Whole;
        }
        match one(range, length) {
            None => return Wanted::Whole,
            Some(None) => {}
            Some(Some(part)) => {
                parts[kept] = part;
                kept += 1;
            }
        }
    }
    match &mut parts[..kept] {
        [] if asked == 0 => Wanted::Whole,
        [] => Wanted::Nothing,
        [part] => Wanted::One(*part),
        several => merge(several),
    }
}

/// One range: `None` malformed, `Some(None)` not satisfiable.
fn one(range: &[u8], length: u64) -> Option<Option<Part>> {
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (&range[..dash], &range[dash + 1..]);
    if first.is_empty() {
        let suffix = number(last)?;
        let part = Part { first: length.saturating_sub(suffix), last: length.wrapping_sub(1) };
        return Some((suffix > 0 && length > 0).then_some(part));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some((first < length).then(|| Part { first, last: last.min(length - 1) }))
}

/// Digits only. Numbers past `u64` lie past every file: they stay at its end.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        digits
            .iter()
            .fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))),
    )
}

/// Keeps the order where the parts are apart; else sorts and joins those that overlap or touch.
fn merge(parts: &mut [Part]) -> Wanted {
    let touching =
        |a: &Part, b: &Part| a.first <= b.last.saturating_add(1) && b.first <= a.last.saturating_add(1);
    let apart = parts.iter().enumerate().all(|(n, a)| !parts[..n].iter().any(|b| touching(a, b)));
    if apart {
        return Wanted::Many(parts.to_vec());
    }
    parts.sort_unstable_by_key(|part| part.first);
    let mut merged: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts.iter() {
        match merged.last_mut() {
            Some(before) if touching(before, part) => before.last = before.last.max(part.last),
            _ => merged.push(*part),
        }
    }
    if let [part] = merged[..] { Wanted::One(part) } else { Wanted::Many(merged) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)] // of lengths below 64

    use proptest::prelude::*;

    use super::*;

    fn shown(value: &str, length: u64) -> String {
        let part = |part: &Part| format!("{}-{}", part.first, part.last);
        match parse(value.as_bytes(), length) {
            Wanted::Whole => "whole".to_owned(),
            Wanted::Nothing => "nothing".to_owned(),
            Wanted::One(one) => part(&one),
            Wanted::Many(many) => many.iter().map(part).collect::<Vec<_>>().join(","),
        }
    }

    // Goal: the examples of RFC 9110 14.1.2 and the values just beside what is right.
    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        check("bytes=0-499", 10_000, "0-499");
        check("bytes=500-999", 10_000, "500-999");
        check("bytes=-500", 10_000, "9500-9999");
        check("bytes=9500-", 10_000, "9500-9999");
        check("bytes=0-0,-1", 10_000, "0-0,9999-9999");
        check("bytes= 0-999, 4500-5499, -1000", 10_000, "0-999,4500-5499,9000-9999");
        check("bytes=500-600,601-999", 10_000, "500-999");
        check("bytes=500-700,601-999", 10_000, "500-999");
        check("BYTES=1-2", 10, "1-2");
        check("bytes=5-1,", 10, "whole");
        check("bytes=0-99", 10, "0-9");
        check("bytes=9-", 10, "9-9");
        check("bytes=10-", 10, "nothing");
        check("bytes=10-,0-1", 10, "0-1");
        check("bytes=-0", 10, "nothing");
        check("bytes=-11", 10, "0-9");
        check("bytes=0-", 0, "nothing");
        check("bytes=-5", 0, "nothing");
        check("bytes=8-9,0-1", 10, "8-9,0-1");
        check("bytes=8-9,0-1,1-3", 10, "0-3,8-9");
        check("bytes=, ,1-2,,", 10, "1-2");
        check("bytes=99999999999999999999-", 10, "nothing");
        check("bytes=1-99999999999999999999", 10, "1-9");
        check("bytes=-99999999999999999999", 10, "0-9");
        check("bytes=", 10, "whole");
        check("bytes=,", 10, "whole");
        check("bytes", 10, "whole");
        check("", 10, "whole");
        check("lines=1-2", 10, "whole");
        check("bytes=-", 10, "whole");
        check("bytes=a-b", 10, "whole");
        check("bytes=1", 10, "whole");
        check("bytes=1-2-3", 10, "whole");
        check("bytes=+1-2", 10, "whole");
        check("bytes=0x1-2", 10, "whole");
        check("bytes=1 - 2", 10, "whole");
        check("bytes=2-1", 10, "whole");
        check("bytes=0-1,2-1", 10, "whole");

        #[track_caller]
        fn check(value: &str, length: u64, want: &str) {
            assert_eq!(shown(value, length), want, "{value} of {length}");
        }
    }

    // Goal: the border of what is looked at.
    #[test]
    fn too_many_ranges_get_the_whole_file() {
        let set =
            |count: usize| (0..count).map(|n| format!("{}-{}", n * 4, n * 4)).collect::<Vec<_>>().join(",");
        assert_eq!(shown(&format!("bytes={}", set(RANGES_MAX)), 1000).split(',').count(), RANGES_MAX);
        assert_eq!(shown(&format!("bytes={}", set(RANGES_MAX + 1)), 1000), "whole");
    }

    proptest! {
        // Goal: whatever is asked, parts are inside, apart, and cover exactly what was asked.
        // Method: against a bitmap.
        #[test]
        fn parts_are_inside_apart_and_complete(
            ranges in proptest::collection::vec((0_u64..70, proptest::option::of(0_u64..70)), 1..6),
            length in 1_u64..64,
        ) {
            let mut want = vec![false; 64];
            let mut texts = Vec::new();
            for (first, more) in ranges {
                texts.push(more.map_or(format!("{first}-"), |more| format!("{first}-{}", first + more)));
                let last = more.map_or(u64::MAX, |more| first + more);
                for at in first..=last.min(length - 1) {
                    want[at as usize] = true;
                }
            }
            let mut got = vec![false; 64];
            let parts = match parse(format!("bytes={}", texts.join(",")).as_bytes(), length) {
                Wanted::One(part) => vec![part],
                Wanted::Many(parts) => parts,
                Wanted::Nothing => Vec::new(),
                Wanted::Whole => return Err(TestCaseError::fail("well written ranges were not understood")),
            };
            for part in &parts {
                prop_assert!(part.first <= part.last && part.last < length);
                for at in part.first..=part.last {
                    prop_assert!(!got[at as usize], "byte {} twice", at);
                    got[at as usize] = true;
                }
            }
            prop_assert_eq!(got, want);
            prop_assert!(parts.iter().map(|part| part.length()).sum::<u64>() <= length);
        }

        #[test]
        fn nonsense_is_never_a_panic(value in proptest::collection::vec(any::<u8>(), 0..40), length in any::<u64>()) {
            let mut all = b"bytes=".to_vec();
            all.extend_from_slice(&value);
            parse(&value, length);
            parse(&all, length);
        }
    }
}
