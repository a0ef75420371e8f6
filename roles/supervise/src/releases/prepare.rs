//! From what an operator named to a whole folder to run from.
//!
//! **Job.** Make `releases/N`, beside its place and then renamed; remove what is left of one that was not finished.
//! **Called by** `keeper`, on a thread that may wait. **Calls** `copy`, the file system.
//!
//! Invariants
//! 1. When it fails, nothing of it is left.
//! 2. What it gives was flushed to the disk, its name included.
//!
//! Not here: which number it has, how much it may take (`keeper`).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::bounds::{Doing, Meter, Progress, Unfit};
use super::copy::{Copy, identity};
use super::image::{Hashed, Unpacked, furnish, written as digest_of};
use super::tree::Tree;
use super::unpack::{Kind, decompressed, unpack};
use super::{Made, Origin, place};

/// How a folder is called until it is whole, and from when it is to go.
const NEW: &str = ".new-";
const OLD: &str = ".old-";

/// What an operator named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder.
    Folder(PathBuf),
    /// An archive or an image.
    File(PathBuf),
}

impl Source {
    /// What it seems to be, before it was read.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Folder(path) => Origin::Folder { path: path.display().to_string() },
            Self::File(path) => Origin::Archive { path: path.display().to_string(), digest: String::new() },
        }
    }
}

/// What is to be made.
#[derive(Debug)]
pub struct Order {
    /// The version's number.
    pub number: u32,
    /// Of what.
    pub source: Source,
    /// `DATA/apps/NAME/releases`.
    pub trees: PathBuf,
    /// Our data folder: not copied, should it lie in the folder.
    pub data: PathBuf,
    /// What all versions may take, in bytes.
    pub disk: u64,
    /// What those take that cannot go meanwhile.
    pub beside: u64,
    /// Why this app cannot be of an image.
    pub no_image: Option<&'static str>,
    /// Who the files of a plain archive belong to; `None`: us.
    pub owner: Option<String>,
    /// Where an image starts, if the settings say.
    pub image_dir: Option<PathBuf>,
}

/// What was made.
#[derive(Debug)]
pub struct Prepared {
    /// Everything to run it.
    pub made: Made,
    /// Files, folders and links.
    pub files: u64,
    /// What was not taken, in words.
    pub left_out: Option<String>,
}

/// Makes it. Takes as long as the disk needs.
///
/// # Errors
/// Why it cannot be: nothing is left then.
pub fn prepare(order: &Order, progress: &Progress) -> Result<Prepared, Unfit> {
    let beside = order.trees.join(format!("{NEW}{}", order.number));
    let place = place(&order.trees, order.number);
    let made = fill(order, &beside, progress).and_then(|prepared| {
        if progress.is_cancelled() {
            return Err(Unfit::Cancelled);
        }
        let written = |error| Unfit::Write { path: place.clone(), error };
        std::fs::rename(&beside, &place).map_err(written)?;
        let folder = open(&order.trees).map_err(written)?;
        rustix::fs::fsync(&folder).map_err(|error| written(error.into()))?;
        Ok(prepared)
    });
    if made.is_err() {
        // Invariant 1. Were it not to go, the next start removes it.
        let _ = remove(&beside);
        let _ = remove(&place);
    }
    made
}

fn fill(order: &Order, beside: &Path, progress: &Progress) -> Result<Prepared, Unfit> {
    let written = |error| Unfit::Write { path: beside.to_owned(), error };
    make_folder(&order.trees).map_err(|error| Unfit::Write { path: order.trees.clone(), error })?;
    remove(beside).map_err(written)?;
    std::fs::create_dir(beside).map_err(written)?;
    let to = open(beside).map_err(written)?;
    let mut meter = Meter::new(progress, &order.trees, order.disk, order.beside);
    let prepared = match &order.source {
        Source::Folder(from) => copied(order, from, &to, &mut meter)?,
        Source::File(path) => unpacked(order, path, beside, &mut meter)?,
    };
    progress.doing(Doing::Flushing);
    // Opened anew: an archive's folder may have taken the place. One flush of the file system instead of one per file.
    let to = open(beside).map_err(written)?;
    rustix::fs::syncfs(&to).map_err(|error| written(error.into()))?;
    Ok(prepared)
}

fn copied(order: &Order, from: &Path, to: &OwnedFd, meter: &mut Meter<'_>) -> Result<Prepared, Unfit> {
    meter.progress().doing(Doing::Copying);
    let copy = Copy { from, without: identity(&order.data), owners: rustix::process::geteuid().is_root() };
    // What does not fit is told before anything is written.
    let wanted = copy.measure(meter)?;
    meter.reset();
    meter.take(wanted)?;
    meter.room_for(wanted, Some(wanted))?;
    meter.reset();
    let left_out = copy.run(to, meter)?;
    let mut told = Vec::new();
    if left_out.data {
        told.push("Madang's own data folder".to_owned());
    }
    if left_out.ends > 0 {
        told.push(format!("{} sockets and pipes", left_out.ends));
    }
    let mode =
        std::fs::metadata(from).map(|meta| std::os::unix::fs::PermissionsExt::mode(&meta.permissions()));
    let mode = mode.map_err(|error| Unfit::Read { path: from.to_owned(), error })?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(mode & 0o1777))
        .map_err(|error| Unfit::Write { path: order.trees.clone(), error: error.into() })?;
    let origin = Origin::Folder { path: from.display().to_string() };
    let made = Made { origin, tree: Some(order.number), bytes: meter.bytes(), image: None };
    let left_out = (!told.is_empty()).then(|| told.join(" and "));
    Ok(Prepared { made, files: meter.files(), left_out })
}

