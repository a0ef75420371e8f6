//! What stands behind the `?` of a request, and parts of its path.
//!
//! **Job.** Find parameters and decode them, once. **Called by** `super`'s other files. **Calls** `wire::path`.
//!
//! Not here: what they mean.

use crate::refusal::Refusal;

/// The first parameter of this name, decoded (`+` is a space).
///
/// # Errors
/// [`Refusal::Malformed`]: a wrong escape, or no UTF-8.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Result<Option<String>, Refusal> {
    let pairs = query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    for (key, value) in pairs {
        if key == name {
            return decoded(&value.replace('+', " ")).map(Some);
        }
    }
    Ok(None)
}

/// A number.
///
/// # Errors
/// [`Refusal::Malformed`]: no number.
pub(super) fn number(query: Option<&str>, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(text) = parameter(query, name)? else { return Ok(None) };
    let bad = || Refusal::Malformed { why: format!("{name}: a whole number") };
    text.parse().map(Some).map_err(|_| bad())
}

fn decoded(text: &str) -> Result<String, Refusal> {
    let bad = || Refusal::Malformed { why: format!("{text:?} is not percent-encoded UTF-8") };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, more @ ..] = rest else { return Err(bad()) };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(bad()) };
        bytes.push(high * 16 + low);
        rest = more;
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_once() {
        check("a=1&b=2", "b", Ok(Some("2")));
        check("a=%EA%B0%80+b%2B&a=2", "a", Ok(Some("가 b+")));
        check("a=%2525", "a", Ok(Some("%25")));
        check("ab=1", "a", Ok(None));
        check("a", "a", Ok(Some("")));
        check("a=%", "a", Err(()));
        check("a=%4", "a", Err(()));
        check("a=%zz", "a", Err(()));
        check("a=%ff", "a", Err(()));

        #[track_caller]
        fn check(query: &str, name: &str, want: Result<Option<&str>, ()>) {
            let got = parameter(Some(query), name);
            assert_eq!(got.map_err(|_| ()), want.map(|text| text.map(str::to_owned)), "{query}");
        }
        assert_eq!(number(Some("x=12"), "x"), Ok(Some(12)));
        assert!(number(Some("x=-1"), "x").is_err() && number(None, "x") == Ok(None));
    }
}
