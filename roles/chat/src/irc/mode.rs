//! `MODE`: what a room is like, who keeps order in it.
//!
//! **Job.** Read changes of modes, ask for them; say what the modes are. **Called by** `machine`.
//!
//! - `o`: moderator (`+o`), or not any more (`-o`). `b`: a ban of one person, by name. `i`: by invitation only. `s`: private.
//! - `n` and `t` are always on: who is not in a room says nothing in it, and moderators set its topic.
//!
//! Not here: who may (`hub`), what a change looks like to others (`told`).

use std::sync::Arc;

use madang_wire::irc::Message;

use super::channel::{in_room, refused};
use super::machine::{Machine, Then};
use super::numeric::{
    ERR_NEEDMOREPARAMS, ERR_UMODEUNKNOWNFLAG, ERR_UNKNOWNMODE, ERR_USERSDONTMATCH, RPL_BANLIST,
    RPL_CHANNELMODEIS, RPL_ENDOFBANLIST, RPL_UMODEIS,
};
use crate::ask::{Ban, Bans, Role, Set, Skipped, Unban};
use crate::event::Rank;
use crate::names;
use crate::refusal::Refusal;
use crate::reply::Reply;

/// Changes with a parameter in one command.
const CHANGES_MAX: usize = 4;

pub(super) fn mode(machine: &mut Machine, message: &Message<'_>) {
    let target = message.param(0).unwrap_or_default();
    if !target.starts_with('#') {
        return of_person(machine, target, message.param(1));
    }
    let Some(room) = in_room(machine, target) else { return };
    let Some(changes) = message.param(1) else {
        let modes = modes(machine, &room);
        machine.numeric(RPL_CHANNELMODEIS, &[&format!("#{room}"), &modes], None);
        return;
    };
    change(machine, &room, changes, message.params().get(2..).unwrap_or_default());
}

/// `+nt` and what else is on.
pub(super) fn modes(machine: &Machine, room: &str) -> String {
    let mut modes = String::from("+nt");
    if let Some(channel) = machine.channels.get(room) {
        modes.push_str(if channel.invite_only { "i" } else { "" });
        modes.push_str(if channel.private { "s" } else { "" });
    }
    modes
}

fn of_person(machine: &mut Machine, target: &str, changes: Option<&str>) {
    if names::fold(target) != names::fold(&machine.pen.nick) {
        machine.numeric(ERR_USERSDONTMATCH, &[], Some("These are somebody else's modes"));
        return;
    }
    match changes {
        // Nobody is found but by those who know where to look: that is always on.
        None => machine.numeric(RPL_UMODEIS, &["+i"], None),
        Some(changes) if changes.trim_start_matches(['+', '-']).chars().all(|c| "iw".contains(c)) => {}
        Some(_) => machine.numeric(ERR_UMODEUNKNOWNFLAG, &[], Some("There is no such mode of a person here")),
    }
}

fn change(machine: &mut Machine, room: &Arc<str>, changes: &str, words: &[&str]) {
    let shown = format!("#{room}");
    let (mut words, mut on) = (words.iter().take(CHANGES_MAX), true);
    let (mut private, mut invite_only) = (None, None);
    for flag in changes.chars() {
        match flag {
            '+' => on = true,
            '-' => on = false,
            'i' => invite_only = Some(on),
            's' | 'p' => private = Some(on),
            'n' | 't' if on => {}
            'n' | 't' => machine.fail("MODE", "NOT_HERE", &[&shown], "n and t are always on here"),
            'b' => match words.next() {
                Some(mask) => ban(machine, room, mask, on),
                None => machine.ask(
                    Bans { kind: Skipped, id: Skipped, room: room.to_string() },
                    Then::Bans { room: Arc::clone(room) },
                ),
            },
            'o' => match words.next() {
                Some(who) => operator(machine, room, who, on),
                None => machine.numeric(ERR_NEEDMOREPARAMS, &["MODE"], Some("o needs a name")),
            },
            other => {
                machine.numeric(
                    ERR_UNKNOWNMODE,
                    &[&other.to_string()],
                    Some("There is no such mode of a room here"),
                );
            }
        }
    }
    if private.is_some() || invite_only.is_some() {
        let room_name = room.to_string();
        let ask = Set {
            kind: Skipped,
            id: Skipped,
            room: room_name,
            topic: None,
            private,
            invite_only,
            slow_ms: None,
        };
        machine.ask(ask, Then::Changed { room: Arc::clone(room), command: "MODE" });
    }
}

/// A ban is of one person: `kim`, `kim!*@*` and `kim!*` are the same.
fn ban(machine: &mut Machine, room: &Arc<str>, mask: &str, on: bool) {
    let who = mask.strip_suffix("!*@*").or_else(|| mask.strip_suffix("!*")).unwrap_or(mask);
    if who.contains(['*', '?', '!', '@', '$']) {
        let text = "a ban is of one person: give a name, or name!*@*";
        machine.fail("MODE", "INVALID_MASK", &[&format!("#{room}"), mask], text);
        return;
    }
    let (room_name, who) = (room.to_string(), who.to_owned());
    let then = Then::Changed { room: Arc::clone(room), command: "MODE" };
    if on {
        machine.ask(Ban { kind: Skipped, id: Skipped, room: room_name, who, why: None, minutes: None }, then);
    } else {
        machine.ask(Unban { kind: Skipped, id: Skipped, room: room_name, who }, then);
    }
}

/// Who is banned; mutes are no bans, and IRC has no list for them.
pub(super) fn bans(machine: &mut Machine, room: &Arc<str>, outcome: &Result<Reply, Refusal>) {
    let shown = format!("#{room}");
    match outcome {
        Ok(Reply::Bans(list)) => {
            for shut in &list.bans {
                machine.numeric(RPL_BANLIST, &[&shown, &format!("{}!*@*", shut.person.name)], None);
            }
            machine.numeric(RPL_ENDOFBANLIST, &[&shown], Some("End of the bans"));
        }
        Ok(_) => {}
        Err(refusal) => refused(machine, "MODE", &shown, refusal),
    }
}

fn operator(machine: &mut Machine, room: &Arc<str>, who: &str, on: bool) {
    // Whoever is no moderator any more is still let into a room that is not open.
    let closed = machine.channels.get(room).is_some_and(|channel| channel.private || channel.invite_only);
    let role = match (on, closed) {
        (true, _) => Rank::Moderator,
        (false, true) => Rank::Member,
        (false, false) => Rank::None,
    };
    let ask = Role { kind: Skipped, id: Skipped, room: room.to_string(), who: who.to_owned(), role };
    machine.ask(ask, Then::Changed { room: Arc::clone(room), command: "MODE" });
}
