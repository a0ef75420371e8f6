//! Whatever goes wrong with an app is told so that somebody at 3 am knows what happened, why, and what to do.
//!
//! Every folder of `tests/app-states` is a case: `madang.toml` with its files. Comments in it that begin with `#:` are
//! its steps, done in order once the server is ready:
//!
//! - `#: needs groups`: limits by control groups; passed over where the machine does not allow it, as the next two
//! - `#: as nobody`: the server runs as another user than root
//! - `#: disk OPTIONS`: its data folder is a disk of its own, a tmpfs with these options
//! - `#: until TEXT`: wait until the log of the apps has a line with this text
//! - `#: ask WORDS`: a command to the server; what it prints is told too
//! - `#: remove PATH`: a file or folder goes
//! - `#: term`: the server ends
//!
//! `expected.txt` is everything that the server told about apps up to the last `until`, and what the commands printed, with
//! times, processes and ports replaced. `UPDATE=1` writes it anew; read the difference before it lands.

use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rustix::process::Signal;

use crate::support::house::{House, program};

/// Nobody, on every Linux.
const NOBODY: u32 = 65534;
/// Servers at once: each has little to do, but its apps are given little time.
const AT_ONCE: usize = 3;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/app-states");
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = all.filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

/// The files of a case, by their paths inside it.
fn files(case: &Path, inside: &str, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(case.join(inside)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        if case.join(&path).is_dir() {
            files(case, &path, found);
        } else if path != "expected.txt" {
            found.push((path.clone(), std::fs::read(case.join(&path)).unwrap()));
        }
    }
}

/// What it said about apps, the line with `until` the last.
fn about_apps(said: &str, until: Option<&str>) -> String {
    let mut told = String::new();
    for line in said.lines().filter(|line| line.contains(" app: ") || line.contains("cannot write the log")) {
        // The time is a word.
        let line = line.split_once(' ').map_or(line, |(_, rest)| rest);
        let _ = writeln!(told, "{line}");
        if until.is_some_and(|until| line.contains(until)) {
            break;
        }
    }
    told
}

/// Without what differs from run to run: numbers of processes and ports, times measured, the folder.
fn steady(told: &str, folder: &str) -> String {
    let mut text = told.replace(folder, "FOLDER");
    for (before, name) in [
        ("process ", "N"),
        ("127.0.0.1:", "PORT"),
        ("PORT=", "PORT"),
        ("starts again in ", "T"),
        ("after ", "T"),
    ] {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((head, tail)) = rest.split_once(before) {
            let number = tail.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(tail.len());
            // "after" counts only where it was measured: with a decimal, which no setting has.
            let measured = before != "after " || tail[..number].contains('.');
            out.push_str(head);
            out.push_str(before);
            out.push_str(if number > 0 && measured { name } else { &tail[..number] });
            rest = &tail[number..];
        }
        out.push_str(rest);
        text = out;
    }
    text
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this machine lets us limit an app's memory.
fn has_groups() -> bool {
    let house = House::start(
        "[app.one]\nrun = [\"true\"]\nonce = true\nlimits = { memory = \"64MiB\" }\n[server]\nworkers = 1\n\
         [site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{ path = \"/*\", files = \"public\" }]\n",
        &[],
    );
    house.until(|| house.said().contains("one: instance 1 "));
    !house.said().contains("this machine lets nobody limit")
}

/// Starts the server the way the steps say; `None`: this machine does not allow it.
fn start(steps: &[&str], settings: &str, files: &[(&str, &[u8])]) -> Option<House> {
    let disk = steps.iter().find_map(|step| step.strip_prefix("disk "));
    let nobody = steps.contains(&"as nobody");
    if disk.is_none() && !nobody {
        return Some(House::start(settings, files));
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = ("madang.toml", settings.as_bytes());
    for (path, content) in files.iter().filter(|(path, _)| *path != "madang.toml").chain([&settings]) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY));
    let mut command;
    if let Some(options) = disk {
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let mount = format!("mount -t tmpfs -o {options} tmpfs data");
        let in_its_own = |script: String| {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", &script]).current_dir(folder.path());
            command
        };
        if !in_its_own(mount.clone()).output().is_ok_and(|output| output.status.success()) {
            return None;
        }
        command = in_its_own(format!("{mount} && exec {} run", program().get_program().display()));
    } else {
        // Who is nobody may not look into the folder that the program was built in.
        let copy = folder.path().join("madang");
        std::fs::copy(program().get_program(), &copy).unwrap();
        let mut all = vec![folder.path().to_owned()];
        all.extend(std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()));
        command = Command::new(copy);
        command.arg("run").current_dir(folder.path());
        if is_root() {
            all.iter().try_for_each(|path| own(path)).ok()?;
            command.uid(NOBODY).gid(NOBODY);
        }
    }
    command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS").env_remove("LISTEN_PID");
    Some(House::spawn(command, folder))
}

