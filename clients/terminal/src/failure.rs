//! Why a chat could not be had.
//!
//! **Job.** One type for what people are told, and whose fault it was. **Called by** everybody here.
//!
//! Not here: how an address is wrong (`address`), refusals of a chat server.

use std::fmt;
use std::io;

use madang_host::net::listen::BindError;
use madang_host::tls::connect::ClientTlsError;
use madang_host::tls::pin::WrongPin;

/// Why a chat could not be had, or ended as it should not.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// Nobody could be reached there.
    Connect {
        /// As it was asked for.
        to: String,
        /// What the system said.
        error: io::Error,
    },
    /// It took longer than `seconds`.
    Slow {
        /// As it was asked for.
        to: String,
        /// The limit.
        seconds: u64,
    },
    /// TLS could not be set up, before anybody was asked.
    Tls(ClientTlsError),
    /// It showed another certificate than the pinned one.
    WrongPin {
        /// As it was asked for.
        to: String,
        /// Both.
        wrong: WrongPin,
    },
    /// It showed a certificate that no authority we believe stands for.
    Distrusted {
        /// As it was asked for.
        to: String,
        /// What was wrong with it.
        error: io::Error,
    },
    /// The address to listen on could not be had.
    Listen(BindError),
    /// The talk was cut off.
    Cut {
        /// Who was there.
        peer: String,
        /// What the system said.
        error: io::Error,
    },
    /// Somebody else talks there already.
    Busy {
        /// As it was asked for.
        to: String,
    },
    /// Whoever answered speaks no chat.
    NoChat {
        /// As it was asked for.
        to: String,
        /// What it said instead.
        why: String,
    },
    /// What went wrong, as it was told.
    Told(String),
    /// The system gave no thread, signal or socket.
    System(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { to, error } => match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    write!(f, "nobody listens on {to}; is the other side started, and is this its address?")
                }
                io::ErrorKind::NotFound => write!(f, "there is no {to}; the other side makes it"),
                _ => write!(f, "cannot reach {to}: {error}"),
            },
            Self::Slow { to, seconds } => write!(f, "{to} did not answer within {seconds} s"),
            Self::Tls(error) => write!(f, "TLS: {}: {}", error.about, error.why),
            Self::WrongPin { to, wrong } => write!(
                f,
                "{to} is another one: {wrong}; ask the other side for what it shows now, by another way: somebody may be between you"
            ),
            Self::Distrusted { to, error } => write!(
                f,
                "{to} is not believed: {error}; --pin SHA256 believes the one certificate that the other side tells you of, --ca FILE an authority"
            ),
            Self::Listen(error) => error.fmt(f),
            Self::Cut { peer, error } => write!(f, "the talk with {peer} was cut off: {error}"),
            Self::Busy { to } => write!(f, "{to} talks with somebody else; try again later"),
            Self::NoChat { to, why } => write!(f, "there is no chat at {to}: {why}"),
            Self::Told(why) => f.write_str(why),
            Self::System(error) => error.fmt(f),
        }
    }
}
impl std::error::Error for Failure {}
