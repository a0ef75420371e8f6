//! Text in columns.
//!
//! **Job.** How wide a text is on a terminal, and where it is broken. **Called by** `screen`. **Calls** Unicode's tables.
//!
//! Invariants
//! 1. No row is wider than asked for (but a single character wider than that stands alone); no character is lost but the
//!    blanks where a row was broken.
//!
//! Not here: colours.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Columns.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// As much of the beginning as fits into so many columns.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for piece in text.graphemes(true) {
        used += width(piece);
        if used >= columns {
            break;
        }
        out.push_str(piece);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// Rows: the first of `first` columns, the others of `columns`. Broken at blanks, and within a word that is longer than a row. Between
/// two wide characters (Korean, Chinese, Japanese) a row may be broken too.
pub(crate) fn wrap(text: &str, first: usize, columns: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.split('\n') {
        let limit = |rows: &Vec<String>| if rows.is_empty() { first } else { columns }.max(1);
        let mut row = String::new();
        let mut used = 0;
        for word in line.split_word_bounds() {
            let wide = width(word);
            if used + wide <= limit(&rows) {
                row.push_str(word);
                used += wide;
                continue;
            }
            if word.trim().is_empty() {
                rows.push(std::mem::take(&mut row));
                used = 0;
                continue;
            }
            if wide <= columns && used > 0 {
                rows.push(row.trim_end().to_owned());
                row.clear();
                row.push_str(word);
                used = wide;
                continue;
            }
            for piece in word.graphemes(true) {
                let wide = width(piece);
                if used + wide > limit(&rows) && used > 0 {
                    rows.push(std::mem::take(&mut row));
                    used = 0;
                }
                row.push_str(piece);
                used += wide;
            }
        }
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_broken_where_people_would() {
        check("hello", 10, &["hello"]);
        check("hello world", 8, &["hello", "world"]);
        check("one\n\ntwo", 8, &["one", "", "two"]);
        check("abcdefghijkl", 5, &["abcde", "fghij", "kl"]);
        check("안녕하세요 마당", 6, &["안녕하", "세요", "마당"]);
        check("가나다라마바", 5, &["가나", "다라", "마바"]);
        check("hi 안녕하세요", 20, &["hi 안녕하세요"]);
        check("👨‍👩‍👧👨‍👩‍👧", 3, &["👨‍👩‍👧", "👨‍👩‍👧"]);
        check("", 5, &[""]);

        #[track_caller]
        fn check(text: &str, columns: usize, want: &[&str]) {
            assert_eq!(wrap(text, columns, columns), want);
        }
    }

    proptest! {
        // Goal: invariant 1, for any text and any width.
        #[test]
        fn no_row_is_too_wide_and_nothing_is_lost(text in "[a-c 가나😀\n]{0,40}", first in 2_usize..12, columns in 2_usize..12) {
            let rows = wrap(&text, first, columns);
            for (at, row) in rows.iter().enumerate() {
                prop_assert!(width(row) <= if at == 0 { first } else { columns }, "{row:?}");
            }
            let kept = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(kept(&rows.concat()), kept(&text));
        }

        #[test]
        fn what_is_cut_fits(text in "[a-c 가나😀]{0,20}", columns in 0_usize..12) {
            prop_assert!(width(&cut(&text, columns)) <= columns);
        }
    }
}
