//! The append log: streams of entries with offsets, the one mechanism behind history, resume and every protocol of chat.
//!
//! **Job.** Say what a log does; check what is asked of it before a database sees it.
//! **Done by** `sqlite`, `postgres`. **Called by** roles.
//!
//! Invariants
//! 1. The entries of a stream have the offsets 1, 2, 3, … without a gap; the order of commits is the order of offsets.
//! 2. An append is answered when its entries are on disk.
//! 3. Offsets are comparable within one epoch only. A stream that is removed or restored from a backup gets a new one.
//! 4. Times (`at_ms`) do not go back within a stream.
//!
//! Not here: who may read what (roles), telling others that something was appended (the bus).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::answer::Answer;
use crate::error::StoreError;
use crate::terms;

/// A stream's name is at most this long, in bytes.
pub const STREAM_NAME_MAX: usize = 200;
/// Data and text of one entry together, in bytes.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024;
/// Entries of one append.
pub const BATCH_ENTRIES_MAX: usize = 1000;
/// All entries of one append together, in bytes.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Entries that one read gives at most, whatever was asked for.
pub const READ_ENTRIES_MAX: usize = 10_000;
/// Bytes that one read gives at most, whatever was asked for. One entry is always given.
pub const READ_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Streams that one question may name.
pub const STREAMS_MAX: usize = 1000;
/// What [`Log::search`] is asked for is at most this long, in bytes.
pub const SEARCH_BYTES_MAX: usize = 500;
/// Entries one search gives at most.
pub const SEARCH_ENTRIES_MAX: usize = 200;

/// The name of a stream, for example `chat/town/room/7`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(Arc<str>);

impl StreamId {
    /// A name of 1..=200 bytes without control characters.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for any other.
    pub fn new(name: &str) -> Result<Self, StoreError> {
        if name.is_empty() || name.len() > STREAM_NAME_MAX || name.chars().any(char::is_control) {
            let must = "1 to 200 bytes long, without control characters";
            return Err(StoreError::Invalid { what: "the name of a stream", must });
        }
        Ok(Self(name.into()))
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({:?})", self.0)
    }
}
impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes an append the same append when it is sent again: the client and a number or word of its choice.
///
/// A key is remembered for at least 24 hours after its append, at most 48.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl Key {
    /// The key of one append of one client. Kept as the first half of a SHA-256, so both may be of any length.
    pub fn new(client: &str, nonce: &str) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(&(client.len() as u64).to_le_bytes());
        context.update(client.as_bytes());
        context.update(nonce.as_bytes());
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self(key)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// What is to be appended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewEntry {
    /// Anything; the store does not look into it.
    pub data: Bytes,
    /// What full text search finds, stored once and given back with the entry. Empty: search never finds it.
    pub text: String,
}

/// One append: its entries are written together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// 1..=1000 of them, 4 MiB together.
    pub entries: Vec<NewEntry>,
    /// Makes it safe to send again.
    pub key: Option<Key>,
    /// Only if this is the offset the first entry gets.
    pub expect: Option<u64>,
}

impl Batch {
    /// One entry.
    pub fn one(data: impl Into<Bytes>, text: impl Into<String>) -> Self {
        Self { entries: vec![NewEntry { data: data.into(), text: text.into() }], key: None, expect: None }
    }

    /// With a key.
    #[must_use]
    pub fn keyed(self, key: Key) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Only as the entry of this offset.
    #[must_use]
    pub fn expecting(self, offset: u64) -> Self {
        Self { expect: Some(offset), ..self }
    }

    /// Data and text together.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.iter().map(NewEntry::bytes).sum()
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.entries.is_empty() {
            return Err(StoreError::Invalid { what: "an append", must: "of one entry or more" });
        }
        within("an append's entries", self.entries.len(), BATCH_ENTRIES_MAX)?;
        self.entries.iter().try_for_each(NewEntry::check)?;
        within("an append's bytes", self.bytes(), BATCH_BYTES_MAX)
    }
}

impl NewEntry {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        within("an entry's bytes", self.bytes(), ENTRY_BYTES_MAX)?;
        no_nul(&self.text)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.data.len() + self.text.len()
    }
}

