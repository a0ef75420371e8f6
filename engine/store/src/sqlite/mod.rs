//! The store in one SQLite file, for one machine.
//!
//! **Job.** Put each operation into the line of the writer or of the readers; start and end their threads.
//! **Called by** [`crate::Store`]. **Calls** its parts.
//!
//! Invariants
//! 1. No caller is ever blocked: the lines are bounded and refuse at once.
//! 2. What was answered as written is seen by every later question.
//!
//! Not here: how groups are committed (`writer`), what operations do (`log`, `search`, `kv`, `tables`).

pub(crate) mod fault;
mod history;
mod kv;
mod line;
pub(crate) mod log;
mod readers;
pub(crate) mod schema;
mod search;
mod seen;
mod settle;
pub(crate) mod tables;
pub(crate) mod tail;
mod upkeep;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use madang_host::telemetry::metrics::{Durations, Gauge};
use madang_host::{clock, thread};
use rusqlite::Connection;

use self::fault::Stop;
use self::line::Line;
use self::readers::Question;
use self::tail::Tail;
use self::writer::{Desk, Job, Op, Writer};
use crate::answer::Answer;
use crate::error::StoreError;
use crate::kv::{self as key_value, Count, Held, KeyValue, Put, SCAN_MAX, When};
use crate::log::{
    Appended, Batch, Change, Entry, Found, History, Keep, Log, Position, Read, STREAMS_MAX, Search, StreamId,
    Trimmed, no_nul, within,
};
use crate::metrics::Numbers;
use crate::number::{int, new_epoch, uint};
use crate::tables::{self as table, Changed, Migration, Row, Sql, Statement, Tables, Value};

/// Writes that may wait.
const WRITES_MAX: usize = 20_000;
/// Their bytes.
const WRITES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Questions that may wait.
const READS_MAX: usize = 10_000;
/// Threads that read: questions are short, and a long search must not hold up the others.
const READERS: usize = 3;

/// A running store over one file.
pub(crate) struct Sqlite {
    writes: Arc<Line<Box<dyn Job>>>,
    reads: Arc<Line<Question>>,
    numbers: Arc<Numbers>,
    tail: Arc<Tail>,
    /// The readers, then the writer.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Sqlite {
    /// Opens the file, making it if there is none, and starts the threads.
    pub(crate) fn open(path: &Path, bytes_max: Option<u64>) -> Result<Self, StoreError> {
        let numbers = Arc::new(Numbers::default());
        let writes: Arc<Line<Box<dyn Job>>> = Arc::new(Line::new(WRITES_MAX, WRITES_BYTES_MAX));
        let reads: Arc<Line<Question>> = Arc::new(Line::new(READS_MAX, usize::MAX));
        let connection = schema::open(path, bytes_max)?;
        let tail: Arc<Tail> = Arc::default();
        let (line, count) = (Arc::clone(&writes), Arc::clone(&numbers));
        let writer = Writer::new(connection, path.to_owned(), bytes_max, line, count, Arc::clone(&tail))?;
        let store = Self { writes, reads, numbers, tail, threads: Mutex::default() };
        let mut threads = Vec::new();
        for number in 0..READERS {
            let (connection, line) = (schema::open_reader(path)?, Arc::clone(&store.reads));
            threads.push(start(&format!("store-read-{number}"), move || readers::run(connection, &line))?);
        }
        threads.push(start("store-write", move || writer.run())?);
        *store.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        Ok(store)
    }

    /// Does what waits, then ends the threads and closes the file.
    pub(crate) fn close(&self) {
        let mut threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let writer = threads.pop();
        // A thread that panicked has nothing left to tell.
        self.reads.close();
        threads.into_iter().for_each(|reader| drop(reader.join()));
        // The last one to leave writes the journal back into the file, and readers cannot.
        self.writes.close();
        drop(writer.map(JoinHandle::join));
    }

    pub(crate) fn metrics(&self) -> (Vec<Gauge>, Vec<Durations>) {
        self.numbers.shown(self.writes.len(), self.reads.len())
    }

    fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut Desk) -> Result<T, Stop> + Send + 'static,
    ) -> Answer<T> {
        let (reply, answer) = Answer::later();
        match self.writes.put(Box::new(Op::new(reply, work)), bytes) {
            Ok(()) => answer,
            Err((_, error)) => self.refuse(error),
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<T> {
        let (reply, answer) = Answer::later();
        match self.reads.put(readers::question(reply, work), 0) {
            Ok(()) => answer,
            Err((_, error)) => self.refuse(error),
        }
    }

    fn refuse<T>(&self, error: StoreError) -> Answer<T> {
        self.numbers.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Answer::refused(error)
    }

    /// A question about SQL of ours.
    fn query<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<T> {
        self.ask(move |connection| work(connection).map_err(|error| readers::meaning(&error)))
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // What waits is still done; the threads end by themselves.
        self.writes.close();
        self.reads.close();
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    thread::start(name, work)
        .map_err(|error| StoreError::Failed { why: format!("cannot start a thread: {error}") })
}

impl Log for Sqlite {
    fn append(&self, stream: &StreamId, batch: Batch) -> Answer<Appended> {
        if let Err(error) = batch.check() {
            return Answer::refused(error);
        }
        let stream = stream.clone();
        self.write(batch.bytes(), move |desk| log::append(desk, &stream, &batch))
    }

    fn open(&self, stream: &StreamId) -> Answer<Position> {
        let stream = stream.clone();
        self.write(0, move |desk| log::open(desk, &stream))
    }

    fn positions(&self, streams: Vec<StreamId>) -> Answer<Vec<Option<Position>>> {
        if let Err(error) = within("streams", streams.len(), STREAMS_MAX) {
            return Answer::refused(error);
        }
        let tail = Arc::clone(&self.tail);
        self.query(move |connection| history::positions(connection, &tail, &streams))
    }

    fn read(&self, stream: &StreamId, read: Read) -> Answer<History> {
        let (stream, tail) = (stream.clone(), Arc::clone(&self.tail));
        self.query(move |connection| history::read(connection, &tail, &stream, read))
    }

    fn offset_at(&self, stream: &StreamId, at_ms: u64) -> Answer<u64> {
        let (stream, tail) = (stream.clone(), Arc::clone(&self.tail));
        self.ask(move |connection| {
            let found = history::offset_at(connection, &tail, &stream, at_ms)
                .map_err(|error| readers::meaning(&error))?;
            found.ok_or_else(|| StoreError::Missing { stream: stream.as_str().to_owned(), offset: 0 })
        })
    }

    fn change(&self, stream: &StreamId, offset: u64, change: Change) -> Answer<Entry> {
        if let Change::Edit(entry) = &change
            && let Err(error) = entry.check()
        {
            return Answer::refused(error);
        }
        let (stream, bytes) =
            (stream.clone(), if let Change::Edit(entry) = &change { entry.bytes() } else { 0 });
        self.write(bytes, move |desk| log::change(desk, &stream, offset, &change))
    }

    fn trim(&self, stream: &StreamId, keep: Keep) -> Answer<Trimmed> {
        let stream = stream.clone();
        self.write(0, move |desk| log::trim(desk, &stream, keep))
    }

    fn remove(&self, stream: &StreamId) -> Answer<bool> {
        let stream = stream.clone();
        self.write(0, move |desk| log::remove(desk, &stream))
    }

    fn search(&self, mut search: Search) -> Answer<Vec<Found>> {
        let (parts, most) = match search.check() {
            Ok(checked) => checked,
            Err(error) => return Answer::refused(error),
        };
        search::once(&mut search.streams);
        let tail = Arc::clone(&self.tail);
        self.query(move |connection| match parts.is_empty() {
            true => Ok(Vec::new()),
            false => search::search(connection, &tail, &search, &parts, most),
        })
    }

    fn streams(&self, prefix: &str, after: Option<&StreamId>) -> Answer<Vec<StreamId>> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.query(move |connection| history::streams(connection, &prefix, after.as_ref(), STREAMS_MAX))
    }
}

impl KeyValue for Sqlite {
    fn get(&self, namespace: &str, key: &str) -> Answer<Option<Held>> {
        if let Err(error) = key_value::check(namespace, key) {
            return Answer::refused(error);
        }
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.query(move |connection| kv::get(connection, &namespace, &key, now_ms()))
    }

    fn put(
        &self,
        namespace: &str,
        key: &str,
        value: Bytes,
        when: When,
        lasts: Option<Duration>,
    ) -> Answer<Put> {
        if let Err(error) = key_value::check(namespace, key).and_then(|()| key_value::check_value(&value)) {
            return Answer::refused(error);
        }
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.write(value.len(), move |desk| kv::put(desk, &namespace, &key, &value, when, lasts))
    }

    fn delete(&self, namespace: &str, key: &str, when: When) -> Answer<Put> {
        if let Err(error) = key_value::check(namespace, key) {
            return Answer::refused(error);
        }
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.write(0, move |desk| kv::delete(desk, &namespace, &key, when))
    }

    fn scan(
        &self,
        namespace: &str,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Answer<Vec<(String, Held)>> {
        let checked = key_value::check(namespace, prefix).and_then(|()| no_nul(after.unwrap_or_default()));
        if let Err(error) = checked {
            return Answer::refused(error);
        }
        let (namespace, prefix) = (namespace.to_owned(), prefix.to_owned());
        let (after, most) = (after.map(str::to_owned), most.min(SCAN_MAX));
        self.query(move |connection| {
            kv::scan(connection, &namespace, &prefix, after.as_deref(), most, now_ms())
        })
    }

    fn add(&self, namespace: &str, key: &str, more: i64, lasts: Option<Duration>) -> Answer<Count> {
        if let Err(error) = key_value::check(namespace, key) {
            return Answer::refused(error);
        }
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.write(0, move |desk| kv::add(desk, &namespace, &key, more, lasts))
    }
}

impl Tables for Sqlite {
    fn migrate(&self, owner: &'static str, migrations: &'static [Migration]) -> Answer<u32> {
        self.write(0, move |desk| tables::migrate(desk, owner, migrations))
    }

    fn read(&self, sql: Sql, values: Vec<Value>) -> Answer<Vec<Row>> {
        if let Err(error) = table::check_values(&values) {
            return Answer::refused(error);
        }
        self.ask(move |connection| tables::read(connection, sql.sqlite, &values))
    }

    fn write(&self, statements: Vec<Statement>) -> Answer<Vec<Changed>> {
        if let Err(error) = table::check(&statements) {
            return Answer::refused(error);
        }
        let bytes = statements.iter().flat_map(|statement| &statement.values).map(Value::bytes).sum();
        self.write(bytes, move |desk| tables::write(desk, &statements))
    }
}

/// The time of day, in milliseconds since 1970.
fn now_ms() -> u64 {
    let since = clock::wall().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
