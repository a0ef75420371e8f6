//! `CHATHISTORY`: what was said before (IRCv3 draft/chathistory).
//!
//! **Job.** Read what is wanted, walk the log in pages until it is found, tell it as one batch. **Called by** `machine`.
//!
//! A moment is found in the log by halving: offsets and times grow together. Then pages are read forward or back until there
//! are as many messages as were wanted; what is no message (topics, ranks, edits) is passed over.
//!
//! Invariants
//! 1. One command asks the chat at most [`ASKS_MAX`] times, and gives at most `HISTORY_MAX` messages, oldest first.
//!
//! Not here: how a message looks (`pen`), who may read it (`hub`).

use std::collections::VecDeque;

use madang_wire::irc::Message;

use super::caps::Cap;
use super::machine::{Machine, Then};
use super::message::{offset_of, room_name};
use super::seek::{self, Look, Seek};
use super::server::HISTORY_MAX;
use super::stamp;
use crate::ask::{Rooms, Skipped};
use crate::event::{Event, What};
use crate::refusal::Refusal;
use crate::reply::{Past, Reply};

/// Questions of one command: to halve a log of any length, and then some pages.
const ASKS_MAX: usize = 90;
/// Events of one page: the most that the chat gives.
const PAGE_EVENTS: usize = 200;

/// A place in the log that a client names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// `msgid=`.
    Offset(u64),
    /// `timestamp=`.
    Time(u64),
}

/// What has to be known of a place: the first offset that is not before it, or the last that is not behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    Behind,
}

/// A way through the log between two offsets that are not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Walk {
    /// From the newest to the oldest.
    back: bool,
    /// Only what is behind this.
    behind: u64,
    /// Only what is before this; `None`: up to the end.
    before: Option<u64>,
    want: usize,
}

/// What is looked for.
#[derive(Debug)]
pub(super) struct Search {
    subcommand: String,
    target: String,
    room: String,
    limit: usize,
    places: Vec<(Place, Side)>,
    /// What the places became, as far as they have.
    bounds: Vec<u64>,
    seek: Option<Seek>,
    /// The next one last; `None`: not known yet.
    walks: Option<Vec<Walk>>,
    found: VecDeque<Event>,
    asks: usize,
}

/// Conversations in which something was said between two times.
#[derive(Debug)]
pub(super) struct Targets {
    from: u64,
    to: u64,
    limit: usize,
}

pub(super) fn chathistory(machine: &mut Machine, message: &Message<'_>) {
    let subcommand = message.param(0).unwrap_or_default().to_ascii_uppercase();
    let params = message.params().get(1..).unwrap_or_default();
    let places = match subcommand.as_str() {
        "LATEST" | "BEFORE" | "AFTER" | "AROUND" => 1,
        "BETWEEN" => 2,
        "TARGETS" => return targets_between(machine, params),
        other => {
            machine.fail(
                "CHATHISTORY",
                "INVALID_PARAMS",
                &[other],
                "LATEST, BEFORE, AFTER, AROUND, BETWEEN or TARGETS",
            );
            return;
        }
    };
    let [target, wanted @ .., limit] = params else { return too_few(machine, &subcommand) };
    if wanted.len() != places {
        return too_few(machine, &subcommand);
    }
    let Some(room) = room_name(target) else {
        machine.fail(
            "CHATHISTORY",
            "INVALID_TARGET",
            &[&subcommand, target],
            "there is nobody and no room of this name",
        );
        return;
    };
    let Some(limit) = read_limit(limit) else {
        machine.fail("CHATHISTORY", "INVALID_PARAMS", &[&subcommand], "the limit is a number from 1 on");
        return;
    };
    let mut read = Vec::new();
    for place in wanted.iter().filter(|place| !(subcommand == "LATEST" && **place == "*")) {
        match read_place(machine, &room, place) {
            Some(place) => read.push(place),
            None => {
                let text = "a place is msgid= and the name of a message of this conversation, or timestamp=2026-11-21T12:00:00.000Z";
                machine.fail("CHATHISTORY", "INVALID_PARAMS", &[&subcommand, place], text);
                return;
            }
        }
    }
    // Of two places the first is where the walk begins.
    let back =
        matches!(&read[..], [Place::Offset(a), Place::Offset(b)] | [Place::Time(a), Place::Time(b)] if a > b);
    let sides = match subcommand.as_str() {
        "BEFORE" | "AROUND" => [Side::Before, Side::Before],
        "BETWEEN" if back => [Side::Before, Side::Behind],
        "BETWEEN" => [Side::Behind, Side::Before],
        _ => [Side::Behind, Side::Behind],
    };
    let search = Search {
        subcommand,
        target: (*target).to_owned(),
        room,
        limit,
        places: read.into_iter().zip(sides).collect(),
        bounds: Vec::new(),
        seek: None,
        walks: None,
        found: VecDeque::new(),
        asks: 0,
    };
    next(machine, search);
}