/// Plays a case; gives what was told. `None`: this machine does not allow it.
fn play(case: &Path, groups: bool) -> Option<String> {
    let settings = std::fs::read_to_string(case.join("madang.toml")).unwrap();
    let steps: Vec<&str> = settings.lines().filter_map(|line| line.strip_prefix("#: ")).collect();
    assert!(steps.iter().any(|step| step.starts_with("until ")), "{} has no end", case.display());
    if steps.contains(&"needs groups") && !groups {
        return None;
    }
    let mut all = Vec::new();
    files(case, "", &mut all);
    let all: Vec<(&str, &[u8])> =
        all.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    let mut house = start(&steps, &settings, &all)?;
    let (mut until, mut asked) = (None, String::new());
    for step in &steps {
        let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
        match word {
            "needs" | "as" | "disk" => {}
            "until" => {
                house.until(|| about_apps(&house.said(), None).contains(rest));
                until = Some(rest);
            }
            "ask" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let mut command = program();
                command.args(words).arg("-c").arg("madang.toml").current_dir(house.path(""));
                let output = command.output().unwrap();
                let _ = writeln!(asked, "$ madang {rest}\nexit {}", output.status.code().unwrap());
                // How far a deploy is at a time is not the story.
                let progress = |line: &&str| line.starts_with("  ") && line.contains(" s  ");
                let out = String::from_utf8_lossy(&output.stdout);
                out.lines().filter(|line| !progress(line)).for_each(|line| asked.extend([line, "\n"]));
                asked.push_str(&String::from_utf8_lossy(&output.stderr));
            }
            "remove" => {
                let path = house.path(rest);
                if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
                    .unwrap();
            }
            "term" => {
                house.signal(Signal::TERM);
                house.ended();
            }
            _ => panic!("{}: no such step: {step}", case.display()),
        }
    }
    let folder = house.path("");
    let folder = folder.to_str().unwrap().trim_end_matches('/').to_owned();
    Some(steady(&format!("{}{asked}", about_apps(&house.said(), until)), &folder))
}

// Goal: each state of an app that is no good has one clear story, word by word.
// Method: the cases of tests/app-states, played by the real binary.
#[test]
fn every_state_of_an_app_has_its_story() {
    let (update, cases, groups) = (std::env::var_os("UPDATE").is_some(), cases(), has_groups());
    assert!(cases.len() >= 15, "only {} cases found", cases.len());
    let (next, differing) = (Mutex::new(cases.iter()), Mutex::new(String::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(case) = next.lock().unwrap().next() else { return };
                    let Some(told) = play(case, groups) else { continue };
                    let expected = case.join("expected.txt");
                    if update {
                        std::fs::write(expected, told).unwrap();
                        continue;
                    }
                    let want = std::fs::read_to_string(expected).unwrap_or_default();
                    if want != told {
                        let name = case.file_name().unwrap().display();
                        let _ = write!(
                            differing.lock().unwrap(),
                            "--- {name}, expected:\n{want}--- got:\n{told}\n"
                        );
                    }
                }
            });
        }
    });
    let differing = differing.into_inner().unwrap();
    assert!(differing.is_empty(), "{differing}`UPDATE=1 cargo test -p madang app_states` accepts this");
}
