//! The thread that speaks to NATS.
//!
//! **Job.** Send what waits, ask for what is wanted, hand over what comes, and make good what a lost connection cost.
//! **Called by** `nats`. **Calls** the client library; `follow`, `subject`, `frame` for every decision.
//!
//! *Echo.* NATS does not say when a subscription works. So a message to ourselves follows the subscriptions: when it comes
//! back, the server has them, and everything before it has been handed over. Then readers are told that they are live; after a
//! reconnect, that there is a gap.
//!
//! *Beat.* Once a second, or when many topics have news, we tell the heads of all topics we published in since the last beat
//! the server is known to have. Beats of others are judged half a second after they came, when what they speak of has
//! been handed over too.
//!
//! Invariants
//! 1. Nothing here waits for a reader.
//! 2. While NATS is away this thread waits for it, and what waits for this thread stays bounded (`nats`).
//!
//! Not here: who reads what (`exchange`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Message, ServerAddr, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use hashbrown::HashMap;
use madang_host::clock;
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, LocalSet, spawn_local};

use super::follow::{Covered, Known, Nodes, Verdict};
use super::frame::{self, BEAT_MAX, Beat, Head};
use super::subject::{self, Change, Wanted};
use super::{Out, Publication, count};
use crate::error::BusError;
use crate::exchange::Line;
use crate::mailbox::{Gap, What};

const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Notes after which a beat is due at once.
const NOTES_FOR_A_BEAT: usize = 1000;
/// How long a beat of another node waits before it is judged.
const JUDGED_AFTER: Duration = Duration::from_millis(500);
/// Beats of others that may wait; more are as good as lost.
const BEATS_WAITING_MAX: usize = 1000;
/// Messages handed over before readers are woken and other subscriptions get their turn.
const TURN: usize = 256;
/// How long a bus that closes tries to get rid of what waits.
const FAREWELL: Duration = Duration::from_secs(1);

/// The thread's work, from beginning to end.
pub(super) fn run(
    out: &Arc<Out>,
    cluster: &str,
    servers: Vec<ServerAddr>,
    options: ConnectOptions,
    ready: oneshot::Sender<Result<Client, BusError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(BusError::Failed { why: error.to_string() }));
            return;
        }
    };
    LocalSet::new().block_on(&runtime, async {
        // Returns at once: the connection is made in the background.
        match options.connect(servers).await {
            Err(error) => {
                let _ = ready.send(Err(BusError::Failed { why: error.to_string() }));
            }
            Ok(client) => {
                if ready.send(Ok(client.clone())).is_ok() {
                    Link::new(Arc::clone(out), client, cluster).run().await;
                }
            }
        }
    });
}

struct Link {
    out: Arc<Out>,
    client: Client,
    cluster: String,
    inbound: Rc<RefCell<Inbound>>,
    /// What others send needs a decision of ours: an echo, a connection.
    heard: Rc<Notify>,
    wanted: Wanted,
    subscriptions: HashMap<String, Reading>,
    /// Subscriptions that end once this echo is back.
    ending: Vec<(u64, String)>,
    beat_subject: Subject,
    echo_subject: Subject,
    /// The newest echo that was sent, and when.
    echo: u64,
    echo_at: Instant,
    /// Something waits for an echo that was not sent yet.
    echo_wanted: bool,
    connects: u64,
    /// Readers are to be told of a gap when this echo is back.
    away: Option<u64>,
}

/// A subscription's task.
struct Reading {
    task: AbortHandle,
    /// Dropped: it hands over what is there and ends.
    end: oneshot::Sender<()>,
}

/// What came, and what was made of it.
struct Inbound {
    me: u64,
    cluster: String,
    out: Arc<Out>,
    topics: HashMap<String, Heard>,
    nodes: Nodes,
    beats: VecDeque<(Instant, Beat)>,
    /// The newest of our own beats that came back.
    confirmed: u64,
    /// The newest echo that came back, and the newest that was acted upon.
    echoed: u64,
    acted: u64,
}

/// A topic with readers here.
struct Heard {
    line: Arc<Line>,
    number: u64,
    /// The echo after which readers are live.
    after: u64,
    live: bool,
    known: Known,
}

