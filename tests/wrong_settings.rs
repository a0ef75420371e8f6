//! Goal: whoever writes something wrong is told all of it at once, where it is, what was found and what to write instead.
//! Method: every folder of tests/wrong-settings holds settings and the report of `madang check` on them (its exit code,
//! then what it says). Each is checked by the real binary in a fresh folder that has `public/` and the certificates below.
//! `UPDATE=1` writes the reports anew; read the difference before it lands.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at what it did not expect

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

/// What the environment holds for every case.
const SECRET: (&str, &str) = ("SECRET", "hunter2-hunter2");

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/wrong-settings");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    cases
}

/// The files that certificate cases name; dates are fixed so that reports stay the same.
fn certificates() -> Vec<(&'static str, String)> {
    let pair = |from: i32, to: i32| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["example.org".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    };
    let ((good, good_key), (_, other_key)) = (pair(2020, 2120), pair(2020, 2120));
    let ((expired, expired_key), (future, future_key)) = (pair(2020, 2021), pair(2110, 2120));
    let encrypted = good_key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    vec![
        ("good.pem", good),
        ("good.key", good_key),
        ("other.key", other_key),
        ("expired.pem", expired),
        ("expired.key", expired_key),
        ("future.pem", future),
        ("future.key", future_key),
        ("encrypted.key", encrypted),
        ("text.pem", "This is only text.\n".to_owned()),
    ]
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else if !path.ends_with("expected.txt") {
            std::fs::copy(&path, target).expect("a copy");
        }
    }
}

/// Every path below a folder.
fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path.clone());
            }
            all.push(path);
        }
    }
    all.sort();
    all
}

fn check(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_madang"))
        .arg("check")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env(SECRET.0, SECRET.1)
        .output()
        .expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the report is UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_wrong_file_gets_its_report() {
    let update = std::env::var_os("UPDATE").is_some();
    let certificates = certificates();
    let room = tempfile::tempdir().expect("a folder");
    let mut differing = String::new();
    let cases = cases();
    assert!(cases.len() >= 60, "only {} cases found", cases.len());
    for case in &cases {
        let name = case.file_name().expect("a name").to_string_lossy();
        let folder = room.path().join(&*name);
        copy(case, &folder);
        std::fs::create_dir_all(folder.join("public")).expect("a folder");
        std::fs::create_dir_all(folder.join("certs")).expect("a folder");
        for (file, text) in &certificates {
            std::fs::write(folder.join("certs").join(file), text).expect("a file");
        }

        let before = listing(&folder);
        let (code, out, err) = check(&folder, &[]);
        let report = format!("exit {}\n{err}{out}", code.unwrap_or(-1));
        assert_eq!(listing(&folder), before, "{name}: checking writes nothing");
        assert!(!report.contains(SECRET.1), "{name}: a secret is shown");

        let (json_code, json, _) = check(&folder, &["--json"]);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let problems = json["problems"].as_array().map_or(0, Vec::len);
        assert_eq!(
            (json_code, json["ok"].as_bool()),
            (code, Some(code == Some(0))),
            "{name}: JSON says the same"
        );
        let told = |line: &&str| line.contains(": error: ") || line.contains(": warning: ");
        let lines = report.lines().filter(|line| !line.starts_with("madang: ")).filter(told).count();
        assert_eq!(problems, lines, "{name}: JSON and text tell the same problems");
        assert!(!json.to_string().contains(SECRET.1), "{name}: a secret is shown");

        let expected = case.join("expected.txt");
        if update {
            std::fs::write(expected, &report).expect("the report is written");
            continue;
        }
        let want = std::fs::read_to_string(expected).unwrap_or_default();
        if want != report {
            let _ = write!(differing, "--- {name}, expected:\n{want}--- got:\n{report}\n");
        }
    }
    assert!(
        differing.is_empty(),
        "{differing}`UPDATE=1 cargo test -p madang --test wrong_settings` accepts this"
    );
}

// Goal: a broken file starts nothing. Method: `madang run` on a few of the cases ends with code 2 by itself.
#[test]
fn nothing_is_started_with_wrong_settings() {
    for case in cases().iter().filter(|case| case.to_string_lossy().contains("unknown")) {
        let output = Command::new(env!("CARGO_BIN_EXE_madang"))
            .args(["run", "-c"])
            .arg(case.join("madang.toml"))
            .env_clear()
            .output()
            .expect("the binary starts");
        assert_eq!(output.status.code(), Some(2), "{}", case.display());
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains("nothing was started"), "{err}");
        assert!(
            !case.join("data").try_exists().expect("the folder can be read"),
            "{} got a data folder",
            case.display()
        );
    }
}
