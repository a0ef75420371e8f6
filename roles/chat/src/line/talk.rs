//! One connection of plain lines, without its socket.
//!
//! **Job.** Take what somebody types and what the chat says, give lines to read and what is to be asked. **Called by** `super`.
//!
//! A line that begins with `/` is a command; any other is said in the room one is in. What comes is `[room] name: text`; `*` tells
//! of something, `!` of what could not be done.
//!
//! Invariants
//! 1. One line is done after the other: while one waits for an answer, [`Talk::ready`] is false.
//! 2. It holds no socket, no clock and no randomness.
//!
//! Not here: bytes (`bytes`), who may do what (`hub`).

use std::sync::Arc;

use super::bytes::{BadLine, fit};
use crate::ask::{Ask, History, Join, Leave, Rename, Rooms, Send, Set, Skipped, Who};
use crate::event::{Event, Person, What};
use crate::notice::Notice;
use crate::refusal::Refusal;
use crate::reply::{Reply, Welcome};

/// A wait that is longer is told instead of waited for.
const HOLD_MS_MAX: u64 = 30_000;
/// Where everybody begins.
const FIRST_ROOM: &str = "lobby";

const HELP: &str = "\
* a line is said in the room you are in; what comes is [room] name: text
*   /nick NAME        another name for you
*   /join ROOM        to another room; it is made if there is none
*   /leave            out of this room
*   /msg NAME text    to one person only
*   /me text          what you do
*   /who              who is here
*   /rooms            open rooms
*   /topic [text]     what this room is about
*   /history [N]      the last N messages of this room, 20 if you say nothing
*   /quit             the end
";

/// What has to be done for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Todo {
    /// Ask for something. Answered by [`Talk::answered`] with this tag.
    Ask(u64, Ask),
    /// Say who it is, by this name. Answered likewise.
    Hello(u64, String),
    /// Call [`Talk::go_on`] after so many milliseconds.
    Hold(u64),
    /// Write what is there and close.
    End,
}

/// What an answer is for.
#[derive(Debug, Clone)]
enum Then {
    Hello,
    Renamed,
    Join,
    Leave,
    Sent,
    Who,
    Rooms,
    Topic,
    History,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Talk {
    chat: Arc<str>,
    motd: Option<String>,
    me: Option<Person>,
    room: Option<Arc<str>>,
    topic: Arc<str>,
    out: Vec<u8>,
    todo: Vec<Todo>,
    waiting: Option<(u64, Then, Option<Ask>)>,
    held: Option<(Ask, Then)>,
    tags: u64,
    nonce: String,
    ended: bool,
}

impl Talk {
    /// Somebody who came in; `nonce`: random, its own.
    pub(super) fn new(chat: Arc<str>, motd: Option<String>, nonce: u64) -> Self {
        let mut talk = Self {
            chat,
            motd,
            me: None,
            room: None,
            topic: "".into(),
            out: Vec::new(),
            todo: Vec::new(),
            waiting: None,
            held: None,
            tags: 0,
            nonce: format!("line-{nonce:016x}-"),
            ended: false,
        };
        let tag = talk.tag(Then::Hello, None);
        talk.todo.push(Todo::Hello(tag, format!("guest-{:05}", nonce % 100_000)));
        talk
    }

    /// Whether the next line may come.
    pub(super) fn ready(&self) -> bool {
        self.waiting.is_none() && self.held.is_none() && !self.ended
    }

    pub(super) fn registered(&self) -> bool {
        self.me.is_some()
    }

    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    pub(super) fn todo(&mut self) -> Vec<Todo> {
        std::mem::take(&mut self.todo)
    }

    fn say(&mut self, sign: char, text: &str) {
        for line in text.lines() {
            self.out.extend_from_slice(format!("{sign} {}\n", fit(line)).as_bytes());
        }
    }

    fn tag(&mut self, then: Then, again: Option<Ask>) -> u64 {
        self.tags += 1;
        self.waiting = Some((self.tags, then, again));
        self.tags
    }

    fn ask(&mut self, ask: impl Into<Ask>, then: Then) {
        let ask = ask.into();
        let tag = self.tag(then, Some(ask.clone()));
        self.todo.push(Todo::Ask(tag, ask));
    }

    /// Somebody typed a line. Only while [`Talk::ready`].
    pub(super) fn line(&mut self, line: Result<&str, BadLine>) {
        let line = match line {
            Ok(line) => line,
            Err(BadLine::TooLong) => return self.say('!', "that line is too long: it was not sent"),
            Err(BadLine::NotUtf8) => return self.say('!', "that line is not UTF-8: it was not sent"),
        };
        let Some(command) = line.strip_prefix('/') else {
            // `//` at the beginning of a line is a `/`.
            return self.speak(line, false);
        };
        if command.starts_with('/') {
            return self.speak(command, false);
        }
        let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
        self.command(name, rest.trim());
    }

