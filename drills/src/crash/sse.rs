//! One client that follows by server-sent events and says things by POST.
//!
//! **Job.** Follow every room from where it was (`Last-Event-ID`), post until acknowledged, come back after every end. **Called
//! by** `crash`. **Calls** `http`.
//!
//! Invariants
//! 1. A message is posted with the same nonce until an answer bears its place.
//! 2. It follows all its rooms on one machine: when one stream ends, all do.
//!
//! Not here: what is right (`ledger`), when it is cut off (`plan`).

use std::rc::Rc;

use madang_host::clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::book::Stage;
use super::diary::Diary;
use super::http::Connection;
use super::ledger::Finding;
use super::plan::Message;
use super::server::Addresses;
use super::told::{Answer, Refused, Told};

const RETRY: std::time::Duration = std::time::Duration::from_millis(20);
/// Events that wait between a stream and its client.
const WAITING_MAX: usize = 64;

/// One client.
pub(super) struct Client {
    addresses: Rc<[Addresses]>,
    turn: usize,
    diary: Diary,
}

/// Of one life on one machine.
struct Talk {
    /// Of which place, what; `None`: its stream has ended.
    events: mpsc::Receiver<(usize, Option<Event>)>,
    /// Gives back the connection with the answer.
    posting: JoinSet<Posted>,
    idle: Option<Connection>,
    posted: Option<Message>,
    /// How far each place's log went when it was joined.
    ends: Vec<Option<u64>>,
    pause_until: Option<std::time::Instant>,
    /// Dropped with it: all streams end.
    _streams: JoinSet<()>,
}

/// A connection, and the status and body of the answer that came over it.
type Posted = (Connection, std::io::Result<(u16, Vec<u8>)>);

/// One event of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

/// The connections are over.
struct Lost;

impl From<std::io::Error> for Lost {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl Client {
    /// A client that has not connected yet.
    pub(super) fn new(diary: Diary, addresses: Rc<[Addresses]>) -> Self {
        Self { turn: diary.number as usize, addresses, diary }
    }

    /// Lives until everything was seen.
    pub(super) async fn live(mut self) {
        loop {
            let Ok(Ok(mut talk)) = tokio::time::timeout(self.diary.silence, self.connect()).await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let over = self.talk(&mut talk).await;
            self.diary.unanswered(talk.posted.into_iter().collect());
            match over {
                Ok(()) => break,
                Err(Lost) => self.diary.lost(),
            }
        }
        self.diary.close();
    }

    async fn connect(&mut self) -> Result<Talk, Lost> {
        let address = self.addresses[self.turn % self.addresses.len()].http;
        self.turn += 1;
        let idle = Some(Connection::open(address).await?);
        let (told, events) = mpsc::channel(WAITING_MAX);
        let mut streams = JoinSet::new();
        // Nobody is anywhere before everybody has said hello.
        let follows = *self.diary.book.stage.borrow() != Stage::Enter;
        for (place, view) in self.diary.views.iter().enumerate().filter(|_| follows) {
            let room = &self.diary.places[place].called;
            let seen = view.epoch.zip(view.next());
            let last = seen.map(|(epoch, next)| format!("Last-Event-ID: {epoch}:{}\r\n", next - 1));
            let mut stream = Connection::open(address).await?;
            let path = format!("/chat/rooms/{room}/events");
            let status = stream.ask("GET", &path, &last.unwrap_or_default(), "").await?;
            if status != 200 {
                let body = stream.body().await?;
                self.refused(status, &body)?;
                return Err(Lost);
            }
            streams.spawn_local(follow(stream, place, told.clone()));
        }
        let ends = vec![None; self.diary.places.len()];
        Ok(Talk {
            events,
            posting: JoinSet::new(),
            idle,
            posted: None,
            ends,
            pause_until: None,
            _streams: streams,
        })
    }

