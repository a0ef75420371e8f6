//! One open file, with everything about it that an answer needs, ready to send.
//!
//! **Job.** Turn an open file into contents (small) or a shared descriptor (large), validators and field values.
//! **Made by** `files` on a cache miss. **Kept by** `cache`. **Read by** `answer`, `compress`.
//!
//! Invariants
//! 1. A value here is never changed: a file that changed gets a new entry with a new `id`.
//! 2. The entity tag depends on size and modification time only, so that two machines with the same tree agree.
//! 3. Contents in memory are whole: exactly `length` bytes, read between two equal looks at the file.
//!
//! Not here: the choice among codings (`encoding`), conditions (`conditional`).

use std::cell::RefCell;
use std::fs::File;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use madang_host::clock;
use madang_http::response::Text;
use madang_wire::date;
use rustix::io::Errno;

use super::encoding::Coding;
use super::media_type;
use super::root::Identity;

/// Contents up to this are kept in memory: one copy into the socket beats opening a file for sendfile.
pub(super) const IN_MEMORY_BYTES_MAX: u64 = 32 * 1024;
/// A file changed so recently may change again without its time moving on (coarse clocks of file systems).
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Where the bytes are.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// All of them.
    Memory(Bytes),
    /// Read or sent when needed.
    Open(Rc<File>),
}

/// A file ready to be answered with.
#[derive(Debug)]
pub(super) struct FileEntry {
    /// Unique on this worker: names this state of this file.
    pub(super) id: u64,
    pub(super) identity: Identity,
    pub(super) content: Content,
    /// Bytes.
    pub(super) length: u64,
    pub(super) content_type: Text,
    /// Whether compressing while serving can gain anything.
    pub(super) compressible: bool,
    /// Whether compressed files beside it are looked for.
    pub(super) may_have_siblings: bool,
    pub(super) validators: Validators,
    /// Changed within the last moments before it was read: the look at its times cannot be trusted yet.
    pub(super) unsettled: bool,
    /// The compressed files beside it.
    pub(super) siblings: RefCell<Siblings>,
}

/// What conditions are compared with (RFC 9110 8.8).
#[derive(Debug, Clone)]
pub(super) struct Validators {
    /// Strong, quotes included.
    pub(super) etag: Text,
    /// Absent for files from the future: the field must not be later than `date` (RFC 9110 8.8.2.1).
    pub(super) last_modified: Option<Text>,
    /// Seconds since 1970, where `last_modified` is.
    pub(super) modified_s: Option<u64>,
}

/// Compressed files beside a file, as last looked for.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    /// When, by the worker's clock; `None`: never.
    pub(super) checked_ms: Option<u64>,
    /// Each with its entity tag, in the order of preference.
    pub(super) found: Vec<Sibling>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Sibling {
    pub(super) coding: Coding,
    pub(super) entry: Rc<FileEntry>,
    /// With the coding's name: representations never share a tag (RFC 9110 8.8.3.3).
    pub(super) etag: Text,
}

impl FileEntry {
    /// Reads what has to be read of an open file. `None`: it changed while it was read; open it again.
    /// Without `in_memory` it is not read at all: for what never rests.
    pub(super) fn load(
        id: u64,
        name: &str,
        file: File,
        identity: Identity,
        in_memory: bool,
    ) -> Result<Option<Self>, Errno> {
        let content = if in_memory && identity.size <= IN_MEMORY_BYTES_MAX {
            // One byte more than expected, so that growth is seen.
            let mut bytes = vec![0; usize::try_from(identity.size).unwrap_or(0) + 1];
            let mut length = 0;
            while length < bytes.len() {
                match rustix::io::pread(&file, &mut bytes[length..], length as u64)? {
                    0 => break,
                    count => length += count,
                }
            }
            if length as u64 != identity.size || Identity::of_file(&file)? != identity {
                return Ok(None);
            }
            bytes.truncate(length);
            Content::Memory(Bytes::from(bytes.into_boxed_slice()))
        } else {
            Content::Open(Rc::new(file))
        };
        let media_type = media_type::of(name);
        Ok(Some(Self {
            id,
            identity,
            content,
            length: identity.size,
            content_type: media_type.text,
            compressible: media_type.compressible,
            may_have_siblings: media_type.may_have_siblings,
            validators: Validators::of(&identity),
            unsettled: age(&identity).is_none_or(|age| age < SETTLED_AFTER),
            siblings: RefCell::default(),
        }))
    }

    /// Bytes of memory this entry holds for its contents.
    pub(super) fn memory_bytes(&self) -> usize {
        match &self.content {
            Content::Memory(bytes) => bytes.len(),
            Content::Open(_) => 0,
        }
    }

    /// The entity tag of this file in a coding made while serving: weak, as the bytes may differ from time to time.
    pub(super) fn weak_etag(&self, coding: Coding) -> Text {
        Text::from(format!("W/{}", tag_with(&self.validators.etag, coding)))
    }

    /// The entity tag of this file as a compressed sibling.
    pub(super) fn coded_etag(&self, coding: Coding) -> Text {
        Text::from(tag_with(&self.validators.etag, coding))
    }
}

/// How long ago the file was changed; `None` for the future.
fn age(identity: &Identity) -> Option<Duration> {
    let now_ns = i128::try_from(clock::wall().duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()?;
    u64::try_from(now_ns - identity.modified_ns).ok().map(Duration::from_nanos)
}

impl Validators {
    fn of(identity: &Identity) -> Self {
        let modified_s = match age(identity) {
            Some(_) => u64::try_from(identity.modified_ns.div_euclid(1_000_000_000)).ok(),
            None => None,
        };
        Self {
            etag: Text::from(format!("\"{:x}-{:x}\"", identity.modified_ns, identity.size)),
            last_modified: modified_s.map(|seconds| Text::from(date::imf_fixdate(seconds))),
            modified_s,
        }
    }
}

fn tag_with(etag: &Text, coding: Coding) -> String {
    let inner = etag.as_str().trim_end_matches('"');
    format!("{inner}-{}\"", coding.name())
}
