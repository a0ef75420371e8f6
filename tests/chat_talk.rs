//! `madang chat --listen` and `madang chat tcp://…`: one-to-one talk without a server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::house::program;
use crate::support::spoken::Spoken;
use crate::support::terminal::Terminal;

/// The side that waits, and its address without the scheme.
fn waiting(more: &[&str]) -> (Spoken, String) {
    let side = Spoken::start(program().args(["chat", "--listen", "127.0.0.1:0"]).args(more));
    let address = side.word_after("madang: listening on tcp://");
    (side, address)
}

fn coming(address: &str, more: &[&str]) -> Spoken {
    Spoken::start(program().args(["chat", &format!("tcp://{address}")]).args(more))
}

fn raw(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

// Goal: both write and both read; the guest's end leaves the host waiting, the host's end ends the guest.
// Method: two guests one after the other, names told, Korean words, then the end of the host's input.
#[test]
fn a_talk_goes_on_with_the_next_guest_and_ends_with_the_host() {
    let (mut host, address) = waiting(&["--name", "mina"]);
    let mut first = coming(&address, &["--name", "jun"]);
    first.says("안녕, 마당\n");
    host.until_wrote("안녕, 마당\n");
    host.says("hello\n");
    first.until_wrote("hello\n");
    first.until_said("is called mina");
    first.says_no_more();
    assert_eq!(first.ended().code(), Some(0));
    host.until_said("jun has left; waiting for the next");

    let mut second = coming(&address, &[]);
    second.says("back\n");
    host.until_wrote("back\n");
    host.says("the end");
    host.says_no_more();
    assert_eq!(second.ended().code(), Some(0));
    assert_eq!(host.ended().code(), Some(0));
    assert_eq!(second.wrote(), "the end\n");
    assert!(second.said().contains("mina has ended the talk"), "{}", second.said());
    assert_eq!(host.wrote(), "안녕, 마당\nback\n");
}

// Goal: a second guest is told and harms nobody.
#[test]
fn a_second_guest_hears_that_the_host_is_busy() {
    let (mut host, address) = waiting(&[]);
    let mut guest = coming(&address, &[]);
    guest.says("first\n");
    host.until_wrote("first\n");

    let mut second = coming(&address, &["--name", "late"]);
    assert_eq!(second.ended().code(), Some(1));
    let want = format!("madang: error: {address} talks with somebody else; try again later\n");
    assert!(second.said().ends_with(&want), "{}", second.said());
    let mut word = String::new();
    raw(&address).read_to_string(&mut word).unwrap();
    assert_eq!(word, "busy: somebody is talking here already; try again later\n");
    host.until_said("was told that you are talking with 127.0.0.1:");

    host.says("still here\n");
    guest.until_wrote("still here\n");
}

// Goal: Ctrl+C (SIGINT) at the host is an orderly end too: what it had written arrives, the guest ends well.
#[test]
fn an_interrupted_host_ends_the_guest_without_an_error() {
    let (mut host, address) = waiting(&[]);
    let mut guest = coming(&address, &[]);
    guest.says("here\n");
    host.until_wrote("here\n");
    host.says("last words\n");
    guest.until_wrote("last words\n");
    host.signal(Signal::INT);
    assert_eq!(host.ended().code(), Some(0));
    assert_eq!(guest.ended().code(), Some(0));
    assert!(guest.said().contains("has ended the talk"), "{}", guest.said());
}

// Goal: what a program feeds in is not lost before anybody is there, and all of it arrives at the end of the input.
// Method: 20,000 lines and the end of the input before the first guest comes.
#[test]
fn what_is_fed_in_waits_for_a_guest_and_arrives_whole() {
    let (mut host, address) = waiting(&[]);
    let text: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    let (mut input, feed) = (host.input(), text.clone());
    let feeding = std::thread::spawn(move || input.write_all(feed.as_bytes()).unwrap());
    let mut guest = coming(&address, &[]);
    assert_eq!(guest.ended().code(), Some(0));
    assert_eq!(host.ended().code(), Some(0));
    feeding.join().unwrap();
    assert!(guest.wrote() == text, "{} of {} bytes came", guest.wrote().len(), text.len());
}

// Goal: nothing a peer sends does anything to a terminal, or grows without bound.
// Method: escape sequences, bytes that are no text, a right-to-left override, a false name; then 8 MiB without a line end.
#[test]
fn what_a_hostile_peer_sends_is_only_ever_text() {
    let (host, address) = waiting(&[]);
    let mut peer = raw(&address);
    let lines: [(&[u8], &str); 6] = [
        (b"\x1b]0;owned\x07\x1b[2J", "\\x1b]0;owned\\x07\\x1b[2J\n"),
        (b"\xff\xfe bytes", "\\xff\\xfe bytes\n"),
        (b"csi \xc2\x9b31m", "csi \\u{9b}31m\n"),
        ("evil \u{202e}txt.exe".as_bytes(), "evil \\u{202e}txt.exe\n"),
        (b"/nick two words", "/nick two words\n"),
        (b"\rover\r", "\\x0dover\n"),
    ];
    for (bytes, want) in lines {
        peer.write_all(&[bytes, b"\n"].concat()).unwrap();
        host.until_wrote(want);
    }
    let before = host.wrote().len();
    for _ in 0..128 {
        peer.write_all(&[b'x'; 65_536]).unwrap();
    }
    peer.write_all(b"\nafter\n").unwrap();
    host.until_wrote("\nafter\n");
    let wrote = host.wrote();
    assert!(wrote[before..].lines().all(|line| line.len() <= 8192), "a line was longer than the bound");
    assert_eq!(wrote[before..].matches('x').count(), 8 << 20);
    let resident = resident_kib(host.process());
    assert!(resident < 64 * 1024, "{resident} KiB resident");
}

// Goal: a peer that does not read makes our input wait; nothing is gathered in between.
// Method: feed a host whose guest reads nothing until the pipe takes no more; it must have taken little.
#[test]
fn a_peer_that_does_not_read_makes_the_input_wait() {
    let (mut host, address) = waiting(&[]);
    let mut peer = raw(&address);
    let input = host.input();
    rustix::io::ioctl_fionbio(&input, true).unwrap();
    let line = [&[b'a'; 1000][..], b"\n"].concat();
    let mut taken = 0;
    let mut refusals = 0;
    // Full for a second in a row is full: whatever moves, moves within that.
    while refusals < 20 {
        match rustix::io::write(&input, &line) {
            Ok(count) => {
                taken += count;
                refusals = 0;
            }
            Err(rustix::io::Errno::AGAIN) => {
                refusals += 1;
                std::thread::park_timeout(Duration::from_millis(50));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(taken < 64 << 20, "it takes everything");
    }
    let resident = resident_kib(host.process());
    assert!(resident < 64 * 1024, "{resident} KiB resident");
    drop(input);
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), taken + usize::from(taken % line.len() != 0));
}

// Goal: nc can be either side, as the manual says.
#[test]
fn nc_is_a_guest_and_a_host() {
    let (mut host, address) = waiting(&[]);
    let (ip, port) = address.split_once(':').unwrap();
    let mut nc = Spoken::start(Command::new("nc").args([ip, port]));
    nc.says("from nc\n");
    host.until_wrote("from nc\n");
    host.says("to nc\n");
    nc.until_wrote("to nc\n");
    host.says_no_more();
    assert_eq!(host.ended().code(), Some(0));

    let mut nc = Spoken::start(Command::new("nc").args(["-v", "-l", "127.0.0.1", "0"]));
    nc.until_said("Listening on ");
    let port = listening_port(nc.process());
    let mut guest = coming(&format!("127.0.0.1:{port}"), &[]);
    guest.says("from the guest\n");
    nc.until_wrote("from the guest\n");
    nc.says("from the host\n");
    guest.until_wrote("from the host\n");
    nc.signal(Signal::TERM);
    assert_eq!(guest.ended().code(), Some(0));
}

// Goal: a file of this machine works as an address does, and is gone afterwards.
#[test]
fn a_unix_socket_is_an_address_too() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("talk.sock");
    let url = format!("unix:{}", path.display());
    let mut host = Spoken::start(program().args(["chat", "--listen", &url]));
    host.until_said("madang: listening on unix:");
    let mut guest = Spoken::start(program().args(["chat", &url]));
    guest.says("over a file\n");
    host.until_wrote("over a file\n");
    host.until_said(&format!("process {} is here", guest.process()));
    host.says_no_more();
    assert_eq!((host.ended().code(), guest.ended().code()), (Some(0), Some(0)));
    assert!(std::fs::symlink_metadata(&path).is_err(), "the socket is still there");
}

