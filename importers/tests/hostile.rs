//! Goal: no file, however made, breaks the importers, and whatever they write is TOML that says nothing twice.
//! Method: random bytes, and the files of tests/init with pieces cut, doubled and changed, read under every name there is.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)] // a test may stop at what it did not expect

use std::path::Path;

use madang_importers::folder::Memory;
use madang_importers::{import, render};
use proptest::prelude::*;

/// Every kind of file.
const NAMES: [&str; 12] = [
    "nginx.conf",
    "Caddyfile",
    "package.json",
    "Procfile",
    "ecosystem.config.js",
    "ecosystem.json",
    "x.service",
    "x.timer",
    "Cargo.toml",
    "go.mod",
    "app.py",
    "x.txt",
];

/// The files that are given in tests/init, as texts.
fn given() -> Vec<String> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/init")];
    let mut texts = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.components().any(|part| part.as_os_str() == "given")
                && let Ok(text) = std::fs::read_to_string(&path)
                && text.len() < 4096
            {
                texts.push(text);
            }
        }
    }
    texts.sort();
    assert!(texts.len() > 60, "only {} files", texts.len());
    texts
}

/// Reads a text as a file of this name; what is written must be TOML.
fn check(name: &str, text: &str) {
    let mut folder = Memory::of(name, text);
    // A timer wants its service, an import something to find.
    folder.files.insert("x.service.d".to_owned(), text.to_owned());
    folder.files.entry("x.service".to_owned()).or_insert_with(|| "[Service]\nExecStart=/bin/x\n".to_owned());
    let Ok(draft) = import(&folder, Some(name)) else { return };
    let written = render::toml(&draft);
    if let Err(error) = toml::de::DeTable::parse(&written) {
        panic!("{name} {text:?}\nwas written as\n{written}\n{error}");
    }
    assert!(!written.chars().any(|c| c.is_control() && c != '\n'), "{name} {text:?}\n{written:?}");
}

#[test]
fn given_files_are_read_under_every_name() {
    for text in given() {
        for name in NAMES {
            check(name, &text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_text_breaks_nothing(text in "(\\PC|[\\x00-\\x1f{};\"'#$@/*\\\\=]){0,200}", name in 0..NAMES.len()) {
        check(NAMES[name], &text);
    }

    #[test]
    fn words_of_the_languages_in_any_order_break_nothing(
        words in prop::collection::vec(
            "server|\\{|\\}|;|\n|location|listen|80|/|=|~|\\^~|\\^/a\\(\\.\\*\\)\\$|proxy_pass|http://a|return|301|root|try_files|\\$uri|if|\\(\\$host|x\\)|rewrite|upstream|:80|handle|respond|reverse_proxy|@a|path|/\\*|redir|\\{uri\\}|import|file_server|header|\"|`|<<A|deny|all|auth_basic|basic_auth|\\[Service\\]|ExecStart=|\\[Timer\\]|OnCalendar=|web:|\\$PORT|-p|3000",
            0..60,
        ),
        name in 0..NAMES.len(),
    ) {
        check(NAMES[name], &words.join(" "));
    }

    #[test]
    fn changed_files_break_nothing(seed in any::<prop::sample::Index>(), cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4), 1..6), name in 0..NAMES.len()) {
        let texts = given();
        let mut chars: Vec<char> = seed.get(&texts).chars().collect();
        for (place, what) in cuts {
            if chars.is_empty() {
                break;
            }
            let at = place.index(chars.len());
            match what {
                0 => chars.truncate(at),
                1 => drop(chars.remove(at)),
                2 => chars.insert(at, '{'),
                _ => {
                    let piece: Vec<char> = chars[at..(at + 20).min(chars.len())].to_vec();
                    chars.splice(at..at, piece);
                }
            }
        }
        let text: String = chars.into_iter().collect();
        check(NAMES[name], &text);
    }
}
