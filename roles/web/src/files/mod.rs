//! Static files: from a path to an answer.
//!
//! **Job.** Find what a path means in a folder (file, index, list of tries, fallback, listing) and answer with it.
//! **Reads** the folder, through `root` only. **Writes** the answer and the worker's caches.
//! **Called by** the route's action. **Calls** its children; `host::clock` for the time of day.
//!
//! Invariants
//! 1. What is served lies in the folder (`root`), has a name that may be asked for (`path`), and is a regular file.
//! 2. A small file that is in the cache is answered without a system call and without touching the heap.
//! 3. One worker, one set of caches: no locks.
//!
//! Not here: routes and prefixes (`phases`), error pages and security fields (the web role), how bytes leave (`http`).

mod answer;
mod bounded;
mod cache;
mod compress;
mod conditional;
mod encoding;
mod entry;
mod listing;
mod listing_page;
mod made;
mod media_type;
mod multipart;
mod options;
mod path;
mod place;
pub(crate) mod quality;
mod range;
mod root;
mod upload;
mod upload_page;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use madang_http::exchange::Exchange;
use madang_http::response::{Response, Text};
use madang_wire::path::percent_encode_path;
use madang_wire::request::{Method, RequestHead};
use rustix::io::Errno;

use self::bounded::Bounded;
use self::cache::{Found, OpenFiles};
use self::entry::FileEntry;
use self::made::Codings;
use self::root::{Identity, Missing, Opened, Root};
use crate::config::Symlinks;
use crate::verdict::{Blame, Failure, Verdict};

pub use self::options::{CacheLimits, Compress, FilesOptions};
pub use self::root::RootError;

/// The media type a file of this name is served with.
pub(crate) fn media_type_of(path: &std::path::Path) -> Text {
    media_type::of(path.file_name().and_then(|name| name.to_str()).unwrap_or("")).text
}

/// The methods a file answers to.
const ALLOW: &str = "GET, HEAD, OPTIONS";
/// The same where uploads are taken.
const ALLOW_UPLOAD: &str = "GET, HEAD, PUT, OPTIONS";
/// Folders whose numbers are remembered.
const FOLDERS_MAX: usize = 1024;
/// How often a small file that changes while it is read is read again before it is sent as it lies.
const LOADS: usize = 3;

/// What one worker remembers about files; shared by all the folders it serves.
pub struct Caches {
    now_ms: Box<dyn Fn() -> u64>,
    open: RefCell<OpenFiles>,
    codings: RefCell<Codings>,
    /// Listings in the making.
    listings: Rc<Cell<u32>>,
    /// Uploads on their way.
    uploads: Rc<Cell<u32>>,
    /// For paths put together while looking: keeps its capacity.
    scratch: RefCell<String>,
    /// Which number the cache knows a folder by. Folders read the same way share it: two sites of one root, and the
    /// settings before and after a reload.
    folders: RefCell<Bounded<FolderKey, u64>>,
    last_id: Cell<u64>,
}

/// What makes two folders the same to the cache: where they are, and which names lead where.
#[derive(PartialEq, Eq, Hash)]
struct FolderKey {
    root: Identity,
    symlinks: Symlinks,
    dotfiles: bool,
    precompressed: bool,
}

impl Caches {
    /// Empty caches. `now_ms` is the worker's coarse clock: milliseconds, never backwards.
    pub fn new(limits: CacheLimits, now_ms: impl Fn() -> u64 + 'static) -> Rc<Self> {
        Rc::new(Self {
            now_ms: Box::new(now_ms),
            open: RefCell::new(OpenFiles::new(limits.entries_max, limits.bytes_max)),
            codings: RefCell::new(Codings::new(limits.compressed_bytes_max)),
            listings: Rc::default(),
            uploads: Rc::default(),
            scratch: RefCell::default(),
            folders: RefCell::new(Bounded::new(FOLDERS_MAX, FOLDERS_MAX)),
            last_id: Cell::new(0),
        })
    }

    /// Entries and bytes of the open-file cache.
    pub fn open_files(&self) -> (usize, usize) {
        self.open.borrow().size()
    }

