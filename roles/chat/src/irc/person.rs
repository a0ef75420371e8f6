//! Commands about people.
//!
//! **Job.** `WHO` (and WHOX), `WHOIS`, `WHOWAS`, `ISON`, `USERHOST`, `MONITOR`, `AWAY`, `SETNAME`. **Called by** `machine`.
//!
//! Invariants
//! 1. Nobody's address is in any answer.
//!
//! Not here: who is in a room for `NAMES` (`channel`).

use std::collections::BTreeMap;
use std::sync::Arc;

use madang_wire::irc::Message;

use super::channel::{is_operator, refused, room_of};
use super::machine::{Machine, Then};
use super::numeric::{
    ERR_MONLISTFULL, ERR_NONICKNAMEGIVEN, ERR_NOSUCHNICK, ERR_WASNOSUCHNICK, RPL_AWAY, RPL_ENDOFMONLIST,
    RPL_ENDOFWHO, RPL_ENDOFWHOIS, RPL_ENDOFWHOWAS, RPL_ISON, RPL_MONLIST, RPL_MONOFFLINE, RPL_MONONLINE,
    RPL_NOWAWAY, RPL_UNAWAY, RPL_USERHOST, RPL_WHOISACCOUNT, RPL_WHOISCHANNELS, RPL_WHOISSERVER,
    RPL_WHOISUSER, RPL_WHOREPLY, RPL_WHOSPCRPL,
};
use super::pen::{account, user};
use super::server::MONITOR_MAX;
use crate::ask::{Away, Skipped, Who, Whois};
use crate::event::Person;
use crate::names;
use crate::refusal::Refusal;
use crate::reply::{Known, Reply};

/// Letters of a WHOX field list, and its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    letters: String,
    token: String,
}

/// Of what a WHO is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhoOf {
    Room,
    Person,
}

/// How an answer about who is there is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IsOnForm {
    IsOn,
    Userhost,
}

/// Whom this client wants to know about.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// By the folded name: the name as wished, and whether they are here; `None`: not known yet.
    people: BTreeMap<String, (String, Option<bool>)>,
}

pub(super) fn who(machine: &mut Machine, message: &Message<'_>) {
    let wanted = message.param(0).unwrap_or("*").to_owned();
    let fields = message.param(1).and_then(|options| options.split_once('%')).map(|(_, fields)| {
        let (letters, token) = fields.split_once(',').unwrap_or((fields, ""));
        let fits = (1..=3).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_digit());
        Fields { letters: letters.to_owned(), token: if fits { token } else { "0" }.to_owned() }
    });
    if let Some(room) = room_of(&wanted) {
        let ask = Who { kind: Skipped, id: Skipped, room: room.to_string() };
        machine.ask(ask, Then::Who { wanted, fields, of: WhoOf::Room });
    } else if names::person(&wanted).is_ok() {
        let ask = Whois { kind: Skipped, id: Skipped, who: wanted.clone() };
        machine.ask(ask, Then::Who { wanted, fields, of: WhoOf::Person });
    } else {
        // Masks find nobody: people are found by their names and in their rooms.
        machine.numeric(RPL_ENDOFWHO, &[&wanted], Some("End of WHO: name a room or a person"));
    }
}

struct Found {
    person: Person,
    away: bool,
    operator: bool,
}

pub(super) fn who_is(
    machine: &mut Machine,
    wanted: &str,
    fields: Option<Fields>,
    of: WhoOf,
    outcome: &Result<Reply, Refusal>,
) {
    let found: Vec<Found> = match outcome {
        Ok(Reply::People(people)) => people
            .people
            .iter()
            .filter(|one| one.here)
            .map(|one| Found {
                person: one.person.clone(),
                away: one.away.is_some(),
                operator: is_operator(one.role),
            })
            .collect(),
        Ok(Reply::Known(known)) if known.here => {
            vec![Found { person: known.person.clone(), away: known.away.is_some(), operator: false }]
        }
        _ => Vec::new(),
    };
    let shown = match (of, room_of(wanted)) {
        (WhoOf::Room, Some(room)) => format!("#{room}"),
        _ => "*".to_owned(),
    };
    for one in found {
        match &fields {
            Some(fields) => who_fields(machine, &shown, &one, fields),
            None => who_line(machine, &shown, &one),
        }
    }
    machine.numeric(RPL_ENDOFWHO, &[wanted], Some("End of WHO"));
}

fn flags(one: &Found) -> String {
    format!("{}{}", if one.away { "G" } else { "H" }, if one.operator { "@" } else { "" })
}

