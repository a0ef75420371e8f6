//! Commands about oneself.
//!
//! **Job.** `NICK`, `SETNAME`, `AWAY`, and what a client is told when it, or another connection of its person, changed them.
//! **Called by** `machine`, `told`.
//!
//! Invariants
//! 1. A change is said once to the client that made it: as the answer, with its label.
//!
//! Not here: the first name (`register`), who may be called what (`hub`).

use std::sync::Arc;

use madang_wire::irc::Message;

use super::caps::Cap;
use super::channel::refused;
use super::machine::{Machine, Then};
use super::numeric::{
    ERR_ERRONEUSNICKNAME, ERR_NICKNAMEINUSE, ERR_NONICKNAMEGIVEN, ERR_RESTRICTED, RPL_NOWAWAY, RPL_UNAWAY,
};
use super::pen::Marks;
use super::register;
use crate::ask::{About, Away, Rename, Skipped};
use crate::event::Person;
use crate::names;
use crate::refusal::Refusal;
use crate::reply::Reply;

pub(super) fn nick(machine: &mut Machine, message: &Message<'_>) {
    let Some(nick) = message.param(0).filter(|nick| !nick.is_empty()) else {
        machine.numeric(ERR_NONICKNAMEGIVEN, &[], Some("No nickname given"));
        return;
    };
    if !machine.registered() {
        register::nick(machine, nick);
    } else if *machine.pen.nick != *nick {
        let ask = Rename { kind: Skipped, id: Skipped, name: nick.to_owned() };
        machine.ask(ask, Then::Renamed { wanted: nick.to_owned() });
    }
}

pub(super) fn renamed(machine: &mut Machine, wanted: &str, outcome: &Result<Reply, Refusal>) {
    match outcome {
        Ok(Reply::You(you)) => called(machine, &you.name, true),
        Ok(_) => {}
        Err(refusal) => {
            let text = refusal.to_string();
            match refusal {
                Refusal::NameTaken { .. } => {
                    machine.numeric(ERR_NICKNAMEINUSE, &[wanted], Some("Somebody has this name"));
                }
                Refusal::BadName { .. } => machine.numeric(ERR_ERRONEUSNICKNAME, &[wanted], Some(&text)),
                Refusal::NotAllowed { .. } => machine.numeric(ERR_RESTRICTED, &[], Some(&text)),
                other => refused(machine, "NICK", wanted, other),
            }
        }
    }
}

/// It has this name from now on; `asked`: it wanted to.
fn called(machine: &mut Machine, name: &Arc<str>, asked: bool) {
    let Some(me) = machine.pen.me.clone() else { return };
    let now_ms = machine.pen.now_ms;
    let (pen, out) = if asked { machine.sink() } else { machine.news() };
    pen.person(out, &me, &Marks { at_ms: now_ms, ..Marks::default() }, "NICK").text(name).end();
    pen.nick = Arc::clone(name);
    pen.me = Some(Person { id: me.id, name: Arc::clone(name) });
}

/// Somebody has another name.
pub(super) fn told_renamed(machine: &mut Machine, by: &Person, name: &Arc<str>) {
    if !machine.pen.is_me(by) {
        let now_ms = machine.pen.now_ms;
        let (pen, out) = machine.news();
        pen.person(out, by, &Marks { at_ms: now_ms, ..Marks::default() }, "NICK").text(name).end();
        return;
    }
    // The answer to its own wish is on its way.
    let is_answer =
        |then: &Then| matches!(then, Then::Renamed { wanted } if names::fold(wanted) == names::fold(name));
    if machine.pen.nick != *name && !machine.awaits(is_answer) {
        called(machine, name, false);
    }
}

pub(super) fn setname(machine: &mut Machine, message: &Message<'_>) {
    let text = message.param(0).filter(|text| !text.trim().is_empty()).map(str::to_owned);
    let described = text.as_deref().map(Into::into);
    machine.ask(About { kind: Skipped, id: Skipped, text }, Then::Described { text: described });
}

/// What USER said of its person. What cannot be kept is not worth a word: nobody asked for it.
pub(super) fn introduce(machine: &mut Machine, real: &str) {
    if real.trim().is_empty() || names::fold(real) == names::fold(&machine.pen.nick) {
        return;
    }
    let mut text: String = real.chars().filter(|c| !c.is_control()).collect();
    text.truncate(text.floor_char_boundary(super::server::REAL_BYTES_MAX));
    machine.pen.about = Some(text.as_str().into());
    machine.ask_aside(About { kind: Skipped, id: Skipped, text: Some(text) }, Then::Nothing);
}

pub(super) fn described(machine: &mut Machine, text: Option<Arc<str>>, outcome: &Result<Reply, Refusal>) {
    match outcome {
        Ok(_) => {
            let Some(me) = machine.pen.me.clone() else { return };
            machine.pen.about = text;
            tell_described(machine, &me, true);
        }
        Err(refusal) => {
            let code = match refusal {
                Refusal::TooLong { .. } | Refusal::BadText { .. } => "INVALID_REALNAME",
                _ => "CANNOT_CHANGE_REALNAME",
            };
            machine.fail("SETNAME", code, &[], &refusal.to_string());
        }
    }
}

/// Somebody says something else of themselves.
pub(super) fn told_described(machine: &mut Machine, by: &Person, text: Option<&Arc<str>>) {
    if machine.pen.is_me(by) {
        let is_answer =
            |then: &Then| matches!(then, Then::Described { text: wanted } if wanted.as_ref() == text);
        if machine.pen.about.as_ref() == text || machine.awaits(is_answer) {
            return;
        }
        machine.pen.about = text.cloned();
        return tell_described(machine, by, false);
    }
    let now_ms = machine.pen.now_ms;
    let (pen, out) = machine.news();
    if pen.caps.has(Cap::SetName) {
        let line = pen.person(out, by, &Marks { at_ms: now_ms, ..Marks::default() }, "SETNAME");
        line.text(text.unwrap_or(&by.name)).end();
    }
}

fn tell_described(machine: &mut Machine, me: &Person, asked: bool) {
    let now_ms = machine.pen.now_ms;
    let (pen, out) = if asked { machine.sink() } else { machine.news() };
    if pen.caps.has(Cap::SetName) {
        let line = pen.person(out, me, &Marks { at_ms: now_ms, ..Marks::default() }, "SETNAME");
        line.text(pen.about.as_ref().unwrap_or(&me.name)).end();
    }
}

pub(super) fn away(machine: &mut Machine, message: &Message<'_>) {
    let text = message.param(0).map(str::to_owned);
    let here = text.is_none();
    machine.ask(Away { kind: Skipped, id: Skipped, text }, Then::Away { here });
}

pub(super) fn is_away(machine: &mut Machine, here: bool, outcome: &Result<Reply, Refusal>) {
    match outcome {
        Ok(_) if here => machine.numeric(RPL_UNAWAY, &[], Some("You are marked as here again")),
        Ok(_) => machine.numeric(RPL_NOWAWAY, &[], Some("You are marked as away")),
        Err(refusal) => refused(machine, "AWAY", "*", refusal),
    }
}
