//! The lanes that write.
//!
//! **Job.** Group commit: everything that waits in a lane is sent to the database in one go, as one transaction.
//! **Fed by** `postgres`; a stream or a key always takes the same lane, so that its operations keep their order.
//! **Calls** `connect`.
//!
//! When the connection is lost while a group is on its way, nobody knows whether it was committed. Appends are sent
//! again: each carries a key and a token of its own, by which the database finds what it has already written. Other
//! operations are answered with [`StoreError::Unknown`].
//!
//! Invariants
//! 1. An answer is given after the commit that holds its writes.
//! 2. Groups take their locks in one order (by name), on every node: two groups cannot wait for each other.
//! 3. A statement that the database refuses fails alone: its neighbours are tried again without it.
//!
//! Not here: which statements (`log`, `kv`, `tables`).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use madang_host::clock;
use madang_host::draws::Draws;
use tokio::sync::{mpsc, watch};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};

use super::connect::{Connected, Way};
use super::fault;
use crate::error::StoreError;
use crate::metrics::Numbers;

/// Operations in one transaction.
const GROUP_MAX: usize = 500;
/// How long an operation waits for a database that is away, from the moment it was asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a transaction that lost against another one is tried again.
const TIES_MAX: u32 = 5;
/// The session of a lane: what waits for a lock gives up in the end. A client that is dead, stands still or is cut off in the middle of
/// a transaction holds its locks for seconds only: we never wait between its statements.
const SESSION: &str = "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '5s'";

pub(super) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A value of a call.
pub(super) type Param = Box<dyn ToSql + Sync + Send>;

/// One statement that gives one row.
pub(super) struct Call {
    /// What it locks.
    pub(super) lock: String,
    pub(super) sql: &'static str,
    pub(super) values: Vec<Param>,
    /// Doing it twice is the same as once.
    pub(super) again: bool,
    pub(super) done: Box<dyn FnOnce(Result<Row, StoreError>) + Send + Sync>,
}

/// Given the connection, or why there is none.
pub(super) type Own = Box<dyn FnOnce(Result<Arc<Connected>, StoreError>) -> BoxFuture<()> + Send>;

/// What waits in a lane.
pub(super) enum Work {
    Call(Call),
    /// A transaction of its own, which answers by itself.
    Own(Own),
}

/// Work with the time it was asked for and its weight.
pub(super) struct Item {
    pub(super) work: Work,
    pub(super) since: Instant,
    pub(super) bytes: usize,
}

/// What all lanes together hold.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) count: AtomicUsize,
    pub(super) bytes: AtomicUsize,
}

/// One lane's own state.
pub(super) struct Lane {
    pub(super) way: Way,
    pub(super) inbox: mpsc::Receiver<Item>,
    pub(super) closing: watch::Receiver<bool>,
    pub(super) waiting: Arc<Waiting>,
    pub(super) numbers: Arc<Numbers>,
    pub(super) draws: Draws,
    pub(super) connected: Option<Arc<Connected>>,
}

/// What became of a group.
enum Outcome {
    Done(Vec<Row>),
    /// The connection is gone; it may be committed or not.
    Lost(String),
    /// Undone, because of another transaction.
    Tie(Error),
    /// Undone, because of one statement.
    Refused(Error),
}

impl Lane {
    /// Works until the lane is closed and empty.
    pub(super) async fn run(mut self) {
        let mut items = Vec::new();
        loop {
            let came = tokio::select! {
                came = self.inbox.recv_many(&mut items, GROUP_MAX) => came,
                () = closed(&mut self.closing) => {
                    self.inbox.close();
                    self.inbox.recv_many(&mut items, GROUP_MAX).await
                }
            };
            if came == 0 {
                return;
            }
            self.waiting.count.fetch_sub(came, Ordering::Relaxed);
            self.waiting.bytes.fetch_sub(items.iter().map(|item| item.bytes).sum(), Ordering::Relaxed);
            let (mut group, mut since) = (Vec::new(), clock::now());
            for item in items.drain(..) {
                since = since.min(item.since);
                match item.work {
                    Work::Call(call) => group.push(call),
                    Work::Own(own) => {
                        self.group(std::mem::take(&mut group), since).await;
                        own(self.connection(since).await).await;
                        self.numbers.commits.add(1);
                        self.numbers.operations.add(1);
                    }
                }
            }
            self.group(group, since).await;
        }
    }

