//! What comes from others: events of the log and what is not kept.
//!
//! **Job.** Say it in IRC's words. **Called by** `door`, from the chat's [`crate::floor::Face`].
//!
//! Invariants
//! 1. A client without `echo-message` is not told its own words; its other connections are.
//! 2. What IRC has no words for is not told, and harms nothing: the log has it.
//!
//! Not here: answers (`machine`), how a message looks (`pen`).

use super::caps::Cap;
use super::channel::{self, is_operator};
use super::machine::Machine;
use super::pen::{Marks, account};
use super::{marks, monitor, own};
use crate::event::{Event, Person, What};
use crate::notice::{Arrived, Notice};
use crate::reply::Joined;

/// Whose going is remembered as told already.
const KICKED_MAX: usize = 16;

impl Machine {
    /// An entry of the log, in its turn.
    pub(super) fn tell(&mut self, event: &Event) {
        let own = self.take_own(&event.room, event.offset);
        let label = own.as_ref().and_then(|label| label.as_deref());
        match &event.what {
            // It knows what it said.
            What::Message { .. } if own.is_some() && !self.pen.caps.has(Cap::EchoMessage) => {}
            What::Message { .. } => {
                let (pen, out) = self.news();
                pen.message(out, event, None, label);
            }
            What::Reaction { of, emoji, add } => {
                if own.is_none() || self.pen.caps.has(Cap::EchoMessage) {
                    let (pen, out) = self.news();
                    pen.reaction(out, event, (*of, emoji, *add), None, label);
                }
            }
            What::Edited { of, text, notice } => self.edited(event, *of, text, *notice),
            What::Deleted { of } => self.deleted(event, *of, label),
            What::Removed | What::Created { .. } => {}
            What::Topic { text } => {
                if let Some(channel) = self.channels.get_mut(&*event.room) {
                    channel.topic = text.as_str().into();
                }
                self.line_of(event, label, "TOPIC", &[], Some(text));
            }
            What::Settings { private, invite_only, slow_ms } => {
                self.settings(event, label, *private, *invite_only, *slow_ms);
            }
            What::Role { who, role } => {
                let change = if is_operator(*role) { "+o" } else { "-o" };
                self.line_of(event, label, "MODE", &[change, &who.name], None);
            }
            What::Invited { who } => {
                if self.pen.caps.has(Cap::InviteNotify) && !self.pen.is_me(who) {
                    let (pen, out) = self.news();
                    let marks = marks(event, label);
                    let line = pen.person(out, &event.by, &marks, "INVITE").param(&who.name);
                    line.param(&format!("#{}", event.room)).end();
                }
            }
            What::Kicked { who, why } => self.kicked(event, label, who, why.as_deref()),
            What::Banned { who, .. } => {
                self.line_of(event, label, "MODE", &["+b", &format!("{}!*@*", who.name)], None);
            }
            What::Unbanned { who } => {
                self.line_of(event, label, "MODE", &["-b", &format!("{}!*@*", who.name)], None);
            }
            What::Muted { who, why, .. } => {
                let why = why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
                self.remark(event, &format!("{} may not speak here for now{why}", who.name));
            }
            What::Unmuted { who } => self.remark(event, &format!("{} may speak here again", who.name)),
        }
    }

    /// A command of somebody in a room: `:kim!~1@town TOPIC #lobby :text`.
    fn line_of(
        &mut self,
        event: &Event,
        label: Option<&str>,
        command: &str,
        words: &[&str],
        text: Option<&str>,
    ) {
        if event.room.starts_with('@') {
            return;
        }
        let (pen, out) = self.news();
        let line =
            pen.person(out, &event.by, &marks(event, label), command).param(&format!("#{}", event.room));
        let line = words.iter().fold(line, |line, word| line.param(word));
        match text {
            Some(text) => line.text(text).end(),
            None => line.end(),
        }
    }

    /// Words of the server about a room.
    fn remark(&mut self, event: &Event, text: &str) {
        let (pen, out) = self.news();
        pen.server(out, "NOTICE").param(&format!("#{}", event.room)).text(text).end();
    }

    fn kicked(&mut self, event: &Event, label: Option<&str>, who: &Person, why: Option<&str>) {
        self.line_of(event, label, "KICK", &[&who.name], Some(why.unwrap_or(&event.by.name)));
        if self.pen.is_me(who) {
            self.forget_own(&event.room);
            self.channels.remove(&*event.room);
        } else if let Some(channel) = self.channels.get_mut(&*event.room)
            && channel.kicked.len() < KICKED_MAX
        {
            channel.kicked.push(std::sync::Arc::clone(&who.name));
        }
    }

    fn settings(
        &mut self,
        event: &Event,
        label: Option<&str>,
        private: bool,
        invite_only: bool,
        slow_ms: u64,
    ) {
        let Some(channel) = self.channels.get_mut(&*event.room) else { return };
        let mut changes = String::new();
        for (flag, was, is) in [('i', channel.invite_only, invite_only), ('s', channel.private, private)] {
            if was != is {
                changes.extend([if is { '+' } else { '-' }, flag]);
            }
        }
        (channel.private, channel.invite_only) = (private, invite_only);
        if changes.is_empty() {
            let every = slow_ms.div_ceil(1000);
            let slow = if slow_ms > 0 { format!("one message every {every} s") } else { "off".to_owned() };
            self.remark(event, &format!("slow mode is {slow}"));
        } else {
            self.line_of(event, label, "MODE", &[&changes], None);
        }
    }

