//! One client over IRC, with CHATHISTORY for what it missed.
//!
//! **Job.** Register, join, say things until their echo comes, come back after every end and ask for what was said since the last
//! message it knows. **Called by** `crash`.
//!
//! Each message has a name of its own (`+madang/nonce`). What had no echo when a connection ended is sent again under it, once all
//! that was missed has come: the server says where it stands if it was kept, or keeps it now.
//!
//! Invariants
//! 1. A `msgid` is a word: nothing is read out of it. What comes by history and as it happens is told apart by it.
//!
//! Not here: what is right (`ledger`), when it is cut off (`plan`).

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::book::Stage;
use super::diary::Diary;
use super::ledger::Print;
use super::lines::{self, Lost, Wire};
use super::plan::Message;
use super::server::Addresses;

const WINDOW: usize = 8;
const PAGE: usize = 100;
const WANTED: &str =
    "batch message-tags server-time echo-message labeled-response standard-replies draft/chathistory";
/// The tag by which a message is known again.
const NONCE: &str = "+madang/nonce";
/// Before anything was said.
const BEGINNING: &str = "timestamp=2000-01-01T00:00:00.000Z";

/// One client.
pub(super) struct Client {
    addresses: Rc<[Addresses]>,
    turn: usize,
    diary: Diary,
    /// Of each place: all messages, and the name of the last one.
    heard: Vec<Vec<Print>>,
    last: Vec<String>,
}

/// Of one connection.
pub(super) struct Talk {
    wire: Wire,
    registered: bool,
    rooms: Vec<Room>,
    labels: u64,
    asked: HashMap<String, Message>,
    /// The batch that is open: of which place, and what it brought so far.
    batch: Option<(String, usize, usize)>,
}

#[derive(Default)]
struct Room {
    asked: bool,
    caught_up: bool,
    /// What came by history.
    known: HashSet<String>,
    /// What came meanwhile.
    meanwhile: Vec<(String, Print)>,
}

/// A line of the server.
struct Line<'l> {
    tags: HashMap<&'l str, &'l str>,
    nick: &'l str,
    command: &'l str,
    params: Vec<&'l str>,
}

impl<'l> Line<'l> {
    fn read(line: &'l str) -> Self {
        let (tags, rest) = match line.strip_prefix('@') {
            Some(tagged) => tagged.split_once(' ').unwrap_or((tagged, "")),
            None => ("", line),
        };
        let tags = tags.split(';').map(|tag| tag.split_once('=').unwrap_or((tag, ""))).collect();
        let (source, rest) = match rest.strip_prefix(':') {
            Some(sourced) => sourced.split_once(' ').unwrap_or((sourced, "")),
            None => ("", rest),
        };
        let (middle, trailing) = match rest.split_once(" :") {
            Some((middle, trailing)) => (middle, Some(trailing)),
            None => (rest, None),
        };
        let mut words = middle.split(' ').filter(|word| !word.is_empty());
        let command = words.next().unwrap_or_default();
        let params = words.chain(trailing).collect();
        Self { tags, nick: source.split('!').next().unwrap_or_default(), command, params }
    }

    fn param(&self, at: usize) -> &'l str {
        self.params.get(at).copied().unwrap_or_default()
    }
}

impl Client {
    /// A client that has not connected yet.
    pub(super) fn new(diary: Diary, addresses: Rc<[Addresses]>) -> Self {
        let places = diary.places.len();
        Self {
            turn: diary.number as usize,
            addresses,
            heard: vec![Vec::new(); places],
            last: vec![BEGINNING.to_owned(); places],
            diary,
        }
    }

    /// Lives until everything was heard.
    pub(super) async fn live(mut self) {
        lines::live(&mut self).await;
        for (place, heard) in self.diary.places.iter().zip(&self.heard) {
            self.diary.book.judge_heard(self.diary.number, &place.conversation, heard);
        }
        self.diary.book.arrived();
    }

    fn place(&self, target: &str) -> Option<usize> {
        let called = target.strip_prefix('#')?;
        self.diary.places.iter().position(|place| place.called == called)
    }

    async fn ask_history(&self, talk: &mut Talk, place: usize) -> Result<(), Lost> {
        let (room, last) = (&self.diary.places[place].called, &self.last[place]);
        talk.say(&format!("CHATHISTORY AFTER #{room} {last} {PAGE}")).await
    }

    async fn batch(&mut self, talk: &mut Talk, line: &Line<'_>) -> Result<(), Lost> {
        if let Some(name) = line.param(0).strip_prefix('+') {
            if line.param(1) == "chathistory"
                && let Some(place) = self.place(line.param(2))
            {
                talk.batch = Some((name.to_owned(), place, 0));
            }
            return Ok(());
        }
        let ended = line.param(0).strip_prefix('-').unwrap_or_default();
        let Some((_, place, count)) = talk.batch.take_if(|(name, ..)| *name == ended) else { return Ok(()) };
        if count > 0 {
            return self.ask_history(talk, place).await;
        }
        let room = &mut talk.rooms[place];
        room.caught_up = true;
        for (id, print) in std::mem::take(&mut room.meanwhile) {
            if !room.known.contains(&id) {
                self.heard[place].push(print);
                self.last[place] = format!("msgid={id}");
            }
        }
        Ok(())
    }

