//! Settings: TOML with positions, every error at once, one table for reading, schema and documentation.
//!
//! **Job.** Turn text into a tree that remembers where everything stood, and let each owner of a section read it by a
//! constant table of keys ([`schema::Section`]). The same table makes the unknown-key errors, `madang schema` and
//! docs/configuration.md.
//! **Promises.** Pure: files come through [`source::Source`], the environment through a map. Never panics, whatever the text.
//! **Called by** `host`, the roles and `madang`, each for its own sections.
//!
//! Not here: what any key means (the owners' `config.rs`).
#![forbid(unsafe_code)]

pub mod docs;
pub mod reader;
pub mod report;
pub mod schema;
pub mod source;
pub mod tree;
pub mod unit;

mod nearest;
