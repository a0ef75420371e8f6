//! Servers beyond this machine: a program of the operator's gives them, the pool checks, uses and drains them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::client::Client;
use crate::support::house::House;

const LOCAL: &[u8] = include_bytes!("../examples/scaler/local.py");
const SERVER: &[u8] = include_bytes!("../examples/scaler/server.py");

fn scaler(house: &House) -> Value {
    house.json("status")["scalers"][0].clone()
}

fn given(house: &House) -> BTreeSet<String> {
    let scaler = scaler(house);
    scaler["servers"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// The states of a pool's servers, by address.
fn states(house: &House, pool: &str) -> Vec<(String, String)> {
    let status = house.json("status");
    let pool = status["pools"].as_array().unwrap().iter().find(|one| one["pool"] == pool).unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pool["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["server"]), text(&one["state"])))
        .collect()
}

/// Clients that ask without end, each on its own connection, until told; gives the failures and who answered.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(Vec<String>, BTreeSet<String>)>>,
}

impl Load {
    fn start(house: &House, clients: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let address = house.address(0);
        let client = || {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let (mut client, mut bad, mut by) = (Client::plain(address), Vec::new(), BTreeSet::new());
                while !over.load(Ordering::SeqCst) {
                    let answer = client.get("/");
                    if answer.status == 200 {
                        by.insert(answer.text());
                    } else {
                        bad.push(format!("{} {}", answer.status, answer.text()));
                    }
                }
                (bad, by)
            })
        };
        let clients = (0..clients).map(|_| client()).collect();
        Self { over, clients }
    }

    #[track_caller]
    fn end(self) -> BTreeSet<String> {
        self.over.store(true, Ordering::SeqCst);
        let mut all = BTreeSet::new();
        for client in self.clients {
            let (bad, by) = client.join().unwrap();
            assert!(bad.is_empty(), "{} failed: {:?}", bad.len(), &bad[..bad.len().min(5)]);
            all.extend(by);
        }
        all
    }
}

/// Ends the machines that the example bought, whatever happens.
struct Machines(std::path::PathBuf);

impl Machines {
    fn count(&self) -> usize {
        std::fs::read_dir(&self.0).map_or(0, Iterator::count)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for file in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let number = std::fs::read_to_string(file.path()).ok().and_then(|text| text.trim().parse().ok());
            if let Some(process) = number.and_then(Pid::from_raw) {
                // It may have ended by itself.
                let _ = kill_process(process, Signal::KILL);
            }
        }
    }
}

// Goal: the example buys machines when the load needs them and gives them back when it does not; nothing fails on the way.
// A server that is killed and starts again has the machines before it asks; a reload that drops the scaler drains them.
#[test]
fn a_pool_grows_past_this_machine_and_back() {
    let settings = |scaler: &str| {
        format!(
            "[server]\nworkers = 2\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ path = \"/*\", proxy = \"work\" }}]\n\
             [app.work]\nrun = [\"python3\", \"server.py\"]\nhealth = {{ path = \"/healthz\", every = \"200ms\", rise = 1 }}\n{scaler}"
        )
    };
    let with = settings(
        "[scaler.work]\nrun = [\"python3\", \"local.py\"]\nevery = \"500ms\"\nmax = 2\ntarget = \"2\"\nup = \"500ms\"\ndown = \"1s\"\n",
    );
    let mut house = House::start(&with, &[("local.py", LOCAL), ("server.py", SERVER)]);
    let machines = Machines(house.path("machines"));
    house.until(|| house.json("status")["apps"][0]["ready"] == 1);

    let load = Load::start(&house, 8);
    house.until(|| {
        let up = states(&house, "work").into_iter().filter(|(_, state)| state == "up");
        up.count() == 3
    });
    // Whoever is up is asked.
    house.until(|| {
        house.json("status")["pools"][0]["servers"].as_array().unwrap().iter().all(|one| one["requests"] != 0)
    });
    let bought = given(&house);
    assert_eq!((bought.len(), machines.count()), (2, 2));
    let answered = load.end();
    assert_eq!(answered.len(), 3, "{answered:?}");

    house.until(|| given(&house).is_empty() && machines.count() == 0);
    let said = house.said();
    assert!(
        said.contains("work: its scaler: ") && said.contains(" comes (") && said.contains(" leaves ("),
        "{said}"
    );

    let load = Load::start(&house, 8);
    house.until(|| given(&house).len() == 2);
    load.end();
    let before = given(&house);
    house.kill_and_start_again();
    let after = given(&house);
    assert!(after.is_subset(&before), "{after:?} were not known before: {before:?}");
    house.reload(&settings(""));
    house.until(|| {
        states(&house, "work").len() == 1 && house.json("status")["scalers"] == serde_json::json!([])
    });
}

