//! Webhooks: other programs are told what happens in a chat.
//!
//! **Job.** Letters of events, queued on disk, sent in order until they are taken or given up. **Joined by** `madang`.
//!
//! - [`rule`]: which events go to which hook (pure).
//! - [`letter`]: what is sent; `hub` writes letters to a hook's queue as the events are told.
//! - [`delivery`]: when a letter is sent, tried again, given up (pure).
//! - [`office`]: the hooks at work, a thread for each chat; `drain` is one of them, `lease` chooses the machine.
//!
//! Invariants
//! 1. At least once: the queue and how far it is sent are in the store.
//!
//! Not here: posts that come in (`web`), how a message is signed and sent (`http::upstream::webhook`).

pub mod delivery;
mod drain;
mod lease;
pub mod ledger;
pub mod letter;
pub mod office;
pub mod rule;

pub use self::drain::Order;
