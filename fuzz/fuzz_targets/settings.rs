//! Settings files: whatever the text, `madang check` answers, and answers usefully.
//!
//! Input: the main file; behind a NUL byte, a second file that `include = "more.toml"` finds.
//! Laws: 1. Nothing panics. 2. No settings without an error, no error with settings. 3. Every problem points inside a file
//! that was read, at a character. 4. What came from the environment is not shown. 5. What a terminal sees moves no cursor.
//! 6. The same text gives the same report and the same settings, in which `plan` sees no difference.
#![no_main]
#![allow(clippy::unwrap_used, clippy::panic)] // a broken law stops the run: that is how it is told

#[allow(dead_code, unreachable_pub)]
#[path = "../../madang/src/config/mod.rs"]
mod config;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use madang_settings::report::Report;
use madang_settings::source::Source;

/// What must never be shown; `${SECRET}` puts it in.
const SECRET: &str = "hunter2-Hunter2";

/// Two files in memory.
struct Memory<'a> {
    main: &'a str,
    more: &'a str,
}

impl Source for Memory<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("/settings/madang.toml") => Ok(self.main.to_owned()),
            Some("/settings/more.toml") => Ok(self.more.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
    fn list(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let both = ["/settings/madang.toml", "/settings/more.toml"].into_iter().map(PathBuf::from);
        Ok(both.filter(|path| path == pattern || pattern.ends_with("*.toml")).collect())
    }
}

fn check(memory: &Memory<'_>) -> (Option<config::Settings>, Report) {
    let environment = BTreeMap::from([("SECRET".to_owned(), SECRET.to_owned())]);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    config::load_from(Path::new("/settings/madang.toml"), &environment, memory, now)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Real devices behind a path would make the run depend on the machine, or never end.
    if ["/dev", "/proc", "/sys"].iter().any(|folder| text.contains(folder)) {
        return;
    }
    let (main, more) = text.split_once('\0').unwrap_or((text, ""));
    let memory = Memory { main, more };
    let (settings, report) = check(&memory);

    assert_eq!(settings.is_none(), report.has_errors(), "{}", report.to_text(false));
    for problem in &report.problems {
        let at = problem.mark.offset as usize;
        let inside = match report.files.path(problem.mark).to_str() {
            Some("/settings/madang.toml") => main,
            Some("/settings/more.toml") => more,
            other => panic!("{problem:?} is in {other:?}"),
        };
        assert!(at <= inside.len() && inside.is_char_boundary(at), "{problem:?} is outside of its file");
        assert!(!problem.message.is_empty(), "{problem:?} says nothing");
    }
    let (shown, json) = (report.to_text(false), report.to_json().to_string());
    if !text.to_lowercase().contains(&SECRET.to_lowercase()) {
        let secret = |text: &str| text.to_lowercase().contains(&SECRET.to_lowercase());
        assert!(!secret(&shown) && !secret(&json), "a secret is shown: {shown}");
    }
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{shown:?}");

    // The second reading takes half of the time and finds only what depends on chance: now and then is enough.
    if data.len() % 8 != 0 {
        return;
    }
    let (again, report) = check(&memory);
    assert_eq!(
        (settings.is_some(), shown),
        (again.is_some(), report.to_text(false)),
        "two answers for one text"
    );
    if let (Some(settings), Some(again)) = (settings, again) {
        assert!(config::diff::diff(&settings, &again).is_empty(), "a file differs from itself");
        let _ = settings.listeners();
    }
});
