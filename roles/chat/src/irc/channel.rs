//! Commands about rooms.
//!
//! **Job.** `JOIN`, `PART`, `NAMES`, `TOPIC`, `LIST`, `INVITE`, `KICK`, and what their answers say. **Called by** `machine`.
//!
//! Not here: `MODE` (`mode`), what others do in a room (`told`).

use std::sync::Arc;

use madang_wire::irc::Message;

use super::caps::Cap;
use super::machine::{Channel, Machine, Then};
use super::numeric::{
    ERR_BANNEDFROMCHAN, ERR_CANNOTSENDTOCHAN, ERR_CHANNELISFULL, ERR_CHANOPRIVSNEEDED, ERR_INPUTTOOLONG,
    ERR_INVITEONLYCHAN, ERR_NOSUCHCHANNEL, ERR_NOSUCHNICK, ERR_NOTONCHANNEL, ERR_TOOMANYCHANNELS,
    RPL_ENDOFNAMES, RPL_INVITING, RPL_LIST, RPL_LISTEND, RPL_LISTSTART, RPL_NAMREPLY, RPL_NOTOPIC, RPL_TOPIC,
};
use super::pen::Marks;
use super::{marks, server, text};
use crate::ask::{Invite, Join, Kick, Leave, Rooms, Set, Skipped, Who};
use crate::event::Rank;
use crate::names;
use crate::refusal::Refusal;
use crate::reply::{Joined, People, Reply};

/// Rooms in one command.
const ROOMS_MAX: usize = 10;

/// The room of a channel's name, folded as the chat folds it.
pub(super) fn room_of(channel: &str) -> Option<Arc<str>> {
    match names::Address::read(channel.strip_prefix('#')?) {
        Ok(names::Address::Room(room)) => Some(room),
        _ => None,
    }
}

/// The room of this parameter, if the client is in it; else it is told.
pub(super) fn in_room(machine: &mut Machine, channel: &str) -> Option<Arc<str>> {
    let room = room_of(channel);
    match room {
        Some(room) if machine.channels.contains_key(&*room) => Some(room),
        Some(_) => {
            machine.numeric(ERR_NOTONCHANNEL, &[channel], Some("You are not in that room"));
            None
        }
        None => {
            no_such(machine, channel);
            None
        }
    }
}

fn no_such(machine: &mut Machine, channel: &str) {
    let text = "A room is # and 1 to 64 letters, digits, - _ or .";
    machine.numeric(ERR_NOSUCHCHANNEL, &[channel], Some(text));
}

pub(super) fn join(machine: &mut Machine, message: &Message<'_>) {
    let list = message.param(0).unwrap_or_default();
    if list == "0" {
        let all: Vec<Arc<str>> = machine.channels.keys().cloned().collect();
        for room in all {
            leave(machine, room, None);
        }
        return;
    }
    for channel in list.split(',').take(ROOMS_MAX) {
        match room_of(channel) {
            Some(room) if machine.channels.contains_key(&*room) => {}
            Some(room) => {
                let ask = Join { kind: Skipped, id: Skipped, room: room.to_string(), since: None };
                machine.ask(ask, Then::Joined { wanted: channel.into() });
            }
            None => no_such(machine, channel),
        }
    }
}

pub(super) fn joined(machine: &mut Machine, wanted: &str, outcome: &Result<Reply, Refusal>) {
    match outcome {
        Ok(Reply::Joined(joined)) => enter(machine, joined, true),
        Ok(_) => {}
        Err(refusal) => refused(machine, "JOIN", wanted, refusal),
    }
}

/// The client is in a room from now on; `asked`: it wanted to.
pub(super) fn enter(machine: &mut Machine, joined: &Joined, asked: bool) {
    let Some(me) = machine.pen.me.clone() else { return };
    // Direct messages need no joining here, and announcements no room.
    if joined.room.starts_with('@') || &*joined.room == "*" {
        return;
    }
    let room = Arc::clone(&joined.room);
    let channel = Channel {
        topic: Arc::clone(&joined.topic),
        private: joined.private,
        invite_only: joined.invite_only,
        kicked: Vec::new(),
    };
    if machine.channels.insert(Arc::clone(&room), channel).is_some() {
        return;
    }
    let shown = format!("#{room}");
    let now_ms = machine.pen.now_ms;
    let (pen, out) = if asked { machine.sink() } else { machine.news() };
    let marks = Marks { at_ms: now_ms, ..Marks::default() };
    let line = pen.person(out, &me, &marks, "JOIN").param(&shown);
    if pen.caps.has(Cap::ExtendedJoin) {
        let real = pen.about.as_ref().unwrap_or(&me.name);
        line.param(super::pen::account(&me).unwrap_or("*")).text(real).end();
    } else {
        line.end();
    }
    if !joined.topic.is_empty() {
        pen.numeric(out, RPL_TOPIC).param(&shown).text(&joined.topic).end();
    }
    if pen.caps.has(Cap::ReadMarker) {
        marks::came(machine, &room, asked);
    } else {
        who_is_there(machine, &room, asked);
    }
}