    async fn talk(&mut self, talk: &mut Talk) -> Result<(), Lost> {
        let mut stage = self.diary.book.stage.subscribe();
        let mut now = stage.borrow_and_update().clone();
        let follows = now != Stage::Enter;
        loop {
            if self.act(talk, &now)? {
                return Ok(());
            }
            let quiet = talk.posted.is_none() && (!follows || talk.ends.iter().all(Option::is_some));
            let pause = talk.pause_until;
            tokio::select! {
                Some((place, event)) = talk.events.recv() => {
                    self.heard(talk, place, event.ok_or(Lost)?)?;
                    self.maybe_cut(talk, &now)?;
                }
                Some(posted) = talk.posting.join_next() => {
                    let (connection, answer) = posted.map_err(|_| Lost)?;
                    let (status, body) = answer?;
                    talk.idle = Some(connection);
                    self.answered(talk, status, &body)?;
                    self.maybe_cut(talk, &now)?;
                }
                changed = stage.changed() => {
                    changed.map_err(|_| Lost)?;
                    now = stage.borrow_and_update().clone();
                    if !follows && now != Stage::Enter {
                        return Err(Lost); // and come back to follow
                    }
                }
                () = clock::due(pause) => talk.pause_until = None,
                () = tokio::time::sleep(self.diary.silence), if !quiet => return Err(Lost),
            }
        }
    }

    /// Does what the stage asks for; whether everything is done.
    fn act(&mut self, talk: &mut Talk, stage: &Stage) -> Result<bool, Lost> {
        let joined = talk.ends.iter().all(Option::is_some);
        if joined && self.diary.views.iter().zip(&talk.ends).all(|(view, end)| view.next() >= *end) {
            self.diary.caught_up();
        }
        match stage {
            Stage::Enter => self.diary.arrive(stage),
            Stage::Join if joined => self.diary.arrive(stage),
            Stage::Send if joined && talk.pause_until.is_none() => {
                if talk.idle.is_some()
                    && let Some(message) = self.diary.next_message()
                    && let Some(mut connection) = talk.idle.take()
                {
                    self.diary.sending(&message);
                    let room = &self.diary.places[message.place].called;
                    let path = format!("/chat/rooms/{room}/messages");
                    let body = serde_json::json!(
                        { "text": message.text, "nonce": message.nonce(), "name": self.diary.name });
                    talk.posted = Some(message);
                    talk.posting.spawn_local(async move {
                        let fields = "Content-Type: application/json\r\n";
                        let answer = match connection.ask("POST", &path, fields, &body.to_string()).await {
                            Ok(status) => connection.body().await.map(|body| (status, body)),
                            Err(error) => Err(error),
                        };
                        (connection, answer)
                    });
                }
            }
            Stage::Finish(ends) => return Ok(self.diary.has_seen(ends)),
            _ => {}
        }
        Ok(false)
    }

    fn heard(&mut self, talk: &mut Talk, place: usize, event: Event) -> Result<(), Lost> {
        let conversation = &self.diary.places[place].conversation;
        if event.name == "joined" {
            let joined: Answer = self.read(event.data.as_bytes())?;
            let view = &mut self.diary.views[place];
            let finding = if joined.reset {
                let (client, conversation) = (self.diary.number, conversation.clone());
                Err(Finding::NewLife { client, conversation })
            } else {
                view.joined(self.diary.number, conversation, joined.epoch, joined.next)
            };
            talk.ends[place] = Some(joined.end);
            return finding.map_err(|finding| self.diary.book.found(finding)).map_err(|()| Lost);
        }
        let told: Told = self.read(event.data.as_bytes())?;
        if matches!(event.name.as_str(), "gap" | "left") {
            self.diary.said(format!("{} of {conversation}: {}", event.name, event.data));
        }
        let Some(seen) = told.seen() else { return Ok(()) };
        self.diary.book.counts.borrow_mut().delivered += 1;
        if let Err(finding) = self.diary.views[place].saw(self.diary.number, conversation, &seen) {
            self.diary.book.found(finding);
            return Err(Lost); // begin anew where it stands
        }
        Ok(())
    }

