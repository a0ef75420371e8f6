//! Uploads: a file comes into the folder by PUT (RFC 9110 9.3.4).
//!
//! **Job.** Write the body beside its name and give it the name once all of it is on the disk.
//! **Called by** `files`, where `upload` is on. **Calls** `root`; the disk on blocking threads.
//!
//! Invariants
//! 1. A name never leads to half a file: the body lies in a hidden file of the same folder until it is whole and on the
//!    disk (fsync), and what breaks off is removed. A 201 is on the disk, its name too.
//! 2. Nothing that exists is replaced unless the request says which state it replaces (`If-Match`): otherwise 409. Two who
//!    create one name at once: one gets 201, the other 409.
//! 3. The folder is found by the rules of reading: never outside the root, never a hidden name.
//! 4. At most [`UPLOADS_MAX`] at once per worker; each holds at most [`GATHER_BYTES`] and one piece in memory.
//!
//! Not here: how large a body may be (`phases`, `limits`), folders (they are not made).

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use madang_http::body::{BodyFault, RequestBody};
use madang_http::exchange::Exchange;
use madang_http::response::Text;
use madang_wire::path::percent_encode_path;
use madang_wire::request::RequestHead;
use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::cache::Found;
use super::conditional::{self, Outcome, Present};
use super::place::Place;
use super::root::{Identity, Missing, Opened};
use super::{Folder, failure, path};
use crate::verdict::{Blame, Failure, Verdict};

/// Uploads at once on one worker.
const UPLOADS_MAX: u32 = 16;
/// Bytes gathered before they are written.
const GATHER_BYTES: usize = 256 * 1024;

/// Tells the hidden names of this process apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Takes the request's body as the file at `rel_path`, later.
pub(super) fn answer(folder: &Rc<Folder>, head: &RequestHead, rel_path: &str) -> Verdict {
    let wanted = rel_path.strip_prefix('/').unwrap_or(rel_path);
    if wanted.is_empty() || wanted.ends_with('/') {
        return Failure::new(400, Blame::Client, "no-file-name", "an upload needs a file's name").into();
    }
    if head.get("content-range").is_some() {
        // RFC 9110 14.5: a part must not be taken for the whole.
        let why = "parts of a file cannot be uploaded";
        return Failure::new(400, Blame::Client, "partial-upload", why).into();
    }
    if !path::is_allowed(wanted, folder.options.dotfiles) {
        let why = "a name that is not served is not taken either";
        return Failure::new(403, Blame::Client, "name-refused", why).into();
    }
    let replaces = match replaces(folder, head, wanted) {
        Ok(replaces) => replaces,
        Err(failure) => return failure.into(),
    };
    let Some(place) = Place::take(&folder.caches.uploads, UPLOADS_MAX) else {
        return Failure::new(503, Blame::Load, "uploads-busy", "too many uploads at once").into();
    };
    let (parent, name) = wanted.rsplit_once('/').unwrap_or(("", wanted));
    let (parent, name) = (parent.to_owned(), name.to_owned());
    let (beneath, folder) = (folder.root.beneath(), Rc::clone(folder));
    let wanted = wanted.to_owned();
    Verdict::Wait(Box::new(move |mut exchange| {
        Box::pin(async move {
            let _place = place;
            let opened = off(move || match beneath.open_at(&parent)? {
                Opened::Directory(directory, _) => Ok(Part::begin(directory, name)?),
                Opened::File(..) => Err(Missing::Absent),
            });
            let verdict = match opened.await {
                Ok(Ok(part)) => {
                    let verdict = receive(&mut exchange, part, replaces).await;
                    // This worker looks again at once, the others when what they know is no longer valid.
                    folder.caches.open.borrow_mut().confirm(folder.id.get(), &wanted, 0);
                    verdict
                }
                Ok(Err(Missing::Absent)) => {
                    let why = "there is no folder for this file";
                    Failure::new(409, Blame::Client, "no-such-folder", why).into()
                }
                Ok(Err(Missing::Failed(errno))) => cannot_write(errno).into(),
                Ok(Err(missing)) => failure(missing, exchange.head.path()).into(),
                Err(broken) => broken.into(),
            };
            (exchange, verdict)
        })
    }))
}

fn changed() -> Failure {
    Failure::new(412, Blame::Client, "precondition-failed", "the file is in another state")
}

/// Which state of a file the request replaces; `None`: it makes a new one.
fn replaces(folder: &Rc<Folder>, head: &RequestHead, wanted: &str) -> Result<Option<Identity>, Failure> {
    let present = Present::of(head);
    match folder.find(wanted) {
        Found::File(entry) => {
            let etag = entry.validators.etag.as_bytes();
            let modified_s = entry.validators.modified_s;
            match conditional::evaluate(head, present, etag, modified_s, || 0) {
                Outcome::Failed | Outcome::NotModified => Err(changed()),
                _ if present.if_match => Ok(Some(entry.identity)),
                _ => Err(exists()),
            }
        }
        Found::Directory(_) => Err(Failure::new(409, Blame::Client, "is-a-folder", "a folder has this name")),
        Found::Missing(Missing::Absent) if present.if_match => Err(changed()),
        Found::Missing(Missing::Absent) => Ok(None),
        Found::Missing(missing) => Err(failure(missing, wanted)),
    }
}

