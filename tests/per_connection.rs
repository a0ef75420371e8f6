//! Goal: a program that speaks one connection on its standard input and output serves many clients at once, and nothing of
//! it outlives its connection. Method: the real binary; `cat`, `sh` and small Python programs as anybody would write them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::Client;
use crate::support::house::House;
use crate::support::tls;
use crate::support::{PATIENCE, pattern};

/// A stream on a free port to an app of these keys.
fn settings(run: &str, keys: &str) -> String {
    format!(
        "[server]\nworkers = 2\n[stream.s]\nlisten = \"tcp://127.0.0.1:0\"\nproxy = \"hello\"\n\
         [app.hello]\nmode = \"per-connection\"\nrun = {run}\n{keys}\n"
    )
}

fn house(run: &str, keys: &str) -> House {
    House::start(&settings(run, keys), &[])
}

/// Python without what it imports for its own sake: it starts in a few milliseconds.
fn python(house_file: &str, keys: &str) -> House {
    House::start(
        &settings("[\"python3\", \"-S\", \"-u\", \"app.py\"]", keys),
        &[("app.py", house_file.as_bytes())],
    )
}

fn connect(house: &House) -> TcpStream {
    connect_to(house.address(0))
}

#[track_caller]
fn connect_to(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Says something, then that this was all, and reads to the end.
#[track_caller]
fn ask(house: &House, say: &[u8]) -> Vec<u8> {
    ask_at(house.address(0), say)
}

#[track_caller]
fn ask_at(address: SocketAddr, say: &[u8]) -> Vec<u8> {
    let mut socket = connect_to(address);
    socket.write_all(say).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    rest(&mut socket)
}

#[track_caller]
fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    socket.read_to_end(&mut all).unwrap();
    all
}

fn connections(house: &House) -> Value {
    let status = house.json("status");
    let app = status["apps"].as_array().unwrap().iter().find(|app| app["app"] == "hello").unwrap();
    app["connections"].clone()
}

fn number(house: &House, key: &str) -> u64 {
    connections(house)[key].as_u64().unwrap()
}

/// The processes that run this file or word as their argument.
fn processes_of(mark: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |number: &u32| {
        // The zygote has the word among its arguments too.
        std::fs::read(format!("/proc/{number}/cmdline")).is_ok_and(|line| {
            !line.starts_with(b"/proc/self/exe")
                && line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
        })
    };
    numbers.filter(has).collect()
}

// Goal: 500 connections, 50 at a time, each get a program of their own and their own bytes back; all are counted.
#[test]
fn five_hundred_connections_get_a_program_each() {
    for workers in [0, 4] {
        let house = house(
            "[\"cat\"]",
            &format!("workers = {workers}\nconnections_max = 100\nqueue = {{ wait = \"30s\" }}"),
        );
        std::thread::scope(|scope| {
            for thread in 0..50 {
                let address = house.address(0);
                scope.spawn(move || {
                    for turn in 0..10 {
                        let said = format!("{thread} {turn} hello\n").repeat(20);
                        assert_eq!(String::from_utf8_lossy(&ask_at(address, said.as_bytes())), said);
                    }
                });
            }
        });
        house.until(|| number(&house, "served") == 500);
        let all = connections(&house);
        assert_eq!(
            (&all["failed"], &all["refused"], &all["running"]),
            (&0.into(), &0.into(), &0.into()),
            "{all}"
        );
        house.until(|| number(&house, "ready") == workers);
    }
}

// Goal: the program learns who its client is, as inetd and ucspi tell it; one that was ready before does not.
#[test]
fn a_fresh_program_is_told_its_client() {
    let run = "[\"sh\", \"-c\", \"echo $PROTO $REMOTE_ADDR:$REMOTE_PORT $TCPREMOTEIP:$TCPREMOTEPORT $TCPLOCALIP:$TCPLOCALPORT $MADANG_APP\"]";
    let fresh = house(run, "");
    let mut socket = connect(&fresh);
    let (port, local) = (socket.local_addr().unwrap().port(), fresh.address(0).port());
    let want = format!("TCP 127.0.0.1:{port} 127.0.0.1:{port} 127.0.0.1:{local} hello\n");
    assert_eq!(String::from_utf8_lossy(&rest(&mut socket)), want);

    let ready = house("[\"sh\", \"-c\", \"read line; echo $REMOTE_ADDR. $line\"]", "workers = 1");
    ready.until(|| number(&ready, "ready") == 1);
    assert_eq!(ask(&ready, b"hello\n"), b". hello\n");
}

