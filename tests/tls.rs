//! TLS seen by a client that trusts one certificate only.

use crate::support::house::House;
use crate::support::tls::{Made, certificate, connect, speaking, trusting};

/// One https site with a certificate by file.
pub const SECURE: &str = r#"
[server]
workers = 1
[site.main]
listen = "https://127.0.0.1:0"
hosts  = ["localhost"]
tls    = { cert = "cert.pem", key = "key.pem" }
route  = [{ path = "/*", files = "public" }]
"#;

/// It, serving `a.txt`.
pub fn house(made: &Made) -> House {
    House::start(
        SECURE,
        &[
            ("cert.pem", made.certificate.as_bytes()),
            ("key.pem", made.key.as_bytes()),
            ("public/a.txt", b"alpha"),
        ],
    )
}

// Goal: https works with the certificate that was given, over HTTP/1.1 when that is what the client offers.
#[test]
fn https_answers_with_the_given_certificate() {
    let made = certificate(&["localhost"]);
    let house = house(&made);
    let mut client = connect(house.address(0), "localhost", trusting(&made, &[b"http/1.1"]));
    assert_eq!(client.get("/a.txt").text(), "alpha");
    assert_eq!(client.get("/a.txt").text(), "alpha");
}

// Goal: both TLS versions that are allowed can be spoken.
#[test]
fn tls_1_2_and_1_3_are_both_spoken() {
    let made = certificate(&["localhost"]);
    let house = house(&made);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = connect(house.address(0), "localhost", speaking(&made, &[], &[version]));
        assert_eq!(client.get("/a.txt").text(), "alpha", "{version:?}");
    }
}

// Goal: a renewed certificate is used by new connections after a reload; the open one goes on.
#[test]
fn a_renewed_certificate_is_used_after_reload() {
    let (old, new) = (certificate(&["localhost"]), certificate(&["localhost"]));
    let house = house(&old);
    let mut before = connect(house.address(0), "localhost", trusting(&old, &[]));
    assert_eq!(before.get("/a.txt").text(), "alpha");
    house.write("key.pem", &new.key);
    house.write("cert.pem", &new.certificate);
    house.reload(SECURE);
    let mut after = connect(house.address(0), "localhost", trusting(&new, &[]));
    assert_eq!(after.get("/a.txt").text(), "alpha");
    assert_eq!(before.get("/a.txt").text(), "alpha");
}

// Goal: a plain request to the https port ends, and the server lives.
#[test]
fn noise_on_the_https_port_harms_nobody() {
    let made = certificate(&["localhost"]);
    let house = house(&made);
    let mut noise = house.client();
    noise.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let _ = noise.rest();
    let mut client = connect(house.address(0), "localhost", trusting(&made, &[]));
    assert_eq!(client.get("/a.txt").text(), "alpha");
}

// Goal: a key that does not belong to its certificate never starts a server.
#[test]
fn a_wrong_pair_is_refused_by_check() {
    let made = certificate(&["localhost"]);
    let house = house(&made);
    house.write("key.pem", certificate(&["localhost"]).key);
    let output = house.ask(&["check"]);
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("key.pem"), "{text}");
}
