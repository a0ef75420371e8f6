//! Apps whose instances follow the load: by CPU time, by the line of those who wait. The program is a small server in Python
//! that burns CPU time, or only takes its time, as the path says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::support::client::Client;
use crate::support::house::House;

const APP: &str = r#"
import os, signal, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/burn":
            end = time.thread_time() + 0.02
            while time.thread_time() < end:
                pass
        if self.path == "/slow":
            time.sleep(0.05)
        text = os.environ["MADANG_INSTANCE"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"#;

fn house(keys: &str) -> House {
    let settings = format!(
        "[server]\nworkers = 2\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ path = \"/*\", proxy = \"hello\" }}]\n\
         [app.hello]\nrun = [\"python3\", \"app.py\"]\nhealth = {{ path = \"/\", every = \"200ms\", rise = 1 }}\n{keys}\n"
    );
    let house = House::start(&settings, &[("app.py", APP.as_bytes())]);
    house.until(|| ready(&house) >= 1);
    house
}

fn app(house: &House) -> Value {
    house.json("status")["apps"][0].clone()
}

fn ready(house: &House) -> u64 {
    app(house)["ready"].as_u64().unwrap()
}

/// Clients that ask for one path without end, each on its own connection, until told.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(house: &House, path: &'static str, clients: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let address = house.address(0);
        let client = || {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let (mut client, mut bad) = (Client::plain(address), Vec::new());
                while !over.load(Ordering::SeqCst) {
                    let answer = client.get(path);
                    if answer.status != 200 {
                        bad.push(format!("{} {}", answer.status, answer.text()));
                    }
                }
                bad
            })
        };
        let clients = (0..clients).map(|_| client()).collect();
        Self { over, clients }
    }

    #[track_caller]
    fn end(self) {
        self.over.store(true, Ordering::SeqCst);
        for client in self.clients {
            let bad = client.join().unwrap();
            assert!(bad.is_empty(), "{} failed: {:?}", bad.len(), &bad[..bad.len().min(5)]);
        }
    }
}

// Goal: CPU time makes instances come, its absence lets them go, and no request fails meanwhile. Method: two clients that
// keep a program busy at any share of a core a crowded machine leaves it, against a target far below; then nobody.
#[test]
fn instances_follow_cpu_time_up_and_down() {
    let house = house(
        "instances = { min = 1, max = 3 }\nscale = { by = \"cpu\", target = \"10%\", up = \"500ms\", down = \"1s\" }",
    );
    let load = Load::start(&house, "/burn", 2);
    house.until(|| ready(&house) == 3);
    house.until(|| {
        let app = app(&house);
        let used = app["instances"].as_array().unwrap().iter().filter_map(|one| one["cpu_percent"].as_f64());
        used.sum::<f64>() > 10.0
    });
    load.end();
    house.until(|| app(&house)["instances"].as_array().unwrap().len() == 1);
    let said = house.said();
    assert!(said.contains("the load wants 2 instances, not 1: by cpu "), "{said}");
    assert!(said.contains("as asked: fewer are wanted"), "{said}");
}

// Goal: requests that wait for a place make instances come; those who wait are served, not refused. Method: six clients,
// one place per instance.
#[test]
fn instances_follow_the_line_of_those_who_wait() {
    let house = house(
        "instances = { min = 1, max = 4 }\nmax_connections = 1\n\
         scale = { by = [\"queue\", \"cpu\"], target = [\"1\", \"1000%\"], up = \"500ms\", down = \"1s\" }",
    );
    let load = Load::start(&house, "/slow", 6);
    house.until(|| ready(&house) == 4);
    load.end();
    assert!(house.said().contains("instances, not 1: by queue "), "{}", house.said());
    house.until(|| app(&house)["wanted"] == 1);
}
