//! What a program says of itself (sd_notify(3)), heard from the manager's side.
//!
//! **Job.** Give a program a NOTIFY_SOCKET and hear READY=1, STATUS= and STOPPING=1. **Called by** `roles/supervise`.
//! **Calls** the kernel.
//!
//! The socket has an abstract name with a random part: a program that runs as another user needs no folder to reach it.
//!
//! Invariants
//! 1. A message is at most 4 KiB; what does not read is passed over.
//!
//! Not here: what follows from it (`roles/supervise`), our own messages to a manager (`notify`).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::random;

const MESSAGE_BYTES_MAX: usize = 4096;

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It takes requests.
    Ready,
    /// It ends by itself.
    Stopping,
    /// One line for people.
    Status(String),
}

/// The receiving end.
#[derive(Debug)]
pub struct Ear {
    socket: tokio::net::UnixDatagram,
    name: String,
}

impl Ear {
    /// Opens one. Must be called on a tokio runtime.
    pub fn open() -> io::Result<Self> {
        let name = format!("madang-{:016x}{:016x}", random::seed(), random::seed());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: tokio::net::UnixDatagram::from_std(socket)?, name })
    }

    /// The value of NOTIFY_SOCKET.
    pub fn address(&self) -> String {
        format!("@{}", self.name)
    }

    /// The next message.
    pub async fn hear(&self) -> io::Result<Vec<Said>> {
        let mut message = [0; MESSAGE_BYTES_MAX];
        let count = self.socket.recv(&mut message).await?;
        Ok(read(&message[..count]))
    }
}

fn read(message: &[u8]) -> Vec<Said> {
    let Ok(text) = std::str::from_utf8(message) else { return Vec::new() };
    let each = text.lines().filter_map(|line| match line.split_once('=')? {
        ("READY", "1") => Some(Said::Ready),
        ("STOPPING", "1") => Some(Said::Stopping),
        ("STATUS", status) => {
            let clean = |c: char| if c.is_control() { ' ' } else { c };
            Some(Said::Status(status.chars().take(200).map(clean).collect()))
        }
        _ => None,
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Notifier;

    // Goal: what our own notifier sends, our own ear hears. Nonsense is passed over.
    #[tokio::test]
    async fn what_is_sent_is_heard() {
        let ear = Ear::open().unwrap();
        let address = ear.address();
        let get = |name: &str| (name == "NOTIFY_SOCKET").then(|| address.clone().into());
        let notifier = Notifier::from_environment(get, 1, false).unwrap();
        notifier.ready("serving").unwrap();
        assert_eq!(ear.hear().await.unwrap(), [Said::Ready, Said::Status("serving".to_owned())]);
        notifier.stopping("bye").unwrap();
        assert_eq!(ear.hear().await.unwrap(), [Said::Stopping, Said::Status("bye".to_owned())]);
        for nonsense in [&b"READY=0"[..], b"READY", b"\xff\xfe", b"", b"X=1\n\nREADY=1\n"] {
            let heard = read(nonsense);
            assert_eq!(heard, if nonsense.ends_with(b"READY=1\n") { vec![Said::Ready] } else { vec![] });
        }
    }
}
