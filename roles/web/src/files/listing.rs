//! Listings of folders that have no index.
//!
//! **Job.** Read a folder, sort it, and answer with a page or JSON, as the client prefers.
//! **Called by** `files`, where `listing` is on. **Calls** `root`, `listing_page`, `compress`.
//!
//! Invariants
//! 1. A name is listed only when asking for it would be answered: same hiding, same links, regular files and folders.
//! 2. At most [`ENTRIES_MAX`] entries, at most [`JOBS_MAX`] listings in the making per worker.
//! 3. The disk is read on a blocking thread: a folder of ten thousand files does not hold the worker up.
//!
//! Not here: how the page looks (`listing_page`).

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::Bytes;
use madang_http::body::Body;
use madang_http::exchange::Exchange;
use madang_http::response::{Response, Text};
use madang_wire::date;
use madang_wire::request::{Method, RequestHead};
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::Serialize;

use super::compress::compress;
use super::conditional::{self, Outcome, Present};
use super::encoding::{Acceptable, Coding};
use super::place::Place;
use super::quality;
use super::root::{Beneath, Missing, Opened};
use super::{Folder, failure, listing_page, path, upload_page};
use crate::verdict::{Blame, Failure, Verdict};

/// Entries of one listing.
pub(super) const ENTRIES_MAX: usize = 10_000;
/// Names looked at for one listing, shown or not.
const NAMES_MAX: usize = 10 * ENTRIES_MAX;
/// Listings in the making at once on one worker.
const JOBS_MAX: u32 = 64;
/// Smaller listings are sent as they are.
const COMPRESS_BYTES_MIN: usize = 1024;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) folder: bool,
    /// Bytes; 0 for folders.
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) modified_s: u64,
}

/// What the lines are sorted by; folders always come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Name,
    Size,
    Date,
}

/// How a listing was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The address as the client sees it, decoded, with its slash.
    pub(super) address: String,
    /// How many parts of the address lie in the folder that is served: those have links.
    pub(super) depth: usize,
    pub(super) key: Key,
    pub(super) descending: bool,
    pub(super) korean: bool,
    pub(super) json: bool,
    /// Files are taken here.
    pub(super) upload: bool,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    /// False: there is more than is listed.
    pub(super) complete: bool,
}

/// Answers with the listing of `folder_path`, later.
pub(super) fn answer(folder: &Rc<Folder>, head: &RequestHead, folder_path: &str) -> Verdict {
    let Some(place) = Place::take(&folder.caches.listings, JOBS_MAX) else {
        return Failure::new(503, Blame::Load, "listings-busy", "too many folders are being listed at once")
            .into();
    };
    let request = Request::of(head, folder_path, folder.options.upload);
    let acceptable =
        if head.get("accept-encoding").is_some() { Acceptable::of(head) } else { Acceptable::IDENTITY };
    let coding = folder.options.compress.and_then(|_| acceptable.choose(Coding::BY_COST.into_iter()));
    let (beneath, dotfiles) = (folder.root.beneath(), folder.options.dotfiles);
    let folder_path = folder_path.to_owned();
    Verdict::Wait(Box::new(move |mut exchange| {
        Box::pin(async move {
            let (json, upload) = (request.json, request.upload);
            let job = tokio::task::spawn_blocking(move || {
                let mut contents = read(&beneath, &folder_path, dotfiles)?;
                sort(&mut contents.entries, request.key, request.descending);
                Ok(Rendered::of(render(&request, &contents), coding))
            });
            let verdict = match job.await {
                Ok(Ok(rendered)) => send(&mut exchange, rendered, json, upload),
                Ok(Err(missing)) => failure(missing, exchange.head.path()).into(),
                Err(_) => Failure::new(500, Blame::Us, "listing-broke", "the listing's thread broke").into(),
            };
            drop(place);
            (exchange, verdict)
        })
    }))
}

impl Request {
    fn of(head: &RequestHead, folder_path: &str, upload: bool) -> Self {
        let (mut key, mut descending) = (Key::Name, false);
        for pair in head.query().unwrap_or("").split('&') {
            match pair {
                "sort=name" => key = Key::Name,
                "sort=size" => key = Key::Size,
                "sort=date" => key = Key::Date,
                "order=asc" => descending = false,
                "order=desc" => descending = true,
                _ => {}
            }
        }
        let wants = |media_type| quality::media_weight(head.get_all("accept"), media_type);
        Self {
            address: head.path().to_owned(),
            depth: folder_path.split('/').filter(|part| !part.is_empty()).count(),
            key,
            descending,
            korean: prefers_korean(head),
            json: wants("application/json") > wants("text/html"),
            upload,
        }
    }
}

/// Whether `accept-language` wants Korean more than English.
fn prefers_korean(head: &RequestHead) -> bool {
    let (mut korean, mut english) = (0, 0);
    for (range, weight) in head.get_all("accept-language").flat_map(quality::members) {
        let language = range.split('-').next().unwrap_or("");
        if language.eq_ignore_ascii_case("ko") {
            korean = korean.max(weight);
        } else if language.eq_ignore_ascii_case("en") {
            english = english.max(weight);
        }
    }
    korean > english
}

