//! Full text search in SQLite.
//!
//! **Job.** Ask the index stream by stream, the newest first, look through the end of the log, and merge. **Called by** `sqlite` on a reader.
//!
//! Invariants
//! 1. A search costs at most (streams named) x (entries wanted) rows.
//! 2. Pages of one search neither overlap nor leave out: the order is (time, stream, offset), all descending.
//!
//! Not here: terms (`terms`).

use rusqlite::Connection;

use super::history::first_at;
use super::log::{ENTRY, entry_of, find, id};
use super::tail::{Look, Tail};
use crate::log::{Before, Entry, Found, Search, StreamId};
use crate::terms::{Part, matches, terms};

/// The form FTS5 wants: terms are letters and digits only, so quotation marks are all the quoting there is.
fn expression(parts: &[Part]) -> String {
    let one = |part: &Part| match part {
        Part::Prefix(begin) => format!("\"{begin}\"*"),
        Part::Phrase(terms) => format!("\"{}\"", terms.join(" ")),
    };
    parts.iter().map(one).collect::<Vec<_>>().join(" AND ")
}

/// Finds the newest entries with all the parts.
pub(super) fn search(
    connection: &Connection,
    tail: &Tail,
    search: &Search,
    parts: &[Part],
    most: usize,
) -> rusqlite::Result<Vec<Found>> {
    let looks: Vec<Look> = search.streams.iter().map(|stream| tail.look(stream)).collect();
    let view = connection.unchecked_transaction()?;
    let words = expression(parts);
    let ids = "SELECT rowid FROM madang_words WHERE madang_words MATCH ?1 AND rowid >= ?2 AND rowid < ?3 \
               ORDER BY rowid DESC LIMIT ?4";
    let (mut ids, mut one) = (view.prepare_cached(ids)?, view.prepare_cached(ENTRY)?);
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let mut all: Vec<Found> = Vec::new();
    for (stream, look) in search.streams.iter().zip(&looks) {
        let Some(row) = find(&view, stream)? else { continue };
        let end = match &search.before {
            None => u64::MAX,
            Some(before) if *stream == before.stream => before.offset,
            Some(Before { at_ms, stream: other, .. }) if stream < other => {
                first_at(&view, &row, look, at_ms.saturating_add(1))?
            }
            Some(before) => first_at(&view, &row, look, before.at_ms)?,
        };
        let (low, high) = (id(row.number, row.position.first), id(row.number, end.min(row.position.next)));
        let found: Vec<i64> =
            ids.query_map((&words, low, high, limit), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for id in found {
            let entry = one.query_row([id], entry_of)?;
            all.push(Found { stream: stream.clone(), epoch: row.position.epoch, entry });
        }
        // What is not in the index yet is looked through.
        let beyond = look.beyond(&row).iter().rev().filter(|entry| entry.offset < end);
        let found = beyond.filter(|entry| matches(parts, &terms(&entry.text))).take(most);
        all.extend(found.map(|entry| Found {
            stream: stream.clone(),
            epoch: row.position.epoch,
            entry: Entry::clone(entry),
        }));
    }
    let rank = |found: &Found| (found.entry.at_ms, found.stream.clone(), found.entry.offset);
    all.sort_by_key(|found| std::cmp::Reverse(rank(found)));
    all.truncate(most);
    Ok(all)
}

/// Streams that are named twice are searched once.
pub(super) fn once(streams: &mut Vec<StreamId>) {
    streams.sort();
    streams.dedup();
}
