//! The program as a service: sockets and notices of a service manager, another user, limits of the machine.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::house::{House, PLAIN, program};
use crate::support::{PATIENCE, pattern};

/// A settings folder that others may enter, as a service's is.
fn folder(settings: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(folder.path().join("public")).unwrap();
    std::fs::write(folder.path().join("public/a.txt"), "alpha").unwrap();
    std::fs::write(folder.path().join("madang.toml"), settings).unwrap();
    folder
}

/// The program behind a shell that first does `prepare`.
fn prepared(prepare: &str, settings: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{prepare} exec \"$0\" run -c \"$1\""))
        .arg(env!("CARGO_BIN_EXE_madang"))
        .arg(settings)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null());
    command
}

// Goal: a socket that systemd opened is served, with whoever waited in it before the server was there.
#[test]
fn a_socket_of_the_service_manager_is_served_with_its_queue() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut early = Client::plain(address);
    early.send("GET /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let folder = folder(&PLAIN.replace("127.0.0.1:0", &address.to_string()));
    let settings = folder.path().join("madang.toml");
    let mut command =
        prepared("export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec 3<&0 </dev/null;", &settings);
    command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
    let house = House::spawn(command, folder);
    // Ours is not the only one any more: closing it proves that the server holds its own.
    drop(socket);
    assert_eq!(early.answer("GET").text(), "alpha");
    assert_eq!(house.client().get("/a.txt").text(), "alpha");
}

// Goal: a socket that no listener wants is told, not kept.
#[test]
fn a_socket_nobody_asked_for_is_told() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let folder = folder(PLAIN);
    let settings = folder.path().join("madang.toml");
    let mut command =
        prepared("export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=other; exec 3<&0 </dev/null;", &settings);
    command.stdin(OwnedFd::from(socket));
    let house = House::spawn(command, folder);
    assert_eq!(house.client().get("/a.txt").text(), "alpha");
    house.until_said("(other)");
    assert!(std::net::TcpStream::connect(address).is_err(), "it was closed");
}

// Goal: the service manager hears when we are ready, alive, reloading and stopping, in that order.
#[test]
fn the_service_manager_is_kept_informed() {
    let folder = folder(PLAIN);
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = program();
    command.arg("run").arg("-c").arg(folder.path().join("madang.toml"));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut house = House::spawn(command, folder);
    let heard = |wanted: &str| loop {
        let mut bytes = [0; 4096];
        let count = manager.recv(&mut bytes).unwrap_or_else(|error| panic!("{wanted}: {error}"));
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        if text.starts_with(wanted) {
            break text;
        }
        assert!(text.starts_with("WATCHDOG=1"), "{text:?} instead of {wanted}");
    };
    assert!(heard("READY=1").contains("STATUS=serving on 1 listeners"));
    heard("WATCHDOG=1");
    house.reload(PLAIN);
    assert!(heard("RELOADING=1").contains("MONOTONIC_USEC="));
    heard("READY=1");
    heard("WATCHDOG=1");
    house.signal(Signal::TERM);
    heard("STOPPING=1");
    assert!(house.ended().success());
}

// Goal: started as root with `server.user`, nothing is root any more once it serves, and reload and upgrade go on.
// Method: as root only; elsewhere the start must be refused with the reason.
#[test]
fn root_is_given_up_once_the_ports_are_open() {
    let settings = PLAIN.replace("workers = 1", "workers = 1\nuser = \"nobody\"");
    let folder = folder(&settings);
    let mut command = program();
    command.arg("run").arg("-c").arg(folder.path().join("madang.toml"));
    if !rustix::process::geteuid().is_root() {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("only root can become"));
        return;
    }
    let mut house = House::spawn(command, folder);
    let root_free = |process: u32| {
        for thread in std::fs::read_dir(format!("/proc/{process}/task")).unwrap() {
            let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            for name in ["Uid:", "Gid:"] {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                assert!(line.split_whitespace().skip(1).all(|number| number != "0"), "{line}");
            }
            let groups = status.lines().find(|line| line.starts_with("Groups:")).unwrap();
            assert!(!groups.split_whitespace().any(|number| number == "0"), "{groups}");
        }
    };
    assert_eq!(house.client().get("/a.txt").text(), "alpha");
    root_free(house.process());
    house.reload(&settings);
    let heir = house.upgrade();
    root_free(heir);
    assert_eq!(house.client().get("/a.txt").text(), "alpha");
}

