//! Whether a file changed since it was read.
//!
//! **Job.** A stamp of a file that differs whenever its content may differ.
//! **Called by** `store`, `policy`. **Calls** the kernel.
//!
//! Invariants
//! 1. Replacing a file by rename, writing into it, or pointing a link elsewhere changes the stamp, even within one
//!    second and with the same length (inode and change time are part of it; nobody can set the latter back).
//!
//! Not here: reading the file.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a file was like; `None` when it could not be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(Option<(u64, u64, u64, i64, i64)>);

impl Stamp {
    /// A file as it is now, links followed.
    pub(super) fn of(path: &Path) -> Self {
        let facts =
            |meta: std::fs::Metadata| (meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec());
        Self(std::fs::metadata(path).ok().map(facts))
    }
}
