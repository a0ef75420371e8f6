//! A line of an app's log, as it is on disk.
//!
//! **Job.** Write and read `TIME INSTANCE SOURCE LEVEL TEXT`. **Called by** `keeper::journal` (write), `madang logs` (read).
//!
//! `2026-11-21T10:31:28.123Z 3 out warn it is late`: time in UTC; the instance's number; `out`, `err`, or `log` for what Madang
//! itself has to say; the level or `-`, with `+` behind it when the line goes on with the one before; the text.
//!
//! Invariants
//! 1. What [`write`] makes, [`Line::read`] gives back.
//!
//! Not here: which level (`level`).

use std::fmt::Write as _;

use super::level::Level;

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
    /// By Madang, about the log itself.
    Log,
}

impl Source {
    /// As written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
            Self::Log => "log",
        }
    }
}

/// A line as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// RFC 3339, UTC, milliseconds: as text it sorts by time.
    pub time: &'a str,
    /// Which instance; 0: none.
    pub instance: u32,
    /// Where from.
    pub source: Source,
    /// As it says itself.
    pub level: Option<Level>,
    /// It belongs to the line before.
    pub goes_on: bool,
    /// What was written.
    pub text: &'a str,
}

impl<'a> Line<'a> {
    /// Reads one, without its end; `None`: it is none.
    pub fn read(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(5, ' ');
        let (time, instance, source) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let (level, text) = (words.next()?, words.next()?);
        let source = match source {
            "out" => Source::Out,
            "err" => Source::Err,
            "log" => Source::Log,
            _ => return None,
        };
        let (level, goes_on) = level.strip_suffix('+').map_or((level, false), |level| (level, true));
        let level = if level == "-" { None } else { Some(level.parse().ok()?) };
        Some(Self { time, instance, source, level, goes_on, text })
    }
}

/// Writes one, with its end.
pub fn write(out: &mut String, line: &Line<'_>) {
    let level = line.level.map_or("-", Level::name);
    let more = if line.goes_on { "+" } else { "" };
    // Writing to a string cannot fail.
    let _ =
        writeln!(out, "{} {} {} {level}{more} {}", line.time, line.instance, line.source.name(), line.text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Goal: invariant 1. Method: any harmless text.
        #[test]
        fn what_is_written_is_read(instance: u32, text in "[^\\n\\r]{0,80}", level in 0_usize..6, source in 0_usize..3, goes_on: bool) {
            let level = [None, Some(Level::Trace), Some(Level::Debug), Some(Level::Info), Some(Level::Warn), Some(Level::Error)][level];
            let source = [Source::Out, Source::Err, Source::Log][source];
            let line = Line { time: "2026-11-21T10:31:28.123Z", instance, source, level, goes_on, text: &text };
            let mut out = String::new();
            write(&mut out, &line);
            prop_assert_eq!(Line::read(out.strip_suffix('\n').unwrap()), Some(line));
        }
    }

    #[test]
    fn what_is_no_line_is_none() {
        for line in ["", "x", "2026 1 out", "2026 x out - y", "2026 1 in - y", "2026 1 out loudly y"] {
            assert_eq!(Line::read(line), None, "{line:?}");
        }
    }
}
