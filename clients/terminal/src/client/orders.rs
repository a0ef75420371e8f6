//! What was typed.
//!
//! **Job.** Make a message or a request of it, or say why not. **Called by** `online`.
//!
//! Not here: how a line is read (`command`), answers (`answers`).

use serde_json::{Value, json};

use super::{Asked, Client, Draft, Out, Phase};
use crate::command::{COMMANDS, Command, Typed, read};

impl Client {
    /// A person typed a line: words, or a command.
    pub fn typed(&mut self, line: &str, now: u64) {
        match read(line) {
            Typed::Words(words) => self.say(&words, now),
            Typed::Command(command) => self.order(command, now),
            Typed::Wrong(why) => self.word(why),
        }
    }

    /// Words for the conversation in front, whatever they begin with.
    pub fn say(&mut self, words: &str, now: u64) {
        if !words.trim().is_empty() {
            let room = self.front.clone();
            self.write(&room, words, json!({ "do": "send" }), now);
        }
    }

    fn write(&mut self, room: &str, text: &str, mut request: Value, now: u64) {
        let nonce = self.nonce();
        request["nonce"] = json!(nonce);
        if request["do"] == "send" || request["do"] == "edit" || request["do"] == "announce" {
            request["text"] = json!(text);
        }
        if request["do"] != "announce" {
            request["room"] = json!(room);
        }
        // What waits is shown as it was typed, as harmlessly as what comes back.
        let shown = crate::protocol::harmless_text(text);
        let draft = Draft { nonce, room: room.to_owned(), text: shown, request };
        match self.outbox.push(draft) {
            Ok(()) => self.send_next(now),
            Err(max) => self.word(format!("not taken: {max} messages wait already")),
        }
    }

    fn order(&mut self, command: Command, now: u64) {
        let front = self.front.clone();
        match command {
            Command::Help => self.help(),
            Command::Quit => self.out.push_back(Out::Quit(None)),
            Command::To(room) if self.rooms.contains_key(&room) => self.to_front(&room, now),
            Command::To(room) | Command::Join(room) => self.now(|client| client.join(&room, None, true)),
            Command::Leave(room) => {
                let room = room.unwrap_or(front);
                self.now(|client| client.ask(json!({ "do": "leave", "room": room }), Asked::Left { room }));
            }
            Command::Msg(who, text) => {
                let room = format!("@{who}");
                self.rooms.entry(room.clone()).or_default();
                self.to_front(&room, now);
                match text {
                    Some(text) => self.write(&room, &text, json!({ "do": "send" }), now),
                    None => self.now(|client| client.join(&room, None, true)),
                }
            }
            Command::Notice(room, text) => {
                self.write(&room, &text, json!({ "do": "send", "notice": true }), now);
            }
            Command::Me(text) => self.write(&front, &text, json!({ "do": "send", "action": true }), now),
            Command::Reply(number, text) => {
                if let Some(of) = self.which(number, false) {
                    self.write(&front, &text, json!({ "do": "send", "reply": of }), now);
                }
            }
            Command::Edit(number, text) => {
                if let Some(of) = self.which(number, true) {
                    self.write(&front, &text, json!({ "do": "edit", "offset": of }), now);
                }
            }
            Command::Delete(number) => {
                if let Some(of) = self.which(number, true) {
                    let shown = format!("take back #{of}");
                    self.write(&front, &shown, json!({ "do": "delete", "offset": of }), now);
                }
            }
            Command::React(number, emoji, add) => {
                if let Some(of) = self.which(number, false) {
                    let request = json!({ "do": "react", "offset": of, "emoji": emoji, "add": add });
                    self.write(&front, &format!("{emoji} below #{of}"), request, now);
                }
            }
            Command::Announce(text) => self.write("*", &text, json!({ "do": "announce" }), now),
            other => self.now(|client| client.request(other, front)),
        }
    }

