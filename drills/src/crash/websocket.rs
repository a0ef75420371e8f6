//! One client over websocket, by somebody else's library.
//!
//! **Job.** Say hello, join with what was seen, send until acknowledged, come back after every end. **Called by** `crash`.
//! **Calls** tokio-tungstenite, which knows nothing of our websocket.
//!
//! Invariants
//! 1. A message is sent with the same nonce until an answer bears its number.
//! 2. An entry counts as seen when its frame was read, not before.
//!
//! Not here: what is right (`ledger`), when it is cut off (`plan`).

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use madang_host::clock;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::book::Stage;
use super::diary::Diary;
use super::ledger::{Finding, Seen, View};
use super::plan::{Message, Place};
use super::server::Addresses;
use super::told::{Answer, Refused, Told};

/// So many messages wait for their answers at once.
const WINDOW: usize = 8;
const RETRY: Duration = Duration::from_millis(20);
const PAGE: u64 = 200;

/// One client.
pub(super) struct Client {
    addresses: Rc<[Addresses]>,
    /// How often it connected: each time to the next machine.
    turn: usize,
    key: Option<String>,
    /// Whose logs it reads, and what it has of them.
    audits: VecDeque<(Place, Vec<Seen>)>,
    diary: Diary,
}

/// Of one connection.
struct Talk {
    socket: WebSocketStream<TcpStream>,
    next_id: u64,
    asked: HashMap<u64, Asked>,
    /// How far each place's log went when it was joined.
    ends: Vec<Option<u64>>,
    pause_until: Option<Instant>,
}

enum Asked {
    Hello,
    Join(usize),
    Send(Message),
    History,
}

/// The connection is over: cut by us, by the server, or by its death.
struct Lost;

impl Client {
    /// A client that has not connected yet; the logs of `audits` it reads in the end.
    pub(super) fn new(diary: Diary, addresses: Rc<[Addresses]>, audits: Vec<Place>) -> Self {
        Self {
            turn: diary.number as usize,
            addresses,
            key: None,
            audits: audits.into_iter().map(|place| (place, Vec::new())).collect(),
            diary,
        }
    }

    /// Lives until everything was seen.
    pub(super) async fn live(mut self) {
        loop {
            let connected = tokio::time::timeout(self.diary.silence, self.connect()).await;
            let Ok(Ok(socket)) = connected else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let ends = vec![None; self.diary.places.len()];
            let mut talk = Talk { socket, next_id: 1, asked: HashMap::new(), ends, pause_until: None };
            let over = self.talk(&mut talk).await;
            self.diary.unanswered(talk.asked.into_values().filter_map(Asked::message).collect());
            match over {
                Ok(()) => break,
                Err(Lost) => self.diary.lost(),
            }
        }
        self.diary.close();
    }

    async fn connect(&mut self) -> Result<WebSocketStream<TcpStream>, Lost> {
        let address = self.addresses[self.turn % self.addresses.len()].http;
        self.turn += 1;
        let stream = TcpStream::connect(address).await.map_err(|_| Lost)?;
        stream.set_nodelay(true).map_err(|_| Lost)?;
        let url = format!("ws://{address}/chat/ws");
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.map_err(|_| Lost)?;
        Ok(socket)
    }

