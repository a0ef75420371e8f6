//! The program as it is installed: files and units in a tree, what a service manager does with them, and what is taken away.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::house::{House, program};

/// A machine as a folder tree, with a site in /srv/site. Others may enter it, as the service's user must.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new(settings: &str) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir_all(folder.path().join("srv/site/public")).unwrap();
        std::fs::write(folder.path().join("srv/site/public/a.txt"), "alpha").unwrap();
        let machine = Self { folder };
        machine.settings(settings);
        machine
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    fn settings(&self, settings: &str) {
        std::fs::write(self.path("srv/site/madang.toml"), settings).unwrap();
    }

    /// A command about the tree.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command.args(arguments).arg("--root").arg(self.folder.path());
        if arguments[0] != "uninstall" {
            command.arg("-c").arg(self.path("srv/site/madang.toml"));
        }
        command.output().unwrap()
    }

    /// The same, which must succeed: all that it tells.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The same, which must succeed: what it did, step by step, as `word path`.
    #[track_caller]
    fn steps(&self, arguments: &[&str]) -> Vec<String> {
        let json = self.json(arguments);
        let steps = json["steps"].as_array().unwrap();
        steps
            .iter()
            .map(|step| format!("{} {}", step["did"].as_str().unwrap(), step["what"].as_str().unwrap()))
            .collect()
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.path("etc/systemd/system").join(name)
    }

    /// Every file of the tree but the site's.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let tree = self.folder.path();
        walk(tree, &mut |path| found.push(path.strip_prefix(tree).unwrap().display().to_string()));
        found.retain(|path| !path.starts_with("srv/"));
        found.sort();
        found
    }
}

fn walk(folder: &Path, found: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found(&path) }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this machine has a program; where it has not, the test says so and proves less.
fn has(tool: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap().status.success();
    if !found {
        eprintln!("not proved here: there is no {tool}");
    }
    found
}

/// Ports that nobody uses now: the units name them before anybody opens them.
fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let mut all = [0; COUNT];
    for at in 0..COUNT {
        all[at] = madang_host::process::port::free(|port| all.contains(&port)).unwrap();
    }
    all
}

fn settings(ports: &[u16]) -> String {
    let listen: Vec<String> = ports.iter().map(|port| format!("\"http://127.0.0.1:{port}\"")).collect();
    format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = [{}]\nroute = [{{ path = \"/*\", files = \"public\" }}]\n",
        listen.join(", ")
    )
}

// Goal: what is installed is there once, a second time changes nothing, other settings change what depends on them and tell it,
// and taking away leaves nothing but data and what others put there.
#[test]
fn an_installation_is_repeated_changed_and_taken_away() {
    let machine = Machine::new(&settings(&[8080]));
    let would = machine.steps(&["install", "--dry-run"]);
    assert!(would.contains(&"would make /etc/systemd/system/madang.service".to_owned()), "{would:?}");
    assert_eq!(machine.files(), [""; 0]);
    let rules = machine.json(&["install", "--dry-run"])["firewall_rules"].as_str().unwrap().to_owned();
    assert!(rules.contains("table inet madang {"), "{rules}");

    let made = machine.steps(&["install"]);
    assert!(made.iter().all(|step| step.starts_with("made ")), "{made:?}");
    let files = [
        "etc/madang/installed.json",
        "etc/madang/installed.txt",
        "etc/systemd/system/madang.service",
        "etc/systemd/system/madang.socket",
        "etc/sysusers.d/madang.conf",
        "usr/local/bin/madang",
    ];
    assert_eq!(machine.files(), files);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&machine.path("usr/local/bin/madang")), 0o755);
    assert_eq!(mode(&machine.unit("madang.service")), 0o644);
    assert_eq!(mode(&machine.path("srv/site/data")), 0o700);

    let again = machine.steps(&["install"]);
    assert!(again.iter().all(|step| step.starts_with("unchanged ")), "{again:?}");

    machine.settings(&settings(&[8080, 8081]));
    let other = machine.steps(&["install"]);
    let changed: Vec<&String> = other.iter().filter(|step| !step.starts_with("unchanged ")).collect();
    assert_eq!(changed, ["changed /etc/systemd/system/madang.socket"]);
    let socket = std::fs::read_to_string(machine.unit("madang.socket")).unwrap();
    assert!(socket.contains("ListenStream=127.0.0.1:8081\n"), "{socket}");

    std::fs::write(machine.path("etc/madang/of-others.txt"), "mine").unwrap();
    let away = machine.steps(&["uninstall"]);
    assert!(away.contains(&"removed /usr/local/bin/madang".to_owned()), "{away:?}");
    assert_eq!(machine.files(), ["etc/madang/of-others.txt"]);
    assert!(machine.path("srv/site/data").is_dir(), "data stays");
    let nothing = machine.run(&["uninstall"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).contains("did not install anything here"), "{}", text(&nothing.stderr));
}

