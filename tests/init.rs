//! Goal: `madang init` makes of a project, or of another server's settings, a madang.toml that is right, and says what it did.
//! Method: every folder of tests/init holds what is given (`given/`), the settings expected of it (`madang.toml`) and what is
//! said (`said.txt`, the exit code first; `arguments.txt`: the command line where it is not just `init`). Each is made by
//! the real binary in a fresh folder, and `madang check` must find nothing wrong with the result.
//! `UPDATE=1` writes what is expected anew; read the difference before it lands.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::house::{House, program};

/// Programs that settings may name: found in PATH, never run by this test.
const PROGRAMS: [&str; 16] = [
    "node", "npm", "pnpm", "yarn", "bun", "python3", "sh", "bundle", "gunicorn", "sleep", "php", "ruby",
    "java", "env", "uvicorn", "true",
];
/// The number of cases must not shrink unseen.
const CASES_MIN: usize = 48;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/init");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    cases
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        // An empty folder cannot be kept in git, and a name that begins with a dot is often left behind.
        let target = match name.to_str() {
            Some("empty-folder") => continue,
            Some(name) => {
                to.join(name.strip_prefix("dot-").map(|rest| format!(".{rest}")).unwrap_or(name.to_owned()))
            }
            None => to.join(name),
        };
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A folder with the case's files, named as a user's project might be, and a PATH with the programs.
struct Room {
    folder: TempDir,
}

impl Room {
    fn of(case: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let room = Self { folder };
        copy(&case.join("given"), &room.project());
        let programs = room.programs();
        std::fs::create_dir(&programs).unwrap();
        for name in PROGRAMS {
            executable(&programs.join(name), "#!/bin/false\n");
        }
        room
    }
    fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }
    fn programs(&self) -> PathBuf {
        self.folder.path().join("bin")
    }
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command: Command = program();
        let output = command
            .args(arguments)
            .current_dir(self.project())
            .env_clear()
            .env("PATH", self.programs())
            .output()
            .unwrap();
        let mut said = String::from_utf8(output.stdout).unwrap();
        said.push_str(&String::from_utf8(output.stderr).unwrap());
        // The test's own folder is not the same twice.
        let said =
            said.replace(&std::fs::canonicalize(self.folder.path()).unwrap().display().to_string(), "ROOM");
        (output.status.code(), said)
    }
}

/// Machines differ in their cores, and the test's folder is another one each time.
fn steady(text: &str, room: &Room) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let text =
        text.replace(&std::fs::canonicalize(room.folder.path()).unwrap().display().to_string(), "ROOM");
    text.lines()
        .map(|line| match line.contains("one per core") {
            true => {
                line.replace(&format!("= {cores} "), "= CORES ").replace(&format!("= {cores},"), "= CORES,")
            }
            false => line.to_owned(),
        })
        .map(|line| line + "\n")
        .collect()
}

#[test]
fn every_project_gets_its_settings() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut differing = Vec::new();
    let cases = cases();
    assert!(update || cases.len() >= CASES_MIN, "only {} cases found", cases.len());
    for case in &cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let room = Room::of(case);
        let arguments =
            std::fs::read_to_string(case.join("arguments.txt")).unwrap_or_else(|_| "init".to_owned());
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let (code, said) = room.run(&arguments);
        let said = format!("exit {}\n{said}", code.unwrap_or(-1));
        let made = std::fs::read_to_string(room.project().join("madang.toml")).ok();

        if let Some(made) = &made {
            // What only a build can make is named by the case; everything else must be there.
            let (checked, report) = room.run(&["check"]);
            if !case.join("not-built").is_file() {
                assert_eq!(checked, Some(0), "{name}: madang check says\n{report}\nof\n{made}");
            }
            assert!(!report.contains(": error: ") || checked == Some(2), "{name}: {report}");
            assert!(
                !report.contains("is not TOML") && !report.contains("unknown key"),
                "{name}: {report}\n{made}"
            );
            // Again, for standard output: the same text, and nothing is written.
            let mut again = arguments.clone();
            again.push("--stdout");
            let output = program()
                .args(&again)
                .current_dir(room.project())
                .env_clear()
                .env("PATH", room.programs())
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), *made, "{name}: --stdout says the same");
        }
        for (file, have) in [("said.txt", Some(&said)), ("madang.toml", made.as_ref())] {
            let path = case.join(file);
            let have = have.map(|text| steady(text, &room));
            if update {
                match &have {
                    Some(text) => std::fs::write(path, text).unwrap(),
                    None => drop(std::fs::remove_file(path)),
                }
            } else if std::fs::read_to_string(path).ok() != have {
                differing.push(format!("--- {name}/{file} is\n{}", have.unwrap_or_default()));
            }
        }
    }
    assert!(
        differing.is_empty(),
        "{} files differ (UPDATE=1 writes them anew)\n{}",
        differing.len(),
        differing.join("\n")
    );
}

// Goal: a file that is there is never lost. Method: init twice; then with --force; then where a link leads nowhere.
#[test]
fn a_file_that_is_there_stays_unless_forced() {
    let room = Room::of(&cases()[0]);
    let target = room.project().join("madang.toml");
    std::fs::write(&target, "# mine\n").unwrap();
    let (code, said) = room.run(&["init"]);
    assert_eq!((code, std::fs::read_to_string(&target).unwrap().as_str()), (Some(1), "# mine\n"));
    assert!(said.contains("madang.toml is there already") && said.contains("--force"), "{said}");
    let (code, _) = room.run(&["init", "--force"]);
    assert_eq!(code, Some(0));
    assert!(std::fs::read_to_string(&target).unwrap().starts_with("# Made by `madang init`"));

    std::fs::remove_file(&target).unwrap();
    std::os::unix::fs::symlink("/nowhere/madang.toml", &target).unwrap();
    assert_eq!(room.run(&["init"]).0, Some(1));
    let left: Vec<_> =
        std::fs::read_dir(room.project()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("madang.toml.")), "{left:?}");
}

// Goal: whoever serves a project's folder is told once that it could be run, and served all the same.
#[test]
fn a_folder_with_an_app_gets_a_hint() {
    let room = Room::of(&cases()[0]);
    let folder = TempDir::new().unwrap();
    let mut command = program();
    command.args(["--port", "0"]).current_dir(room.project());
    let house = House::spawn(command, folder);
    house.until_said("this folder has a package.json: `madang init` writes a madang.toml for it");
    assert_eq!(Client::plain(house.address(0)).get("/server.js").status, 200);
}
