//! What PostgreSQL does of the store's traits.
//!
//! **Job.** Check what is asked for, then put it into its lane or ask a reader. **Called by** [`crate::Store`].
//! **Calls** `log`, `kv`, `tables`.
//!
//! Not here: lanes and readers themselves.

use std::time::Duration;

use bytes::Bytes;

use super::kv::Kind;
use super::{Postgres, kv, log, tables};
use crate::answer::Answer;
use crate::error::StoreError;
use crate::kv::{self as key_value, Count, Held, KeyValue, Put, SCAN_MAX, When};
use crate::log::{
    Appended, Batch, Change, Entry, Found, History, Keep, Log, Position, Read, STREAMS_MAX, Search, StreamId,
    Trimmed, no_nul, within,
};
use crate::tables::{self as table, Changed, Migration, Row, Sql, Statement, Tables, Value};

impl Postgres {
    fn on<T>(
        &self,
        stream: &StreamId,
        bytes: usize,
        call: impl FnOnce(crate::answer::Reply<T>) -> super::Call,
    ) -> Answer<T> {
        self.call(stream.as_str(), bytes, call)
    }

    fn at<T>(
        &self,
        (namespace, key): (&str, &str),
        bytes: usize,
        checked: Result<(), StoreError>,
        call: impl FnOnce(crate::answer::Reply<T>) -> super::Call,
    ) -> Answer<T> {
        match key_value::check(namespace, key).and(checked) {
            Ok(()) => self.call(&kv::lock(namespace, key), bytes, call),
            Err(error) => Answer::refused(error),
        }
    }
}

impl Log for Postgres {
    fn append(&self, stream: &StreamId, batch: Batch) -> Answer<Appended> {
        if let Err(error) = batch.check() {
            return Answer::refused(error);
        }
        self.on(stream, batch.bytes(), |reply| log::append(stream, batch, reply))
    }

    fn open(&self, stream: &StreamId) -> Answer<Position> {
        self.on(stream, 0, |reply| log::open(stream, reply))
    }

    fn positions(&self, streams: Vec<StreamId>) -> Answer<Vec<Option<Position>>> {
        if let Err(error) = within("streams", streams.len(), STREAMS_MAX) {
            return Answer::refused(error);
        }
        self.ask(move |connected| Box::pin(log::positions(connected, streams.clone())))
    }

    fn read(&self, stream: &StreamId, read: Read) -> Answer<History> {
        let stream = stream.clone();
        self.ask(move |connected| Box::pin(log::read(connected, stream.clone(), read)))
    }

    fn offset_at(&self, stream: &StreamId, at_ms: u64) -> Answer<u64> {
        let stream = stream.clone();
        self.ask(move |connected| Box::pin(log::offset_at(connected, stream.clone(), at_ms)))
    }

    fn change(&self, stream: &StreamId, offset: u64, change: Change) -> Answer<Entry> {
        let bytes = match &change {
            Change::Remove => 0,
            Change::Edit(entry) => match entry.check() {
                Ok(()) => entry.bytes(),
                Err(error) => return Answer::refused(error),
            },
        };
        self.on(stream, bytes, |reply| log::change(stream, offset, change, reply))
    }

    fn trim(&self, stream: &StreamId, keep: Keep) -> Answer<Trimmed> {
        self.on(stream, 0, |reply| log::trim(stream, keep, reply))
    }

    fn remove(&self, stream: &StreamId) -> Answer<bool> {
        self.on(stream, 0, |reply| log::remove(stream, reply))
    }

    fn search(&self, search: Search) -> Answer<Vec<Found>> {
        let (parts, most) = match search.check() {
            Ok(checked) => checked,
            Err(error) => return Answer::refused(error),
        };
        self.ask(move |connected| {
            let (search, parts) = (search.clone(), parts.clone());
            Box::pin(async move {
                if parts.is_empty() {
                    return Ok(Vec::new());
                }
                log::search(connected, search, parts, most).await
            })
        })
    }

    fn streams(&self, prefix: &str, after: Option<&StreamId>) -> Answer<Vec<StreamId>> {
        if let Err(error) = no_nul(prefix) {
            return Answer::refused(error);
        }
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.ask(move |connected| Box::pin(log::streams(connected, prefix.clone(), after.clone())))
    }
}

impl KeyValue for Postgres {
    fn get(&self, namespace: &str, key: &str) -> Answer<Option<Held>> {
        if let Err(error) = key_value::check(namespace, key) {
            return Answer::refused(error);
        }
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.ask(move |connected| Box::pin(kv::get(connected, namespace.clone(), key.clone())))
    }

    fn put(
        &self,
        namespace: &str,
        key: &str,
        value: Bytes,
        when: When,
        lasts: Option<Duration>,
    ) -> Answer<Put> {
        let name = (namespace, key);
        self.at(name, value.len(), key_value::check_value(&value), |reply| {
            kv::write(name, Kind::Put(value), when, lasts, reply)
        })
    }

    fn delete(&self, namespace: &str, key: &str, when: When) -> Answer<Put> {
        let name = (namespace, key);
        self.at(name, 0, Ok(()), |reply| kv::write(name, Kind::Delete, when, None, reply))
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
        self.ask(move |connected| {
            Box::pin(kv::scan(connected, namespace.clone(), prefix.clone(), after.clone(), most))
        })
    }

    fn add(&self, namespace: &str, key: &str, more: i64, lasts: Option<Duration>) -> Answer<Count> {
        let name = (namespace, key);
        self.at(name, 0, Ok(()), |reply| kv::add(name, more, lasts, reply))
    }
}

impl Tables for Postgres {
    fn migrate(&self, owner: &'static str, migrations: &'static [Migration]) -> Answer<u32> {
        self.own(0, move |connected| tables::migrate(connected, owner, migrations))
    }

    fn read(&self, sql: Sql, values: Vec<Value>) -> Answer<Vec<Row>> {
        if let Err(error) = table::check_values(&values) {
            return Answer::refused(error);
        }
        self.ask(move |connected| Box::pin(tables::read(connected, sql, values.clone())))
    }

    fn write(&self, statements: Vec<Statement>) -> Answer<Vec<Changed>> {
        if let Err(error) = table::check(&statements) {
            return Answer::refused(error);
        }
        let bytes = statements.iter().flat_map(|statement| &statement.values).map(Value::bytes).sum();
        self.own(bytes, move |connected| tables::write(connected, statements))
    }
}
