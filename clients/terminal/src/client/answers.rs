//! Answers of the server.
//!
//! **Job.** Do what follows from each. **Called by** `client`.
//!
//! Not here: asking (`client`, `orders`).

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Asked, Client, Out, Phase, ROOMS_MAX, Tell};
use crate::protocol::{Found, Joined, Kept, Known, Past, People, Refusal, RoomList, Welcome, What};

impl Client {
    pub(super) fn answered(&mut self, asked: Asked, outcome: Result<Value, Refusal>, now: u64) {
        let value = match outcome {
            Ok(value) => value,
            Err(refusal) => return self.refused(asked, refusal, now),
        };
        match asked {
            Asked::Hello => self.with(value, |client, welcome| client.welcome(welcome, now)),
            Asked::Join { to_front, .. } => self.with(value, |client, joined: Joined| {
                client.enter(&joined, to_front);
                client.send_next(now);
            }),
            Asked::Send { nonce } => self.with(value, |client, kept: Kept| {
                client.keep(&nonce, &kept);
                client.out.push_back(Out::Tell(Tell::Sent(nonce.clone(), kept)));
                client.send_next(now);
            }),
            Asked::History { room, told } => {
                let raw = value.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
                self.with(value, |client, past: Past| client.past(&room, past, told.then_some(raw)));
            }
            Asked::Rooms { told } => self.with(value, |client, rooms| client.room_list(rooms, told)),
            Asked::Who { room, told } => {
                self.with(value, |client, people| client.people(&room, people, told));
            }
            Asked::Whois => self.with(value, Self::known),
            Asked::Search => self.with(value, |client, found: Found| client.found(&found)),
            Asked::Order { done, .. } => {
                if !done.is_empty() {
                    self.word(done);
                }
            }
            Asked::Left { room } => self.forget(&room),
            Asked::Quiet => {}
        }
    }

    fn with<T: DeserializeOwned>(&mut self, value: Value, then: impl FnOnce(&mut Self, T)) {
        match serde_json::from_value(value) {
            Ok(value) => then(self, value),
            Err(error) => self.word(format!("the server's answer cannot be read: {error}")),
        }
    }

    fn refused(&mut self, asked: Asked, refusal: Refusal, now: u64) {
        match asked {
            Asked::Hello => self.not_let_in(&refusal, now),
            Asked::Send { nonce } => {
                if refusal.is_passing() {
                    self.outbox.later(now + refusal.again_ms.unwrap_or(1000).clamp(50, 60_000));
                } else if let Some(draft) = self.outbox.answered(&nonce) {
                    let text: String = draft.text.chars().take(60).collect();
                    self.rooms
                        .entry(draft.room.clone())
                        .or_default()
                        .word(format!("not sent: {}: {text}", refusal.text));
                    self.out.push_back(Out::Tell(Tell::Refused(draft, refusal)));
                }
                self.send_next(now);
            }
            Asked::Join { room, .. } => {
                self.word(format!("{room}: {}", refusal.text));
                // Coming back it would be refused again.
                if !refusal.is_passing() {
                    self.forget(&room);
                }
                if room == self.settings.room && !self.settings.everything {
                    self.quit(&format!("{room}: {}", refusal.text));
                }
            }
            Asked::Order { what, .. } => self.word(format!("{what}: {}", refusal.text)),
            Asked::History { told: false, .. }
            | Asked::Who { told: false, .. }
            | Asked::Rooms { told: false }
            | Asked::Quiet => {}
            Asked::History { .. }
            | Asked::Who { .. }
            | Asked::Rooms { .. }
            | Asked::Whois
            | Asked::Search
            | Asked::Left { .. } => {
                self.word(refusal.text);
            }
        }
    }

    fn not_let_in(&mut self, refusal: &Refusal, now: u64) {
        match refusal.name.as_str() {
            // The key was of another day: once more without it.
            "bad-key" if self.settings.key.is_some() => {
                self.settings.key = None;
                self.opened(now);
            }
            "name-taken" if self.settings.may_rename => {
                let (name, number) = (self.settings.name.clone(), 2 + self.draws.below(998));
                let stem: String = name.split('-').next().unwrap_or_default().chars().take(28).collect();
                self.settings.name = format!("{stem}-{number}");
                self.opened(now);
            }
            "name-taken" => self.quit(&format!("{}; choose another one with --name", refusal.text)),
            "bad-name" => self.quit(&format!("{}; choose one with --name", refusal.text)),
            "users-only" => self.quit(&format!("{}; give a token: --token-file FILE", refusal.text)),
            _ if refusal.is_passing() => self.give_up(&refusal.text, now),
            _ => self.quit(&refusal.text),
        }
    }

    fn welcome(&mut self, welcome: Welcome, now: u64) {
        self.phase = Phase::Here;
        self.attempts = 0;
        self.was_here = true;
        self.heard_at = now;
        self.chat = welcome.chat;
        self.me.clone_from(&welcome.you.name);
        self.settings.name.clone_from(&welcome.you.name);
        self.out.push_back(Out::Tell(Tell::Here(welcome.you)));
        if let Some(key) = welcome.key {
            self.settings.key = Some(key.clone());
            self.out.push_back(Out::Tell(Tell::Key(key)));
        }
        // What was missed first: then what is sent now stands behind it.
        let known: Vec<(String, Option<(u64, u64)>)> =
            self.rooms.iter().map(|(name, room)| (name.clone(), room.since())).collect();
        let first = self.settings.room.clone();
        if known.iter().all(|(_, since)| since.is_none()) {
            self.join(&first, None, true);
        }
        for (name, since) in known {
            if since.is_some() {
                self.join(&name, since, false);
            }
        }
        if self.settings.everything {
            self.ask(json!({ "do": "rooms" }), Asked::Rooms { told: false });
        }
        self.send_next(now);
    }

