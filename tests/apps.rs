//! Apps that the server runs itself: started, balanced, replaced, deployed, found again. The program is a small server in
//! Python; what it is to do wrong is told by its environment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::support::client::Client;
use crate::support::house::House;

/// Answers with instance and process; does what `DO` says besides.
const APP: &str = r#"
import os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
do = os.environ.get("DO", "")
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            print("slow begins", flush=True)
            time.sleep(0.4)
        text = f"{os.environ['MADANG_INSTANCE']} {os.getpid()} {os.getcwd()}".encode()
        self.send_response(500 if "sick" in do else 200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
if "crash" in do:
    print("it cannot go on", flush=True)
    sys.exit(3)
server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
if "deaf" in do:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
if "mute" in do:
    os.close(1); os.close(2)
else:
    print("listening", flush=True)
server.serve_forever()
"#;

/// Settings with one app of these keys.
fn settings(keys: &str) -> String {
    format!(
        "[server]\nworkers = 2\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ path = \"/*\", proxy = \"hello\" }}]\n\
         [app.hello]\nrun = [\"python3\", \"app.py\"]\nhealth = {{ path = \"/\", every = \"200ms\", rise = 1 }}\n\
         restart = {{ after = \"100ms\", longest = \"1s\" }}\n{keys}\n"
    )
}

fn house(keys: &str) -> House {
    let house = House::start(&settings(keys), &[("app.py", APP.as_bytes())]);
    house.until(|| ready(&house) >= 1);
    house
}

fn app(house: &House) -> Value {
    let status = house.json("status");
    let hello = status["apps"].as_array().unwrap().iter().find(|app| app["app"] == "hello");
    hello.unwrap().clone()
}

fn ready(house: &House) -> u64 {
    app(house)["ready"].as_u64().unwrap()
}

fn processes(house: &House) -> BTreeSet<u64> {
    let app = app(house);
    app["instances"].as_array().unwrap().iter().filter_map(|one| one["process"].as_u64()).collect()
}

fn kill(process: u64) {
    kill_process(Pid::from_raw(i32::try_from(process).unwrap()).unwrap(), Signal::KILL).unwrap();
}

fn is_there(process: u64) -> bool {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    // A zombie of a parent that does not care (in a container) is gone for us.
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    test_kill_process(pid).is_ok() && !state.contains(") Z ")
}

/// Asks without end until told, by one client that opens a connection anew each time and one that keeps it; gives the
/// answers that were not good.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    fn start(house: &House) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let address = house.address(0);
        let client = |keep: bool| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let (mut asked, mut bad, mut kept) = (0, Vec::new(), None);
                while !over.load(Ordering::SeqCst) {
                    let mut client = kept.take().unwrap_or_else(|| Client::plain(address));
                    let answer = client.get("/");
                    asked += 1;
                    if answer.status != 200 {
                        bad.push(format!("{} {}", answer.status, answer.text()));
                    }
                    // The server may say that this was the last answer there: an upgrade does.
                    let stays = answer.field("connection").is_none_or(|word| word != "close");
                    kept = (keep && stays).then_some(client);
                }
                (asked, bad)
            })
        };
        let clients = vec![client(true), client(false)];
        Self { over, clients }
    }

    #[track_caller]
    fn end(self) -> usize {
        self.over.store(true, Ordering::SeqCst);
        let mut all = 0;
        for client in self.clients {
            let (asked, bad) = client.join().unwrap();
            assert!(bad.is_empty(), "{} of {asked} failed: {:?}", bad.len(), &bad[..bad.len().min(5)]);
            all += asked;
        }
        assert!(all > 0);
        all
    }
}

// Goal: two instances share the requests; the log has what they write; nothing is left when the server ends.
#[test]
fn instances_share_the_requests_and_end_with_the_server() {
    let mut house = house("instances = 2");
    house.until(|| ready(&house) == 2);
    let mut client = house.client();
    let seen: BTreeSet<String> =
        (0..60).map(|_| client.get("/").text().split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["1", "2"]);
    house.until(|| {
        std::fs::read_to_string(house.path("data/logs/app-hello.log"))
            .is_ok_and(|log| log.lines().count() == 2)
    });
    let list = String::from_utf8(house.ask(&["app", "list"]).stdout).unwrap();
    assert!(list.contains("hello  running  2 of 2 ready"), "{list}");

    let all = processes(&house);
    assert_eq!(all.len(), 2);
    house.signal(Signal::TERM);
    assert!(house.ended().success());
    assert!(all.into_iter().all(|process| !is_there(process)));
}

