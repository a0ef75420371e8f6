//! The quickstart: what a newcomer sees first.

use std::path::{Path, PathBuf};

use crate::support::client::Client;
use crate::support::house::{House, program};

/// What the page and all it is made of may weigh together.
const BYTES_MAX: usize = 40 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(folder().join("public").join(name)).unwrap()
}

/// The values of an attribute in a page.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let begin = format!(" {attribute}=\"");
    page.split(begin.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// The quickstart as it is, but for its ports and its data folder.
fn house() -> House {
    let settings = std::fs::read_to_string(folder().join("madang.toml")).unwrap();
    let settings =
        settings.replace(":8080", ":0").replace("127.0.0.1:8443", "127.0.0.2:0").replace(":9900", ":0");
    let settings = settings.replace("127.0.0.1:6667", "127.0.0.3:0").replace("127.0.0.1:7000", "127.0.0.4:0");
    let settings = settings.replace("../apps/python", "python");
    let app = std::fs::read(folder().join("../apps/python/app.py")).unwrap();
    let mut files = vec![("python/app.py".to_owned(), app)];
    for part in ["public", "files", "files/letters"] {
        for entry in std::fs::read_dir(folder().join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = format!("{part}/{}", path.file_name().unwrap().to_str().unwrap());
                files.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    House::start(&settings, &files)
}

// Goal: the page is small, asks nobody else, and needs nothing that its own policy forbids.
// Method: its files are weighed and read.
#[test]
fn the_first_page_is_small_and_asks_nobody_else() {
    let files = std::fs::read_dir(folder().join("public")).unwrap();
    let bytes: u64 = files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= BYTES_MAX as u64, "{bytes} bytes");
    for name in ["index.html", "404.html"] {
        let page = page(name);
        for inline in [" style=\"", "<style", " onclick", " onload", "javascript:"] {
            assert!(!page.contains(inline), "{name} has {inline}");
        }
        assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/").count(), "{name}");
        for link in values(&page, "src").into_iter().chain(values(&page, "href")) {
            assert!(link.starts_with('/') || link == "https://127.0.0.1:8443/", "{name} leads to {link}");
        }
        // Both languages say everything.
        assert_eq!(page.matches(" data-en>").count(), page.matches(" data-ko>").count(), "{name}");
    }
    let style = page("style.css");
    assert!(!style.contains("http") && !style.contains("@import"));
}

// Goal: everything the page leads to answers, the way the page says; what is not there has the house's own page.
// Method: every link of the page is asked for from the running quickstart.
#[test]
fn every_room_of_the_house_answers() {
    let house = house();
    let plain = house.addresses.iter().position(|address| address.starts_with("http://")).unwrap();
    let mut client = Client::plain(house.address(plain));
    let page = page("index.html");
    let links =
        values(&page, "href").into_iter().chain(values(&page, "src")).filter(|link| link.starts_with('/'));
    let mut asked = 0;
    for link in links {
        let answer = client.ask("GET", link, "Accept: text/html\r\n");
        assert_eq!(
            answer.status,
            if link.starts_with("/old/") { 308 } else { 200 },
            "{link}: {}",
            answer.head
        );
        asked += 1;
    }
    assert!(asked >= 8, "only {asked} links");
    let policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
    assert_eq!(client.get("/").field("content-security-policy").as_deref(), Some(policy));
    let lost = client.ask("GET", "/attic", "Accept: text/html\r\n");
    assert_eq!((lost.status, lost.text()), (404, self::page("404.html")));
}

// Goal: the quickstart has a program that it runs itself; whoever asks at once waits until it is there.
#[test]
fn the_program_of_the_quickstart_answers() {
    let house = house();
    let plain = house.addresses.iter().position(|address| address.starts_with("http://")).unwrap();
    let answer = Client::plain(house.address(plain)).get("/app/");
    assert_eq!(answer.status, 200, "{}", house.said());
    assert!(answer.text().starts_with("python "), "{}", answer.text());
}

// Goal: the page shows only commands that there are.
// Method: its commands are compared with those that `madang --help` lists.
#[test]
fn the_page_shows_only_commands_that_exist() {
    let output = program().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let page = page("index.html");
    let mut commands = 0;
    let texts = page.split("<pre>").skip(1).map(|rest| rest.split("</pre>").next().unwrap());
    for line in texts.flat_map(str::lines).filter_map(|line| line.strip_prefix("madang ")) {
        // An address is the reader's.
        let line = line.split(" http://").next().unwrap();
        let known =
            line == "." || help.lines().any(|known| known.trim_start().starts_with(&format!("{line} ")));
        assert!(known, "madang {line}");
        commands += 1;
    }
    assert!(commands >= 4, "only {commands} commands");
}
