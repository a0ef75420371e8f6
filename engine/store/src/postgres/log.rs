//! The append log in PostgreSQL.
//!
//! **Job.** Turn operations into calls of the database's functions, and rows into answers. **Called by** `postgres`.
//!
//! Invariants
//! 1. A question is one statement, so that it sees one moment of its stream.
//!
//! Not here: the functions (`schema`), what terms are (`terms`).

use std::fmt::Write as _;
use std::sync::Arc;

use madang_host::random;
use tokio_postgres::Row;

use super::connect::Connected;
use super::lane::{Call, Param};
use super::readers::Trouble;
use crate::answer::Reply;
use crate::error::StoreError;
use crate::log::{
    Appended, Batch, Change, Entry, Found, From, History, Keep, NewEntry, Page, Position, Read, STREAMS_MAX,
    Search, StreamId, Trimmed,
};
use crate::number::{int, new_epoch, uint};
use crate::terms::{self, Part};

/// Entries one trim looks at.
const TRIM_MAX: i32 = 1000;
const OFFSET_MASK: i64 = (1 << 36) - 1;

/// The form of a `tsvector`: terms are letters and digits only, so quotation marks are all the quoting there is.
pub(crate) fn vector(text: &str) -> String {
    let mut vector = String::new();
    if text.is_empty() {
        return vector;
    }
    for (place, term) in terms::terms(text).iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(vector, "'{term}':{} ", place + 1);
    }
    vector
}

/// The form of a `tsquery`.
fn expression(parts: &[Part]) -> String {
    let one = |part: &Part| match part {
        Part::Prefix(begin) => format!("'{begin}':*"),
        Part::Phrase(terms) => {
            format!("({})", terms.iter().map(|term| format!("'{term}'")).collect::<Vec<_>>().join(" <-> "))
        }
    };
    parts.iter().map(one).collect::<Vec<_>>().join(" & ")
}

fn call<T: Send + 'static>(
    stream: &StreamId,
    sql: &'static str,
    values: Vec<Param>,
    reply: Reply<T>,
    decode: impl FnOnce(&Row) -> Result<T, StoreError> + Send + Sync + 'static,
) -> Call {
    // The caller may have gone; what it asked for is done all the same.
    let done = Box::new(move |told: Result<Row, StoreError>| {
        let _ = reply.send(told.and_then(|row| decode(&row)));
    });
    Call { lock: format!("s{stream}"), sql, values, again: true, done }
}

fn missing(stream: &StreamId, offset: u64) -> StoreError {
    StoreError::Missing { stream: stream.as_str().to_owned(), offset }
}

pub(super) fn append(stream: &StreamId, batch: Batch, reply: Reply<Appended>) -> Call {
    let bytes = int(batch.bytes() as u64);
    let mut own = [0; 16];
    own[..8].copy_from_slice(&random::seed().to_le_bytes());
    own[8..].copy_from_slice(&random::seed().to_le_bytes());
    let key = batch.key.as_ref().map_or(own, |key| *key.as_bytes());
    // Tells our own second attempt from somebody else's duplicate.
    let token = i64::from_le_bytes(random::seed().to_le_bytes());
    let words: Vec<String> = batch.entries.iter().map(|entry| vector(&entry.text)).collect();
    let (data, text): (Vec<Vec<u8>>, Vec<String>) =
        batch.entries.into_iter().map(|entry| (entry.data.to_vec(), entry.text)).unzip();
    let values: Vec<Param> = vec![
        Box::new(stream.as_str().to_owned()),
        Box::new(int(new_epoch())),
        Box::new(key.to_vec()),
        Box::new(token),
        Box::new(batch.expect.map(int)),
        Box::new(bytes),
        Box::new(data),
        Box::new(text),
        Box::new(words),
    ];
    let sql = "SELECT status, o_epoch, o_first, o_count, o_at FROM madang_append($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    call(stream, sql, values, reply, |row| {
        let (status, epoch, first): (i32, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let (epoch, first) = (uint(epoch), uint(first));
        if status == 1 {
            return Err(StoreError::Moved { epoch, next: first });
        }
        let (count, at_ms) = (uint(row.get(3)), uint(row.get(4)));
        Ok(Appended { epoch, first, count, at_ms, duplicate: status == 2 })
    })
}

pub(super) fn open(stream: &StreamId, reply: Reply<Position>) -> Call {
    let sql = "SELECT epoch, first, next, bytes, at_ms FROM madang_stream_of($1, $2)";
    let values: Vec<Param> = vec![Box::new(stream.as_str().to_owned()), Box::new(int(new_epoch()))];
    call(stream, sql, values, reply, |row| Ok(position(row, 0)))
}

