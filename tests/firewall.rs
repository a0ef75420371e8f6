//! The packet filter against real packets: two network namespaces, a wire between them, and somebody who looks from outside.
//!
//! Only root may make namespaces; elsewhere these tests say that they prove nothing.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::house::program;

const SETTINGS: &str = r#"
[server]
admin = "127.0.0.1:9900"
[site.main]
listen = ["http://0.0.0.0:8080", "http://[::]:8080", "http://127.0.0.1:8081"]
route = [{ path = "/*", respond = "hello" }]
[pool.echo]
servers = ["127.0.0.1:5353"]
[stream.echo]
listen = ["udp://0.0.0.0:5353"]
proxy = "echo"
"#;
const ADDRESSES: [&str; 2] = ["10.99.7.1", "fd99:7::1"];

/// A machine and somebody outside, joined by a wire.
struct Wire {
    folder: TempDir,
    name: String,
    serving: Option<Child>,
}

impl Wire {
    /// `None` where it cannot be made, which is told.
    fn new() -> Option<Self> {
        let has = |tool: &str| {
            Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap().status.success()
        };
        if !rustix::process::geteuid().is_root() || !has("nft") || !has("ip") {
            eprintln!("not proved here: this needs root, nft and ip");
            return None;
        }
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("madang.toml"), SETTINGS).unwrap();
        let name = format!("mdg{}", std::process::id());
        let mut wire = Self { folder, name, serving: None };
        let (machine, outside) = (wire.space("m"), wire.space("o"));
        ip(&["netns", "add", &machine]);
        ip(&["netns", "add", &outside]);
        ip(&[
            "link", "add", "wire", "netns", &machine, "type", "veth", "peer", "name", "wire", "netns",
            &outside,
        ]);
        for (space, host) in [(&machine, 1), (&outside, 2)] {
            ip(&["-n", space, "link", "set", "lo", "up"]);
            ip(&["-n", space, "addr", "add", &format!("10.99.7.{host}/24"), "dev", "wire"]);
            // Without the second in which the address is tried.
            ip(&["-n", space, "addr", "add", &format!("fd99:7::{host}/64"), "dev", "wire", "nodad"]);
            ip(&["-n", space, "link", "set", "wire", "up"]);
        }
        // Programs of others on this machine, and ours: who answers does not matter to a packet filter.
        let mut serving = wire
            .command(
                "m",
                &[
                    "python3",
                    &support("reach.py"),
                    "--serve",
                    "tcp:22",
                    "tcp:8080",
                    "tcp:9999",
                    "udp:5353",
                    "udp:5354",
                ],
            )
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(serving.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        wire.serving = Some(serving);
        Some(wire)
    }

    fn space(&self, side: &str) -> String {
        format!("{}{side}", self.name)
    }

    /// A command on one side.
    fn command(&self, side: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.space(side)])
            .args(words)
            .stdin(Stdio::null())
            .env_remove("SSH_CONNECTION");
        command
    }

    /// `madang firewall` on the machine, behind these words.
    fn firewall(&self, before: &[&str], arguments: &[&str]) -> Output {
        let settings = self.folder.path().join("madang.toml").display().to_string();
        let (own, binary) = (program(), env!("CARGO_BIN_EXE_madang"));
        assert_eq!(own.get_program(), binary);
        let words = [before, &[binary, "firewall"], arguments, &["-c", &settings]].concat();
        self.command("m", &words).output().unwrap()
    }

    fn nft(&self, words: &[&str]) -> Output {
        self.command("m", &[&["nft"], words].concat()).output().unwrap()
    }

    fn tables(&self) -> String {
        text(&self.nft(&["list", "tables"]).stdout)
    }

    /// What the one outside finds out, over IPv4 and IPv6.
    #[track_caller]
    fn check(&self, questions: &[&str], want: &[&str]) {
        let script = support("reach.py");
        for address in ADDRESSES {
            let words = [&["python3", &*script, address], questions].concat();
            let output = self.command("o", &words).output().unwrap();
            let said = text(&output.stdout);
            assert_eq!(said.lines().collect::<Vec<_>>(), want, "{address}: {}", text(&output.stderr));
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(serving) = &mut self.serving {
            // It may have ended by itself.
            let _ = serving.kill();
            let _ = serving.wait();
        }
        for side in ["m", "o"] {
            let _ = Command::new("ip").args(["netns", "delete", &self.space(side)]).output();
        }
    }
}

#[track_caller]
fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "ip {words:?}: {}", text(&output.stderr));
}

