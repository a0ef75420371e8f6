//! Workers: one thread per core, sharing nothing on the hot path.
//!
//! **Job.** Run a current-thread runtime per worker, accept connections on its own listeners, sweep time limits, and
//! carry out orders from the control side (new settings, list connections, drain).
//! **Called by** `madang` (assemble). **Calls** `net`, `gate`, `connection`, `clock`.
//!
//! Invariants
//! 1. Everything a connection touches lives on its worker; orders are the only way in from another thread.
//! 2. An accept error that the machine causes (no descriptors, no memory) pauses accepting; it never spins.
//! 3. A panic inside a connection's task ends that connection only.
//!
//! Not here: what is spoken on a connection ([`Acceptor`], implemented by `http`), settings (`madang`).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::Coarse;
use crate::connection::{Connection, Connections, Cut, Ends, PhaseLimits};
use crate::deadline::Deadlines;
use crate::gate::{Gate, ListenerGate, Refusal};
use crate::net::listen::Listener;
use crate::net::stream::Plain;

/// How often time limits are checked: the resolution of every timeout.
pub const SWEEP: Duration = Duration::from_millis(250);
/// How long accepting pauses when the machine has no descriptor or memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Orders that may wait for one worker; a sender beyond that waits itself.
const ORDERS_MAX: usize = 64;
/// Threads for slow file work (compression, password hashes) per worker, made when needed.
const BLOCKING_THREADS_MAX: usize = 4;

