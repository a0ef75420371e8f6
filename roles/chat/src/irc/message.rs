//! Commands that say something.
//!
//! **Job.** `PRIVMSG`, `NOTICE`, `TAGMSG` (typing, reactions), `REDACT`, and `BATCH` for messages of several lines.
//! **Called by** `machine`.
//!
//! Invariants
//! 1. A message of several lines is kept up to the chat's own limit and no further.
//!
//! Not here: how what others say looks (`pen`, `told`).

use std::sync::Arc;

use madang_wire::irc::Message;

use super::caps::Cap;
use super::channel::room_of;
use super::machine::{Machine, Then};
use super::numeric::{ERR_NORECIPIENT, ERR_NOTEXTTOSEND};
use super::stamp;
use super::text::{self, Said};
use crate::ask::{Announce, Ask, Delete, React, Send, Skipped, Typing};
use crate::names;
use crate::refusal::Refusal;
use crate::reply::{Kept, Reply};

/// Lines of one message (draft/multiline, `max-lines`).
const LINES_MAX: usize = 100;
/// The tag by which a client names what it sends.
const NONCE: &str = "+madang/nonce";

/// A message of several lines that is being sent.
#[derive(Debug)]
pub(super) struct Paper {
    name: String,
    target: String,
    text: String,
    lines: usize,
    reply: Option<u64>,
    nonce: Option<String>,
    /// Whether its lines are NOTICEs: the first one says.
    notice: Option<bool>,
    /// Its answer comes when it has ended.
    label: Option<String>,
    /// It is too long, or not what a message is: it is refused as a whole.
    spoilt: Option<&'static str>,
}

/// What a target is to the chat: `#lobby`, a person, or everybody.
pub(super) fn room_name(target: &str) -> Option<String> {
    match target {
        "$*" | "*" => Some("*".to_owned()),
        channel if channel.starts_with('#') => room_of(channel).map(|room| room.to_string()),
        person => names::person(person).ok().map(|name| format!("@{name}")),
    }
}

/// Epoch and offset of the message that this `msgid` names in this conversation.
pub(super) fn offset_of(machine: &Machine, room: &str, msgid: &str) -> Option<u64> {
    stamp::read_msgid(&machine.pen.room_key(room), msgid).map(|(_, offset)| offset)
}

pub(super) fn privmsg(machine: &mut Machine, message: &Message<'_>) {
    if let Some(name) = message.tags.get("batch") {
        return line_of_paper(machine, &name, message, false);
    }
    say(machine, message, "PRIVMSG");
}

pub(super) fn notice(machine: &mut Machine, message: &Message<'_>) {
    if let Some(name) = message.tags.get("batch") {
        return line_of_paper(machine, &name, message, true);
    }
    say(machine, message, "NOTICE");
}

fn say(machine: &mut Machine, message: &Message<'_>, command: &'static str) {
    // What is wrong with a NOTICE is not said: nothing may answer it (RFC 2812 3.3.2).
    let notice = command == "NOTICE";
    let Some(target) = message.param(0) else {
        if !notice {
            machine.numeric(ERR_NORECIPIENT, &[], Some(&format!("No recipient given ({command})")));
        }
        return;
    };
    let Some(words) = message.param(1) else {
        if !notice {
            machine.numeric(ERR_NOTEXTTOSEND, &[], Some("No text to send"));
        }
        return;
    };
    let (text, action) = match text::read(words) {
        Said::Text { text, action } => (text, action),
        // The answer of one client to another: only they know what it means.
        Said::Ctcp(answer) if notice => (text::ctcp(&answer), false),
        Said::Ctcp(_) => {
            machine.fail(
                command,
                "CTCP_NOT_CARRIED",
                &[target],
                "of requests from client to client only ACTION is carried",
            );
            return;
        }
    };
    let nonce = nonce_of(message);
    let reply = message.tags.get("+draft/reply").or_else(|| message.tags.get("+reply"));
    let reply = reply.zip(room_name(target)).and_then(|(id, room)| offset_of(machine, &room, &id));
    send(machine, target, Words { text, action, notice, reply, nonce }, command);
}

/// What is to be sent.
struct Words {
    text: String,
    action: bool,
    notice: bool,
    reply: Option<u64>,
    /// The client's own name for it, if it gave one.
    nonce: Option<String>,
}

