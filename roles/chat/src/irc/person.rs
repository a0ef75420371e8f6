//! Commands about other people.
//!
//! **Job.** `WHO` (and WHOX), `WHOIS`, `WHOWAS`, `ISON`, `USERHOST`. **Called by** `machine`.
//!
//! Invariants
//! 1. Nobody's address is in any answer.
//!
//! Not here: who is in a room for `NAMES` (`channel`), oneself (`own`), who is watched (`monitor`).

use std::sync::Arc;

use madang_wire::irc::Message;

use super::channel::{is_operator, room_of};
use super::machine::{Machine, Then};
use super::numeric::{
    ERR_NONICKNAMEGIVEN, ERR_NOSUCHNICK, ERR_WASNOSUCHNICK, RPL_AWAY, RPL_ENDOFWHO, RPL_ENDOFWHOIS,
    RPL_ENDOFWHOWAS, RPL_ISON, RPL_USERHOST, RPL_WHOISACCOUNT, RPL_WHOISCHANNELS, RPL_WHOISSERVER,
    RPL_WHOISUSER, RPL_WHOREPLY, RPL_WHOSPCRPL, RPL_WHOWASUSER,
};
use super::pen::{account, user};
use super::stamp;
use crate::ask::{Skipped, Who, Whois, Whowas};
use crate::event::Person;
use crate::names;
use crate::refusal::Refusal;
use crate::reply::{Former, Known, Reply};

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
    about: Option<Arc<str>>,
}

impl Found {
    /// What IRC calls a real name.
    fn real(&self) -> &Arc<str> {
        self.about.as_ref().unwrap_or(&self.person.name)
    }
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
                about: one.about.clone(),
            })
            .collect(),
        Ok(Reply::Known(known)) if known.here => {
            let (person, about) = (known.person.clone(), known.about.clone());
            vec![Found { person, away: known.away.is_some(), operator: false, about }]
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
        Some(&format!("0 {}", one.real())),
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
    let real = fields.letters.contains('r').then(|| one.real().as_ref());
    machine.numeric(RPL_WHOSPCRPL, &words, real);
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
    let real = known.about.as_ref().unwrap_or(name);
    machine.numeric(RPL_WHOISUSER, &[name, &user(person), &net.name, "*"], Some(real));
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
    let Some(wanted) = message.param(0) else {
        machine.numeric(ERR_NONICKNAMEGIVEN, &[], Some("No nickname given"));
        return;
    };
    // What is no number from 1 on is: all that are known.
    let most = message.param(1).and_then(|most| most.parse().ok()).filter(|most| *most > 0);
    let ask = Whowas { kind: Skipped, id: Skipped, who: wanted.to_owned() };
    machine.ask(ask, Then::Whowas { wanted: wanted.to_owned(), most: most.unwrap_or(usize::MAX) });
}

pub(super) fn was(machine: &mut Machine, wanted: &str, most: usize, outcome: &Result<Reply, Refusal>) {
    let people = match outcome {
        Ok(Reply::Gone(gone)) => gone.people.as_slice(),
        _ => &[],
    };
    if people.is_empty() {
        machine.numeric(ERR_WASNOSUCHNICK, &[wanted], Some("Nobody of this name was here lately"));
    }
    let net = Arc::clone(&machine.pen.net);
    for Former { person, about, until_ms } in people.iter().take(most) {
        let real = about.as_ref().unwrap_or(&person.name);
        machine.numeric(RPL_WHOWASUSER, &[&person.name, &user(person), &net.name, "*"], Some(real));
        machine.numeric(
            RPL_WHOISSERVER,
            &[&person.name, &net.server],
            Some(&format!("until {}", stamp::time(*until_ms))),
        );
    }
    machine.numeric(RPL_ENDOFWHOWAS, &[wanted], Some("End of WHOWAS"));
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
