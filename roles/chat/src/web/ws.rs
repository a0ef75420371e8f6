//! The JSON protocol over one websocket.
//!
//! **Job.** Read requests, hand them to the session, write answers and what happens. **Made by** `super` for each upgrade.
//! **Calls** [`crate::session`], `http::websocket`.
//!
//! Invariants
//! 1. A request gets exactly one answer; what cannot be read gets one with the number 0.
//! 2. Before hello was granted nothing reaches the hub but hello.
//! 3. A client has a bounded number of requests under way, and a bounded number of faults.
//!
//! Not here: what requests mean (`hub`), frames (`http::websocket`).

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use madang_http::body::LocalFuture;
use madang_http::websocket::{Closed, Handler, Socket, code};
use madang_wire::websocket::write_text;
use schemars::JsonSchema;
use serde::Serialize;

use super::files::guests::Present;
use crate::ask::{Ask, Asked, Hello, Request};
use crate::floor::{Cut, Face};
use crate::here::{Here, Silent};
use crate::notice::Notice;
use crate::post::{Claim, Published};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::seat::Seat;

/// Requests of one client that wait for their answers.
const WAITING_MAX: u32 = 64;
/// Faults of one client before it is ended; one is forgotten every second.
const FAULTS_MAX: u64 = 100;

/// How far a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Silent,
    /// Hello was said with this number and is not answered yet.
    Asked(u64),
    In,
}

/// One websocket.
pub(super) struct Talk {
    me: Weak<Self>,
    seat: Seat,
    socket: Rc<Socket>,
    stage: Cell<Stage>,
    /// Who the cookie or the token of the upgrade says it is.
    signed_in: Option<Claim>,
    waiting: Cell<u32>,
    /// How many, and when the last one was.
    faults: Cell<(u64, u64)>,
    /// A guest that can come back, while it is here.
    present: RefCell<Option<Present>>,
    /// Why the chat ended it, if it did.
    cut: Cell<Option<Cut>>,
}

impl Talk {
    pub(super) fn open(here: &Rc<Here>, socket: &Rc<Socket>, signed_in: Option<Claim>) -> Rc<dyn Handler> {
        let this = Rc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            seat: Seat::new(here),
            socket: Rc::clone(socket),
            stage: Cell::new(Stage::Silent),
            signed_in,
            waiting: Cell::new(0),
            faults: Cell::default(),
            present: RefCell::default(),
            cut: Cell::default(),
        });
        this.seat.take(&this);
        this
    }

    fn answer(&self, id: u64, outcome: &Result<Reply, Refusal>) {
        match outcome {
            Ok(reply) => self.socket.queue(self.frame(&Ok1 { id, ok: reply })),
            Err(refusal) => {
                self.socket.queue(self.frame(&Err1 { id, error: Told::of(refusal) }));
                self.fault();
            }
        }
    }

    fn refuse(&self, id: u64, refusal: Refusal) {
        self.answer(id, &Err(refusal));
        self.socket.flush();
    }

    /// A frame of text with this in it.
    fn frame(&self, what: &impl Serialize) -> Bytes {
        let write = |out: &mut Vec<u8>| {
            // Maps have text for keys and numbers are numbers: nothing here can fail.
            let _ = serde_json::to_writer(out, what);
        };
        self.seat.here().with_json(write, |json| {
            let mut frame = Vec::new();
            write_text(&mut frame, json);
            frame.into()
        })
    }

    /// Somebody who does nothing but make mistakes is a program that has gone wild.
    fn fault(&self) {
        let (count, at_ms) = self.faults.get();
        let now_ms = self.seat.here().now_ms();
        let count = count.saturating_sub(now_ms.saturating_sub(at_ms) / 1000) + 1;
        self.faults.set((count, now_ms));
        if count > FAULTS_MAX {
            self.cut(Cut::TooManyErrors);
        }
    }

    fn hello(&self, id: u64, hello: Hello) {
        let refused = match self.stage.get() {
            Stage::Silent => match self.claim(hello) {
                Claimed::Now(Ok(claim)) => {
                    self.stage.set(Stage::Asked(id));
                    self.say_hello(id, claim)
                }
                Claimed::Now(Err(refusal)) => Some(refusal),
                Claimed::Later(asking) => {
                    self.stage.set(Stage::Asked(id));
                    let me = Weak::clone(&self.me);
                    tokio::task::spawn_local(async move {
                        let found = asking.await;
                        let Some(this) = me.upgrade() else { return };
                        let refused = match found {
                            Ok(claim) => this.say_hello(id, claim),
                            Err(refusal) => Some(refusal),
                        };
                        if let Some(refusal) = refused {
                            this.stage.set(Stage::Silent);
                            this.refuse(id, refusal);
                        }
                    });
                    None
                }
            },
            Stage::Asked(_) | Stage::In => Some(Refusal::HelloTwice),
        };
        if let Some(refusal) = refused {
            self.refuse(id, refusal);
        }
    }

    /// Why not, if it cannot be said now.
    fn say_hello(&self, id: u64, claim: Claim) -> Option<Refusal> {
        let said = self.seat.hello(id, claim);
        if said.is_err() {
            self.stage.set(Stage::Silent);
        }
        said.err()
    }

    /// A token says more than a cookie, and both more than a name.
    fn claim(&self, hello: Hello) -> Claimed {
        if let Some(token) = hello.token {
            let Some(logins) = self.seat.here().logins() else { return Claimed::Now(Err(Refusal::BadToken)) };
            return match logins.check(&token) {
                // Perhaps an API key that was not shown lately.
                Err(Refusal::BadToken) => Claimed::Later(logins.ask(&token)),
                checked => Claimed::Now(checked),
            };
        }
        if let Some(claim) = &self.signed_in {
            return Claimed::Now(Ok(claim.clone()));
        }
        Claimed::Now(match hello.name {
            Some(name) => Ok(Claim::Guest { name, key: hello.key, keeps: true }),
            None => Err(Refusal::UsersOnly),
        })
    }

    fn ask(&self, id: u64, ask: Ask) {
        if self.stage.get() != Stage::In {
            return self.refuse(id, Refusal::HelloFirst);
        }
        if let Ask::Ping(_) = ask {
            self.answer(id, &Ok(Reply::Done(crate::reply::Done {})));
            return self.socket.flush();
        }
        if self.waiting.get() >= WAITING_MAX {
            return self.refuse(id, Refusal::TooFast { again_ms: 200 });
        }
        match self.seat.ask(id, ask) {
            Ok(()) => self.waiting.set(self.waiting.get() + 1),
            Err(refusal) => self.refuse(id, refusal),
        }
    }
}