    async fn connection(&mut self, since: Instant) -> Result<Arc<Connected>, StoreError> {
        if let Some(connected) = self.connected.as_ref().filter(|connected| !connected.client.is_closed()) {
            return Ok(Arc::clone(connected));
        }
        self.connected = None;
        let connected = self.way.connect_until(SESSION, since + PATIENCE, &mut self.draws).await?;
        Ok(Arc::clone(self.connected.insert(Arc::new(connected))))
    }

    async fn group(&mut self, mut calls: Vec<Call>, since: Instant) {
        // Stable: what has one lock keeps its order.
        calls.sort_by(|a, b| a.lock.cmp(&b.lock));
        let (mut on_its_way, mut ties) = (false, 0);
        let begun = clock::now();
        let count = calls.len();
        while !calls.is_empty() {
            let connected = match self.connection(since).await {
                Ok(connected) => connected,
                Err(error) => {
                    let told =
                        if on_its_way { StoreError::Unknown { why: error.to_string() } } else { error };
                    calls.drain(..).for_each(|call| (call.done)(Err(told.clone())));
                    return;
                }
            };
            match pipeline(&connected, &calls).await {
                Outcome::Done(rows) => {
                    calls.drain(..).zip(rows).for_each(|(call, row)| (call.done)(Ok(row)));
                    self.numbers.group(count, begun.elapsed());
                }
                Outcome::Lost(why) => {
                    self.numbers.faults.add(1);
                    (self.connected, on_its_way) = (None, true);
                    let (again, once): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| call.again);
                    calls = again;
                    for call in once {
                        (call.done)(Err(StoreError::Unknown { why: why.clone() }));
                    }
                }
                Outcome::Tie(_) if ties < TIES_MAX => ties += 1,
                Outcome::Tie(error) | Outcome::Refused(error) if calls.len() == 1 => {
                    calls.drain(..).for_each(|call| (call.done)(Err(fault::meaning(&error))));
                }
                Outcome::Tie(_) | Outcome::Refused(_) => {
                    // One at a time: whoever is refused is refused alone.
                    for call in calls.drain(..) {
                        Box::pin(self.group(vec![call], since)).await;
                    }
                }
            }
        }
    }
}

/// A message and its answer.
type Sent<'a> = Pin<Box<dyn Future<Output = Result<Option<Row>, Error>> + Send + 'a>>;

async fn closed(closing: &mut watch::Receiver<bool>) {
    // The sender going away means the same.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Sends a whole transaction before it reads any answer.
async fn pipeline(connected: &Connected, calls: &[Call]) -> Outcome {
    let client = &connected.client;
    let mut statements: Vec<Statement> = Vec::with_capacity(calls.len());
    for call in calls {
        match connected.prepared(call.sql).await {
            Ok(statement) => statements.push(statement),
            Err(error) => return outcome(error),
        }
    }
    let mut sent: Vec<Sent<'_>> = Vec::new();
    sent.push(Box::pin(async move { client.batch_execute("BEGIN").await.map(|()| None) }));
    for (call, statement) in calls.iter().zip(&statements) {
        sent.push(Box::pin(async move {
            let values: Vec<&(dyn ToSql + Sync)> =
                call.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
            client.query_one(statement, &values).await.map(Some)
        }));
    }
    sent.push(Box::pin(async move { client.batch_execute("COMMIT").await.map(|()| None) }));
    let answers = in_order(sent).await;
    let mut rows = Vec::with_capacity(calls.len());
    for answer in answers {
        match answer {
            // The first error is the cause; those after it say that the transaction is aborted.
            Err(error) => return outcome(error),
            Ok(row) => rows.extend(row),
        }
    }
    Outcome::Done(rows)
}

fn outcome(error: Error) -> Outcome {
    if fault::is_lost(&error) {
        Outcome::Lost(fault::told(&error))
    } else if fault::is_a_tie(&error) {
        Outcome::Tie(error)
    } else {
        Outcome::Refused(error)
    }
}

/// Polls every future from the first to the last, so that each has sent its message before the next one does.
async fn in_order<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| (Some(future), None)).collect();
    // Answers come in the order of messages: what is before `first` has come.
    let mut first = 0;
    poll_fn(|context| {
        for (future, answer) in &mut waiting[first..] {
            if let Some(pending) = future
                && let Poll::Ready(ready) = pending.as_mut().poll(context)
            {
                (*future, *answer) = (None, Some(ready));
            }
        }
        while waiting.get(first).is_some_and(|(future, _)| future.is_none()) {
            first += 1;
        }
        if first == waiting.len() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, answer)| answer).collect()
}
