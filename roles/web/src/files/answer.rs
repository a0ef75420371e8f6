//! From a file to an answer: representation, conditions, range, fields, body.
//!
//! **Job.** Everything RFC 9110 asks of a GET or HEAD once the file is known.
//! **Called by** `files`. **Calls** `encoding`, `conditional`, `range`, `multipart`.
//!
//! Invariants
//! 1. The fields of HEAD are those of GET.
//! 2. Wherever the coding could have been another, `vary` says so - on 304 and errors too.
//! 3. A range is a range of the representation whose tag is sent beside it.
//!
//! Not here: finding the file (`files`), making codings (`made`).

use std::rc::Rc;

use bytes::Bytes;
use madang_host::clock;
use madang_http::body::{Body, FileBody};
use madang_http::exchange::Exchange;
use madang_http::response::{Response, Text};
use madang_wire::request::{Method, RequestHead};

use super::Folder;
use super::conditional::{self, Outcome, Present};
use super::encoding::{Acceptable, Coding};
use super::entry::{Content, FileEntry, Sibling, Siblings};
use super::made::{Made, Ready};
use super::multipart;
use super::range::{self, Wanted};
use crate::verdict::{Blame, Failure, Verdict};

/// The bytes that were chosen, and what names them.
struct Representation<'a> {
    content: &'a Content,
    length: u64,
    coding: Option<Coding>,
    etag: &'a Text,
    last_modified: Option<&'a Text>,
    modified_s: Option<u64>,
    /// Whether parts of it can be asked for.
    ranges: bool,
}

/// Answers with the file at `path`.
pub(super) fn file(
    folder: &Rc<Folder>,
    head: &RequestHead,
    response: &mut Response,
    path: &str,
    entry: &Rc<FileEntry>,
) -> Verdict {
    let present = Present::of(head);
    let acceptable = if present.accept_encoding { Acceptable::of(head) } else { Acceptable::IDENTITY };
    look_for_siblings(folder, path, entry);
    let siblings = entry.siblings.borrow();
    let makeable = folder.options.compress.is_some_and(|compress| {
        entry.compressible && (compress.bytes_min..=compress.bytes_max).contains(&entry.length)
    });
    if makeable || !siblings.found.is_empty() {
        response.fields.add_to_list("vary", "accept-encoding");
    }
    let beside = acceptable.choose(siblings.found.iter().map(|sibling| sibling.coding));
    if let Some(sibling) =
        beside.and_then(|coding| siblings.found.iter().find(|sibling| sibling.coding == coding))
    {
        return represent(head, response, present, &entry.content_type, &Representation::of_sibling(sibling));
    }
    // Parts and strong conditions need bytes that are the same every time: then the file goes as it is, if it may.
    let needs_rest = (present.range && head.method() == Method::Get) || present.if_match;
    if makeable
        && !(needs_rest && acceptable.identity())
        && let Some(coding) = acceptable.choose(Coding::BY_COST.into_iter())
    {
        return coded(folder, head, response, present, acceptable, entry, coding);
    }
    as_it_is(head, response, present, acceptable, entry)
}

/// Answers with the file itself.
fn as_it_is(
    head: &RequestHead,
    response: &mut Response,
    present: Present,
    acceptable: Acceptable,
    entry: &FileEntry,
) -> Verdict {
    if !acceptable.identity() {
        return Failure::new(406, Blame::Client, "encoding-not-acceptable", "the file exists only as it is")
            .into();
    }
    represent(head, response, present, &entry.content_type, &Representation::of(entry))
}

