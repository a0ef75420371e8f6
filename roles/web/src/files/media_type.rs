//! Media types by file name.
//!
//! **Job.** Name the type of a file, with `charset=utf-8` where it is text, and say whether it is worth compressing.
//! **Called by** `entry`. **Calls** `mime_guess` for what the table does not settle.
//!
//! Not here: looking into contents: what a file is called decides, so that an upload cannot become a page.

use madang_http::response::Text;

/// Answers where nothing is known (RFC 2046 4.5.1).
const UNKNOWN: &str = "application/octet-stream";

/// What the web serves all day, and where the general table is out of date: (extension, type, compressible).
const TABLE: &[(&str, &str, bool)] = &[
    ("atom", "application/atom+xml; charset=utf-8", true),
    ("avif", "image/avif", false),
    ("bmp", "image/bmp", true),
    ("css", "text/css; charset=utf-8", true),
    ("csv", "text/csv; charset=utf-8", true),
    ("geojson", "application/geo+json; charset=utf-8", true),
    ("gif", "image/gif", false),
    ("htm", "text/html; charset=utf-8", true),
    ("html", "text/html; charset=utf-8", true),
    ("ico", "image/x-icon", true),
    ("jpeg", "image/jpeg", false),
    ("jpg", "image/jpeg", false),
    ("js", "text/javascript; charset=utf-8", true),
    ("json", "application/json; charset=utf-8", true),
    ("jsonld", "application/ld+json; charset=utf-8", true),
    ("jxl", "image/jxl", false),
    ("log", "text/plain; charset=utf-8", true),
    ("m3u8", "application/vnd.apple.mpegurl", true),
    ("m4a", "audio/mp4", false),
    ("map", "application/json; charset=utf-8", true),
    ("md", "text/markdown; charset=utf-8", true),
    ("mjs", "text/javascript; charset=utf-8", true),
    ("mp4", "video/mp4", false),
    ("ndjson", "application/x-ndjson; charset=utf-8", true),
    ("otf", "font/otf", true),
    ("pdf", "application/pdf", false),
    ("png", "image/png", false),
    ("rss", "application/rss+xml; charset=utf-8", true),
    ("svg", "image/svg+xml; charset=utf-8", true),
    ("toml", "application/toml; charset=utf-8", true),
    ("ts", "video/mp2t", false),
    ("ttf", "font/ttf", true),
    ("txt", "text/plain; charset=utf-8", true),
    ("wasm", "application/wasm", true),
    ("webmanifest", "application/manifest+json; charset=utf-8", true),
    ("webp", "image/webp", false),
    ("woff", "font/woff", false),
    ("woff2", "font/woff2", false),
    ("xhtml", "application/xhtml+xml; charset=utf-8", true),
    ("xml", "application/xml; charset=utf-8", true),
    ("yaml", "application/yaml; charset=utf-8", true),
    ("yml", "application/yaml; charset=utf-8", true),
];

/// A file's type.
#[derive(Debug, Clone)]
pub(super) struct MediaType {
    /// The `content-type` value.
    pub(super) text: Text,
    /// Whether compressing it gains anything.
    pub(super) compressible: bool,
    /// Whether somebody may have compressed it beforehand: anything that is not known to be packed already.
    pub(super) may_have_siblings: bool,
}

impl MediaType {
    fn new(text: Text, compressible: bool, may_have_siblings: bool) -> Self {
        Self { text, compressible, may_have_siblings }
    }
}

/// The type of the file called `name`.
pub(super) fn of(name: &str) -> MediaType {
    let extension =
        name.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, extension)| extension);
    if let Some((_, text, compressible)) =
        TABLE.iter().find(|(known, ..)| known.eq_ignore_ascii_case(extension))
    {
        return MediaType::new(Text::from(*text), *compressible, *compressible);
    }
    match mime_guess::from_ext(extension).first_raw() {
        Some(text) if text.starts_with("text/") => {
            MediaType::new(Text::from(format!("{text}; charset=utf-8")), true, true)
        }
        Some(text) => {
            let compressible = text.ends_with("+xml") || text.ends_with("+json");
            MediaType::new(Text::from(text), compressible, compressible)
        }
        None => MediaType::new(Text::from(UNKNOWN), false, !matches!(extension, "br" | "zst" | "gz")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: names have the type browsers need, text has its charset, what is packed is not packed again.
    #[test]
    fn names_have_types() {
        check("index.html", "text/html; charset=utf-8", true);
        check("a/B.HTML", "text/html; charset=utf-8", true);
        check("app.mjs", "text/javascript; charset=utf-8", true);
        check("x.min.js", "text/javascript; charset=utf-8", true);
        check("x.json", "application/json; charset=utf-8", true);
        check("x.svg", "image/svg+xml; charset=utf-8", true);
        check("x.wasm", "application/wasm", true);
        check("x.vtt", "text/vtt; charset=utf-8", true);
        check("x.png", "image/png", false);
        check("x.zip", "application/zip", false);
        check("x.mp3", "audio/mpeg", false);
        check("a.b/README", "application/octet-stream", false);
        check("x.nobody-knows", "application/octet-stream", false);
        check("", "application/octet-stream", false);

        #[track_caller]
        fn check(name: &str, text: &str, compressible: bool) {
            let got = of(name);
            assert_eq!((got.text.as_str(), got.compressible), (text, compressible));
        }
    }

    // Goal: the table stays in order, so that a double or a wrong case is seen.
    #[test]
    fn the_table_is_sorted_and_lower_case() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(TABLE.iter().all(|(extension, ..)| extension.bytes().all(|b| !b.is_ascii_uppercase())));
    }
}
