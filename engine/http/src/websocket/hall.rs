//! What the websockets of one worker share.
//!
//! **Job.** One buffer for reading, and the sweep: who is silent, who is stalled, who does not finish. **Made by** `madang`, one
//! per worker. **Called by** `serve`, `socket`, the worker's sweep. **Calls** `socket`.
//!
//! Invariants
//! 1. Times are the worker's coarse ones: a limit is exact to one sweep (250 ms).
//!
//! Not here: what a limit does to a connection (`socket`).

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use madang_host::worker::Worker;
use slab::Slab;

use super::socket::Socket;

/// Read by one call into the kernel at most.
const READ_BYTES: usize = 16 * 1024;

/// The websockets of one worker.
pub struct Hall {
    worker: Rc<Worker>,
    sockets: RefCell<Slab<Weak<Socket>>>,
    scratch: RefCell<Vec<u8>>,
}

impl Hall {
    /// One per worker.
    pub fn new(worker: &Rc<Worker>) -> Rc<Self> {
        let this = Rc::new(Self {
            worker: Rc::clone(worker),
            sockets: RefCell::default(),
            scratch: RefCell::default(),
        });
        let me = Rc::downgrade(&this);
        worker.at_sweep(Rc::new(move || {
            if let Some(hall) = me.upgrade() {
                hall.sweep();
            }
        }));
        this
    }

    /// How many websockets are open.
    pub fn count(&self) -> usize {
        self.sockets.borrow().len()
    }

    /// Milliseconds since the worker began.
    pub(super) fn now_ms(&self) -> u64 {
        self.worker.clock.ms()
    }

    pub(super) fn enter(&self, socket: &Weak<Socket>) -> usize {
        self.sockets.borrow_mut().insert(Weak::clone(socket))
    }

    pub(super) fn leave(&self, key: usize) {
        self.sockets.borrow_mut().try_remove(key);
    }

    /// The buffer to read into, initialised; to be given back.
    pub(super) fn take_scratch(&self) -> Vec<u8> {
        let mut scratch = std::mem::take(&mut *self.scratch.borrow_mut());
        if scratch.is_empty() {
            scratch.resize(READ_BYTES, 0);
        }
        scratch
    }

    pub(super) fn give_scratch(&self, scratch: Vec<u8>) {
        self.scratch.replace(scratch);
    }

    fn sweep(&self) {
        let now_ms = self.now_ms();
        // By place: ending one may have a role end others meanwhile.
        let places = self.sockets.borrow().capacity();
        for at in 0..places {
            let socket = self.sockets.borrow().get(at).and_then(Weak::upgrade);
            if let Some(socket) = socket {
                socket.judge(now_ms);
            }
        }
    }
}
