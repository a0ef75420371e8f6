//! The apps' logs: what their instances write, with time and instance.
//!
//! **Job.** Make lines of lines and hand them to the thread that writes files. **Called by** `keeper`. **Calls**
//! `host::telemetry`.
//!
//! A line: `2026-11-21T10:31:28.123Z 3 what it wrote`, in `DATA/logs/app-NAME.log`; a full one becomes `app-NAME.log.1`.
//!
//! Invariants
//! 1. Nothing waits for the disk: what it does not take in time is lost, counted, and told in the log.
//!
//! Not here: reading (`madang logs`), pipes (`host::process::output`).

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use madang_host::clock;
use madang_host::telemetry::rotate::Rotation;
use madang_host::telemetry::writer::{LogSender, Target};

/// Files are exchanged by size alone.
const AGE: Duration = Duration::from_secs(100 * 365 * 86_400);

/// See the module.
pub(super) struct Journal {
    folder: PathBuf,
    sender: RefCell<Option<LogSender>>,
    names: RefCell<Vec<Arc<str>>>,
    lost: Cell<u64>,
}

/// Lines on their way.
pub(super) struct Batch {
    app: Arc<str>,
    instance: u32,
    bytes: Vec<u8>,
}

impl Journal {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder, sender: RefCell::new(None), names: RefCell::new(Vec::new()), lost: Cell::new(0) }
    }

    /// Keeps so many bytes of each app from now on.
    pub(super) fn keep(&self, apps: Vec<(Arc<str>, u64)>) -> io::Result<()> {
        let target = |(name, keep): &(Arc<str>, u64)| {
            let rotation = Rotation { size: keep / 2, age: AGE, keep: 1, bytes_max: *keep };
            Target::File(self.folder.join(format!("app-{name}.log")), rotation)
        };
        let targets: Vec<Target> = apps.iter().map(target).collect();
        *self.names.borrow_mut() = apps.into_iter().map(|(name, _)| name).collect();
        if targets.is_empty() && self.sender.borrow().is_none() {
            return Ok(());
        }
        let mut sender = self.sender.borrow_mut();
        match &*sender {
            Some(sender) => drop(sender.retarget(targets)),
            None => *sender = Some(LogSender::start(targets)?),
        }
        Ok(())
    }

    pub(super) fn batch(&self, app: &Arc<str>, instance: u32) -> Batch {
        Batch { app: Arc::clone(app), instance, bytes: Vec::new() }
    }

    /// Hands the lines over.
    pub(super) fn write(&self, batch: &mut Batch) {
        let bytes = std::mem::take(&mut batch.bytes);
        if bytes.is_empty() {
            return;
        }
        let Some(at) = self.names.borrow().iter().position(|name| *name == batch.app) else { return };
        let sender = self.sender.borrow();
        let Some(sender) = &*sender else { return };
        let lost = self.lost.get();
        if lost > 0 {
            let told = format!(
                "{} - madang: {lost} batches of lines were lost here: the disk was too slow\n",
                time()
            );
            if sender.send(at, told.into_bytes()) {
                self.lost.set(0);
            }
        }
        if !sender.send(at, bytes) {
            self.lost.set(self.lost.get() + 1);
        }
    }
}

impl Batch {
    /// One more line.
    pub(super) fn add(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(format!("{} {} ", time(), self.instance).as_bytes());
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
    }
}

fn time() -> String {
    let now = jiff::Timestamp::try_from(clock::wall()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{now:.3}")
}
