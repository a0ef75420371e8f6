//! `MARKREAD`: how far one has read (IRCv3 draft/read-marker).
//!
//! **Job.** Between the chat's read markers, which are offsets, and IRC's, which are moments. **Called by** `machine`, `channel`, `told`.
//!
//! A marker that is set is the last entry that is not behind its moment; one that is told is the time of that entry.
//!
//! Invariants
//! 1. A marker never goes back: what is told is what holds.
//!
//! Not here: keeping it (`hub`).

use std::sync::Arc;

use madang_wire::irc::Message;

use super::caps::Cap;
use super::channel;
use super::machine::{Machine, Then};
use super::message::room_name;
use super::seek::{Look, Seek, page};
use super::stamp;
use crate::ask::{MarkRead, Skipped};
use crate::refusal::Refusal;
use crate::reply::Reply;

/// How far a command is.
#[derive(Debug)]
pub(super) struct Marking {
    /// As the client calls it.
    target: String,
    room: String,
    stage: Stage,
    /// It came into this room: who is there is told behind the marker.
    came: Option<Arc<str>>,
    /// The client waits for it.
    asked: bool,
}

#[derive(Debug)]
enum Stage {
    /// The entry of a moment is looked for.
    Seek(Seek),
    /// The marker is set, or only asked for.
    Mark,
    /// The time of this entry is looked for.
    Time,
}

pub(super) fn markread(machine: &mut Machine, message: &Message<'_>) {
    let target = message.param(0).unwrap_or_default().to_owned();
    let Some(room) = room_name(&target).filter(|room| room != "*") else {
        machine.fail("MARKREAD", "INVALID_PARAMS", &[&target], "there is nobody and no room of this name");
        return;
    };
    let marking =
        |stage| Marking { target: target.clone(), room: room.clone(), stage, came: None, asked: true };
    let Some(place) = message.param(1) else { return mark(machine, marking(Stage::Mark), None) };
    match place.strip_prefix("timestamp=").and_then(stamp::read_time) {
        // The first entry behind it; the one before is the last that is read.
        Some(at_ms) => seek(machine, marking(Stage::Seek(Seek::new(at_ms.saturating_add(1))))),
        None => {
            let text = "a place is timestamp=2026-11-21T12:00:00.000Z";
            machine.fail("MARKREAD", "INVALID_PARAMS", &[&target, place], text);
        }
    }
}

/// The client is in this room from now on: how far it has read comes first, then who is there.
pub(super) fn came(machine: &mut Machine, room: &Arc<str>, asked: bool) {
    let marking = Marking {
        target: format!("#{room}"),
        room: room.to_string(),
        stage: Stage::Mark,
        came: Some(Arc::clone(room)),
        asked,
    };
    mark(machine, marking, None);
}

/// Another connection of the same person read up to there.
pub(super) fn read_elsewhere(machine: &mut Machine, room: &str, offset: u64) {
    if machine.pen.caps.has(Cap::ReadMarker) && room != "*" {
        let target = room.strip_prefix('@').map_or_else(|| format!("#{room}"), str::to_owned);
        let marking = Marking { target, room: room.to_owned(), stage: Stage::Time, came: None, asked: false };
        time_of(machine, marking, offset);
    }
}

fn ask(machine: &mut Machine, ask: impl Into<crate::ask::Ask>, marking: Marking) {
    if marking.asked {
        machine.ask(ask, Then::Marked(marking));
    } else {
        machine.ask_aside(ask, Then::Marked(marking));
    }
}

fn mark(machine: &mut Machine, marking: Marking, offset: Option<u64>) {
    let marking = Marking { stage: Stage::Mark, ..marking };
    let room = marking.room.clone();
    ask(machine, MarkRead { kind: Skipped, id: Skipped, room, offset }, marking);
}

fn seek(machine: &mut Machine, marking: Marking) {
    let look = match &marking.stage {
        Stage::Seek(seek) => seek.look(),
        Stage::Mark | Stage::Time => return,
    };
    match look {
        Look::Read(after, limit) => {
            ask(machine, page(&marking.room, None, after, limit), marking);
        }
        Look::Found(first) => {
            let last = first.saturating_sub(1);
            mark(machine, marking, (last > 0).then_some(last));
        }
    }
}

fn time_of(machine: &mut Machine, marking: Marking, offset: u64) {
    let marking = Marking { stage: Stage::Time, ..marking };
    ask(machine, page(&marking.room, Some(offset.saturating_add(1)), None, 1), marking);
}

/// An answer on the way.
pub(super) fn marked(machine: &mut Machine, mut marking: Marking, outcome: &Result<Reply, Refusal>) {
    match (outcome, &mut marking.stage) {
        (Ok(Reply::Past(past)), Stage::Seek(seeking)) => {
            seeking.take(past);
            seek(machine, marking);
        }
        (Ok(Reply::Marked(marked)), _) if marked.offset > 0 => {
            let offset = marked.offset;
            time_of(machine, marking, offset);
        }
        (Ok(Reply::Past(past)), _) => {
            let at_ms = past.events.last().map(|event| event.at_ms);
            told(machine, &marking, at_ms);
        }
        (Ok(_), _) => told(machine, &marking, None),
        (Err(refusal), _) => {
            if marking.asked && marking.came.is_none() {
                machine.fail("MARKREAD", "INTERNAL_ERROR", &[&marking.target], &refusal.to_string());
            }
            told_who(machine, &marking);
        }
    }
}

/// `*`: nothing is read.
fn told(machine: &mut Machine, marking: &Marking, at_ms: Option<u64>) {
    let place = at_ms.map_or_else(|| "*".to_owned(), |at_ms| format!("timestamp={}", stamp::time(at_ms)));
    let (pen, out) = if marking.asked { machine.sink() } else { machine.news() };
    pen.server(out, "MARKREAD").param(&marking.target).param(&place).end();
    told_who(machine, marking);
}

fn told_who(machine: &mut Machine, marking: &Marking) {
    if let Some(room) = &marking.came {
        channel::who_is_there(machine, room, marking.asked);
    }
}
