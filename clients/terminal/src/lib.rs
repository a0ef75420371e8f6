//! Chat from the terminal: one to one without a server ([`talk`]).
//!
//! **Job.** What `madang chat` does. **Promises.** Nothing that somebody else wrote reaches the terminal as anything but
//! text; every queue between the two sides is bounded. **Called by** `madang` (its command line).
//!
//! Not here: the command line (`madang/src/cli/chat.rs`), the server's side of a chat (`roles/chat`).
#![forbid(unsafe_code)]

pub mod address;
mod connect;
mod console;
mod failure;
mod interrupt;
mod lines;
pub mod name;
pub mod talk;

pub use connect::Trust;
pub use failure::Failure;
