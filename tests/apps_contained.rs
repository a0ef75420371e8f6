//! Apps that do wrong: each is held to what it may do, told in words, and costs nobody else anything. Where a test needs root or
//! control groups and the machine has none, the refusal is proved instead.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::house::{House, program};

/// Answers 200 on every path; `DO` says what it does wrong, and what it sees of itself it writes.
const APP: &str = r#"
import os, resource, socket, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
do = os.environ.get("DO", "")
held = []
def say(*words):
    print(*words, flush=True)
def eat():
    try:
        while True:
            held.append(open("/dev/null"))
    except OSError as error:
        say("descriptors end at", len(held), error.strerror)
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/shut":
            server.socket.shutdown(socket.SHUT_RDWR)
        text = os.environ["MADANG_INSTANCE"].encode()
        self.send_response(500 if do == "sick" else 200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def address_string(self):
        return "-"
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True
if do == "rights":
    status = open("/proc/self/status").read().split("\n")
    say([line for line in status if line.startswith("NoNewPrivs")][0].replace("\t", " "))
    say("user", os.getuid(), os.getgid(), os.getgroups())
    say("files", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for place in ["kept/file", "open/file"]:
        try:
            open(place, "w").close()
            say(place, "written")
        except OSError as error:
            say(place, error.strerror)
if do == "spin":
    say("spins")
    wall, used = time.monotonic(), time.process_time()
    while time.monotonic() < wall + 2:
        pass
    say("used", round((time.process_time() - used) / (time.monotonic() - wall), 3))
if do == "deaf-port":
    time.sleep(600)
port = int(os.environ.get("PORT", 0))
if do == "other-port":
    port = 0
if "LISTEN_FDS" in os.environ:
    server = Server(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=3)
else:
    server = Server(("127.0.0.1", port), Handler)
say("listens")
if do == "eat":
    eat()
server.serve_forever()
"#;

fn settings(keys: &str) -> String {
    format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ path = \"/*\", proxy = \"hello\" }}]\n\
         [app.hello]\nrun = [\"python3\", \"app.py\"]\nhealth = {{ path = \"/\", every = \"100ms\", timeout = \"300ms\", rise = 1, fall = 2 }}\n\
         stop = {{ drain = \"0s\", grace = \"200ms\" }}\n{keys}\n"
    )
}

/// One that is given up after its first end.
const ONCE: &str = "restart = { at_most = \"never\" }\n";
/// One that is started again at once, for ever.
const AGAIN: &str = "restart = { after = \"50ms\", longest = \"50ms\", at_most = \"always\" }\n";

fn house(keys: &str) -> House {
    House::start(&settings(keys), &[("app.py", APP.as_bytes())])
}

fn app(house: &House) -> Value {
    let status = house.json("status");
    status["apps"].as_array().unwrap().iter().find(|app| app["app"] == "hello").unwrap().clone()
}

fn processes(house: &House) -> BTreeSet<u64> {
    let app = app(house);
    app["instances"].as_array().unwrap().iter().filter_map(|one| one["process"].as_u64()).collect()
}

fn log(house: &House, app: &str) -> String {
    std::fs::read_to_string(house.path(&format!("data/logs/app-{app}.log"))).unwrap_or_default()
}

/// Whether the machine lets us limit; if not, it was told so and nothing runs without its limit.
fn limits_hold(house: &House) -> bool {
    house.until(|| !log(house, "hello").is_empty() || house.said().contains("hello: has failed"));
    if house.said().contains("this machine lets nobody limit") {
        assert!(processes(house).is_empty());
        return false;
    }
    true
}

/// Living processes whose working folder this is.
fn living_in(folder: &Path) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder))
        .count()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn signal(process: u64, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(process).unwrap()).unwrap(), signal).unwrap();
}

