//! The house's bus: topics between the threads of one machine, and between machines over NATS.
//!
//! **Job.** Hand what is published to everyone who reads it, wherever they run, in order; tell them when something is
//! missing. **Called by** the roles and `madang`. **Calls** `host` for threads, clock and TLS; NATS.
//!
//! The bus forgets. What must not be lost is in the store's log first; the bus says that it is there. So no publisher ever
//! waits for a reader, and a reader that missed something is told so ([`mailbox::Gap`]) and reads the log.
//!
//! ```
//! use bytes::Bytes;
//! use madang_bus::mailbox::{Gap, Limits, What};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! let bus = madang_bus::Bus::local(); // cheap to clone, for every thread
//!
//! // Each thread opens its own handle and mailbox.
//! let (reader, mut mailbox) = bus.open(Limits::default());
//! let room = reader.topic("chat/town/room/7").unwrap();
//! let _reading = reader.subscribe(&room, 7); // until it is dropped; events carry the 7
//!
//! let (writer, _) = bus.open(Limits::default());
//! let mut batch = writer.batch(); // readers are woken once, when it is dropped
//! batch.publish(&room, Bytes::from_static(b"offsets 41 to 43")).unwrap();
//! drop(batch);
//!
//! let mut events = Vec::new();
//! mailbox.next(&mut events).await;
//! let mut seen = Vec::new();
//! for event in events.drain(..) {
//!     assert_eq!(event.tag, 7);
//!     match event.what {
//!         What::Live => seen.push("read the log now: from here on nothing is missed in silence"),
//!         What::Message(bytes) => seen.push(if bytes.len() == 16 { "deliver" } else { "what?" }),
//!         What::Gap(Gap::Lagging | Gap::Away | Gap::Missed) => seen.push("read the log from where we were"),
//!     }
//! }
//! assert_eq!(seen, ["read the log now: from here on nothing is missed in silence", "deliver"]);
//! # });
//! ```
//!
//! - [`Handle`], [`Topic`], [`mailbox::Mailbox`]: publish, subscribe, read.
//! - [`presence::Presence`]: who is where, on all machines.
//! - [`work::Work`]: jobs that must not be lost, done by one of many.
//!
//! Not here: keeping anything (`engine/store`), what messages mean (roles).
#![forbid(unsafe_code)]

mod carrier;
pub mod config;
pub mod error;
mod exchange;
pub mod mailbox;
mod metrics;
mod nats;
pub mod presence;
pub mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use madang_host::telemetry::metrics::Gauge;

use self::carrier::Carrier;
pub use self::carrier::Reach;
use self::config::BusSettings;
use self::error::BusError;
use self::exchange::Exchange;
pub use self::exchange::{Batch, Handle, MESSAGE_MAX, NAME_MAX, Subscription, Topic};
use self::mailbox::{Limits, Mailbox};
pub use self::metrics::{CarrierNumbers, LocalNumbers};
use self::nats::Nats;
use self::work::{Memory, Work, WorkLimits};

/// How the way to other machines fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The server answers.
    Connected,
    /// The server is away. It is tried again for ever.
    Away,
    /// The server or the way to it says this; it is tried again.
    Trouble {
        /// What it says.
        why: String,
    },
    /// We took messages more slowly than they came, and NATS or its client gave some up. Readers are told by gaps.
    Slow,
}

/// A running bus. Cheap to clone; the last one that is dropped ends the way to other machines.
#[derive(Clone)]
pub struct Bus(Arc<Owner>);

struct Owner {
    exchange: Arc<Exchange>,
    nats: Option<Arc<Nats>>,
    /// Lines of jobs in memory, by name.
    lines: Mutex<BTreeMap<String, Memory>>,
}

impl Bus {
    /// The bus of one machine.
    pub fn local() -> Self {
        Self::of(Exchange::new(), None)
    }

    /// Starts what the settings say. `tell` hears how the way to other machines fares, from any thread.
    ///
    /// A server that is away is no error: the machine works on its own until it is there. Blocks for a moment: at start, not
    /// on a worker.
    ///
    /// # Errors
    /// [`BusError::Failed`]: a file of the settings cannot be used.
    pub fn start(
        settings: &BusSettings,
        tell: impl Fn(Told) + Send + Sync + 'static,
    ) -> Result<Self, BusError> {
        let exchange = Exchange::new();
        let BusSettings::Nats(settings) = settings else { return Ok(Self::of(exchange, None)) };
        let nats = Nats::start(settings, Box::new(tell))?;
        let carrier: Arc<dyn Carrier> = Arc::<Nats>::clone(&nats);
        exchange.carried_by(carrier);
        Ok(Self::of(exchange, Some(nats)))
    }

    fn of(exchange: Arc<Exchange>, nats: Option<Arc<Nats>>) -> Self {
        Self(Arc::new(Owner { exchange, nats, lines: Mutex::default() }))
    }

    /// The line of jobs of this name: 1 to 30 letters, digits and `-`. Over NATS its server keeps it. What this gives lives
    /// on the runtime that asked for it.
    ///
    /// # Errors
    /// [`BusError::Invalid`]: another name. [`BusError::Unreachable`], [`BusError::Failed`]: the server is away, or was
    /// started without JetStream.
    pub async fn work(&self, name: &str, limits: WorkLimits) -> Result<Work, BusError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || name.len() > 30 || !name.bytes().all(fits) {
            let must = "1 to 30 letters, digits and `-`";
            return Err(BusError::Invalid { what: "the name of a line of jobs", must });
        }
        if let Some(nats) = &self.0.nats {
            return nats.work(name, limits).await.map(Work::jet);
        }
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(name.to_owned()).or_insert_with(|| Memory::new(limits));
        Ok(Work::memory(line.clone()))
    }

    /// A handle and its mailbox, for one thread.
    pub fn open(&self, limits: Limits) -> (Handle, Mailbox) {
        self.0.exchange.open(limits)
    }

    /// Whether other machines hear us now.
    pub fn reach(&self) -> Reach {
        self.0.exchange.carrier().map_or(Reach::Alone, |carrier| carrier.reach())
    }

    /// What was counted here, and by the way to other machines.
    pub fn numbers(&self) -> (LocalNumbers, Option<CarrierNumbers>) {
        (self.0.exchange.numbers(), self.0.exchange.carrier().map(|carrier| carrier.numbers()))
    }

    /// Counters for the admin surface.
    pub fn metrics(&self) -> Vec<Gauge> {
        let (local, carrier) = self.numbers();
        metrics::shown(self.reach(), local, carrier)
    }

    /// Ends the way to other machines: what was published is still sent. Mailboxes of this machine go on.
    pub fn close(&self) {
        if let Some(carrier) = self.0.exchange.carrier() {
            carrier.close();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(carrier) = self.exchange.carrier() {
            carrier.close();
        }
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bus({:?})", self.reach())
    }
}