    /// What only makes sense while there is a connection.
    fn now(&mut self, then: impl FnOnce(&mut Self)) {
        if self.phase == Phase::Here {
            then(self);
        } else {
            self.word(
                "not now: there is no connection (what you write waits for one, commands do not)".to_owned(),
            );
        }
    }

    fn request(&mut self, command: Command, front: String) {
        let done = |what: &str, done: &str| Asked::Order { what: what.to_owned(), done: done.to_owned() };
        let (request, asked) = match command {
            Command::Who(room) => {
                let room = room.unwrap_or(front);
                (json!({ "do": "who", "room": room }), Asked::Who { room, told: true })
            }
            Command::Whois(who) => (json!({ "do": "whois", "who": who }), Asked::Whois),
            Command::Rooms => (json!({ "do": "rooms" }), Asked::Rooms { told: true }),
            Command::History(count) => {
                let mut request = json!({ "do": "history", "room": front, "limit": count });
                if let Some(oldest) = self.rooms.get(&front).and_then(super::Room::oldest) {
                    request["before"] = json!(oldest);
                }
                (request, Asked::History { room: front, told: true })
            }
            Command::Search(words) => (json!({ "do": "search", "words": words }), Asked::Search),
            Command::Topic(None) => {
                let topic = self.rooms.get(&front).map_or("", |room| &room.topic);
                let word = if topic.is_empty() {
                    format!("{front} has no topic")
                } else {
                    format!("{front}: {topic}")
                };
                return self.word(word);
            }
            Command::Topic(Some(text)) => {
                (json!({ "do": "set", "room": front, "topic": text }), done("topic", ""))
            }
            Command::Create(room, private) => {
                let request = json!({ "do": "create", "room": room, "private": private });
                (request, Asked::Join { room, to_front: true })
            }
            Command::Order(what, who, why, minutes) => {
                let mut request = json!({ "do": what, "room": front, "who": who });
                if let Some(why) = why {
                    request["why"] = json!(why);
                }
                if let Some(minutes) = minutes {
                    request["minutes"] = json!(minutes);
                }
                (request, done(what, ""))
            }
            Command::Role(who, role) => {
                (json!({ "do": "role", "room": front, "who": who, "role": role }), done("role", ""))
            }
            Command::Slow(seconds) => {
                (json!({ "do": "set", "room": front, "slow_ms": seconds * 1000 }), done("slow", ""))
            }
            Command::Private(on) => {
                (json!({ "do": "set", "room": front, "private": on }), done("private", ""))
            }
            Command::InviteOnly(on) => {
                (json!({ "do": "set", "room": front, "invite_only": on }), done("invite-only", ""))
            }
            Command::Away(Some(text)) => {
                (json!({ "do": "away", "text": text }), done("away", "you are away: /back ends it"))
            }
            Command::Away(None) => (json!({ "do": "away" }), done("back", "you are back")),
            // Done before anything is asked for.
            _ => return,
        };
        self.ask(request, asked);
    }

    /// The message a command is about.
    fn which(&mut self, number: Option<u64>, mine: bool) -> Option<u64> {
        let known = self.rooms.get(&self.front).and_then(|room| room.last(mine));
        let which = number.or(known);
        if which.is_none() {
            self.word(
                if mine {
                    "you have not written anything here"
                } else {
                    "nobody else has written anything here"
                }
                .to_owned(),
            );
        }
        which
    }

    fn help(&mut self) {
        let left = COMMANDS
            .iter()
            .map(|(name, form, _)| name.len() + form.len() + 2)
            .filter(|width| *width < 24)
            .max();
        let width = left.unwrap_or(20);
        let lines = COMMANDS.iter().map(|(name, form, what)| {
            let usage = format!("/{name} {form}");
            format!("{usage:width$}  {what}")
        });
        let mut text: Vec<String> = lines.collect();
        text.push(
            "A message's number stands before it. // at the beginning sends a line with a slash.".to_owned(),
        );
        self.word(text.join("\n"));
    }
}