    fn message(&mut self, talk: &mut Talk, line: &Line<'_>) {
        let Some(place) = self.place(line.param(0)) else { return };
        self.diary.book.counts.borrow_mut().delivered += 1;
        let print = Print::of("message", line.nick, line.param(1));
        let id = line.tags.get("msgid").copied().unwrap_or_default().to_owned();
        let room = &mut talk.rooms[place];
        if let Some((name, of, count)) = &mut talk.batch
            && line.tags.get("batch") == Some(&name.as_str())
        {
            *count += 1;
            self.last[*of] = format!("msgid={id}");
            if room.known.insert(id) {
                self.heard[*of].push(print);
            }
            return;
        }
        // History may be ahead of what is told as it happens.
        if !room.caught_up {
            room.meanwhile.push((id, print));
        } else if !room.known.contains(&id) {
            self.heard[place].push(print);
            self.last[place] = format!("msgid={id}");
        }
        if let Some(message) = talk.answered_message(line) {
            self.diary.acked(&message, 0, None, false);
        }
    }
}

impl lines::Talk for Talk {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn greeted(&self) -> bool {
        self.registered
    }

    fn answered(&self) -> bool {
        self.asked.is_empty() && self.rooms.iter().all(|room| room.caught_up)
    }
}

impl lines::Client for Client {
    type Talk = Talk;

    fn diary(&mut self) -> &mut Diary {
        &mut self.diary
    }

    async fn connect(&mut self) -> Result<Talk, Lost> {
        let address = self.addresses[self.turn % self.addresses.len()].irc;
        self.turn += 1;
        let mut talk = Talk {
            wire: Wire::open(address).await?,
            registered: false,
            rooms: self.diary.places.iter().map(|_| Room::default()).collect(),
            labels: 0,
            asked: HashMap::new(),
            batch: None,
        };
        let name = &self.diary.name;
        // Under a password of its own a guest is the same guest whenever it comes, so that what it sends is known again.
        talk.say(&format!(
            "PASS of-{name}\r\nCAP REQ :{WANTED}\r\nNICK {name}\r\nUSER {name} 0 * :{name}\r\nCAP END"
        ))
        .await?;
        Ok(talk)
    }

    async fn act(&mut self, talk: &mut Talk, stage: &Stage) -> Result<bool, Lost> {
        if *stage == Stage::Enter {
            self.diary.arrive(stage);
            return Ok(false);
        }
        for (place, room) in self.diary.places.iter().zip(&mut talk.rooms) {
            if !room.asked {
                room.asked = true;
                let join = format!("JOIN #{}\r\n", place.called);
                talk.wire.say(&join).await?;
            }
        }
        if !talk.rooms.iter().all(|room| room.caught_up) {
            return Ok(false);
        }
        self.diary.caught_up();
        match stage {
            Stage::Join => self.diary.arrive(stage),
            Stage::Send => {
                while talk.asked.len() < WINDOW
                    && let Some(message) = self.diary.next_message()
                {
                    self.diary.sending(&message);
                    talk.labels += 1;
                    let label = format!("L{}", talk.labels);
                    let room = &self.diary.places[message.place].called;
                    let line = format!(
                        "@label={label};{NONCE}={} PRIVMSG #{room} :{}",
                        message.nonce(),
                        message.text
                    );
                    talk.asked.insert(label, message);
                    talk.say(&line).await?;
                }
            }
            Stage::Finish(ends) => {
                let mut places = self.diary.places.iter().zip(&self.heard);
                return Ok(places.all(|(place, heard)| {
                    ends.get(&place.conversation).is_none_or(|end| heard.len() >= end.messages)
                }));
            }
            _ => {}
        }
        Ok(false)
    }

    async fn heard(&mut self, talk: &mut Talk, text: &str) -> Result<(), Lost> {
        let line = Line::read(text);
        match line.command {
            "PING" => talk.say(&format!("PONG :{}", line.param(0))).await?,
            "001" => talk.registered = true,
            "433" | "ERROR" => return Err(Lost),
            "366" => {
                if let Some(place) = self.place(line.param(1)) {
                    self.ask_history(talk, place).await?;
                }
            }
            "BATCH" => self.batch(talk, &line).await?,
            "PRIVMSG" => self.message(talk, &line),
            // Kept when it was sent before: what was missed has it.
            "NOTE" if line.param(1) == "SAID_BEFORE" => {
                if let Some(message) = talk.answered_message(&line) {
                    self.diary.acked(&message, 0, None, true);
                }
            }
            "FAIL" if is_for_now(line.param(1)) => return Err(Lost),
            "FAIL" | "KICK" => {
                self.diary.said(text.to_owned());
                return Err(Lost);
            }
            // No message of the day is no fault.
            command if command.len() == 3 && command.starts_with('4') && command != "422" => {
                self.diary.said(text.to_owned());
                return Err(Lost);
            }
            _ => {}
        }
        Ok(())
    }

    fn over(&mut self, talk: Talk) {
        self.diary.unanswered(talk.asked.into_values().collect());
    }
}

/// The store of this machine is away, or it ends: the next one may do better.
fn is_for_now(code: &str) -> bool {
    code.starts_with("STORE_") || matches!(code, "BUSY" | "SHUTTING_DOWN" | "MESSAGE_ERROR")
}

impl Talk {
    /// Says one line.
    async fn say(&mut self, line: &str) -> Result<(), Lost> {
        self.wire.say(&format!("{line}\r\n")).await
    }

    /// The message that this line answers.
    fn answered_message(&mut self, line: &Line<'_>) -> Option<Message> {
        line.tags.get("label").and_then(|label| self.asked.remove(*label))
    }
}
