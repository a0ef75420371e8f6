//! The one thread that writes.
//!
//! **Job.** Group commit: do everything that waits in one transaction, sync once, then answer everyone.
//! **Fed by** `sqlite` through a line. **Calls** the operations in `log`, `kv`, `tables`.
//!
//! While one group is being synced the next one gathers in the line: a lonely write waits for nobody, and under load a
//! sync is shared by as many as came during the one before.
//!
//! Invariants
//! 1. An answer is given after the commit that holds its writes, never before.
//! 2. A group that fails is undone whole, everyone in it is told, and the next one begins anew.
//! 3. No group is larger than [`GROUP_MAX`], [`GROUP_BYTES_MAX`] or [`GROUP_TIME`] of gathering.
//!
//! Not here: reading (`readers`).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use madang_host::clock;
use rusqlite::Connection;

use super::fault::{self, Stop};
use super::line::{Line, Taken};
use super::seen::Seen;
use super::tail::{Intake, Tail};
use super::{log, schema, settle, upkeep};
use crate::answer::Reply;
use crate::error::StoreError;
use crate::log::StreamId;
use crate::metrics::Numbers;

/// Operations in one transaction.
const GROUP_MAX: usize = 1000;
/// Their bytes.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// After this time no more are taken into a group.
const GROUP_TIME: Duration = Duration::from_millis(2);
/// After a group of so many more are expected.
const CROWD: usize = 4;
/// How often expired values and old keys are swept.
const UPKEEP_EVERY: Duration = Duration::from_secs(30);
/// How often the journal is emptied at most: readers may be in the way, and it costs syncs.
const SCRUB_AGAIN: Duration = Duration::from_secs(1);
/// Streams whose position is kept in memory.
const STREAMS_KEPT_MAX: usize = 10_000;

/// What operations write with.
pub(super) struct Desk {
    pub(super) connection: Connection,
    /// The group's time, in milliseconds since 1970.
    pub(super) now_ms: u64,
    /// Streams as they are after the operations so far.
    pub(super) streams: HashMap<StreamId, log::Stream>,
    /// Those whose row must be written before the commit.
    pub(super) touched: Vec<StreamId>,
    /// The last version given to a value; written before the commit if it has moved.
    pub(super) version: u64,
    pub(super) version_written: u64,
    /// Something was redacted: the journal must be emptied.
    pub(super) scrub: bool,
    /// The end of the log.
    pub(super) intake: Intake,
    /// Which keys may be in their place.
    pub(super) seen: Seen,
    /// The database's limit.
    pub(super) pages_max: Option<i64>,
    /// The limit is lifted a little for this group.
    pub(super) slack: bool,
}

/// An operation that waits for the writer.
pub(super) trait Job: Send {
    /// Writes. An error undoes the whole group.
    fn run(&mut self, desk: &mut Desk) -> Result<(), StoreError>;
    /// Tells the caller, after the commit or after a fault.
    fn answer(self: Box<Self>, fault: Option<&StoreError>);
}

/// An operation made of a function.
pub(super) struct Op<T, F> {
    work: Option<F>,
    done: Option<Result<T, StoreError>>,
    reply: Reply<T>,
}

impl<T, F: FnOnce(&mut Desk) -> Result<T, Stop>> Op<T, F> {
    pub(super) fn new(reply: Reply<T>, work: F) -> Self {
        Self { work: Some(work), done: None, reply }
    }
}

impl<T: Send, F: FnOnce(&mut Desk) -> Result<T, Stop> + Send> Job for Op<T, F> {
    fn run(&mut self, desk: &mut Desk) -> Result<(), StoreError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        match work(desk) {
            Ok(value) => self.done = Some(Ok(value)),
            Err(Stop::Refused(error)) => self.done = Some(Err(error)),
            Err(Stop::Fault(error)) => return Err(error),
        }
        Ok(())
    }

    fn answer(self: Box<Self>, fault: Option<&StoreError>) {
        let told = match (self.done, fault) {
            // What was refused would have been refused without the fault, too.
            (Some(Err(refused)), _) => Err(refused),
            (_, Some(fault)) => Err(fault.clone()),
            (Some(done), None) => done,
            (None, None) => Err(StoreError::Closed),
        };
        // The caller may have gone; what it asked for is done all the same.
        let _ = self.reply.send(told);
    }
}

