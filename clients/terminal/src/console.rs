//! Standard input and output as two bounded queues.
//!
//! **Job.** Reading and writing here may block for ever (a terminal nobody types on, a pipe nobody reads): a thread does each,
//! and the rest waits for a line or for room. **Called by** `talk`. **Calls** `host::thread`.
//!
//! Invariants
//! 1. At most [`QUEUE_LINES`] lines wait in either direction: whoever is faster waits.
//! 2. A line is in hand until it is said that it was used: nobody who is interrupted loses one.
//!
//! Not here: what lines mean, a screen with windows.

use std::io::{self, IsTerminal, Read, Write};
use std::time::Duration;

use madang_host::thread;
use tokio::sync::{mpsc, oneshot};

use crate::lines::LineCutter;

/// Bytes of a line, in and out; longer ones become several.
pub(crate) const LINE_BYTES_MAX: usize = 8 * 1024;
const QUEUE_LINES: usize = 32;
/// How long the last lines may take to be written.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(2);

/// What comes from standard input.
pub(crate) struct Input {
    lines: mpsc::Receiver<Vec<u8>>,
    in_hand: Option<Vec<u8>>,
    /// Whether a person types.
    pub(crate) is_terminal: bool,
}

impl Input {
    /// Begins to read. Once: the thread reads until standard input ends.
    pub(crate) fn start() -> io::Result<Self> {
        let (send, lines) = mpsc::channel(QUEUE_LINES);
        thread::start("typed", move || {
            let mut cutter = LineCutter::new(LINE_BYTES_MAX);
            let mut piece = [0; 4096];
            let mut input = io::stdin().lock();
            loop {
                let cut = match input.read(&mut piece) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    // An input that cannot be read has ended.
                    Ok(0) | Err(_) => break,
                    Ok(count) => cutter.push(&piece[..count]),
                };
                for line in cut {
                    if send.blocking_send(line).is_err() {
                        return;
                    }
                }
            }
            if let Some(line) = cutter.finish() {
                // Nobody left to take it: the talk is over.
                let _ = send.blocking_send(line);
            }
        })?;
        Ok(Self { lines, in_hand: None, is_terminal: io::stdin().is_terminal() })
    }

    /// The next line, or `None` at the end. The same one until [`Input::used`]; may be dropped and asked again.
    pub(crate) async fn line(&mut self) -> Option<&[u8]> {
        if self.in_hand.is_none() {
            self.in_hand = self.lines.recv().await;
        }
        self.in_hand.as_deref()
    }

    /// The line in hand has gone where it should.
    pub(crate) fn used(&mut self) -> Option<Vec<u8>> {
        self.in_hand.take()
    }
}

/// What is shown: lines of others on standard output, what the program itself says on standard error.
pub(crate) struct Output {
    lines: mpsc::Sender<Shown>,
    written: oneshot::Receiver<()>,
    /// Whether a person looks at it.
    pub(crate) is_terminal: bool,
    /// Whether colours are wanted.
    pub(crate) colours: bool,
}

enum Shown {
    Line(String),
    Notice(String),
}

/// Nobody takes what is shown any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl Output {
    /// Begins to write.
    pub(crate) fn start() -> io::Result<Self> {
        let (lines, mut shown) = mpsc::channel(QUEUE_LINES);
        let (done, written) = oneshot::channel();
        thread::start("shown", move || {
            let mut out = io::stdout().lock();
            while let Some(next) = shown.blocking_recv() {
                let written = match next {
                    // Standard output gives a line out at its end, whatever it leads to.
                    Shown::Line(line) => writeln!(out, "{line}").and_then(|()| out.flush()),
                    // What cannot be said is no reason to end.
                    Shown::Notice(text) => {
                        let _ = writeln!(io::stderr(), "madang: {text}");
                        Ok(())
                    }
                };
                if written.is_err() {
                    break;
                }
            }
            // Whoever waited for it may have given up.
            let _ = done.send(());
        })?;
        let is_terminal = io::stdout().is_terminal();
        let colours = is_terminal && std::env::var_os("NO_COLOR").is_none();
        Ok(Self { lines, written, is_terminal, colours })
    }

    /// A line; waits for room.
    pub(crate) async fn line(&self, line: String) -> Result<(), Gone> {
        self.lines.send(Shown::Line(line)).await.map_err(|_| Gone)
    }

    /// A word of the program itself; waits for room.
    pub(crate) async fn notice(&self, text: impl Into<String>) -> Result<(), Gone> {
        self.lines.send(Shown::Notice(text.into())).await.map_err(|_| Gone)
    }

    /// Everything is written, or has had its time.
    pub(crate) async fn finish(self) {
        drop(self.lines);
        let _ = tokio::time::timeout(LAST_LINES_WITHIN, self.written).await;
    }
}
