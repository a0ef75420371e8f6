//! Goal: what was acknowledged is there exactly once, in order and without a gap, however the writer or the database dies.
//! Method: clients append with keys and send again what they have no answer for; the process is killed, the database's
//! backends are terminated, the database is stopped without warning, at moments drawn from a seed; then the log is read.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)] // a test may stop at what it did not expect

mod support;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use madang_host::draws::Draws;
use madang_store::Store;
use madang_store::error::StoreError;
use madang_store::log::{Batch, Entry, History, Key, Read, StreamId};

const CLIENTS: u64 = 8;
const KILLS: u64 = 50;
const SEED: u64 = 20_261_121;
/// Where the killed process works; set only for it.
const FOLDER: &str = "MADANG_TEST_CRASH_FOLDER";
/// From which number each of its clients begins: `1,1,1,…`.
const BEGIN: &str = "MADANG_TEST_CRASH_BEGIN";

fn room() -> StreamId {
    StreamId::new("room").unwrap()
}

fn batch(client: u64, number: u64) -> Batch {
    Batch::one(vec![7; 64], format!("{client} {number}"))
        .keyed(Key::new(&client.to_string(), &number.to_string()))
}

/// Everything in the log, after its offsets and times were checked.
fn whole_log(store: &Store) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let read = Read::from(all.len() as u64 + 1);
        let History::Page(page) = store.log().read(&room(), read).wait().unwrap() else {
            panic!("no stream")
        };
        all.extend(page.entries);
        if !page.more {
            assert_eq!(page.position.next, all.len() as u64 + 1);
            break;
        }
    }
    assert!(all.iter().map(|entry| entry.offset).eq(1..=all.len() as u64), "the offsets have a gap");
    assert!(all.is_sorted_by_key(|entry| entry.at_ms), "times went back");
    all
}

/// Every client's numbers are there once each and in their order; what was acknowledged is where it was told to be.
#[track_caller]
fn check(all: &[Entry], acknowledged: &HashMap<(u64, u64), u64>) {
    let mut numbers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for entry in all {
        let (client, number) = entry.text.split_once(' ').unwrap();
        let (client, number) = (client.parse().unwrap(), number.parse().unwrap());
        numbers.entry(client).or_default().push(number);
        if let Some(told) = acknowledged.get(&(client, number)) {
            assert_eq!(*told, entry.offset, "client {client} was told another offset for {number}");
        }
    }
    for (client, numbers) in &numbers {
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "client {client}: {numbers:?}");
    }
    for (client, number) in acknowledged.keys() {
        let have = numbers.get(client).map_or(0, Vec::len) as u64;
        assert!(*number <= have, "client {client} was told that {number} is kept, and it is not");
    }
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        append_until_killed(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut draws = Draws::new(SEED);
    let mut acknowledged: HashMap<(u64, u64), u64> = HashMap::new();
    let mut last = [0_u64; 8];
    for _ in 0..KILLS {
        let begin = last.map(|last| (last + 1).to_string()).join(",");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "a_killed_process_loses_nothing_it_acknowledged",
                "--exact",
                "--nocapture",
                "--test-threads",
                "1",
            ])
            .env(FOLDER, folder.path())
            .env(BEGIN, begin)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut until = 1 + draws.below(400);
        // What was written into the pipe before the kill was acknowledged, too: it is read to its end.
        while let Some(Ok(line)) = lines.next() {
            let Some(told) = line.strip_prefix("ack ") else { continue };
            let numbers: Vec<u64> = told.split(' ').map_while(|number| number.parse().ok()).collect();
            let [client, number, offset] = numbers[..] else { continue };
            let before = acknowledged.insert((client, number), offset);
            assert!(before.is_none_or(|before| before == offset), "{line} before {before:?}");
            last[usize::try_from(client).unwrap()] = number;
            until = until.saturating_sub(1);
            if until == 0 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
    }
    assert!(acknowledged.len() > 1000, "only {} were acknowledged", acknowledged.len());
    let store = Store::sqlite(&folder.path().join("madang.db"), None).unwrap();
    check(&whole_log(&store), &acknowledged);
    store.close();
}

/// The killed process: every client sends its next number as soon as the one before is acknowledged.
fn append_until_killed(folder: &Path) -> ! {
    let store = Store::sqlite(&folder.join("madang.db"), None).unwrap();
    let begin = std::env::var(BEGIN).unwrap();
    let out = Mutex::new(std::io::stdout());
    std::thread::scope(|scope| {
        for (client, begin) in begin.split(',').enumerate() {
            let (store, out, mut number) = (&store, &out, begin.parse::<u64>().unwrap());
            scope.spawn(move || {
                loop {
                    let told = store.log().append(&room(), batch(client as u64, number)).wait().unwrap();
                    let mut out = out.lock().unwrap();
                    write!(out, "\nack {client} {number} {}\n", told.first).unwrap();
                    out.flush().unwrap();
                    number += 1;
                }
            });
        }
    });
    std::process::exit(1)
}

#[test]
fn a_database_that_dies_loses_nothing_it_acknowledged() {
    const EACH: u64 = 120;
    let server = support::Server::start();
    let store = Store::postgres(&server.database("crash"), None, 4).unwrap();
    let (sent, unknown, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (acknowledge, acknowledgements) = mpsc::channel();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (store, sent, unknown, done, acknowledge) =
                (&store, &sent, &unknown, &done, acknowledge.clone());
            scope.spawn(move || {
                for number in 1..=EACH {
                    let mut in_doubt = false;
                    let told = loop {
                        match store.log().append(&room(), batch(client, number)).wait() {
                            Ok(told) => break told,
                            Err(StoreError::Unknown { .. } | StoreError::Unreachable { .. }) => {
                                in_doubt = true;
                                unknown.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(other) => panic!("{other:?}"),
                        }
                    };
                    assert!(in_doubt || !told.duplicate, "a second attempt of ours is nobody's duplicate");
                    acknowledge.send(((client, number), told.first)).unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let mut draws = Draws::new(SEED);
        let mut next = 0;
        for blow in 0.. {
            next += 10 + draws.below(80);
            while sent.load(Ordering::Relaxed) < next && done.load(Ordering::Relaxed) < CLIENTS {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            if done.load(Ordering::Relaxed) == CLIENTS {
                assert!(blow > 8, "only {blow} blows fell");
                break;
            }
            if blow % 4 == 3 {
                server.crash();
                server.up();
            } else {
                let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                                 WHERE datname = 'crash' AND pid <> pg_backend_pid()";
                server.sql("postgres", terminate);
            }
        }
    });
    drop(acknowledge);
    let acknowledged: HashMap<(u64, u64), u64> = acknowledgements.iter().collect();
    assert_eq!(acknowledged.len() as u64, CLIENTS * EACH);
    let all = whole_log(&store);
    assert_eq!(all.len() as u64, CLIENTS * EACH, "nothing is there twice");
    check(&all, &acknowledged);
    store.close();
}
