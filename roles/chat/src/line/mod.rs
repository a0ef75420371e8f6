//! `line://`: the chat for whoever has nothing but `nc`.
//!
//! **Job.** Move lines between a connection and its [`Talk`], do what it wants done. **Made by** the listeners `line://` and
//! `lines://`. **Calls** [`crate::session::Session`], [`crate::pipe`].
//!
//! Invariants
//! 1. Somebody who takes another name is a new session of the same connection; the old one ends when the new one is granted.
//!
//! Not here: what lines mean (`talk`), what is a line (`bytes`).

mod bytes;
mod talk;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use madang_host::connection::Connection;
use madang_host::random;
use madang_http::body::{Duplex, LocalFuture};

use self::bytes::Lines;
use self::talk::{Talk, Todo};
use crate::floor::{Cut, Face};
use crate::here::{Here, Silent};
use crate::listen::Door;
use crate::notice::Notice;
use crate::pipe::{Pipe, PipeLimits, Speaker};
use crate::post::{Claim, Published};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::session::Session;

/// What a line has beside the text of its message, at most: a command and a name.
const BESIDE_BYTES: usize = 256;

/// The door of `line://` and `lines://`.
pub struct LineDoor {
    here: Rc<Here>,
}

impl LineDoor {
    /// Of this chat on this worker.
    pub fn new(here: &Rc<Here>) -> Rc<Self> {
        Rc::new(Self { here: Rc::clone(here) })
    }
}

impl Door for LineDoor {
    fn serve(&self, duplex: Box<dyn Duplex>, connection: Rc<Connection>) -> LocalFuture<()> {
        let settings = self.here.settings();
        let limits = PipeLimits {
            outbox_bytes_max: settings.outbox_bytes_max,
            // A person at a terminal answers no ping: the kernel's own keep-alive finds who has gone.
            ping: std::time::Duration::MAX,
            stalled: settings.stalled,
        };
        let (here, of_face) = (Rc::clone(&self.here), Rc::clone(&connection));
        self.here.pipes().serve(duplex, connection, limits, move |pipe| Terminal::open(&here, pipe, of_face))
    }
}

/// One connection of plain lines.
struct Terminal {
    here: Rc<Here>,
    pipe: Rc<Pipe>,
    talk: RefCell<Talk>,
    lines: RefCell<Lines>,
    session: RefCell<Option<Session>>,
    /// The session of a name that is asked for, and the number of its hello.
    coming: RefCell<Option<(u64, Session)>>,
    connection: Rc<Connection>,
    hold_ms: Cell<Option<u64>>,
    me: Weak<Terminal>,
}

impl Terminal {
    fn open(here: &Rc<Here>, pipe: &Rc<Pipe>, connection: Rc<Connection>) -> Rc<dyn Speaker> {
        let settings = here.settings();
        let this = Rc::new_cyclic(|me| Self {
            here: Rc::clone(here),
            pipe: Rc::clone(pipe),
            talk: RefCell::new(Talk::new(settings.name.clone(), settings.motd.clone(), random::seed())),
            lines: RefCell::new(Lines::new(settings.message_bytes_max + BESIDE_BYTES)),
            session: RefCell::default(),
            coming: RefCell::default(),
            connection,
            hold_ms: Cell::new(None),
            me: Weak::clone(me),
        });
        here.await_hello(Rc::downgrade(&this) as Weak<dyn Silent>);
        this.run();
        this
    }

    /// Does what the talk wants done, until it wants nothing.
    fn run(&self) {
        loop {
            let todo = self.talk.borrow_mut().todo();
            if todo.is_empty() {
                break;
            }
            todo.into_iter().for_each(|todo| self.one(todo));
        }
        self.pipe.push(self.talk.borrow_mut().out());
    }

