//! Rehearsals of a chat: load that is counted delivery by delivery, and crashes that must lose nothing.
//!
//! **Job.** What the program `madang-chat-drill` does, one module for each of its commands. **Called by** `main`.
//! **Calls** no role: a drill knows a server from outside only, as its clients do.
//!
//! Not here: starting and measuring the servers of a comparison (`benches/chat/bench.py`).

pub mod crash;
pub mod load;
pub mod speak;