fn exists() -> Failure {
    let why = "a file of this name is there; `If-Match` with its entity tag, or `*`, replaces it";
    Failure::new(409, Blame::Client, "file-exists", why)
}

/// What the disk said, in the words of HTTP.
fn cannot_write(errno: Errno) -> Failure {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => {
            Failure::new(507, Blame::Operator, "disk-full", format!("no room for an upload ({errno})"))
        }
        Errno::EXIST => exists(),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            let why = format!("the server may not write into this folder ({errno})");
            Failure::new(403, Blame::Operator, "folder-not-writable", why)
        }
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => {
            Failure::new(503, Blame::Load, "no-descriptors", "no file descriptor or memory left")
        }
        other => Failure::new(500, Blame::Operator, "upload-failed", format!("cannot write ({other})")),
    }
}

async fn receive(exchange: &mut Exchange, part: Part, replaces: Option<Identity>) -> Verdict {
    let (part, bytes) = match write_all(&mut exchange.body, part).await {
        Ok(written) => written,
        Err(failure) => return failure.into(),
    };
    match off(move || part.finish(replaces)).await {
        Ok(Ok(())) => {}
        Ok(Err(Errno::STALE)) => return changed().into(),
        Ok(Err(errno)) => return cannot_write(errno).into(),
        Err(broken) => return broken.into(),
    }
    if replaces.is_some() {
        exchange.response.status = 204;
    } else {
        let mut location = Vec::new();
        percent_encode_path(exchange.head.path(), &mut location);
        exchange.response.text(201, format!("201 Created: {bytes} bytes\n"));
        exchange.response.fields.set("location", Text::from(bytes::Bytes::from(location)));
    }
    Verdict::Answer
}

/// The body into the hidden file, a gathered piece at a time.
async fn write_all(body: &mut RequestBody, mut part: Part) -> Result<(Part, u64), Failure> {
    let (mut gathered, mut total) = (BytesMut::new(), 0);
    loop {
        let piece = match body.next().await {
            None => None,
            Some(Ok(piece)) => Some(piece),
            Some(Err(fault)) => return Err(broken_off(&fault)),
        };
        let ended = piece.is_none();
        if let Some(piece) = piece {
            total += piece.len() as u64;
            gathered.extend_from_slice(&piece);
        }
        if gathered.len() >= GATHER_BYTES || (ended && !gathered.is_empty()) {
            let bytes = gathered.split();
            let written = off(move || part.file.write_all(&bytes).map(|()| part)).await?;
            part = written.map_err(|error| {
                cannot_write(error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
            })?;
        }
        if ended {
            return Ok((part, total));
        }
    }
}

fn broken_off(fault: &BodyFault) -> Failure {
    let name = match fault {
        BodyFault::TooLarge { .. } => "body-too-large",
        BodyFault::TooSlow { .. } => "body-too-slow",
        _ => "upload-broke-off",
    };
    Failure::new(fault.status(), Blame::Client, name, fault.to_string())
}

async fn off<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let broken = |_| Failure::new(500, Blame::Us, "upload-broke", "the upload's thread broke");
    tokio::task::spawn_blocking(work).await.map_err(broken)
}

/// A file that has not got its name yet; removed when dropped before it has.
struct Part {
    directory: OwnedFd,
    file: File,
    name: String,
    /// Empty once the name was given.
    hidden: String,
}

impl Part {
    fn begin(named: OwnedFd, name: String) -> Result<Self, Errno> {
        // What only names a folder cannot be synced: opened for reading.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::openat(&named, ".", flags, Mode::empty())?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let hidden = format!(".upload-{}-{number}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match fs::openat(&directory, &hidden, flags, Mode::from_raw_mode(0o644)) {
            Err(Errno::EXIST) => {
                // Left behind by a process of our number that was killed: nobody else makes such names.
                fs::unlinkat(&directory, &hidden, AtFlags::empty())?;
                fs::openat(&directory, &hidden, flags, Mode::from_raw_mode(0o644))?
            }
            other => other?,
        };
        Ok(Self { directory, file: File::from(file), name, hidden })
    }

    /// [`Errno::STALE`]: what was to be replaced has changed since the request came.
    fn finish(mut self, replaces: Option<Identity>) -> Result<(), Errno> {
        fs::fsync(&self.file)?;
        let flags = match replaces {
            None => RenameFlags::NOREPLACE,
            Some(before) if Identity::at(&self.directory, &self.name) == Ok(before) => RenameFlags::empty(),
            Some(_) => return Err(Errno::STALE),
        };
        fs::renameat_with(&self.directory, &self.hidden, &self.directory, &self.name, flags)?;
        self.hidden.clear();
        fs::fsync(&self.directory)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.hidden.is_empty() {
            // Somebody else's doing if it is gone: the end is the same.
            let _ = fs::unlinkat(&self.directory, &self.hidden, AtFlags::empty());
        }
    }
}
