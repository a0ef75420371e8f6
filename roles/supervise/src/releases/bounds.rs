//! How much a new version may take, how far it is, and why it cannot be had.
//!
//! **Job.** Count bytes and files against what is allowed and against the room on the disk; hold what people are told.
//! **Called by** the rest of `releases`.
//!
//! Invariants
//! 1. What is written is counted as it is written, a piece at a time: nothing grows past its bound by more than a piece.
//!
//! Not here: where the bound comes from (`deploy.disk`, `keeper`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use madang_settings::unit::show_size;

/// Files, folders and links of one version.
pub(super) const FILES_MAX: u64 = 500_000;
/// Folders within folders.
pub(super) const DEPTH_MAX: usize = 128;
/// A path in it, in bytes (PATH_MAX of limits.h, less what leads there).
pub(super) const PATH_BYTES_MAX: usize = 3072;
/// What stays free on the disk whatever is deployed, in bytes.
const RESERVE: u64 = 64 << 20;
/// The disk is looked at after so many more bytes.
const LOOK_EVERY: u64 = 16 << 20;

/// Why a version cannot be made of what was named.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs)] // the sentences below say what each is
pub enum Unfit {
    Cancelled,
    Read {
        path: PathBuf,
        error: io::Error,
    },
    Write {
        path: PathBuf,
        error: io::Error,
    },
    TooLarge {
        allowed: u64,
        disk: u64,
        beside: u64,
    },
    TooMany {
        allowed: u64,
    },
    NoRoom {
        folder: PathBuf,
        free: u64,
        wanted: Option<u64>,
    },
    TooDeep {
        path: PathBuf,
    },
    LeadsOut {
        link: PathBuf,
        target: PathBuf,
    },
    LeadsBack {
        link: PathBuf,
        target: PathBuf,
    },
    Special {
        path: PathBuf,
        what: &'static str,
    },
    /// Something in an archive.
    Entry {
        name: String,
        fault: String,
    },
    /// The archive itself.
    Archive {
        path: PathBuf,
        fault: String,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("it was stopped"),
            Self::Read { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            Self::Write { path, error } => write!(f, "cannot write {}: {error}", path.display()),
            Self::TooLarge { allowed, disk, beside } => {
                write!(f, "it takes more than the {} there are for it: ", size(*allowed))?;
                write!(f, "deploy.disk is {}", size(*disk))?;
                if *beside > 0 {
                    write!(f, " and {} are taken by what runs", size(*beside))?;
                }
                f.write_str("; raise deploy.disk")
            }
            Self::TooMany { allowed } => write!(f, "it has more than {allowed} files and folders"),
            Self::NoRoom { folder, free, wanted } => {
                write!(f, "the disk of {} has {} free", folder.display(), size(*free))?;
                if let Some(wanted) = wanted {
                    write!(f, ", it needs {}", size(*wanted))?;
                }
                write!(f, " and {} have to stay free", size(RESERVE))
            }
            Self::TooDeep { path } => {
                write!(f, "{}: more than {DEPTH_MAX} folders within each other", path.display())
            }
            Self::LeadsOut { link, target } => write!(
                f,
                "the link {} leads out of the folder, to {}: from a copy it would lead elsewhere; make it an \
                 absolute link, or copy what it leads to",
                link.display(),
                target.display()
            ),
            Self::LeadsBack { link, target } => write!(
                f,
                "the link {} leads by an absolute path into the folder that is copied, to {}: the copy would \
                 run the original's files; make it a relative link",
                link.display(),
                target.display()
            ),
            Self::Special { path, what } => write!(f, "{} is {what}: it cannot be copied", path.display()),
            Self::Entry { name, fault } => write!(f, "{name:?} in the archive {fault}"),
            Self::Archive { path, fault } => write!(f, "{} {fault}", path.display()),
        }
    }
}
impl std::error::Error for Unfit {}

