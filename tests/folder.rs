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
