//! The page of a listing.
//!
//! **Job.** Write one folder as HTML that reads well on a phone and on a desk, by day and by night, without a script.
//! **Called by** `listing`. Pure.
//!
//! Invariants
//! 1. Every name is escaped where it is shown and percent-encoded where it is a link.
//! 2. Links are relative: the page works under any prefix and host.
//!
//! Not here: which entries, in which order (`listing`).

use std::fmt::Write as _;
use std::sync::LazyLock;

use madang_wire::path::percent_encode_path;

use crate::inline;

use super::listing::{Contents, ENTRIES_MAX, Entry, Key, Request, rfc3339};
use super::upload_page;
use crate::look::BASE;

/// What the page may do: show itself.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| policy(&inline::source(STYLE)));

/// The policy of a page with these styles.
pub(super) fn policy(styles: &str) -> String {
    let base = inline::source(BASE);
    format!(
        "default-src 'none'; style-src {base} {styles}; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
}

pub(super) const STYLE: &str = "\
main{max-width:62rem;margin:0 auto;padding:clamp(1.5rem,5vw,3.5rem) clamp(.5rem,4vw,2rem) 3rem}\
.shapes{position:absolute}\
h1{margin:0 0 1.25rem;padding:0 .75rem;font-size:1.625rem;overflow-wrap:anywhere}\
h1 a{color:var(--soft)}h1 span{color:var(--line);padding:0 .35rem}\
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}\
th{padding:0;border-bottom:1.5px solid var(--ink);text-align:left;font-size:.8125rem;font-weight:500;white-space:nowrap}\
th:first-child{width:100%}th a{display:block;padding:.5rem .75rem;color:var(--soft)}th a:hover{color:var(--mark)}th[aria-sort] a{color:var(--ink)}\
td{padding:0 .75rem;border-bottom:1px solid var(--line);color:var(--soft);font-size:.875rem;white-space:nowrap}\
tbody tr:hover{background:var(--sheet)}\
td:first-child{padding:0;color:var(--ink);font-size:1rem;white-space:normal;overflow-wrap:anywhere}\
td:first-child a{display:block;padding:.5rem .75rem .5rem 2.75rem;position:relative}\
td i{color:var(--soft);font-style:normal}\
td svg{position:absolute;left:.75rem;top:.7rem;width:1.2rem;height:1.2rem;fill:none;stroke:var(--soft);stroke-width:1.3;stroke-linejoin:round}\
svg.d{stroke:var(--mark)}\
.n{text-align:right}\
p{margin:0;color:var(--soft);font-size:.8125rem;padding:.875rem .75rem}\
@media(max-width:38rem){\
table,thead,tbody{display:block}tr{display:grid;grid-template-columns:1fr auto;border-bottom:1px solid var(--line)}\
thead tr{grid-template-columns:1fr auto auto;border-bottom:1.5px solid var(--ink)}th,td{border:0}\
td:first-child{grid-column:1/-1}td:first-child a{padding-bottom:1.9rem}\
td.n{grid-row:1;align-self:end;padding-bottom:.5rem;font-size:.8125rem;pointer-events:none}td:empty{display:none}\
td.n:nth-child(2){grid-column:2}td.d{grid-column:1;text-align:left;padding-left:2.75rem}\
td:first-child{grid-row:1}tr.up td:first-child a{padding-bottom:.5rem}}";

const SHAPES: &str = "<svg class=\"shapes\" width=\"0\" height=\"0\" aria-hidden=\"true\">\
<symbol id=\"d\" viewBox=\"0 0 18 18\"><path d=\"M1.5 4v10.5h15V6H8.5L7 4z\"/></symbol>\
<symbol id=\"f\" viewBox=\"0 0 18 18\"><path d=\"M4 1.5v15h10.5V6L10 1.5zM10 1.5V6h4.5\"/></symbol>\
<symbol id=\"u\" viewBox=\"0 0 18 18\"><path d=\"M9 15V4M4.5 8.5 9 4l4.5 4.5\"/></symbol></svg>";

/// The words, in one language.
struct Words {
    lang: &'static str,
    title: &'static str,
    home: &'static str,
    up: &'static str,
    name: &'static str,
    size: &'static str,
    date: &'static str,
    empty: &'static str,
    more: fn(usize) -> String,
    count: fn(usize, usize) -> String,
}

const ENGLISH: Words = Words {
    lang: "en",
    title: "Folder",
    home: "Home",
    up: "Up one folder",
    name: "Name",
    size: "Size",
    date: "Changed (UTC)",
    empty: "This folder is empty.",
    more: |max| format!("There is more here than this page shows: only {max} entries are listed."),
    count: |folders, files| {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        format!("{folders} folder{}, {files} file{}", plural(folders), plural(files))
    },
};

const KOREAN: Words = Words {
    lang: "ko",
    title: "폴더",
    home: "처음",
    up: "위 폴더로",
    name: "이름",
    size: "크기",
    date: "바뀐 때 (UTC)",
    empty: "빈 폴더입니다.",
    more: |max| format!("여기에는 더 많은 항목이 있습니다. {max}개까지만 보여 드립니다."),
    count: |folders, files| format!("폴더 {folders}개, 파일 {files}개"),
};

/// The whole page.
pub(super) fn render(request: &Request, contents: &Contents) -> String {
    let words = if request.korean { &KOREAN } else { &ENGLISH };
    let mut page = String::with_capacity(4096 + contents.entries.len() * 256);
    let title = escaped(&request.address);
    let (lang, kind) = (words.lang, words.title);
    let extra = if request.upload { upload_page::style() } else { String::new() };
    page.push_str("<!doctype html>\n");
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        page,
        "<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n<title>{kind} {title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <style>{BASE}</style>\n<style>{STYLE}</style>\n{extra}</head>\n<body>\n{SHAPES}\n<main>\n"
    );
    breadcrumbs(&mut page, request, words);
    if request.upload {
        page.push_str(&upload_page::part(request.korean));
    }
    let _ = write!(page, "<table>\n<thead><tr>");
    heading(&mut page, request, Key::Name, words.name, "");
    heading(&mut page, request, Key::Size, words.size, "n");
    heading(&mut page, request, Key::Date, words.date, "n d");
    page.push_str("</tr></thead>\n<tbody>\n");
    if request.depth > 0 {
        let up = words.up;
        let _ = writeln!(
            page,
            "<tr class=\"up\"><td><a href=\"../\"><svg aria-hidden=\"true\"><use href=\"#u\"/></svg>{up}</a><td class=\"n\"><td class=\"n d\">"
        );
    }
    for entry in &contents.entries {
        line(&mut page, entry);
    }
    page.push_str("</tbody>\n</table>\n");
    let folders = contents.entries.iter().filter(|entry| entry.folder).count();
    let note = match (contents.entries.len(), contents.complete) {
        (0, true) => words.empty.to_owned(),
        (count, true) => (words.count)(folders, count - folders),
        (_, false) => (words.more)(ENTRIES_MAX),
    };
    let _ = write!(page, "<p>{note}</p>\n</main>\n</body>\n</html>\n");
    page
}