    /// Bytes of remembered results of compression.
    pub fn compressed_bytes(&self) -> usize {
        self.codings.borrow().bytes()
    }

    fn now_ms(&self) -> u64 {
        (self.now_ms)()
    }

    fn folder_id(&self, root: &Root, options: &FilesOptions) -> u64 {
        let key = FolderKey {
            root: root.identity(),
            symlinks: options.symlinks,
            dotfiles: options.dotfiles,
            precompressed: options.precompressed,
        };
        let mut folders = self.folders.borrow_mut();
        if let Some(id) = folders.get(&key) {
            return *id;
        }
        let id = self.next_id();
        folders.put(key, id, 1);
        id
    }

    fn next_id(&self) -> u64 {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }
}

/// One folder, served by one worker.
pub struct Files {
    folder: Rc<Folder>,
}

/// The folder itself, for what outlives one call.
struct Folder {
    options: FilesOptions,
    root: Root,
    /// Number of this folder in the cache; another one when the root was replaced.
    id: Cell<u64>,
    caches: Rc<Caches>,
}

/// What a path means.
enum Meaning {
    /// A file; its path is in the scratch string.
    File(Rc<FileEntry>),
    /// The fallback, in place of nothing.
    Fallback(Rc<FileEntry>),
    /// A folder asked for without its slash.
    Redirect,
    /// A folder to be listed; its path is in the scratch string.
    Listing,
    /// Nothing.
    Nothing(Missing),
}

impl Files {
    /// Opens the folder.
    ///
    /// # Errors
    /// [`RootError`]: it cannot be opened, or is no folder. The operator's to repair.
    pub fn new(options: FilesOptions, caches: &Rc<Caches>) -> Result<Self, RootError> {
        let root = Root::open(&options.root, options.symlinks)?;
        let caches = Rc::clone(caches);
        let id = Cell::new(caches.folder_id(&root, &options));
        Ok(Self { folder: Rc::new(Folder { options, root, id, caches }) })
    }

    /// Answers for `rel_path`: canonical (decoded, no dot segments), a slash in front or not.
    ///
    /// Waits only for compression of a large file and for listings.
    pub fn answer(&self, exchange: &mut Exchange, rel_path: &str) -> Verdict {
        Folder::answer(&self.folder, &exchange.head, &mut exchange.response, rel_path)
    }

    /// The same for the part of the request's own path that begins at byte `from`: nothing needs to be copied.
    pub fn answer_from(&self, exchange: &mut Exchange, from: usize) -> Verdict {
        let rel_path = exchange.head.path().get(from..).unwrap_or("");
        Folder::answer(&self.folder, &exchange.head, &mut exchange.response, rel_path)
    }
}

impl Folder {
    fn answer(self: &Rc<Self>, head: &RequestHead, response: &mut Response, rel_path: &str) -> Verdict {
        let allow = if self.options.upload { ALLOW_UPLOAD } else { ALLOW };
        match head.method() {
            Method::Get | Method::Head => {}
            Method::Put if self.options.upload => return upload::answer(self, head, rel_path),
            Method::Options => {
                response.status = 204;
                response.fields.set("allow", allow);
                return Verdict::Answer;
            }
            _ => {
                response.fields.set("allow", allow);
                let why = if self.options.upload {
                    "files answer GET, HEAD and PUT"
                } else {
                    "files answer GET and HEAD"
                };
                return Failure::new(405, Blame::Client, "method-not-allowed", why).into();
            }
        }
        if self.root.refresh(self.caches.now_ms(), self.options.cache_valid_ms) {
            self.id.set(self.caches.folder_id(&self.root, &self.options));
        }
        // Taken out while it is used: what is called below may look paths up itself.
        let mut scratch = self.caches.scratch.take();
        let verdict = match self.meaning(head, rel_path, &mut scratch) {
            Meaning::File(entry) => answer::file(self, head, response, &scratch, &entry),
            Meaning::Fallback(entry) => {
                // The same address may have answered 404 to a client that takes no HTML.
                response.fields.add_to_list("vary", "accept");
                response.fields.add_to_list("vary", "sec-fetch-dest");
                answer::file(self, head, response, &scratch, &entry)
            }
            Meaning::Listing => listing::answer(self, head, &scratch),
            Meaning::Redirect => redirect_to_slash(head, response),
            Meaning::Nothing(missing) => failure(missing, rel_path).into(),
        };
        scratch.clear();
        self.caches.scratch.replace(scratch);
        verdict
    }