// Goal: hardening and limits of a process are in force in the program, and off where they are switched off.
#[test]
fn the_program_has_the_rights_it_was_given() {
    if !is_root() {
        let house = house(&format!("{ONCE}harden = {{ read_only = [\".\"] }}"));
        house.until_said("cannot get a mount namespace");
        return;
    }
    let files: [(&str, &[u8]); 3] = [("app.py", APP.as_bytes()), ("kept/there", b""), ("open/there", b"")];
    let keys = "env = { DO = \"rights\" }\nharden = { read_only = [\"kept\"] }";
    let house = House::start(&settings(keys), &files);
    house.until(|| log(&house, "hello").contains("listens"));
    let said = log(&house, "hello");
    for line in ["NoNewPrivs: 1", "user 0 0", "kept/file Read-only file system", "open/file written"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(house.path("open/file").is_file());
    std::fs::write(house.path("kept/ours"), "").expect("only the app is kept from writing");

    house.reload(&settings(
        "env = { DO = \"rights\" }\nharden = { no_new_privs = false }\ndeploy = { watch = \"0s\" }",
    ));
    house.until(|| log(&house, "hello").contains("NoNewPrivs: 0"));
    house.until(|| log(&house, "hello").contains("kept/file written"));
}

// Goal: an app runs as its user, with that user's groups only; a user who cannot reach the folder is told in words.
#[test]
fn an_app_is_its_user() {
    if !is_root() {
        let house = house(&format!("{ONCE}user = \"nobody\""));
        house.until_said("cannot become the user nobody");
        return;
    }
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    let folder = TempDir::new().unwrap();
    for (path, text) in [("app.py", APP), ("kept/there", ""), ("open/there", "")] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let keys = "user = \"nobody\"\nenv = { DO = \"rights\" }\nhome = 1".replace("\nhome = 1", "");
    std::fs::write(folder.path().join("madang.toml"), settings(&keys)).unwrap();
    mode(folder.path(), 0o755);
    mode(&folder.path().join("open"), 0o777);
    let mut command = program();
    command.arg("run").arg("-c").arg(folder.path().join("madang.toml"));
    // A python that nobody may run, wherever it is installed for root alone.
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    let house = House::spawn(command, folder);
    house.until(|| log(&house, "hello").contains("listens"));
    let said = log(&house, "hello");
    for line in ["user 65534 65534 [65534]", "kept/file Permission denied", "open/file written"] {
        assert!(said.contains(line), "{line}: {said}");
    }

    mode(&house.path("."), 0o700);
    house.reload(&settings(&format!("{keys}\ndeploy = {{ healthy_within = \"10s\" }}")));
    let refused = house.ask(&["app", "restart", "hello"]);
    assert!(!refused.status.success());
    house.until_said("app.py': [Errno 13] Permission denied");
    mode(&house.path("."), 0o755);
}

// Goal: who may use a fifth of a core uses no more. Method: it counts its own CPU time over two seconds of its own clock.
#[test]
fn a_busy_loop_gets_its_share_of_the_cpu_and_no_more() {
    let house = house("env = { DO = \"spin\" }\nlimits = { cpu = \"20%\" }");
    if !limits_hold(&house) {
        return;
    }
    house.until(|| log(&house, "hello").contains("used "));
    let said = log(&house, "hello");
    let used: f64 = said.split("used ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert!(used < 0.35, "{used} of a core");
}

// Goal: a memory hog is ended by the kernel and told by name and limit.
#[test]
fn a_memory_hog_is_killed_and_named() {
    const HOG: &str =
        "print('begins', flush=True)\nheld = bytearray(400 << 20)\nprint('it got them', flush=True)\n";
    let keys = format!("{ONCE}limits = {{ memory = \"64MiB\" }}");
    let house = House::start(&settings(&keys), &[("app.py", HOG.as_bytes())]);
    if !limits_hold(&house) {
        return;
    }
    house.until_said(
        "hello: instance 1 was killed by signal 9: the kernel's out-of-memory killer; limit 64 MiB",
    );
    assert!(!log(&house, "hello").contains("it got them"));
}

// Goal: a fork bomb stays within its limit, the others are served all the while, and nothing of it is left. Method: forks
// without end that each go on forking; counted by their working folder, stopped by order.
#[test]
fn a_fork_bomb_is_contained_and_leaves_nothing() {
    const BOMB: &str = "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('begins', flush=True)\n\
                        while True:\n    try:\n        if os.fork() == 0:\n            os.setsid()\n    except OSError:\n        time.sleep(0.01)\n";
    let keys = "limits = { pids = 40, cpu = \"30%\" }\nenv = { BOMB = \"1\" }\nstart_within = \"10m\"\n\
                [site.files]\nlisten = \"http://127.0.0.2:0\"\nroute = [{ path = \"/*\", files = \"public\" }]";
    let files: [(&str, &[u8]); 2] = [("app.py", BOMB.as_bytes()), ("public/index.html", b"well")];
    let house = House::start(&settings(keys), &files);
    if !limits_hold(&house) {
        return;
    }
    let folder = house.path("").canonicalize().unwrap();
    house.until(|| living_in(&folder) >= 38);
    for _ in 0..100 {
        let answer = Client::plain(house.address(1)).get("/");
        assert_eq!((answer.status, answer.text().as_str()), (200, "well"));
    }
    assert!(living_in(&folder) <= 40, "{} processes", living_in(&folder));
    assert!(house.ask(&["app", "stop", "hello"]).status.success());
    house.until(|| living_in(&folder) == 0);
    assert_eq!(app(&house)["state"], "stopped");
}

// Goal: an app that opens no port, or another one, or answers 500, is never given a request and told why.
#[test]
fn what_never_becomes_well_is_told_and_never_served() {
    for (what, told) in [
        ("deaf-port", "hello: instance 1 was not ready within 4s (it listens nowhere; it was given PORT="),
        ("other-port", "hello: instance 1 was not ready within 4s (it listens on "),
        ("sick", "hello: instance 1 was not ready within 4s"),
    ] {
        let keys = format!("{ONCE}env = {{ DO = \"{what}\" }}\nstart_within = \"4s\"");
        let house = house(&keys);
        house.until_said(told);
        house.until(|| app(&house)["state"] == "failed");
        assert_eq!(house.client().get("/").status, 503, "{what}");
        house.until(|| processes(&house).is_empty());
    }
}

// Goal: one that hangs is replaced, and what is asked meanwhile is answered by the other. Method: SIGSTOP.
#[test]
fn one_that_hangs_is_replaced() {
    let house = house("instances = 2\nrestart = { after = \"200ms\" }");
    house.until(|| app(&house)["ready"] == 2);
    let before = processes(&house);
    let hung = *before.first().unwrap();
    signal(hung, Signal::STOP);
    house.until(|| !processes(&house).contains(&hung) && app(&house)["ready"] == 2);
    assert!(house.said().contains("is not well: its health checks fail"), "{}", house.said());
    assert_eq!(house.client().get("/").status, 200);
}

// Goal: an app that eats its descriptors has its own and not the server's: the others are served.
#[test]
fn one_that_eats_descriptors_starves_alone() {
    let keys = "env = { DO = \"eat\" }\nstart_within = \"2s\"\n[site.files]\nlisten = \"http://127.0.0.2:0\"\nroute = [{ path = \"/*\", files = \"public\" }]";
    let files: [(&str, &[u8]); 2] = [("app.py", APP.as_bytes()), ("public/index.html", b"well")];
    let house = House::start(&settings(keys), &files);
    house.until(|| log(&house, "hello").contains("descriptors end at"));
    for _ in 0..100 {
        assert_eq!(Client::plain(house.address(1)).get("/").status, 200);
    }
    house.until_said("hello: instance 1 was not ready within");
}

// Goal: one that ruins the listener it inherited ruins only its own. Method: it shuts the socket down; the checks find out, the
// next instance has a new one.
#[test]
fn one_that_ruins_its_listener_is_replaced() {
    let house = house(&format!("{AGAIN}give = \"listener\""));
    house.until(|| app(&house)["ready"] == 1);
    let before = processes(&house);
    house.client().get("/shut");
    house.until(|| app(&house)["ready"] == 1 && processes(&house).is_disjoint(&before));
    assert_eq!(house.client().get("/").status, 200);
}

// Goal: one that fills the disk under the data folder harms no request, and all goes on once there is room. Method: a small file
// system of its own under `data`, in a mount namespace.
#[test]
fn a_full_disk_costs_no_request() {
    if !is_root() {
        eprintln!("not proved here: a file system of its own needs root");
        return;
    }
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("app.py"), APP).unwrap();
    let keys = "[app.filler]\nrun = [\"sh\", \"-c\", \"cat /dev/zero > data/filler; echo full; exec sleep 600\"]\nonce = true\n\
                [alert.disk]\nwhen = \"disk under 10 %\"\nsend = \"log\"";
    std::fs::write(folder.path().join("madang.toml"), settings(keys)).unwrap();
    let run = "mount -t tmpfs -o size=4m none data && exec \"$0\" run -c \"$PWD/madang.toml\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", run]).arg(env!("CARGO_BIN_EXE_madang")).current_dir(folder.path());
    let mut house = House::spawn(command, folder);
    house.until_said("disk firing: disk of ");
    house.until(|| house.client().get("/").status == 200);
    let seen = format!("/proc/{}/root{}", house.process(), house.path("data").display());
    for _ in 0..50 {
        assert_eq!(house.client().get("/").status, 200);
    }
    let socket = Path::new(&seen).join("madang.sock");
    assert!(socket.try_exists().unwrap());
    std::fs::remove_file(Path::new(&seen).join("filler")).unwrap();
    house.signal(Signal::HUP);
    house.until_said("reloaded");
    assert_eq!(house.client().get("/").status, 200);
    // Its records lie where the test cannot see them: it has to end them itself.
    house.signal(Signal::TERM);
    assert!(house.ended().success());
}