// Goal: a small limit of descriptors makes a small house, not a broken one: who is in is served, files open, the others
// are refused at once.
#[test]
fn a_small_limit_of_descriptors_bounds_the_connections() {
    let folder = folder(PLAIN);
    let settings = folder.path().join("madang.toml");
    let house = House::spawn(prepared("ulimit -n 100;", &settings), folder);
    house.until_said("leaves room for");
    let mut clients: Vec<Client> = (0..200).map(|_| house.client()).collect();
    assert_eq!(clients[0].get("/a.txt").text(), "alpha");
    clients.pop().unwrap().closed();
    assert!(!house.said().contains("Too many open files"), "{}", house.said());
    drop(clients);
    house.until(|| house.json("status")["connections"] == 0);
    assert_eq!(house.client().get("/a.txt").text(), "alpha");
}

// Goal: without descriptors the server neither spins nor floods its log, and it recovers.
// Method: the limit is lowered under the running server, below what it has open and will be asked for.
#[test]
fn running_out_of_descriptors_is_survived() {
    let house = House::start(PLAIN, &[("public/a.txt", b"alpha")]);
    let limit = rustix::process::Rlimit { current: Some(40), maximum: Some(4096) };
    let process = rustix::process::Pid::from_raw(i32::try_from(house.process()).unwrap());
    rustix::process::prlimit(process, rustix::process::Resource::Nofile, limit).unwrap();
    let mut first = house.client();
    assert_eq!(first.get("/a.txt").text(), "alpha");
    let mut clients: Vec<Client> = (0..200).map(|_| house.client()).collect();
    clients.insert(0, first);
    house.until_said("Too many open files");
    let busy = |house: &House| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", house.process())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (before, since) = (busy(&house), std::time::Instant::now());
    while since.elapsed() < std::time::Duration::from_secs(1) {
        assert_eq!(clients[0].get("/a.txt").text(), "alpha", "who is in is served");
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    // Ticks of a hundredth of a second: a spinning worker would use all 100 of them.
    assert!(busy(&house) - before < 50, "{} of 100 ticks were used", busy(&house) - before);
    let lines = house.said().lines().count();
    assert!(lines < 20, "{lines} lines: {}", house.said());
    let mut last = clients.pop().unwrap();
    drop(clients);
    assert_eq!(last.get("/a.txt").text(), "alpha", "who waited is served");
}

// Goal: a full disk under the logs costs lines, not requests, and is told without a flood.
// Method: /dev/full answers every write with ENOSPC.
#[test]
fn a_full_disk_under_the_log_harms_no_request() {
    let settings = format!("[log]\naccess = \"json\"\naccess_file = \"/dev/full\"\n{PLAIN}");
    let folder = folder(&settings);
    let mut command = program();
    command.arg("run").arg("-c").arg(folder.path().join("madang.toml"));
    let mut house = House::spawn(command, folder);
    let mut client = house.client();
    for _ in 0..2000 {
        assert_eq!(client.get("/a.txt").status, 200);
    }
    house.until_said("No space left on device");
    assert!(house.said().lines().count() < 20, "{}", house.said());
    house.signal(Signal::TERM);
    assert!(house.ended().success());
}

// Goal: the usual soft limit of 1024 descriptors is no limit for us.
#[test]
fn the_limit_of_open_files_is_raised_to_the_hard_one() {
    let folder = folder(PLAIN);
    let settings = folder.path().join("madang.toml");
    let house = House::spawn(prepared("ulimit -Sn 256; ulimit -Hn 512;", &settings), folder);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", house.process())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("512"), "{line}");
}

// Goal: a folder that the server's user may not enter is told before a start, by name and with the remedy.
// Method: as root only, the check is run as nobody.
#[test]
fn a_folder_that_may_not_be_entered_is_told() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder(PLAIN);
    let program = folder.path().join("madang");
    std::fs::copy(env!("CARGO_BIN_EXE_madang"), &program).unwrap();
    std::fs::set_permissions(folder.path().join("public"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .args(["check", "-c"])
        .arg(folder.path().join("madang.toml"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("cannot enter the folder") && text.contains("help:"), "{text}");
}

// Goal: logrotate's way works too: the file is moved away, USR1 opens a new one.
#[test]
fn a_reopened_log_goes_on_in_a_new_file() {
    let settings = format!("[log]\naccess = \"json\"\naccess_file = \"access.log\"\n{PLAIN}");
    let large = pattern(10);
    let house = House::start(&settings, &[("public/a.bin", &large)]);
    let mut client = house.client();
    assert_eq!(client.get("/a.bin").status, 200);
    let log = house.path("access.log");
    house.until(|| std::fs::read_to_string(&log).is_ok_and(|text| text.contains("/a.bin")));
    // As logrotate does: moved away, then told.
    std::fs::rename(&log, house.path("access.log.1")).unwrap();
    house.signal(Signal::USR1);
    house.until(|| log.is_file());
    assert_eq!(client.get("/a.bin?second").status, 200);
    house.until(|| std::fs::read_to_string(&log).is_ok_and(|text| text.contains("second")));
}
