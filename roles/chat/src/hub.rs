//! The one place where messages get their order: requests in, log, notices out.
//!
//! **Job.** Carry out requests, have what is written kept, tell the workers whose clients are there. **Runs on** a thread of its
//! own. **Calls** `town` (who may), `store` (the log), `protocol`.
//!
//! Invariants
//! 1. A message is acknowledged and published only when it is on disk.
//! 2. Notices of a room leave in the order of offsets; a client that joins is told where the log ends between two notices, never
//!    during one.
//! 3. Everything on its way is bounded: requests, appends, reads.
//!
//! Not here: connections (`session`), who gets a notice on a worker (`floor`).

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use madang_host::clock;
use madang_store::log::{Appended, Batch, Entry, From, History, Key, NewEntry, Position, Read, StreamId};
use madang_store::{Answer, Store};
use madang_wire::websocket::write_text;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};

use crate::post::{Published, ToHub, ToWorker};
use crate::protocol::{self, Event, Kept, Request, Seen};
use crate::refusal::Refusal;
use crate::town::{Rules, SessionId, Town};

/// Appends on their way to the disk; more wait where they are read.
const APPENDS_MAX: usize = 4096;
/// Reads of the log under way.
const READS_MAX: usize = 64;
/// Messages one read of the log gives at most.
const PAGE_ENTRIES_MAX: usize = 200;
/// And about so many bytes.
const PAGE_BYTES_MAX: usize = 128 * 1024;
/// A room with more messages a second is busy: they are gathered for a moment before they are told.
const BUSY_PER_SECOND: u32 = 200;
/// So long.
const GATHER: Duration = Duration::from_millis(2);

/// What is written and not yet known to be on disk.
struct Writing {
    session: SessionId,
    id: u64,
    room: Arc<str>,
    from: Arc<str>,
    text: String,
    answer: Answer<Appended>,
}

/// A room's notices.
#[derive(Debug, Default)]
struct Heard {
    epoch: u64,
    /// The offset behind the last message that was told.
    end: u64,
    /// Messages in this second.
    count: u32,
    since: Option<Instant>,
}

/// See the module.
pub struct Hub {
    name: Arc<str>,
    store: Store,
    town: RefCell<Town>,
    heard: RefCell<HashMap<Arc<str>, Heard>>,
    workers: Vec<mpsc::Sender<ToWorker>>,
    reads: Rc<Semaphore>,
}

impl Hub {
    /// A hub of the chat `name` for these workers.
    pub fn new(name: &str, rules: Rules, store: Store, workers: Vec<mpsc::Sender<ToWorker>>) -> Rc<Self> {
        Rc::new(Self {
            name: name.into(),
            store,
            town: RefCell::new(Town::new(rules)),
            heard: RefCell::default(),
            workers,
            reads: Rc::new(Semaphore::new(READS_MAX)),
        })
    }

    /// Serves until nobody can ask any more and everything written was told. On a `LocalSet`.
    pub async fn run(self: Rc<Self>, mut inbox: mpsc::Receiver<ToHub>) {
        let (appends, written) = mpsc::channel(APPENDS_MAX);
        let telling = tokio::task::spawn_local(Rc::clone(&self).tell_written(written));
        while let Some(message) = inbox.recv().await {
            match message {
                ToHub::Request(session, request) => self.request(session, request, &appends).await,
                ToHub::Read { session, room, from } => self.read(session, room, from).await,
                ToHub::Gone(session) => drop(self.town.borrow_mut().gone(session)),
            }
        }
        drop(appends);
        // It ends by itself, behind the last append; a panic there has been told by the runtime.
        let _ = telling.await;
    }

