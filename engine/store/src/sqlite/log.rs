//! The append log in SQLite.
//!
//! **Job.** Append, change, trim on the writer's desk. **Called by** `sqlite` through `writer`. **Calls** `tail`, `settle`.
//!
//! An entry's row number is made of its stream's number and its offset ([`id`]): a stream is one range of rows in the
//! order of offsets, and the search index names entries by the same number.
//!
//! Invariants
//! 1. An operation on the desk refuses before it writes, so that a refusal undoes nothing of the others' work.
//! 2. The search index holds an entry's terms exactly while the entry holds its text, once it is in its place.
//! 3. Whatever changes or takes away entries puts all of their stream into their places first.
//!
//! Not here: what terms are (`terms`), reading (`history`, `search`).

use rusqlite::{Connection, OptionalExtension, Row};

use super::fault::{Stop, refuse};
use super::tail::{APPEND_BYTES_MAX, APPEND_ENTRIES_MAX, Sent, Written};
use super::writer::Desk;
use super::{int, new_epoch, settle, uint};
use crate::error::StoreError;
use crate::log::{Appended, Batch, Change, Entry, Keep, Key, NewEntry, Position, StreamId, Trimmed};
use crate::terms;

/// Bits of an entry's number that are its offset: 68,719,476,735 entries a stream, 134,217,727 streams.
const OFFSET_BITS: u32 = 36;
/// The largest offset.
const OFFSET_MAX: u64 = (1 << OFFSET_BITS) - 1;
/// The largest number of a stream.
const STREAM_MAX: i64 = (1 << (63 - OFFSET_BITS)) - 1;
/// Entries one trim looks at.
const TRIM_MAX: usize = 1000;

/// A stream's row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) number: i64,
    pub(super) position: Position,
    /// Changed since it was last written. What is only at the end of the log does not count.
    touched: bool,
}

const STREAM: &str = "SELECT number, epoch, first, next, bytes, at_ms FROM madang_stream WHERE name = ?1";
/// One entry by its number.
pub(super) const ENTRY: &str = "SELECT id, at_ms, edits, removed, data, text FROM madang_entry WHERE id = ?1";

impl Stream {
    pub(super) fn new(number: i64, position: Position) -> Self {
        Self { number, position, touched: false }
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let position = Position {
            epoch: uint(row.get(1)?),
            first: uint(row.get(2)?),
            next: uint(row.get(3)?),
            bytes: uint(row.get(4)?),
            at_ms: uint(row.get(5)?),
        };
        Ok(Self::new(row.get(0)?, position))
    }

    /// Writes the row if it has changed.
    pub(super) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if std::mem::take(&mut self.touched) {
            let sql =
                "UPDATE madang_stream SET first = ?2, next = ?3, bytes = ?4, at_ms = ?5 WHERE number = ?1";
            let Position { first, next, bytes, at_ms, .. } = self.position;
            let row = (self.number, int(first), int(next), int(bytes), int(at_ms));
            connection.prepare_cached(sql)?.execute(row)?;
        }
        Ok(())
    }
}

/// The row number of an entry.
pub(crate) fn id(stream: i64, offset: u64) -> i64 {
    (stream << OFFSET_BITS) | int(offset.min(OFFSET_MAX))
}

/// The offset in a row number.
pub(crate) fn offset(id: i64) -> u64 {
    uint(id) & OFFSET_MAX
}

/// Which day a moment belongs to: keys are looked for in two.
pub(super) fn day(now_ms: u64) -> u64 {
    now_ms / 86_400_000
}

/// A stream as committed.
pub(super) fn find(connection: &Connection, stream: &StreamId) -> rusqlite::Result<Option<Stream>> {
    connection.prepare_cached(STREAM)?.query_row([stream.as_str()], Stream::of).optional()
}

impl Desk {
    fn stream(&mut self, stream: &StreamId) -> Result<Option<Stream>, Stop> {
        if let Some(known) = self.streams.get(stream) {
            return Ok(Some(*known));
        }
        let found = match self.intake.tail.stream(stream) {
            None => find(&self.connection, stream)?,
            found => found,
        };
        if let Some(found) = found {
            self.streams.insert(stream.clone(), found);
        }
        Ok(found)
    }

