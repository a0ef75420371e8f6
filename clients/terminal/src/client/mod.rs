//! A client of a chat server: what comes in changes the model, what is typed becomes requests.
//!
//! **Job.** Say hello, join, come back and resume, keep what is not acknowledged, answer commands. **Called by** `online`.
//!
//! Pure: it is fed ([`Client::opened`], [`Client::received`], [`Client::typed`], [`Client::tick`]) and asked ([`Client::poll`],
//! [`Client::due`]); it holds no socket and no clock. Times are milliseconds of a clock that never runs backwards.
//!
//! Invariants
//! 1. After a cut every conversation is asked for from the last (epoch, offset) that was seen, before anything unsent goes out.
//! 2. What was typed as a message is acknowledged, refused for good and told, or still in the outbox.
//!
//! Not here: the connection (`link`), drawing (`screen`).

mod answers;
mod orders;
mod outbox;
mod room;

use std::collections::{BTreeMap, VecDeque};

use madang_host::draws::Draws;
use serde_json::{Value, json};

pub use outbox::{Draft, Outbox};
pub use room::{Entry, Message, Present, Room};

use crate::protocol::{self, Event, Kept, Notice, Refusal, Said, What};

/// The first pause before coming back, and the longest, in milliseconds.
const AGAIN_MS: (u64, u64) = (500, 30_000);
/// How often a silent server is asked for a sign of life, in milliseconds.
const PING_MS: u64 = 30_000;
/// How long it may take to give it, in milliseconds.
const PONG_MS: u64 = 20_000;
/// How long hello may take, in milliseconds.
const HELLO_MS: u64 = 15_000;
/// How often it is told that one is writing or has read, in milliseconds.
const TELL_MS: u64 = 3000;
/// Conversations that are joined by themselves.
const ROOMS_MAX: usize = 50;

/// Whom to be and where to go.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// A guest's name.
    pub name: String,
    /// The name was a guess of ours: another one will do.
    pub may_rename: bool,
    /// What this guest was given the last time.
    pub key: Option<String>,
    /// A user's token: no name is needed.
    pub token: Option<String>,
    /// The conversation to begin with.
    pub room: String,
    /// Messages of it to be shown at the beginning.
    pub history: u64,
    /// All of one's conversations, who is there: for a screen. Else only the one.
    pub everything: bool,
    /// Where jitter and nonces come from.
    pub seed: u64,
}

/// What is to be done outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Out {
    /// Connect.
    Connect,
    /// Send this.
    Frame(String),
    /// Close the connection: the server does not answer.
    Drop,
    /// Show this, where nothing is drawn.
    Tell(Tell),
    /// End, with what went wrong if something did.
    Quit(Option<String>),
}

/// Something for those who read line by line.
#[derive(Debug, Clone, PartialEq)]
pub enum Tell {
    /// Something happened in a conversation.
    Event(Event),
    /// Something of earlier that was asked for, and as the server told it.
    Earlier(Event, Value),
    /// A word of this program.
    Word(String),
    /// A message of ours is kept.
    Sent(String, Kept),
    /// A message of ours was refused for good.
    Refused(Draft, Refusal),
    /// We are in: as whom.
    Here(protocol::Person),
    /// A guest's way back, to be kept.
    Key(String),
    /// We are out: why, and after how many milliseconds it is tried again.
    Lost(String, u64),
}

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No connection, until then.
    Away(u64),
    /// On its way.
    Connecting,
    /// Hello was said, then.
    Greeting(u64),
    /// In.
    Here,
}

/// What was asked, for when the answer comes.
#[derive(Debug, Clone, PartialEq)]
enum Asked {
    Hello,
    Join {
        room: String,
        to_front: bool,
    },
    Send {
        nonce: String,
    },
    History {
        room: String,
        told: bool,
    },
    Rooms {
        told: bool,
    },
    Who {
        room: String,
        told: bool,
    },
    Whois,
    Search,
    /// A command whose effect is told by an event; the text is what to say when it is done.
    Order {
        what: String,
        done: String,
    },
    Left {
        room: String,
    },
    Quiet,
}

