//! The store in PostgreSQL, for one machine or several.
//!
//! **Job.** Put each operation into a lane or ask a reader; run both on one thread of its own.
//! **Called by** [`crate::Store`]. **Calls** its parts.
//!
//! Invariants
//! 1. No caller is ever blocked: what may wait is bounded, and more is refused at once.
//! 2. What was answered as written is seen by every later question.
//!
//! Not here: how groups are committed (`lane`), what statements say (`log`, `kv`, `tables`, `schema`), which traits they are (`operations`).

pub(crate) mod connect;
pub(crate) mod fault;
mod kv;
mod lane;
pub(crate) mod log;
mod operations;
mod readers;
pub(crate) mod schema;
pub(crate) mod tables;
mod tls;

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use madang_host::draws::Draws;
use madang_host::telemetry::metrics::{Durations, Gauge};
use madang_host::{clock, random, thread};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};

use self::connect::{Connected, Way};
use self::lane::{BoxFuture, Call, Item, Lane, Waiting, Work};
use self::readers::{Readers, Trouble};
use crate::answer::{Answer, Reply};
use crate::error::StoreError;
use crate::metrics::Numbers;

/// Writes that may wait, in all lanes together.
const WRITES_MAX: usize = 20_000;
/// Their bytes.
const WRITES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Questions that may be under way.
const READS_MAX: usize = 10_000;
/// How long the database may be away when the store is opened.
const OPEN_WITHIN: Duration = Duration::from_secs(8);
/// How often expired values and old keys are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// What a sweep does: each takes a bounded number of rows away.
const SWEEPS: [&str; 2] = [
    "WITH gone AS (DELETE FROM madang_kv WHERE ctid = ANY(ARRAY(SELECT ctid FROM madang_kv \
     WHERE expires_ms <= madang_now_ms() LIMIT 2000)) RETURNING 1) SELECT count(*) FROM gone",
    "WITH gone AS (DELETE FROM madang_sent WHERE ctid = ANY(ARRAY(SELECT ctid FROM madang_sent \
     WHERE day < madang_now_ms() / 86400000 - 1 LIMIT 2000)) RETURNING 1) SELECT count(*) FROM gone",
];

/// A running store over one database.
pub(crate) struct Postgres {
    lanes: Vec<mpsc::Sender<Item>>,
    waiting: Arc<Waiting>,
    readers: Arc<Readers>,
    reading: Arc<AtomicUsize>,
    runtime: Handle,
    numbers: Arc<Numbers>,
    closing: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Postgres {
    /// Connects, makes the tables and starts the thread. `connections`: half of them write, half read.
    pub(crate) fn open(address: &str, ca: Option<&Path>, connections: usize) -> Result<Self, StoreError> {
        let way = Way::of(address, ca)?;
        let lanes_count = (connections / 2).max(1);
        let readers = Arc::new(Readers::new(way.clone(), connections - connections.min(lanes_count)));
        let (waiting, numbers) = (Arc::new(Waiting::default()), Arc::new(Numbers::default()));
        let (closing, closed) = watch::channel(false);
        let (mut lanes, mut starting) = (Vec::new(), Vec::new());
        for _ in 0..lanes_count {
            let (sender, inbox) = mpsc::channel(WRITES_MAX);
            lanes.push(sender);
            starting.push(Lane {
                way: way.clone(),
                inbox,
                closing: closed.clone(),
                waiting: Arc::clone(&waiting),
                numbers: Arc::clone(&numbers),
                draws: Draws::new(random::seed()),
                connected: None,
            });
        }
        let sweeping = Sweeping { lane: lanes[0].downgrade(), waiting: Arc::clone(&waiting) };
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let started = thread::start("store-postgres", move || {
            run(&way, starting, &sweeping, closed, &tell);
        });
        let thread =
            started.map_err(|error| StoreError::Failed { why: format!("cannot start a thread: {error}") })?;
        let runtime = told.recv().unwrap_or(Err(StoreError::Closed))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { lanes, waiting, readers, reading: Arc::default(), runtime, numbers, closing, thread })
    }

    /// Whether an address can be understood; nothing is connected.
    pub(crate) fn check(address: &str) -> Result<(), String> {
        address.parse::<tokio_postgres::Config>().map(drop).map_err(|error| fault::told(&error))
    }

