//! The real program, started for one test.
//!
//! **Job.** Write settings and files into a folder of its own, start the program, wait for its `ready`, end it.
//! **Called by** every test. **Calls** the binary that cargo built.
//!
//! Invariants
//! 1. Ports are 0 in the settings; the real ones are read from what the program prints.
//! 2. Dropping a [`House`] ends every process it knows of, by number.
//!
//! Not here: speaking to it (`client`).

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use super::PATIENCE;
use super::client::Client;

/// One running program and its folder.
pub struct House {
    folder: TempDir,
    child: Child,
    lines: Receiver<String>,
    errors: Arc<Mutex<String>>,
    /// Addresses as printed: `http://127.0.0.1:40001`.
    pub addresses: Vec<String>,
    /// Processes that took over from the first.
    heirs: Vec<Pid>,
}

/// The program under test, with nothing of the caller's environment that it would obey.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_madang"));
    command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS").env_remove("LISTEN_PID");
    command.stdin(Stdio::null());
    command
}

/// The smallest settings: one plain site on a free port that serves `public`.
pub const PLAIN: &str = r#"
[server]
workers = 1
[site.main]
listen = "http://127.0.0.1:0"
route = [{ path = "/*", files = "public" }]
"#;

impl House {
    /// Starts `madang run` with these settings and these files (paths inside the settings' folder).
    #[track_caller]
    pub fn start(settings: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("public")).unwrap();
        for (path, content) in files {
            write(&folder.path().join(path), content);
        }
        write(&folder.path().join("madang.toml"), settings.as_bytes());
        let mut command = program();
        command.arg("run").arg("-c").arg(folder.path().join("madang.toml"));
        Self::spawn(command, folder)
    }

    /// Starts the program with a command line of the test's own; `folder` lives as long as it does.
    #[track_caller]
    pub fn spawn(mut command: Command, folder: TempDir) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (line, lines) = channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for text in BufReader::new(out).lines().map_while(Result::ok) {
                if line.send(text).is_err() {
                    break;
                }
            }
        });
        let errors = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&errors);
        let mut err = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = err.read(&mut piece) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        });
        let mut house = Self { folder, child, lines, errors, addresses: Vec::new(), heirs: Vec::new() };
        house.addresses = house.until_ready();
        house
    }

    /// Reads until `madang: ready` and gives the addresses printed before it.
    #[track_caller]
    pub fn until_ready(&mut self) -> Vec<String> {
        let mut addresses = Vec::new();
        loop {
            let line = self.line();
            if line == "madang: ready" {
                return addresses;
            }
            if let Some(rest) = line.strip_prefix("madang: listening on ") {
                addresses.push(rest.split(' ').next().unwrap().to_owned());
            }
        }
    }

    /// The next line on standard output.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {PATIENCE:?}; said: {}", self.said()),
            Err(RecvTimeoutError::Disconnected) => panic!("it ended; said: {}", self.said()),
        }
    }

    /// Everything on standard error so far.
    pub fn said(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    /// Waits until it has said this on standard error.
    #[track_caller]
    pub fn until_said(&self, text: &str) {
        self.until(|| self.said().contains(text));
    }

    /// Looks until it is so: for what happens off the path of a request. Gives up late.
    #[track_caller]
    pub fn until(&self, mut so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so() {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}; said: {}", self.said());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// A path in the settings' folder.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Writes a file in the settings' folder.
    pub fn write(&self, inside: &str, content: impl AsRef<[u8]>) {
        write(&self.path(inside), content.as_ref());
    }

    /// The address printed `index`th.
    #[track_caller]
    pub fn address(&self, index: usize) -> SocketAddr {
        let text = &self.addresses[index];
        text.split("://").nth(1).unwrap().parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// A new connection to the first address.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::plain(self.address(0))
    }

    /// Runs a command against this server: `ask(&["reload"])`.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> Output {
        program().args(arguments).arg("-c").arg(self.path("madang.toml")).output().unwrap()
    }

    /// The same with `--json`, which must succeed.
    #[track_caller]
    pub fn json(&self, command: &str) -> serde_json::Value {
        let output = self.ask(&[command, "--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{command}: {text}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command}: {error} in {text}"))
    }

    /// `/metrics`, over the control socket.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let socket = std::os::unix::net::UnixStream::connect(self.path("data/madang.sock")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let answer = Client::over(socket).get("/metrics");
        assert_eq!(answer.status, 200);
        answer.text()
    }

    /// Replaces the settings file and reloads; must succeed.
    #[track_caller]
    pub fn reload(&self, settings: &str) -> serde_json::Value {
        self.write("madang.toml", settings);
        self.json("reload")
    }

    /// `madang upgrade`; gives the new process's number.
    #[track_caller]
    pub fn upgrade(&mut self) -> u32 {
        let number = self.json("upgrade")["process"].as_u64().unwrap();
        self.heirs.push(Pid::from_raw(i32::try_from(number).unwrap()).unwrap());
        u32::try_from(number).unwrap()
    }

    /// The first process's number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the first process.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }

    /// Stops it where it stands (SIGSTOP), and returns once it does: the signal reaches a running thread only after a while.
    #[track_caller]
    pub fn hang(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.process());
        self.until(|| {
            std::fs::read_dir(&tasks).unwrap().flatten().all(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
            })
        });
    }

    /// Kills the program with SIGKILL and starts it again in the same folder.
    #[track_caller]
    pub fn kill_and_start_again(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let folder = std::mem::replace(&mut self.folder, TempDir::new().unwrap());
        let mut command = program();
        command.arg("run").arg("-c").arg(folder.path().join("madang.toml"));
        *self = Self::spawn(command, folder);
    }

    /// The processes of apps that the program has written down, and the folders of their control groups: they outlive it when it
    /// is killed.
    fn apps(&self) -> (Vec<Pid>, Vec<PathBuf>) {
        let mut groups = Vec::new();
        let mut all = Vec::new();
        for app in std::fs::read_dir(self.path("data/apps")).into_iter().flatten().flatten() {
            for entry in std::fs::read_dir(app.path()).into_iter().flatten().flatten() {
                let path = entry.path();
                // Pipes lie there too: opening one of those would wait for a writer.
                if path.extension().is_none_or(|extension| extension != "json") {
                    continue;
                }
                let text = std::fs::read_to_string(path).ok();
                let record = text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
                let folders = record.as_ref().and_then(|record| record["groups"].as_array().cloned());
                groups.extend(
                    folders.into_iter().flatten().filter_map(|path| Some(PathBuf::from(path.as_str()?))),
                );
                let number = record.and_then(|record| record["process"]["number"].as_i64());
                all.extend(number.and_then(|number| Pid::from_raw(i32::try_from(number).ok()?)));
            }
        }
        (all, groups)
    }

    /// Waits for the first process to end.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        // The standard library has no wait with a deadline: look often, give up late.
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end within {PATIENCE:?}; said: {}", self.said());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for heir in &self.heirs {
            // It may have ended by itself.
            let _ = kill_process(*heir, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let (apps, groups) = self.apps();
        for app in apps {
            // Likewise.
            let _ = kill_process_group(app, Signal::KILL);
        }
        for group in groups {
            // What left its process group too; a group that is not quite empty yet stays.
            let _ = std::fs::write(group.join("cgroup.kill"), "1");
            let _ = std::fs::remove_dir(group);
        }
    }
}

fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
