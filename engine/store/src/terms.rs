//! Text to search terms, the same for every database.
//!
//! **Job.** Cut a text into terms that an index keeps, and what people type into a query over such terms.
//! **Called by** `sqlite::log`, `postgres::log`. Pure.
//!
//! Words of scripts that put spaces between words are terms as they are, in small letters. Korean has spaces, but its
//! words carry endings (`회의록을`), and Japanese, Chinese and Thai have none: their runs are cut into overlapping pairs
//! of characters and the last character (`회의 의록 록을 을`). A query of two or more such characters is a phrase of
//! pairs, one character is the beginning of a pair: so any piece of a word is found, however short, which no index of
//! three letters does for Korean.
//!
//! Invariants
//! 1. A term is 1..=64 bytes of letters and digits only: it can stand in a query of any database without quoting rules.
//! 2. A text gives at most [`TERMS_MAX`] terms.
//!
//! Not here: the form a database wants a query in (`sqlite::log`, `postgres::log`).

/// What is after so many terms of one entry is not found.
pub(crate) const TERMS_MAX: usize = 10_000;
/// Longer words are found by their first bytes.
const TERM_BYTES_MAX: usize = 64;
/// Words of this many characters or more also match longer words.
const PREFIX_CHARS_MIN: usize = 3;
/// Parts of one query.
const PARTS_MAX: usize = 16;

/// Increase when the same text gives other terms: databases rebuild their index then.
pub(crate) const VERSION: i64 = 1;

/// A part of a query; all parts must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A term that begins like this.
    Prefix(String),
    /// These terms in a row.
    Phrase(Vec<String>),
}

/// A run of characters that are cut alike.
enum Run {
    Word(String),
    Pairs(Vec<char>),
}

/// The terms of a text, in order.
pub(crate) fn terms(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for run in runs(text) {
        match run {
            Run::Word(word) => all.push(word),
            Run::Pairs(run) => {
                pairs(&run, &mut all);
                all.extend(run.last().map(char::to_string));
            }
        }
        if all.len() >= TERMS_MAX {
            all.truncate(TERMS_MAX);
            break;
        }
    }
    all
}

/// What people type. Empty: nothing of it can be looked for.
pub(crate) fn query(words: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for (place, piece) in words.split('"').enumerate() {
        // Between the first and the second quotation mark, the third and the fourth, …
        if place % 2 == 1 {
            let mut phrase: Vec<String> = Vec::new();
            let mut all = runs(piece).into_iter().peekable();
            while let Some(run) = all.next() {
                match run {
                    Run::Word(word) => phrase.push(word),
                    Run::Pairs(run) => {
                        pairs(&run, &mut phrase);
                        // The lone last character stands in the index only where a run ends.
                        if run.len() == 1 || all.peek().is_some() {
                            phrase.extend(run.last().map(char::to_string));
                        }
                    }
                }
            }
            parts.push(match <[String; 1]>::try_from(phrase) {
                Ok([one]) if one.chars().all(is_paired) && one.chars().count() == 1 => Part::Prefix(one),
                Ok(one) => Part::Phrase(one.into()),
                Err(phrase) => Part::Phrase(phrase),
            });
            continue;
        }
        for run in runs(piece) {
            parts.push(match run {
                Run::Word(word) if word.chars().count() >= PREFIX_CHARS_MIN => Part::Prefix(word),
                Run::Word(word) => Part::Phrase(vec![word]),
                Run::Pairs(run) if run.len() == 1 => Part::Prefix(run.iter().collect()),
                Run::Pairs(run) => {
                    let mut phrase = Vec::new();
                    pairs(&run, &mut phrase);
                    Part::Phrase(phrase)
                }
            });
        }
    }
    parts.retain(|part| !matches!(part, Part::Phrase(terms) if terms.is_empty()));
    parts.truncate(PARTS_MAX);
    parts
}

/// Whether all these parts are among a text's terms.
pub(crate) fn matches(parts: &[Part], have: &[String]) -> bool {
    parts.iter().all(|part| match part {
        Part::Prefix(begin) => have.iter().any(|term| term.starts_with(begin.as_str())),
        Part::Phrase(row) => have.windows(row.len()).any(|window| window == row.as_slice()),
    })
}

fn pairs(run: &[char], into: &mut Vec<String>) {
    into.extend(run.windows(2).map(|pair| pair.iter().collect::<String>()));
}

