//! What only a process of its own can show: becoming another user, and sockets that were there before exec(2).
//!
//! Each test starts this very test program again with one variable that names its part; the part tells its findings by its
//! exit code and words.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at what it did not expect

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use madang_host::inherited_fds::{self, InheritError};
use madang_host::rights::{Dropped, Identity, RightsError};

const PART: &str = "MADANG_TEST_PART";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs the test `name` of this program as `part`, started by a shell that first does `prepare`; gives its output.
fn play(name: &str, part: &str, prepare: &str, stdin: Option<OwnedFd>) -> String {
    let script = format!("{prepare} exec \"$0\" --exact {name} --nocapture");
    let output = Command::new("sh")
        .args(["-c".as_ref(), script.as_ref(), std::env::current_exe().unwrap().as_os_str()])
        .env(PART, part)
        .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{part}: {text}{told}");
    text
}

fn is_part(part: &str) -> bool {
    std::env::var(PART).is_ok_and(|have| have == part)
}

// Goal: root is given up by every thread, with its groups, and cannot be had again.
// Method: as root, in a process of its own with threads running (the test harness has some), become `nobody`, then read
// what the kernel says of each thread. Without root, the same call must refuse.
#[test]
fn becoming_a_user_is_for_all_threads_and_for_good() {
    let nobody = Identity::find("nobody").unwrap();
    if !is_root() {
        assert!(matches!(nobody.become_for_good(), Err(RightsError::NotRoot { .. })));
        return;
    }
    if !is_part("rights") {
        play("becoming_a_user_is_for_all_threads_and_for_good", "rights", "", None);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kept");
    std::fs::write(&file, "x").unwrap();
    nobody.own(folder.path()).unwrap();
    nobody.own(&file).unwrap();
    let (stay, leave) = std::sync::mpsc::channel::<()>();
    let bystander = std::thread::spawn(move || leave.recv());

    assert_eq!(nobody.become_for_good().unwrap(), Dropped::Root);

    let mut threads = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let numbers = |name: &str| -> Vec<u32> {
            line(name).split_whitespace().map(|number| number.parse().unwrap()).collect()
        };
        assert_eq!(numbers("Uid:"), [nobody.uid; 4]);
        assert_eq!(numbers("Gid:"), [nobody.gid; 4]);
        assert!(!numbers("Groups:").contains(&0), "{status}");
        assert_eq!(line("CapEff:").trim(), "0000000000000000");
        assert_eq!(line("CapPrm:").trim(), "0000000000000000");
        threads += 1;
    }
    assert!(threads >= 2, "the test needs a bystander to mean anything");
    assert_eq!(nobody.become_for_good().unwrap(), Dropped::Already);
    let root = Identity::find("root").unwrap();
    assert!(matches!(root.become_for_good(), Err(RightsError::NotRoot { .. })));
    assert!(std::fs::write("/etc/madang-must-not-be", "x").is_err());
    std::fs::write(&file, "still ours").unwrap();
    drop(stay);
    assert!(bystander.join().unwrap().is_err());
}

#[test]
fn a_user_that_is_not_there_is_named_with_the_remedy() {
    let told = Identity::find("no-such-user-here").unwrap_err().to_string();
    assert!(told.contains("useradd --system --no-create-home no-such-user-here"), "{told}");
}

// Goal: a socket opened before exec(2) is taken by name, once, and answers on the address it had.
// Method: a shell puts a listener on descriptor 3 and tells so the way systemd does; a client of ours connects to it.
#[test]
fn a_socket_of_the_service_manager_is_taken_once_and_serves() {
    const NAME: &str = "a_socket_of_the_service_manager_is_taken_once_and_serves";
    if !is_part("activation") {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = std::net::TcpStream::connect(address).unwrap();
        let prepare = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web;";
        let told = play(NAME, "activation", prepare, Some(listener.into()));
        assert!(
            told.contains(&format!("web serves {address} for {}", waiting.local_addr().unwrap())),
            "{told}"
        );
        return;
    }
    let take = || inherited_fds::take(|name| std::env::var_os(name), std::process::id());
    let mut taken = take().unwrap();
    assert_eq!(taken.len(), 1);
    assert!(matches!(take(), Err(InheritError::Twice)));
    let web = taken.remove(0);
    let listener = TcpListener::from(web.socket);
    let (_, peer) = listener.accept().unwrap();
    println!("{} serves {} for {peer}", web.name, listener.local_addr().unwrap());
}