// Goal: the client's end of writing reaches the program, which answers after it: nothing is cut.
#[test]
fn a_half_closed_connection_is_answered() {
    let house = house("[\"sh\", \"-c\", \"wc -c\"]", "");
    let sent = pattern(3_000_000);
    assert_eq!(String::from_utf8_lossy(&ask(&house, &sent)).trim(), "3000000");
}

// Goal: big transfers arrive whole in both directions at once, through copying and splicing.
#[test]
fn big_transfers_arrive_whole() {
    let house = house("[\"cat\"]", "workers = 1");
    let sent = pattern(40_000_000);
    let mut socket = connect(&house);
    let mut writer = socket.try_clone().unwrap();
    let got = std::thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || {
            writer.write_all(sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        rest(&mut socket)
    });
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
}

// Goal: a program that ends while its client still writes is heard to the end, and the connection ends with it.
#[test]
fn what_a_program_wrote_arrives_though_it_read_no_further() {
    let program =
        "import sys\nsys.stdin.readline()\nsys.stdout.write('x' * 3000000 + 'end')\nsys.stdout.flush()\n";
    let house = python(program, "");
    let mut socket = connect(&house);
    socket.write_all(b"go\n").unwrap();
    let mut writer = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        // Until nobody takes it any more.
        while writer.write_all(&[b'y'; 65536]).is_ok() {}
    });
    let got = rest(&mut socket);
    assert!(got.len() == 3_000_003 && got.ends_with(b"end"), "{} bytes", got.len());
    house.until(|| number(&house, "served") == 1);
}

// Goal: a client that says nothing and does not close is let go once the program has ended.
#[test]
fn the_end_of_the_program_is_the_end_of_the_connection() {
    let house = house("[\"sh\", \"-c\", \"echo bye\"]", "");
    let mut socket = connect(&house);
    assert_eq!(rest(&mut socket), b"bye\n");
    house.until(|| number(&house, "served") == 1);
    house.until(|| house.json("status")["connections"] == 0);
}

// Goal: a client that never reads and a program that never reads hold only themselves; when the client leaves, the program
// is told by its input's end, then by TERM, and its place is free again.
#[test]
fn whoever_does_not_read_holds_nobody_else() {
    let endless = "import sys\nwhile True:\n    sys.stdout.write('y' * 65536)\n";
    let house = python(endless, "stop = { drain = \"1s\", grace = \"1s\" }");
    let silent = connect(&house);
    let mut other = connect(&house);
    let mut some = vec![0; 1_000_000];
    other.read_exact(&mut some).unwrap();
    assert_eq!(number(&house, "running"), 2);
    drop((silent, other));
    house.until(|| number(&house, "running") + number(&house, "leaving") == 0);

    let deaf = "import time\ntime.sleep(600)\n";
    let settings = settings("[\"python3\", \"-S\", \"app.py\"]", "stop = { drain = \"0s\", grace = \"1s\" }");
    // What was sent and not read stands before the client's end: only `idle` tells.
    let settings = settings.replace("proxy =", "idle = \"1s\"\nproxy =");
    let house = House::start(&settings, &[("app.py", deaf.as_bytes())]);
    let mut client = connect(&house);
    client.set_nonblocking(true).unwrap();
    while client.write(&[b'z'; 65536]).is_ok() {}
    house.until(|| number(&house, "running") == 1);
    drop(client);
    house.until(|| number(&house, "running") + number(&house, "leaving") == 0);
    assert_eq!(number(&house, "failed"), 0, "TERM ended it");
}