    async fn talk(&mut self, talk: &mut Talk) -> Result<(), Lost> {
        let key = self.key.as_ref().map(|key| serde_json::json!({ "key": key })).unwrap_or_default();
        let name = serde_json::json!({ "do": "hello", "name": self.diary.name });
        talk.ask(Asked::Hello, merged(name, key)).await?;
        let mut stage = self.diary.book.stage.subscribe();
        let mut now = stage.borrow_and_update().clone();
        let mut greeted = false;
        loop {
            if greeted && self.act(talk, &now).await? {
                return Ok(());
            }
            let pause = talk.pause_until;
            tokio::select! {
                frame = talk.socket.next() => {
                    match frame {
                        Some(Ok(Frame::Text(text))) => greeted |= self.heard(talk, &text)?,
                        Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Binary(_) | Frame::Frame(_))) => {}
                        Some(Ok(Frame::Close(_)) | Err(_)) | None => return Err(Lost),
                    }
                    self.maybe_cut(talk, &now)?;
                }
                changed = stage.changed() => {
                    changed.map_err(|_| Lost)?;
                    now = stage.borrow_and_update().clone();
                }
                () = clock::due(pause) => talk.pause_until = None,
                () = tokio::time::sleep(self.diary.silence), if !talk.asked.is_empty() => return Err(Lost),
            }
        }
    }

    /// Does what the stage asks for; whether everything is done.
    async fn act(&mut self, talk: &mut Talk, stage: &Stage) -> Result<bool, Lost> {
        if *stage == Stage::Enter {
            self.diary.arrive(stage);
            return Ok(false);
        }
        if talk.pause_until.is_some() {
            return Ok(false);
        }
        for place in 0..self.diary.places.len() {
            let asked = talk.asked.values().any(|asked| matches!(asked, Asked::Join(at) if *at == place));
            if talk.ends[place].is_none() && !asked {
                let view = &self.diary.views[place];
                let since = view.epoch.zip(view.next()).map(
                    |(epoch, next)| serde_json::json!({ "since": { "epoch": epoch, "offset": next - 1 } }),
                );
                let join = serde_json::json!({ "do": "join", "room": self.diary.places[place].called });
                talk.ask(Asked::Join(place), merged(join, since.unwrap_or_default())).await?;
            }
        }
        let joined = talk.ends.iter().all(Option::is_some);
        if joined && self.diary.views.iter().zip(&talk.ends).all(|(view, end)| view.next() >= *end) {
            self.diary.caught_up();
        }
        match stage {
            Stage::Join if joined => self.diary.arrive(stage),
            Stage::Send if joined => {
                while talk.asked.len() < WINDOW
                    && let Some(message) = self.diary.next_message()
                {
                    self.diary.sending(&message);
                    let room = &self.diary.places[message.place].called;
                    let send = serde_json::json!(
                        { "do": "send", "room": room, "text": message.text, "nonce": message.nonce() });
                    talk.ask(Asked::Send(message), send).await?;
                }
            }
            Stage::Audit if joined => {
                let busy = talk.asked.values().any(|asked| matches!(asked, Asked::History));
                if !busy && let Some((place, entries)) = self.audits.front() {
                    let after = entries.last().map_or(0, |last| last.offset);
                    let history = serde_json::json!(
                        { "do": "history", "room": place.called, "after": after, "limit": PAGE });
                    talk.ask(Asked::History, history).await?;
                }
            }
            Stage::Finish(ends) => return Ok(self.diary.has_seen(ends)),
            _ => {}
        }
        Ok(false)
    }

    /// Reads one frame; whether it is the answer to hello.
    fn heard(&mut self, talk: &mut Talk, text: &str) -> Result<bool, Lost> {
        let told: Told = match serde_json::from_str(text) {
            Ok(told) => told,
            Err(error) => {
                self.diary.said(format!("what is no JSON of the protocol ({error}): {text}"));
                return Err(Lost);
            }
        };
        if let Some(id) = told.id {
            let Some(asked) = talk.asked.remove(&id) else {
                self.diary.said(format!("an answer that nobody asked for: {text}"));
                return Err(Lost);
            };
            return match (told.ok, told.error) {
                (Some(answer), None) => self.answered(talk, asked, answer),
                (None, Some(refused)) => self.refused(talk, asked, &refused).map(|()| false),
                _ => {
                    self.diary.said(format!("neither yes nor no: {text}"));
                    Err(Lost)
                }
            };
        }
        let Some(place) = self.diary.places.iter().position(|place| place.called == told.room) else {
            return Ok(false);
        };
        if told.on == "gap" {
            self.diary.said(format!("that {} to {} of {} are gone", told.from, told.to, told.room));
        }
        if told.on == "left" {
            self.diary.said(format!("that it is out of {}", told.room));
        }
        // A message from the neighbour makes one be there without having joined: what comes by that way is asked for again, so
        // that what was missed comes first.
        let joined = talk.ends[place].is_some();
        if let Some(seen) = told.seen().filter(|_| joined) {
            self.diary.book.counts.borrow_mut().delivered += 1;
            let conversation = &self.diary.places[place].conversation;
            if let Err(finding) = self.diary.views[place].saw(self.diary.number, conversation, &seen) {
                self.diary.book.found(finding);
                return Err(Lost); // begin anew where it stands
            }
        }
        Ok(false)
    }

    fn answered(&mut self, talk: &mut Talk, asked: Asked, answer: Answer) -> Result<bool, Lost> {
        match asked {
            Asked::Hello => {
                self.key = answer.key.or_else(|| self.key.take());
                return Ok(true);
            }
            Asked::Join(place) => {
                let conversation = &self.diary.places[place].conversation;
                let view = &mut self.diary.views[place];
                if answer.reset {
                    self.diary.book.found(Finding::NewLife {
                        client: self.diary.number,
                        conversation: conversation.clone(),
                    });
                    *view = View::default();
                }
                if let Err(finding) = view.joined(self.diary.number, conversation, answer.epoch, answer.next)
                {
                    self.diary.book.found(finding);
                    *view = View::default();
                    let _ = view.joined(self.diary.number, conversation, answer.epoch, answer.next); // a new one takes anything
                }
                talk.ends[place] = Some(answer.end);
            }
            Asked::Send(message) => {
                self.diary.acked(&message, answer.epoch, Some(answer.offset), answer.duplicate);
            }
            Asked::History => {
                let Some((place, entries)) = self.audits.front_mut() else { return Ok(false) };
                entries.extend(answer.events.iter().filter_map(Told::seen));
                if !answer.more || answer.events.is_empty() {
                    self.diary.book.audited(&place.conversation, entries);
                    self.audits.pop_front();
                }
            }
        }
        Ok(false)
    }

    fn refused(&mut self, talk: &mut Talk, asked: Asked, refused: &Refused) -> Result<(), Lost> {
        // Its neighbour may not have said hello yet.
        let is_early = refused.name == "no-such-user" && matches!(asked, Asked::Join(_));
        if !refused.is_for_now() && !is_early {
            self.diary.said(format!("{}: {}", refused.name, refused.text));
            return Err(Lost);
        }
        self.diary.book.counts.borrow_mut().put_off += 1;
        let pause = Duration::from_millis(refused.again_ms.unwrap_or(50).max(1));
        talk.pause_until = Some(clock::now() + pause);
        if let Asked::Send(message) = asked {
            self.diary.unanswered(vec![message]);
        }
        if refused.is_of_store() && self.addresses.len() > 1 {
            return Err(Lost); // the next machine may reach it
        }
        Ok(())
    }

    fn maybe_cut(&mut self, talk: &Talk, stage: &Stage) -> Result<(), Lost> {
        if *stage != Stage::Send {
            return Ok(());
        }
        let Some(reset) = self.diary.cuts.frame() else { return Ok(()) };
        if reset {
            let _ = talk.socket.get_ref().set_zero_linger(); // else it is cut with a FIN
        }
        self.diary.book.counts.borrow_mut().cuts += 1;
        Err(Lost)
    }
}

impl Asked {
    fn message(self) -> Option<Message> {
        match self {
            Self::Send(message) => Some(message),
            _ => None,
        }
    }
}

impl Talk {
    async fn ask(&mut self, asked: Asked, mut request: serde_json::Value) -> Result<(), Lost> {
        let id = self.next_id;
        self.next_id += 1;
        request["id"] = id.into();
        self.asked.insert(id, asked);
        self.socket.send(Frame::text(request.to_string())).await.map_err(|_| Lost)
    }
}

/// The fields of both; `more` may be nothing.
fn merged(mut request: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    if let (Some(fields), serde_json::Value::Object(more)) = (request.as_object_mut(), more) {
        fields.extend(more);
    }
    request
}
