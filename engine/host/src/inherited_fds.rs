//! Sockets the service manager opened for us (sd_listen_fds(3)).
//!
//! **Job.** Turn LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES into named sockets that listen or take datagrams.
//! **Reads** the environment, handed in. **Called by** `madang`, first thing at start. **Calls** the kernel.
//!
//! Invariants
//! 1. A descriptor is taken at most once in the life of the process.
//! 2. Only listening stream sockets and bound UDP sockets are taken; anything else is an error that names its number.
//! 3. What was taken is close-on-exec: children do not hold our ports.
//!
//! Not here: which listener of the settings gets which socket (`madang`), sockets of an upgrade (`handover`).
//!
//! This is the crate's one module with `unsafe`. A number in an environment variable becomes an owner here, which the
//! compiler cannot check. **Why this may be:** by the protocol the numbers 3..3+LISTEN_FDS were opened before exec(2) for the
//! process LISTEN_PID, so nothing in this program owns them, and whatever this program opened since got other numbers.
//! LISTEN_PID must be ours (a child that inherits the variables takes nothing); the kernel confirms that each number is an open
//! socket that was bound for us; `TAKEN` lets this happen once. That leaves an environment that lies: whoever starts the program also
//! chooses the program, so nothing is gained by it.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use rustix::net::{SocketType, getsockname};

/// The first descriptor behind the standard streams (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;
/// More than any unit file names; a bound for what we believe.
const COUNT_MAX: RawFd = 4096;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// A socket from the service manager: it listens, or takes datagrams.
#[derive(Debug)]
pub struct InheritedSocket {
    /// From LISTEN_FDNAMES (`FileDescriptorName=` in the unit); empty when it was not given.
    pub name: String,
    /// The socket.
    pub socket: OwnedFd,
}

/// Why the sockets were not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum InheritError {
    /// A variable does not read as documented.
    Variable {
        /// Its name.
        name: &'static str,
        /// What was found.
        found: String,
    },
    /// A descriptor neither listens nor takes datagrams.
    NotListening {
        /// Its number.
        number: RawFd,
        /// Its name.
        name: String,
    },
    /// The kernel refused.
    Os {
        /// The descriptor's number.
        number: RawFd,
        /// What it said.
        error: io::Error,
    },
    /// They were taken before.
    Twice,
}

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable { name, found } => write!(f, "socket activation: cannot read {name}={found:?}"),
            Self::NotListening { number, name } => write!(
                f,
                "socket activation: descriptor {number} ({name:?}) neither listens nor takes datagrams; the socket unit \
                 may have ListenStream= with Accept=no, and ListenDatagram="
            ),
            Self::Os { number, error } => write!(f, "socket activation: descriptor {number}: {error}"),
            Self::Twice => write!(f, "socket activation: the sockets were taken already"),
        }
    }
}
impl std::error::Error for InheritError {}

/// Takes the sockets; an empty list when there are none for us. Call it before anything else is opened.
///
/// # Errors
/// See [`InheritError`]: a server that was promised sockets must not start without them.
pub fn take(
    get: impl Fn(&str) -> Option<OsString>,
    own_process: u32,
) -> Result<Vec<InheritedSocket>, InheritError> {
    let promised = promised(get, own_process)?;
    if promised.is_empty() {
        return Ok(Vec::new());
    }
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Err(InheritError::Twice);
    }
    promised.into_iter().map(|(number, name)| adopt(number, name)).collect()
}

/// Makes every descriptor behind the standard streams close-on-exec: what our parent left open is not for our children.
///
/// # Errors
/// /proc cannot be read, or the kernel refused.
pub fn close_all_on_exec() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        if number < FIRST {
            continue;
        }
        // SAFETY: fcntl(F_SETFD) changes a flag and nothing else; a number that was closed meanwhile only answers EBADF
        // (the walk's own does); the borrow ends with this statement and closes nothing.
        match fcntl_setfd(unsafe { BorrowedFd::borrow_raw(number) }, FdFlags::CLOEXEC) {
            Ok(()) | Err(rustix::io::Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Numbers and names the environment promises to process `own_process`.
fn promised(
    get: impl Fn(&str) -> Option<OsString>,
    own_process: u32,
) -> Result<Vec<(RawFd, String)>, InheritError> {
    let text = |name: &'static str| -> Result<Option<String>, InheritError> {
        let found = get(name).map(OsString::into_string).transpose();
        found.map_err(|found| InheritError::Variable { name, found: found.to_string_lossy().into_owned() })
    };
    let number = |name: &'static str| -> Result<Option<i64>, InheritError> {
        let Some(found) = text(name)? else { return Ok(None) };
        let plain = !found.is_empty() && found.bytes().all(|byte| byte.is_ascii_digit());
        match found.parse() {
            Ok(number) if plain => Ok(Some(number)),
            _ => Err(InheritError::Variable { name, found }),
        }
    };
    let (Some(process), Some(count)) = (number("LISTEN_PID")?, number("LISTEN_FDS")?) else {
        return Ok(Vec::new());
    };
    if process != i64::from(own_process) {
        return Ok(Vec::new());
    }
    let count = RawFd::try_from(count).ok().filter(|count| *count <= COUNT_MAX);
    let count = count.ok_or_else(|| InheritError::Variable {
        name: "LISTEN_FDS",
        found: format!("more than {COUNT_MAX}"),
    })?;
    let names = text("LISTEN_FDNAMES")?.unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    Ok((FIRST..FIRST + count).map(|number| (number, names.next().unwrap_or_default())).collect())
}

