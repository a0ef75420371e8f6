//! Files attached to messages, by HTTP.
//!
//! **Job.** `POST files?name=…` takes one, `GET files/ID/NAME` gives it back. **Called by** `super`. **Calls** `shelf`, on the
//! worker's threads that may block.
//!
//! Invariants
//! 1. What somebody uploaded is never a page of ours: what a browser could run is given as a download, everything is
//!    sandboxed and `nosniff`.
//! 2. An upload holds at most [`GATHER_BYTES`] and one piece in memory; sizes are judged before they are written.
//!
//! Not here: the files on disk (`shelf`).

pub mod guests;
pub mod shelf;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use madang_http::body::{Body, BodyFault, FileBody};
use madang_http::exchange::Exchange;
use madang_store::Store;
use madang_wire::path::percent_encode_path;
use madang_wire::request::Method;

use self::shelf::{About, NotTaken, Part, Shelf};
use super::query::parameter;
use super::{only, refuse, rooms, who};
use crate::config::FileSettings;
use crate::event::File;
use crate::here::Here;
use crate::hub::AttachedNotes;
use crate::post::Claim;
use crate::refusal::Refusal;

/// Uploads at once on one worker.
const UPLOADS_MAX: u32 = 16;
/// Bytes gathered before they are written.
const GATHER_BYTES: usize = 256 * 1024;
/// A file's name, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// What browsers show and never run.
const SHOWN: [&str; 8] =
    ["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "audio/*", "video/*", "text/plain"];

thread_local! {
    static UPLOADS: Cell<u32> = const { Cell::new(0) };
}

/// A place among the uploads of this worker.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let free = UPLOADS.get() < UPLOADS_MAX;
        free.then(|| {
            UPLOADS.set(UPLOADS.get() + 1);
            Self
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        UPLOADS.set(UPLOADS.get().saturating_sub(1));
    }
}

/// `POST files?name=…`.
pub(super) async fn take(here: Rc<Here>, mut exchange: Box<Exchange>) -> Box<Exchange> {
    if exchange.head.method() != Method::Post {
        only(&mut exchange, "POST");
        return exchange;
    }
    match taken(&here, &mut exchange).await {
        Ok(file) => {
            exchange.response.status = 201;
            rooms::json(&mut exchange, &file);
        }
        Err(refusal) => refuse(&mut exchange, &refusal),
    }
    exchange
}

async fn taken(here: &Rc<Here>, exchange: &mut Exchange) -> Result<File, Refusal> {
    let settings = here.settings();
    let none = Refusal::BadFile { must: "a link elsewhere: this chat takes no files" };
    let (Some(files), Some(shelf)) = (&settings.files, here.shelf()) else { return Err(none) };
    let by = sender(here, exchange, files).await?;
    let name = parameter(exchange.head.query(), "name")?.unwrap_or_default();
    let is_name = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c.is_control() || c == '/' || c == '\\');
    if !is_name {
        return Err(Refusal::BadFile { must: "named, ?name=…, in up to 200 bytes without / and \\" });
    }
    let media_type = exchange.head.get_str("content-type").unwrap_or_default().to_owned();
    if !files.takes(&media_type) {
        return Err(Refusal::BadFile { must: "of a media type that this chat takes (`files.types`)" });
    }
    let _place = Place::take().ok_or(Refusal::Busy { again_ms: 1000 })?;
    exchange.body.set_limit(files.bytes_max);
    let begun = off(move || shelf.begin().map_err(NotTaken::Disk)).await?;
    let (part, bytes) = receive(exchange, begun, files).await?;
    if bytes == 0 {
        return Err(Refusal::BadFile { must: "more than nothing" });
    }
    let about = About { name: name.clone(), media_type: media_type.clone(), bytes, by, noted: true };
    let id = off(move || part.finish(&about)).await?;
    let mut path = Vec::new();
    percent_encode_path(&name, &mut path);
    let url = format!("files/{id}/{}", String::from_utf8_lossy(&path));
    Ok(File { name, url, bytes, media_type })
}

/// Who sends it, by name.
async fn sender(here: &Here, exchange: &Exchange, files: &FileSettings) -> Result<String, Refusal> {
    if let Some(Claim::User { name, .. }) = who(here, &exchange.head).await? {
        return Ok(name.to_string());
    }
    if !files.guests {
        return Err(Refusal::UsersOnly);
    }
    let key = exchange.head.get_str("madang-key").ok_or(Refusal::UsersOnly)?;
    here.guests().find(key).map(|name| name.to_string()).ok_or(Refusal::BadKey)
}

/// The body onto the shelf, a gathered piece at a time.
async fn receive(
    exchange: &mut Exchange,
    mut part: Part,
    files: &FileSettings,
) -> Result<(Part, u64), Refusal> {
    let (mut gathered, mut bytes) = (BytesMut::new(), 0);
    let total_max = files.total_bytes_max;
    loop {
        let piece = exchange.body.next().await.transpose().map_err(|fault| broken(&fault))?;
        let ended = piece.is_none();
        if let Some(piece) = piece {
            bytes += piece.len() as u64;
            gathered.extend_from_slice(&piece);
        }
        if gathered.len() >= GATHER_BYTES || (ended && !gathered.is_empty()) {
            let bytes = gathered.split();
            part = off(move || part.write(&bytes, total_max)).await?;
        }
        if ended {
            return Ok((part, bytes));
        }
    }
}

fn broken(fault: &BodyFault) -> Refusal {
    match fault {
        BodyFault::TooLarge { max } => {
            let max = usize::try_from(*max).unwrap_or(usize::MAX);
            Refusal::TooLong { what: "a file", bytes: max.saturating_add(1), max }
        }
        fault => Refusal::Malformed { why: fault.to_string() },
    }
}

async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotTaken> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(NotTaken::Full(max))) => {
            Err(Refusal::Full { what: "bytes of files", max: usize::try_from(max).unwrap_or(usize::MAX) })
        }
        Ok(Err(NotTaken::Disk(error))) => Err(disk(error.to_string())),
        Err(_) => Err(disk("its thread broke".to_owned())),
    }
}

fn disk(why: String) -> Refusal {
    Refusal::Store(madang_store::error::StoreError::Failed { why })
}

/// `GET files/ID/NAME`.
pub(super) async fn give(here: Rc<Here>, mut exchange: Box<Exchange>, id: String) -> Box<Exchange> {
    if !matches!(exchange.head.method(), Method::Get | Method::Head) {
        only(&mut exchange, "GET, HEAD");
        return exchange;
    }
    let found = match here.shelf() {
        Some(shelf) => off(move || shelf.find(&id).map_err(NotTaken::Disk)).await,
        None => Ok(None),
    };
    match found {
        Ok(Some((file, about))) => answer(&mut exchange, file, &about),
        Ok(None) => {
            exchange.response.status = 404;
            exchange.notes.error = Some("no-such-file");
        }
        Err(refusal) => refuse(&mut exchange, &refusal),
    }
    exchange
}

fn answer(exchange: &mut Exchange, file: std::fs::File, about: &About) {
    let essence = about.media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let shown = SHOWN.iter().any(|one| match one.strip_suffix('*') {
        Some(kind) => essence.starts_with(kind),
        None => essence == *one,
    });
    let mut name = Vec::new();
    percent_encode_path(&about.name, &mut name);
    // What RFC 8187 wants escaped beyond what a path does.
    let name = String::from_utf8_lossy(&name).replace('\'', "%27").replace('(', "%28").replace(')', "%29");
    let name = name.replace(['*', ';', ',', '"'], "_");
    let kind = if shown { "inline" } else { "attachment" };
    let range = exchange.head.get("range").filter(|_| exchange.head.method() == Method::Get);
    let range = range.and_then(|range| one_range(range, about.bytes));
    let response = &mut exchange.response;
    let fields = &mut response.fields;
    fields.set(
        "content-type",
        if shown { about.media_type.clone() } else { "application/octet-stream".to_owned() },
    );
    fields.set("content-disposition", format!("{kind}; filename*=UTF-8''{name}"));
    fields.set("x-content-type-options", "nosniff");
    fields.set(
        "content-security-policy",
        "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'",
    );
    fields.set("cross-origin-resource-policy", "same-origin");
    // An id is of one file for ever.
    fields.set("cache-control", "private, max-age=31536000, immutable");
    fields.set("accept-ranges", "bytes");
    let (offset, length) = match range {
        Some(Some((first, last))) => {
            response.status = 206;
            fields.set("content-range", format!("bytes {first}-{last}/{}", about.bytes));
            (first, last - first + 1)
        }
        Some(None) => {
            response.status = 416;
            fields.set("content-range", format!("bytes */{}", about.bytes));
            return;
        }
        None => (0, about.bytes),
    };
    response.body = Body::File(FileBody { file: Rc::new(file), offset, length });
}