impl Link {
    fn new(out: Arc<Out>, client: Client, cluster: &str) -> Self {
        let me = madang_host::random::seed();
        let inbound = Inbound {
            me,
            cluster: cluster.to_owned(),
            out: Arc::clone(&out),
            topics: HashMap::new(),
            nodes: Nodes::default(),
            beats: VecDeque::new(),
            confirmed: 0,
            echoed: 0,
            acted: 0,
        };
        Self {
            out,
            client,
            cluster: cluster.to_owned(),
            inbound: Rc::new(RefCell::new(inbound)),
            heard: Rc::new(Notify::new()),
            wanted: Wanted::default(),
            subscriptions: HashMap::new(),
            ending: Vec::new(),
            beat_subject: Subject::from(format!("{cluster}.beat")),
            echo_subject: Subject::from(format!("{cluster}.echo.{me:016x}")),
            echo: 0,
            echo_at: clock::now(),
            echo_wanted: true,
            connects: 0,
            away: None,
        }
    }

    async fn run(mut self) {
        let (beat, echo) = (self.beat_subject.to_string(), self.echo_subject.to_string());
        if self.subscribe(beat).await && self.subscribe(echo).await {
            let mut next_beat = clock::now();
            while !self.out.closing.load(Ordering::Acquire) {
                if !self.work(&mut next_beat).await {
                    break;
                }
                let due =
                    self.inbound.borrow().beats.front().map_or(next_beat, |(due, _)| next_beat.min(*due));
                tokio::select! {
                    () = self.out.wake.notified() => {}
                    () = self.heard.notified() => {}
                    () = clock::due(Some(due)) => {}
                }
            }
        }
        // As far as it goes: what waits, a word of farewell, and until it is out of our hands.
        let connected = self.out.connected.load(Ordering::Relaxed);
        if connected {
            let _ = tokio::time::timeout(FAREWELL, self.farewell()).await;
        }
    }

    /// One turn of everything. False: the bus is closing.
    async fn work(&mut self, next_beat: &mut Instant) -> bool {
        let (publications, interests, notes) = {
            let mut state = self.out.state();
            (state.woken, state.bytes) = (false, 0);
            let interests: Vec<_> = state.interests.drain().map(|(_, interest)| interest).collect();
            (std::mem::take(&mut state.publications), interests, state.noted.len())
        };
        for interest in interests {
            let changes = if interest.wanted {
                self.echo_wanted = true;
                let heard = Heard {
                    number: interest.number,
                    after: self.echo + 1,
                    live: false,
                    known: Known::default(),
                    line: Arc::clone(&interest.line),
                };
                let subject = subject::topic(&self.cluster, &interest.line.name);
                self.inbound.borrow_mut().topics.insert(subject, heard);
                self.wanted.add(&self.cluster, &interest.line.name)
            } else {
                let subject = subject::topic(&self.cluster, &interest.line.name);
                let gone = self.inbound.borrow_mut().topics.remove(&subject);
                drop(gone);
                self.wanted.remove(&self.cluster, &interest.line.name)
            };
            for change in changes {
                if !self.change(change).await {
                    return false;
                }
            }
        }
        for publication in publications {
            if !self.send(publication).await {
                return false;
            }
        }
        self.reconnected();
        let now = clock::now();
        if now >= *next_beat || notes >= NOTES_FOR_A_BEAT {
            *next_beat = now + BEAT_EVERY;
            if !self.beat(false).await {
                return false;
            }
        }
        let unanswered = self.inbound.borrow().echoed < self.echo && now - self.echo_at > BEAT_EVERY;
        if self.echo_wanted || unanswered {
            (self.echo_wanted, self.echo, self.echo_at) = (false, self.echo + 1, now);
            let bytes = Bytes::copy_from_slice(&self.echo.to_be_bytes());
            if !self.publish(self.echo_subject.clone(), bytes).await {
                return false;
            }
        }
        self.answered();
        self.inbound.borrow_mut().judge(now);
        true
    }

    /// A connection that is not the first: what came in between is lost.
    fn reconnected(&mut self) {
        let connects = self.client.statistics().connects.load(Ordering::Relaxed);
        if connects > self.connects && self.connects > 0 {
            self.away = Some(self.echo + 1);
            self.echo_wanted = true;
        }
        self.connects = self.connects.max(connects);
    }

