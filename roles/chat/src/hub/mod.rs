//! The one place where messages get their order: requests in, log, post to the workers.
//!
//! **Job.** Take requests, answer them, have what is written kept, tell the workers whose clients are there. **Runs on** a thread
//! of its own, one for each chat. **Calls** `state`, `law` (who may), `store` (the log, key-value).
//!
//! Invariants
//! 1. Requests of one connection are done in their order.
//! 2. Nothing is acknowledged or told before it is on disk (`writing`).
//! 3. Everything on its way is bounded: requests, appends, reads.
//!
//! Not here: connections (`floor`, the faces).

mod across;
mod attached;
mod changing;
mod checks;
mod counts;
mod deaf;
mod flows;
mod greeting;
mod handing;
mod keeping;
pub(crate) mod limits;
mod logins;
mod order;
mod pages;
mod places;
mod posting;
mod presence;
mod reading;
mod renaming;
mod rooms;
mod state;
mod sweep;
mod watching;
mod writing;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use madang_bus::Bus;
use madang_host::clock;
use madang_store::Store;
use tokio::sync::{Notify, mpsc};

use self::across::Across;
pub use self::attached::AttachedNotes;
pub use self::counts::{Counts, HubCounts};
pub use self::greeting::Directory;
pub(crate) use self::greeting::now_ms;
use self::handing::Handing;
use self::pages::Pages;
use self::posting::Paces;
use self::state::{Asker, Busy, Key, QUEUE_MAX, State};
use self::writing::WritingQueue;
use crate::ask::Ask;
use crate::hooks::office::Board;
use crate::post::{Claim, Inbox, Once, SessionId, ToHub, ToWorker};
use crate::refusal::Refusal;
use crate::reply::{Done, Reply};
use crate::rules::Rules;
use crate::web::files::shelf::Shelf;

/// Requests taken before their answers leave.
const TAKEN_MAX: u32 = 256;
/// With more requests a second there is a rush: they are gathered for a moment, so that one wake, one commit and one write to
/// each client serve several.
const RUSH_PER_SECOND: u32 = 500;
/// So long; the clock of the runtime adds up to a millisecond.
const GATHER: Duration = Duration::from_millis(1);
/// With so many there is a rush in which a commit for every few of them is what costs most.
const GREAT_RUSH_PER_SECOND: u32 = 2000;
/// And they are gathered for so long.
const GATHER_LONGER: Duration = Duration::from_millis(4);

/// Where an answer goes.
#[derive(Debug)]
pub(crate) enum Back {
    Session { session: SessionId, tag: u64 },
    Once(Once),
}

/// See the module.
pub struct Hub {
    name: Arc<str>,
    store: Store,
    directory: Option<Arc<dyn Directory>>,
    shelf: Option<Arc<Shelf>>,
    state: RefCell<State>,
    across: Option<Across>,
    handing: Handing,
    paces: RefCell<Paces>,
    queue: WritingQueue,
    writing: Cell<usize>,
    /// Conversations of which something is on disk that was not told.
    untold: RefCell<Vec<Key>>,
    pages: Pages,
    posted: Notify,
    /// Somebody came or went here.
    moved: Notify,
    /// Nothing is on its way to the disk.
    settled: Notify,
    counts: Arc<HubCounts>,
}

/// What a hub needs.
pub struct HubParts {
    /// The chat's name.
    pub name: Arc<str>,
    /// Its settings.
    pub rules: Rules,
    /// Where everything is kept.
    pub store: Store,
    /// Users, where there are any.
    pub directory: Option<Arc<dyn Directory>>,
    /// The uploaded files, where there are any.
    pub shelf: Option<Arc<Shelf>>,
    /// The way to other machines, where there are any.
    pub bus: Option<Bus>,
    /// The bells of its hooks.
    pub hooks: Arc<Board>,
    /// The floors, by the worker's place.
    pub workers: Vec<mpsc::Sender<Vec<ToWorker>>>,
    /// For the admin surface.
    pub counts: Arc<HubCounts>,
}

