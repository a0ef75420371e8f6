//! Lines that belong to the line before: stack traces and their like.
//!
//! **Job.** For each line say its level and whether it goes on. Pure; one for each source. **Called by** `keeper::journal`.
//!
//! Invariants
//! 1. A line that goes on has the level of the one it belongs to.
//! 2. At most [`LINES_MAX`] lines belong to one: a program that indents everything is still many lines.
//!
//! Not here: what levels look like (`level`).

use super::level::{Level, recognise};

/// The longest trace, in lines.
const LINES_MAX: u32 = 500;

/// What was before.
#[derive(Debug, Default)]
pub struct Together {
    level: Option<Level>,
    shape: Shape,
    lines: u32,
}

/// What may go on how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shape {
    #[default]
    Plain,
    /// Python's: indented lines, then one that names the exception.
    Traceback,
    /// Go's: everything until it ends.
    Panic,
    /// Rust's: the message, then notes.
    Panicked,
}

impl Together {
    /// Level of this line, and whether it belongs to the one before.
    pub fn see(&mut self, line: &str) -> (Option<Level>, bool) {
        if self.lines > 0 && self.lines < LINES_MAX && self.goes_on(line) {
            self.lines += 1;
            return (self.level, true);
        }
        self.level = recognise(line);
        self.lines = 1;
        self.shape = if line.starts_with("Traceback (most recent call last)") {
            Shape::Traceback
        } else if line.starts_with("panic: ") || line.starts_with("fatal error: ") {
            Shape::Panic
        } else if line.starts_with("thread '") && line.contains("panicked at") {
            Shape::Panicked
        } else {
            Shape::Plain
        };
        (self.level, false)
    }

    fn goes_on(&mut self, line: &str) -> bool {
        let indented = line.starts_with([' ', '\t']) && !line.trim_start().is_empty();
        let usual = ["Caused by:", "... ", "During handling of the above", "The above exception was"];
        if indented || usual.iter().any(|begins| line.starts_with(begins)) {
            return true;
        }
        if line.starts_with("Traceback (most recent call last)") && self.level == Some(Level::Error) {
            // A logger told the error and goes on with its trace.
            self.shape = Shape::Traceback;
            return true;
        }
        match self.shape {
            Shape::Plain => false,
            Shape::Traceback => {
                // The exception itself; after it only another trace of the same one.
                if line.is_empty() {
                    return true;
                }
                self.shape = Shape::Plain;
                true
            }
            Shape::Panic => {
                let go = ["goroutine ", "main.", "created by ", "exit status", "[signal "];
                line.is_empty()
                    || go.iter().any(|begins| line.starts_with(begins))
                    || (line.contains('(') && line.contains('.') && !line.contains(' '))
            }
            Shape::Panicked => {
                let note = ["note: ", "stack backtrace:"];
                self.lines == 1 || note.iter().any(|begins| line.starts_with(begins))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: traces of the usual languages stay with their line, and the next line is one of its own.
    #[test]
    fn a_trace_belongs_to_its_line() {
        check(
            "ERROR:root:x\n+Traceback (most recent call last):\n+  File \"a.py\", line 1, in <module>\n+ValueError: no\nINFO:root:y",
        );
        check("Traceback (most recent call last):\n+  File \"a.py\", line 1\n+ValueError: no\nlistening");
        check(
            "Exception in thread \"main\" java.lang.Error: x\n+\tat a.B.c(D.java:1)\n+Caused by: java.io.IOException\n+\t... 3 more\nINFO next",
        );
        check(
            "TypeError: x is not a function\n+    at Object.<anonymous> (/a.js:1:1)\n+    at node:internal/main\nlistening",
        );
        check(
            "panic: runtime error\n+\n+goroutine 1 [running]:\n+main.main()\n+\t/a.go:3 +0x1d\n+exit status 2\n2026 next",
        );
        check(
            "thread 'main' panicked at src/main.rs:1:5:\n+it broke\n+note: run with `RUST_BACKTRACE=1`\nnext",
        );
        check("one\ntwo\n\nthree");

        #[track_caller]
        fn check(text: &str) {
            let mut together = Together::default();
            let mut first = None;
            for line in text.split('\n') {
                let (want, line) = line.strip_prefix('+').map_or((false, line), |rest| (true, rest));
                let (level, goes_on) = together.see(line);
                assert_eq!(goes_on, want, "{line:?}");
                if goes_on {
                    assert_eq!(Some(level), first, "{line:?}");
                } else {
                    first = Some(level);
                }
            }
        }
    }

    // Goal: a program that indents everything does not become one line without end.
    #[test]
    fn what_goes_on_is_bounded() {
        let mut together = Together::default();
        let heads = (0..5000).filter(|_| !together.see("  indented").1).count();
        assert_eq!(heads, 10);
    }
}
