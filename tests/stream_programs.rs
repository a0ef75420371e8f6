//! Goal: real programs work through streams: PostgreSQL's psql, BIND's dig, OpenSSL's s_client and curl.
//! Method: the programs of Debian (tests/setup/install test) in folders and on ports of their own, ended by their own numbers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::house::House;
use crate::support::tls;
use crate::support::upstream::{Then, Upstream, ok};

/// A program that is ended when the test is.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{name:?}: {error}; run tests/setup/install test")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn output(command: &mut Command) -> Output {
    let name = command.get_program().to_owned();
    let run = command.stdin(Stdio::null()).output();
    run.unwrap_or_else(|error| panic!("{name:?}: {error}; run tests/setup/install test"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Looks until it is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

/// A port that was free a moment ago, for UDP and TCP.
fn free_port() -> u16 {
    madang_host::process::port::free(|port| UdpSocket::bind(("127.0.0.1", port)).is_err()).unwrap()
}

/// A cluster of its own. PostgreSQL refuses root: as root it runs as the user the package made.
struct Postgres {
    _running: Running,
    folder: TempDir,
    port: u16,
}

fn postgres_program(name: &str) -> PathBuf {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL: run tests/setup/install test");
    let newest = versions.map(|entry| entry.unwrap().path()).max().unwrap();
    newest.join("bin").join(name)
}

/// The program, as a user who is not root.
fn unprivileged(program: &Path) -> Command {
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        return command;
    }
    Command::new(program)
}

impl Postgres {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        if rustix::process::geteuid().is_root() {
            let owned = output(Command::new("chown").arg("postgres").arg(folder.path()));
            assert!(owned.status.success(), "{}", text(&owned));
        }
        let mut make = unprivileged(&postgres_program("initdb"));
        make.args(["--no-sync", "--auth=trust", "--username=house", "--encoding=UTF8", "-D"]).arg(&data);
        let made = output(make.current_dir(folder.path()));
        assert!(made.status.success(), "{}", text(&made));
        let port = free_port();
        let mut serve = unprivileged(&postgres_program("postgres"));
        serve.arg("-D").arg(&data).args(["-p", &port.to_string(), "-F", "-c", "unix_socket_directories="]);
        serve.args(["-c", "listen_addresses=127.0.0.1"]).current_dir(folder.path());
        let running = Running::start(&mut serve);
        let this = Self { _running: running, folder, port };
        until("PostgreSQL", || psql(port, &["-c", "select 1"]).status.success());
        this
    }
}

fn psql(port: u16, arguments: &[&str]) -> Output {
    let mut command = Command::new("psql");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "house", "-d", "postgres", "-Atq"]);
    output(command.args(arguments))
}

/// psql at the other end of a pipe.
struct Session {
    child: Child,
    say: ChildStdin,
    hear: BufReader<std::process::ChildStdout>,
}