/// Who a hello shows.
enum Claimed {
    Now(Result<Claim, Refusal>),
    /// The store has to be asked.
    Later(LocalFuture<Result<Claim, Refusal>>),
}

/// `{"id":N,"ok":{…}}`.
#[derive(Serialize)]
struct Ok1<'r> {
    id: u64,
    ok: &'r Reply,
}

/// `{"id":N,"error":{…}}`.
#[derive(Serialize)]
struct Err1 {
    id: u64,
    error: Told,
}

/// A refusal as clients read it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Told {
    /// Which; programs decide by it.
    #[schemars(with = "crate::protocol::ErrorName")]
    name: &'static str,
    /// For people; it may change with every version.
    text: String,
    /// When the same may succeed, in milliseconds from now; left out: time alone does not help.
    #[serde(skip_serializing_if = "Option::is_none")]
    again_ms: Option<u64>,
}

impl Told {
    pub(super) fn of(refusal: &Refusal) -> Self {
        Self { name: refusal.name(), text: refusal.to_string(), again_ms: refusal.again_ms() }
    }
}

impl Handler for Talk {
    fn text(&self, text: &str) {
        match Request::read(text) {
            Ok(Request { id, ask: Asked::Hello(hello) }) => self.hello(id, hello),
            Ok(Request { id, ask: Asked::Ask(ask) }) => self.ask(id, ask),
            Err((id, refusal)) => self.refuse(id.unwrap_or(0), refusal),
        }
    }

    fn drained(&self) {
        self.seat.caught_up();
    }

    fn closed(&self, why: Closed) {
        self.present.take();
        self.seat.leave(self.cut.get().map_or_else(|| why.name(), Cut::name));
    }
}

impl Face for Talk {
    fn takes(&self) -> bool {
        self.socket.takes()
    }

    fn wants_page(&self) -> bool {
        self.socket.is_low()
    }

    fn published(&self, published: &Published) {
        self.socket.queue(published.frames.clone());
    }

    fn answered(&self, tag: u64, outcome: &Result<Reply, Refusal>) {
        if self.stage.get() == Stage::Asked(tag) {
            let mut stage = Stage::Silent;
            if let Ok(Reply::Welcome(welcome)) = outcome {
                stage = Stage::In;
                if let Some(key) = &welcome.key {
                    self.present.replace(Some(self.seat.here().guests().enter(key, &welcome.you.name)));
                }
                if let Some(connection) = self.socket.connection() {
                    connection.set_user(Some(welcome.you.name.as_ref().into()));
                }
            }
            self.stage.set(stage);
        } else {
            self.waiting.set(self.waiting.get().saturating_sub(1));
        }
        self.answer(tag, outcome);
    }

    fn told(&self, notice: &Notice) {
        self.socket.queue(self.frame(notice));
    }

    fn flush(&self) {
        self.socket.flush();
    }

    fn cut(&self, why: Cut) {
        self.cut.set(self.cut.get().or(Some(why)));
        match why {
            Cut::TooSlow | Cut::Idle => self.socket.cut(why.close_code(), why.text()),
            _ => self.socket.close(why.close_code(), why.text()),
        }
    }
}

impl Silent for Talk {
    fn is_silent(&self) -> bool {
        self.stage.get() != Stage::In
    }
}

const _: () = assert!(code::TOO_SLOW == 4000 && code::IDLE == 4004);