/// PostgreSQL keeps no NUL in text; so that both behave alike, SQLite does not either.
pub(crate) fn no_nul(text: &str) -> Result<(), StoreError> {
    if text.contains('\0') {
        return Err(StoreError::Invalid { what: "text", must: "without the character 0" });
    }
    Ok(())
}

pub(crate) fn within(what: &'static str, size: usize, max: usize) -> Result<(), StoreError> {
    if size > max { Err(StoreError::TooLarge { what, size, max }) } else { Ok(()) }
}

/// Where an append went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The stream's epoch.
    pub epoch: u64,
    /// The offset of its first entry; the others follow.
    pub first: u64,
    /// How many entries.
    pub count: u64,
    /// The time its entries got, in milliseconds since 1970. Of a duplicate: the time the entries got that were written; if they
    /// were trimmed meanwhile, that of the newest entry there ever was ([`Position::at_ms`]).
    pub at_ms: u64,
    /// It was here before: the key is known, nothing was written, `first` is where it was written then.
    pub duplicate: bool,
}

/// How far a stream goes. `first == next`: nothing is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Which life of the stream: 1..2^53, so that every JSON reader keeps it whole.
    pub epoch: u64,
    /// The oldest offset that is kept.
    pub first: u64,
    /// The offset the next entry gets; at least 1.
    pub next: u64,
    /// Data and text of what is kept, in bytes.
    pub bytes: u64,
    /// The time of the newest entry there ever was, in milliseconds since 1970; 0: none yet.
    pub at_ms: u64,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the stream.
    pub offset: u64,
    /// When it was appended, in milliseconds since 1970.
    pub at_ms: u64,
    /// How often it was changed.
    pub edits: u32,
    /// It was redacted: data and text are gone for good.
    pub removed: bool,
    /// As appended or last changed.
    pub data: Bytes,
    /// As appended or last changed.
    pub text: String,
}

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// From where.
    pub from: From,
    /// At most so many entries, 1..=10,000.
    pub entries_max: usize,
    /// At most so many bytes of data and text, up to 16 MiB; one entry is always given.
    pub bytes_max: usize,
}

/// Where reading begins, and in which direction it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Resume: forwards, everything after the last entry that was seen.
    After {
        /// The epoch it was seen in.
        epoch: u64,
        /// Its offset; 0: none was seen.
        offset: u64,
    },
    /// Forwards from this offset or the oldest kept.
    Offset(u64),
    /// Backwards: the newest entries before this offset. `u64::MAX`: the newest of all.
    Before(u64),
}

impl Read {
    /// Resume after what was seen.
    pub fn after(epoch: u64, offset: u64) -> Self {
        Self { from: From::After { epoch, offset }, entries_max: 1000, bytes_max: READ_BYTES_MAX }
    }

    /// The newest entries.
    pub fn newest(entries_max: usize) -> Self {
        Self { from: From::Before(u64::MAX), entries_max, bytes_max: READ_BYTES_MAX }
    }

    /// Forwards from an offset.
    pub fn from(offset: u64) -> Self {
        Self { from: From::Offset(offset), entries_max: 1000, bytes_max: READ_BYTES_MAX }
    }

    /// The entries before an offset.
    pub fn before(offset: u64, entries_max: usize) -> Self {
        Self { from: From::Before(offset), entries_max, bytes_max: READ_BYTES_MAX }
    }

    /// With another limit of entries.
    #[must_use]
    pub fn entries(self, entries_max: usize) -> Self {
        Self { entries_max, ..self }
    }

    /// With another limit of bytes.
    #[must_use]
    pub fn bytes(self, bytes_max: usize) -> Self {
        Self { bytes_max, ..self }
    }

    pub(crate) fn bounded(self) -> Self {
        Self {
            from: self.from,
            entries_max: self.entries_max.clamp(1, READ_ENTRIES_MAX),
            bytes_max: self.bytes_max.min(READ_BYTES_MAX),
        }
    }
}

/// What reading a stream gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// Entries in the order of offsets, also when they were read backwards.
    Page(Page),
    /// Some of what was missed is no longer kept: history goes back to `first`.
    TooOld(Position),
    /// What was seen belongs to another life of the stream; or it is newer than anything here.
    OtherEpoch(Position),
    /// There is no such stream (yet): [`Log::open`] makes one.
    NoStream,
}

