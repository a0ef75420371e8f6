//! Lines as one connection is to have them.
//!
//! **Job.** Begin a line with the tags this client switched on and the right source; write a message of the log.
//! **Called by** every file of `irc` that says something.
//!
//! Not here: when something is said.

use std::sync::Arc;

use madang_wire::irc::Line;

use super::Network;
use super::caps::{Cap, Caps};
use super::stamp;
use super::text;
use crate::event::{Event, Person, What};

/// What goes in front of a line beside its source.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks<'a> {
    /// Milliseconds since 1970.
    pub(super) at_ms: u64,
    pub(super) msgid: Option<&'a str>,
    /// The `msgid` of the message it answers.
    pub(super) reply: Option<&'a str>,
    pub(super) batch: Option<&'a str>,
    pub(super) label: Option<&'a str>,
}

/// How one connection is written to.
#[derive(Debug)]
pub(super) struct Pen {
    pub(super) net: Arc<Network>,
    pub(super) caps: Caps,
    /// What the client is called; `*` before it has said who it is.
    pub(super) nick: Arc<str>,
    pub(super) me: Option<Person>,
    /// What the client's person says of themselves.
    pub(super) about: Option<Arc<str>>,
    /// Milliseconds since 1970, as of what is being done.
    pub(super) now_ms: u64,
    batches: u32,
}

impl Pen {
    pub(super) fn new(net: Arc<Network>) -> Self {
        Self { net, caps: Caps::default(), nick: "*".into(), me: None, about: None, now_ms: 0, batches: 0 }
    }

    pub(super) fn is_me(&self, person: &Person) -> bool {
        self.me.as_ref().is_some_and(|me| me.id == person.id)
    }