    fn command(&mut self, name: &str, rest: &str) {
        let room = || self.room.as_ref().map(ToString::to_string);
        match (name, rest) {
            ("help" | "h" | "?", _) => self.out.extend_from_slice(HELP.as_bytes()),
            ("quit" | "exit" | "q", _) => self.end("bye"),
            ("nick" | "name", "") => self.say('!', "/nick NAME: which name?"),
            ("nick" | "name", name) => {
                self.ask(Rename { kind: Skipped, id: Skipped, name: name.to_owned() }, Then::Renamed);
            }
            ("join" | "j", "") => self.say('!', "/join ROOM: which room?"),
            ("join" | "j", room) => self.join(room.trim_start_matches('#')),
            ("msg" | "m", rest) => match rest.split_once(' ') {
                Some((who, text)) => {
                    self.send(format!("@{}", who.trim_start_matches('@')), text.trim(), false)
                }
                None => self.say('!', "/msg NAME text: to whom, and what?"),
            },
            ("me", "") => self.say('!', "/me text: what do you do?"),
            ("me", text) => self.speak(text, true),
            ("rooms" | "list", _) => self.ask(Rooms { kind: Skipped, id: Skipped }, Then::Rooms),
            (name, rest) => match room() {
                Some(room) => self.in_room(name, rest, room),
                None => {
                    self.say('!', "you are in no room: /join ROOM, /rooms tells which there are, /help more")
                }
            },
        }
    }

    /// Commands about the room one is in.
    fn in_room(&mut self, name: &str, rest: &str, room: String) {
        match (name, rest) {
            ("leave" | "part", _) => self.ask(Leave { kind: Skipped, id: Skipped, room }, Then::Leave),
            ("who" | "names", _) => self.ask(Who { kind: Skipped, id: Skipped, room }, Then::Who),
            ("topic", "") if self.topic.is_empty() => self.say('*', "this room has no topic"),
            ("topic", "") => self.say('*', &format!("topic: {}", self.topic)),
            ("topic", text) => {
                let topic = Some(text.to_owned());
                let set = Set {
                    kind: Skipped,
                    id: Skipped,
                    room,
                    topic,
                    private: None,
                    invite_only: None,
                    slow_ms: None,
                };
                self.ask(set, Then::Topic);
            }
            ("history", count) => match (count, count.parse::<usize>()) {
                ("", _) => self.history(room, 20),
                (_, Ok(count @ 1..=200)) => self.history(room, count),
                _ => self.say('!', "/history N: a number from 1 to 200"),
            },
            (other, _) => self.say('!', &format!("/{other} is no command; /help tells which there are")),
        }
    }

    fn history(&mut self, room: String, count: usize) {
        let ask = History { kind: Skipped, id: Skipped, room, before: None, after: None, limit: Some(count) };
        self.ask(ask, Then::History);
    }

    fn join(&mut self, room: &str) {
        let ask = Join { kind: Skipped, id: Skipped, room: room.to_owned(), since: None };
        self.ask(ask, Then::Join);
    }

    fn speak(&mut self, text: &str, action: bool) {
        match &self.room {
            Some(room) => self.send(room.to_string(), text, action),
            None => self.say('!', "you are in no room: /join ROOM, /rooms tells which there are"),
        }
    }

    fn send(&mut self, room: String, text: &str, action: bool) {
        let nonce = format!("{}{}", self.nonce, self.tags + 1);
        let (text, files) = (text.to_owned(), Vec::new());
        let ask =
            Send { kind: Skipped, id: Skipped, room, text, nonce, reply: None, files, action, notice: false };
        self.ask(ask, Then::Sent);
    }

    /// The answer to what was asked with this tag.
    pub(super) fn answered(&mut self, tag: u64, outcome: &Result<Reply, Refusal>) {
        let Some((_, then, again)) = self.waiting.take_if(|(have, ..)| *have == tag) else { return };
        match (outcome, again) {
            (Err(Refusal::TooFast { again_ms } | Refusal::Busy { again_ms }), Some(ask))
                if *again_ms <= HOLD_MS_MAX =>
            {
                self.held = Some((ask, then));
                self.todo.push(Todo::Hold((*again_ms).max(1)));
            }
            (Err(refusal), _) => {
                self.say('!', &refusal.to_string());
                if matches!(then, Then::Hello) {
                    self.end("nobody is let in without a name");
                }
            }
            (Ok(reply), _) => self.done(&then, reply),
        }
    }

    /// The time of [`Todo::Hold`] is over.
    pub(super) fn go_on(&mut self) {
        if let Some((ask, then)) = self.held.take() {
            self.ask(ask, then);
        }
    }

