//! What is known of one hook at work, and the bells that wake it.
//!
//! **Job.** Hold the numbers people see; carry "there is a letter" and "there is an order" between threads. **Written by** `drain`.
//! **Read by** `office`. **Rung by** `hub`, `office`.
//!
//! Not here: what is kept over restarts (the store).

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::hub::now_ms;

/// How far a queue is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Which life of the queue.
    pub(super) epoch: u64,
    /// The next offset to be sent.
    pub(super) next: u64,
}

/// The latest attempt.
#[derive(Debug, Clone, Serialize)]
pub struct Last {
    /// Whether it was taken.
    pub taken: bool,
    /// For people.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The numbers of one hook since the start.
#[derive(Debug, Clone, Default)]
pub(super) struct Sheet {
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) dead: u64,
    pub(super) last: Option<Last>,
    pub(super) off: Option<String>,
    /// Another machine sends.
    pub(super) elsewhere: bool,
    pub(super) place: Place,
}

impl Sheet {
    pub(super) fn tried(&mut self, taken: bool, text: &str) {
        if taken {
            self.delivered += 1;
        } else {
            self.failed += 1;
        }
        self.last = Some(Last { taken, text: text.to_owned(), at_ms: now_ms() });
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    sheet: Mutex<Sheet>,
    letters: Notify,
    orders: Notify,
}

impl Ledger {
    pub(super) fn write(&self, change: impl FnOnce(&mut Sheet)) {
        // A panic under this lock leaves the numbers whole.
        change(&mut self.sheet.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn look(&self) -> Sheet {
        self.sheet.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// There is a letter.
    pub(crate) fn ring(&self) {
        self.letters.notify_one();
    }

    /// There is an order.
    pub(super) fn order(&self) {
        self.orders.notify_one();
        self.letters.notify_one();
    }

    pub(super) async fn rung(&self) {
        self.letters.notified().await;
    }

    pub(super) async fn ordered(&self) {
        self.orders.notified().await;
    }
}