// Goal: the first requests wait for the first instance instead of failing.
#[test]
fn requests_wait_for_the_first_instance() {
    let house = House::start(&settings("instances = 1"), &[("app.py", APP.as_bytes())]);
    let answer = house.client().get("/");
    assert_eq!(answer.status, 200, "{}", house.said());
}

// Goal: an instance killed with SIGKILL under load costs no request and is replaced. Method: ten kills, one at a time.
#[test]
fn killed_instances_cost_no_request() {
    let house = house("instances = 2");
    let load = Load::start(&house);
    for _ in 0..10 {
        house.until(|| ready(&house) == 2);
        let before = processes(&house);
        kill(*before.first().unwrap());
        house.until(|| processes(&house) != before);
    }
    house.until(|| ready(&house) == 2);
    load.end();
    assert!(house.said().contains("was killed by signal 9 (KILL)"), "{}", house.said());
}

// Goal: restarts and deploys under load cost no request; the old processes end; a broken version is taken back.
#[test]
fn versions_change_under_load_without_a_failed_request() {
    let keys = "instances = 2\ndeploy = { watch = \"300ms\", healthy_within = \"3s\" }\nstop = { drain = \"5s\", grace = \"2s\" }";
    let house = house(keys);
    house.write("next/app.py", APP);
    house.write("broken/app.py", "import sys\nprint('it is broken', flush=True)\nsys.exit(1)\n");
    house.until(|| ready(&house) == 2);
    let load = Load::start(&house);
    for round in 0..3 {
        let before = processes(&house);
        let done = house.ask(&["app", "restart", "hello"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        house.until(|| processes(&house).is_disjoint(&before) && ready(&house) == 2);

        let dir = house.path("broken");
        let refused = house.ask(&["app", "deploy", "hello", "--dir", dir.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1));
        assert!(told.contains("was taken back: an instance of it ended with code 1"), "{round}: {told}");
    }
    let dir = house.path("next");
    let done = house.ask(&["app", "deploy", "hello", "--dir", dir.to_str().unwrap()]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(house.client().get("/").text().contains("/releases/"));
    let back = house.ask(&["app", "rollback", "hello"]);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    assert!(!house.client().get("/").text().contains("/releases/"));
    load.end();
    assert!(house.said().contains("it is broken"), "the last lines are told: {}", house.said());
}

// Goal: scaling up and down by order under load costs no request.
#[test]
fn scaling_under_load_costs_no_request() {
    let house = house("instances = 2\nstop = { drain = \"5s\", grace = \"2s\" }");
    let load = Load::start(&house);
    for count in [4_u64, 1, 3, 2] {
        assert!(house.ask(&["app", "scale", "hello", &count.to_string()]).status.success());
        house.until(|| ready(&house) == count && processes(&house).len() as u64 == count);
    }
    load.end();
}

// Goal: an app that sleeps is woken by the first request, which waits for it; `madang logs NAME` shows what it writes.
#[test]
fn the_first_request_wakes_an_app_that_sleeps() {
    let house = House::start(&settings("instances = { min = 0, max = 2 }"), &[("app.py", APP.as_bytes())]);
    assert_eq!(app(&house)["state"], "asleep");
    assert_eq!(house.client().get("/").status, 200);
    house.until(|| ready(&house) == 1);
    house.until(|| {
        let logs = house.ask(&["logs", "hello"]);
        logs.status.success() && String::from_utf8_lossy(&logs.stdout).contains("Z 1 out listening\n")
    });
    assert!(!house.ask(&["logs", "nobody"]).status.success());
}

// Goal: jobs run when they are to, one run at a time, and those that wait for them start behind.
#[test]
fn jobs_come_before_those_that_wait_for_them_and_again_in_time() {
    let keys = "after = \"prepare\"\n[app.prepare]\nrun = [\"sh\", \"-c\", \"echo prepared > prepared\"]\nonce = true\n\
                [app.tick]\nrun = [\"sh\", \"-c\", \"echo tick >> ticks\"]\nevery = \"1s\"";
    let house = house(keys);
    assert!(house.path("prepared").is_file(), "{}", house.said());
    house
        .until(|| std::fs::read_to_string(house.path("ticks")).is_ok_and(|ticks| ticks.lines().count() == 2));
    let apps = house.json("status")["apps"].clone();
    let states: Vec<&str> =
        apps.as_array().unwrap().iter().map(|app| app["state"].as_str().unwrap()).collect();
    assert_eq!(states[..2], ["running", "done"]);
}

// Goal: whichever way an app listens and says that it is ready, it is reached. Method: a unix socket, an inherited
// listener with READY=1, and nothing of ours left open in it.
#[test]
fn apps_listen_where_they_are_told() {
    const OTHER: &str = r#"
import os, socket, socketserver
from http.server import BaseHTTPRequestHandler
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        text = " ".join(sorted(os.listdir("/proc/self/fd"), key=int)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def address_string(self):
        return "-"
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    def server_bind(self):
        pass
if "SOCKET" in os.environ:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.environ["SOCKET"])
    listener.listen(16)
else:
    assert os.environ["LISTEN_FDS"] == "1" and os.environ["LISTEN_PID"] == str(os.getpid())
    listener = socket.socket(fileno=3)
server = Server(("", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = listener
if "NOTIFY_SOCKET" in os.environ:
    say = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    say.connect("\0" + os.environ["NOTIFY_SOCKET"][1:])
    say.send(b"STATUS=up\nREADY=1")
    say.close()
server.serve_forever()
"#;
    for keys in ["give = \"socket\"", "give = \"listener\"\nready = \"notify\""] {
        let house = House::start(&settings(keys), &[("app.py", OTHER.as_bytes())]);
        let answer = house.client().get("/");
        assert_eq!(answer.status, 200, "{keys}: {}", house.said());
        let open: Vec<u32> = answer.text().split(' ').map(|number| number.parse().unwrap()).collect();
        assert!(open.len() <= 9 && open[..3] == [0, 1, 2], "{keys}: {open:?} are open");
        if keys.contains("notify") {
            assert_eq!(app(&house)["instances"][0]["status"], "up");
        }
    }
}

// Goal: a reload that changes the environment is a deploy; one that changes nothing of the program starts nothing.
#[test]
fn a_reload_that_changes_the_program_is_a_deploy() {
    let keys = "instances = 2\ndeploy = { watch = \"100ms\" }\n";
    let house = house(keys);
    house.until(|| ready(&house) == 2);
    let before = processes(&house);
    let load = Load::start(&house);
    house.reload(&settings(&format!("{keys}start_within = \"30s\"")));
    house.reload(&settings(&format!("{keys}env = {{ A = \"1\" }}")));
    house.until(|| processes(&house).is_disjoint(&before) && ready(&house) == 2);
    load.end();
    assert_eq!(app(&house)["version"]["version"], 2);
}

// Goal: an app that cannot run is given up with its reason and its last words, and started again by order.
#[test]
fn a_crash_loop_is_given_up_with_its_last_words() {
    let keys = "env = { DO = \"crash\" }\nrestart = { after = \"10ms\", longest = \"20ms\", at_most = \"3 per 1m\" }";
    let keys = settings(keys).replacen("restart = { after = \"100ms\", longest = \"1s\" }\n", "", 1);
    let house = House::start(&keys, &[("app.py", APP.as_bytes())]);
    house.until(|| app(&house)["state"] == "failed");
    let said = house.said();
    assert!(said.contains("hello: has failed: it ended 4 times within 1m"), "{said}");
    assert!(said.contains("hello: instance 1 ended with code 3"), "{said}");
    assert!(said.contains("hello: instance 1 wrote: it cannot go on"), "{said}");
    assert_eq!(house.client().get("/").status, 503, "nobody waits for one that has failed");
}

// Goal: what ignores TERM is killed, what closes its output runs on.
#[test]
fn the_deaf_are_killed_and_the_mute_run_on() {
    let mut house = house("env = { DO = \"deaf mute\" }\nstop = { drain = \"0s\", grace = \"100ms\" }");
    assert_eq!(house.client().get("/").status, 200);
    let all = processes(&house);
    house.signal(Signal::TERM);
    assert!(house.ended().success());
    assert!(all.into_iter().all(|process| !is_there(process)));
    house.until_said("did not end within 100ms: it is killed");
}

// Goal: a server that was killed finds its apps again: the same processes, none twice, and they answer at once.
#[test]
fn a_killed_server_finds_its_apps_again() {
    let mut house = house("instances = 2");
    house.until(|| ready(&house) == 2);
    let before = processes(&house);
    house.kill_and_start_again();
    assert_eq!(house.client().get("/").status, 200);
    assert_eq!(processes(&house), before);
    house.until(|| ready(&house) == 2);
    // They can be ended like its own.
    let stopped = house.ask(&["app", "stop", "hello"]);
    assert!(stopped.status.success());
    house.until(|| processes(&house).is_empty());
    assert!(before.into_iter().all(|process| !is_there(process)));
}

// Goal: an upgrade of the server leaves the apps as they are, and costs no request.
#[test]
fn an_upgrade_leaves_the_apps_alone() {
    let mut house = house("instances = 2");
    house.until(|| ready(&house) == 2);
    let before = processes(&house);
    let load = Load::start(&house);
    house.upgrade();
    assert_eq!(processes(&house), before);
    load.end();
    house.until(|| ready(&house) == 2);
    assert_eq!(processes(&house), before);
}

// Goal: a memory hog is ended by the kernel and told as such, a fork bomb is stopped by its limit, and what leaves its
// group and its session is ended with the instance. Method: real limits; only where the machine lets us set them.
#[test]
fn limits_hold_and_nothing_escapes() {
    const HOG: &str =
        "import time\nbytes = bytearray(200 << 20)\nprint('it got them', flush=True)\ntime.sleep(60)\n";
    const BOMB: &str = "import os, time\ncount = 0\ntry:\n    while count < 200:\n        if os.fork() == 0:\n            \
                        time.sleep(60)\n        count += 1\nexcept OSError:\n    print('stopped at', count, flush=True)\ntime.sleep(60)\n";
    const DAEMON: &str = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        \
                          open('daemon', 'w').write(str(os.getpid()))\n        time.sleep(600)\n    os._exit(0)\ntime.sleep(600)\n";
    let keys = "[app.hog]\nrun = [\"python3\", \"hog.py\"]\nonce = true\nlimits = { memory = \"48MiB\" }\nrestart = { at_most = \"never\" }\n\
                [app.bomb]\nrun = [\"python3\", \"bomb.py\"]\nonce = true\nlimits = { pids = 20 }\nrestart = { at_most = \"never\" }\n\
                [app.daemon]\nrun = [\"python3\", \"daemon.py\"]\nonce = true\n";
    let files: [(&str, &[u8]); 4] = [
        ("app.py", APP.as_bytes()),
        ("hog.py", HOG.as_bytes()),
        ("bomb.py", BOMB.as_bytes()),
        ("daemon.py", DAEMON.as_bytes()),
    ];
    let mut house = House::start(&settings(keys), &files);
    let told = |text: &str| house.said().contains(text);
    house.until(|| told("hog: instance 1 was killed") || told("hog: instance 1 could not be started"));
    if told("this machine lets nobody limit") {
        return; // not root, and nothing delegated: it was told, and nothing ran without its limit
    }
    let limit = "hog: instance 1 was killed by signal 9: the kernel's out-of-memory killer; limit 48 MiB";
    assert!(told(limit), "{}", house.said());
    house.until(|| {
        std::fs::read_to_string(house.path("data/logs/app-bomb.log"))
            .is_ok_and(|log| log.contains("stopped at"))
    });
    house.until(|| std::fs::read_to_string(house.path("daemon")).is_ok_and(|number| !number.is_empty()));
    let daemon: u64 = std::fs::read_to_string(house.path("daemon")).unwrap().parse().unwrap();
    assert!(is_there(daemon));
    house.signal(Signal::TERM);
    assert!(house.ended().success());
    // The kernel was told to end it; it needs a moment.
    house.until(|| !is_there(daemon));
}

// Goal: who floods its log is held back and costs neither the disk nor the others.
#[test]
fn a_flood_of_lines_is_contained() {
    let keys = "[app.flood]\nrun = [\"sh\", \"-c\", \"while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done\"]\n\
                once = true\nlog = { keep = \"64KiB\" }";
    let house = house(keys);
    house.until(|| house.path("data/logs/app-flood.log.1").is_file());
    for _ in 0..50 {
        assert_eq!(house.client().get("/").status, 200);
    }
    let size = |name: &str| std::fs::metadata(house.path(name)).map_or(0, |meta| meta.len());
    let all = size("data/logs/app-flood.log") + size("data/logs/app-flood.log.1");
    assert!(all <= 160 << 10, "{all} bytes are kept");
}

// Goal: a worker that listens nowhere is well as long as it runs, is restarted when it ends, and nothing may lead to it.
// Method: a program that only sleeps; kill it; name it in a route.
#[test]
fn a_worker_takes_no_requests_and_is_well_as_long_as_it_runs() {
    let worker =
        "[app.hello]\nrun = [\"sleep\", \"1000\"]\nready = \"running\"\nrestart = { after = \"100ms\" }\n";
    let house = House::start(worker, &[]);
    house.until(|| ready(&house) == 1);
    let first = processes(&house);
    kill(*first.first().unwrap());
    house.until(|| ready(&house) == 1 && processes(&house) != first);
    house.write(
        "madang.toml",
        format!("[site.a]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ proxy = \"hello\" }}]\n{worker}"),
    );
    let check = house.ask(&["check"]);
    let told = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(!check.status.success() && told.contains("there is no pool \"hello\""), "{told}");
}
