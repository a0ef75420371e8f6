//! The example for a cloud (`examples/scaler/cloud.sh`) against a made-up one: it buys what is missing, names what has an
//! address, gives back only what the pool has no more, and ends with a code when the cloud fails. Needs curl and jq.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::upstream::{Then, Upstream, ok};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/scaler/cloud.sh");

/// A cloud: its machines by number, the requests that changed something.
struct Cloud {
    server: Upstream,
    machines: Arc<Mutex<Vec<Value>>>,
}

impl Cloud {
    fn start(machines: Vec<Value>) -> Self {
        let machines = Arc::new(Mutex::new(machines));
        let all = Arc::clone(&machines);
        let server = Upstream::start(move |seen, stream| {
            let mut all = all.lock().unwrap();
            let line = seen.line().to_owned();
            if seen.field("authorization") != Some("Bearer hunter2") {
                let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
            } else if line == "GET /v1/servers?label=madang-work HTTP/1.1" {
                ok(stream, &json!({ "servers": *all }).to_string());
            } else if line == "POST /v1/servers HTTP/1.1" {
                let asked: Value = serde_json::from_slice(&seen.body).unwrap();
                let id = all.len() as u64 + 100;
                all.push(json!({ "id": id, "created": format!("2026-{id}"), "private_ip": null, "label": asked["label"] }));
                ok(stream, "{}");
            } else {
                let id: u64 = line
                    .strip_prefix("DELETE /v1/servers/")
                    .unwrap()
                    .split(' ')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap();
                all.retain(|machine| machine["id"] != id);
                ok(stream, "{}");
            }
            Then::Keep
        });
        Self { server, machines }
    }

    fn ids(&self) -> Vec<u64> {
        self.machines.lock().unwrap().iter().map(|machine| machine["id"].as_u64().unwrap()).collect()
    }

    fn ask(&self, token: &str, wanted: u32, members: &[&str]) -> Output {
        let servers: Vec<Value> =
            members.iter().map(|address| json!({ "address": address, "given": true })).collect();
        let question = json!({ "pool": "work", "wanted": wanted, "servers": servers });
        let mut child = Command::new("sh")
            .arg(SCRIPT)
            .env("CLOUD_API", format!("http://{}/v1", self.server.address))
            .env("CLOUD_TOKEN", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn answer(&self, wanted: u32, members: &[&str]) -> Value {
        let output = self.ask("hunter2", wanted, members);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn machine(id: u64, created: &str, ip: Option<&str>) -> Value {
    json!({ "id": id, "created": created, "private_ip": ip })
}

// Goal: what is missing is bought, what has no address yet is counted and not named.
#[test]
fn what_is_missing_is_bought_once() {
    let cloud = Cloud::start(vec![machine(1, "2026-01", Some("10.0.0.1"))]);
    assert_eq!(cloud.answer(3, &[])["servers"], json!(["10.0.0.1:3000"]));
    assert_eq!(cloud.ids().len(), 3);
    let again = cloud.answer(3, &["10.0.0.1:3000"]);
    assert_eq!(again, json!({ "servers": ["10.0.0.1:3000"], "note": "2 machines are being made" }));
    assert_eq!(cloud.ids().len(), 3, "the same question buys nothing more");
}

// Goal: the youngest go, and only when the pool has them no more.
#[test]
fn the_youngest_go_when_they_are_drained() {
    let cloud = Cloud::start(vec![
        machine(7, "2026-03", Some("10.0.0.3")),
        machine(8, "2026-01", Some("10.0.0.1")),
        machine(9, "2026-02", Some("10.0.0.2")),
    ]);
    let want = json!({ "servers": ["10.0.0.1:3000"], "note": null });
    assert_eq!(cloud.answer(1, &["10.0.0.1:3000", "10.0.0.2:3000", "10.0.0.3:3000"]), want);
    assert_eq!(cloud.ids(), [7, 8, 9], "all of them still drain");
    assert_eq!(cloud.answer(1, &["10.0.0.1:3000", "10.0.0.2:3000"]), want);
    assert_eq!(cloud.ids(), [8, 9]);
    assert_eq!(cloud.answer(0, &[])["servers"], json!([]));
    assert_eq!(cloud.ids(), [0_u64; 0]);
}

// Goal: a cloud that refuses is a failure, never an empty answer; the token is told nowhere.
#[test]
fn a_cloud_that_refuses_ends_it_with_a_code() {
    let cloud = Cloud::start(vec![machine(1, "2026-01", Some("10.0.0.1"))]);
    let output = cloud.ask("wrong-token", 1, &[]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && output.stdout.is_empty(), "{told}");
    assert!(told.contains("401") && !told.contains("wrong-token"), "{told}");
}
