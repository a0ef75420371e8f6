//! Whatever goes wrong with an app is told so that somebody at 3 am knows what happened, why, and what to do.
//!
//! Every folder of `tests/app-states` is a case: `madang.toml` with its files. Comments in it that begin with `#:` are
//! its steps, done in order once the server is ready:
//!
//! - `#: needs root`, `#: needs groups`: passed over where the machine does not allow it
//! - `#: until TEXT`: wait until the log of the apps has a line with this text
//! - `#: ask WORDS`: a command to the server; what it prints is told too
//! - `#: remove PATH`: a file or folder goes
//! - `#: term`: the server ends
//!
//! `expected.txt` is everything that the server told about apps up to the last `until`, and what the commands printed, with
//! times, processes and ports replaced. `UPDATE=1` writes it anew; read the difference before it lands.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::process::Signal;

use crate::support::house::House;

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
    for line in said.lines().filter(|line| line.contains(" app: ")) {
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

/// Plays a case; gives what was told. `None`: this machine does not allow it.
fn play(case: &Path, groups: bool) -> Option<String> {
    let settings = std::fs::read_to_string(case.join("madang.toml")).unwrap();
    let steps: Vec<&str> = settings.lines().filter_map(|line| line.strip_prefix("#: ")).collect();
    assert!(steps.iter().any(|step| step.starts_with("until ")), "{} has no end", case.display());
    let needs = |what: &str| steps.contains(&what);
    if (needs("needs root") && !is_root())
        || (needs("needs groups") && !groups)
        || (needs("needs no groups") && groups)
    {
        return None;
    }
    let mut all = Vec::new();
    files(case, "", &mut all);
    let all: Vec<(&str, &[u8])> =
        all.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    let mut house = House::start(&settings, &all);
    let (mut until, mut asked) = (None, String::new());
    for step in &steps {
        let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
        match word {
            "needs" => {}
            "until" => {
                house.until(|| about_apps(&house.said(), None).contains(rest));
                until = Some(rest);
            }
            "ask" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let output = house.ask(&words);
                let _ = writeln!(asked, "$ madang {rest}\nexit {}", output.status.code().unwrap());
                asked.push_str(&String::from_utf8_lossy(&output.stdout));
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