fn too_few(machine: &mut Machine, subcommand: &str) {
    machine.fail(
        "CHATHISTORY",
        "INVALID_PARAMS",
        &[subcommand],
        "a target, a place (BETWEEN: two) and a limit are needed",
    );
}

fn read_limit(text: &str) -> Option<usize> {
    text.parse::<usize>().ok().filter(|limit| *limit > 0).map(|limit| limit.min(HISTORY_MAX))
}

fn read_place(machine: &Machine, room: &str, place: &str) -> Option<Place> {
    match place.split_once('=')? {
        ("msgid", id) => offset_of(machine, room, id).map(Place::Offset),
        ("timestamp", time) => stamp::read_time(time).map(Place::Time),
        _ => None,
    }
}

/// What is to be asked now; or everything was found.
fn next(machine: &mut Machine, mut search: Search) {
    match search.step() {
        Some((before, after, limit)) if search.asks < ASKS_MAX => {
            search.asks += 1;
            let ask = seek::page(&search.room, before, after, limit);
            machine.ask(ask, Then::Past(Box::new(search)));
        }
        _ => tell(machine, &search),
    }
}

/// A page of the log came.
pub(super) fn past(machine: &mut Machine, mut search: Search, outcome: &Result<Reply, Refusal>) {
    match outcome {
        Ok(Reply::Past(past)) => {
            search.take(past, machine.pen.caps.has(Cap::MessageTags));
            next(machine, search);
        }
        Ok(_) => {}
        Err(refusal) => {
            let code = match refusal {
                Refusal::NoSuchRoom { .. }
                | Refusal::NoSuchUser { .. }
                | Refusal::NotThere { .. }
                | Refusal::Private => "INVALID_TARGET",
                _ => "MESSAGE_ERROR",
            };
            machine.fail("CHATHISTORY", code, &[&search.subcommand, &search.target], &refusal.to_string());
        }
    }
}

impl Search {
    /// Before which offset, behind which offset, and how many are to be read next; `None`: nothing more.
    fn step(&mut self) -> Option<(Option<u64>, Option<u64>, usize)> {
        while let Some((place, side)) = self.places.get(self.bounds.len()) {
            match (place, side) {
                (Place::Offset(at), _) => self.bounds.push(*at),
                (Place::Time(at), side) => {
                    let time = if *side == Side::Before { *at } else { at.saturating_add(1) };
                    let seek = self.seek.get_or_insert_with(|| Seek::new(time));
                    match seek.look() {
                        Look::Read(after, limit) => return Some((None, after, limit)),
                        Look::Found(found) => {
                            self.bounds.push(if *side == Side::Before {
                                found
                            } else {
                                found.saturating_sub(1)
                            });
                            self.seek = None;
                        }
                    }
                }
            }
        }
        if self.walks.is_none() {
            self.walks = Some(self.plan());
        }
        let (limit, found) = (self.limit, self.found.len());
        let walks = self.walks.as_mut()?;
        while let Some(walk) = walks.last() {
            let empty = walk.before.is_some_and(|before| before <= walk.behind.saturating_add(1));
            if walk.want > 0 && !empty && found < limit {
                // A little more than is wanted: some of it may be no message.
                let some = (walk.want + 20).min(PAGE_EVENTS);
                return Some(if walk.back {
                    (walk.before, None, some)
                } else {
                    (None, Some(walk.behind), some)
                });
            }
            walks.pop();
            if let Some(last) = walks.last_mut() {
                last.want = limit.saturating_sub(found);
            }
        }
        None
    }

    fn plan(&self) -> Vec<Walk> {
        let (limit, at) = (self.limit, |index: usize| self.bounds.get(index).copied());
        let all = Walk { back: true, behind: 0, before: None, want: limit };
        match (self.subcommand.as_str(), at(0), at(1)) {
            ("LATEST", Some(behind), _) => vec![Walk { behind, ..all }],
            ("BEFORE", before, _) => vec![Walk { before, ..all }],
            ("AFTER", Some(behind), _) => vec![Walk { back: false, behind, ..all }],
            // First what is before it, then what is there and behind it, in the order of popping.
            ("AROUND", Some(middle), _) => vec![
                Walk { back: false, behind: middle.saturating_sub(1), ..all },
                Walk { before: Some(middle), want: limit / 2, ..all },
            ],
            ("BETWEEN", Some(before), Some(behind))
                if self.places.first().is_some_and(|(_, side)| *side == Side::Before) =>
            {
                vec![Walk { behind, before: Some(before), ..all }]
            }
            ("BETWEEN", Some(behind), before) => vec![Walk { back: false, behind, before, want: limit }],
            _ => vec![all],
        }
    }

