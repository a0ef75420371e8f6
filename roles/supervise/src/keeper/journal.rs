//! The apps' logs: what their instances write, with time, instance, source and level.
//!
//! **Job.** Make lines of lines, keep the newest in memory, hand them to the thread that writes files. **Called by** `keeper`.
//! **Calls** `log`, `host::telemetry`.
//!
//! `DATA/logs/app-NAME.log` has them in the form of `log::line`; a full file becomes `app-NAME.log.1`.
//!
//! Invariants
//! 1. Nothing waits for the disk: what it does not take in time is lost, counted, and told in the log.
//! 2. Of each app at most [`MEMORY_BYTES_MAX`] are kept in memory: what can still be shown when the disk is full.
//! 3. Of each instance at most `log.rate` a second is kept; what is more is counted, and told in the log.
//!
//! Not here: reading (`madang logs`), pipes (`host::process::output`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::clock;
use madang_host::telemetry::rotate::Rotation;
use madang_host::telemetry::writer::{LogSender, Target};
use madang_wire::clean::clean;

use crate::config::AppSettings;
use crate::log::level::Level;
use crate::log::line::{Line, Source, write};
use crate::log::rate::{Rate, counted};
use crate::log::together::Together;

/// Files are exchanged by size alone.
const AGE: Duration = Duration::from_secs(100 * 365 * 86_400);
/// What of each app is kept in memory, in bytes.
const MEMORY_BYTES_MAX: usize = 256 * 1024;
/// How often it is told in the log that lines were dropped, while they are.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Journal {
    folder: PathBuf,
    sender: RefCell<Option<LogSender>>,
    apps: RefCell<Vec<Arc<AppSettings>>>,
    newest: RefCell<BTreeMap<Arc<str>, Newest>>,
    lost: Cell<u64>,
}

#[derive(Default)]
struct Newest {
    pieces: VecDeque<String>,
    bytes: usize,
}

/// Lines of an instance on their way.
pub(super) struct Batch {
    app: Arc<str>,
    instance: u32,
    text: String,
    out: Together,
    err: Together,
    rate: Rate,
    dropped: u64,
    told: Option<Instant>,
    /// Of the lines that are added now.
    time: String,
}

impl Journal {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            sender: RefCell::new(None),
            apps: RefCell::new(Vec::new()),
            newest: RefCell::new(BTreeMap::new()),
            lost: Cell::new(0),
        }
    }

    /// Keeps the logs of these apps from now on.
    pub(super) fn keep(&self, apps: Vec<Arc<AppSettings>>) -> io::Result<()> {
        let target = |app: &Arc<AppSettings>| {
            let files = u64::from(app.log_files);
            let keep = usize::try_from(app.log_files.saturating_sub(1)).unwrap_or(usize::MAX);
            let rotation =
                Rotation { size: app.log_keep / files.max(1), age: AGE, keep, bytes_max: app.log_keep };
            Target::File(self.folder.join(format!("app-{}.log", app.name)), rotation)
        };
        let targets: Vec<Target> = apps.iter().map(target).collect();
        self.newest.borrow_mut().retain(|name, _| apps.iter().any(|app| app.name == *name));
        *self.apps.borrow_mut() = apps;
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

    /// For the lines of one instance.
    pub(super) fn batch(&self, app: &Arc<str>, instance: u32) -> Batch {
        let rate =
            self.apps.borrow().iter().find(|have| have.name == *app).map_or(u64::MAX, |app| app.log_rate);
        Batch {
            app: Arc::clone(app),
            instance,
            text: String::new(),
            out: Together::default(),
            err: Together::default(),
            rate: Rate::new(rate),
            dropped: 0,
            told: None,
            time: String::new(),
        }
    }

    /// Hands the lines over.
    pub(super) fn write(&self, batch: &mut Batch) {
        batch.tell_dropped(false);
        let text = std::mem::take(&mut batch.text);
        if text.is_empty() {
            return;
        }
        let mut newest = self.newest.borrow_mut();
        let newest = newest.entry(Arc::clone(&batch.app)).or_default();
        newest.bytes += text.len();
        newest.pieces.push_back(text.clone());
        while newest.bytes > MEMORY_BYTES_MAX && newest.pieces.len() > 1 {
            newest.bytes -= newest.pieces.pop_front().map_or(0, |piece| piece.len());
        }
        let Some(at) = self.apps.borrow().iter().position(|app| app.name == batch.app) else { return };
        let sender = self.sender.borrow();
        let Some(sender) = &*sender else { return };
        let lost = self.lost.get();
        if lost > 0 {
            let said = format!("{} batches of lines were lost here: the disk was too slow", counted(lost));
            let mut told = String::new();
            write(&mut told, &ours(&time(), 0, &said));
            if sender.send(at, told.into_bytes()) {
                self.lost.set(0);
            }
        }
        if !sender.send(at, text.into_bytes()) {
            self.lost.set(self.lost.get() + 1);
        }
    }

    /// The newest lines of an app, and what keeps the disk from taking them if something does.
    pub(super) fn newest(&self, app: &str) -> (String, Option<String>) {
        let newest = self.newest.borrow();
        let text = newest.get(app).map(|newest| newest.pieces.iter().map(String::as_str).collect());
        let at = self.apps.borrow().iter().position(|have| *have.name == *app);
        let sender = self.sender.borrow();
        let trouble = at.and_then(|at| sender.as_ref()?.trouble(at));
        (text.unwrap_or_default(), trouble)
    }
}

impl Batch {
    /// Lines are added now.
    pub(super) fn tick(&mut self) {
        self.rate.tick(clock::now());
        self.time.clear();
    }

    /// One more line; gives it as text that is harmless.
    pub(super) fn add(&mut self, source: Source, line: &[u8]) -> Option<String> {
        if !self.rate.take(line.len() + 1) {
            return None;
        }
        if self.time.is_empty() {
            self.time = time();
        }
        let text = clean(line);
        let together = if source == Source::Err { &mut self.err } else { &mut self.out };
        let (level, goes_on) = together.see(&text);
        let line = Line { time: &self.time, instance: self.instance, source, level, goes_on, text: &text };
        write(&mut self.text, &line);
        Some(text)
    }

    /// Whether lines were dropped that nobody was told of.
    pub(super) fn has_dropped(&mut self) -> bool {
        self.dropped += self.rate.dropped();
        self.dropped > 0
    }

    /// Tells how many, at most once in [`TELL_EVERY`] unless it is `now` or never.
    pub(super) fn tell_dropped(&mut self, now: bool) {
        if !self.has_dropped() {
            return;
        }
        let at = clock::now();
        if !now && self.told.is_some_and(|told| at.saturating_duration_since(told) < TELL_EVERY) {
            return;
        }
        self.told = Some(at);
        let dropped = counted(std::mem::take(&mut self.dropped));
        let said = format!("{dropped} lines dropped: they came faster than log.rate allows");
        write(&mut self.text, &ours(&time(), self.instance, &said));
    }
}

/// A line of our own.
const fn ours<'a>(time: &'a str, instance: u32, text: &'a str) -> Line<'a> {
    Line { time, instance, source: Source::Log, level: Some(Level::Warn), goes_on: false, text }
}

pub(super) fn time() -> String {
    clock::rfc3339(clock::wall())
}
