//! Alerts: what is watched, what was told, on which ways.
//!
//! **Job.** `condition` reads and judges, `rules` remembers and says what to tell, `delivery` tries again, `send` sends,
//! `store` survives a restart, `keeper` joins them. **Called by** `madang`.
//!
//! Not here: collecting facts (`madang`).

pub mod condition;
pub mod delivery;
pub mod fact;
pub mod keeper;
pub mod message;
pub mod rules;
mod send;
mod store;
