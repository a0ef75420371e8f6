//! Goal: the crash drill finds a server out that loses, doubles or hides messages, and has nothing to say about one that does not.
//! Method: `pretender.py` is such a server; it fails in the way it is told. Real processes, real kills, small numbers.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)] // a test may stop at what it did not expect

use std::process::Command;

/// Runs a small drill against the pretender; the exit code and what it found.
fn drill(fault: &str) -> (Option<i32>, Vec<String>) {
    let output = Command::new(env!("CARGO_BIN_EXE_madang-chat-drill"))
        .args([
            "crash",
            "--json",
            "--seed",
            "7",
            "--clients",
            "10",
            "--messages",
            "600",
            "--kills",
            "3",
            "--cuts",
            "3",
            "--faces",
            "ws",
        ])
        .args(["--madang", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pretender.py")])
        .env("FAULT", fault)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let report: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{said}"));
    assert_eq!((&report["acked"], &report["faults"]), (&600.into(), &4.into()), "{text}");
    assert!(report["reconnects"].as_u64() > Some(20), "kills and cuts end connections: {text}");
    let findings = report["findings"].as_array().unwrap();
    (output.status.code(), findings.iter().map(|finding| finding.as_str().unwrap().to_owned()).collect())
}

#[test]
fn a_server_that_keeps_everything_passes() {
    assert_eq!(drill(""), (Some(0), vec![]));
}

#[test]
fn a_server_that_fails_is_found_out() {
    check("forget", "lost: message ");
    check("twice", "twice: message ");
    check("skip", "order: client ");
    check("early", "lost: message ");

    #[track_caller]
    fn check(fault: &str, want: &str) {
        let (code, findings) = drill(fault);
        assert_eq!(code, Some(1), "{fault}: {findings:?}");
        assert!(findings.iter().any(|finding| finding.starts_with(want)), "{fault}: {findings:?}");
    }
}
