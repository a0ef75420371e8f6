//! No spelling, link or race leads out of the folder.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use madang_web::config::Symlinks;

use crate::site::{Site, write};

const SECRET: &str = "SECRET-outside-the-root";

/// Spellings of `secret.txt`, which lies beside the root, and of `/etc/hostname`.
const SPELLINGS: &[&str] = &[
    "/../secret.txt",
    "/./../secret.txt",
    "/a/../../secret.txt",
    "/a/b/../../../secret.txt",
    "/..//secret.txt",
    "//../secret.txt",
    "/a//../../secret.txt",
    "/../../../../../../../../etc/hostname",
    "/a/../../../../../../../etc/hostname",
    "/..",
    "/../",
    "/a/../..",
    "/%2e%2e/secret.txt",
    "/%2E%2E/secret.txt",
    "/.%2e/secret.txt",
    "/%2e./secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/..%2fsecret.txt",
    "/..%2Fsecret.txt",
    "/a%2f..%2f..%2fsecret.txt",
    "/%2f..%2fsecret.txt",
    "/%252e%252e/secret.txt",
    "/%252e%252e%252fsecret.txt",
    "/..%252fsecret.txt",
    "/%25252e%25252e/secret.txt",
    "/..\\secret.txt",
    "/\\..\\secret.txt",
    "/a\\..\\..\\secret.txt",
    "/..%5csecret.txt",
    "/..%5Csecret.txt",
    "/%2e%2e%5csecret.txt",
    "/..%255csecret.txt",
    "/%5c..%5csecret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/%c0%ae%c0%ae%c0%afsecret.txt",
    "/..%c0%afsecret.txt",
    "/..%c1%9csecret.txt",
    "/%e0%80%ae%e0%80%ae/secret.txt",
    "/%f0%80%80%ae%f0%80%80%ae/secret.txt",
    "/..%ef%bc%8fsecret.txt",
    "/%ef%bc%8e%ef%bc%8e/secret.txt",
    "/%u002e%u002e/secret.txt",
    "/..%u2215secret.txt",
    "/..%00/secret.txt",
    "/%00/../secret.txt",
    "/a.txt%00/../../secret.txt",
    "/../secret.txt%00",
    "/../secret.txt%00.html",
    "/..;/secret.txt",
    "/a/..;/..;/secret.txt",
    "/..;x=y/secret.txt",
    "/.../secret.txt",
    "/..../secret.txt",
    "/.. /secret.txt",
    "/..%20/secret.txt",
    "/%20../secret.txt",
    "/..%09/secret.txt",
    "/..%0d%0a/secret.txt",
    "/..?/secret.txt",
    "/..#/secret.txt",
    "/a/%2e%2e/%2e%2e/secret.txt",
    "/%2e/%2e%2e/secret.txt",
    "/.//..//secret.txt",
    "/root/../secret.txt",
    "/../root-beside/secret.txt",
    "/..root-beside/secret.txt",
    "-beside/secret.txt",
    "/C:/secret.txt",
    "/file:///etc/hostname",
    "//etc/hostname",
    "///etc/hostname",
    "/etc/hostname",
    "/%2fetc/hostname",
    "/proc/self/root/etc/hostname",
    "/proc/self/cwd",
    "/dev/fd/0",
    "/~root/",
    "/~/secret.txt",
    "http://a.test/../secret.txt",
    "http://a.test/%2e%2e/secret.txt",
];

fn tree(symlinks: Symlinks) -> Site {
    let site = Site::with(&[("a.txt", "inside"), ("a/b/c.txt", "inside"), ("index.html", "home")], |o| {
        o.symlinks = symlinks;
        o.dotfiles = true;
        o.listing = true;
    });
    write(&site.outside().join("secret.txt"), SECRET.as_bytes());
    write(&site.outside().join("root-beside/secret.txt"), SECRET.as_bytes());
    site
}

// Goal: no spelling of a target leads out, neither through the parser nor handed over raw.
// Method: the corpus, as sent and as a path that a careless caller has not cleaned; every policy, dotfiles shown.
#[test]
fn no_spelling_leads_out() {
    let hostname = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    for symlinks in [Symlinks::Inside, Symlinks::Off, Symlinks::Anywhere] {
        let site = tree(symlinks);
        let check = |what: &str, answer: &crate::site::Answer| {
            let body = String::from_utf8_lossy(&answer.body);
            assert!(matches!(answer.status, 200 | 308 | 400 | 404 | 505), "{what}: {answer:?}");
            assert!(
                !body.contains(SECRET) && (hostname.is_empty() || body != hostname),
                "{what}: {answer:?}"
            );
            // What is answered at all is the root's own: `/a/../..` and its like never mean more than `/`.
            let inside = body.is_empty() || body == "home" || body.contains("<!doctype html>");
            assert!(inside, "{what}: {answer:?}");
            assert!(!body.contains("secret.txt<"), "{what} lists what is outside");
        };
        for spelling in SPELLINGS {
            check(spelling, &site.get(spelling));
            check(spelling, &site.hand_over(spelling));
            check(spelling, &site.hand_over(spelling.trim_start_matches('/')));
        }
    }
    assert!(SPELLINGS.len() >= 60);
}