    fn stream_or_new(&mut self, stream: &StreamId) -> Result<Stream, Stop> {
        if let Some(known) = self.stream(stream)? {
            return Ok(known);
        }
        let sql = "INSERT INTO madang_stream (name, epoch, first, next, bytes, at_ms) VALUES (?1, ?2, 1, 1, 0, 0) \
                   RETURNING number, epoch, first, next, bytes, at_ms";
        let made = self
            .connection
            .prepare_cached(sql)?
            .query_row((stream.as_str(), int(new_epoch())), Stream::of)?;
        if made.number > STREAM_MAX {
            let why = format!("more than {STREAM_MAX} streams were made");
            return Err(Stop::Fault(StoreError::Failed { why }));
        }
        self.streams.insert(stream.clone(), made);
        Ok(made)
    }

    fn put_stream(&mut self, stream: &StreamId, mut row: Stream) {
        if !std::mem::replace(&mut row.touched, true) {
            self.touched.push(stream.clone());
        }
        self.streams.insert(stream.clone(), row);
    }
}

/// Makes a stream if there is none.
pub(super) fn open(desk: &mut Desk, stream: &StreamId) -> Result<Position, Stop> {
    Ok(desk.stream_or_new(stream)?.position)
}

/// Appends a checked batch: to the end of the log, or, if it is large, to its place at once.
pub(super) fn append(desk: &mut Desk, stream: &StreamId, batch: &Batch) -> Result<Appended, Stop> {
    let mut row = match desk.stream(stream)? {
        Some(row) => row,
        None if batch.expect.is_some_and(|expect| expect != 1) => {
            return refuse(StoreError::Moved { epoch: 0, next: 1 });
        }
        None => desk.stream_or_new(stream)?,
    };
    let Position { epoch, next, at_ms, .. } = row.position;
    if let Some(key) = &batch.key
        && let Some(written) = sent(desk, row.number, key)?
    {
        let Written { first, count, at_ms: then_ms } = written;
        return Ok(Appended { epoch, first, count, at_ms: then_ms.unwrap_or(at_ms), duplicate: true });
    }
    if batch.expect.is_some_and(|expect| expect != next) {
        return refuse(StoreError::Moved { epoch, next });
    }
    let count = batch.entries.len() as u64;
    if next + count > OFFSET_MAX {
        return refuse(StoreError::TooLarge { what: "a stream", size: usize::MAX, max: usize::MAX });
    }
    let (at_ms, today) = (desk.now_ms.max(at_ms), day(desk.now_ms));
    let small = batch.bytes() <= APPEND_BYTES_MAX && batch.entries.len() <= APPEND_ENTRIES_MAX;
    if small {
        // What was done to the stream in this group before holds for what is in its place.
        row.write(&desk.connection)?;
        desk.intake.take(stream, &row, (at_ms, today), batch);
    } else {
        settle::stream(desk, stream, usize::MAX)?;
        insert(desk, row.number, (next, at_ms, today), batch)?;
    }
    row.position.next = next + count;
    row.position.bytes += batch.bytes() as u64;
    row.position.at_ms = at_ms;
    if small {
        desk.streams.insert(stream.clone(), row);
    } else {
        desk.put_stream(stream, row);
    }
    Ok(Appended { epoch, first: next, count, at_ms, duplicate: false })
}

