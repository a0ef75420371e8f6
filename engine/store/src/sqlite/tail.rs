//! The end of the log: what was appended and is not in its place yet.
//!
//! **Job.** Keep it in memory for readers and for the writer, and in one row for each commit on disk. **Called by** `log`, `settle`,
//! `writer` (changes it), `history`, `search` (look into it), `backup`.
//!
//! An entry's place is among the entries of its stream, its key's place among keys, its words' place in the search index: each on
//! a page of its own. A commit that wrote them all there would write three or four pages for each message. So a commit writes one
//! row with everything it appended; later many entries of one stream are put into their places at once ([`super::settle`]).
//!
//! Invariants
//! 1. What is shown here is committed, and follows what `madang_stream` says is in its place, without a gap.
//! 2. A row of `madang_tail` stays until everything in it is in its place.
//! 3. It is bounded: [`ENTRIES_MAX`] and [`BYTES_MAX`], and what one group adds.
//!
//! Not here: putting things into their places (`settle`).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::{Buf, BufMut, Bytes, TryGetError};
use rusqlite::Connection;

use super::log::Stream;
use super::uint;
use crate::error::StoreError;
use crate::log::{Batch, Entry, Position, StreamId};

/// Above so many entries the oldest are put into their places.
pub(super) const ENTRIES_MAX: usize = 4096;
/// The same in bytes.
pub(super) const BYTES_MAX: usize = 2 * 1024 * 1024;
/// Larger appends go to their places at once: they fill pages of their own.
pub(super) const APPEND_BYTES_MAX: usize = 4096;
/// The same in entries.
pub(super) const APPEND_ENTRIES_MAX: usize = 16;

/// A key of an append, as it is kept.
pub(super) type KeyBytes = [u8; 16];

/// One append's key: when it was given, and how many entries it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) key: KeyBytes,
    pub(crate) day: u64,
    pub(crate) count: u64,
}

/// Where an append is whose key is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// The offset of its first entry.
    pub(super) first: u64,
    /// How many entries.
    pub(super) count: u64,
    /// The time they got, in milliseconds since 1970. `None`: they are not kept any more.
    pub(super) at_ms: Option<u64>,
}

/// An entry that is not in its place.
#[derive(Debug, Clone)]
pub(crate) struct Fresh {
    pub(crate) entry: Arc<Entry>,
    /// The key of the append that begins with it.
    pub(crate) sent: Option<Sent>,
    /// The row of `madang_tail` that holds it.
    pub(super) row: i64,
}

/// The end of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Recent {
    pub(crate) number: i64,
    /// How far the stream goes.
    pub(crate) position: Position,
    /// The offset behind what is in its place: what `madang_stream` says.
    settled: u64,
    pub(crate) entries: VecDeque<Fresh>,
}

/// What a reader sees of one stream.
#[derive(Debug, Default)]
pub(super) struct Look {
    number: i64,
    position: Position,
    entries: Vec<Arc<Entry>>,
}

/// The ends of all streams. The writer changes it after each commit, readers look into it.
#[derive(Debug, Default)]
pub(super) struct Tail {
    streams: RwLock<HashMap<StreamId, Recent>>,
}

impl Tail {
    /// What there is of a stream. To be asked for before the database is: what is moved meanwhile is then seen twice, not missed.
    pub(super) fn look(&self, stream: &StreamId) -> Look {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let Some(recent) = streams.get(stream) else { return Look::default() };
        let entries = recent.entries.iter().map(|fresh| Arc::clone(&fresh.entry)).collect();
        Look { number: recent.number, position: recent.position, entries }
    }

