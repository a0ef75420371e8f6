//! `madang DIR`: a folder served without settings.

use std::process::Command;

use tempfile::TempDir;

use crate::support::house::{House, program};

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("site")).unwrap();
    std::fs::write(folder.path().join("site/hello.txt"), "hello\n").unwrap();
    folder
}

// Goal: what the first page of the manual promises.
// Method: `madang DIR` on a free port, asked by curl.
#[test]
fn curl_sees_status_fields_and_content_of_a_served_folder() {
    let folder = folder();
    let mut command = program();
    command.args(["--port", "0"]).arg(folder.path().join("site"));
    let house = House::spawn(command, folder);
    let url = format!("{}/hello.txt", house.addresses[0]);
    let output = Command::new("curl").args(["-sS", "-i", "--max-time", "10", &url]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.to_lowercase().contains("\r\ncontent-type: text/plain; charset=utf-8\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nhello\n"), "{text}");
}

// Goal: a folder without an index is listed, for people and for programs.
#[test]
fn a_served_folder_is_listed_as_html_and_json() {
    let folder = folder();
    let mut command = program();
    command.args(["--port", "0"]).arg(folder.path().join("site"));
    let house = House::spawn(command, folder);
    let mut client = house.client();
    let html = client.get("/");
    assert_eq!(html.status, 200);
    assert!(html.field("content-type").unwrap().starts_with("text/html"), "{}", html.head);
    assert!(html.text().contains("hello.txt"));
    let json = client.ask("GET", "/", "Accept: application/json\r\n");
    let value: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert!(value.to_string().contains("hello.txt"), "{value}");
}

// Goal: `curl -T` brings a file in, once; without `--upload` it does not.
#[test]
fn curl_uploads_a_file_where_that_was_asked_for() {
    let put = |arguments: &[&str]| {
        let folder = folder();
        std::fs::write(folder.path().join("new.bin"), crate::support::pattern(1_000_000)).unwrap();
        let mut command = program();
        command.args(["--port", "0"]).args(arguments).arg(folder.path().join("site"));
        let house = House::spawn(command, folder);
        let url = format!("{}/", house.addresses[0]);
        let code = || {
            let output = Command::new("curl")
                .args(["-sS", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}", "-T"])
                .arg(house.path("new.bin"))
                .arg(&url)
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let codes = [code(), code()];
        (codes, std::fs::read(house.path("site/new.bin")).ok())
    };
    let (codes, file) = put(&["--upload"]);
    assert_eq!(codes, ["201", "409"]);
    assert!(file.unwrap() == crate::support::pattern(1_000_000), "the content differs");
    let (codes, file) = put(&[]);
    assert_eq!((codes, file), (["405".to_owned(), "405".to_owned()], None));
}

// Goal: `--tls` needs nothing installed, and the authority it makes can be trusted by name.
#[test]
fn a_served_folder_speaks_tls_by_its_own_authority() {
    let folder = folder();
    let state = folder.path().join("state");
    let mut command = program();
    command.args(["--port", "0", "--tls"]).arg(folder.path().join("site")).env("XDG_STATE_HOME", &state);
    let house = House::spawn(command, folder);
    let port = house.addresses[0].rsplit_once(':').unwrap().1;
    let url = format!("https://localhost:{port}/hello.txt");
    let curl = |trusted: bool| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "10", "--resolve", &format!("localhost:{port}:127.0.0.1"), &url]);
        if trusted {
            command.arg("--cacert").arg(state.join("madang/ca/root.pem"));
        }
        command.output().unwrap()
    };
    assert_eq!(curl(true).stdout, b"hello\n");
    assert!(!curl(false).status.success(), "an unknown authority is not trusted");
}

// Goal: `--lan` listens for other machines and says so; `--spa` answers pages by the index.
#[test]
fn lan_and_spa_do_what_they_say() {
    let folder = folder();
    std::fs::write(folder.path().join("site/index.html"), "<p>app").unwrap();
    let mut command = program();
    command.args(["--port", "0", "--lan", "--spa"]).arg(folder.path().join("site"));
    let house = House::spawn(command, folder);
    let port = house.addresses[0].strip_prefix("http://0.0.0.0:").unwrap().parse().unwrap();
    let mut client = crate::support::client::Client::plain(([127, 0, 0, 1], port).into());
    let page = client.ask("GET", "/some/view", "Accept: text/html\r\n");
    assert_eq!((page.status, page.text()), (200, "<p>app".to_owned()));
    assert_eq!(client.ask("GET", "/none.js", "Accept: */*\r\nSec-Fetch-Dest: script\r\n").status, 404);
}

// Goal: one line per request, with status and path.
#[test]
fn a_served_folder_tells_each_request() {
    let folder = folder();
    let mut command = program();
    command.args(["--port", "0"]).arg(folder.path().join("site"));
    let mut house = House::spawn(command, folder);
    assert_eq!(house.client().get("/nothing").status, 404);
    let line = house.line();
    assert!(line.contains("404") && line.contains("/nothing"), "{line}");
}

// Goal: a folder that is not there is one sentence and exit code 2.
#[test]
fn a_missing_folder_is_refused_with_its_name() {
    let output = program().args(["--port", "0", "/no/such/folder"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("/no/such/folder"), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
}
