//! Datagrams to a pool (UDP).
//!
//! **Job.** Tell clients apart, give each a session with one server, end sessions that are quiet, full or drained.
//! **Called by** the worker for each socket of a stream's UDP listener. **Calls** `table`, `session`, `host::net::datagram`.
//!
//! Datagrams of one client always reach the same worker: the kernel chooses among a listener's sockets by a hash of both
//! addresses and ports, and each socket has one worker. A reload keeps sockets and so the choice; a changed number of
//! workers (`madang upgrade`) keeps the sockets there are.
//!
//! Invariants
//! 1. A worker has at most its share of `udp.sessions_max`; a newer client takes the place of the one quiet longest.
//! 2. A client address has at most `udp.sessions_per_address_max`, of all workers; beyond that it takes its own places.
//! 3. Nothing is sent to a client but what its own server sent to its own session: no amplification, no reflection.
//!
//! Not here: TCP (`super`), binding (`host::net::listen`).

mod session;
mod table;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use madang_host::connection::{Ends, Phase};
use madang_host::deadline::Deadline;
use madang_host::gate::{Gate, ListenerGate, Permit, Refusal};
use madang_host::net::datagram::{DATAGRAM_BYTES_MAX, Datagrams, Received};
use madang_host::telemetry::streams::StreamBlock;
use madang_host::worker::{Accepting, Stopped, Worker};
use tokio::sync::Notify;

use self::session::{Client, Session};
use self::table::Table;
use super::door::{Serving, StreamDoor};
use super::end::{End, Ended};

/// How often quiet sessions are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What sessions get to have their questions answered once the listener stops.
const GRACE: Duration = Duration::from_secs(2);
/// Datagrams taken before the worker's other work gets its turn.
const TURN: usize = 64;
/// How many of the oldest sessions are looked through for one of an address that has too many.
const LOOK_FOR_OWN: usize = 64;

/// Who may come to a UDP listener; shared by its workers.
#[derive(Clone)]
pub struct Admission {
    /// Address lists and `connections_max`.
    pub listener: Arc<ListenerGate>,
    /// Sessions by client address.
    pub sessions: Arc<Gate>,
    /// Workers that share `udp.sessions_max`.
    pub workers: usize,
}

/// One socket of a UDP listener on one worker.
struct Door {
    socket: Datagrams,
    name: Rc<str>,
    stream: Rc<StreamDoor>,
    worker: Rc<Worker>,
    admission: Admission,
    /// Counts in the server's limit only: the listener's own is counted with the address.
    anywhere: Arc<ListenerGate>,
    table: RefCell<Table<Client, Rc<Session>>>,
    stopping: Cell<bool>,
    /// Told by each session that ends.
    fewer: Notify,
    /// Where every datagram passes through; nothing stays in it.
    room: RefCell<Vec<u8>>,
}

/// Serves one socket until it is stopped.
pub fn serve(
    worker: &Rc<Worker>,
    name: Rc<str>,
    socket: std::net::UdpSocket,
    stream: &Rc<StreamDoor>,
    admission: Admission,
) -> io::Result<Accepting> {
    let door = Rc::new(Door {
        socket: Datagrams::new(socket)?,
        name,
        stream: Rc::clone(stream),
        worker: Rc::clone(worker),
        admission,
        anywhere: Arc::default(),
        table: RefCell::new(Table::new()),
        stopping: Cell::new(false),
        fewer: Notify::new(),
        room: RefCell::new(vec![0; DATAGRAM_BYTES_MAX]),
    });
    Ok(Accepting::run(|stopped| async move { door.run(stopped).await }))
}

