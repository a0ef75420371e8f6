//! The chat's page: four files, built from `console/chat`, part of the program.
//!
//! **Job.** Answer them, compressed where the client takes it, and only once per version. **Called by** `super`.
//!
//! Invariants
//! 1. The page runs nothing but its own script and talks to nobody but its own origin.
//!
//! Not here: what is in it (`console/chat`).

use std::io::Write as _;
use std::sync::OnceLock;

use aws_lc_rs::digest;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use madang_http::body::Body;
use madang_http::exchange::Exchange;
use madang_wire::request::Method;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
    media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file of the page.
struct File {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    made: OnceLock<Made>,
}

/// What is made of it when it is first asked for.
struct Made {
    etag: String,
    gzip: Bytes,
}

const fn file(name: &'static str, media_type: &'static str, bytes: &'static [u8]) -> File {
    File { name, media_type, bytes, made: OnceLock::new() }
}

static FILES: [File; 4] = [
    file("", "text/html; charset=utf-8", include_bytes!("../../page/dist/index.html")),
    file("chat.js", "text/javascript; charset=utf-8", include_bytes!("../../page/dist/chat.js")),
    file("chat.css", "text/css; charset=utf-8", include_bytes!("../../page/dist/chat.css")),
    file("icon.svg", "image/svg+xml", include_bytes!("../../page/dist/icon.svg")),
];

/// Answers a file of the page; false: there is none of this name.
pub(super) fn answer(exchange: &mut Exchange, name: &str) -> bool {
    let name = if name == "index.html" { "" } else { name };
    let Some(file) = FILES.iter().find(|file| file.name == name) else { return false };
    if !matches!(exchange.head.method(), Method::Get | Method::Head) {
        super::only(exchange, "GET, HEAD");
        return true;
    }
    let made = file.made.get_or_init(|| make(file.bytes));
    let head = &exchange.head;
    let is_known = head.get("if-none-match").is_some_and(|known| {
        known.split(|byte| *byte == b',').any(|one| {
            let one = one.trim_ascii();
            one.strip_prefix(b"W/").unwrap_or(one) == made.etag.as_bytes()
        })
    });
    let takes_gzip = head.get_all("accept-encoding").any(|line| {
        line.split(|byte| *byte == b',').any(|one| {
            let mut parts = one.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let named = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"gzip"));
            named && !parts.any(|part| matches!(part, b"q=0" | b"q=0.0" | b"q=0.00" | b"q=0.000"))
        })
    });
    let response = &mut exchange.response;
    let fields = &mut response.fields;
    fields.set("etag", format!("W/{}", made.etag));
    // Asked every time, answered by a 304 nearly every time: a new version of the program is a new page at once.
    fields.set("cache-control", "no-cache");
    fields.add_to_list("vary", "accept-encoding");
    fields.set("content-security-policy", POLICY);
    fields.set("referrer-policy", "no-referrer");
    fields.set("x-content-type-options", "nosniff");
    if is_known {
        response.status = 304;
        return true;
    }
    fields.set("content-type", file.media_type);
    response.body = if takes_gzip && made.gzip.len() < file.bytes.len() {
        fields.set("content-encoding", "gzip");
        Body::Bytes(made.gzip.clone())
    } else {
        Body::Bytes(Bytes::from_static(file.bytes))
    };
    true
}

fn make(bytes: &[u8]) -> Made {
    let hash = digest::digest(&digest::SHA256, bytes);
    let etag: String = hash.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    // Into memory: it cannot fail; if it did, the page would go out as it is.
    let gzip = gzip.write_all(bytes).and_then(|()| gzip.finish()).unwrap_or_else(|_| bytes.to_vec());
    Made { etag: format!("\"{etag}\""), gzip: gzip.into() }
}
