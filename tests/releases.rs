//! Versions on disk: copied, kept side by side, gone back to, found again whatever happened to the server.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::house::House;

/// Answers with its folder and the text of `version` in it; does what the file `do` there says besides.
pub(crate) const APP: &str = r#"
import os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
do = open("do").read() if os.path.exists("do") else ""
version = open("version").read()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        text = f"{version} {os.getcwd()} {os.getpid()}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
if "crash" in do:
    print("it cannot go on", flush=True)
    sys.exit(3)
if "never" in do:
    print("it waits for something", flush=True)
    time.sleep(600)
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"#;

pub(crate) fn settings(keys: &str) -> String {
    format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ path = \"/*\", proxy = \"hello\" }}]\n\
         [app.hello]\nrun = [\"python3\", \"app.py\"]\ndir = \"first\"\nhealth = {{ path = \"/\", every = \"200ms\", rise = 1 }}\n\
         restart = {{ after = \"100ms\", longest = \"1s\" }}\n{keys}\n"
    )
}

const QUICK: &str =
    "deploy = { watch = \"100ms\", healthy_within = \"5s\" }\nstop = { drain = \"1s\", grace = \"1s\" }";

/// A server with one app of the folder `first`, and versions `second` and `third` beside it.
pub(crate) fn house(keys: &str) -> House {
    let house = House::start(
        &settings(keys),
        &[
            ("first/app.py", APP.as_bytes()),
            ("first/version", b"one"),
            ("second/app.py", APP.as_bytes()),
            ("second/version", b"two"),
            ("third/app.py", APP.as_bytes()),
            ("third/version", b"three"),
        ],
    );
    house.until(|| answer(&house).starts_with("one "));
    house
}

pub(crate) fn answer(house: &House) -> String {
    house.client().get("/").text()
}

/// `madang app …`: exit code, then what it said.
pub(crate) fn app(house: &House, words: &[&str]) -> (Option<i32>, String) {
    let done = house.ask(&[&["app"], words].concat());
    let both = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(both).unwrap())
}