/// The client.
pub struct Client {
    settings: Settings,
    /// How things stand.
    pub phase: Phase,
    /// What the chat is called.
    pub chat: String,
    /// What one is called here.
    pub me: String,
    /// The conversations one is in.
    pub rooms: BTreeMap<String, Room>,
    /// The one in front.
    pub front: String,
    /// What was written and is not kept yet.
    pub outbox: Outbox,
    waiting: BTreeMap<u64, Asked>,
    last_id: u64,
    attempts: u32,
    was_here: bool,
    draws: Draws,
    out: VecDeque<Out>,
    heard_at: u64,
    pinged_at: Option<u64>,
    typing_told_at: Option<u64>,
    read_told_at: Option<u64>,
    /// Kept, and not told to us yet as everybody is told.
    kept: Vec<(Draft, u64)>,
}

impl Client {
    /// A client that connects at once.
    pub fn new(settings: Settings) -> Self {
        Self {
            phase: Phase::Connecting,
            chat: String::new(),
            me: settings.name.clone(),
            rooms: BTreeMap::new(),
            front: settings.room.clone(),
            outbox: Outbox::default(),
            waiting: BTreeMap::new(),
            last_id: 0,
            attempts: 0,
            was_here: false,
            draws: Draws::new(settings.seed),
            out: VecDeque::from([Out::Connect]),
            heard_at: 0,
            pinged_at: None,
            typing_told_at: None,
            read_told_at: None,
            kept: Vec::new(),
            settings,
        }
    }

    /// What is to be done outside, until there is nothing more.
    pub fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// When [`Client::tick`] has something to do.
    pub fn due(&self, now: u64) -> Option<u64> {
        let phase = match self.phase {
            Phase::Away(again_at) => Some(again_at),
            Phase::Connecting => None,
            Phase::Greeting(since) => Some(since + HELLO_MS),
            Phase::Here => Some(self.pinged_at.map_or(self.heard_at + PING_MS, |at| at + PONG_MS)),
        };
        let outbox = if self.phase == Phase::Here { self.outbox.due() } else { None };
        let typing = self.rooms.get(&self.front).and_then(|room| room.typing_ends(now));
        let read = self.unread_to_tell().map(|_| self.read_told_at.map_or(now, |at| at + TELL_MS));
        [phase, outbox, typing, read].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: u64) {
        match self.phase {
            Phase::Away(again_at) if again_at <= now => {
                self.phase = Phase::Connecting;
                self.out.push_back(Out::Connect);
            }
            Phase::Greeting(since) if since + HELLO_MS <= now => self.give_up("it does not answer", now),
            Phase::Here => {
                if self.pinged_at.is_some_and(|at| at + PONG_MS <= now) {
                    self.give_up("it does not answer any more", now);
                } else if self.pinged_at.is_none() && self.heard_at + PING_MS <= now {
                    self.pinged_at = Some(now);
                    self.ask(json!({ "do": "ping" }), Asked::Quiet);
                }
                self.send_next(now);
                self.tell_read(now);
            }
            _ => {}
        }
    }

    fn give_up(&mut self, why: &str, now: u64) {
        self.out.push_back(Out::Drop);
        self.closed(None, why, now);
    }

    /// Whether everything that was typed has had its answer.
    pub fn is_settled(&self) -> bool {
        self.outbox.is_empty() && self.phase == Phase::Here && self.waiting.is_empty()
    }

    /// Whether it was ever let in.
    pub fn was_here(&self) -> bool {
        self.was_here
    }

    /// There is a connection.
    pub fn opened(&mut self, now: u64) {
        self.phase = Phase::Greeting(now);
        self.heard_at = now;
        self.pinged_at = None;
        let mut hello = json!({ "do": "hello" });
        if let Some(token) = &self.settings.token {
            hello["token"] = json!(token);
        } else {
            hello["name"] = json!(self.settings.name);
            if let Some(key) = &self.settings.key {
                hello["key"] = json!(key);
            }
        }
        self.ask(hello, Asked::Hello);
    }

