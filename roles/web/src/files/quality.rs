//! Lists with weights: `accept`, `accept-encoding`, `accept-language` (RFC 9110 12.4.2).
//!
//! **Job.** Read `name;q=0.5, other` into names and weights, forgiving what is not understood.
//! **Called by** `encoding`, `listing`, and whoever else negotiates.
//!
//! Invariants
//! 1. Never fails: a member with a weight that cannot be read counts as refused (weight 0).
//!
//! Not here: what the names mean.

/// A weight: 0 (not acceptable) to 1000.
pub(crate) type Weight = u16;

/// The members of one field value, in order.
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = (&str, Weight)> {
    value.split(|byte| *byte == b',').filter_map(|member| {
        let member = std::str::from_utf8(member).ok()?;
        let mut parts = member.split(';');
        let name = parts.next()?.trim();
        if name.is_empty() {
            return None;
        }
        let weight = parts.find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| weight(value.trim()))
        });
        Some((name, weight.unwrap_or(1000)))
    })
}

/// `0`, `0.5`, `1.000`: at most three decimals, at most 1.
fn weight(text: &str) -> Weight {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    let thousandths = decimals
        .bytes()
        .fold((0, 100), |(sum, unit), digit| (sum + u16::from(digit - b'0') * unit, unit / 10))
        .0;
    match (whole, thousandths) {
        ("0", thousandths) => thousandths,
        ("1", 0) => 1000,
        _ => 0,
    }
}

/// How much a media type is wanted by `accept`; everything is wanted fully where there is no such field.
pub(crate) fn media_weight<'a>(accept: impl Iterator<Item = &'a [u8]>, media_type: &str) -> Weight {
    let mut best = None; // (how exactly it was named, weight)
    let mut any_field = false;
    for value in accept {
        any_field = true;
        for (range, weight) in members(value) {
            let exactness = if range.eq_ignore_ascii_case(media_type) {
                2
            } else if range == "*/*" {
                0
            } else if let Some(kind) = range.strip_suffix("/*")
                && media_type.split('/').next().is_some_and(|have| have.eq_ignore_ascii_case(kind))
            {
                1
            } else {
                continue;
            };
            if best.is_none_or(|(before, _)| exactness > before) {
                best = Some((exactness, weight));
            }
        }
    }
    best.map_or(if any_field { 0 } else { 1000 }, |(_, weight)| weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: names and weights as RFC 9110 12.4.2 writes them; what is malformed is never a wish.
    #[test]
    fn members_have_names_and_weights() {
        check("gzip", &[("gzip", 1000)]);
        check("gzip;q=0.5, br;q=1.0", &[("gzip", 500), ("br", 1000)]);
        check(" gzip ; Q=0.001 ,,*;q=0", &[("gzip", 1), ("*", 0)]);
        check("a;level=1;q=0.25", &[("a", 250)]);
        check(
            "a;q=2, b;q=-1, c;q=0.0001, d;q=, e;q=1.1, f;q=x",
            &[("a", 0), ("b", 0), ("c", 0), ("d", 0), ("e", 0), ("f", 0)],
        );
        check("", &[]);
        check(",;q=1,", &[]);

        #[track_caller]
        fn check(value: &str, want: &[(&str, Weight)]) {
            assert_eq!(members(value.as_bytes()).collect::<Vec<_>>(), want);
        }
    }

    // Goal: the most exact range decides (RFC 9110 12.5.1).
    #[test]
    fn the_most_exact_media_range_decides() {
        check(&[], "text/html", 1000);
        check(&["*/*"], "text/html", 1000);
        check(&["text/*;q=0.3, text/html;q=0.7, */*;q=0.5"], "text/html", 700);
        check(&["text/*;q=0.3, text/html;q=0.7, */*;q=0.5"], "text/plain", 300);
        check(&["text/*;q=0.3, text/html;q=0.7, */*;q=0.5"], "image/png", 500);
        check(&["application/json"], "text/html", 0);
        check(&["application/json", "text/html;q=0.2"], "text/html", 200);
        check(&[""], "text/html", 0);

        #[track_caller]
        fn check(accept: &[&str], media_type: &str, want: Weight) {
            assert_eq!(media_weight(accept.iter().map(|value| value.as_bytes()), media_type), want);
        }
    }
}
