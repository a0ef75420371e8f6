//! The carrier between machines: NATS.
//!
//! **Job.** Take publications and wants from any thread without waiting, and let one thread of its own speak to NATS.
//! **Called by** `exchange`. **Calls** `link`, which is that thread.
//!
//! Invariants
//! 1. What waits to be sent is bounded; what finds no room is counted, and other machines are told a gap in its place.
//! 2. A publication gets its number in the order in which it is given.
//!
//! Not here: what is done with it (`link`), what it means to readers (`follow`).

mod connect;
mod follow;
mod frame;
mod link;
mod subject;
pub(crate) mod work;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use async_nats::Client;
use bytes::Bytes;
use hashbrown::HashMap;
use tokio::sync::{Notify, oneshot};

use crate::Told;
use crate::carrier::{Carrier, Reach};
use crate::config::NatsSettings;
use crate::error::BusError;
use crate::exchange::Line;
use crate::metrics::CarrierNumbers;
use crate::work::WorkLimits;

pub(crate) use self::connect::check_address;
use self::work::JetLine;

/// Publications that may wait to be sent.
const WAITING_MAX: usize = 65_536;
/// Bytes of them.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// So many of our own beats, one a second, may be on their way; more, and the server does not answer.
const UNHEARD_MAX: u64 = 3;
/// Topics with news that may be noted between two beats the server is known to have.
const NOTED_MAX: usize = 20_000;

/// The carrier.
pub(crate) struct Nats {
    out: Arc<Out>,
    client: Client,
    cluster: String,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What waits for the thread, and what it tells.
pub(super) struct Out {
    state: Mutex<Waiting>,
    /// There is something to do.
    wake: Notify,
    close: Notify,
    closing: AtomicBool,
    connected: AtomicBool,
    /// Our own beats that did not come back: a way that is cut says nothing.
    unheard: AtomicU64,
    numbers: Numbers,
    tell: Box<dyn Fn(Told) + Send + Sync>,
}

#[derive(Default)]
struct Numbers {
    sent: AtomicU64,
    received: AtomicU64,
    dropped: AtomicU64,
    duplicates: AtomicU64,
    gaps: AtomicU64,
    connects: AtomicU64,
    nodes: AtomicU64,
}

struct Waiting {
    publications: Vec<Publication>,
    bytes: usize,
    /// The newest word about each topic.
    interests: HashMap<Arc<str>, Interest>,
    /// Publications of this life.
    number: u64,
    /// The beat that comes next.
    beat: u64,
    /// Topics with publications, and the beat that was next then.
    noted: Vec<(u64, Arc<Line>)>,
    /// Notes up to this beat were given up.
    forgotten: u64,
    woken: bool,
}

struct Publication {
    line: Arc<Line>,
    number: u64,
    previous: u64,
    bytes: Bytes,
}

struct Interest {
    line: Arc<Line>,
    number: u64,
    wanted: bool,
}

impl Out {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        // Changed in whole steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_heard(&self) -> bool {
        self.connected.load(Ordering::Relaxed) && self.unheard.load(Ordering::Relaxed) <= UNHEARD_MAX
    }

    /// So many of our own beats have not come back.
    fn unheard(&self, beats: u64) {
        let was_heard = self.is_heard();
        self.unheard.store(beats, Ordering::Relaxed);
        match (was_heard, self.is_heard()) {
            (true, false) => (self.tell)(Told::Away),
            (false, true) => (self.tell)(Told::Connected),
            _ => {}
        }
    }
}

fn count(number: &AtomicU64, more: u64) {
    number.fetch_add(more, Ordering::Relaxed);
}

impl Nats {
    /// Starts the thread. NATS may be away: it is tried again and again.
    ///
    /// # Errors
    /// [`BusError::Failed`]: a file that cannot be read, no thread to be had.
    pub(crate) fn start(
        settings: &NatsSettings,
        tell: Box<dyn Fn(Told) + Send + Sync>,
    ) -> Result<Arc<Self>, BusError> {
        let out = Arc::new(Out {
            state: Mutex::new(Waiting {
                publications: Vec::new(),
                bytes: 0,
                interests: HashMap::new(),
                number: 0,
                beat: 1,
                noted: Vec::new(),
                forgotten: 0,
                woken: false,
            }),
            wake: Notify::new(),
            close: Notify::new(),
            closing: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            unheard: AtomicU64::new(0),
            numbers: Numbers::default(),
            tell,
        });
        let options = connect::options(settings, &out)?;
        let (servers, cluster) = (connect::servers(settings)?, settings.cluster.clone());
        let (ready, client) = oneshot::channel();
        let ours = Arc::clone(&out);
        let failed = |error: std::io::Error| BusError::Failed { why: error.to_string() };
        let thread = madang_host::thread::start("madang-bus", move || {
            link::run(&ours, &cluster, servers, options, ready);
        })
        .map_err(failed)?;
        let client = client.blocking_recv().unwrap_or(Err(BusError::Closed))?;
        let cluster = settings.cluster.clone();
        Ok(Arc::new(Self { out, client, cluster, thread: Mutex::new(Some(thread)) }))
    }
}

impl Nats {
    /// A line of jobs that the server keeps.
    pub(crate) async fn work(&self, name: &str, limits: WorkLimits) -> Result<JetLine, BusError> {
        JetLine::open(&self.client, &self.cluster, name, limits).await
    }
}

impl Carrier for Nats {
    fn publish(&self, line: &Arc<Line>, bytes: &Bytes) {
        let mut state = self.out.state();
        let state = &mut *state;
        state.number += 1;
        let (number, beat) = (state.number, state.beat);
        let previous = line.sent.swap(number, Ordering::Relaxed);
        if line.noted.swap(beat, Ordering::Relaxed) != beat {
            if state.noted.len() >= NOTED_MAX {
                state.noted.clear();
                state.forgotten = beat;
            }
            state.noted.push((beat, Arc::clone(line)));
        }
        let room = state.publications.len() < WAITING_MAX && state.bytes + bytes.len() <= WAITING_BYTES_MAX;
        if room {
            state.bytes += bytes.len();
            let (line, bytes) = (Arc::clone(line), bytes.clone());
            state.publications.push(Publication { line, number, previous, bytes });
        } else {
            count(&self.out.numbers.dropped, 1);
        }
    }

    fn wake(&self) {
        let woken = std::mem::replace(&mut self.out.state().woken, true);
        if !woken {
            self.out.wake.notify_one();
        }
    }

    fn interest(&self, line: &Arc<Line>, number: u64, wanted: bool) {
        let interest = Interest { line: Arc::clone(line), number, wanted };
        self.out.state().interests.insert(Arc::clone(&line.name), interest);
        self.wake();
    }

    fn reach(&self) -> Reach {
        if self.out.is_heard() { Reach::Connected } else { Reach::Away }
    }

    fn numbers(&self) -> CarrierNumbers {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let numbers = &self.out.numbers;
        CarrierNumbers {
            sent: of(&numbers.sent),
            received: of(&numbers.received),
            dropped: of(&numbers.dropped),
            duplicates: of(&numbers.duplicates),
            gaps: of(&numbers.gaps),
            connects: of(&numbers.connects),
            nodes: of(&numbers.nodes),
        }
    }

    fn close(&self) {
        self.out.closing.store(true, Ordering::Release);
        self.out.wake.notify_one();
        self.out.close.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