    fn take(&mut self, past: &Past, tags: bool) {
        if let Some(seek) = &mut self.seek {
            seek.take(past);
            return;
        }
        let Some(walk) = self.walks.as_mut().and_then(|walks| walks.last_mut()) else { return };
        let is_told = |event: &&Event| match event.what {
            What::Message { .. } => true,
            What::Reaction { .. } => tags,
            _ => false,
        };
        let inside = |event: &&Event| {
            event.offset > walk.behind && walk.before.is_none_or(|before| event.offset < before)
        };
        let mut some: Vec<&Event> = past.events.iter().filter(inside).filter(is_told).collect();
        let reached = if walk.back { past.events.first() } else { past.events.last() };
        if walk.back {
            some.drain(..some.len().saturating_sub(walk.want));
            some.iter().rev().for_each(|event| self.found.push_front((*event).clone()));
        } else {
            some.truncate(walk.want);
            self.found.extend(some.iter().map(|event| (*event).clone()));
        }
        walk.want -= some.len();
        match reached {
            Some(event) if past.more && walk.back => walk.before = Some(event.offset),
            Some(event) if past.more => walk.behind = event.offset,
            _ => walk.want = 0,
        }
    }
}

/// What was found, oldest first, as one batch where the client knows batches.
fn tell(machine: &mut Machine, search: &Search) {
    let batches = machine.pen.caps.has(Cap::Batch);
    let name = machine.pen.batch();
    let batch = batches.then_some(name.as_str());
    if batches {
        let (pen, out) = machine.sink();
        let opening = pen.server(out, "BATCH").param(&format!("+{name}"));
        opening.param("chathistory").param(&search.target).end();
    }
    for event in &search.found {
        let (pen, out) = machine.sink();
        if let What::Reaction { of, emoji, add } = &event.what {
            pen.reaction(out, event, (*of, emoji, *add), batch, None);
        } else {
            pen.message(out, event, batch, None);
        }
    }
    if batches {
        let (pen, out) = machine.sink();
        pen.server(out, "BATCH").param(&format!("-{name}")).end();
    }
}

fn targets_between(machine: &mut Machine, params: &[&str]) {
    let [from, to, limit] = params else { return too_few(machine, "TARGETS") };
    let time = |place: &str| place.strip_prefix("timestamp=").and_then(stamp::read_time);
    let (Some(from), Some(to), Some(limit)) = (time(from), time(to), read_limit(limit)) else {
        machine.fail("CHATHISTORY", "INVALID_PARAMS", &["TARGETS"], "two timestamp= and a limit are needed");
        return;
    };
    let targets = Targets { from: from.min(to), to: from.max(to), limit };
    machine.ask(Rooms { kind: Skipped, id: Skipped }, Then::Targets(targets));
}

pub(super) fn targets(machine: &mut Machine, wanted: &Targets, outcome: &Result<Reply, Refusal>) {
    let rooms = match outcome {
        Ok(Reply::Rooms(rooms)) => rooms,
        Ok(_) => return,
        Err(refusal) => {
            machine.fail("CHATHISTORY", "MESSAGE_ERROR", &["TARGETS"], &refusal.to_string());
            return;
        }
    };
    let mut found: Vec<(u64, String)> = rooms
        .mine
        .iter()
        .filter_map(|mine| {
            let at_ms = mine.last.as_ref()?.at_ms;
            let name = match mine.room.strip_prefix('@') {
                Some(peer) => peer.to_owned(),
                None => format!("#{}", mine.room),
            };
            (at_ms > wanted.from && at_ms < wanted.to && &*mine.room != "*").then_some((at_ms, name))
        })
        .collect();
    found.sort();
    found.truncate(wanted.limit);
    let batches = machine.pen.caps.has(Cap::Batch);
    let name = machine.pen.batch();
    let (pen, out) = machine.sink();
    if batches {
        pen.server(out, "BATCH").param(&format!("+{name}")).param("draft/chathistory-targets").end();
    }
    for (at_ms, target) in found {
        let mut line = madang_wire::irc::Line::new(out);
        if batches {
            line = line.tag("batch", &name);
        }
        let line = line.source(&pen.net.server).command("CHATHISTORY").param("TARGETS").param(&target);
        line.param(&stamp::time(at_ms)).end();
    }
    if batches {
        pen.server(out, "BATCH").param(&format!("-{name}")).end();
    }
}