pub(super) fn change(stream: &StreamId, offset: u64, change: Change, reply: Reply<Entry>) -> Call {
    let remove = change == Change::Remove;
    let entry = match change {
        Change::Edit(entry) => entry,
        Change::Remove => NewEntry::default(),
    };
    let values: Vec<Param> = vec![
        Box::new(stream.as_str().to_owned()),
        Box::new(int(offset)),
        Box::new(remove),
        Box::new(entry.data.to_vec()),
        Box::new(entry.text.clone()),
        Box::new(vector(&entry.text)),
    ];
    let sql =
        "SELECT status, o_at, o_edits, o_removed, o_data, o_text FROM madang_change($1, $2, $3, $4, $5, $6)";
    let name = stream.clone();
    let made = call(stream, sql, values, reply, move |row| match row.get::<_, i32>(0) {
        0 => Ok(Entry {
            offset,
            at_ms: uint(row.get(1)),
            edits: u32::try_from(row.get::<_, i32>(2)).unwrap_or(0),
            removed: row.get(3),
            data: row.get::<_, Vec<u8>>(4).into(),
            text: row.get(5),
        }),
        1 => Err(missing(&name, offset)),
        _ => Err(missing(&name, 0)),
    });
    // An edit done twice would count twice.
    Call { again: remove, ..made }
}

