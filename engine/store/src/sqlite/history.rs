//! Reading the log in SQLite.
//!
//! **Job.** Give pieces of streams and how far they go, from what is in its place and from the end of the log as if they were one.
//! **Called by** `sqlite` on a reader's connection.
//!
//! Invariants
//! 1. The end is looked at before the database: what is moved meanwhile is seen in both, and counted once.
//!
//! Not here: search (`search`), writing (`log`).

use std::sync::Arc;

use rusqlite::Connection;

use super::log::{Stream, entry_of, find, id};
use super::tail::{Look, Tail};
use super::uint;
use crate::log::{Entry, From, History, Page, Position, Read, StreamId};

const ENTRIES: &str = "SELECT id, at_ms, edits, removed, data, text FROM madang_entry";

/// Reads a piece of a stream, on a reader's connection.
pub(super) fn read(
    connection: &Connection,
    tail: &Tail,
    stream: &StreamId,
    read: Read,
) -> rusqlite::Result<History> {
    let look = tail.look(stream);
    // One view of the stream's row and its entries.
    let view = connection.unchecked_transaction()?;
    let Some(row) = find(&view, stream)? else { return Ok(History::NoStream) };
    let place = look.position(&row);
    let read = read.bounded();
    let (low, high, backwards) = match read.from {
        From::After { epoch, offset } => {
            if (offset > 0 && epoch != place.epoch) || offset >= place.next {
                return Ok(History::OtherEpoch(place));
            }
            if offset + 1 < place.first {
                return Ok(History::TooOld(place));
            }
            (offset + 1, place.next, false)
        }
        From::Offset(offset) => (offset.clamp(place.first, place.next), place.next, false),
        From::Before(offset) => (place.first, offset.clamp(place.first, place.next), true),
    };
    let mut page = Gathering { read, entries: Vec::new(), bytes: 0, more: false };
    let beyond = look.beyond(&row).iter().filter(|entry| (low..high).contains(&entry.offset));
    if backwards {
        page.take_all(beyond.clone().rev());
    }
    if !page.more {
        let order = if backwards { "DESC" } else { "ASC" };
        let sql = format!("{ENTRIES} WHERE id >= ?1 AND id < ?2 ORDER BY id {order}");
        let mut select = view.prepare_cached(&sql)?;
        let mut rows = select.query((id(row.number, low), id(row.number, high.min(row.position.next))))?;
        while let Some(found) = rows.next()?
            && page.take(entry_of(found)?)
        {}
    }
    if !backwards {
        page.take_all(beyond);
    }
    let Gathering { mut entries, more, .. } = page;
    if backwards {
        entries.reverse();
    }
    Ok(History::Page(Page { position: place, entries, more }))
}

/// A page as it grows to its limits.
struct Gathering {
    read: Read,
    entries: Vec<Entry>,
    bytes: usize,
    more: bool,
}

impl Gathering {
    /// Takes one more. False: the page is full, and this one is not on it.
    fn take(&mut self, entry: Entry) -> bool {
        self.bytes += entry.bytes();
        let Read { entries_max, bytes_max, .. } = self.read;
        if self.entries.len() >= entries_max || (!self.entries.is_empty() && self.bytes > bytes_max) {
            self.more = true;
        } else {
            self.entries.push(entry);
        }
        !self.more
    }

    fn take_all<'e>(&mut self, mut entries: impl Iterator<Item = &'e Arc<Entry>>) {
        while !self.more
            && let Some(entry) = entries.next()
        {
            self.take(Entry::clone(entry));
        }
    }
}

/// How far streams go.
pub(super) fn positions(
    connection: &Connection,
    tail: &Tail,
    streams: &[StreamId],
) -> rusqlite::Result<Vec<Option<Position>>> {
    let looks: Vec<Look> = streams.iter().map(|stream| tail.look(stream)).collect();
    let view = connection.unchecked_transaction()?;
    let one = |(stream, look): (_, &Look)| Ok(find(&view, stream)?.map(|row| look.position(&row)));
    streams.iter().zip(&looks).map(one).collect()
}

/// The first offset of this time or later.
pub(super) fn offset_at(
    connection: &Connection,
    tail: &Tail,
    stream: &StreamId,
    at_ms: u64,
) -> rusqlite::Result<Option<u64>> {
    let look = tail.look(stream);
    let view = connection.unchecked_transaction()?;
    let Some(row) = find(&view, stream)? else { return Ok(None) };
    first_at(&view, &row, &look, at_ms).map(Some)
}

/// Times do not go back within a stream, so half of it is left out at every step.
pub(super) fn first_at(
    connection: &Connection,
    row: &Stream,
    look: &Look,
    at_ms: u64,
) -> rusqlite::Result<u64> {
    let beyond = look.beyond(row);
    let late = beyond.partition_point(|entry| entry.at_ms < at_ms);
    if late > 0 {
        return Ok(beyond.get(late).map_or(look.position(row).next, |entry| entry.offset));
    }
    let (mut low, mut high) = (row.position.first, row.position.next);
    let mut time = connection.prepare_cached("SELECT at_ms FROM madang_entry WHERE id = ?1")?;
    while low < high {
        let middle = low + (high - low) / 2;
        let at: i64 = time.query_row([id(row.number, middle)], |row| row.get(0))?;
        if uint(at) < at_ms {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Names of streams, in order.
pub(super) fn streams(
    connection: &Connection,
    prefix: &str,
    after: Option<&StreamId>,
    most: usize,
) -> rusqlite::Result<Vec<StreamId>> {
    let begin = after.map_or(prefix, |after| after.as_str().max(prefix));
    let sql = "SELECT name FROM madang_stream WHERE name >= ?1 AND (?2 IS NULL OR name > ?2) ORDER BY name";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query((begin, after.map(StreamId::as_str)))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        if !name.starts_with(prefix) || all.len() >= most {
            break;
        }
        all.extend(StreamId::new(&name).ok());
    }
    Ok(all)
}
