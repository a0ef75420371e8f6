//! Codings made while serving: once per state of a file, remembered, never twice at once.
//!
//! **Job.** Give the compressed form of a file: at once (remembered, or small), later (large, on a blocking thread), or not.
//! **Called by** `answer`. **Calls** `compress`, `bounded`.
//!
//! Invariants
//! 1. A file's state is compressed at most once at a time per worker and coding; whoever asks meanwhile waits for the same.
//! 2. At most [`JOBS_MAX`] large files are being compressed per worker; beyond that files go out as they are.
//! 3. A job belongs to nobody: when the client that caused it leaves, the others still get its result.
//!
//! Not here: whether a file may be compressed at all (`answer`).

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use madang_http::response::Text;
use tokio::sync::watch;

use super::bounded::Bounded;
use super::compress::compress;
use super::encoding::Coding;
use super::entry::{Content, FileEntry};

/// Large files being compressed at once on one worker.
const JOBS_MAX: usize = 4;
/// What remembering costs beside the bytes, roughly.
const ENTRY_BYTES: usize = 128;

/// What came of compressing a file.
#[derive(Debug, Clone)]
pub(super) enum Made {
    /// The compressed form and its (weak) tag.
    Coded {
        /// All of it.
        bytes: Bytes,
        /// With the coding's name.
        etag: Text,
    },
    /// The file goes out as it is: it gains too little, or does not fit what may be remembered.
    AsItIs,
}

/// When the coding is there.
pub(super) enum Ready {
    /// Now.
    Now(Made),
    /// When the job ends.
    Later(Job),
}

/// A running job, to be waited for by [`Job::wait`].
pub(super) struct Job(watch::Receiver<Option<Made>>);

impl Job {
    /// The result; a job that broke leaves the file as it is.
    pub(super) async fn wait(mut self) -> Made {
        match self.0.wait_for(Option::is_some).await {
            Ok(made) => made.clone().unwrap_or(Made::AsItIs),
            Err(_) => Made::AsItIs,
        }
    }
}

/// (The entry's id, the coding.)
type Key = (u64, Coding);

/// What one worker has compressed, and is compressing.
pub(super) struct Codings {
    known: Bounded<Key, Made>,
    jobs: Vec<(Key, watch::Receiver<Option<Made>>)>,
    bytes_max: usize,
}

impl Codings {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { known: Bounded::new(usize::MAX, bytes_max), jobs: Vec::new(), bytes_max }
    }

    /// The coding, where it was made before.
    pub(super) fn known(&mut self, entry: &FileEntry, coding: Coding) -> Option<Made> {
        self.known.get(&(entry.id, coding)).cloned()
    }

    /// Makes the coding, or says what to wait for.
    pub(super) fn make(&mut self, entry: &FileEntry, coding: Coding) -> Ready {
        let key = (entry.id, coding);
        self.adopt();
        if let Some(made) = self.known(entry, coding) {
            return Ready::Now(made);
        }
        let etag = entry.weak_etag(coding);
        let bytes_max = self.bytes_max;
        match &entry.content {
            Content::Memory(bytes) => {
                let made = result(compress(coding, &bytes[..], entry.length), etag, bytes_max);
                self.remember(key, made.clone());
                Ready::Now(made)
            }
            Content::Open(file) => {
                if let Some((_, job)) = self.jobs.iter().find(|(have, _)| *have == key) {
                    return Ready::Later(Job(job.clone()));
                }
                let (Ok(runtime), true) = (tokio::runtime::Handle::try_current(), self.jobs.len() < JOBS_MAX)
                else {
                    return Ready::Now(Made::AsItIs);
                };
                // The descriptor goes to another thread: it needs one of its own.
                let Ok(file) = file.try_clone() else { return Ready::Now(Made::AsItIs) };
                let length = entry.length;
                let (sender, receiver) = watch::channel(None);
                runtime.spawn_blocking(move || {
                    let made = result(compress(coding, At { file, offset: 0 }, length), etag, bytes_max);
                    sender.send_replace(Some(made));
                });
                self.jobs.push((key, receiver.clone()));
                Ready::Later(Job(receiver))
            }
        }
    }

    /// Bytes remembered.
    pub(super) fn bytes(&self) -> usize {
        self.known.bytes()
    }

    /// Takes over what ended, whether or not somebody still waits for it.
    pub(super) fn adopt(&mut self) {
        let mut ended = Vec::new();
        self.jobs.retain(|(key, job)| {
            // Asked before the result is looked at: a thread that ends in between has left one.
            let broke = job.has_changed().is_err();
            let made = job.borrow().clone();
            match made {
                Some(made) => ended.push((*key, made)),
                // The thread broke without a result.
                None if broke => ended.push((*key, Made::AsItIs)),
                None => return true,
            }
            false
        });
        for (key, made) in ended {
            self.remember(key, made);
        }
    }

    fn remember(&mut self, key: Key, made: Made) {
        let bytes = if let Made::Coded { bytes, .. } = &made { bytes.len() } else { 0 };
        self.known.put(key, made, ENTRY_BYTES + bytes);
    }
}

/// What cannot be remembered is not worth making again and again; a file that failed says so when it is sent itself.
fn result(compressed: io::Result<Option<Bytes>>, etag: Text, bytes_max: usize) -> Made {
    match compressed {
        Ok(Some(bytes)) if bytes.len() + ENTRY_BYTES <= bytes_max / 2 => Made::Coded { bytes, etag },
        _ => Made::AsItIs,
    }
}

/// Reads a shared file from its beginning without moving its position.
struct At {
    file: File,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(out, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