/// Where and when an append with this key was written, if it was.
fn sent(desk: &Desk, stream: i64, key: &Key) -> rusqlite::Result<Option<Written>> {
    if let Some(sent) = desk.intake.sent(stream, key.as_bytes()) {
        return Ok(Some(sent));
    }
    if !desk.seen.suspects(day(desk.now_ms), stream, key.as_bytes()) {
        return Ok(None);
    }
    let sql = "SELECT first, count FROM madang_sent WHERE day IN (?1, ?1 - 1) AND stream = ?2 AND key = ?3";
    let mut select = desk.connection.prepare_cached(sql)?;
    let row = (int(day(desk.now_ms)), stream, key.as_bytes());
    let place = select.query_row(row, |row| Ok((uint(row.get(0)?), uint(row.get(1)?)))).optional()?;
    let Some((first, count)) = place else { return Ok(None) };
    // Keys come to their place together with their entries: what is not here was trimmed.
    let mut select = desk.connection.prepare_cached("SELECT at_ms FROM madang_entry WHERE id = ?1")?;
    let at_ms = select.query_row([id(stream, first)], |row| row.get(0).map(uint)).optional()?;
    Ok(Some(Written { first, count, at_ms }))
}

/// Writes an append in its place.
fn insert(
    desk: &mut Desk,
    stream: i64,
    (first, at_ms, today): (u64, u64, u64),
    batch: &Batch,
) -> rusqlite::Result<()> {
    for (offset, entry) in (first..).zip(&batch.entries) {
        put_entry(&desk.connection, id(stream, offset), at_ms, &entry.data, &entry.text)?;
    }
    let Some(key) = &batch.key else { return Ok(()) };
    let sent = Sent { key: *key.as_bytes(), day: today, count: batch.entries.len() as u64 };
    put_key(desk, stream, first, &sent)
}

/// Puts an entry among the entries of its stream and its words into the index.
pub(super) fn put_entry(
    connection: &Connection,
    id: i64,
    at_ms: u64,
    data: &[u8],
    text: &str,
) -> rusqlite::Result<()> {
    let sql =
        "INSERT INTO madang_entry (id, at_ms, edits, removed, data, text) VALUES (?1, ?2, 0, 0, ?3, ?4)";
    connection.prepare_cached(sql)?.execute((id, int(at_ms), data, text))?;
    add_words(connection, id, text)
}

/// Puts the key of an append that begins with `first` among keys.
pub(super) fn put_key(desk: &mut Desk, stream: i64, first: u64, sent: &Sent) -> rusqlite::Result<()> {
    let sql = "INSERT INTO madang_sent (day, stream, key, first, count) VALUES (?1, ?2, ?3, ?4, ?5)";
    let row = (int(sent.day), stream, &sent.key, int(first), int(sent.count));
    desk.connection.prepare_cached(sql)?.execute(row)?;
    desk.seen.note(sent.day, stream, &sent.key);
    Ok(())
}

/// Puts an entry's terms into the search index.
pub(crate) fn add_words(connection: &Connection, id: i64, text: &str) -> rusqlite::Result<()> {
    let words = if text.is_empty() { Vec::new() } else { terms::terms(text) };
    if words.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO madang_words (rowid, words) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute((id, words.join(" "))).map(drop)
}

/// Takes them out; the index keeps terms only, so it must be told which they were.
fn take_words(connection: &Connection, id: i64, text: &str) -> rusqlite::Result<()> {
    let words = if text.is_empty() { Vec::new() } else { terms::terms(text) };
    if words.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO madang_words (madang_words, rowid, words) VALUES ('delete', ?1, ?2)";
    connection.prepare_cached(sql)?.execute((id, words.join(" "))).map(drop)
}

