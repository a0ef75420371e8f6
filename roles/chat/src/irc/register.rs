//! The first lines of a connection: who it is and what it can do.
//!
//! **Job.** `CAP`, `PASS`, `NICK`, `USER`, `AUTHENTICATE`; when all is there, say hello to the chat, and tell the client what it has
//! come to. **Called by** `machine`.
//!
//! Invariants
//! 1. Hello is said once at a time, and only when the client has ended its negotiation.
//! 2. A name that is taken or no name costs the client another NICK, nothing else.
//!
//! Not here: the time that all this may take (`door`).

use std::sync::Arc;

use madang_wire::irc::Message;

use super::caps::{CAPS, Cap};
use super::machine::Machine;
use super::numeric::{
    ERR_ALREADYREGISTERED, ERR_ERRONEUSNICKNAME, ERR_INVALIDCAPCMD, ERR_NEEDMOREPARAMS, ERR_NICKNAMEINUSE,
    ERR_PASSWDMISMATCH, ERR_SASLABORTED, ERR_SASLALREADY, ERR_SASLFAIL, ERR_SASLTOOLONG, RPL_CREATED,
    RPL_LOGGEDIN, RPL_MYINFO, RPL_SASLMECHS, RPL_SASLSUCCESS, RPL_WELCOME, RPL_YOURHOST,
};
use super::sasl::{Attempt, Gathered, Pieces, Step, chunks};
use super::{own, server};
use crate::event::Person;
use crate::post::Claim;
use crate::refusal::Refusal;
use crate::reply::{Reply, Welcome};

/// Lines that a client may send before it is registered. A bad day with three names and SASL in pieces needs forty.
const LINES_MAX: usize = 60;

/// What is known of a client that has not been welcomed.
#[derive(Debug, Default)]
pub(super) struct Registering {
    nick: Option<String>,
    user: bool,
    /// What USER says of its person.
    real: Option<String>,
    pass: Option<String>,
    /// It was looked at as a login, and is none: perhaps a guest's key.
    pass_is_key: bool,
    /// The client negotiates; nothing begins before `CAP END`.
    negotiating: bool,
    /// It logged in.
    claim: Option<Claim>,
    /// What it was asked for by a mechanism.
    sasl: Option<Pieces>,
    /// Hello was said, or a password is being looked at.
    waiting: bool,
    lines: usize,
}

impl Registering {
    /// It needs no login.
    pub(super) fn signed_in(&mut self, claim: Claim) {
        self.claim = Some(claim);
    }

    /// Counts a line; whether that is too many.
    pub(super) fn one_line_more(&mut self) -> bool {
        self.lines += 1;
        self.lines > LINES_MAX
    }
}

fn offered(machine: &Machine) -> impl Fn(Cap) -> bool + use<> {
    let users = !machine.pen.net.mechanisms.is_empty();
    move |cap| cap != Cap::Sasl || users
}

pub(super) fn cap(machine: &mut Machine, message: &Message<'_>) {
    let subcommand = message.param(0).unwrap_or_default().to_ascii_uppercase();
    let nick = Arc::clone(&machine.pen.nick);
    let negotiates = |machine: &mut Machine, on: bool| {
        if let Some(registering) = &mut machine.registering {
            registering.negotiating = on;
        }
    };
    match subcommand.as_str() {
        "LS" => {
            negotiates(machine, true);
            // Only a client of version 302 knows values.
            let values =
                message.param(1).and_then(|version| version.parse::<u32>().ok()).is_some_and(|v| v >= 302);
            if values {
                machine.pen.caps = machine.pen.caps.with(Cap::CapNotify);
            }
            let list = list(machine, values);
            tell_cap(machine, &nick, "LS", &list);
        }
        "LIST" => {
            let names = machine.pen.caps.names();
            tell_cap(machine, &nick, "LIST", &names);
        }
        "REQ" => {
            negotiates(machine, true);
            let wanted = message.param(1).unwrap_or_default();
            match machine.pen.caps.requested(wanted, offered(machine)) {
                Some(caps) => {
                    machine.pen.caps = caps;
                    tell_cap(machine, &nick, "ACK", wanted);
                }
                None => tell_cap(machine, &nick, "NAK", wanted),
            }
        }
        "END" => {
            negotiates(machine, false);
            try_hello(machine);
        }
        other => machine.numeric(ERR_INVALIDCAPCMD, &[other], Some("LS, LIST, REQ or END")),
    }
}

