//! IRC over a socket: TCP, TLS or a websocket.
//!
//! **Job.** Move lines between a connection and its [`Machine`], do what the machine wants done. **Made by** the listeners `irc://`
//! and `ircs://`, and by upgrades to `text.ircv3.net`. **Calls** [`crate::seat`], [`crate::pipe`], `http::websocket`.
//!
//! Invariants
//! 1. The machine is never called while it is at work: what it wants done is done after it.
//! 2. What a websocket brings while a command is under way is bounded.
//!
//! Not here: IRC itself (`machine`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use madang_host::connection::Connection;
use madang_host::{clock, random};
use madang_http::body::{Duplex, LocalFuture};
use madang_http::websocket::{Closed, Handler, Socket};
use madang_wire::irc::{LineError, Reader};
use madang_wire::websocket::{write_binary, write_text};

use super::Network;
use super::machine::{Machine, Todo};
use super::sasl::{Attempt, Login, Step};
use crate::floor::{Cut, Face};
use crate::here::{Here, Silent};
use crate::listen::Door;
use crate::notice::Notice;
use crate::pipe::{Pipe, PipeLimits, Speaker};
use crate::post::{Claim, Published};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::seat::Seat;

/// Lines of a websocket that wait for a command before them.
const WAITING_LINES_MAX: usize = 256;
/// Close code of a connection that is over by IRC's own word.
const QUIT: u16 = 1000;

/// The sub-protocol of IRC in messages of text (IRCv3 websocket).
pub const TEXT: &str = "text.ircv3.net";
/// And in messages of bytes.
pub const BINARY: &str = "binary.ircv3.net";

/// Under what it speaks.
enum Wire {
    Pipe(Rc<Pipe>),
    Socket { socket: Rc<Socket>, binary: bool, waiting: RefCell<VecDeque<Result<String, LineError>>> },
}

/// One connection that speaks IRC.
pub struct Irc {
    seat: Seat,
    wire: Wire,
    machine: RefCell<Machine>,
    reader: RefCell<Reader>,
    login: RefCell<Option<Box<dyn Login>>>,
    connection: Rc<Connection>,
    me: std::rc::Weak<Irc>,
}

/// The door of `irc://` and `ircs://`.
pub struct IrcDoor {
    here: Rc<Here>,
}

impl IrcDoor {
    /// Of this chat on this worker.
    pub fn new(here: &Rc<Here>) -> Rc<Self> {
        Rc::new(Self { here: Rc::clone(here) })
    }
}

impl Door for IrcDoor {
    fn serve(&self, duplex: Box<dyn Duplex>, connection: Rc<Connection>) -> LocalFuture<()> {
        let settings = self.here.settings();
        let limits = PipeLimits {
            outbox_bytes_max: settings.outbox_bytes_max,
            ping: settings.ping,
            stalled: settings.stalled,
        };
        let (here, of_face) = (Rc::clone(&self.here), Rc::clone(&connection));
        self.here.pipes().serve(duplex, connection, limits, move |pipe| {
            Irc::open(&here, Wire::Pipe(Rc::clone(pipe)), of_face)
        })
    }
}

/// IRC on a websocket that was asked for it. `signed_in`: who its cookie or token says it is.
pub fn open_websocket(
    here: &Rc<Here>,
    socket: &Rc<Socket>,
    binary: bool,
    connection: Rc<Connection>,
    signed_in: Option<Claim>,
) -> Rc<dyn Handler> {
    let wire = Wire::Socket { socket: Rc::clone(socket), binary, waiting: RefCell::default() };
    let this = Irc::open(here, wire, connection);
    if let Some(claim) = signed_in {
        this.machine.borrow_mut().signed_in(claim);
    }
    this
}

