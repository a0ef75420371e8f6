//! Listings as pages and as JSON.

use std::os::unix::fs::symlink;

use crate::coding::decoded;
use crate::site::Site;

const JSON: (&str, &str) = ("accept", "application/json");

fn tree() -> Site {
    Site::with(
        &[
            ("b.txt", "12345"),
            ("A.txt", "1"),
            ("c.txt", "123"),
            ("folder/x", ""),
            (".hidden", ""),
            ("a&b <c>.txt", ""),
            ("한글.txt", ""),
            ("100%.txt", ""),
            ("a:b", ""),
        ],
        |o| o.listing = true,
    )
}

fn names(site: &Site, target: &str) -> Vec<String> {
    let answer = site.ask("GET", target, &[JSON]);
    let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    json["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

// Goal: folders first, then as asked; the order is total and turns round.
#[test]
fn listings_are_sorted_as_asked() {
    let site = tree();
    let by_name = ["folder", "100%.txt", "a&b <c>.txt", "A.txt", "a:b", "b.txt", "c.txt", "한글.txt"];
    assert_eq!(names(&site, "/"), by_name);
    assert_eq!(names(&site, "/?sort=name&order=asc&other=1"), by_name);
    assert_eq!(names(&site, "/?sort=nonsense"), by_name);
    let turned: Vec<_> = by_name[..1].iter().chain(by_name[1..].iter().rev()).copied().collect();
    assert_eq!(names(&site, "/?sort=name&order=desc"), turned);
    assert_eq!(names(&site, "/?sort=size&order=desc")[..4], ["folder", "b.txt", "c.txt", "A.txt"]);
    assert_eq!(names(&site, "/?order=asc&sort=size")[5..], ["A.txt", "c.txt", "b.txt"]);
}

// Goal: every link of the page leads to what it names. Method: follow them all.
#[test]
fn every_link_of_the_page_leads_somewhere() {
    let site = tree();
    let page = site.get("/");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("vary"), Some("accept, accept-encoding, accept-language"));
    let links: Vec<String> = page
        .text()
        .split("href=\"./")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&").replace("&#39;", "'"))
        .collect();
    assert_eq!(links.len(), 8);
    for link in links {
        let answer = site.get(&format!("/{link}"));
        assert_eq!(answer.status, 200, "{link}");
    }
    let inner = site.get("/folder/").text().to_owned();
    assert!(inner.contains("<a href=\"../\">Home</a><span>/</span>folder</h1>"), "{inner}");
    assert!(page.text().contains("<h1>Home</h1>") && !page.text().contains("./.hidden"));
    assert_eq!(site.get("/folder").field("location"), Some("./folder/"));
}

// Goal: the page speaks the reader's language, JSON goes to whom prefers it.
#[test]
fn language_and_form_follow_the_client() {
    let site = tree();
    let check = |fields: &[(&str, &str)], want: &str| {
        let answer = site.ask("GET", "/", fields);
        assert!(answer.text().starts_with(want), "{fields:?}: {}", answer.text());
    };
    check(&[], "<!doctype html>\n<html lang=\"en\">");
    check(&[("accept-language", "ko-KR,ko;q=0.9,en-US;q=0.8")], "<!doctype html>\n<html lang=\"ko\">");
    check(&[("accept-language", "en,ko;q=0.9")], "<!doctype html>\n<html lang=\"en\">");
    check(&[("accept-language", "fr")], "<!doctype html>\n<html lang=\"en\">");
    check(&[("accept", "application/json")], "{\"path\":\"/\"");
    check(&[("accept", "application/json, text/html;q=0.9")], "{\"path\":\"/\"");
    check(&[("accept", "text/html, */*;q=0.8")], "<!doctype html>");
    check(&[("accept", "*/*")], "<!doctype html>");
}

// Goal: a listing is named by its content, asked for again for little, and compressed.
#[test]
fn listings_have_tags_and_codings() {
    let site = tree();
    let first = site.get("/");
    let again = site.ask("GET", "/", &[("if-none-match", first.etag())]);
    assert_eq!((again.status, again.body.len()), (304, 0));
    // RFC 9110 15.4.5: what a cache must know of the 200 is in the 304 too.
    for name in ["cache-control", "etag", "vary"] {
        assert_eq!(again.field(name), first.field(name), "{name}");
    }
    let head = site.ask("HEAD", "/", &[]);
    assert_eq!((&head.fields, head.length, head.body.len()), (&first.fields, first.length, 0));
    let packed = site.ask("GET", "/", &[("accept-encoding", "br")]);
    assert_eq!((packed.field("content-encoding"), decoded(&packed) == first.body), (Some("br"), true));
    site.write("new.txt", b"");
    assert_eq!(site.ask("GET", "/", &[("if-none-match", first.etag())]).status, 200);
}

// Goal: what cannot be asked for is not listed; links are listed as what they lead to.
#[test]
fn only_what_can_be_asked_for_is_listed() {
    let site = tree();
    let root = site.root();
    std::fs::write(root.join("back\\slash"), "").unwrap();
    std::fs::write(root.join("new\nline"), "").unwrap();
    std::fs::write(root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff")), "")
        .unwrap();
    std::fs::write(site.outside().join("outside"), "").unwrap();
    symlink("../outside", root.join("leads-out")).unwrap();
    symlink("folder", root.join("leads-in")).unwrap();
    symlink("none", root.join("leads-nowhere")).unwrap();
    assert_eq!(
        names(&site, "/"),
        ["folder", "leads-in", "100%.txt", "a&b <c>.txt", "A.txt", "a:b", "b.txt", "c.txt", "한글.txt"]
    );
}

// Goal: a folder of more than ten thousand says that it is more.
#[test]
fn a_giant_folder_says_that_there_is_more() {
    let site = tree();
    std::fs::create_dir(site.root().join("giant")).unwrap();
    for n in 0..10_001 {
        std::fs::File::create(site.root().join(format!("giant/{n}"))).unwrap();
    }
    assert_eq!(names(&site, "/giant/").len(), 10_000);
    assert!(site.get("/giant/").text().contains("only 10000 entries"));
    let json = site.ask("GET", "/giant/", &[JSON]);
    assert!(json.text().ends_with("\"complete\":false}"));
}

// Goal: without the option there is no listing, and an index is preferred to one.
#[test]
fn listings_are_only_given_where_wanted() {
    let without = Site::with(&[("folder/x", "")], |_| {});
    assert_eq!(
        (without.get("/").status, without.get("/folder/").status, without.get("/folder").status),
        (404, 404, 404)
    );
    let with_index = Site::with(&[("index.html", "home")], |o| o.listing = true);
    assert_eq!(with_index.get("/").text(), "home");
}