/// The thread's own state.
pub(super) struct Writer {
    desk: Desk,
    path: PathBuf,
    bytes_max: Option<u64>,
    line: Arc<Line<Box<dyn Job>>>,
    numbers: Arc<Numbers>,
    /// The disk failed under the connection.
    reopen: bool,
    /// The end of the log could not be put into its place: not tried again before the next group.
    settling_failed: bool,
    /// Operations of the group before.
    last_group: usize,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        path: PathBuf,
        bytes_max: Option<u64>,
        line: Arc<Line<Box<dyn Job>>>,
        numbers: Arc<Numbers>,
        tail: Arc<Tail>,
    ) -> Result<Self, StoreError> {
        let desk = Desk::new(connection, bytes_max, tail)?;
        Ok(Self {
            desk,
            path,
            bytes_max,
            line,
            numbers,
            reopen: false,
            settling_failed: false,
            last_group: 0,
        })
    }

    /// Works until the line is closed and empty.
    pub(super) fn run(mut self) {
        let (mut upkeep_at, mut scrub_at) = (clock::now() + UPKEEP_EVERY, clock::now());
        loop {
            let patience = upkeep_at.saturating_duration_since(clock::now());
            let patience = if self.desk.scrub { patience.min(SCRUB_AGAIN) } else { patience };
            let patience = if self.unsettled() { patience.min(settle::IDLE) } else { patience };
            match self.line.take(GROUP_MAX, GROUP_BYTES_MAX, patience) {
                Taken::Jobs(jobs) => self.group(jobs),
                Taken::Nothing if self.unsettled() => self.settle(),
                Taken::Nothing => {}
                Taken::Closed => break,
            }
            if clock::now() >= upkeep_at && !self.reopen {
                upkeep_at = clock::now() + UPKEEP_EVERY;
                self.upkeep();
            }
            if self.desk.scrub && clock::now() >= scrub_at {
                self.settle();
                self.desk.scrub = !upkeep::empty_journal(&self.desk.connection);
                scrub_at = clock::now() + SCRUB_AGAIN;
            }
        }
        self.settle();
    }

    /// Whether something should be put into its place, and can be.
    fn unsettled(&self) -> bool {
        !self.desk.intake.is_settled() && !self.reopen && !self.settling_failed
    }

    /// Puts everything into its place, piece by piece. Nobody waits for it: what cannot be done now is tried again with the next group.
    fn settle(&mut self) {
        while self.unsettled() {
            let settled = self.begin().and_then(|()| {
                let some = settle::some(&mut self.desk, settle::MOVED_MAX);
                let moved = some.map_err(|error| fault::meaning(&error))?;
                self.end("COMMIT").map(|()| moved)
            });
            self.desk.take_slack();
            match settled {
                Ok(moved) => {
                    self.desk.intake.committed();
                    // Nothing moved and something left: not to be tried for ever.
                    self.settling_failed = moved == 0 && !self.desk.intake.is_settled();
                }
                Err(_) => {
                    self.settling_failed = true;
                    self.numbers.faults.add(1);
                    self.forget();
                }
            }
        }
    }

    fn group(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let begun = clock::now();
        let told = self.commit(&mut jobs);
        self.desk.take_slack();
        self.settling_failed = false;
        match told {
            Ok(()) => self.desk.intake.committed(),
            Err(_) => {
                self.numbers.faults.add(1);
                self.forget();
            }
        }
        self.last_group = jobs.len();
        self.numbers.group(jobs.len(), begun.elapsed());
        // The last one first: who awaits them in their order is woken once, when all of them are there.
        for job in jobs.into_iter().rev() {
            job.answer(told.as_ref().err());
        }
    }

    /// Does the jobs, and those that come meanwhile, in one transaction.
    fn commit(&mut self, jobs: &mut Vec<Box<dyn Job>>) -> Result<(), StoreError> {
        if self.reopen {
            let connection = schema::open(&self.path, self.bytes_max)?;
            self.desk = Desk::new(connection, self.bytes_max, Arc::clone(&self.desk.intake.tail))?;
            self.reopen = false;
        }
        let begun = clock::now();
        self.desk.now_ms = super::now_ms();
        self.begin()?;
        let turned = self.desk.seen.turn(&self.desk.connection, log::day(self.desk.now_ms));
        turned.map_err(|error| fault::meaning(&error))?;
        let mut next = 0;
        // Whoever handed in the first of many was put off this core by our waking: it hands in the rest before it costs two commits.
        let mut waits = self.last_group >= CROWD;
        loop {
            while let Some(job) = jobs.get_mut(next) {
                job.run(&mut self.desk)?;
                next += 1;
            }
            if jobs.len() >= GROUP_MAX || begun.elapsed() >= GROUP_TIME {
                break;
            }
            match self.line.take(GROUP_MAX - jobs.len(), GROUP_BYTES_MAX, Duration::ZERO) {
                Taken::Jobs(more) => jobs.extend(more),
                Taken::Nothing if std::mem::take(&mut waits) => std::thread::yield_now(),
                Taken::Nothing | Taken::Closed => break,
            }
        }
        let written = self.desk.flush();
        written.map_err(|error| fault::meaning(&error))?;
        self.end("COMMIT")
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        let begun =
            self.desk.connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]));
        begun.map(drop).map_err(|error| {
            self.reopen |= fault::is_of_the_disk(&error);
            fault::meaning(&error)
        })
    }

    fn end(&mut self, how: &str) -> Result<(), StoreError> {
        let ended = self.desk.connection.prepare_cached(how).and_then(|mut commit| commit.execute([]));
        ended.map(drop).map_err(|error| {
            self.reopen |= fault::is_of_the_disk(&error);
            fault::of_commit(&error)
        })
    }

    /// After a fault: undoes the group, and forgets what was only in memory.
    fn forget(&mut self) {
        if !self.desk.connection.is_autocommit() && self.end("ROLLBACK").is_err() {
            self.reopen = true;
        }
        self.desk.streams.clear();
        self.desk.touched.clear();
        self.desk.intake.undone();
        self.desk.version = self.desk.version_written;
    }

    fn upkeep(&mut self) {
        self.desk.now_ms = super::now_ms();
        // What could not be swept is swept the next time; a disk that fails is told to the next caller.
        if upkeep::sweep(&self.desk).is_err() {
            self.forget();
        }
    }
}