    /// There is none (any more).
    pub fn closed(&mut self, code: Option<u16>, why: &str, now: u64) {
        self.waiting.clear();
        self.outbox.cut();
        self.kept.clear();
        for room in self.rooms.values_mut() {
            room.is_joined = false;
        }
        if code == Some(4002) {
            self.quit("you came in from elsewhere, or were logged out: this end is closed");
            return;
        }
        let longest = AGAIN_MS.0.saturating_mul(1 << self.attempts.min(10)).min(AGAIN_MS.1);
        // Full jitter with a floor: a thousand clients of one server that restarts do not come back in one moment.
        let pause = 100 + self.draws.below(longest);
        self.attempts += 1;
        self.phase = Phase::Away(now + pause);
        self.out.push_back(Out::Tell(Tell::Lost(why.to_owned(), pause)));
    }

    /// A frame came.
    pub fn received(&mut self, frame: &str, now: u64) {
        self.heard_at = now;
        self.pinged_at = None;
        match protocol::read(frame) {
            Some(Said::Answer(id, outcome)) => {
                if let Some(asked) = self.waiting.remove(&id) {
                    self.answered(asked, outcome, now);
                }
            }
            Some(Said::Event(event)) => self.happened(event, now),
            Some(Said::Notice(notice)) => self.noticed(notice, now),
            None => {}
        }
    }

    fn happened(&mut self, event: Event, now: u64) {
        let front = self.front == event.room;
        self.kept.retain(|(draft, offset)| draft.room != event.room || *offset > event.offset);
        let Some(room) = self.rooms.get_mut(&event.room) else { return };
        if !room.follows(&event, &self.me) {
            return;
        }
        if let What::Message { .. } = event.what
            && let Some(message) = room.message(event.offset)
            && !message.mine
            && !front
        {
            let to_me = message.to_me || event.room.starts_with('@');
            room.unread += 1;
            room.mentions += u64::from(to_me);
        }
        self.out.push_back(Out::Tell(Tell::Event(event)));
        self.tell_read(now);
    }