/// What a client calls its message: sent again under the same name it is the same message, also on another connection.
fn nonce_of(message: &Message<'_>) -> Option<String> {
    message.tags.get(NONCE).filter(|nonce| !nonce.is_empty()).map(std::borrow::Cow::into_owned)
}

fn send(machine: &mut Machine, target: &str, words: Words, command: &'static str) {
    let Words { text, action, notice, reply, nonce } = words;
    let Some(room) = room_name(target) else {
        if command != "NOTICE" {
            machine.numeric(
                super::numeric::ERR_NOSUCHNICK,
                &[target],
                Some("There is nobody and no room of this name"),
            );
        }
        return;
    };
    let nonce = nonce.unwrap_or_else(|| machine.nonce());
    let ask: Ask = if room == "*" {
        Announce { kind: Skipped, id: Skipped, text, nonce }.into()
    } else {
        Send { kind: Skipped, id: Skipped, room, text, nonce, reply, files: Vec::new(), action, notice }
            .into()
    };
    machine.ask(ask, Then::Sent { target: target.to_owned(), command });
}

pub(super) fn tagmsg(machine: &mut Machine, message: &Message<'_>) {
    let target = message.param(0).unwrap_or_default();
    let Some(room) = room_name(target).filter(|room| room != "*") else { return };
    if let Some(typing) = message.tags.get("+typing").or_else(|| message.tags.get("+draft/typing")) {
        if typing == "active" {
            machine.ask(Typing { kind: Skipped, id: Skipped, room }, Then::Nothing);
        }
        return;
    }
    let tag = |name: &str| message.tags.get(name).filter(|value| !value.is_empty());
    let (given, taken) = (tag("+draft/react"), tag("+draft/unreact"));
    let Some((emoji, add)) = given.map(|emoji| (emoji, true)).or(taken.map(|emoji| (emoji, false))) else {
        return;
    };
    let of = tag("+draft/reply").or_else(|| tag("+reply"));
    let Some(offset) = of.and_then(|id| offset_of(machine, &room, &id)) else {
        machine.fail(
            "TAGMSG",
            "UNKNOWN_MSGID",
            &[target],
            "a reaction names its message with +draft/reply and a msgid of this room",
        );
        return;
    };
    let nonce = machine.nonce();
    let ask = React {
        kind: Skipped,
        id: Skipped,
        room: room.clone(),
        offset,
        emoji: emoji.into_owned(),
        add,
        nonce,
    };
    machine.ask(ask, Then::Changed { room: room.into(), command: "TAGMSG" });
}

pub(super) fn redact(machine: &mut Machine, message: &Message<'_>) {
    let (target, id) = (message.param(0).unwrap_or_default(), message.param(1).unwrap_or_default());
    let Some(room) = room_name(target) else {
        machine.fail("REDACT", "INVALID_TARGET", &[target], "there is nobody and no room of this name");
        return;
    };
    let Some(offset) = offset_of(machine, &room, id) else {
        machine.fail("REDACT", "UNKNOWN_MSGID", &[target, id], "there is no such message here");
        return;
    };
    let nonce = machine.nonce();
    let ask = Delete { kind: Skipped, id: Skipped, room: room.clone(), offset, nonce };
    machine.ask(ask, Then::Redacted { target: target.to_owned(), id: id.to_owned() });
}

pub(super) fn redacted(machine: &mut Machine, target: &str, id: &str, outcome: &Result<Reply, Refusal>) {
    match outcome {
        Ok(Reply::Kept(kept)) => machine.kept(kept, machine.pen.caps.has(Cap::MessageRedaction)),
        Ok(_) => {}
        Err(refusal @ Refusal::NoSuchMessage { .. }) => {
            machine.fail("REDACT", "UNKNOWN_MSGID", &[target, id], &refusal.to_string());
        }
        Err(refusal @ (Refusal::NotYours | Refusal::NotAllowed { .. })) => {
            machine.fail("REDACT", "REDACT_FORBIDDEN", &[target, id], &refusal.to_string());
        }
        Err(refusal) => machine.fail("REDACT", "INVALID_TARGET", &[target], &refusal.to_string()),
    }
}

