//! The folder: opened once, never left.
//!
//! **Job.** Open a path below the root under its symbolic-link policy, and nothing else.
//! **Called by** `files` for what the cache does not hold. **Calls** the kernel.
//!
//! Invariants
//! 1. The kernel resolves the path with `RESOLVE_BENEATH` from one directory descriptor: no spelling and no race with a
//!    link that is swapped leads out. Without openat2 (before Linux 5.6, or filtered away) each part is opened by itself
//!    and no link is followed.
//! 2. Only regular files are opened for reading; what a path is, is known before it is opened, so that a FIFO or a
//!    device never feels it.
//! 3. A root that is replaced (a link flipped by a deploy) is noticed and opened anew.
//!
//! Not here: which names are hidden (`path`), what is kept open (`cache`).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::config::Symlinks;

/// How often a lookup is repeated when the tree changes under it.
const TRIES: usize = 4;

/// What tells one state of a file from another, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    /// Nanoseconds since 1970; negative before.
    pub(super) modified_ns: i128,
    changed_ns: i128,
    directory: bool,
}

impl Identity {
    /// Of an open file.
    pub(super) fn of_file(file: &File) -> Result<Self, Errno> {
        fs::fstat(file).map(|stat| Self::of(&stat))
    }

    /// Of what has this name in a folder; a link is itself, not what it leads to.
    pub(super) fn at(directory: &OwnedFd, name: &str) -> Result<Self, Errno> {
        fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| Self::of(&stat))
    }

    fn of(stat: &Stat) -> Self {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let nanoseconds = |seconds: i128, rest: i128| seconds * 1_000_000_000 + rest;
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            // A folder stays itself while names come and go in it.
            size: if directory { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) },
            modified_ns: if directory {
                0
            } else {
                nanoseconds(stat.st_mtime.into(), stat.st_mtime_nsec.into())
            },
            changed_ns: if directory {
                0
            } else {
                nanoseconds(stat.st_ctime.into(), stat.st_ctime_nsec.into())
            },
            directory,
        }
    }
}

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Opened {
    /// A regular file, open for reading.
    File(File, Identity),
    /// A folder, as a descriptor that only names it (`O_PATH`).
    Directory(OwnedFd, Identity),
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing there that may be served.
    Absent,
    /// It is there but leaves the folder, passes a link that may not be followed, or is no regular file.
    Refused,
    /// The process may not read it.
    Denied,
    /// No descriptors or memory left: may pass.
    Exhausted,
    /// The disk or the kernel failed.
    Failed(Errno),
}

impl From<Errno> for Missing {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL => Self::Absent,
            Errno::LOOP | Errno::XDEV | Errno::NXIO | Errno::NODEV | Errno::AGAIN => Self::Refused,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Self::Exhausted,
            other => Self::Failed(other),
        }
    }
}

/// A root that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootError {
    /// The folder as written.
    pub root: PathBuf,
    /// The kernel's reason.
    pub errno: Errno,
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot open the folder {}: {}", self.root.display(), self.errno)
    }
}
impl std::error::Error for RootError {}

/// An open root that may be replaced.
pub(super) struct Root {
    path: PathBuf,
    beneath: RefCell<Beneath>,
    identity: Cell<Identity>,
    checked_ms: Cell<u64>,
}

/// The way into an open root; a copy can go to another thread.
#[derive(Debug, Clone)]
pub(super) struct Beneath {
    directory: Arc<OwnedFd>,
    symlinks: Symlinks,
    openat2: bool,
}

