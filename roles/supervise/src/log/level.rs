//! How loud a line is.
//!
//! **Job.** Recognise the level in the forms that programs use. **Called by** `together`.
//!
//! Looked at: `<3>` of syslog (RFC 5424 6.2.1, as systemd reads it), JSON (`level`, `severity`, `lvl`, `log.level`; words or pino's
//! and bunyan's numbers), `level=warn` of logfmt, glog's `E1121 10:31:28`, and a word among the first few of the line.
//!
//! Invariants
//! 1. Only the first [`LOOKED_AT`] bytes are looked at, in one pass: a long line costs no more.
//! 2. A word counts only in a place where levels stand: "no error" is none.
//!
//! Not here: lines that go on (`together`).

use std::fmt;
use std::str::FromStr;

/// From quiet to loud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the names say it
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// As written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The word of any of the usual systems, in any case.
    pub fn word(word: &str) -> Option<Self> {
        const WORDS: [(&str, Level); 24] = [
            ("trace", Level::Trace),
            ("trc", Level::Trace),
            ("finest", Level::Trace),
            ("finer", Level::Trace),
            ("verbose", Level::Debug),
            ("debug", Level::Debug),
            ("dbg", Level::Debug),
            ("fine", Level::Debug),
            ("info", Level::Info),
            ("inf", Level::Info),
            ("information", Level::Info),
            ("notice", Level::Info),
            ("warn", Level::Warn),
            ("wrn", Level::Warn),
            ("warning", Level::Warn),
            ("error", Level::Error),
            ("err", Level::Error),
            ("severe", Level::Error),
            ("fatal", Level::Error),
            ("crit", Level::Error),
            ("critical", Level::Error),
            ("alert", Level::Error),
            ("emerg", Level::Error),
            ("panic", Level::Error),
        ];
        WORDS.iter().find(|(have, _)| have.eq_ignore_ascii_case(word)).map(|(_, level)| *level)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::word(text).ok_or_else(|| format!("{text:?} is not trace, debug, info, warn or error"))
    }
}

/// Bytes of a line that are looked at.
const LOOKED_AT: usize = 512;
/// Words of a line among which a level may stand: behind date, time, zone, a program's name, a thread.
const WORDS_LOOKED_AT: usize = 7;

/// The level that a line says it has.
pub fn recognise(line: &str) -> Option<Level> {
    let line = &line[..line.floor_char_boundary(LOOKED_AT)];
    let line = line.trim_start();
    if line.starts_with('{') {
        return json(line);
    }
    syslog(line).or_else(|| glog(line)).or_else(|| by_key(line)).or_else(|| by_place(line))
}

/// `<3>text`; 8 and more have a facility above.
fn syslog(line: &str) -> Option<Level> {
    let (number, _) = line.strip_prefix('<')?.split_once('>')?;
    Some(match number.parse::<u8>().ok().filter(|number| *number < 192)? % 8 {
        0..=3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    })
}

/// `E1121 10:31:28.123456`.
fn glog(line: &str) -> Option<Level> {
    let bytes = line.as_bytes();
    let digits = bytes.get(1..5)?.iter().all(u8::is_ascii_digit) && bytes.get(5) == Some(&b' ');
    match bytes.first().filter(|_| digits)? {
        b'I' => Some(Level::Info),
        b'W' => Some(Level::Warn),
        b'E' | b'F' => Some(Level::Error),
        b'D' => Some(Level::Debug),
        _ => None,
    }
}

/// The first of these keys whose value is a level. Not parsed as a whole: a line may be cut.
fn json(line: &str) -> Option<Level> {
    ["\"level\"", "\"severity\"", "\"lvl\"", "\"log.level\"", "\"levelname\""].iter().find_map(|key| {
        let (_, rest) = line.split_once(key)?;
        let value = rest.trim_start().strip_prefix(':')?.trim_start();
        match value.strip_prefix('"') {
            Some(text) => Level::word(text.split('"').next()?),
            None => number(value.split([',', '}', ' ']).next()?),
        }
    })
}

/// pino and bunyan: 10, 20, … 60.
fn number(text: &str) -> Option<Level> {
    Some(match text.parse::<u16>().ok()? {
        10..=19 => Level::Trace,
        20..=29 => Level::Debug,
        30..=39 => Level::Info,
        40..=49 => Level::Warn,
        50..=69 => Level::Error,
        _ => return None,
    })
}

/// `level=warn`, `lvl="error"`.
fn by_key(line: &str) -> Option<Level> {
    ["level=", "lvl=", "severity="].iter().find_map(|key| {
        let at = line.find(key)?;
        let begins = at == 0 || line.as_bytes()[at - 1].is_ascii_whitespace();
        let value = line[at + key.len()..].trim_start_matches('"');
        let word = value.split(|c: char| !c.is_ascii_alphabetic()).next()?;
        Level::word(word).filter(|_| begins)
    })
}