    fn noticed(&mut self, notice: Notice, now: u64) {
        match notice {
            Notice::Gap { room, from, to } => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.gap(from, to);
                }
                self.tell(format!(
                    "{room}: entries {from} to {} are not kept any more",
                    to.saturating_sub(1)
                ));
            }
            Notice::Joined(joined) => {
                self.tell(format!("you are in {} now", joined.room));
                self.enter(&joined, false);
            }
            Notice::Left { room, why } => {
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                self.word(format!("you are not in {room} any more{why}"));
                self.forget(&room);
            }
            Notice::Presence { room, joined, left, people } => {
                let Some(room) = self.rooms.get_mut(&room) else { return };
                for person in joined {
                    room.people.entry(person.name).or_default();
                }
                for person in left {
                    room.people.remove(&person.name);
                }
                room.count = people;
            }
            Notice::Typing { room, by } => {
                if by.name != self.me
                    && let Some(room) = self.rooms.get_mut(&room)
                {
                    room.types(&by.name, now);
                }
            }
            Notice::Read { room, offset } => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.read_told = room.read_told.max(offset);
                    (room.unread, room.mentions) = (0, 0);
                }
            }
            Notice::Away { room, by, text } => {
                if let Some(present) =
                    self.rooms.get_mut(&room).and_then(|room| room.people.get_mut(&by.name))
                {
                    present.away = text;
                }
            }
            Notice::Other => {}
        }
    }

    /// What was written to a conversation and does not stand there yet.
    pub fn drafts<'c>(&'c self, room: &'c str) -> impl DoubleEndedIterator<Item = &'c Draft> {
        let kept = self.kept.iter().map(|(draft, _)| draft).filter(move |draft| draft.room == room);
        kept.chain(self.outbox.of(room))
    }

    /// One is writing.
    pub fn typing(&mut self, now: u64) {
        let joined = self.rooms.get(&self.front).is_some_and(|room| room.is_joined);
        if self.phase == Phase::Here && joined && is_time(self.typing_told_at, now) {
            self.typing_told_at = Some(now);
            let room = self.front.clone();
            self.ask(json!({ "do": "typing", "room": room }), Asked::Quiet);
        }
    }

    /// Brings a conversation to the front.
    pub fn to_front(&mut self, room: &str, now: u64) {
        room.clone_into(&mut self.front);
        if let Some(room) = self.rooms.get_mut(room) {
            (room.unread, room.mentions) = (0, 0);
        }
        self.fill_front();
        self.tell_read(now);
    }

    /// Brings the next or the one before to the front, the unread ones first if so wished.
    pub fn turn(&mut self, forward: bool, now: u64) {
        let names: Vec<String> = self.rooms.keys().cloned().collect();
        let Some(at) = names.iter().position(|name| *name == self.front) else { return };
        let count = names.len();
        let next = if forward { (at + 1) % count } else { (at + count - 1) % count };
        if let Some(name) = names.get(next) {
            self.to_front(&name.clone(), now);
        }
    }

    /// A page of older messages of the conversation in front, if there are more.
    pub fn older(&mut self) {
        let room = self.front.clone();
        let asked = Asked::History { room: room.clone(), told: false };
        if self.waiting.values().any(|waiting| *waiting == asked) {
            return;
        }
        let Some(known) = self.rooms.get(&room).filter(|known| known.is_joined && known.has_older) else {
            return;
        };
        let mut request = json!({ "do": "history", "room": room, "limit": 50 });
        if let Some(oldest) = known.oldest() {
            request["before"] = json!(oldest);
        }
        self.ask(request, asked);
    }

    /// What a screen wants of the conversation in front and does not have yet.
    fn fill_front(&mut self) {
        let Some(room) = self.rooms.get(&self.front) else { return };
        if !self.settings.everything || !room.is_joined {
            return;
        }
        if room.oldest().is_none() {
            self.older();
        }
        if self.front != "*" && self.rooms.get(&self.front).is_some_and(|room| room.people.is_empty()) {
            let room = self.front.clone();
            self.ask(json!({ "do": "who", "room": room }), Asked::Who { room, told: false });
        }
    }

    fn unread_to_tell(&self) -> Option<(String, u64)> {
        let room = self.rooms.get(&self.front)?;
        let (_, seen) = room.since()?;
        let is_new = self.settings.everything && room.is_joined && seen > room.read_told;
        (is_new && self.phase == Phase::Here).then(|| (self.front.clone(), seen))
    }

    fn tell_read(&mut self, now: u64) {
        if !is_time(self.read_told_at, now) {
            return;
        }
        if let Some((name, seen)) = self.unread_to_tell() {
            self.read_told_at = Some(now);
            if let Some(room) = self.rooms.get_mut(&name) {
                room.read_told = seen;
            }
            self.ask(json!({ "do": "read", "room": name, "offset": seen }), Asked::Quiet);
        }
    }

    fn ask(&mut self, mut request: Value, asked: Asked) {
        self.last_id += 1;
        request["id"] = json!(self.last_id);
        self.waiting.insert(self.last_id, asked);
        self.out.push_back(Out::Frame(request.to_string()));
    }

    fn send_next(&mut self, now: u64) {
        if self.phase != Phase::Here {
            return;
        }
        if let Some(draft) = self.outbox.next(now) {
            let (request, nonce) = (draft.request.clone(), draft.nonce.clone());
            self.ask(request, Asked::Send { nonce });
        }
    }

    /// A word of this program, on the screen in front and for those who read lines.
    fn word(&mut self, text: String) {
        let front = self.front.clone();
        self.rooms.entry(front).or_default().word(text.clone());
        self.tell(text);
    }

    fn tell(&mut self, text: String) {
        self.out.push_back(Out::Tell(Tell::Word(text)));
    }

    fn quit(&mut self, why: &str) {
        self.out.push_back(Out::Quit(Some(why.to_owned())));
    }

    /// A message of ours is kept. It is shown as a draft until it comes back as everybody is told.
    fn keep(&mut self, nonce: &str, kept: &Kept) {
        let Some(draft) = self.outbox.answered(nonce) else { return };
        let seen = self.rooms.get(&draft.room).and_then(Room::since);
        let comes = seen.is_some_and(|(epoch, seen)| epoch == kept.epoch && seen < kept.offset);
        if comes && draft.request["do"] == "send" {
            self.kept.push((draft, kept.offset));
        }
    }

    fn nonce(&mut self) -> String {
        format!("{:016x}{:016x}", self.draws.next(), self.draws.next())
    }
}

/// Whether something that is told every so often is due again.
fn is_time(told_at: Option<u64>, now: u64) -> bool {
    told_at.is_none_or(|at| now >= at + TELL_MS)
}