/// A piece of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How far the whole stream goes.
    pub position: Position,
    /// Without a gap, in the order of offsets.
    pub entries: Vec<Entry>,
    /// A limit ended the page: there is more in the direction that was read.
    pub more: bool,
}

/// How an entry is changed in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Other data and text.
    Edit(NewEntry),
    /// Redaction: data and text leave the database, the search and the journal. The offset stays, as an empty entry.
    Remove,
}

/// What may stay of a stream. What is older than any of these is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// The newest so many.
    pub entries_max: Option<u64>,
    /// The newest of together so many bytes.
    pub bytes_max: Option<u64>,
    /// What is younger.
    pub age_max: Option<Duration>,
}

/// What was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trimmed {
    /// How many entries.
    pub entries: u64,
    /// The oldest that is kept now.
    pub first: u64,
    /// One call takes a bounded number away; there is more to do.
    pub more: bool,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Only in these, 1..=1000.
    pub streams: Vec<StreamId>,
    /// Words that must all be there, `"…"` for words in a row. Words of Latin letters also match longer words that begin
    /// with them; Korean, Japanese and Chinese match anywhere.
    pub words: String,
    /// The newest so many, 1..=200.
    pub entries_max: usize,
    /// For the next page: the last one found.
    pub before: Option<Before>,
}

impl Search {
    /// The parts of the words and how many entries to give.
    pub(crate) fn check(&self) -> Result<(Vec<terms::Part>, usize), StoreError> {
        within("streams", self.streams.len(), STREAMS_MAX)?;
        within("words' bytes", self.words.len(), SEARCH_BYTES_MAX)?;
        Ok((terms::query(&self.words), self.entries_max.clamp(1, SEARCH_ENTRIES_MAX)))
    }
}

/// Where a page of a search ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// Its time.
    pub at_ms: u64,
    /// Its stream.
    pub stream: StreamId,
    /// Its offset.
    pub offset: u64,
}

/// One entry that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// In which stream.
    pub stream: StreamId,
    /// That stream's epoch.
    pub epoch: u64,
    /// What.
    pub entry: Entry,
}

impl Found {
    /// For the next page of the same search.
    pub fn cursor(&self) -> Before {
        Before { at_ms: self.entry.at_ms, stream: self.stream.clone(), offset: self.entry.offset }
    }
}

/// Streams of entries.
pub trait Log: Send + Sync {
    /// Appends, making the stream if there is none. Appends to one stream from one caller keep the order of the calls.
    ///
    /// # Errors
    /// [`StoreError::Moved`], [`StoreError::Overloaded`], [`StoreError::Full`], [`StoreError::Unknown`], …
    fn append(&self, stream: &StreamId, batch: Batch) -> Answer<Appended>;
    /// How far a stream goes; makes it if there is none.
    fn open(&self, stream: &StreamId) -> Answer<Position>;
    /// How far these streams go, in the order they were asked for.
    fn positions(&self, streams: Vec<StreamId>) -> Answer<Vec<Option<Position>>>;
    /// Reads a piece of a stream.
    fn read(&self, stream: &StreamId, read: Read) -> Answer<History>;
    /// The first offset whose entry is of this time or later (milliseconds since 1970); the next one if there is none.
    fn offset_at(&self, stream: &StreamId, at_ms: u64) -> Answer<u64>;
    /// Changes an entry in its place. Answered with the entry as it is now.
    ///
    /// # Errors
    /// [`StoreError::Missing`]: not there, trimmed, or removed before (an edit brings nothing back).
    fn change(&self, stream: &StreamId, offset: u64, change: Change) -> Answer<Entry>;
    /// Takes away what need not be kept, at most about 1,000 entries in one call.
    fn trim(&self, stream: &StreamId, keep: Keep) -> Answer<Trimmed>;
    /// Removes a whole stream with its entries, in bounded pieces. True: it is gone; false: there is more to do.
    /// A stream of the same name made later has another epoch.
    fn remove(&self, stream: &StreamId) -> Answer<bool>;
    /// Full text search, the newest first.
    fn search(&self, search: Search) -> Answer<Vec<Found>>;
    /// Names of streams that begin with `prefix`, in order, after `after`, at most 1,000.
    fn streams(&self, prefix: &str, after: Option<&StreamId>) -> Answer<Vec<StreamId>>;
}