impl Session {
    fn open(port: u16) -> Self {
        let mut command = Command::new("psql");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "house", "-d", "postgres", "-Atq"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (say, hear) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, say, hear }
    }

    fn ask(&mut self, sql: &str) -> String {
        writeln!(self.say, "{sql}").unwrap();
        let mut line = String::new();
        self.hear.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// Goal: a database works through a stream: queries, large results, a copy in, and a transaction that is open through
// twenty reloads. When one of two servers is gone, new connections go to the other.
#[test]
fn psql_works_through_a_stream_and_its_transaction_through_reloads() {
    let database = Postgres::start();
    let gone = Upstream::named("gone");
    let settings = format!(
        "[server]\nworkers = 2\n[stream.db]\nlisten = \"tcp://127.0.0.1:0\"\nproxy = \"db\"\n\
         [pool.db]\nservers = [\"127.0.0.1:{}\", \"{}\"]\nhealth = {{ tcp = true, every = \"500ms\" }}\n",
        database.port, gone.address
    );
    gone.die();
    let house = House::start(&settings, &[]);
    let port = house.address(0).port();
    for _ in 0..4 {
        let answer = psql(port, &["-c", "select 6 * 7"]);
        assert_eq!(text(&answer).trim(), "42");
    }
    let large = psql(port, &["-c", "select repeat('x', 1000) from generate_series(1, 20000)"]);
    assert_eq!(large.stdout.len(), 20_000 * 1001);

    let mut session = Session::open(port);
    assert_eq!(
        session.ask("create table kept (number int); begin; insert into kept values (7); select 1;"),
        "1"
    );
    for index in 0..20 {
        house.reload(&format!(
            "{settings}[site.s{index}]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ respond = \"x\" }}]\n"
        ));
        assert_eq!(session.ask("select count(*) from kept;"), "1");
    }
    assert_eq!(session.ask("commit; select 2;"), "2");
    assert_eq!(text(&psql(port, &["-c", "select number from kept"])).trim(), "7");

    let file = database.folder.path().join("rows.txt");
    let rows: String = (0..100_000).map(|row| format!("{row}\n")).collect();
    std::fs::write(&file, rows).unwrap();
    let copy = format!("\\copy kept from '{}'", file.display());
    let copied = psql(port, &["-c", &copy, "-c", "select count(*) from kept"]);
    assert_eq!(text(&copied).trim(), "100001");
}

fn dnsmasq(port: u16, folder: &Path) -> Running {
    let mut command = Command::new("/usr/sbin/dnsmasq");
    command.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"]);
    command.args([
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--user=",
        "--cache-size=0",
        "--no-daemon",
    ]);
    command.args([
        &format!("--port={port}"),
        "--address=/house.test/192.0.2.7",
        "--txt-record=long.test,xyz",
    ]);
    command.arg(format!("--pid-file={}", folder.join(format!("{port}.pid")).display()));
    let running = Running::start(&mut command);
    until("dnsmasq", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    running
}

fn dig(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new("dig");
    command.args(["@127.0.0.1", "-p", &port.to_string(), "+tries=1", "+time=5"]).args(arguments);
    text(&output(&mut command))
}

// Goal: DNS through a stream, by UDP and by TCP to the same pool: every query is answered, also when one of two servers is
// killed, and no client waits for a second try.
#[test]
fn dig_is_answered_by_udp_and_tcp_though_a_server_is_killed() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (free_port(), free_port());
    let (one, _two) = (dnsmasq(first, folder.path()), dnsmasq(second, folder.path()));
    let settings = format!(
        "[server]\nworkers = 2\n[stream.dns]\nlisten = [\"udp://127.0.0.1:0\", \"tcp://127.0.0.1:0\"]\nproxy = \"dns\"\nudp = {{ replies = 1 }}\n\
         [pool.dns]\nservers = [\"127.0.0.1:{first}\", \"127.0.0.1:{second}\"]\n"
    );
    let house = House::start(&settings, &[]);
    let (udp, tcp) = (house.address(0).port(), house.address(1).port());
    assert_eq!(dig(udp, &["+short", "a", "house.test"]).trim(), "192.0.2.7");
    assert_eq!(dig(tcp, &["+tcp", "+short", "a", "house.test"]).trim(), "192.0.2.7");
    assert_eq!(dig(udp, &["+short", "txt", "long.test"]).trim(), "\"xyz\"");
    drop(one);
    for _ in 0..20 {
        assert_eq!(dig(udp, &["+short", "a", "house.test"]).trim(), "192.0.2.7");
    }
    assert_eq!(dig(tcp, &["+tcp", "+short", "a", "house.test"]).trim(), "192.0.2.7");
    house.until(|| house.json("status")["streams"][0]["open"] == 0);
}

// Goal: OpenSSL and curl find their server by name through a port that leaves TLS to the servers.
#[test]
fn openssl_and_curl_reach_the_server_they_name() {
    let made = tls::certificate(&["web.test"]);
    let behind = Upstream::start(|_, stream| {
        ok(stream, "hello from behind");
        Then::Close
    });
    let inner = format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"https://127.0.0.1:0\"\ntls = {{ cert = \"c.pem\", key = \"k.pem\" }}\n\
         route = [{{ proxy = \"p\" }}]\n[pool.p]\nservers = [\"{}\"]\n",
        behind.address
    );
    let files = [("c.pem", made.certificate.as_bytes()), ("k.pem", made.key.as_bytes())];
    let web = House::start(&inner, &files);
    let settings = format!(
        "[server]\nworkers = 1\n[stream.s]\nlisten = \"tcp://127.0.0.1:0\"\nroute = [{{ sni = \"web.test\", proxy = \"web\" }}]\n\
         [pool.web]\nservers = [\"{}\"]\nhealth = {{ tcp = true, tls = true, every = \"200ms\" }}\ntls = {{ ca = \"c.pem\", name = \"web.test\" }}\n",
        web.address(0)
    );
    let house = House::start(&settings, &files);
    let address: SocketAddr = house.address(0);
    let ca = house.path("c.pem");
    let resolve = format!("web.test:{}:127.0.0.1", address.port());
    let url = format!("https://web.test:{}/", address.port());
    for version in ["--http1.1", "--http2"] {
        let got = output(
            Command::new("curl").args(["-sS", version, "--resolve", &resolve, "--cacert"]).arg(&ca).arg(&url),
        );
        assert_eq!(text(&got), "hello from behind");
    }
    let mut openssl = Command::new("openssl");
    openssl.args([
        "s_client",
        "-connect",
        &address.to_string(),
        "-servername",
        "web.test",
        "-max_send_frag",
        "512",
    ]);
    openssl.args(["-verify_return_error", "-CAfile"]).arg(&ca);
    let shown = text(&output(&mut openssl));
    assert!(shown.contains("Verify return code: 0 (ok)"), "{shown}");
    let mut other = Command::new("openssl");
    other.args(["s_client", "-connect", &address.to_string(), "-servername", "other.test"]);
    assert!(!output(&mut other).status.success());
    house.until_said("no route is for the name other.test");
    assert_eq!(house.json("status")["pools"][0]["servers"][0]["state"], "up");
    let mut rest = Vec::new();
    let _ = TcpStream::connect(address).unwrap().take(0).read_to_end(&mut rest);
}
