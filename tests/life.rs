//! The life of the server: reload, upgrade, stop, and starts that fail.

use std::net::{SocketAddr, TcpListener};

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::house::{House, PLAIN, program};
use crate::support::pattern;

fn another_folder() -> String {
    PLAIN.replace("\"public\"", "\"other\"")
}

// Goal: a reload changes what is served and cuts nobody.
// Method: an idle connection and a half-read download live through a reload to another folder.
#[test]
fn a_reload_keeps_open_connections_and_serves_the_new_settings() {
    let large = pattern(8 * 1024 * 1024);
    let house = House::start(
        PLAIN,
        &[("public/a.txt", b"before"), ("public/large.bin", &large), ("other/a.txt", b"after")],
    );
    let mut idle = house.client();
    assert_eq!(idle.get("/a.txt").text(), "before");
    let mut download = house.client();
    download.send("GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let start = download.exactly(1000);
    assert!(start.starts_with(b"HTTP/1.1 200"));

    house.reload(&another_folder());
    assert_eq!(house.client().get("/a.txt").text(), "after");
    assert_eq!(idle.get("/a.txt").text(), "after", "the idle connection goes on under the new settings");
    let head_end = start.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let rest = download.exactly(large.len() - (start.len() - head_end));
    assert!(start[head_end..] == large[..start.len() - head_end], "the beginning differs");
    assert!(rest == large[start.len() - head_end..], "the rest differs");
}

// Goal: a listener that a reload takes away is closed when the reload is back, and its connections are told at once.
// Method: with an idle and an asking connection on it; again and again, because a late close is a matter of luck.
#[test]
fn a_listener_taken_away_is_closed_when_the_reload_returns() {
    let two = PLAIN.replace(
        "route =",
        "route = [{ path = \"/*\", files = \"public\" }]\n[site.guest]\nlisten = \"http://127.0.0.1:GUEST\"\nroute =",
    );
    let guest = SocketAddr::from(([127, 0, 0, 1], madang_host::process::port::free(|_| false).unwrap()));
    let two = two.replace("GUEST", &guest.port().to_string());
    let house = House::start(PLAIN, &[("public/a.txt", b"alpha")]);
    for _ in 0..20 {
        house.reload(&two);
        let (mut idle, mut asking) = (Client::plain(guest), Client::plain(guest));
        assert_eq!(idle.get("/a.txt").text(), "alpha");
        assert_eq!(asking.get("/a.txt").text(), "alpha");
        house.reload(PLAIN);
        let refused = std::net::TcpStream::connect(guest).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        idle.closed();
        asking.closed();
    }
}

// Goal: broken settings change nothing and say where they are broken.
#[test]
fn broken_settings_change_nothing_and_name_line_and_key() {
    let house = House::start(PLAIN, &[("public/a.txt", b"alpha")]);
    let mut idle = house.client();
    assert_eq!(idle.get("/a.txt").text(), "alpha");
    house.write("madang.toml", PLAIN.replace("workers", "wrokers"));
    let output = house.ask(&["reload"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("madang.toml:3") && text.contains("wrokers") && text.contains("workers"), "{text}");
    assert_eq!(idle.get("/a.txt").text(), "alpha");
    assert_eq!(house.client().get("/a.txt").text(), "alpha");
}

// Goal: an upgrade hands the ports over; a download of the old process is finished by it, then it ends.
#[test]
fn an_upgrade_hands_over_the_ports_and_finishes_downloads() {
    let large = pattern(8 * 1024 * 1024);
    let mut house = House::start(PLAIN, &[("public/a.txt", b"alpha"), ("public/large.bin", &large)]);
    let mut download = house.client();
    download.send("GET /large.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let start = download.exactly(1000);
    let heir = house.upgrade();
    assert_ne!(heir, house.process());
    assert_eq!(house.until_ready(), house.addresses, "the same addresses");
    assert_eq!(house.client().get("/a.txt").text(), "alpha");
    assert_eq!(house.json("status")["process"], heir);
    let rest = download.rest();
    assert!(large.ends_with(&rest), "the download differs");
    assert!(start.len() + rest.len() > large.len(), "the download was cut");
    assert!(house.ended().success(), "{}", house.said());
}

// Goal: all workers of the old process say goodbye at once; one that waits for a download does not keep another from it.
// Method: sixteen connections, spread over two workers by the kernel, are each asked once more while a download is open.
#[test]
fn an_upgrade_has_every_worker_say_goodbye() {
    let large = pattern(8 * 1024 * 1024);
    let two = PLAIN.replace("workers = 1", "workers = 2");
    let mut house = House::start(&two, &[("public/a.txt", b"alpha"), ("public/large.bin", &large)]);
    let mut kept: Vec<_> = (0..16).map(|_| house.client()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/a.txt").field("connection"), None);
    }
    let mut downloads: Vec<_> = (0..4).map(|_| house.client()).collect();
    for download in &mut downloads {
        download.send("GET /large.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        download.exactly(1000);
    }
    house.upgrade();
    // The drain begins when the order has been answered: an answer or two may come before it.
    for client in &mut kept {
        house.until(|| {
            let answer = client.get("/a.txt");
            assert_eq!(answer.text(), "alpha");
            answer.field("connection").as_deref() == Some("close")
        });
    }
    for download in &mut downloads {
        assert!(large.ends_with(&download.rest()), "the download differs");
    }
    assert!(house.ended().success(), "{}", house.said());
}

// Goal: after an upgrade it is the new process that obeys orders, however long the old one drains.
// Method: many orders while a download keeps the old process alive.
#[test]
fn after_an_upgrade_the_new_process_obeys() {
    let large = pattern(8 * 1024 * 1024);
    let mut house = House::start(PLAIN, &[("public/a.txt", b"alpha"), ("public/large.bin", &large)]);
    let mut download = house.client();
    download.send("GET /large.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    download.exactly(1000);
    let heir = house.upgrade();
    for _ in 0..20 {
        assert_eq!(house.json("status")["process"], heir);
    }
    assert!(large.ends_with(&download.rest()), "the download differs");
    assert!(house.ended().success(), "{}", house.said());
}

// Goal: an upgrade to settings that are broken leaves the old process serving.
#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let house = House::start(PLAIN, &[("public/a.txt", b"alpha")]);
    house.write("madang.toml", "[site.main]\nlisten = 7\n");
    let output = house.ask(&["upgrade"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(house.client().get("/a.txt").text(), "alpha");
    house.write("madang.toml", PLAIN);
    assert_eq!(house.json("status")["process"], house.process());
}

// Goal: a stop finishes what was asked, closes what is idle, and ends with 0.
#[test]
fn a_stop_finishes_open_answers_and_closes_idle_connections() {
    let large = pattern(8 * 1024 * 1024);
    let mut house = House::start(PLAIN, &[("public/a.txt", b"alpha"), ("public/large.bin", &large)]);
    let mut idle = house.client();
    assert_eq!(idle.get("/a.txt").text(), "alpha");
    let mut download = house.client();
    download.send("GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let start = download.exactly(1000);
    house.signal(Signal::TERM);
    idle.closed();
    let rest = download.rest();
    assert!(large.ends_with(&rest) && start.len() + rest.len() > large.len(), "the download was cut");
    assert!(house.ended().success(), "{}", house.said());
}

// Goal: status and connections tell what is there.
#[test]
fn status_and_connections_tell_what_is_there() {
    let house = House::start(PLAIN, &[("public/a.txt", b"alpha")]);
    let mut client = house.client();
    assert_eq!(client.get("/a.txt").status, 200);
    let status = house.json("status");
    assert_eq!(status["process"], house.process());
    assert_eq!(status["connections"], 1);
    let connections = house.json("connections");
    let list = connections.as_array().unwrap();
    assert_eq!(list.len(), 1, "{connections}");
    assert!(connections.to_string().contains(&house.address(0).to_string()), "{connections}");
}

// Goal: a start that cannot work is one sentence with the remedy, exit code 2, nothing half-started.
#[test]
fn a_port_in_use_is_one_sentence_and_exit_code_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("public")).unwrap();
    let settings = folder.path().join("madang.toml");
    std::fs::write(&settings, PLAIN.replace("127.0.0.1:0", &address.to_string())).unwrap();
    let output = program().arg("run").arg("-c").arg(&settings).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(&address.to_string()), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty(), "nothing was announced");
}

// Goal: two servers never share a data folder.
#[test]
fn a_second_server_with_the_same_data_folder_is_refused() {
    let house = House::start(PLAIN, &[]);
    let output = house.ask(&["run"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("already runs"), "{text}");
}