impl Irc {
    fn open(here: &Rc<Here>, wire: Wire, connection: Rc<Connection>) -> Rc<Self> {
        let settings = here.settings();
        let logins = here.accounts();
        let network = Network {
            motd: settings.motd.iter().flat_map(|motd| motd.lines()).map(str::to_owned).collect(),
            message_bytes: settings.message_bytes_max,
            rooms: settings.rooms.per_person,
            mechanisms: logins.as_ref().map_or(&[], |logins| offered(logins.mechanisms(), &connection)),
            ..Network::new(&settings.name, env!("CARGO_PKG_VERSION"))
        };
        let this = Rc::new_cyclic(|me| Self {
            seat: Seat::new(here),
            wire,
            machine: RefCell::new(Machine::new(Arc::new(network), random::seed())),
            reader: RefCell::default(),
            login: RefCell::new(logins.map(|logins| logins.begin(connection.peer()))),
            connection,
            me: std::rc::Weak::clone(me),
        });
        this.seat.take(&this);
        this
    }

    fn line(&self, line: Result<&str, LineError>) {
        let now_ms = wall_ms();
        self.machine.borrow_mut().line(line, now_ms);
        self.run();
    }

    /// Does what the machine wants done, until it wants nothing.
    fn run(&self) {
        loop {
            let todo = self.machine.borrow_mut().todo();
            if todo.is_empty() {
                break;
            }
            todo.into_iter().for_each(|todo| self.one(todo));
        }
        self.gather();
    }

    fn one(&self, todo: Todo) {
        let (tag, said) = match todo {
            Todo::Hello(tag, claim) => (tag, self.seat.hello(tag, claim)),
            Todo::Ask(tag, ask) => (tag, self.seat.ask(tag, ask)),
            Todo::Hold(after_ms) => return self.seat.hold(after_ms),
            Todo::Login(attempt) => return self.go_on_with_login(attempt),
            Todo::End => {
                self.gather();
                return match &self.wire {
                    Wire::Pipe(pipe) => pipe.end("quit"),
                    Wire::Socket { socket, .. } => {
                        socket.flush();
                        socket.close(QUIT, "");
                    }
                };
            }
        };
        if let Err(refusal) = said {
            self.machine.borrow_mut().answered(tag, &Err(refusal), wall_ms());
        }
    }

    fn go_on_with_login(&self, attempt: Attempt) {
        let stepping = self.login.borrow_mut().as_mut().map(|login| login.step(attempt));
        let Some(stepping) = stepping else {
            self.machine.borrow_mut().authenticated(Step::NoLogin, wall_ms());
            return;
        };
        let me = std::rc::Weak::clone(&self.me);
        tokio::task::spawn_local(async move {
            let step = stepping.await;
            let Some(this) = me.upgrade() else { return };
            this.machine.borrow_mut().authenticated(step, wall_ms());
            this.run();
            this.flush();
            this.ready_again();
        });
    }

    /// What the machine has written leaves with the next flush.
    fn gather(&self) {
        let mut machine = self.machine.borrow_mut();
        let out = machine.out();
        match &self.wire {
            Wire::Pipe(pipe) => pipe.push(out),
            Wire::Socket { socket, binary, .. } => {
                let lines = std::mem::take(out);
                for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    let mut frame = Vec::with_capacity(line.len() + 4);
                    if *binary {
                        write_binary(&mut frame, line);
                    } else {
                        write_text(&mut frame, line);
                    }
                    socket.queue(Bytes::from(frame));
                }
            }
        }
    }

    /// The command that was done may have kept others waiting.
    fn ready_again(&self) {
        if !self.machine.borrow().ready() {
            return;
        }
        match &self.wire {
            Wire::Pipe(pipe) => pipe.wake(),
            Wire::Socket { waiting, .. } => {
                while self.machine.borrow().ready() {
                    let next = waiting.borrow_mut().pop_front();
                    let Some(line) = next else { break };
                    self.line(line.as_deref().map_err(|error| *error));
                }
                self.flush();
            }
        }
    }

    /// A message of a websocket: one line, or several from a client that cares little.
    fn message(&self, bytes: &[u8]) {
        let Wire::Socket { waiting, .. } = &self.wire else { return };
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            if waiting.borrow().len() >= WAITING_LINES_MAX {
                return Face::cut(self, Cut::TooManyErrors);
            }
            let line = madang_wire::irc::line(line).map(str::to_owned);
            waiting.borrow_mut().push_back(line);
        }
        self.ready_again();
    }

    fn tick(&self, now_ms: u64) {
        if self.seat.is_held_no_more(now_ms) {
            self.machine.borrow_mut().go_on(wall_ms());
            self.run();
            self.flush();
        }
    }
}