/// The address, with links to the folders above that are served here.
fn breadcrumbs(page: &mut String, request: &Request, words: &Words) {
    let parts: Vec<&str> = request.address.split('/').filter(|part| !part.is_empty()).collect();
    let unlinked = parts.len().saturating_sub(request.depth);
    page.push_str("<h1>");
    // What stands for the folder that is served: its last part above, or the word for home.
    let home = parts[..unlinked].last().copied().unwrap_or(words.home);
    for part in parts[..unlinked.saturating_sub(1)].iter() {
        let _ = write!(page, "{}<span>/</span>", escaped(part));
    }
    let shown = std::iter::once(&home).chain(&parts[unlinked..]);
    for (n, part) in shown.enumerate() {
        let above = request.depth - n.min(request.depth);
        if n > 0 {
            page.push_str("<span>/</span>");
        }
        match above {
            0 => page.push_str(&escaped(part)),
            _ => {
                let _ = write!(page, "<a href=\"{}\">{}</a>", "../".repeat(above), escaped(part));
            }
        }
    }
    page.push_str("</h1>\n");
}

fn heading(page: &mut String, request: &Request, key: Key, word: &str, class: &str) {
    let name = match key {
        Key::Name => "name",
        Key::Size => "size",
        Key::Date => "date",
    };
    let sorted = request.key == key;
    let (state, mark) = match (sorted, request.descending) {
        (false, _) => ("", ""),
        (true, false) => (" aria-sort=\"ascending\"", " \u{2191}"),
        (true, true) => (" aria-sort=\"descending\"", " \u{2193}"),
    };
    // Asking again turns the order; sizes and dates begin with the largest and newest.
    let descending = if sorted { !request.descending } else { key != Key::Name };
    let order = if descending { "desc" } else { "asc" };
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let _ = write!(
        page,
        "<th scope=\"col\"{class}{state}><a href=\"?sort={name}&amp;order={order}\">{word}{mark}</a></th>"
    );
}

