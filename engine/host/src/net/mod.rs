//! Sockets: listening, accepted streams, sendfile.
//!
//! **Job.** The part of `host` that owns file descriptors of sockets.
//! Not here: who may come in (`gate`), what is spoken (`http`).

pub mod listen;
pub mod stream;