    /// Does what waited for an echo.
    fn answered(&mut self) {
        let mut inbound = self.inbound.borrow_mut();
        let echoed = inbound.echoed;
        if echoed == inbound.acted {
            return;
        }
        inbound.acted = echoed;
        let mut wake = Vec::new();
        if self.away.is_some_and(|after| after <= echoed) {
            self.away = None;
            inbound.gap_everywhere(Gap::Away, &mut wake);
        }
        for heard in inbound.topics.values_mut().filter(|heard| !heard.live && heard.after <= echoed) {
            heard.live = true;
            heard.line.live(heard.number, &mut wake);
        }
        drop(inbound);
        wake.into_iter().for_each(Waker::wake);
        let subscriptions = &mut self.subscriptions;
        self.ending.retain(|(after, subject)| {
            let end = *after <= echoed;
            if end && let Some(reading) = subscriptions.remove(subject) {
                drop(reading.end);
            }
            !end
        });
    }

    async fn change(&mut self, change: Change) -> bool {
        match change {
            Change::Subscribe(subject) => {
                let before = self.ending.len();
                self.ending.retain(|(_, ending)| *ending != subject);
                // It was to end later and is wanted again: nothing to do.
                before != self.ending.len() || self.subscribe(subject).await
            }
            Change::UnsubscribeLater(subject) => {
                self.echo_wanted = true;
                self.ending.push((self.echo + 1, subject));
                true
            }
            Change::Unsubscribe(subject) => {
                if let Some(reading) = self.subscriptions.remove(&subject) {
                    reading.task.abort();
                }
                true
            }
        }
    }

    async fn subscribe(&mut self, subject: String) -> bool {
        let subscriber = tokio::select! {
            subscriber = self.client.subscribe(subject.clone()) => subscriber,
            () = closing(&self.out) => return false,
        };
        let Ok(subscriber) = subscriber else { return false };
        let (end, ended) = oneshot::channel();
        let kind = if *subject == *self.beat_subject {
            Kind::Beats
        } else if *subject == *self.echo_subject {
            Kind::Echo
        } else {
            Kind::Topics
        };
        let (inbound, heard) = (Rc::clone(&self.inbound), Rc::clone(&self.heard));
        let task = spawn_local(read(subscriber, ended, kind, inbound, heard)).abort_handle();
        self.subscriptions.insert(subject, Reading { task, end });
        true
    }

    async fn send(&mut self, publication: Publication) -> bool {
        let Publication { line, number, previous, bytes } = publication;
        let address = line.address.get_or_init(|| Bytes::from(subject::topic(&self.cluster, &line.name)));
        let Ok(subject) = Subject::from_utf8(address.clone()) else { return true };
        let me = self.inbound.borrow().me;
        let frame = frame::publication(Head { publisher: me, number, previous }, &bytes);
        count(&self.out.numbers.sent, 1);
        self.publish(subject, frame).await
    }

    /// False: the bus is closing.
    async fn publish(&self, subject: Subject, frame: Bytes) -> bool {
        let sent = tokio::select! {
            biased;
            sent = self.client.publish(subject, frame) => sent,
            () = closing(&self.out) => return false,
        };
        if let Err(error) = sent {
            // Larger than this server takes, for one. Its number is used: others are told a gap.
            count(&self.out.numbers.dropped, 1);
            (self.out.tell)(crate::Told::Trouble { why: error.to_string() });
        }
        true
    }

    async fn beat(&mut self, last: bool) -> bool {
        let (me, confirmed) = {
            let inbound = self.inbound.borrow();
            (inbound.me, inbound.confirmed)
        };
        // Lines are let go after the lock.
        let mut over = Vec::new();
        let beat = {
            let mut state = self.out.state();
            let state = &mut *state;
            let number = state.beat;
            self.out.unheard(number.saturating_sub(confirmed + 1));
            let known = state.noted.partition_point(|(noted, _)| *noted <= confirmed);
            over.extend(state.noted.drain(..known));
            let (mut heads, mut bytes) = (HashMap::new(), 0);
            for (noted, line) in &state.noted {
                bytes += line.name.len() + 9;
                if bytes > BEAT_MAX {
                    state.forgotten = state.forgotten.max(*noted);
                    break;
                }
                heads.insert(line.name.to_string(), line.sent.load(Ordering::Relaxed));
            }
            if bytes > BEAT_MAX {
                // What does not fit is covered by nothing: readers look for themselves.
                state.forgotten = number;
                over.append(&mut state.noted);
            }
            state.beat += 1;
            Beat {
                publisher: me,
                number,
                since: confirmed.max(state.forgotten),
                last,
                heads: heads.into_iter().collect(),
            }
        };
        drop(over);
        self.publish(self.beat_subject.clone(), beat.bytes()).await
    }