// Goal: what somebody changed by hand is kept and told, neither overwritten nor removed, unless --force says so.
#[test]
fn units_that_were_edited_are_kept() {
    let machine = Machine::new(&settings(&[8080]));
    machine.steps(&["install"]);
    let unit = machine.unit("madang.socket");
    let edited = std::fs::read_to_string(&unit).unwrap() + "# by hand\n";
    std::fs::write(&unit, &edited).unwrap();
    let same = machine.steps(&["install"]);
    assert!(same.contains(&"kept /etc/systemd/system/madang.socket".to_owned()), "{same:?}");

    // Now it is out of step as well: that is no success.
    machine.settings(&settings(&[8081]));
    let output = machine.run(&["install"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("madang install --force"), "{}", text(&output.stdout));
    assert_eq!(std::fs::read_to_string(&unit).unwrap(), edited);

    machine.steps(&["uninstall"]);
    assert_eq!(machine.files(), ["etc/systemd/system/madang.socket"]);
    // And one that is not ours at all is not ours later either.
    let output = machine.run(&["install"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let forced = machine.steps(&["install", "--force"]);
    assert!(forced.contains(&"changed /etc/systemd/system/madang.socket".to_owned()), "{forced:?}");
}

// Negative space: settings with an error, and data that is not ours, stop everything with the reason.
#[test]
fn what_cannot_be_right_changes_nothing() {
    let machine =
        Machine::new("[site.main]\nlisten = \"http://127.0.0.1:8080\"\nroute = [{ files = \"publik\" }]\n");
    let output = machine.run(&["install"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("publik"), "{}", text(&output.stderr));
    assert_eq!(machine.files(), [""; 0]);
    assert!(!machine.path("srv/site/data").is_dir());

    // Data that was there before, and in which nothing says that it is Madang's.
    machine.settings(&settings(&[8080]).replace("[server]", "[server]\ndata = \"precious\""));
    std::fs::create_dir(machine.path("srv/site/precious")).unwrap();
    std::fs::write(machine.path("srv/site/precious/letters.txt"), "dear").unwrap();
    machine.steps(&["install"]);
    let output = machine.run(&["uninstall", "--purge"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is not removed"), "{}", text(&output.stderr));
    assert!(machine.path("srv/site/precious/letters.txt").is_file());
    assert!(machine.path("etc/madang/installed.json").is_file(), "it can be tried again");
}

// Goal: a machine without settings gets some, which are right; they go again unless somebody changed them.
#[test]
fn a_machine_without_settings_gets_some() {
    let folder = TempDir::new().unwrap();
    let tree = folder.path().join("tree");
    let settings = tree.join("etc/madang/madang.toml");
    let run = |command: &str| {
        let output =
            program().arg(command).arg("--root").arg(&tree).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    };
    let said = run("install");
    assert!(
        said.contains("settings to begin with") && said.contains("madang: settings  /etc/madang/madang.toml"),
        "{said}"
    );
    let check = program().args(["check", "-c"]).arg(&settings).output().unwrap();
    assert!(check.status.success(), "{}", text(&check.stderr));
    let unit = std::fs::read_to_string(tree.join("etc/systemd/system/madang.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/madang run -c /etc/madang/madang.toml\n"), "{unit}");
    assert!(unit.contains("AmbientCapabilities=CAP_NET_BIND_SERVICE\n"), "port 80: {unit}");
    assert!(!unit.contains(&*folder.path().to_string_lossy()), "the tree is nowhere: {unit}");
    run("uninstall");
    assert!(!settings.is_file());
    run("install");
    std::fs::OpenOptions::new().append(true).open(&settings).unwrap().write_all(b"# mine\n").unwrap();
    run("uninstall");
    assert!(settings.is_file());
}

// Goal: apps of other users need a server that is root: the unit says so, and whoever installs it hears what that means.
#[test]
fn a_service_that_must_be_root_is_told() {
    let app = "[app.hello]\nrun = [\"sh\", \"-c\", \"exit\"]\nuser = \"nobody\"\n";
    let machine = Machine::new(&format!("{}{app}", settings(&[8080])));
    let output = machine.run(&["install"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("the service runs as root, because"), "{}", text(&output.stdout));
    let unit = std::fs::read_to_string(machine.unit("madang.service")).unwrap();
    assert!(!unit.contains("\nUser=") && unit.contains("CAP_SETUID"), "{unit}");
    // As the very user of the app it need not be.
    machine.steps(&["install", "--user", "nobody"]);
    let unit = std::fs::read_to_string(machine.unit("madang.service")).unwrap();
    assert!(unit.contains("\nUser=nobody\n") && unit.contains("CapabilityBoundingSet=\n"), "{unit}");
}

// Goal: systemd itself finds nothing wrong in the units, and the sandbox is worth its name.
// Method: systemd-analyze of this machine, over the tree; there is no running systemd to try them with.
#[test]
fn systemd_reads_the_units_as_they_are_meant() {
    if !has("systemd-analyze") {
        return;
    }
    let plain = settings(&[8080]);
    let app = "[app.hello]\nrun = [\"sh\", \"-c\", \"exit\"]\n";
    check(&plain, 2.5);
    check(&format!("{plain}{app}"), 5.0);
    check(&format!("{plain}{app}user = \"nobody\"\n"), 7.0);

    #[track_caller]
    fn check(settings: &str, exposure_max: f64) {
        let machine = Machine::new(settings);
        machine.steps(&["install", "--firewall"]);
        for unit in ["madang.service", "madang.socket", "madang-firewall.service"] {
            let output = analyze(
                &machine,
                &["--man=no", "--recursive-errors=no", "verify", &machine.unit(unit).to_string_lossy()],
            );
            let said = text(&output.stderr);
            // The tools lie in the tree or not on this machine: that is not what is asked here.
            let wrong: Vec<&str> = said.lines().filter(|line| !line.contains("is not executable")).collect();
            assert!(wrong.is_empty(), "{unit}: {wrong:#?}");
        }
        let unit = machine.unit("madang.service");
        let output =
            analyze(&machine, &["--no-pager", "--offline=true", "security", &unit.to_string_lossy()]);
        let said = text(&output.stdout);
        let line = said
            .lines()
            .find(|line| line.contains("Overall exposure level"))
            .unwrap_or_else(|| panic!("{said}"));
        let exposure: f64 = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        assert!(exposure <= exposure_max, "{said}");
        eprintln!("systemd-analyze security: {exposure} of 10 (at most {exposure_max})");
    }

    fn analyze(machine: &Machine, arguments: &[&str]) -> Output {
        Command::new("systemd-analyze").args(arguments).current_dir(machine.folder.path()).output().unwrap()
    }
}

/// The numbers of the processes that the service manager has started.
fn started(house: &House) -> Vec<i32> {
    house.said().lines().filter_map(|line| line.strip_prefix("manager: started ")?.parse().ok()).collect()
}

/// A service manager that does what the units of this machine say.
fn managed(machine: Machine) -> House {
    if root() {
        // As the installation does where it is not into a tree.
        chown(machine.path("srv/site/data"), Some(65534), Some(65534)).unwrap();
    }
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/support/service_manager.py"));
    command.arg(machine.folder.path());
    let house = House::spawn(command, machine.folder);
    house.until_said("manager: ready");
    house
}

// Goal: Madang killed by kill -9: nobody is refused, whoever came meanwhile is answered, within a second of the new start.
// Method: the units as installed, under a stand-in for systemd that does what they say (sockets, notices, RestartSec).
#[test]
fn who_comes_while_it_is_down_is_answered_after_the_restart() {
    let ports = free_ports::<2>();
    let machine = Machine::new(&settings(&ports));
    machine.steps(&["install", "--user", "nobody"]);
    let mut house = managed(machine);
    assert_eq!(house.client().get("/a.txt").text(), "alpha");

    let killed = Instant::now();
    let number = rustix::process::Pid::from_raw(*started(&house).last().unwrap()).unwrap();
    rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
    house.until_said("manager: ended with -9");
    let mut waiting: Vec<Client> = (0..20).map(|at| Client::plain(house.address(at % 2))).collect();
    for client in &mut waiting {
        client.send("GET /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    assert_eq!(started(&house).len(), 1, "it is down while they come");
    let deadline = Instant::now() + PATIENCE;
    while started(&house).len() < 2 {
        assert!(Instant::now() < deadline, "{}", house.said());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let again = Instant::now();
    for client in &mut waiting {
        assert_eq!(client.answer("GET").text(), "alpha");
    }
    let (start, all) = (again.elapsed(), killed.elapsed());
    eprintln!("answered {start:?} after the start, {all:?} after kill -9 (RestartSec=5s)");
    assert!(start < Duration::from_secs(1), "{start:?}");
    assert!(
        !house.said().contains("socket-missing") && !house.said().contains("socket-unused"),
        "{}",
        house.said()
    );
    house.until_ready();
}

// Goal: a socket unit that is behind the settings is told at the start: what it does not keep, and what it keeps for nobody.
#[test]
fn a_socket_unit_out_of_step_is_told() {
    let ports = free_ports::<3>();
    let machine = Machine::new(&settings(&ports[..2]));
    machine.steps(&["install", "--user", "nobody"]);
    machine.settings(&settings(&ports[1..]));
    let doctor = machine.run(&["doctor"]);
    let said = text(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(1), "{said}");
    let told = format!("it does not keep 127.0.0.1:{}; it keeps 127.0.0.1:{}", ports[2], ports[0]);
    assert!(said.contains(&told) && said.contains("help: madang install -c "), "{said}");

    let house = managed(machine);
    house.until_said(&format!("127.0.0.1:{} is not kept by the service manager", ports[2]));
    house.until_said(&format!("(madang.socket) at 127.0.0.1:{} is no listener of the settings", ports[0]));
    assert_eq!(house.client().get("/a.txt").text(), "alpha");
}

// Goal: datagrams come over sockets of the service manager as well, and those sent while it starts are not lost.
#[test]
fn datagrams_of_a_kept_port_are_served() {
    let [port] = free_ports::<1>();
    let echo = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    echo.set_read_timeout(Some(PATIENCE)).unwrap();
    let server = echo.local_addr().unwrap();
    let answers = std::thread::spawn(move || {
        let mut bytes = [0; 64];
        let (count, from) = echo.recv_from(&mut bytes).unwrap();
        echo.send_to(&bytes[..count], from).unwrap();
    });
    let machine = Machine::new(&format!(
        "[server]\nworkers = 2\n[pool.echo]\nservers = [\"{server}\"]\n[stream.echo]\nlisten = \"udp://127.0.0.1:{port}\"\nproxy = \"echo\"\n"
    ));
    machine.steps(&["install", "--user", "nobody"]);
    let unit = std::fs::read_to_string(machine.unit("madang.socket")).unwrap();
    assert!(unit.contains(&format!("ListenDatagram=127.0.0.1:{port}\n")), "{unit}");
    let house = managed(machine);
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"hello", ("127.0.0.1", port)).unwrap();
    let mut bytes = [0; 64];
    let count = client.recv(&mut bytes).unwrap_or_else(|error| panic!("{error}: {}", house.said()));
    assert_eq!(&bytes[..count], b"hello");
    answers.join().unwrap();
}

// Goal: doctor knows a small machine without swap, units that are missing and rules that are behind, each with its remedy.
// Method: a tree that says what such a machine says.
#[test]
fn doctor_says_how_to_fix_a_machine() {
    let machine = Machine::new(&settings(&[8080]));
    std::fs::create_dir_all(machine.path("proc")).unwrap();
    let memory = |total: u32, swap: u32| {
        let info = format!("MemTotal:         {total} kB\nSwapTotal:         {swap} kB\n");
        std::fs::write(machine.path("proc/meminfo"), info).unwrap();
    };
    let check = |told: &str, there: bool| {
        let said = text(&machine.run(&["doctor"]).stdout);
        assert_eq!(said.contains(told), there, "{told:?}: {said}");
    };
    memory(500_000, 0);
    check("488 MiB and no swap", true);
    check("help: add swap: fallocate -l 1G /swapfile", true);
    check("/etc/fstab", true);
    memory(500_000, 1_000_000);
    check("add swap", false);
    memory(4_000_000, 0);
    check("add swap", false);

    check("not installed; `madang install`", true);
    check("nobody keeps the clock right", true);
    std::fs::create_dir_all(machine.path("run/systemd/timesync")).unwrap();
    std::fs::write(machine.path("run/systemd/timesync/synchronized"), "").unwrap();
    check("nobody keeps the clock right", false);
    machine.steps(&["install", "--firewall"]);
    check("in step with the settings", true);
    check("fix  service", false);
    check("fix  firewall", false);
    machine.settings(&settings(&[8080]).replace("127.0.0.1:8080", "0.0.0.0:8080"));
    check("its rules are not those of the settings as they are now", true);
    std::fs::remove_file(machine.unit("madang.socket")).unwrap();
    check("madang.socket   it is missing", true);
}

// Goal: on the machine itself: the user is made and owns the data, the settings are tried as that user, systemd is asked in the right
// order, a second time asks for nothing new, and taking away with --purge leaves nothing.
// Method: as root, in a mount namespace of its own whose /etc is gone afterwards, with a stand-in for systemctl.
#[test]
fn a_machine_is_changed_and_changed_back() {
    if !root() || !has("unshare") || !has("useradd") {
        eprintln!("not proved here: this needs root, unshare and useradd");
        return;
    }
    let folder = TempDir::new().unwrap();
    let script = r#"
set -eu
say() { echo "== $1"; }
mkdir -p "$FOLDER/site/public"; cd "$FOLDER/site"; chmod 700 public
cat > madang.toml
say closed; "$MADANG" install --user mdgtest 2>&1 || echo "code $?"
chmod 755 public
say first; "$MADANG" install --user mdgtest --firewall --yes; cat "$FOLDER/asked"; : > "$FOLDER/asked"
grep -c ^mdgtest: /etc/passwd; stat -c '%U %a' data; nft list tables
say second; "$MADANG" install --user mdgtest; cat "$FOLDER/asked"; : > "$FOLDER/asked"
say port; sed -i s/18080/18081/ madang.toml; "$MADANG" install --user mdgtest; cat "$FOLDER/asked"; : > "$FOLDER/asked"
say doctor; "$MADANG" doctor | grep -E 'service|socket|firewall' || true
say away; "$MADANG" uninstall --purge; cat "$FOLDER/asked"
grep -c ^mdgtest: /etc/passwd || true; ls /etc/systemd/system | grep madang || true; nft list tables; ls -d data /etc/madang 2>&1 || true
"#;
    let settings = settings(&[18080]);
    let mut child = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-c", "ip link set lo up 2>/dev/null; exec \"$0\" \"$@\""])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/support/own_machine.sh"))
        .arg(folder.path())
        .args(["sh", "-c", script])
        .env("MADANG", env!("CARGO_BIN_EXE_madang"))
        .env_remove("SSH_CONNECTION")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(settings.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let part = |name: &str| {
        let rest = said.split(&format!("== {name}\n")).nth(1).unwrap_or_else(|| panic!("{name}: {said}"));
        rest.split("== ").next().unwrap().to_owned()
    };
    let check = |name: &str, there: &[&str], not: &[&str]| {
        let part = part(name);
        assert!(there.iter().all(|text| part.contains(text)), "{name}: {there:?} in {part}");
        assert!(!not.iter().any(|text| part.contains(text)), "{name}: not {not:?} in {part}");
    };
    check(
        "closed",
        &["the user mdgtest cannot use these settings, root can", "cannot enter the folder", "code 1"],
        &["systemd/system"],
    );
    let orders = "systemctl daemon-reload\n\
                  systemctl enable madang.service madang.socket madang-firewall.service\n\
                  systemctl start madang.socket madang.service\n";
    let firewall = has("nft");
    if firewall {
        check(
            "first",
            &["madang check, as mdgtest", orders, "\n1\nmdgtest 700\n", "table inet madang\n"],
            &[],
        );
    }
    check(
        "second",
        &["unchanged     /etc/systemd/system/madang.service", "systemctl enable"],
        &["daemon-reload\n", "systemctl start", "\nchanged "],
    );
    check(
        "port",
        &[
            "changed       /etc/systemd/system/madang.socket",
            "systemctl reload madang.service",
            "left to you:",
            "systemctl stop madang.socket madang.service &&",
        ],
        &["systemctl restart"],
    );
    check("doctor", &["madang.socket", "in step with the settings"], &["fix  madang"]);
    check(
        "away",
        &[
            "systemctl disable --now madang.socket madang.service madang-firewall.service",
            "ran           userdel mdgtest",
            "removed       nft table inet madang",
            "\n0\n",
            "cannot access 'data'",
            "cannot access '/etc/madang'",
        ],
        &["\nmadang", "\ntable inet"],
    );
}
