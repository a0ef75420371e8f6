//! From what lies in a folder to a draft of madang.toml.
//!
//! **Job.** Recognise a project or another server's settings, say what was found and why it was chosen, and turn it into a
//! [`Draft`] that [`render::toml`] writes. **Called by** `madang init`. **Calls** files through [`Folder`] only.
//!
//! Invariants
//! 1. Nothing is dropped in silence: what has no counterpart is a [`draft::Lost`] with its place and what to do instead.
//! 2. Whatever the bytes, reading ends: sizes, depths and counts are bounded, and a file that breaks off is told with its line.
//! 3. What was closed stays closed: a rule about who may come in that cannot be carried over closes its route.
//!
//! Not here: writing the file, checking it (`madang`), running other programs (the [`Folder`] of the caller).

mod caddy;
pub mod choose;
mod closed;
pub mod draft;
pub mod folder;
mod go;
mod listening;
mod nginx;
mod node;
mod procfile;
mod python;
mod regex;
pub mod render;
mod rust;
mod shell;
mod statics;
mod systemd;
mod target;

pub use choose::import;
pub use draft::Draft;
pub use folder::Folder;