    pub(super) fn join(&mut self, room: &str, since: Option<(u64, u64)>, to_front: bool) {
        let mut request = json!({ "do": "join", "room": room });
        if let Some((epoch, offset)) = since {
            request["since"] = json!({ "epoch": epoch, "offset": offset });
        }
        self.ask(request, Asked::Join { room: room.to_owned(), to_front });
    }

    pub(super) fn enter(&mut self, joined: &Joined, to_front: bool) {
        let room = self.rooms.entry(joined.room.clone()).or_default();
        let is_first = room.since().is_none();
        room.joined(joined);
        if is_first && !self.settings.everything && self.settings.history > 0 {
            let request = json!({
                "do": "history", "room": joined.room, "before": joined.next, "limit": self.settings.history.min(200),
            });
            let asked = Asked::History { room: joined.room.clone(), told: true };
            if joined.next > 1 {
                self.ask(request, asked);
            }
        }
        if to_front && self.front != joined.room {
            // The server may call it otherwise: `Lobby` is `lobby`.
            let asked_as = std::mem::replace(&mut self.front, joined.room.clone());
            if let Some(room) = self.rooms.get_mut(&joined.room) {
                (room.unread, room.mentions) = (0, 0);
            }
            if asked_as != joined.room && self.rooms.get(&asked_as).is_some_and(|room| room.since().is_none())
            {
                self.rooms.remove(&asked_as);
            }
        }
        self.fill_front();
    }

    pub(super) fn forget(&mut self, room: &str) {
        let words_stay = self.rooms.len() == 1;
        if words_stay {
            if let Some(room) = self.rooms.get_mut(room) {
                room.is_joined = false;
            }
            return;
        }
        self.rooms.remove(room);
        if self.front == room
            && let Some(next) = self.rooms.keys().next().cloned()
        {
            self.front = next;
            self.fill_front();
        }
    }

    fn past(&mut self, name: &str, past: Past, told: Option<Vec<Value>>) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.has_older = past.more;
        room.was(&past.events, &self.me);
        for (event, raw) in past.events.into_iter().zip(told.into_iter().flatten()) {
            self.out.push_back(Out::Tell(Tell::Earlier(event, raw)));
        }
    }

    fn room_list(&mut self, rooms: RoomList, told: bool) {
        if !told {
            for mine in rooms.mine.iter().take(ROOMS_MAX) {
                if !self.rooms.get(&mine.room).is_some_and(|room| room.is_joined)
                    && mine.room != self.settings.room
                {
                    self.join(&mine.room, None, false);
                }
                let front = self.front == mine.room;
                let room = self.rooms.entry(mine.room.clone()).or_default();
                room.topic.clone_from(&mine.topic);
                if !front {
                    (room.unread, room.mentions, room.read_told) = (mine.unread, mine.mentions, mine.read);
                }
            }
            return;
        }
        let topic = |topic: &str| if topic.is_empty() { String::new() } else { format!("  {topic}") };
        let mut lines: Vec<String> = Vec::new();
        for mine in &rooms.mine {
            let unread = if mine.unread > 0 { format!(" ({} unread)", mine.unread) } else { String::new() };
            lines.push(format!("{}{unread}{}", mine.room, topic(&mine.topic)));
        }
        let known = |name: &str| rooms.mine.iter().any(|mine| mine.room == name);
        for open in rooms.open.iter().filter(|open| !known(&open.room)) {
            lines.push(format!(
                "{} ({} here, /join {}){}",
                open.room,
                open.people,
                open.room,
                topic(&open.topic)
            ));
        }
        if rooms.more {
            lines.push("and more".to_owned());
        }
        self.word(if lines.is_empty() {
            "there are no rooms yet; /join NAME makes one".to_owned()
        } else {
            lines.join("\n")
        });
    }

    fn people(&mut self, name: &str, people: People, told: bool) {
        if told {
            let all: Vec<String> = people
                .people
                .iter()
                .map(|person| {
                    let role = if person.role.is_empty() || person.role == "none" {
                        String::new()
                    } else {
                        format!(" ({})", person.role)
                    };
                    let away = person.away.as_ref().map_or_else(String::new, |why| format!(" (away: {why})"));
                    let gone = if person.here { "" } else { " (not here)" };
                    format!("{}{role}{away}{gone}", person.name)
                })
                .collect();
            self.word(format!("{name}: {} here: {}", people.count, all.join(", ")));
        }
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.count = people.count;
        room.people = people
            .people
            .into_iter()
            .filter(|person| person.here)
            .map(|person| (person.name, super::Present { role: person.role, away: person.away }))
            .collect();
    }

    fn known(&mut self, known: Known) {
        let mut facts = vec![if known.guest { "a guest" } else { "a user" }.to_owned()];
        facts.push(if known.here { "here" } else { "not here" }.to_owned());
        facts.extend(known.away.map(|why| format!("away: {why}")));
        self.word(format!("{}: {}", known.name, facts.join(", ")));
    }

    fn found(&mut self, found: &Found) {
        let lines: Vec<String> = found
            .found
            .iter()
            .rev()
            .filter_map(|event| match &event.what {
                What::Message { text, .. } => {
                    Some(format!("{} #{} {}: {text}", event.room, event.offset, event.by.name))
                }
                _ => None,
            })
            .collect();
        self.word(if lines.is_empty() { "nothing was found".to_owned() } else { lines.join("\n") });
    }
}