    async fn request(self: &Rc<Self>, session: SessionId, request: Request, appends: &mpsc::Sender<Writing>) {
        let id = request.id();
        let now = clock::now();
        let answer = match request {
            Request::Hello { name, .. } => {
                self.town.borrow_mut().hello(session, &name, now).map(|()| protocol::done(id, &Welcome { chat: &self.name }))
            }
            Request::Join { room, since, .. } => {
                let joined = self.town.borrow_mut().join(session, &room);
                match joined {
                    Ok(room) => return self.join(session, id, room, since).await,
                    Err(refusal) => Err(refusal),
                }
            }
            Request::Leave { room, .. } => {
                let left = self.town.borrow_mut().leave(session, &room);
                match left {
                    Ok(room) => {
                        self.send(session.worker, ToWorker::Left { session, room }).await;
                        Ok(protocol::done(id, &Nothing {}))
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Request::Send { room, text, nonce, .. } => {
                let may = self.town.borrow_mut().write(session, &room, &text, &nonce, now);
                match may {
                    Ok((from, room)) => {
                        let answer = self.append(&room, &from, &text, &nonce);
                        // Bounded: while the disk is slow, nobody is read.
                        let _ = appends.send(Writing { session, id, room, from, text, answer }).await;
                        return;
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Request::History { room, before, limit, .. } => {
                let may = self.town.borrow().reads(session, &room);
                match may {
                    Ok(()) => return self.history(session, id, room, before, limit).await,
                    Err(refusal) => Err(refusal),
                }
            }
            Request::Who { room, .. } => {
                let town = self.town.borrow();
                town.reads(session, &room).map(|()| protocol::done(id, &Who { names: town.who(&room) }))
            }
        };
        let text = answer.unwrap_or_else(|refusal| protocol::refused(Some(id), &refusal));
        self.send(session.worker, ToWorker::Tell(session, frame(&text))).await;
    }

    fn append(&self, room: &str, from: &str, text: &str, nonce: &str) -> Answer<Appended> {
        let kept = Kept { from: from.to_owned() };
        let data = serde_json::to_vec(&kept).unwrap_or_default();
        let batch = Batch { entries: vec![NewEntry { data: data.into(), text: text.to_owned() }], ..Batch::default() };
        self.store.log().append(&self.stream(room), batch.keyed(Key::new(from, nonce)))
    }

    fn stream(&self, room: &str) -> StreamId {
        // Both names were checked: letters and digits, not too long.
        StreamId::new(&format!("chat/{}/room/{room}", self.name)).unwrap_or_else(|_| unreachable!("checked names"))
    }

    /// The log's end is read while messages may be told: what counts is what was told when the answer leaves.
    async fn join(self: &Rc<Self>, session: SessionId, id: u64, room: Arc<str>, since: Option<Seen>) {
        let position = match self.store.log().open(&self.stream(&room)).await {
            Ok(position) => position,
            Err(error) => {
                drop(self.town.borrow_mut().leave(session, &room));
                let text = protocol::refused(Some(id), &error.into());
                return self.send(session.worker, ToWorker::Tell(session, frame(&text))).await;
            }
        };
        let Some(worker) = self.workers.get(session.worker) else { return };
        let Ok(permit) = worker.reserve().await else { return };
        let told = self.heard.borrow().get(&room).map_or(0, |heard| heard.end);
        let end = position.next.max(told);
        let (next, reset) = begin(&position, since, end);
        let joined = Joined { epoch: position.epoch, first: position.first, next, end, reset };
        let answer = frame(&protocol::done(id, &joined));
        permit.send(ToWorker::Joined { session, room, next, end, answer });
    }

    async fn read(self: &Rc<Self>, session: SessionId, room: Arc<str>, from: u64) {
        // Never closed.
        let Ok(permit) = Rc::clone(&self.reads).acquire_owned_rc().await else { return };
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let _permit = permit;
            let read = Read::from(from).entries(PAGE_ENTRIES_MAX).bytes(PAGE_BYTES_MAX);
            let message = match this.store.log().read(&this.stream(&room), read).await {
                Ok(History::Page(page)) => {
                    let first = page.entries.first().map_or(page.position.first.max(from), |entry| entry.offset);
                    let gone = Event::Gap { room: &room, from, to: first };
                    let gap = (first > from).then(|| frame(&protocol::event(&gone)));
                    let published = Arc::new(published(&room, page.position.epoch, first, &page.entries));
                    ToWorker::Page { session, published, end: page.position.next, gap }
                }
                _ => ToWorker::NotRead { session, room },
            };
            this.send(session.worker, message).await;
        });
    }

    async fn history(self: &Rc<Self>, session: SessionId, id: u64, room: String, before: Option<u64>, limit: Option<usize>) {
        let read = Read::before(before.unwrap_or(u64::MAX), limit.unwrap_or(50).min(PAGE_ENTRIES_MAX));
        let text = match self.store.log().read(&self.stream(&room), read.bytes(PAGE_BYTES_MAX)).await {
            Ok(History::Page(page)) => {
                let epoch = page.position.epoch;
                let events: Vec<_> =
                    page.entries.iter().map(|entry| protocol::message(&room, epoch, entry)).collect();
                protocol::done(id, &Past { messages: protocol::list(&events), more: page.more })
            }
            Ok(_) => protocol::done(id, &Past { messages: protocol::list(&[]), more: false }),
            Err(error) => protocol::refused(Some(id), &error.into()),
        };
        self.send(session.worker, ToWorker::Tell(session, frame(&text))).await;
    }

    /// Awaits appends in their order and tells of them, several of a room at once where several are there.
    async fn tell_written(self: Rc<Self>, mut written: mpsc::Receiver<Writing>) {
        let mut held: Option<Writing> = None;
        loop {
            let first = match held.take() {
                Some(writing) => writing,
                None => match written.recv().await {
                    Some(writing) => writing,
                    None => return,
                },
            };
            let mut done = vec![finish(first).await];
            if self.is_busy(&done[0].0.room) {
                tokio::time::sleep(GATHER).await;
            }
            while done.len() < PAGE_ENTRIES_MAX
                && let Ok(mut next) = written.try_recv()
            {
                match now(&mut next.answer).await {
                    Some(result) => done.push((next, result)),
                    None => {
                        held = Some(next);
                        break;
                    }
                }
            }
            self.tell(done).await;
        }
    }

    fn is_busy(&self, room: &str) -> bool {
        self.heard.borrow().get(room).is_some_and(|heard| heard.count > BUSY_PER_SECOND)
    }

    async fn tell(&self, done: Vec<(Written, Result<Appended, Refusal>)>) {
        let mut rooms: BTreeMap<Arc<str>, Vec<(u64, Entry)>> = BTreeMap::new();
        let mut answers: Vec<(SessionId, Bytes)> = Vec::with_capacity(done.len());
        for (writing, result) in done {
            let text = match result {
                Ok(appended) => {
                    let Appended { epoch, first, at_ms, duplicate, .. } = appended;
                    if !duplicate {
                        let data = serde_json::to_vec(&Kept { from: writing.from.to_string() }).unwrap_or_default();
                        let entry = Entry { offset: first, at_ms, edits: 0, removed: false, data: data.into(), text: writing.text };
                        rooms.entry(writing.room).or_default().push((epoch, entry));
                    }
                    protocol::done(writing.id, &Sent { epoch, offset: first, at_ms, duplicate })
                }
                Err(refusal) => protocol::refused(Some(writing.id), &refusal),
            };
            answers.push((writing.session, frame(&text)));
        }
        for (room, entries) in rooms {
            let Some((epoch, first)) = entries.first().map(|(epoch, entry)| (*epoch, entry.offset)) else { continue };
            let entries: Vec<Entry> = entries.into_iter().map(|(_, entry)| entry).collect();
            let notice = Arc::new(published(&room, epoch, first, &entries));
            let mut permits = Vec::new();
            for (index, worker) in self.workers.iter().enumerate() {
                if self.town.borrow().is_on(&room, index) {
                    permits.extend(worker.reserve().await);
                }
            }
            // From here on nothing waits: who joins before has a smaller end, who joins behind a larger one.
            self.note(&room, epoch, first + notice.count, entries.len());
            for permit in permits {
                permit.send(ToWorker::Published(Arc::clone(&notice)));
            }
        }
        for (session, answer) in answers {
            self.send(session.worker, ToWorker::Tell(session, answer)).await;
        }
    }

    fn note(&self, room: &Arc<str>, epoch: u64, end: u64, messages: usize) {
        let mut all = self.heard.borrow_mut();
        let heard = all.entry(Arc::clone(room)).or_default();
        let now = clock::now();
        if heard.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            (heard.since, heard.count) = (Some(now), 0);
        }
        heard.count = heard.count.saturating_add(u32::try_from(messages).unwrap_or(u32::MAX));
        (heard.epoch, heard.end) = (epoch, end);
    }

    async fn send(&self, worker: usize, message: ToWorker) {
        if let Some(worker) = self.workers.get(worker) {
            // A worker that has ended has no clients.
            let _ = worker.send(message).await;
        }
    }
}
