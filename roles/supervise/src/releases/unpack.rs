//! Archives, read with suspicion.
//!
//! **Job.** Unpack a tar stream into a [`Tree`], as a plain archive or as a layer of an image. **Called by** `prepare`,
//! `image`. **Calls** the `tar` crate for headers, flate2 and zstd.
//!
//! Invariants
//! 1. Every byte that comes out of the decompressor is counted before it is believed: headers of a megabyte, names without
//!    end and files that grow are refused with the number.
//! 2. No absolute path, no `..`, no device, no link that leads out of a plain archive.
//!
//! Not here: writing safely (`tree`), what an image is (`image`).

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use tar::{Archive, EntryType};

use super::bounds::{DEPTH_MAX, FILES_MAX, Meter, PATH_BYTES_MAX, Unfit, size};
use super::copy::leads_out;
use super::tree::{Facts, Tree};

/// What may stand between the contents of two entries, in bytes: headers, long names, padding.
const HEADERS_BYTES_MAX: u64 = 1 << 20;
/// The same for all entries together, on top of their contents.
const HEADERS_TOTAL: u64 = FILES_MAX * 2048;
/// A name in a path, in bytes (NAME_MAX of limits.h).
const NAME_BYTES_MAX: usize = 255;
/// Written at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Marks what a lower layer had and this one has not (OCI image layer specification, whiteouts).
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A folder that somebody packed, or an image's outer archive.
    Plain,
    /// Comes upon the layers below.
    Layer,
}

/// What was seen besides.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Its paths begin with `./`: it was packed from inside the folder.
    pub(super) from_inside: bool,
}