/// What the program is to do from now on; whole or not there, because it is read at any moment.
fn put(house: &House, say: &str) {
    house.write("say.new", say);
    std::fs::rename(house.path("say.new"), house.path("say")).unwrap();
}

// Goal: whatever is wrong with an answer, the servers stay and it is told once; a good one is taken again. Method: a program
// that writes what lies in a file.
#[test]
fn bad_answers_change_nothing_and_are_told_once() {
    const SAY: &str = "#!/bin/sh\ncat > question\n. ./say\n";
    let settings = "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{ path = \"/*\", proxy = \"api\" }]\n\
         [pool.api]\nservers = \"127.0.0.1:9\"\nhealth = { path = \"/\", every = \"1s\" }\n\
         [scaler.api]\nrun = [\"sh\", \"say.sh\"]\nevery = \"500ms\"\ntimeout = \"2s\"\nmax = 2\nmin = 1\n";
    let house = House::start(
        settings,
        &[
            ("say.sh", SAY.as_bytes()),
            ("say", b"echo '{\"servers\": [\"127.0.0.1:10\"], \"note\": \"one\"}'"),
        ],
    );
    house.until_said("api: its scaler: 127.0.0.1:10 comes (1 wanted");
    house.until_said("its scaler: says: one");
    let question = std::fs::read_to_string(house.path("question")).unwrap();
    let question: Value = serde_json::from_str(&question).unwrap();
    assert_eq!((&question["pool"], &question["wanted"]), (&"api".into(), &1.into()));

    let told = [
        ("echo hello", "what it wrote is not one JSON object: expected value at line 1 column 1"),
        ("echo '{\"servers\": [], \"size\": 1}'", "the answer has an unknown key"),
        ("echo '{\"servers\": [\"nowhere\"]}'", "is not the address of a server (for example"),
        ("echo '{\"servers\": [\"127.0.0.1:9\"]}'", "127.0.0.1:9 is in the settings already"),
        ("echo '{\"servers\": [\"a:1\", \"b:1\", \"c:1\"]}'", "3 servers, at most 2 are taken (max)"),
        ("echo no money >&2; exit 3", "it ended with code 3, saying: no money; nothing changes"),
        ("head -c 100000 /dev/zero", "it wrote more than 64 KiB"),
        ("sleep 60", "it took longer than 2s and was killed"),
    ];
    for (say, want) in told {
        put(&house, say);
        house.until_said(want);
        // Once, however often it is asked: two times more at least.
        let asked = scaler(&house)["asked"].as_u64().unwrap();
        house.until(|| say.starts_with("sleep") || scaler(&house)["asked"].as_u64().unwrap() > asked + 1);
        assert_eq!(house.said().matches(want).count(), 1, "{want}");
        assert_eq!(given(&house).into_iter().collect::<Vec<_>>(), ["127.0.0.1:10"], "{say}");
    }
    assert!(scaler(&house)["fault"].as_str().unwrap().contains("was killed"));
    put(&house, "echo '{\"servers\": [{\"address\": \"127.0.0.1:11\", \"weight\": 3}]}'");
    house.until_said("its answers are good again");
    house.until_said("127.0.0.1:10 leaves, 127.0.0.1:11 comes");
    house.until(|| states(&house, "api").len() == 2);
    let metrics = house.metrics();
    assert!(metrics.contains("madang_scaler_servers{pool=\"api\"} 1\n"), "{metrics}");
}