impl Hub {
    /// Serves until it is told to end and everything written was told. To be run on a thread of its own, in a `LocalSet`.
    pub async fn run(parts: HubParts, mut inbox: Inbox) {
        let HubParts { name, rules, store, directory, shelf, bus, hooks, workers, counts } = parts;
        let (queue, written) = mpsc::unbounded_channel();
        let (across, mailbox) = bus.as_ref().map(|bus| Across::open(bus, &name)).unzip();
        let (handing, seen) = Handing::new(hooks, bus.is_some());
        let hub = Rc::new(Self {
            across,
            handing,
            paces: RefCell::default(),
            name,
            store,
            directory,
            shelf,
            state: RefCell::new(State::new(rules, workers.len())),
            queue,
            writing: Cell::new(0),
            untold: RefCell::default(),
            pages: Pages::new(),
            posted: Notify::new(),
            moved: Notify::new(),
            settled: Notify::new(),
            counts,
        });
        tokio::task::spawn_local(Rc::clone(&hub).tell_written(written));
        hub.state.borrow_mut().elsewhere.shared = bus.is_some();
        let hearing = mailbox.map(|mailbox| tokio::task::spawn_local(Rc::clone(&hub).hear(mailbox)));
        let looking = bus.clone().map(|bus| tokio::task::spawn_local(Rc::clone(&hub).look_while_deaf(bus)));
        let sharing = bus.map(|bus| tokio::task::spawn_local(Rc::clone(&hub).share_presence(bus)));
        let telling = tokio::task::spawn_local(Rc::clone(&hub).hand_all(seen));
        let keeping = tokio::task::spawn_local(Rc::clone(&hub).keep_history());
        let revoking = [
            tokio::task::spawn_local(Rc::clone(&hub).hear_revoked()),
            tokio::task::spawn_local(Rc::clone(&hub).hear_doubts()),
        ];
        let posting = tokio::task::spawn_local(Rc::clone(&hub).post_all(workers));
        let mut requests = Busy::default();
        // Requests are gathered.
        let mut rush = false;
        while let Some(first) = inbox.recv().await {
            if rush && !matches!(first, ToHub::End) {
                let great = requests.per_second() > GREAT_RUSH_PER_SECOND;
                tokio::time::sleep(if great { GATHER_LONGER } else { GATHER }).await;
            }
            let mut next = Some(first);
            let mut taken = 0;
            while let Some(message) = next {
                if matches!(message, ToHub::End) {
                    hub.state.borrow_mut().ending = true;
                    break;
                }
                hub.take(message);
                taken += 1;
                next = if taken < TAKEN_MAX { inbox.try_recv() } else { None };
            }
            rush = requests.many(clock::now(), taken, RUSH_PER_SECOND);
            hub.flush();
            if hub.state.borrow().ending {
                break;
            }
        }
        keeping.abort();
        let listening = hearing.iter().chain(&sharing).chain(&looking).chain(&revoking);
        listening.for_each(tokio::task::JoinHandle::abort);
        while hub.writing.get() > 0 {
            hub.settled.notified().await;
        }
        hub.handing.end();
        hub.tell_all_gathered();
        // The workers have taken it all when the post's own end is reached.
        hub.state.borrow_mut().ending = true;
        hub.posted.notify_one();
        let _ = posting.await;
        // What is not queued by then is found by the next start.
        let _ = tokio::time::timeout(handing::END_WITHIN, telling).await;
    }

    /// What was posted leaves, when everything that is ready now is done.
    fn flush(&self) {
        self.posted.notify_one();
    }

    /// Hands the post to the workers, in its order. The only one who does.
    async fn post_all(self: Rc<Self>, workers: Vec<mpsc::Sender<Vec<ToWorker>>>) {
        loop {
            self.posted.notified().await;
            for (at, worker) in workers.iter().enumerate() {
                let batch = self.state.borrow_mut().out.get_mut(at).map(std::mem::take).unwrap_or_default();
                if !batch.is_empty() {
                    // A worker that has ended has no clients.
                    let _ = worker.send(batch).await;
                }
            }
            self.counts.watch(&self.state.borrow(), self.writing.get());
            if self.state.borrow().ending && self.writing.get() == 0 {
                return;
            }
        }
    }

    fn answer(&self, back: Back, outcome: Result<Reply, Refusal>) {
        if outcome.is_err() {
            self.counts.refused();
        }
        match back {
            Back::Session { session, tag } => {
                self.state.borrow_mut().post(session.worker, ToWorker::Answer { session, tag, outcome });
                self.flush();
            }
            // Who asked may be gone.
            Back::Once(once) => drop(once.send(outcome)),
        }
    }