// Goal: one that ignores the end of its input and TERM is killed, with its children, and told.
#[test]
fn one_that_ignores_term_is_killed_with_its_children() {
    let mark = format!("deaf-{}", std::process::id());
    let program = format!(
        "import os, signal, subprocess, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         subprocess.Popen(['sh', '-c', 'sleep 600', '{mark}'])\n\
         print('there', flush=True)\ntime.sleep(600)\n"
    );
    let house = House::start(
        &settings("[\"python3\", \"-u\", \"app.py\"]", "stop = { drain = \"0s\", grace = \"500ms\" }")
            .replace("proxy =", "idle = \"1s\"\nproxy ="),
        &[("app.py", program.as_bytes())],
    );
    let mut socket = connect(&house);
    let mut said = [0; 6];
    socket.read_exact(&mut said).unwrap();
    house.until(|| !processes_of(&mark).is_empty());
    drop(socket);
    house.until_said("did not end by itself and was killed by signal 9 (KILL)");
    house.until(|| processes_of(&mark).is_empty());
    assert_eq!(number(&house, "failed"), 1);
}

// Goal: a program that fails is counted and told with what it said; the next client is served as if nothing was.
#[test]
fn a_crash_is_told_and_hurts_nobody_else() {
    let program = "import sys\nif sys.stdin.readline() == 'crash\\n':\n    print('it went wrong', file=sys.stderr)\n    sys.exit(3)\nprint('fine')\n";
    let house = python(program, "workers = 2");
    assert_eq!(ask(&house, b"crash\n"), b"");
    house.until_said("ended with code 3");
    house.until_said("it wrote: it went wrong");
    assert_eq!(ask(&house, b"hello\n"), b"fine\n");
    house.until(|| number(&house, "served") == 1);
    assert_eq!(number(&house, "failed"), 1);
    let list = String::from_utf8(house.ask(&["app", "list"]).stdout).unwrap();
    assert!(list.contains("of 2 ready  served 1, 1 a minute  failed 1, 1 a minute"), "{list}");
    house.until(|| {
        std::fs::read_to_string(house.path("data/logs/app-hello.log"))
            .is_ok_and(|log| log.contains("it went wrong"))
    });
}

// Goal: no more than `connections_max` at once; more wait, and who finds no room is closed and told.
#[test]
fn more_connections_than_allowed_wait_or_are_refused() {
    let house = house("[\"cat\"]", "connections_max = 2\nqueue = { length = 1, wait = \"20s\" }");
    let two: Vec<TcpStream> = (0..2).map(|_| connect(&house)).collect();
    house.until(|| number(&house, "running") == 2);
    // Two workers have a line of one each; further ones are refused.
    let mut more: Vec<TcpStream> = (0..6).map(|_| connect(&house)).collect();
    house.until_said("every place is taken and so is the queue");
    assert_eq!(number(&house, "running"), 2);
    drop(two);
    let mut served = 0;
    for socket in &mut more {
        let told = socket.write_all(b"hello").and_then(|()| socket.shutdown(Shutdown::Write));
        let mut all = Vec::new();
        if told.is_ok() && socket.read_to_end(&mut all).is_ok() && all == b"hello" {
            served += 1;
        }
    }
    assert!((1..=2).contains(&served), "{served} of those who waited");
}

// Goal: TLS that ends here and a PROXY header work in front of a program that knows neither.
#[test]
fn tls_ends_in_front_of_a_program() {
    let made = tls::certificate(&["a.test"]);
    let settings = settings("[\"cat\"]", "").replace(
        "listen = \"tcp://127.0.0.1:0\"",
        "listen = \"tls://127.0.0.1:0\"\ntls = { cert = \"c.pem\", key = \"c.key\" }\nproxy_protocol = \"v1\"",
    );
    let house =
        House::start(&settings, &[("c.pem", made.certificate.as_bytes()), ("c.key", made.key.as_bytes())]);
    let mut client: Client = tls::connect(house.address(0), "a.test", tls::trusting(&made, &[]));
    client.send("hello");
    let greeting = String::from_utf8(client.exactly(11)).unwrap();
    assert_eq!(greeting, "PROXY TCP4 ");
}

