//! Goal: one connection, line by line: what is asked of the chat, and what the client hears.
//! Method: a [`Talk`] holds the machine; tests say lines, look at what is asked, answer it, and compare what is written.

mod history;
mod labels;
mod notices;
mod people;
mod register;
mod rooms;

use std::sync::Arc;

use super::Network;
use super::machine::{Machine, Todo};
use crate::ask::Ask;
use crate::event::{Event, Person, PersonId, Rank, What};
use crate::post::Claim;
use crate::refusal::Refusal;
use crate::reply::{Joined, Kept, Limits, Reply, Welcome, You};

/// 2026-11-21T12:00:00.000Z
const NOON: u64 = 1_795_262_400_000;

struct Talk {
    machine: Machine,
    asked: Vec<(u64, Todo)>,
}

fn network() -> Network {
    Network { mechanisms: &["SCRAM-SHA-256", "PLAIN"], ..Network::new("town", "1.0") }
}

impl Talk {
    fn new(network: Network) -> Self {
        Self { machine: Machine::new(Arc::new(network), 7), asked: Vec::new() }
    }

    /// Mina, a user, with these capabilities.
    fn mina(caps: &str) -> Self {
        let mut talk = Self::new(network());
        if !caps.is_empty() {
            talk.says(&format!("CAP REQ :{caps}"));
            talk.says("CAP END");
        }
        talk.says("NICK mina");
        talk.says("USER mina 0 * :Mina");
        talk.heard();
        talk.answers(Ok(welcome("u:mina", "mina")));
        talk.heard();
        talk
    }

    /// Mina in the lobby.
    fn in_lobby(caps: &str) -> Self {
        let mut talk = Self::mina(&format!("{caps} draft/no-implicit-names"));
        talk.says("JOIN #lobby");
        talk.answers(Ok(Reply::Joined(Box::new(lobby()))));
        talk.heard();
        talk
    }

    #[track_caller]
    fn says(&mut self, line: &str) {
        assert!(self.machine.ready(), "{line}: the command before it is not done");
        self.machine.line(madang_wire::irc::line(line.as_bytes()), NOON);
        self.gather();
    }

    fn gather(&mut self) {
        for todo in self.machine.todo() {
            let tag = match &todo {
                Todo::Hello(tag, _) | Todo::Ask(tag, _) => *tag,
                _ => 0,
            };
            self.asked.push((tag, todo));
        }
    }

    /// The next thing that is to be done.
    #[track_caller]
    fn next(&mut self) -> (u64, Todo) {
        assert!(!self.asked.is_empty(), "nothing was asked; heard {:?}", self.heard());
        self.asked.remove(0)
    }

    /// Answers the first open question, and gives it.
    #[track_caller]
    fn answers(&mut self, outcome: Result<Reply, Refusal>) -> Todo {
        let (tag, todo) = self.next();
        self.machine.answered(tag, &outcome, NOON);
        self.gather();
        todo
    }

    /// Everything that was written since.
    fn heard(&mut self) -> Vec<String> {
        let out = std::mem::take(self.machine.out());
        let text = String::from_utf8(out).unwrap();
        text.split_terminator("\r\n").map(str::to_owned).collect()
    }

    /// Says a line and compares what is answered at once.
    #[track_caller]
    fn check(&mut self, line: &str, want: &[&str]) {
        self.says(line);
        assert_eq!(self.heard(), want, "{line}");
        assert!(self.machine.ready(), "{line} is done");
    }

    fn published(&mut self, offset: u64, by: Person, what: What) {
        let event = Event { what, room: "lobby".into(), epoch: 1, offset, at_ms: NOON, by };
        self.machine.published(&event, NOON);
    }
}

fn person(id: &str, name: &str) -> Person {
    Person { id: PersonId(id.into()), name: name.into() }
}

fn kim() -> Person {
    person("g:1f", "kim")
}

fn mina() -> Person {
    person("u:mina", "mina")
}

fn said(text: &str) -> What {
    What::Message {
        text: text.into(),
        reply: None,
        files: vec![],
        action: false,
        notice: false,
        mentions: vec![],
        edits: 0,
    }
}

fn welcome(id: &str, name: &str) -> Reply {
    let you = You { id: PersonId(id.into()), name: name.into(), guest: id.starts_with("g:"), admin: false };
    let limits = Limits { message_bytes: 8192, rooms: 50, burst: 20, per_second: 5, file_bytes: 0 };
    Reply::Welcome(Box::new(Welcome { chat: "town".into(), you, key: None, limits, now_ms: NOON }))
}

fn lobby() -> Joined {
    Joined {
        room: "lobby".into(),
        epoch: 1,
        first: 1,
        next: 9,
        end: 9,
        reset: false,
        topic: "all of it".into(),
        private: false,
        invite_only: false,
        slow_ms: 0,
        role: Rank::None,
        people: 1,
    }
}

fn kept(offset: u64) -> Reply {
    Reply::Kept(Kept { room: "lobby".into(), epoch: 1, offset, at_ms: NOON, duplicate: false })
}

/// What is asked of the chat.
#[track_caller]
fn ask(todo: Todo) -> Ask {
    match todo {
        Todo::Ask(_, ask) => ask,
        other => panic!("{other:?} is no question"),
    }
}

#[track_caller]
fn claim(todo: Todo) -> Claim {
    match todo {
        Todo::Hello(_, claim) => claim,
        other => panic!("{other:?} is no hello"),
    }
}
