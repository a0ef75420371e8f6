//! Goal: a user backs data up, restores it, exports it, and is told what stands in the way.
//! Method: the real binary over a kept backup of the first format, which every later program must still read.

use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;

use crate::support::house::{House, PLAIN, program};

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/backup/format-1.backup")
}

fn folder(settings: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("madang.toml"), settings).unwrap();
    folder
}

/// Runs a command in the folder; its exit code, what it says and what it complains.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = program().args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn restore(folder: &Path, more: &[&str]) -> (i32, String, String) {
    let kept = kept();
    run(folder, &[&["restore", kept.to_str().unwrap()], more].concat())
}

#[test]
fn a_kept_backup_is_restored_exported_and_backed_up_again() {
    let folder = folder(PLAIN);
    let (code, said, complained) = restore(folder.path(), &[]);
    assert_eq!((code, &*complained), (0, ""));
    assert!(said.ends_with(": 4 entries in 2 streams, 1 values, 1 rows in 1 tables\n"), "{said}");

    let (code, lines, _) = run(folder.path(), &["export"]);
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len()), (0, 4));
    assert_eq!(lines[0]["text"], "회의는 세 시에");
    assert_eq!(lines[0]["data"]["by"], "mina", "data that is JSON is given as JSON");
    assert_eq!((lines[1]["removed"].as_bool(), lines[1]["edits"].as_u64()), (Some(true), Some(1)));
    assert_eq!(lines[2]["data"]["base64"], "AP8=");
    assert_eq!(lines[3]["data"], "plain");
    assert_ne!(lines[0]["epoch"], 4_503_599_627_370_495_u64, "a restored stream has a new epoch");
    let (code, one, _) = run(folder.path(), &["export", "--stream", "chat/town/room/2"]);
    assert_eq!((code, one.lines().count()), (0, 1));

    let (code, said, _) = run(folder.path(), &["backup", "now.backup"]);
    assert_eq!(code, 0);
    assert!(said.starts_with("now.backup: 4 entries in 2 streams") && said.contains("verified"), "{said}");
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(folder.path().join("now.backup")).unwrap());
    assert_eq!(mode & 0o777, 0o600, "it holds everything");
    let (code, said, _) = run(folder.path(), &["backup", "other.backup", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, told["counts"]["entries"].as_u64(), told["from"].as_str()),
        (0, Some(4), Some("sqlite"))
    );
    let (code, _, complained) = run(folder.path(), &["backup", "now.backup"]);
    assert!(code == 1 && complained.contains("a backup replaces nothing"), "{complained}");
}

#[test]
fn a_restore_needs_a_word_to_replace_data_and_keeps_what_was_there() {
    let folder = folder(PLAIN);
    assert_eq!(restore(folder.path(), &[]).0, 0);
    let (code, _, complained) = restore(folder.path(), &[]);
    assert!(code == 1 && complained.contains("--force"), "{complained}");
    let (code, said, _) = restore(folder.path(), &["--force"]);
    assert_eq!(code, 0);
    let before = said.lines().last().unwrap().rsplit(' ').next().unwrap();
    assert!(folder.path().join(before).join("madang.db").is_file(), "{said}");
    assert_eq!(run(folder.path(), &["export"]).1.lines().count(), 4);
}

#[test]
fn what_stands_in_the_way_is_told() {
    let folder = folder(PLAIN);
    let at = folder.path();
    check(at, &["backup", "x"], 1, "there is no data yet in");
    check(at, &["export"], 1, "there is no data yet in");
    check(at, &["restore", "nowhere"], 1, "nowhere: No such file or directory");
    std::fs::write(at.join("cut"), &std::fs::read(kept()).unwrap()[..200]).unwrap();
    check(at, &["restore", "cut"], 1, "cut is no whole backup");
    check(at, &["backup", "x", "-c", "other.toml"], 2, "there is no other.toml");
    assert!(!at.join("data/store").exists(), "nothing was made");
    restore(at, &[]);
    check(at, &["export", "--stream", "chat/nowhere"], 1, "there is no entry in a stream \"chat/nowhere\"");
    // Wrong in another place: the backup is made all the same. Wrong where the data is: it is told.
    std::fs::write(at.join("madang.toml"), format!("{PLAIN}\n[pool.x]\nservers = 5\n")).unwrap();
    assert_eq!(run(at, &["backup", "all.backup"]).0, 0);
    std::fs::write(at.join("madang.toml"), "[store]\ndatabase = \"mysql://me:hunter2@db/x\"").unwrap();
    check(at, &["backup", "y"], 2, "is not the address of a PostgreSQL database");
    let (_, _, complained) = run(at, &["backup", "y"]);
    assert!(!complained.contains("hunter2"), "{complained}");

    #[track_caller]
    fn check(folder: &Path, arguments: &[&str], want: i32, says: &str) {
        let (code, _, complained) = run(folder, arguments);
        assert!(code == want && complained.contains(says), "{code} {complained}");
    }
}

#[test]
fn a_running_server_is_backed_up_but_not_restored_over() {
    let house = House::start(PLAIN, &[]);
    let at = house.path("");
    let (code, _, complained) = restore(&at, &["--force"]);
    assert!(code == 1 && complained.contains("already runs"), "{complained}");
    assert!(!house.path("data/store").exists());
}
