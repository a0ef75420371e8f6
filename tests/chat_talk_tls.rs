//! `madang chat --listen tls://…` and `madang chat tls://… --pin`: one-to-one talk that others on the way cannot read.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::house::program;
use crate::support::spoken::Spoken;
use crate::support::tls;

const NO_PIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The side that waits, its address without the scheme, and the fingerprint it tells.
fn waiting(more: &[&str]) -> (Spoken, String, String) {
    let side = Spoken::start(program().args(["chat", "--listen", "tls://127.0.0.1:0"]).args(more));
    let address = side.word_after("madang: listening on tls://");
    let pin = side.word_after("for the other side's --pin: ");
    (side, address, pin)
}

fn coming(address: &str, more: &[&str]) -> Spoken {
    Spoken::start(program().args(["chat", &format!("tls://{address}")]).args(more))
}

fn raw(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// It ends, with this code and these words.
#[track_caller]
fn ends(side: &mut Spoken, code: i32, words: &[&str]) {
    assert_eq!(side.ended().code(), Some(code), "{}", side.said());
    for word in words {
        assert!(side.said().contains(word), "no {word:?} in {:?}", side.said());
    }
}

// Goal: both write and read under TLS, and ends are what they are over tcp://: a guest's leaves the host waiting, the host's ends all.
// Method: guests that pin what the host told, one in openssl's way of writing it; a third while one talks.
#[test]
fn a_talk_under_tls_goes_on_with_the_next_guest_and_ends_with_the_host() {
    let (mut host, address, pin) = waiting(&["--name", "mina"]);
    let mut first = coming(&address, &["--name", "jun", "--pin", &pin]);
    first.says("안녕, 마당\n");
    host.until_wrote("안녕, 마당\n");
    host.says("hello\n");
    first.until_wrote("hello\n");
    first.until_said("is called mina");
    let mut third = coming(&address, &["--pin", &pin]);
    ends(&mut third, 1, &["talks with somebody else; try again later"]);
    first.says_no_more();
    ends(&mut first, 0, &[]);
    host.until_said("jun has left; waiting for the next");

    let mut vanishing = coming(&address, &["--pin", &pin]);
    vanishing.says("and\n");
    host.until_wrote("and\n");
    vanishing.signal(Signal::KILL);
    host.until_said("was cut off: it went without saying so; waiting for the next");

    let with_colons: Vec<String> = pin
        .to_uppercase()
        .as_bytes()
        .chunks(2)
        .map(|two| String::from_utf8_lossy(two).into_owned())
        .collect();
    let mut second = coming(&address, &["--pin", &with_colons.join(":")]);
    second.says("back\n");
    host.until_wrote("back\n");
    host.says("the end");
    host.says_no_more();
    ends(&mut second, 0, &["mina has ended the talk"]);
    assert_eq!(host.ended().code(), Some(0));
    assert_eq!((second.wrote().as_str(), host.wrote().as_str()), ("the end\n", "안녕, 마당\nand\nback\n"));
}

// Goal: somebody else's certificate is refused before a word is said, with both fingerprints; so is one that nothing stands for.
#[test]
fn another_certificate_than_the_pinned_one_is_refused_with_both_fingerprints() {
    let (host, address, pin) = waiting(&[]);
    let mut wrong = coming(&address, &["--name", "secret", "--pin", NO_PIN]);
    ends(&mut wrong, 1, &[&format!("its certificate's SHA-256 is {pin}, not {NO_PIN} as pinned"), &address]);
    host.until_said("was not let in: it does not believe our certificate");
    let mut unpinned = coming(&address, &[]);
    ends(&mut unpinned, 1, &["is not believed: invalid peer certificate", "--pin SHA256", "--ca FILE"]);
    assert!(!host.said().contains("is here") && !host.said().contains("secret"), "{}", host.said());

    let mut right = coming(&address, &["--pin", &pin]);
    right.says("it is me\n");
    host.until_wrote("it is me\n");
}

// Goal: a certificate of one's own is shown, believed by its authority and name, and by its fingerprint under any name.
#[test]
fn a_certificate_of_ones_own_is_believed_by_its_authority() {
    let folder = TempDir::new().unwrap();
    let made = tls::certificate(&["localhost"]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("cert.pem"), &made.certificate).unwrap();
    std::fs::write(path("key.pem"), &made.key).unwrap();
    let (host, address, pin) = waiting(&["--cert", &path("cert.pem"), "--key", &path("key.pem")]);
    let by_name = address.replace("127.0.0.1", "localhost");
    for (to, trust) in [(&by_name, ["--ca", &path("cert.pem")]), (&address, ["--pin", &pin])] {
        let mut guest = coming(to, &trust);
        guest.says(format!("by {}\n", trust[0]));
        host.until_wrote(&format!("by {}\n", trust[0]));
        guest.says_no_more();
        ends(&mut guest, 0, &[]);
    }
    let mut by_address = coming(&address, &["--ca", &path("cert.pem")]);
    ends(&mut by_address, 1, &["is not believed"]);

    let other = tls::certificate(&["localhost"]);
    std::fs::write(path("other.pem"), &other.key).unwrap();
    let listen = ["chat", "--listen", "tls://127.0.0.1:0", "--cert", &path("cert.pem")];
    for (key, why) in [("other.pem", "belong"), ("none.pem", "none.pem")] {
        ends(&mut Spoken::start(program().args(listen).args(["--key", &path(key)])), 1, &[why]);
    }
}

// Goal: whoever has openssl can be the other side.
#[test]
fn openssl_is_enough_to_talk_under_tls() {
    let openssl = Path::new("/usr/bin/openssl");
    if !openssl.is_file() {
        eprintln!("there is no {}: not tried", openssl.display());
        return;
    }
    let (mut host, address, pin) = waiting(&[]);
    let mut client = Spoken::start(Command::new(openssl).args([
        "s_client",
        "-quiet",
        "-no_ign_eof",
        "-connect",
        &address,
    ]));
    client.says("/nick 열쇠\nhello from openssl\n");
    host.until_wrote("hello from openssl\n");
    host.until_said("is called 열쇠");
    host.says("들려요\n");
    client.until_wrote("들려요\n");
    client.says_no_more();
    host.until_said("열쇠 has left; waiting for the next");

    let mut shown = Spoken::start(Command::new("sh").arg("-c").arg(format!(
        "{0} s_client -connect {address} < /dev/null 2> /dev/null | {0} x509 -noout -fingerprint -sha256",
        openssl.display()
    )));
    assert_eq!(shown.ended().code(), Some(0));
    let fingerprint = shown.wrote().trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase();
    assert_eq!(fingerprint, pin, "what we tell is what openssl calls the fingerprint");
}

// Goal: who speaks no TLS, or nothing, is told to this side and keeps nobody out.
// Method: connections that say nothing and stay, one of plain text, then a guest.
#[test]
fn who_does_not_shake_hands_keeps_nobody_out() {
    let (host, address, pin) = waiting(&[]);
    let silent: Vec<TcpStream> = (0..8).map(|_| raw(&address)).collect();
    for plain in ["hello\n", "GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = raw(&address);
        stream.write_all(plain.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Closed with what it wrote unread: the kernel may say so by a reset.
        let _ = stream.read_to_end(&mut answer);
        let who = stream.local_addr().unwrap();
        host.until_said(&format!("{who} was not let in: TLS is spoken here, and it does not"));
    }
    let mut guest = coming(&address, &["--pin", &pin]);
    guest.says("through\n");
    host.until_wrote("through\n");
    drop(silent);
    guest.says("still\n");
    host.until_wrote("still\n");
}

// Goal: an option that would make nobody safer is refused instead of ignored.
#[test]
fn a_pin_where_no_certificate_is_shown_is_a_mistake() {
    check(
        &["tcp://127.0.0.1:1", "--pin", NO_PIN],
        "no certificate is shown at tcp://127.0.0.1:1; write tls://HOST:PORT",
    );
    check(
        &["http://127.0.0.1:1/chat/", "--pin", NO_PIN],
        "no certificate is shown at http://127.0.0.1:1/chat/",
    );
    check(&["tls://127.0.0.1:1", "--pin", "5a1c"], "64 hex digits, with or without colons; this has 4");
    check(&["tls://127.0.0.1:1", "--pin", NO_PIN, "--ca", "x.pem"], "cannot be used with '--ca");
    check(&["--listen", "tls://127.0.0.1:0", "--pin", NO_PIN], "cannot be used with '--");
    check(&["--listen", "tls://127.0.0.1:0", "--cert", "x.pem"], "--key");
    check(
        &["--listen", "127.0.0.1:0", "--cert", "x", "--key", "y"],
        "--cert and --key are of --listen tls://IP:PORT",
    );
    check(&["tls://127.0.0.1:1", "--cert", "x", "--key", "y"], "the side that waits");
    check(&["--listen", "tls://example.org:7000"], "tls://IP:PORT");

    #[track_caller]
    fn check(options: &[&str], want: &str) {
        ends(&mut Spoken::start(program().arg("chat").args(options)), 2, &[want]);
    }
}