// Goal: after a reload with another program new connections get that one, open ones go on with theirs; so with a deploy and
// its way back.
#[test]
fn a_new_version_is_for_new_connections() {
    let (old, new) = ("[\"sed\", \"-u\", \"s/^/old /\"]", "[\"sed\", \"-u\", \"s/^/new /\"]");
    let house = house(old, "workers = 2");
    let mut open = connect(&house);
    open.write_all(b"1\n").unwrap();
    let mut said = [0; 6];
    open.read_exact(&mut said).unwrap();
    house.reload(&settings(new, "workers = 2"));
    house.until(|| ask(&house, b"2\n") == b"new 2\n");
    for _ in 0..20 {
        assert_eq!(ask(&house, b"2\n"), b"new 2\n");
    }
    open.write_all(b"3\n").unwrap();
    open.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"old 3\n");
    assert!(house.ask(&["app", "rollback", "hello"]).status.success());
    house.until(|| ask(&house, b"4\n") == b"old 4\n");
    let refused = house.ask(&["app", "scale", "hello", "3"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("a program for each connection"));
}

// Goal: stopped, nobody is let in and it is said why; started, everybody is again.
#[test]
fn a_stopped_app_lets_nobody_in() {
    let house = house("[\"cat\"]", "workers = 1");
    assert_eq!(ask(&house, b"hello"), b"hello");
    assert!(house.ask(&["app", "stop", "hello"]).status.success());
    let mut socket = connect(&house);
    let _ = socket.write_all(b"hello");
    let mut all = Vec::new();
    // Closed or reset, as the unread bytes have it.
    let _ = socket.read_to_end(&mut all);
    assert_eq!(all, b"");
    house.until_said("the app is stopped");
    house.until(|| number(&house, "ready") == 0);
    assert!(house.ask(&["app", "start", "hello"]).status.success());
    assert_eq!(ask(&house, b"again"), b"again");
}

// Goal: programs that end before anybody comes do not spin: they are started again after a while, and it is told.
#[test]
fn programs_that_end_early_are_not_started_without_end() {
    let house =
        house("[\"sh\", \"-c\", \"echo no >&2; exit 1\"]", "workers = 2\nrestart = { after = \"5s\" }");
    house.until_said("which waited for a connection, ended with code 1");
    house.until(|| number(&house, "failed") >= 2);
    assert!(number(&house, "failed") <= 4, "{}", connections(&house));
}

// Goal: nothing is left when the server ends, is killed, or hands over; a connection that is open goes on through the last.
#[test]
fn nothing_outlives_the_server_but_a_hand_over() {
    let mark = format!("mark-{}", std::process::id());
    let run = format!("[\"sh\", \"-c\", \"trap '' HUP; while read line; do echo $line; done\", \"{mark}\"]");
    let keys = "workers = 2\nstop = { drain = \"1s\", grace = \"1s\" }";
    let mut house = house(&run, keys);
    let mut open = connect(&house);
    let mut said = [0; 4];
    let mut asks = move || {
        open.write_all(b"one\n").unwrap();
        open.read_exact(&mut said).unwrap();
    };
    asks();
    house.until(|| processes_of(&mark).len() == 3);
    house.upgrade();
    asks();
    assert_eq!(ask(&house, b"two\n"), b"two\n");
    drop(asks);
    // The old process drains, ends its two ready ones, and is gone.
    assert!(house.ended().success());
    house.until(|| processes_of(&mark).len() == 2);

    let mut house = self::house(&run.replace(&mark, "killed-mark"), keys);
    assert_eq!(ask(&house, b"two\n"), b"two\n");
    house.until(|| processes_of("killed-mark").len() == 2);
    house.kill_and_start_again();
    assert_eq!(ask(&house, b"two\n"), b"two\n");
    house.until(|| processes_of("killed-mark").len() == 2);
    house.signal(Signal::TERM);
    assert!(house.ended().success());
    assert!(processes_of("killed-mark").is_empty());
}

// Goal: a fork bomb in one program stays inside `limits.pids`, and a connection that gets none is closed with a reason.
#[test]
fn programs_stay_inside_their_limits() {
    let run = "[\"sh\", \"-c\", \"sleep 60\"]";
    let house = house(run, "limits = { pids = 6 }\nstop = { drain = \"0s\", grace = \"1s\" }");
    let all: Vec<TcpStream> = (0..10).map(|_| connect(&house)).collect();
    house.until(|| {
        let said = house.said();
        said.contains("this machine lets nobody limit") || said.contains("no more processes may be made")
    });
    assert!(number(&house, "running") <= 6, "{}", connections(&house));
    drop(all);
}