#[track_caller]
pub(crate) fn deploy(house: &House, dir: &str) {
    let dir = house.path(dir);
    let (code, said) = app(house, &["deploy", "hello", "--dir", dir.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}\n{}", house.said());
}

pub(crate) fn history(house: &House) -> Value {
    let done = house.ask(&["app", "history", "hello", "--json"]);
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Everything in the folder of versions, by name.
pub(crate) fn shelf(house: &House) -> Vec<String> {
    let entries = std::fs::read_dir(house.path("data/apps/hello/releases")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn trees(house: &House) -> Vec<String> {
    shelf(house).into_iter().filter(|name| !name.starts_with("record")).collect()
}

fn processes_of(folder: &Path) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let inside = |path: PathBuf| std::fs::read_link(path).is_ok_and(|dir| dir.starts_with(folder));
    all.filter(|entry| inside(entry.path().join("cwd"))).count()
}

// Goal: a deployed folder is copied, runs from the copy, and is what runs after a restart and after a kill; what there was
// before can still be gone back to.
#[test]
fn what_won_runs_on_after_a_restart_and_what_was_before_is_kept() {
    let mut house = house(QUICK);
    deploy(&house, "second");
    // The copy runs: the original may change or go.
    std::fs::remove_dir_all(house.path("second")).unwrap();
    assert!(answer(&house).starts_with("two "), "{}", answer(&house));
    assert!(answer(&house).contains("data/apps/hello/releases/2 "), "{}", answer(&house));
    deploy(&house, "third");
    house.kill_and_start_again();
    house.until(|| answer(&house).starts_with("three "));

    let (code, said) = app(&house, &["rollback", "hello"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(answer(&house).starts_with("two "), "{}", answer(&house));
    let (code, said) = app(&house, &["rollback", "hello", "--to", "1"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(answer(&house).starts_with("one "), "{}", answer(&house));

    house.signal(Signal::TERM);
    assert!(house.ended().success());
    house.kill_and_start_again();
    house.until(|| answer(&house).starts_with("one "));
    let (code, said) = app(&house, &["rollback", "hello", "--to", "9"]);
    assert_eq!((code, said.contains("version 9 is not kept; there are ")), (Some(1), true), "{said}");

    let (_, table) = app(&house, &["history", "hello"]);
    for want in ["1  20", "first start: the settings' folder", "rollback to 2: folder", "runs", "kept"] {
        assert!(table.contains(want), "{want}: {table}");
    }
}

// Goal: wherever a deploy is when the server is killed, the version before runs afterwards, half a version is not left and
// nothing runs twice. Method: killed while files are copied (a large folder), while instances start, while it is watched.
#[test]
fn a_killed_server_comes_back_with_the_version_that_had_won() {
    let keys = "instances = 2\ndeploy = { watch = \"60s\", healthy_within = \"60s\" }";
    let mut house = house(keys);
    for file in 0..4000 {
        house.write(&format!("large/{}/{file}", file % 50), "some bytes");
    }
    house.write("large/app.py", APP);
    house.write("large/version", "large");
    house.write("never/app.py", APP);
    house.write("never/version", "never");
    house.write("never/do", "never");
    for (dir, stage) in [("large", "preparing"), ("never", "starting"), ("second", "watching")] {
        let socket = house.path("data/madang.sock");
        let ordered = std::os::unix::net::UnixStream::connect(socket).unwrap();
        let path = house.path(dir);
        let order = format!("/api/v1/app/deploy?app=hello&dir={}", path.to_str().unwrap());
        let answer_of_it = Client::over(ordered).ask("POST", &order, "content-length: 0\r\n");
        assert_eq!(answer_of_it.status, 200, "{}", answer_of_it.text());
        let version =
            serde_json::from_str::<Value>(&answer_of_it.text()).unwrap()["version"].as_u64().unwrap();
        house.until(|| {
            let apps = house.json("status")["apps"].clone();
            apps[0]["deploy"]["stage"] == stage
        });
        house.kill_and_start_again();
        house.until(|| house.json("status")["apps"][0]["ready"] == 2 && answer(&house).starts_with("one "));
        let deploys = history(&house)["deploys"].clone();
        let last = deploys.as_array().unwrap().last().unwrap().clone();
        assert_eq!((last["version"].as_u64(), &last["end"]), (Some(version), &Value::from("interrupted")));
        house.until(|| trees(&house).is_empty());
        house.until(|| processes_of(&house.path("data/apps/hello/releases")) == 0);
        assert_eq!(processes_of(&house.path("first")), 2, "{stage}");
    }
}

// Goal: versions that do not come up leave nothing behind but their line in the history, with what they wrote.
#[test]
fn ten_broken_versions_leave_nothing_behind() {
    let house = house(QUICK);
    house.write("broken/app.py", APP);
    house.write("broken/version", "broken");
    house.write("broken/do", "crash");
    for round in 0..10 {
        let dir = house.path("broken");
        let (code, said) = app(&house, &["deploy", "hello", "--dir", dir.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{round}: {said}");
        assert!(said.contains("it cannot go on"), "{round}: {said}");
        assert!(
            said.contains("was taken back: an instance of it ended with code 3; version 1 goes on"),
            "{said}"
        );
    }
    house.until(|| trees(&house).is_empty());
    assert_eq!(history(&house)["deploys"].as_array().unwrap().len(), 11);
    assert!(answer(&house).starts_with("one "));
}

// Goal: the disk is bounded: by count, by size; what does not fit is refused with the numbers, and what runs is not touched.
#[test]
fn versions_are_kept_within_their_bounds() {
    let house = house(&QUICK.replace("watch", "keep = 2, disk = \"1MiB\", watch"));
    for (dir, size) in [("second", 300), ("third", 300)] {
        house.write(&format!("{dir}/ballast"), vec![7; size * 1024]);
    }
    deploy(&house, "second");
    deploy(&house, "third");
    assert_eq!(trees(&house), ["2", "3"]);
    // What still answers its last request takes room too.
    let only = |version: &str| processes_of(&house.path("data/apps/hello/releases").join(version)) == 1;
    house.until(|| only("3") && !only("2"));
    house.write("second/ballast", vec![7; 600 * 1024]);
    deploy(&house, "second");
    house.until(|| trees(&house) == ["3", "4"] && only("4") && !only("3"));
    house.write("third/ballast", vec![7; 600 * 1024]);
    let dir = house.path("third");
    let (code, said) = app(&house, &["deploy", "hello", "--dir", dir.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("it takes more than the 42") && said.contains("deploy.disk is 1.0 MiB and 60"),
        "{said}"
    );
    house.until(|| trees(&house) == ["3", "4"]);
    assert!(answer(&house).starts_with("two "));
}

// Goal: a folder is copied as it is - links, modes, empty folders - and what cannot be copied is told. The data folder in
// it is not copied into itself.
#[test]
fn a_folder_is_copied_as_it_is() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let house = house(QUICK);
    house.write("second/bin/run", "#!/bin/sh\n");
    std::fs::set_permissions(house.path("second/bin/run"), PermissionsExt::from_mode(0o4750)).unwrap();
    std::fs::create_dir(house.path("second/empty")).unwrap();
    symlink("bin/run", house.path("second/link")).unwrap();
    symlink("/usr/bin/env", house.path("second/absolute")).unwrap();
    symlink("nowhere", house.path("second/dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(house.path("second/socket")).unwrap();
    deploy(&house, "second");
    assert!(house.said().contains("left out: 1 sockets and pipes"), "{}", house.said());
    let copy = house.path("data/apps/hello/releases/2");
    let mode = std::fs::metadata(copy.join("bin/run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o750, "setuid is not kept");
    assert!(copy.join("empty").is_dir());
    for (link, target) in [("link", "bin/run"), ("absolute", "/usr/bin/env"), ("dangling", "nowhere")] {
        assert_eq!(std::fs::read_link(copy.join(link)).unwrap(), Path::new(target));
    }

    symlink("../first/app.py", house.path("second/out")).unwrap();
    let refused = |dir: &str| {
        let dir = house.path(dir);
        let (code, said) = app(&house, &["deploy", "hello", "--dir", dir.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{said}");
        said
    };
    assert!(refused("second").contains("leads out of the folder, to ../first/app.py: from a copy"));
    std::fs::remove_file(house.path("second/out")).unwrap();
    symlink(house.path("second/app.py"), house.path("second/back")).unwrap();
    assert!(refused("second").contains("leads by an absolute path into the folder that is copied"));
    assert!(refused("nowhere").contains("there is no folder"));

    // The folder of the settings itself, with the data folder in it.
    for file in ["app.py", "version"] {
        std::fs::copy(house.path("third").join(file), house.path(file)).unwrap();
    }
    std::fs::remove_file(house.path("second/back")).unwrap();
    deploy(&house, ".");
    assert!(answer(&house).starts_with("three "), "{}", answer(&house));
    assert!(house.said().contains("Madang's own data folder"), "{}", house.said());
}

// Goal: changed settings keep the deployed files, unless they name another folder; both by reload and between two starts.
#[test]
fn changed_settings_keep_the_files_unless_they_name_others() {
    let mut house = house(QUICK);
    deploy(&house, "second");
    house.reload(&settings(&format!("{QUICK}\nenv = {{ A = \"1\" }}")));
    house.until(|| history(&house)["current"] == 3);
    assert!(answer(&house).starts_with("two "), "{}", answer(&house));
    house.write("madang.toml", settings(&format!("{QUICK}\nenv = {{ A = \"2\" }}")));
    house.kill_and_start_again();
    house.until(|| answer(&house).starts_with("two "));
    assert_eq!(history(&house)["current"], 4);
    house.reload(&settings(QUICK).replace("dir = \"first\"", "dir = \"third\""));
    house.until(|| answer(&house).starts_with("three "));
    house.until(|| history(&house)["current"] == 5);
    deploy(&house, "second");
    house.write("madang.toml", settings(QUICK));
    house.kill_and_start_again();
    house.until(|| answer(&house).starts_with("one "));
    assert_eq!(history(&house)["current"], 7);
}

// Goal: a damaged record is told and set aside; the app runs, and can be deployed again.
#[test]
fn a_damaged_record_is_told_and_set_aside() {
    let mut house = house(QUICK);
    deploy(&house, "second");
    house.signal(Signal::TERM);
    house.ended();
    house.write("data/apps/hello/releases/record.json", "{\"format\": 1, ");
    house.kill_and_start_again();
    house.until(|| answer(&house).starts_with("one "));
    let said = house.said();
    assert!(said.contains("the record of its versions, "), "{said}");
    assert!(
        said.contains("record.json.damaged now; what the settings say runs, deploy again what should"),
        "{said}"
    );
    deploy(&house, "third");
    assert!(answer(&house).starts_with("three "));
    assert_eq!(history(&house)["current"], 4, "no number is given twice");
}

// Goal: one deploy at a time; the second is refused in words; one under way can be taken back, before and behind the copy.
#[test]
fn a_second_deploy_is_refused_and_the_first_can_be_taken_back() {
    let house = house("deploy = { watch = \"60s\", healthy_within = \"60s\" }");
    let dir = house.path("second");
    let socket = std::os::unix::net::UnixStream::connect(house.path("data/madang.sock")).unwrap();
    let order = format!("/api/v1/app/deploy?app=hello&dir={}", dir.to_str().unwrap());
    assert_eq!(Client::over(socket).ask("POST", &order, "content-length: 0\r\n").status, 200);
    let (code, said) = app(&house, &["deploy", "hello", "--dir", dir.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("hello: version 2 is on its way in since "), "{said}");
    assert!(said.contains("take it back with `madang app rollback`"), "{said}");
    let (code, said) = app(&house, &["rollback", "hello"]);
    assert_eq!((code, said.contains("version 1 is in")), (Some(0), true), "{said}");
    house.until(|| trees(&house).is_empty());
    assert!(answer(&house).starts_with("one "));
}

// Goal: taken back in the moment its folder got its name, when nothing looks at "taken back" any more: its files go all the same.
#[test]
fn a_deploy_taken_back_in_its_last_moment_leaves_no_files() {
    let house = house("deploy = { watch = \"60s\", healthy_within = \"60s\" }");
    let dir = house.path("second");
    let line =
        || Client::over(std::os::unix::net::UnixStream::connect(house.path("data/madang.sock")).unwrap());
    for version in 2..12 {
        let mut back = line();
        let order = format!("/api/v1/app/deploy?app=hello&dir={}", dir.to_str().unwrap());
        assert_eq!(line().ask("POST", &order, "content-length: 0\r\n").status, 200);
        let place = house.path(&format!("data/apps/hello/releases/{version}"));
        // Tighter than `until` looks.
        let deadline = Instant::now() + PATIENCE;
        while !place.exists() {
            assert!(Instant::now() < deadline, "version {version} does not come: {}", house.said());
            std::thread::yield_now();
        }
        assert_eq!(back.ask("POST", "/api/v1/app/rollback?app=hello", "content-length: 0\r\n").status, 200);
        house.until(|| trees(&house).is_empty() && house.json("status")["apps"][0]["deploy"].is_null());
    }
    assert!(answer(&house).starts_with("one "));
}

// Goal: Ctrl-C ends the command, not the deploy, and says so.
#[test]
fn an_interrupted_command_leaves_the_deploy_to_the_server() {
    let house = house("deploy = { watch = \"1s\" }");
    let dir = house.path("second");
    let mut command = crate::support::house::program();
    command.args(["app", "deploy", "hello", "--dir", dir.to_str().unwrap(), "-c"]);
    command.arg(house.path("madang.toml"));
    let child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    house.until(|| house.json("status")["apps"][0]["deploy"]["stage"] == "watching");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("version 2 goes on coming in at the server"), "{said}");
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(
        told.contains(" s  new instances start beside the old ones: ") || told.contains("stands by"),
        "{told}"
    );
    house.until(|| history(&house)["current"] == 2);
    assert!(answer(&house).starts_with("two "));
}
