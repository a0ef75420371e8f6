//! A copy of a folder, to run from.
//!
//! **Job.** Copy files, folders and links as they are, sharing blocks where the file system can. **Called by** `prepare`.
//! **Calls** the kernel: reflinks, then copy_file_range(2), then reading and writing.
//!
//! Invariants
//! 1. No link is followed, on either side; a relative one that leads out is refused, an absolute one is kept.
//! 2. Modes, times and - where we may - owners are kept; setuid and setgid are not.
//!
//! Not here: archives (`unpack`).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    fstat, futimens, ioctl_ficlone, mkdirat, openat, readlinkat, statat, symlinkat,
};

use super::bounds::{DEPTH_MAX, Meter, PATH_BYTES_MAX, Unfit};

/// Copied at once: so often the bounds are looked at.
const PIECE: u64 = 16 << 20;

/// What is copied.
pub(super) struct Copy<'a> {
    /// The folder.
    pub(super) from: &'a Path,
    /// Device and inode of a folder in it that is left out: our own data folder.
    pub(super) without: Option<(u64, u64)>,
    /// Whether owners are kept.
    pub(super) owners: bool,
}

/// What was not copied.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Sockets and pipes.
    pub(super) ends: u64,
    /// The data folder.
    pub(super) data: bool,
}