/// A message of several lines begins or ends (draft/multiline).
pub(super) fn batch(machine: &mut Machine, message: &Message<'_>) {
    let reference = message.param(0).unwrap_or_default();
    if let Some(name) = reference.strip_prefix('+') {
        let (kind, target) = (message.param(1).unwrap_or_default(), message.param(2).unwrap_or_default());
        if kind != "draft/multiline"
            || !machine.pen.caps.has(Cap::Multiline)
            || target.is_empty()
            || name.is_empty()
        {
            machine.fail(
                "BATCH",
                "UNKNOWN_TYPE",
                &[kind],
                "a client begins batches of draft/multiline, with a target",
            );
            return;
        }
        let reply = message.tags.get("+draft/reply").zip(room_name(target));
        let reply = reply.and_then(|(id, room)| offset_of(machine, &room, &id));
        machine.paper = Some(Paper {
            name: name.to_owned(),
            target: target.to_owned(),
            text: String::new(),
            lines: 0,
            reply,
            nonce: nonce_of(message),
            notice: None,
            label: machine.take_label(),
            spoilt: None,
        });
        return;
    }
    let ended = machine.paper.take().filter(|paper| reference.strip_prefix('-') == Some(&*paper.name));
    let Some(paper) = ended else {
        machine.fail("BATCH", "MULTILINE_INVALID", &[], "no such batch was begun");
        return;
    };
    machine.put_label(paper.label);
    match paper.spoilt {
        Some(code) => {
            let text = format!(
                "a message has at most {} bytes in {LINES_MAX} lines, all to one target and all PRIVMSG or all NOTICE",
                machine.pen.net.message_bytes
            );
            machine.fail("BATCH", code, &[], &text);
        }
        None if paper.text.trim().is_empty() => {
            machine.fail("BATCH", "MULTILINE_INVALID", &[], "there is nothing in it");
        }
        None => {
            let Paper { text, target, reply, nonce, notice, .. } = paper;
            let words = Words { text, action: false, notice: notice == Some(true), reply, nonce };
            send(machine, &target, words, "BATCH");
        }
    }
}

/// What was sent is what was kept before: the client hears where, for it will not come back.
pub(super) fn said_before(machine: &mut Machine, kept: &Kept, command: &str) {
    if !machine.pen.caps.has(Cap::StandardReplies) || !machine.pen.caps.has(Cap::MessageTags) {
        return;
    }
    let id = stamp::msgid(&machine.pen.room_key(&kept.room), kept.epoch, kept.offset);
    let target = kept.room.strip_prefix('@').map_or_else(|| format!("#{}", kept.room), str::to_owned);
    let command = if command == "NOTICE" { "NOTICE" } else { "PRIVMSG" };
    machine.note(command, "SAID_BEFORE", &[&target, &id], "this was kept when it was sent before");
}

fn line_of_paper(machine: &mut Machine, name: &str, message: &Message<'_>, notice: bool) {
    let bytes_max = machine.pen.net.message_bytes;
    let Some(paper) = machine.paper.as_mut().filter(|paper| paper.name == name) else {
        machine.fail("BATCH", "MULTILINE_INVALID", &[], "no such batch was begun");
        return;
    };
    let words = message.params().get(1).copied().unwrap_or_default();
    let words = match text::read(words) {
        Said::Text { text, action: false } => text,
        Said::Text { .. } | Said::Ctcp(_) => String::new(),
    };
    let same = room_of_target(message.param(0).unwrap_or_default()) == room_of_target(&paper.target);
    let continues = message.tags.get("draft/multiline-concat").is_some();
    paper.lines += 1;
    if *paper.notice.get_or_insert(notice) != notice {
        paper.spoilt = Some("MULTILINE_INVALID");
    } else if !same {
        paper.spoilt = Some("MULTILINE_INVALID_TARGET");
    } else if paper.lines > LINES_MAX {
        paper.spoilt = Some("MULTILINE_MAX_LINES");
    } else if paper.text.len() + 1 + words.len() > bytes_max {
        paper.spoilt = Some("MULTILINE_MAX_BYTES");
    } else {
        if paper.lines > 1 && !continues {
            paper.text.push('\n');
        }
        paper.text.push_str(&words);
    }
}

fn room_of_target(target: &str) -> Option<Arc<str>> {
    room_name(target).map(|name| names::fold(&name).into())
}