fn who_line(machine: &mut Machine, shown: &str, one: &Found) {
    let net = Arc::clone(&machine.pen.net);
    let (name, user, flags) = (&one.person.name, user(&one.person), flags(one));
    machine.numeric(
        RPL_WHOREPLY,
        &[shown, &user, &net.name, &net.server, name, &flags],
        Some(&format!("0 {name}")),
    );
}

/// A line of WHOX: the fields that were asked for, in the order of the specification.
fn who_fields(machine: &mut Machine, shown: &str, one: &Found, fields: &Fields) {
    let net = Arc::clone(&machine.pen.net);
    let person = &one.person;
    let mut words: Vec<String> = Vec::new();
    for letter in "tcuihsnfdlao".chars().filter(|letter| fields.letters.contains(*letter)) {
        words.push(match letter {
            't' => fields.token.clone(),
            'c' => shown.to_owned(),
            'u' => user(person),
            // Nobody's address is told.
            'i' => "255.255.255.255".to_owned(),
            'h' => net.name.to_string(),
            's' => net.server.to_string(),
            'n' => person.name.to_string(),
            'f' => flags(one),
            'a' => account(person).unwrap_or("0").to_owned(),
            'o' => "n/a".to_owned(),
            _ => "0".to_owned(),
        });
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let name = fields.letters.contains('r').then(|| Arc::clone(&person.name));
    machine.numeric(RPL_WHOSPCRPL, &words, name.as_deref());
}

pub(super) fn whois(machine: &mut Machine, message: &Message<'_>) {
    // With two parameters the first is a server's name: there is one server.
    let wanted = message.param(1).or(message.param(0)).unwrap_or_default();
    let wanted = wanted.split(',').next().unwrap_or_default().to_owned();
    if wanted.is_empty() {
        machine.numeric(ERR_NONICKNAMEGIVEN, &[], Some("No nickname given"));
        return;
    }
    let ask = Whois { kind: Skipped, id: Skipped, who: wanted.clone() };
    machine.ask(ask, Then::Whois { wanted });
}

pub(super) fn whois_is(machine: &mut Machine, wanted: &str, outcome: &Result<Reply, Refusal>) {
    match outcome {
        Ok(Reply::Known(known)) if known.here => tell_whois(machine, known),
        Ok(Reply::Known(_)) => machine.numeric(ERR_NOSUCHNICK, &[wanted], Some("Is not here now")),
        Ok(_) => {}
        Err(_) => machine.numeric(ERR_NOSUCHNICK, &[wanted], Some("There is nobody of this name")),
    }
    machine.numeric(RPL_ENDOFWHOIS, &[wanted], Some("End of WHOIS"));
}

fn tell_whois(machine: &mut Machine, known: &Known) {
    let net = Arc::clone(&machine.pen.net);
    let (person, name) = (&known.person, &known.person.name);
    machine.numeric(RPL_WHOISUSER, &[name, &user(person), &net.name, "*"], Some(name));
    let rooms: Vec<String> = known.rooms.iter().map(|room| format!("#{room}")).collect();
    for some in rooms.chunks(6) {
        machine.numeric(RPL_WHOISCHANNELS, &[name], Some(&some.join(" ")));
    }
    machine.numeric(RPL_WHOISSERVER, &[name, &net.server], Some(&net.name));
    if let Some(account) = account(person) {
        machine.numeric(RPL_WHOISACCOUNT, &[name, account], Some("is logged in as"));
    }
    if let Some(away) = &known.away {
        machine.numeric(RPL_AWAY, &[name], Some(away));
    }
}

pub(super) fn whowas(machine: &mut Machine, message: &Message<'_>) {
    let wanted = message.param(0).unwrap_or_default().to_owned();
    machine.numeric(ERR_WASNOSUCHNICK, &[&wanted], Some("Who has gone is not told here"));
    machine.numeric(RPL_ENDOFWHOWAS, &[&wanted], Some("End of WHOWAS"));
}

pub(super) fn ison(machine: &mut Machine, message: &Message<'_>) {
    let wanted = message.params().iter().flat_map(|param| param.split(' ')).filter(|name| !name.is_empty());
    let wanted = wanted.take(16).map(str::to_owned).collect();
    is_on_next(machine, wanted, Vec::new(), IsOnForm::IsOn);
}

pub(super) fn userhost(machine: &mut Machine, message: &Message<'_>) {
    let wanted = message.params().iter().take(5).map(|name| (*name).to_owned()).collect();
    is_on_next(machine, wanted, Vec::new(), IsOnForm::Userhost);
}

/// One after the other, from the first.
fn is_on_next(machine: &mut Machine, mut wanted: Vec<String>, found: Vec<String>, form: IsOnForm) {
    if wanted.is_empty() {
        let number = if form == IsOnForm::IsOn { RPL_ISON } else { RPL_USERHOST };
        machine.numeric(number, &[], Some(&found.join(" ")));
        return;
    }
    let who = wanted.remove(0);
    machine.ask(Whois { kind: Skipped, id: Skipped, who }, Then::IsOn { wanted, found, form });
}

pub(super) fn is_on(
    machine: &mut Machine,
    wanted: Vec<String>,
    mut found: Vec<String>,
    form: IsOnForm,
    outcome: &Result<Reply, Refusal>,
) {
    if let Ok(Reply::Known(known)) = outcome
        && known.here
    {
        let person = &known.person;
        found.push(match form {
            IsOnForm::IsOn => person.name.to_string(),
            IsOnForm::Userhost => {
                let away = if known.away.is_some() { '-' } else { '+' };
                format!("{}={away}{}@{}", person.name, user(person), machine.pen.net.name)
            }
        });
    }
    is_on_next(machine, wanted, found, form);
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

pub(super) fn setname(machine: &mut Machine, _: &Message<'_>) {
    machine.fail("SETNAME", "CANNOT_CHANGE_REALNAME", &[], "people are called by their one name here");
}

pub(super) fn monitor(machine: &mut Machine, message: &Message<'_>) {
    let list = message.param(1).unwrap_or_default();
    let mut names = list.split(',').filter(|name| !name.is_empty());
    match message.param(0).unwrap_or_default() {
        "+" => {
            while let Some(name) = names.next() {
                let folded = names::fold(name);
                if machine.watch.people.len() >= MONITOR_MAX && !machine.watch.people.contains_key(&folded) {
                    let rest = std::iter::once(name).chain(names).collect::<Vec<_>>().join(",");
                    machine.numeric(
                        ERR_MONLISTFULL,
                        &[&MONITOR_MAX.to_string(), &rest],
                        Some("That is more than may be watched"),
                    );
                    return;
                }
                machine.watch.people.insert(folded, (name.to_owned(), None));
                let ask = Whois { kind: Skipped, id: Skipped, who: name.to_owned() };
                machine.ask(ask, Then::Watched { name: name.to_owned() });
            }
        }
        "-" => names.for_each(|name| {
            machine.watch.people.remove(&names::fold(name));
        }),
        "C" | "c" => machine.watch.people.clear(),
        "L" | "l" => {
            let all: Vec<String> = machine.watch.people.values().map(|(name, _)| name.clone()).collect();
            for some in all.chunks(10) {
                machine.numeric(RPL_MONLIST, &[], Some(&some.join(",")));
            }
            machine.numeric(RPL_ENDOFMONLIST, &[], Some("End of the list"));
        }
        "S" | "s" => {
            let all: Vec<String> = machine.watch.people.values().map(|(name, _)| name.clone()).collect();
            for (_, here) in machine.watch.people.values_mut() {
                *here = None;
            }
            for name in all {
                let ask = Whois { kind: Skipped, id: Skipped, who: name.clone() };
                machine.ask(ask, Then::Watched { name });
            }
        }
        _ => {}
    }
}

/// Looks who came and who went: to be called now and then.
pub(super) fn look(machine: &mut Machine) {
    let all: Vec<String> = machine.watch.people.values().map(|(name, _)| name.clone()).collect();
    for name in all {
        let ask = Whois { kind: Skipped, id: Skipped, who: name.clone() };
        machine.ask_aside(ask, Then::Watched { name });
    }
}

pub(super) fn watched(machine: &mut Machine, name: &str, outcome: &Result<Reply, Refusal>) {
    let known = match outcome {
        Ok(Reply::Known(known)) if known.here => Some(known),
        Ok(_) | Err(Refusal::NoSuchUser { .. } | Refusal::BadName { .. }) => None,
        // The server could not say now: what was known stays.
        Err(_) => return,
    };
    let Some((shown, was_here)) = machine.watch.people.get_mut(&names::fold(name)) else { return };
    if was_here.replace(known.is_some()) == Some(known.is_some()) {
        return;
    }
    let shown = shown.clone();
    match known {
        Some(known) => {
            let source = machine.pen.source(&known.person);
            machine.numeric(RPL_MONONLINE, &[], Some(&source));
        }
        None => machine.numeric(RPL_MONOFFLINE, &[], Some(&shown)),
    }
}
