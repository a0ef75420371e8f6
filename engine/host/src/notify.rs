//! Telling the service manager how we are (sd_notify(3)).
//!
//! **Job.** Send READY, RELOADING, STOPPING, STATUS, MAINPID and WATCHDOG to the socket in NOTIFY_SOCKET.
//! **Reads** NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, handed in. **Called by** `madang` (run, reload, upgrade).
//! **Calls** the kernel.
//!
//! Invariants
//! 1. Without a service manager every call does nothing; with one, no call ever waits: a message that cannot be sent
//!    at once is lost, and the next one says the same.
//! 2. One message is one datagram; a status cannot smuggle in a second assignment (line ends become spaces).
//!
//! Not here: sockets handed to us (`inherited_fds`), when to say what (`madang`).

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The way to the service manager; cheap when there is none.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads the environment through `get`. `successor`: this process took over from the one the manager started
    /// (`madang upgrade`), so a WATCHDOG_PID that names that one is meant for us now.
    ///
    /// # Errors
    /// NOTIFY_SOCKET is set but is no address we can send to. The server can run; its manager will not hear of it.
    pub fn from_environment(
        get: impl Fn(&str) -> Option<OsString>,
        own_process: u32,
        successor: bool,
    ) -> io::Result<Self> {
        let Some(address) = get("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Ok(Self::default());
        };
        let address = socket_address(&address)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let number = |name: &str| get(name)?.to_str()?.parse::<u64>().ok();
        let ours =
            successor || number("WATCHDOG_PID").is_none_or(|process| process == u64::from(own_process));
        let watchdog = number("WATCHDOG_USEC").filter(|us| *us > 0 && ours).map(Duration::from_micros);
        Ok(Self { to: Some((socket, address)), watchdog })
    }

    /// How often [`Notifier::alive`] has to be called: half of what the manager waits before it ends us
    /// (sd_watchdog_enabled(3)). `None`: it does not watch.
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Start or reload is done and requests are taken.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send("READY=1", Some(status))
    }

    /// A reload begins; [`Notifier::ready`] ends it. Carries the time that `Type=notify-reload` needs to match it.
    pub fn reloading(&self) -> io::Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        let us = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={us}"), None)
    }

    /// Draining; nothing new is taken.
    pub fn stopping(&self, status: &str) -> io::Result<()> {
        self.send("STOPPING=1", Some(status))
    }

    /// One line for people (`systemctl status`).
    pub fn status(&self, status: &str) -> io::Result<()> {
        self.send("", Some(status))
    }

    /// Another process is the service from now on. The old one must say it: the manager listens to the main process.
    pub fn main_process(&self, process: u32) -> io::Result<()> {
        self.send(&format!("MAINPID={process}"), None)
    }

    /// Still alive; see [`Notifier::alive_every`].
    pub fn alive(&self) -> io::Result<()> {
        self.send("WATCHDOG=1", None)
    }

    fn send(&self, assignments: &str, status: Option<&str>) -> io::Result<()> {
        let Some((socket, address)) = &self.to else { return Ok(()) };
        let mut message = assignments.to_owned();
        if let Some(status) = status {
            if !message.is_empty() {
                message.push('\n');
            }
            // Writing to memory cannot fail.
            let _ = write!(message, "STATUS={}", status.replace(['\n', '\r'], " "));
        }
        socket.send_to_addr(message.as_bytes(), address).map(drop)
    }
}

/// A path, or with a leading `@` a name in the abstract space.
fn socket_address(address: &OsStr) -> io::Result<SocketAddr> {
    match address.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(address),
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("NOTIFY_SOCKET={} is neither a path nor @name", address.display()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u32 = 4242;

    struct Manager {
        socket: UnixDatagram,
        _folder: tempfile::TempDir,
        address: OsString,
    }

    impl Manager {
        fn at_a_path() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            Self { socket, _folder: folder, address: path.into() }
        }

        fn in_the_abstract() -> Self {
            let folder = tempfile::tempdir().unwrap();
            // The folder's name is unique on this machine: borrow it.
            let name = folder.path().as_os_str().as_bytes().to_vec();
            let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
            let mut address = OsString::from("@");
            address.push(OsStr::from_bytes(&name));
            Self { socket, _folder: folder, address }
        }

        fn notifier(&self, more: &[(&str, &str)], successor: bool) -> Notifier {
            let get = |name: &str| {
                if name == "NOTIFY_SOCKET" {
                    return Some(self.address.clone());
                }
                more.iter().find(|(have, _)| *have == name).map(|(_, value)| OsString::from(value))
            };
            Notifier::from_environment(get, US, successor).unwrap()
        }

        fn hears(&self) -> String {
            let mut message = [0; 4096];
            let length = self.socket.recv(&mut message).unwrap();
            String::from_utf8(message[..length].to_vec()).unwrap()
        }
    }

    // Goal: every message as sd_notify(3) writes it, over both kinds of address.
    #[test]
    fn the_manager_hears_every_step_of_a_life() {
        for manager in [Manager::at_a_path(), Manager::in_the_abstract()] {
            let notifier = manager.notifier(&[], false);
            notifier.ready("2 sites").unwrap();
            assert_eq!(manager.hears(), "READY=1\nSTATUS=2 sites");
            notifier.reloading().unwrap();
            let reloading = manager.hears();
            let us = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(us.parse::<u64>().unwrap() > 0);
            notifier.status("draining\nREADY=1").unwrap();
            assert_eq!(manager.hears(), "STATUS=draining READY=1");
            notifier.main_process(77).unwrap();
            assert_eq!(manager.hears(), "MAINPID=77");
            notifier.alive().unwrap();
            assert_eq!(manager.hears(), "WATCHDOG=1");
            notifier.stopping("3 requests open").unwrap();
            assert_eq!(manager.hears(), "STOPPING=1\nSTATUS=3 requests open");
        }
    }

    #[test]
    fn the_watchdog_is_fed_at_half_its_time_and_only_by_whom_it_watches() {
        check(&[("WATCHDOG_USEC", "3000000")], false, Some(1500));
        check(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "4242")], false, Some(1500));
        check(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "1")], false, None);
        check(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "1")], true, Some(1500));
        check(&[("WATCHDOG_USEC", "0")], false, None);
        check(&[("WATCHDOG_USEC", "soon")], false, None);
        check(&[], false, None);

        #[track_caller]
        fn check(environment: &[(&str, &str)], successor: bool, want_ms: Option<u64>) {
            let manager = Manager::at_a_path();
            let notifier = manager.notifier(environment, successor);
            assert_eq!(notifier.alive_every(), want_ms.map(Duration::from_millis));
        }
    }

    // Goal: a manager that does not read never stops the server. Method: fill its socket; the next send must return.
    #[test]
    fn a_manager_that_does_not_listen_is_not_waited_for() {
        let manager = Manager::at_a_path();
        let notifier = manager.notifier(&[], false);
        let full = (0..100_000).find_map(|_| notifier.alive().err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn no_manager_is_no_error_and_a_wrong_address_is_one() {
        let nobody = Notifier::from_environment(|_| None, US, false).unwrap();
        nobody.ready("up").unwrap();
        assert_eq!(nobody.alive_every(), None);
        for wrong in ["relative/path", "@", "vsock:2:1234"] {
            let told = Notifier::from_environment(|_| Some(OsString::from(wrong)), US, false).unwrap_err();
            assert!(told.to_string().contains(wrong), "{told}");
        }
    }
}