    /// Does what waits, then ends the thread.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A thread that panicked has nothing left to tell.
            let _ = thread.join();
        }
    }

    pub(crate) fn metrics(&self) -> (Vec<Gauge>, Vec<Durations>) {
        self.numbers.shown(self.waiting.count.load(Ordering::Relaxed), self.reading.load(Ordering::Relaxed))
    }

    fn refuse<T>(&self, error: StoreError) -> Answer<T> {
        self.numbers.refused.fetch_add(1, Ordering::Relaxed);
        Answer::refused(error)
    }

    /// Puts work at the end of the lane of `lock`.
    fn put<T>(&self, lock: &str, bytes: usize, reply: impl FnOnce(Reply<T>) -> Work) -> Answer<T> {
        let waiting = self.waiting.count.load(Ordering::Relaxed);
        let heavy = waiting > 0 && self.waiting.bytes.load(Ordering::Relaxed) + bytes > WRITES_BYTES_MAX;
        if waiting >= WRITES_MAX || heavy {
            return self.refuse(StoreError::Overloaded { waiting, waiting_max: WRITES_MAX });
        }
        let mut hasher = DefaultHasher::new();
        lock.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % self.lanes.len() as u64).unwrap_or(0);
        let (sender, answer) = Answer::later();
        self.waiting.count.fetch_add(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        match self.lanes[lane].try_send(Item { work: reply(sender), since: clock::now(), bytes }) {
            Ok(()) => answer,
            Err(refused) => {
                self.waiting.count.fetch_sub(1, Ordering::Relaxed);
                self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.refuse(match refused {
                    mpsc::error::TrySendError::Full(_) => {
                        StoreError::Overloaded { waiting, waiting_max: WRITES_MAX }
                    }
                    mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
                })
            }
        }
    }

    fn call<T>(&self, lock: &str, bytes: usize, call: impl FnOnce(Reply<T>) -> Call) -> Answer<T> {
        self.put(lock, bytes, |reply| Work::Call(call(reply)))
    }

    /// A transaction of its own.
    fn own<T: Send + 'static, F: Future<Output = Result<T, StoreError>> + Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(Result<Arc<Connected>, StoreError>) -> F + Send + 'static,
    ) -> Answer<T> {
        self.put("tables", bytes, |reply| {
            Work::Own(Box::new(move |connected| {
                let work = work(connected);
                Box::pin(async move {
                    // The caller may have gone; what it asked for is done all the same.
                    let _ = reply.send(work.await);
                })
            }))
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(Arc<Connected>) -> BoxFuture<Result<T, Trouble>> + Send + Sync + 'static,
    ) -> Answer<T> {
        if *self.closing.borrow() {
            return Answer::refused(StoreError::Closed);
        }
        let waiting = self.reading.fetch_add(1, Ordering::Relaxed);
        if waiting >= READS_MAX {
            self.reading.fetch_sub(1, Ordering::Relaxed);
            return self.refuse(StoreError::Overloaded { waiting, waiting_max: READS_MAX });
        }
        let (reply, answer) = Answer::later();
        let (readers, reading) = (Arc::clone(&self.readers), Arc::clone(&self.reading));
        self.runtime.spawn(async move {
            let told = readers.ask(question).await;
            reading.fetch_sub(1, Ordering::Relaxed);
            // The one who asked may have gone.
            let _ = reply.send(told);
        });
        answer
    }
}

/// The thread: opens, tells, and works until all lanes are closed and empty.
fn run(
    way: &Way,
    lanes: Vec<Lane>,
    sweeping: &Sweeping,
    mut closed: watch::Receiver<bool>,
    tell: &std::sync::mpsc::SyncSender<Result<Handle, StoreError>>,
) {
    let runtime = match Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = tell.send(Err(StoreError::Failed { why: error.to_string() }));
            return;
        }
    };
    runtime.block_on(async {
        let mut draws = Draws::new(random::seed());
        let opened = match way.connect_until("", clock::now() + OPEN_WITHIN, &mut draws).await {
            Ok(connected) => schema::make(&connected.client).await,
            Err(error) => Err(error),
        };
        let failed = opened.is_err();
        // Whoever opens the store waits for this.
        let _ = tell.send(opened.map(|()| runtime.handle().clone()));
        if failed {
            return;
        }
        let lanes: Vec<_> = lanes.into_iter().map(|lane| tokio::spawn(lane.run())).collect();
        tokio::select! {
            () = sweep(sweeping, &mut draws) => {}
            // The store being dropped means the same.
            _ = closed.wait_for(|closed| *closed) => {}
        }
        for lane in lanes {
            // A lane that panicked has nothing left to do.
            let _ = lane.await;
        }
    });
}

/// Where sweeps are sent; it does not keep the lane open.
struct Sweeping {
    lane: mpsc::WeakSender<Item>,
    waiting: Arc<Waiting>,
}

async fn sweep(sweeping: &Sweeping, draws: &mut Draws) {
    loop {
        // Not all nodes at the same moment.
        tokio::time::sleep(draws.around(SWEEP_EVERY)).await;
        let Some(lane) = sweeping.lane.upgrade() else { return };
        for sql in SWEEPS {
            let call =
                Call { lock: String::new(), sql, values: Vec::new(), again: true, done: Box::new(drop) };
            sweeping.waiting.count.fetch_add(1, Ordering::Relaxed);
            // A full lane has better things to do.
            if lane.try_send(Item { work: Work::Call(call), since: clock::now(), bytes: 0 }).is_err() {
                sweeping.waiting.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}
