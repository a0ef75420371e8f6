//! Interim answers (RFC 9110 15.2) on their way from a role to the client.
//!
//! **Job.** A slot that belongs to an exchange: whoever answers puts `103 Early Hints` and its like in, the protocol takes
//! them out whenever it has asked the answer's future. **Written by** `upstream`. **Read by** `http1`, `http2`.
//!
//! Invariants
//! 1. A client that cannot take interim answers (HTTP/1.0) has a closed slot: what is put in is gone.
//! 2. At most [`INTERIM_MAX`] pass for one request, over all attempts.
//! 3. Nothing is allocated where there is none.
//!
//! Not here: `100 Continue`, which each protocol writes itself when the body is first asked for; `101`, which is no interim
//! answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use madang_wire::request::Version;

use crate::exchange::Exchange;

/// Interim answers that one request may bring.
pub const INTERIM_MAX: usize = 16;

/// One interim answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interim {
    /// 102 to 199, without 101.
    pub status: u16,
    /// Its end-to-end fields: lower-case names, values.
    pub fields: Vec<(Bytes, Bytes)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct InterimSlot {
    open: Cell<bool>,
    passed: Cell<usize>,
    waiting: RefCell<Vec<Interim>>,
}

impl InterimSlot {
    /// Protocol: the slot of a request whose client can take interim answers, opened; `None` for others.
    pub(crate) fn open(exchange: &Exchange) -> Option<Rc<Self>> {
        if exchange.head.version() == Version::Http10 {
            return None;
        }
        exchange.interim.open.set(true);
        Some(Rc::clone(&exchange.interim))
    }

    /// Whether anybody takes what is put in.
    pub fn is_open(&self) -> bool {
        self.open.get() && self.passed.get() < INTERIM_MAX
    }

    /// Role: one more. The protocol sees it when the future that put it in returns.
    pub fn put(&self, interim: Interim) {
        if self.is_open() {
            self.passed.set(self.passed.get() + 1);
            self.waiting.borrow_mut().push(interim);
        }
    }

    /// Protocol: the next in order.
    pub(crate) fn take(&self) -> Option<Interim> {
        // Nearly always there is none: one comparison.
        if self.passed.get() == 0 {
            return None;
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() { None } else { Some(waiting.remove(0)) }
    }

    /// Ready for another request.
    pub(crate) fn clear(&self) {
        if self.open.replace(false) && self.passed.replace(0) > 0 {
            self.waiting.borrow_mut().clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what nobody can take is gone, order is kept, the number is bounded, and the next request begins anew.
    #[test]
    fn interim_answers_pass_in_order_and_in_bounds() {
        let slot = InterimSlot::default();
        let put = |status| slot.put(Interim { status, fields: Vec::new() });
        put(103);
        assert_eq!(slot.take(), None, "nobody opened it");
        slot.open.set(true);
        (0..20).for_each(|index| put(102 + index));
        let taken: Vec<u16> = std::iter::from_fn(|| slot.take()).map(|interim| interim.status).collect();
        assert_eq!(taken, (102..118).collect::<Vec<_>>());
        slot.clear();
        assert!(!slot.is_open());
    }
}
