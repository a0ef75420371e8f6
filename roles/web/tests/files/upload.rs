//! Goal: an upload is whole or not there; nothing is replaced by accident; nothing comes outside the folder.
//! Method: PUT with bodies that come whole, in pieces, too slowly or not at all, against a real folder.

use crate::site::Site;

fn taking() -> Site {
    Site::with(&[("old.txt", "old"), ("sub/a.txt", "a"), (".hidden/x", "x")], |options| options.upload = true)
}

fn names(site: &Site) -> Vec<String> {
    let entries = std::fs::read_dir(site.root()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_new_file_is_made_and_answers_at_once() {
    let site = taking();
    assert_eq!(site.get("/new.txt").status, 404);
    let answer = site.put("/new.txt", &[], &[b"hello ", b"world"]);
    assert_eq!((answer.status, answer.field("location")), (201, Some("/new.txt")));
    assert_eq!(site.get("/new.txt").text(), "hello world");
    assert_eq!(site.put("/sub/%ED%95%9C.txt", &[], &[b"k"]).field("location"), Some("/sub/%ED%95%9C.txt"));
    assert_eq!(std::fs::read(site.root().join("sub/한.txt")).unwrap(), b"k");
    assert_eq!(site.put("/empty", &[], &[]).status, 201);
    assert_eq!(std::fs::read(site.root().join("empty")).unwrap(), b"");
    assert_eq!(names(&site), [".hidden", "empty", "new.txt", "old.txt", "sub"]);
}

#[test]
fn what_is_there_is_replaced_only_by_who_knows_it() {
    let site = taking();
    assert_eq!(site.put("/old.txt", &[], &[b"new"]).status, 409);
    assert_eq!(site.put("/old.txt", &[("if-none-match", "*")], &[b"new"]).status, 412);
    assert_eq!(site.put("/old.txt", &[("if-match", "\"other\"")], &[b"new"]).status, 412);
    assert_eq!(site.put("/none.txt", &[("if-match", "*")], &[b"new"]).status, 412);
    assert_eq!(std::fs::read(site.root().join("old.txt")).unwrap(), b"old");
    let etag = site.get("/old.txt").etag().to_owned();
    assert_eq!(site.put("/old.txt", &[("if-match", &etag)], &[b"new!"]).status, 204);
    assert_eq!(site.get("/old.txt").text(), "new!");
    assert_eq!(site.put("/old.txt", &[("if-match", &etag)], &[b"again"]).status, 412);
    assert_eq!(site.put("/old.txt", &[("if-match", "*")], &[b"any"]).status, 204);
    assert_eq!(site.get("/old.txt").text(), "any");
}

#[test]
fn what_breaks_off_leaves_nothing() {
    let site = taking();
    let before = names(&site);
    assert_eq!(site.put_broken("/half.txt", &[b"half"]).status, 400);
    site.put_and_leave("/gone.txt", &[b"gone"]);
    assert_eq!(names(&site), before);
}

#[test]
fn only_names_that_are_served_are_taken() {
    let site = taking();
    check("/.env", 403);
    check("/.hidden/y", 403);
    check("/sub/", 400);
    check("/", 400);
    check("/no/such/folder.txt", 409);
    check("/old.txt/x", 409);
    check("/sub", 409);

    // What the parser lets pass is not the only way in: the folder is asked by other callers too.
    assert_eq!(site.hand_over_put("../outside.txt").status, 403);
    assert!(std::fs::metadata(site.outside().join("outside.txt")).is_err());
    assert_eq!(site.put("/part", &[("content-range", "bytes 0-3/10")], &[b"part"]).status, 400);

    #[track_caller]
    fn check(target: &str, status: u16) {
        let site = taking();
        let before = names(&site);
        assert_eq!(site.put(target, &[], &[b"x"]).status, status, "{target}");
        assert_eq!(names(&site), before, "{target}");
    }
}

#[test]
fn links_do_not_lead_an_upload_out() {
    let site = taking();
    std::fs::create_dir(site.outside().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", site.root().join("link")).unwrap();
    assert_eq!(site.put("/link/x.txt", &[], &[b"x"]).status, 404);
    assert_eq!(std::fs::read_dir(site.outside().join("elsewhere")).unwrap().count(), 0);
}

#[test]
fn folders_that_take_nothing_say_so() {
    let site = Site::with(&[("old.txt", "old")], |_| {});
    let answer = site.put("/new.txt", &[], &[b"x"]);
    assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(taking().ask("OPTIONS", "/", &[]).field("allow"), Some("GET, HEAD, PUT, OPTIONS"));
}

// Goal: the page's policy allows its own script, which stands there letter by letter, and nothing else.
#[test]
fn the_page_takes_files_where_the_folder_does() {
    use aws_lc_rs::digest;
    use base64::Engine as _;
    let site = Site::with(&[("a.txt", "a")], |options| (options.upload, options.listing) = (true, true));
    let page = site.get("/");
    let script = page.text().split("<script>").nth(1).unwrap().split("</script>").next().unwrap();
    let digest_of = |text: &str| {
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        base64::engine::general_purpose::STANDARD.encode(digest.as_ref())
    };
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.contains(&format!("script-src 'sha256-{}'", digest_of(script))), "{policy}");
    let styles: Vec<&str> =
        page.text().split("<style>").skip(1).map(|rest| rest.split("</style>").next().unwrap()).collect();
    assert_eq!(styles.len(), 3);
    for style in styles {
        assert!(policy.contains(&format!("'sha256-{}'", digest_of(style))), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !page.text().contains("style="), "{policy}");
    let plain = Site::with(&[("a.txt", "a")], |options| options.listing = true).get("/");
    assert!(!plain.text().contains("<script>"));
    assert!(!plain.field("content-security-policy").unwrap().contains("script"));
}