/// A word where levels stand: first, between brackets, behind a colon of loggers (`ERROR:root:`), or all in capitals among the
/// first few.
fn by_place(line: &str) -> Option<Level> {
    // How uncaught failures begin.
    for (begins, level) in [
        ("Traceback (most recent call last)", Level::Error),
        ("Exception in thread", Level::Error),
        ("Uncaught ", Level::Error),
        ("panic: ", Level::Error),
        ("fatal error: ", Level::Error),
        ("thread '", Level::Error),
    ] {
        let panics = begins != "thread '" || line.contains("' panicked at") || line.contains(") panicked at");
        if line.starts_with(begins) && panics {
            return Some(level);
        }
    }
    for (at, word) in line.split_whitespace().take(WORDS_LOOKED_AT).enumerate() {
        let bracketed = word.starts_with(['[', '(']);
        let bare = word.trim_matches(|c: char| matches!(c, '[' | ']' | '(' | ')' | ':' | ',' | '|' | '-'));
        let bare = bare.split([':', '/', ']']).next().unwrap_or(bare);
        let Some(level) = Level::word(bare) else {
            // `TypeError: …` and `java.lang.IllegalStateException: …` as a first word.
            let exception = word.strip_suffix(':').is_some_and(|word| {
                let name = word.rsplit('.').next().unwrap_or(word);
                name.len() > 5 && (name.ends_with("Error") || name.ends_with("Exception"))
            });
            if at == 0 && exception {
                return Some(Level::Error);
            }
            continue;
        };
        let capitals = bare.bytes().all(|byte| byte.is_ascii_uppercase());
        let ends = word.ends_with([':', ']', ')', '|']) || word.contains(':');
        if capitals || bracketed || (at == 0 && ends) {
            return Some(level);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_are_recognised_where_they_stand() {
        for (line, want) in [
            ("ERROR something", "error"),
            ("error: something", "error"),
            ("[warn] something", "warn"),
            ("[2026-11-21 10:31:28] WARNING in app: x", "warn"),
            ("2026-11-21 10:31:28,123 - root - ERROR - x", "error"),
            ("2026-11-21T10:31:28.123Z  INFO hello: x", "info"),
            ("2026-11-21T10:31:28.123Z DEBUG hyper::client] x", "debug"),
            ("[2026-11-21T10:31:28Z TRACE hello] x", "trace"),
            ("ERROR:root:x", "error"),
            ("WARNING:asyncio:slow", "warn"),
            ("INFO:     Uvicorn running on http://x", "info"),
            ("2026/11/21 10:31:28 [error] 7#7: *1 open() failed", "error"),
            ("10:31:28.123 [main] WARN  com.example.App - x", "warn"),
            ("SEVERE: it broke", "error"),
            ("E1121 10:31:28.123456  7 main.go:3] x", "error"),
            ("time=\"2026-11-21\" level=warning msg=\"x\"", "warn"),
            ("ts=1 lvl=eror msg=x level=error", "error"),
            ("{\"level\":\"error\",\"msg\":\"x\"}", "error"),
            ("{\"time\":1,\"level\":50,\"msg\":\"x\"}", "error"),
            ("{\"level\":30,\"msg\":\"error\"}", "info"),
            ("{\"severity\": \"WARNING\"}", "warn"),
            ("<3>it broke", "error"),
            ("<4>careful", "warn"),
            ("<30>daemon info", "info"),
            ("npm ERR! code ELIFECYCLE", "-"),
            ("TypeError: x is not a function", "error"),
            ("java.lang.IllegalStateException: x", "error"),
            ("Exception in thread \"main\" java.lang.Error", "error"),
            ("Traceback (most recent call last):", "error"),
            ("panic: runtime error: index out of range", "error"),
            ("thread 'main' panicked at src/main.rs:1:5:", "error"),
            ("there was no error", "-"),
            ("an error: is told", "-"),
            ("listening on 3000", "-"),
            ("information about errors", "-"),
            ("Info desk opens", "-"),
            ("<999>x", "-"),
            ("{\"level\":7}", "-"),
            ("", "-"),
        ] {
            let got = recognise(line).map_or("-", Level::name);
            assert_eq!(got, want, "{line}");
        }
    }

    proptest! {
        // Goal: no line breaks it.
        #[test]
        fn any_line_can_be_looked_at(line in "\\PC{0,700}") {
            let _ = recognise(&line);
        }
    }
}