/// Answers with a coding made here.
fn coded(
    folder: &Rc<Folder>,
    head: &RequestHead,
    response: &mut Response,
    present: Present,
    acceptable: Acceptable,
    entry: &Rc<FileEntry>,
    coding: Coding,
) -> Verdict {
    let known = folder.caches.codings.borrow_mut().known(entry, coding);
    if let Some(made) = known {
        return with_made(head, response, present, acceptable, entry, coding, &made);
    }
    // Whoever has it already, or wants only the head, does not need it made.
    let etag = entry.weak_etag(coding);
    let unmade = Representation {
        content: &entry.content,
        ..Representation::of_made(entry, coding, &etag, entry.length)
    };
    if let Some(verdict) = judge(head, response, present, &unmade).1 {
        return verdict;
    }
    if head.method() == Method::Head && matches!(entry.content, Content::Open(_)) {
        // What GET will most likely say; making a large coding for its length alone would be work for nothing.
        name(response, &unmade);
        response.fields.add("content-type", entry.content_type.clone());
        return Verdict::Answer;
    }
    let ready = folder.caches.codings.borrow_mut().make(entry, coding);
    match ready {
        Ready::Now(made) => with_made(head, response, present, acceptable, entry, coding, &made),
        Ready::Later(job) => {
            let (folder, entry) = (Rc::clone(folder), Rc::clone(entry));
            Verdict::Wait(Box::new(move |mut exchange| {
                Box::pin(async move {
                    let made = job.wait().await;
                    folder.caches.codings.borrow_mut().adopt();
                    let Exchange { head, response, .. } = &mut *exchange;
                    let verdict = with_made(head, response, present, acceptable, &entry, coding, &made);
                    (exchange, verdict)
                })
            }))
        }
    }
}

fn with_made(
    head: &RequestHead,
    response: &mut Response,
    present: Present,
    acceptable: Acceptable,
    entry: &FileEntry,
    coding: Coding,
    made: &Made,
) -> Verdict {
    match made {
        Made::Coded { bytes, etag } => {
            let content = Content::Memory(bytes.clone());
            let made = Representation::of_made(entry, coding, etag, bytes.len() as u64);
            represent(
                head,
                response,
                present,
                &entry.content_type,
                &Representation { content: &content, ..made },
            )
        }
        Made::AsItIs => as_it_is(head, response, present, acceptable, entry),
    }
}

impl<'a> Representation<'a> {
    fn of(entry: &'a FileEntry) -> Self {
        Self {
            content: &entry.content,
            length: entry.length,
            coding: None,
            etag: &entry.validators.etag,
            last_modified: entry.validators.last_modified.as_ref(),
            modified_s: entry.validators.modified_s,
            ranges: true,
        }
    }
    fn of_sibling(sibling: &'a Sibling) -> Self {
        Self { coding: Some(sibling.coding), etag: &sibling.etag, ..Self::of(&sibling.entry) }
    }
    fn of_made(entry: &'a FileEntry, coding: Coding, etag: &'a Text, length: u64) -> Self {
        Self { coding: Some(coding), etag, length, ranges: false, ..Self::of(entry) }
    }
}

/// The conditions: what they say of the range, and the verdict where they end the matter.
fn judge(
    head: &RequestHead,
    response: &mut Response,
    present: Present,
    chosen: &Representation<'_>,
) -> (Outcome, Option<Verdict>) {
    let now_s = || clock::unix_seconds(clock::wall());
    let outcome = conditional::evaluate(head, present, chosen.etag.as_bytes(), chosen.modified_s, now_s);
    let verdict = match outcome {
        Outcome::Proceed | Outcome::ProceedWhole => None,
        Outcome::NotModified => {
            response.status = 304;
            response.fields.add("etag", chosen.etag.clone());
            Some(Verdict::Answer)
        }
        Outcome::Failed => {
            let why = "the file is of another state";
            Some(Failure::new(412, Blame::Client, "precondition-failed", why).into())
        }
    };
    (outcome, verdict)
}

/// The fields that name a representation, whole or in part.
fn name(response: &mut Response, chosen: &Representation<'_>) {
    if let Some(coding) = chosen.coding {
        response.fields.add("content-encoding", coding.text());
    }
    response.fields.add("etag", chosen.etag.clone());
    if let Some(last_modified) = chosen.last_modified {
        response.fields.add("last-modified", last_modified.clone());
    }
    if chosen.ranges {
        response.fields.add("accept-ranges", "bytes");
    }
}