    /// IRC knows no editing: the new text is said, as an answer to the old one.
    fn edited(&mut self, event: &Event, of: u64, text: &str, notice: bool) {
        if text.is_empty() {
            return;
        }
        let what = What::Message {
            text: format!("* {text}"),
            reply: Some(of),
            files: Vec::new(),
            action: false,
            notice,
            mentions: Vec::new(),
            edits: 1,
        };
        let (pen, out) = self.news();
        pen.message(out, &Event { what, ..event.clone() }, None, None);
    }

    fn deleted(&mut self, event: &Event, of: u64, label: Option<&str>) {
        if !self.pen.caps.has(Cap::MessageRedaction) {
            return;
        }
        let (pen, out) = self.news();
        let (id, target) = (pen.msgid(event, of), pen.target(&event.room, &event.by));
        pen.person(out, &event.by, &marks(event, label), "REDACT").param(&target).param(&id).end();
    }

    /// Something that is not kept.
    pub fn told(&mut self, notice: &Notice, now_ms: u64) {
        self.pen.now_ms = now_ms;
        match notice {
            Notice::Gap { room, from, to } => {
                self.forget_own(room);
                let text = format!("{} messages of {room} are gone from history", to.saturating_sub(*from));
                let (pen, out) = self.news();
                let nick = std::sync::Arc::clone(&pen.nick);
                pen.server(out, "NOTICE").param(&nick).text(&text).end();
            }
            Notice::Joined(joined) => self.brought_in(joined),
            Notice::Left { room, why } => self.left(room, why.as_deref()),
            Notice::Presence { room, joined, left, .. } => self.presence(room, joined, left),
            Notice::Typing { room, by } => {
                if self.pen.caps.has(Cap::MessageTags) && !self.pen.is_me(by) {
                    let (pen, out) = self.news();
                    let marks = Marks { at_ms: now_ms, ..Marks::default() };
                    let target = pen.target(room, by);
                    pen.person_with_tag(out, by, &marks, ("+typing", "active")).param(&target).end();
                }
            }
            Notice::Away { by, text, .. } => self.away(by, text.as_deref()),
            Notice::Read { room, offset } => marks::read_elsewhere(self, room, *offset),
            Notice::Renamed { by, name } => own::told_renamed(self, by, name),
            Notice::About { by, text } => own::told_described(self, by, text.as_ref()),
            Notice::Watched { who, here } => monitor::seen(self, who, *here),
        }
    }

    /// Told for each room one shares with them; said once.
    fn away(&mut self, by: &Person, text: Option<&str>) {
        if !self.pen.caps.has(Cap::AwayNotify) || self.pen.is_me(by) {
            return;
        }
        let last = Some((by.id.clone(), text.map(Into::into)));
        if self.last_away == last {
            return;
        }
        self.last_away = last;
        let now_ms = self.pen.now_ms;
        let (pen, out) = self.news();
        let line = pen.person(out, by, &Marks { at_ms: now_ms, ..Marks::default() }, "AWAY");
        match text {
            Some(text) => line.text(text).end(),
            None => line.end(),
        }
    }

    fn brought_in(&mut self, joined: &Joined) {
        channel::enter(self, joined, false);
    }

    fn left(&mut self, room: &str, why: Option<&str>) {
        let Some(me) = self.pen.me.clone().filter(|_| self.channels.contains_key(room)) else { return };
        match why {
            None => channel::gone(self, room, None, false),
            Some(why) => {
                self.channels.remove(room);
                self.forget_own(room);
                let (pen, out) = self.news();
                pen.server(out, "KICK").param(&format!("#{room}")).param(&me.name).text(why).end();
            }
        }
    }

    fn presence(&mut self, room: &str, joined: &[Arrived], left: &[Person]) {
        let Some(channel) = self.channels.get_mut(room) else { return };
        let kicked = std::mem::take(&mut channel.kicked);
        let shown = format!("#{room}");
        let now_ms = self.pen.now_ms;
        let (pen, out) = self.news();
        let marks = Marks { at_ms: now_ms, ..Marks::default() };
        for person in left.iter().filter(|person| !pen.is_me(person) && !kicked.contains(&person.name)) {
            pen.person(out, person, &marks, "PART").param(&shown).end();
        }
        for Arrived { person, role, about, away } in joined.iter().filter(|one| !pen.is_me(&one.person)) {
            let line = pen.person(out, person, &marks, "JOIN").param(&shown);
            if pen.caps.has(Cap::ExtendedJoin) {
                let real = about.as_ref().unwrap_or(&person.name);
                line.param(account(person).unwrap_or("*")).text(real).end();
            } else {
                line.end();
            }
            // An operator is one from the first moment: what the room gave is not lost by going.
            if is_operator(*role) {
                pen.server(out, "MODE").param(&shown).param("+o").param(&person.name).end();
            }
            if let Some(away) = away.as_ref().filter(|_| pen.caps.has(Cap::AwayNotify)) {
                pen.person(out, person, &marks, "AWAY").text(away).end();
            }
        }
    }
}

fn marks<'a>(event: &Event, label: Option<&'a str>) -> Marks<'a> {
    Marks { at_ms: event.at_ms, label, ..Marks::default() }
}
