//! Threads with a name.
//!
//! **Job.** Start a thread that is no worker: one that may block. **Called by** engine parts with blocking work of their own.
//!
//! Not here: workers (`worker`), short blocking work of a request (the worker's own blocking threads).

use std::io;
use std::thread::JoinHandle;

/// Starts a thread. Linux shows the first 15 bytes of its name.
///
/// # Errors
/// The kernel's: no memory, or too many threads.
#[allow(clippy::disallowed_methods)] // this is the place the ban points to
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}
