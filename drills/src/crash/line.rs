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

use super::book::Stage;
use super::diary::Diary;
use super::ledger::Print;
use super::lines::{self, Lost, Wire};
use super::plan::Message;
use super::server::Addresses;

const WINDOW: usize = 8;
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
pub(super) struct Talk {
    wire: Wire,
    named: bool,
    /// Which places were asked for, and into which it came.
    asked: usize,
    inside: usize,
    /// Sent, and not answered yet.
    waiting: VecDeque<Message>,
    /// Of each place, what was heard.
    heard: Vec<Vec<Print>>,
}

impl Client {
    /// A client that has not connected yet.
    pub(super) fn new(diary: Diary, addresses: Rc<[Addresses]>) -> Self {
        Self { turn: diary.number as usize, addresses, diary, heard: Vec::new() }
    }

    /// Lives until everything was sent.
    pub(super) async fn live(mut self) {
        lines::live(&mut self).await;
        for (place, heard) in &self.heard {
            let conversation = &self.diary.places[*place].conversation;
            self.diary.book.judge_piece(self.diary.number, conversation, heard);
        }
        self.diary.book.arrived();
    }

    fn read(&mut self, talk: &mut Talk, line: &str) -> Result<(), Lost> {
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

impl lines::Talk for Talk {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn greeted(&self) -> bool {
        self.named
    }

    fn answered(&self) -> bool {
        self.waiting.is_empty() && self.asked == self.inside
    }
}

impl lines::Client for Client {
    type Talk = Talk;

    fn diary(&mut self) -> &mut Diary {
        &mut self.diary
    }

    async fn connect(&mut self) -> Result<Talk, Lost> {
        let address = self.addresses[self.turn % self.addresses.len()].line;
        self.turn += 1;
        let mut talk = Talk {
            wire: Wire::open(address).await?,
            named: false,
            asked: 0,
            inside: 0,
            waiting: VecDeque::new(),
            heard: self.diary.places.iter().map(|_| Vec::new()).collect(),
        };
        talk.wire.say(&format!("/nick {}\n", self.diary.name)).await?;
        Ok(talk)
    }

    async fn act(&mut self, talk: &mut Talk, stage: &Stage) -> Result<bool, Lost> {
        if *stage == Stage::Enter {
            self.diary.arrive(stage);
            return Ok(false);
        }
        while talk.asked < self.diary.places.len() {
            talk.wire.say(&format!("/join {}\n", self.diary.places[talk.asked].called)).await?;
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
                    talk.wire.say(&lines).await?;
                }
            }
            // What it missed while it was away it does not get any more.
            Stage::Finish(_) => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    async fn heard(&mut self, talk: &mut Talk, line: &str) -> Result<(), Lost> {
        self.read(talk, line)
    }

    fn over(&mut self, talk: Talk) {
        talk.waiting.iter().for_each(|_| self.diary.book.given_up());
        self.heard.extend(talk.heard.into_iter().enumerate());
    }
}
