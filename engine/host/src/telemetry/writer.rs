//! The one thread that writes logs.
//!
//! **Job.** Take finished lines from workers through a bounded channel and put them into files or a standard stream.
//! **Called by** `access` buffers and `error_log`. **Calls** `rotate`.
//!
//! Invariants
//! 1. Sending never waits: a full channel refuses, and the sender counts what it dropped.
//! 2. A failing disk is told once a minute on standard error, and tried again with the next lines.
//!
//! Not here: forms of lines.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::rotate::{RotatingFile, Rotation};
use crate::clock;

/// Batches that may wait: at 32 KiB each, 8 MiB.
const BATCHES_MAX: usize = 256;
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Where lines of one log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file that rotates.
    File(PathBuf, Rotation),
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere: the log is off.
    Off,
}

enum Message {
    Lines(usize, Vec<u8>),
    Targets(Vec<Target>),
    Reopen,
    Flush(SyncSender<()>),
}

/// The sending end; cheap to clone.
#[derive(Clone)]
pub struct LogSender {
    channel: SyncSender<Message>,
    troubles: Troubles,
}

/// Why logs are not written, by their places; those that are have none.
type Troubles = Arc<Mutex<BTreeMap<usize, String>>>;

impl LogSender {
    /// Opens the files and starts the thread. A log is known by its place in `targets`.
    ///
    /// # Errors
    /// A file that cannot be opened, with its path.
    pub fn start(targets: Vec<Target>) -> io::Result<Self> {
        let mut logs = fresh(targets);
        for log in &mut logs {
            log.open()?;
        }
        let (channel, inbox) = sync_channel(BATCHES_MAX);
        let troubles = Troubles::default();
        let tells = Arc::clone(&troubles);
        #[allow(clippy::disallowed_methods)] // a thread of `host`, with a name
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || run(&inbox, logs, &tells))?;
        Ok(Self { channel, troubles })
    }

    /// Hands over whole lines. False: they were dropped.
    pub fn send(&self, log: usize, lines: Vec<u8>) -> bool {
        self.channel.try_send(Message::Lines(log, lines)).is_ok()
    }

    /// What keeps the newest lines of a log from being written, if anything does.
    pub fn trouble(&self, log: usize) -> Option<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).get(&log).cloned()
    }

    /// New targets from a reload.
    pub fn retarget(&self, targets: Vec<Target>) -> bool {
        self.channel.try_send(Message::Targets(targets)).is_ok()
    }

    /// Opens every file anew (after somebody else's rotation).
    pub fn reopen(&self) -> bool {
        self.channel.try_send(Message::Reopen).is_ok()
    }

    /// Waits until everything sent before is written, at most `limit`.
    pub fn flush(&self, limit: Duration) {
        let (done, wait) = sync_channel(1);
        if self.channel.try_send(Message::Flush(done)).is_ok() {
            // Too late is too late: the process must be able to end on a dead disk.
            let _ = wait.recv_timeout(limit);
        }
    }
}

struct Log {
    target: Target,
    file: Option<RotatingFile>,
    told: Option<Instant>,
    /// The last lines were not written.
    troubled: bool,
}

fn fresh(targets: Vec<Target>) -> Vec<Log> {
    targets.into_iter().map(|target| Log { target, file: None, told: None, troubled: false }).collect()
}

fn run(inbox: &Receiver<Message>, mut logs: Vec<Log>, troubles: &Troubles) {
    let troubles = || troubles.lock().unwrap_or_else(PoisonError::into_inner);
    while let Ok(message) = inbox.recv() {
        match message {
            Message::Lines(at, lines) => {
                let Some(log) = logs.get_mut(at) else { continue };
                match log.write(&lines) {
                    Err(error) => {
                        log.complain(&error);
                        log.troubled = true;
                        troubles().insert(at, error.to_string());
                    }
                    Ok(()) if std::mem::take(&mut log.troubled) => drop(troubles().remove(&at)),
                    Ok(()) => {}
                }
            }
            Message::Targets(targets) => {
                troubles().clear();
                logs = fresh(targets);
                logs.iter_mut().for_each(Log::open_anew);
            }
            Message::Reopen => logs.iter_mut().for_each(Log::open_anew),
            // The asker may have given up waiting.
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

impl Log {
    fn open(&mut self) -> io::Result<()> {
        if let Target::File(path, rotation) = &self.target {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot open the log {}: {error}", path.display()))
            };
            self.file = Some(RotatingFile::open(path, *rotation, clock::now()).map_err(named)?);
        }
        Ok(())
    }

    /// What cannot be opened is tried again with the next lines.
    fn open_anew(&mut self) {
        self.file = None;
        if let Err(error) = self.open() {
            self.complain(&error);
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match &self.target {
            Target::Stdout => io::stdout().lock().write_all(lines),
            Target::Stderr => io::stderr().lock().write_all(lines),
            Target::Off => Ok(()),
            Target::File(path, rotation) => {
                let now = clock::now();
                let file = match &mut self.file {
                    Some(file) => file,
                    None => self.file.insert(RotatingFile::open(path, *rotation, now)?),
                };
                file.append(lines, now)
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        let now = clock::now();
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            return;
        }
        self.told = Some(now);
        if let Target::File(path, _) = &self.target {
            // Where else could it be told? A closed standard error loses it.
            let _ = writeln!(
                io::stderr(),
                "madang: cannot write the log {}: {error}; lines are lost until it can be",
                path.display()
            );
        }
    }
}