    /// How far a stream goes, if its end is here.
    pub(super) fn stream(&self, stream: &StreamId) -> Option<Stream> {
        self.with(|streams| streams.get(stream).map(|recent| Stream::new(recent.number, recent.position)))
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&HashMap<StreamId, Recent>) -> T) -> T {
        look(&self.streams.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut HashMap<StreamId, Recent>)) {
        // A panic of the writer ends it: nobody adds to what it left.
        change(&mut self.streams.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Look {
    /// How far the stream goes, of which the database says this.
    pub(super) fn position(&self, row: &Stream) -> Position {
        let settled = row.position;
        if self.number != row.number || self.position.next <= settled.next {
            return settled;
        }
        // Nothing is trimmed or redacted before it is in its place: the rest is as the database says.
        Position { epoch: settled.epoch, first: settled.first, ..self.position }
    }

    /// The entries that the database has not, oldest first.
    pub(super) fn beyond(&self, row: &Stream) -> &[Arc<Entry>] {
        if self.number != row.number {
            return &[];
        }
        let from = self.entries.partition_point(|entry| entry.offset < row.position.next);
        self.entries.get(from..).unwrap_or_default()
    }
}

/// Writes one append the way it stands in a row of `madang_tail`.
pub(super) fn write(out: &mut Vec<u8>, number: i64, first: u64, at_ms: u64, day: u64, batch: &Batch) {
    out.put_i64(number);
    out.put_u64(first);
    out.put_u64(at_ms);
    out.put_u64(day);
    match &batch.key {
        Some(key) => {
            out.put_u8(1);
            out.put_slice(key.as_bytes());
        }
        None => out.put_u8(0),
    }
    // Far below 2^32: appends and entries are bounded.
    let length = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    out.put_u32(length(batch.entries.len()));
    for entry in &batch.entries {
        out.put_u32(length(entry.data.len()));
        out.put_u32(length(entry.text.len()));
        out.put_slice(&entry.data);
        out.put_slice(entry.text.as_bytes());
    }
}

/// Reads all appends of a row.
fn read(mut row: Bytes, number_of_row: i64, into: &mut Vec<(i64, Fresh)>) -> Result<(), TryGetError> {
    while row.has_remaining() {
        let (number, first) = (row.try_get_i64()?, row.try_get_u64()?);
        let (at_ms, day) = (row.try_get_u64()?, row.try_get_u64()?);
        let mut key = None;
        if row.try_get_u8()? == 1 {
            let mut bytes = KeyBytes::default();
            row.try_copy_to_slice(&mut bytes)?;
            key = Some(bytes);
        }
        let count = u64::from(row.try_get_u32()?);
        for offset in (first..).take(usize::try_from(count).unwrap_or(0)) {
            let (data, text) = (row.try_get_u32()? as usize, row.try_get_u32()? as usize);
            let lacks = TryGetError { requested: data + text, available: row.remaining() };
            if row.remaining() < data + text {
                return Err(lacks);
            }
            let data = row.split_to(data);
            let text = String::from_utf8(row.split_to(text).into()).map_err(|_| lacks)?;
            let entry = Arc::new(Entry { offset, at_ms, edits: 0, removed: false, data, text });
            let sent = key.take().map(|key| Sent { key, day, count });
            into.push((number, Fresh { entry, sent, row: number_of_row }));
        }
    }
    Ok(())
}

/// Everything of `madang_tail` that is not in its place, and the number of the last row.
///
/// # Errors
/// The database's; [`StoreError::Damaged`] if a row is not as it was written.
pub(crate) fn load(connection: &Connection) -> Result<(HashMap<StreamId, Recent>, i64), StoreError> {
    let fail = |error: rusqlite::Error| super::fault::meaning(&error);
    let damaged = |why: &str| StoreError::Damaged { why: format!("the end of the log: {why}") };
    let (mut all, mut last) = (Vec::new(), 0);
    let mut rows = connection.prepare("SELECT row, appends FROM madang_tail ORDER BY row").map_err(fail)?;
    let mut rows = rows.query([]).map_err(fail)?;
    while let Some(row) = rows.next().map_err(fail)? {
        last = row.get(0).map_err(fail)?;
        let appends = row.get::<_, Vec<u8>>(1).map_err(fail)?;
        read(appends.into(), last, &mut all).map_err(|_| damaged("a row ends too early"))?;
    }
    let sql = "SELECT name, epoch, first, next, bytes, at_ms FROM madang_stream WHERE number = ?1";
    let mut find = connection.prepare(sql).map_err(fail)?;
    let mut names: HashMap<i64, Option<StreamId>> = HashMap::new();
    let mut streams: HashMap<StreamId, Recent> = HashMap::new();
    for (number, fresh) in all {
        if let std::collections::hash_map::Entry::Vacant(vacant) = names.entry(number) {
            let mut found = find.query([number]).map_err(fail)?;
            let Some(row) = found.next().map_err(fail)? else {
                // The stream was removed since.
                vacant.insert(None);
                continue;
            };
            let part = |column| row.get(column).map(uint).map_err(fail);
            let settled = Position {
                epoch: part(1)?,
                first: part(2)?,
                next: part(3)?,
                bytes: part(4)?,
                at_ms: part(5)?,
            };
            let name = StreamId::new(&row.get::<_, String>(0).map_err(fail)?)?;
            vacant.insert(Some(name.clone()));
            streams.insert(name, Recent::new(number, settled));
        }
        let Some(recent) = names.get(&number).and_then(Option::as_ref).and_then(|name| streams.get_mut(name))
        else {
            continue;
        };
        if fresh.entry.offset < recent.settled {
            continue;
        }
        if fresh.entry.offset != recent.position.next {
            return Err(damaged("an entry is missing"));
        }
        recent.push(fresh);
    }
    streams.retain(|_, recent| !recent.entries.is_empty());
    Ok((streams, last))
}

impl Recent {
    /// A stream of which all is in its place.
    pub(super) fn new(number: i64, position: Position) -> Self {
        Self { number, position, settled: position.next, entries: VecDeque::new() }
    }

    pub(super) fn push(&mut self, fresh: Fresh) {
        let entry = &fresh.entry;
        self.position.next = entry.offset + 1;
        self.position.bytes += entry.bytes() as u64;
        self.position.at_ms = entry.at_ms;
        self.entries.push_back(fresh);
    }

    /// The offset behind what is in its place.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// What is in its place now is not kept here any more. True: nothing is left.
    pub(super) fn settled_to(&mut self, settled: u64) -> bool {
        self.settled = settled;
        while self.entries.front().is_some_and(|fresh| fresh.entry.offset < settled) {
            self.entries.pop_front();
        }
        self.entries.is_empty()
    }
}

impl Entry {
    /// Data and text together.
    pub(super) fn bytes(&self) -> usize {
        self.data.len() + self.text.len()
    }
}

/// What a group adds to the end of the log, and what it moves away; shown to readers when the group is committed.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) tail: Arc<Tail>,
    /// The row of this group.
    pub(super) row: i64,
    /// What the row will hold.
    pub(super) appends: Vec<u8>,
    /// The entries in it.
    pub(super) fresh: Vec<Added>,
    /// Streams whose entries were put into their places by this group, and how far.
    pub(super) moved: Vec<(StreamId, i64, u64)>,
    /// Keys of what is not in its place, of this group too.
    keys: HashMap<(i64, KeyBytes), Written>,
    /// Streams whose end is here, the one that waits longest first.
    pub(super) waiting: VecDeque<StreamId>,
    /// Rows below this one are not there any more.
    pub(super) dropped: i64,
    entries: usize,
    bytes: usize,
}

/// An entry of this group.
#[derive(Debug)]
pub(super) struct Added {
    pub(super) stream: StreamId,
    pub(super) number: i64,
    /// How far the stream went before it: what is trimmed in the same group counts.
    pub(super) before: Position,
    pub(super) fresh: Fresh,
}

impl Intake {
    /// What `madang_tail` holds, read anew: at the start, and after the disk failed.
    pub(super) fn load(tail: Arc<Tail>, connection: &Connection) -> Result<Self, StoreError> {
        let (streams, last) = load(connection)?;
        let mut intake = Self {
            tail: Arc::clone(&tail),
            row: last + 1,
            appends: Vec::new(),
            fresh: Vec::new(),
            moved: Vec::new(),
            keys: HashMap::new(),
            waiting: VecDeque::new(),
            dropped: if last == 0 { 1 } else { 0 },
            entries: 0,
            bytes: 0,
        };
        for (stream, recent) in &streams {
            intake.waiting.push_back(stream.clone());
            for fresh in &recent.entries {
                intake.remember(recent.number, fresh);
            }
        }
        tail.change(|shown| *shown = streams);
        Ok(intake)
    }

    fn remember(&mut self, number: i64, fresh: &Fresh) {
        self.entries += 1;
        self.bytes += fresh.entry.bytes();
        if let Some(sent) = &fresh.sent {
            let Entry { offset: first, at_ms, .. } = *fresh.entry;
            let written = Written { first, count: sent.count, at_ms: Some(at_ms) };
            self.keys.insert((number, sent.key), written);
        }
    }

    /// Takes back what [`Self::remember`] noted.
    fn forget(&mut self, number: i64, fresh: &Fresh) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(fresh.entry.bytes());
        if let Some(sent) = &fresh.sent {
            self.keys.remove(&(number, sent.key));
        }
    }

    /// Where the append with this key is, if it is not in its place yet.
    pub(super) fn sent(&self, number: i64, key: &KeyBytes) -> Option<Written> {
        self.keys.get(&(number, *key)).copied()
    }

    /// Takes one append of this group.
    pub(super) fn take(&mut self, stream: &StreamId, row: &Stream, (at_ms, day): (u64, u64), batch: &Batch) {
        let (number, first) = (row.number, row.position.next);
        write(&mut self.appends, number, first, at_ms, day, batch);
        let mut before = row.position;
        let mut key = batch.key.as_ref().map(|key| *key.as_bytes());
        for (offset, entry) in (first..).zip(&batch.entries) {
            let (data, text) = (entry.data.clone(), entry.text.clone());
            let entry = Arc::new(Entry { offset, at_ms, edits: 0, removed: false, data, text });
            let sent = key.take().map(|key| Sent { key, day, count: batch.entries.len() as u64 });
            let fresh = Fresh { entry, sent, row: self.row };
            self.remember(number, &fresh);
            let bytes = fresh.entry.bytes() as u64;
            self.fresh.push(Added { stream: stream.clone(), number, before, fresh });
            before = Position { next: offset + 1, bytes: before.bytes + bytes, at_ms, ..before };
        }
    }

    /// Whether there is so much that some of it should be put into its place.
    pub(super) fn is_full(&self) -> bool {
        self.entries > ENTRIES_MAX || self.bytes > BYTES_MAX
    }

    /// Whether everything is in its place, and nothing is left of what it was taken from.
    pub(super) fn is_settled(&self) -> bool {
        self.entries == 0 && self.dropped == self.row
    }

    /// Writes the row of this group, if it has one.
    pub(super) fn put(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.appends.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO madang_tail (row, appends) VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute((self.row, &self.appends)).map(drop)
    }

    /// The group is on disk: readers see it.
    pub(super) fn committed(&mut self) {
        if !self.appends.is_empty() {
            self.row += 1;
            self.appends.clear();
        }
        let (fresh, moved) = (std::mem::take(&mut self.fresh), std::mem::take(&mut self.moved));
        let tail = Arc::clone(&self.tail);
        tail.change(|streams| {
            for Added { stream, number, before, fresh } in fresh {
                let recent = streams.entry(stream).or_insert_with_key(|stream| {
                    self.waiting.push_back(stream.clone());
                    Recent::new(number, before)
                });
                if recent.number != number {
                    // Of the stream that had this name before everything was moved, and then removed.
                    let gone = std::mem::replace(recent, Recent::new(number, before));
                    gone.entries.iter().for_each(|fresh| self.forget(gone.number, fresh));
                }
                recent.position = before;
                recent.push(fresh);
            }
            let any_moved = !moved.is_empty();
            for (stream, number, settled) in moved {
                let Some(recent) = streams.get_mut(&stream).filter(|recent| recent.number == number) else {
                    continue;
                };
                for fresh in recent.entries.iter().take_while(|fresh| fresh.entry.offset < settled) {
                    self.forget(number, fresh);
                }
                if recent.settled_to(settled) {
                    streams.remove(&stream);
                }
            }
            if any_moved {
                self.waiting.retain(|stream| streams.contains_key(stream));
            }
        });
    }

    /// The group is undone.
    pub(super) fn undone(&mut self) {
        self.appends.clear();
        self.moved.clear();
        // What was dropped may be there again.
        self.dropped = 0;
        for Added { number, fresh, .. } in std::mem::take(&mut self.fresh) {
            self.forget(number, &fresh);
        }
    }

    /// The oldest row of which something is not in its place, with what this group moves counted as moved.
    pub(super) fn oldest_row(&self) -> i64 {
        let moved: HashMap<&StreamId, u64> =
            self.moved.iter().map(|(stream, _, settled)| (stream, *settled)).collect();
        let oldest = self.tail.with(|streams| {
            let still = |(stream, recent): (&StreamId, &Recent)| {
                let settled = moved.get(stream).copied().unwrap_or(0);
                recent.entries.iter().find(|fresh| fresh.entry.offset >= settled).map(|fresh| fresh.row)
            };
            streams.iter().filter_map(still).min()
        });
        oldest.unwrap_or(self.row)
    }
}
