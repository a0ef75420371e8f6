//! Topics of one machine: who reads what, and handing it over.
//!
//! **Job.** Know the topics and their readers; put what is published into the readers' mailboxes, and give it to the carrier
//! for other machines. **Called by** roles through [`Handle`]; by the carrier for what others publish.
//!
//! Invariants
//! 1. A publication is one reference count per reader: its bytes are copied nowhere on this machine.
//! 2. Publishing waits for nothing but short locks: of the topic's list of readers, and of each mailbox for one push.
//! 3. What one handle publishes in a topic is put into every mailbox in that order.
//! 4. A topic nobody holds is forgotten.
//!
//! Not here: what waits and how much (`mailbox`), other machines (`nats`).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::task::Waker;

use bytes::Bytes;
use hashbrown::HashMap;

use crate::carrier::Carrier;
use crate::error::BusError;
use crate::mailbox::{Desk, Gap, Limits, Mailbox, What};
use crate::metrics::LocalNumbers;

/// Bytes of a topic's name.
pub const NAME_MAX: usize = 200;
/// Bytes of a message: with what the carrier adds it stays under NATS' own default limit of 1 MiB.
pub const MESSAGE_MAX: usize = 512 << 10;

/// What every handle of one bus shares.
pub(crate) struct Exchange {
    topics: Mutex<HashMap<Arc<str>, Weak<Line>>>,
    desks: Mutex<Vec<Weak<Desk>>>,
    desk_ids: AtomicU64,
    /// Counts of desks that are gone.
    gone: Mutex<(u64, u64)>,
    carrier: OnceLock<Arc<dyn Carrier>>,
}

/// A topic's shared side.
pub(crate) struct Line {
    pub(crate) name: Arc<str>,
    exchange: Weak<Exchange>,
    readers: RwLock<Readers>,
    /// Publications given to the carrier. Changed by it alone, under its own lock.
    pub(crate) sent: AtomicU64,
    /// When the carrier last noted that there is something new here; likewise.
    pub(crate) noted: AtomicU64,
    /// What the carrier calls it.
    pub(crate) address: OnceLock<Bytes>,
}

#[derive(Default)]
struct Readers {
    list: Vec<Reader>,
    /// Which time this machine wants the topic.
    number: u64,
    /// What others publish arrives.
    live: bool,
}

struct Reader {
    desk: Arc<Desk>,
    slot: usize,
    serial: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is locked here is changed in one step each.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exchange {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            topics: Mutex::new(HashMap::new()),
            desks: Mutex::new(Vec::new()),
            desk_ids: AtomicU64::new(1),
            gone: Mutex::new((0, 0)),
            carrier: OnceLock::new(),
        })
    }

    /// Given once, before the first handle.
    pub(crate) fn carried_by(&self, carrier: Arc<dyn Carrier>) {
        let _ = self.carrier.set(carrier);
    }

    pub(crate) fn carrier(&self) -> Option<&Arc<dyn Carrier>> {
        self.carrier.get()
    }

    /// A handle and its mailbox.
    pub(crate) fn open(self: &Arc<Self>, limits: Limits) -> (Handle, Mailbox) {
        let desk = Arc::new(Desk::new(self.desk_ids.fetch_add(1, Ordering::Relaxed), limits));
        lock(&self.desks).push(Arc::downgrade(&desk));
        (Handle { exchange: Arc::clone(self), desk: Arc::clone(&desk) }, Mailbox::new(desk))
    }

    /// The topic of this name.
    fn topic(self: &Arc<Self>, name: &str) -> Result<Topic, BusError> {
        if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
            let must = "1 to 200 bytes long, without control characters";
            return Err(BusError::Invalid { what: "the name of a topic", must });
        }
        let mut topics = lock(&self.topics);
        if let Some(line) = topics.get(name).and_then(Weak::upgrade) {
            return Ok(Topic(line));
        }
        let name: Arc<str> = name.into();
        let line = Arc::new(Line {
            name: Arc::clone(&name),
            exchange: Arc::downgrade(self),
            readers: RwLock::default(),
            sent: AtomicU64::new(0),
            noted: AtomicU64::new(0),
            address: OnceLock::new(),
        });
        topics.insert(name, Arc::downgrade(&line));
        Ok(Topic(line))
    }

    /// What was counted on this machine.
    pub(crate) fn numbers(&self) -> LocalNumbers {
        let (mut delivered, mut lagging) = *lock(&self.gone);
        let mut desks = lock(&self.desks);
        desks.retain(|desk| desk.strong_count() > 0);
        for desk in desks.iter().filter_map(Weak::upgrade) {
            let (more_delivered, more_lagging) = desk.counted();
            delivered += more_delivered;
            lagging += more_lagging;
        }
        LocalNumbers {
            delivered,
            lagging,
            topics: lock(&self.topics).len() as u64,
            mailboxes: desks.len() as u64,
        }
    }
}

impl Line {
    /// Puts an event into every mailbox but that of `but`, and collects whom to wake.
    fn hand_out(&self, what: &What, but: u64, wake: &mut Vec<Waker>) {
        let readers = self.readers.read().unwrap_or_else(PoisonError::into_inner);
        for reader in readers.list.iter().filter(|reader| reader.desk.id != but) {
            wake.extend(reader.desk.push(reader.slot, reader.serial, what.clone()));
        }
    }

    /// Something of another machine.
    pub(crate) fn arrived(&self, what: &What, wake: &mut Vec<Waker>) {
        // Desks count from 1.
        self.hand_out(what, 0, wake);
    }