/// Opens what may be compressed, by its first bytes.
pub(super) fn decompressed(mut file: File, path: &Path) -> Result<Box<dyn Read>, Unfit> {
    use std::io::Seek;
    let unread = |error| Unfit::Read { path: path.to_owned(), error };
    let mut first = [0; 6];
    let mut have = 0;
    while have < first.len() {
        match file.read(&mut first[have..]).map_err(unread)? {
            0 => break,
            count => have += count,
        }
    }
    file.rewind().map_err(unread)?;
    let file = BufReader::with_capacity(PIECE_BYTES, file);
    let packed = |how: &str| Unfit::Archive {
        path: path.to_owned(),
        fault: format!("is packed with {how}; pack it with gzip, with zstd or not at all"),
    };
    match &first[..have] {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::read::MultiGzDecoder::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Ok(Box::new(zstd::stream::read::Decoder::with_buffer(file).map_err(unread)?))
        }
        [b'B', b'Z', b'h', ..] => Err(packed("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(packed("xz")),
        [b'P', b'K', ..] => Err(Unfit::Archive {
            path: path.to_owned(),
            fault: "is a zip file; a tar archive is needed: tar -czf app.tar.gz -C FOLDER .".to_owned(),
        }),
        _ => Ok(Box::new(file)),
    }
}

/// Unpacks it. `path`: how the archive is called when something is wrong with it.
pub(super) fn unpack(
    stream: impl Read,
    path: &Path,
    kind: Kind,
    tree: &mut Tree,
    meter: &mut Meter<'_>,
) -> Result<Seen, Unfit> {
    let left = Rc::new(Cell::new(HEADERS_BYTES_MAX));
    let total = meter.allowed().saturating_add(HEADERS_TOTAL);
    let over = Rc::new(Cell::new(false));
    let counted = Counted { stream, left: Rc::clone(&left), total, over: Rc::clone(&over) };
    let broken = |error: io::Error| Unfit::Archive {
        path: path.to_owned(),
        fault: format!("cannot be read as a tar archive: {error}"),
    };
    let mut archive = Archive::new(counted);
    let mut unpacker =
        Unpacker { kind, tree, meter, mine: BTreeSet::new(), links: Vec::new(), seen: Seen::default() };
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        // Its content may be read, and once more what stands around it.
        left.set(entry.size().saturating_add(HEADERS_BYTES_MAX));
        unpacker.entry(&mut entry, &broken)?;
        // What was passed over is read here, where it is counted.
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
        left.set(HEADERS_BYTES_MAX);
    }
    let Unpacker { tree, links, seen, .. } = unpacker;
    // Read word by word they stay inside; together with other links they may not.
    if let Some(link) = links.iter().find(|link| !tree.stays_inside(link)) {
        return Err(fault(link, "is a link that leads out of the archive, by way of other links"));
    }
    // An archive says that it is over; one that was cut between two entries does not.
    if over.get() {
        return Err(broken(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early, it was cut")));
    }
    // The rest of the stream is zeros, or what somebody hung on.
    left.set(total);
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
    tree.close().map_err(|error| Unfit::Write { path: path.to_owned(), error })?;
    Ok(seen)
}

struct Unpacker<'a, 'm> {
    kind: Kind,
    tree: &'a mut Tree,
    meter: &'a mut Meter<'m>,
    /// Paths of this layer: what an opaque folder hides is what was there before.
    mine: BTreeSet<PathBuf>,
    links: Vec<PathBuf>,
    seen: Seen,
}

impl Unpacker<'_, '_> {
    fn entry(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        broken: &dyn Fn(io::Error) -> Unfit,
    ) -> Result<(), Unfit> {
        let name = entry.path().map_err(broken)?.into_owned();
        let what = entry.header().entry_type();
        if matches!(what, EntryType::XGlobalHeader) {
            return Ok(());
        }
        self.seen.from_inside |= name.as_os_str().as_bytes().starts_with(b"./");
        let path = self.cleaned(&name)?;
        if path.as_os_str().is_empty() {
            return Ok(()); // the folder itself
        }
        self.meter.file()?;
        let layer = self.kind == Kind::Layer;
        if layer && path.starts_with("dev") && path != Path::new("dev") {
            return Ok(()); // an image gets the devices it may have
        }
        if layer && self.whiteout(&path)? {
            return Ok(());
        }
        let facts = self.facts(entry.header());
        let written = |error| Unfit::Write { path: path.clone(), error };
        match what {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut file = self.tree.file(&path).map_err(written)?;
                self.content(entry, &mut file, &path, broken)?;
                Tree::finish(&file, facts).map_err(written)?;
            }
            EntryType::Directory => self.tree.folder(&path, facts).map_err(written)?,
            EntryType::Symlink => {
                let target = entry.link_name().map_err(broken)?.unwrap_or_default().into_owned();
                if !layer {
                    if target.is_absolute() || leads_out(&path, &target) {
                        let to = target.display();
                        return Err(fault(
                            &name,
                            &format!("is a link that leads out of the archive, to {to}"),
                        ));
                    }
                    self.links.push(path.clone());
                }
                if target.as_os_str().is_empty() {
                    return Err(fault(&name, "is a link to nothing"));
                }
                self.tree.link(&path, &target, facts).map_err(written)?;
            }
            EntryType::Link => {
                let target = entry.link_name().map_err(broken)?.unwrap_or_default().into_owned();
                let of = self.cleaned(&target)?;
                self.tree.second_name(&path, &of).map_err(|error| {
                    let why = format!(
                        "is another name of {}, which is not there before it: {error}",
                        target.display()
                    );
                    fault(&name, &why)
                })?;
            }
            EntryType::Char | EntryType::Block => return Err(fault(&name, "is a device")),
            EntryType::Fifo => return Err(fault(&name, "is a named pipe")),
            other => {
                return Err(fault(
                    &name,
                    &format!("is of an unknown kind ({:?})", char::from(other.as_byte())),
                ));
            }
        }
        if layer {
            self.mine.insert(path);
        }
        Ok(())
    }

    fn content(
        &mut self,
        entry: &mut impl Read,
        file: &mut File,
        path: &Path,
        broken: &dyn Fn(io::Error) -> Unfit,
    ) -> Result<(), Unfit> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = entry.read(&mut piece).map_err(broken)?;
            if count == 0 {
                return Ok(());
            }
            self.meter.take(count as u64)?;
            file.write_all(&piece[..count]).map_err(|error| Unfit::Write { path: path.to_owned(), error })?;
        }
    }

    /// Plain names, one below the other.
    fn cleaned(&self, name: &Path) -> Result<PathBuf, Unfit> {
        let mut path = PathBuf::new();
        for component in name.components() {
            match component {
                Component::Normal(part) if part.len() > NAME_BYTES_MAX => {
                    return Err(fault(name, &format!("has a name of more than {NAME_BYTES_MAX} bytes")));
                }
                Component::Normal(part) => path.push(part),
                Component::CurDir => {}
                // Layers are written from the root of an image, by some with the slash.
                Component::RootDir if self.kind == Kind::Layer => {}
                Component::RootDir | Component::Prefix(_) => {
                    return Err(fault(name, "has an absolute path"));
                }
                Component::ParentDir => return Err(fault(name, "leads out of the archive by `..`")),
            }
        }
        if path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(fault(name, &format!("has a path of more than {PATH_BYTES_MAX} bytes")));
        }
        if path.components().count() > DEPTH_MAX {
            return Err(fault(name, &format!("lies in more than {DEPTH_MAX} folders")));
        }
        Ok(path)
    }

    /// Removes what a layer says is not there any more. True: it said that.
    fn whiteout(&self, path: &Path) -> Result<bool, Unfit> {
        let Some(name) = path.file_name().map(OsStrExt::as_bytes) else { return Ok(false) };
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(false) };
        let parent = path.parent().unwrap_or_else(|| Path::new(""));
        let written = |error| Unfit::Write { path: path.to_owned(), error };
        if name == OPAQUE {
            for name in self.tree.names(parent).map_err(written)? {
                let below = parent.join(name);
                let is_mine =
                    self.mine.range(below.clone()..).next().is_some_and(|path| path.starts_with(&below));
                if !is_mine {
                    self.tree.remove(&below).map_err(written)?;
                }
            }
            return Ok(true);
        }
        let hidden = std::ffi::OsStr::from_bytes(hidden);
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(fault(path, "hides a file without a name"));
        }
        let hidden = parent.join(hidden);
        if !self.mine.contains(&hidden) {
            self.tree.remove(&hidden).map_err(written)?;
        }
        Ok(true)
    }

    fn facts(&self, header: &tar::Header) -> Facts {
        let number =
            |value: io::Result<u64>| value.ok().and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
        // A plain archive's owners are of the machine it was packed on.
        let keeps = self.kind == Kind::Layer && rustix::process::geteuid().is_root();
        Facts {
            mode: header.mode().unwrap_or(0o644),
            owner: keeps.then(|| (number(header.uid()), number(header.gid()))),
            changed: header.mtime().ok().and_then(|at| i64::try_from(at).ok()).unwrap_or(0),
        }
    }
}

fn fault(name: &Path, fault: &str) -> Unfit {
    let shown: String = name.to_string_lossy().chars().take(200).collect();
    Unfit::Entry { name: shown, fault: fault.to_owned() }
}

/// A stream of which so much may be read, and no more. Invariant 1.
struct Counted<R> {
    stream: R,
    left: Rc<Cell<u64>>,
    total: u64,
    /// The end was seen.
    over: Rc<Cell<bool>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let may = self.left.get().min(self.total);
        if may == 0 && !buffer.is_empty() {
            let told = if self.total == 0 {
                "it has more than what is allowed for it".to_owned()
            } else {
                format!("a header or a name of more than {}", size(HEADERS_BYTES_MAX))
            };
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, told));
        }
        let most = usize::try_from(may).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.stream.read(&mut buffer[..most])?;
        self.over.set(count == 0 && !buffer.is_empty());
        self.left.set(self.left.get().saturating_sub(count as u64));
        self.total = self.total.saturating_sub(count as u64);
        Ok(count)
    }
}