/// PLAIN shows the password to whoever reads the wire: it is offered where nobody can.
fn offered(all: &'static [&'static str], connection: &Connection) -> &'static [&'static str] {
    if connection.secure || connection.peer().ip().is_loopback() {
        return all;
    }
    all.strip_suffix(&["PLAIN"]).unwrap_or(all)
}

fn wall_ms() -> u64 {
    clock::wall()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

impl Speaker for Irc {
    fn ready(&self) -> bool {
        self.machine.borrow().ready()
    }

    fn take(&self, input: &[u8]) -> usize {
        let mut at = 0;
        while self.machine.borrow().ready() {
            let taken = self.reader.borrow_mut().take(&input[at..]);
            at += taken.bytes;
            match taken.line {
                Some(line) => self.line(line),
                None if taken.bytes == 0 => break,
                None => {}
            }
        }
        self.flush();
        at
    }

    fn ask_for_life(&self) {
        self.machine.borrow_mut().ping();
        self.gather();
        self.flush();
    }

    fn sweep(&self, now_ms: u64) {
        self.tick(now_ms);
    }

    fn drained(&self) {
        self.seat.caught_up();
    }

    fn ending(&self) {
        Face::cut(self, Cut::ShuttingDown);
    }

    fn cut(&self, why: Cut) {
        Face::cut(self, why);
    }

    fn closed(&self, why: &'static str) {
        self.seat.leave(why);
    }
}

impl Handler for Irc {
    fn text(&self, text: &str) {
        self.message(text.as_bytes());
    }

    fn binary(&self, _: &Socket, bytes: &[u8]) {
        self.message(bytes);
    }

    fn drained(&self) {
        Speaker::drained(self);
    }

    fn closed(&self, why: Closed) {
        self.seat.leave(why.name());
    }
}

impl Face for Irc {
    fn takes(&self) -> bool {
        match &self.wire {
            Wire::Pipe(pipe) => pipe.takes(),
            Wire::Socket { socket, .. } => socket.takes(),
        }
    }

    fn wants_page(&self) -> bool {
        match &self.wire {
            Wire::Pipe(pipe) => pipe.is_low(),
            Wire::Socket { socket, .. } => socket.is_low(),
        }
    }

    fn published(&self, published: &Published) {
        let now_ms = wall_ms();
        let mut machine = self.machine.borrow_mut();
        published.events.iter().for_each(|event| machine.published(event, now_ms));
        drop(machine);
        self.gather();
    }

    fn answered(&self, tag: u64, outcome: &Result<Reply, Refusal>) {
        if let Ok(Reply::Welcome(welcome)) = outcome {
            self.connection.set_user(Some(welcome.you.name.as_ref().into()));
        }
        self.machine.borrow_mut().answered(tag, outcome, wall_ms());
        self.run();
        self.ready_again();
    }

    fn told(&self, notice: &Notice) {
        if let Notice::Renamed { by, name } = notice
            && self.machine.borrow().is(by)
        {
            self.connection.set_user(Some(name.as_ref().into()));
        }
        self.machine.borrow_mut().told(notice, wall_ms());
        // Who is brought into a room wants to know who is there.
        self.run();
    }

    fn flush(&self) {
        match &self.wire {
            Wire::Pipe(pipe) => pipe.flush(),
            Wire::Socket { socket, .. } => socket.flush(),
        }
    }

    fn cut(&self, why: Cut) {
        self.machine.borrow_mut().cut(why);
        self.gather();
        self.flush();
        match &self.wire {
            Wire::Pipe(pipe) => pipe.end(why.name()),
            Wire::Socket { socket, .. } => socket.close(why.close_code(), why.text()),
        }
    }
}

impl Silent for Irc {
    fn is_silent(&self) -> bool {
        !self.machine.borrow().registered()
    }
}