    fn one(&self, todo: Todo) {
        let (tag, said) = match todo {
            Todo::Ask(tag, ask) => {
                let session = self.session.borrow();
                (tag, session.as_ref().map_or(Err(Refusal::ShuttingDown), |session| session.ask(tag, ask)))
            }
            Todo::Name(tag, name) => {
                let Some(me) = self.me.upgrade() else { return };
                let session = self.here.floor.enter(me as Rc<dyn Face>);
                let said = session.hello(tag, Claim::Guest { name, key: None, keeps: false });
                self.coming.replace(Some((tag, session)));
                (tag, said)
            }
            Todo::Hold(after_ms) => return self.hold_ms.set(Some(self.here.now_ms() + after_ms)),
            Todo::End => {
                self.pipe.push(self.talk.borrow_mut().out());
                return self.pipe.end("quit");
            }
        };
        if let Err(refusal) = said {
            self.talk.borrow_mut().answered(tag, &Err(refusal));
        }
    }

    /// Whether the answer is of a name that was asked for, and what becomes of the sessions then.
    fn settle(&self, tag: u64, outcome: &Result<Reply, Refusal>) {
        let Some((_, session)) = self.coming.borrow_mut().take_if(|(have, _)| *have == tag) else { return };
        let ends = match outcome {
            Ok(Reply::Welcome(welcome)) => {
                self.connection.set_user(Some(welcome.you.name.as_ref().into()));
                self.session.replace(Some(session))
            }
            _ => Some(session),
        };
        drop(ends);
    }
}

impl Speaker for Terminal {
    fn ready(&self) -> bool {
        self.talk.borrow().ready()
    }

    fn take(&self, input: &[u8]) -> usize {
        let mut at = 0;
        while self.ready() {
            let taken = self.lines.borrow_mut().take(&input[at..]);
            at += taken.bytes;
            match taken.line {
                Some(line) => {
                    self.talk.borrow_mut().line(line.as_deref().map_err(|error| *error));
                    self.run();
                }
                None if taken.bytes == 0 => break,
                None => {}
            }
        }
        self.pipe.flush();
        at
    }

    fn ask_for_life(&self) {}

    fn sweep(&self, now_ms: u64) {
        if self.hold_ms.get().is_some_and(|at_ms| at_ms <= now_ms) {
            self.hold_ms.set(None);
            self.talk.borrow_mut().go_on();
            self.run();
            self.pipe.flush();
        }
    }

    fn drained(&self) {
        if let Some(session) = &*self.session.borrow() {
            session.caught_up();
        }
    }

    fn ending(&self) {
        Face::cut(self, Cut::ShuttingDown);
    }

    fn cut(&self, why: Cut) {
        Face::cut(self, why);
    }

    fn closed(&self, why: &'static str) {
        self.here.floor.counts().ended(why);
        let sessions = (self.session.take(), self.coming.take());
        drop(sessions);
    }
}

impl Face for Terminal {
    fn takes(&self) -> bool {
        self.pipe.takes()
    }

    fn wants_page(&self) -> bool {
        self.pipe.is_low()
    }

    fn published(&self, published: &Published) {
        let mut talk = self.talk.borrow_mut();
        published.events.iter().for_each(|event| talk.published(event));
        self.pipe.push(talk.out());
    }

    fn answered(&self, tag: u64, outcome: &Result<Reply, Refusal>) {
        self.settle(tag, outcome);
        self.talk.borrow_mut().answered(tag, outcome);
        self.run();
        if self.ready() {
            self.pipe.wake();
        }
    }

    fn told(&self, notice: &Notice) {
        self.talk.borrow_mut().told(notice);
        self.pipe.push(self.talk.borrow_mut().out());
    }

    fn flush(&self) {
        self.pipe.flush();
    }

    fn cut(&self, why: Cut) {
        self.talk.borrow_mut().end(why.text());
        self.pipe.push(self.talk.borrow_mut().out());
        self.pipe.end(why.name());
    }
}

impl Silent for Terminal {
    fn is_silent(&self) -> bool {
        !self.talk.borrow().registered()
    }
}
