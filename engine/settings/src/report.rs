//! What is wrong with the settings: all of it at once.
//!
//! **Job.** Collect problems with their places, sort them, show them for people (source line and caret) and programs (JSON).
//! **Written by** `source`, `reader` and the owners of sections. **Read by** `madang check`.
//!
//! Invariants
//! 1. Every problem has a place inside a file that was read, or names the file that could not be.
//! 2. Values that came from the environment are never shown.
//!
//! Not here: what is right (`schema`).

use std::fmt::Write as _;
use std::path::PathBuf;

/// A place in a settings file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Mark {
    /// Index into [`Files`].
    pub file: u32,
    /// Byte offset.
    pub offset: u32,
}

/// The texts that were read, to tell line and column.
#[derive(Debug, Default)]
pub struct Files {
    list: Vec<(PathBuf, String)>,
}

impl Files {
    /// Keeps a text; gives its number.
    pub fn add(&mut self, path: PathBuf, text: String) -> u32 {
        self.list.push((path, text));
        u32::try_from(self.list.len() - 1).unwrap_or(0)
    }
    /// The path of a file.
    pub fn path(&self, mark: Mark) -> &std::path::Path {
        self.list.get(mark.file as usize).map_or(std::path::Path::new(""), |(path, _)| path)
    }
    /// All paths read.
    pub fn paths(&self) -> impl Iterator<Item = &std::path::Path> {
        self.list.iter().map(|(path, _)| path.as_path())
    }
    /// 1-based line and column (in characters), and the line's text.
    pub fn locate(&self, mark: Mark) -> (usize, usize, &str) {
        let Some((_, text)) = self.list.get(mark.file as usize) else { return (1, 1, "") };
        let mut offset = (mark.offset as usize).min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let line = text[..start].matches('\n').count() + 1;
        let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        (line, text[start..offset].chars().count() + 1, text[start..end].trim_end_matches('\r'))
    }
}

/// Whether the settings can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// They cannot.
    Error,
    /// They can, but somebody will be surprised.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub mark: Mark,
    /// Key path such as `site.main.route[2].limit`.
    pub key: String,
    /// What is wrong, with what was found.
    pub message: String,
    /// What is allowed, or the remedy.
    pub help: Option<String>,
}

/// All problems, and the texts they are in.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order they were found.
    pub problems: Vec<Problem>,
    /// What was read.
    pub files: Files,
}

impl Report {
    /// Adds an error.
    pub fn error(&mut self, mark: Mark, key: &str, message: impl Into<String>, help: Option<String>) {
        self.add(Severity::Error, mark, key, message.into(), help);
    }
    /// Adds a warning.
    pub fn warn(&mut self, mark: Mark, key: &str, message: impl Into<String>, help: Option<String>) {
        self.add(Severity::Warning, mark, key, message.into(), help);
    }
    fn add(&mut self, severity: Severity, mark: Mark, key: &str, message: String, help: Option<String>) {
        let problem = Problem { severity, mark, key: key.to_owned(), message, help };
        // Two readers of one value find the same fault: it is told once.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
    /// Whether anything forbids using the settings.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }
    fn sorted(&self) -> Vec<&Problem> {
        let mut sorted: Vec<&Problem> = self.problems.iter().collect();
        sorted.sort_by_key(|problem| problem.mark);
        sorted
    }

    /// For people.
    pub fn to_text(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let mut out = String::new();
        for problem in self.sorted() {
            let (line, column, source) = self.files.locate(problem.mark);
            let path = self.files.path(problem.mark).display();
            let kind = match problem.severity {
                Severity::Error => paint("1;31", "error"),
                Severity::Warning => paint("1;33", "warning"),
            };
            let key = if problem.key.is_empty() { String::new() } else { format!("{}: ", problem.key) };
            let _ = writeln!(
                out,
                "{}: {kind}: {key}{}",
                paint("1", &format!("{path}:{line}:{column}")),
                problem.message
            );
            if !source.trim().is_empty() {
                let shown: String = source.chars().take(120).collect();
                let _ = writeln!(out, "  {shown}");
                if column <= 120 {
                    let _ = writeln!(out, "  {}{}", " ".repeat(column - 1), paint("1;36", "^"));
                }
            }
            if let Some(help) = &problem.help {
                let _ = writeln!(out, "  {} {help}", paint("36", "help:"));
            }
        }
        out
    }

    /// For programs.
    pub fn to_json(&self) -> serde_json::Value {
        let problems = self.sorted().into_iter().map(|problem| {
            let (line, column, _) = self.files.locate(problem.mark);
            serde_json::json!({
                "severity": match problem.severity { Severity::Error => "error", Severity::Warning => "warning" },
                "file": self.files.path(problem.mark).display().to_string(),
                "line": line,
                "column": column,
                "key": problem.key,
                "message": problem.message,
                "help": problem.help,
            })
        });
        serde_json::json!({ "ok": !self.has_errors(), "problems": problems.collect::<Vec<_>>() })
    }
}
