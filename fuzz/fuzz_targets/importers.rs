//! Projects and other servers' settings: whatever the files, `madang init` reads them and writes TOML.
//!
//! Input: the first byte says the file's name; behind a NUL byte, a second file that includes and imports find (`more.conf`).
//! Laws: 1. Nothing panics, nothing takes long. 2. What is written is TOML. 3. No control character reaches the file.
#![no_main]
#![allow(clippy::panic)] // a broken law stops the run: that is how it is told

use madang_importers::folder::Memory;
use madang_importers::{import, render};

const NAMES: [&str; 10] = [
    "nginx.conf", "Caddyfile", "package.json", "Procfile", "ecosystem.config.js", "x.service", "x.timer", "Cargo.toml", "go.mod", "app.py",
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let (main, more) = text.split_once('\0').unwrap_or((text, ""));
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let mut folder = Memory::of(name, main);
    folder.files.insert("more.conf".to_owned(), more.to_owned());
    folder.files.insert("x.service".to_owned(), more.to_owned());
    let Ok(draft) = import(&folder, Some(name)) else { return };
    let written = render::toml(&draft);
    if let Err(error) = toml::de::DeTable::parse(&written) {
        panic!("{name}: {error}\n{written}");
    }
    assert!(!written.chars().any(|c| c.is_control() && c != '\n'), "{written:?}");
});