impl Root {
    /// Opens the folder; links on the way to it are the operator's and are followed.
    pub(super) fn open(path: &Path, symlinks: Symlinks) -> Result<Self, RootError> {
        let (directory, identity) =
            open_root(path).map_err(|errno| RootError { root: path.to_owned(), errno })?;
        // A kernel or a filter without openat2 says so on the harmless case already.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let probe = fs::openat2(&directory, ".", flags, Mode::empty(), ResolveFlags::BENEATH);
        let openat2 = !matches!(probe, Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::TOOBIG));
        Ok(Self {
            path: path.to_owned(),
            beneath: RefCell::new(Beneath { directory: Arc::new(directory), symlinks, openat2 }),
            identity: Cell::new(identity),
            checked_ms: Cell::new(0),
        })
    }

    /// Which folder it is, as of now.
    pub(super) fn identity(&self) -> Identity {
        self.identity.get()
    }

    /// The way in, as of now.
    pub(super) fn beneath(&self) -> Beneath {
        self.beneath.borrow().clone()
    }

    /// Looks whether the root is still the folder at its path, at most once per `valid_ms` and second. True: it was
    /// opened anew, and what was found in the old one counts no more.
    pub(super) fn refresh(&self, now_ms: u64, valid_ms: u64) -> bool {
        if now_ms.saturating_sub(self.checked_ms.get()) < valid_ms.max(1000) {
            return false;
        }
        self.checked_ms.set(now_ms);
        let same = fs::stat(&self.path).is_ok_and(|stat| Identity::of(&stat) == self.identity.get());
        if same {
            return false;
        }
        // A root that is gone for a moment (between two steps of a deploy) stays the old one.
        let Ok((directory, identity)) = open_root(&self.path) else { return false };
        self.beneath.borrow_mut().directory = Arc::new(directory);
        self.identity.set(identity);
        true
    }

    /// The identity of what is at `path` now. Only good for comparing: it follows links anywhere.
    pub(super) fn identity_at(&self, path: &str) -> Result<Identity, Errno> {
        let path = if path.is_empty() { "." } else { path };
        fs::statat(&self.beneath.borrow().directory, path, AtFlags::empty()).map(|stat| Identity::of(&stat))
    }

    /// [`Beneath::open_at`].
    pub(super) fn open_at(&self, path: &str) -> Result<Opened, Missing> {
        self.beneath().open_at(path)
    }
}

impl Beneath {
    /// As if the kernel had no openat2.
    #[cfg(test)]
    pub(super) fn without_openat2(self) -> Self {
        Self { openat2: false, ..self }
    }

    /// Opens what is at `path`: relative, `""` for the root itself, of parts already found clean by `path`.
    pub(super) fn open_at(&self, path: &str) -> Result<Opened, Missing> {
        let path = if path.is_empty() { "." } else { path };
        for _ in 0..TRIES {
            // First only named, so that nothing but a regular file is ever really opened.
            let (named, stat) = self.name(path)?;
            let identity = Identity::of(&stat);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => return Ok(Opened::Directory(named, identity)),
                FileType::RegularFile => {}
                _ => return Err(Missing::Refused),
            }
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = self.resolve(path, flags)?;
            let stat = fs::fstat(&file)?;
            let now = Identity::of(&stat);
            let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if regular && (now.device, now.inode) == (identity.device, identity.inode) {
                return Ok(Opened::File(File::from(file), now));
            }
        }
        Err(Missing::Refused)
    }

    /// What is at `path`, without opening it.
    pub(super) fn name(&self, path: &str) -> Result<(OwnedFd, Stat), Errno> {
        let named = self.resolve(path, OFlags::PATH | OFlags::CLOEXEC)?;
        let stat = fs::fstat(&named)?;
        Ok((named, stat))
    }

    fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        if !self.openat2 {
            return if self.symlinks == Symlinks::Anywhere {
                fs::openat(&self.directory, path, flags, Mode::empty())
            } else {
                by_parts(&self.directory, path, flags)
            };
        }
        let policy = match self.symlinks {
            Symlinks::Inside => ResolveFlags::BENEATH,
            Symlinks::Off => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            Symlinks::Anywhere => ResolveFlags::empty(),
        };
        let mut outcome = Err(Errno::AGAIN);
        for _ in 0..TRIES {
            // AGAIN: something was renamed during the walk and the kernel could not vouch for it.
            let policy = policy | ResolveFlags::NO_MAGICLINKS;
            outcome = fs::openat2(&self.directory, path, flags, Mode::empty(), policy);
            if !matches!(outcome, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        outcome
    }
}

fn open_root(path: &Path) -> Result<(OwnedFd, Identity), Errno> {
    let directory = fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let identity = Identity::of(&fs::fstat(&directory)?);
    Ok((directory, identity))
}