    fn take(self: &Rc<Self>, message: ToHub) {
        match message {
            ToHub::Hello { session, tag, claim } => self.hello(session, tag, claim),
            ToHub::Ask { session, tag, ask } => self.asked(session, tag, ask),
            ToHub::Once { claim, ask, answer } => {
                let this = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    let asker = match &claim {
                        Claim::Post { post, name } => this.poster(post, name.clone(), &ask).await,
                        _ => this.asker_once(claim).await,
                    };
                    match asker {
                        Ok(asker) => this.flow(asker, ask, Back::Once(answer)).await,
                        Err(refusal) => this.answer(Back::Once(answer), Err(refusal)),
                    }
                });
            }
            ToHub::Read { session, room, from } => self.read_page(session, room, from),
            ToHub::Gone(session) => self.gone(session),
            ToHub::Rules(rules) => self.state.borrow_mut().rules = *rules,
            ToHub::End => {}
        }
    }

    /// Does a request, or has it wait for the ones before it.
    fn asked(self: &Rc<Self>, id: SessionId, tag: u64, ask: Ask) {
        let now = clock::now();
        let back = Back::Session { session: id, tag };
        let mut state = self.state.borrow_mut();
        let asks = state.asks();
        let Some(session) = state.sessions.get_mut(&id) else {
            drop(state);
            return self.answer(back, Err(Refusal::HelloFirst));
        };
        if let Err(wait) = session.pace.take(asks, now) {
            drop(state);
            let again_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            return self.answer(back, Err(Refusal::TooFast { again_ms }));
        }
        if session.busy {
            let is_full = session.queue.len() >= QUEUE_MAX;
            if !is_full {
                session.queue.push_back((tag, ask));
            }
            drop(state);
            if is_full {
                self.answer(back, Err(Refusal::Busy { again_ms: 200 }));
            }
            return;
        }
        drop(state);
        self.start(id, tag, ask);
    }

    fn start(self: &Rc<Self>, id: SessionId, tag: u64, ask: Ask) {
        let back = Back::Session { session: id, tag };
        let asker = match self.state.borrow().asker(id) {
            Ok(asker) => asker,
            Err(refusal) => return self.answer(back, Err(refusal)),
        };
        let Some((ask, back)) = self.at_once(&asker, ask, back) else { return };
        if let Some(session) = self.state.borrow_mut().sessions.get_mut(&id) {
            session.busy = true;
        }
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            this.flow(asker, ask, back).await;
            this.go_on(id);
            this.flush();
        });
    }

    /// The request before is done: the next ones.
    fn go_on(self: &Rc<Self>, id: SessionId) {
        loop {
            let next = {
                let mut state = self.state.borrow_mut();
                let Some(session) = state.sessions.get_mut(&id) else { return };
                session.busy = false;
                session.queue.pop_front()
            };
            let Some((tag, ask)) = next else { return };
            self.start(id, tag, ask);
            if self.state.borrow().sessions.get(&id).is_none_or(|session| session.busy) {
                return;
            }
        }
    }

    /// What needs no wait is done here: the hot path of sending, and what only looks. Everything else is given back.
    fn at_once(self: &Rc<Self>, asker: &Asker, ask: Ask, back: Back) -> Option<(Ask, Back)> {
        match ask {
            Ask::Ping(_) => self.answer(back, Ok(Reply::Done(Done {}))),
            Ask::Send(send) => return self.send_at_once(asker, send, back),
            Ask::Leave(leave) => {
                let outcome = self.leave(asker, &leave.room);
                self.answer(back, outcome);
            }
            Ask::Typing(typing) => {
                let outcome = self.typing(asker, &typing.room, clock::now());
                self.answer(back, outcome);
            }
            Ask::Away(away) => {
                let outcome = self.away(asker, away.text);
                self.answer(back, outcome);
            }
            Ask::About(about) => {
                let outcome = self.about(asker, about.text);
                self.answer(back, outcome);
            }
            Ask::Watch(watch) => {
                let outcome = self.watch(asker, &watch.who);
                self.answer(back, outcome);
            }
            Ask::Whowas(was) => {
                let gone = self.state.borrow().whowas(&was.who);
                self.answer(back, Ok(Reply::Gone(gone)));
            }
            other => return Some((other, back)),
        }
        None
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hub({})", self.name)
    }
}