    /// A line of the server's own.
    pub(super) fn server<'o>(&self, out: &'o mut Vec<u8>, command: &str) -> Line<'o> {
        let marks = Marks { at_ms: self.now_ms, ..Marks::default() };
        self.tagged(out, &marks, None).source(&self.net.server).command(command)
    }

    /// A numbered reply: to the client, by what it is called.
    pub(super) fn numeric<'o>(&self, out: &'o mut Vec<u8>, number: &str) -> Line<'o> {
        self.server(out, number).param(&self.nick)
    }

    /// What somebody says or does.
    pub(super) fn person<'o>(
        &self,
        out: &'o mut Vec<u8>,
        by: &Person,
        marks: &Marks<'_>,
        command: &str,
    ) -> Line<'o> {
        self.tagged(out, marks, Some(by)).source(&self.source(by)).command(command)
    }

    /// As [`Pen::person`], with a tag that only clients of `message-tags` are sent.
    pub(super) fn person_with_tag<'o>(
        &self,
        out: &'o mut Vec<u8>,
        by: &Person,
        marks: &Marks<'_>,
        tag: (&str, &str),
    ) -> Line<'o> {
        self.tagged(out, marks, Some(by)).tag(tag.0, tag.1).source(&self.source(by)).command("TAGMSG")
    }

    fn tagged<'o>(&self, out: &'o mut Vec<u8>, marks: &Marks<'_>, by: Option<&Person>) -> Line<'o> {
        let mut line = Line::new(out);
        if let Some(batch) = marks.batch {
            line = line.tag("batch", batch);
        }
        if let Some(label) = marks.label {
            line = line.tag("label", label);
        }
        if self.caps.has(Cap::ServerTime) && marks.at_ms > 0 {
            line = line.tag("time", &stamp::time(marks.at_ms));
        }
        if let Some(account) = by.and_then(account).filter(|_| self.caps.has(Cap::AccountTag)) {
            line = line.tag("account", account);
        }
        if self.caps.has(Cap::MessageTags) {
            if let Some(msgid) = marks.msgid {
                line = line.tag("msgid", msgid);
            }
            if let Some(reply) = marks.reply {
                line = line.tag("+draft/reply", reply);
            }
        }
        line
    }

    /// `nick!user@host`, without any address.
    pub(super) fn source(&self, person: &Person) -> String {
        format!("{}!{}@{}", person.name, user(person), self.net.name)
    }

    /// A name for a batch that is not in use.
    pub(super) fn batch(&mut self) -> String {
        self.batches = self.batches.wrapping_add(1);
        format!("b{:x}", self.batches)
    }

    /// What a conversation is called in `msgid`s: the same for both sides of direct messages.
    pub(super) fn room_key(&self, room: &str) -> String {
        let Some(peer) = room.strip_prefix('@') else { return crate::names::fold(room) };
        let mut both = [crate::names::fold(peer), crate::names::fold(&self.nick)];
        both.sort();
        format!("@{}@{}", both[0], both[1])
    }

    pub(super) fn msgid(&self, event: &Event, offset: u64) -> String {
        stamp::msgid(&self.room_key(&event.room), event.epoch, offset)
    }

    /// To whom a line about this conversation is addressed.
    pub(super) fn target(&self, room: &str, by: &Person) -> String {
        match room.strip_prefix('@') {
            Some(peer) if self.is_me(by) => peer.to_owned(),
            Some(_) => self.nick.to_string(),
            None if room == "*" => self.nick.to_string(),
            None => format!("#{room}"),
        }
    }

    /// A sign below a message (draft/react), or its end: only for clients that can have tags.
    pub(super) fn reaction(
        &self,
        out: &mut Vec<u8>,
        event: &Event,
        (of, emoji, add): (u64, &str, bool),
        batch: Option<&str>,
        label: Option<&str>,
    ) {
        if !self.caps.has(Cap::MessageTags) {
            return;
        }
        let (id, answers) = (self.msgid(event, event.offset), self.msgid(event, of));
        let marks = Marks { at_ms: event.at_ms, msgid: Some(&id), reply: Some(&answers), batch, label };
        let tag = if add { "+draft/react" } else { "+draft/unreact" };
        let target = self.target(&event.room, &event.by);
        self.person_with_tag(out, &event.by, &marks, (tag, emoji)).param(&target).end();
    }

    /// A message of the log, in as many lines as it needs. Says nothing of other events.
    pub(super) fn message(
        &mut self,
        out: &mut Vec<u8>,
        event: &Event,
        batch: Option<&str>,
        label: Option<&str>,
    ) {
        let What::Message { text, reply, files, action, notice, .. } = &event.what else { return };
        let target = self.target(&event.room, &event.by);
        let (id, answers) = (self.msgid(event, event.offset), reply.map(|of| self.msgid(event, of)));
        let first = Marks { at_ms: event.at_ms, msgid: Some(&id), reply: answers.as_deref(), batch, label };
        let command = if *notice || &*event.room == "*" { "NOTICE" } else { "PRIVMSG" };
        let mut words = text.clone();
        for file in files {
            // Where it is shown depends on who looks: the path below the chat's address.
            words.push_str(&format!("\n[{}] {}", file.name, file.url));
        }
        let mut scratch = Vec::new();
        let wrapped = if *action { "\u{1}ACTION \u{1}".len() } else { 0 };
        let room = self.person(&mut scratch, &event.by, &first, command).param(&target).room_for_text();
        let room = room.saturating_sub(wrapped);
        let several = text::pieces(&words, room, false).nth(1).is_some();
        let one = self.caps.has(Cap::Multiline) && self.caps.has(Cap::Batch) && several && !action;
        if one {
            let name = self.batch();
            let opening = self.person(out, &event.by, &first, "BATCH").param(&format!("+{name}"));
            opening.param("draft/multiline").param(&target).end();
            for piece in text::pieces(&words, room, true) {
                let mut line = Line::new(out).tag("batch", &name);
                if piece.continues {
                    line = line.tag("draft/multiline-concat", "");
                }
                line.source(&self.source(&event.by)).command(command).param(&target).text(piece.text).end();
            }
            let closing = Marks { batch, ..Marks::default() };
            self.tagged(out, &closing, None)
                .source(&self.net.server)
                .command("BATCH")
                .param(&format!("-{name}"))
                .end();
            return;
        }
        // Only the first line bears what names the message: a `msgid` is there once.
        let rest = Marks { msgid: None, reply: None, label: None, ..first };
        for (at, piece) in text::pieces(&words, room, false).enumerate() {
            let marks = if at == 0 { &first } else { &rest };
            let line = self.person(out, &event.by, marks, command).param(&target);
            if *action {
                line.text(&format!("\u{1}ACTION {}\u{1}", piece.text)).end();
            } else {
                line.text(piece.text).end();
            }
        }
    }
}

/// What somebody logged in as; guests have none.
pub(super) fn account(person: &Person) -> Option<&str> {
    (!person.id.is_guest()).then(|| person.id.0.split_once(':').map_or(&*person.id.0, |(_, name)| name))
}

/// The user part of a source. `~`, as ever on IRC: nobody vouches for it.
pub(super) fn user(person: &Person) -> String {
    match person.id.0.split_once(':') {
        Some(("g", number)) => format!("~{number}"),
        Some((_, name)) => name.to_owned(),
        None => person.id.0.to_string(),
    }
}
