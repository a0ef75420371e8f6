//! Tools of the machine that a command needs once: `systemctl`, `nft`, `useradd`.
//!
//! **Job.** Run one to its end and hand back what it said, or start one that waits on its own. **Called by** `madang`'s
//! commands. **Calls** the kernel.
//!
//! Invariants
//! 1. It waits for the tool: never called where requests are served.
//! 2. No shell: arguments are handed on as they are.
//! 3. What is kept of its words is at most [`WORDS_BYTES_MAX`] each.
//!
//! Not here: programs that Madang keeps alive (`spawn`).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// What is kept of stdout and of stderr, in bytes.
pub const WORDS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A command line and how it is run.
#[derive(Debug, Clone, Default)]
pub struct Tool {
    words: Vec<OsString>,
    input: Vec<u8>,
    identity: Option<(u32, u32)>,
    environment: Option<Vec<(String, String)>>,
}

/// What it said at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The exit code; `None`: a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

impl Said {
    /// Whether it ended with 0.
    pub fn well(&self) -> bool {
        self.code == Some(0)
    }
}

/// It could not be started, or did not end well.
#[derive(Debug)]
pub struct ToolError {
    /// The command line.
    pub line: String,
    /// What the kernel said, when it could not be run at all.
    pub error: Option<io::Error>,
    /// What it said itself.
    pub said: Option<Said>,
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, error, said } = self;
        if let Some(error) = error {
            return write!(f, "cannot run `{line}`: {error}");
        }
        let (code, err) = said.as_ref().map_or((None, ""), |said| (said.code, said.err.trim()));
        match code {
            Some(code) => write!(f, "`{line}` ended with {code}: {err}"),
            None => write!(f, "`{line}` was ended by a signal: {err}"),
        }
    }
}
impl std::error::Error for ToolError {}

impl Tool {
    /// A program, found in PATH, and its arguments.
    pub fn new<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Self {
        Self { words: words.into_iter().map(|word| word.as_ref().to_owned()).collect(), ..Self::default() }
    }

    /// What it reads on stdin; left out: nothing.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Whom it runs as, and with what environment instead of ours. Only root can choose.
    #[must_use]
    pub fn as_user(mut self, user: u32, group: u32, environment: Vec<(String, String)>) -> Self {
        self.identity = Some((user, group));
        self.environment = Some(environment);
        self
    }

    /// As one would type it.
    pub fn line(&self) -> String {
        self.words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end, whatever the end is.
    ///
    /// # Errors
    /// It could not be started.
    pub fn run(&self) -> Result<Said, ToolError> {
        let fail = |error| ToolError { line: self.line(), error: Some(error), said: None };
        let mut child = self
            .command()
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(fail)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // Written and read at once: a tool that talks before it has listened to the end must not wait for ever.
        let (out, err) = std::thread::scope(|threads| {
            let input = &self.input;
            threads.spawn(move || {
                // A tool that closed its stdin says why on stderr.
                let _ = stdin.map(|mut stdin| stdin.write_all(input));
            });
            let err = threads.spawn(move || words(stderr));
            (words(stdout), err.join().unwrap_or_default())
        });
        let code = child.wait().map_err(fail)?.code();
        Ok(Said { code, out, err })
    }

    /// Runs it; only an end with 0 is well.
    ///
    /// # Errors
    /// It could not be started, or ended otherwise.
    pub fn must(&self) -> Result<Said, ToolError> {
        let said = self.run()?;
        if said.well() {
            Ok(said)
        } else {
            Err(ToolError { line: self.line(), error: None, said: Some(said) })
        }
    }

    /// Starts it in a process group of its own (keys and hang-ups of our terminal do not reach it), with a pipe to its stdin.
    /// Whoever drops the [`Child`] closes the pipe.
    ///
    /// # Errors
    /// It could not be started.
    pub fn apart(&self) -> io::Result<Child> {
        self.command().stdin(Stdio::piped()).process_group(0).spawn()
    }

    fn command(&self) -> Command {
        let (program, arguments) = self
            .words
            .split_first()
            .map_or((OsStr::new(""), &[][..]), |(program, rest)| (program.as_os_str(), rest));
        #[allow(clippy::disallowed_methods)] // this is a place the ban points to
        let mut command = Command::new(program);
        command.args(arguments);
        // Its words are read by us and must not depend on who types.
        command.env("LC_ALL", "C");
        if let Some((user, group)) = self.identity {
            command.uid(user).gid(group).current_dir("/");
        }
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
        }
        command
    }
}

fn words(from: Option<impl Read>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut bytes = Vec::new();
    // What was said until an error is told.
    let _ = from.by_ref().take(WORDS_BYTES_MAX).read_to_end(&mut bytes);
    // The rest is read and forgotten: a full pipe would keep the tool from ending.
    let _ = io::copy(&mut from, &mut io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: input, both outputs and the exit code come through, however large the input is.
    #[test]
    fn what_a_tool_says_comes_back() {
        let said =
            Tool::new(["sh", "-c", "wc -c; echo no >&2; exit 3"]).input(vec![b'x'; 300_000]).run().unwrap();
        assert_eq!((said.code, said.out.trim(), said.err.as_str()), (Some(3), "300000", "no\n"));
        let error = Tool::new(["sh", "-c", "echo why >&2; exit 3"]).must().unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo why >&2; exit 3` ended with 3: why");
    }

    // Negative space: a tool that is not there is told by its command line; one that does not listen harms nobody.
    #[test]
    fn a_tool_that_is_not_there_is_told() {
        let error = Tool::new(["no-such-tool", "--help"]).run().unwrap_err();
        assert!(error.to_string().starts_with("cannot run `no-such-tool --help`: "), "{error}");
        assert!(Tool::new(["true"]).input(vec![b'x'; 300_000]).run().unwrap().well());
    }
}