/// Reads a folder. Runs on a blocking thread.
fn read(beneath: &Beneath, folder_path: &str, dotfiles: bool) -> Result<Contents, Missing> {
    let Opened::Directory(named, _) = beneath.open_at(folder_path)? else { return Err(Missing::Absent) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = fs::openat(&named, ".", flags, Mode::empty())?;
    let mut contents = Contents { entries: Vec::new(), complete: true };
    let mut names = 0;
    for found in Dir::read_from(&directory).map_err(Missing::from)? {
        let found = found.map_err(Missing::from)?;
        names += 1;
        if contents.entries.len() >= ENTRIES_MAX || names > NAMES_MAX {
            contents.complete = false;
            break;
        }
        // What cannot be written in an address cannot be asked for.
        let Ok(name) = found.file_name().to_str() else { continue };
        let whole = if folder_path.is_empty() { name.to_owned() } else { format!("{folder_path}/{name}") };
        if !path::is_name(name) || !path::is_allowed(&whole, dotfiles) {
            continue;
        }
        // Gone meanwhile, or not for us: not listed.
        let Ok(stat) = look(beneath, &named, name, &whole) else { continue };
        let folder = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => false,
            _ => continue,
        };
        contents.entries.push(Entry {
            name: name.to_owned(),
            folder,
            size: if folder { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) },
            modified_s: u64::try_from(stat.st_mtime).unwrap_or(0),
        });
    }
    Ok(contents)
}

/// What a name leads to, through links only where those are followed.
fn look(beneath: &Beneath, named: &OwnedFd, name: &str, whole: &str) -> Result<Stat, Errno> {
    let stat = fs::statat(named, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return beneath.name(whole).map(|(_, stat)| stat);
    }
    Ok(stat)
}

/// Folders first, then by the key, then by name: the order is total, so that a page never shuffles.
fn sort(entries: &mut [Entry], key: Key, descending: bool) {
    entries.sort_by_cached_key(|entry| entry.name.clone());
    entries.sort_by_cached_key(|entry| entry.name.to_lowercase());
    entries.sort_by(|a, b| {
        let by_key = match key {
            Key::Name => Ordering::Equal,
            Key::Size => a.size.cmp(&b.size),
            Key::Date => a.modified_s.cmp(&b.modified_s),
        };
        b.folder.cmp(&a.folder).then(if descending { by_key.reverse() } else { by_key })
    });
    if descending && key == Key::Name {
        let folders = entries.iter().take_while(|entry| entry.folder).count();
        entries[..folders].reverse();
        entries[folders..].reverse();
    }
}

fn render(request: &Request, contents: &Contents) -> String {
    if request.json { as_json(request, contents) } else { listing_page::render(request, contents) }
}

#[derive(Serialize)]
struct JsonListing<'a> {
    path: &'a str,
    entries: Vec<JsonEntry<'a>>,
    complete: bool,
}

#[derive(Serialize)]
struct JsonEntry<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    modified: String,
}

fn as_json(request: &Request, contents: &Contents) -> String {
    let entries = contents.entries.iter().map(|entry| JsonEntry {
        name: &entry.name,
        kind: if entry.folder { "folder" } else { "file" },
        size: (!entry.folder).then_some(entry.size),
        modified: rfc3339(entry.modified_s),
    });
    let listing =
        JsonListing { path: &request.address, entries: entries.collect(), complete: contents.complete };
    // Strings and numbers always can be written.
    serde_json::to_string(&listing).unwrap_or_default()
}

/// `1994-11-06T08:49:37Z`.
pub(super) fn rfc3339(seconds: u64) -> String {
    let text = date::imf_fixdate(seconds); // "Sun, 06 Nov 1994 08:49:37 GMT"
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == &text[8..11]).unwrap_or(0) + 1;
    format!("{}-{month:02}-{}T{}Z", &text[12..16], &text[5..7], &text[17..25])
}

/// A listing ready to send.
struct Rendered {
    bytes: Bytes,
    coding: Option<Coding>,
    etag: String,
}

impl Rendered {
    fn of(text: String, coding: Option<Coding>) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(coding) = coding
            && text.len() >= COMPRESS_BYTES_MIN
            && let Ok(Some(bytes)) = compress(coding, text.as_bytes(), text.len() as u64)
        {
            return Self {
                bytes,
                coding: Some(coding),
                etag: format!("W/\"{hash:016x}-{}\"", coding.name()),
            };
        }
        Self { bytes: Bytes::from(text), coding: None, etag: format!("\"{hash:016x}\"") }
    }
}

fn send(exchange: &mut Exchange, rendered: Rendered, json: bool, upload: bool) -> Verdict {
    let Exchange { head, response, .. } = exchange;
    for chosen_by in ["accept", "accept-encoding", "accept-language"] {
        response.fields.add_to_list("vary", chosen_by);
    }
    // A folder changes without telling: ask again each time, which costs a 304. A 304 says so again (RFC 9110 15.4.5).
    response.fields.set_default("cache-control", "no-cache");
    let present = Present::of(head);
    match conditional::evaluate(head, present, rendered.etag.as_bytes(), None, || 0) {
        Outcome::Failed => {
            let why = "the folder has changed";
            return Failure::new(412, Blame::Client, "precondition-failed", why).into();
        }
        Outcome::NotModified => {
            response.status = 304;
            response.fields.add("etag", rendered.etag);
        }
        Outcome::Proceed | Outcome::ProceedWhole => whole(head, response, rendered, json, upload),
    }
    Verdict::Answer
}

fn whole(head: &RequestHead, response: &mut Response, rendered: Rendered, json: bool, upload: bool) {
    response.status = 200;
    let content_type = if json { "application/json; charset=utf-8" } else { "text/html; charset=utf-8" };
    response.fields.add("content-type", content_type);
    if let Some(coding) = rendered.coding {
        response.fields.add("content-encoding", coding.text());
    }
    response.fields.add("etag", Text::from(rendered.etag));
    if !json {
        // Names are escaped; should one ever not be, nothing in it may run.
        let policy = if upload { &upload_page::POLICY } else { &listing_page::POLICY };
        response.fields.set_default("content-security-policy", policy.as_str());
    }
    if head.method() == Method::Head {
        response.length_hint = Some(rendered.bytes.len() as u64);
    } else {
        response.body = Body::Bytes(rendered.bytes);
    }
}
