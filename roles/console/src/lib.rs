//! Role console: what people and their programs are told of the house. Its first part: alerts.
//!
//! **Job.** Judge facts by the operator's `[alert.NAME]`, tell each once where it is to be told, and tell when it is over.
//! **Promises.** Who is told what is decided without socket, clock or randomness; time and facts are handed in. Every list and
//! every queue is bounded, and what did not fit is counted.
//! **Called by** `madang`, which collects the facts of apps, pools, certificates and the machine. **Calls** `settings`, `host`,
//! `http`.
//!
//! Not here: collecting facts (`madang`), the other roles.
#![forbid(unsafe_code)]

pub mod alert;
pub mod config;
