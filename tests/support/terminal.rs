//! A program at a terminal of its own.
//!
//! **Job.** Open a pseudo-terminal, start a program on it, type, and read the screen as a terminal would show it.
//! **Called by** tests of programs for the terminal. **Calls** the kernel, vt100.
//!
//! Invariants
//! 1. Every wait ends at [`PATIENCE`] and shows the screen as it was.
//! 2. Dropping a [`Terminal`] ends its process, by number.
//!
//! Not here: programs that are spoken with over pipes (`spoken`).

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::PATIENCE;

/// What is on the screen.
struct Shown {
    screen: vt100::Parser,
    ended: bool,
}

/// A program and its terminal.
pub struct Terminal {
    child: Child,
    master: File,
    shown: Arc<(Mutex<Shown>, Condvar)>,
}

impl Terminal {
    /// Starts it on a terminal of this size.
    #[track_caller]
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, size(columns, rows)).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let open = || {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            std::process::Stdio::from(rustix::fs::open(&name, flags, Mode::empty()).unwrap())
        };
        // setsid(1) makes the terminal the program's own, so that Ctrl+C and a new size reach it as signals.
        let mut own = Command::new("setsid");
        own.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => own.env(key, value),
                None => own.env_remove(key),
            };
        }
        own.env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("COLUMNS")
            .env_remove("NO_COLOR");
        let child = own.stdin(open()).stdout(open()).stderr(open()).spawn().unwrap();
        let shown = Shown { screen: vt100::Parser::new(cells(rows), cells(columns), 500), ended: false };
        let shown = Arc::new((Mutex::new(shown), Condvar::new()));
        let kept = Arc::clone(&shown);
        let master = File::from(master);
        let mut reader = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            loop {
                // A terminal that nobody holds open any more is an error to read.
                let count = reader.read(&mut piece).unwrap_or(0);
                let mut shown = kept.0.lock().unwrap();
                shown.screen.process(&piece[..count]);
                shown.ended = count == 0;
                kept.1.notify_all();
                if count == 0 {
                    break;
                }
            }
        });
        Self { child, master, shown }
    }

    /// Types.
    #[track_caller]
    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// What the screen shows, a line each, without the space behind them.
    pub fn screen(&self) -> String {
        let shown = self.shown.0.lock().unwrap();
        let text = shown.screen.screen().contents();
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    /// Waits until the screen is so.
    #[track_caller]
    pub fn until(&self, what: &str, so: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut shown = self.shown.0.lock().unwrap();
        loop {
            let text = shown.screen.screen().contents();
            if so(&text) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !shown.ended, "no {what}; the screen:\n{text}");
            shown = self.shown.1.wait_timeout(shown, left).unwrap().0;
        }
    }

    /// Waits until the screen shows this.
    #[track_caller]
    pub fn until_shows(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    /// Waits for the program's end.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end; the screen:\n{}", self.screen());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