/// Makes the promised descriptor ours, if it is what was promised.
fn adopt(number: RawFd, name: String) -> Result<InheritedSocket, InheritError> {
    // SAFETY: fcntl(F_GETFD) and getsockopt(2) of a number that is not open only answer EBADF; the borrow ends with
    // this function and nothing of ours closes the number meanwhile (module header).
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let listening = socket_type(borrowed).and_then(|kind| match kind {
        SocketType::STREAM => socket_acceptconn(borrowed),
        SocketType::DGRAM => takes_datagrams(borrowed),
        _ => Ok(false),
    });
    match listening {
        Ok(true) => {}
        Ok(_) | Err(rustix::io::Errno::NOTSOCK) => return Err(InheritError::NotListening { number, name }),
        Err(error) => return Err(InheritError::Os { number, error: error.into() }),
    }
    // SAFETY: an open socket that was handed to this process before exec(2) and that nobody else here owns
    // (module header); `TAKEN` keeps it from being made twice.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(socket.as_fd(), FdFlags::CLOEXEC)
        .map_err(|error| InheritError::Os { number, error: error.into() })?;
    Ok(InheritedSocket { name, socket })
}

/// Whether it is bound to a UDP port. Local datagrams (unix) are nothing we serve.
fn takes_datagrams(socket: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let address = std::net::SocketAddr::try_from(getsockname(socket)?);
    Ok(address.is_ok_and(|address| address.port() != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    fn of<'a>(environment: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| environment.iter().find(|(have, _)| *have == name).map(|(_, value)| OsString::from(value))
    }

    // Goal: only what is meant for this process is believed, and names fall to numbers in order.
    #[test]
    fn the_environment_is_read_as_documented() {
        check(&[], Ok(&[]));
        check(&[("LISTEN_FDS", "2")], Ok(&[]));
        check(&[("LISTEN_PID", "8"), ("LISTEN_FDS", "2")], Ok(&[]));
        check(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "0")], Ok(&[]));
        check(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2")], Ok(&[(3, ""), (4, "")]));
        check(
            &[("LISTEN_PID", "7"), ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "web:tls")],
            Ok(&[(3, "web"), (4, "tls"), (5, "")]),
        );
        check(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "-1")], Err("LISTEN_FDS"));
        check(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "+1")], Err("LISTEN_FDS"));
        check(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "5000")], Err("LISTEN_FDS"));
        check(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "99999999999999999999")], Err("LISTEN_FDS"));
        check(&[("LISTEN_PID", ""), ("LISTEN_FDS", "1")], Err("LISTEN_PID"));

        #[track_caller]
        fn check(environment: &[(&str, &str)], want: Result<&[(RawFd, &str)], &str>) {
            match (promised(of(environment), 7), want) {
                (Ok(found), Ok(want)) => {
                    let found: Vec<_> = found.iter().map(|(number, name)| (*number, name.as_str())).collect();
                    assert_eq!(found, want);
                }
                (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
                (found, want) => panic!("{found:?} instead of {want:?}"),
            }
        }
    }

    #[test]
    fn a_bound_socket_of_datagrams_is_taken_too() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let taken = adopt(socket.into_raw_fd(), String::new()).unwrap();
        assert_eq!(std::net::UdpSocket::from(taken.socket).local_addr().unwrap(), address);
    }

    #[test]
    fn a_listening_socket_is_taken_and_kept_from_children() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        fcntl_setfd(&listener, FdFlags::empty()).unwrap();
        let taken = adopt(listener.into_raw_fd(), "web".to_owned()).unwrap();
        assert_eq!(rustix::io::fcntl_getfd(&taken.socket).unwrap(), FdFlags::CLOEXEC);
        assert_eq!(taken.name, "web");
        assert_eq!(std::net::TcpListener::from(taken.socket).local_addr().unwrap(), address);
    }

    // Negative space: things a wrong unit file hands over. They stay open and with their owner.
    #[test]
    fn what_does_not_listen_is_refused_by_number() {
        let datagrams = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        for fd in [datagrams.as_fd(), stream.as_fd(), file.as_fd()] {
            use std::os::fd::AsRawFd;
            let refused = adopt(fd.as_raw_fd(), "x".to_owned()).unwrap_err();
            assert!(matches!(refused, InheritError::NotListening { .. }), "{refused}");
            assert!(rustix::io::fcntl_getfd(fd).is_ok());
        }
        let refused = adopt(1_000_000, "gone".to_owned()).unwrap_err();
        assert!(matches!(refused, InheritError::Os { number: 1_000_000, .. }), "{refused}");
    }
}