/// Who is in a room that the client came into, if it wants to be told so.
pub(super) fn who_is_there(machine: &mut Machine, room: &Arc<str>, asked: bool) {
    if machine.pen.caps.has(Cap::NoImplicitNames) {
        return;
    }
    let ask = Who { kind: Skipped, id: Skipped, room: room.to_string() };
    if asked {
        machine.ask(ask, Then::Names { room: Arc::clone(room) });
    } else {
        machine.ask_aside(ask, Then::Names { room: Arc::clone(room) });
    }
}

pub(super) fn part(machine: &mut Machine, message: &Message<'_>) {
    let why = message.param(1).map(str::to_owned);
    for channel in message.param(0).unwrap_or_default().split(',').take(ROOMS_MAX) {
        if let Some(room) = in_room(machine, channel) {
            leave(machine, room, why.clone());
        }
    }
}

fn leave(machine: &mut Machine, room: Arc<str>, why: Option<String>) {
    let ask = Leave { kind: Skipped, id: Skipped, room: room.to_string() };
    machine.ask(ask, Then::Parted { room, why });
}

pub(super) fn parted(
    machine: &mut Machine,
    room: &Arc<str>,
    why: Option<&str>,
    outcome: &Result<Reply, Refusal>,
) {
    match outcome {
        Err(refusal) if !matches!(refusal, Refusal::NotThere { .. }) => {
            refused(machine, "PART", &format!("#{room}"), refusal);
        }
        _ => gone(machine, room, why, true),
    }
}

/// The client is not in a room any more; `asked`: it wanted so.
pub(super) fn gone(machine: &mut Machine, room: &str, why: Option<&str>, asked: bool) {
    let Some(me) = machine.pen.me.clone() else { return };
    if machine.channels.remove(room).is_none() {
        return;
    }
    machine.forget_own(room);
    let marks = Marks { at_ms: machine.pen.now_ms, ..Marks::default() };
    let (pen, out) = if asked { machine.sink() } else { machine.news() };
    let line = pen.person(out, &me, &marks, "PART").param(&format!("#{room}"));
    match why {
        Some(why) => line.text(why).end(),
        None => line.end(),
    }
}

pub(super) fn names(machine: &mut Machine, message: &Message<'_>) {
    let Some(list) = message.param(0) else {
        machine.numeric(RPL_ENDOFNAMES, &["*"], Some("Name a room"));
        return;
    };
    for channel in list.split(',').take(4) {
        match room_of(channel) {
            Some(room) => {
                machine.ask(Who { kind: Skipped, id: Skipped, room: room.to_string() }, Then::Names { room });
            }
            None => machine.numeric(RPL_ENDOFNAMES, &[channel], Some("End of names")),
        }
    }
}

/// Those who are there, a line at a time; nobody of a room that one may not look into.
pub(super) fn named(machine: &mut Machine, room: &Arc<str>, outcome: &Result<Reply, Refusal>) {
    let shown = format!("#{room}");
    let private = machine.channels.get(room).is_some_and(|channel| channel.private);
    if let Ok(Reply::People(People { people, .. })) = outcome {
        let (pen, out) = machine.sink();
        let hosts = pen.caps.has(Cap::UserhostInNames);
        let mark = if private { "@" } else { "=" };
        let mut scratch = Vec::new();
        let space = pen.numeric(&mut scratch, RPL_NAMREPLY).param(mark).param(&shown).room_for_text();
        let names = people.iter().filter(|one| one.here).map(|one| {
            let sign = if is_operator(one.role) { "@" } else { "" };
            format!("{sign}{}", if hosts { pen.source(&one.person) } else { one.person.name.to_string() })
        });
        for line in text::gathered(names.collect(), ' ', space) {
            pen.numeric(out, RPL_NAMREPLY).param(mark).param(&shown).text(&line).end();
        }
    }
    machine.numeric(RPL_ENDOFNAMES, &[&shown], Some("End of names"));
}

/// Whether this rank is an operator's.
pub(super) fn is_operator(rank: Rank) -> bool {
    rank >= Rank::Moderator
}

pub(super) fn topic(machine: &mut Machine, message: &Message<'_>) {
    let Some(room) = in_room(machine, message.param(0).unwrap_or_default()) else { return };
    match message.params().get(1) {
        Some(topic) => {
            let ask = Set {
                kind: Skipped,
                id: Skipped,
                room: room.to_string(),
                topic: Some((*topic).to_owned()),
                private: None,
                invite_only: None,
                slow_ms: None,
            };
            machine.ask(ask, Then::Changed { room, command: "TOPIC" });
        }
        None => {
            let topic =
                machine.channels.get(&room).map(|channel| Arc::clone(&channel.topic)).unwrap_or_default();
            let shown = format!("#{room}");
            if topic.is_empty() {
                machine.numeric(RPL_NOTOPIC, &[&shown], Some("There is no topic"));
            } else {
                machine.numeric(RPL_TOPIC, &[&shown], Some(&topic));
            }
        }
    }
}