// Goal: links lead where the policy lets them and nowhere else; a link to a folder, a chain, a loop included.
#[test]
fn links_lead_only_where_they_may() {
    let check = |symlinks, target: &str, want: Option<&str>| {
        let site = tree(symlinks);
        let root = site.root();
        symlink("a/b/c.txt", root.join("in.txt")).unwrap();
        symlink("in.txt", root.join("chain.txt")).unwrap();
        symlink("a/b", root.join("folder")).unwrap();
        symlink("../secret.txt", root.join("out.txt")).unwrap();
        symlink(site.outside().join("secret.txt"), root.join("absolute.txt")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("round", root.join("round")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let answer = site.get(target);
        match want {
            Some(body) => assert_eq!((answer.status, answer.text()), (200, body), "{symlinks:?} {target}"),
            None => assert_eq!(answer.status, 404, "{symlinks:?} {target}"),
        }
    };
    for (target, contents, inside, anywhere) in [
        ("/in.txt", "inside", true, true),
        ("/chain.txt", "inside", true, true),
        ("/folder/c.txt", "inside", true, true),
        ("/out.txt", SECRET, false, true),
        ("/absolute.txt", SECRET, false, true),
        ("/up/secret.txt", SECRET, false, true),
        ("/round", "", false, false),
        ("/magic/etc/hostname", "", false, false),
    ] {
        check(Symlinks::Inside, target, inside.then_some(contents));
        check(Symlinks::Anywhere, target, anywhere.then_some(contents));
        check(Symlinks::Off, target, None);
    }
}

// Goal: what is no regular file is refused without being opened: nobody hangs on a FIFO.
#[test]
fn fifos_sockets_and_devices_are_not_files() {
    for symlinks in [Symlinks::Inside, Symlinks::Anywhere] {
        let site = tree(symlinks);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, site.root().join("a/fifo"), fifo, rustix::fs::Mode::RUSR, 0)
            .unwrap();
        let _socket = UnixListener::bind(site.root().join("a/socket")).unwrap();
        symlink("/dev/zero", site.root().join("a/device")).unwrap();
        for target in ["/a/fifo", "/a/socket", "/a/device"] {
            let answer = site.get(target);
            let name = answer.failure.as_ref().map(|failure| failure.name);
            assert_eq!((answer.status, name), (404, Some("file-refused")), "{target}");
        }
        let listing = site.get("/a/");
        assert!(
            listing.text().contains("./b/")
                && !["./fifo", "./socket", "./device"].iter().any(|n| listing.text().contains(n))
        );
    }
}

// Goal: a link that is swapped while files are asked for never gives what is outside.
// Method: one thread flips a link between two folders, the other asks, looking at the disk each time.
#[test]
fn a_link_swapped_in_a_race_never_leads_out() {
    for symlinks in [Symlinks::Inside, Symlinks::Off] {
        let site = Site::with(&[("good/file.txt", "inside"), ("bad/x", "")], |o| {
            o.symlinks = symlinks;
            o.cache_valid_ms = 0;
        });
        write(&site.outside().join("elsewhere/file.txt"), SECRET.as_bytes());
        let root = site.root();
        let flip = |to: &str| {
            let _ = std::fs::remove_file(root.join("next"));
            symlink(to, root.join("next")).unwrap();
            std::fs::rename(root.join("next"), root.join("swap")).unwrap();
        };
        flip("good");
        let stop = std::sync::atomic::AtomicBool::new(false);
        let mut seen = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    flip("../elsewhere");
                    flip("good");
                }
            });
            for _ in 0..2000 {
                let answer = site.get("/swap/file.txt");
                assert!(!answer.body.starts_with(b"SECRET"));
                seen += usize::from(answer.status == 200);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(seen > 0, symlinks == Symlinks::Inside, "the test must have seen both sides");
    }
}

// Goal: what may not be read says so, and costs nobody else anything. Root reads everything: then there is no such file.
#[test]
fn unreadable_files_are_the_operators_fault() {
    use std::os::unix::fs::PermissionsExt;
    let site = tree(Symlinks::Inside);
    let path = site.root().join("a.txt");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let want = if std::fs::read(&path).is_ok() { 200 } else { 403 };
    assert_eq!(site.get("/a.txt").status, want);
}