    async fn farewell(&mut self) {
        self.out.closing.store(false, Ordering::Release);
        let publications = std::mem::take(&mut self.out.state().publications);
        for publication in publications {
            self.send(publication).await;
        }
        self.beat(true).await;
        let _ = self.client.flush().await;
    }
}

/// Resolves when the bus is to close.
async fn closing(out: &Out) {
    loop {
        if out.closing.load(Ordering::Acquire) {
            return;
        }
        out.close.notified().await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Topics,
    Beats,
    Echo,
}

/// Hands over what one subscription brings, until it is told to end.
async fn read(
    mut subscriber: Subscriber,
    mut ended: oneshot::Receiver<()>,
    kind: Kind,
    inbound: Rc<RefCell<Inbound>>,
    heard: Rc<Notify>,
) {
    let mut wake: Vec<Waker> = Vec::new();
    loop {
        let message = tokio::select! {
            biased;
            message = subscriber.next() => message,
            _ = &mut ended => return,
        };
        let Some(message) = message else { return };
        {
            let mut inbound = inbound.borrow_mut();
            inbound.came(kind, message, &mut wake);
            for _ in 1..TURN {
                match subscriber.next().now_or_never() {
                    Some(Some(message)) => inbound.came(kind, message, &mut wake),
                    _ => break,
                }
            }
        }
        wake.drain(..).for_each(Waker::wake);
        if kind != Kind::Topics {
            heard.notify_one();
        }
        tokio::task::yield_now().await;
    }
}

impl Inbound {
    fn came(&mut self, kind: Kind, message: Message, wake: &mut Vec<Waker>) {
        match kind {
            Kind::Topics => self.publication(message, wake),
            Kind::Echo => {
                if let Ok(number) = <[u8; 8]>::try_from(&message.payload[..]) {
                    self.echoed = self.echoed.max(u64::from_be_bytes(number));
                }
            }
            Kind::Beats => match Beat::read(message.payload) {
                Some(beat) if beat.publisher == self.me => self.confirmed = self.confirmed.max(beat.number),
                Some(beat) if self.beats.len() < BEATS_WAITING_MAX => {
                    self.beats.push_back((clock::now() + JUDGED_AFTER, beat));
                }
                _ => {}
            },
        }
    }

    fn publication(&mut self, message: Message, wake: &mut Vec<Waker>) {
        let Some(heard) = self.topics.get_mut(message.subject.as_str()) else { return };
        let Some((head, bytes)) = frame::read_publication(message.payload) else { return };
        if head.publisher == self.me {
            return;
        }
        match heard.known.came(head) {
            Verdict::PassOver => {
                count(&self.out.numbers.duplicates, 1);
                return;
            }
            Verdict::Deliver => {}
            Verdict::GapAndDeliver => {
                count(&self.out.numbers.gaps, 1);
                heard.line.gap(Gap::Missed, wake);
            }
        }
        count(&self.out.numbers.received, 1);
        heard.line.arrived(&What::Message(bytes), wake);
    }

    /// Judges the beats whose time has come.
    fn judge(&mut self, now: Instant) {
        let mut wake = Vec::new();
        while self.beats.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, beat)) = self.beats.pop_front() else { break };
            let covered = self.nodes.came(&beat, now);
            if covered != Covered::Old {
                for (name, number) in &beat.heads {
                    let subject = subject::topic(&self.cluster, name);
                    let Some(heard) = self.topics.get_mut(&subject) else { continue };
                    if heard.known.lacks(beat.publisher, *number) && covered == Covered::Topics {
                        count(&self.out.numbers.gaps, 1);
                        heard.line.gap(Gap::Missed, &mut wake);
                    }
                }
            }
            if covered == Covered::Nothing {
                self.gap_everywhere(Gap::Missed, &mut wake);
            }
            if beat.last {
                self.nodes.left(beat.publisher);
                self.forget(beat.publisher);
            }
        }
        for publisher in self.nodes.silent(now) {
            self.forget(publisher);
        }
        self.out.numbers.nodes.store(self.nodes.count() as u64, Ordering::Relaxed);
        wake.into_iter().for_each(Waker::wake);
    }

    fn gap_everywhere(&mut self, why: Gap, wake: &mut Vec<Waker>) {
        count(&self.out.numbers.gaps, self.topics.len() as u64);
        for heard in self.topics.values() {
            heard.line.gap(why, wake);
        }
    }

    fn forget(&mut self, publisher: u64) {
        self.topics.values_mut().for_each(|heard| heard.known.forget(publisher));
    }
}
