//! Whatever kills the server, at whatever moment: what runs is written down, and what is not written down does not run.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::house::{House, program};

/// A program that does nothing, by the name of the mark: one process, which a shell's would not be for a moment.
fn make_program(folder: &Path, mark: &str) {
    std::os::unix::fs::symlink("/bin/sleep", folder.join(mark)).unwrap();
}

/// One app whose instances do nothing; `mark` stands in their command lines, before and after they became the program.
fn settings(mark: &str, instances: u32) -> String {
    format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ path = \"/*\", proxy = \"hello\" }}]\n\
         [app.hello]\nrun = [\"./{mark}\", \"600\"]\ninstances = {instances}\nstop = {{ drain = \"0s\" }}\n\
         restart = {{ after = \"10ms\", longest = \"10ms\", at_most = \"always\" }}\n"
    )
}

/// Processes with this in their command line: number, and whether it is still Madang's second self.
fn marked(mark: &str) -> Vec<(u64, bool)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains(mark) {
            all.push((number, line.contains("__exec")));
        }
    }
    all
}

#[track_caller]
fn until(mut so: impl FnMut() -> bool, what: impl FnOnce() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        if Instant::now() > deadline {
            panic!("not within {PATIENCE:?}: {}", what());
        }
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
}

fn start(folder: &Path) -> Child {
    let mut command = program();
    command.arg("run").arg("-c").arg(folder.join("madang.toml"));
    let said = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("said")).unwrap();
    command.stdout(Stdio::null()).stderr(said).spawn().unwrap()
}

/// Kills it as it stands, and waits until nothing of it is on its way.
fn kill(mut server: Child, mark: &str) {
    server.kill().unwrap();
    server.wait().unwrap();
    until(|| marked(mark).iter().all(|(_, second_self)| !second_self), || "second selves decide".to_owned());
}

/// Processes that have a record.
fn recorded(folder: &Path) -> BTreeSet<u64> {
    let entries = std::fs::read_dir(folder.join("data/apps/hello")).into_iter().flatten().flatten();
    let records =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ext| ext == "json"));
    let number = |text: String| {
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["process"]["number"].as_u64()
    };
    records.map(|path| number(std::fs::read_to_string(path).unwrap()).unwrap()).collect()
}

// Goal: a server killed between spawning a process and writing it down leaves no process. Method: the file that the record is
// written into is a pipe nobody reads, so the server stands still in exactly that moment.
#[test]
fn a_process_without_a_record_does_not_begin() {
    let mark = format!("mark-{}-stuck", std::process::id());
    let folder = TempDir::new().unwrap();
    make_program(folder.path(), &mark);
    std::fs::write(folder.path().join("madang.toml"), settings(&mark, 1)).unwrap();
    std::fs::create_dir_all(folder.path().join("data/apps/hello")).unwrap();
    let stuck = folder.path().join("data/apps/hello/1.new");
    assert!(std::process::Command::new("mkfifo").arg(&stuck).status().unwrap().success());
    let server = start(folder.path());
    until(|| !marked(&mark).is_empty(), || "it spawns".to_owned());
    assert!(recorded(folder.path()).is_empty());
    kill(server, &mark);
    assert_eq!(marked(&mark), [], "it runs, and nobody knows");
}

// Goal: the same at any moment. Method: kills when so many processes are there as the seed says, again and again in one folder;
// after each, whoever runs is written down; the last server knows all and ends all.
#[test]
fn a_server_killed_at_any_moment_leaves_nothing_unknown() {
    const INSTANCES: u64 = 6;
    let mark = format!("mark-{}-moments", std::process::id());
    let folder = TempDir::new().unwrap();
    make_program(folder.path(), &mark);
    let text = settings(&mark, u32::try_from(INSTANCES).unwrap());
    std::fs::write(folder.path().join("madang.toml"), text).unwrap();
    let mut seed = 0x5eed_u64;
    for round in 0..12 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Every few rounds it begins with none again.
        if round % 4 == 0 {
            // Again and again: for a moment of its exec a process has no command line, and is overlooked.
            let none = || {
                let left = marked(&mark);
                for (number, _) in &left {
                    let pid = rustix::process::Pid::from_raw(i32::try_from(*number).unwrap()).unwrap();
                    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
                }
                left.is_empty()
            };
            until(none, || format!("{:?} are left", marked(&mark)));
        }
        let wanted = (marked(&mark).len() as u64 + 1 + (seed >> 33) % INSTANCES).min(INSTANCES);
        let server = start(folder.path());
        let said = || std::fs::read_to_string(folder.path().join("said")).unwrap_or_default();
        until(
            || marked(&mark).len() as u64 >= wanted,
            || format!("{wanted} of {:?} in round {round}: {}", marked(&mark), said()),
        );
        kill(server, &mark);
        // A child that had not become a second self yet looks like the server, does so now, and ends.
        let running = || marked(&mark).into_iter().map(|(number, _)| number).collect::<BTreeSet<u64>>();
        let known = || recorded(folder.path());
        until(
            || running().is_subset(&known()),
            || format!("round {round}: {:?} run, {:?} are known", running(), known()),
        );
        let running = running();
        assert!(running.len() as u64 <= INSTANCES, "round {round}: {running:?}");
    }
    let mut command = program();
    command.arg("run").arg("-c").arg(folder.path().join("madang.toml"));
    let mut house = House::spawn(command, folder);
    house
        .until(|| marked(&mark).len() as u64 == INSTANCES && marked(&mark).iter().all(|(_, second)| !second));
    house.signal(Signal::TERM);
    assert!(house.ended().success());
    house.until(|| marked(&mark).is_empty());
}