fn runs(text: &str) -> Vec<Run> {
    let mut all = Vec::new();
    let (mut word, mut run) = (String::new(), Vec::new());
    let mut end = |word: &mut String, run: &mut Vec<char>| {
        if !word.is_empty() {
            all.push(Run::Word(std::mem::take(word)));
        }
        if !run.is_empty() {
            all.push(Run::Pairs(std::mem::take(run)));
        }
    };
    for letter in composed(text) {
        if is_paired(letter) {
            end(&mut word, &mut Vec::new());
            run.push(letter);
        } else if letter.is_alphanumeric() {
            end(&mut String::new(), &mut run);
            for small in letter.to_lowercase().filter(|small| small.is_alphanumeric()) {
                if word.len() + small.len_utf8() <= TERM_BYTES_MAX {
                    word.push(small);
                }
            }
        } else {
            end(&mut word, &mut run);
        }
    }
    end(&mut word, &mut run);
    all
}

/// Scripts that are cut into pairs: Korean, Japanese, Chinese, Thai, Lao, Khmer, Burmese.
fn is_paired(letter: char) -> bool {
    matches!(u32::from(letter),
        0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1100..=0x11FF | 0x1780..=0x17FF | 0x3005..=0x3007 | 0x3041..=0x3096
        | 0x309D..=0x309F | 0x30A1..=0x30FA | 0x30FC..=0x30FF | 0x3105..=0x318E | 0x31F0..=0x31FF | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFF66..=0xFF9F | 0x20000..=0x323AF)
}

/// Korean syllables written as single letters (as macOS writes them) become syllables (Unicode 3.12).
fn composed(text: &str) -> impl Iterator<Item = char> {
    const SYLLABLES: u32 = 0xAC00;
    let mut letters = text.chars().peekable();
    std::iter::from_fn(move || {
        let first = letters.next()?;
        let lead = u32::from(first).wrapping_sub(0x1100);
        let vowel = letters.peek().map_or(u32::MAX, |next| u32::from(*next).wrapping_sub(0x1161));
        if lead >= 19 || vowel >= 21 {
            return Some(first);
        }
        letters.next();
        let tail = letters.peek().map_or(u32::MAX, |next| u32::from(*next).wrapping_sub(0x11A7));
        let tail = if (1..28).contains(&tail) {
            letters.next();
            tail
        } else {
            0
        };
        char::from_u32(SYLLABLES + (lead * 21 + vowel) * 28 + tail).or(Some(first))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_become_terms() {
        check("Deploy DONE, v2.1 at 3am!", "deploy done v2 1 at 3am");
        check("회의록을 보냈다", "회의 의록 록을 을 보냈 냈다 다");
        check("API서버 down", "api 서버 버 down");
        check("ㅋㅋㅋ", "ㅋㅋ ㅋㅋ ㅋ");
        check("東京タワー", "東京 京タ タワ ワー ー");
        check("Straße ÉTÉ", "straße été");
        check("\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}", "한글 글");
        check("… --- !!!", "");
        check(&"x".repeat(100), &"x".repeat(64));

        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(terms(text).join(" "), want);
        }
    }

    #[test]
    fn what_people_type_becomes_a_query() {
        let prefix = |text: &str| Part::Prefix(text.to_owned());
        let phrase = |text: &str| Part::Phrase(text.split(' ').map(str::to_owned).collect());
        check("deploy", vec![prefix("deploy")]);
        check("go 회의", vec![phrase("go"), phrase("회의")]);
        check("회의록", vec![phrase("회의 의록")]);
        check("록", vec![prefix("록")]);
        check("\"release notes\" 한", vec![phrase("release notes"), prefix("한")]);
        check("\"회의 끝\"", vec![phrase("회의 의 끝")]);
        check("\"a", vec![phrase("a")]);
        check("' OR 1=1 -- *", vec![phrase("or"), phrase("1"), phrase("1")]);
        check("", vec![]);
        check("\"\" …", vec![]);

        #[track_caller]
        fn check(words: &str, want: Vec<Part>) {
            assert_eq!(query(words), want);
        }
    }

    proptest! {
        // Goal: whatever people write, terms keep the form that queries rely on, and every word finds itself.
        #[test]
        fn every_term_is_plain_and_every_text_finds_itself(text in "\\PC{0,60}") {
            let have = terms(&text);
            for term in &have {
                prop_assert!(!term.is_empty() && term.len() <= TERM_BYTES_MAX + 4);
                prop_assert!(term.chars().all(|letter| letter.is_alphanumeric() || is_paired(letter)), "{term:?}");
            }
            let parts = query(&text.replace('"', " "));
            prop_assert!(matches(&parts, &have), "{parts:?} are not in {have:?}");
        }
    }
}
