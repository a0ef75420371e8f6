//! A chat on one worker: what all its faces there share.
//!
//! **Job.** Hold the settings in force, the floor, the worker's clock and websockets; end those who never say who they are.
//! **Made by** `madang` (room), one per chat and worker. **Called by** `web`, `listen` and the faces.
//!
//! Invariants
//! 1. A reload swaps the settings; connections that are open keep their limits and see everything else at once.
//! 2. No timer per connection: who has not said hello in time is found by the worker's sweep.
//!
//! Not here: rooms and people (`hub`), delivery ([`crate::floor`]).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use madang_host::worker::Worker;
use madang_http::body::LocalFuture;
use madang_http::websocket::Hall;

use crate::config::ChatSettings;
use crate::floor::{Cut, Face, Floor};
use crate::irc::sasl::Accounts;
use crate::pipe::Pipes;
use crate::post::Claim;
use crate::refusal::Refusal;
use crate::web::files::Shared;
use crate::web::files::guests::Guests;
use crate::web::files::shelf::Shelf;

/// How long a connection may take to say who it is.
const HELLO_MS: u64 = 10_000;

/// Who can tell who somebody is by what they show.
pub trait Logins {
    /// Of a token, as it came in `Authorization: Bearer`, in hello or in a cookie.
    ///
    /// # Errors
    /// [`Refusal::BadToken`], [`Refusal::TokenExpired`].
    fn check(&self, token: &str) -> Result<Claim, Refusal>;
    /// The same, asked of the store where it has to be: API keys that were not shown lately are bad tokens to [`Logins::check`].
    fn ask(&self, token: &str) -> LocalFuture<Result<Claim, Refusal>>;
    /// The name of the cookie that holds a token; under https another one than without TLS.
    fn cookie(&self, secure: bool) -> &'static str;
}

/// See the module.
pub struct Here {
    /// The connections of this worker.
    pub floor: Rc<Floor>,
    /// The websockets of this worker.
    pub hall: Rc<Hall>,
    worker: Rc<Worker>,
    settings: RefCell<Arc<ChatSettings>>,
    logins: RefCell<Option<Rc<dyn Logins>>>,
    accounts: RefCell<Option<Rc<dyn Accounts>>>,
    pipes: Rc<Pipes>,
    /// By when each has to have said who it is, the oldest first.
    silent: RefCell<VecDeque<(u64, Weak<dyn Silent>)>>,
    json: RefCell<Vec<u8>>,
    shared: Shared,
}

/// A connection that has not said who it is yet.
pub trait Silent: Face {
    /// Whether that is still so.
    fn is_silent(&self) -> bool;
}

impl Here {
    /// A chat on this worker.
    pub fn new(
        worker: &Rc<Worker>,
        hall: &Rc<Hall>,
        floor: &Rc<Floor>,
        settings: Arc<ChatSettings>,
        shared: Shared,
    ) -> Rc<Self> {
        let this = Rc::new(Self {
            floor: Rc::clone(floor),
            hall: Rc::clone(hall),
            worker: Rc::clone(worker),
            settings: RefCell::new(settings),
            logins: RefCell::default(),
            accounts: RefCell::default(),
            pipes: Rc::default(),
            silent: RefCell::default(),
            json: RefCell::default(),
            shared,
        });
        let me = Rc::downgrade(&this);
        worker.at_sweep(Rc::new(move || {
            if let Some(here) = me.upgrade() {
                here.sweep();
            }
        }));
        this
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<ChatSettings> {
        Arc::clone(&self.settings.borrow())
    }

    /// New settings.
    pub fn renew(&self, settings: Arc<ChatSettings>) {
        self.settings.replace(settings);
    }

    /// Who knows users, from now on.
    pub fn set_logins(&self, logins: Option<Rc<dyn Logins>>) {
        self.logins.replace(logins);
    }

    /// Who knows users; `None`: nobody logs in here.
    pub fn logins(&self) -> Option<Rc<dyn Logins>> {
        self.logins.borrow().clone()
    }

    /// Who takes passwords, from now on.
    pub fn set_accounts(&self, accounts: Option<Rc<dyn Accounts>>) {
        self.accounts.replace(accounts);
    }

    /// Who takes passwords; `None`: nobody logs in by one here.
    pub fn accounts(&self) -> Option<Rc<dyn Accounts>> {
        self.accounts.borrow().clone()
    }

    /// The connections of plain bytes of this chat here.
    pub fn pipes(&self) -> &Rc<Pipes> {
        &self.pipes
    }

    /// The uploaded files, where there are any.
    pub fn shelf(&self) -> Option<Arc<Shelf>> {
        self.shared.shelf.clone()
    }

    /// The guests that are here, on any worker.
    pub fn guests(&self) -> &Arc<Guests> {
        &self.shared.guests
    }

    /// The worker.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Milliseconds since the worker began, to a quarter of a second.
    pub fn now_ms(&self) -> u64 {
        self.worker.clock.ms()
    }

    /// Ends this one in ten seconds if it is still silent then.
    pub fn await_hello(&self, face: Weak<dyn Silent>) {
        self.silent.borrow_mut().push_back((self.now_ms() + HELLO_MS, face));
    }

    /// Writes JSON into the worker's buffer and gives what `then` makes of it.
    pub(crate) fn with_json<T>(&self, write: impl FnOnce(&mut Vec<u8>), then: impl FnOnce(&[u8]) -> T) -> T {
        let mut buffer = std::mem::take(&mut *self.json.borrow_mut());
        buffer.clear();
        write(&mut buffer);
        let made = then(&buffer);
        self.json.replace(buffer);
        made
    }

    fn sweep(&self) {
        let now_ms = self.now_ms();
        self.pipes.sweep(now_ms);
        loop {
            let due = {
                let mut silent = self.silent.borrow_mut();
                match silent.front() {
                    Some((by_ms, _)) if *by_ms <= now_ms => silent.pop_front(),
                    _ => return,
                }
            };
            let face = due.and_then(|(_, face)| face.upgrade());
            if let Some(face) = face.filter(|face| face.is_silent()) {
                face.cut(Cut::HelloLate);
            }
        }
    }
}