/// Edits or redacts one entry.
pub(super) fn change(desk: &mut Desk, stream: &StreamId, at: u64, change: &Change) -> Result<Entry, Stop> {
    let missing = |offset| StoreError::Missing { stream: stream.as_str().to_owned(), offset };
    settle::stream(desk, stream, usize::MAX)?;
    let Some(mut row) = desk.stream(stream)? else { return refuse(missing(0)) };
    let id = id(row.number, at);
    let known = (row.position.first..row.position.next).contains(&at);
    let before = if known {
        desk.connection.prepare_cached(ENTRY)?.query_row([id], entry_of).optional()?
    } else {
        None
    };
    let Some(before) = before else { return refuse(missing(at)) };
    let empty = NewEntry::default();
    let (after, removed) = match change {
        // Asked for twice: it is done.
        Change::Remove if before.removed => return Ok(before),
        Change::Remove => (&empty, true),
        Change::Edit(_) if before.removed => return refuse(missing(at)),
        Change::Edit(entry) => (entry, false),
    };
    take_words(&desk.connection, id, &before.text)?;
    add_words(&desk.connection, id, &after.text)?;
    let sql = "UPDATE madang_entry SET edits = edits + 1, removed = ?2, data = ?3, text = ?4 WHERE id = ?1";
    desk.connection.prepare_cached(sql)?.execute((id, removed, &*after.data, &after.text))?;
    let was = (before.data.len() + before.text.len()) as u64;
    row.position.bytes = (row.position.bytes + after.bytes() as u64).saturating_sub(was);
    desk.put_stream(stream, row);
    desk.scrub = true;
    let edits = before.edits.saturating_add(1);
    Ok(Entry { edits, removed, data: after.data.clone(), text: after.text.clone(), ..before })
}

/// Takes away what `keep` does not keep.
pub(super) fn trim(desk: &mut Desk, stream: &StreamId, keep: Keep) -> Result<Trimmed, Stop> {
    settle::stream(desk, stream, usize::MAX)?;
    let Some(mut row) = desk.stream(stream)? else {
        return refuse(StoreError::Missing { stream: stream.as_str().to_owned(), offset: 0 });
    };
    let place = row.position;
    let oldest = keep.entries_max.map_or(0, |most| place.next.saturating_sub(most));
    let youngest = keep
        .age_max
        .map_or(0, |age| desk.now_ms.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
    let bytes_max = keep.bytes_max.unwrap_or(u64::MAX);
    let (mut first, mut bytes) = (place.first, place.bytes);
    {
        let sql = "SELECT id, at_ms, octet_length(data) + octet_length(text), text FROM madang_entry \
                   WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3";
        let mut select = desk.connection.prepare_cached(sql)?;
        let mut rows = select.query((
            id(row.number, place.first),
            id(row.number, place.next),
            i64::try_from(TRIM_MAX).unwrap_or(i64::MAX),
        ))?;
        while let Some(entry) = rows.next()? {
            let (number, at_ms): (i64, i64) = (entry.get(0)?, entry.get(1)?);
            if offset(number) >= oldest && uint(at_ms) >= youngest && bytes <= bytes_max {
                break;
            }
            bytes = bytes.saturating_sub(uint(entry.get(2)?));
            take_words(&desk.connection, number, entry.get_ref(3)?.as_str().unwrap_or_default())?;
            first = offset(number) + 1;
        }
    }
    let sql = "DELETE FROM madang_entry WHERE id >= ?1 AND id < ?2";
    desk.connection.prepare_cached(sql)?.execute((id(row.number, place.first), id(row.number, first)))?;
    let entries = first - place.first;
    if entries > 0 {
        row.position.first = first;
        row.position.bytes = bytes;
        desk.put_stream(stream, row);
    }
    Ok(Trimmed { entries, first, more: entries >= TRIM_MAX as u64 })
}

/// Removes a stream piece by piece. True: it is gone.
pub(super) fn remove(desk: &mut Desk, stream: &StreamId) -> Result<bool, Stop> {
    let Some(row) = desk.stream(stream)? else { return Ok(true) };
    desk.scrub = true;
    let trimmed = trim(desk, stream, Keep { entries_max: Some(0), ..Keep::default() })?;
    if trimmed.first < row.position.next {
        return Ok(false);
    }
    desk.streams.remove(stream);
    desk.connection.prepare_cached("DELETE FROM madang_stream WHERE number = ?1")?.execute([row.number])?;
    Ok(true)
}

pub(super) fn entry_of(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        offset: offset(row.get(0)?),
        at_ms: uint(row.get(1)?),
        edits: row.get(2)?,
        removed: row.get(3)?,
        data: row.get::<_, Vec<u8>>(4)?.into(),
        text: row.get(5)?,
    })
}
