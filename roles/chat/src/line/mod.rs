//! `line://`: the chat for whoever has nothing but `nc`.
//!
//! **Job.** Move lines between a connection and its [`Talk`], do what it wants done. **Made by** the listeners `line://` and
//! `lines://`. **Calls** [`crate::seat`], [`crate::pipe`].
//!
//! Not here: what lines mean (`talk`), what is a line (`bytes`).

mod bytes;
mod talk;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

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
use crate::seat::Seat;

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
    seat: Seat,
    pipe: Rc<Pipe>,
    talk: RefCell<Talk>,
    lines: RefCell<Lines>,
    connection: Rc<Connection>,
}

impl Terminal {
    fn open(here: &Rc<Here>, pipe: &Rc<Pipe>, connection: Rc<Connection>) -> Rc<dyn Speaker> {
        let settings = here.settings();
        let this = Rc::new(Self {
            seat: Seat::new(here),
            pipe: Rc::clone(pipe),
            talk: RefCell::new(Talk::new(settings.name.clone(), settings.motd.clone(), random::seed())),
            lines: RefCell::new(Lines::new(settings.message_bytes_max + BESIDE_BYTES)),
            connection,
        });
        this.seat.take(&this);
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
            Todo::Ask(tag, ask) => (tag, self.seat.ask(tag, ask)),
            Todo::Hello(tag, name) => {
                (tag, self.seat.hello(tag, Claim::Guest { name, key: None, keeps: false }))
            }
            Todo::Hold(after_ms) => return self.seat.hold(after_ms),
            Todo::End => {
                self.pipe.push(self.talk.borrow_mut().out());
                return self.pipe.end("quit");
            }
        };
        if let Err(refusal) = said {
            self.talk.borrow_mut().answered(tag, &Err(refusal));
        }
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
        if self.seat.is_held_no_more(now_ms) {
            self.talk.borrow_mut().go_on();
            self.run();
            self.pipe.flush();
        }
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
        match outcome {
            Ok(Reply::Welcome(welcome)) => self.connection.set_user(Some(welcome.you.name.as_ref().into())),
            Ok(Reply::You(you)) => self.connection.set_user(Some(you.name.as_ref().into())),
            _ => {}
        }
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