    /// What others publish arrives from here on, of the interest with this number.
    pub(crate) fn live(&self, number: u64, wake: &mut Vec<Waker>) {
        let mut readers = self.readers.write().unwrap_or_else(PoisonError::into_inner);
        if readers.number == number && !readers.live && !readers.list.is_empty() {
            readers.live = true;
            for reader in &readers.list {
                wake.extend(reader.desk.push(reader.slot, reader.serial, What::Live));
            }
        }
    }

    /// Whether what others publish arrives, as far as its readers were told.
    pub(crate) fn is_live(&self) -> bool {
        self.readers.read().unwrap_or_else(PoisonError::into_inner).live
    }

    /// Tells readers who were told that they are live.
    pub(crate) fn gap(&self, why: Gap, wake: &mut Vec<Waker>) {
        if self.is_live() {
            self.hand_out(&What::Gap(why), 0, wake);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.upgrade() {
            let mut topics = lock(&exchange.topics);
            // Somebody may have made it anew in the meantime.
            if topics.get(&*self.name).is_some_and(|line| line.strong_count() == 0) {
                topics.remove(&*self.name);
            }
        }
    }
}

/// A topic. Cheap to clone; keep it rather than looking it up for each publication.
#[derive(Clone)]
pub struct Topic(pub(crate) Arc<Line>);

impl Topic {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl Eq for Topic {}
impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({:?})", self.0.name)
    }
}

/// A thread's way to the bus: publishes, subscribes. Cheap to clone. Its clones publish as one and share the mailbox
/// that was opened with it.
#[derive(Clone)]
pub struct Handle {
    exchange: Arc<Exchange>,
    desk: Arc<Desk>,
}

impl Handle {
    /// The topic of this name: 1 to 200 bytes without control characters.
    ///
    /// # Errors
    /// [`BusError::Invalid`]: any other name.
    pub fn topic(&self, name: &str) -> Result<Topic, BusError> {
        self.exchange.topic(name)
    }

    /// Gives `bytes` to every other mailbox that reads the topic, here and on other machines. Never waits. Whoever publishes
    /// knows it already: nothing comes back to this handle's own mailbox.
    ///
    /// # Errors
    /// [`BusError::TooLarge`]: more than [`MESSAGE_MAX`].
    pub fn publish(&self, topic: &Topic, bytes: Bytes) -> Result<(), BusError> {
        self.batch().publish(topic, bytes)
    }

    /// Begins several publications after which each reader is woken once: when the batch is dropped.
    pub fn batch(&self) -> Batch<'_> {
        Batch { handle: self, wake: Vec::new(), carried: false }
    }

    /// Reads a topic from now on; what comes has `tag` on it. Ends when the subscription is dropped.
    ///
    /// The first event is [`What::Live`], at once on one machine; while the carrier's server is away it comes when that is
    /// back, and only what is published on this machine comes before it.
    pub fn subscribe(&self, topic: &Topic, tag: u64) -> Subscription {
        let (slot, serial) = self.desk.register(tag);
        let line = Arc::clone(&topic.0);
        let woken = {
            let mut readers = line.readers.write().unwrap_or_else(PoisonError::into_inner);
            readers.list.push(Reader { desk: Arc::clone(&self.desk), slot, serial });
            if readers.list.len() == 1 {
                readers.number += 1;
                readers.live = self.exchange.carrier().is_none();
                if let Some(carrier) = self.exchange.carrier() {
                    carrier.interest(&line, readers.number, true);
                }
            }
            if readers.live { self.desk.push(slot, serial, What::Live) } else { None }
        };
        if let Some(waker) = woken {
            waker.wake();
        }
        Subscription {
            exchange: Arc::clone(&self.exchange),
            desk: Arc::clone(&self.desk),
            line,
            slot,
            serial,
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.desk.id)
    }
}

/// Publications after which each reader is woken once.
pub struct Batch<'a> {
    handle: &'a Handle,
    wake: Vec<Waker>,
    carried: bool,
}

impl Batch<'_> {
    /// As [`Handle::publish`].
    ///
    /// # Errors
    /// As [`Handle::publish`].
    pub fn publish(&mut self, topic: &Topic, bytes: Bytes) -> Result<(), BusError> {
        if bytes.len() > MESSAGE_MAX {
            return Err(BusError::TooLarge { what: "message", size: bytes.len(), max: MESSAGE_MAX });
        }
        if let Some(carrier) = self.handle.exchange.carrier() {
            carrier.publish(&topic.0, &bytes);
            self.carried = true;
        }
        topic.0.hand_out(&What::Message(bytes), self.handle.desk.id, &mut self.wake);
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.wake.drain(..).for_each(Waker::wake);
        if self.carried
            && let Some(carrier) = self.handle.exchange.carrier()
        {
            carrier.wake();
        }
    }
}

/// A reader's place in a topic. Dropping it ends it: nothing comes after that.
pub struct Subscription {
    exchange: Arc<Exchange>,
    desk: Arc<Desk>,
    line: Arc<Line>,
    slot: usize,
    serial: u64,
}

impl Subscription {
    /// What is read.
    pub fn topic(&self) -> Topic {
        Topic(Arc::clone(&self.line))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.desk.forget(self.slot, self.serial);
        let mut readers = self.line.readers.write().unwrap_or_else(PoisonError::into_inner);
        readers.list.retain(|reader| reader.desk.id != self.desk.id || reader.serial != self.serial);
        if readers.list.is_empty()
            && let Some(carrier) = self.exchange.carrier()
        {
            carrier.interest(&self.line, readers.number, false);
            carrier.wake();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({:?})", self.line.name)
    }
}