/// A folder in an image's archive that no archive has.
const ROOT: &str = ".madang-root";

fn unpacked(order: &Order, path: &Path, beside: &Path, meter: &mut Meter<'_>) -> Result<Prepared, Unfit> {
    let written = |error| Unfit::Write { path: beside.to_owned(), error };
    let unread = |error| Unfit::Read { path: path.to_owned(), error };
    meter.progress().doing(Doing::Unpacking);
    let mut tree = Tree::new(open(beside).map_err(written)?);
    let file = std::fs::File::open(path).map_err(unread)?;
    let digest = file_digest(file.try_clone().map_err(unread)?, meter).map_err(unread)?;
    let seen = unpack(decompressed(file, path)?, path, Kind::Plain, &mut tree, meter)?;
    let archive = Unpacked { tree: &tree, path };
    let shown = path.display().to_string();
    let made = |origin, bytes, image| Made { origin, tree: Some(order.number), bytes, image };
    let Some(image) = archive.image()? else {
        if !seen.from_inside {
            without_top(order, beside).map_err(written)?;
        }
        if meter.files() == 0 {
            return Err(Unfit::Archive { path: path.to_owned(), fault: "is empty".to_owned() });
        }
        if let Some(owner) = &order.owner {
            give(beside, owner).map_err(written)?;
        }
        // Somebody else may have to read it.
        rustix::fs::fchmod(open(beside).map_err(written)?, Mode::from_raw_mode(0o755))
            .map_err(|error| written(error.into()))?;
        let origin = Origin::Archive { path: shown, digest };
        let made = made(origin, meter.bytes(), None);
        return Ok(Prepared { made, files: meter.files(), left_out: None });
    };
    if let Some(why) = order.no_image {
        return Err(Unfit::Archive { path: path.to_owned(), fault: format!("is an image, and {why}") });
    }
    meter.reset();
    let inner = beside.join(ROOT);
    std::fs::create_dir(&inner).map_err(written)?;
    let mut root = Tree::new(open(&inner).map_err(written)?);
    archive.apply(&image, &mut root, meter)?;
    let dir = order.image_dir.clone().unwrap_or_else(|| PathBuf::from(&image.facts.dir));
    furnish(&mut root, &dir).map_err(written)?;
    drop(root);
    replace_by(order, beside, &inner).map_err(written)?;
    rustix::fs::fchmod(open(beside).map_err(written)?, Mode::from_raw_mode(0o755))
        .map_err(|error| written(error.into()))?;
    let digest = if image.digest.is_empty() { digest } else { image.digest };
    let made = made(Origin::Image { path: shown, digest }, meter.bytes(), Some(image.facts));
    Ok(Prepared { made, files: meter.files(), left_out: None })
}

fn file_digest(mut file: std::fs::File, meter: &Meter<'_>) -> io::Result<String> {
    use std::io::{Read, Seek};
    let context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut hashed = Hashed { stream: &mut file, context };
    let mut piece = vec![0; 1 << 18];
    while hashed.read(&mut piece)? > 0 && !meter.progress().is_cancelled() {}
    let digest = digest_of(hashed.context);
    // The clone shares its place with the file that is unpacked.
    file.rewind()?;
    Ok(digest)
}

/// An archive of `hello/…` is the folder `hello`.
fn without_top(order: &Order, beside: &Path) -> io::Result<()> {
    let mut entries = std::fs::read_dir(beside)?;
    let (Some(first), None) = (entries.next().transpose()?, entries.next().transpose()?) else {
        return Ok(());
    };
    if first.file_type()?.is_dir() { replace_by(order, beside, &first.path()) } else { Ok(()) }
}

/// A folder in it takes its place.
fn replace_by(order: &Order, beside: &Path, inner: &Path) -> io::Result<()> {
    // A name that the next start removes, should there be one before we are done.
    let aside = order.trees.join(format!("{OLD}{}", order.number));
    remove(&aside)?;
    std::fs::rename(inner, &aside)?;
    remove(beside)?;
    std::fs::rename(&aside, beside)
}

/// Gives a folder with all that is in it to a user.
fn give(folder: &Path, user: &str) -> io::Result<()> {
    let user =
        madang_host::rights::Identity::find(user).map_err(|error| io::Error::other(error.to_string()))?;
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        user.own(&path)?;
        if std::fs::symlink_metadata(&path)?.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        }
    }
    Ok(())
}

/// Removes the folders of these numbers, whole or not. Takes as long as the disk needs.
///
/// # Errors
/// What the kernel said of the first that cannot go; the others went.
pub fn clear(trees: &Path, goes: impl Fn(u32) -> bool) -> io::Result<()> {
    let mut first = Ok(());
    let entries = match std::fs::read_dir(trees) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let gone = name.starts_with(OLD);
        let number = name.strip_prefix(NEW).unwrap_or(&name).parse::<u32>();
        if (gone || number.is_ok_and(&goes))
            && let Err(error) = retire(trees, &entry.path(), &name)
        {
            first = first.and(Err(error));
        }
    }
    first
}

/// Out of the way first, so that nothing half removed has the name of a version.
fn retire(trees: &Path, path: &Path, name: &str) -> io::Result<()> {
    if name.starts_with(OLD) {
        return remove(path);
    }
    let old = trees.join(format!("{OLD}{}", name.trim_start_matches(NEW)));
    remove(&old)?;
    std::fs::rename(path, &old)?;
    remove(&old)
}

/// A folder of ours may hold folders without the right to write: we give it to ourselves and try again.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(path)?;
            std::fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn unlock(folder: &Path) -> io::Result<()> {
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
