//! One client over IRC, with CHATHISTORY for what it missed.
//!
//! **Job.** Register, join, say things until their echo comes, come back after every end and ask for what was said since the last
//! message it knows. **Called by** `crash`.
//!
//! IRC has no way to send the same message again. What had no echo when a connection ended is looked for in what was missed: there
//! it is acknowledged, else it is given up, and the log may have it once or not at all.
//!
//! Invariants
//! 1. A `msgid` is a word: nothing is read out of it. What comes by history and as it happens is told apart by it.
//!
//! Not here: what is right (`ledger`), when it is cut off (`plan`).

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::book::Stage;
use super::diary::Diary;
use super::ledger::Print;
use super::plan::Message;
use super::server::Addresses;

const WINDOW: usize = 8;
const RETRY: Duration = Duration::from_millis(50);
const PAGE: usize = 100;
const WANTED: &str = "batch message-tags server-time echo-message labeled-response draft/chathistory";
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
    /// Sent, and nobody knows whether they arrived.
    doubtful: Vec<Message>,
}

/// Of one connection.
struct Talk {
    lines: Lines<BufReader<OwnedReadHalf>>,
    out: OwnedWriteHalf,
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

/// The connection is over.
struct Lost;

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
            doubtful: Vec::new(),
            diary,
        }
    }

    /// Lives until everything was heard.
    pub(super) async fn live(mut self) {
        loop {
            let Ok(Ok(mut talk)) = tokio::time::timeout(self.diary.silence, self.connect()).await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let over = self.talk(&mut talk).await;
            self.doubtful.extend(talk.asked.into_values());
            match over {
                Ok(()) => break,
                Err(Lost) if talk.registered => self.diary.lost(),
                // Its name is still taken by the connection before.
                Err(Lost) => tokio::time::sleep(RETRY).await,
            }
        }
        for (place, heard) in self.diary.places.iter().zip(&self.heard) {
            self.diary.book.judge_heard(self.diary.number, &place.conversation, heard);
        }
        self.diary.book.arrived();
    }

    async fn connect(&mut self) -> Result<Talk, Lost> {
        let address = self.addresses[self.turn % self.addresses.len()].irc;
        self.turn += 1;
        let stream = TcpStream::connect(address).await.map_err(|_| Lost)?;
        stream.set_nodelay(true).map_err(|_| Lost)?;
        let (read, out) = stream.into_split();
        let mut talk = Talk {
            lines: BufReader::new(read).lines(),
            out,
            registered: false,
            rooms: self.diary.places.iter().map(|_| Room::default()).collect(),
            labels: 0,
            asked: HashMap::new(),
            batch: None,
        };
        let name = &self.diary.name;
        talk.say(&format!("CAP REQ :{WANTED}\r\nNICK {name}\r\nUSER {name} 0 * :{name}\r\nCAP END")).await?;
        Ok(talk)
    }

    async fn talk(&mut self, talk: &mut Talk) -> Result<(), Lost> {
        let mut stage = self.diary.book.stage.subscribe();
        let mut now = stage.borrow_and_update().clone();
        loop {
            if talk.registered && self.act(talk, &now).await? {
                return Ok(());
            }
            let quiet =
                talk.registered && talk.asked.is_empty() && talk.rooms.iter().all(|room| room.caught_up);
            tokio::select! {
                line = talk.lines.next_line() => {
                    let Ok(Some(line)) = line else { return Err(Lost) };
                    self.heard(talk, &line).await?;
                    if now == Stage::Send && let Some(reset) = self.diary.cuts.frame() {
                        if reset {
                            let _ = talk.out.as_ref().set_zero_linger(); // else it is cut with a FIN
                        }
                        self.diary.book.counts.borrow_mut().cuts += 1;
                        return Err(Lost);
                    }
                }
                changed = stage.changed() => {
                    changed.map_err(|_| Lost)?;
                    now = stage.borrow_and_update().clone();
                }
                () = tokio::time::sleep(self.diary.silence), if !quiet => return Err(Lost),
            }
        }
    }

    /// Does what the stage asks for; whether everything is done.
    async fn act(&mut self, talk: &mut Talk, stage: &Stage) -> Result<bool, Lost> {
        if *stage == Stage::Enter {
            self.diary.arrive(stage);
            return Ok(false);
        }
        for (place, room) in self.diary.places.iter().zip(&mut talk.rooms) {
            if !room.asked {
                room.asked = true;
                let join = format!("JOIN #{}\r\n", place.called);
                talk.out.write_all(join.as_bytes()).await.map_err(|_| Lost)?;
            }
        }
        if !talk.rooms.iter().all(|room| room.caught_up) {
            return Ok(false);
        }
        self.settle();
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
                    let line = format!("@label={label} PRIVMSG #{room} :{}", message.text);
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

    /// Everything missed has come: what was in doubt is there, or nobody will ever know.
    fn settle(&mut self) {
        for message in std::mem::take(&mut self.doubtful) {
            let print = self.diary.print(&message);
            if self.heard[message.place].iter().rev().any(|heard| *heard == print) {
                self.diary.acked(&message, 0, None, false);
            } else {
                self.diary.book.given_up();
            }
        }
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
        if let Some(message) = line.tags.get("label").and_then(|label| talk.asked.remove(*label)) {
            self.diary.acked(&message, 0, None, false);
        }
    }
}

/// The store of this machine is away, or it ends: the next one may do better.
fn is_for_now(code: &str) -> bool {
    code.starts_with("STORE_") || matches!(code, "BUSY" | "SHUTTING_DOWN" | "MESSAGE_ERROR")
}

impl Talk {
    async fn say(&mut self, line: &str) -> Result<(), Lost> {
        self.out.write_all(format!("{line}\r\n").as_bytes()).await.map_err(|_| Lost)
    }
}
