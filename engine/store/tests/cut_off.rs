//! Goal: a machine that is cut off in the middle of a transaction holds the others up for seconds only, and loses nothing.
//! Method: a relay in front of PostgreSQL that stops before a COMMIT; another store that writes to the same stream.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)] // a test may stop at what it did not expect

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use madang_host::clock;
use madang_store::Store;
use madang_store::log::{Batch, History, Read, StreamId};

/// So long others wait at most, however busy this machine is.
const HELD_UP_MAX: Duration = Duration::from_secs(15);

/// Passes everything on to PostgreSQL, but once, when it is told to, stops before a COMMIT.
struct Relay {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Relay {
    fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, cut) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&cut);
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let far = TcpStream::connect(("127.0.0.1", to)).unwrap();
                let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
                let flag = Arc::clone(&flag);
                std::thread::spawn(move || pass(near, far, Some(&flag)));
                std::thread::spawn(move || pass(back.0, back.1, None));
            }
        });
        Self { port, cut }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: Option<&AtomicBool>) {
    let mut bytes = [0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let piece = &bytes[..count];
        // A message is a letter, four bytes of length, and its text.
        let commit = piece.windows(6).position(|word| word == b"COMMIT").map(|at| at - 5);
        let is_cut = |at: &usize| *at > 0 && cut.is_some_and(|cut| cut.swap(false, Ordering::AcqRel));
        if let Some(at) = commit.filter(is_cut) {
            to.write_all(&piece[..at]).unwrap();
            // Nobody is told: what comes is read, and goes nowhere.
            while matches!(from.read(&mut bytes), Ok(1..)) {}
            return;
        }
        if to.write_all(piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both); // it may have ended first
}

#[test]
fn who_is_cut_off_before_its_commit_holds_nobody_up_for_long() {
    let server = support::Server::start();
    let address = server.database("shared");
    let relay = Relay::start(server.port);
    let through = address.replace(&server.port.to_string(), &relay.port.to_string());
    let (cut, fine) =
        (Store::postgres(&through, None, 2).unwrap(), Store::postgres(&address, None, 2).unwrap());
    let stream = StreamId::new("room").unwrap();
    let say = |store: &Store, text: &str| store.log().append(&stream, Batch::one("x", text));
    say(&cut, "one").wait().unwrap();
    say(&fine, "two").wait().unwrap();

    relay.cut.store(true, Ordering::Release);
    let late = say(&cut, "four");
    let begun = clock::now();
    let held =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = 'shared'";
    while server.sql("postgres", held) == "0" {
        assert!(begun.elapsed() < HELD_UP_MAX, "the relay cuts");
    }
    let begun = clock::now();
    assert_eq!(say(&fine, "three").wait().unwrap().first, 3);
    assert!(begun.elapsed() < HELD_UP_MAX, "held up for {:?}", begun.elapsed());
    // The one that was cut off finds out, connects again, and says it once.
    let late = late.wait().unwrap();
    assert_eq!((late.first, late.duplicate), (4, false));

    let History::Page(page) = fine.log().read(&stream, Read::from(0)).wait().unwrap() else { panic!() };
    let texts: Vec<String> = page.entries.into_iter().map(|entry| entry.text).collect();
    assert_eq!(texts, ["one", "two", "three", "four"]);
    cut.close();
    fine.close();
}