impl Copy<'_> {
    /// What it takes, without copying.
    pub(super) fn measure(&self, meter: &mut Meter<'_>) -> Result<u64, Unfit> {
        let from = open_folder(self.from)?;
        let mut bytes = 0;
        self.measure_folder(&from, Path::new(""), meter, &mut bytes)?;
        Ok(bytes)
    }

    fn measure_folder(
        &self,
        from: &OwnedFd,
        at: &Path,
        meter: &mut Meter<'_>,
        bytes: &mut u64,
    ) -> Result<(), Unfit> {
        for name in names(from, &self.from.join(at))? {
            let path = at.join(&name);
            let stat = self.stat(from, &name, &path)?;
            meter.file()?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if !self.is_left_out(&stat) => {
                    self.check_depth(&path)?;
                    let inside = self.open(from, &name, &path, OFlags::DIRECTORY)?;
                    self.measure_folder(&inside, &path, meter, bytes)?;
                }
                FileType::RegularFile => {
                    *bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or_default());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Copies it into an empty folder.
    pub(super) fn run(&self, to: &OwnedFd, meter: &mut Meter<'_>) -> Result<LeftOut, Unfit> {
        let from = open_folder(self.from)?;
        let mut left_out = LeftOut::default();
        self.folder(&from, to, Path::new(""), meter, &mut left_out)?;
        Ok(left_out)
    }

    fn folder(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        at: &Path,
        meter: &mut Meter<'_>,
        left_out: &mut LeftOut,
    ) -> Result<(), Unfit> {
        for name in names(from, &self.from.join(at))? {
            let path = at.join(&name);
            let stat = self.stat(from, &name, &path)?;
            meter.file()?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if self.is_left_out(&stat) => left_out.data = true,
                FileType::Directory => {
                    self.check_depth(&path)?;
                    let inside = self.open(from, &name, &path, OFlags::DIRECTORY)?;
                    let made = self
                        .written(&path, mkdirat(to, &name, Mode::RWXU))
                        .and_then(|()| self.written(&path, openat(to, &name, FOLDER, Mode::empty())))?;
                    self.folder(&inside, &made, &path, meter, left_out)?;
                    self.finish(&made, &stat, &path)?;
                }
                FileType::RegularFile => {
                    let file = self.open(from, &name, &path, OFlags::NONBLOCK)?;
                    self.file(file, to, &name, &path, meter)?;
                }
                FileType::Symlink => {
                    let target = readlinkat(from, &name, Vec::new());
                    let target = target.map_err(|error| self.unread(&path, error.into()))?;
                    let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                    self.check_link(&path, target)?;
                    self.written(&path, symlinkat(target, to, &name))?;
                    if self.owners {
                        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                        let owned = chownat(to, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
                        self.written(&path, owned)?;
                    }
                }
                FileType::Socket | FileType::Fifo => left_out.ends += 1,
                _ => return Err(Unfit::Special { path: self.from.join(&path), what: "a device" }),
            }
        }
        Ok(())
    }

    fn file(
        &self,
        from: OwnedFd,
        to: &OwnedFd,
        name: &OsStr,
        path: &Path,
        meter: &mut Meter<'_>,
    ) -> Result<(), Unfit> {
        // Looked at again: it is this file now, whatever the name led to before.
        let stat = self.read_stat(path, fstat(&from))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Unfit::Special { path: self.from.join(path), what: "no plain file any more" });
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = self.written(path, openat(to, name, flags, Mode::RUSR | Mode::WUSR))?;
        if ioctl_ficlone(&made, &from).is_ok() {
            meter.take(u64::try_from(stat.st_size).unwrap_or_default())?;
        } else {
            let (mut from, mut made) = (File::from(from), made.as_fd().try_clone_to_owned().map(File::from));
            let made = made.as_mut().map_err(|error| io::Error::from(error.kind()));
            let made = made.map_err(|error| self.unwritten(path, error))?;
            loop {
                // Counted after each piece, so that a file that grows while it is read has a bound too.
                let count = io::copy(&mut Read::by_ref(&mut from).take(PIECE), made)
                    .map_err(|error| self.unwritten(path, error))?;
                meter.take(count)?;
                if count == 0 {
                    break;
                }
            }
        }
        self.finish(&made, &stat, path)
    }

    fn finish(&self, made: &OwnedFd, stat: &Stat, path: &Path) -> Result<(), Unfit> {
        if self.owners {
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            self.written(path, fchown(made, Some(uid), Some(gid)))?;
        }
        // Behind fchown, which takes bits away. Invariant 2.
        self.written(path, fchmod(made, Mode::from_raw_mode(stat.st_mode & 0o1777)))?;
        let at =
            |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos).unwrap_or(0) };
        let times = Timestamps {
            last_access: at(stat.st_atime, stat.st_atime_nsec),
            last_modification: at(stat.st_mtime, stat.st_mtime_nsec),
        };
        self.written(path, futimens(made, &times))
    }

    fn check_depth(&self, path: &Path) -> Result<(), Unfit> {
        if path.components().count() > DEPTH_MAX || path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(Unfit::TooDeep { path: self.from.join(path) });
        }
        Ok(())
    }

    fn check_link(&self, link: &Path, target: &Path) -> Result<(), Unfit> {
        let told = || (self.from.join(link), target.to_owned());
        if target.is_absolute() {
            let from = self.from.canonicalize().unwrap_or_else(|_| self.from.to_owned());
            if target.starts_with(&from) || target.starts_with(self.from) {
                let (link, target) = told();
                return Err(Unfit::LeadsBack { link, target });
            }
            return Ok(());
        }
        if leads_out(link, target) {
            let (link, target) = told();
            return Err(Unfit::LeadsOut { link, target });
        }
        Ok(())
    }

    fn is_left_out(&self, stat: &Stat) -> bool {
        self.without == Some((stat.st_dev, stat.st_ino))
    }

    fn open(&self, from: &OwnedFd, name: &OsStr, path: &Path, more: OFlags) -> Result<OwnedFd, Unfit> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
        openat(from, name, flags, Mode::empty()).map_err(|error| self.unread(path, error.into()))
    }

    fn stat(&self, from: &OwnedFd, name: &OsStr, path: &Path) -> Result<Stat, Unfit> {
        self.read_stat(path, statat(from, name, AtFlags::SYMLINK_NOFOLLOW))
    }

    fn read_stat(&self, path: &Path, stat: rustix::io::Result<Stat>) -> Result<Stat, Unfit> {
        stat.map_err(|error| self.unread(path, error.into()))
    }

    fn unread(&self, path: &Path, error: io::Error) -> Unfit {
        Unfit::Read { path: self.from.join(path), error }
    }

    fn unwritten(&self, path: &Path, error: io::Error) -> Unfit {
        Unfit::Write { path: path.to_owned(), error }
    }

    fn written<T>(&self, path: &Path, done: rustix::io::Result<T>) -> Result<T, Unfit> {
        done.map_err(|error| self.unwritten(path, error.into()))
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn open_folder(path: &Path) -> Result<OwnedFd, Unfit> {
    // The operator's own path may lead through links.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| Unfit::Read { path: path.to_owned(), error: error.into() })
}

fn names(folder: &OwnedFd, path: &Path) -> Result<Vec<OsString>, Unfit> {
    let unread = |error: rustix::io::Errno| Unfit::Read { path: path.to_owned(), error: error.into() };
    let mut all = Vec::new();
    for entry in Dir::read_from(folder).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            all.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(all)
}

/// Whether a relative link, read word by word, leads above the folder that `link` is named in.
pub(super) fn leads_out(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::ParentDir => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return true,
            },
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

/// Device and inode of a folder, if it is there.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::stat(path).ok()?;
    Some((stat.st_dev, stat.st_ino))
}
