//! Chat from the terminal: one to one without a server ([`talk`]), and with the rooms of a chat server ([`online`]).
//!
//! **Job.** What `madang chat` does. **Promises.** Nothing that somebody else wrote reaches the terminal as anything but
//! text; every queue between the two sides is bounded. **Called by** `madang` (its command line).
//!
//! Not here: the command line (`madang/src/cli/chat.rs`), the server's side of a chat (`roles/chat`).
#![forbid(unsafe_code)]

pub mod address;
pub mod client;
mod command;
mod connect;
mod console;
mod failure;
mod interrupt;
mod keys;
mod lines;
mod link;
pub mod name;
pub mod online;
pub mod protocol;
pub mod screen;
pub mod talk;

pub use connect::Trust;
pub use failure::Failure;
