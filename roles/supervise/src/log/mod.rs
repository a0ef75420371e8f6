//! Lines that apps write: how loud each is, which belong together, how they are kept and shown.
//!
//! **Job.** Pure text work: [`level`] recognises levels, [`together`] knows lines that go on, [`line`] is the form on
//! disk. **Called by** `keeper` (writing), `madang logs` (reading).
//!
//! Not here: pipes (`host::process::output`), files (`keeper::journal`), making bytes harmless (`wire::clean`).

pub mod level;
pub mod line;
pub mod rate;
pub mod together;
