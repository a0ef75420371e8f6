//! A folder that is being filled with what an archive says, and nothing outside it.
//!
//! **Job.** Make folders, files and links at paths that nobody vouches for. **Called by** `unpack`, `image`. **Calls** the
//! kernel: openat2(2) resolves every path with this folder as its root.
//!
//! Invariants
//! 1. Whatever links there are in it, nothing outside is made, changed, removed or read.
//! 2. What is there already gives way; only a folder stays a folder.
//!
//! Not here: which paths are refused (`unpack`).

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, chmodat, chownat, fchmod,
    linkat, mkdirat, openat, openat2, statat, symlinkat, unlinkat,
};

/// Who owns an entry, its mode and its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) mode: u32,
    /// Kept only where we may.
    pub(super) owner: Option<(u32, u32)>,
    /// Seconds since 1970.
    pub(super) changed: i64,
}

/// See the module.
pub(super) struct Tree {
    root: OwnedFd,
    /// Folders get their modes last: one that cannot be written would take no files.
    folders: Vec<(PathBuf, Facts)>,
}

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Tree {
    pub(super) const fn new(root: OwnedFd) -> Self {
        Self { root, folders: Vec::new() }
    }

    /// The folder that a path lies in, made where it is missing, and the path's last name. The path is plain names.
    fn place(&self, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let parent = path.parent().unwrap_or_else(|| Path::new(""));
        match self.open_folder(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return Ok((other?, name)),
        }
        let mut at = self.open_folder(Path::new(""))?;
        let mut so_far = PathBuf::new();
        for component in parent.components() {
            so_far.push(component);
            at = match self.open_folder(&so_far) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let mode = Mode::from_raw_mode(0o755);
                    mkdirat(&at, Path::new(component.as_os_str()), mode)?;
                    self.open_folder(&so_far)?
                }
                other => other?,
            };
        }
        Ok((at, name))
    }

    fn open_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(openat2(&self.root, path, FOLDER, Mode::empty(), IN_ROOT)?)
    }

    /// Opens a file to read it.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(openat2(&self.root, path, flags, Mode::empty(), IN_ROOT)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no plain file")) }
    }

    /// Whether a path, with every link on its way followed, stays inside.
    pub(super) fn stays_inside(&self, path: &Path) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::BENEATH);
        // What is not there leads nowhere.
        !matches!(found, Err(rustix::io::Errno::XDEV))
    }

    pub(super) fn folder(&mut self, path: &Path, facts: Facts) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        match kind(&parent, &name) {
            Some(FileType::Directory) => {}
            found => {
                if found.is_some() {
                    self.remove(path)?;
                }
                mkdirat(&parent, &name, Mode::RWXU)?;
            }
        }
        self.folders.push((path.to_owned(), facts));
        Ok(())
    }

    /// An empty file to write into.
    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        let (parent, name) = self.place(path)?;
        if kind(&parent, &name).is_some() {
            self.remove(path)?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(openat(&parent, &name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// What the file is to be, once it was written.
    pub(super) fn finish(file: &File, facts: Facts) -> io::Result<()> {
        if let Some((uid, gid)) = facts.owner {
            rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        fchmod(file, Mode::from_raw_mode(facts.mode & 0o1777))?;
        let at = Timespec { tv_sec: facts.changed, tv_nsec: 0 };
        Ok(rustix::fs::futimens(file, &Timestamps { last_access: at, last_modification: at })?)
    }

    pub(super) fn link(&self, path: &Path, target: &Path, facts: Facts) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        if kind(&parent, &name).is_some() {
            self.remove(path)?;
        }
        symlinkat(target, &parent, &name)?;
        if let Some((uid, gid)) = facts.owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            chownat(&parent, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// Another name of a file that is there.
    pub(super) fn second_name(&self, path: &Path, of: &Path) -> io::Result<()> {
        let (from, old) = self.place(of)?;
        if kind(&from, &old) != Some(FileType::RegularFile) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (parent, name) = self.place(path)?;
        if path == of {
            return Ok(());
        }
        if kind(&parent, &name).is_some() {
            self.remove(path)?;
        }
        Ok(linkat(&from, &old, &parent, &name, AtFlags::empty())?)
    }

    /// Removes what lies at a path, whatever it is; nothing is there: fine.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = match self.open_folder(path.parent().unwrap_or_else(|| Path::new(""))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        match kind(&parent, name) {
            None => Ok(()),
            Some(FileType::Directory) => std::fs::remove_dir_all(beneath(&parent).join(name)),
            Some(_) => Ok(unlinkat(&parent, name, AtFlags::empty())?),
        }
    }

    /// The names in a folder; none when it is not there.
    pub(super) fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let folder = match self.open_folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        std::fs::read_dir(beneath(&folder))?.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Gives every folder its mode.
    pub(super) fn close(&mut self) -> io::Result<()> {
        // The innermost first: one that closes itself to us is not needed any more.
        for (path, facts) in std::mem::take(&mut self.folders).into_iter().rev() {
            let (parent, name) = self.place(&path)?;
            if kind(&parent, &name) != Some(FileType::Directory) {
                continue; // it gave way to something else
            }
            if let Some((uid, gid)) = facts.owner {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                chownat(&parent, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            chmodat(&parent, &name, Mode::from_raw_mode(facts.mode & 0o1777), AtFlags::empty())?;
        }
        Ok(())
    }
}

fn kind(parent: &OwnedFd, name: impl AsRef<Path>) -> Option<FileType> {
    let stat = statat(parent, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// A folder that is held, as a path.
fn beneath(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}
