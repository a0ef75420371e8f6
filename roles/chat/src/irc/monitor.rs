//! `MONITOR`: whose coming and going a client is told (IRCv3 monitor).
//!
//! **Job.** Keep the client's list, have the chat watch it, tell who came and who went. **Called by** `machine`, `told`.
//!
//! Invariants
//! 1. What the chat watches for this connection is the client's list, after every change of it.
//!
//! Not here: who is here (`hub`).

use std::collections::BTreeMap;

use madang_wire::irc::Message;

use super::channel::refused;
use super::machine::{Machine, Then};
use super::numeric::{ERR_MONLISTFULL, RPL_ENDOFMONLIST, RPL_MONLIST, RPL_MONOFFLINE, RPL_MONONLINE};
use super::server::MONITOR_MAX;
use super::text;
use crate::ask::{self, Skipped};
use crate::event::Person;
use crate::names;
use crate::refusal::Refusal;
use crate::reply::Reply;

/// Whom this client wants to know about: by the folded name, the name as wished.
#[derive(Debug, Default)]
pub(super) struct Watch {
    people: BTreeMap<String, String>,
}

pub(super) fn monitor(machine: &mut Machine, message: &Message<'_>) {
    let list = message.param(1).unwrap_or_default();
    let mut names = list.split(',').filter(|name| !name.is_empty());
    match message.param(0).unwrap_or_default() {
        "+" => {
            let (mut asked, mut rest) = (Vec::new(), Vec::new());
            // Masks and what else is no name are nobody's: there is nothing to tell of them.
            for name in names.filter(|name| names::person(name).is_ok()) {
                let folded = names::fold(name);
                let people = &mut machine.watch.people;
                if people.len() >= MONITOR_MAX && !people.contains_key(&folded) {
                    rest.push(name);
                    continue;
                }
                people.insert(folded, name.to_owned());
                asked.push(name.to_owned());
            }
            if !rest.is_empty() {
                let (most, rest) = (MONITOR_MAX.to_string(), rest.join(","));
                machine.numeric(ERR_MONLISTFULL, &[&most, &rest], Some("That is more than may be watched"));
            }
            watch(machine, asked);
        }
        "-" => {
            let before = machine.watch.people.len();
            names.by_ref().for_each(|name| drop(machine.watch.people.remove(&names::fold(name))));
            if machine.watch.people.len() != before {
                watch(machine, Vec::new());
            }
        }
        "C" | "c" if !machine.watch.people.is_empty() => {
            machine.watch.people.clear();
            watch(machine, Vec::new());
        }
        "L" | "l" => {
            let all: Vec<String> = machine.watch.people.values().cloned().collect();
            tell(machine, RPL_MONLIST, all);
            machine.numeric(RPL_ENDOFMONLIST, &[], Some("End of the list"));
        }
        "S" | "s" => {
            let all = machine.watch.people.values().cloned().collect();
            watch(machine, all);
        }
        _ => {}
    }
}

/// Has the chat watch the list as it is now, and tells of those who are asked for.
fn watch(machine: &mut Machine, asked: Vec<String>) {
    let who = machine.watch.people.values().cloned().collect();
    machine.ask(ask::Watch { kind: Skipped, id: Skipped, who }, Then::Watched { asked });
}

pub(super) fn watched(machine: &mut Machine, asked: &[String], outcome: &Result<Reply, Refusal>) {
    let here = match outcome {
        Ok(Reply::Watched(watched)) => &watched.here,
        Ok(_) => return,
        Err(refusal) => return refused(machine, "MONITOR", "*", refusal),
    };
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for name in asked {
        let folded = names::fold(name);
        match here.iter().find(|person| names::fold(&person.name) == folded) {
            Some(person) => on.push(machine.pen.source(person)),
            None => off.push(name.clone()),
        }
    }
    tell(machine, RPL_MONONLINE, on);
    tell(machine, RPL_MONOFFLINE, off);
}

/// These words with commas between them, in as many lines as they need.
fn tell(machine: &mut Machine, number: &str, words: Vec<String>) {
    let mut scratch = Vec::new();
    let space = machine.pen.numeric(&mut scratch, number).room_for_text();
    for line in text::gathered(words, ',', space) {
        machine.numeric(number, &[], Some(&line));
    }
}

/// Somebody who is watched came or went.
pub(super) fn seen(machine: &mut Machine, who: &Person, here: bool) {
    let Some(wished) = machine.watch.people.get(&names::fold(&who.name)).cloned() else { return };
    let (pen, out) = machine.news();
    if here {
        pen.numeric(out, RPL_MONONLINE).text(&pen.source(who)).end();
    } else {
        pen.numeric(out, RPL_MONOFFLINE).text(&wished).end();
    }
}