impl Desk {
    fn new(connection: Connection, bytes_max: Option<u64>, tail: Arc<Tail>) -> Result<Self, StoreError> {
        let version = "SELECT value FROM madang_meta WHERE name = 'version'";
        let version = connection.query_row(version, [], |row| row.get(0));
        let version = super::uint(version.map_err(|error| fault::meaning(&error))?);
        Ok(Self {
            intake: Intake::load(tail, &connection)?,
            seen: Seen::default(),
            pages_max: bytes_max.map(schema::pages),
            slack: false,
            connection,
            now_ms: 0,
            streams: HashMap::new(),
            touched: Vec::new(),
            version,
            version_written: version,
            scrub: false,
        })
    }

    /// Writes what operations of a group only counted up.
    fn flush(&mut self) -> rusqlite::Result<()> {
        if self.intake.is_full() {
            settle::some(self, settle::MOVED_MAX)?;
        }
        self.intake.put(&self.connection)?;
        for stream in std::mem::take(&mut self.touched) {
            if let Some(known) = self.streams.get_mut(&stream) {
                known.write(&self.connection)?;
            }
        }
        if self.version != self.version_written {
            let sql = "UPDATE madang_meta SET value = ?1 WHERE name = 'version'";
            self.connection.prepare_cached(sql)?.execute([super::int(self.version)])?;
            self.version_written = self.version;
        }
        if self.streams.len() > STREAMS_KEPT_MAX {
            self.streams.clear();
        }
        Ok(())
    }
}
