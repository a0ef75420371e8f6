//! One client over bare lines, as somebody with `nc`.
//!
//! **Job.** Take its name, go into its rooms, say things, come back after every end. **Called by** `crash`.
//!
//! Lines bear no places and nothing can be resumed. But one line is done after the other: a question that is answered tells that
//! the message before it was kept. What was not answered when a connection ended is given up: the log may have it, once or not
//! at all. What is heard between coming into a room and the end of the connection has to be a piece of its log: in order, nothing
//! twice, nothing left out but one's own words.
//!
//! Not here: what is right (`ledger`), when it is cut off (`plan`).

use std::collections::VecDeque;
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
/// What is answered to `/topic`: no room of a drill has one.
const ANSWERED: &str = "* this room has no topic";

/// One client.
pub(super) struct Client {
    addresses: Rc<[Addresses]>,
    turn: usize,
    diary: Diary,
    /// Of each place and each connection: what was heard, in order.
    heard: Vec<(usize, Vec<Print>)>,
}

/// Of one connection.
struct Talk {
    lines: Lines<BufReader<OwnedReadHalf>>,
    out: OwnedWriteHalf,
    named: bool,
    /// Which places were asked for, and into which it came.
    asked: usize,
    inside: usize,
    /// Sent, and not answered yet.
    waiting: VecDeque<Message>,
    /// Of each place, what was heard.
    heard: Vec<Vec<Print>>,
}

/// The connection is over.
struct Lost;

impl Client {
    /// A client that has not connected yet.
    pub(super) fn new(diary: Diary, addresses: Rc<[Addresses]>) -> Self {
        Self { turn: diary.number as usize, addresses, diary, heard: Vec::new() }
    }

    /// Lives until everything was sent.
    pub(super) async fn live(mut self) {
        loop {
            let Ok(Ok(mut talk)) = tokio::time::timeout(self.diary.silence, self.connect()).await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let over = self.talk(&mut talk).await;
            talk.waiting.iter().for_each(|_| self.diary.book.given_up());
            self.heard.extend(talk.heard.into_iter().enumerate());
            match over {
                Ok(()) => break,
                Err(Lost) if talk.named => self.diary.lost(),
                // Its name is still taken by the connection before.
                Err(Lost) => tokio::time::sleep(RETRY).await,
            }
        }
        for (place, heard) in &self.heard {
            let conversation = &self.diary.places[*place].conversation;
            self.diary.book.judge_piece(self.diary.number, conversation, heard);
        }
        self.diary.book.arrived();
    }

    async fn connect(&mut self) -> Result<Talk, Lost> {
        let address = self.addresses[self.turn % self.addresses.len()].line;
        self.turn += 1;
        let stream = TcpStream::connect(address).await.map_err(|_| Lost)?;
        stream.set_nodelay(true).map_err(|_| Lost)?;
        let (read, out) = stream.into_split();
        let mut talk = Talk {
            lines: BufReader::new(read).lines(),
            out,
            named: false,
            asked: 0,
            inside: 0,
            waiting: VecDeque::new(),
            heard: self.diary.places.iter().map(|_| Vec::new()).collect(),
        };
        talk.say(&format!("/nick {}\n", self.diary.name)).await?;
        Ok(talk)
    }

    async fn talk(&mut self, talk: &mut Talk) -> Result<(), Lost> {
        let mut stage = self.diary.book.stage.subscribe();
        let mut now = stage.borrow_and_update().clone();
        loop {
            if talk.named && self.act(talk, &now).await? {
                return Ok(());
            }
            let quiet = talk.named && talk.waiting.is_empty() && talk.asked == talk.inside;
            tokio::select! {
                line = talk.lines.next_line() => {
                    let Ok(Some(line)) = line else { return Err(Lost) };
                    self.heard(talk, &line)?;
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
        while talk.asked < self.diary.places.len() {
            talk.say(&format!("/join {}\n", self.diary.places[talk.asked].called)).await?;
            talk.asked += 1;
        }
        if talk.inside < talk.asked {
            return Ok(false);
        }
        self.diary.caught_up();
        match stage {
            Stage::Join => self.diary.arrive(stage),
            Stage::Send => {
                while talk.waiting.len() < WINDOW
                    && let Some(message) = self.diary.next_message()
                {
                    self.diary.sending(&message);
                    let room = &self.diary.places[message.place].called;
                    let lines = format!("/join {room}\n{}\n/topic\n", message.text);
                    talk.waiting.push_back(message);
                    talk.say(&lines).await?;
                }
            }
            // What it missed while it was away it does not get any more.
            Stage::Finish(_) => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    fn heard(&mut self, talk: &mut Talk, line: &str) -> Result<(), Lost> {
        if let Some((room, rest)) = line.strip_prefix('[').and_then(|line| line.split_once("] "))
            && let Some((name, text)) = rest.split_once(": ")
            && !rest.starts_with('*')
        {
            let place = self.diary.places.iter().position(|place| place.called == room);
            if let Some(place) = place.filter(|_| name != self.diary.name) {
                self.diary.book.counts.borrow_mut().delivered += 1;
                talk.heard[place].push(Print::of("message", name, text));
            }
        } else if line == format!("* you are {}", self.diary.name) {
            talk.named = true;
        } else if let Some(rest) = line.strip_prefix("* you are in ") {
            let room = rest.split(' ').next();
            let awaited = self.diary.places.get(talk.inside).map(|place| place.called.as_str());
            talk.inside += usize::from(talk.inside < talk.asked && room == awaited);
        } else if line == ANSWERED {
            if let Some(message) = talk.waiting.pop_front() {
                self.diary.acked(&message, 0, None, false);
            }
        } else if line.starts_with("! ") {
            // Its name is taken, or the store is away: it begins again, and what waits is given up.
            let for_now = ["is called", "not kept", "busy", "is ending"].iter().any(|why| line.contains(why));
            if !for_now {
                self.diary.said(line.to_owned());
            }
            return Err(Lost);
        }
        Ok(())
    }
}

impl Talk {
    async fn say(&mut self, lines: &str) -> Result<(), Lost> {
        self.out.write_all(lines.as_bytes()).await.map_err(|_| Lost)
    }
}
