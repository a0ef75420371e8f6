//! Users of a house under test: made by its commands, logged in by HTTP.
//!
//! **Job.** Run the program's own commands with something on their standard input; post JSON. **Called by** the tests of logins.
//!
//! Not here: what is answered (the tests).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::client::Answer;
use super::house::{House, program};

/// A password that is right.
pub const PASSWORD: &str = "correct horse";

/// A command with something on its standard input: exit code, words, complaints.
pub fn run(settings: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command: Command = program();
    command.args(arguments).arg("-c").arg(settings);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The same, which must succeed: its words.
#[track_caller]
pub fn ok(settings: &Path, arguments: &[&str], input: &str) -> String {
    let (code, said, complained) = run(settings, arguments, input);
    assert_eq!(code, 0, "{arguments:?}: {complained}");
    said
}

/// `POST` of JSON; the status, what was answered in JSON, the whole answer.
pub fn post(house: &House, path: &str, fields: &str, body: &Value) -> (u16, Value, Answer) {
    let body = body.to_string();
    let mut client = house.client();
    client.send(format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{fields}\r\n{body}",
        body.len()
    ));
    let answer = client.answer("POST");
    let value = serde_json::from_str(&answer.text()).unwrap_or(Value::Null);
    (answer.status, value, answer)
}

/// Logs in with [`PASSWORD`]: the access token.
#[track_caller]
pub fn token_of(house: &House, name: &str) -> String {
    let (status, session, _) = post(house, "/auth/login", "", &json!({ "name": name, "password": PASSWORD }));
    assert_eq!(status, 200, "{session}");
    session["access"].as_str().unwrap().to_owned()
}