pub(super) fn trim(stream: &StreamId, keep: Keep, reply: Reply<Trimmed>) -> Call {
    let age = keep.age_max.map(|age| int(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
    let values: Vec<Param> = vec![
        Box::new(stream.as_str().to_owned()),
        Box::new(keep.entries_max.map(int)),
        Box::new(keep.bytes_max.map(int)),
        Box::new(age),
        Box::new(TRIM_MAX),
    ];
    let sql = "SELECT status, o_entries, o_first FROM madang_trim($1, $2, $3, $4, $5)";
    let name = stream.clone();
    call(stream, sql, values, reply, move |row| {
        if row.get::<_, i32>(0) != 0 {
            return Err(missing(&name, 0));
        }
        let entries: i64 = row.get(1);
        Ok(Trimmed { entries: uint(entries), first: uint(row.get(2)), more: entries >= i64::from(TRIM_MAX) })
    })
}

pub(super) fn remove(stream: &StreamId, reply: Reply<bool>) -> Call {
    let values: Vec<Param> = vec![Box::new(stream.as_str().to_owned()), Box::new(TRIM_MAX)];
    call(stream, "SELECT madang_remove($1, $2)", values, reply, |row| Ok(row.get(0)))
}

fn position(row: &Row, at: usize) -> Position {
    let number = |column: usize| uint(row.get::<_, i64>(at + column));
    Position { epoch: number(0), first: number(1), next: number(2), bytes: number(3), at_ms: number(4) }
}

fn entry(row: &Row, at: usize) -> Entry {
    Entry {
        offset: uint(row.get::<_, i64>(at) & OFFSET_MASK),
        at_ms: uint(row.get(at + 1)),
        edits: u32::try_from(row.get::<_, i32>(at + 2)).unwrap_or(0),
        removed: row.get(at + 3),
        data: row.get::<_, Vec<u8>>(at + 4).into(),
        text: row.get(at + 5),
    }
}

/// `$2`: from here on; `$3`: so many rows; `$4`: rows until their sum is over this.
const FORWARDS: &str = "SELECT s.epoch, s.first, s.next, s.bytes, s.at_ms, e.* FROM madang_stream s LEFT JOIN LATERAL ( \
     SELECT id, at_ms, edits, removed, data, text FROM ( \
       SELECT *, sum(octet_length(data)::bigint + octet_length(text)) OVER (ORDER BY id) \
            - octet_length(data) - octet_length(text) AS before FROM ( \
         SELECT * FROM madang_entry WHERE id >= (s.number << 36 | greatest($2::bigint, s.first)) \
         AND id < (s.number << 36 | s.next) ORDER BY id LIMIT $3::bigint) a) b \
     WHERE before <= $4::bigint ORDER BY id) e ON true WHERE s.name = $1";
const BACKWARDS: &str = "SELECT s.epoch, s.first, s.next, s.bytes, s.at_ms, e.* FROM madang_stream s LEFT JOIN LATERAL ( \
     SELECT id, at_ms, edits, removed, data, text FROM ( \
       SELECT *, sum(octet_length(data)::bigint + octet_length(text)) OVER (ORDER BY id DESC) \
            - octet_length(data) - octet_length(text) AS before FROM ( \
         SELECT * FROM madang_entry WHERE id >= (s.number << 36 | s.first) \
         AND id < (s.number << 36 | least($2::bigint, s.next)) ORDER BY id DESC LIMIT $3::bigint) a) b \
     WHERE before <= $4::bigint ORDER BY id DESC) e ON true WHERE s.name = $1";

pub(super) async fn read(
    connected: Arc<Connected>,
    stream: StreamId,
    read: Read,
) -> Result<History, Trouble> {
    let read = read.bounded();
    let (sql, place) = match read.from {
        From::After { offset, .. } => (FORWARDS, offset.saturating_add(1)),
        From::Offset(offset) => (FORWARDS, offset),
        From::Before(offset) => (BACKWARDS, offset),
    };
    let place = int(place).min(OFFSET_MASK);
    let (most, bytes) = (int(read.entries_max as u64 + 1), int(read.bytes_max as u64));
    let statement = connected.prepared(sql).await?;
    let rows = connected.client.query(&statement, &[&stream.as_str(), &place, &most, &bytes]).await?;
    let Some(first) = rows.first() else { return Ok(History::NoStream) };
    let position = position(first, 0);
    if let From::After { epoch, offset } = read.from {
        if (offset > 0 && epoch != position.epoch) || offset >= position.next {
            return Ok(History::OtherEpoch(position));
        }
        if offset + 1 < position.first {
            return Ok(History::TooOld(position));
        }
    }
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for row in rows.iter().filter(|row| row.get::<_, Option<i64>>(5).is_some()) {
        let entry = entry(row, 5);
        bytes += entry.data.len() + entry.text.len();
        if entries.len() >= read.entries_max || (!entries.is_empty() && bytes > read.bytes_max) {
            break;
        }
        entries.push(entry);
    }
    // Offsets have no gap, so the last one says whether something is left.
    let more = match (read.from, entries.last()) {
        (_, None) => false,
        (From::Before(_), Some(oldest)) => oldest.offset > position.first,
        (_, Some(newest)) => newest.offset + 1 < position.next,
    };
    if matches!(read.from, From::Before(_)) {
        entries.reverse();
    }
    Ok(History::Page(Page { position, entries, more }))
}

pub(super) async fn positions(
    connected: Arc<Connected>,
    streams: Vec<StreamId>,
) -> Result<Vec<Option<Position>>, Trouble> {
    let sql = "SELECT epoch, first, next, bytes, at_ms, name FROM madang_stream WHERE name = ANY($1)";
    let names: Vec<&str> = streams.iter().map(StreamId::as_str).collect();
    let statement = connected.prepared(sql).await?;
    let rows = connected.client.query(&statement, &[&names]).await?;
    let found: std::collections::HashMap<&str, Position> =
        rows.iter().map(|row| (row.get(5), position(row, 0))).collect();
    Ok(names.iter().map(|name| found.get(name).copied()).collect())
}

pub(super) async fn offset_at(
    connected: Arc<Connected>,
    stream: StreamId,
    at_ms: u64,
) -> Result<u64, Trouble> {
    let statement = connected.prepared("SELECT madang_offset_at($1, $2)").await?;
    let row = connected.client.query_one(&statement, &[&stream.as_str(), &int(at_ms)]).await?;
    let found: Option<i64> = row.get(0);
    Ok(found.map(uint).ok_or_else(|| missing(&stream, 0))?)
}

pub(super) async fn search(
    connected: Arc<Connected>,
    search: Search,
    parts: Vec<Part>,
    most: usize,
) -> Result<Vec<Found>, Trouble> {
    let sql = "SELECT e.id, e.at_ms, e.edits, e.removed, e.data, e.text, s.name, s.epoch FROM madang_entry e \
               JOIN madang_stream s ON s.number = e.id >> 36 WHERE s.name = ANY($1) AND e.words @@ $2::text::tsquery \
               AND ($3::bigint IS NULL OR (e.at_ms, s.name, e.id & 68719476735) < ($3, $4::text COLLATE \"C\", $5::bigint)) \
               ORDER BY e.at_ms DESC, s.name DESC, e.id DESC LIMIT $6";
    let names: Vec<&str> = search.streams.iter().map(StreamId::as_str).collect();
    let before = search.before.as_ref();
    let at_ms = before.map(|before| int(before.at_ms));
    let (name, offset) =
        (before.map(|before| before.stream.as_str()), before.map(|before| int(before.offset)));
    let statement = connected.prepared(sql).await?;
    let words = expression(&parts);
    let limit = int(most as u64);
    let rows = connected.client.query(&statement, &[&names, &words, &at_ms, &name, &offset, &limit]).await?;
    let found = |row: &Row| {
        let stream = StreamId::new(row.get(6))?;
        Ok(Found { stream, epoch: uint(row.get(7)), entry: entry(row, 0) })
    };
    rows.iter().map(found).collect()
}

pub(super) async fn streams(
    connected: Arc<Connected>,
    prefix: String,
    after: Option<StreamId>,
) -> Result<Vec<StreamId>, Trouble> {
    let sql = "SELECT name FROM madang_stream WHERE name >= $1 AND ($2::text IS NULL OR name > $2) \
               AND starts_with(name, $3) ORDER BY name LIMIT $4";
    let after = after.as_ref().map(StreamId::as_str);
    let begin = after.map_or(&*prefix, |after| after.max(&*prefix));
    let statement = connected.prepared(sql).await?;
    let limit = int(STREAMS_MAX as u64);
    let rows = connected.client.query(&statement, &[&begin, &after, &prefix, &limit]).await?;
    rows.iter().map(|row| Ok(StreamId::new(row.get(0))?)).collect()
}