impl Door {
    async fn run(self: Rc<Self>, stopped: Stopped) {
        let look = self.worker.deadlines.after(LOOK_EVERY);
        {
            let mut stop = std::pin::pin!(stopped.notified());
            poll_fn(|cx| {
                if stop.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if look.poll(cx).is_ready() {
                    self.look_for_quiet();
                    look.set(LOOK_EVERY);
                    // To be woken then.
                    let _ = look.poll(cx);
                }
                self.poll_take(cx).map(|()| ())
            })
            .await;
        }
        if !stopped.leaves_queue() {
            // Who was in the queue is still served; one turn, for more may come without end.
            poll_fn(|cx| {
                let _ = self.poll_take(cx);
                Poll::Ready(())
            })
            .await;
        }
        self.stopping.set(true);
        let over = self.worker.deadlines.after(GRACE);
        loop {
            let (late, replies) = (self.is_over(&over), self.replies());
            for session in self.table.borrow().sessions() {
                if late || session.has_all(replies) {
                    session.end(End::Done);
                }
            }
            if self.table.borrow().len() == 0 {
                return;
            }
            tokio::select! {
                () = self.fewer.notified() => {}
                () = poll_fn(|cx| over.poll(cx)), if !late => {}
            }
        }
    }

    fn is_over(&self, deadline: &Deadline) -> bool {
        deadline.poll(&Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    /// Takes datagrams; pending when there are none, or others are to have their turn.
    fn poll_take(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURN {
            let mut room = self.room.borrow_mut();
            let received = match self.socket.poll_receive(cx, &mut room) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(received)) => received,
                // Of an answer that somebody did not take: not ours to mend.
                Poll::Ready(Err(_)) => continue,
            };
            self.take(&received, &room[..received.length]);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn now_ms(&self) -> u64 {
        self.worker.clock.ms()
    }

    fn replies(&self) -> u64 {
        self.stream.serving().0.settings.udp.replies
    }

    /// One datagram of a client.
    fn take(self: &Rc<Self>, received: &Received, bytes: &[u8]) {
        let (serving, block) = self.stream.serving();
        let client = (received.from, received.to);
        let known =
            self.table.borrow_mut().find(client, self.now_ms()).map(|(_, session)| Rc::clone(session));
        // One that ends has its task still to run: the newcomer waits for nobody.
        let mut known = known.filter(|session| !session.is_ending());
        // Twice: a server that went away is noticed by the datagram that comes after.
        for _ in 0..2 {
            let session = match known.take().map_or_else(|| self.begin(client, &serving, &block), Ok) {
                Ok(session) => session,
                Err(end) => {
                    if let Some(end) = end {
                        block.begun.add(1);
                        let bytes = (bytes.len() as u64, 0);
                        self.told(&serving, &block, client, None, &end, bytes, Duration::ZERO);
                    }
                    break;
                }
            };
            if session.ask(bytes) {
                session.connection.received(bytes.len());
                block.bytes_in.add(bytes.len() as u64);
                return;
            }
            if !session.is_ending() {
                break;
            }
        }
        block.dropped.add(1);
    }

    /// A session for a new client. An error without an end was told by those who refused it.
    fn begin(
        self: &Rc<Self>,
        client: Client,
        serving: &Rc<Serving>,
        block: &Arc<StreamBlock>,
    ) -> Result<Rc<Session>, Option<End>> {
        let share = serving.settings.udp.sessions_max.div_ceil(self.admission.workers.max(1));
        if self.table.borrow().len() >= share {
            self.make_room();
        }
        let (whole, permit) = self.admit(client)?;
        let local = received_at(&self.socket, client);
        let ends = Ends { peer: client.0, local };
        let connection = self.worker.connections.open(Rc::clone(&self.name), false, ends, whole);
        connection.set_role("stream");
        connection.enter(Phase::Tunnel);
        let route = serving.settings.route(None).and_then(|at| serving.ways.get(at));
        let way = route.ok_or(Some(End::NoRoute { name: None }))?;
        let session = Session::begin(client, way, connection, permit).map_err(Some)?;
        let mut table = self.table.borrow_mut();
        let inserted = table.insert(client, Rc::clone(&session), self.now_ms());
        let number = match inserted {
            Some(number) => number,
            // The one before is ending: its place in the table is free from now on.
            None => {
                if let Some((before, _)) = table.find(client, self.now_ms()) {
                    table.remove(before);
                }
                table.insert(client, Rc::clone(&session), self.now_ms()).ok_or(None)?
            }
        };
        drop(table);
        block.begun.add(1);
        self.run_session(Rc::clone(&session), number, Rc::clone(serving), Arc::clone(block));
        Ok(session)
    }

    fn run_session(
        self: &Rc<Self>,
        session: Rc<Session>,
        number: usize,
        serving: Rc<Serving>,
        block: Arc<StreamBlock>,
    ) {
        let door = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let end = session.answers(&door, number).await;
            let mut table = door.table.borrow_mut();
            // Its number may be another's by now.
            let own = table.get(number).is_some_and(|have| Rc::ptr_eq(have, &session));
            if own {
                table.remove(number);
            }
            drop(table);
            let (server, bytes) = (session.server(), session.connection.bytes());
            let took = session.begun.elapsed();
            door.told(&serving, &block, session.client, Some(server.name()), &end, bytes, took);
            let way = session.way();
            drop(session);
            way.here.place_given_back();
            door.fewer.notify_one();
        });
    }

