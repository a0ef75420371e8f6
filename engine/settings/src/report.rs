//! What is wrong with the settings: all of it at once.
//!
//! **Job.** Collect problems with their places, sort them, show them for people (source line and caret) and programs (JSON).
//! **Written by** `source`, `reader` and the owners of sections. **Read by** `madang check`.
//!
//! Invariants
//! 1. Every problem has a place inside a file that was read, or names the file that could not be.
//! 2. Values that came from the environment are never shown: their `${NAME}` stands in their place.
//! 3. At most [`PROBLEMS_MAX`] problems are kept; the rest are counted.
//!
//! Not here: what is right (`schema`).

use std::fmt::Write as _;
use std::path::PathBuf;

/// The most problems that are kept. Whoever has more repairs the first ones and asks again.
pub const PROBLEMS_MAX: usize = 100;
/// Characters of a source line that are shown.
const LINE_SHOWN_MAX: usize = 120;
/// The shortest value that is looked for in messages. A shorter one is no secret, and taking `a` out of every
/// sentence would leave none readable.
const SECRET_CHARS_MIN: usize = 4;

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
        // Only the line end itself goes: a CR that stands alone has a column like any other.
        let shown = &text[start..end];
        let shown = if end < text.len() { shown.strip_suffix('\r').unwrap_or(shown) } else { shown };
        (line, text[start..offset].chars().count() + 1, shown)
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
    /// Problems beyond [`PROBLEMS_MAX`].
    more: usize,
    failed: bool,
    /// Text that must not be shown, and what stands for it; the longest first.
    secrets: Vec<(String, String)>,
    /// Values that could not be read: what they are replaced by is nobody's fault.
    unusable: Vec<Mark>,
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
        if !self.unusable.contains(&mark) {
            self.keep(severity, mark, key, message, help);
        }
    }
    fn keep(&mut self, severity: Severity, mark: Mark, key: &str, message: String, help: Option<String>) {
        self.failed |= severity == Severity::Error;
        let (message, help) = (self.without_secrets(message), help.map(|help| self.without_secrets(help)));
        let problem = Problem { severity, mark, key: key.to_owned(), message, help };
        // Two readers of one value find the same fault: it is told once.
        if self.problems.contains(&problem) {
            return;
        }
        if self.is_full() {
            self.more += 1;
        } else {
            self.problems.push(problem);
        }
    }

    /// Adds the error that makes the value at `mark` meaningless; what readers find there afterwards is not told.
    pub fn unusable(&mut self, mark: Mark, key: &str, message: impl Into<String>, help: Option<String>) {
        self.keep(Severity::Error, mark, key, message.into(), help);
        if !self.is_full() {
            self.unusable.push(mark);
        }
    }

    /// From now on messages show `name` where `value` would stand, also where it was escaped or lower-cased.
    pub fn hide(&mut self, value: &str, name: &str) {
        if value.chars().count() < SECRET_CHARS_MIN {
            return;
        }
        let escaped = format!("{value:?}");
        let escaped = escaped.trim_matches('"').to_owned();
        for spelling in [value.to_owned(), escaped, value.to_lowercase()] {
            if !self.secrets.iter().any(|(have, _)| *have == spelling) {
                self.secrets.push((spelling, name.to_owned()));
            }
        }
        self.secrets.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    }

    fn without_secrets(&self, text: String) -> String {
        self.secrets.iter().fold(text, |text, (value, name)| {
            if text.contains(value.as_str()) { text.replace(value.as_str(), name) } else { text }
        })
    }

    /// Whether anything forbids using the settings.
    pub fn has_errors(&self) -> bool {
        self.failed
    }

    /// All problems, those beyond [`PROBLEMS_MAX`] too.
    pub fn count(&self) -> usize {
        self.problems.len() + self.more
    }

    pub(crate) fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX
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
            let place = paint("1", &format!("{path}:{line}:{column}"));
            let message = format!("{key}{}", problem.message);
            let _ = writeln!(out, "{place}: {kind}: {}", printable(message.chars()));
            // A secret may be written in the line itself.
            let source = &*self.without_secrets(source.to_owned());
            if !source.trim().is_empty() {
                let _ = writeln!(out, "  {}", printable(source.chars().take(LINE_SHOWN_MAX)));
                if column <= LINE_SHOWN_MAX {
                    let _ = writeln!(out, "  {}{}", padding(source, column), paint("1;36", "^"));
                }
            }
            if let Some(help) = &problem.help {
                // A remedy may take several lines: an example of settings.
                let help: Vec<String> = help.lines().map(|line| printable(line.chars())).collect();
                let _ = writeln!(out, "  {} {}", paint("36", "help:"), help.join("\n"));
            }
        }
        if self.more > 0 {
            let _ = writeln!(out, "and {} more problems", self.more);
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
        serde_json::json!({ "ok": !self.has_errors(), "problems": problems.collect::<Vec<_>>(), "more": self.more })
    }
}

/// A line as a terminal may see it: no byte of a settings file moves the cursor.
fn printable(line: impl Iterator<Item = char>) -> String {
    line.map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// White space as wide as the line before `column`, so that the caret stands under its character: tabs stay tabs, and
/// a Hangul, Han or Kana character, which takes two cells, gets an ideographic space.
fn padding(line: &str, column: usize) -> String {
    let space = |c: char| match c {
        '\t' => '\t',
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ff60}' => '\u{3000}',
        _ => ' ',
    };
    line.chars().take(column.saturating_sub(1)).map(space).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report_of(text: &str) -> Report {
        let mut report = Report::default();
        report.files.add("x.toml".into(), text.to_owned());
        report
    }

    // Goal: the caret stands under the character that is meant, on any terminal.
    // Method: tabs and wide characters before it.
    #[test]
    fn the_caret_stands_under_its_character() {
        check("a = 1", 4, "    ^");
        check("\ta = 1", 1, "\t^");
        check("한글 = 1", 6, "\u{3000}\u{3000}^");
        check("\u{1b}[2Ja", 4, "    ^");

        #[track_caller]
        fn check(line: &str, offset: u32, want: &str) {
            let mut report = report_of(line);
            report.error(Mark { file: 0, offset }, "a", "wrong", None);
            let text = report.to_text(false);
            assert_eq!(text.lines().nth(2), Some(format!("  {want}").as_str()), "{text}");
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }

    #[test]
    fn beyond_the_limit_problems_are_counted_and_errors_stay_errors() {
        let mut report = report_of("");
        for number in 0..PROBLEMS_MAX {
            report.warn(Mark::default(), "a", number.to_string(), None);
        }
        assert!(!report.has_errors());
        report.error(Mark::default(), "a", "the one too many", None);
        assert!(report.has_errors());
        assert_eq!((report.problems.len(), report.count()), (PROBLEMS_MAX, PROBLEMS_MAX + 1));
        assert!(report.to_text(false).ends_with("and 1 more problems\n"));
    }

    #[test]
    fn a_hidden_value_is_hidden_in_every_spelling_and_short_ones_stay() {
        let mut report = report_of("");
        report.hide("Hidden\"Value", "${NAME}");
        report.hide("abc", "${SHORT}");
        report.error(
            Mark::default(),
            "a",
            format!("{:?} hidden\"value abc", "Hidden\"Value"),
            Some("Hidden\"Value".into()),
        );
        let problem = &report.problems[0];
        assert_eq!(problem.message, "\"${NAME}\" ${NAME} abc");
        assert_eq!(problem.help.as_deref(), Some("${NAME}"));
    }
}
