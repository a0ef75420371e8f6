//! Which file a path means.

use crate::site::Site;

// Goal: files, folders, indexes and what is neither are told apart. Method: one tree, a table of targets.
#[test]
fn paths_lead_to_files_and_indexes() {
    let site = Site::with(
        &[
            ("index.html", "home"),
            ("about.html", "about"),
            ("docs/index.html", "docs"),
            ("docs/a b.txt", "spaced"),
            ("한글/글.txt", "korean"),
            ("empty/file.txt", "x"),
            ("zero.txt", ""),
        ],
        |_| {},
    );
    let check = |target: &str, status: u16, body: &str| {
        let answer = site.get(target);
        assert_eq!((answer.status, answer.text()), (status, body), "{target}");
    };
    check("/", 200, "home");
    check("/index.html", 200, "home");
    check("/about.html?x=/..", 200, "about");
    check("/docs/", 200, "docs");
    check("/docs/a%20b.txt", 200, "spaced");
    check("/%ED%95%9C%EA%B8%80/%EA%B8%80.txt", 200, "korean");
    check("//docs//index.html", 200, "docs");
    check("/zero.txt", 200, "");
    check("/about.html/", 404, "");
    check("/about", 404, "");
    check("/empty/", 404, "");
    check("/empty", 404, "");
    check("/none.txt", 404, "");
    check("/about.html/x", 404, "");
}

// Goal: a folder without its slash leads to the one with it, by a relative address that cannot leave the host.
#[test]
fn folders_without_their_slash_redirect() {
    let site = Site::with(
        &[("docs/index.html", "x"), ("a:b/c d/index.html", "x"), ("evil.test/index.html", "x")],
        |_| {},
    );
    let check = |target: &str, location: &str| {
        let answer = site.get(target);
        assert_eq!((answer.status, answer.field("location")), (308, Some(location)), "{target}");
    };
    check("/docs", "./docs/");
    check("/docs?a=b&c=%20", "./docs/?a=b&c=%20");
    check("/a:b/c%20d", "./c%20d/");
    check("//evil.test", "./evil.test/");
}

// Goal: the list of tries is tried in order, and clean addresses work. Method: a table.
#[test]
fn tries_are_tried_in_order() {
    let site = Site::with(
        &[("a.html", "a"), ("b", "b"), ("b.html", "b.html"), ("c/index.html", "c"), ("x.html", "x")],
        |o| {
            o.tries = ["{path}", "{path}.html", "/x.html"].map(str::to_owned).to_vec();
        },
    );
    let check = |target: &str, status: u16, body: &str| {
        let answer = site.get(target);
        assert_eq!((answer.status, answer.text()), (status, body), "{target}");
    };
    check("/a", 200, "a");
    check("/b", 200, "b");
    check("/c/", 200, "c");
    check("/c", 308, "");
    check("/a/", 200, "x");
    check("/none", 200, "x");
    check("/", 200, "x");
}

// Goal: a single-page app's page answers for its own addresses only, never in place of a script or for a program.
#[test]
fn the_fallback_answers_for_pages_only() {
    let site = Site::with(&[("index.html", "app"), ("real.txt", "real")], |o| {
        o.fallback = Some("/index.html".to_owned())
    });
    let check = |method: &str, fields: &[(&str, &str)], status: u16| {
        assert_eq!(site.ask(method, "/users/7", fields).status, status, "{method} {fields:?}");
    };
    check("GET", &[], 200);
    check("HEAD", &[], 200);
    check("GET", &[("accept", "*/*")], 200);
    check("GET", &[("accept", "text/html,application/xhtml+xml;q=0.9")], 200);
    check("GET", &[("accept", "application/json")], 404);
    check("GET", &[("accept", "text/html;q=0")], 404);
    check("GET", &[("accept", "*/*"), ("sec-fetch-dest", "script")], 404);
    check("GET", &[("accept", "text/html"), ("sec-fetch-dest", "document")], 200);
    check("POST", &[], 405);
    assert_eq!(site.get("/real.txt").text(), "real");
    assert_eq!(site.get("/users/7").field("vary"), Some("accept, sec-fetch-dest"));
}

// Goal: what changes nothing is answered, everything else is refused with the methods that work.
#[test]
fn only_reading_methods_are_answered() {
    let site = Site::with(&[("a.txt", "hello")], |_| {});
    let check = |method: &str, status: u16, allow: Option<&str>| {
        let answer = site.ask(method, "/a.txt", &[]);
        assert_eq!((answer.status, answer.field("allow")), (status, allow), "{method}");
    };
    check("GET", 200, None);
    check("HEAD", 200, None);
    check("OPTIONS", 204, Some("GET, HEAD, OPTIONS"));
    for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
        check(method, 405, Some("GET, HEAD, OPTIONS"));
    }
    let head = site.ask("HEAD", "/a.txt", &[]);
    assert_eq!((head.body.len(), head.length), (0, Some(5)));
    assert_eq!(head.fields, site.get("/a.txt").fields);
}

// Goal: names that begin with a dot stay hidden unless wanted; /.well-known does not.
#[test]
fn dotfiles_are_hidden_unless_wanted() {
    let tree = [
        (".env", "secret"),
        (".git/config", "secret"),
        (".well-known/acme-challenge/t", "token"),
        ("a/.b/c", "secret"),
    ];
    let hidden = Site::with(&tree, |_| {});
    let shown = Site::with(&tree, |o| o.dotfiles = true);
    for (target, by_default) in [
        ("/.env", 404),
        ("/.git/config", 404),
        ("/.well-known/acme-challenge/t", 200),
        ("/a/.b/c", 404),
        ("/.git", 404),
    ] {
        assert_eq!(hidden.get(target).status, by_default, "{target}");
    }
    assert_eq!(shown.get("/.env").text(), "secret");
}
