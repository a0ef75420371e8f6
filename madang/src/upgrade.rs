//! Replacing the running process by a new one without dropping a connection (`madang upgrade`).
//!
//! **Job.** Start the new program, hand it every socket, wait until it serves; only then drain the old.
//! **Called by** `run`. **Calls** `host::handover`, `host::process`.
//!
//! The steps: the old process listens on DATA/upgrade.sock and starts the new one with `--takeover` that path; the new one
//! connects, receives sockets and the data folder's lock, builds everything, accepts, and says `ready`; the old one stops
//! accepting (both shared the accept queues) and drains. If the new one says why it cannot, ends, or says nothing in 30 s,
//! it is ended and the old one goes on as if nothing had been.
//!
//! Not here: draining (`house`).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use madang_host::handover;
use madang_host::net::listen::Listener;
use madang_host::process::again as process;

use crate::house::{House, Inherited};

const SOCKET: &str = "upgrade.sock";
const PATIENCE: Duration = Duration::from_secs(30);
const READY: &[u8] = b"ready\n";

/// What the process before us handed over.
#[derive(Default)]
pub struct Handed {
    /// Listeners of sites by name.
    pub listeners: Inherited,
    /// The control socket.
    pub control: Option<Listener>,
    /// The admin address.
    pub admin: Option<Listener>,
    /// The data folder's lock.
    pub lock: Option<File>,
    /// How to say that we serve.
    pub confirm: Option<Confirm>,
}

/// The way back to the old process.
pub struct Confirm(UnixStream);

impl Confirm {
    /// We serve: the old process may go.
    pub fn ready(&mut self) -> io::Result<()> {
        self.0.write_all(READY)
    }
    /// We cannot: the old process tells why and goes on.
    pub fn failed(&mut self, why: &str) {
        // Without the old process there is nobody to tell.
        let _ = self.0.write_all(why.as_bytes());
    }
}

/// New process: takes everything from the old one.
pub fn take(socket: &Path) -> io::Result<Handed> {
    let stream = UnixStream::connect(socket)?;
    let mut handed = Handed::default();
    for (name, sockets) in handover::receive(&stream)? {
        if name == "lock" {
            handed.lock = sockets.into_iter().next().map(File::from);
            continue;
        }
        let mut listeners = sockets.into_iter().map(Listener::from_fd).collect::<io::Result<Vec<_>>>()?;
        match name.as_str() {
            "control" => handed.control = listeners.pop(),
            "admin" => handed.admin = listeners.pop(),
            _ => handed.listeners.push((name, listeners)),
        }
    }
    handed.confirm = Some(Confirm(stream));
    Ok(handed)
}

/// Old process: starts the new one and hands everything over. Gives the new process's number once it serves.
pub async fn hand_over(
    house: &House,
    file: &Path,
    lock: &File,
    admin: &[(&str, &[Listener])],
) -> Result<u32, String> {
    let path = house.settings().server.data.join(SOCKET);
    let fail = |what: &str, error: io::Error| format!("{what}: {error}");
    // One of a failed upgrade before; nobody listens on it.
    let _ = std::fs::remove_file(&path);
    let listener =
        UnixListener::bind(&path).map_err(|error| fail("cannot open the hand-over socket", error))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .map_err(|error| fail("cannot protect the hand-over socket", error))?;

    let mut items: Vec<(String, Vec<OwnedFd>)> = Vec::new();
    for (name, sockets) in house.sockets().chain(admin.iter().copied()) {
        items.push((
            name.to_owned(),
            own(sockets.iter().map(AsFd::as_fd)).map_err(|error| fail("cannot copy sockets", error))?,
        ));
    }
    items.push((
        "lock".to_owned(),
        own(std::iter::once(lock.as_fd())).map_err(|error| fail("cannot copy the lock", error))?,
    ));

    let arguments =
        ["run".as_ref(), "-c".as_ref(), file.as_os_str(), "--takeover".as_ref(), path.as_os_str()];
    let mut child =
        process::start_self(&arguments).map_err(|error| fail("cannot start the new process", error))?;
    let number = child.id();
    let end = child.end_handle().map_err(|error| fail("cannot watch the new process", error))?;
    let giving = tokio::task::spawn_blocking(move || give(&listener, end.as_fd(), &items));
    let given = tokio::time::timeout(PATIENCE, giving).await;
    // Whatever happened, the path has served its purpose.
    let _ = std::fs::remove_file(&path);
    match given {
        Ok(Ok(Ok(()))) => Ok(number),
        other => {
            child.end();
            let why = match other {
                Ok(Ok(Err(error))) => error.to_string(),
                Err(_) => format!("it did not say that it serves within {} s", PATIENCE.as_secs()),
                Ok(_) => "the hand-over broke off".to_owned(),
            };
            Err(format!("the new process did not start, the old one goes on: {why}"))
        }
    }
}

fn own<'a>(sockets: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<Vec<OwnedFd>> {
    sockets.map(|socket| socket.try_clone_to_owned()).collect()
}

fn give(listener: &UnixListener, end: BorrowedFd<'_>, items: &[(String, Vec<OwnedFd>)]) -> io::Result<()> {
    // Bounded, so that a new process that dies at once does not leave this thread behind.
    let mut stream = process::accept_within(listener, end, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    for (name, sockets) in items {
        let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        handover::send(&stream, name, &sockets)?;
    }
    handover::send(&stream, "", &[])?;
    let mut word = [0; 4096];
    match stream.read(&mut word)? {
        0 => Err(io::Error::other("it ended before it served")),
        count if word[..count] == *READY => Ok(()),
        count => Err(io::Error::other(String::from_utf8_lossy(&word[..count]).into_owned())),
    }
}