/// One range of a file, as players ask for it. `None`: the whole file; `Some(None)`: nothing of it is there (RFC 9110 14.2).
fn one_range(value: &[u8], length: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = std::str::from_utf8(value).ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let last_of_all = length.checked_sub(1)?;
    if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        return Some((count > 0).then(|| (length.saturating_sub(count), last_of_all)));
    }
    let first: u64 = first.parse().ok()?;
    let last: u64 = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    if last < first {
        return None;
    }
    Some((first <= last_of_all).then_some((first, last.min(last_of_all))))
}

/// For `madang`: where the files of a chat lie.
pub fn folder(data: &std::path::Path, chat: &str) -> std::path::PathBuf {
    data.join("chat").join(chat).join("files")
}

/// An upload that no message named for so long is thrown away.
pub const UNSENT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Throws away what is older than history, and what no message has. What cannot be done now is done the next time.
pub async fn sweep(store: Store, chat: Arc<str>, shelf: Arc<Shelf>, age_max: Option<Duration>) {
    if let Some(age_max) = age_max {
        let shelf = Arc::clone(&shelf);
        let _ = tokio::task::spawn_blocking(move || shelf.forget(age_max)).await;
    }
    let Ok(notes) = AttachedNotes::read(&store, &chat).await else { return };
    let looked = Arc::clone(&shelf);
    let found = tokio::task::spawn_blocking(move || looked.unnamed(|id| notes.names(id), UNSENT_MAX)).await;
    let Ok(Ok(unnamed)) = found else { return };
    for id in unnamed {
        // It may have been sent since the notes were read.
        if matches!(AttachedNotes::names_now(&store, &chat, &id).await, Ok(None | Some(false))) {
            let shelf = Arc::clone(&shelf);
            let _ = tokio::task::spawn_blocking(move || shelf.remove(&id)).await;
        }
    }
}

/// What all workers of a chat share.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// The files; `None`: there are none.
    pub shelf: Option<Arc<Shelf>>,
    /// The guests that are here.
    pub guests: Arc<guests::Guests>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_given() {
        check("bytes=0-4", Some(Some((0, 4))));
        check("bytes=5-", Some(Some((5, 9))));
        check("bytes=5-100", Some(Some((5, 9))));
        check("bytes=-3", Some(Some((7, 9))));
        check("bytes=-30", Some(Some((0, 9))));
        check("bytes=10-", Some(None));
        check("bytes=-0", Some(None));
        check("bytes=4-2", None);
        check("bytes=0-1,3-4", None);
        check("lines=0-1", None);

        #[track_caller]
        fn check(value: &str, want: Option<Option<(u64, u64)>>) {
            assert_eq!(one_range(value.as_bytes(), 10), want, "{value}");
        }
    }
}