    /// A place in the house and one of the client's address.
    fn admit(&self, client: Client) -> Result<(Permit, Permit), Option<End>> {
        let ip = client.0.ip();
        let by_address = || self.admission.sessions.admit(&self.admission.listener, Some(ip));
        let permit = match by_address() {
            Ok(permit) => permit,
            Err(refusal) => {
                let own = |have: &Client| have.0.ip() == ip;
                let oldest = self.table.borrow().oldest_where(LOOK_FOR_OWN, own);
                let full = matches!(refusal, Refusal::AddressFull { .. });
                match oldest.filter(|_| full) {
                    Some(number) => {
                        self.put_out(number);
                        by_address().map_err(|refusal| self.refused(client, refusal))?
                    }
                    None => return Err(self.refused(client, refusal)),
                }
            }
        };
        let whole = || self.worker.gate.admit(&self.anywhere, None);
        let place = whole().or_else(|refusal| {
            self.make_room();
            whole().map_err(|_| self.refused(client, refusal))
        })?;
        Ok((place, permit))
    }

    fn refused(&self, client: Client, refusal: Refusal) -> Option<End> {
        self.worker.tell_refused(&self.name, Some(client.0), refusal);
        None
    }

    /// The session that was quiet longest ends.
    fn make_room(&self) {
        let oldest = self.table.borrow().oldest().map(|(number, ..)| number);
        if let Some(number) = oldest {
            self.put_out(number);
        }
    }

    /// Its places are free at once; its task only tells.
    fn put_out(&self, number: usize) {
        let removed = self.table.borrow_mut().remove(number);
        if let Some(session) = removed {
            session.leave();
            session.end(End::MadeRoom);
        }
    }

    fn look_for_quiet(&self) {
        let (serving, _) = self.stream.serving();
        let idle = u64::try_from(serving.settings.udp.idle.as_millis()).unwrap_or(u64::MAX);
        let now = self.now_ms();
        let mut table = self.table.borrow_mut();
        while let Some((number, moved_ms, session)) = table.oldest() {
            if now.saturating_sub(moved_ms) < idle {
                break;
            }
            session.end(session.quiet(serving.settings.udp.replies));
            table.remove(number);
        }
    }

    /// An answer of a session's server goes to its client.
    fn pass_back(&self, session: &Session, bytes: &[u8], number: usize) {
        let (_, block) = self.stream.serving();
        self.table.borrow_mut().moved(number, self.now_ms());
        match self.socket.send(bytes, session.client.0, session.client.1) {
            Ok(()) => {
                session.connection.sent(bytes.len());
                block.bytes_out.add(bytes.len() as u64);
            }
            // No room, or no way there: lost, as datagrams may be.
            Err(_) => block.dropped.add(1),
        }
    }

    #[allow(clippy::too_many_arguments)] // the facts of one record
    fn told(
        &self,
        serving: &Serving,
        block: &StreamBlock,
        client: Client,
        server: Option<&str>,
        end: &End,
        bytes: (u64, u64),
        took: Duration,
    ) {
        block.ended(end.name(), end.failed());
        self.stream.kit.observer.ended(&Ended {
            stream: &serving.settings.name,
            client: client.0,
            protocol: "UDP",
            name: None,
            server,
            end,
            bytes,
            took,
        });
    }
}

/// Our address that a client wrote to.
fn received_at(socket: &Datagrams, client: Client) -> std::net::SocketAddr {
    let mut local = socket.local();
    if let Some(ip) = client.1 {
        local.set_ip(ip);
    }
    local
}