fn support(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/support").join(name).display().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const ALL: [&str; 6] = ["tcp:22", "tcp:8080", "tcp:9999", "udp:5353", "udp:5354", "ping"];
const OPEN: [&str; 6] =
    ["tcp:22 open", "tcp:8080 open", "tcp:9999 open", "udp:5353 open", "udp:5354 open", "ping open"];
const FILTERED: [&str; 6] =
    ["tcp:22 open", "tcp:8080 open", "tcp:9999 silent", "udp:5353 open", "udp:5354 silent", "ping open"];

// Goal: the settings' ports, ssh and ping answer over IPv4 and IPv6, everything else is silent; other tables are as they were.
#[test]
fn exactly_the_settings_ports_and_ssh_are_open() {
    let Some(wire) = Wire::new() else { return };
    wire.check(&ALL, &OPEN);
    assert!(wire.nft(&["add", "table", "inet", "others"]).status.success());

    let printed = text(&wire.firewall(&[], &[]).stdout);
    assert!(
        printed.contains("# closed by this, and somebody listens there now: 9999/tcp (python3"),
        "{printed}"
    );
    assert!(
        printed.contains("tcp dport { 22, 8080 } accept") && printed.contains("udp dport 5353 accept"),
        "{printed}"
    );
    assert_eq!(wire.tables(), "table inet others\n", "printing changes nothing");

    for _ in 0..2 {
        let applied = wire.firewall(&[], &["--apply", "--yes"]);
        assert!(applied.status.success(), "{}", text(&applied.stderr));
        assert!(
            text(&applied.stderr).contains("others will not reach any more: 5354/udp"),
            "{}",
            text(&applied.stderr)
        );
        wire.check(&ALL, &FILTERED);
        assert_eq!(wire.tables(), "table inet others\ntable inet madang\n");
    }
    let removed = wire.firewall(&[], &["--remove"]);
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert_eq!(wire.tables(), "table inet others\n");
    wire.check(&ALL, &OPEN);
}

// Goal: nobody is locked out: without a yes in time, or when the line is cut, what was there before is there again; with one it
// stays; and without a terminal nothing is done at all.
#[test]
fn rules_that_nobody_confirms_are_taken_back() {
    let Some(wire) = Wire::new() else { return };
    let refused = wire.firewall(&[], &["--apply"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("no terminal to ask at; --yes"), "{}", text(&refused.stderr));
    assert_eq!(wire.tables(), "");

    let answer = |answer: &str| {
        let script = support("answer.py");
        wire.firewall(&["python3", &script, answer], &["--apply", "--within", "2"])
    };
    let silent = answer("-");
    assert_eq!(silent.status.code(), Some(1), "{}", text(&silent.stdout));
    assert!(text(&silent.stdout).contains("taken back: everything is as before"), "{}", text(&silent.stdout));
    assert_eq!(wire.tables(), "");
    assert_eq!(answer("no").status.code(), Some(1));
    assert_eq!(wire.tables(), "");

    let kept = answer("yes");
    assert!(kept.status.success(), "{}", text(&kept.stdout));
    assert_eq!(wire.tables(), "table inet madang\n");
    let before = text(&wire.nft(&["list", "table", "inet", "madang"]).stdout);

    // Other rules now, and the terminal goes away while it asks: the rules that were kept come back, by themselves.
    let settings = SETTINGS.replace("8080", "9999");
    std::fs::write(wire.folder.path().join("madang.toml"), settings).unwrap();
    answer("hangup");
    let deadline = Instant::now() + PATIENCE;
    while text(&wire.nft(&["list", "table", "inet", "madang"]).stdout) != before {
        assert!(Instant::now() < deadline, "{}", text(&wire.nft(&["list", "ruleset"]).stdout));
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    wire.check(&ALL, &FILTERED);
}

// Goal: doctor sees a packet filter of somebody else's that keeps clients out, and which port to open there.
#[test]
fn doctor_finds_a_filter_of_others_in_the_way() {
    let Some(wire) = Wire::new() else { return };
    let settings = wire.folder.path().join("madang.toml").display().to_string();
    let doctor = || {
        let output =
            wire.command("m", &[env!("CARGO_BIN_EXE_madang"), "doctor", "-c", &settings]).output().unwrap();
        text(&output.stdout)
    };
    assert!(doctor().contains("none that drops"), "{}", doctor());
    for line in [
        "add table inet filter",
        "add chain inet filter input { type filter hook input priority 0; policy drop; }",
        "add rule inet filter input tcp dport { 22, 8000-8080 } accept",
    ] {
        assert!(wire.nft(&[line]).status.success());
    }
    let said = doctor();
    let told = "the table inet filter drops what it does not know, and no rule of it names 5353/udp";
    assert!(said.contains(told) && said.contains("ufw allow 5353/udp"), "{said}");
    assert!(wire.nft(&["add rule inet filter input udp dport 5353 accept"]).status.success());
    assert!(doctor().contains("names every port of the settings"), "{}", doctor());
}