/// `12.3 MiB`: for people, not exact.
#[allow(clippy::cast_precision_loss)] // shown to one decimal
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ if bytes.is_multiple_of(1 << 30) => show_size(bytes),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Doing {
    Copying = 1,
    Unpacking,
    Layers,
    Flushing,
}

/// How far it is: written by the one who does it, read by whoever is asked.
#[derive(Debug, Default)]
pub struct Progress {
    doing: AtomicU8,
    bytes: AtomicU64,
    files: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// It is not wanted any more: the next look at the bounds ends it.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(super) fn doing(&self, doing: Doing) {
        self.doing.store(doing as u8, Ordering::Relaxed);
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let doing = self.doing.load(Ordering::Relaxed);
        let what = match doing {
            _ if doing == Doing::Copying as u8 => "copying",
            _ if doing == Doing::Unpacking as u8 => "unpacking",
            _ if doing == Doing::Layers as u8 => "applying layers",
            _ if doing == Doing::Flushing as u8 => "flushing to the disk",
            _ => return "waiting for its turn".to_owned(),
        };
        let (bytes, files) = (self.bytes.load(Ordering::Relaxed), self.files.load(Ordering::Relaxed));
        format!("{what}: {} in {files} file{}", size(bytes), if files == 1 { "" } else { "s" })
    }
}

/// Counts one version.
#[derive(Debug)]
pub(super) struct Meter<'a> {
    progress: &'a Progress,
    /// Where the disk is looked at.
    folder: &'a Path,
    allowed: u64,
    disk: u64,
    beside: u64,
    bytes: u64,
    files: u64,
    look_at: u64,
}

impl<'a> Meter<'a> {
    /// `disk`: what all versions may take; `beside`: what those take that cannot go.
    pub(super) const fn new(progress: &'a Progress, folder: &'a Path, disk: u64, beside: u64) -> Self {
        let allowed = disk.saturating_sub(beside);
        Self { progress, folder, allowed, disk, beside, bytes: 0, files: 0, look_at: 0 }
    }

    pub(super) const fn progress(&self) -> &'a Progress {
        self.progress
    }

    /// What may be written at most, in bytes.
    pub(super) const fn allowed(&self) -> u64 {
        self.allowed
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn files(&self) -> u64 {
        self.files
    }

    /// One more file, folder or link.
    pub(super) fn file(&mut self) -> Result<(), Unfit> {
        if self.files >= FILES_MAX {
            return Err(Unfit::TooMany { allowed: FILES_MAX });
        }
        self.files += 1;
        self.progress.files.store(self.files, Ordering::Relaxed);
        if self.progress.is_cancelled() { Err(Unfit::Cancelled) } else { Ok(()) }
    }

    /// So many bytes more are to be written.
    pub(super) fn take(&mut self, count: u64) -> Result<(), Unfit> {
        if self.progress.is_cancelled() {
            return Err(Unfit::Cancelled);
        }
        self.bytes = self.bytes.saturating_add(count);
        if self.bytes > self.allowed {
            return Err(Unfit::TooLarge { allowed: self.allowed, disk: self.disk, beside: self.beside });
        }
        if self.bytes >= self.look_at {
            self.room_for(count, None)?;
            self.look_at = self.bytes + LOOK_EVERY;
        }
        self.progress.bytes.store(self.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the disk has room for so much, and for what has to stay free.
    pub(super) fn room_for(&self, bytes: u64, wanted: Option<u64>) -> Result<(), Unfit> {
        let free = match rustix::fs::statvfs(self.folder) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            Err(error) => return Err(Unfit::Read { path: self.folder.to_owned(), error: error.into() }),
        };
        if free < bytes.saturating_add(RESERVE) {
            return Err(Unfit::NoRoom { folder: self.folder.to_owned(), free, wanted });
        }
        Ok(())
    }

    /// Begins anew: what was counted so far has been removed again.
    pub(super) fn reset(&mut self) {
        (self.bytes, self.files, self.look_at) = (0, 0, 0);
    }
}