fn line(page: &mut String, entry: &Entry) {
    let mut link = Vec::new();
    percent_encode_path(&entry.name, &mut link);
    let link = escaped(&String::from_utf8_lossy(&link));
    let (slash, mark, shape) = if entry.folder { ("/", "<i>/</i>", "d") } else { ("", "", "f") };
    let size = if entry.folder { String::new() } else { human(entry.size) };
    let date = rfc3339(entry.modified_s);
    // `./` in front: a name with a colon is not a scheme.
    let _ = writeln!(
        page,
        "<tr><td><a href=\"./{link}{slash}\"><svg class=\"{shape}\" aria-hidden=\"true\"><use href=\"#{shape}\"/></svg>{}{mark}</a>\
         <td class=\"n\">{size}<td class=\"n d\"><time datetime=\"{date}\">{} {}</time>",
        escaped(&entry.name),
        &date[..10],
        &date[11..16],
    );
}

/// `812 B`, `1.4 KiB`, `3.0 GiB`: three figures at most.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    // In tenths, rounded, so that 1023.97 KiB does not read 1024 KiB.
    let mut tenths = (u128::from(bytes) * 10 + 512) / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths = (tenths + 512) / 1024;
        unit += 1;
    }
    if tenths < 1000 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", (tenths + 5) / 10, UNITS[unit])
    }
}

/// Text that can stand anywhere in HTML, quoted attributes included.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Marks that turn the reading direction could disguise a name (CVE-2021-42574).
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Goal: sizes read naturally at every border.
    #[test]
    fn sizes_are_human() {
        check(0, "0 B");
        check(1023, "1023 B");
        check(1024, "1.0 KiB");
        check(1536, "1.5 KiB");
        check(102_399, "100 KiB");
        check(1_048_575, "1.0 MiB");
        check(1 << 20, "1.0 MiB");
        check(10 << 30, "10.0 GiB");
        check(u64::MAX, "16.0 EiB");

        #[track_caller]
        fn check(bytes: u64, want: &str) {
            assert_eq!(human(bytes), want);
        }
    }

    fn page_of(name: &str) -> String {
        let request = Request {
            address: format!("/{name}/"),
            depth: 1,
            key: Key::Name,
            descending: false,
            korean: false,
            json: false,
            upload: false,
        };
        let entry = Entry { name: name.to_owned(), folder: false, size: 1, modified_s: 784_111_777 };
        render(&request, &Contents { entries: vec![entry], complete: true })
    }

    // Goal: no name of a file becomes markup. Method: a page with and without it has the same tags.
    #[test]
    fn names_never_become_markup() {
        let tags = |page: &str| page.matches('<').count();
        let plain = tags(&page_of("plain"));
        for name in
            ["<script>alert(1)</script>", "\"onmouseover=\"x", "'><img src=x>", "&lt;b&gt;", "<video>"]
        {
            let page = page_of(name);
            assert_eq!(tags(&page), plain, "{name}");
            assert!(!page.contains(name), "{name}");
        }
        assert!(page_of("a\u{202e}txt.exe").contains("a\u{fffd}txt.exe"));
    }

    proptest! {
        #[test]
        fn any_name_leaves_the_page_as_it_is(name in "[^/\u{0}]{1,20}") {
            let tags = |page: &str| (page.matches('<').count(), page.matches('"').count());
            prop_assert_eq!(tags(&page_of(&name)), tags(&page_of("plain")));
        }
    }
}
