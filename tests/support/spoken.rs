//! A program one speaks with over its standard input and output.
//!
//! **Job.** Start it with pipes, write lines, wait for lines, end it. **Called by** tests of programs for the terminal.
//! **Calls** the standard library.
//!
//! Invariants
//! 1. Every wait ends at [`PATIENCE`] and shows what had come instead.
//! 2. Dropping a [`Spoken`] ends its process, by number.
//!
//! Not here: programs that need a terminal (`terminal`).

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// What has come from one pipe.
#[derive(Clone, Default)]
struct Heard(Arc<Pipe>);

#[derive(Default)]
struct Pipe {
    /// The bytes, and whether no more will come.
    came: Mutex<(Vec<u8>, bool)>,
    more: Condvar,
}

impl Heard {
    fn listen(mut pipe: impl Read + Send + 'static) -> Self {
        let heard = Self::default();
        let kept = heard.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            loop {
                let count = pipe.read(&mut piece).unwrap_or(0);
                let mut all = kept.0.came.lock().unwrap();
                all.0.extend_from_slice(&piece[..count]);
                all.1 = count == 0;
                kept.0.more.notify_all();
                if count == 0 {
                    break;
                }
            }
        });
        heard
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.came.lock().unwrap().0).into_owned()
    }

    /// Waits until it is so, or nothing more comes.
    fn until(&self, so: impl Fn(&str) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut all = self.0.came.lock().unwrap();
        loop {
            if so(&String::from_utf8_lossy(&all.0)) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if all.1 || left.is_zero() {
                return false;
            }
            all = self.0.more.wait_timeout(all, left).unwrap().0;
        }
    }
}

/// A running program.
pub struct Spoken {
    child: Child,
    input: Option<ChildStdin>,
    out: Heard,
    errors: Heard,
}

impl Spoken {
    /// Starts it.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = Heard::listen(child.stdout.take().unwrap());
        let errors = Heard::listen(child.stderr.take().unwrap());
        let input = child.stdin.take();
        Self { child, input, out, errors }
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn says(&mut self, bytes: impl AsRef<[u8]>) {
        self.input.as_mut().unwrap().write_all(bytes.as_ref()).unwrap();
    }

    /// Its standard input, to write to from elsewhere.
    pub fn input(&mut self) -> ChildStdin {
        self.input.take().unwrap()
    }

    /// Its standard input ends.
    pub fn says_no_more(&mut self) {
        self.input = None;
    }

    /// Waits for this on its standard output.
    #[track_caller]
    pub fn until_wrote(&self, text: &str) {
        let came = self.out.until(|all| all.contains(text));
        assert!(came, "no {text:?}; wrote {:?}, said {:?}", self.wrote(), self.said());
    }

    /// Waits for this on its standard error, where the program speaks of itself.
    #[track_caller]
    pub fn until_said(&self, text: &str) {
        let came = self.errors.until(|all| all.contains(text));
        assert!(came, "no {text:?}; wrote {:?}, said {:?}", self.wrote(), self.said());
    }

    /// Its standard output so far.
    pub fn wrote(&self) -> String {
        self.out.text()
    }

    /// Its standard error so far.
    pub fn said(&self) -> String {
        self.errors.text()
    }

    /// What follows this on standard error, up to the next space or line end.
    #[track_caller]
    pub fn word_after(&self, text: &str) -> String {
        let whole = |all: &str| {
            let (_, rest) = all.split_once(text)?;
            rest.find([' ', ';', '\n']).map(|end| rest[..end].to_owned())
        };
        self.errors.until(|all| whole(all).is_some());
        whole(&self.said()).unwrap_or_else(|| panic!("no {text:?} in {:?}", self.said()))
    }

    /// Its number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits for its end and for the last of what it wrote; gives the exit code.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        // Both pipes end when it does: then waiting is for nothing.
        let closed = self.out.until(|_| false) || self.errors.until(|_| false);
        assert!(!closed);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it did not end; wrote {:?}, said {:?}",
                self.wrote(),
                self.said()
            );
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Spoken {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