fn represent(
    head: &RequestHead,
    response: &mut Response,
    present: Present,
    content_type: &Text,
    chosen: &Representation<'_>,
) -> Verdict {
    let (outcome, verdict) = judge(head, response, present, chosen);
    if let Some(verdict) = verdict {
        return verdict;
    }
    let wanted = match the_range(head, present, outcome) {
        Some(value) if chosen.ranges => range::parse(value, chosen.length),
        _ => Wanted::Whole,
    };
    if wanted == Wanted::Nothing {
        response.fields.set("content-range", Text::from(format!("bytes */{}", chosen.length)));
        return Failure::new(
            416,
            Blame::Client,
            "range-not-satisfiable",
            "no part of the file was asked for",
        )
        .into();
    }
    name(response, chosen);
    response.status = if wanted == Wanted::Whole { 200 } else { 206 };
    match wanted {
        Wanted::Many(parts) => {
            let boundary = multipart::boundary(chosen.etag);
            response.fields.add("content-type", multipart::content_type(&boundary));
            response.body = multipart::body(chosen.content, &parts, chosen.length, content_type, &boundary);
        }
        Wanted::One(part) => {
            response.fields.add("content-type", content_type.clone());
            response.fields.add("content-range", Text::from(multipart::content_range(part, chosen.length)));
            response.body = body(chosen.content, part.first, part.length());
        }
        Wanted::Whole | Wanted::Nothing => {
            response.fields.add("content-type", content_type.clone());
            if head.method() == Method::Head {
                response.length_hint = Some(chosen.length);
            } else {
                response.body = body(chosen.content, 0, chosen.length);
            }
        }
    }
    Verdict::Answer
}

/// The one `range` value that is to be honoured (RFC 9110 14.2: on GET only).
fn the_range(head: &RequestHead, present: Present, outcome: Outcome) -> Option<&[u8]> {
    if !present.range || outcome == Outcome::ProceedWhole || head.method() != Method::Get {
        return None;
    }
    let mut values = head.get_all("range");
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// A piece of the content.
pub(super) fn body(content: &Content, offset: u64, length: u64) -> Body {
    if length == 0 {
        return Body::Empty;
    }
    match content {
        Content::Memory(bytes) => Body::Bytes(slice(bytes, offset, length)),
        Content::Open(file) => Body::File(FileBody { file: Rc::clone(file), offset, length }),
    }
}

/// A piece of bytes at hand; ranges lie inside, so that nothing is ever cut.
pub(super) fn slice(bytes: &Bytes, offset: u64, length: u64) -> Bytes {
    let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(offset)..at(offset.saturating_add(length)))
}

/// Looks again for compressed files beside this one, where the last look is too old.
fn look_for_siblings(folder: &Folder, path: &str, entry: &FileEntry) {
    if !folder.options.precompressed || !entry.may_have_siblings {
        return;
    }
    let now_ms = folder.caches.now_ms();
    let valid_ms = folder.options.cache_valid_ms;
    if entry
        .siblings
        .borrow()
        .checked_ms
        .is_some_and(|checked_ms| now_ms.saturating_sub(checked_ms) < valid_ms)
    {
        return;
    }
    let mut found = Vec::new();
    let mut beside = String::with_capacity(path.len() + 4);
    for coding in Coding::BY_SIZE {
        beside.clear();
        beside.push_str(path);
        beside.push_str(coding.suffix());
        // Asked of the disk, not of the cache: names that are not there would fill it.
        if folder.root.identity_at(&beside).is_ok()
            && let super::Found::File(sibling) = folder.find(&beside)
            && sibling.identity.modified_ns >= entry.identity.modified_ns
        {
            let etag = sibling.coded_etag(coding);
            found.push(Sibling { coding, entry: sibling, etag });
        }
    }
    *entry.siblings.borrow_mut() = Siblings { checked_ms: Some(now_ms), found };
}