pub(super) fn list(machine: &mut Machine, message: &Message<'_>) {
    let wanted = message.param(0).unwrap_or_default();
    let only = wanted.split(',').filter_map(room_of).map(|room| room.to_string()).take(ROOMS_MAX).collect();
    machine.ask(Rooms { kind: Skipped, id: Skipped }, Then::Listed { only });
}

pub(super) fn listed(machine: &mut Machine, only: &[String], outcome: &Result<Reply, Refusal>) {
    match outcome {
        Ok(Reply::Rooms(rooms)) => {
            machine.numeric(RPL_LISTSTART, &["Channel"], Some("Users  Name"));
            for open in
                rooms.open.iter().filter(|open| only.is_empty() || only.iter().any(|one| **one == *open.room))
            {
                machine.numeric(
                    RPL_LIST,
                    &[&format!("#{}", open.room), &open.people.to_string()],
                    Some(&open.topic),
                );
            }
            machine.numeric(
                RPL_LISTEND,
                &[],
                Some(if rooms.more { "End of list: there are more" } else { "End of list" }),
            );
        }
        Ok(_) => {}
        Err(refusal) => refused(machine, "LIST", "*", refusal),
    }
}

/// For `LUSERS`: how many rooms there are to see.
pub(super) fn count(machine: &mut Machine) {
    machine.ask(Rooms { kind: Skipped, id: Skipped }, Then::Counted);
}

pub(super) fn counted(machine: &mut Machine, outcome: &Result<Reply, Refusal>) {
    match outcome {
        Ok(Reply::Rooms(rooms)) => server::tell_lusers(machine, rooms.open.len(), rooms.more),
        Ok(_) => {}
        Err(refusal) => refused(machine, "LUSERS", "*", refusal),
    }
}

pub(super) fn invite(machine: &mut Machine, message: &Message<'_>) {
    let (who, channel) = (message.param(0).unwrap_or_default(), message.param(1).unwrap_or_default());
    let Some(room) = in_room(machine, channel) else { return };
    let ask = Invite { kind: Skipped, id: Skipped, room: room.to_string(), who: who.to_owned() };
    machine.ask(ask, Then::Inviting { room, who: who.to_owned() });
}

pub(super) fn inviting(machine: &mut Machine, room: &Arc<str>, who: &str, outcome: &Result<Reply, Refusal>) {
    let shown = format!("#{room}");
    match outcome {
        Ok(_) => machine.numeric(RPL_INVITING, &[who, &shown], None),
        Err(refusal @ Refusal::NoSuchUser { .. }) => refused(machine, "INVITE", who, refusal),
        Err(refusal) => refused(machine, "INVITE", &shown, refusal),
    }
}

pub(super) fn kick(machine: &mut Machine, message: &Message<'_>) {
    let Some(room) = in_room(machine, message.param(0).unwrap_or_default()) else { return };
    let why = message.param(2).map(str::to_owned);
    for who in message.param(1).unwrap_or_default().split(',').take(4) {
        let ask = Kick {
            kind: Skipped,
            id: Skipped,
            room: room.to_string(),
            who: who.to_owned(),
            why: why.clone(),
        };
        machine.ask(ask, Then::Changed { room: Arc::clone(&room), command: "KICK" });
    }
}

/// Why something about a room, or about somebody, was not done: by the number of the field where it has one.
pub(super) fn refused(machine: &mut Machine, command: &str, target: &str, refusal: &Refusal) {
    let text = refusal.to_string();
    let speaks = matches!(command, "PRIVMSG" | "NOTICE" | "TAGMSG" | "BATCH");
    let number = match refusal {
        Refusal::NoSuchRoom { .. } | Refusal::BadRoom { .. } => Some(ERR_NOSUCHCHANNEL),
        Refusal::NoSuchUser { name } => {
            machine.numeric(ERR_NOSUCHNICK, &[name], Some(&text));
            return;
        }
        Refusal::BadName { .. } => Some(ERR_NOSUCHNICK),
        Refusal::NotThere { .. } if !speaks => Some(ERR_NOTONCHANNEL),
        Refusal::NotThere { .. } | Refusal::Muted { .. } | Refusal::SlowMode { .. } => {
            Some(ERR_CANNOTSENDTOCHAN)
        }
        Refusal::Banned { .. } if speaks => Some(ERR_CANNOTSENDTOCHAN),
        Refusal::Banned { .. } => Some(ERR_BANNEDFROMCHAN),
        Refusal::Private | Refusal::InviteOnly => Some(ERR_INVITEONLYCHAN),
        Refusal::NotAllowed { .. } if target.starts_with('#') => Some(ERR_CHANOPRIVSNEEDED),
        Refusal::Full { .. } if command == "JOIN" => Some(ERR_TOOMANYCHANNELS),
        Refusal::Full { .. } => Some(ERR_CHANNELISFULL),
        Refusal::TooLong { .. } => {
            machine.numeric(ERR_INPUTTOOLONG, &[], Some(&text));
            return;
        }
        _ => None,
    };
    match number {
        Some(number) => machine.numeric(number, &[target], Some(&text)),
        None => {
            let code = refusal.name().to_ascii_uppercase().replace('-', "_");
            machine.fail(command, &code, &[target], &text);
        }
    }
}