fn tell_cap(machine: &mut Machine, nick: &str, subcommand: &str, list: &str) {
    let (pen, out) = machine.sink();
    pen.server(out, "CAP").param(nick).param(subcommand).text(list).end();
}

/// Everything that is offered, with values for those who know them.
fn list(machine: &Machine, values: bool) -> String {
    let (offered, net) = (offered(machine), &machine.pen.net);
    let all = CAPS.iter().filter(|(cap, _)| offered(*cap)).map(|(cap, name)| match cap {
        Cap::Sasl if values => format!("{name}={}", net.mechanisms.join(",")),
        Cap::Multiline if values => format!("{name}=max-bytes={},max-lines=100", net.message_bytes),
        _ => (*name).to_owned(),
    });
    all.collect::<Vec<_>>().join(" ")
}

pub(super) fn pass(machine: &mut Machine, message: &Message<'_>) {
    match &mut machine.registering {
        Some(registering) => registering.pass = message.param(0).map(str::to_owned),
        None => machine.numeric(ERR_ALREADYREGISTERED, &[], Some("You are registered already")),
    }
}

pub(super) fn nick(machine: &mut Machine, nick: &str) {
    if let Some(registering) = &mut machine.registering {
        registering.nick = Some(nick.to_owned());
        try_hello(machine);
    }
}

pub(super) fn user(machine: &mut Machine, message: &Message<'_>) {
    match &mut machine.registering {
        None => machine.numeric(ERR_ALREADYREGISTERED, &[], Some("You are registered already")),
        Some(_) if message.param(0).is_none() || message.param(3).is_none() => {
            machine.numeric(ERR_NEEDMOREPARAMS, &["USER"], Some("Not enough parameters"));
        }
        Some(registering) => {
            registering.user = true;
            registering.real = message.param(3).map(str::to_owned);
            try_hello(machine);
        }
    }
}

pub(super) fn authenticate(machine: &mut Machine, message: &Message<'_>) {
    let wanted = message.param(0).unwrap_or_default();
    let mechanisms = machine.pen.net.mechanisms;
    let Some(registering) = &mut machine.registering else {
        machine.numeric(ERR_SASLFAIL, &[], Some("Log in before NICK and USER are accepted"));
        return;
    };
    if registering.claim.is_some() {
        machine.numeric(ERR_SASLALREADY, &[], Some("You are logged in already"));
    } else if wanted == "*" {
        registering.sasl = None;
        machine.numeric(ERR_SASLABORTED, &[], Some("Login given up"));
        machine.login(Attempt::Abort);
    } else if let Some(pieces) = &mut registering.sasl {
        match pieces.add(wanted) {
            Gathered::More => {}
            Gathered::Message(message) => machine.login(Attempt::Message(message)),
            Gathered::TooLong => {
                registering.sasl = None;
                machine.numeric(ERR_SASLTOOLONG, &[], Some("That is too long"));
                machine.login(Attempt::Abort);
            }
            Gathered::Malformed => {
                registering.sasl = None;
                machine.numeric(ERR_SASLFAIL, &[], Some("That is not base64"));
                machine.login(Attempt::Abort);
            }
        }
    } else {
        let wanted = wanted.to_ascii_uppercase();
        match mechanisms.iter().find(|mechanism| **mechanism == wanted) {
            Some(mechanism) => {
                registering.sasl = Some(Pieces::default());
                machine.login(Attempt::Begin(mechanism));
            }
            None => {
                machine.numeric(RPL_SASLMECHS, &[&mechanisms.join(",")], Some("are the mechanisms here"));
                machine.numeric(ERR_SASLFAIL, &[], Some("There is no such mechanism here"));
            }
        }
    }
}