// Goal: every way it cannot begin says what to do, with the exit code of its kind.
#[test]
fn what_cannot_be_done_is_told_with_its_remedy() {
    check(&["chat"], 2, "<URL>");
    check(&["chat", "tcp://127.0.0.1"], 2, "the port is missing: tcp://HOST:PORT");
    check(&["chat", "127.0.0.1:7000"], 2, "write tcp://HOST:PORT");
    check(&["chat", "--listen", "example.org:7000"], 2, "write IP:PORT");
    check(&["chat", "--listen", "7000", "tcp://127.0.0.1:7000"], 2, "cannot be used with");
    check(&["chat", "tcp://127.0.0.1:7000", "--name", "two words"], 2, "a name has 1 to 32 letters");
    check(&["chat", "tcp://127.0.0.1:1"], 1, "nobody listens on 127.0.0.1:1");
    check(&["chat", "unix:/nowhere/talk.sock"], 1, "there is no unix:/nowhere/talk.sock");
    let (_host, address) = waiting(&[]);
    check(&["chat", "--listen", &address], 1, "another process already does");

    #[track_caller]
    fn check(arguments: &[&str], code: i32, want: &str) {
        let output = program().args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(want), "{arguments:?}: {said}");
    }
}

// Goal: at a terminal one is told who speaks, and a line that nobody could hear is not kept for whoever comes next.
#[test]
fn at_a_terminal_it_says_who_is_there_and_what_was_not_sent() {
    let mut command = program();
    command.args(["chat", "--listen", "127.0.0.1:0"]);
    let mut host = Terminal::start(&command, 100, 24);
    host.until_shows("Ctrl+C ends");
    host.types("too early\n");
    host.until_shows("nobody is here yet: it was not sent");
    let screen = host.screen();
    let address = screen.split("tcp://").nth(1).unwrap().split(';').next().unwrap();
    let mut guest = raw(address);
    let mut lines = BufReader::new(guest.try_clone().unwrap());
    guest.write_all(b"/nick jun\nhello\n").unwrap();
    host.until_shows("jun: hello");
    host.types("이제 들려요\n");
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "이제 들려요\n");
    host.types("/quit\n");
    assert_eq!(lines.read_line(&mut line).unwrap(), 0);
    guest.shutdown(Shutdown::Both).unwrap();
    assert_eq!(host.ended().code(), Some(0));
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The TCP port of 127.0.0.1 that a process listens on.
fn listening_port(process: u32) -> u16 {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_listening = fields[3] == "0A" && sockets.iter().any(|inode| inode == fields[9]);
        is_listening.then(|| u16::from_str_radix(fields[1].split(':').nth(1).unwrap(), 16).unwrap())
    });
    port.unwrap()
}