    /// Finds what `rel_path` means. `scratch` holds the file's path afterwards.
    fn meaning(&self, head: &RequestHead, rel_path: &str, scratch: &mut String) -> Meaning {
        let slash = rel_path.ends_with('/') || (rel_path.is_empty() && head.path().ends_with('/'));
        let path = rel_path.strip_prefix('/').unwrap_or(rel_path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut why = Missing::Absent;
        if self.options.tries.is_empty() {
            scratch.clear();
            scratch.push_str(path);
            if let Some(meaning) = self.candidate(slash, scratch, &mut why) {
                return meaning;
            }
        }
        for template in &self.options.tries {
            if !fill(template, path, slash, scratch) {
                continue;
            }
            // Only the path itself can be "asked for with a slash"; other candidates say in their own writing.
            let slash = if scratch == path { slash } else { true };
            let wants_folder = scratch.ends_with('/');
            if wants_folder {
                scratch.truncate(scratch.trim_end_matches('/').len());
            }
            let other = scratch != path;
            if other && !wants_folder {
                if let Found::File(entry) = self.find(scratch) {
                    return Meaning::File(entry);
                }
            } else if let Some(meaning) = self.candidate(slash, scratch, &mut why) {
                return meaning;
            }
        }
        match &self.options.fallback {
            Some(fallback) if why == Missing::Absent && takes_a_page(head) => {
                scratch.clear();
                scratch.push_str(fallback.trim_start_matches('/'));
                match self.find(scratch) {
                    Found::File(entry) => Meaning::Fallback(entry),
                    Found::Directory(_) => Meaning::Nothing(Missing::Absent),
                    Found::Missing(missing) => Meaning::Nothing(missing),
                }
            }
            _ => Meaning::Nothing(why),
        }
    }

    /// What the path in `scratch` means by itself: a file, a folder's index, a folder without its slash.
    fn candidate(&self, slash: bool, scratch: &mut String, why: &mut Missing) -> Option<Meaning> {
        match self.find(scratch) {
            // `page.html/` is not `page.html`: relative links in it would lead elsewhere.
            Found::File(_) if slash => None,
            Found::File(entry) => Some(Meaning::File(entry)),
            Found::Directory(_) => {
                let folder_bytes = scratch.len();
                for index in &self.options.index {
                    if folder_bytes > 0 {
                        scratch.push('/');
                    }
                    scratch.push_str(index);
                    match self.find(scratch) {
                        Found::File(_) if !slash => return Some(Meaning::Redirect),
                        Found::File(entry) => return Some(Meaning::File(entry)),
                        Found::Missing(missing) if missing != Missing::Absent => *why = missing,
                        _ => {}
                    }
                    scratch.truncate(folder_bytes);
                }
                self.options.listing.then_some(if slash { Meaning::Listing } else { Meaning::Redirect })
            }
            Found::Missing(missing) => {
                if missing != Missing::Absent {
                    *why = missing;
                }
                None
            }
        }
    }

    /// What lies at `path`, from the cache where that is fresh enough.
    fn find(&self, path: &str) -> Found {
        let now_ms = self.caches.now_ms();
        let known = {
            let mut open = self.caches.open.borrow_mut();
            match open.get(self.id.get(), path) {
                // With a validity of 0 nothing is ever fresh.
                Some((found, checked_ms))
                    if now_ms.saturating_sub(checked_ms) < self.options.cache_valid_ms =>
                {
                    return found.clone();
                }
                Some((found, _)) => Some(found.clone()),
                None => None,
            }
        };
        if let Some(found) = known
            && self.still_is(path, &found)
        {
            self.caches.open.borrow_mut().confirm(self.id.get(), path, now_ms);
            return found;
        }
        let found = self.load(path);
        // What may pass by itself is not remembered.
        if !matches!(found, Found::Missing(Missing::Exhausted | Missing::Failed(_))) {
            self.caches.open.borrow_mut().put(self.id.get(), path, found.clone(), now_ms);
        }
        found
    }

    /// One look at the disk: whether what is known is still so.
    fn still_is(&self, path: &str, found: &Found) -> bool {
        match (found, self.root.identity_at(path)) {
            (Found::File(entry), Ok(now)) => now == entry.identity && !entry.unsettled,
            (Found::Directory(identity), Ok(now)) => now == *identity,
            (Found::Missing(Missing::Absent), Err(Errno::NOENT | Errno::NOTDIR)) => true,
            _ => false,
        }
    }

    fn load(&self, path: &str) -> Found {
        if !path::is_allowed(path, self.options.dotfiles) {
            return Found::Missing(Missing::Absent);
        }
        for attempt in 1..=LOADS {
            let (file, identity) = match self.root.open_at(path) {
                Ok(Opened::File(file, identity)) => (file, identity),
                Ok(Opened::Directory(_, identity)) => return Found::Directory(identity),
                Err(missing) => return Found::Missing(missing),
            };
            match FileEntry::load(self.caches.next_id(), path, file, identity, attempt < LOADS) {
                Ok(Some(entry)) => return Found::File(Rc::new(entry)),
                Ok(None) => {}
                Err(errno) => return Found::Missing(errno.into()),
            }
        }
        Found::Missing(Missing::Failed(Errno::AGAIN))
    }
}

/// Writes a name to try into `out`. False: the template makes no sense for this path.
fn fill(template: &str, path: &str, slash: bool, out: &mut String) -> bool {
    out.clear();
    let template = template.strip_prefix('/').unwrap_or(template);
    let Some((before, after)) = template.split_once("{path}") else {
        out.push_str(template);
        return true;
    };
    // `/about/` is no name that `.html` could be added to.
    if (slash || path.is_empty()) && !after.is_empty() && !after.starts_with('/') {
        return false;
    }
    out.push_str(before);
    out.push_str(path);
    out.push_str(if path.is_empty() { after.trim_start_matches('/') } else { after });
    true
}

/// Whether a page is what the client hopes for: not a script, style or picture of a page, and it takes HTML.
fn takes_a_page(head: &RequestHead) -> bool {
    let destination = head.get("sec-fetch-dest").is_none_or(|destination| {
        matches!(
            destination,
            b"document" | b"iframe" | b"frame" | b"embed" | b"object" | b"fencedframe" | b"empty"
        )
    });
    destination && quality::media_weight(head.get_all("accept"), "text/html") > 0
}

/// To the same folder with its slash: relative, so that neither a prefix nor a host can be got wrong or forged.
fn redirect_to_slash(head: &RequestHead, response: &mut Response) -> Verdict {
    let name = head.path().rsplit('/').next().unwrap_or("");
    // `./` in front: a name with a colon is not a scheme, and an empty one is not a host.
    let mut location = b"./".to_vec();
    percent_encode_path(name, &mut location);
    location.push(b'/');
    if let Some(query) = head.query() {
        location.push(b'?');
        location.extend_from_slice(query.as_bytes());
    }
    response.status = 308;
    response.fields.set("location", Text::from(bytes::Bytes::from(location)));
    Verdict::Answer
}

fn failure(missing: Missing, path: &str) -> Failure {
    let told = |sentence: &str| format!("{sentence}: {path:?}");
    match missing {
        Missing::Absent => Failure::new(404, Blame::Client, "file-not-found", "no such file"),
        Missing::Refused => Failure::new(
            404,
            Blame::Client,
            "file-refused",
            told("leaves the folder, passes a link that may not be followed, or is no regular file"),
        ),
        Missing::Denied => {
            Failure::new(403, Blame::Operator, "file-not-readable", told("no permission to read"))
        }
        Missing::Exhausted => {
            Failure::new(503, Blame::Load, "no-descriptors", "no file descriptor or memory left")
        }
        Missing::Failed(errno) => {
            Failure::new(500, Blame::Operator, "file-failed", told(&format!("cannot read ({errno})")))
        }
    }
}
