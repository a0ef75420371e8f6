//! The order in which apps start.
//!
//! **Job.** Find circles in `after`. Pure. **Called by** `config`.
//!
//! Not here: waiting for somebody to be ready (`app`).

use std::collections::BTreeMap;

/// Who waits for whom.
pub type Names<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// A circle, if there is one: each waits for the next, and the first stands at the end again.
/// Names that are nobody's are passed over.
pub fn circle<'a>(after: &Names<'a>) -> Option<Vec<&'a str>> {
    // 1: on the way from the start to here; 2: leads into no circle.
    let mut seen: BTreeMap<&str, u8> = BTreeMap::new();
    for start in after.keys() {
        let mut way: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, next)) = way.last_mut() {
            let name = *name;
            if *next == 0 && seen.get(name) == Some(&2) {
                way.pop();
                continue;
            }
            seen.insert(name, 1);
            let Some(whom) = after.get(name).and_then(|whom| whom.get(*next)) else {
                seen.insert(name, 2);
                way.pop();
                continue;
            };
            *next += 1;
            if let Some(at) = way.iter().position(|(name, _)| name == whom) {
                return Some(way[at..].iter().map(|(name, _)| *name).chain([*whom]).collect());
            }
            if after.contains_key(whom) {
                way.push((whom, 0));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_circle_is_named_from_its_first_to_its_first() {
        check(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])], Some("a b c a"));
        check(&[("a", &["a"])], Some("a a"));
        check(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])], None);
        check(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])], Some("b c b"));
        check(&[("a", &["nobody"])], None);
        check(&[], None);

        #[track_caller]
        fn check(after: &[(&str, &[&str])], want: Option<&str>) {
            let names: Names<'_> = after.iter().map(|(name, whom)| (*name, whom.to_vec())).collect();
            assert_eq!(circle(&names).map(|circle| circle.join(" ")).as_deref(), want);
        }
    }

    proptest! {
        // Goal: no circle is missed and none is made up. Method: arrows to later names only have none; one arrow back
        // along a path of arrows makes one.
        #[test]
        fn arrows_forward_have_no_circle_and_one_back_makes_one(
            arrows in prop::collection::vec((0_usize..8, 0_usize..8), 0..24),
            back in 1_usize..8,
        ) {
            const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
            let mut names: Names<'_> = NAMES.iter().map(|name| (*name, Vec::new())).collect();
            for (from, to) in arrows.into_iter().filter(|(from, to)| from < to) {
                names.entry(NAMES[from]).or_default().push(NAMES[to]);
            }
            prop_assert_eq!(circle(&names), None);
            for at in 0..back {
                names.entry(NAMES[at]).or_default().push(NAMES[at + 1]);
            }
            names.entry(NAMES[back]).or_default().push(NAMES[0]);
            let found = circle(&names);
            prop_assert!(found.is_some());
            let found = found.unwrap_or_default();
            prop_assert_eq!(found.first(), found.last());
            for pair in found.windows(2) {
                prop_assert!(names[pair[0]].contains(&pair[1]));
            }
        }
    }
}
