//! Puts what was appended into its place: entries among the entries of their stream, keys among keys, words into the index.
//!
//! **Job.** Move entries out of the end of the log ([`super::tail`]), many of one stream at once. **Called by** `log` before an entry
//! is changed, by `writer` when the end has grown or nobody asks for anything. Runs within a group.
//!
//! Invariants
//! 1. The entries of a stream are moved in their order; `madang_stream` says how far that is, in the same commit.
//! 2. A row of the end is dropped when everything in it is in its place.
//! 3. A full database does not hinder it: what is taken in may be moved and redacted.
//!
//! Not here: what the end is (`tail`).

use std::time::Duration;

use super::log::{id, put_entry, put_key};
use super::tail::Fresh;
use super::writer::Desk;
use super::{int, schema};
use crate::log::StreamId;

/// Entries that one group moves at most when the end has grown.
pub(super) const MOVED_MAX: usize = 512;
/// Nobody has asked for anything for so long: what is left is moved.
pub(super) const IDLE: Duration = Duration::from_millis(500);
/// Rows are dropped when so many can be.
const ROWS_MIN: i64 = 32;

/// Puts a stream's entries into their places, the oldest `most` of them. How many there were.
pub(super) fn stream(desk: &mut Desk, stream: &StreamId, most: usize) -> rusqlite::Result<usize> {
    let Some((number, mut settled, entries)) = lacking(desk, stream, most) else { return Ok(0) };
    desk.give_slack()?;
    let (mut bytes, mut at_ms) = (0, 0);
    for Fresh { entry, sent, .. } in &entries {
        put_entry(&desk.connection, id(number, entry.offset), entry.at_ms, &entry.data, &entry.text)?;
        if let Some(sent) = sent {
            put_key(desk, number, entry.offset, sent)?;
        }
        settled = entry.offset + 1;
        bytes += entry.bytes() as u64;
        at_ms = entry.at_ms;
    }
    let sql = "UPDATE madang_stream SET next = ?2, bytes = bytes + ?3, at_ms = ?4 WHERE number = ?1";
    desk.connection.prepare_cached(sql)?.execute((number, int(settled), int(bytes), int(at_ms)))?;
    desk.intake.moved.push((stream.clone(), number, settled));
    Ok(entries.len())
}

/// What of a stream is not in its place, with what this group has done so far.
fn lacking(desk: &Desk, stream: &StreamId, most: usize) -> Option<(i64, u64, Vec<Fresh>)> {
    let intake = &desk.intake;
    let moved = intake.moved.iter().rev().find(|(moved, ..)| moved == stream);
    let mut found = moved.map(|(_, number, settled)| (*number, *settled, Vec::new()));
    intake.tail.with(|streams| {
        let Some(recent) = streams.get(stream) else { return };
        let (number, settled, entries) =
            found.get_or_insert_with(|| (recent.number, recent.settled(), Vec::new()));
        if recent.number == *number {
            let lacks = recent.entries.iter().filter(|fresh| fresh.entry.offset >= *settled);
            entries.extend(lacks.take(most).cloned());
        }
    });
    for added in intake.fresh.iter().filter(|added| added.stream == *stream) {
        let (number, settled, entries) =
            found.get_or_insert_with(|| (added.number, added.fresh.entry.offset, Vec::new()));
        if *number != added.number {
            // The stream was removed and made anew in this group.
            found = Some((added.number, added.fresh.entry.offset, vec![added.fresh.clone()]));
        } else if added.fresh.entry.offset >= *settled && entries.len() < most {
            entries.push(added.fresh.clone());
        }
    }
    found.filter(|(.., entries)| !entries.is_empty())
}

/// Puts about so many of the entries that wait longest into their places, and drops the rows that are not needed any more.
/// How many it were.
pub(super) fn some(desk: &mut Desk, most: usize) -> rusqlite::Result<usize> {
    let (mut at, mut moved) = (0, 0);
    while moved < most
        && let Some(next) = desk.intake.waiting.get(at).cloned()
    {
        moved += stream(desk, &next, most - moved)?;
        at += 1;
    }
    let oldest = desk.intake.oldest_row();
    if oldest - desk.intake.dropped >= ROWS_MIN || oldest == desk.intake.row {
        // What this group writes itself is not there yet.
        let below = oldest.min(desk.intake.row);
        desk.connection.prepare_cached("DELETE FROM madang_tail WHERE row < ?1")?.execute([below])?;
        desk.intake.dropped = below;
    }
    Ok(moved)
}

impl Desk {
    /// Lets the database grow beyond its limit for this group: by what the end of the log holds at most, in its places.
    fn give_slack(&mut self) -> rusqlite::Result<()> {
        if let Some(pages) = self.pages_max
            && !std::mem::replace(&mut self.slack, true)
        {
            self.connection.pragma_update(None, "max_page_count", pages + schema::SLACK_PAGES)?;
        }
        Ok(())
    }

    /// From the next group on the limit holds again.
    pub(super) fn take_slack(&mut self) {
        if let Some(pages) = self.pages_max
            && std::mem::take(&mut self.slack)
        {
            // It was set before by the same words.
            let _ = self.connection.pragma_update(None, "max_page_count", pages);
        }
    }
}