/// One part after the other, following no link. A path that climbs is refused here too.
fn by_parts(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
    let inner = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        if part == ".." {
            return Err(Errno::XDEV);
        }
        let last = parts.peek().is_none();
        let flags = if last { flags | OFlags::NOFOLLOW } else { inner };
        let next = match &directory {
            Some(at) => fs::openat(at, part, flags, Mode::empty()),
            None => fs::openat(root, part, flags, Mode::empty()),
        }?;
        // Naming a link without following it succeeds; the caller sees that it is no regular file.
        if last {
            return Ok(next);
        }
        directory = Some(next);
    }
    fs::openat(root, ".", flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        std::fs::create_dir_all(at("root/a/b")).unwrap();
        std::fs::write(at("secret"), "secret").unwrap();
        std::fs::write(at("root/a/b/file"), "file").unwrap();
        symlink("a/b/file", at("root/inside")).unwrap();
        symlink("b", at("root/a/folder")).unwrap();
        symlink("../secret", at("root/outside")).unwrap();
        symlink(at("secret"), at("root/absolute")).unwrap();
        symlink("..", at("root/a/up")).unwrap();
        symlink("../..", at("root/a/upup")).unwrap();
        symlink("loop", at("root/loop")).unwrap();
        directory
    }

    // Goal: each policy follows exactly the links it says, with and without openat2.
    // Method: one tree; a table of paths; what is opened under (inside, off, anywhere), then without openat2.
    #[test]
    fn links_are_followed_as_the_policy_says() {
        let directory = tree();
        let root = directory.path().join("root");
        let of = |symlinks| Root::open(&root, symlinks).unwrap().beneath();
        let policies = [Symlinks::Inside, Symlinks::Off, Symlinks::Anywhere].map(of);
        assert!(policies[0].openat2, "this machine's kernel is too old to test what matters");
        let bare = policies.clone().map(Beneath::without_openat2);
        let check = |path: &str, with: [bool; 3], without: [bool; 3]| {
            let opened = |beneath: &Beneath| matches!(beneath.open_at(path), Ok(Opened::File(..)));
            assert_eq!(policies.each_ref().map(opened), with, "{path} with openat2");
            assert_eq!(bare.each_ref().map(opened), without, "{path} without openat2");
        };
        check("a/b/file", [true; 3], [true; 3]);
        check("inside", [true, false, true], [false, false, true]);
        check("a/folder/file", [true, false, true], [false, false, true]);
        check("a/up/a/b/file", [true, false, true], [false, false, true]);
        check("outside", [false, false, true], [false, false, true]);
        check("absolute", [false, false, true], [false, false, true]);
        check("a/upup/secret", [false, false, true], [false, false, true]);
        check("loop", [false; 3], [false; 3]);
        check("none", [false; 3], [false; 3]);
        check("a/b/file/x", [false; 3], [false; 3]);
        check("a", [false; 3], [false; 3]);
    }

    // Goal: what climbs is refused here too, even if a caller let it through.
    #[test]
    fn climbing_is_refused_below_all_callers() {
        let directory = tree();
        for symlinks in [Symlinks::Inside, Symlinks::Off] {
            let with = Root::open(&directory.path().join("root"), symlinks).unwrap().beneath();
            for beneath in [with.clone().without_openat2(), with] {
                for path in ["../secret", "a/../../secret", "..", "/etc/passwd", "a/b/../../../secret"] {
                    assert!(matches!(beneath.open_at(path), Err(_) | Ok(Opened::Directory(..))), "{path}");
                    assert!(!matches!(beneath.open_at(path), Ok(Opened::File(..))), "{path}");
                }
            }
        }
    }

    // Goal: a root that is no folder is one clear sentence.
    #[test]
    fn a_bad_root_is_named() {
        let directory = tree();
        let check = |path: &str, why: &str| {
            let root = directory.path().join(path);
            let error = Root::open(&root, Symlinks::Inside).err().map(|error| error.to_string());
            let want = format!("cannot open the folder {}: {why}", root.display());
            assert_eq!(error.as_deref().map(|text| &text[..want.len().min(text.len())]), Some(&*want));
        };
        check("none", "No such file or directory");
        check("secret", "Not a directory");
    }
}