/// Speaks a protocol on accepted connections.
pub trait Acceptor {
    /// Serves the connection to its end.
    fn accept(&self, stream: Plain, connection: Rc<Connection>) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// What the accept loop tells: counted and logged by whoever built the worker.
pub trait AcceptObserver {
    /// A connection was admitted.
    fn accepted(&self, listener: &str);
    /// A connection was closed at once.
    fn refused(&self, listener: &str, peer: Option<SocketAddr>, why: Refusal);
    /// The kernel could not give a connection.
    fn failed(&self, listener: &str, error: &io::Error);
}

/// One worker's own things.
pub struct Worker {
    /// 0-based.
    pub index: usize,
    /// Time, cached.
    pub clock: Coarse,
    /// The open connections.
    pub connections: Rc<Connections>,
    /// Deadlines of work in flight.
    pub deadlines: Rc<Deadlines>,
    /// Admission, shared with the other workers.
    pub gate: Arc<Gate>,
    observer: RefCell<Option<Rc<dyn AcceptObserver>>>,
    stopped: Cell<bool>,
    sweepers: RefCell<Vec<Rc<dyn Fn()>>>,
}

/// A listener that is accepting; dropping it stops it and closes this worker's socket.
pub struct Accepting {
    stop: Rc<Notify>,
    /// Whether those who wait in the socket's queue are left to another process that has the socket too.
    leave_queue: Rc<Cell<bool>>,
    closed: oneshot::Receiver<()>,
    lingers: bool,
}

/// How what serves a listener learns that it is to stop.
pub struct Stopped {
    stop: Rc<Notify>,
    leave_queue: Rc<Cell<bool>>,
}

impl Stopped {
    /// Resolves once, when it is to stop.
    pub async fn notified(&self) {
        self.stop.notified().await;
    }
    /// Whether those who wait in the socket's queue are left to another process.
    pub fn leaves_queue(&self) -> bool {
        self.leave_queue.get()
    }
}

impl Accepting {
    /// Runs what serves a socket in its own way, until it is over; it is told when to stop. Must be called on a worker.
    pub fn run<F: Future<Output = ()> + 'static>(serve: impl FnOnce(Stopped) -> F) -> Self {
        Self::start(serve, true)
    }
    fn start<F: Future<Output = ()> + 'static>(serve: impl FnOnce(Stopped) -> F, lingers: bool) -> Self {
        let stop = Rc::new(Notify::new());
        let leave_queue = Rc::new(Cell::new(false));
        let (open, closed) = oneshot::channel::<()>();
        let serving = serve(Stopped { stop: Rc::clone(&stop), leave_queue: Rc::clone(&leave_queue) });
        tokio::task::spawn_local(async move {
            serving.await;
            drop(open);
        });
        Self { stop, leave_queue, closed, lingers }
    }
    /// Whether it goes on for a while when it was stopped, with those it serves itself: its socket has no connections.
    pub fn lingers(&self) -> bool {
        self.lingers
    }
    /// Stops it. What this gives resolves (with an error, which says nothing) once the last of the queue is served and
    /// this worker's socket is closed.
    pub fn stop(mut self) -> oneshot::Receiver<()> {
        let (_, nothing) = oneshot::channel();
        std::mem::replace(&mut self.closed, nothing)
    }
    /// Stops it, and whoever waits in the queue is left to the process that the socket was handed to.
    pub fn leave_queue(self) {
        self.leave_queue.set(true);
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

impl Worker {
    /// Who is told about accepted and refused connections.
    pub fn observe(&self, observer: Rc<dyn AcceptObserver>) {
        *self.observer.borrow_mut() = Some(observer);
    }

    /// Something to run at every sweep (flush logs, age caches).
    pub fn at_sweep(&self, task: Rc<dyn Fn()>) {
        self.sweepers.borrow_mut().push(task);
    }

    /// Starts accepting on one socket.
    pub fn listen(
        self: &Rc<Self>,
        name: Rc<str>,
        secure: bool,
        listener: Listener,
        gate: Arc<ListenerGate>,
        acceptor: Rc<dyn Acceptor>,
    ) -> io::Result<Accepting> {
        let socket = AsyncListener::new(listener)?;
        let worker = Rc::clone(self);
        let serve = |stopped: Stopped| async move {
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = stopped.notified() => break,
                    accepted = socket.accept() => accepted,
                };
                match accepted {
                    Ok((stream, ends)) => worker.admit(&name, secure, &gate, stream, ends, &*acceptor),
                    Err(error) if is_one_connections_fault(&error) => {}
                    Err(error) => {
                        if let Some(observer) = worker.observer() {
                            observer.failed(&name, &error);
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
            // Whoever was in this socket's queue when it stopped is still served: closing would reset them.
            while !stopped.leaves_queue()
                && let Some(Ok((stream, ends))) = now_or_never(socket.accept())
            {
                worker.admit(&name, secure, &gate, stream, ends, &*acceptor);
            }
            drop(socket);
        };
        Ok(Accepting::start(serve, false))
    }

    /// Serves one accepted stream, if the gate admits it.
    fn admit(
        self: &Rc<Self>,
        name: &Rc<str>,
        secure: bool,
        gate: &Arc<ListenerGate>,
        stream: Plain,
        ends: Option<Ends>,
        acceptor: &dyn Acceptor,
    ) {
        let observer = self.observer();
        match self.gate.admit(gate, ends.map(|ends| ends.peer.ip())) {
            Err(refusal) => {
                if let Some(observer) = observer {
                    observer.refused(name, ends.map(|ends| ends.peer), refusal);
                }
            }
            Ok(permit) => {
                if let Some(observer) = observer {
                    observer.accepted(name);
                }
                let ends = ends.unwrap_or(LOCAL_ENDS);
                let connection = self.connections.open(Rc::clone(name), secure, ends, permit);
                tokio::task::spawn_local(acceptor.accept(stream, connection));
            }
        }
    }

    /// Tells that somebody was not admitted, for those who admit by themselves (datagrams).
    pub fn tell_refused(&self, listener: &str, peer: Option<SocketAddr>, why: Refusal) {
        if let Some(observer) = self.observer() {
            observer.refused(listener, peer, why);
        }
    }

    fn observer(&self) -> Option<Rc<dyn AcceptObserver>> {
        self.observer.borrow().clone()
    }

    fn sweep(&self) {
        self.clock.tick();
        self.connections.sweep(self.clock.ms());
        self.deadlines.tick(self.clock.ms());
        let sweepers = self.sweepers.borrow().clone();
        for task in sweepers {
            task();
        }
    }
}

/// What a unix socket's peer is called: it is on this machine.
const LOCAL_ENDS: Ends = Ends {
    peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
    local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
};

/// The connection died in the queue: nothing is wrong with us (accept(2), "Error handling").
fn is_one_connections_fault(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted)
        || error.raw_os_error() == Some(rustix::io::Errno::PROTO.raw_os_error())
}

fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    let future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

enum AsyncListener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl AsyncListener {
    fn new(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => Self::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Listener::Unix(listener) => Self::Unix(tokio::net::UnixListener::from_std(listener)?),
            Listener::Udp(_) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "connections over UDP"));
            }
        })
    }

    async fn accept(&self) -> io::Result<(Plain, Option<Ends>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let local = stream.local_addr()?;
                Ok((Plain::Tcp(stream), Some(Ends { peer, local })))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Plain::Unix(stream), None))
            }
        }
    }
}

type Order<S> = Box<dyn FnOnce(&Rc<Worker>, &mut S) + Send>;

/// The control side's end of one worker.
pub struct WorkerHandle<S> {
    orders: mpsc::Sender<Order<S>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Why a worker did not carry out an order: it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerGone;

impl std::fmt::Display for WorkerGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the worker has ended")
    }
}
impl std::error::Error for WorkerGone {}