    fn answered(&mut self, talk: &mut Talk, status: u16, body: &[u8]) -> Result<(), Lost> {
        let Some(message) = talk.posted.take() else { return Ok(()) };
        if matches!(status, 200 | 201) {
            let kept: Answer = self.read(body)?;
            if kept.duplicate != (status == 200) {
                self.diary.said(format!("{status} to a message that is a duplicate: {}", kept.duplicate));
            }
            self.diary.acked(&message, kept.epoch, Some(kept.offset), kept.duplicate);
            return Ok(());
        }
        self.diary.unanswered(vec![message]);
        let again_ms = self.refused(status, body)?;
        self.diary.book.counts.borrow_mut().put_off += 1;
        talk.pause_until = Some(clock::now() + std::time::Duration::from_millis(again_ms));
        Ok(())
    }

    /// Whether it may be asked again, and when: in milliseconds.
    fn refused(&self, status: u16, body: &[u8]) -> Result<u64, Lost> {
        let refused: Refused = self.read::<Told>(body)?.error.unwrap_or_default();
        if !refused.is_for_now() {
            self.diary.said(format!("{status} {}: {}", refused.name, refused.text));
            return Err(Lost);
        }
        if refused.is_of_store() && self.addresses.len() > 1 {
            return Err(Lost); // the next machine may reach it
        }
        Ok(refused.again_ms.unwrap_or(50).max(1))
    }

    fn read<T: serde::de::DeserializeOwned>(&self, json: &[u8]) -> Result<T, Lost> {
        serde_json::from_slice(json).map_err(|error| {
            let text = String::from_utf8_lossy(json);
            self.diary.said(format!("what is no JSON of the protocol ({error}): {text}"));
            Lost
        })
    }

    fn maybe_cut(&mut self, talk: &Talk, stage: &Stage) -> Result<(), Lost> {
        if *stage != Stage::Send {
            return Ok(());
        }
        let Some(reset) = self.diary.cuts.frame() else { return Ok(()) };
        if reset && let Some(idle) = &talk.idle {
            idle.end_by_reset();
        }
        self.diary.book.counts.borrow_mut().cuts += 1;
        Err(Lost)
    }
}

/// Reads one stream to its end.
async fn follow(mut stream: Connection, place: usize, told: mpsc::Sender<(usize, Option<Event>)>) {
    let mut text = Vec::new();
    while let Ok(Some(piece)) = stream.piece().await {
        text.extend_from_slice(&piece);
        while let Some(end) = memchr::memmem::find(&text, b"\n\n") {
            let block: Vec<u8> = text.drain(..end + 2).collect();
            let event = event(&String::from_utf8_lossy(&block));
            if let Some(event) = event
                && told.send((place, Some(event))).await.is_err()
            {
                return;
            }
        }
    }
    let _ = told.send((place, None)).await; // nobody may be there any more
}

/// One block of a stream (WHATWG HTML 9.2.6); `None`: a comment, or fields alone.
fn event(block: &str) -> Option<Event> {
    let mut event = Event::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "data" => event.data.push_str(value),
            _ => {}
        }
    }
    (!event.data.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_a_stream_is_an_event_or_nothing() {
        check(
            "id: 7:3\nevent: message\ndata: {\"on\":\"message\"}\n\n",
            Some(("message", "{\"on\":\"message\"}")),
        );
        check("event: gap\ndata:{}\n\n", Some(("gap", "{}")));
        check(":\n\n", None);
        check("retry: 1500\n\n", None);

        #[track_caller]
        fn check(block: &str, want: Option<(&str, &str)>) {
            let want = want.map(|(name, data)| Event { name: name.into(), data: data.into() });
            assert_eq!(event(block), want);
        }
    }
}