/// The next step of a login, by AUTHENTICATE or by PASS.
pub(super) fn authenticated(machine: &mut Machine, step: Step) {
    let Some(registering) = &mut machine.registering else { return };
    let by_pass = std::mem::take(&mut registering.waiting);
    // The client gave up meanwhile.
    if !by_pass && registering.sasl.is_none() {
        return;
    }
    match step {
        Step::Challenge(message) => {
            for chunk in chunks(&message) {
                let (_, out) = machine.sink();
                // Without a source, as every implementation does.
                madang_wire::irc::Line::new(out).command("AUTHENTICATE").param(&chunk).end();
            }
        }
        Step::Done(claim) => {
            registering.sasl = None;
            let source = format!("{}!*@{}", machine.pen.nick, machine.pen.net.name);
            let name = match &claim {
                Claim::User { name, .. } => name.to_string(),
                Claim::Guest { name, .. } => name.clone(),
                Claim::Post { post, .. } => post.to_string(),
            };
            registering.claim = Some(claim);
            machine.numeric(RPL_LOGGEDIN, &[&source, &name], Some(&format!("You are logged in as {name}")));
            if !by_pass {
                machine.numeric(RPL_SASLSUCCESS, &[], Some("Login succeeded"));
            }
            try_hello(machine);
        }
        Step::Refused(why) if by_pass => {
            machine.numeric(ERR_PASSWDMISMATCH, &[], Some(&why));
            machine.end("that password is not right here");
        }
        Step::Refused(why) => {
            registering.sasl = None;
            machine.numeric(ERR_SASLFAIL, &[], Some(&why));
        }
        Step::NoLogin => try_hello(machine),
    }
}

/// Says hello when everything for it is there.
fn try_hello(machine: &mut Machine) {
    let users = !machine.pen.net.mechanisms.is_empty();
    let Some(registering) = &mut machine.registering else { return };
    if registering.negotiating || registering.waiting || !registering.user {
        return;
    }
    let Some(nick) = registering.nick.clone() else { return };
    registering.waiting = true;
    if let Some(claim) = registering.claim.clone() {
        machine.hello(claim);
        return;
    }
    let pass = registering.pass.clone();
    match pass {
        Some(pass) if users && !registering.pass_is_key => {
            registering.pass_is_key = true;
            machine.login(Attempt::Pass(pass));
        }
        key => {
            let keeps = key.is_some();
            machine.hello(Claim::Guest { name: nick, key, keeps });
        }
    }
}

/// The chat's answer to hello.
pub(super) fn welcomed(machine: &mut Machine, outcome: &Result<Reply, Refusal>) {
    let Some(registering) = &mut machine.registering else { return };
    registering.waiting = false;
    let refusal = match outcome {
        Ok(Reply::Welcome(welcome)) => return welcome_in(machine, welcome),
        Ok(_) => return,
        Err(refusal) => refusal,
    };
    let nick = registering.nick.take().unwrap_or_default();
    match refusal {
        Refusal::NameTaken { .. } => {
            machine.numeric(ERR_NICKNAMEINUSE, &[&nick], Some("Somebody has this name"));
        }
        Refusal::BadName { .. } => {
            machine.numeric(ERR_ERRONEUSNICKNAME, &[&nick], Some(&refusal.to_string()));
        }
        Refusal::BadKey | Refusal::UsersOnly => {
            machine.numeric(ERR_PASSWDMISMATCH, &[], Some(&refusal.to_string()));
            machine.end(&refusal.to_string());
        }
        other => machine.end(&other.to_string()),
    }
}

fn welcome_in(machine: &mut Machine, welcome: &Welcome) {
    let you = &welcome.you;
    let real = machine.registering.take().and_then(|registering| registering.real);
    machine.pen.nick = Arc::clone(&you.name);
    machine.pen.me = Some(Person { id: you.id.clone(), name: Arc::clone(&you.name) });
    let net = Arc::clone(&machine.pen.net);
    machine.numeric(RPL_WELCOME, &[], Some(&format!("Welcome to {}, {}", net.name, you.name)));
    machine.numeric(RPL_YOURHOST, &[], Some(&format!("You are at {}, running {}", net.server, net.version)));
    machine.numeric(
        RPL_CREATED,
        &[],
        Some("What is said here is kept: it can be read again with CHATHISTORY"),
    );
    machine.numeric(RPL_MYINFO, &[&net.server, &net.version, "i", "binst", "bo"], None);
    server::supported(machine);
    server::tell_motd(machine);
    if let Some(key) = &welcome.key {
        machine.notice(&format!("With PASS {key} you come back under this name"));
    }
    real.iter().for_each(|real| own::introduce(machine, real));
}