    fn done(&mut self, then: &Then, reply: &Reply) {
        match (then, reply) {
            (Then::Hello, Reply::Welcome(welcome)) => self.welcomed(welcome),
            (Then::Renamed, Reply::You(you)) => self.say('*', &format!("you are {}", you.name)),
            (Then::Join, Reply::Joined(joined)) => {
                self.room = Some(Arc::clone(&joined.room));
                self.topic = Arc::clone(&joined.topic);
                let topic =
                    if joined.topic.is_empty() { String::new() } else { format!(": {}", joined.topic) };
                self.say('*', &format!("you are in {} with {} here{topic}", joined.room, joined.people));
            }
            (Then::Leave, _) => {
                let left = self.room.take();
                self.say('*', &format!("you have left {}", left.as_deref().unwrap_or_default()));
            }
            (Then::Who, Reply::People(people)) => {
                let here = people.people.iter().filter(|one| one.here);
                let names: Vec<String> = here
                    .map(|one| {
                        format!("{}{}", one.person.name, if one.away.is_some() { " (away)" } else { "" })
                    })
                    .collect();
                self.say('*', &format!("{} here: {}", people.count, names.join(", ")));
            }
            (Then::Rooms, Reply::Rooms(rooms)) => {
                for open in &rooms.open {
                    self.say('*', &format!("{} ({}) {}", open.room, open.people, open.topic));
                }
                if rooms.open.is_empty() {
                    self.say('*', "there is no open room yet: /join ROOM makes one");
                }
            }
            (Then::History, Reply::Past(past)) => {
                for event in &past.events {
                    self.event(event);
                }
                self.say('*', &format!("that was {}", past.room));
            }
            // What was sent stands there already, as it was typed.
            _ => {}
        }
    }

    fn welcomed(&mut self, welcome: &Welcome) {
        let name = Arc::clone(&welcome.you.name);
        let greeting = format!(
            "welcome to {}: you are {name}, /nick NAME gives you another name, /help tells more",
            self.chat
        );
        self.me = Some(Person { id: welcome.you.id.clone(), name });
        self.say('*', &greeting);
        if let Some(motd) = self.motd.take() {
            self.say('*', &motd);
        }
        self.join(FIRST_ROOM);
    }

    /// Entries of a conversation one is in. One's own words stand there already.
    pub(super) fn published(&mut self, event: &Event) {
        let mine = self.me.as_ref().is_some_and(|me| me.id == event.by.id);
        if let What::Topic { text } = &event.what
            && self.room.as_ref() == Some(&event.room)
        {
            self.topic = text.as_str().into();
        }
        if !(mine && matches!(event.what, What::Message { .. })) {
            self.event(event);
        }
    }

    fn event(&mut self, event: &Event) {
        let by = &event.by.name;
        let line = match &event.what {
            What::Message { text, files, action, notice, .. } => {
                let files: String = files.iter().map(|file| format!(" [{}]", file.name)).collect();
                let said = text.lines().collect::<Vec<_>>().join(" / ");
                match (action, notice) {
                    (true, _) => format!("* {by} {said}{files}"),
                    (false, true) => format!("-{by}- {said}{files}"),
                    (false, false) => format!("{by}: {said}{files}"),
                }
            }
            What::Topic { text } => format!("* {by} made this the topic: {text}"),
            What::Kicked { who, .. } => format!("* {by} showed {} the door", who.name),
            What::Banned { who, .. } => format!("* {by} banned {}", who.name),
            What::Reaction { emoji, add: true, .. } => format!("* {by} {emoji}"),
            What::Edited { text, notice, .. } if !text.is_empty() => {
                if *notice {
                    format!("-{by}- * {text}")
                } else {
                    format!("{by}: * {text}")
                }
            }
            _ => return,
        };
        let line = format!("[{}] {}\n", fit(&event.room), fit(&line));
        self.out.extend_from_slice(line.as_bytes());
    }

    /// Something that is not kept.
    pub(super) fn told(&mut self, notice: &Notice) {
        let line = |room: &str, text: &str| format!("[{}] * {}\n", fit(room), fit(text)).into_bytes();
        match notice {
            Notice::Presence { room, joined, left, .. } => {
                let me = self.me.clone();
                let other = |one: &&Person| me.as_ref().is_none_or(|me| me.id != one.id);
                let named = |one: &Person| one.name.to_string();
                let came: Vec<String> =
                    joined.iter().map(|one| &one.person).filter(other).map(named).collect();
                let went: Vec<String> = left.iter().filter(other).map(named).collect();
                if !came.is_empty() {
                    self.out.extend(line(room, &format!("{} came in", came.join(", "))));
                }
                if !went.is_empty() {
                    self.out.extend(line(room, &format!("{} went", went.join(", "))));
                }
            }
            Notice::Left { room, why: Some(why) } => {
                self.out.extend(line(room, &format!("you are out: {why}")));
                if self.room.as_ref() == Some(room) {
                    self.room = None;
                }
            }
            Notice::Renamed { by, name } => match &mut self.me {
                Some(me) if me.id == by.id => me.name = Arc::clone(name),
                _ => self.say('*', &format!("{} is called {name} now", by.name)),
            },
            Notice::Gap { room, from, to } => {
                self.out.extend(line(room, &format!("{} messages are gone", to.saturating_sub(*from))));
            }
            _ => {}
        }
    }

    /// The end, with its reason.
    pub(super) fn end(&mut self, why: &str) {
        if !self.ended {
            self.ended = true;
            self.say('*', why);
            self.todo.push(Todo::End);
        }
    }
}