impl<S: 'static> WorkerHandle<S> {
    /// Starts a worker thread; `make` builds its own state on it.
    pub fn start(
        index: usize,
        gate: Arc<Gate>,
        limits: PhaseLimits,
        make: impl FnOnce(&Rc<Worker>) -> S + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        // A LocalRuntime belongs to the thread that makes it, so the thread tells whether it could.
        let (born, told) = std::sync::mpsc::sync_channel(1);
        #[allow(clippy::disallowed_methods)] // this is the place the ban points to
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let built = Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .max_blocking_threads(BLOCKING_THREADS_MAX)
                .thread_keep_alive(Duration::from_secs(5))
                .thread_name(format!("worker-{index}-slow"))
                .build_local(LocalOptions::default());
            match built {
                Ok(runtime) => {
                    let _ = born.send(Ok(()));
                    runtime.block_on(run(index, gate, limits, make, inbox));
                }
                Err(error) => {
                    let _ = born.send(Err(error));
                }
            }
        })?;
        told.recv().map_err(|_| io::Error::other("a worker thread ended while it started"))??;
        Ok(Self { orders, thread: Some(thread) })
    }

    /// Has the worker run `order` and gives its answer.
    pub async fn ask<T: Send + 'static>(
        &self,
        order: impl FnOnce(&Rc<Worker>, &mut S) -> T + Send + 'static,
    ) -> Result<T, WorkerGone> {
        let (answer, wait) = oneshot::channel();
        let order: Order<S> = Box::new(move |worker, state| {
            // The asker may have left; then nobody wants the answer.
            let _ = answer.send(order(worker, state));
        });
        self.orders.send(order).await.map_err(|_| WorkerGone)?;
        wait.await.map_err(|_| WorkerGone)
    }

    /// Has every connection end after its current request; what it gives resolves when none is left (an error there
    /// means that the table went away with its worker: nothing is open either). With `idle_too`, idle connections end at
    /// once (nobody will listen after us); without, they may send one more request.
    ///
    /// Two steps, so that all workers drain at the same time: one that waits must not keep another from beginning.
    pub async fn drain(&self, idle_too: bool) -> Result<oneshot::Receiver<()>, WorkerGone> {
        self.ask(move |worker, _| worker.connections.drain(idle_too)).await
    }

    /// Ends whoever is left.
    pub async fn cut_all(&self) -> Result<(), WorkerGone> {
        self.ask(|worker, _| worker.connections.cut_all(Cut::DrainDeadline)).await
    }

    /// A way to ask whether the worker turns that does not keep it alive.
    pub fn pulse(&self) -> Pulse<S> {
        Pulse { orders: self.orders.downgrade() }
    }

    /// Ends the worker and waits for its thread.
    pub fn stop(mut self) {
        let (closed, _) = mpsc::channel(1);
        self.orders = closed;
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has told so already.
            let _ = thread.join();
        }
    }
}

/// See [`WorkerHandle::pulse`].
pub struct Pulse<S> {
    orders: mpsc::WeakSender<Order<S>>,
}

impl<S: 'static> Pulse<S> {
    /// Resolves to true once the worker has taken a turn; to false when it has ended.
    pub async fn beat(&self) -> bool {
        let Some(orders) = self.orders.upgrade() else { return false };
        let (answer, wait) = oneshot::channel();
        let order: Order<S> = Box::new(move |_, _| {
            // The asker may have left.
            let _ = answer.send(());
        });
        orders.send(order).await.is_ok() && wait.await.is_ok()
    }
}

impl Worker {
    /// A worker on the calling thread, which must run a `LocalRuntime`: for the admin surface on the control side.
    pub fn here(index: usize, gate: Arc<Gate>, limits: PhaseLimits) -> Rc<Self> {
        let worker = Rc::new(Self {
            index,
            clock: Coarse::new(),
            connections: Connections::new(limits),
            deadlines: Rc::default(),
            gate,
            observer: RefCell::new(None),
            stopped: Cell::new(false),
            sweepers: RefCell::default(),
        });
        let sweeping = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            let mut every = tokio::time::interval(SWEEP);
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            while !sweeping.stopped.get() {
                every.tick().await;
                sweeping.sweep();
            }
        });
        worker
    }
}

async fn run<S>(
    index: usize,
    gate: Arc<Gate>,
    limits: PhaseLimits,
    make: impl FnOnce(&Rc<Worker>) -> S,
    mut inbox: mpsc::Receiver<Order<S>>,
) {
    let worker = Worker::here(index, gate, limits);
    let mut state = make(&worker);
    while let Some(order) = inbox.recv().await {
        order(&worker, &mut state);
    }
    worker.stopped.set(true);
    worker.sweep();
}
